"""What pages read, and what that costs: few statements at once, and one reading for all viewers.

A reading is one result of the library, such as a diagnosis. Viewers of equal pages share it, and it is kept for some
seconds. Each source has its own threads, so that a source that hangs delays no other.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab.client.arguments import seconds_left, time_limit
from restate_lab.client.lab import innermost_source
from restate_lab.durations import DurationInput
from restate_lab.errors import TimedOut
from restate_lab.progress import Progress, redirect_messages
from restate_lab.source import Source, SourceWrapper, timeout_seconds

AT_ONCE = 2
"""Statements, and readings, of one source at the same time."""
WAITING = 20
"""Readings of one source that wait for their turn; more are refused."""
KEPT = 5.0
"""Seconds for which a reading is kept, or as long as it took, if that is longer."""
THREAD_NAME = "restate-lab serve"
"""The first part of the names of the threads that read."""
_MOST_KEPT = 200
_MOST_EARLIER = 3  # times: each has all of its invocations in memory
_LONGEST_WAIT = 60.0  # seconds for a turn without a time limit, and to come back
_FIRST_GUESS = 1.0  # seconds that a reading takes, before one has ended
T = TypeVar("T")


class TooManyReadings(Exception):
    """Too many readings of a source wait; ``retry_after`` is when to come back, in seconds."""

    def __init__(self, name: str, retry_after: int) -> None:
        super().__init__(f"{WAITING} readings of {name} are already waiting; come back in {retry_after} s")
        self.retry_after = retry_after


class LimitedSource(SourceWrapper):
    """The same source, with at most ``at_once`` statements at the same time, however many threads read.

    A statement has its turn until its rows are read. Within them no other statement of the thread can begin: two
    threads could wait for each other.
    """

    def __init__(
        self, source: Source, *, at_once: int = AT_ONCE, turns: threading.BoundedSemaphore | None = None
    ) -> None:
        super().__init__(source)
        self.turns = turns or threading.BoundedSemaphore(at_once)
        self._holders: set[int] = set()  # threads

    @property
    def now(self) -> datetime:
        """Return the source's time."""
        with self._turn(None):
            return self._source.now

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""
        with self._turn(None):
            return self._source.tables()

    def at(self, time: str | datetime | timedelta, /) -> Source:
        """Return the source at an earlier time; to read it is one turn."""
        with self._turn(None):
            return self._source.at(time)

    @contextmanager
    def stream(
        self,
        statement: str,
        /,
        *,
        timeout: DurationInput | None = None,
        progress: bool | Progress | None = False,
        **options: Any,
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield the source's reader when it is this statement's turn; the wait is a part of the time limit.

        It shows no progress: the terminal of the server is not that of a viewer.
        """
        options["progress"] = False if progress is None or progress is True else progress
        limit = timeout_seconds(timeout)
        with self._turn(limit) as waited:
            left = None if limit is None else max(0.0, limit - waited)
            with self._source.stream(statement, timeout=left, **options) as reader:
                yield reader

    @contextmanager
    def _turn(self, limit: float | None) -> Iterator[float]:
        """Yield the seconds that this thread waited for its turn, at most ``limit`` or the limit of the block."""
        started, thread = time.monotonic(), threading.get_ident()
        if thread in self._holders:
            raise RuntimeError("a statement began within the rows of another one; read these rows first")
        longest = seconds_left(_LONGEST_WAIT if limit is None else limit)
        if not self.turns.acquire(timeout=longest):
            raise TimedOut(f"other pages were reading {self.name} for {longest:.0f} s; load the page again later")
        self._holders.add(thread)
        try:
            yield time.monotonic() - started
        finally:
            self._holders.discard(thread)
            self.turns.release()


class Readings:
    """The readings of one source; all methods run in the event loop.

    ``longest`` is the limit for which a viewer waits, in seconds. ``time`` is the time that the source shows; None is
    the present. The event loop reads no property of the source, because it can wait for a server.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        *,
        longest: float,
        turns: threading.BoundedSemaphore | None = None,
        time: datetime | None = None,
    ) -> None:
        self.name, self.time = name, time
        self.source = LimitedSource(source, turns=turns)
        self._longest = longest
        self._pool = ThreadPoolExecutor(AT_ONCE, THREAD_NAME)
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}
        self._going = 0
        self._takes = _FIRST_GUESS

    async def read(
        self,
        key: Hashable,
        function: Callable[..., T],
        arguments: Mapping[str, Any],
        *,
        within: float | None = None,
    ) -> T:
        """Return the result of ``function(source, **arguments)``, of a reading that is going on, or of a kept one.

        ``key`` identifies the reading. ``within`` are the seconds that this viewer waits, if they are fewer than the
        limit of all.

        Raises:
            TooManyReadings: too many readings wait.
            TimedOut: it has not ended in time. It goes on, and a later call can have its result.
            RestateLabError: any error of the function.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._begin(key, function, arguments)
        limit = self._longest if within is None else max(0.0, min(within, self._longest))
        done, _ = await asyncio.wait([task], timeout=limit)
        if not done:
            raise TimedOut(f"{self.name} has not answered within {limit:.0f} s; load the page again for the result")
        result: T = task.result()
        return result

    def _begin(self, key: Hashable, function: Callable[..., T], arguments: Mapping[str, Any]) -> asyncio.Task[T]:
        if self._going >= AT_ONCE + WAITING:
            seconds = min(self._takes * self._going / AT_ONCE, _LONGEST_WAIT)
            raise TooManyReadings(self.name, max(1, math.ceil(seconds)))
        self._going += 1
        task = self._tasks[key] = asyncio.create_task(self._run(key, function, arguments))
        task.add_done_callback(_retrieve)
        return task

    async def _run(self, key: Hashable, function: Callable[..., T], arguments: Mapping[str, Any]) -> T:
        loop, began = asyncio.get_running_loop(), [time.monotonic()]
        kept = KEPT

        def call() -> T:
            began[0] = time.monotonic()  # not before its turn
            with redirect_messages(_ignore):
                return function(self.source, **arguments)

        try:
            result = await loop.run_in_executor(self._pool, call)
            kept = max(KEPT, time.monotonic() - began[0])  # an error is not kept longer
            return result
        finally:
            self._going -= 1
            self._takes = (self._takes + time.monotonic() - began[0]) / 2
            loop.call_later(kept, self._forget, key, asyncio.current_task())
            self._forget_oldest()

    def _forget(self, key: Hashable, task: asyncio.Task[Any] | None) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    def _forget_oldest(self) -> None:
        done = [key for key, task in self._tasks.items() if task.done()]
        for key in done[: max(0, len(done) - _MOST_KEPT)]:
            del self._tasks[key]

    @property
    def has_times(self) -> bool:
        """Return whether the source has earlier times."""
        return type(innermost_source(self.source)).at is not Source.at

    async def at(self, time: datetime, *, timeout: float, within: float) -> Readings:
        """Return the readings of the source as it was at a time; its statements are part of the limit of this source.

        ``timeout`` is the limit of reading it, in seconds, and ``within`` that of this viewer.

        Raises:
            ArgumentError: the source does not have this time.
            RestateLabError: any error of the source.
        """
        arguments = {"time": time, "timeout": timeout}
        past, now = await self.read(("at", time), _at, arguments, within=within)
        return Readings(self.name, past, longest=self._longest, turns=self.source.turns, time=now)

    def close(self) -> None:
        """Let no other reading begin; Python cannot stop a thread that is still at work."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class EarlierReadings:
    """The readings of sources at earlier times, shared by all viewers; those of the times that were used last."""

    def __init__(self) -> None:
        self._by_time: dict[tuple[str, datetime], Readings] = {}

    async def at(self, readings: Readings, time: datetime, **limits: float) -> Readings:
        """Return the readings of a source as it was at a time; ``limits`` are those of ``Readings.at``.

        Raises:
            ArgumentError: the source does not have this time.
            RestateLabError: any error of the source.
        """
        key = readings.name, time
        if key not in self._by_time:
            earlier = await readings.at(time, **limits)
            self._by_time.setdefault(key, earlier)  # other viewers waited for the same reading
        self._by_time[key] = earlier = self._by_time.pop(key)
        for oldest in list(self._by_time)[:-_MOST_EARLIER]:
            del self._by_time[oldest]  # its memory is free when its last page is made
        return earlier

    def close(self) -> None:
        """Let no other reading begin."""
        for each in self._by_time.values():
            each.close()


def _at(source: Source, *, time: datetime, timeout: float) -> tuple[Source, datetime]:
    """Return the source at a time, and the time that it shows."""
    with time_limit(timeout):
        past = source.at(time)
        return past, past.now


def _ignore(_text: str) -> None:
    """Show nothing: viewers cannot see the terminal of the server."""


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the exception of a reading whose viewers are gone, so that nothing reports it as lost."""
    if not task.cancelled():
        task.exception()
