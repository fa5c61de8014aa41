"""The chain from one invocation to its root blocker, chosen from all that it waits for."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
import pandas as pd

from restate_lab.analysis.waits.graph import Cycle, build_graph, cycles
from restate_lab.analysis.waits.model import Edge
from restate_lab.analysis.waits.text import Deadlock, describe_deadlock
from restate_lab.analysis.why.details import Case
from restate_lab.analysis.why.reader import Below, Row, has_ended

__all__ = ["Chain", "follow", "link_frame"]

# No type information is published in the package.


# Who needs somebody's help comes before who goes on alone: of several ends the worst is the root.
_RANKS = {"paused": 0, "backing-off": 1, "suspended": 2, "pending": 3, "ready": 3, "running": 4, "scheduled": 5}
_ASLEEP, _GONE = 5, 6
_COLUMNS = ("step", "id", "target", "status", "waits_for", "what", "blocker", "since")
_NAMES = ("name", "promise", "callee_target")
_WAITS = {"paused": "resume", "scheduled": "start", "ready": "slot", "pending": "turn"}


@dataclass(frozen=True, slots=True)
class Chain:
    """Who waits for whom, from the first to the root: ``edges`` has one less than ``way``, but in a deadlock.

    There ``way`` ends with the last member of the circle, ``edges`` with the one that closes it, and ``enters`` is
    the position in ``way`` where the circle begins. ``other_ends`` counts the ends that were not followed.
    """

    way: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    deadlock: Deadlock | None = None
    is_certain: bool = False
    enters: int = 0
    other_ends: int = 0

    @property
    def is_inside(self) -> bool:
        """Tell whether the first is in the deadlock itself."""
        return self.deadlock is not None and self.enters == 0

    @property
    def root(self) -> str:
        """Return the id of the root blocker; of a deadlock, of the one whose end breaks it."""
        return self.deadlock.cancel if self.deadlock else self.way[-1]


def follow(below: Below, start: str) -> Chain:
    """Return the way to the worst end: a deadlock, then who needs help soonest, the nearest of equals."""
    people = below.people()
    graph = build_graph(below.edges, people)
    if start not in graph:
        return Chain((start,))
    before = _ways(graph, start)
    for circle in cycles(graph, below.edges, people):
        if entries := [id_ for id_ in before if id_ in circle.path]:
            return _around(below, graph, circle, _back(before, entries[0]))
    ends = [id_ for id_ in before if not graph.out_degree(id_)]
    ranked = sorted(ends, key=lambda id_: _rank(below, id_))
    way = _back(before, ranked[0])
    return Chain(way, _edges(below.edges, way), other_ends=len(ends) - 1)


def _ways(graph: nx.DiGraph, start: str) -> dict[str, str | None]:
    """Return who can be reached, nearest first, each with the one before."""
    before: dict[str, str | None] = {start: None}
    queue = deque([start])
    while queue:
        here = queue.popleft()
        for there in sorted(graph.successors(here)):
            if there not in before:
                before[there] = here
                queue.append(there)
    return before


def _back(before: Mapping[str, str | None], end: str) -> tuple[str, ...]:
    way: list[str] = []
    here: str | None = end
    while here is not None:
        way.append(here)
        here = before[here]
    return tuple(reversed(way))


def _around(below: Below, graph: nx.DiGraph, circle: Cycle, way: tuple[str, ...]) -> Chain:
    awaited = defaultdict(list)
    for edge in below.edges:
        awaited[edge.waiter].append(edge)
    at = circle.path.index(way[-1])
    whole = (*way, *circle.path[at + 1 :], *circle.path[:at])
    return Chain(
        way=whole,
        edges=_edges(below.edges, (*whole, way[-1])),
        deadlock=describe_deadlock(circle, graph, below.people(), awaited),
        is_certain=circle.certain,
        enters=len(way) - 1,
    )


def _edges(edges: Sequence[Edge], way: Sequence[str]) -> tuple[Edge, ...]:
    known: dict[tuple[str, str | None], Edge] = {}
    for edge in sorted(edges, key=lambda edge: edge.alternative, reverse=True):
        known[edge.waiter, edge.blocker] = edge
    return tuple(known[here, there] for here, there in pairwise(way))


def _rank(below: Below, id_: str) -> int:
    """Return how much somebody at the end of a way needs help, 0 the most."""
    if id_ not in below.rows:
        return _GONE
    status = below.rows[id_]["status"]
    kinds = {edge.kind for edge in below.edges if edge.waiter == id_}
    return _ASLEEP if status == "suspended" and kinds == {"sleep"} else _RANKS.get(status, _GONE)


def link_frame(edges: Sequence[Edge], rows: Mapping[str, Row], root: Case | None) -> pd.DataFrame:
    """Return the links; ``root`` is None where nobody stands at the end, as in a deadlock."""
    links = [_link(step, edge, rows) for step, edge in enumerate(edges, 1)]
    if root is not None:
        links += [_row(len(edges) + 1, root.row) | own for own in _own(root)]
    columns = {name: pd.Series([link[name] for link in links], dtype="object") for name in _COLUMNS}
    frame = pd.DataFrame(columns).astype({"step": "int64"})
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame


def _link(step: int, edge: Edge, rows: Mapping[str, Row]) -> dict[str, Any]:
    blocker = rows.get(edge.blocker or "")
    what = edge.what or (blocker["target"] if blocker else None)
    more = {"waits_for": edge.kind, "what": what, "blocker": edge.blocker, "since": edge.since}
    return _row(step, rows[edge.waiter]) | more


def _row(step: int, row: Row) -> dict[str, Any]:
    return {"step": step, "id": row["id"], "target": row["target"], "status": row["status"], "blocker": None}


def _own(root: Case) -> Iterator[dict[str, Any]]:
    """Give what a root waits for, at least one row."""
    if root.status == "suspended" and root.edges:
        for edge in root.edges:
            yield {"waits_for": edge.kind, "what": edge.what, "since": edge.since, "blocker": edge.blocker}
        return
    if root.status in {"running", "backing-off"} or root.is_failing:
        entries = root.open_entries
        for entry in entries:
            name = next(
                (entry[each] for each in ("name", "promise", "callee_target") if isinstance(entry[each], str)), None
            )
            yield {"waits_for": "step", "what": name or entry["entry_type"], "since": entry["started"]}
        if entries:
            return
    yield {"waits_for": _WAITS.get(root.status) or _fallback(root), "what": None, "since": _since(root.row)}


def _fallback(root: Case) -> str | None:
    return None if has_ended(root.row) else "step"


def _since(row: Row) -> Any:
    return row["completed_at"] or row["modified_at"]
