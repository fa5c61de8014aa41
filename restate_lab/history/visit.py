"""One visit of an archiver: read the ended runs that the archive does not have, and commit them exactly once.

The order makes every crash repairable. Runs are committed first, with the next transaction number of the cluster. Their
journals, events and steps of agents, and the record of the visit, follow with the same number. A table with a lower
number than the others is repaired at the start of the next visit, as far as the server still has the runs.
A commit that loses a race is discarded: the visit begins again, with the ids that the other archiver wrote.

An archiver of a shard does the same for its services, with numbers of its own. Two shards have no run in common, so
their commits only race with a merge of the day's small files. A visit also completes what archivers that are no longer
active have left.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import format_timestamp, plural
from restate_lab.client.lab import Lab
from restate_lab.errors import ArchiveBroken
from restate_lab.evidence.tables import read_schema
from restate_lab.history.cluster import (
    changed_rows,
    open_retention_json,
    other_cluster,
    retention_json,
    schema_json,
)
from restate_lab.history.commits import (
    DETAILS,
    ArchivedIds,
    ClusterTables,
    Record,
    VisitOptions,
    common_record,
    table_of_records,
    with_repeated,
)
from restate_lab.history.reader import RunRows, ServerReader, server_reader
from restate_lab.history.repair import repair
from restate_lab.history.shards import ShardLayout, check_services, claim
from restate_lab.history.store import ArchiveStore, LostRace, sql_text, sql_time
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress
from restate_lab.reads import COPY_STATEMENT, begin
from restate_lab.redaction import MASK

PART_RUNS = 20_000
"""The most runs of one commit."""
_PART_BYTES = 256 << 20
_MOST_RACES = 100
_CLOCKS = timedelta(minutes=1)  # the maximum difference between the clocks of a cluster's nodes
_AGREE = timedelta(minutes=5)  # the maximum difference between the clocks of the server and of this machine
_OF_VISITS = ["day", "started_at", "ended_at", "outcome", "shard", "server_schema", "retention", "address"]
_SERVICE = "target_service_name"


class WrongClock(ArchiveBroken):
    """Correct the clock of the cluster; a later visit can succeed."""


def visit(
    lab: Lab, store: ArchiveStore, options: VisitOptions, progress: Progress, *, is_first: bool = True
) -> list[Record]:
    """Make one visit and return its records, the last one with the outcome "complete".

    ``is_first``: the archiver has made no visit since it was started.

    Raises:
        ArchiveBroken: the archive is damaged, or other archivers always committed first.
        WrongClock: the server's clock is before the last visit, and this machine's clock does not agree with it.
        ArgumentError: the archive has another cluster under this name, another archiver has one of the services, or a
            pattern is malformed.
        RestateLabError: any error of the server.
    """
    for attempt in range(_MOST_RACES):
        try:
            return _start_visit(lab, store, options, progress, is_first=is_first and not attempt).run()
        except LostRace:
            continue
    raise ArchiveBroken(
        f"{store}: other archivers of {options.cluster} committed first, {_MOST_RACES} times in a row; run fewer."
    )


def _start_visit(lab: Lab, store: ArchiveStore, options: VisitOptions, progress: Progress, *, is_first: bool) -> _Visit:
    """Check everything, create the archive if it does not exist, and return the visit; no run has been read yet."""
    is_there = store.exists()
    reads = begin(lab, "archive", options.timeout, each=COPY_STATEMENT)
    started = reads.now
    schema = read_schema(reads)
    reader = server_reader(reads, schema, options.redact, payloads=options.payloads, progress=progress)
    reader.services = options.services
    current = {name: reader.read(name) for name in ("deployments", "services")}
    services = lab.admin.list_services()
    facts: dict[str, str | None] = {"server_schema": schema_json(schema), "retention": retention_json(services)}
    if not is_there:
        check_services(options.services, [each.name for each in services])
        store.create()
    tables = ClusterTables(store, options.cluster, store.open_all(), reader.notes, options.shard)
    archived = {name: tables.rows(name, [*current[name].schema.names, "first_seen_at"]) for name in current}
    made = _Visit(lab, options, reader, tables, started, facts)
    made.changed = {name: changed_rows(name, archived[name], rows) for name, rows in current.items()}
    made.check_clock()
    made.check_cluster(archived["deployments"], current["deployments"])
    known = {each.name for each in services} | {row["name"] for row in archived["services"]}
    made.layout = claim(tables, options.services, known, is_first=is_first)
    return made


@dataclass(slots=True)
class _Visit:
    """A visit with the tables at the versions that it will write to; ``number`` is the last transaction number."""

    lab: Lab
    options: VisitOptions
    reader: ServerReader
    tables: ClusterTables
    started: datetime
    facts: dict[str, str | None]
    changed: dict[str, pa.Table] = field(default_factory=dict)
    layout: ShardLayout = field(default_factory=ShardLayout)
    number: int = 0
    _earlier: list[Record] = field(default_factory=list)
    _in_future: bool = False
    _listed: datetime | None = None
    _archived: ArchivedIds | None = None

    def run(self) -> list[Record]:
        if self._in_future:
            reason = f"the clock of the cluster was wrong: at a later visit it showed {format_timestamp(self.started)}"
            count = self.tables.discredit(f"ended_at > {sql_time(self.started + _CLOCKS)}", reason)
            self.tables.notes.add(f"{plural(count, 'earlier visit')} had a time in the future, and cover nothing")
        common = common_record(self.lab, self.options, self.started)
        for other in self.layout.inactive(self.options.shard):  # their own archivers may not come back
            of_other = {**common, "shard": other, "services": None}
            repair(replace(self.tables, shard=other), self.reader, of_other)
        self.number = repair(self.tables, self.reader, common)
        # Read first: an invocation that ends meanwhile is then among the open ones, or among the ended ones.
        samples, open_runs = self.reader.samples() if self.options.samples else (None, None)
        ended, new = self._new_runs()
        records: list[Record] = []
        is_last = False
        while not is_last:
            part, new = self._read_part(new)
            is_last = not len(new)
            record = self._record("complete" if is_last else "part")
            record |= {"listed_at": self._listed, "ended_at": self.reader.source.read_clock()}
            record |= {"ids_read": ended, "gone_runs": part.gone}
            if open_runs is not None:
                record["open_retention"] = open_retention_json(open_runs, self.facts["retention"])
            with Shield():  # an interrupt is raised between two parts
                records.append(self._commit(part, record, samples if is_last else None))
        return records

    def check_clock(self) -> None:
        """Read the visits since the day before, and check that none of them is in the future, by the server's clock.

        If this machine's clock agrees with the server's, the earlier visit had the wrong clock; it then covers nothing.

        Raises:
            WrongClock: the clocks do not agree, so the server's clock may be wrong now.
        """
        since = (self.started - timedelta(days=1)).date()
        visits = self.tables.rows("visits", _OF_VISITS, f"AND day >= '{since}' AND outcome = 'complete'")
        self._earlier = [row for row in visits if row["ended_at"] <= self.started + _CLOCKS]
        self._in_future = len(self._earlier) < len(visits)
        own = datetime.now(UTC)
        if self._in_future and abs(own - self.started) > _AGREE:
            last = max(row["ended_at"] for row in visits)
            raise WrongClock(
                f"the clock of {self.lab.name} shows {format_timestamp(self.started)}, which is before the last visit "
                f"of {self.options.cluster} in {self.tables.store} ({format_timestamp(last)}), and the clock of this "
                f"machine shows {format_timestamp(own)}. Nothing was written. Correct the clocks: visits go on when "
                f"both agree."
            )

    def check_cluster(self, archived: Sequence[Mapping[str, Any]], current: pa.Table) -> None:
        """Check that this is the cluster which the archive has under this name.

        A cluster is known by a deployment, or by its address: its deployments can all have been replaced since.

        Raises:
            ArgumentError: it may be another cluster.
        """
        if self.options.same_cluster:
            return
        if not why_not_same(ClusterIdentity.of(archived), ClusterIdentity.of(current.to_pylist())):
            return
        addresses = {row["address"] for row in self._earlier}
        if self.lab.address not in addresses:  # visits before yesterday are rarely needed, and there are many
            earlier = self.tables.rows("visits", ["address"], "AND outcome IN ('complete', 'part', 'invalid')")
            if not earlier and not archived:
                return
            addresses = {row["address"] for row in earlier}
        if self.lab.address not in addresses:
            known = {each for each in addresses if each}
            raise other_cluster(self.options.cluster, self.lab, known, self.tables.store.where)
        if archived and len(current):
            self.tables.notes.add(
                f"{self.lab.address} has none of the deployments that were archived under this name before; it counts "
                f"as the same cluster because of its address"
            )

    def _new_runs(self) -> tuple[int, pa.Table]:
        ended = self.reader.ended_runs()
        self._listed = self.reader.source.read_clock()
        days: Any = pc.cast(ended["completed_at"], pa.date32())
        before = self.tables.store.deletion(self.tables.tables["invocations"]).before
        wanted = ended.filter(pc.greater_equal(days, pa.scalar(before))) if before else ended
        if not len(wanted):
            return len(ended), wanted
        since = pc.min(days).as_py()
        known = self.tables.read("invocations", ["id", "created_at"], f"AND day >= '{since}' {self._of_services()}")
        self._archived = ArchivedIds(since, known["id"].combine_chunks())
        new = wanted.join(known, keys=["id", "created_at"], join_type="left anti")
        return len(ended), new.sort_by([("completed_at", "ascending"), ("id", "ascending")])

    def _of_services(self) -> str:
        if not self.options.services or _SERVICE not in self.tables.stored("invocations"):
            return ""
        names = ", ".join(map(sql_text, (*self.options.services, MASK)))
        return f"AND ({_SERVICE} IN ({names}) OR {_SERVICE} IS NULL)"

    def _read_part(self, new: pa.Table) -> tuple[RunRows, pa.Table]:
        rows, at = RunRows(), 0
        while at < len(new) and at < PART_RUNS and rows.size < _PART_BYTES:
            rows.add(self.reader.details(new.slice(at, self.reader.at_once)))
            at += self.reader.at_once
        return rows, new.slice(min(at, len(new)))

    def _commit(self, part: RunRows, record: Record, samples: pa.Table | None) -> Record:
        number = None
        runs = part.tables.get("invocations")
        if runs is not None and len(runs):
            number = self.number + 1
            runs = with_repeated(runs, self.tables, self._archived)
            self.tables.append_runs({"invocations": runs, **{name: part.tables[name] for name in DETAILS}}, number)
            self.number = number
            record |= self._counts(part) | {"visit": number}
        if samples is not None:
            of_visit = {"day": self.started.date(), "visit": number, "sampled_at": self.started}
            self.tables.append_once("samples", self.tables.with_own_columns("samples", samples, of_visit))
        if record["outcome"] == "complete":
            values = {"visit": number, "first_seen_at": self.started}
            # Deployments and services are not written if another archiver writes them now.
            for name, changed in self.changed.items():
                if len(changed):
                    last = self.tables.version(name)
                    self.tables.append_once(name, self.tables.with_own_columns(name, changed, values), last, last + 1)
        record["note"] = "; ".join(sorted(self.tables.notes)) or None
        self._write_record(record, number)
        return record

    def _write_record(self, record: Record, number: int | None) -> None:
        last = None if number is None else number - 1
        if self.tables.append_once("visits", table_of_records([record]), last, number):
            return
        names = ["started_at", "archived_by", "outcome"]
        rows = self.tables.rows_of_shard("visits", names, f"AND visit = {record['visit']}")
        if table_of_records([record]).select(names).to_pylist()[0] in rows:
            return  # it has been written, although the store did not confirm it
        # another archiver has recorded these runs; this visit still covers its time
        record |= {"visit": None, "new_runs": 0}
        self.tables.append_once("visits", table_of_records([record]))

    def _counts(self, part: RunRows) -> Record:
        runs = part.tables["invocations"]
        with_entries = set(part.tables["journal"]["id"].to_pylist())
        with_journal = [row["id"] for row in runs.select(["id", "journal_size"]).to_pylist() if row["journal_size"]]
        previous = max((row["started_at"] for row in self._earlier_of_shard()), default=None)
        late = None if previous is None else sum(ended < previous for ended in runs["completed_at"].to_pylist())
        return {
            "new_runs": len(runs),
            "late_runs": late,
            "missing_journals": sum(id_ not in with_entries for id_ in with_journal),
        }

    def _earlier_of_shard(self) -> list[Record]:
        return [row for row in self._earlier if row["shard"] == self.options.shard]

    def _record(self, outcome: str) -> Record:
        record = {**common_record(self.lab, self.options, self.started), "outcome": outcome, "missing_journals": 0}
        for name, value in self.facts.items():
            today = [row for row in self._earlier_of_shard() if row["day"] == self.started.date() and row[name]]
            latest = max(today, key=lambda row: row["started_at"], default={name: None})
            record[name] = None if latest[name] == value else value
        seconds = {f"{kind}_seconds": value for kind, value in self.reader.seconds.items()}
        features = json.dumps(dict(self.reader.source.features), sort_keys=True)
        return record | seconds | {"server_version": self.reader.source.version, "features": features}
