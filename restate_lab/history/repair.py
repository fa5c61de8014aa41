"""Repair of an archive at the start of a visit: all tables of a shard get the number of the highest of them.

An archiver that is killed leaves tables behind ``invocations``, which it commits first. In a copy that was made while
an archiver wrote, in a restored backup, and after a lost file, ``invocations`` can be behind other tables. Then the
runs whose journals, events or steps are there are read again, as far as the server has them. What the archive may have
lost counts as a gap: visits whose runs are not all there are no longer complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import plural
from restate_lab.history.commits import (
    DETAILS,
    ClusterTables,
    Record,
    table_of_records,
    with_repeated,
)
from restate_lab.history.reader import RunRows, ServerReader
from restate_lab.history.store import sql_time
from restate_lab.history.tables import TABLES
from restate_lab.interrupts import Shield

_NUMBERED = (*DETAILS, "visits")
_OF_RUNS = ["id", "created_at", "completed_at", "visit", "journal_size"]
_OF_ORPHANS = ["id", "created_at", "visit"]
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def repair(tables: ClusterTables, reader: ServerReader, common: Record) -> int:
    """Bring all tables of a shard to the same number, and return it; ``common`` are values of each record.

    Raises:
        LostRace: another archiver committed first.
    """
    highest = max(tables.version(name) for name in _NUMBERED)
    if highest > tables.version("invocations"):
        tables.reopen("invocations")  # another archiver may have committed while the tables were opened
    number = tables.version("invocations")
    if highest > number:
        _restore_runs(tables, reader, number, highest)
    number = max(number, highest)
    _complete(tables, reader, number, common)
    return number


def _restore_runs(tables: ClusterTables, reader: ServerReader, number: int, highest: int) -> None:
    """Read the runs again that only other tables have, and commit them with the highest number."""
    numbers = {name: tables.version(name) for name in ("invocations", *_NUMBERED)}
    found = [tables.read_shard(name, _OF_ORPHANS, f"AND visit > {number}") for name in DETAILS]
    orphans = pa.concat_tables(found, promote_options="permissive").group_by(_OF_ORPHANS).aggregate([])
    orphans = orphans.sort_by([("created_at", "descending")])  # the server can only have the newest run of an id
    rows = reader.details(orphans).tables if len(orphans) else {}
    runs = rows.get("invocations", pa.table({"id": pa.array([], pa.string())}))
    if len(runs):
        place = pc.index_in(runs["id"], orphans["id"].combine_chunks())
        runs = with_repeated(runs.append_column("visit", orphans["visit"].take(place)), tables, None)
    restored: list[Any] = runs["visit"].to_pylist() if len(runs) else []
    with Shield():
        doubtful = _discredit(tables, number, Counter(restored))
        tables.append("invocations", tables.with_own_columns("invocations", runs, {}), number, highest)
    ahead = ", ".join(f"{name} {each}" for name, each in numbers.items())
    tables.notes.add(
        f"the tables had different numbers ({ahead}), as in a copy that was made during a visit; the archive goes on "
        f"from {highest}, {plural(len(restored), 'invocation')} without a row in invocations had to be read again, and "
        f"{plural(doubtful, 'visit')} count as invalid"
    )


def _discredit(tables: ClusterTables, number: int, restored: Mapping[int, int]) -> int:
    """Let visits that relied on runs which are not in the archive count as invalid; return their number."""
    columns = ["visit", "started_at", "outcome", "new_runs"]
    records = tables.rows_of_shard("visits", columns, f"AND visit > {number}")
    lost = [row["started_at"] for row in records if restored.get(row["visit"], 0) < (row["new_runs"] or 0)]
    if not lost:
        return 0
    if None in lost:  # then since the end of the last complete visit that wrote runs which are in the archive
        known = tables.rows_of_shard("visits", ["ended_at"], f"AND outcome = 'complete' AND visit <= {number}")
        since = max((row["ended_at"] for row in known), default=_NEVER)
    else:
        since = min(lost)
    reason = "the archive is a copy or a backup that does not have all invocations which this visit read or knew"
    return tables.discredit(f"ended_at > {sql_time(since)}", reason, of_shard=True)


def _complete(tables: ClusterTables, reader: ServerReader, number: int, common: Record) -> None:
    """Write the rows that a killed archiver did not write, for all tables behind ``invocations``."""
    behind = {name: last for name in _NUMBERED if (last := tables.version(name)) < number}
    if not behind:
        return
    runs = tables.read_shard("invocations", _OF_RUNS, f"AND visit > {min(behind.values())}")
    runs = runs.sort_by([("created_at", "descending")])  # the server can only have the newest run of an id
    rows = reader.details(runs) if behind.keys() & set(DETAILS) else RunRows()
    with Shield():
        for name, last in behind.items():
            if name == "visits":
                repaired = _lost_records(runs, rows, range(last + 1, number + 1), common)
            else:
                repaired = _rows_after(last, runs, rows, name)
            tables.append(name, tables.with_own_columns(name, repaired, {}), last, number)


def _lost_records(runs: pa.Table, rows: RunRows, numbers: Iterable[int], common: Record) -> pa.Table:
    found = set(rows.tables["journal"]["id"].to_pylist()) if rows.tables else set()
    new, missing = Counter[int](), Counter[int]()
    for row in runs.to_pylist():
        new[row["visit"]] += 1
        missing[row["visit"]] += bool(rows.tables and row["journal_size"] and row["id"] not in found)
    records = [
        {
            **common,
            "started_at": None,
            "visit": number,
            "outcome": "repaired",
            "new_runs": new[number],
            "missing_journals": missing[number],
            "error": "the archiver ended before it wrote this record",
        }
        for number in numbers
    ]
    return table_of_records(records).drop_columns(["cluster_name"])


def _rows_after(last: int, runs: pa.Table, rows: RunRows, table: str) -> pa.Table:
    """Return the rows of runs that were committed after the visit ``last``, with the number of their visit."""
    own = TABLES[table].own
    empty = pa.table({name: pa.array([], own.get(name, pa.string())) for name in ("id", "created_at", "day")})
    found = rows.tables.get(table, empty)
    numbers: Any = runs["visit"].take(pc.index_in(found["id"], runs["id"].combine_chunks()))
    return found.append_column("visit", numbers).filter(pc.greater(numbers, pa.scalar(last)))
