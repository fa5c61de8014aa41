"""The tables of one cluster in an archive, at the versions that a visit reads and writes, its commits and its records.

Only workflows and calls with an idempotency key get an id again. Since 1.7, the server generates a key for each call at
its ingress without one: a ULID, whose time is that of the creation. No later call has such a key by itself. A user can
repeat a call with a ULID as its key. The earlier run then was created after the time of the ULID, so if that is also
the time of the later creation, it ended just before. So most runs need no search in the whole archive, but only in the
last days, whose ids a visit reads anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.client.lab import Lab
from restate_lab.durations import DurationInput
from restate_lab.errors import ArchiveBroken
from restate_lab.history.store import ArchiveStore, LostRace, last_number, sql_text
from restate_lab.history.tables import SCHEMA_VERSION, TABLES
from restate_lab.records import describe_process

if TYPE_CHECKING:
    from deltalake import DeltaTable

DETAILS = ("journal", "events", "agent_steps")
"""The tables with rows of a run, which are committed after ``invocations`` with the same number."""
_MOST_RACES = 100
_RUN = ["id", "created_at"]
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {character: value for value, character in enumerate(_DIGITS)}
_LENGTH, _TIME_LENGTH = 26, 10
_NEAR = timedelta(minutes=1)
"""The server creates a run within some milliseconds after it has generated the key, when it is not overloaded."""
_OF_RUNS = ["id", "target_service_ty", "idempotency_key", "created_at"]
Record: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class ClusterTables:
    """The tables of an archive for one cluster; ``notes`` gets what a commit could not store.

    ``shard`` is the archiver's shard, None if it visits the whole cluster. Its rows have numbers of their own; those of
    deployments and services belong to the cluster.
    """

    store: ArchiveStore
    cluster: str
    tables: dict[str, DeltaTable]
    notes: set[str] = field(default_factory=set)
    shard: str | None = None

    def version(self, table: str) -> int:
        """Return the number of the archiver's last transaction in a table; 0 if it has none."""
        return last_number(self.tables[table], self.cluster, self._shard_of(table))

    def _shard_of(self, table: str) -> str | None:
        return self.shard if "shard" in TABLES[table].own else None

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

    def rows_of_shard(self, table: str, columns: list[str], where: str = "") -> list[dict[str, Any]]:
        """Return rows that archivers of this shard wrote, or archivers of the whole cluster."""
        return self.read_shard(table, columns, where).to_pylist()

    def read_shard(self, table: str, columns: list[str], where: str = "") -> pa.Table:
        """Return rows that archivers of this shard wrote, or archivers of the whole cluster."""
        return self.read(table, columns, f"{self._of_shard(table)} {where}")

    def _of_shard(self, table: str) -> str:
        if "shard" in self.stored(table):
            return "AND shard IS NULL" if self.shard is None else f"AND shard = {sql_text(self.shard)}"
        return "" if self.shard is None else "AND false"

    def stored(self, table: str) -> set[str]:
        """Return the names of the columns that a table has."""
        return {each.name for each in self.tables[table].schema().fields}

    def batches(self, table: str, columns: list[str], where: str = "") -> Iterator[pa.RecordBatch]:
        """Yield rows of this cluster; a column that the table does not have is omitted."""
        return self.store.read(self.tables[table], columns, f"cluster_name = {sql_text(self.cluster)} {where}")

    def append(self, table: str, rows: pa.Table, after: int | None = None, number: int | None = None) -> None:
        """Commit rows; with ``number`` only if the last number of the archiver in this table is ``after``.

        Raises:
            LostRace: another archiver committed first.
        """
        stored = {name.lower(): name for name in self.stored(table)}
        other = [name for name in rows.schema.names if stored.get(name.lower(), name) != name]
        self.notes.update(
            f"{table}.{name} differs from another column only in its case, and is not stored" for name in other
        )
        rows = rows.drop_columns(other)
        shard = self._shard_of(table)
        self.store.append(self.tables[table], rows, cluster=self.cluster, shard=shard, after=after, number=number)

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
        there = self.read_shard(table, _RUN, f"AND visit = {number}").group_by(_RUN).aggregate([])
        places = pa.array(range(len(rows)), pa.int64())
        missing = rows.select(_RUN).append_column("place", places).join(there, keys=_RUN, join_type="left anti")
        if len(missing):
            self.append_once(table, rows.take(missing["place"].combine_chunks()))

    def with_own_columns(self, table: str, rows: pa.Table, values: Mapping[str, Any]) -> pa.Table:
        """Return rows with the names of the cluster and the shard, and other columns that have one value."""
        own = TABLES[table].own
        more = {"cluster_name": self.cluster, **values}
        if self.shard is not None and "shard" in own and "shard" not in rows.schema.names:
            more["shard"] = self.shard
        columns: dict[str, Any] = {name: pa.array([value] * len(rows), own[name]) for name, value in more.items()}
        return pa.table(columns | {name: rows[name] for name in rows.schema.names})

    def append_runs(self, rows: Mapping[str, pa.Table], number: int) -> None:
        """Commit runs with their ``DETAILS`` as the transaction ``number`` of the archiver; rows by table.

        Raises:
            LostRace: another archiver committed the number first.
        """
        rows = {name: self.with_own_columns(name, each, {"visit": number}) for name, each in rows.items()}
        self.append("invocations", rows["invocations"], number - 1, number)
        for name in DETAILS:
            self.append_once(name, rows[name], number - 1, number)

    def discredit(self, condition: str, reason: str, *, of_shard: bool = False) -> int:
        """Let complete visits that match a condition count as "invalid" with a reason; return their number.

        ``of_shard``: only visits of this shard.
        """
        shard = self._of_shard("visits") if of_shard else ""
        where = f"cluster_name = {sql_text(self.cluster)} AND outcome = 'complete' AND {condition} {shard}"
        values = {"outcome": "'invalid'", "error": sql_text(reason)}
        done = self.store.change("visits", lambda table: table.update(updates=values, predicate=where))
        self.reopen("visits")
        return int(done["num_updated_rows"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitOptions:
    """The options of a visit; ``cluster`` is the name of the cluster in the archive.

    ``shard`` and ``services``, sorted, are those of the archiver; None and () if it visits the whole cluster.
    """

    cluster: str
    shard: str | None = None
    services: tuple[str, ...] = ()
    payloads: bool
    redact: tuple[str, ...]
    samples: bool
    timeout: DurationInput | None
    same_cluster: bool = False


def common_record(lab: Lab, options: VisitOptions, started: datetime) -> Record:
    """Return the values of a record that each visit has."""
    return {
        "cluster_name": options.cluster,
        "day": started.date(),
        "visit": None,
        "shard": options.shard,
        "services": list(options.services) or None,
        "schema_version": SCHEMA_VERSION,
        "started_at": started,
        "address": lab.address,
        "archived_by": describe_process(),
        "restate_lab_version": version("restate-lab"),
        "new_runs": 0,
        "payloads": options.payloads,
        "redact": list(options.redact),
    }


def failed_record(lab: Lab, options: VisitOptions, error: Exception, started: datetime) -> Record:
    """Return the record of a failed visit; its times are those of this machine's clock."""
    return {
        **common_record(lab, options, started),
        "ended_at": datetime.now(UTC),
        "outcome": "failed",
        "error": f"{type(error).__name__}: {error}"[:2_000],
    }


def table_of_records(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return records as rows of ``visits``; missing values are null."""
    own = TABLES["visits"].own
    return pa.table({name: pa.array([each.get(name) for each in records], kind) for name, kind in own.items()})


@dataclass(frozen=True, slots=True)
class ArchivedIds:
    """The archived ids of runs that ended on the day ``since`` or later."""

    since: date
    ids: pa.Array[Any]


def with_repeated(runs: pa.Table, tables: ClusterTables, known: ArchivedIds | None) -> pa.Table:
    """Return runs, which are not in the archive, with ``repeated``: the archive has an earlier run with this id."""
    repeated = set() if known is None else set(_common(known.ids, runs["id"].combine_chunks()))
    searched = [row["id"] for row in runs.select(_OF_RUNS).to_pylist() if _may_be_old(row, known)]
    if searched and tables.version("invocations"):
        before = "" if known is None else f"AND day < '{known.since}'"
        for batch in tables.batches("invocations", ["id"], before):  # the ids of all days would fill the memory
            repeated.update(_common(batch["id"], pa.array(searched, pa.string())))
    return runs.append_column("repeated", pa.array([id_ in repeated for id_ in runs["id"].to_pylist()], pa.bool_()))


def _may_be_old(row: dict[str, Any], known: ArchivedIds | None) -> bool:
    """Return whether an earlier run of this id can have ended before the days of the known ids."""
    key = row["idempotency_key"]
    if row["target_service_ty"] != "workflow" and key is None:
        return False
    is_generated = key is not None and is_generated_key(key, row["created_at"])
    return not (known and is_generated and (row["created_at"] - _NEAR).date() >= known.since)


def is_generated_key(key: str, created_at: datetime) -> bool:
    """Return whether a key is a ULID of the time at which the invocation was created."""
    if len(key) != _LENGTH or not set(key) <= _VALUES.keys():
        return False
    milliseconds = 0
    for character in key[:_TIME_LENGTH]:
        milliseconds = milliseconds * len(_DIGITS) + _VALUES[character]
    distance = timedelta(milliseconds=milliseconds) - (created_at - datetime(1970, 1, 1, tzinfo=UTC))
    return abs(distance) <= _NEAR


def _common(ids: Any, of: Any) -> list[str]:
    found: list[str] = ids.filter(pc.is_in(ids, of)).to_pylist()
    return found
