"""The DataFusion session of a history: the archive's tables under the server's names, with the server's types.

A period limits each table: whole days by their partitions, so that other days are not read, and the days at both ends
by the time at which the run ended. The raw tables are in the schema ``archive``. On a joined source, the schema
``server`` has the rows of the server that a statement needs, and the views have both.

An id can have several runs. The newest has the id, and an earlier one ``inv_…@2026-11-20T03:00:00.123Z`` with its time
of creation, so that ids are unique, and statements may join by them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from restate_lab.client.sql.literals import literal
from restate_lab.evidence.engine import create_view, read, session
from restate_lab.evidence.tables import quote_name
from restate_lab.history.scans import server_table
from restate_lab.history.tables import TABLES, select_server_columns

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable
    from pyarrow.dataset import Dataset

_PLAIN_TEXT: dict[pa.DataType, str] = {pa.string(): "Utf8", pa.list_(pa.string()): "List(Utf8)"}
_TYPE_NAMES: dict[pa.DataType, str] = {
    **_PLAIN_TEXT,
    pa.int64(): "Int64",
    pa.float64(): "Float64",
    pa.bool_(): "Boolean",
    pa.date32(): "Date32",
    pa.timestamp("us", "UTC"): 'Timestamp(Microsecond, Some("UTC"))',
}
Columns = tuple[tuple[str, str], ...]
OWN = {"samples": "sampled_at", "visits": "started_at"}
OF_ENTRIES = ("id", "index", "entry_type", "name", "appended_at")
"""The columns of ``sys_journal`` that ``journal_entries`` has."""
_DATASET_COST = 3
_NO_LIMIT = "true"
EARLIER_RUNS = "renamed.earlier_runs"
_EARLIER_RUNS: dict[str, pa.DataType] = {
    "earlier_id": pa.string(),
    "earlier_created_at": pa.timestamp("us", "UTC"),
    "run_id": pa.string(),
}


@dataclass(frozen=True, slots=True)
class HistoryPeriod:
    """The time in which the invocations of a history ended, both ends included; None has no limit.

    ``only`` are the days that are read of it.
    """

    since: datetime | None = None
    until: datetime | None = None
    only: frozenset[date] | None = None

    def contains(self, column: str) -> str:
        """Return the condition that the time in a column is in the period."""
        return _limits(
            column, ">=", "<=", *[None if each is None else literal(each) for each in (self.since, self.until)]
        )

    def days(self, *, whole: bool = False) -> str:
        """Return the condition for the days of the period, or only for those that are in it as a whole."""
        limits = _limits(
            "day", *((">", "<") if whole else (">=", "<=")), *[each and f"DATE '{each}'" for each in self._dates()]
        )
        return limits if self.only is None else f"{limits} AND {_is_one_of(self.only)}"

    def has_day(self, day: date) -> bool:
        """Return whether a part of a day is in the period."""
        first, last = self._dates()
        is_read = self.only is None or day in self.only
        return is_read and (first is None or day >= first) and (last is None or day <= last)

    def days_at_the_ends(self) -> str:
        """Return the condition for the first and the last day; "" if none of them is read."""
        dates = [each for each in self._dates() if each is not None and self.has_day(each)]
        return _is_one_of(dates) if dates else ""

    def _dates(self) -> tuple[Any, Any]:
        return self.since and self.since.astimezone(UTC).date(), self.until and self.until.astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class ServerSchema:
    """The columns (name, type) of the server's tables, and the definitions of its views."""

    tables: Mapping[str, Columns]
    views: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> ServerSchema:
        """Return the schema that a visit has stored."""
        value = json.loads(text)
        tables = {name: tuple((column[0], column[1]) for column in rows) for name, rows in value["tables"].items()}
        return cls(tables, dict(value["views"]))


def history_session(
    tables: Mapping[str, DeltaTable],
    schema: ServerSchema,
    cluster_name: str,
    period: HistoryPeriod,
    now: datetime,
    *,
    is_local: bool,
    earlier: Iterable[Mapping[str, Any]] | None = None,
) -> SessionContext:
    """Return a session in which a cluster's archived tables answer statements about the server's tables.

    ``is_local``: the archive is on a disk of this machine. ``earlier`` are the runs that are not the newest of their
    id, from another session of this history; without them, the archive is read to find them.
    """
    context = session(now)
    register_archive(context, tables, period, is_local=is_local)
    builder = ArchiveViews(context, tables, schema, cluster_condition(cluster_name), period)
    builder.rename(builder.repeated_runs() if earlier is None else earlier)
    for name in ARCHIVED:
        builder.add(name)
    for name in ("deployments", "services"):
        builder.add_latest(name)
    for name in OWN:
        builder.add_own(name)
    builder.add_server_views(schema.views)
    return context


def register_archive(
    context: SessionContext, tables: Mapping[str, DeltaTable], period: HistoryPeriod, *, is_local: bool
) -> None:
    """Register the tables of an archive in the schema ``archive`` of a session.

    They can lack days that are not in the period.
    """
    context.sql("CREATE SCHEMA archive")
    for name, table in tables.items():
        _register(context, name, table, period, is_local=is_local)


def cluster_condition(cluster_name: str) -> str:
    """Return the condition that a row of the archive belongs to a cluster."""
    return f"cluster_name = {literal(cluster_name)}"


ARCHIVED: dict[str, str] = {
    "sys_invocation_status": "invocations",
    "sys_invocation_state": "",
    "sys_journal": "journal",
    "sys_journal_events": "events",
    "agent_steps": "agent_steps",
    "journal_entries": "journal",
}
"""The views that have rows per run, with the table of the archive; "" has no rows there."""


@dataclass(slots=True)
class ArchiveViews:
    """Creates views of one archived cluster in a session, under the names and with the columns of ``schema``.

    A view in ``served`` also has the rows of ``server_table`` of its name, with these columns.
    """

    context: SessionContext
    tables: Mapping[str, DeltaTable]
    schema: ServerSchema
    cluster: str
    period: HistoryPeriod
    served: Mapping[str, Sequence[str]] = field(default_factory=dict)
    has_earlier_runs: bool = False

    @property
    def repeated(self) -> str:
        """The SELECT of the ids in the period of which the archive had an earlier run."""
        return f"SELECT id FROM archive.invocations WHERE {self._in_period} AND repeated"  # noqa: S608

    @property
    def _in_period(self) -> str:
        return f"{self.cluster} AND {self.period.days()} AND {self.period.contains('completed_at')}"

    def repeated_runs(self) -> list[dict[str, Any]]:
        """Return the ``earlier_runs`` of ids that the archive has several times.

        Without such an id, only the statistics of the files are read. With one, all ids of the period are read.
        """
        _, batches = read(self.context, f"{self.repeated} LIMIT 1")
        return list(earlier_runs(self.runs_of(self.repeated))) if any(batch.num_rows for batch in batches) else []

    def runs_of(self, ids: str) -> Iterator[dict[str, Any]]:
        """Yield ``id, created_at`` of the runs in the period with ids from a SELECT, the newest run of an id first."""
        statement = f"SELECT id, created_at FROM archive.invocations WHERE {self._in_period} AND id IN ({ids})"  # noqa: S608
        _, batches = read(self.context, f"{statement} ORDER BY id, created_at DESC")
        yield from (row for batch in batches for row in batch.to_pylist())

    def rename(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Give runs of the archive, rows of ``earlier_runs``, their unique ids in the views that are added later."""
        rows = pa.RecordBatch.from_pylist(list(runs), schema=pa.schema(_EARLIER_RUNS))
        self.has_earlier_runs = rows.num_rows > 0
        self.context.sql("CREATE SCHEMA renamed")
        self.context.register_record_batches(EARLIER_RUNS, [[rows]])

    def add(self, name: str) -> None:
        """Create a view in ``ARCHIVED``."""
        table = ARCHIVED[name]
        if not table:
            nothing = select_server_columns(self.schema.tables[name], {})
            self.create(name, f"SELECT {nothing} WHERE false")
        elif table == "invocations":
            self.create(name, self.select_runs())
        else:
            select = self._select_entries() if name == "journal_entries" else self.select(table)
            self.create(name, self.in_period(table, select))

    def select_runs(self) -> str:
        """Return the SELECT of the runs in the period."""
        return f"{self.select('invocations')} WHERE {self._in_period}"

    def add_server_views(self, views: Mapping[str, str]) -> None:
        """Create views of the server, from their definitions by name."""
        for name, definition in views.items():
            columns = [column for column, _ in self.schema.tables[name]]
            create_view(self.context, name, definition, columns)

    def _select_entries(self) -> str:
        """Select the journal with the archive's own columns, which replace functions of JSON."""
        columns = [column for column in self.schema.tables["sys_journal"] if column[0] in OF_ENTRIES]
        selected = select_server_columns(columns, self._columns_in("journal"), replaced=self._unique_id())
        return f"SELECT {selected}, completion_id, arrow_cast(result, 'Utf8') AS result{self._from('journal')}"

    def in_period(self, name: str, select: str) -> str:
        """Return a SELECT from a table of the archive with the condition of the period."""
        ends = self.period.days_at_the_ends()
        statement = f"{select} WHERE {self.cluster} AND {self.period.days(whole=True)}"
        if ends:
            statement += (
                f" UNION ALL {select} WHERE {self.cluster} AND {ends} AND EXISTS (SELECT 1 "  # noqa: S608
                f"FROM archive.invocations r WHERE r.{self.cluster} AND r.{ends} AND "
                f"{self.period.contains('r.completed_at')} AND r.id = archive.{name}.id "
                f"AND r.created_at = archive.{name}.created_at)"
            )
        return statement

    def add_latest(self, name: str) -> None:
        """Create a view of the last known row of each deployment or service at the end of the period.

        A visit sees a deployment, and its services, after it was created.
        """
        key = "id" if name == "deployments" else "name"
        was_seen, was_there = "true", "false"
        if self.period.until is not None:
            end, column = literal(self.period.until), "id" if name == "deployments" else "deployment_id"
            created = f"SELECT id FROM archive.deployments WHERE {self.cluster} AND created_at <= {end}"  # noqa: S608
            was_seen = f"first_seen_at <= {end}"
            if "created_at" in self._columns_in("deployments") and column in self._columns_in(name):
                was_there = f"{column} IN ({created})"
        latest = (
            f"SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY "  # noqa: S608
            f"CASE WHEN {was_seen} THEN first_seen_at END DESC NULLS LAST, first_seen_at) AS newest "
            f"FROM archive.{name} WHERE {self.cluster} AND ({was_seen} OR {was_there})"
        )
        columns = select_server_columns(self.schema.tables[TABLES[name].copies], self._columns_in(name))
        self.create(TABLES[name].copies, f"SELECT {columns} FROM ({latest}) WHERE newest = 1")  # noqa: S608

    def add_own(self, name: str) -> None:
        """Create a view of a table that servers do not have; columns that an earlier version did not write are null."""
        where = f"{self.cluster} AND {self.period.days()} AND {self.period.contains(OWN[name])}"
        absent = dict.fromkeys(TABLES[name].own.keys() - self._columns_in(name), "NULL")
        self.create(name, f"SELECT {_select_own(name, absent)} FROM archive.{name} WHERE {where}")  # noqa: S608

    def select(self, name: str) -> str:
        """Return a SELECT of all columns of a table of the archive, with the types of the server."""
        unique = self._unique_id()
        if TABLES[name].copies:
            selected = select_server_columns(self._columns(name), self._columns_in(name), replaced=unique)
        else:
            selected = _select_own(name, unique)
        return f"SELECT {selected}{self._from(name)}"

    def _unique_id(self) -> dict[str, str]:
        return {"id": "coalesce(run_id, id)"} if self.has_earlier_runs else {}

    def _from(self, name: str) -> str:
        joined = f" LEFT JOIN {EARLIER_RUNS} ON earlier_id = id AND earlier_created_at = created_at"
        return f" FROM archive.{name}{joined if self.has_earlier_runs else ''}"

    def _columns(self, name: str) -> Columns:
        table = TABLES[name]
        stored = self._columns_in(name)
        absent = table.left_out | {each for each in table.payloads if each not in stored}
        columns = self.schema.tables[table.copies]
        return columns if table.copies in self.served else tuple(each for each in columns if each[0] not in absent)

    def _columns_in(self, name: str) -> dict[str, str]:
        return {each.name: getattr(each.type, "type", "") for each in self.tables[name].schema().fields}

    def create(self, name: str, statement: str) -> None:
        """Create a view of a SELECT of the archive, with the rows of the server if it is in ``served``."""
        if name in self.served:
            columns = ", ".join(map(quote_name, self.served[name]))
            statement += f" UNION ALL SELECT {columns} FROM {server_table(name)}"  # noqa: S608
        self.context.sql(f"CREATE VIEW {quote_name(name)} AS {statement}")


def earlier_runs(runs: Iterable[Mapping[str, Any]], newer: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the runs that are not the newest of their id, with their unique ids; the newest of an id comes first.

    ``newer`` are ids of which another source has the newest run.
    """
    newest: set[str] = set(newer)
    for run in runs:
        if run["id"] in newest:
            created = run["created_at"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            run_id = f"{run['id']}@{created}"
            yield {"earlier_id": run["id"], "earlier_created_at": run["created_at"], "run_id": run_id}
        newest.add(run["id"])


_KEYS: dict[str, pa.DataType] = {"id": pa.string(), "name": pa.string(), "completed_at": pa.timestamp("us", "UTC")}
_NEEDED = {
    "invocations": ("id", "completed_at"),
    "services": ("name",),
    **dict.fromkeys(("journal", "events", "deployments"), ("id",)),
}
"""The columns of the server that views need; a table has them only after its first row."""


def _register(context: SessionContext, name: str, table: DeltaTable, period: HistoryPeriod, *, is_local: bool) -> None:
    """Register a table as ``archive.<name>``, with null for columns that it does not have yet."""
    stored = {each.name for each in table.schema().fields}
    needed = {**TABLES[name].own, **{each: _KEYS[each] for each in _NEEDED.get(name, ())}}
    missing = {each: kind for each, kind in needed.items() if each not in stored}
    registered = f"archive.{name}_stored" if missing else f"archive.{name}"
    if is_local:
        days = _few_days(table, period)
        if days is None:
            context.register_table(registered, table)
        else:
            context.register_dataset(registered, days)
    else:
        from restate_lab.history.cache import cached_dataset  # noqa: PLC0415 - it needs deltalake

        context.register_dataset(registered, cached_dataset(table))
    if missing:
        nulls = ", ".join(
            f"arrow_cast(NULL, '{_TYPE_NAMES[kind]}') AS {quote_name(each)}" for each, kind in missing.items()
        )
        context.sql(f"CREATE VIEW archive.{name} AS SELECT *, {nulls} FROM {registered}")  # noqa: S608


def _few_days(table: DeltaTable, period: HistoryPeriod) -> Dataset | None:
    """Return the files of the days of a period; None if they are a large part of the table, or it has no days.

    With ``register_table``, each statement reads all files: the engine does not pass conditions to deltalake 1.6. A
    dataset has only the files of the days, but reading such a file takes 2 to 3 times as much CPU.
    """
    if period.days() == _NO_LIMIT or "day" not in table.metadata().partition_columns:
        return None
    sizes = pa.table(table.get_add_actions(flatten=True)).select(["partition.day", "size_bytes"]).to_pylist()
    there = [(each["partition.day"], each["size_bytes"]) for each in sizes]
    wanted = sum(size for day, size in there if period.has_day(day))
    if wanted * _DATASET_COST >= sum(size for _, size in there):
        return None
    dataset: Dataset = table.to_pyarrow_dataset(file_pruning_predicate=period.days())
    return dataset


def _select_own(name: str, replaced: Mapping[str, str] = MappingProxyType({})) -> str:
    own = {each: kind for each, kind in TABLES[name].own.items() if each != "cluster_name"}
    values = {each: replaced.get(each, quote_name(each)) for each in own}
    return ", ".join(
        f"arrow_cast({values[each]}, '{_PLAIN_TEXT[kind]}') AS {quote_name(each)}"
        if kind in _PLAIN_TEXT
        else f"{values[each]} AS {quote_name(each)}"
        for each, kind in own.items()
    )


def _limits(column: str, low: str, high: str, since: str | None, until: str | None) -> str:
    parts = [f"{column} {low} {since}"] if since else []
    parts += [f"{column} {high} {until}"] if until else []
    return " AND ".join(parts) or _NO_LIMIT


def _is_one_of(days: Iterable[date]) -> str:
    dates = [f"DATE '{each}'" for each in sorted(days)]
    return f"day IN ({', '.join(dates)})"
