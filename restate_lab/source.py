"""A Source: anything that answers SQL over Restate's tables with frames; its base class, and a wrapper around one."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import pandas as pd
import pyarrow as pa

from restate_lab._public import public
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError, NotOnThisServer, QueryInterrupted
from restate_lab.frames import DtypeBackend, to_frame
from restate_lab.progress import Progress
from restate_lab.redaction import MASK, is_secret_name

__all__ = [
    "OLDEST",
    "TABLES",
    "BaseSource",
    "Coverage",
    "Source",
    "SourceWrapper",
    "check_supported",
    "is_older",
    "missing_members",
    "query_json",
    "read_table",
    "record_query",
    "timeout_seconds",
]

_FEW = 3
OLDEST = "1.6.1"
"""The oldest server that restate_lab is tried on, in every test run."""
TABLES = """
SELECT table_name AS "table", column_name AS "column", data_type AS type, is_nullable = 'YES' AS nullable
FROM information_schema.columns WHERE table_schema = 'public'
ORDER BY table_name, ordinal_position"""


def record_query(frame: pd.DataFrame, statement: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Put the statement and its parameters into the frame's ``attrs``, as JSON has them, and return the frame."""
    frame.attrs = query_json(statement, params)
    return frame


def query_json(statement: str, params: Mapping[str, Any]) -> dict[Any, Any]:
    """Return ``sql`` and ``params`` of a statement as JSON values; of a list of values the number and the first few."""
    values = {name: MASK if is_secret_name(name) else _json(value) for name, value in params.items()}
    return {"sql": statement.strip(), "params": values}


def _json(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Collection) and not isinstance(value, bytes | bytearray):
        return {"count": len(value), "first": [_json(each) for each in islice(value, _FEW)]}
    return str(value)


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a source has of its cluster. The defaults describe a source that has everything, such as a live cluster.

    - ``part``: which part of the cluster it has, such as "service agent"; "" is the whole cluster.
    - ``payloads``: whether it has what handlers received and returned, and the values of state.
    - ``missing``: the reason, by table ("state") or column ("state.value"), why that is not there.
    - ``masked``: the columns ("state.value") of which values are masked, whole or in part.
    - ``incomplete``: ids of invocations of which it has only the row of ``sys_invocation_status``.
    """

    part: str = ""
    payloads: bool = True
    missing: Mapping[str, str] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()


@runtime_checkable
class Source(Protocol):
    """What analyses, plots, panels and reports read from: a live Lab, frozen Evidence, or your own.

    Derive your own from ``BaseSource``: it then needs only ``stream``, ``name``, ``version``, ``features`` and ``now``.
    """

    @property
    def name(self) -> str:
        """Return what people call this cluster, for titles and messages."""

    @property
    def address(self) -> str:
        """Return where it is, a URL or a path; "" where it has no address."""

    @property
    def version(self) -> str:
        """Return the Restate version, such as "1.7.12"."""

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; empty where the version has none."""

    @property
    def now(self) -> datetime:
        """Return the moment that ages count from, UTC: the server's clock, or the moment of freezing."""

    @property
    def live(self) -> bool:
        """Return whether its rows change while they are read: True for a Lab, False for Evidence."""

    @property
    def coverage(self) -> Coverage:
        """Return what it has of its cluster."""

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table."""

    def sql(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = None,
        dtype_backend: DtypeBackend | None = None,
        progress: bool | Progress | None = None,
        **named: Any,
    ) -> pd.DataFrame:
        """Return the rows of a statement."""

    def arrow(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = None,
        progress: bool | Progress | None = None,
        **named: Any,
    ) -> pa.Table:
        """Return the rows of a statement as the server typed them."""

    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = math.inf,
        progress: bool | Progress | None = False,
        **named: Any,
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time."""


@public
class BaseSource(ABC):
    """The base of every source: a subclass defines ``stream``, and ``sql``, ``arrow`` and ``tables`` follow from it.

    A subclass also has ``name``, ``version``, ``features`` and ``now``; see ``Source``. By default it is not live, has
    no address, and has all of its cluster.
    """

    @property
    def address(self) -> str:
        """Return where it is, a URL or a path; "" where it has no address."""
        return ""

    @property
    def live(self) -> bool:
        """Return whether its rows change while they are read."""
        return False

    @property
    def coverage(self) -> Coverage:
        """Return what it has of its cluster."""
        return Coverage()

    @abstractmethod
    def stream(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = math.inf,
        progress: bool | Progress | None = False,
        **named: Any,
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Give a ``RecordBatchReader`` that holds some thousand rows at a time, of a result of any size.

        ``timeout`` counts to the end of the block, your own work on the rows included. The other options are those of
        ``sql``, but without more said there is no limit of bytes and no line of progress.
        """

    def arrow(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = None,
        progress: bool | Progress | None = None,
        **named: Any,
    ) -> pa.Table:
        """Return the rows of one reading statement with the server's own types; the rest is as in ``sql``."""
        with self.stream(
            statement, params=params, timeout=timeout, max_bytes=max_bytes, progress=progress, **named
        ) as reader:
            return read_table(reader)

    def sql(
        self,
        statement: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: DurationInput | None = None,
        max_bytes: float | None = None,
        dtype_backend: DtypeBackend | None = None,
        progress: bool | Progress | None = None,
        **named: Any,
    ) -> pd.DataFrame:
        """Return the rows of one reading statement.

            lab.sql("SELECT id FROM sys_invocation WHERE status = :s AND id IN :ids", s="paused", ids=frame.id)

        ``:name`` in the statement takes its value from ``params`` or from a keyword; ``IN :ids`` takes a list.
        ``timeout`` (seconds, "2m" or a timedelta) is for the whole call, ``max_bytes`` in Arrow bytes; None means the
        source's own limit. ``dtype_backend=None`` gives exact, plain types and UTC times; the other two are pandas'
        own. ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and
        a ``Progress`` is updated instead. ``frame.attrs`` has ``sql`` and ``params``.

        Raises:
            StatementError, ParameterError: not sent.
            QueryRefused, UnknownName: the server does not take it.
            NotOnThisServer: frozen evidence lacks what the statement needs.
            QueryInterrupted: the answer broke off; never a shorter frame.
            EvidenceBroken: a file of frozen evidence is not there any more.
            ResultTooLarge, TimedOut, Unreachable, AccessDenied, RateLimited
        """
        rows = self.arrow(statement, params=params, timeout=timeout, max_bytes=max_bytes, progress=progress, **named)
        return record_query(to_frame(rows, dtype_backend), statement, {**(params or {}), **named})

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table, in the tables' own order.

        Columns: ``table, column, type`` (as Arrow names it) and ``nullable``.
        """
        return self.sql(TABLES, progress=False)


class SourceWrapper(BaseSource):
    """Another source, read in another way: a subclass defines ``stream``, and the rest is as in the source.

    ``sql`` and ``arrow`` follow from ``stream``, also around a source that defines its own; ``tables`` is the source's.

    Raises:
        ArgumentError: the object has not all that a Source has.
    """

    def __init__(self, source: Source) -> None:
        _check_members(source)
        self._source = source

    @property
    def name(self) -> str:
        """Return the source's name."""
        return self._source.name

    @property
    def address(self) -> str:
        """Return the source's address."""
        return self._source.address

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

    @property
    def live(self) -> bool:
        """Return whether the source is live."""
        return self._source.live

    @property
    def coverage(self) -> Coverage:
        """Return what the source has of its cluster."""
        return self._source.coverage

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""
        return self._source.tables()

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return the source's reader; the options are those of ``Source.stream``."""
        return self._source.stream(statement, **options)


def timeout_seconds(timeout: DurationInput | None) -> float | None:
    """Return a ``timeout`` in seconds; None is the source's own.

    Raises:
        ArgumentError: it is not a duration, or it is negative.
    """
    return None if timeout is None else to_timedelta(timeout, name="timeout").total_seconds()


def read_table(reader: pa.RecordBatchReader) -> pa.Table:
    """Return all rows; QueryInterrupted carries those that came as ``partial``."""
    batches: list[pa.RecordBatch] = []
    try:
        batches.extend(reader)
    except QueryInterrupted as error:
        error.partial = pa.Table.from_batches(batches, reader.schema)
        raise
    return pa.Table.from_batches(batches, reader.schema)


def missing_members(value: object) -> list[str]:
    """Return what a Source has and an object lacks; no property is read, which could send a query."""
    return [each for each in _MEMBERS if inspect.getattr_static(value, each, None) is None and not hasattr(value, each)]


def check_supported(source: Source, what: str) -> None:
    """Refuse to read a meaning into the tables of a server on which that was never tried.

    Raises:
        ArgumentError: the object has not all that a Source has.
        NotOnThisServer: the source is older than ``OLDEST``: what its tables lack could look like "nothing there".
    """
    _check_members(source)
    if is_older(source.version):
        raise NotOnThisServer(
            f"{what} was tried on restate {OLDEST} and newer; {source.name} has {source.version}. "
            f"lab.sql(), lab.tables(), lab.admin and lab.ingress still work there."
        )


def is_older(version: str, than: str = OLDEST) -> bool:
    """Tell whether a server's version is older than another; one that is no number is not known to be."""
    ours, theirs = _number(version), _number(than)
    return ours is not None and theirs is not None and ours < theirs


_MEMBERS = ("name", "address", "version", "features", "now", "live", "coverage", "tables", "sql", "arrow", "stream")


def _check_members(source: object) -> None:
    missing = missing_members(source)
    if missing:
        raise ArgumentError(
            f"{type(source).__name__} is not a Source: it has no {', '.join(missing)}. Give a Lab or Evidence, or "
            f"derive the class from restate_lab.BaseSource and write stream, name, version, features and now."
        )


def _number(version: str) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else None
