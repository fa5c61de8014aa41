"""A source for as long as there is time left: each statement is given the rest of it, and is sent once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.source import Around, DtypeBackend, Source

__all__ = ["Deadline", "Read"]


@dataclass(frozen=True, slots=True)
class Read:
    """One statement that was sent: how long it took, and the rows that came."""

    seconds: float
    rows: int


class Deadline(Around):
    """Another source until ``seconds`` have passed.

    Its clock is read once, or stands at ``now``; the same ``sql`` is answered from memory, failures included. What is
    asked when the time is over is not sent, and raises TimedOut with the words ``over``.
    """

    def __init__(self, source: Source, seconds: float, *, over: str, now: datetime | None = None) -> None:
        super().__init__(source)
        self._ends = time.monotonic() + seconds
        self._now = now
        self._answers: dict[str, pd.DataFrame | RestateLabError] = {}
        self.over = over
        self.reads: list[Read] = []
        """What was sent for ``sql()`` and ``tables()``, in order."""

    @property
    def now(self) -> datetime:
        """Return the moment given, or the source's as it was when it was first asked."""
        if self._now is None:
            self._now = super().now
        return self._now

    @property
    def left(self) -> float:
        """Return the seconds that are left, zero when there are none."""
        return max(0.0, self._ends - time.monotonic())

    def tables(self) -> pd.DataFrame:
        """Return the source's."""
        return self._once("", self._source.tables)

    def sql(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
        dtype_backend: DtypeBackend | None = None,
        progress: bool | None = None,
        **named: Any,
    ) -> pd.DataFrame:
        """Return the rows, within the time that is left."""
        values = {**(params or {}), **named}

        def send() -> pd.DataFrame:
            return self._source.sql(
                statement,
                params=values,
                timeout=self._rest(timeout),
                max_bytes=max_bytes,
                dtype_backend=dtype_backend,
                progress=progress,
            )

        return self._once(f"{statement}\n{sorted(values.items())!r} {dtype_backend} {max_bytes}", send)

    def arrow(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
        progress: bool | None = None,
        **named: Any,
    ) -> pa.Table:
        """Return the rows, within the time that is left; not from memory."""
        return self._source.arrow(
            statement, params=params, timeout=self._rest(timeout), max_bytes=max_bytes, progress=progress, **named
        )

    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **named: Any,
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader for the time that is left; not from memory."""
        return self._source.stream(statement, params=params, timeout=self._rest(timeout), **named)

    def _rest(self, timeout: float | None) -> float:
        left = self.left
        if not left:
            raise TimedOut(f"{self.over}.")
        return left if timeout is None else min(left, timeout)

    def _once(self, key: str, send: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        if key not in self._answers:
            self._rest(None)
            self._answers[key] = self._sent(send)
        known = self._answers[key]
        if isinstance(known, RestateLabError):
            raise known
        return known.copy(deep=False)

    def _sent(self, send: Callable[[], pd.DataFrame]) -> pd.DataFrame | RestateLabError:
        started = time.monotonic()
        try:
            frame = send()
        except RestateLabError as error:
            self.reads.append(Read(time.monotonic() - started, 0))
            return error
        self.reads.append(Read(time.monotonic() - started, len(frame)))
        return frame
