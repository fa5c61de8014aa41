"""A source within a budget: every statement is sent once, and only as long as there is time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.durations import friendly
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.source import DtypeBackend, Source

if TYPE_CHECKING:
    from datetime import timedelta

    import pyarrow as pa

__all__ = ["Read", "WithinBudget"]


@dataclass(frozen=True, slots=True)
class Read:
    """One statement that was sent: how long it took, and the rows that came."""

    seconds: float
    rows: int


class WithinBudget:
    """Answers as its source does, and the same statement again from memory, failures included.

    ``now`` stays the same for all who ask. Each statement gets the rest of the budget as its timeout; when that is
    used up, nothing more is sent, and asking raises TimedOut.
    """

    def __init__(self, source: Source, *, now: datetime, budget: timedelta) -> None:
        self._source = source
        self._budget = budget
        self._deadline = time.monotonic() + budget.total_seconds()
        self._answers: dict[str, pd.DataFrame | RestateLabError] = {}
        self.now = now
        self.name, self.version, self.features = source.name, source.version, source.features
        self.reads: list[Read] = []

    @property
    def used_up(self) -> str:
        """Return the words for a budget that is used up."""
        return f"the budget of {friendly(self._budget)} was used up"

    @property
    def left(self) -> float:
        """Return the seconds that are left, zero when there are none."""
        return max(0.0, self._deadline - time.monotonic())

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table."""
        return self._once("tables()", self._source.tables)

    def sql(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,  # noqa: ARG002 - answers here are small
        dtype_backend: DtypeBackend | None = None,  # noqa: ARG002 - all who share an answer take the plain types
        progress: bool | None = None,  # noqa: ARG002
        **named: Any,
    ) -> pd.DataFrame:
        """Return the rows of a statement."""
        values = {**(params or {}), **named}

        def send() -> pd.DataFrame:
            limit = self.left if timeout is None else min(timeout, self.left)
            return self._source.sql(statement, params=values, timeout=limit)

        return self._once(f"{statement}\n{sorted(values.items())!r}", send)

    def arrow(self, statement: str, /, **options: Any) -> pa.Table:
        """Return the rows of a statement as the server typed them; not from memory."""
        return self._source.arrow(statement, **options)

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time; not from memory."""
        return self._source.stream(statement, **options)

    def _once(self, key: str, send: Any) -> pd.DataFrame:
        if key not in self._answers:
            self._answers[key] = self._sent(send)
        known = self._answers[key]
        if isinstance(known, RestateLabError):
            raise known
        return known.copy(deep=False)

    def _sent(self, send: Any) -> pd.DataFrame | RestateLabError:
        if not self.left:
            raise TimedOut(f"{self.used_up}.")
        started = time.monotonic()
        try:
            frame: pd.DataFrame = send()
        except RestateLabError as error:
            self.reads.append(Read(time.monotonic() - started, 0))
            return error
        self.reads.append(Read(time.monotonic() - started, len(frame)))
        return frame
