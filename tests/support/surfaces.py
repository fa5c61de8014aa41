"""The language of each surface: a notebook shows Python, a shell commands, a page links, and a panel has buttons."""

from __future__ import annotations

import html
import re

_OPTIONS = "decode|ids|limit|max_bytes|payloads|prices|samples|search|service|shapes|since|timeout"
_LANGUAGES = {
    "notebook": rf"\b(?:rl|lab|plan|diagnosis)\.[a-z_.]+\(|(?<!-p )(?<![\w.?&-])(?:{_OPTIONS})=(?!\w*[a-z0-9/]*&)",
    "shell": r"\brestate-lab [a-z]|(?<!restate-server )(?<![\w-])--[a-z][a-z-]+",
}
_NO_TEXT = re.compile(r"<(style|script|code|pre|textarea)\b.*?</\1>|<[^>]*>", re.DOTALL)


def text_of_page(page: str) -> str:
    """Return the visible text of HTML; a code block is not part of it, because its title names its language."""
    return html.unescape(_NO_TEXT.sub(" ", page))


def foreign_texts(text: str, own: str = "") -> list[str]:
    """Return the parts of a text that are in the language of another surface; ``own`` is "notebook", "shell" or ""."""
    return [
        text[max(0, found.start() - 40) : found.end() + 40]
        for name, pattern in _LANGUAGES.items()
        for found in re.finditer(pattern, text)
        if name != own
    ]
