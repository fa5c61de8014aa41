"""Everything a person can read is plain English: a list of phrases that readers stumble over stays out of the tree."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
READ = {".py", ".md", ".ipynb", ".j2", ".js", ".sql", ".css", ".toml", ".yml", ".yaml", ".html"}

# a phrase, and what to write instead
BANNED = {
    r"whoever|whomever|somebody|nobody|whom": "name the invocation, the process or the person",
    r"(?<!people )(?<!person )(?<!anyone )(?<!everyone )(?<!users )(?<!operators )who": "that, which; or name it",
    r"told|said": "reported, or name the sender and the message",
    r"(?<!better )stands?(?! for\b)|stood": "is, are",
    r"(?<!there )(?:is|are|was|were) no(?! longer)": "is not a",
    r"(?<!there )(?:is|are|was|were) none": "there is no …, or unknown …",
    r"(?:is|are|was|were) meant": "say what it is",
    r"(?:is|are) of (?!type\b)": "is from, has, belongs to",
    r"(?:is|are) to (?:be|go|say|do|have|hold|come|take|stay|give|show|act|read)": "must, will",
    r"words": "text, terms, sentence",
    r"moments?": "time, timestamp, now",
    r"befalls?|befell|suffers?|mends?|mended|mending": "happens to, is blocked by, fix",
    r"came of|comes? of": "result, outcome",
    r"comes? no more|no more|for good|all else|but for|without a word|means? ill|(?:one|same) door": "write it plainly",
    r"left out|leaves? out|leaving out": "excluded, omitted",
    r"goe?s? with (?:it|them|that|this)": "is also changed, affected",
    r"of them together": "name the things",
    r"(?:is|are) nothing for": "does not work with",
    r"what (?:was|were|had|came|comes|goes|waits|hangs|remains|lies|belongs|one)": "the noun: request, result, value",
    r"what is (?:there|shown|kept|asked|read|sent|given|known|held|open|left|not)": "the noun: data, rows, value",
    r"what (?:you|they|we) (?:found|asked|gave|kept|sent)": "the noun: findings, request, value",
    r"what (?:the )?\w+ (?:lacks|said|says|has|had|needs|knows|holds|answered)": "the noun: message, rows",
    r"(?:of|from|with|by|than|in) what (?:is|was|are|has|have|it|they)": "the noun",
    r"one (?:can|must|wants|sees|asks|knows|needs|would|could|has to|looks|cannot)": "you",
    r"thereof|therein|thereby|whereof|wherein|herein|hence|thus|lest|naught": "write it plainly",
}
_ANY = re.compile(rf"\b(?:{'|'.join(BANNED)})\b")
_TEXT_TOKENS = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_BREAK = re.compile(r"\s*\n\s*(?:#|//|--|\*|>)?\s*")
_CODE = re.compile(r"``[^`]*``|`[^`\n]*`|%\([a-z]+\)s|https?://\S+")


def banned_phrases(text: str) -> list[str]:
    """Return the banned phrases in a text, each with what to write instead; code in backquotes is not read."""
    text = _BREAK.sub(" ", _CODE.sub("``", text.lower()))
    found = [match[0] for match in _ANY.finditer(text)]
    return [
        f"{phrase!r}: {next(better for each, better in BANNED.items() if re.search(each, phrase))}" for phrase in found
    ]


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file with the line or cell that each begins on.

    Of Python these are comments and strings; of a test only comments and docstrings, because its strings are data.
    """
    content = path.read_text(encoding="utf-8")
    if not _may_have_one(content):
        return  # tokens are slow to read
    if path.suffix == ".ipynb":
        yield from ((number, "".join(cell["source"])) for number, cell in enumerate(json.loads(content)["cells"]))
    elif path.suffix != ".py":
        yield from ((1 + content.count("\n", 0, part.start()), part[0]) for part in re.finditer(r"(?:.+\n?)+", content))
    else:
        is_test = path.is_relative_to(ROOT / "tests")
        if not is_test or _may_have_one("\n".join(re.findall("#.*", content))):
            kinds = {tokenize.COMMENT} if is_test else _TEXT_TOKENS
            tokens = tokenize.generate_tokens(io.StringIO(content).readline)
            yield from ((token.start[0], token.string) for token in tokens if token.type in kinds)
        if is_test:
            yield from _docstrings(ast.parse(content))


def _may_have_one(text: str) -> bool:
    return _ANY.search(_BREAK.sub(" ", text.lower())) is not None


def _docstrings(node: ast.AST) -> Iterator[tuple[int, str]]:
    for statement in node.body if isinstance(getattr(node, "body", None), list) else []:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield statement.lineno, str(statement.value.value)
        yield from _docstrings(statement)


def files() -> list[Path]:
    """Return the tracked files that people read, without this one."""
    git = [shutil.which("git") or "git", "ls-files"]
    names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    paths = [ROOT / name for name in names if Path(name).suffix in READ]
    return [path for path in paths if path.is_file() and path != Path(__file__).resolve()]


def test_no_file_has_a_banned_phrase() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase}"
        for path in files()
        for line, text in texts_of(path)
        for phrase in banned_phrases(text)
    ]
    assert not found, "\n".join(found)


def test_a_banned_phrase_is_found() -> None:
    """A phrase is found across lines, and code in backquotes is not read."""
    assert len(banned_phrases("the invocation\n# that nobody called\n# is left\n# out")) == 2
    assert banned_phrases("the column `who`") == []
