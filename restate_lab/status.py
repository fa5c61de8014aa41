"""The statuses of invocations for people: their order, how to compute them from columns, and the colours of tones.

The server has eight statuses. Here, as in the web UI, the status completed is split into four results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.tokens import MARKS, STATUSES as _COLOURS


@dataclass(frozen=True, slots=True)
class Status:
    """One status: its name, its colour on light and dark backgrounds, and whether the invocation has ended."""

    name: str
    colour: str
    ended: bool = False


_ENDED = ("succeeded", "failed", "cancelled", "killed")
STATUSES = {name: Status(name, colour, ended=name in _ENDED) for name, colour in _COLOURS.items()}
PAST_ONLY = IN_PROGRESS, UNKNOWN = "in-progress", "unknown"
"""Statuses that only an earlier time has: running, ready or backing off; and one that its records do not prove."""
ENDED = tuple(name for name, status in STATUSES.items() if status.ended)
"""The statuses of invocations that have ended."""


@dataclass(frozen=True, slots=True)
class OutcomeStyle:
    """The style of a journal entry: its label, its color (contrast of 3:1 or more on white and #111), and its sign."""

    label: str
    colour: str
    sign: str


OUTCOMES: dict[str, OutcomeStyle] = {
    "done": OutcomeStyle("done", STATUSES["succeeded"].colour, "✓"),
    "pending": OutcomeStyle("no result", MARKS["no result"], "·"),
    "waiting": OutcomeStyle("waiting", MARKS["waiting"], "…"),
    "retrying": OutcomeStyle("failing", STATUSES["backing-off"].colour, "↻"),
    "failed": OutcomeStyle("failed", STATUSES["failed"].colour, "✖"),
}
"""The styles of journal entries by outcome, the most urgent last."""

SIGNS: Mapping[str, str] = MappingProxyType({"critical": "✖", "warning": "▲", "note": "●"})
"""A severity → its sign."""
_SAME = {
    "critical": "failed",
    "warning": "paused",
    "note": "ready",
    "incomplete": "paused",
    "healthy": "succeeded",
    "quiet": "suspended",
}
COLOURS: Mapping[str, str] = MappingProxyType(
    {**MARKS, **_COLOURS, **{tone: _COLOURS[name] for tone, name in _SAME.items()}}
)
"""A tone → its color: a status, a severity, a verdict, and others."""


def status_parts(counts: Mapping[Any, int]) -> tuple[tuple[str, int, str], ...]:
    """Return (status, count, color) of each status with a count, in the order of ``STATUSES``, unknown ones last."""
    known = [name for name in STATUSES if name in counts]
    others = [name for name in counts if name not in STATUSES]
    return tuple((name, int(counts[name]), COLOURS.get(name, COLOURS["note"])) for name in (*known, *others))


_OPEN = tuple(name for name, status in STATUSES.items() if not status.ended)
_STORED = {
    "sys_invocation": (*_OPEN, "completed"),
    "sys_invocation_status": (
        "inboxed",
        "scheduled",
        "invoked",
        "suspended",
        "paused",
        "completed",
        IN_PROGRESS,
        UNKNOWN,
    ),
}
"""The values of the column ``status``, by table."""
_OWN_STATUS = re.compile(r'\bAS\s+"?status\b', re.IGNORECASE)
_COMPARED = re.compile(r"\bstatus\s*(?:=|IN\s*\()\s*(?:'(?P<text>[^']*)'|:(?P<name>\w+))", re.IGNORECASE)

# "[409] killed"; on older servers "[409] Killed" and "[409 Aborted] killed". "canceled" is also an older spelling.
_KILLED = r"^\[409( Aborted)?\] [Kk]illed$"
_CANCELLED = r"^\[409( Aborted)?\] [Cc]ancell?ed$"

STATUS_SQL = f"""CASE
  WHEN status <> 'completed' THEN status
  WHEN completion_result = 'success' THEN 'succeeded'
  WHEN completion_failure ~ '{_KILLED}' THEN 'killed'
  WHEN completion_failure ~ '{_CANCELLED}' THEN 'cancelled'
  ELSE 'failed' END"""
"""The status as an SQL expression over the columns of ``sys_invocation``."""

STOPPED = tuple(
    f"[409{name}] {word}"
    for name in ("", " Aborted")
    for word in ("killed", "Killed", "cancelled", "Cancelled", "canceled", "Canceled")
)
"""The failures of killed and cancelled invocations."""
STOPPED_SQL = f"completion_failure IN ({', '.join(map(repr, STOPPED))})"
"""The condition on killed and cancelled invocations; a server needs less time for a list than for a pattern."""


LONG_BACK_OFFS_SQL = "-- with: backing_off\nSELECT id FROM backing_off WHERE id IN :ids"
"""The statement for those of ``:ids`` that are in a long back-off, to be completed; the view has them as ready."""


STATUSES_SQL = f"""
-- with: backing_off
SELECT i.id, CASE WHEN b.id IS NOT NULL AND i.word = 'ready' THEN 'backing-off' ELSE i.word END AS word
FROM backing_off b
RIGHT JOIN (SELECT id, {STATUS_SQL} AS word FROM sys_invocation) i ON i.id = b.id"""  # noqa: S608 - constants
"""The statement for every invocation's ``id`` and status (``word``), to be completed; it is a scan."""


COUNTS_SQL = f"SELECT word, count(*) AS invocations FROM ({STATUSES_SQL}) GROUP BY 1"  # noqa: S608 - constants
"""The statement that counts ``invocations`` per status, ``word``, to be completed. It is a scan."""


def describe_impossible_status(statement: str, params: Mapping[str, Any]) -> str:
    """Return why a statement with a condition on ``status`` can have no row, with the nearest status; "" otherwise.

    A statement that has a ``status`` of its own, such as those of this package, may have other values.
    """
    text = re.sub(r"--[^\n]*", "", statement)
    if _OWN_STATUS.search(text):
        return ""
    words = re.findall(r"\w+", text)
    allowed = [name for table, names in _STORED.items() if table in words for name in names]
    values = [found["text"] or params.get(found["name"] or "") for found in _COMPARED.finditer(text)]
    for value in values if allowed else ():
        if not isinstance(value, str) or value in allowed:
            continue
        if value in ENDED:
            return f"no row has the status {value!r}: an ended invocation is 'completed', with a completion_result."
        if near := did_you_mean(nearest_names(value, allowed, 1)):
            return f"no row has the status {value!r}. {near}"
    return ""


def status_of(status: str, completion_result: str | None = None, completion_failure: str | None = None) -> str:
    """Return the status for people from the columns of ``sys_invocation``; an unknown status does not change."""
    if status != "completed":
        return status
    if completion_result == "success":
        return "succeeded"
    if re.search(_KILLED, completion_failure or ""):
        return "killed"
    if re.search(_CANCELLED, completion_failure or ""):
        return "cancelled"
    return "failed"
