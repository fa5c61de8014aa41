"""The maintenance of an archive: merge small files, remove unused ones, and delete days."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd

from restate_lab.errors import ArgumentError
from restate_lab.history.store import DELETED, DELETED_UNTIL, ArchiveStore
from restate_lab.history.tables import TABLES

_IN_ORDER = ("journal", "events", "agent_steps", "samples", "invocations", "visits")  # the runs of a journal last


def compact(store: ArchiveStore) -> pd.DataFrame:
    """Rewrite the small files of each day that is over as few large ones; it is safe while archivers write.

    Columns: ``table, files_before, files_after`` of the rewritten days. The old files remain until ``vacuum``.
    """
    today = datetime.now(UTC).date().isoformat()
    rows = []
    for name in TABLES:
        past = [("day", "<", today)] if "day" in TABLES[name].own else None
        done = store.change(name, lambda table, past=past: table.optimize.compact(partition_filters=past))  # type: ignore[misc]
        rows.append({"table": name, "files_before": done["numFilesRemoved"], "files_after": done["numFilesAdded"]})
    return pd.DataFrame(rows)


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
    store.change("invocations", lambda table: table.alter.set_table_properties(properties, raise_if_not_exists=False))
    deleted = {name: store.change(name, lambda table: table.delete(f"day < '{day}'")) for name in _IN_ORDER}
    return pd.DataFrame([{"table": name, "rows_deleted": each["num_deleted_rows"]} for name, each in deleted.items()])


def _last_complete_day(store: ArchiveStore, now: datetime) -> date | None:
    """Return the day of the last complete visit of any cluster; a visit in the future had a wrong clock."""
    batches = store.read(store.open("visits"), ["started_at"], "outcome = 'complete'")
    starts = [row["started_at"] for batch in batches for row in batch.to_pylist() if row["started_at"] <= now]
    return max(starts).date() if starts else None
