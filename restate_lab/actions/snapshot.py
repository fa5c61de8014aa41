"""What an execution reads of its invocations: just before it acts, afterwards, and where an answer was lost.

Point reads by id of the base tables, which cost a quarter of those of the view: a plan reads everything twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.ids import check_invocation_id, creation_times_by_id
from restate_lab.client.schema import checked, translated
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ArgumentError, QueryInterrupted, RateLimited, Unreachable
from restate_lab.source import Source
from restate_lab.status import STATUS_SQL, word

__all__ = [
    "CHUNK",
    "GONE",
    "SCAN_WITHIN",
    "Destination",
    "Destinations",
    "Reading",
    "is_invocation_id",
    "patiently",
    "read_any_restarts",
    "read_cancel_signals",
    "read_created",
    "read_destinations",
    "read_ids",
    "read_now",
    "read_restarts",
    "read_states",
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
CHUNK = 10_000  # ids in a statement; a body of 2 MB has room for four times as many
_ID_COLUMNS = ("id", "invocation_id")
_STATES = f"""
SELECT id, {STATUS_SQL} AS status, target, target_service_name, target_handler_name, target_service_key,
  target_service_ty AS service_type, created_at, modified_at, completed_at, invoked_by_id, pinned_deployment_id,
  CAST(pinned_service_protocol_version AS BIGINT) AS protocol, CAST(journal_size AS BIGINT) AS journal_size
FROM sys_invocation WHERE id IN :ids"""  # noqa: S608 - constants
_LATEST = """
SELECT s.name AS service, d.id, d.min_service_protocol_version AS oldest, d.max_service_protocol_version AS newest
FROM sys_service s JOIN sys_deployment d ON d.id = s.deployment_id"""
_NAMED = """
SELECT id, services, min_service_protocol_version AS oldest, max_service_protocol_version AS newest
FROM sys_deployment WHERE id = :id"""


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
    left = lab.seconds_left if isinstance(lab, Deadline) else None
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


# With vqueues a long back-off shows as ready in sys_invocation.


def read_ids(targets: Any) -> tuple[list[str], int]:
    """Return what is meant, in order and each once, and how many were there more than once.

    ``targets``: one id, any list of them, a Series, an Arrow column, or a frame or table with a column ``id`` or
    ``invocation_id``. What is no id stays in the list: a plan says so for each.

    Raises:
        ArgumentError: it is none of these, or which column is meant cannot be told.
    """
    values = list(_values(targets))
    unique = list(dict.fromkeys(value if isinstance(value, str) else repr(value) for value in values))
    return unique, len(values) - len(unique)


def read_created(targets: Any) -> dict[str, frozenset[datetime]]:
    """Return which runs are meant: for each id the ``created_at`` that a frame or table has beside it.

    Empty where ``targets`` has no such column: the ids then mean the runs that exist now.

    Raises:
        ArgumentError: a value is not a timestamp, or the column is there more than once.
    """
    names = _column_names(targets)
    if names is None or "created_at" not in names:
        return {}
    if names.count("created_at") > 1:
        raise ArgumentError("the frame has more than one column created_at: keep the one that tells the runs apart.")
    return creation_times_by_id(_values(targets), _listed(targets["created_at"]), name="the frame")


@translated
def read_states(lab: Source, ids: Sequence[str]) -> pd.DataFrame:
    """Read what each of these invocations does now: one row per id, in the order of ``ids``, which is the index.

    Columns: ``status`` (a word of STATUSES, None where there is no such invocation), ``target, target_service_name,
    target_handler_name, target_service_key, service_type`` ("service", "virtual_object", "workflow"), ``created_at,
    modified_at, completed_at`` (UTC), ``invoked_by_id, pinned_deployment_id, protocol`` (that it is bound to) and
    ``journal_size`` (entries; None where it has not begun). Point reads in chunks of CHUNK ids, right on servers with
    vqueues and without; the rows of one chunk are of one moment, and those of several are not.

    Raises:
        RestateLabError: what ``lab.sql`` raises; an id that is none is refused by the server.
    """
    tables = [checked(lab.arrow(_STATES, ids=chunk, progress=False), _STATES, lab) for chunk in chunks(ids, CHUNK)]
    if not tables:
        tables = [checked(lab.arrow(_STATES, ids=[_NOBODY], progress=False), _STATES, lab)]
    frame = _frame(pa.concat_tables(tables))
    if lab.features.get("vqueues", False):
        ready = list(frame.index[frame["status"] == "ready"])
        answers = (lab.arrow(_BACKING_OFF, ids=chunk, progress=False) for chunk in chunks(ready, CHUNK))
        found = [checked(answer, _BACKING_OFF, lab)["id"].to_pylist() for answer in answers]
        frame.loc[[id_ for part in found for id_ in part], "status"] = "backing-off"
    return frame.reindex(pd.Index(ids, name="id"))


_NOBODY = "inv_1" + "0" * 33  # well-formed, and no invocation's: IN () is not SQL


def is_invocation_id(value: Any) -> bool:
    """Tell whether this is the id of an invocation, as far as can be told without asking."""
    try:
        check_invocation_id(value)
    except ArgumentError:
        return False
    return True


def _values(targets: Any) -> Iterable[Any]:
    if isinstance(targets, str):
        return [targets]
    names = _column_names(targets)
    if names is not None:
        targets = targets[_id_column(names)]
    if isinstance(targets, Mapping | bytes) or not hasattr(targets, "__iter__"):
        raise ArgumentError(
            f"targets is a {type(targets).__name__}: give one invocation id, a list or Series of them, or a frame with "
            f"a column id."
        )
    return _listed(targets)


def _listed(column: Any) -> Iterable[Any]:
    values: Iterable[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column
    return values


def _column_names(targets: Any) -> list[str] | None:
    """Return the names of a frame's or table's columns; None for what has no columns."""
    if isinstance(targets, str):
        return None
    names = getattr(targets, "column_names", None) or getattr(targets, "columns", None)
    return None if names is None else [str(name) for name in names]


def _id_column(names: list[str]) -> str:
    """Return which column of a frame has the ids."""
    found = [name for name in names if name in _ID_COLUMNS]
    if len(found) == 1:
        return found[0]
    if not found:
        others = [name for name in names if name.endswith("id")] or names
        raise ArgumentError(
            f"the frame has no column id or invocation_id; it has {', '.join(names)}. "
            f"Give the column that is meant, such as frame[{others[0] if others else 'id'!r}]."
        )
    raise ArgumentError(
        f"the frame has {' and '.join(found)}, and which is meant cannot be told: give frame[{found[0]!r}] or "
        f"frame[{found[-1]!r}]."
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: pd.Int64Dtype() if kind == pa.int64() else None)
    texts = [name for name in frame.columns if name not in _OTHER_TYPES]
    frame[texts] = frame[texts].astype("object").where(frame[texts].notna(), None)
    return frame.drop_duplicates("id").set_index("id")


_OTHER_TYPES = {"created_at", "modified_at", "completed_at", "protocol", "journal_size"}


@dataclass(frozen=True, slots=True)
class Destination:
    """A deployment, and the oldest and newest protocol that it speaks."""

    id: str
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """The deployment of each service; ``asked`` is "latest" or a deployment's id."""

    asked: str
    of: Mapping[str, Destination]

    def has(self, reading: Reading) -> bool:
        """Tell whether an invocation is bound to its destination."""
        there = self.of.get(reading.service or "")
        return there is not None and reading.deployment == there.id

    def why_not(self, reading: Reading) -> str | None:
        """Return why an invocation cannot or need not go there, or None where it can."""
        if reading.deployment is None:
            return "it is bound to no deployment yet: its next attempt goes to the latest"
        there = self.of.get(reading.service or "")
        if there is None:
            who = "no deployment has" if self.asked == "latest" else f"{self.asked} does not have"
            return f"{who} the service {reading.service}"
        if reading.deployment == there.id:
            return f"it is on {there.id} already"
        if reading.protocol is not None and not there.oldest <= reading.protocol <= there.newest:
            return f"it speaks protocol {reading.protocol}, and {there.id} {there.oldest} to {there.newest}"
        return None


def read_destinations(lab: Source, deployment: str) -> Destinations:
    """Return where each service would go; a deployment that does not exist has none."""
    if deployment == "latest":
        rows = checked(lab.arrow(_LATEST, progress=False), _LATEST, lab).to_pylist()
        return Destinations(
            deployment, {row["service"]: Destination(row["id"], row["oldest"], row["newest"]) for row in rows}
        )
    rows = checked(lab.arrow(_NAMED, id=deployment, progress=False), _NAMED, lab).to_pylist()
    return Destinations(
        deployment,
        {service: Destination(row["id"], row["oldest"], row["newest"]) for row in rows for service in row["services"]},
    )
