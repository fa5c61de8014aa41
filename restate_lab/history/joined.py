"""``JoinedHistory``: an archive and the cluster that it is from, as one source."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from restate_lab._public import public
from restate_lab._text import format_timestamp, join, plural
from restate_lab.analysis.times import TimeInput
from restate_lab.client.arguments import check_size
from restate_lab.client.lab import Lab
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, QueryRefused, RestateLabError, StatementError
from restate_lab.evidence.engine import limited, plan_query, read
from restate_lab.evidence.tables import read_schema
from restate_lab.frames import number_duplicate_columns
from restate_lab.history.cluster import retention_json
from restate_lab.history.joined_session import JoinedLayout, JoinedSessions
from restate_lab.history.past import PastCluster, longest_retention, past_time
from restate_lab.history.scans import ServerScan, scans_of
from restate_lab.history.server_rows import ServerRows
from restate_lab.history.session import HistoryPeriod
from restate_lab.history.source import History
from restate_lab.history.store import ArchiveStore
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.payload_json import PayloadFunction
from restate_lab.progress import Progress, RowsLine, SharedProgress, progress_of
from restate_lab.reads import Reads, read_identity
from restate_lab.source import Coverage, Source, SourceWrapper

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable

_LAYOUT_LIFETIME = _COVERAGE_LIFETIME = 30.0  # seconds; a server can be upgraded while a notebook is open
_COUNT_LIMIT = 2.0  # seconds for the numbers on the card
_WORD = re.compile(r"\w+")
_CLOCK = re.compile(r"\b(?:now|today|current_(?:timestamp|date|time))\b", re.IGNORECASE)
_COUNTS = "SELECT origin, count(*) AS runs FROM origins GROUP BY origin"
_ARCHIVED_DEPLOYMENTS = "SELECT DISTINCT id, created_at FROM archive.deployments WHERE cluster_name = :name"
_FEW = 5


@public
class JoinedHistory(History, SourceWrapper):
    """An archive and its cluster as one source: ``open_history(where, live=lab)`` returns it.

    It has the tables and types of the server, and each run of an invocation exactly once: the runs of the archive with
    their journals and events, and the runs that only the server has, which are open, or ended after the last visit. A
    run that both have is the archive's copy, also if the server has more columns, such as payloads; if a killed
    archiver has not written its journal yet, the journal is the server's. The table ``origins`` has ``id, origin``
    ("server" or "archive") of each run.

    - A statement reads the server's list of runs once, and sees no other runs. The next statement reads it again.
    - If an id has an archived run and a newer run, the newer one has the id, and the other ones ``inv_…@time``.
    - Queues, state, promises, limits, services and deployments are those of the server: a deployment that was removed
      is not in ``sys_deployment``, as on a live cluster. ``visits`` and ``samples`` are those of the archive;
      ``agent_steps`` and ``journal_entries`` also have the entries of the runs that only the server has.
    - ``since`` limits the runs of the archive. Runs that are archived and ended before it are in no table.
    - A statement that reads only tables of the server is sent to the server. For all others, the rows of the server are
      read and held in memory, by the columns that the statement needs, and by id if it selects ids or if few runs are
      only on the server. ``connect(max_bytes=…)`` limits them, and ``connect(timeout=…)`` is the default time limit.
    - Ages count from the server's clock. Plans and other changes need the Lab itself. ``at(time)`` is the
      cluster at an earlier time, with the invocations that were open then.

    The archive is read as it was when it was opened: open it again to see later visits. Invocations that ended after
    the last visit which it has, and were removed from the server since, are in neither. ``coverage`` has the times in
    which this is possible.
    """

    def __init__(
        self,
        store: ArchiveStore,
        tables: Mapping[str, DeltaTable],
        visits: pd.DataFrame,
        lab: Lab,
        *,
        cluster_name: str,
        period: HistoryPeriod,
        decoder: PayloadFunction | None = None,
    ) -> None:
        History.__init__(
            self, store, tables, visits, cluster_name=cluster_name, period=period, decoder=decoder or lab.decoder
        )
        self._source: Lab = lab
        self._sessions = JoinedSessions(self._archive, tables, cluster_name, period)
        self._layout: tuple[float, JoinedLayout | None] = (0.0, None)
        self._tables_of: tuple[JoinedLayout | None, pd.DataFrame | None] = (None, None)
        self._joined_coverage: tuple[float, Coverage | None] = (0.0, None)
        self._lock = Lock()
        self._check_cluster()
        self._retention = retention_json(lab.admin.list_services())

    def _check_cluster(self) -> None:
        """Check that the archive is from this cluster: it has one of its deployments, or was visited at its address."""
        lab = self._source
        archived = ClusterIdentity.of(self._rows(_ARCHIVED_DEPLOYMENTS))
        addresses = set(self._visits["address"].dropna())
        if why_not_same(archived, read_identity(lab)) and lab.address not in addresses:
            known = join(sorted(addresses), _FEW) or "an unknown address"
            raise ArgumentError(
                f"live= is another cluster: {self.cluster_name!r} in {self.address} was visited at {known}, and "
                f"{lab.address} has none of its deployments. Pass the connection to that cluster, or the name of "
                f"this one in the archive as cluster_name=."
            )

    @property
    def name(self) -> str:
        """Return the cluster's name and the beginning of the period: "prod @ 2026-11-20 to now"."""
        return f"{self.cluster_name} @ {format_timestamp(self._since)[:10]} to now"

    @property
    def version(self) -> str:
        """Return the version of the server now."""
        return self._source.version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the feature flags of the server now."""
        return self._source.features

    @property
    def now(self) -> datetime:
        """Return the current time of the server, UTC."""
        return self._source.now

    @property
    def live(self) -> bool:
        """Return True: its rows can change between reads."""
        return True

    @property
    def coverage(self) -> Coverage:
        """Return the period, and the times in which runs may be in neither source; it is computed twice a minute."""
        computed_at, coverage = self._joined_coverage
        if coverage is None or time.monotonic() - computed_at > _COVERAGE_LIFETIME:
            coverage = self._compute_coverage()
            self._joined_coverage = time.monotonic(), coverage
        return coverage

    def _compute_coverage(self) -> Coverage:
        """Return the coverage; the server now counts as a visit that reads all runs which it still has."""
        last = self._visited_until
        now = max(datetime.now(UTC), last)
        times = dict.fromkeys(("started_at", "listed_at", "ended_at"), now)
        read_now = {**times, "outcome": "complete", "gone_runs": 0}
        visits = pd.concat(
            [self._visits, pd.DataFrame([read_now | {"retention": self._retention}])], ignore_index=True
        ).astype({name: self._visits[name].dtype for name in times})
        coverage = self._coverage_until(now, visits)
        unknown = f"runs that were purged after the last visit, at {format_timestamp(last)}, are in neither source"
        return replace(coverage, missing={}, open_invocations=True, until=None, unknown=(*coverage.unknown, unknown))

    @contextmanager
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
    ) -> Iterator[pa.RecordBatchReader]:
        """Yield a ``RecordBatchReader`` that keeps some thousand rows of the result in memory.

        The rows of the server that the statement needs are read first, and held in memory. The options are those of
        ``Lab.stream``.
        """
        if self._context is None:
            raise StatementError(f"{self!r} is closed; open it again.")
        most = self._source.max_bytes if max_bytes is None else check_size("max_bytes", max_bytes)
        reads = Reads(self._source, self._source.transport.limit(timeout), verb="the query")
        layout = self._read_layout(reads)
        if not layout.local & set(_WORD.findall(statement.lower())):
            options: dict[str, Any] = {"params": params, "timeout": reads.seconds_left, "max_bytes": most}
            with self._source.stream(statement, progress=progress, **options, **named) as reader:
                yield reader
            return
        ticks = SharedProgress(progress_of(progress, lambda: RowsLine("query")))
        try:
            with mark_errors(statement, {**(params or {}), **named}), self._explained():
                query = bind(statement, params, **named)
                plan = plan_query(layout.planning, query).optimized_logical_plan()
            context = self._session_of(query, scans_of(plan), layout, reads, ticks)
            with mark_errors(statement, {**(params or {}), **named}), self._explained():
                schema, batches = read(context, query, deadline=reads.ends, tick=ticks.tick)
                with closing(batches):
                    names = number_duplicate_columns(schema)
                    yield pa.RecordBatchReader.from_batches(names, limited(batches, names, most))
        finally:
            ticks.end()

    def _session_of(
        self, query: str, scans: Mapping[str, ServerScan], layout: JoinedLayout, reads: Reads, ticks: SharedProgress
    ) -> SessionContext:
        """Read the rows of the server that a statement needs, and return its session."""
        rows = ServerRows(
            reads=reads,
            columns=layout.schema.tables,
            types=layout.types,
            progress=ticks,
            max_bytes=self._source.max_bytes,
            archive=self._sessions,
        )
        read_rows = rows.read(scans)
        now = reads.now if _CLOCK.search(query) else datetime.now(UTC)
        return self._sessions.session(layout, read_rows, query, rows.new_ids, now)

    def _read_layout(self, reads: Reads) -> JoinedLayout:
        with self._lock:
            read_at, layout = self._layout
            if layout is None or time.monotonic() - read_at > _LAYOUT_LIFETIME:
                layout = self._sessions.layout(read_schema(reads))
                self._layout = time.monotonic(), layout
            return layout

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except QueryRefused as error:
            raise self._explain(error) from error.__cause__

    def tables(self) -> pd.DataFrame:
        """Return one row per column of each table: those of the server, and those that only this source has."""
        layout = self._read_layout(Reads(self._source))
        read_for, tables = self._tables_of
        if tables is None or read_for is not layout:
            tables = Source.tables(self)
            self._tables_of = layout, tables
        return tables.copy()

    def at(self, time: TimeInput, /) -> PastCluster:
        """Return the cluster as it was at a time: the runs that were open then, and the ended runs that it still had.

        ``help(rl.PastCluster)`` describes it. The rows are read now, from the archive and from the server.

        Raises:
            ArgumentError: it is not a time, is in the future, or is before the first run of the archive.
            RestateLabError: any error of the server.
        """
        lab = self._source
        at = past_time(time, lab.now)
        if at < self._since:
            raise ArgumentError(
                f"time is {format_timestamp(at)}: this history begins at {format_timestamp(self._since)}."
            )
        services = lab.admin.list_services()
        return PastCluster(self._ended_since(max(at - longest_retention(services), self._since)), at, services)

    def _ended_since(self, since: datetime) -> JoinedHistory:
        """Return the same history with fewer archived runs, so that days before them are not read."""
        history = copy.copy(self)
        history._limit(HistoryPeriod(since))  # noqa: SLF001 - of its own class
        return history

    def _limit(self, period: HistoryPeriod) -> None:
        self._period = period
        self._sessions = JoinedSessions(self._archive, self._tables, self.cluster_name, period)
        self._joined_coverage = (0.0, None)

    def __repr__(self) -> str:
        return f"<JoinedHistory {self.name}, at {self.address} and {self._source.address}>"

    def _place(self) -> str:
        return f"{self.address} and {self._source.address}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        since, last = format_timestamp(self._since), format_timestamp(self._visited_until)
        yield "archive", f"{since} to {last}"
        yield "server", f"{self._source.address}, now"
        yield "invocations", self._count()
        yield from (fact for fact in super()._facts() if fact[0] not in {"period", "covered", "open then"})

    def _count(self) -> str:
        try:
            rows = self.arrow(_COUNTS, timeout=_COUNT_LIMIT, progress=False).to_pylist()
        except RestateLabError as error:
            return f"not counted: {type(error).__name__}"
        counts = {row["origin"]: row["runs"] for row in rows}
        return (
            f"{plural(counts.get('archive', 0), 'run')} of the archive, {counts.get('server', 0):,} only on the server"
        )

    @property
    def _since(self) -> datetime:
        return min(self._period.since or self._first, self._visited_until)
