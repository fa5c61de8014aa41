"""A source of which everything together may take so long: each statement is given the time that is left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.errors import TimedOut
from restate_lab.source import DtypeBackend, Source

__all__ = ["Deadline"]


class Deadline:
    """Another source until ``seconds`` have passed; its clock and its tables are read once.

    What is asked afterwards is not sent, and raises TimedOut.
    """

    def __init__(self, source: Source, seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._ends = time.monotonic() + seconds

    @property
    def name(self) -> str:
        """Return the source's."""
        return self._source.name

    @property
    def version(self) -> str:
        """Return the source's."""
        return self._source.version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the source's."""
        return self._source.features

    @cached_property
    def now(self) -> datetime:
        """Return the source's, as it was when it was first asked."""
        return self._source.now

    def tables(self) -> pd.DataFrame:
        """Return the source's."""
        return self._tables

    @cached_property
    def _tables(self) -> pd.DataFrame:
        return self._source.tables()

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
        return self._source.sql(
            statement,
            params=params,
            timeout=self._left(timeout),
            max_bytes=max_bytes,
            dtype_backend=dtype_backend,
            progress=progress,
            **named,
        )

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
        """Return the rows, within the time that is left."""
        return self._source.arrow(
            statement, params=params, timeout=self._left(timeout), max_bytes=max_bytes, progress=progress, **named
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
        """Return a reader for the time that is left."""
        return self._source.stream(statement, params=params, timeout=self._left(timeout), **named)

    def _left(self, timeout: float | None) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimedOut(f"the {self._seconds:g} s for all of it are over; give more with timeout=.")
        return left if timeout is None else min(left, timeout)
