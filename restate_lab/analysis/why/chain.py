"""The chain from one invocation to its root blocker; if it waits for several things, it follows the worst."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pandas as pd

from restate_lab.analysis.waits.graph import Cycle, WaitGraph, cycles
from restate_lab.analysis.waits.model import Edge, Nodes, table_of_edges
from restate_lab.analysis.waits.text import Deadlock, describe_deadlock
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.reader import Blockers, Row, has_ended

# An invocation that needs help comes before one that continues by itself; the worst end is the root blocker.
_RANKS = {"paused": 0, "backing-off": 1, "suspended": 2, "pending": 3, "ready": 3, "running": 4, "scheduled": 5}
_ASLEEP, _GONE = 5, 6
_COLUMNS = ("step", "id", "target", "status", "waits_for", "detail", "blocker", "since")
_NAMES = ("name", "promise", "callee_target")
_WAITS = {"paused": "resume", "scheduled": "start", "ready": "slot", "pending": "turn"}


@dataclass(frozen=True, slots=True)
class Chain:
    """The path from an invocation to its root blocker; without a deadlock, ``path`` has one item more than ``edges``.

    In a deadlock ``path`` ends with the last member of the cycle, ``edges`` ends with the edge that closes it, and
    ``cycle_start`` is the position in ``path`` where the cycle starts. ``other_ends`` counts the ends that the chain
    does not follow.
    """

    path: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    deadlock: Deadlock | None = None
    is_certain: bool = False
    cycle_start: int = 0
    other_ends: int = 0

    @property
    def is_in_deadlock(self) -> bool:
        """Return whether the first invocation is a member of the deadlock."""
        return self.deadlock is not None and self.cycle_start == 0

    @property
    def root(self) -> str:
        """Return the id of the root blocker; in a deadlock, the id of the member whose cancellation breaks it."""
        return self.deadlock.cancel if self.deadlock else self.path[-1]


def find_chain(blockers: Blockers, start: str) -> Chain:
    """Return the path to the worst end: a deadlock, then the end that needs help most, then the nearest."""
    table = table_of_edges(blockers.edges)
    graph = WaitGraph(table, Nodes(table, blockers.nodes()))
    if start not in graph.successors:
        return Chain((start,))
    paths = _paths(graph, start)
    for cycle in cycles(graph):
        entry = next((path for id_, path in paths.items() if id_ in cycle.path), None)
        if entry is not None:
            return _deadlock_chain(blockers, graph, cycle, entry)
    ends = [id_ for id_ in paths if id_ not in graph.successors]
    path = paths[min(ends, key=lambda id_: _rank(blockers, id_))]
    return Chain(path, _path_edges(blockers.edges, path), other_ends=len(ends) - 1)


def _paths(graph: WaitGraph, start: str) -> dict[str, tuple[str, ...]]:
    """Return the reachable ids, nearest first, each with a shortest path to it."""
    paths: dict[str, tuple[str, ...]] = {start: (start,)}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for there in sorted(graph.successors.get(here, ())):
            if there not in paths:
                paths[there] = (*paths[here], there)
                queue.append(there)
    return paths


def _deadlock_chain(blockers: Blockers, graph: WaitGraph, cycle: Cycle, entry: tuple[str, ...]) -> Chain:
    edges_by_waiter = defaultdict(list)
    for edge in blockers.edges:
        edges_by_waiter[edge.waiter].append(edge)
    at = cycle.path.index(entry[-1])
    path = (*entry, *cycle.path[at + 1 :], *cycle.path[:at])
    return Chain(
        path=path,
        edges=_path_edges(blockers.edges, (*path, entry[-1])),
        deadlock=describe_deadlock(cycle, graph, blockers.nodes(), edges_by_waiter),
        is_certain=cycle.certain,
        cycle_start=len(entry) - 1,
    )


def _path_edges(edges: Sequence[Edge], path: Sequence[str]) -> tuple[Edge, ...]:
    known: dict[tuple[str, str | None], Edge] = {}
    for edge in sorted(edges, key=lambda edge: edge.alternative, reverse=True):
        known[edge.waiter, edge.blocker] = edge
    return tuple(known[here, there] for here, there in pairwise(path))


def _rank(blockers: Blockers, id_: str) -> int:
    if id_ not in blockers.rows:
        return _GONE
    status = blockers.rows[id_]["status"]
    kinds = {edge.kind for edge in blockers.edges if edge.waiter == id_}
    return _ASLEEP if status == "suspended" and kinds == {"sleep"} else _RANKS.get(status, _GONE)


def link_frame(edges: Sequence[Edge], rows: Mapping[str, Row], root: InvocationDetails | None) -> pd.DataFrame:
    """Return the links as a frame; ``root`` is ``None`` if the chain has no end, as in a deadlock."""
    links = [_edge_row(step, edge, rows) for step, edge in enumerate(edges, 1)]
    if root is not None:
        links += [_invocation_row(len(edges) + 1, root.row) | wait for wait in _root_rows(root)]
    columns = {name: pd.Series([link[name] for link in links], dtype="object") for name in _COLUMNS}
    frame = pd.DataFrame(columns).astype({"step": "int64"})
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame


def _edge_row(step: int, edge: Edge, rows: Mapping[str, Row]) -> dict[str, Any]:
    blocker = rows.get(edge.blocker or "")
    detail = edge.detail or (blocker["target"] if blocker else None)
    more = {"waits_for": edge.kind, "detail": detail, "blocker": edge.blocker, "since": edge.since}
    return _invocation_row(step, rows[edge.waiter]) | more


def _invocation_row(step: int, row: Row) -> dict[str, Any]:
    return {"step": step, "id": row["id"], "target": row["target"], "status": row["status"], "blocker": None}


def _root_rows(root: InvocationDetails) -> Iterator[dict[str, Any]]:
    if root.status == "suspended" and root.edges:
        for edge in root.edges:
            yield {"waits_for": edge.kind, "detail": edge.detail, "since": edge.since, "blocker": edge.blocker}
        return
    entries = root.open_entries if root.status in {"running", "backing-off"} or root.is_failing else []
    for entry in entries:
        name = next((entry[each] for each in _NAMES if isinstance(entry[each], str)), None)
        yield {"waits_for": "step", "detail": name or entry["entry_type"], "since": entry["started"]}
    if entries:
        return
    since = root.row["completed_at"] or root.row["modified_at"]
    yield {
        "waits_for": _WAITS.get(root.status, None if has_ended(root.row) else "step"),
        "detail": None,
        "since": since,
    }
