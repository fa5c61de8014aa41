"""The DataFusion session of one statement on an archive and a server: views under the server's names, with both rows.

A statement has its own session, because its rows of the server are only for this statement. The tables of the archive
are registered once, and all sessions share them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.client.sql.literals import literal
from restate_lab.evidence.engine import create_view, read, session
from restate_lab.evidence.tables import SourceSchema, SourceTable, SourceView, quote_name
from restate_lab.history.scans import server_table
from restate_lab.history.session import (
    ARCHIVED,
    OF_ENTRIES,
    OWN,
    ArchiveViews,
    Columns,
    HistoryPeriod,
    ServerSchema,
    cluster_condition,
    earlier_runs,
)
from restate_lab.history.shards import ShardLayout
from restate_lab.history.store import last_number
from restate_lab.history.tables import TABLES, select_server_columns, to_archive

if TYPE_CHECKING:
    from datafusion import SessionContext
    from deltalake import DeltaTable

ORIGINS = "origins"
_RUNS = "sys_invocation_status"
_OF_ENTRIES = {"completion_id": pa.int64(), "result": pa.string()}
_DETAILS = {"sys_journal": "journal", "journal_entries": "journal", "sys_journal_events": "events"}
"""The tables with rows per run that a visit commits after the runs."""
_FEW = 1_000  # rows with nulls in memory, which take less time than a view
_MOST_SEARCHED = 1_000_000  # ids in memory
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class JoinedLayout:
    """The tables of a joined source: those of the server now, with their types, and those of the archive.

    - ``types``: the Arrow types of the tables with rows of the server, also of ``agent_steps`` and ``journal_entries``.
    - ``planning``: a session with all tables without rows of the server, in which statements are planned.
    """

    schema: ServerSchema
    types: Mapping[str, pa.Schema]
    planning: SessionContext

    @property
    def local(self) -> frozenset[str]:
        """Return the names in a statement that the server alone cannot answer."""
        return frozenset({*ARCHIVED, *OWN, ORIGINS, *self.schema.views, "archive", "information_schema"})

    def views_in(self, statement: str) -> set[str]:
        """Return the views that a statement can read: all names that occur in it, with the tables of its views."""
        words = set(_WORD.findall(statement.lower()))
        names = {*self.types, *OWN, ORIGINS, *self.schema.views}
        if "information_schema" in words:
            return names
        named = words & names
        for view in named & self.schema.views.keys():
            named |= set(_WORD.findall(self.schema.views[view].lower())) & self.types.keys()
        return named


@dataclass(slots=True)
class JoinedSessions:
    """Makes the sessions of statements on the archive of one cluster; ``context`` has the tables of the archive."""

    context: SessionContext
    tables: Mapping[str, DeltaTable]
    cluster_name: str
    period: HistoryPeriod
    _repeated: list[dict[str, Any]] | None = None
    _newer: tuple[set[str], list[dict[str, Any]]] = field(default_factory=lambda: (set(), []))
    """The ids that have a newer run on the server in the last statement, and the earlier runs with these ids."""
    _searched: pa.Array[Any] = field(default_factory=lambda: pa.array([], pa.large_string()))
    _found: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def layout(self, server: SourceSchema) -> JoinedLayout:
        """Return the layout for a server with these tables."""
        served: Mapping[str, SourceTable | SourceView] = {**server.tables, **server.views}
        columns = {
            name: tuple((each.name, each.type or "Utf8") for each in table.columns) for name, table in served.items()
        }
        definitions = {name: view.definition for name, view in server.views.items()}
        schema = ServerSchema(columns, {})
        context = self._session(datetime.now(UTC))
        types = {name: types_of(context, columns[name]) for name in server.tables}
        journal = types["sys_journal"]
        entries = [journal.field(each) for each in journal.names if each in OF_ENTRIES]
        types["journal_entries"] = pa.schema([*entries, *(pa.field(*each) for each in _OF_ENTRIES.items())])
        own = TABLES["agent_steps"].own
        types["agent_steps"] = pa.schema([(name, kind) for name, kind in own.items() if name != "cluster_name"])
        layout = JoinedLayout(schema, types, context)
        self._fill(context, layout, {}, {*types, *OWN, ORIGINS}, pa.array([], pa.large_string()))
        # Checked here, so that the sessions of statements need not do it.
        for name, definition in definitions.items():
            create_view(context, name, definition, [column for column, _ in columns[name]])
        return replace(layout, schema=replace(schema, views=definitions))

    def session(
        self, layout: JoinedLayout, rows: Mapping[str, pa.Table], statement: str, new_ids: pa.Array[Any], now: datetime
    ) -> SessionContext:
        """Return the session of a statement with its rows of the server; ``new_ids`` are runs that only it has."""
        context = self._session(now)
        self._fill(context, layout, rows, layout.views_in(statement), new_ids)
        return context

    def are_archived(self, runs: pa.Table) -> pa.Array[Any]:
        """Return for each run (``id, created_at, completed_at`` of a server) whether the archive has it."""
        first = pc.min(runs["completed_at"]).as_py()
        if first is None:
            return pa.array([False] * len(runs), pa.bool_())
        context = self._session(first)
        listed = to_archive(runs).append_column("place", pa.array(range(len(runs)), pa.int64()))
        register(context, "listed", listed)
        _, batches = read(
            context,
            "SELECT l.place FROM listed l LEFT SEMI JOIN (SELECT id, created_at FROM archive.invocations "  # noqa: S608
            f"WHERE {cluster_condition(self.cluster_name)} AND day >= DATE '{first.astimezone(UTC).date()}') a "
            f"ON a.id = l.id AND a.created_at = l.created_at",
        )
        places = pa.concat_arrays([pa.array([], pa.int64()), *(each.column(0) for each in batches)])
        is_known: pa.Array[Any] = pc.is_in(pa.array(range(len(runs)), pa.int64()), value_set=places)
        return is_known

    def incomplete(self, table: str) -> pa.Table | None:
        """Return ``id, created_at`` of the archived runs whose rows in a table were not archived; None without any.

        An archiver that was killed has committed the runs, and not yet the other tables.
        """
        name = _DETAILS.get(table, table)
        if name not in {"journal", "events", "agent_steps"}:
            return None
        behind = [
            f"coalesce(shard, '') = {literal(shard or '')} AND visit > {done}"
            for shard in (None, *ShardLayout.of(self.tables["invocations"], self.cluster_name).shards)
            if (done := self._number(name, shard)) < self._number("invocations", shard)
        ]
        if not behind:
            return None
        _, batches = read(
            self._session(datetime.now(UTC)),
            "SELECT id, created_at FROM archive.invocations "  # noqa: S608
            f"WHERE {cluster_condition(self.cluster_name)} AND ({' OR '.join(behind)})",
        )
        rows = [pa.Table.from_batches([each]) for each in batches]
        return pa.concat_tables(rows) if rows else None

    def _number(self, table: str, shard: str | None) -> int:
        return last_number(self.tables[table], self.cluster_name, shard)

    def _session(self, now: datetime) -> SessionContext:
        context = session(now)
        context.catalog("restate").register_schema("archive", self.context.catalog("restate").schema("archive"))
        return context

    def _fill(
        self,
        context: SessionContext,
        layout: JoinedLayout,
        rows: Mapping[str, pa.Table],
        names: set[str],
        new_ids: pa.Array[Any],
    ) -> None:
        context.sql("CREATE SCHEMA server")
        served = {name: layout.types[name].names for name in layout.types}
        condition = cluster_condition(self.cluster_name)
        views = ArchiveViews(context, self.tables, layout.schema, condition, self.period, served)
        views.rename(self._earlier_runs(views, new_ids))
        tables = {*names, _RUNS} if ORIGINS in names else names
        for name in tables & layout.types.keys():
            register_rows(context, name, layout, rows.get(name))
        for name in sorted(names & layout.types.keys()):
            if name in ARCHIVED:
                views.add(name)
            else:
                columns = ", ".join(map(quote_name, served[name]))
                context.sql(f"CREATE VIEW {quote_name(name)} AS SELECT {columns} FROM {server_table(name)}")  # noqa: S608
        for name in names & OWN.keys():
            views.add_own(name)
        if ORIGINS in names:
            context.sql(_origins(views.select_runs()))
        for name in names & layout.schema.views.keys():
            context.sql(layout.schema.views[name])

    def _earlier_runs(self, views: ArchiveViews, new_ids: pa.Array[Any]) -> list[dict[str, Any]]:
        """Return the archived runs that have a newer run, in the archive or on the server."""
        with self._lock:
            newer = self._archived_ids(views, new_ids)
            if self._repeated is None:
                self._repeated = views.repeated_runs()
            if not newer:
                return self._repeated
            if newer != self._newer[0]:
                with _ids_in(views.context, pa.array(sorted(newer))) as ids:
                    runs = views.runs_of(f"{views.repeated} UNION {ids}")
                    self._newer = newer, list(earlier_runs(runs, newer))
            return self._newer[1]

    def _archived_ids(self, views: ArchiveViews, ids: pa.Array[Any]) -> set[str]:
        """Return those of the ids that have a run in the archive; the archive is searched once for an id."""
        is_unknown: Any = pc.invert(pc.is_in(ids, value_set=self._searched))
        unknown = ids.filter(is_unknown)
        if len(unknown):
            with _ids_in(views.context, unknown) as statement:
                self._found |= {run["id"] for run in views.runs_of(statement)}
            known = self._searched if len(self._searched) < _MOST_SEARCHED else self._searched.slice(0, 0)
            self._searched = pa.concat_arrays([known, unknown])
        found = pa.array(sorted(self._found), ids.type)
        is_new: Any = pc.is_in(found, value_set=ids)
        newer: list[Any] = found.filter(is_new).to_pylist()
        return set(newer)


@contextmanager
def _ids_in(context: SessionContext, ids: pa.Array[Any]) -> Iterator[str]:
    """Yield a SELECT of ids."""
    register(context, "wanted_ids", pa.table({"id": ids.cast(pa.string())}))
    try:
        yield "SELECT id FROM wanted_ids"
    finally:
        context.deregister_table("wanted_ids")


def _origins(runs: str) -> str:
    kind = "LargeUtf8"
    return (
        f"CREATE VIEW {ORIGINS} AS SELECT id, arrow_cast('archive', '{kind}') AS origin FROM ({runs}) "  # noqa: S608
        f"UNION ALL SELECT id, arrow_cast('server', '{kind}') AS origin FROM {server_table(_RUNS)}"
    )


def types_of(context: SessionContext, columns: Columns) -> pa.Schema:
    """Return the Arrow types of a table of the server, as the engine has them."""
    schema: pa.Schema = context.sql(f"SELECT {select_server_columns(columns, {})} WHERE false").schema()
    return schema


def register_rows(context: SessionContext, name: str, layout: JoinedLayout, rows: pa.Table | None) -> None:
    """Register the rows of a table of the server, with null for the columns that were not read."""
    types = layout.types[name]
    if rows is None or len(rows) <= _FEW:
        known = {} if rows is None else dict(zip(rows.schema.names, rows.columns, strict=True))
        count = 0 if rows is None else len(rows)
        columns = [known[each.name] if each.name in known else pa.nulls(count, each.type) for each in types]
        register(context, server_table(name), pa.table(columns, schema=types))
        return
    register(context, server_table(f"{name}_read"), rows)
    kinds = dict(layout.schema.tables.get(name, ()))
    selected = [
        quote_name(each.name)
        if each.name in rows.schema.names
        else select_server_columns([(each.name, kinds.get(each.name, "Utf8"))], {})
        for each in types
    ]
    context.sql(f"CREATE VIEW {server_table(name)} AS SELECT {', '.join(selected)} FROM {server_table(f'{name}_read')}")  # noqa: S608


def register(context: SessionContext, name: str, rows: pa.Table) -> None:
    """Register rows in memory under a name that can have its schema."""
    batches = rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
    context.register_record_batches(name, [batches])
