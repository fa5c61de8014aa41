"""The runs that a story knows, and which run of an id an edge means.

An id has one run at a time. A workflow key and an idempotency key get the same id again after the earlier run was
removed, so the id in a journal or a row does not identify a run. The time does:

- An invocation belongs to the newest run of its caller that was created before it.
- A call names the run that it created: its row names the caller, and it was created after the entry of the call and
  before the result of this call and the next entry that names the id. Otherwise the call is a second one, and names the
  newest run that was created before it. This holds for all other entries, too.
- A restart names the newest run that was created before it.

Clocks of nodes differ by some milliseconds, so ``CLOCK`` is the tolerance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from restate_lab.analysis.journal.reader import failed_attempts

CLOCK = 20  # milliseconds between the clocks of two nodes
LATE = 5_000  # milliseconds after the end of a caller in which its last call may create an invocation


@dataclass(frozen=True, slots=True)
class StoryRun:
    """One run of an invocation: its row, with times in milliseconds. ``plain`` is its id without a time."""

    id: str
    plain: str
    created: int
    ended: int | None
    begun: int | None
    scheduled: int | None
    caller: str | None
    restarted: str | None
    trace: str | None
    row: Mapping[str, Any]
    attempts: int | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any], queue_attempts: int | None = None) -> StoryRun:
        """Return the run of a row of ``StoryReader.runs``."""
        id_, created = row["id"], row["created_at"]
        ended = row["completed_at"] if row["ended"] else None
        return cls(
            id=id_,
            plain=plain_id(id_),
            created=created,
            ended=max(created, ended) if ended is not None else None,
            begun=_first(row["running_at"], row["last_start_at"]),
            scheduled=row["scheduled_start_at"],
            caller=row["invoked_by_id"] or None,
            restarted=row["restarted_from"] or None,
            trace=row["trace_id"] or None,
            row=row,
            attempts=failed_attempts(row, queue_attempts),
        )

    @property
    def has_ended(self) -> bool:
        """Return whether the run has ended."""
        return bool(self.row["ended"])

    @property
    def status(self) -> str:
        """Return the status for display; with vqueues, the server reports "ready" during a long back-off."""
        status = str(self.row["status"])
        return "backing-off" if status == "ready" and self.attempts is not None else status


@dataclass(slots=True)
class KnownRuns:
    """All runs that were read, by id; ``requested`` are the ids that were asked for, also those without a run."""

    by_id: dict[str, StoryRun] = field(default_factory=dict)
    requested: set[str] = field(default_factory=set)
    _by_plain: dict[str, list[StoryRun]] = field(default_factory=dict)

    def add(self, ids: Iterable[str], runs: Iterable[StoryRun]) -> None:
        """Add the runs of these ids."""
        self.requested.update(ids)
        for run in runs:
            if run.id not in self.by_id:
                self.by_id[run.id] = run
                own = self._by_plain.setdefault(run.plain, [])
                own.append(run)
                own.sort(key=lambda each: each.created)

    def of(self, plain: str) -> list[StoryRun]:
        """Return the runs of an id, oldest first."""
        return self._by_plain.get(plain, [])

    def before(self, plain: str, at: int) -> StoryRun | None:
        """Return the newest run of an id that was created at this time or before."""
        return next((run for run in reversed(self.of(plain)) if run.created <= at + CLOCK), None)

    def created_by(self, plain: str, caller: str, since: int, until: int) -> StoryRun | None:
        """Return the first run of an id whose row names this caller, created in this time."""
        own = (run for run in self.of(plain) if run.caller == caller)
        return next((run for run in own if since - CLOCK <= run.created <= until), None)


def plain_id(id_: str) -> str:
    """Return the id of an invocation without the time that a history appends to earlier runs."""
    return id_.partition("@")[0]


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def unread_ids(known: KnownRuns, ids: Iterable[str | None]) -> Iterator[str]:
    """Yield the ids that were not requested yet, each once."""
    for id_ in dict.fromkeys(ids):
        if id_ and id_ not in known.requested:
            yield id_
