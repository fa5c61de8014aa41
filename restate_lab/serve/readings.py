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
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab.durations import DurationInput
from restate_lab.errors import TimedOut
from restate_lab.source import Source, SourceWrapper, timeout_seconds

AT_ONCE = 2
"""Statements, and readings, of one source at the same time."""
WAITING = 20
"""Readings of one source that wait for their turn; more are refused."""
KEPT = 5.0
"""Seconds for which a reading is kept, or as long as it took, if that is longer."""
_MOST_KEPT = 200
_LONGEST_WAIT = 60.0  # seconds for a turn without a time limit
_FIRST_GUESS = 1.0  # seconds that a reading takes, before one has ended
T = TypeVar("T")


class TooManyReadings(Exception):
    """Too many readings of a source wait; ``retry_after`` is when to come back, in seconds."""

    def __init__(self, name: str, retry_after: int) -> None:
        super().__init__(f"{WAITING} readings of {name} are already waiting; come back in {retry_after} s")
        self.retry_after = retry_after


class LimitedSource(SourceWrapper):
    """The same source, with at most ``AT_ONCE`` statements at the same time, however many threads read."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    @property
    def now(self) -> datetime:
        """Return the source's time."""
        with self._turn(None):
            return self._source.now

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""
        with self._turn(None):
            return self._source.tables()

    @contextmanager
    def stream(
        self, statement: str, /, *, timeout: DurationInput | None = None, **options: Any
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield the source's reader when it is this statement's turn; the wait is a part of the time limit."""
        limit = timeout_seconds(timeout)
        with self._turn(limit) as waited:
            left = None if limit is None else limit - waited
            with self._source.stream(statement, timeout=left, **options) as reader:
                yield reader

    @contextmanager
    def _turn(self, limit: float | None) -> Iterator[float]:
        started = time.monotonic()
        longest = _LONGEST_WAIT if limit is None else limit
        if not self._turns.acquire(timeout=longest):
            raise TimedOut(f"other pages were reading {self.name} for {longest:.0f} s; try again later")
        try:
            yield time.monotonic() - started
        finally:
            self._turns.release()


class Readings:
    """The readings of one source; all methods run in the event loop."""

    def __init__(self, name: str, source: Source, *, longest: float) -> None:
        self.name = name
        self.source = LimitedSource(source)
        self._longest = longest
        self._pool = ThreadPoolExecutor(AT_ONCE, f"serve-{name}")
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}
        self._forget_at: dict[Hashable, float] = {}
        self._going = 0
        self._takes = _FIRST_GUESS

    async def read(self, key: Hashable, function: Callable[..., T], /, **arguments: Any) -> T:
        """Return the result of ``function(source, **arguments)``, of a reading that is going on, or of a kept one.

        ``key`` identifies the reading.

        Raises:
            TooManyReadings: too many readings wait.
            TimedOut: it has not ended in time. It goes on, and a later call can have its result.
            RestateLabError: any error of the function.
        """
        self._forget()
        task = self._tasks.get(key)
        if task is None:
            if self._going >= AT_ONCE + WAITING:
                raise TooManyReadings(self.name, math.ceil(self._takes * self._going / AT_ONCE))
            task = self._tasks[key] = asyncio.create_task(self._run(key, function, arguments))
            task.add_done_callback(_retrieve)
        done, _ = await asyncio.wait([task], timeout=self._longest)
        if not done:
            raise TimedOut(f"{self.name} has not answered within {self._longest:.0f} s; the page can be loaded again")
        result: T = task.result()
        return result

    async def _run(self, key: Hashable, function: Callable[..., T], arguments: Mapping[str, Any]) -> T:
        self._going += 1
        loop, began = asyncio.get_running_loop(), [time.monotonic()]

        def call() -> T:
            began[0] = time.monotonic()  # not before its turn
            return function(self.source, **arguments)

        try:
            return await loop.run_in_executor(self._pool, call)
        finally:
            self._going -= 1
            took = time.monotonic() - began[0]
            self._takes = (self._takes + took) / 2
            self._forget_at[key] = time.monotonic() + max(KEPT, took)

    def _forget(self) -> None:
        now = time.monotonic()
        old = [key for key, at in self._forget_at.items() if at <= now]
        newest = len(self._forget_at) - len(old) - _MOST_KEPT
        if newest > 0:
            old = sorted(self._forget_at, key=self._forget_at.__getitem__)[: len(old) + newest]
        for key in old:
            del self._forget_at[key], self._tasks[key]

    def close(self) -> None:
        """Let no other reading begin; Python cannot stop a thread that is still at work."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the exception of a reading whose viewers are gone, so that nothing reports it as lost."""
    if not task.cancelled():
        task.exception()
