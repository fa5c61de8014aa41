"""A Source: anything that answers SQL over Restate's tables with frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from restate_lab.errors import NotOnThisServer
from restate_lab.frames import DtypeBackend

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["OLDEST", "Around", "Source", "check_tried", "is_older"]

OLDEST = "1.6.1"
"""The oldest server that restate_lab is tried on, in every test run."""


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


def check_tried(source: Source, what: str) -> None:
    """Refuse to read a meaning into the tables of a server on which that was never tried.

    Raises:
        NotOnThisServer: the source is older than ``OLDEST``: what its tables lack could look like "nothing there".
    """
    if is_older(source.version):
        raise NotOnThisServer(
            f"{what} was tried on restate {OLDEST} and newer; {source.name} has {source.version}. "
            f"lab.sql(), lab.tables(), lab.admin and lab.ingress still work there."
        )


def is_older(version: str, than: str = OLDEST) -> bool:
    """Tell whether a server's version is older than another; one that is no number is not known to be."""
    ours, theirs = _number(version), _number(than)
    return ours is not None and theirs is not None and ours < theirs


def _number(version: str) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else None
