"""Wait until invocations reach a status, without a polling loop in the notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.actions.reader import with_retries
from restate_lab.analysis.ids import Targets, parse_ids
from restate_lab.analysis.invocations.filters import ALL, MOST, RETRYING, Filters, statuses_of
from restate_lab.analysis.invocations.groups import status_rank
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.client.arguments import check_seconds
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, RestateLabError, TimedOut
from restate_lab.frames import records
from restate_lab.progress import InvocationsLine, Progress, progress_of
from restate_lab.reads import Reads, begin
from restate_lab.source import Source
from restate_lab.status import STATUSES

WaitUntil: TypeAlias = str | Iterable[str] | Callable[[pd.DataFrame], Any]

_PAUSE = 0.5  # seconds between two polls
_SHARE = 10  # polling takes at most a tenth of the time
_EXAMPLES = 3  # invocations that a message names


@translate_errors
def wait_for(
    source: Source,
    targets: Targets,
    /,
    *,
    until: WaitUntil = "ended",
    timeout: DurationInput = "2m",
    progress: bool | Progress | None = None,
) -> pd.DataFrame:
    """Poll invocations until all of them have reached a status, and return their rows.

    ``targets``: one id, a list or Series of ids, or a frame with a column ``id`` or ``invocation_id``; at most 10,000.
    ``until``: a status such as "paused", several statuses, "retrying" (backing off, or running again), one of the
    panel's presets ("ended", "in-flight", "attention"), or a function that receives the frame after each poll and
    returns true to end the wait: ``until=lambda rows: rows.retry_count.max() >= 3``. A poll reads the targets by id,
    every half second or less often: polling takes at most a tenth of the time. ``timeout`` is for the whole call.
    ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
    ``Progress`` is updated instead.

    One row per invocation, in the order of ``targets``, with the columns of ``rl.Panel(lab).frame``: among them ``id,
    target, status, created_at, modified_at, completed_at, retry_count, next_retry_at, failure, step``. An invocation
    that was removed during the wait (its retention is over, or it was purged) counts as ended and has no row.

    Raises:
        ArgumentError: an argument is malformed, or the source is frozen evidence, which never changes.
        NotOnThisServer: the server is too old.
        TimedOut: ``timeout`` is over; the message names the invocations that have not reached the status.
        RestateLabError: what ``source.sql`` raises; a broken connection is retried for up to 30 seconds.
    """
    if not source.live:
        raise ArgumentError(f"{source!r} is frozen evidence and never changes; wait on a live source instead.")
    ids, _ = parse_ids(targets)
    if len(ids) > MOST:
        raise ArgumentError(f"{len(ids):,} targets are too many; wait for at most {MOST:,} invocations in one call.")
    wanted = frozenset[str]()
    if not callable(until):
        names = (until,) if isinstance(until, str) else tuple(until)
        wanted = frozenset(statuses_of(Filters(status=names).status))
    reads = begin(source, "wait_for", check_seconds("timeout", timeout))
    wait = _Wait(reads, ids, Filters(status=(ALL,), id=tuple(ids)), until, wanted)
    line = progress_of(progress, lambda: InvocationsLine("waiting, invocations done"))
    try:
        return wait.run(line) if ids else pd.DataFrame({"id": [], "status": []}, dtype="string")
    finally:
        line.close()


@dataclass(slots=True)
class _Wait:
    reads: Reads
    ids: Sequence[str]
    filters: Filters
    until: WaitUntil
    wanted: frozenset[str]
    seen: set[str] = field(default_factory=set)

    def run(self, progress: Progress) -> pd.DataFrame:
        while True:
            began = time.monotonic()
            rows = self._read()
            missing = self._missing(rows)
            progress.update(len(self.ids) - len(missing), len(self.ids))
            if self._is_over(rows) if callable(self.until) else not missing:
                return rows
            pause = max(_PAUSE, (time.monotonic() - began) * _SHARE)
            if self.reads.seconds_left <= pause:
                raise TimedOut(self._message(rows, missing))
            time.sleep(pause)

    def _is_over(self, rows: pd.DataFrame) -> bool:
        """Return what the user's function returns; its error is about the argument, and not about a response."""
        try:
            return bool(self.until(rows))  # type: ignore[operator]
        except RestateLabError:
            raise
        except Exception as error:
            raise ArgumentError(
                f"the function until= failed: {type(error).__name__}: {one_line(str(error))}."
            ) from error

    def _read(self) -> pd.DataFrame:
        reads = Reads(self.reads)  # of one poll: the server can be upgraded meanwhile
        frame = with_retries(lambda: read_rows(reads, self.filters), left=reads.seconds_left).frame
        self.seen.update(frame["id"])
        order = {id_: place for place, id_ in enumerate(self.ids)}
        return frame.sort_values("id", key=lambda column: column.map(order), ignore_index=True)

    def _missing(self, rows: pd.DataFrame) -> list[str]:
        """Return the ids that have not reached the status; a removed invocation has ended."""
        reached = {row["id"] for row in records(rows) if self._has_reached(row)}
        if any(name in self.wanted for name, status in STATUSES.items() if status.ended):
            reached |= self.seen - set(rows["id"])
        return [id_ for id_ in self.ids if id_ not in reached]

    def _has_reached(self, row: Mapping[Any, Any]) -> bool:
        is_retrying = status_rank(row["status"], row["retry_count"]) == status_rank("backing-off")
        return row["status"] in self.wanted or (RETRYING in self.wanted and is_retrying)

    def _message(self, rows: pd.DataFrame, missing: Sequence[str]) -> str:
        waited = self.reads.limit
        if callable(self.until):
            return f"until= was not true within {waited}; allow more with timeout=, or ask rl.why() for the reason."
        statuses = dict(zip(rows["id"], rows["status"], strict=True))
        named = [f"{id_} is {statuses.get(id_, 'not on the cluster')}" for id_ in missing[:_EXAMPLES]]
        more = [f"{len(missing) - _EXAMPLES:,} more"] if len(missing) > _EXAMPLES else []
        return (
            f"{plural(len(missing), 'invocation')} of {len(self.ids):,} did not reach the status within {waited}: "
            f"{', '.join(named + more)}. Allow more with timeout=, or ask rl.why() for the reason."
        )
