"""The patterns of ``redact=``: they select columns, and parts of JSON values, that a freeze masks.

======================================  =============================================================================
``completion_failure``                  this column in any table
``state.value``                         this column of one table; ``*`` and ``?`` are wildcards in both parts
``$.card.number``                       this part of every JSON payload: in journals, state and promises
``event_json:$..error_message``         this part of the JSON values of this column (also ``table.column:$…``)
``failures``                            every failure text: of invocations, promises, attempts, events, and entries
======================================  =============================================================================

Masked texts and bytes become ``•••``; other types become null. ``value`` and ``value_utf8`` are bytes and text of the
same value, and a pattern for one column also masks the other column.

A path masks the values at that path and changes no other byte. It also applies to JSON within a JSON string, such as
the arguments of an LLM's tool calls: ``$.arguments.city``.

A value that cannot be read as JSON is masked as a whole if it could contain the path: binary data always, a text
(damaged JSON, XML, a form) if it contains all names of the path. Any other text is not changed. The manifest has the
number of values that were masked as a whole, and ``freeze`` warns about them.

In a path, ``.name`` is a field and ``..name`` is a field at any depth. ``[3]`` is an element; ``[*]`` and ``.*`` are
all elements and fields. ``['odd name']`` is a field whose name has characters other than letters, digits, ``_``, ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import MaskRule, Node

_STEP = re.compile(
    r"(?P<dots>\.\.?)(?P<name>[\w-]+|\*)|\[(?P<index>\d+|\*)\]|\[(?P<quote>['\"])(?P<quoted>.+?)(?P=quote)\]"
)

# A name that can only be spelled with its own characters or with Unicode escapes.
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
"""The columns with the arguments, results and values of handlers."""

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
    """One step of a path: a field's name, an element's index, or None for all; ``deep`` matches at any depth."""

    key: str | int | None
    deep: bool = False

    def matches(self, key: str | int) -> bool:
        """Return whether the step matches this field or element."""
        return self.key is None or (self.key == key and isinstance(self.key, type(key)))


class PathRule(MaskRule):
    """Masks the values at a path; ``label`` and ``strict`` are those of ``MaskRule``."""

    def __init__(self, steps: Sequence[PathStep], label: str, *, strict: bool) -> None:
        self.label = label
        self.strict = strict
        self._step = steps[0]
        self._rest = PathRule(steps[1:], label, strict=strict) if len(steps) > 1 else None
        self._names = [step.key for step in steps if isinstance(step.key, str)]
        self._plain_names = [name for name in self._names if _PLAIN_NAME.fullmatch(name)]

    def descend(self, node: Node, text: str) -> Iterator[tuple[Node, MaskRule | None]]:
        """Yield the values that the next step matches; for a deep step, also all other values with parts."""
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
        """Return whether a text contains all names of the path; for a path without names, an object or an array."""
        for name in self._plain_names:  # called for many short texts: a loop is faster than all()
            if name not in text:
                return False
        return bool(self._names) or "{" in text or "[" in text

    def is_among(self, names: Sequence[str]) -> bool:
        """Return whether all names of the path are among these."""
        return bool(self._names) and set(self._names) <= set(names)


def parse_path(text: str) -> tuple[PathStep, ...]:
    """Return the steps of a path that begins with ``$``.

    Raises:
        ArgumentError: the text is not a path, or has no steps.
    """
    steps, at = [], 1
    while text.startswith("$") and (match := _STEP.match(text, at)):
        steps.append(_parse_step(match))
        at = match.end()
    if not steps or at != len(text):
        raise ArgumentError(
            f"{text!r} is not a JSON path; valid paths are for example $.card.number, $..password (at any depth), "
            f"$.items[*].iban, $['odd name']."
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
    """One pattern; ``path`` is empty for a whole column, and ``column`` has the value None for payloads of all tables.

    ``text`` is the original text in ``redact=``.
    """

    text: str
    table: str
    column: str | None
    path: tuple[PathStep, ...]

    @property
    def is_strict(self) -> bool:
        """Return whether unreadable values are masked as a whole; failure texts never occur in such payloads."""
        return self.text not in _SHORTHANDS

    def rule(self) -> PathRule:
        """Return the rule that masks the values at the path; the path must not be empty."""
        return PathRule(self.path, self.text, strict=self.is_strict)

    def covers(self, table: str, column: str) -> bool:
        """Return whether the pattern applies to this column."""
        if self.column is None:
            return (table, column) in PAYLOADS
        names = {column, column.removesuffix(_TWIN), column + _TWIN}
        return fnmatchcase(table, self.table) and any(fnmatchcase(name, self.column) for name in names)


def parse_patterns(redact: str | Iterable[str] | None, columns: Mapping[str, Sequence[str]]) -> tuple[Pattern, ...]:
    """Return the patterns; each must apply to one of ``columns`` (table → columns, of the whole cluster).

    Raises:
        ArgumentError: a text is not a pattern, or applies to no column, because a typing error would expose secrets.
    """
    texts = [redact] if isinstance(redact, str) else list(redact or ())
    parsed: list[Pattern] = []
    for text in texts:
        patterns = [_parse_pattern(part, text) for part in _SHORTHANDS.get(text, (text,))]
        if not any(each.covers(table, name) for each in patterns for table, names in columns.items() for name in names):
            raise ArgumentError(
                f"redact={text!r} matches no column of this cluster; source.tables() lists the columns. To mask a part "
                "of JSON payloads, write a path: $.card.number, or $..password at any depth."
            )
        parsed += patterns
    return tuple(parsed)


def _parse_pattern(text: str, label: str) -> Pattern:
    if text.startswith("$"):
        return Pattern(label, "*", None, parse_path(text))
    parts = _COLUMN.fullmatch(text)
    if parts is None:
        raise ArgumentError(
            f"redact={text!r} is not a valid pattern; use a column (completion_failure), a column of one table "
            f"(state.value), a part of JSON payloads ($.card.number), or a part of a column "
            f"(event_json:$..error_message)."
        )
    path = parse_path(parts["path"][1:]) if parts["path"] else ()
    return Pattern(label, parts["table"] or "*", parts["column"], path)
