"""``Source``, an object that runs SQL on Restate's tables and returns frames; its base class, and a wrapper for one."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab._public import explained, public
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError, ImpossibleValue, NotOnThisServer, QueryInterrupted
from restate_lab.frames import DtypeBackend, to_frame
from restate_lab.payload_json import Decoding, PayloadFunction
from restate_lab.progress import Progress
from restate_lab.redaction import MASK, is_secret_name
from restate_lab.server import SUPPORTED, is_older
from restate_lab.status import describe_impossible_status

T = TypeVar("T")

_FEW = 3
_OPENERS: dict[str, Callable[[Source, str | datetime | timedelta], Source]] = {}
_IS_OWN: ContextVar[bool] = ContextVar("is_own", default=False)
ENGINE = b"restate_lab.engine"
"""The key in the metadata of columns for the engine that answered a statement, if a source has two."""
TABLES = """
SELECT table_name AS "table", column_name AS "column", data_type AS type, is_nullable = 'YES' AS nullable
FROM information_schema.columns WHERE table_schema = 'public'
ORDER BY table_name, ordinal_position"""


def read_once(function: Callable[[Any], T]) -> cached_property[T]:
    """Return a property that is read from a source once; for a decorator.

    Before Python 3.12, a cached property has one lock for all objects: a source that hangs would stop all others.
    """
    once = cached_property(function)
    setattr(once, "lock", nullcontext())  # noqa: B010 - the type has none
    return once


@contextmanager
def own_statement() -> Iterator[None]:
    """Mark the statements that this thread sends in the block as those of this package, and not of a user."""
    token = _IS_OWN.set(True)
    try:
        yield
    finally:
        _IS_OWN.reset(token)


def is_own_statement() -> bool:
    """Return whether the statement that is sent now is one of this package."""
    return _IS_OWN.get()


def recorded_frame(
    rows: pa.Table, statement: str, params: Mapping[str, Any], dtype_backend: DtypeBackend | None = None
) -> pd.DataFrame:
    """Return rows as a frame; its ``attrs`` have the statement and its parameters as JSON values."""
    frame = to_frame(rows, dtype_backend)
    frame.attrs = query_json(statement, params) | engine_of(rows.schema)
    return frame


def engine_of(schema: pa.Schema) -> dict[str, str]:
    """Return the engine that answered a statement, as ``{"engine": name}``; empty if the source has only one."""
    name = (schema.metadata or {}).get(ENGINE)
    return {} if name is None else {"engine": name.decode()}


def query_json(statement: str, params: Mapping[str, Any]) -> dict[Any, Any]:
    """Return ``sql`` and ``params`` of a statement as JSON values; a list becomes its length and its first values."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageGap:
    """A time in which ended runs of a handler may be missing from a source, with the reason.

    ``retention`` is how long the cluster kept such runs, zero if it keeps none; None if it is unknown.
    """

    service: str
    handler: str
    since: datetime
    until: datetime
    reason: str
    retention: timedelta | None = None


@public
@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The data of a cluster that a source has. The defaults describe a complete source, such as a live cluster.

    - ``part``: the part of the cluster that it has, such as "service agent"; "" is the whole cluster.
    - ``payloads``: whether it has the inputs and results of handlers, and the values of state.
    - ``missing``: the missing tables ("state") and columns ("state.value"), each with the reason.
    - ``masked``: the columns ("state.value") with values that are masked, completely or in part.
    - ``incomplete``: ids of invocations that only have a row in ``sys_invocation_status``.
    - ``open_invocations``: whether it has invocations that have not ended.
    - ``since, until``: the period in which its invocations ended; None if it is not limited.
    - ``gaps``: the times, per handler, in which ended invocations may be missing.
    - ``unknown``: what its visits did not read, so that a gap may not be known; as sentences.
    - ``is_past``: whether it is a cluster at an earlier time: attempts, which only a live cluster has, are missing.
    """

    part: str = ""
    payloads: bool = True
    missing: Mapping[str, str] = field(default_factory=dict)
    masked: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()
    open_invocations: bool = True
    since: datetime | None = None
    until: datetime | None = None
    gaps: tuple[CoverageGap, ...] = ()
    unknown: tuple[str, ...] = ()
    is_past: bool = False


@public
class Source(ABC):
    """The object that analyses, plots, panels and reports read from: a live Lab, frozen Evidence, or your own class.

    Your own class is a subclass. By default it is not live, has no address, and has all data of its cluster. It defines
    ``stream``, which ``sql``, ``arrow`` and ``tables`` use, and these attributes or properties:

    - ``name``: the name of the cluster, for titles and messages.
    - ``version``: the Restate version, such as "1.7.12".
    - ``features``: the server's feature flags, a mapping; empty if the version has none.
    - ``now``: the time from which ages count, UTC: the server's current time, or the time of freezing.
    """

    if TYPE_CHECKING:  # real properties would refuse an attribute of the same name

        @property
        def name(self) -> str:
            """Return the name of the cluster."""

        @property
        def version(self) -> str:
            """Return the Restate version."""

        @property
        def features(self) -> Mapping[str, bool]:
            """Return the server's feature flags."""

        @property
        def now(self) -> datetime:
            """Return the time from which ages count."""

    @property
    def address(self) -> str:
        """Return its address, a URL or a path; "" if it has none."""
        return ""

    @property
    def live(self) -> bool:
        """Return whether its rows can change between reads: True for a Lab, False for Evidence."""
        return False

    @property
    def coverage(self) -> Coverage:
        """Return which data of the cluster it has."""
        return Coverage()

    @property
    def decoder(self) -> PayloadFunction | None:
        """Return the function that decodes payloads for showing; None without one."""
        return None

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
        """Return a ``RecordBatchReader`` for a result of any size; it holds some thousand rows at a time.

        ``timeout`` is the limit until the end of the block, including your own work on the rows. The other options are
        those of ``sql``, but by default there is no byte limit and no progress line.
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
        """Return the rows of one read-only statement with the server's types; the options are those of ``sql``."""
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
        """Return the rows of one read-only statement.

            lab.sql("SELECT id FROM sys_invocation WHERE status = :s AND id IN :ids", s="paused", ids=frame.id)

        Pass the value of ``:name`` in ``params`` or as a keyword; ``IN :ids`` needs a list. ``timeout`` (seconds, "2m"
        or a timedelta) limits the whole call, ``max_bytes`` is in Arrow bytes; None means the limit of the source.
        ``dtype_backend=None`` gives exact, plain types and UTC times; the two others are those of pandas.
        ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
        ``Progress`` is updated instead. ``frame.attrs`` has ``sql``, ``params``, and ``asked_at`` (the clock of this
        machine) or, of a source that is not live, ``read_at``. If there is no row because a status does not exist, a
        warning (ImpossibleValue) has the nearest one.

        Raises:
            StatementError, ParameterError: the statement was not sent.
            QueryRefused, UnknownName: the server rejected it.
            NotOnThisServer: frozen evidence does not have the required data.
            QueryInterrupted: the response ended early; an incomplete frame is never returned.
            EvidenceBroken: a file of frozen evidence is missing.
            ResultTooLarge, TimedOut, Unreachable, AccessDenied, RateLimited
        """
        rows = self.arrow(statement, params=params, timeout=timeout, max_bytes=max_bytes, progress=progress, **named)
        frame = recorded_frame(rows, statement, {**(params or {}), **named}, dtype_backend)
        frame.attrs |= {"asked_at": datetime.now(UTC).isoformat()} if self.live else {"read_at": self.now.isoformat()}
        if frame.empty and (hint := describe_impossible_status(statement, {**(params or {}), **named})):
            warnings.warn(hint, ImpossibleValue, stacklevel=3)  # the caller of the decorated method
        return frame

    def at(self, time: str | datetime | timedelta, /) -> Source:
        """Return the cluster as it was at an earlier time; only a Lab and histories have one.

        ``time`` is a duration that counts back from ``now`` ("2h"), or a time with its zone ("14:05Z", the last one).

        Raises:
            ArgumentError: the source has one time, such as evidence.
        """
        raise ArgumentError(
            f"at({time!r}): {self.name} has one time, {self.now.isoformat()}. A connection and a history have earlier "
            f"times: connect().at(…), open_history(where, live=lab).at(…)."
        )

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table, in the tables' own order.

        Columns: ``table, column, type`` (as Arrow names it) and ``nullable``.
        """
        with own_statement():
            return self.sql(TABLES, progress=False)


def register_past(opener: Callable[[Source, str | datetime | timedelta], Source]) -> None:
    """Register the function that opens a live cluster at an earlier time; the package ``history`` has it."""
    _OPENERS["past"] = opener


def open_past(source: Source, time: str | datetime | timedelta) -> Source:
    """Return a live cluster as it was at an earlier time."""
    return _OPENERS["past"](source, time)


class SourceWrapper(Source):
    """A wrapper that reads another source differently: a subclass defines ``stream``, and the rest is from the source.

    ``sql`` and ``arrow`` always use ``stream`` of the wrapper; ``tables`` is the method of the source.

    Raises:
        ArgumentError: the object does not have all members of a Source.
    """

    @explained
    def __init__(self, source: Source, /) -> None:
        self._source = source

    @property
    def decoder(self) -> PayloadFunction | None:
        """Return the source's function that decodes payloads for showing."""
        return getattr(self._source, "decoder", None)

    @property
    def innermost(self) -> Source:
        """Return the source beneath all wrappers."""
        return self._source.innermost if isinstance(self._source, SourceWrapper) else self._source

    def at(self, time: str | datetime | timedelta, /) -> Source:
        """Return the source at an earlier time."""
        return self._source.at(time)

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""
        return self._source.tables()

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return the source's reader; the options are those of ``Source.stream``."""
        return self._source.stream(statement, **options)


for _member in ("name", "address", "version", "features", "now", "live", "coverage"):
    setattr(SourceWrapper, _member, property(attrgetter(f"_source.{_member}")))


def decoding_of(source: Source) -> Decoding | None:
    """Return the decoding of the payloads of one result, for showing only; None if the source has no ``decode``."""
    function = getattr(source, "decoder", None)
    return Decoding(function) if isinstance(function, PayloadFunction) else None


def without_decoding(source: Source) -> Source:
    """Return the source without its function that decodes payloads, for results that are written."""
    return source if getattr(source, "decoder", None) is None else _Undecoded(source)


class _Undecoded(SourceWrapper):
    decoder = None


def timeout_seconds(timeout: DurationInput | None) -> float | None:
    """Return a ``timeout`` in seconds; None means the limit of the source.

    Raises:
        ArgumentError: it is not a duration, or it is negative.
    """
    return None if timeout is None else to_timedelta(timeout, name="timeout").total_seconds()


def read_table(reader: pa.RecordBatchReader) -> pa.Table:
    """Return all rows; a QueryInterrupted has the rows that arrived in ``partial``."""
    batches: list[pa.RecordBatch] = []
    try:
        batches.extend(reader)
    except QueryInterrupted as error:
        error.partial = pa.Table.from_batches(batches, reader.schema)
        raise
    return pa.Table.from_batches(batches, reader.schema)


def check_supported(
    source: Source, what: str, *, needs_open: bool = False, needs_present: bool = False, any_version: bool = False
) -> None:
    """Refuse to interpret the tables of a server that is older than the supported versions.

    Evidence and archives of such a server are read, and with ``any_version`` the server itself, too. With
    ``needs_open``, also refuse a source without open invocations, such as a history; with ``needs_present``, a cluster
    at an earlier time, which lacks attempts and queues.

    Raises:
        NotOnThisServer: the server is older than ``OLDEST``; columns that it does not have could look like "no rows".
    """
    if source.live and not any_version and is_older(source.version):
        raise NotOnThisServer(
            f"{what} supports restate {SUPPORTED}; {source.name} has {source.version}. "
            f"lab.sql(), lab.tables(), lab.admin and lab.ingress still work there."
        )
    if needs_present and source.coverage.is_past:
        raise NotOnThisServer(
            f"{what} needs the present state of a cluster, and {source.name} shows an earlier time. Pass the "
            f"connection or the history that at() was called on."
        )
    if needs_open and not source.coverage.open_invocations:
        raise NotOnThisServer(f"{what} needs open invocations; {source.name} has only invocations that have ended.")
