"""The text of a search, and where it is in payloads: in decoded JSON, at any depth, and in JSON within strings.

The text itself is in no result, error or representation: a place is a path such as ``input.order.id``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import HEADERS, SECRETS, Node, Unreadable, begins_like_json, mask, scan, string_at
from restate_lab.redaction import Secret

LEAST = 4
"""The least number of characters of a text: a shorter one is in too many payloads."""
_MOST = 1_000  # characters
_MOST_LEVELS = 5  # JSON within strings of JSON
_MOST_NAMES = 12  # names of a path from its end
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9 _.:@#-]+")  # no serializer escapes these characters
_FIELD_NAME = re.compile(r"[A-Za-z_$][\w$-]{0,39}", re.ASCII)
_NUMBER = re.compile(r"\d{4}")
_SHORT_ESCAPES = {"\n": "n", "\t": "t", "\r": "r", "\b": "b", "\f": "f"}
_ANY = "*"

_Path: TypeAlias = "tuple[_Path, str | int] | None"
"""A path as its last name or index, and the path before it; None is the payload itself."""


class Needle:
    """A literal text, at least 4 characters long; its case counts only if it has a capital letter.

    The text is stored as a Secret, because a verbose traceback shows local variables.

    Raises:
        ArgumentError: the text is too short or too long, or is not a text; the message does not have it.
    """

    __slots__ = ("_has_case", "_pattern", "_text")

    def __init__(self, text: Secret | None) -> None:
        self._text = Secret("")  # for the repr, if a check fails
        if text is None or not isinstance(text.reveal(), str):
            kind = "None" if text is None else type(text.reveal()).__name__
            raise ArgumentError(f"text is a {kind}: pass a text, such as the number of an order.")
        secret = self._text = Secret(text.reveal().strip())
        length = len(secret.reveal())
        if not LEAST <= length <= _MOST:
            raise ArgumentError(
                f"text has {length:,} characters: pass {LEAST} to {_MOST:,}. A shorter text is in too many inputs."
            )
        self._has_case = secret.reveal() != secret.reveal().lower()
        self._pattern = None
        if not _NEVER_ESCAPED.fullmatch(secret.reveal()):
            self._pattern = _escaped_pattern(secret.reveal(), has_case=self._has_case)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._text!r}>"

    def is_in(self, text: str) -> bool:
        """Return whether the text has the needle."""
        return self._text.reveal() in (text if self._has_case else text.lower())

    def may_be_in(self, text: str) -> bool:
        """Return whether the text has the needle, or characters that can be escapes of it."""
        if self.is_in(text):
            return True
        return self._pattern is not None and "\\" in text and self._pattern.search(text) is not None

    def places(self, text: str) -> list[str]:
        """Return the paths in a payload at which the needle is, [] if it is nowhere; "" is the payload itself.

        A name in a path is ``*`` if it has the needle or does not look like the name of a field, because the names of
        a map are data.
        """
        return list(dict.fromkeys(self._write(path) for path in self._paths(text, None, 0)))

    def _paths(self, text: str, above: _Path, level: int) -> Iterator[_Path]:
        if not self.may_be_in(text):
            return
        is_deeper = False
        if level < _MOST_LEVELS and (not level or begins_like_json(text)):
            for path in self._paths_in_json(text, above, level):
                is_deeper = True
                yield path
        if not is_deeper and self.is_in(text):
            yield above

    def _paths_in_json(self, text: str, above: _Path, level: int) -> Iterator[_Path]:
        try:
            pending = [(node, above) for node in reversed(scan(text))]
        except Unreadable:
            return
        while pending:
            node, path = pending.pop()
            if node.kind == "string":
                if self.may_be_in(text[node.start : node.end]):
                    yield from self._paths(_string_of(text, node), path, level + 1)
            elif node.kind in {"scalar", "numbers"}:
                if self.is_in(text[node.start : node.end]):
                    yield path
            else:
                below = list(node.pairs(text))
                yield from ((path, name) for name, _ in below if isinstance(name, str) and self.is_in(name))
                pending += [(each, (path, name)) for name, each in reversed(below)]

    def _write(self, path: _Path) -> str:
        names: list[str | int] = []
        while path is not None and len(names) < _MOST_NAMES:
            path, name = path
            names.append(name)
        written = "".join(map(self._write_name, reversed(names)))
        return f"…{written}" if path is not None else written

    def _write_name(self, name: str | int) -> str:
        if isinstance(name, int):
            return f"[{name}]"
        is_field = _FIELD_NAME.fullmatch(name) is not None and _NUMBER.search(name) is None
        return f".{name if is_field and not self.is_in(name) else _ANY}"


def masked(text: str) -> str:
    """Return a payload with its secret headers and fields masked: they are neither searched nor shown."""
    return mask(text, [HEADERS, SECRETS]).value


def _string_of(text: str, node: Node) -> str:
    try:
        return string_at(text, node.start)
    except Unreadable:
        return text[node.start + 1 : node.end - 1]


def _escaped_pattern(text: str, *, has_case: bool) -> re.Pattern[str]:
    r"""Return a pattern for a text whose characters can be escaped as in JSON, also repeatedly: ``\/``, ``\\u00fc``."""
    # Each run of backslashes is matched in one way, and not at the beginning: a long run would take too long otherwise.
    slashes = ""
    parts: list[str] = []
    for each in re.findall(r"\\+|[^\\]", text.lstrip("\\")):
        if each[0] == "\\":
            parts.append(rf"(?:\\{{{len(each)},}}+|(?:\\++u005(?i:c)){{{len(each)}}}\\*+)")
            slashes = ""
        else:
            forms = {each} if has_case else {each, each.lower(), each.upper()}
            names = [re.escape(each), *map(_code_pattern, sorted(forms)), _SHORT_ESCAPES.get(each, "")]
            parts.append(f"{slashes}(?:{'|'.join(filter(None, names))})")
            slashes = r"\\*+"
    return re.compile("".join(parts), 0 if has_case else re.IGNORECASE)


def _code_pattern(text: str) -> str:
    """Return a pattern for the Unicode escapes of a text without the first backslash; their digits are in any case."""
    units = text.encode("utf-16-be", "surrogatepass")
    return r"\\+".join(f"u(?i:{units[at : at + 2].hex()})" for at in range(0, len(units), 2))
