"""Read the invocations that an invocation waits for, and those that wait for it, hop by hop.

Each hop is a few point reads by id or key for all of its invocations together, so the cost does not depend on the size
of the cluster. Hops, invocations and seconds are limited; ``Explorer.excluded`` has messages about unread data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from restate_lab.analysis.waits.model import Edge, InvocationNode, describe_unreadable_holders
from restate_lab.analysis.waits.reader import read_edges_of, read_open_calls
from restate_lab.errors import NotFound, NotOnThisServer, QueryRefused, ResultTooLarge, TimedOut
from restate_lab.reads import Reads
from restate_lab.status import STATUSES

MAX_HOPS = 50
MAX_INVOCATIONS = 500  # invocations in one direction
MAX_CALLERS = 20
_CLOCKS = timedelta(seconds=5)  # a caller's end, and a call of it that another node processes
HOLDING = frozenset({"running", "ready", "backing-off", "suspended", "paused", "yielded"})
"""The statuses in which an exclusive call holds its key."""

Row = Mapping[str, Any]
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Blockers:
    """The invocations that an invocation waits for, directly or through others."""

    edges: tuple[Edge, ...]
    rows: Mapping[str, Row]

    def nodes(self) -> dict[str, InvocationNode]:
        """Return every invocation of the edges; a node has only the id if the invocation no longer exists."""
        ids = {id_ for edge in self.edges for id_ in (edge.waiter, edge.blocker) if id_} | set(self.rows)
        return {id_: node_of(self.rows[id_]) if id_ in self.rows else InvocationNode(id_) for id_ in ids}


@dataclass(frozen=True, slots=True)
class Waiters:
    """The invocations that wait for an invocation, directly or through others.

    ``callers`` wait for its response; ``waiting`` is the number of calls that wait for its ``key``; ``direct`` has both
    if they were read. ``ids`` has these and the ones that wait for them; ``unread`` counts more in the queues. If
    ``is_truncated`` is set, there may be others.
    """

    callers: tuple[Row, ...] = ()
    direct: tuple[Row, ...] = ()
    key: str | None = None
    waiting: int = 0
    ids: frozenset[str] = frozenset()
    unread: int = 0
    is_truncated: bool = False

    @property
    def total_waiting(self) -> int:
        """Return the number of waiting invocations, direct or through others."""
        return len(self.ids) + self.unread


@dataclass(slots=True)
class Explorer:
    """Read the blockers and waiters of an invocation; ``excluded`` collects messages about unread data."""

    reads: Reads
    excluded: list[str] = field(default_factory=list)
    _rows: dict[str, Row] = field(default_factory=dict)
    _edges: dict[str, list[Edge]] = field(default_factory=dict)

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return id → row for the invocations that exist; each is read only once."""
        wanted = dict.fromkeys(ids)
        unread = sorted(wanted.keys() - self._rows.keys())
        if unread:
            rows = self.reads.rows("why/invocations", ids=unread)
            # Only the vqueues have long back-offs; the server reports these invocations as ready.
            ids_of_vqueues = {row["id"] for row in rows if row["vqueue_id"] and row["status"] in {"ready", "paused"}}
            back_offs = {row["id"]: row for row in self.reads.rows_of("why/back_offs", sorted(ids_of_vqueues))}
            self._rows |= {row["id"]: _with_back_off(row, back_offs.get(row["id"])) for row in rows}
        return {id_: self._rows[id_] for id_ in wanted if id_ in self._rows}

    def try_read(self, what: str, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of a read; if the source fails, add a message to ``excluded`` and return None."""
        try:
            return read(*args, **kwargs)
        except (TimedOut, NotFound, NotOnThisServer, QueryRefused, ResultTooLarge) as error:
            reason = "the timeout is over" if isinstance(error, TimedOut) else str(error).partition("\n")[0]
            self.excluded.append(f"{what} could not be read: {reason}")
            return None

    def find_blockers(self, start: Row) -> Blockers:
        """Follow the waits of an invocation to their ends."""
        rows: dict[str, Row] = {start["id"]: start}
        edges: list[Edge] = []
        frontier = [start]
        for _ in range(MAX_HOPS):
            new_edges = self.try_read("the waits of the next invocations", self._outgoing_edges, frontier) or []
            edges += new_edges
            wanted = {edge.blocker for edge in new_edges if edge.blocker} - rows.keys()
            new = sorted(wanted)[: max(MAX_INVOCATIONS - len(rows), 0)]
            if len(new) < len(wanted):
                self.excluded.append(f"only {MAX_INVOCATIONS:,} of the invocations that it waits for were read")
            read = self.try_read("the next invocations that it waits for", self.rows, new) or {}
            rows |= read
            frontier = list(read.values())
            if not frontier:
                return Blockers(tuple(edges), rows)
        self.excluded.append(f"only the first {MAX_HOPS:,} links of the chain were followed")
        return Blockers(tuple(edges), rows)

    def find_waiters(self, start: Row) -> Waiters:
        """Find the invocations that wait for an invocation, directly or through others.

        No invocation waits for one that has ended or has not started.
        """
        direct = self._direct_waiters([start])
        queue = [edge for edge in direct.edges if edge.kind == "key"]
        waiters = dict(direct.rows)
        seen, frontier, is_truncated = {start["id"], *waiters}, list(waiters.values()), direct.is_truncated
        unread = direct.unread
        for _ in range(MAX_HOPS):
            if not frontier or len(seen) > MAX_INVOCATIONS:
                break
            behind = self._direct_waiters(frontier)
            frontier = [row for id_, row in behind.rows.items() if id_ not in seen]
            seen |= {row["id"] for row in frontier}
            unread, is_truncated = unread + behind.unread, is_truncated or behind.is_truncated
        return Waiters(
            callers=tuple(row for id_, row in waiters.items() if id_ not in {edge.waiter for edge in queue}),
            direct=tuple(waiters.values()),
            key=queue[0].detail if queue else None,
            waiting=len(queue) + direct.unread,
            ids=frozenset(seen - {start["id"]}),
            unread=unread,
            is_truncated=is_truncated or bool(frontier),
        )

    def find_callers(self, start: Row) -> tuple[tuple[str, str], ...]:
        """Return id and target of its caller, of the caller's caller, and so on up to the root, at most 20.

        An invocation is followed only if its life contains the creation of the one that it called: after a purge, the
        id can have a new run, and that one did not call it.
        """
        callers: list[tuple[str, str]] = []
        here: Row | None = start
        while here is not None and here["invoked_by_id"] and len(callers) < MAX_CALLERS:
            id_, created = here["invoked_by_id"], here["created_at"]
            callers.append((id_, here["invoked_by_target"] or "an invocation"))
            row = (self.try_read("its callers", self.rows, [id_]) or {}).get(id_)
            here = row if row is not None and _contains(row, created) else None
        return tuple(callers)

    def _outgoing_edges(self, rows: Iterable[Row]) -> list[Edge]:
        wanted = {row["id"]: row for row in rows}
        unread = [row for id_, row in wanted.items() if id_ not in self._edges]
        edges = self._read_edges(unread) if unread else []
        self._edges |= {row["id"]: [edge for edge in edges if edge.waiter == row["id"]] for row in unread}
        return [edge for id_ in wanted for edge in self._edges[id_]]

    def _read_edges(self, rows: Iterable[Row]) -> list[Edge]:
        by_status: dict[str, list[Row]] = {"suspended": [], "pending": [], "running": []}
        for row in rows:
            by_status.get(row["status"], []).append(row)
        edges: list[Edge] = []
        if by_status["suspended"]:
            edges += read_edges_of(self.reads, [row["id"] for row in by_status["suspended"]])
        edges += read_open_calls(self.reads, [row["id"] for row in by_status["running"]])
        return edges + self._edges_of_pending([row for row in by_status["pending"] if key_of(row)])

    def _edges_of_pending(self, rows: list[Row]) -> list[Edge]:
        holders, edges = self._holders(rows), []
        for row in rows:
            holder, since = holders.get(_lock_of(row)), row["inboxed_at"] or row["created_at"]
            if holder is None and self.has_unreadable_key(row):
                self.excluded.append(describe_unreadable_holders(f"the key {key_of(row)}"))
            more = {"since": since, "created_at": row["created_at"], "caller": row["invoked_by_id"]}
            edges.append(Edge(row["id"], "key", holder, key_of(row), row["target"], **more))
        return edges

    def _direct_waiters(self, rows: list[Row]) -> _DirectWaiters:
        open_rows = {row["id"]: row for row in rows if row["status"] in {*HOLDING, "pending"}}
        ids = [row["invoked_by_id"] for row in open_rows.values() if row["invoked_by_id"]]
        callers = self.try_read("the callers", self.rows, ids) or {}
        caller_edges = self.try_read("the waits of the callers", self._outgoing_edges, callers.values()) or []
        edges = [edge for edge in caller_edges if edge.blocker in open_rows]
        rows_by_id = {edge.waiter: callers[edge.waiter] for edge in edges}
        keyed = [row for row in open_rows.values() if row["status"] in HOLDING and key_of(row)]
        queue, unread = self.try_read("the queues of their keys", self._queues, keyed) or ([], 0)
        unreadable = [row for row in keyed if self.has_unreadable_key(row)]
        self.excluded += [describe_unreadable_holders(f"the key {key_of(row)}") for row in unreadable]
        queuing = self.try_read("the queued calls", self.rows, [edge.waiter for edge in queue]) or {}
        return _DirectWaiters((*edges, *queue), rows_by_id | queuing, unread, bool(unread or unreadable))

    def has_unreadable_key(self, row: Row) -> bool:
        """Return whether the source cannot report which invocation holds the key of this one."""
        is_legacy = key_of(row) is not None and row["vqueue_id"] is None
        return is_legacy and not self.reads.has("sys_keyed_service_status")

    def _holders(self, rows: list[Row]) -> dict[tuple[str, str | None], str]:
        if not rows:
            return {}
        holders = self.reads.rows("why/holders", **_key_params(rows))
        return {(row["key"], row["scope"]): row["holder_id"] for row in holders}

    def _queues(self, rows: list[Row]) -> tuple[list[Edge], int]:
        holders = self._holders(rows)
        held = {lock: row for row in rows if holders.get(lock := _lock_of(row)) == row["id"]}
        if not held:
            return [], 0
        queues = self.reads.rows("why/queues", limit=MAX_INVOCATIONS, **_key_params(list(held.values())))
        calls = [(each, (each["key"], each["scope"])) for each in queues]
        calls = [(each, lock) for each, lock in calls if lock in held and each["id"] != held[lock]["id"]]
        lengths = {lock: int(each["waiting"]) for each, lock in calls}
        edges = [Edge(each["id"], "key", held[lock]["id"], each["key"]) for each, lock in calls]
        return edges, max(sum(lengths.values()) - len(edges), 0)


@dataclass(frozen=True, slots=True)
class _DirectWaiters:
    """The invocations that wait directly; ``unread`` counts more in the queues of keys."""

    edges: tuple[Edge, ...]
    rows: Mapping[str, Row]
    unread: int
    is_truncated: bool
    """Whether there may be other waiters."""


def _with_back_off(row: dict[Any, Any], back_off: Row | None) -> dict[Any, Any]:
    if back_off is None:
        return row
    status = "backing-off" if row["status"] == "ready" else row["status"]
    return row | {
        "status": status,
        "next_retry_at": row["next_retry_at"] or back_off["next_retry_at"],
        "failed_attempts": max(row["failed_attempts"] or 0, back_off["failed_attempts"] or 0),
    }


def _contains(row: Row, time: datetime) -> bool:
    """Return whether an invocation existed at a time, up to the difference of clocks."""
    end = row["completed_at"]
    return bool(row["created_at"] <= time + _CLOCKS and (end is None or time <= end + _CLOCKS))


def key_of(row: Row) -> str | None:
    """Return "service/key" of a call to a virtual object, None for other calls."""
    if row["target_service_ty"] != "virtual_object" or row["target_service_key"] is None:
        return None
    return f"{row['target_service_name']}/{row['target_service_key']}"


def has_ended(row: Row) -> bool:
    """Return whether an invocation has ended; an unknown status counts as open."""
    return row["status"] in STATUSES and STATUSES[row["status"]].ended


def node_of(row: Row) -> InvocationNode:
    """Return an invocation as a node of the wait-for graph; all statuses of ended ones become "completed"."""
    return InvocationNode(
        id=row["id"],
        target=row["target"],
        status="completed" if has_ended(row) else row["status"],
        since=row["modified_at"],
        created_at=row["created_at"],
    )


def _lock_of(row: Row) -> tuple[str, str | None]:
    return key_of(row) or "", row["scope"]


def _key_params(rows: list[Row]) -> dict[str, list[Any]]:
    """Return the parameters with which servers with and without vqueues find keys."""
    return {
        "services": sorted({row["target_service_name"] for row in rows}),
        "keys": sorted({row["target_service_key"] for row in rows}),
        "locks": sorted({key_of(row) or "" for row in rows}),
        "partitions": sorted({int(row["partition_key"]) for row in rows}),
    }
