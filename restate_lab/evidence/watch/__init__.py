"""Watch a cluster: poll it repeatedly, and return rates that the server does not record."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.deadline import within
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import check_count, check_seconds
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import (
    ArgumentError,
    QueryInterrupted,
    RateLimited,
    RestateLabError,
    ServerFailed,
    TimedOut,
    Truncated,
    Unreachable,
)
from restate_lab.evidence.watch.sampler import PollResult, Sample, frame_of, poll
from restate_lab.progress import InvocationsLine, Progress, RowsLine, progress_of
from restate_lab.source import Source, check_supported

__all__ = ["Until", "watch"]

Until: TypeAlias = TimeInput | Callable[[pd.DataFrame], Any] | None

_PASSING = (Unreachable, TimedOut, RateLimited, ServerFailed, QueryInterrupted)
_SHARE = 10  # polls take at most a tenth of the time


@translate_errors
def watch(
    source: Source,
    /,
    *,
    every: DurationInput = "30s",
    until: Until = "10m",
    service: str | None = None,
    limit: int = 10_000,
    timeout: DurationInput | None = None,
    progress: bool | Progress | None = None,
) -> pd.DataFrame:
    """Poll a live source at regular intervals, and return the counts and their rates of change.

    ``every`` is a duration ("30s", "2h", a timedelta). ``until`` is a duration, a time (an aware datetime, an ISO
    string with its zone), a function, or None. A function gets the frame after each poll and ends the watch by
    returning a true value; None means until it is stopped. The stop button (Ctrl-C) ends the watch at any time, and the
    frame is returned. ``service`` selects one service. A poll is three counts that read no journal. After a slow poll,
    the next one waits ten times as long as it took, so that the watch causes at most a tenth of the load. ``timeout``
    is for the three counts of one poll together; with None, each count has the connection's own limit. ``progress``:
    None or True shows a line once the call takes longer than a second, False shows nothing, and a ``Progress`` is
    updated instead.

    The frame has one row per poll and series, in the order of the polls. Columns:

    - ``at`` (UTC, the server's clock), ``what`` and ``target_service_name, name, scope`` (these identify the series).
      ``status``: open invocations, ``name`` is the status. ``retries``: retrying invocations, ``name`` is the handler.
      ``backlog``: calls that wait for a key, ``name`` is the key. ``deployment``: open invocations that are pinned to a
      deployment, ``name`` is its id.
    - ``n``: the count; null for a key that was not read because of ``limit``.
    - ``per_minute``: for retries, the attempts per minute that began since the previous poll; for other series, the
      growth of ``n`` per minute. Null for the first poll. Retries of invocations that have since ended or made progress
      are only partly counted.
    - ``eta``: for backlog and deployments, the time until ``n`` is 0 at the rate of the last five polls; null if ``n``
      does not decrease.

    ``limit`` is the maximum number of keys, and of invocations whose retries are counted; if it is exceeded, there is a
    warning (Truncated). A poll without a response is skipped and recorded in ``attrs["failed"]``; the next rates are
    computed over the gap. ``attrs`` has ``looks`` (the number of polls), ``every, until, service``, ``slowest_look``
    (the duration of the slowest poll, in seconds), and ``ended``: "until", "stopped", or "failed" (with a warning).

    Raises:
        ArgumentError: an argument is malformed, ``until`` is in the past, or the source is frozen evidence.
        NotOnThisServer: the source is too old.
        TimedOut: the first poll did not finish within ``timeout``.
        RestateLabError: any error of the first poll.
    """
    if not source.live:
        raise ArgumentError(
            f"{source!r} is frozen evidence, which never changes: watch a live source, or use rl.compare() on two "
            f"sources."
        )
    interval, max_rows = to_timedelta(every, name="every"), check_count("limit", limit, least=1)
    seconds = None if timeout is None else check_seconds("timeout", timeout)
    if not interval:
        raise ArgumentError(f"every is {every!r}: pass the time between two polls, for example '30s'.")
    check_supported(source, "watch()")
    refuse_unknown_names(source, service=service)
    end = _end(until, within(source, seconds, verb="watch").now)
    frame = _PollLoop(source, interval, until, end, service, max_rows, seconds, _progress(progress, until)).run()
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # point to the caller of the decorated function
    return frame


@dataclass(slots=True)
class _PollLoop:
    """The polls of one watch."""

    source: Source
    every: timedelta
    until: Until
    end: datetime | None
    service: str | None
    limit: int
    timeout: float | None
    progress: Progress
    samples: list[Sample] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    last: PollResult | None = None
    took: float = 0.0  # seconds; duration of the last poll with a response
    slowest: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def run(self) -> pd.DataFrame:
        """Poll until the end or until the watch is stopped; return the frame."""
        try:
            ended = self._run()
        except KeyboardInterrupt:
            if not self.samples:
                raise
            ended = "stopped"
        finally:
            self.progress.close()
        return self._frame(ended)

    def _run(self) -> str:
        while True:
            started = time.monotonic()
            if not self._poll():
                return "failed"
            # polls without a response can also be slow, but they cause no load, so ``took`` does not include them
            pause = max(self.every.total_seconds(), self.took * _SHARE) - (time.monotonic() - started)
            if self._is_over(pause):
                return "until"
            self._update_progress()
            time.sleep(max(pause, 0.0))

    def _poll(self) -> bool:
        """Poll once; return False if another poll would also fail."""
        begun = time.monotonic()
        try:
            result = poll(
                within(self.source, self.timeout, verb="a poll of watch"), service=self.service, limit=self.limit
            )
        except RestateLabError as error:
            if not self.samples:
                raise
            at = self.samples[-1].at.isoformat()
            self.failed.append({"after": at, "error": str(error).partition("\n")[0]})
            return isinstance(error, _PASSING)
        self.samples.append(Sample.of(result, self.last))
        self.last = result
        self.took = time.monotonic() - begun
        self.slowest = max(self.slowest, self.took)
        return True

    def _is_over(self, pause: float) -> bool:
        if callable(self.until):
            return bool(self.until(self._frame("")))
        passed = timedelta(seconds=time.monotonic() - self.started + pause)
        return self.end is not None and self.samples[0].at + passed > self.end

    def _update_progress(self) -> None:
        """Show the number of polls and the planned total; without an end, the number of counts."""
        if self.end is None:
            self.progress.update(sum(len(sample.counts) for sample in self.samples), 0)
            return
        polls = len(self.samples)
        self.progress.update(polls, max(polls, (self.end - self.samples[0].at) // self.every + 1))

    def _frame(self, ended: str) -> pd.DataFrame:
        frame = frame_of(self.samples)
        attrs: dict[Hashable, Any] = {
            "source": self.source.name,
            "version": self.source.version,
            "now": self.samples[-1].at.isoformat(),
            "started": self.samples[0].at.isoformat(),
            "every": format_duration(self.every, exact=True),
            "until": None if self.end is None else self.end.isoformat(),
            "service": self.service,
            "looks": len(self.samples),
            "ended": ended,
            "failed": list(self.failed),
            "slowest_look": round(self.slowest, 3),
        }
        if limitations := list(self._limitations(ended)):
            attrs["truncated"] = {"limit": self.limit, "message": "; ".join(limitations)}
        frame.attrs = attrs
        return frame

    def _limitations(self, ended: str) -> Iterator[str]:
        """Yield the reasons why the frame is incomplete."""
        cut = frozenset[str]().union(*(sample.cut for sample in self.samples))
        if "retries" in cut:
            yield (
                f"more than {self.limit:,} invocations were retried, so retries per minute include only the first by id"
            )
        if "backlog" in cut:
            yield f"more than {self.limit:,} keys had waiting calls, so only those with the most were counted"
        if ended == "failed":
            yield f"the watch ended early: {self.failed[-1]['error']}"
        elif self.failed:
            yield f"{plural(len(self.failed), 'failed poll')} excluded: {self.failed[-1]['error']}"


def _end(until: Until, now: datetime) -> datetime | None:
    if until is None or callable(until):
        return None
    end = to_datetime(until, now=now, ahead=True, name="until")
    if end < now:
        raise ArgumentError(f"until is {end.isoformat()}, which is in the past: it is now {now.isoformat()}.")
    return end


def _progress(progress: bool | Progress | None, until: Until) -> Progress:
    has_end = until is not None and not callable(until)
    return progress_of(progress, lambda: InvocationsLine("watching, polls") if has_end else RowsLine("watching"))
