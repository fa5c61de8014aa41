"""A panel's own way to its source: no line of progress, a limit in time, and an end when the panel is closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from threading import Event
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.errors import RestateLabError
from restate_lab.source import Around, DtypeBackend, Source

__all__ = ["Closed", "QuietSource", "is_live"]

LIMIT = 30.0  # seconds for one read of a panel


class Closed(RestateLabError):
    """Do nothing: the panel was closed while it read."""


def is_live(source: Source) -> bool:
    """Tell whether it is a connection to a cluster, which alone can be changed; evidence and others are not."""
    return hasattr(source, "transport")


class QuietSource(Around):
    """The same source, for a panel's threads: what it reads shows no progress and ends when ``closed`` is set.

    ``timeout`` is in seconds for each read, unless the reader gives one. A query that sends rows ends at once; one that
    sends nothing ends at its limit.
    """

    def __init__(self, source: Source, closed: Event, *, timeout: float = LIMIT) -> None:
        super().__init__(source)
        self._timeout = timeout
        self._progress: Any = _UntilClosed(closed) if is_live(source) else False

    def sql(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
        dtype_backend: DtypeBackend | None = None,
        progress: bool | None = None,  # noqa: ARG002 - a Source's signature
        **named: Any,
    ) -> pd.DataFrame:
        """Return the rows of a statement."""
        return self._source.sql(
            statement,
            params=params,
            timeout=timeout or self._timeout,
            max_bytes=max_bytes,
            dtype_backend=dtype_backend,
            progress=self._progress,
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
        progress: bool | None = None,  # noqa: ARG002 - a Source's signature
        **named: Any,
    ) -> pa.Table:
        """Return the rows of a statement as the server typed them."""
        return self._source.arrow(
            statement,
            params=params,
            timeout=timeout or self._timeout,
            max_bytes=max_bytes,
            progress=self._progress,
            **named,
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
        """Return a reader that holds one batch at a time."""
        return self._source.stream(statement, params=params, timeout=timeout or self._timeout, **named)


class _UntilClosed:
    """Progress that shows nothing, and breaks off what it is told of once its panel is closed."""

    def __init__(self, closed: Event) -> None:
        self._closed = closed

    def update(self, rows: int, size: int) -> None:  # noqa: ARG002 - Progress's signature
        if self._closed.is_set():
            raise Closed("the panel was closed while it read.")

    def close(self) -> None:
        return
