"""The layout of a wait-for graph: waiting invocations on the left, root blockers on the right.

A cycle becomes one component, so the rest is a forest: an invocation is to the left of its furthest blocker. Equal
parts of the graph become one box with a count. Invocations that do not fit are folded into a box with an exact count.
The same graph always has the same layout.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# The package has no type information.
import networkx as nx

_FEWEST = 3  # roots and cycles that are always shown, worst first
_COLUMNS = 5
_AROUND = 12  # members of a cycle that are shown


@dataclass(frozen=True, slots=True)
class Box:
    """One box: an invocation, or ``folded`` hidden invocations that wait for ``blocker``.

    ``times`` is the number of equal invocations in the box.
    """

    key: str
    x: float
    y: float
    folded: int = 0
    blocker: str | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class CycleBox:
    """The box of a cycle: members in order, whether it is a certain deadlock, corners, number of hidden members."""

    members: tuple[str, ...]
    certain: bool
    left: float
    right: float
    top: float
    bottom: float
    hidden: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole layout: boxes, cycles, the size in columns and rows, and the number of excluded invocations."""

    boxes: tuple[Box, ...]
    cycles: tuple[CycleBox, ...]
    columns: float
    rows: float
    excluded_trees: int
    excluded_invocations: int
    isolated: int
    """The number of invocations that neither wait for an invocation nor block one."""


@dataclass(frozen=True, slots=True)
class _Component:
    key: str
    members: tuple[str, ...]
    certain: bool
    size: int
    is_cycle: bool

    @property
    def visible(self) -> tuple[str, ...]:
        return self.members if len(self.members) <= _AROUND else self.members[: _AROUND - 1]

    @property
    def columns(self) -> int:
        return 2 if self.is_cycle else 1

    @property
    def rows(self) -> float:
        return -(-len(self.visible) // 2) + 0.45 if self.is_cycle else 1.0


@dataclass(frozen=True, slots=True)
class _Forest:
    """Components by key, their waiters, the number of invocations in and behind each, and its column."""

    components: dict[str, _Component]
    waiters: dict[str, list[str]]
    weight: dict[str, int]
    column: dict[str, int]
    trees: list[str]


def group_equal(graph: nx.DiGraph, labels: Mapping[str, Hashable]) -> nx.DiGraph:
    """Return the graph with equal invocations merged into one, whose attribute ``times`` is their number.

    Invocations are equal if they have the same label, wait for the same invocation (or for equal ones) in the same way,
    and have equal waiters. An invocation in a cycle, or with several blockers, is never merged.
    """
    plain = _plain_nodes(graph)
    kinds = _kinds_of(graph, plain, labels)
    times: dict[str, int] = {}
    groups = [([node for node in plain if not graph.out_degree(node)], 1)]
    groups += [([one for one in graph.pred[node] if one in plain], 1) for node in graph if node not in plain]
    while groups:
        nodes, factor = groups.pop()
        equal: dict[int, list[str]] = defaultdict(list)
        for node in nodes:
            equal[kinds[node]].append(node)
        for members in equal.values():
            first, number = min(members), factor * len(members)
            times[first] = number
            groups.append(([one for one in graph.pred[first] if one in plain], number))
    kept = nx.DiGraph(graph.subgraph([node for node in graph if node in times or node not in plain]))
    nx.set_node_attributes(kept, {node: times.get(node, 1) for node in kept}, "times")
    return kept


def _plain_nodes(graph: nx.DiGraph) -> set[str]:
    """Return the invocations that wait for at most one other one and are in no cycle."""
    in_cycle = {node for each in nx.strongly_connected_components(graph) if len(each) > 1 for node in each}
    in_cycle |= {node for node in graph if graph.has_edge(node, node)}
    return {node for node in graph if graph.degree(node) and graph.out_degree(node) <= 1 and node not in in_cycle}


def _kinds_of(graph: nx.DiGraph, plain: Collection[str], labels: Mapping[str, Hashable]) -> dict[str, int]:
    """Return a number for each of these invocations; equal ones with equal waiters have the same number."""
    numbers: dict[Hashable, int] = {}
    kinds: dict[str, int] = {}
    for node in nx.topological_sort(graph.subgraph(plain)):
        how = frozenset(edge.get("kind") for edge in graph.succ[node].values())
        behind = frozenset(Counter(kinds.get(one, one) for one in graph.pred[node]).items())
        kinds[node] = numbers.setdefault((labels[node], how, behind), len(numbers))
    return kinds


def arrange(graph: nx.DiGraph, cycles: Sequence[tuple[Sequence[str], bool]], *, most: int = 36) -> Layout:
    """Return the layout of all invocations that wait for another one or block one.

    ``cycles`` are the known cycles: their members in order, and whether they are certain deadlocks. About ``most``
    boxes are shown. The attribute ``times`` of a node is the number of its invocations, by default 1.
    """
    ordered = nx.DiGraph()
    ordered.add_nodes_from((node, {"times": graph.nodes[node].get("times", 1)}) for node in sorted(graph))
    ordered.add_edges_from(sorted(graph.edges))
    forest = _build_forest(ordered, cycles)
    count = max(_FEWEST, most // 3)
    trees = forest.trees[:count]
    for each in (8, 6, 5, 4, 3, 2, 1):
        visible = _visible_waiters(forest, trees, each)
        if sum(len(waiters) + 1 for waiters in visible.values()) <= most:
            break
    alone = _separate_trees(ordered, forest.trees)
    most_columns = max((forest.column[key] + forest.components[key].columns for key in visible), default=0) + 1.0
    boxes: list[Box] = []
    cycle_boxes: list[CycleBox] = []
    top = 0.0
    for tree in trees:
        placed: list[Box] = []
        cycles_of_tree: list[CycleBox] = []
        top += _place_component(forest, visible, tree, top, placed, cycles_of_tree) + 0.35
        columns = max(box.x for box in placed) + 1 if tree in alone else most_columns
        # Waiting invocations are on the left, so the columns are mirrored.
        boxes += [replace(box, x=columns - 1 - box.x) for box in placed]
        cycle_boxes += [
            replace(cycle, left=columns - 1 - cycle.left, right=columns - 1 - cycle.right) for cycle in cycles_of_tree
        ]
    rest = forest.trees[count:]
    return Layout(
        tuple(boxes),
        tuple(cycle_boxes),
        max((box.x for box in boxes), default=0.0) + 1,
        max(top - 0.35, 0.0),
        len(rest),
        sum(forest.weight[tree] for tree in rest),
        sum(not graph.degree(node) for node in graph),
    )


def _separate_trees(graph: nx.DiGraph, trees: Sequence[str]) -> set[str]:
    """Return the trees that no edge connects with another tree; such a tree starts at the left."""
    known = set(trees)
    groups = (known & members for members in nx.weakly_connected_components(graph))
    return {tree for group in groups if len(group) == 1 for tree in group}


def _build_forest(graph: nx.DiGraph, cycles: Sequence[tuple[Sequence[str], bool]]) -> _Forest:
    small = nx.condensation(graph)
    components = {node: _build_component(graph, small.nodes[node]["members"], cycles) for node in small}
    column: dict[int, int] = {}
    parent: dict[int, int] = {}
    order = list(reversed(list(nx.topological_sort(small))))
    for node in order:
        ahead = sorted(
            small.successors(node), key=lambda each: (-column[each] - components[each].columns, components[each].key)
        )
        column[node] = column[ahead[0]] + components[ahead[0]].columns if ahead else 0
        if ahead:
            parent[node] = ahead[0]
    weight = {node: components[node].size for node in small}
    waiters: defaultdict[str, list[str]] = defaultdict(list)
    for node in reversed(order):
        if node in parent:
            weight[parent[node]] += weight[node]
            waiters[components[parent[node]].key].append(components[node].key)
    by_key = {component.key: component for component in components.values()}
    weights = {components[node].key: weight[node] for node in small}

    def sort_key(key: str) -> tuple[Any, ...]:
        component = by_key[key]
        return (not (component.is_cycle and component.certain), not component.is_cycle, -weights[key], key)

    # An end may have no waiters here, if all of them are in the tree of another blocker.
    ends = [node for node in small if node not in parent and (small.degree(node) or components[node].is_cycle)]
    return _Forest(
        by_key,
        {key: sorted(each, key=sort_key) for key, each in waiters.items()},
        weights,
        {components[node].key: column[node] for node in small},
        sorted((components[node].key for node in ends), key=sort_key),
    )


def _build_component(
    graph: nx.DiGraph, members: Iterable[str], cycles: Sequence[tuple[Sequence[str], bool]]
) -> _Component:
    here = set(members)
    if len(here) == 1:
        (alone,) = here
        is_cycle = graph.has_edge(alone, alone)
        certain = any(tuple(way) == (alone,) and is_certain for way, is_certain in cycles)
        return _Component(alone, (alone,), certain, graph.nodes[alone]["times"], is_cycle)
    known = [(tuple(way), certain) for way, certain in cycles if here.issuperset(way) and len(way) > 1]
    if not known:
        edges = nx.find_cycle(graph.subgraph(sorted(here)), min(here))
        known = [(tuple(edge[0] for edge in edges), False)]
    way, certain = known[0]
    return _Component(min(here), way, certain, len(here), is_cycle=True)


def _visible_waiters(forest: _Forest, trees: Sequence[str], each: int) -> dict[str, list[str]]:
    """Return the visible components with their visible waiters: at most ``each``, or one more if these are all."""
    visible: dict[str, list[str]] = {}
    queue = list(trees)
    while queue:
        key = queue.pop()
        waiters = forest.waiters.get(key, [])
        fit = [one for one in waiters if forest.column[one] + forest.components[one].columns <= _COLUMNS]
        kept = fit if len(fit) == len(waiters) <= each + 1 else fit[:each]
        visible[key] = kept
        queue += kept
    return visible


def _place_component(
    forest: _Forest, visible: dict[str, list[str]], key: str, top: float, boxes: list[Box], cycles: list[CycleBox]
) -> float:
    """Place a component and its waiters below ``top``; return the number of rows used."""
    component, kept = forest.components[key], visible[key]
    column = forest.column[key]
    folded = sum(forest.weight[one] for one in set(forest.waiters.get(key, [])) - set(kept))
    behind = 0.0
    for one in kept:
        behind += _place_component(forest, visible, one, top + behind, boxes, cycles)
    if folded:
        boxes.append(Box(f"{key} folded", column + component.columns, top + behind + 0.5, folded, component.members[0]))
        behind += 1
    rows = max(component.rows, behind)
    middle = top + (behind if behind >= component.rows else rows) / 2
    if component.is_cycle:
        _place_cycle(component, column, middle, boxes, cycles)
    else:
        boxes.append(Box(key, column, middle, times=component.size))
    return rows


def _place_cycle(component: _Component, column: int, middle: float, boxes: list[Box], cycles: list[CycleBox]) -> None:
    """Place the members of a cycle: down the first column, then up the second one."""
    visible = component.visible
    keys = [*visible, *([f"{component.key} around"] if len(visible) < len(component.members) else [])]
    half = -(-len(keys) // 2)
    top = middle - half / 2 + 0.18
    for number, key in enumerate(keys):
        is_left = number < half
        row = number if is_left else len(keys) - 1 - number
        folded = 0 if key in visible else len(component.members) - len(visible)
        boxes.append(Box(key, column + is_left, top + row + 0.5, folded))
    hidden = component.size - len(component.members)
    cycles.append(
        CycleBox(tuple(keys), component.certain, column + 1.44, column - 0.44, top - 0.35, top + half + 0.02, hidden)
    )
