"""What an execution reads of its invocations: just before it acts, afterwards, and where an answer was lost.

Point reads by id of the base tables, which cost a quarter of those of the view: a plan reads everything twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from restate_lab.analysis.deadline import Deadline
from restate_lab.client.schema import checked, translated
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import QueryInterrupted, RateLimited, Unreachable
from restate_lab.source import Source
from restate_lab.status import word

__all__ = [
    "GONE",
    "SCAN_WITHIN",
    "Reading",
    "patiently",
    "read_any_restarts",
    "read_cancel_signals",
    "read_now",
    "read_restarts",
]

T = TypeVar("T")

IDS = 5000  # in one statement; more are not faster
PATIENCE = 30.0  # seconds, beyond those for which every read is repeated
SCAN_WITHIN = 10.0  # seconds, for what is no point read
_PAUSE = 0.3

_BASE = """
SELECT id, status, completion_result, completion_failure, journal_size, pinned_deployment_id,
       pinned_service_protocol_version, target_service_name, created_at
FROM sys_invocation_status WHERE id IN :ids"""
# Whether one that is invoked runs, backs off, or waits for a slot.
_INVOKED = "SELECT id, status, completion_result, completion_failure, created_at FROM sys_invocation WHERE id IN :ids"
# With vqueues a long back-off shows as ready in sys_invocation.
_BACKING_OFF = "SELECT entry_id AS id FROM sys_vqueue_entry_status WHERE entry_id IN :ids AND status = 'backing-off'"
# A restart keeps no other trace of where it came from. A scan.
_RESTARTS = """
SELECT restarted_from, id, created_at FROM sys_invocation_status
WHERE restarted_from IN :ids AND created_at >= :since ORDER BY created_at, id"""
_ANY_RESTARTS = "SELECT restarted_from, id, created_at FROM sys_invocation_status WHERE restarted_from IN :ids"
# Signal 1 asks an invocation to end; it is recorded before anything comes of it.
_CANCEL_SIGNALS = """
SELECT DISTINCT id FROM sys_journal WHERE id IN :ids AND entry_type = 'Notification: Signal'
  AND json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'SignalIndex') = 1"""
_RAW = {"inboxed": "pending"}


@dataclass(frozen=True, slots=True)
class Reading:
    """An invocation as it was read: its status word, and what tells whether an action has happened.

    ``status`` None means that there is no row, which all the rest then follows. ``created_at`` tells which run of the
    id it is.
    """

    status: str | None = None
    journal_size: int = 0
    deployment: str | None = None
    protocol: int | None = None
    service: str | None = None
    created_at: datetime | None = None


GONE = Reading()


@translated
def read_now(lab: Source, ids: Sequence[str]) -> dict[str, Reading]:
    """Return every id's Reading, in the order of ``ids``."""
    rows = {row["id"]: row for row in _rows(lab, _BASE, ids)}
    words = {id_: _word(row) for id_, row in rows.items()}
    invoked = [id_ for id_, status in words.items() if status == "invoked"]
    for id_ in invoked:
        del words[id_]  # gone, unless the second statement still sees it
    for row in _rows(lab, _INVOKED, invoked):
        if row["created_at"] == rows[row["id"]]["created_at"]:  # else a new run with the same id began in between
            words[row["id"]] = _word(row)
    if lab.features.get("vqueues", False):
        ready = [id_ for id_ in invoked if words.get(id_) == "ready"]
        words.update({row["id"]: "backing-off" for row in _rows(lab, _BACKING_OFF, ready)})
    return {id_: _reading(rows[id_], words[id_]) if id_ in words else GONE for id_ in ids}


@translated
def read_restarts(
    lab: Source, since: Mapping[str, datetime], *, timeout: float | None = None
) -> dict[str, tuple[str, ...]]:
    """Return, oldest first, the restarts of each id that has any since its time (of the server's clock)."""
    if not since:
        return {}
    restarts: dict[str, tuple[str, ...]] = {}
    for row in _rows(lab, _RESTARTS, since, since=min(since.values()), timeout=timeout):
        id_ = row["restarted_from"]
        if row["created_at"] >= since[id_]:
            restarts[id_] = (*restarts.get(id_, ()), row["id"])
    return restarts


@translated
def read_any_restarts(lab: Source, ids: Iterable[str], created: Mapping[str, datetime]) -> dict[str, str]:
    """Return a restart of each id that has one, whenever that was.

    ``created`` has the creation times of the runs, where they are known: a restart that is older was one of an earlier
    run with the same id.
    """
    rows = _rows(lab, _ANY_RESTARTS, ids, timeout=SCAN_WITHIN)
    return {
        row["restarted_from"]: row["id"]
        for row in rows
        if row["restarted_from"] not in created or row["created_at"] >= created[row["restarted_from"]]
    }


@translated
def read_cancel_signals(lab: Source, ids: Sequence[str]) -> set[str]:
    """Return those that have been asked to end."""
    return {row["id"] for row in _rows(lab, _CANCEL_SIGNALS, ids)}


def _rows(lab: Source, sql: str, ids: Iterable[str], **parameters: Any) -> Iterator[dict[str, Any]]:
    for chunk in chunks(list(ids), IDS):
        yield from _ask(lab, sql, ids=list(chunk), **parameters)


def _ask(lab: Source, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    left = lab.left if isinstance(lab, Deadline) else None
    answer = patiently(lambda: lab.arrow(sql, progress=False, **parameters), left=left)
    rows: list[dict[str, Any]] = checked(answer, sql, lab).to_pylist()
    return rows


def patiently(look: Callable[[], T], *, left: float | None = None) -> T:
    """Look, and again when the answer breaks off, as it does when a node dies: an execution is half-way through.

    ``left`` has the seconds that are left, where the caller has a time limit.
    """
    give_up = time.monotonic() + (PATIENCE if left is None else min(left, PATIENCE))
    while True:
        try:
            return look()
        except (QueryInterrupted, RateLimited, Unreachable) as error:
            wait = getattr(error, "retry_after", None) or _PAUSE
            if time.monotonic() + wait > give_up:
                raise
            time.sleep(wait)


def _word(row: dict[str, Any]) -> str:
    status = _RAW.get(row["status"], row["status"])
    return word(status, row["completion_result"], row["completion_failure"])


def _reading(row: dict[str, Any], status: str) -> Reading:
    return Reading(
        status=status,
        journal_size=row["journal_size"] or 0,
        deployment=row["pinned_deployment_id"],
        protocol=row["pinned_service_protocol_version"],
        service=row["target_service_name"],
        created_at=row["created_at"],
    )
