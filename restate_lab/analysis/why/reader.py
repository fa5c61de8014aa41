"""Read what concerns one invocation, hop by hop: whom it waits for, and who waits for it.

Every hop is some point reads by id or key for all of its invocations together, so that a large cluster costs no more
than a small one. Hops, invocations and seconds are bounded, and what could not be looked up is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.statements import run_sql_file
from restate_lab.analysis.waits.model import Edge, InvocationNode, key_edge
from restate_lab.analysis.waits.reader import read_open_calls, read_suspended, read_suspended_edges
from restate_lab.errors import NotFound, NotOnThisServer, QueryRefused, ResultTooLarge, TimedOut
from restate_lab.source import Source
from restate_lab.status import STATUSES

__all__ = ["HELD", "Above", "Below", "Look", "Row", "has_ended", "key_of", "person_of"]

HOPS = 50
MOST = 500  # invocations in one direction
HELD = frozenset({"running", "ready", "backing-off", "suspended", "paused", "yielded"})
"""The statuses in which an exclusive call holds its key."""

Row = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Below:
    """Whom somebody waits for, and whom these wait for in turn."""

    edges: tuple[Edge, ...]
    rows: Mapping[str, Row]

    def people(self) -> dict[str, InvocationNode]:
        """Return everybody in the edges; of who is not there any more only the id."""
        ids = {id_ for edge in self.edges for id_ in (edge.waiter, edge.blocker) if id_} | set(self.rows)
        return {id_: person_of(self.rows[id_]) if id_ in self.rows else InvocationNode(id_) for id_ in ids}


@dataclass(frozen=True, slots=True)
class Above:
    """Who waits for somebody.

    ``callers`` wait for its answer; ``waiting`` is how many wait for its ``key``. ``ids`` are all of these and those
    who wait for them in turn, ``unread`` more queue somewhere. There may be others where ``is_cut``.
    """

    callers: tuple[Row, ...] = ()
    key: str | None = None
    waiting: int = 0
    ids: frozenset[str] = frozenset()
    unread: int = 0
    is_cut: bool = False

    @property
    def total_waiting(self) -> int:
        """Return how many wait, directly or through others."""
        return len(self.ids) + self.unread


@dataclass(slots=True)
class Look:
    """Looks around in one source, and notes what could not be looked up."""

    source: Source
    queries: Callable[[], Iterable[Mapping[str, Any]]] = tuple
    excluded: list[str] = field(default_factory=list)
    _rows: dict[str, Row] = field(default_factory=dict)
    _edges: dict[str, list[Edge]] = field(default_factory=dict)

    def rows(self, ids: Iterable[str]) -> dict[str, Row]:
        """Return id → what is known of it, of those that are there; each is read once."""
        wanted = dict.fromkeys(ids)
        if unread := sorted(wanted.keys() - self._rows.keys()):
            frame = run_sql_file(self.source, "why", "invocations", ids=unread)
            for row in frame.to_dict("records"):
                self._rows[row["id"]] = {str(key): none_if_missing(value) for key, value in row.items()}
        return {id_: self._rows[id_] for id_ in wanted if id_ in self._rows}

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """Return what is read; None, and a note, where the source does not give it."""
        try:
            return read()
        except (TimedOut, NotFound, NotOnThisServer, QueryRefused, ResultTooLarge) as error:
            reason = "the time was over" if isinstance(error, TimedOut) else str(error).partition("\n")[0]
            self.excluded.append(f"{what} could not be looked up: {reason}")
            return None

    def below(self, start: Row) -> Below:
        """Follow what somebody waits for to its ends."""
        rows: dict[str, Row] = {start["id"]: start}
        edges: list[Edge] = []
        frontier = [start]
        for _ in range(HOPS):
            found = self.attempt("whom the next ones wait for", partial(self._awaited, frontier)) or []
            edges += found
            wanted = list(dict.fromkeys(edge.blocker for edge in found if edge.blocker and edge.blocker not in rows))
            new = wanted[: max(MOST - len(rows), 0)]
            if len(new) < len(wanted):
                self.excluded.append(f"only {MOST:,} of those it waits for were looked at")
            read = self.attempt("the next ones that it waits for", partial(self.rows, new)) or {}
            rows |= read
            frontier = list(read.values())
            if not frontier:
                return Below(tuple(edges), rows)
        self.excluded.append(f"only {HOPS:,} steps were followed")
        return Below(tuple(edges), rows)

    def above(self, start: Row) -> Above:
        """Find who waits for somebody, and who waits for these; nobody waits for what has ended or not begun."""
        direct = self._waiters([start])
        queue = [edge for edge in direct.edges if edge.kind == "key"]
        above = dict(direct.rows)
        seen, frontier, is_cut = {start["id"], *above}, list(above.values()), direct.unread > 0
        unread = direct.unread
        for _ in range(HOPS):
            if not frontier or len(seen) > MOST:
                break
            found = self._waiters(frontier)
            frontier = [row for id_, row in found.rows.items() if id_ not in seen]
            seen |= {row["id"] for row in frontier}
            unread, is_cut = unread + found.unread, is_cut or found.unread > 0
        return Above(
            callers=tuple(row for id_, row in above.items() if id_ not in {edge.waiter for edge in queue}),
            key=queue[0].what if queue else None,
            waiting=len(queue) + direct.unread,
            ids=frozenset(seen - {start["id"]}),
            unread=unread,
            is_cut=is_cut or bool(frontier),
        )

    def _awaited(self, rows: Iterable[Row]) -> list[Edge]:
        """Return what these wait for; of each it is read once."""
        wanted = {row["id"]: row for row in rows}
        unread = [row for id_, row in wanted.items() if id_ not in self._edges]
        for edge in self._read_edges(unread) if unread else ():
            self._edges.setdefault(edge.waiter, []).append(edge)
        for row in unread:
            self._edges.setdefault(row["id"], [])
        return [edge for id_ in wanted for edge in self._edges[id_]]

    def _read_edges(self, rows: Iterable[Row]) -> list[Edge]:
        by_status: dict[str, list[Row]] = {"suspended": [], "pending": [], "running": []}
        for row in rows:
            by_status.get(row["status"], []).append(row)
        edges: list[Edge] = []
        if suspended := [row["id"] for row in by_status["suspended"]]:
            edges += read_suspended_edges(self.source, read_suspended(self.source, suspended))[0]
        if running := [row["id"] for row in by_status["running"]]:
            edges += read_open_calls(self.source, running)
        pending = [row for row in by_status["pending"] if key_of(row)]
        holders = self._holders(pending)
        return edges + [_queued(row, holders.get(_lock(row))) for row in pending]

    def _waiters(self, rows: list[Row]) -> _Waiters:
        """Return who waits for these directly: their callers, if they do, and the queues of the keys they hold."""
        alive = {row["id"]: row for row in rows if row["status"] in {*HELD, "pending"}}
        ids = [row["invoked_by_id"] for row in alive.values() if row["invoked_by_id"]]
        callers = self.attempt("the callers", partial(self.rows, ids)) or {}
        calls = self.attempt("what the callers wait for", partial(self._awaited, callers.values())) or []
        edges = [edge for edge in calls if edge.blocker in alive]
        found = {edge.waiter: callers[edge.waiter] for edge in edges}
        keyed = [row for row in alive.values() if row["status"] in HELD and key_of(row)]
        queue, unread = self.attempt("the queues of their keys", partial(self._queues, keyed)) or ([], 0)
        queuing = self.attempt("who queues", partial(self.rows, [edge.waiter for edge in queue])) or {}
        return _Waiters((*edges, *queue), found | queuing, unread)

    def _holders(self, rows: list[Row]) -> dict[tuple[str, str | None], str]:
        if not rows:
            return {}
        frame = run_sql_file(self.source, "why", "holders", **_keys(rows))
        return {(row["key"], none_if_missing(row["scope"])): row["holder_id"] for row in frame.to_dict("records")}

    def _queues(self, rows: list[Row]) -> tuple[list[Edge], int]:
        """Return the calls that wait for the keys that these hold, and how many more there are."""
        holders = self._holders(rows)
        held = {lock: row for row in rows if holders.get(lock := _lock(row)) == row["id"]}
        if not held:
            return [], 0
        frame = run_sql_file(self.source, "why", "queues", limit=MOST, **_keys(list(held.values())))
        found = [(each, (each["key"], none_if_missing(each["scope"]))) for each in frame.to_dict("records")]
        found = [(each, lock) for each, lock in found if lock in held and each["id"] != held[lock]["id"]]
        lengths = {lock: int(each["waiting"]) for each, lock in found}
        edges = [_behind(each["id"], each["key"], held[lock]["id"]) for each, lock in found]
        return edges, max(sum(lengths.values()) - len(edges), 0)


@dataclass(frozen=True, slots=True)
class _Waiters:
    """Who waits directly; ``unread`` more queue for a key."""

    edges: tuple[Edge, ...]
    rows: Mapping[str, Row]
    unread: int


def key_of(row: Row) -> str | None:
    """Return "service/key" of a call on a virtual object, None for any other."""
    if row["target_service_ty"] != "virtual_object" or row["target_service_key"] is None:
        return None
    return f"{row['target_service_name']}/{row['target_service_key']}"


def has_ended(row: Row) -> bool:
    """Tell whether an invocation is over; a status that is new here counts as going on."""
    return row["status"] in STATUSES and STATUSES[row["status"]].ended


def person_of(row: Row) -> InvocationNode:
    """Return an invocation as the wait-for graph has it, which asks only whether it has ended."""
    return InvocationNode(
        id=row["id"],
        target=row["target"],
        status="completed" if has_ended(row) else row["status"],
        since=row["modified_at"],
        created_at=row["created_at"],
    )


def _lock(row: Row) -> tuple[str, str | None]:
    return key_of(row) or "", row["scope"]


def _keys(rows: list[Row]) -> dict[str, list[Any]]:
    """Return the parameters by which both kinds of server find keys."""
    return {
        "services": sorted({row["target_service_name"] for row in rows}),
        "keys": sorted({row["target_service_key"] for row in rows}),
        "locks": sorted({key_of(row) or "" for row in rows}),
        "partitions": sorted({int(row["partition_key"]) for row in rows}),
    }


def _queued(row: Row, holder: str | None) -> Edge:
    return key_edge({**row, "holder_id": holder, "key": key_of(row), "since": row["inboxed_at"] or row["created_at"]})


def _behind(id_: str, key: str, holder: str) -> Edge:
    nothing = dict.fromkeys(("target", "since", "created_at", "invoked_by_id"))
    return key_edge({**nothing, "id": id_, "key": key, "holder_id": holder})
