"""How a verb reads a source: ``begin`` gives the reads of one call, with its limit, clock, columns and record."""

from __future__ import annotations

import contextvars
import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from threading import Event, Lock
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab._text import format_duration, one_line
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.client.schema import check_columns, names_of, note_response
from restate_lab.client.sql.bind import chunks
from restate_lab.client.sql.parts import complete_for
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.frames import records
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.progress import Progress
from restate_lab.server import has_feature
from restate_lab.source import (
    Source,
    SourceWrapper,
    check_supported,
    engine_of,
    own_statement,
    query_json,
    read_once,
    read_table,
    recorded_frame,
    timeout_seconds,
)

OPEN_INVOCATIONS = "open invocations"
"""A need of statements that only a history does not meet."""
PRESENT = "the present"
"""A need of statements about attempts and removed deployments, which are not recorded for an earlier time."""
COPY_STATEMENT = 3_600.0  # seconds for one statement of a copy that has no time limit: a silent server must not hold it
_LONGEST_REASON = 300
CHUNK = 1_000  # ids in a statement: the planning time of a server grows faster than the list
Row = dict[Any, Any]
T = TypeVar("T", pa.Table, pd.DataFrame)
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)

_OVER = "{verb} did not finish within its timeout of {timeout}; pass a longer timeout=, or request less data"
_NOT_RECORDED = {"max_bytes", "progress", "timeout"}


class Stopped(RestateLabError):
    """A read was stopped, because its result is no longer needed; ignore the error."""


@dataclass(frozen=True, slots=True)
class SentStatement:
    """One statement that was sent: its duration and its number of rows."""

    seconds: float
    rows: int


class Reads(SourceWrapper):
    """The same source for one call of ``verb``: everything that it reads has to arrive within ``timeout``.

    - The clock is read once, or fixed at ``now``. The names of tables and columns are read once.
    - ``queries`` has the statements that were sent.
    - After the timeout nothing is sent: each read raises TimedOut with the text ``over``. ``spent`` are seconds of the
      timeout that have passed before. With None, each statement has the limit ``each`` in seconds, or the limit of the
      connection.
    - With ``remembers``, a repeated statement is answered from memory. Failures are remembered too, except a timeout of
      a statement that had a shorter limit of its own.
    - When ``stop`` is set, a read ends within a second and raises Stopped. Reads with ``stop`` show no progress.

    Raises:
        ArgumentError: ``timeout`` is not a duration, or the object does not have all members of a Source.
    """

    def __init__(
        self,
        source: Source,
        timeout: DurationInput | None = None,
        *,
        verb: str = "",
        over: str = "",
        spent: float = 0.0,
        now: datetime | None = None,
        remembers: bool = False,
        stop: Event | None = None,
        each: float | None = None,
    ) -> None:
        super().__init__(source)
        self.ends, self.limit, self.over = math.inf, "", ""
        if timeout is not None:
            self.ends = time.monotonic() + check_seconds("timeout", timeout) - spent
            self.limit = format_duration(to_timedelta(timeout), exact=True)
            self.over = over or _OVER.format(verb=verb, timeout=self.limit)
        elif isinstance(source, Reads):
            self.ends, self.limit, self.over = source.ends, source.limit, source.over
        self._now = now
        self._remembers = remembers
        self._stop = stop
        self._each = each
        self._lock = Lock()
        self._queries: dict[str, Row] = {}
        self._results: dict[str, Any] = {}
        self.statements: list[SentStatement] = []
        """The statements that were sent and whose results are remembered, in order."""

    @property
    def now(self) -> datetime:
        """Return the fixed time, or the source's time at the first read."""
        if self._now is None:
            self._now = self.read_clock()
        return self._now

    def read_clock(self) -> datetime:
        """Return the time of the source now, for a call that takes long."""
        with self._limit():
            return self._source.now

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
        """Return the seconds until the end of the timeout; zero after it, and infinite without one."""
        return max(0.0, self.ends - time.monotonic())

    @property
    def queries(self) -> list[Row]:
        """Return ``sql, params, times`` of each statement, in the order of its first use, with the values of that use.

        A history with an engine adds ``engine``, the one that answered. Values are JSON values; a list of values is
        summarized by its length and its first values.
        """
        with self._lock:
            return [dict(each) for each in self._queries.values()]

    @read_once
    def _names(self) -> frozenset[str]:
        return names_of(self)

    def has(self, name: str) -> bool:
        """Return whether the source has a table, or a column "table.column"."""
        return name in self._names

    def missing(self, needs: Iterable[str]) -> list[str]:
        """Return the needs of a statement that the source does not meet: tables, columns, and other features."""
        return [each for each in needs if not self._meets(each)]

    def _meets(self, need: str) -> bool:
        if need.startswith("feature "):
            return has_feature(self, need.removeprefix("feature "))
        if need == PRESENT:
            return not self.coverage.is_past
        return self.coverage.open_invocations if need == OPEN_INVOCATIONS else self.has(need)

    def tables(self) -> pd.DataFrame:
        """Return the source's tables."""

        def read() -> pd.DataFrame:
            with self._limit():
                return self._source.tables()

        return self._read_once("", read).copy(deep=False)

    def check(self) -> None:
        """Raise TimedOut after the timeout; for loops over data that the source has already sent."""
        if not self.seconds_left:
            raise TimedOut(
                f"{self.over}. The source had responded, and reading and matching its data took the rest of the time."
            )

    def statement(self, name: str) -> str:
        """Return a SQL file, "package/name", completed for the tables of the source."""
        return complete_for(_read_statement(name), self.has)

    def frame(self, name: str, /, **params: Any) -> pd.DataFrame:
        """Return the rows of a SQL file, "package/name"; parameters that the statement does not have are ignored."""
        return self.query_frame(_read_statement(name), params)

    def table(self, name: str, /, **params: Any) -> pa.Table:
        """Return the rows of a SQL file as an Arrow table: several times as fast for very many rows."""
        statement = self.statement(name)
        rows = self.arrow(statement, params=used_params(statement, params))
        return _without_views(check_columns(rows, statement, self))

    def query(self, statement: str, params: Mapping[str, Any] | None = None, /, **options: Any) -> pa.Table:
        """Return the rows of a statement of this package, completed for the tables; unused parameters are ignored.

        It shows no progress. ``options`` are those of ``arrow``.
        """
        text = complete_for(statement, self.has)
        rows = self.arrow(text, params=used_params(text, params or {}), **{"progress": False, **options})
        return _with_utc(check_columns(rows, text, self))

    def query_of(self, statement: str, ids: Sequence[str], /, *, chunk: int = CHUNK) -> Iterator[Row]:
        """Yield the rows of a statement of this package for any number of ids, its parameter ``:ids``."""
        for part in chunks(ids, chunk):
            yield from self.query(statement, {"ids": part}).to_pylist()

    def batches(
        self, statement: str, params: Mapping[str, Any] | None = None, /, **options: Any
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of a statement of this package; for very many rows. ``options`` are those of ``stream``."""
        with self.stream(statement, params=params, **options) as reader:
            check_columns(reader.schema, statement, self)
            yield from map(_with_utc, reader)

    def query_frame(
        self, statement: str, params: Mapping[str, Any] | None = None, /, *, timeout: DurationInput | None = None
    ) -> pd.DataFrame:
        """Return the same rows as ``query`` in a frame, and show progress."""
        text = complete_for(statement, self.has)
        used = used_params(text, params or {})
        rows = self.arrow(text, params=used, timeout=timeout)
        return recorded_frame(check_columns(rows, text, self), text, used)

    def rows(self, name: str, /, **params: Any) -> list[Row]:
        """Return the rows of a SQL file as dicts, with None for each missing value."""
        return records(self.frame(name, **params))

    def rows_of(self, name: str, ids: Sequence[str], /, *, chunk: int = CHUNK, **params: Any) -> Iterator[Row]:
        """Yield the rows of a SQL file for any number of ids, its parameter ``:ids``."""
        for part in chunks(ids, chunk):
            yield from self.rows(name, ids=part, **params)

    def together(self, reads: Iterable[Callable[[Reads], Any]]) -> list[Any]:
        """Run all reads at the same time and return their results: a server uses only a few cores for one scan.

        The first read runs in this thread, so that an interrupt reaches it. If it fails or is interrupted, the other
        reads stop within a second. The first error in the order of ``reads`` is raised after all reads have ended.
        """
        first, *others = reads
        stop = Event()
        other = Reads(self, stop=stop)
        with ThreadPoolExecutor(max(len(others), 1), thread_name_prefix="restate-lab") as pool:
            futures = [pool.submit(contextvars.copy_context().run, read, other) for read in others]
            try:
                return [first(self), *(future.result() for future in futures)]
            except BaseException:
                stop.set()
                raise

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
        """Yield a reader with the remaining time as its limit; see the class about memory and stopping."""
        limit = timeout_seconds(timeout)
        if self._stop is not None:
            options["progress"] = UntilStopped(self._stop) if self.live else False

        @contextmanager
        def send() -> Iterator[pa.RecordBatchReader]:
            left = self._remaining(limit)
            self._record(statement, {**(params or {}), **options})
            with ExitStack() as stack:
                with own_statement():
                    sent = self._source.stream(statement, params=params, timeout=left, **options)
                    reader = stack.enter_context(sent)
                note_response()
                self._record_engine(statement, reader.schema)
                yield reader

        if not self._remembers:
            with send() as reader:
                yield reader
            return

        def read() -> pa.Table:
            with send() as reader:
                return read_table(reader)

        values = {**(params or {}), **options, "progress": None}
        is_hurried = limit is not None and limit < self.seconds_left
        yield self._read_once(f"{statement}\n{sorted(values.items())!r}", read, is_hurried=is_hurried).to_reader()

    @contextmanager
    def _limit(self) -> Iterator[None]:
        """Limit requests of the source itself; after the timeout, the error names the timeout."""
        if self.ends == math.inf:
            yield
            return
        try:
            with time_limit(self.seconds_left):
                yield
        except TimedOut as error:
            if self.seconds_left:
                raise
            raise TimedOut(f"{self.over}.") from error

    def _remaining(self, timeout: float | None) -> float | None:
        left = self.seconds_left
        if not left:
            raise TimedOut(f"{self.over}.")
        if left == math.inf:
            return self._each if timeout is None else timeout
        return left if timeout is None else min(left, timeout)

    def _record(self, statement: str, values: Mapping[str, Any]) -> None:
        kept = {name: value for name, value in values.items() if name not in _NOT_RECORDED}
        with self._lock:
            known = self._queries.get(statement)
            if known is None:
                known = self._queries[statement] = query_json(statement, kept) | {"times": 0}
            known["times"] += 1

    def _record_engine(self, statement: str, schema: pa.Schema) -> None:
        with self._lock:
            self._queries[statement] |= engine_of(schema)

    def _read_once(self, key: str, read: Callable[[], T], *, is_hurried: bool = False) -> T:
        known = self._results.get(key)
        if known is None:
            known = self._send(read)
            if self._remembers and not (is_hurried and isinstance(known, TimedOut)):
                self._results[key] = known
        if isinstance(known, RestateLabError):
            raise known
        rows: T = known
        return rows

    def _send(self, read: Callable[[], T]) -> T | RestateLabError:
        self._remaining(None)
        started = time.monotonic()
        try:
            rows = read()
        except RestateLabError as error:
            self.statements.append(SentStatement(time.monotonic() - started, 0))
            return error
        self.statements.append(SentStatement(time.monotonic() - started, len(rows)))
        return rows


def no_check() -> None:
    """Do nothing: the check of a loop without a time limit."""


def begin(
    source: Source,
    verb: str,
    timeout: DurationInput | None = None,
    *,
    needs_open: bool = False,
    needs_present: bool = False,
    **options: Any,
) -> Reads:
    """Return the reads of one call; refuse a source that the verb does not support. ``options`` are those of Reads.

    Raises:
        ArgumentError: ``timeout`` is not a duration, or the object does not have all members of a Source.
        NotOnThisServer: the source is too old, or lacks open invocations or the present that the verb needs.
        TimedOut: the version was not read within ``timeout``.
    """
    reads = Reads(source, timeout, verb=verb, **options)
    check_supported(reads, f"{verb}()", needs_open=needs_open, needs_present=needs_present)
    return reads


def read_identity(source: Source, timeout: DurationInput = "30s") -> ClusterIdentity:
    """Return the identity of the cluster behind a source now; this sends one statement about its deployments.

    Raises:
        RestateLabError: the deployments cannot be read.
    """
    reads = Reads(source, timeout, verb="the check of the cluster")
    return ClusterIdentity.of(reads.query(_read_statement("doctor/deployments")).to_pylist())


def why_not_the_cluster(source: Source, then: ClusterIdentity | None) -> str:
    """Return why it is not proven that a source is still the cluster that it was then; "" if it is."""
    try:  # without deployments then, nothing that the cluster answers could prove it
        now = read_identity(source) if then and then.deployments else None
    except RestateLabError as error:
        return f"{why_not_same(then, None)} ({one_line(str(error), _LONGEST_REASON)})"
    return why_not_same(then, now)


class UntilStopped:
    """Progress that stops the read that reports to it when ``stop`` is set; it shows nothing, or ``shown``."""

    def __init__(self, stop: Event, shown: Progress | None = None) -> None:
        self._stop, self._shown = stop, shown

    def update(self, rows: int, size: int) -> None:
        """Raise Stopped when the event is set."""
        self.check()
        if self._shown is not None:
            self._shown.update(rows, size)

    def check(self) -> None:
        """Raise Stopped when the event is set."""
        if self._stop.is_set():
            raise Stopped("the read was stopped.")

    def close(self) -> None:
        """Do nothing: the event and the shown progress belong to the caller."""


def _without_views(table: pa.Table) -> pa.Table:
    """Return the same rows without string views: servers return them for expressions, and Arrow cannot filter them."""
    plain = [each.with_type(pa.large_string()) if each.type == pa.string_view() else each for each in table.schema]
    return _with_utc(table.cast(pa.schema(plain)))


def _with_utc(rows: _Rows) -> _Rows:
    """Return the same rows with times in "UTC": pyarrow 26 leaks an object for each value in the server's "+00:00"."""
    for index, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type) and column.type.tz == "+00:00":
            times = pa.timestamp(column.type.unit, "UTC")
            rows = rows.set_column(index, column.with_type(times), rows.column(index).cast(times))
    return rows


@functools.cache
def _read_statement(name: str) -> str:
    """Return the text of a SQL file, named "package/name": "waits/open_calls"."""
    package, _, file = name.rpartition("/")
    return files("restate_lab.analysis").joinpath(*package.split("/"), "sql", f"{file}.sql").read_text("utf-8")


def used_params(statement: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a statement has: some parts of a completed statement are read from few sources."""
    names = set(re.findall(r"(?<!:):([a-z]\w*)", re.sub(r"--.*", "", statement)))
    return {key: value for key, value in params.items() if key in names}
