"""The wait-for graph: the blocked invocations, the cycles, and the root blockers that others wait for.

Strongly connected components, never all simple cycles, of which there may be exponentially many. Everything is linear
in the edges but one thing: each root's waiters are counted by walking backwards from it, so that an invocation that
waits for two roots counts once for each, and once only. Where none does that, it is one pass over the graph; the steps
of all walks together are bounded, and a root beyond that has no count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# No type information is published in the package.
import networkx as nx

from restate_lab.analysis.waits.model import Edge, InvocationNode

__all__ = ["Cycle", "RootBlocker", "build_graph", "count_waiters", "cycles", "root_blockers"]

STEPS = 5_000_000  # of all walks that count waiters; a few seconds


@dataclass(frozen=True, slots=True)
class Cycle:
    """Invocations that wait for each other: a shortest cycle in order, and all members of the component.

    ``certain`` is False where a member may go on without the others.
    """

    path: tuple[str, ...]
    members: frozenset[str]
    certain: bool


@dataclass(frozen=True, slots=True)
class RootBlocker:
    """An invocation that waits for no other one while others wait for it; ``total_waiting`` is None if not counted."""

    id: str
    direct_waiting: int
    total_waiting: int | None
    examples: tuple[str, ...]


def build_graph(edges: Iterable[Edge], nodes: Mapping[str, InvocationNode]) -> nx.DiGraph:
    """Return the graph: nodes are invocations, an edge leads from the waiting invocation to its blocker.

    Nodes have ``target, status``; edges ``kind, what, since, alternative``. Completed invocations block no other.
    """
    graph = nx.DiGraph()
    for edge in edges:
        for id_ in (edge.waiter, edge.blocker):
            if id_ is not None and id_ not in graph:
                known = nodes.get(id_, InvocationNode(id_))
                graph.add_node(id_, target=known.target, status=known.status)
        if edge.blocker is None or _has_ended(nodes, edge.blocker):
            continue
        sooner = graph.get_edge_data(edge.waiter, edge.blocker, {"alternative": True})
        if sooner["alternative"]:
            graph.add_edge(
                edge.waiter,
                edge.blocker,
                kind=edge.kind,
                what=edge.what,
                since=edge.since,
                alternative=edge.alternative,
            )
    return graph


def cycles(graph: nx.DiGraph, edges: Iterable[Edge], nodes: Mapping[str, InvocationNode]) -> list[Cycle]:
    """Return the deadlocks, and after them the cycles that a member may still leave."""
    stuck = _blocked_ids(graph, edges, nodes)
    certain = [_shortest_cycle(graph, members, certain=True) for members in _components(graph.subgraph(stuck))]
    locked = {id_ for cycle in certain for id_ in cycle.members}
    rest = [members for members in _components(graph) if not locked & members]
    return certain + [_shortest_cycle(graph, members, certain=False) for members in rest]


def count_waiters(
    graph: nx.DiGraph, targets: Iterable[str], unread: Mapping[str, int], steps: int
) -> tuple[int | None, int]:
    """Return how many others wait for these, directly or not, and the steps that are left; None when there are none."""
    start = set(targets)
    seen, queue, total = set(start), deque(start), 0
    while queue:
        id_ = queue.popleft()
        total += unread.get(id_, 0)
        for waiter in graph.predecessors(id_):
            steps -= 1
            if waiter not in seen:
                seen.add(waiter)
                queue.append(waiter)
        if steps < 0:
            return None, steps
    return total + len(seen) - len(start), steps


def root_blockers(
    graph: nx.DiGraph, in_cycles: set[str], unread: Mapping[str, int], *, steps: int = STEPS, examples: int = 3
) -> list[RootBlocker]:
    """Return the invocations that block others and wait for none, most waiters first; ``in_cycles`` are excluded."""
    blockers = []
    ends = [id_ for id_, degree in graph.out_degree() if not degree and id_ not in in_cycles]
    direct = {id_: graph.in_degree(id_) + unread.get(id_, 0) for id_ in ends}
    for id_ in sorted((id_ for id_ in ends if direct[id_]), key=lambda id_: (-direct[id_], id_)):
        total_waiting, steps = count_waiters(graph, [id_], unread, steps)
        waiters = tuple(sorted(graph.predecessors(id_)))[:examples]
        blockers.append(RootBlocker(id_, direct[id_], total_waiting, waiters))
    return sorted(blockers, key=lambda root: (-(root.total_waiting or 0), -root.direct_waiting, root.id))


def _has_ended(nodes: Mapping[str, InvocationNode], id_: str) -> bool:
    return id_ in nodes and nodes[id_].status == "completed"


def _blocked_ids(graph: nx.DiGraph, edges: Iterable[Edge], nodes: Mapping[str, InvocationNode]) -> set[str]:
    """Return the invocations that can never go on by themselves: those that remain once all others have gone on.

    An invocation that needs all that it awaits goes on when all of these can; one that may need only one of them, when
    one can. What is not an invocation (an awakeable, a sleep) may always come.
    """
    open_, any_one, goes = dict.fromkeys(graph, 0), set(), set()
    for id_ in graph:
        open_[id_] = graph.out_degree(id_)
    for edge in edges:
        if edge.alternative:
            any_one.add(edge.waiter)
            if edge.blocker is None or edge.kind == "open call" or _has_ended(nodes, edge.blocker):
                goes.add(edge.waiter)
    goes |= {id_ for id_, degree in open_.items() if not degree}
    queue = deque(goes)
    while queue:
        for waiter in graph.predecessors(queue.popleft()):
            open_[waiter] -= 1
            if waiter not in goes and (not open_[waiter] or waiter in any_one):
                goes.add(waiter)
                queue.append(waiter)
    return set(graph) - goes


def _components(graph: nx.DiGraph) -> list[set[str]]:
    components = nx.strongly_connected_components(graph)
    return sorted((set(each) for each in components if len(each) > 1 or graph.has_edge(*(list(each) * 2))), key=min)


def _shortest_cycle(graph: nx.DiGraph, members: set[str], *, certain: bool) -> Cycle:
    """Return a shortest cycle through the smallest id that holds a key, or the smallest of all."""
    inner = graph.subgraph(members)
    holders = [there for _, there, kind in inner.edges(data="kind") if kind == "key"]
    start = min(holders or members)
    before: dict[str, str] = {}
    queue = deque([start])
    while start not in before:
        here = queue.popleft()
        for there in sorted(inner.successors(here)):
            if there not in before:
                before[there] = here
                queue.append(there)
    path = [start]
    while before[path[-1]] != start:
        path.append(before[path[-1]])
    return Cycle((start, *reversed(path[1:])), frozenset(members), certain)
