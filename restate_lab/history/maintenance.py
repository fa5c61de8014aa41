"""The maintenance of an archive: merge small files, remove unused ones, and delete days."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.errors import ArchiveBroken, ArgumentError
from restate_lab.history.store import DELETED, DELETED_UNTIL, ArchiveStore, set_properties
from restate_lab.history.tables import TABLES
from restate_lab.records import describe_process

if TYPE_CHECKING:
    from deltalake import DeltaTable

_COMPACTION = "restate_lab.compaction"
_IN_ORDER = ("journal", "events", "agent_steps", "samples", "invocations", "visits")  # the runs of a journal last


def compact(store: ArchiveStore) -> pd.DataFrame:
    """Rewrite the small files of each day that is over as few large ones; it is safe while archivers write.

    Columns: ``table, files_before, files_after`` of the rewritten days. The old files remain until ``vacuum``.

    delta-rs 1.6 accepts two compactions of the same files, and then has their rows twice. But it refuses the commit of
    a program that opened the table before a change of its properties. So each compaction first stores a mark there.

    Raises:
        ArchiveBroken: another compaction began later.
    """
    mark = f"{describe_process()} {uuid.uuid4().hex}"
    rows = []
    for name in TABLES:
        store.change(name, lambda table: set_properties(table, {_COMPACTION: mark}))
        done = store.change(name, lambda table: _compact_past_days(store, table, mark))
        rows.append({"table": name, "files_before": done["numFilesRemoved"], "files_after": done["numFilesAdded"]})
    return pd.DataFrame(rows)


def _compact_past_days(store: ArchiveStore, table: DeltaTable, mark: str) -> Any:
    """Compact a table whose newest mark is ``mark``; the commit is refused if another mark is stored meanwhile."""
    name, newest = str(table.metadata().name), table.metadata().configuration[_COMPACTION]
    if newest != mark:
        raise ArchiveBroken(
            f"{store}: another compaction, of {newest.rpartition(' ')[0]}, began later and goes on. This one ended at "
            f"the table {name}. No row is lost or repeated. Run one compaction at a time."
        )
    today = datetime.now(UTC).date().isoformat()
    past = [("day", "<", today)] if "day" in TABLES[name].own else None
    return table.optimize.compact(partition_filters=past)


def vacuum(store: ArchiveStore) -> pd.DataFrame:
    """Remove the files that no table has used for 7 days, also those of archivers that were killed.

    Columns: ``table, files_removed``.
    """
    removed = {name: store.change(name, lambda table: table.vacuum(dry_run=False, full=True)) for name in TABLES}
    return pd.DataFrame([{"table": name, "files_removed": len(files)} for name, files in removed.items()])


def delete_before(store: ArchiveStore, day: date) -> pd.DataFrame:
    """Delete the rows of all clusters before a day (UTC), and do not archive such runs again.

    A day before that of an earlier call takes this limit back: runs are archived again if the server still has them.
    Deployments and services remain. Columns: ``table, rows_deleted``. The files remain until ``vacuum``.

    Raises:
        ArgumentError: no complete visit was made on this day or later, or the day is in the future.
    """
    now = datetime.now(UTC)
    last = _last_complete_day(store, now)
    if last is None or day > last:
        raise ArgumentError(
            f"day is {day}: the last complete visit of {store} was made on {last or 'no day'}, so everything would be "
            f"deleted. Pass a day until then, such as {last or now.date()}."
        )
    earlier = store.deletion(store.open("invocations"))
    until = min(earlier.end, now) if earlier.end and earlier.end.date() > day else None
    properties = {DELETED: day.isoformat()} | ({DELETED_UNTIL: until.isoformat()} if until else {})
    store.change("invocations", lambda table: set_properties(table, properties))
    deleted = {name: store.change(name, lambda table: table.delete(f"day < '{day}'")) for name in _IN_ORDER}
    return pd.DataFrame([{"table": name, "rows_deleted": each["num_deleted_rows"]} for name, each in deleted.items()])


def _last_complete_day(store: ArchiveStore, now: datetime) -> date | None:
    """Return the day of the last complete visit of any cluster; a visit in the future had a wrong clock."""
    batches = store.read(store.open("visits"), ["started_at"], "outcome = 'complete'")
    starts = [row["started_at"] for batch in batches for row in batch.to_pylist() if row["started_at"] <= now]
    return max(starts).date() if starts else None
