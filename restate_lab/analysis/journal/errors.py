"""Errors of attempts: the events of a journal, assigned to their entries, and Restate's error codes.

The error codes of attempts are in ``last_failure_error_code`` and in the journal's events; observed on 1.7.12.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

TRIED, PAUSED, SUSPENDED = "TransientError", "Paused", "Suspended"
KNOWN_EVENTS = frozenset({TRIED, PAUSED, SUSPENDED})
"""The types of events that have a meaning here; events of other types are shown by their names."""
REMOVED, MISMATCH = "RT0011", "RT0016"
UNREACHABLE = frozenset({"RT0010", "RT0012", "RT0023"})
"""Codes of attempts that did not reach the handler's code."""

_MEANINGS = MappingProxyType(
    {
        "RT0001": "the inactivity or abort timeout passed",
        "RT0007": "the handler raised an error",
        "RT0010": "the deployment cannot be reached",
        REMOVED: "its deployment was removed",
        "RT0012": "the response is not from a Restate endpoint",
        MISMATCH: "journal mismatch: the code changed while it was in flight",
        "RT0018": "not found",
        "RT0020": "its deployment speaks a service protocol that the server no longer has",
        "RT0023": "the deployment is overloaded or out of service",
        "META0003": "discovery failed",
        "META0009": "bad subscription",
    }
)

_DEPRECATED = re.compile(r"is exposed by the deprecated deployment (\w+)")
_OTHER_KIND = "Unexpected variant in async result"


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One row of ``sys_journal_events``; ``command_index`` counts commands only, ``after_index`` all entries."""

    type: str
    at: datetime | None
    after_index: int | None = None
    message: str | None = None
    code: str | None = None
    command_index: int | None = None
    command_type: str | None = None
    command_name: str | None = None
    awaiting_on: str | None = None  # what the invocation waits for since a suspension, as JSON text

    @property
    def is_error(self) -> bool:
        """Return whether this is the error of an attempt, or of the last attempt before a pause."""
        return bool(self.message) and self.type in {TRIED, PAUSED}


@dataclass(frozen=True, slots=True)
class AttemptErrors:
    """The number of failed attempts of an entry, the last error, and the times at which errors were recorded."""

    retries: int | None = None
    at_least: bool = False
    message: str | None = None
    code: str | None = None
    times: tuple[datetime, ...] = ()


UNKNOWN = AttemptErrors()


NO_ERRORS = AttemptErrors(retries=0)


def attempt_errors(
    entries: pa.Table, events: Iterable[JournalEvent], attempts: int | None
) -> Mapping[int, AttemptErrors]:
    """Return position in ``entries`` → the errors there; entries without an error are omitted.

    ``attempts`` is the server's number of failed attempts since the invocation last made progress; None if the server
    does not report it. This counter is not reset when one entry succeeds and the next one fails, but it is reset by a
    pause. So it is used for an entry only if no other entry failed. The server records consecutive equal errors once,
    so the number of events is only a minimum.
    """
    by_position = _group_by_position(entries, [event for event in events if event.is_error])
    was_paused = any(event.type == PAUSED for group in by_position.values() for event in group)
    counter = attempts if len(by_position) == 1 and not was_paused else None
    return {position: _summarize(group, counter) for position, group in by_position.items()}


def parse_event(row: Mapping[str, Any]) -> JournalEvent:
    """Return a row of the events' statement as an event."""
    return JournalEvent(
        type=str(row["event_type"] or "?"),
        at=row["appended_at"],
        after_index=row["after_journal_entry_index"],
        message=row["message"],
        code=row["code"],
        command_index=row["command_index"],
        command_type=row["command_type"],
        command_name=row["command_name"],
        awaiting_on=row.get("awaiting_on"),
    )


def describe_code(code: str | None) -> str:
    """Return the code with its meaning ("RT0010: the deployment cannot be reached"); "" without a code."""
    return f"{code}: {_MEANINGS[code]}" if code and code in _MEANINGS else code or ""


def deprecated_deployment(failure: str | None) -> str | None:
    """Return the deployment that a failure names as too old for the server (RT0020); None for other failures.

    The text is from the release notes of 1.8, which no test has run.
    """
    found = _DEPRECATED.search(failure or "")
    return found[1] if found else None


def is_stale_timer(failure: str | None) -> bool:
    """Return whether an SDK reports a result of another kind than its code awaits.

    Servers before 1.8.0 cause it: a timer of an earlier invocation with the same id fires into this one (#5425).
    """
    return _OTHER_KIND in (failure or "")


def _summarize(events: Sequence[JournalEvent], counter: int | None) -> AttemptErrors:
    last = events[-1]
    seen = max(1, sum(event.type == TRIED for event in events))
    return AttemptErrors(
        retries=max(seen, counter or 0),
        at_least=counter is None,
        message=last.message,
        code=last.code,
        times=tuple(event.at for event in events if event.at is not None),
    )


def _group_by_position(entries: pa.Table, events: Sequence[JournalEvent]) -> dict[int, list[JournalEvent]]:
    commands = np.flatnonzero(entries["command_index"].is_valid())
    if not events or not len(commands):
        return {}
    indexes = [index or 0 for index in entries["index"].take(commands).to_pylist()]
    groups: defaultdict[int, list[JournalEvent]] = defaultdict(list)
    # events without a time come first; no such event has been observed
    for event in sorted(events, key=lambda event: (event.at is not None, event.at)):
        number = event.command_index
        if number is None or not 0 <= number < len(commands):
            # an error between two entries is assigned to the earlier entry
            number = max(0, bisect_right(indexes, event.after_index or 0) - 1)
        groups[int(commands[number])].append(event)
    return dict(groups)
