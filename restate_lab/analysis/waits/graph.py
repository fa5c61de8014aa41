"""The wait-for graph: the blocked invocations, the cycles, and the root blockers that others wait for.

Cycles are found by strongly connected components, because the number of simple cycles can be exponential. Everything
except the counts of waiters is linear in the number of edges. The waiters of each root are counted by a walk backwards
from it, so an invocation that waits for two roots counts once for each. The total number of steps of all walks is
limited; a root beyond the limit has no count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# The package has no type information.
import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.waits.model import Edge, Nodes, single_edges

STEPS = 5_000_000  # of all walks that count waiters; they take a few seconds
_EXAMPLES = 3  # waiters of a root blocker


@dataclass(frozen=True, slots=True)
class Cycle:
    """Invocations that wait for each other: a shortest cycle in order, and all members of the component.

    ``certain`` is False if a member may continue without the others.
    """

    path: tuple[str, ...]
    members: frozenset[str]
    certain: bool


@dataclass(frozen=True, slots=True)
class RootBlocker:
    """An invocation that waits for no other one while others wait for it; ``total_waiting`` may be unknown (None)."""

    id: str
    direct_waiting: int
    total_waiting: int | None
    examples: tuple[str, ...]


class WaitGraph:
    """The waits between invocations, by id; invocations without a waiter or a blocker are not in the graph.

    Completed invocations block no other one. If several edges connect the same two invocations, the first edge counts
    without which the waiter cannot continue.
    """

    def __init__(self, edges: pa.Table, nodes: Nodes) -> None:
        self.edges = edges
        self.nodes = nodes
        self.successors: dict[str, dict[str, int]] = {}
        """Waiter → blocker → position of their edge in the table."""
        self.predecessors: dict[str, list[str]] = {}
        """Blocker → its waiters."""
        linked = np.flatnonzero(pc.is_valid(edges["blocker"]))
        rows: Any = edges.select(["waiter", "blocker"]).take(linked)
        alternatives = edges["alternative"].to_numpy()
        for at, waiter, blocker in zip(linked.tolist(), *(column.to_pylist() for column in rows.columns), strict=True):
            if nodes.has_ended(blocker):
                continue
            blockers = self.successors.setdefault(waiter, {})
            if blocker not in blockers:
                self.predecessors.setdefault(blocker, []).append(waiter)
            elif not alternatives[blockers[blocker]]:
                continue
            blockers[blocker] = at

    def edge(self, waiter: str, blocker: str) -> Edge:
        """Return the edge between two invocations."""
        at = self.successors[waiter][blocker]
        return single_edges(self.edges.slice(at, 1))[0]

    def ends(self) -> list[str]:
        """Return the invocations that block others and wait for no other one."""
        return [id_ for id_ in self.predecessors if id_ not in self.successors]

    def waiters_of(self, targets: Iterable[str]) -> set[str]:
        """Return the invocations that wait for these, directly or through others."""
        start = set(targets)
        return _reachable(start, self.predecessors) - start

    def ends_of(self, starts: Iterable[str]) -> set[str]:
        """Return the ends that these wait for, directly or through others."""
        return _reachable(starts, self.successors) - self.successors.keys()

    def to_networkx(self) -> nx.DiGraph:
        """Return the graph for networkx; every waiting invocation is a node."""
        graph = nx.DiGraph()
        for id_, node in self.nodes.select(self.nodes).items():
            graph.add_node(id_, target=node.target, status=node.status)
        links = [(waiter, there, at) for waiter, blockers in self.successors.items() for there, at in blockers.items()]
        edges = single_edges(self.edges.take(pa.array([at for _, _, at in links], pa.int64())))
        for (waiter, blocker, _), edge in zip(links, edges, strict=True):
            more = {"kind": edge.kind, "detail": edge.detail, "since": edge.since, "alternative": edge.alternative}
            graph.add_edge(waiter, blocker, **more)
        return graph


def _reachable(starts: Iterable[str], links: Mapping[str, Iterable[str]]) -> set[str]:
    seen = set(starts)
    queue = deque(seen)
    while queue:
        new = [id_ for id_ in links.get(queue.popleft(), ()) if id_ not in seen]
        seen.update(new)
        queue.extend(new)
    return seen


def cycles(graph: WaitGraph) -> list[Cycle]:
    """Return the certain deadlocks, then the cycles in which a member may still continue."""
    endless = _remaining(graph, any_one=frozenset(), going=frozenset())
    if not endless:
        return []
    certain = [_shortest_cycle(graph, members, certain=True) for members in _components(graph, _blocked_ids(graph))]
    locked = {id_ for cycle in certain for id_ in cycle.members}
    rest = [members for members in _components(graph, endless) if not locked & members]
    return certain + [_shortest_cycle(graph, members, certain=False) for members in rest]


def count_waiters(
    graph: WaitGraph, targets: Iterable[str], unread: Mapping[str, int], steps: int
) -> tuple[int | None, int]:
    """Return how many others wait for these (``None`` if there were not enough steps), and the remaining steps."""
    start = set(targets)
    seen, queue, total = set(start), deque(start), 0
    while queue:
        id_ = queue.popleft()
        total += unread.get(id_, 0)
        for waiter in graph.predecessors.get(id_, ()):
            steps -= 1
            if waiter not in seen:
                seen.add(waiter)
                queue.append(waiter)
        if steps < 0:
            return None, steps
    return total + len(seen) - len(start), steps


def root_blockers(
    graph: WaitGraph, ends: Iterable[str], unread: Mapping[str, int], *, steps: int = STEPS
) -> list[RootBlocker]:
    """Return these ends of the graph as root blockers, most waiters first."""
    blockers = []
    direct = {id_: len(graph.predecessors.get(id_, ())) + unread.get(id_, 0) for id_ in ends}
    for id_ in sorted((id_ for id_ in direct if direct[id_]), key=lambda id_: (-direct[id_], id_)):
        total_waiting, steps = count_waiters(graph, [id_], unread, steps)
        waiters = tuple(sorted(graph.predecessors.get(id_, ()))[:_EXAMPLES])
        blockers.append(RootBlocker(id_, direct[id_], total_waiting, waiters))
    return sorted(blockers, key=lambda root: (-(root.total_waiting or 0), -root.direct_waiting, root.id))


def _blocked_ids(graph: WaitGraph) -> set[str]:
    """Return the invocations that can never continue by themselves: those that remain after all others continued.

    An invocation that needs all of its waits continues when all of these end. An invocation that may need only one of
    them continues when one ends. A wait for something other than an invocation (an awakeable, a sleep) may always end.
    """
    loose: Any = graph.edges.filter(graph.edges["alternative"]).select(["waiter", "blocker", "kind"])
    waiters, blockers, kinds = (column.to_pylist() for column in loose.columns)
    goes = {
        waiter
        for waiter, blocker, kind in zip(waiters, blockers, kinds, strict=True)
        if blocker is None or kind == "open call" or graph.nodes.has_ended(blocker)
    }
    return _remaining(graph, any_one=frozenset(waiters), going=goes)


def _remaining(graph: WaitGraph, *, any_one: Collection[str], going: Collection[str]) -> set[str]:
    """Return the waiters that remain if, step by step, each waiter continues after all of its blockers.

    Waiters in ``any_one`` continue after one of their blockers. The ends and the waiters in ``going`` continue first.
    """
    open_ = {id_: len(blockers) for id_, blockers in graph.successors.items()}
    queue = deque([*graph.ends(), *(id_ for id_ in going if id_ in open_)])
    gone = set(queue)
    while queue:
        for waiter in graph.predecessors.get(queue.popleft(), ()):
            open_[waiter] -= 1
            if waiter not in gone and (not open_[waiter] or waiter in any_one):
                gone.add(waiter)
                queue.append(waiter)
    return graph.successors.keys() - gone


def _components(graph: WaitGraph, members: Collection[str]) -> list[set[str]]:
    inner = nx.DiGraph(
        (waiter, blocker) for waiter in members for blocker in graph.successors[waiter] if blocker in members
    )
    components = nx.strongly_connected_components(inner)
    return sorted((set(each) for each in components if len(each) > 1 or inner.has_edge(*(list(each) * 2))), key=min)


def _shortest_cycle(graph: WaitGraph, members: set[str], *, certain: bool) -> Cycle:
    """Return a shortest cycle through the smallest id that holds a key, or through the smallest id if none does."""
    kinds = graph.edges["kind"]
    inner = {id_: {there: at for there, at in graph.successors[id_].items() if there in members} for id_ in members}
    holders = [there for blockers in inner.values() for there, at in blockers.items() if kinds[at].as_py() == "key"]
    start = min(holders or members)
    before: dict[str, str] = {}
    queue = deque([start])
    while start not in before:
        here = queue.popleft()
        for there in sorted(inner[here]):
            if there not in before:
                before[there] = here
                queue.append(there)
    path = [start]
    while before[path[-1]] != start:
        path.append(before[path[-1]])
    return Cycle((start, *reversed(path[1:])), frozenset(members), certain)
