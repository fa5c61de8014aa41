"""The tables of one cluster in an archive, at the versions that a visit reads and writes, and its commits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from restate_lab.errors import ArchiveBroken
from restate_lab.history.store import ArchiveStore, LostRace, sql_text
from restate_lab.history.tables import TABLES

if TYPE_CHECKING:
    from deltalake import DeltaTable

DETAILS = ("journal", "events", "agent_steps")
"""The tables with rows of a run, which are committed after ``invocations`` with the same number."""
_MOST_RACES = 100
_RUN = ["id", "created_at"]


@dataclass(slots=True)
class ClusterTables:
    """The tables of an archive for one cluster; ``notes`` gets what a commit could not store."""

    store: ArchiveStore
    cluster: str
    tables: dict[str, DeltaTable]
    notes: set[str] = field(default_factory=set)

    def version(self, table: str) -> int:
        """Return the number of the cluster's last transaction in a table; 0 if there is none."""
        return self.tables[table].transaction_version(self.cluster) or 0

    def reopen(self, table: str) -> None:
        """Open a table at its newest version."""
        self.tables[table] = self.store.open(table)

    def rows(self, table: str, columns: list[str], where: str = "") -> list[dict[str, Any]]:
        """Return rows of this cluster; a column that the table does not have is null."""
        return self.read(table, columns, where).to_pylist()

    def read(self, table: str, columns: list[str], where: str = "") -> pa.Table:
        """Return rows of this cluster; a column that the table does not have is null."""
        batches = list(self.batches(table, columns, where))
        own = TABLES[table].own
        if not batches:
            return pa.table({name: pa.array([], own.get(name, pa.string())) for name in columns})
        found = pa.Table.from_batches(batches)
        for name in columns:
            if name not in found.schema.names:
                found = found.append_column(name, pa.array([None] * len(found), own.get(name, pa.string())))
        return found.select(columns)

    def batches(self, table: str, columns: list[str], where: str = "") -> Iterator[pa.RecordBatch]:
        """Yield rows of this cluster, with those of the columns that the table has."""
        return self.store.read(self.tables[table], columns, f"cluster_name = {sql_text(self.cluster)} {where}")

    def append(self, table: str, rows: pa.Table, after: int | None = None, number: int | None = None) -> None:
        """Commit rows; with ``number`` only if the last number of the cluster in this table is ``after``.

        Raises:
            LostRace: another archiver committed first.
        """
        stored = {each.name.lower(): each.name for each in self.tables[table].schema().fields}
        other = [name for name in rows.schema.names if stored.get(name.lower(), name) != name]
        self.notes.update(
            f"{table}.{name} differs from another column only in its case, and is not stored" for name in other
        )
        rows = rows.drop_columns(other)
        self.store.append(self.tables[table], rows, cluster=self.cluster, after=after, number=number)

    def append_once(self, table: str, rows: pa.Table, after: int | None = None, number: int | None = None) -> bool:
        """Commit rows unless another archiver has committed their number; return whether they were committed here.

        A commit can also lose a race that does not concern its rows, such as a new column; then it is repeated. An
        archiver that repaired this visit may have found fewer rows on the server: the others are added.

        Raises:
            ArchiveBroken: the table was written each time.
        """
        for _ in range(_MOST_RACES):
            try:
                self.append(table, rows, after, number)
            except LostRace:
                self.reopen(table)
                if number is not None and self.version(table) >= number:
                    if table in DETAILS:
                        self._append_missing(table, rows, number)
                    return False
            else:
                return True
        raise ArchiveBroken(f"{self.store}: {table} was written {_MOST_RACES} times meanwhile; run fewer archivers.")

    def _append_missing(self, table: str, rows: pa.Table, number: int) -> None:
        """Add the rows of runs that have no rows with this number; no other archiver writes rows of this number."""
        there = self.read(table, _RUN, f"AND visit = {number}").group_by(_RUN).aggregate([])
        places = pa.array(range(len(rows)), pa.int64())
        missing = rows.select(_RUN).append_column("place", places).join(there, keys=_RUN, join_type="left anti")
        if len(missing):
            self.append_once(table, rows.take(missing["place"].combine_chunks()))

    def with_own_columns(self, table: str, rows: pa.Table, values: Mapping[str, Any]) -> pa.Table:
        """Return rows with the name of the cluster and other columns that have one value."""
        own = TABLES[table].own
        more = {"cluster_name": self.cluster, **values}
        columns: dict[str, Any] = {name: pa.array([value] * len(rows), own[name]) for name, value in more.items()}
        return pa.table(columns | {name: rows[name] for name in rows.schema.names})

    def discredit(self, condition: str, reason: str) -> int:
        """Let complete visits that match a condition count as "invalid" with a reason; return their number."""
        where = f"cluster_name = {sql_text(self.cluster)} AND outcome = 'complete' AND {condition}"
        values = {"outcome": "'invalid'", "error": sql_text(reason)}
        done = self.store.change("visits", lambda table: table.update(updates=values, predicate=where))
        self.reopen("visits")
        return int(done["num_updated_rows"])
