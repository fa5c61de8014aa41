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

``restate_lab/payload_json/paths.py`` describes the steps of a path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from restate_lab.errors import ArgumentError
from restate_lab.payload_json import PathRule, PathStep, parse_path

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
