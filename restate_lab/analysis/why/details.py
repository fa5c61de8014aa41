"""The details of one invocation: its journal, its failures, its deployment, its vqueue, its restarts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab.analysis.failure_reasons import FailureReason, describe_repeated, fails_again, failure_reason
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.diff import Mismatch, mismatch_of
from restate_lab.analysis.journal.errors import REMOVED, JournalEvent, deprecated_deployment, is_stale_timer
from restate_lab.analysis.journal.reader import Invocation, Suspension, is_archived
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.why.agents import AgentWait, read_agent_wait
from restate_lab.analysis.why.reader import HOLDING, Explorer, Row, has_ended, key_of
from restate_lab.frames import records

MAX_ENTRIES = 20_000  # longer journals are not read
MAX_RESTARTS = 20  # earlier invocations to read
_IN_ATTEMPTS = frozenset({"backing-off", "ready", "running", "yielded"})


@dataclass(frozen=True, slots=True)
class QueuedChanges:
    """The number of changes of state that wait for a key, and the time since which the first one has waited."""

    count: int = 0
    since: datetime | None = None


NO_CHANGES = QueuedChanges()


@dataclass(frozen=True, slots=True)
class InvocationDetails:
    """The known data of one invocation; ``edges`` are its waits.

    ``journal`` and ``invocation`` are ``None`` if the journal was not read, ``vqueue`` if it is in no vqueue.
    ``deployments`` has its registered deployments, id → endpoint. ``latest`` is the latest deployment of the service,
    None if no deployment has the service. ``restarted_from`` has the earlier invocations, nearest first;
    ``restarted_as`` has the later ones. ``agent`` is what an agent does, "waits for its tool …"; "" for others.
    ``response_problem`` is what in the last response of its model makes each attempt fail, "a refusal of the model".
    ``has_unknown_holder`` is set if it waits for a key whose holder the source cannot report. ``changes`` are the
    changes of state that wait for its key; ``has_run_in_vqueue`` is whether a paused one has run since it has a vqueue.
    ``stale_timer`` is when a timer of an earlier invocation with its id fired into it, None if none did.
    ``callers`` are id and target of its caller, of the caller's caller, and so on up to the root.
    ``is_archived`` is set if it is from an archive, which keeps the invocations that a cluster removes.
    """

    row: Row
    now: datetime
    edges: tuple[Edge, ...] = ()
    journal: pd.DataFrame | None = None
    invocation: Invocation | None = None
    deployments: Mapping[str, str] | None = None
    latest: str | None = None
    vqueue: Row | None = None
    restarted_from: tuple[str, ...] = ()
    restarted_as: tuple[str, ...] = ()
    agent: str = ""
    response_problem: str = ""
    is_archived: bool = False
    has_unknown_holder: bool = False
    changes: QueuedChanges = NO_CHANGES
    has_run_in_vqueue: bool = False
    stale_timer: datetime | None = None
    callers: tuple[tuple[str, str], ...] = ()

    @property
    def is_gone(self) -> bool:
        """Return whether the cluster no longer has it, because it is archived and its retention is over."""
        kept = self.row["completion_retention"] if self.is_archived else None
        return kept is not None and bool(self.row["completed_at"] + kept < self.now)

    @property
    def status(self) -> str:
        """Return its status."""
        return str(self.row["status"])

    @property
    def failures(self) -> int:
        """Return how many attempts failed since its last progress; 0 if the server does not report it."""
        read_question = (self.invocation.attempts if self.invocation else None) or 0
        return max(read_question, int(self.row["failed_attempts"] or 0))

    @property
    def is_failing(self) -> bool:
        """Return whether its attempts fail; the status may also be ready or running."""
        return self.status == "backing-off" or (self.status in _IN_ATTEMPTS and self.failures > 0)

    @property
    def error(self) -> JournalEvent | None:
        """Return the last error of an attempt."""
        return max((event for event in self._events if event.is_error), key=_timestamp, default=None)

    @property
    def pause(self) -> JournalEvent | None:
        """Return the event of its last pause."""
        return max((event for event in self._events if event.type == "Paused"), key=_timestamp, default=None)

    @property
    def suspension(self) -> Suspension | None:
        """Return since when and for what it waits, if that was read."""
        return self.invocation.suspension if self.invocation else None

    @property
    def combination(self) -> str:
        """Return how it combines the results that it waits for, as text; "" if its SDK does not report that."""
        is_reported = self.suspension is not None and self.suspension.waits_for.is_combination
        return str(self.suspension.waits_for) if self.suspension and is_reported else ""

    @property
    def mismatch(self) -> Mismatch | None:
        """Return the journal mismatch that causes its last error; None if another error is the last."""
        is_last = self.invocation and self.error and self.error.code == "RT0016"
        return mismatch_of(self.invocation) if self.invocation and is_last else None

    @property
    def was_retried(self) -> bool:
        """Return whether an attempt failed before the one after which it was paused.

        The server records the failure after which it pauses an invocation only in the event of the pause.
        """
        pauses = sorted(_timestamp(event) for event in self._events if event.type == "Paused")
        start = pauses[-2] if len(pauses) > 1 else 0.0
        return any(event.type == "TransientError" and _timestamp(event) > start for event in self._events)

    @property
    def has_stale_timer(self) -> bool:
        """Return whether a timer of an earlier invocation with its id makes its attempts fail, or has done so."""
        texts = (self.row["completion_failure"], self.error.message if self.error else None)
        return self.stale_timer is not None or any(map(is_stale_timer, texts))

    @property
    def failure_reason(self) -> FailureReason | None:
        """Return why its attempts fail, or will fail when it wakes; None if they do not."""
        if self.is_removed:
            return FailureReason.REMOVED
        if not self.is_failing and self.status != "paused":
            return None
        reason = failure_reason(self.error.code, is_deployed=True) if self.error else None
        if reason is FailureReason.MISMATCH:
            return reason
        if self.has_stale_timer:
            return FailureReason.STALE_TIMER
        return FailureReason.RESPONSE if self.response_problem else reason

    @property
    def fails_again(self) -> str:
        """Return why each attempt fails while its journal and the code are as they are; "" if one may succeed."""
        reason = self.failure_reason
        if reason is None or not fails_again(reason):
            return ""
        removed = reason is FailureReason.REMOVED
        return describe_repeated(reason, self.pinned_deployment if removed else self.response_problem)

    @property
    def is_alone(self) -> bool:
        """Return whether it has no caller, no callee that its journal names, and no restart."""
        restarts = self.restarted_from or self.restarted_as or self.row["restarted_from"]
        calls = self.journal is not None and "callee" in self.journal and bool(self.journal["callee"].notna().any())
        waits = any(edge.kind in {"call", "open call", "attach"} and edge.blocker for edge in self.edges)
        return not (self.callers or restarts or calls or waits)

    @property
    def refused_deployment(self) -> str | None:
        """Return the deployment because of which it failed, as too old for the server; None for other failures."""
        failure: str | None = self.row["completion_failure"]
        return deprecated_deployment(failure) if self.status == "failed" else None

    @property
    def deployment(self) -> str | None:
        """Return the deployment that it is pinned to, or the deployment of its last attempt if it is not pinned."""
        return self.pinned_deployment or self.row["last_attempt_deployment_id"]

    @property
    def pinned_deployment(self) -> str | None:
        """Return the deployment that it is pinned to, which alone can continue it; None before its first entry."""
        deployment: str | None = self.row["pinned_deployment_id"]
        return deployment

    @property
    def is_removed(self) -> bool:
        """Return whether the deployment that it is pinned to was removed."""
        if self.pinned_deployment is None or has_ended(self.row):
            return False
        is_unknown = self.deployments is not None and self.pinned_deployment not in self.deployments
        return is_unknown or (self.is_failing and self.error is not None and self.error.code == REMOVED)

    @property
    def open_entries(self) -> list[dict[Any, Any]]:
        """Return the open entries of its journal, as rows of ``journal``."""
        return [] if self.journal is None else records(self.journal[self.journal["open"]])

    @property
    def failed_entry(self) -> dict[Any, Any] | None:
        """Return the last entry that failed permanently, except Output."""
        if self.journal is None:
            return None
        failed = self.journal[(self.journal["status"] == "failed") & (self.journal["entry_type"] != "Output")]
        return records(failed)[-1] if len(failed) else None

    @property
    def _events(self) -> Sequence[JournalEvent]:
        return (self.invocation.events or ()) if self.invocation else ()


def summary_of(explorer: Explorer, row: Row, edges: Sequence[Edge]) -> InvocationDetails:
    """Return the details of an invocation of which only the waits matter; its journal is read if it has several."""
    own = tuple(edge for edge in edges if edge.waiter == row["id"])
    before, _ = explorer.try_read("its restarts", _restarts, explorer, row) or ((), ())
    changes = explorer.try_read("the changes of its state", _changes, explorer, row) or NO_CHANGES
    invocation = None
    if row["status"] == "suspended" and len(own) > 1:
        _, invocation = explorer.try_read("its journal", _journal, explorer, row) or (None, None)
    now = explorer.reads.now
    return InvocationDetails(row=row, now=now, edges=own, invocation=invocation, restarted_from=before, changes=changes)


def details_of(explorer: Explorer, row: Row, edges: Sequence[Edge]) -> InvocationDetails:
    """Read the details of one invocation."""
    own = tuple(edge for edge in edges if edge.waiter == row["id"])
    journal, invocation = explorer.try_read("its journal", _journal, explorer, row) or (None, None)
    agent = explorer.try_read("the responses of its models", _agent, explorer, row, invocation) or AgentWait()
    deployments, latest = explorer.try_read("its deployment", _deployments, explorer, row) or (None, None)
    vqueue = explorer.try_read("its vqueue", _vqueue, explorer, row)
    before, after = explorer.try_read("its restarts", _restarts, explorer, row) or ((), ())
    changes = explorer.try_read("the changes of its state", _changes, explorer, row) or NO_CHANGES
    has_run = explorer.try_read("its first attempt", _has_run_in_vqueue, explorer, row) or False
    timer = explorer.try_read("the timers of its journal", _stale_timer, explorer, row)
    if invocation is not None and invocation.status == "backing-off" and row["status"] == "ready":
        row = {**row, "status": "backing-off"}
    return InvocationDetails(
        row=row,
        now=explorer.reads.now,
        edges=own,
        journal=journal,
        invocation=invocation,
        deployments=deployments,
        latest=latest,
        vqueue=vqueue,
        restarted_from=before,
        restarted_as=after,
        agent=agent.text,
        response_problem=agent.problem,
        is_archived=has_ended(row) and is_archived(explorer.reads, row["id"]),
        changes=changes,
        has_run_in_vqueue=has_run,
        stale_timer=timer,
        has_unknown_holder=row["status"] == "pending" and explorer.has_unreadable_key(row),
    )


def _journal(explorer: Explorer, row: Row) -> tuple[pd.DataFrame | None, Invocation | None]:
    if (size := row["journal_size"] or 0) > MAX_ENTRIES:
        explorer.excluded.append(f"its journal has {size:,} entries and was not read")
        return None, None
    return read_journal(explorer.reads, row["id"])


def _agent(explorer: Explorer, row: Row, invocation: Invocation | None) -> AgentWait:
    if invocation is None or has_ended(row):
        return AgentWait()
    return read_agent_wait(explorer.reads, invocation)


def _deployments(explorer: Explorer, row: Row) -> tuple[dict[str, str], str | None]:
    ids = [id_ for id_ in (row["pinned_deployment_id"], row["last_attempt_deployment_id"]) if id_] or [""]
    frame = explorer.reads.frame("why/deployments", ids=ids, service=row["target_service_name"])
    latest = frame.loc[frame["is_latest"].astype(bool), "id"]
    return dict(zip(frame["id"], frame["endpoint"], strict=True)), latest.iloc[0] if len(latest) else None


def _vqueue(explorer: Explorer, row: Row) -> Row | None:
    if row["status"] not in {"pending", "ready"} or not row["vqueue_id"]:
        return None
    return next(iter(explorer.reads.rows("why/vqueue", vqueue=row["vqueue_id"], id=row["id"])), None)


def _has_run_in_vqueue(explorer: Explorer, row: Row) -> bool:
    """Return whether a paused invocation has run since it was migrated; otherwise the older server has paused it."""
    if row["status"] != "paused" or not row["vqueue_id"]:
        return False
    params = {"vqueue": row["vqueue_id"], "id": row["id"], "partition": int(row["partition_key"])}
    rows = explorer.reads.rows("why/first_attempt", **params)
    return any(found["first_at"] is not None for found in rows)


def _changes(explorer: Explorer, row: Row) -> QueuedChanges:
    """Return the changes of state that wait for its key; for a pending call, those that were queued before it."""
    is_pending = row["status"] == "pending"
    if not row["vqueue_id"] or key_of(row) is None or not (is_pending or row["status"] in HOLDING):
        return NO_CHANGES
    before = row["inboxed_at"] or row["created_at"] if is_pending else explorer.reads.now
    params = {"lock": key_of(row), "scope": row["scope"], "partitions": [int(row["partition_key"])], "before": before}
    (found,) = explorer.reads.rows("why/queued_changes", **params)
    return QueuedChanges(int(found["changes"]), found["since"])


def _stale_timer(explorer: Explorer, row: Row) -> datetime | None:
    """Return when a timer of an earlier invocation with its id fired; only such ids are reused."""
    is_reusable = row["target_service_ty"] == "workflow" or row["idempotency_key"] is not None
    if not is_reusable or (row["journal_size"] or 0) > MAX_ENTRIES:
        return None
    (found,) = explorer.reads.rows("why/stale_timers", id=row["id"])
    since: datetime | None = found["since"]
    return since


def _restarts(explorer: Explorer, row: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    before: list[str] = []
    here: Row | None = row
    while here and here["restarted_from"] and len(before) < MAX_RESTARTS:
        before.append(here["restarted_from"])
        earlier = explorer.rows([before[-1]]).get(before[-1])
        # A later row is a new run of the same id, from which this invocation was not restarted.
        here = earlier if earlier and earlier["created_at"] <= here["created_at"] else None
    if not has_ended(row):
        return tuple(before), ()
    frame = explorer.reads.frame("why/restarts", id=row["id"], partition=int(row["partition_key"]))
    mine = frame[frame["created_at"] >= row["created_at"]]  # older rows belong to an earlier run of the same id
    return tuple(before), tuple(mine.sort_values("created_at")["id"])


def _timestamp(event: JournalEvent) -> float:
    return event.at.timestamp() if event.at else 0.0
