"""Read invocations for plans and executions: their state, restarts, cancel signals, and possible deployments.

Most are point reads by id from the base tables. These cost a quarter of the same reads from the view, and a plan and
its execution read everything twice.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from restate_lab.client.schema import translate_errors
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import QueryInterrupted, RateLimited, Unreachable
from restate_lab.reads import Reads, Row
from restate_lab.source import Source
from restate_lab.status import LONG_BACK_OFFS_SQL, STATUS_SQL, status_of

T = TypeVar("T")

IDS_PER_QUERY = 10_000  # four times as many fit into a body of 2 MB
_POINT_READS = 5000  # in one statement; more are not faster
RETRY_WITHIN = 30.0  # seconds, in addition to the usual retries of every read
SCAN_TIMEOUT = 10.0  # seconds, for scans
_RETRY_PAUSE = 0.3
_RAW_STATUSES = {"inboxed": "pending"}

_IN_VQUEUE = """
-- if: sys_invocation_status.vqueue_id
  vqueue_id IS NOT NULL AS in_vqueue
-- else
  false AS in_vqueue
-- end"""
_BASE = f"""
SELECT id, status, completion_result, completion_failure, journal_size, pinned_deployment_id,
       pinned_service_protocol_version, target_service_name, created_at,{_IN_VQUEUE}
FROM sys_invocation_status WHERE id IN :ids"""  # noqa: S608 - constants
# Whether an invocation with status invoked is running, backs off, or waits for a slot.
_INVOKED = "SELECT id, status, completion_result, completion_failure, created_at FROM sys_invocation WHERE id IN :ids"
# Only this column shows from which invocation a restart was made. This is a scan.
_RESTARTS = """
SELECT restarted_from, id, created_at FROM sys_invocation_status
WHERE restarted_from IN :ids AND created_at >= :since ORDER BY created_at, id"""
_ANY_RESTARTS = "SELECT restarted_from, id, created_at FROM sys_invocation_status WHERE restarted_from IN :ids"
# Signal 1 cancels an invocation; it is recorded before it has an effect.
_CANCEL_SIGNALS = """
SELECT DISTINCT id FROM sys_journal WHERE id IN :ids AND entry_type = 'Notification: Signal'
  AND json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'SignalIndex') = 1"""
_STATES = f"""
SELECT id, {STATUS_SQL} AS status, target, target_service_name, target_handler_name, target_service_key,
  target_service_ty AS service_type, created_at, modified_at, completed_at, invoked_by_id, pinned_deployment_id,
  CAST(pinned_service_protocol_version AS BIGINT) AS protocol, CAST(journal_size AS BIGINT) AS journal_size,{_IN_VQUEUE}
FROM sys_invocation WHERE id IN :ids"""  # noqa: S608 - constants
_LATEST = """
SELECT s.name AS service, d.id, d.min_service_protocol_version AS oldest, d.max_service_protocol_version AS newest
FROM sys_service s JOIN sys_deployment d ON d.id = s.deployment_id"""
_NAMED = """
SELECT id, services, min_service_protocol_version AS oldest, max_service_protocol_version AS newest
FROM sys_deployment WHERE id = :id"""
_BY_IDEMPOTENCY_KEY = """
SELECT id FROM sys_invocation_status
WHERE idempotency_key = :key AND target_service_name = :service AND target_handler_name = :handler"""
# A valid id that no invocation has, for an empty list: IN () is not valid SQL.
_UNKNOWN_ID = "inv_1" + "0" * 33
_OTHER_TYPES = {"created_at", "modified_at", "completed_at", "protocol", "journal_size", "in_vqueue"}


@dataclass(frozen=True, slots=True)
class InvocationSnapshot:
    """An invocation as it was read: its status, and the values that show whether an action had its effect.

    An invocation without a row has the ``status`` None, and its other values are empty. ``created_at`` identifies
    the run of the id. ``in_vqueue`` decides which effects actions have: one cluster can have both kinds of invocations.
    """

    status: str | None = None
    journal_size: int = 0
    deployment: str | None = None
    protocol: int | None = None
    service: str | None = None
    created_at: datetime | None = None
    in_vqueue: bool = False


NO_INVOCATION = InvocationSnapshot()


@dataclass(frozen=True, slots=True)
class Destination:
    """A deployment, and the oldest and newest protocol that it supports."""

    id: str
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """The deployment of each service; ``requested`` is "latest" or a deployment's id."""

    requested: str
    by_service: Mapping[str, Destination]

    def is_reached_by(self, snapshot: InvocationSnapshot) -> bool:
        """Return whether an invocation is pinned to its destination."""
        destination = self.by_service.get(snapshot.service or "")
        return destination is not None and snapshot.deployment == destination.id

    def reason_against(self, snapshot: InvocationSnapshot) -> str | None:
        """Return why an invocation cannot or need not be moved there; None if it can be moved."""
        if snapshot.deployment is None:
            return "it is not pinned to a deployment yet: its next attempt uses the latest one"
        if self.is_reached_by(snapshot):
            return f"it is already on {snapshot.deployment}"
        return self.reason_against_protocol(snapshot.service, snapshot.protocol)

    def reason_against_protocol(self, service: str | None, protocol: int | None) -> str | None:
        """Return why an invocation of a service cannot continue there with its protocol; None if it can."""
        destination = self.by_service.get(service or "")
        if destination is None:
            subject = "no deployment has" if self.requested == "latest" else f"{self.requested} does not have"
            return f"{subject} the service {service}"
        if protocol is not None and not destination.oldest <= protocol <= destination.newest:
            spoken = f"{destination.oldest} to {destination.newest}"
            return f"it needs protocol {protocol}, but {destination.id} supports {spoken}"
        return None


@translate_errors
def read_snapshots(reads: Reads, ids: Sequence[str]) -> dict[str, InvocationSnapshot]:
    """Return the snapshot of every id, in the order of ``ids``."""
    rows = {row["id"]: row for row in _read_rows(reads, _BASE, ids)}
    statuses = {id_: _status_of(row) for id_, row in rows.items()}
    invoked = [id_ for id_, status in statuses.items() if status == "invoked"]
    for id_ in invoked:
        del statuses[id_]  # gone, unless the second statement still returns it
    for row in _read_rows(reads, _INVOKED, invoked):
        if row["created_at"] == rows[row["id"]]["created_at"]:  # otherwise a new run with the same id has started
            statuses[row["id"]] = _status_of(row)
    ready = [id_ for id_ in invoked if statuses.get(id_) == "ready"]
    statuses.update(dict.fromkeys(read_backing_off(reads, ready), "backing-off"))
    return {id_: _snapshot_of(rows[id_], statuses[id_]) if id_ in statuses else NO_INVOCATION for id_ in ids}


@translate_errors
def read_restarts(
    reads: Reads, since: Mapping[str, datetime], *, timeout: float | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the restarts of each id since its time (by the server's clock), oldest first."""
    if not since:
        return {}
    restarts: dict[str, tuple[str, ...]] = {}
    for row in _read_rows(reads, _RESTARTS, since, timeout=timeout, since=min(since.values())):
        id_ = row["restarted_from"]
        if row["created_at"] >= since[id_]:
            restarts[id_] = (*restarts.get(id_, ()), row["id"])
    return restarts


@translate_errors
def read_any_restarts(reads: Reads, ids: Iterable[str], created: Mapping[str, datetime]) -> dict[str, str]:
    """Return a restart of each id that has one, at any time.

    ``created`` has the creation times of the runs, if they are known: an older restart belongs to an earlier run with
    the same id.
    """
    rows = _read_rows(reads, _ANY_RESTARTS, ids, timeout=SCAN_TIMEOUT)
    return {
        row["restarted_from"]: row["id"]
        for row in rows
        if row["restarted_from"] not in created or row["created_at"] >= created[row["restarted_from"]]
    }


@translate_errors
def read_cancel_signals(reads: Reads, ids: Sequence[str]) -> set[str]:
    """Return the ids of invocations that have a cancel signal."""
    return {row["id"] for row in _read_rows(reads, _CANCEL_SIGNALS, ids)}


@translate_errors
def read_invocations(reads: Reads, ids: Sequence[str]) -> pd.DataFrame:
    """Read the current state of each of these invocations: one row per id, in the order of ``ids``, the index.

    Columns: ``status`` (a name of STATUSES, None if the invocation does not exist), ``target, target_service_name,
    target_handler_name, target_service_key, service_type`` ("service", "virtual_object", "workflow"), ``created_at,
    modified_at, completed_at`` (UTC), ``invoked_by_id, pinned_deployment_id, protocol`` (to which it is pinned),
    ``journal_size`` (entries; None if it has not started) and ``in_vqueue``. These are point reads in chunks of
    IDS_PER_QUERY ids. The rows of one chunk have the same read time; different chunks do not.

    Raises:
        RestateLabError: the errors of ``reads.sql``; the server refuses an invalid id.
    """
    parts = chunks(ids or [_UNKNOWN_ID], IDS_PER_QUERY)
    frame = _to_frame(pa.concat_tables(reads.query(_STATES, {"ids": part}) for part in parts))
    frame.loc[read_backing_off(reads, list(frame.index[frame["status"] == "ready"])), "status"] = "backing-off"
    return frame.reindex(pd.Index(ids, name="id"))


def read_backing_off(reads: Reads, ids: Sequence[str]) -> list[str]:
    """Return the ready invocations that wait for a retry far ahead: only the vqueues have such back-offs."""
    return [row["id"] for row in _read_rows(reads, LONG_BACK_OFFS_SQL, ids)] if ids else []


def read_destinations(reads: Reads, deployment: str) -> Destinations:
    """Return the destination of each service; empty if the deployment does not exist."""
    if deployment == "latest":
        rows = reads.query(_LATEST).to_pylist()
        return Destinations(
            deployment, {row["service"]: Destination(row["id"], row["oldest"], row["newest"]) for row in rows}
        )
    rows = reads.query(_NAMED, {"id": deployment}).to_pylist()
    return Destinations(
        deployment,
        {service: Destination(row["id"], row["oldest"], row["newest"]) for row in rows for service in row["services"]},
    )


def with_retries(read: Callable[[], T], *, left: float = math.inf) -> T:
    """Call ``read``, and repeat it if the response ends early, as when a node dies: an execution is in progress.

    ``left`` is the rest of the caller's time limit in seconds.
    """
    give_up = time.monotonic() + min(left, RETRY_WITHIN)
    while True:
        try:
            return read()
        except (QueryInterrupted, RateLimited, Unreachable) as error:
            wait = getattr(error, "retry_after", None) or _RETRY_PAUSE
            if time.monotonic() + wait > give_up:
                raise
            time.sleep(wait)


def _read_rows(
    reads: Reads, statement: str, ids: Iterable[str], *, timeout: float | None = None, **params: Any
) -> Iterator[Row]:
    for part in chunks(list(ids), _POINT_READS):
        read = functools.partial(reads.query, statement, {**params, "ids": part}, timeout=timeout)
        yield from _rows_of(with_retries(read, left=reads.seconds_left))


def _rows_of(table: pa.Table) -> list[Row]:
    """Return the same as ``to_pylist``, which is several times slower because of the timestamps."""
    names, columns = table.column_names, [_values_of(column) for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values_of(column: pa.ChunkedArray[Any]) -> list[Any]:
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    times = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).tolist()
    return [None if time is None else time.replace(tzinfo=UTC) for time in times]


def _status_of(row: dict[str, Any]) -> str:
    status = _RAW_STATUSES.get(row["status"], row["status"])
    return status_of(status, row["completion_result"], row["completion_failure"])


def _snapshot_of(row: dict[str, Any], status: str) -> InvocationSnapshot:
    return InvocationSnapshot(
        status=status,
        journal_size=row["journal_size"] or 0,
        deployment=row["pinned_deployment_id"],
        protocol=row["pinned_service_protocol_version"],
        service=row["target_service_name"],
        created_at=row["created_at"],
        in_vqueue=bool(row["in_vqueue"]),
    )


def _to_frame(table: pa.Table) -> pd.DataFrame:
    texts = [name for name in table.column_names if name not in _OTHER_TYPES]
    others = table.drop_columns(texts)
    frame: pd.DataFrame = others.to_pandas(types_mapper=lambda kind: pd.Int64Dtype() if kind == pa.int64() else None)
    for name in texts:
        frame[name] = pd.Series(_objects(table[name]), index=frame.index, dtype="object")
    return frame[table.column_names].drop_duplicates("id").set_index("id")


def _objects(texts: pa.ChunkedArray[Any]) -> Any:
    """Return the texts as Python objects; equal texts share one object, because many rows have the same status."""
    encoded: Any = texts.dictionary_encode().combine_chunks()
    objects = np.array([*encoded.dictionary.to_pylist(), None], dtype="object")
    return objects[encoded.indices.fill_null(-1).to_numpy()]


def find_by_idempotency_key(source: Source, service: str, handler: str, key: str, *, timeout: float) -> str | None:
    """Return the id of the invocation of a handler with this idempotency key, or None."""
    names = {"service": service, "handler": handler, "key": key}
    rows = source.sql(_BY_IDEMPOTENCY_KEY, params=names, timeout=timeout, progress=False)
    return str(rows["id"].iloc[0]) if len(rows) else None
