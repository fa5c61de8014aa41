"""What the counts of a backlog say: its answer, the calls that are stuck, and the sentences about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from restate_lab._text import format_duration, join, one_line

GROWING, STILL, UNKNOWN, DRAINING = "growing", "standing still", "unknown", "draining"
ORDER = (GROWING, STILL, UNKNOWN, DRAINING)
_NOISE = 2.0  # a difference of two counts below this many standard deviations may be chance
_MINUTE = timedelta(minutes=1)
_OBSTACLES: Mapping[str, str] = {
    "behind_keys": "behind a held key",
    "in_paused": "in a paused queue",
    "under_limits": "under a full limit",
}


class Group(NamedTuple):
    """A service, a key of it, or a scope of it with a limit key."""

    service: str
    key: str | None = None
    scope: str | None = None
    limit_key: str | None = None

    @property
    def level(self) -> str:
        """Return "service", "key" or "queue"."""
        return "queue" if self.scope is not None else "key" if self.key is not None else "service"

    def __str__(self) -> str:
        parts = [self.service if self.key is None else f"{self.service}/{self.key}"]
        parts += [] if self.scope is None else [f"in scope {self.scope}"]
        parts += [] if self.limit_key is None else [f"with limit key {self.limit_key}"]
        return " ".join(parts)


class Window(NamedTuple):
    """The observed time: its beginning, its last third, and its end."""

    since: datetime
    recent: datetime
    now: datetime

    @property
    def length(self) -> timedelta:
        """Return how long it is."""
        return self.now - self.since


def group_of(row: Mapping[Any, Any]) -> Group:
    """Return the group of a row with ``service, key, scope, limit_key``."""
    return Group(*(row[name] for name in Group._fields))


def describe_backlog(counts: Mapping[str, Any], window: Window, unread: str) -> dict[str, Any]:
    """Return the row of the question ``draining`` about these counts; ``unread`` is why ended calls are missing."""
    stuck = sum(counts[name] for name in _OBSTACLES)
    free = counts["waiting"] - stuck
    answer, reason = (UNKNOWN, unread) if unread and free else _answer(counts, free, window)
    if unread:
        arrivals = completions = None
    else:
        arrivals, completions = (counts[name] * _MINUTE / window.length for name in ("arrivals", "ends"))
    group = group_of(counts)
    return {
        "level": group.level,
        **group._asdict(),
        "waiting": counts["waiting"],
        "stuck": stuck,
        "arrivals": arrivals,
        "completions": completions,
        "answer": answer,
        "empty_in": _empty_in(free, counts, window) if answer == DRAINING else None,
        "reason": "; ".join(filter(None, (reason, _stuck_text(counts)))) or None,
    }


def _answer(counts: Mapping[str, Any], free: int, window: Window) -> tuple[str, str]:
    """Return the answer and its reason; of ``waiting`` calls, ``free`` ones are not stuck."""
    if not free:
        return (GROWING if _is_clear(counts["stuck_arrivals"], counts["stuck_arrivals"]) else STILL), ""
    ended, last = counts["ends"], counts["last_completed_at"]
    growth, total = counts["arrivals"] - ended, counts["arrivals"] + ended
    if _is_clear(min(growth, free), total):  # other calls that began are suspended, and do not wait for their start
        return GROWING, ""
    if not _is_clear(-growth, total):
        return STILL, ""
    if last < window.recent:
        return STILL, f"nothing has ended in the last {format_duration(window.now - window.recent)}"
    return DRAINING, ""


def _is_clear(difference: int, total: int) -> bool:
    return difference > _NOISE * math.sqrt(total)


def _empty_in(free: int, counts: Mapping[str, Any], window: Window) -> timedelta:
    """Return the time until nothing waits at this rate, in whole minutes."""
    rate = (counts["ends"] - counts["arrivals"]) / (window.length / _MINUTE)
    return timedelta(minutes=max(round(free / rate), 1))


def _stuck_text(counts: Mapping[str, Any]) -> str:
    parts = [f"{counts[name]:,} {text}" for name, text in _OBSTACLES.items() if counts[name]]
    return f"stuck: {join(parts)}" if parts else ""


def describe(row: Mapping[Any, Any]) -> str:
    """Return the answer of a row of the question, and what is stuck: "empty in 20m at this rate"."""
    answer = _end_text(row) or str(row["answer"])
    return f"{answer} ({row['reason']})" if row["reason"] else answer


def sentence_about(row: Mapping[Any, Any]) -> str:
    """Return the row of a backlog as one sentence."""
    backlog = f"The backlog of {one_line(str(group_of(row)), 80)}, {row['waiting']:,} waiting,"
    if row["answer"] == UNKNOWN:
        return f"{backlog} has an unknown end: {row['reason']}."
    is_read = row["arrivals"] is not None
    rates = f"{row['arrivals']:,.1f} arrive and {row['completions']:,.1f} end a minute" if is_read else ""
    return f"{backlog} is {row['answer']}: {'; '.join(filter(None, (_end_text(row), rates, row['reason'])))}."


def _end_text(row: Mapping[Any, Any]) -> str:
    return f"empty in {format_duration(row['empty_in'])} at this rate" if row["answer"] == DRAINING else ""
