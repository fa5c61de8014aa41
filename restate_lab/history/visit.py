"""One visit of an archiver: read the ended runs that the archive does not have, and commit them exactly once.

The order makes every crash repairable. Runs are committed first, with the next transaction number of the cluster. Their
journals, events and steps of agents, and the record of the visit, follow with the same number. A table with a lower
number than that of ``invocations`` is repaired at the start of the next visit, as far as the server still has the runs.
A commit that loses a race is discarded: the visit begins again, with the ids that the other archiver wrote.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import format_timestamp
from restate_lab.analysis.deadline import within
from restate_lab.audit import process_info
from restate_lab.client.lab import Lab
from restate_lab.durations import DurationInput
from restate_lab.errors import ArchiveBroken
from restate_lab.evidence.tables import read_schema
from restate_lab.history.cluster import changed_rows, check_same_cluster, retention_json, schema_json
from restate_lab.history.reader import RunRows, ServerReader, server_reader
from restate_lab.history.store import ArchiveStore, LostRace, sql_text
from restate_lab.history.tables import SCHEMA_VERSION, TABLES
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress
from restate_lab.source import check_supported

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["Record", "VisitOptions", "failed_record", "table_of_records", "visit", "write_record"]

Record: TypeAlias = dict[str, Any]

_DETAILS = ("journal", "events", "agent_steps")
_PART_RUNS = 20_000
_PART_BYTES = 256 << 20
_MOST_RACES = 100
_CLOCKS = timedelta(minutes=1)  # the maximum difference between the clocks of a cluster's nodes
_OF_RUNS = ["id", "created_at", "completed_at", "visit", "journal_size"]
_OF_VISITS = ["day", "started_at", "ended_at", "outcome", "server_schema", "retention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitOptions:
    """The options of a visit; ``cluster`` is the name of the cluster in the archive."""

    cluster: str
    payloads: bool
    redact: tuple[str, ...]
    samples: bool
    timeout: DurationInput | None


def visit(lab: Lab, store: ArchiveStore, options: VisitOptions, progress: Progress) -> list[Record]:
    """Make one visit and return its records, the last one with the outcome "complete".

    Raises:
        ArchiveBroken: the archive is damaged, other archivers always committed first, or the server's clock jumped.
        ArgumentError: the archive has another cluster under this name, or a pattern is malformed.
        RestateLabError: any error of the server.
    """
    for _ in range(_MOST_RACES):
        try:
            return _start_visit(lab, store, options, progress).run()
        except LostRace:
            continue
    raise ArchiveBroken(
        f"{store}: other archivers of {options.cluster} committed first, {_MOST_RACES} times in a row; run fewer."
    )


def write_record(store: ArchiveStore, record: Record) -> None:
    """Write the record of a visit that wrote nothing else."""
    store.append(store.open("visits"), table_of_records([record]), cluster=record["cluster_name"])


def failed_record(lab: Lab, options: VisitOptions, error: Exception, started: datetime) -> Record:
    """Return the record of a failed visit; its times are those of this machine's clock."""
    return {
        **_common(lab, options, started),
        "ended_at": datetime.now(UTC),
        "outcome": "failed",
        "error": f"{type(error).__name__}: {error}"[:2_000],
    }


def _start_visit(lab: Lab, store: ArchiveStore, options: VisitOptions, progress: Progress) -> _Visit:
    """Check everything, create the archive if it does not exist, and return the visit; no run has been read yet."""
    is_there = store.exists()
    source = within(lab, options.timeout, verb="archive")
    check_supported(source, "archive()")
    started = source.now
    schema = read_schema(source)
    reader = server_reader(source, schema, options.redact, payloads=options.payloads, progress=progress)
    current = {name: reader.whole(name) for name in ("deployments", "services")}
    facts: dict[str, str | None] = {
        "server_schema": schema_json(schema),
        "retention": retention_json(lab.admin.list_services()),
    }
    if not is_there:
        store.create()
    tables = store.open_all()
    made = _Visit(lab, store, options, reader, tables, started, facts)
    archived = {name: made.rows_of(name, [*current[name].schema.names, "first_seen_at"]) for name in current}
    check_same_cluster(options.cluster, archived, current, store.where)
    made.changed = {name: changed_rows(name, archived[name], rows) for name, rows in current.items()}
    made.check_clock()
    return made


@dataclass(slots=True)
class _Visit:
    """A visit with the tables at the versions that it will write to; ``number`` is the last transaction number."""

    lab: Lab
    store: ArchiveStore
    options: VisitOptions
    reader: ServerReader
    tables: dict[str, DeltaTable]
    started: datetime
    facts: dict[str, str | None]
    changed: dict[str, pa.Table] = field(default_factory=dict)
    number: int = 0
    _earlier: list[Record] = field(default_factory=list)

    def run(self) -> list[Record]:
        """Repair what a killed archiver left, then commit the new runs in one or more parts."""
        self.number = self._version("invocations")
        self._repair()
        ended, new = self._new_runs()
        samples = self.reader.samples() if self.options.samples else None
        records: list[Record] = []
        is_last = False
        while not is_last:
            part, new = self._read_part(new)
            is_last = not len(new)
            record = self._record("complete" if is_last else "part")
            record |= {"ended_at": self.reader.source.now, "ids_read": ended, "gone_runs": part.gone}
            record |= {"missing_journals": 0}
            with Shield():  # an interrupt is raised between two parts
                records.append(self._commit(part, record, samples if is_last else None))
        return records

    def check_clock(self) -> None:
        """Check that the server's clock is not before the last visit; read the visits since the day before."""
        since = (self.started - timedelta(days=1)).date()
        self._earlier = self.rows_of("visits", _OF_VISITS, f"AND day >= '{since}' AND outcome = 'complete'")
        last = max((row["ended_at"] for row in self._earlier), default=self.started)
        if self.started < last - _CLOCKS:
            raise ArchiveBroken(
                f"the clock of {self.lab.name} shows {format_timestamp(self.started)}, which is before the last visit "
                f"of {self.options.cluster} in {self.store} ({format_timestamp(last)}). Nothing was written. Correct "
                f"the clock, or archive under another cluster_name=."
            )

    def rows_of(self, table: str, columns: list[str], where: str = "") -> list[dict[str, Any]]:
        """Return rows of this cluster in the archive."""
        return self._read_archive(table, columns, where).to_pylist()

    def _read_archive(self, table: str, columns: list[str], where: str = "") -> pa.Table:
        condition = f"cluster_name = {sql_text(self.options.cluster)} {where}"
        batches = list(self.store.read(self.tables[table], columns, condition))
        if batches:
            return pa.Table.from_batches(batches)
        own = TABLES[table].own
        return pa.table({name: pa.array([], own.get(name, pa.string())) for name in columns})

    def _version(self, table: str) -> int:
        return self.tables[table].transaction_version(self.options.cluster) or 0

    def _new_runs(self) -> tuple[int, pa.Table]:
        """Return the number of ended runs, and those that the archive does not have, in the order of their end."""
        ended = self.reader.ended_runs()
        days: Any = pc.cast(ended["completed_at"], pa.date32())
        deleted = self.store.deleted_before(self.tables["invocations"])
        wanted = ended.filter(pc.greater_equal(days, pa.scalar(deleted))) if deleted else ended
        if not len(wanted):
            return len(ended), wanted
        known = self._read_archive("invocations", ["id", "created_at"], f"AND day >= '{pc.min(days).as_py()}'")
        new = wanted.join(known, keys=["id", "created_at"], join_type="left anti")
        return len(ended), new.sort_by([("completed_at", "ascending"), ("id", "ascending")])

    def _read_part(self, new: pa.Table) -> tuple[RunRows, pa.Table]:
        """Return the rows of the first runs, as many as one commit may have, and the other runs."""
        rows, at = RunRows(), 0
        while at < len(new) and at < _PART_RUNS and rows.size < _PART_BYTES:
            rows.add(self.reader.details(new.slice(at, self.reader.at_once)))
            at += self.reader.at_once
        return rows, new.slice(min(at, len(new)))

    def _commit(self, part: RunRows, record: Record, samples: pa.Table | None) -> Record:
        """Commit the rows of a part and its record, which is returned."""
        number = None
        runs = part.tables.get("invocations")
        if runs is not None and len(runs):
            number = self.number + 1
            values = {"visit": number}
            rows = self._with_own_columns("invocations", self._with_repeated(runs), values)
            self._append("invocations", rows, number - 1, number)
            for name in _DETAILS:
                self._append_once(name, self._with_own_columns(name, part.tables[name], values), number - 1, number)
            self.number = number
            record |= self._counts(part) | {"visit": number}
        if samples is not None:
            of_visit = {"day": self.started.date(), "visit": number, "sampled_at": self.started}
            self._append_once("samples", self._with_own_columns("samples", samples, of_visit))
        if record["outcome"] == "complete":
            self._write_changed(number)
        self._write_record(record, number)
        return record

    def _append(self, table: str, rows: pa.Table, after: int | None = None, number: int | None = None) -> None:
        self.store.append(self.tables[table], rows, cluster=self.options.cluster, after=after, number=number)

    def _append_once(self, table: str, rows: pa.Table, after: int | None = None, number: int | None = None) -> bool:
        """Commit rows unless another archiver has committed their number; return whether they were committed here.

        A commit can also lose a race that does not concern its rows, such as a new column; then it is repeated.
        """
        for _ in range(_MOST_RACES):
            try:
                self._append(table, rows, after, number)
            except LostRace:
                self.tables[table] = self.store.open(table)
                if number is not None and self._version(table) >= number:
                    return False
            else:
                return True
        raise ArchiveBroken(f"{self.store}: {table} was written {_MOST_RACES} times meanwhile; run fewer archivers.")

    def _with_own_columns(self, table: str, rows: pa.Table, values: Mapping[str, Any]) -> pa.Table:
        own = TABLES[table].own
        more = {"cluster_name": self.options.cluster, **values}
        columns: dict[str, Any] = {name: pa.array([value] * len(rows), own[name]) for name, value in more.items()}
        return pa.table(columns | {name: rows[name] for name in rows.schema.names})

    def _write_changed(self, number: int | None) -> None:
        """Write the deployments and services that are new or changed, unless another archiver does it now."""
        for name, rows in self.changed.items():
            if len(rows):
                values = {"visit": number, "first_seen_at": self.started}
                last = self._version(name)
                self._append_once(name, self._with_own_columns(name, rows, values), last, last + 1)

    def _write_record(self, record: Record, number: int | None) -> None:
        last = None if number is None else number - 1
        if not self._append_once("visits", table_of_records([record]), last, number):
            # another archiver has recorded these runs; this visit still covers its time
            record |= {"visit": None, "new_runs": 0}
            self._append_once("visits", table_of_records([record]))

    def _with_repeated(self, runs: pa.Table) -> pa.Table:
        """Return the runs with ``repeated``; only workflows and calls with an idempotency key get an id again."""
        may_repeat = [
            row["id"]
            for row in runs.select(["id", "target_service_ty", "idempotency_key"]).to_pylist()
            if row["target_service_ty"] == "workflow" or row["idempotency_key"] is not None
        ]
        known: set[str] = set()
        if may_repeat and self.number:
            wanted = pa.array(may_repeat, pa.string())
            condition = f"cluster_name = {sql_text(self.options.cluster)}"
            for batch in self.store.read(self.tables["invocations"], ["id"], condition):
                known.update(map(str, batch["id"].filter(pc.is_in(batch["id"], wanted)).to_pylist()))
        return runs.append_column("repeated", pa.array([id_ in known for id_ in runs["id"].to_pylist()], pa.bool_()))

    def _counts(self, part: RunRows) -> Record:
        runs = part.tables["invocations"]
        with_entries = set(part.tables["journal"]["id"].to_pylist())
        with_journal = [row["id"] for row in runs.select(["id", "journal_size"]).to_pylist() if row["journal_size"]]
        previous = max((row["started_at"] for row in self._earlier), default=None)
        late = None if previous is None else sum(ended < previous for ended in runs["completed_at"].to_pylist())
        return {
            "new_runs": len(runs),
            "late_runs": late,
            "missing_journals": sum(id_ not in with_entries for id_ in with_journal),
        }

    def _record(self, outcome: str) -> Record:
        record = {**_common(self.lab, self.options, self.started), "outcome": outcome}
        for name, value in self.facts.items():
            today = [row for row in self._earlier if row["day"] == self.started.date() and row[name] is not None]
            latest = max(today, key=lambda row: row["started_at"], default={name: None})
            record[name] = None if latest[name] == value else value
        seconds = {f"{kind}_seconds": value for kind, value in self.reader.seconds.items()}
        features = json.dumps(dict(self.reader.source.features), sort_keys=True)
        return record | seconds | {"server_version": self.reader.source.version, "features": features}

    def _repair(self) -> None:
        """Write the rows that a killed archiver did not write, for all tables behind ``invocations``."""
        behind = {name: last for name in (*_DETAILS, "visits") if (last := self._version(name)) < self.number}
        if not behind:
            return
        runs = self._read_archive("invocations", _OF_RUNS, f"AND visit > {min(behind.values())}")
        # The server can only have the newest run of an id, which is found first.
        runs = runs.sort_by([("created_at", "descending")])
        rows = self.reader.details(runs) if behind.keys() & set(_DETAILS) else RunRows()
        with Shield():
            for name, last in behind.items():
                repaired = (
                    self._lost_records(runs, rows, last) if name == "visits" else _rows_after(last, runs, rows, name)
                )
                self._append(name, self._with_own_columns(name, repaired, {}), last, self.number)

    def _lost_records(self, runs: pa.Table, rows: RunRows, last: int) -> pa.Table:
        """Return the records of the visits after ``last``, whose times are unknown."""
        found = set(rows.tables["journal"]["id"].to_pylist()) if rows.tables else set()
        new, missing = Counter[int](), Counter[int]()
        for row in runs.to_pylist():
            new[row["visit"]] += 1
            missing[row["visit"]] += bool(rows.tables and row["journal_size"] and row["id"] not in found)
        records = [
            {
                **_common(self.lab, self.options, self.started),
                "started_at": None,
                "visit": number,
                "outcome": "repaired",
                "new_runs": new[number],
                "missing_journals": missing[number],
                "error": "the archiver ended before it wrote this record",
            }
            for number in range(last + 1, self.number + 1)
        ]
        return table_of_records(records).drop_columns(["cluster_name"])


def _rows_after(last: int, runs: pa.Table, rows: RunRows, table: str) -> pa.Table:
    """Return the rows of runs that were committed after the visit ``last``, with the number of their visit."""
    own = TABLES[table].own
    empty = pa.table({name: pa.array([], own.get(name, pa.string())) for name in ("id", "created_at", "day")})
    found = rows.tables.get(table, empty)
    numbers: Any = runs["visit"].take(pc.index_in(found["id"], runs["id"].combine_chunks()))
    return found.append_column("visit", numbers).filter(pc.greater(numbers, pa.scalar(last)))


def _common(lab: Lab, options: VisitOptions, started: datetime) -> Record:
    info = process_info()
    return {
        "cluster_name": options.cluster,
        "day": started.date(),
        "visit": None,
        "schema_version": SCHEMA_VERSION,
        "started_at": started,
        "address": lab.address,
        "archived_by": f"{info['user']}@{info['host']} {info['pid']}",
        "restate_lab_version": version("restate-lab"),
        "new_runs": 0,
        "payloads": options.payloads,
        "redact": list(options.redact),
    }


def table_of_records(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return records as rows of ``visits``; missing values are null."""
    own = TABLES["visits"].own
    return pa.table({name: pa.array([each.get(name) for each in records], kind) for name, kind in own.items()})
