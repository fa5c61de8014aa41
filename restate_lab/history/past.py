"""``PastCluster``: a cluster as it was at an earlier time, as a source."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._public import public
from restate_lab._text import format_duration, format_timestamp, plural
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import check_size
from restate_lab.client.lab import Lab, innermost_source, require_lab
from restate_lab.client.models import Service
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.error_marker import mark_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, QueryRefused, StatementError
from restate_lab.evidence.engine import EngineSource, create_view, limited, plan_query, read, session
from restate_lab.evidence.tables import SourceTable, SourceView, quote_name, read_schema
from restate_lab.frames import number_duplicate_columns
from restate_lab.history.cluster import retention_json
from restate_lab.history.joined_session import JoinedLayout, register, register_rows, types_of
from restate_lab.history.past_runs import HOLDERS, RUNS, WAITING, PastRuns, held_keys
from restate_lab.history.scans import ServerScan, scans_of, server_table
from restate_lab.history.session import ServerSchema
from restate_lab.history.table_rows import RowFetcher, ids_of
from restate_lab.progress import Progress, RowsLine, SharedProgress, progress_of
from restate_lab.reads import Reads
from restate_lab.source import Coverage, CoverageGap, Source, check_supported
from restate_lab.status import PAST_ONLY, UNKNOWN

_JOURNALS = ("sys_journal", "sys_journal_events")
_DERIVED = {"sys_keyed_service_status": HOLDERS, "sys_inbox": WAITING}
_NAMES = ("sys_deployment", "sys_service")
_STATES = "sys_invocation_state"
_TABLES = (RUNS, _STATES, *_JOURNALS, *_NAMES)
_NOT_RECORDED = "the server does not record what it was at an earlier time"
_FEWEST_BY_SCAN = 1_000
_CREATED = "created_at <= :time"
_APPENDED = "appended_at <= :time"
_DAY = timedelta(days=1)


@public
class PastCluster(EngineSource):
    """A cluster as it was at an earlier time: ``lab.at(time)`` or ``rl.open_history(where, live=lab).at(time)``.

    It is a source that cannot change, with ``now`` at that time: ``ask``, ``doctor``, ``waits``, ``why``, ``story``,
    ``journal``, panels and reports work on it.

        then = lab.at("2h")
        rl.ask(then, "overview")

    It has the runs that had been created by then, and that were open then or that the cluster still kept. Journals and
    events end at that time. The status of a run is derived from the times that the server recorded:

    - Not started: "scheduled", or "pending" once its start was due.
    - "in-progress": it had started, and was running, ready or backing off; which one is not recorded.
    - "suspended", "paused" and "completed", as on a cluster.
    - "unknown": the records do not prove one of these. A run without a journal is unknown between its start and its
      end. When a run was resumed by hand is not recorded. So a paused run is unknown until its next entry or event, and
      a suspended run for its inactivity timeout before it continued. Before service protocol 7, suspensions are not
      recorded: a run that waits is unknown until it continues.

    The server does not record attempts, state, promises, limits and vqueues; ``coverage`` has the reasons. Services are
    those of now, deployments those of now that existed then. Holders of keys and the calls that wait for them are
    derived from the runs. A run that was cancelled or killed before its start left no trace. Purges by hand are not
    recorded, so an archive can have an ended run that the cluster did not have at that time.

    The runs are read once, when it is made: one scan of all invocations, and the journals of those that were open then
    and have changed since. Journals are read by each statement that needs them. ``connect(max_bytes=…)`` limits both.
    """

    def __init__(self, source: Source, time: datetime, services: Iterable[Service]) -> None:
        check_supported(source, "at()")
        self._source = source
        self._lab: Lab = require_lab(innermost_source(source), "at()")
        self._time = time
        self._version, self._features = source.version, dict(source.features)
        reads = Reads(source, self._lab.transport.limit(None), verb="at()")
        self._layout = self._make_layout(Reads(self._lab, reads.seconds_left, verb="at()"))
        rows = self._rows(reads, SharedProgress(progress_of(None, lambda: RowsLine("at()"))))
        listed = list(services)
        self._tables = {
            RUNS: PastRuns(rows, time).read(),
            "sys_deployment": rows.fetch("sys_deployment", None, {}, condition=_CREATED, params={"time": time}),
            "sys_service": rows.fetch("sys_service", None, {}),
        }
        self._tables |= dict(zip(_DERIVED, held_keys(self._tables[RUNS], _exclusive(listed)), strict=True))
        self._coverage = self._make_coverage(source, listed)
        super().__init__(self._session(self._tables, {}), source.decoder)

    @property
    def name(self) -> str:
        """Return the cluster's name with "(earlier)"; results show it together with ``now``."""
        return f"{self._lab.name} (earlier)"

    @property
    def address(self) -> str:
        """Return the address of the source that it was read from."""
        return self._source.address

    @property
    def version(self) -> str:
        """Return the version of the server when it was read."""
        return self._version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; ``vqueues`` is False, because vqueues of the past are not recorded."""
        return MappingProxyType({**self._features, "vqueues": False})

    @property
    def now(self) -> datetime:
        """Return the time that it shows, UTC."""
        return self._time

    @property
    def coverage(self) -> Coverage:
        """Return the missing records, and the times in which runs may be missing."""
        return self._coverage

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

        The journals that the statement needs are read from the cluster first, and held in memory. The options are those
        of ``Lab.stream``.
        """
        tables, context = self._tables, self._context
        if context is None:
            raise StatementError(f"{self!r} is closed; open it again.")
        most = self._lab.max_bytes if max_bytes is None else check_size("max_bytes", max_bytes)
        reads = Reads(self._source, self._lab.transport.limit(timeout), verb="the query")
        ticks = SharedProgress(progress_of(progress, lambda: RowsLine("query")))
        try:
            with mark_errors(statement, {**(params or {}), **named}):
                query = bind(statement, params, **named)
                try:
                    scans = scans_of(plan_query(context, query).optimized_logical_plan())
                    if journals := self._journals(tables[RUNS], scans, self._rows(reads, ticks)):
                        context = self._session(tables, journals)
                    schema, batches = read(context, query, deadline=reads.ends, tick=ticks.tick)
                    with closing(batches):
                        names = number_duplicate_columns(schema)
                        yield pa.RecordBatchReader.from_batches(names, limited(batches, names, most))
                except QueryRefused as error:
                    raise self._explain(error) from error.__cause__
        finally:
            ticks.end()

    def __repr__(self) -> str:
        return f"<PastCluster {self._lab.name} at {format_timestamp(self._time)}, from {self._source!r}>"

    def close(self) -> None:
        """Free the rows; a statement that is being read keeps them until it ends."""
        super().close()
        self._tables = {}

    def _journals(self, runs: pa.Table, scans: Mapping[str, ServerScan], rows: RowFetcher) -> Mapping[str, pa.Table]:
        """Return the journals that a statement reads; it has a session of its own with them."""
        return {name: self._journal(name, scans[name], runs, rows) for name in _JOURNALS if name in scans}

    def _journal(self, name: str, scan: ServerScan, runs: pa.Table, rows: RowFetcher) -> pa.Table:
        ids = ids_of(runs)
        columns = None if scan.columns is None else {"id", *scan.columns}
        wanted = scan.values.get("id")
        values = dict(scan.values)
        if wanted is not None or len(ids) <= _FEWEST_BY_SCAN:
            known = frozenset(map(str, ids.to_pylist()))
            values["id"] = known if wanted is None else known & wanted
        return rows.fetch(name, columns, values, ids, condition=_APPENDED, params={"time": self._time})

    def _rows(self, reads: Reads, progress: Progress) -> RowFetcher:
        return RowFetcher(
            reads=reads,
            columns=self._layout.schema.tables,
            types=self._layout.types,
            progress=progress,
            max_bytes=self._lab.max_bytes,
            has_earlier_runs=self._source is not self._lab,
        )

    def _make_layout(self, reads: Reads) -> JoinedLayout:
        served = read_schema(reads)
        tables: Mapping[str, SourceTable | SourceView] = {**served.tables, **served.views}
        columns = {
            name: tuple((each.name, each.type or "Utf8") for each in table.columns) for name, table in tables.items()
        }
        context = session(self._time)
        types = {name: types_of(context, columns[name]) for name in _TABLES}
        views = {
            name: view.definition for name, view in served.views.items() if set(view.base_tables) <= {RUNS, _STATES}
        }
        self._unrecorded = sorted({*served.tables, *served.views} - {*_TABLES, *views, *_DERIVED})
        return JoinedLayout(ServerSchema(columns, views), types, context)

    def _session(self, tables: Mapping[str, pa.Table], journals: Mapping[str, pa.Table]) -> Any:
        """Return a session with the runs and these rows of journals."""
        context = session(self._time)
        context.sql("CREATE SCHEMA server")
        for name in (*_NAMES, RUNS, *_DERIVED):
            register(context, name, tables[name])
        register(context, _STATES, self._layout.types[_STATES].empty_table())
        for name in _JOURNALS:
            register_rows(context, name, self._layout, journals.get(name))
            columns = ", ".join(map(quote_name, self._layout.types[name].names))
            context.sql(f"CREATE VIEW {quote_name(name)} AS SELECT {columns} FROM {server_table(name)}")  # noqa: S608
        for name, definition in self._layout.schema.views.items():
            columns_of = [column for column, _ in self._layout.schema.tables[name]]
            create_view(context, name, definition, columns_of, schema="server")
            context.sql(_with_statuses_of_the_past(name, columns_of))
        return context

    def _make_coverage(self, source: Source, services: Iterable[Service]) -> Coverage:
        known = source.coverage
        reasons = dict.fromkeys((*self._unrecorded, "state", "sys_promise"), _NOT_RECORDED)
        is_alone = source is self._lab
        gaps = _gaps_of(services, self._time, source.now) if is_alone else _gaps_after(known, self._time)
        return Coverage(
            part=known.part,
            payloads=known.payloads,
            missing={**{name: reason for name, reason in known.missing.items() if "." in name}, **reasons},
            masked=known.masked,
            gaps=tuple(gaps),
            unknown=(*known.unknown, *self._unknown()),
            is_past=True,
        )

    def _unknown(self) -> Iterator[str]:
        """Yield the gaps in the knowledge about the time, as sentences."""
        statuses: Any = self._tables[RUNS]["status"]
        if count := pc.sum(pc.equal(statuses, pa.scalar(UNKNOWN, statuses.type))).as_py():
            yield f"the status of {plural(count, 'invocation')} at this time cannot be derived, and is 'unknown'"
        yield "invocations that were cancelled or killed before their start left no trace"
        yield (
            "purges by hand are not recorded: an ended invocation of an archive may have been purged before this time, "
            "and one that was purged since is only in an archive"
        )
        yield "attempts, state, promises, limits and vqueues of this time are not recorded"
        yield "services are those of now, and deployments that were removed since are missing"


def _with_statuses_of_the_past(name: str, columns: Iterable[str]) -> str:
    """Return the view of the server, which knows only its own statuses, with those of the past."""
    selected = ", ".join(
        f"coalesce(p.past_status, v.{quote_name(each)}) AS status" if each == "status" else f"v.{quote_name(each)}"
        for each in columns
    )
    past = f"SELECT id AS past_id, status AS past_status FROM {RUNS} WHERE status IN {PAST_ONLY!r}"  # noqa: S608
    view = f"server.{quote_name(name)}"
    return f"CREATE VIEW {quote_name(name)} AS SELECT {selected} FROM {view} v LEFT JOIN ({past}) p ON p.past_id = v.id"  # noqa: S608


def _exclusive(services: Iterable[Service]) -> set[tuple[str, str]]:
    return {
        (service.name, handler.name)
        for service in services
        if service.ty == "VirtualObject"
        for handler in service.handlers or ()
        if handler.ty == "Exclusive"
    }


def _gaps_of(services: Iterable[Service], time: datetime, now: datetime) -> Iterator[CoverageGap]:
    """Yield the handlers whose runs can have been open at a time, and ended and been removed since."""
    for each in json.loads(retention_json(services)):
        retention = timedelta(milliseconds=each["completion_retention_ms"])
        if now - retention > time:
            reason = "not kept" if not retention else f"kept for {format_duration(retention)}"
            yield CoverageGap(
                service=each["service"],
                handler=each["handler"],
                since=time,
                until=now - retention,
                reason=reason,
                retention=retention,
            )


def _gaps_after(coverage: Coverage, time: datetime) -> Iterator[CoverageGap]:
    yield from (replace(gap, since=max(gap.since, time)) for gap in coverage.gaps if gap.until > time)


def longest_retention(services: Iterable[Service]) -> timedelta:
    """Return the longest time for which the server keeps the ended runs of a handler."""
    handlers = json.loads(retention_json(services))
    return max((timedelta(milliseconds=each["completion_retention_ms"]) for each in handlers), default=_DAY)


def open_past(lab: Lab, time: TimeInput) -> PastCluster:
    """Return a cluster as it was at a time, as far as the cluster itself still has it.

    Raises:
        ArgumentError: it is not a time, is in the future, or is earlier than what the cluster still has.
        RestateLabError: any error of the server.
    """
    now = lab.now
    at = past_time(time, now)
    services = lab.admin.list_services()
    kept = longest_retention(services)
    if at < now - kept:
        raise ArgumentError(
            f"time is {format_timestamp(at)}: this cluster keeps ended invocations for {format_duration(kept)} at "
            f"most, so the earliest time is {format_timestamp(now - kept)}. With an archive of that time, use "
            f"open_history(where, live=lab).at(…)."
        )
    return PastCluster(lab, at, services)


def past_time(time: TimeInput, now: datetime) -> datetime:
    """Return an earlier time with milliseconds, as the server has them.

    Raises:
        ArgumentError: it is not a time, or is in the future.
    """
    at = to_datetime(time, now=now, name="time")
    if at > now:
        raise ArgumentError(
            f"time is {format_timestamp(at)}, in the future: the cluster's clock is {format_timestamp(now)}."
        )
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)
