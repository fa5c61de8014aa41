"""The wait-for graph: who cannot go on, the circles, and the roots that everybody waits for.

Strongly connected components, never all simple cycles, of which there may be exponentially many. Everything is linear
in the edges but one thing: each root's waiters are counted by walking backwards from it, so that somebody who waits
for two roots counts once for each, and once only. Where nobody does that, it is one pass over the graph; the steps
of all walks together are bounded, and a root beyond that has no count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# No type information is published in the package.
import networkx as nx

from restate_lab.analysis.waits.model import Edge, Person

__all__ = ["Circle", "Root", "build", "circles", "count_waiters", "roots"]

STEPS = 5_000_000  # of all walks that count waiters; a few seconds


@dataclass(frozen=True, slots=True)
class Circle:
    """Invocations that wait for each other: a shortest way around in order, and all in the component.

    ``certain`` is False where somebody in it may go on without the others.
    """

    way: tuple[str, ...]
    members: frozenset[str]
    certain: bool


@dataclass(frozen=True, slots=True)
class Root:
    """An invocation that waits for no other one while others wait for it; ``total_waiting`` is None if not counted."""

    id: str
    direct_waiting: int
    total_waiting: int | None
    examples: tuple[str, ...]


def build(edges: Iterable[Edge], people: Mapping[str, Person]) -> nx.DiGraph:
    """Return the graph: nodes are invocations, an edge leads from who waits to who is waited for.

    Nodes have ``target, status``; edges ``kind, what, since, alternative``. What has completed blocks nobody.
    """
    graph = nx.DiGraph()
    for edge in edges:
        for id_ in (edge.waiter, edge.blocker):
            if id_ is not None and id_ not in graph:
                known = people.get(id_, Person(id_))
                graph.add_node(id_, target=known.target, status=known.status)
        if edge.blocker is None or _has_ended(people, edge.blocker):
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


def circles(graph: nx.DiGraph, edges: Iterable[Edge], people: Mapping[str, Person]) -> list[Circle]:
    """Return the deadlocks, and after them the circles that somebody in them may still leave."""
    stuck = _stuck(graph, edges, people)
    certain = [_circle(graph, members, certain=True) for members in _components(graph.subgraph(stuck))]
    locked = {id_ for circle in certain for id_ in circle.members}
    rest = [members for members in _components(graph) if not locked & members]
    return certain + [_circle(graph, members, certain=False) for members in rest]


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


def roots(
    graph: nx.DiGraph, apart: set[str], unread: Mapping[str, int], *, steps: int = STEPS, examples: int = 3
) -> list[Root]:
    """Return who is waited for and waits for nobody, most waited for first; ``apart`` are those in a circle."""
    found = []
    ends = [id_ for id_, degree in graph.out_degree() if not degree and id_ not in apart]
    direct = {id_: graph.in_degree(id_) + unread.get(id_, 0) for id_ in ends}
    for id_ in sorted((id_ for id_ in ends if direct[id_]), key=lambda id_: (-direct[id_], id_)):
        total_waiting, steps = count_waiters(graph, [id_], unread, steps)
        waiters = tuple(sorted(graph.predecessors(id_)))[:examples]
        found.append(Root(id_, direct[id_], total_waiting, waiters))
    return sorted(found, key=lambda root: (-(root.total_waiting or 0), -root.direct_waiting, root.id))


def _has_ended(people: Mapping[str, Person], id_: str) -> bool:
    return id_ in people and people[id_].status == "completed"


def _stuck(graph: nx.DiGraph, edges: Iterable[Edge], people: Mapping[str, Person]) -> set[str]:
    """Return who can never go on by themselves: what is left when everybody who can has gone.

    Who needs all that it awaits goes when all of these can go; who may need only one, when one of them can. What is
    no invocation (an awakeable, a sleep) may always come.
    """
    open_, any_one, goes = dict.fromkeys(graph, 0), set(), set()
    for id_ in graph:
        open_[id_] = graph.out_degree(id_)
    for edge in edges:
        if edge.alternative:
            any_one.add(edge.waiter)
            if edge.blocker is None or edge.kind == "open call" or _has_ended(people, edge.blocker):
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
    found = nx.strongly_connected_components(graph)
    return sorted((set(each) for each in found if len(each) > 1 or graph.has_edge(*(list(each) * 2))), key=min)


def _circle(graph: nx.DiGraph, members: set[str], *, certain: bool) -> Circle:
    """Find a shortest way around through the smallest id that holds a key, or the smallest of all."""
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
    way = [start]
    while before[way[-1]] != start:
        way.append(before[way[-1]])
    return Circle((start, *reversed(way[1:])), frozenset(members), certain)
