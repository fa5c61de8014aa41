"""``History``: the archive of one cluster as a Source."""

from __future__ import annotations

import functools
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_duration, format_timestamp, join, plural
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.sql.bind import bind
from restate_lab.client.sql.tokenizer import tokens
from restate_lab.errors import ArgumentError, StatementError
from restate_lab.evidence.engine import EngineSource, read, result_schema
from restate_lab.history.days import DaySessions
from restate_lab.history.gaps import covered_until, gaps
from restate_lab.history.maintenance import compact, delete_before, vacuum
from restate_lab.history.session import EARLIER_RUNS, HistoryPeriod, ServerSchema, history_session
from restate_lab.history.shards import ShardLayout, describe_active, release
from restate_lab.history.store import (
    ArchiveStore,
    locate_store,
    sql_text,
    sql_time,
)
from restate_lab.payload_json import PayloadFunction
from restate_lab.server import complete_features
from restate_lab.source import ENGINE, Coverage, CoverageGap, is_own_statement, read_once
from restate_lab.status import COLOURS

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable
    from pyspark.sql import SparkSession

_FEW = 5
_ONLY_ENDED = "an archive has only invocations that have ended"
_LIVE_TABLES = (
    *("state", "sys_inbox", "sys_keyed_service_status", "sys_promise", "sys_locks", "sys_rules", "sys_scheduler"),
    *("sys_user_limits", "sys_vqueue_entry_status", "sys_vqueue_meta", "sys_vqueues"),
)


@public
class History(EngineSource):
    """The archive of one cluster: its ended invocations of months, to query with SQL. See ``open_history()``.

    It answers the same statements as a live cluster, except for what only a live cluster has: open invocations, queues,
    state. Ages count from ``now``, the end of the last visit. If an id has several runs, the newest has the id, and an
    earlier one has the id ``inv_…@2026-11-20T03:00:00.123Z``, with its time of creation.

    The archive's own tables are ``visits``, ``samples``, ``agent_steps`` and ``journal_entries``: the journal with
    ``completion_id``, which a step and its result have in common. The tables of its files are ``archive.invocations``
    and so on. It does not change: open it again to see later visits. It is a context manager, and ``close()`` ends it.

    The archive is a folder of Delta tables, local or on an S3-compatible store (credentials from the environment). A
    visit of ``archive`` adds the ended invocations that the archive does not have, with their journals and events, the
    responses of models in them without text, the deployments, the services, and the numbers of invocations by status
    (``samples``). Nothing is written twice, and the next visit completes what is missing. An invocation is
    (``cluster_name, id, created_at``): a workflow or an idempotency key can run again with the same id.

    Visits can be interrupted or killed, and archivers can run at the same time. Archivers of shards each visit some
    services, so that a visit is shared between processes or machines. A service is in one shard at most, and shards
    exclude an archiver of the whole cluster. The coverage is that of the shards: it ends with the shard that was
    visited least recently, and services in no shard are a gap, as are those of a shard that is very late.

    With ``every``, an error of a later visit is shown and recorded, and the next visit is tried. An address or "local"
    does not identify a cluster, so ``cluster_name`` is required there. A cluster with a new address and other
    deployments is probably another one, and refused unless ``same_cluster`` is True. If the store cannot refuse a
    second equal write, or the clocks of the server and this machine are wrong, nothing is written. A full disk is
    Unreachable.

    A visit is one row of ``visits``, or several if very many invocations were new: ``outcome, started_at, ended_at``
    (UTC, the server's clock), ``shard, services``, ``ids_read`` (ended invocations on the server), ``new_runs``,
    ``gone_runs`` (removed during the visit), ``missing_journals``, and ``note``: unusual events, such as a repaired
    copy, or a column that cannot be stored.
    """

    def __init__(
        self,
        store: ArchiveStore,
        tables: Mapping[str, DeltaTable],
        visits: pd.DataFrame,
        *,
        cluster_name: str,
        period: HistoryPeriod,
        decoder: PayloadFunction | None = None,
        engine: Any = None,
    ) -> None:
        self._store = store
        self._tables = tables
        self._visits = visits
        self._period = period
        self._deletion = store.deletion(tables["invocations"])
        self._shards = ShardLayout.of(tables["invocations"], cluster_name)
        self.cluster_name = cluster_name
        self._last = visits[visits["outcome"] == "complete"].iloc[-1]
        schema = ServerSchema.from_json(_latest(visits, "server_schema"))
        context = history_session(tables, schema, cluster_name, period, self._visited_until, is_local=store.is_local)
        super().__init__(context, decoder)
        self._archive = context
        partitions = tables["invocations"].partitions()
        days = [each["day"] for each in partitions if each["cluster_name"] == cluster_name]
        self._days = DaySessions(context, cluster_name, len(days), functools.partial(self._session_of_days, schema))
        self._user_engine, self._engine = engine, None
        if engine is not None:
            from restate_lab.history.spark.engine import SparkEngine  # noqa: PLC0415 - it needs sqlglot

            self._engine = SparkEngine(engine, context, tables)
        self._has_payload_columns = "entry_json" in {each.name for each in tables["journal"].schema().fields}
        self._first = self._read_first_end(days)
        self._runs_open_then = self._count_open_then()

    @property
    def name(self) -> str:
        """Return the cluster's name with its period and coverage: "prod @ 2026-11-20 to 2026-11-28 (98 % covered)"."""
        since, until = self.coverage.since, self.coverage.until
        days = " to ".join(dict.fromkeys(format_timestamp(each)[:10] for each in (since, until) if each))
        return f"{self.cluster_name} @ {days} ({_percent(self._share_covered)})"

    @property
    def address(self) -> str:
        """Return the archive's path or URI."""
        return self._store.where

    @property
    def version(self) -> str:
        """Return the version of the server at the last visit."""
        return str(self._last["server_version"])

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; ``vqueues`` is False, because ended invocations are in no queue."""
        return MappingProxyType(
            {**complete_features(self.version, json.loads(_latest(self._visits, "features") or "{}")), "vqueues": False}
        )

    @property
    def now(self) -> datetime:
        """Return the end of the last visit, or the end of the period if that is earlier, UTC."""
        return self._visited_until

    @property
    def spark(self) -> SparkSession:
        """Return the session of Spark that answers the verbs, with the tables of this history as temporary views.

            history.spark.sql("SELECT target, count(*) FROM sys_invocation_status GROUP BY target")

        The statement is in Spark's dialect, with Spark's types, and the result is a DataFrame of Spark. The session is
        on the cluster of ``engine``, and the views are dropped by ``close()``.

        Raises:
            ArgumentError: the history was opened without ``engine``, or cannot be.
            StatementError: the history is closed.
        """
        if self._engine is None:
            raise ArgumentError("history.spark needs a history of Spark: rl.open_history(where, engine=spark).")
        if self._context is None:
            raise StatementError(f"{self!r} is closed; open it again.")
        session: SparkSession = self._engine.session
        return session

    @property
    def _visited_until(self) -> datetime:
        last: datetime = self._last["ended_at"].to_pydatetime()
        return last if self._period.until is None else min(last, self._period.until)

    @read_once
    def coverage(self) -> Coverage:
        """Return the period, the times in which runs may be missing, and what an archive does not have."""
        # What ended during the last visit may not have been read yet.
        last = min(self._last["started_at"].to_pydatetime(), self._visited_until)
        until, unread = covered_until(self._visits, None if self._shards.is_whole else self._shards.active, last)
        return self._coverage_until(until, self._visits, unread)

    def _coverage_until(
        self, until: datetime, visits: pd.DataFrame, unread: Mapping[str, str] = MappingProxyType({})
    ) -> Coverage:
        since = min(self._period.since or self._first, until)
        kept_since = min(max(since, self._deletion.end or since), until)
        rows = gaps(visits, kept_since, until, unread)
        return Coverage(
            payloads=self._has_payload_columns and bool(self._visits["payloads"].all()),
            missing=self._missing(),
            open_invocations=False,
            since=since,
            until=until,
            gaps=self._deletion_gaps(since, kept_since)
            + tuple(
                CoverageGap(
                    service=row["service"],
                    handler=row["handler"],
                    since=row["missing_from"].to_pydatetime(),
                    until=row["missing_until"].to_pydatetime(),
                    reason=row["reason"],
                    retention=row["retention"].to_pytimedelta(),
                )
                for row in rows.to_dict("records")
            ),
            unknown=self._unknown(since, until),
        )

    def _deletion_gaps(self, since: datetime, until: datetime) -> tuple[CoverageGap, ...]:
        if since >= until:
            return ()
        texts = self._visits["retention"].dropna().unique()
        handlers = sorted({(row["service"], row["handler"]) for text in texts for row in json.loads(text)})
        reason = f"deleted from the archive ({self._describe_deletion()})"
        return tuple(
            CoverageGap(service=service, handler=handler, since=since, until=until, reason=reason)
            for service, handler in handlers
        )

    def _describe_deletion(self) -> str:
        before, until = self._deletion.before, self._deletion.until
        text = f"runs before {before} were deleted, and such runs are not archived"
        return text if until is None else f"{text}; runs before {format_timestamp(until)} were deleted at first"

    def at(self, time: TimeInput, /) -> EngineSource:
        """Return the history as of a time: the runs that had ended by then, with ages that count from then.

        It reads the same versions of the tables: visits after this history was opened are in neither.

        Invocations that ended later were open at that time. Their status then is unknown, so that they are only
        counted, in the card.

        Raises:
            ArgumentError: it is not a time, or lies outside of the archive.
        """
        until = to_datetime(time, now=self.now, name="time")
        if not self._first <= until <= self.now:
            raise ArgumentError(
                f"time is {format_timestamp(until)}: this history has invocations that ended from "
                f"{format_timestamp(self._first)} to {format_timestamp(self.now)}."
            )
        period, name = HistoryPeriod(self._period.since, until), self.cluster_name
        options: dict[str, Any] = {"decoder": self.decoder, "engine": self._user_engine}
        return History(self._store, self._tables, self._visits, cluster_name=name, period=period, **options)

    def _read(
        self, context: SessionContext, query: str, deadline: float | None, max_bytes: float
    ) -> tuple[pa.Schema, Generator[pa.RecordBatch]]:
        """Return the columns and rows of a statement; with an engine, the metadata of the columns have its name.

        Raises:
            StatementError: with an engine, the statement is one of the user.
        """
        if self._engine is not None and not is_own_statement():
            raise StatementError(_own_dialect(query))
        if self._engine is not None and self._engine.answers(query):
            rows = self._engine.read(query, result_schema(context, query), deadline, max_bytes)
            return rows.schema.with_metadata({ENGINE: "spark"}), (batch for batch in rows.to_batches())
        schema, batches = read(self._days.session(query, deadline), query, deadline=deadline)
        return schema if self._engine is None else schema.with_metadata({ENGINE: "datafusion"}), batches

    def _session_of_days(self, schema: ServerSchema, days: frozenset[date]) -> SessionContext:
        """Return a session that has only the files of some days of the period."""
        _, batches = read(self._archive, f"SELECT * FROM {EARLIER_RUNS}")  # noqa: S608
        earlier = [row for batch in batches for row in batch.to_pylist()]
        period, is_local = replace(self._period, only=days), self._store.is_local
        arguments = (self._tables, schema, self.cluster_name, period, self._visited_until)
        return history_session(*arguments, is_local=is_local, earlier=earlier)

    def close(self) -> None:
        """Close the tables, and drop the views in Spark; the session of Spark goes on."""
        if self._engine is not None:
            self._engine.close()
        super().close()

    def compact(self) -> pd.DataFrame:
        """Merge the small files of the days that are over, of all clusters, so that they are read faster.

        Returns one row per table with ``table, files_before, files_after``. The history itself does not change.

        Raises:
            ArchiveBroken: another compaction began later; it goes on, and this one ended.
            RestateLabError: the archive could not be changed.
        """
        return compact(self._store)

    def vacuum(self) -> pd.DataFrame:
        """Remove files that the archive has not used for a week; return the columns ``table, files_removed``.

        Raises:
            RestateLabError: the archive could not be changed.
        """
        return vacuum(self._store)

    def release(self, shard: str | None = None, /) -> pd.DataFrame:
        """End an active shard, so that other archivers can have its services; nothing is deleted.

        Stop the archiver of the shard first, because its next visit would make the shard active again. Until a visit
        of another archiver reads the services, they have no coverage. None ends all shards of the cluster, or the
        archiver of the whole cluster, so that shards can follow it. Returns the columns ``shard, services``.

        Raises:
            ArgumentError: no such shard is active.
            RestateLabError: the archive could not be changed.
        """
        return release(self._store, self.cluster_name, shard)

    def delete_before(self, day: str, /, *, confirm: str) -> pd.DataFrame:
        """Remove all days of all clusters before ``day`` ("2026-05-01") from the archive; this cannot be undone.

        Invocations that ended before ``day`` are not archived again. A smaller day takes that back for later visits.
        ``confirm`` must repeat the address of the archive. Returns the columns ``table, rows_deleted``.

        Raises:
            ArgumentError: it is not a day, is after the day of the last complete visit, or ``confirm`` is not the
                address of the archive.
            RestateLabError: the archive could not be changed.
        """
        try:
            first = date.fromisoformat(day)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"day is {day!r}: use a day such as '2026-05-01'.") from error
        if locate_store(confirm).where != self.address:
            raise ArgumentError(f"confirm is {confirm!r}: repeat the address of the archive, {self.address!r}.")
        return delete_before(self._store, first)

    def __repr__(self) -> str:
        return f"<History {self.name}, at {self.address}>"

    def _repr_html_(self) -> str:
        return render(
            "_html/card.html.j2",
            title=self.cluster_name,
            place=self._place(),
            place_tip="",
            badges=[],
            facts=list(self._facts()),
            lines=[],
            accent=COLOURS["archive"],
            parts=[],
        )

    def _place(self) -> str:
        return f"{self.address}, restate {self.version}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        coverage = self.coverage
        yield "period", f"{format_timestamp(coverage.since)} to {format_timestamp(coverage.until)}"
        failed = int((self._visits["outcome"] == "failed").sum())
        yield "visits", f"{len(self._visits):,}" + (f", of which {failed:,} failed" if failed else "")
        if self._shards.is_stored:
            yield "archived by", describe_active(self._shards)
        yield "covered", _percent(self._share_covered)
        if coverage.gaps:
            texts = (
                f"{each.service}/{each.handler} from {format_timestamp(each.since)} for "
                f"{format_duration(each.until - each.since)} ({each.reason})"
                for each in coverage.gaps
            )
            yield "may be missing", join(texts, _FEW)
        if self._deletion.before:
            yield "deleted", self._describe_deletion()
        if coverage.unknown:
            yield "not known", "; ".join(coverage.unknown)
        if self._runs_open_then:
            yield "open then", f"{plural(self._runs_open_then, 'invocation')} that ended later; not in the tables"
        if self._engine is not None:
            yield "engine", "Spark for statements over many runs"
        yield "payloads", "archived" if coverage.payloads else "not archived"

    @read_once
    def _share_covered(self) -> float | None:
        """Return the mean share of the period in which no run of a handler can be missing; None if it is unknown."""
        coverage = self.coverage
        last = self._visited_until
        period = max((coverage.until or last) - (coverage.since or last), timedelta())
        handlers = {
            (each["service"], each["handler"]) for each in json.loads(_latest(self._visits, "retention") or "[]")
        }
        if not handlers or not period:
            return None
        missing = sum((each.until - each.since for each in coverage.gaps), timedelta())
        return max(1.0 - missing / (period * len(handlers)), 0.0)

    def _unknown(self, since: datetime, until: datetime) -> tuple[str, ...]:
        """Return what the visits of the period did not read, so that a gap may not be known."""
        visits = self._visits[(self._visits["outcome"] == "complete") & self._visits["open_retention"].isna()]
        at = visits["started_at"][visits["started_at"].between(since, until)]
        if at.empty:
            return ()
        text = (
            f"{plural(len(at), 'visit')}, the last at {format_timestamp(at.iloc[-1])}, did not read the retention of "
            f"open invocations; after the retention of a handler was raised, runs may be missing without a gap"
        )
        return (text,)

    def _missing(self) -> dict[str, str]:
        reasons = dict.fromkeys(_LIVE_TABLES, _ONLY_ENDED) | {"sys_journal.raw": "an archive never has it"}
        if not self._has_payload_columns:
            reasons["sys_journal.entry_json"] = "the archive was made without payloads"
        return reasons

    def _read_first_end(self, days: Sequence[str]) -> datetime:
        """Return the time from which the archive has runs: the earliest end, or the first visit if it is earlier."""
        visit: datetime = self._visits["started_at"].min().to_pydatetime()
        if not days:
            return visit
        ends: list[Any] = [
            pc.min(each["completed_at"]) for each in self._runs(["completed_at"], f"day = '{min(days)}'")
        ]
        first: datetime = min([visit, *(end.as_py() for end in ends if end.is_valid)])
        return first

    def _count_open_then(self) -> int:
        until = self._period.until
        if until is None:
            return 0
        where = f"day >= '{until.astimezone(UTC).date()}' AND created_at <= {sql_time(until)}"
        where += f" AND completed_at > {sql_time(until)}"
        return sum(batch.num_rows for batch in self._runs(["created_at"], where))

    def _runs(self, columns: list[str], where: str) -> Iterator[pa.RecordBatch]:
        """Yield runs of all periods; only the files of the days in the condition are read."""
        condition = f"cluster_name = {sql_text(self.cluster_name)} AND {where}"
        return self._store.read(self._tables["invocations"], columns, condition)

    def _rows(self, statement: str, **named: Any) -> list[dict[str, Any]]:
        """Return rows of the archive's own tables, with the cluster as ``:name``."""
        _, batches = read(self._archive, bind(statement, name=self.cluster_name, **named))
        return [row for batch in batches for row in batch.to_pylist()]


def _own_dialect(query: str) -> str:
    """Return why a statement of the user is refused in a history of Spark; it names a view that the statement reads."""
    names = (each.text.lower() for each in tokens(query) if each.kind == "word" and each.text.startswith("SYS_"))
    view = next(names, "sys_invocation_status")
    return f"a history with engine= takes no SQL of DataFusion: use history.spark.sql(…), where {view} is a view."


def _latest(visits: pd.DataFrame, column: str) -> str:
    """Return the last value of a column that visits store only when it changes; "" if no visit stored one."""
    values = visits[column].dropna()
    return str(values.iloc[-1]) if len(values) else ""


def _percent(share: float | None) -> str:
    """Return a share as a percentage that is never rounded up to 100."""
    return "coverage unknown" if share is None else f"{min(share * 100, 99.9) if share < 1 else 100:.3g} % covered"
