"""Move the archive of the story "week" to real days: a played day, of seconds, becomes one of the days before today.

The hours of a day are its parts. Each run is moved as a whole, so its own duration stays the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.history.store import ArchiveStore, locate_store

_FIRST = "Cron"  # the service whose invocations begin the days
_DAY, _MICROSECOND = timedelta(days=1), timedelta(microseconds=1)
_MOST_KEPT = 30 * _DAY // timedelta(milliseconds=1)  # for handlers with the server's default, which is a real day
_OF_RUNS = ("invocations", "journal", "events")
_TIME = pa.timestamp("us", "UTC")

_Times = npt.NDArray[np.int64]
"""Microseconds since 1970."""
_Move = Callable[[_Times], _Times]


def move_to_real_days(folder: Path, day: timedelta) -> None:
    """Rewrite an archive in which a day takes ``day``; times after the last day stay as they are."""
    from deltalake import write_deltalake  # noqa: PLC0415 - part of the extra "demo"

    store = locate_store(folder)
    read = {name: _read(store, name) for name in (*_OF_RUNS, "samples", "deployments", "services", "visits")}
    tables = {name: rows for name, rows in read.items() if len(rows)}
    runs = tables["invocations"]
    move, scale = _calendar(runs, day), round(_DAY / day)
    days = dict(zip(_keys(runs), _moved_run(runs, move)["completed_at"].cast(pa.date32()).to_pylist(), strict=True))
    for name, rows in tables.items():
        if name in _OF_RUNS:  # a row of a run is on the day on which the run ended
            of_rows = pa.array([days[key] for key in _keys(rows)], pa.date32())
            moved = _with_column(_moved_run(rows, move), "day", of_rows)
        else:
            moved = _moved_facts(rows, move)
        write_deltalake(store.open(name), _with_retention(moved, scale), mode="overwrite")


def _read(store: ArchiveStore, name: str) -> pa.Table:
    table = store.open(name)
    batches = list(store.read(table, [each.name for each in table.schema().fields], "true"))
    return pa.Table.from_batches(batches) if batches else pa.table({})


def _calendar(runs: pa.Table, day: timedelta) -> _Move:
    is_first: Any = pc.equal(runs["target_service_name"], pa.scalar(_FIRST))
    starts = np.sort(_micros(runs.filter(is_first)["created_at"]))
    end = max(starts[-1] + day // _MICROSECOND, _micros(runs["created_at"]).max() + 1)
    midnight = datetime.combine(datetime.now(UTC), time(), UTC)
    dates = [midnight - _DAY * before for before in range(len(starts), -1, -1)]
    played = np.array([*starts, end])
    real = np.array([round(date.timestamp()) * 1_000_000 for date in dates])

    def move(times: _Times) -> _Times:
        inside = np.interp(times, played, real).astype(np.int64)
        before = np.where(times < starts[0], real[0] - (starts[0] - times), inside)
        return np.where(times > end, times, before)

    return move


def _keys(rows: pa.Table) -> list[tuple[Any, Any]]:
    """Return the id and the creation of the run that each row belongs to."""
    return list(zip(rows["id"].to_pylist(), rows["created_at"].to_pylist(), strict=True))


def _moved_run(rows: pa.Table, move: _Move) -> pa.Table:
    """Move all times of a row by the duration by which the creation of its run is moved."""
    created = _micros(rows["created_at"])
    moved_by = pa.array(move(created) - created)
    for name in _times(rows):
        rows = _with_column(rows, name, pc.add(pc.cast(rows[name], pa.int64()), moved_by).cast(_TIME))
    return rows


def _moved_facts(rows: pa.Table, move: _Move) -> pa.Table:
    """Move each time of a visit, a sample, a deployment or a service; a visit keeps its duration."""
    duration = pc.subtract(rows["ended_at"], rows["started_at"]) if "ended_at" in rows.column_names else None
    for name in _times(rows):
        is_known = rows[name].is_valid()
        moved = pa.array(move(_micros(pc.fill_null(rows[name], pa.scalar(0, _TIME)))), mask=~np.asarray(is_known))
        rows = _with_column(rows, name, moved.cast(_TIME))
    if duration is not None:
        rows = _with_column(rows, "ended_at", pc.add(rows["started_at"], duration).cast(_TIME))
    if "day" in rows.column_names:
        at = "started_at" if duration is not None else "sampled_at"
        rows = _with_column(rows, "day", rows[at].cast(pa.date32()))
    return rows


def _with_retention(rows: pa.Table, scale: int) -> pa.Table:
    """Scale the times for which the server keeps invocations: milliseconds, or JSON with milliseconds."""
    for name in rows.column_names:
        if name.endswith("retention_ms"):
            scaled = pc.min_element_wise(pc.multiply(rows[name], scale), _MOST_KEPT, skip_nulls=False)
            rows = _with_column(rows, name, scaled)
        elif name in {"retention", "open_retention"}:
            texts = [_scaled(text, scale) for text in rows[name].to_pylist()]
            rows = _with_column(rows, name, pa.array(texts, pa.string()))
    return rows


def _scaled(text: str | None, scale: int) -> str | None:
    def scaled(value: Any) -> Any:
        return min(value * scale, _MOST_KEPT) if isinstance(value, int) else value

    handlers = None if text is None else json.loads(text)
    return None if handlers is None else json.dumps([{name: scaled(each[name]) for name in each} for each in handlers])


def _times(rows: pa.Table) -> list[str]:
    return [each.name for each in rows.schema if pa.types.is_timestamp(each.type)]


def _micros(times: Any) -> _Times:
    return np.asarray(times.cast(pa.int64()))


def _with_column(rows: pa.Table, name: str, values: Any) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)
