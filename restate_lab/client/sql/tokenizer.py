"""Split SQL into tokens as a Restate server does, as far as the checks and ``:name`` parameters need.

One compiled pattern finds each token. Its repetitions are possessive, so the time is linear in the length of the
statement, for any content.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from restate_lab.errors import StatementError

MAX_TOKENS = 100_000  # limits the time of all checks; a list of plain literals is one token


class Token(NamedTuple):
    """A piece of a statement; blanks and comments are omitted.

    ``kind`` is one of ``word`` (a keyword or plain name), param, string, name (a quoted identifier), number, items,
    open, close, comma, semicolon, cast, operator and other. Items are a sequence of plain literals and names, each with
    the comma after it, as in a long list. ``text`` is empty for strings and items, which can be long. It is in upper
    case for keywords and plain names, and without the colon for parameters.
    """

    kind: str
    text: str
    start: int
    end: int


# For the server, every character beyond ASCII is a letter. A negated class for that compiles fast.
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_WORD = rf"{_LETTER}[^\x00-\#%-/:-@\[-^`{{-\x7f]*+"  # digits and $ too
_PATTERN = re.compile(
    rf"""
      (?P<blank>   [ \t\n\r\f\v]++ )
    | (?P<line>    --[^\n\r]*+ )
    | (?P<block>   /\* )
    | (?P<items>   (?: (?: '(?:[^']++|'')*+' | -?[0-9]++(?:\.[0-9]++)? | (?!(?i:END)[ \t\n\r,]) {_WORD} )
                       [ \t\n\r]*+ , [ \t\n\r]*+ )++ )
    | (?P<string>  [eExX]'(?:[^'\\]++|\\.|'')*+'       # a backslash escapes in these two only
                 | '(?:[^']++|'')*+' )
    | (?P<name>    "(?:[^"]++|"")*+" )
    | (?P<unclosed>[eExX]?'|" )
    | (?P<dollar>  \$\w*+\$ )
    | (?P<word>    {_WORD} )
    | (?P<number>  0[xX][0-9a-fA-F]*+ | [0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?[0-9]++)? )
    | (?P<open>    [(\[{{] )
    | (?P<close>   [)\]}}] )
    | (?P<comma>   , )
    | (?P<semicolon> ; )
    | (?P<cast>    ::|:= )
    | (?P<param>   (?<![0-9$.'")\]:]) (?<!{_LETTER}) :(?=[^\W\d])\w++ )
    | (?P<operator>(?: (?!--|/\*) [-+*/<>=~!@#%^&|?] )++ )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# On some servers or on all, every other operator absorbs the characters of a comment directly after it.
_ENDS_BEFORE_COMMENT = re.compile(r"[=+*/^]+|!=")
_SKIPPED = {"blank", "line"}
_SILENT = {"string", "items"}


def tokens(statement: str) -> Iterator[Token]:
    """Yield the tokens of a statement in order.

    Raises:
        StatementError: a string, quoted name or comment has no end (the message has its beginning), or there are more
            than ``MAX_TOKENS`` tokens.
    """
    at, end, match_at, left = 0, len(statement), _PATTERN.match, MAX_TOKENS
    while at < end:
        found = match_at(statement, at)
        assert found is not None and found.lastgroup is not None  # noqa: S101, PT018 - "other" takes any character
        kind, start, at = found.lastgroup, at, found.end()
        if kind in _SKIPPED:
            continue
        if kind == "block":
            at = _end_of_comment(statement, start)
            continue
        if kind == "dollar":
            tag = found.group()
            closing = statement.find(tag, at)
            if closing < 0:
                raise _unclosed_error(statement, start, f"{tag} string")
            kind, at = "string", closing + len(tag)
        elif kind == "unclosed":
            raise _unclosed_error(statement, start, "quoted name" if statement[start] == '"' else "string")
        elif kind == "operator":
            _check_glue(statement, start, at)
        left -= 1
        if left < 0:
            raise StatementError(
                f"the statement has more than {MAX_TOKENS:,} tokens (at {place(statement, start)}); "
                f"pass a long list as a parameter: IN :values."
            )
        yield Token(kind, _token_text(kind, statement, start, at), start, at)


def place(statement: str, at: int) -> str:
    """Return a position for messages, such as "line 2, column 14"."""
    line = statement.count("\n", 0, at) + 1
    return f"line {line}, column {at - statement.rfind(chr(10), 0, at)}"


def _token_text(kind: str, statement: str, start: int, end: int) -> str:
    if kind in _SILENT:
        return ""
    if kind == "word":
        return statement[start:end].upper()
    return statement[start + 1 : end] if kind == "param" else statement[start:end]


def _end_of_comment(statement: str, start: int) -> int:
    """Return where a block comment ends; comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(statement, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise _unclosed_error(statement, start, "comment")


def _check_glue(statement: str, start: int, end: int) -> None:
    comment = statement[end : end + 2]
    if comment in {"--", "/*"} and not _ENDS_BEFORE_COMMENT.fullmatch(statement, start, end):
        raise StatementError(
            f"the comment at {place(statement, end)} directly follows an operator, so a server may read it as a part "
            f"of the operator. Put a blank before {comment}."
        )


def _unclosed_error(statement: str, start: int, what: str) -> StatementError:
    return StatementError(
        f"the {what} that begins at {place(statement, start)} has no end: {statement[start : start + 40]!r}"
    )
