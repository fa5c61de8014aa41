"""What ``redact=`` of a freeze takes: patterns that say which columns, and which parts of JSON values, are masked.

======================================  =============================================================================
``completion_failure``                  that column, in whatever table
``state.value``                         that column of one table; ``*`` and ``?`` stand for any signs in both parts
``$.card.number``                       that part of every payload that is JSON: in journals, state and promises
``event_json:$..error_message``         that part of the JSON values of that column (``table.column:$…``, too)
``failures``                            every failure text: of invocations, promises, attempts, events, and entries
======================================  =============================================================================

Masked text and bytes become ``•••``; other types become null, as what is missing. ``value`` and ``value_utf8``, bytes
and text of the same value, go together. A path leaves values alone that are not JSON; their number stands in the
manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from restate_lab.errors import ArgumentError
from restate_lab.evidence.json_path import Step, parse_path

__all__ = ["PAYLOADS", "Pattern", "parse_patterns"]

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

_SHORT = {
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
class Pattern:
    """One pattern; ``path`` is empty for a whole column, ``column`` None for the payloads of all tables."""

    text: str
    table: str
    column: str | None
    path: tuple[Step, ...]

    def covers(self, table: str, column: str) -> bool:
        """Tell whether the pattern is about this column."""
        if self.column is None:
            return (table, column) in PAYLOADS
        names = {column, column.removesuffix(_TWIN), column + _TWIN}
        return fnmatchcase(table, self.table) and any(fnmatchcase(name, self.column) for name in names)


def parse_patterns(given: str | Iterable[str] | None, columns: Mapping[str, Sequence[str]]) -> tuple[Pattern, ...]:
    """Return the patterns, each of which covers something of ``columns`` (table → columns, of the whole cluster).

    Raises:
        ArgumentError: a text is no pattern, or covers no column: a typing error would show what is to be hidden.
    """
    texts = [given] if isinstance(given, str) else list(given or ())
    found: list[Pattern] = []
    for text in texts:
        patterns = [_pattern(part, text) for part in _SHORT.get(text, (text,))]
        if not any(each.covers(table, name) for each in patterns for table, names in columns.items() for name in names):
            raise ArgumentError(
                f"redact={text!r} covers no column of this cluster; source.tables() lists them. A part of JSON "
                "payloads is written as a path: $.card.number, or $..password at any depth."
            )
        found += patterns
    return tuple(found)


def _pattern(text: str, given: str) -> Pattern:
    if text.startswith("$"):
        return Pattern(given, "*", None, parse_path(text))
    parts = _COLUMN.fullmatch(text)
    if parts is None:
        raise ArgumentError(
            f"redact={text!r} is no pattern; these are: a column (completion_failure), a column of one table "
            f"(state.value), a part of JSON payloads ($.card.number), or of a column (event_json:$..error_message)."
        )
    path = parse_path(parts["path"][1:]) if parts["path"] else ()
    return Pattern(given, parts["table"] or "*", parts["column"], path)
