"""A Source: anything that answers SQL over Restate's tables with frames."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Around", "DtypeBackend", "Source"]

DtypeBackend = Literal["numpy_nullable", "pyarrow"]


@runtime_checkable
class Source(Protocol):
    """What analyses, plots, panels and reports read from: a live Lab, frozen Evidence, or your own."""

    @property
    def name(self) -> str:
        """Return what people call this cluster, for titles and messages."""

    @property
    def version(self) -> str:
        """Return the Restate version, such as "1.7.12"."""

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; empty where the version has none."""

    @property
    def now(self) -> datetime:
        """Return the moment that ages count from, UTC: the server's clock, or the moment of freezing."""

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table."""

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
        """Return the rows of a statement."""

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
        """Return the rows of a statement as the server typed them."""

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


class Around:
    """A way to another source: a subclass says what reads are like, and the rest is as there."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """Return the source's name."""
        return self._source.name

    @property
    def version(self) -> str:
        """Return the source's version."""
        return self._source.version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the source's features."""
        return self._source.features

    @property
    def now(self) -> datetime:
        """Return the source's moment."""
        return self._source.now

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""
        return self._source.tables()
