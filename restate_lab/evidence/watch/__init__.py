"""Watch a cluster: poll it again and again, and return the rates that the server does not keep."""

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
_SHARE = 10  # a poll takes a tenth of the time at most


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
    """Look at a live source every so often, and return what was counted and how fast it changed.

    ``every`` and ``until`` are durations ("30s", "2h", a timedelta); ``until`` is also a moment (an aware datetime, an
    ISO string with its zone), a function that is given the frame after each look and ends the watch by a true answer,
    or None: until it is stopped. The stop button (Ctrl-C) ends it at any time, and what was seen comes back.
    ``service`` narrows it to one. A look is three counts that read no journal; where it takes long, the next one waits
    ten times as long, so that watching is never a tenth of a cluster's load. ``timeout`` is for the three counts of one
    look together; None leaves each to the connection's own limit. ``progress``: None or True shows a line once the call
    takes longer than a second, False shows nothing, and a ``Progress`` is updated instead.

    One row per look and thing, looks in their order. Columns:

    - ``at`` (UTC, the server's clock), ``what``, and which: ``target_service_name, name, scope``.
      ``status``: what is not completed, ``name`` is the status. ``retries``: what is being tried again, ``name`` is
      the handler. ``backlog``: calls that wait for a key, ``name`` is the key. ``deployment``: what is not completed
      and pinned to it, ``name`` is its id.
    - ``n``: how many; null for a key that was not among those read.
    - ``per_minute``: for retries, the attempts that began since the look before, a minute; for all others by how much
      ``n`` grew. Null at the first look. Retries of what has ended since, or made progress, are not all seen.
    - ``eta``: of backlog and deployments, until nothing is left, at the rate of the last five looks; null where
      it does not shrink.

    ``limit`` bounds the invocations whose retries are followed and the keys; what it cut is warned of (Truncated). A
    look that fails because no answer came is left out, and stands in ``attrs["failed"]``; rates go over the gap.
    ``attrs`` has ``looks`` (how many), ``every, until, service``, ``slowest_look`` (seconds), and ``ended``: "until",
    "stopped", or "failed", which is warned of as well.

    Raises:
        ArgumentError: an argument is malformed, ``until`` lies in the past, or the source is frozen evidence.
        NotOnThisServer: the source is too old.
        TimedOut: the first look was not over within ``timeout``.
        RestateLabError: what the first look raises.
    """
    if not source.live:
        raise ArgumentError(f"{source!r} is frozen and never changes: watch a live source, or rl.compare() two.")
    interval, max_rows = to_timedelta(every, name="every"), check_count("limit", limit, least=1)
    seconds = None if timeout is None else check_seconds("timeout", timeout)
    if not interval:
        raise ArgumentError(f"every is {every!r}: give the time between two looks, such as '30s'.")
    check_supported(source, "watch()")
    refuse_unknown_names(source, service=service)
    end = _end(until, within(source, seconds, verb="watch").now)
    frame = _PollLoop(source, interval, until, end, service, max_rows, seconds, _progress(progress, until)).run()
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # of the caller of the decorated function
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
    took: float = 0.0  # seconds, of the last poll that had a response
    slowest: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def run(self) -> pd.DataFrame:
        """Poll until the end, or until it is stopped; return the frame."""
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
            # a poll without a response takes long as well, and is no load
            pause = max(self.every.total_seconds(), self.took * _SHARE) - (time.monotonic() - started)
            if self._is_over(pause):
                return "until"
            self._update_progress()
            time.sleep(max(pause, 0.0))

    def _poll(self) -> bool:
        """Poll once; False where another poll would fail as well."""
        begun = time.monotonic()
        try:
            result = poll(
                within(self.source, self.timeout, verb="a look of watch"), service=self.service, limit=self.limit
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
        """Show how many polls of how many are done; without an end, how many counts were read."""
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
        """Yield what the frame lacks."""
        cut = frozenset[str]().union(*(sample.cut for sample in self.samples))
        if "retries" in cut:
            yield f"more than {self.limit:,} were tried again: retries per minute are those of the first ones, by id"
        if "backlog" in cut:
            yield f"calls waited for more than {self.limit:,} keys: only those with most of them were counted"
        if ended == "failed":
            yield f"the watch ended early: {self.failed[-1]['error']}"
        elif self.failed:
            yield f"{plural(len(self.failed), 'look')} failed and are left out: {self.failed[-1]['error']}"


def _end(until: Until, now: datetime) -> datetime | None:
    if until is None or callable(until):
        return None
    end = to_datetime(until, now=now, ahead=True, name="until")
    if end < now:
        raise ArgumentError(f"until is {end.isoformat()}, which is over: it is {now.isoformat()}.")
    return end


def _progress(progress: bool | Progress | None, until: Until) -> Progress:
    has_end = until is not None and not callable(until)
    return progress_of(progress, lambda: InvocationsLine("watching, looks") if has_end else RowsLine("watching"))
