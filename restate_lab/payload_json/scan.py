"""Find the values of a JSON text and their positions, without converting them.

This parser accepts more than the JSON standard, because SDKs write it: NaN and infinities, numbers of any length,
control characters within strings, lone surrogates, repeated fields, any depth of nesting, several values in sequence
(JSON lines), and a byte order mark, blanks, NULs and commas before, between and after values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

_BLANK = r"[ \t\n\r]*+"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NUMBER = r"-?(?:[0-9]++(?:\.[0-9]++)?+(?:[eE][-+]?[0-9]++)?+|Infinity)"
_VALUE = re.compile(
    rf"{_BLANK}(?:(?P<string>{_STRING})|(?P<numbers>\[[-+0-9.eE, \t\n\r]*+\])"
    rf"|(?P<scalar>(?:{_NUMBER}|true|false|null|NaN)(?![\w.+-]))|(?P<object>\{{)|(?P<array>\[))",
    re.DOTALL,
)
_FIRST_FIELD = re.compile(rf"{_BLANK}(?:(?P<name>{_STRING}){_BLANK}:|(?P<end>\}}))", re.DOTALL)
_NEXT_FIELD = re.compile(rf"{_BLANK}(?:,{_BLANK}(?P<name>{_STRING}){_BLANK}:|(?P<end>\}}))", re.DOTALL)
_NEXT_ELEMENT = re.compile(rf"{_BLANK}(?:,|(?P<end>\]))")
_BETWEEN_VALUES = re.compile(r"[\s,\0\ufeff\x1e]*+")
_ELEMENT = re.compile(r"[^\s,\[\]]++")
_CONTAINERS = ("object", "array")
_NONE: list[Any] = []  # shared by all values without parts; never changed


class Unreadable(ValueError):
    """The text is not a sequence of JSON values."""


class Node:
    """A value of a text: its range ``text[start:end]`` and the values below it.

    ``kind`` is "string", "scalar", "object", "array", or "numbers". "numbers" is an array without strings, objects and
    arrays, such as the bytes of a payload or an embedding; its elements are parsed only when ``pairs`` is called.
    """

    __slots__ = ("end", "kind", "names", "parts", "start")

    def __init__(self, kind: str, start: int, end: int) -> None:
        self.kind = kind
        self.start = start
        self.end = end
        self.names: list[str] = [] if kind == "object" else _NONE
        self.parts: list[Node] = [] if kind in _CONTAINERS else _NONE

    def pairs(self, text: str) -> Iterator[tuple[str | int, Node]]:
        """Yield the fields of an object with their names, or the elements of an array with their indexes."""
        if self.kind == "object":
            return iter(zip(self.names, self.parts, strict=True))
        if self.kind == "numbers" and not self.parts:
            numbers = _ELEMENT.finditer(text, self.start + 1, self.end - 1)
            self.parts = [Node("scalar", *each.span()) for each in numbers]
        return enumerate(self.parts)


def scan(text: str) -> list[Node]:
    """Return the values of a text in order: one for JSON, several for JSON lines, none for an empty text.

    Raises:
        Unreadable: the text is not a sequence of JSON values.
    """
    roots: list[Node] = []
    at = _skip(_BETWEEN_VALUES, text, 0)
    while at < len(text):
        roots.append(_value(text, at))
        at = _skip(_BETWEEN_VALUES, text, roots[-1].end)
    return roots


def begins_like_json(text: str) -> bool:
    """Return whether the first character of a text can begin an object, array or string, valid or damaged."""
    return text[_skip(_BETWEEN_VALUES, text, 0) :][:1] in {"{", "[", '"'}


def string_at(text: str, start: int) -> str:
    """Return the content of the string whose opening quote is at ``start``.

    Raises:
        Unreadable: the string has an escape that is not valid in JSON.
    """
    try:
        content: str = scanstring(text, start + 1, False)[0]  # noqa: FBT003 - the parser takes no keyword
    except ValueError as error:
        raise Unreadable(str(error)) from error
    return content


def _value(text: str, at: int) -> Node:
    """Return the value that begins at ``at``; a list replaces recursion, so that any depth works."""
    root: Node | None = None
    is_open: list[Node] = []
    match = _VALUE.match
    while True:
        found = match(text, at)
        if found is None:
            raise _syntax_error(at)
        node = Node(str(found.lastgroup), found.start(found.lastindex or 0), found.end())
        if is_open:
            is_open[-1].parts.append(node)
        root = root or node
        if node.kind in _CONTAINERS:
            is_open.append(node)
        at = _close(text, node.end, is_open) if is_open else node.end
        if not is_open:
            return root


def _close(text: str, at: int, is_open: list[Node]) -> int:
    while is_open:
        top = is_open[-1]
        if top.kind == "object":
            found = _NEXT_FIELD.match(text, at) if top.parts else _FIRST_FIELD.match(text, at)
        elif top.parts:
            found = _NEXT_ELEMENT.match(text, at)
        else:
            return at  # the first element follows: an empty array has the kind "numbers"
        if found is None:
            raise _syntax_error(at)
        at = found.end()
        if found.lastgroup != "end":
            if top.kind == "object":
                top.names.append(_name(text, found))
            return at
        top.end = at
        is_open.pop()
    return at


def _name(text: str, match: re.Match[str]) -> str:
    raw: str = match[1]
    return string_at(text, match.start(1)) if "\\" in raw else raw[1:-1]


def _syntax_error(at: int) -> Unreadable:
    return Unreadable(f"invalid JSON at character {at:,}")


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
