"""What ``redact=`` of a freeze takes: patterns that say which columns, and which parts of JSON values, are masked.

======================================  =============================================================================
``completion_failure``                  that column, in whatever table
``state.value``                         that column of one table; ``*`` and ``?`` stand for any signs in both parts
``$.card.number``                       that part of every payload that is JSON: in journals, state and promises
``event_json:$..error_message``         that part of the JSON values of that column (``table.column:$…``, too)
``failures``                            every failure text: of invocations, promises, attempts, events, and entries
======================================  =============================================================================

Masked text and bytes become ``•••``; other types become null, as what is missing. ``value`` and ``value_utf8``, bytes
and text of the same value, go together.

A path replaces the values that it leads to, and no other byte. It also looks into JSON that stands in a string of
JSON, such as the arguments of an LLM's tool calls, as if it were no string: ``$.arguments.city``.

A value that cannot be read as JSON is masked whole where it could hold what the path means: binary data always, a text
(damaged JSON, XML, a form) where all names of the path occur in it. Any other text is left as it is. How many values
were masked whole stands in the manifest, and ``freeze`` warns of them.

In a path ``.name`` is a field and ``..name`` one at any depth; ``[3]`` is an element, ``[*]`` and ``.*`` are all
elements and fields; ``['odd name']`` is a field whose name has other signs than letters, digits, ``_`` and ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import MaskRule, Node

__all__ = ["PAYLOADS", "PathRule", "PathStep", "Pattern", "parse_path", "parse_patterns"]

_STEP = re.compile(
    r"(?P<dots>\.\.?)(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\[(?P<quote>['\"])(?P<quoted>.+?)(?P=quote)\]"
)

# A name that is always spelled by its own characters, or by their unicode escapes.
_PLAIN_NAME = re.compile(r"(?:(?![\U00010000-\U0010ffff])[\w .@-])+")
PAYLOADS = frozenset(
    {
        ("sys_journal", "entry_json"),
        ("state", "value"),
        ("state", "value_utf8"),
        ("sys_promise", "completion_success_value"),
        ("sys_promise", "completion_success_value_utf8"),
    }
)
"""The columns that hold what handlers were given and gave back."""

_SHORTHANDS = {
    "failures": (
        "completion_failure",
        "last_failure",
        "event_json:$..error_message",
        "event_json:$..error_stacktrace",
        "entry_json:$..Failure.message",
        "entry_json:$..Failure.metadata",
    )
}
_COLUMN = re.compile(r"(?:(?P<table>[\w*?]+)\.)?(?P<column>[\w*?]+)(?P<path>:\$.+)?")
_TWIN = "_utf8"


@dataclass(frozen=True, slots=True)
class PathStep:
    """One step down: a field's name, an element's index, or None for all; ``deep`` looks below as well."""

    key: str | int | None
    deep: bool = False

    def matches(self, key: str | int) -> bool:
        """Return whether the step leads to this field or element."""
        return self.key is None or (self.key == key and isinstance(self.key, type(key)))


class PathRule(MaskRule):
    """Masks what a path leads to; ``label`` and ``strict`` as for every rule."""

    def __init__(self, steps: Sequence[PathStep], label: str, *, strict: bool) -> None:
        self.label = label
        self.strict = strict
        self._step = steps[0]
        self._rest = PathRule(steps[1:], label, strict=strict) if len(steps) > 1 else None
        self._names = [step.key for step in steps if isinstance(step.key, str)]
        self._plain_names = [name for name in self._names if _PLAIN_NAME.fullmatch(name)]

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        """Yield the values that the next step leads to, and all others with parts where it goes to any depth."""
        step = self._step
        if node.kind == "numbers" and isinstance(step.key, str):
            return
        for key, below in node.pairs(text):
            matches = step.matches(key)
            if matches:
                yield below, self._rest
            if step.deep and below.kind != "scalar" and not (matches and self._rest is None):
                yield below, self

    def is_mentioned(self, text: str) -> bool:
        """Return whether all names of the path occur in a text; without names, whether there are objects or arrays."""
        for name in self._plain_names:  # many short texts are asked about: a loop is quicker than all()
            if name not in text:
                return False
        return bool(self._names) or "{" in text or "[" in text

    def is_among(self, names: Sequence[str]) -> bool:
        """Return whether all names of the path are among these."""
        return bool(self._names) and set(self._names) <= set(names)


def parse_path(text: str) -> tuple[PathStep, ...]:
    """Return the steps of a path that begins with ``$``.

    Raises:
        ArgumentError: it is no path, or it leads nowhere.
    """
    steps, at = [], 1
    while text.startswith("$") and (match := _STEP.match(text, at)):
        steps.append(_parse_step(match))
        at = match.end()
    if not steps or at != len(text):
        raise ArgumentError(
            f"{text!r} is no path into JSON; these are: $.card.number, $..password (at any depth), $.items[*].iban, "
            f"$['odd name']."
        )
    return tuple(steps)


def _parse_step(match: re.Match[str]) -> PathStep:
    if match["quoted"] is not None:
        return PathStep(match["quoted"])
    if match["index"] is not None:
        return PathStep(None if match["index"] == "*" else int(match["index"]))
    return PathStep(None if match["name"] == "*" else match["name"], deep=match["dots"] == "..")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; ``path`` is empty for a whole column, ``column`` None for the payloads of all tables.

    ``text`` is the text of ``redact=`` that it comes from.
    """

    text: str
    table: str
    column: str | None
    path: tuple[PathStep, ...]

    @property
    def is_strict(self) -> bool:
        """Return whether values that cannot be read are masked whole; failure texts never are in binary payloads."""
        return self.text not in _SHORTHANDS

    def rule(self) -> PathRule:
        """Return the rule that masks what the path, which must not be empty, leads to."""
        return PathRule(self.path, self.text, strict=self.is_strict)

    def covers(self, table: str, column: str) -> bool:
        """Return whether the pattern is about this column."""
        if self.column is None:
            return (table, column) in PAYLOADS
        names = {column, column.removesuffix(_TWIN), column + _TWIN}
        return fnmatchcase(table, self.table) and any(fnmatchcase(name, self.column) for name in names)


def parse_patterns(redact: str | Iterable[str] | None, columns: Mapping[str, Sequence[str]]) -> tuple[Pattern, ...]:
    """Return the patterns, each of which covers something of ``columns`` (table → columns, of the whole cluster).

    Raises:
        ArgumentError: a text is no pattern, or covers no column: a typing error would show what is to be hidden.
    """
    texts = [redact] if isinstance(redact, str) else list(redact or ())
    parsed: list[Pattern] = []
    for text in texts:
        patterns = [_parse_pattern(part, text) for part in _SHORTHANDS.get(text, (text,))]
        if not any(each.covers(table, name) for each in patterns for table, names in columns.items() for name in names):
            raise ArgumentError(
                f"redact={text!r} covers no column of this cluster; source.tables() lists them. A part of JSON "
                "payloads is written as a path: $.card.number, or $..password at any depth."
            )
        parsed += patterns
    return tuple(parsed)


def _parse_pattern(text: str, label: str) -> Pattern:
    if text.startswith("$"):
        return Pattern(label, "*", None, parse_path(text))
    parts = _COLUMN.fullmatch(text)
    if parts is None:
        raise ArgumentError(
            f"redact={text!r} is no pattern; these are: a column (completion_failure), a column of one table "
            f"(state.value), a part of JSON payloads ($.card.number), or of a column (event_json:$..error_message)."
        )
    path = parse_path(parts["path"][1:]) if parts["path"] else ()
    return Pattern(label, parts["table"] or "*", parts["column"], path)
