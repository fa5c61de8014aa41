"""A source with a time limit: each statement may use the seconds that remain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab._text import format_duration
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.reads import SentStatement
from restate_lab.source import Source, SourceWrapper, read_table, timeout_seconds

__all__ = ["Deadline", "within"]

Rows = TypeVar("Rows", pa.Table, pd.DataFrame)

_TIMEOUT_MESSAGE = "{verb} did not finish within its timeout of {timeout}; pass a longer timeout=, or request less data"


class Deadline(SourceWrapper):
    """Wrap another source, and let it send statements for ``seconds`` only.

    The source's clock is read once, or fixed at ``now``. A repeated statement is answered from memory. Failures are
    remembered too, except a timeout of a statement that had a shorter limit of its own. With ``remembers=False`` the
    clock and each statement are read every time. After the deadline nothing is sent: each read raises TimedOut with
    ``timeout_message``.
    """

    def __init__(
        self,
        source: Source,
        seconds: float,
        *,
        timeout_message: str,
        now: datetime | None = None,
        remembers: bool = True,
    ) -> None:
        super().__init__(source)
        self._remembers = remembers
        self._ends = time.monotonic() + seconds
        self._now = now
        self._results: dict[str, Any] = {}
        self.timeout_message = timeout_message
        self.statements: list[SentStatement] = []
        """The statements that were sent and whose results are remembered, in order."""

    @property
    def now(self) -> datetime:
        """Return the fixed time, or the source's time at the first read."""
        if self._now is not None:
            return self._now
        with self._limit():
            now = super().now
        if self._remembers:
            self._now = now
        return now

    @property
    def version(self) -> str:
        """Return the source's version."""
        with self._limit():
            return super().version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the source's features."""
        with self._limit():
            return super().features

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the deadline; zero after it."""
        return max(0.0, self._ends - time.monotonic())

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""

        def read() -> pd.DataFrame:
            with self._limit():
                return self._source.tables()

        return self._read_once("", read).copy(deep=False)

    @contextmanager
    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield a reader with the remaining time as its limit; a repeated statement is answered from memory."""
        limit = timeout_seconds(timeout)
        if not self._remembers:
            with self._source.stream(
                statement, params=params, timeout=self._remaining_timeout(limit), **options
            ) as reader:
                yield reader
            return

        def read() -> pa.Table:
            with self._source.stream(
                statement, params=params, timeout=self._remaining_timeout(limit), **options
            ) as reader:
                return read_table(reader)

        values = {**(params or {}), **options, "progress": None}
        is_hurried = limit is not None and limit < self.seconds_left
        yield self._read_once(f"{statement}\n{sorted(values.items())!r}", read, is_hurried=is_hurried).to_reader()

    @contextmanager
    def _limit(self) -> Iterator[None]:
        """Limit requests of the source itself; after the deadline, the error names the deadline."""
        try:
            with time_limit(self.seconds_left):
                yield
        except TimedOut as error:
            if self.seconds_left:
                raise
            raise TimedOut(f"{self.timeout_message}.") from error

    def _remaining_timeout(self, timeout: float | None) -> float:
        left = self.seconds_left
        if not left:
            raise TimedOut(f"{self.timeout_message}.")
        return left if timeout is None else min(left, timeout)

    def _read_once(self, key: str, read: Callable[[], Rows], *, is_hurried: bool = False) -> Rows:
        known = self._results.get(key)
        if known is None:
            self._remaining_timeout(None)
            known = self._send(read)
            if self._remembers and not (is_hurried and isinstance(known, TimedOut)):
                self._results[key] = known
        if isinstance(known, RestateLabError):
            raise known
        rows: Rows = known
        return rows

    def _send(self, read: Callable[[], Rows]) -> Rows | RestateLabError:
        started = time.monotonic()
        try:
            rows = read()
        except RestateLabError as error:
            self.statements.append(SentStatement(time.monotonic() - started, 0))
            return error
        self.statements.append(SentStatement(time.monotonic() - started, len(rows)))
        return rows


def within(
    source: Source,
    timeout: DurationInput | None,
    *,
    verb: str,
    spent: float = 0.0,
    now: datetime | None = None,
    remembers: bool = False,
) -> Source:
    """Return a source that raises TimedOut once ``timeout`` has passed, counted from now; for None, the source itself.

    ``verb`` is the name of the function that reads; the message contains it. ``spent`` is the part of ``timeout``, in
    seconds, that has already passed. ``now`` and ``remembers`` are passed to ``Deadline``; by default nothing is
    remembered, so a repeated statement is sent again.

    Raises:
        ArgumentError: ``timeout`` is not a duration.
    """
    if timeout is None:
        return source
    seconds = check_seconds("timeout", timeout)
    timeout_message = _TIMEOUT_MESSAGE.format(verb=verb, timeout=format_duration(to_timedelta(timeout), exact=True))
    return Deadline(source, seconds - spent, timeout_message=timeout_message, now=now, remembers=remembers)
