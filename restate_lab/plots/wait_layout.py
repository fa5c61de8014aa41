"""Where the invocations of a wait-for graph stand: who waits at the left, who everybody waits for at the right.

Circles become one block each, so that the rest is a forest: everybody stands left of the furthest one they wait for.
What would be too much is folded into its place with an exact count. The same graph is always laid out the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# No type information is published in the package.
import networkx as nx

__all__ = ["Layout", "Place", "arrange"]

_FEWEST = 3  # roots and circles that are always shown, the worst
_COLUMNS = 5
_AROUND = 12  # members of a circle that are shown


@dataclass(frozen=True, slots=True)
class Place:
    """One box: an invocation, or where ``folded`` is set so many that are not shown, before ``blocker``."""

    key: str
    x: float
    y: float
    folded: int = 0
    blocker: str | None = None


@dataclass(frozen=True, slots=True)
class Ring:
    """A circle's block: its members in order, whether it is a certain deadlock, its corners, and who is not shown."""

    way: tuple[str, ...]
    certain: bool
    left: float
    right: float
    top: float
    bottom: float
    unseen: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All of it: boxes, circles, the size in columns and rows, and what is left out."""

    places: tuple[Place, ...]
    rings: tuple[Ring, ...]
    columns: float
    rows: float
    trees_left_out: int
    left_out: int
    alone: int
    """Who waits, but for no invocation, and is not waited for."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A circle, or one invocation."""

    key: str
    way: tuple[str, ...]
    certain: bool
    size: int
    is_ring: bool

    @property
    def shown(self) -> tuple[str, ...]:
        return self.way if len(self.way) <= _AROUND else self.way[: _AROUND - 1]

    @property
    def columns(self) -> int:
        return 2 if self.is_ring else 1

    @property
    def rows(self) -> float:
        return -(-len(self.shown) // 2) + 0.45 if self.is_ring else 1.0


@dataclass(frozen=True, slots=True)
class _Forest:
    """Blocks by key, who stands left of whom, how many invocations each has with those behind it, and its column."""

    blocks: dict[str, _Block]
    waiters: dict[str, list[str]]
    weight: dict[str, int]
    column: dict[str, int]
    trees: list[str]


def arrange(graph: nx.DiGraph, rings: Sequence[tuple[Sequence[str], bool]], *, most: int = 36) -> Layout:
    """Return the layout of everybody who waits for an invocation or is waited for.

    ``rings`` are the circles that are known: their members in order, and whether they are certain deadlocks. ``most``
    boxes are shown, about.
    """
    ordered = nx.DiGraph()
    ordered.add_nodes_from(sorted(graph))
    ordered.add_edges_from(sorted(graph.edges))
    forest = _forest(ordered, rings)
    count = max(_FEWEST, most // 3)
    trees = forest.trees[:count]
    for each in (8, 6, 5, 4, 3, 2, 1):
        shown = _shown(forest, trees, each)
        if sum(len(waiters) + 1 for waiters in shown.values()) <= most:
            break
    places: list[Place] = []
    boxes: list[Ring] = []
    top = 0.0
    for tree in trees:
        top += _place(forest, shown, tree, top, places, boxes) + 0.35
    columns = max((place.x for place in places), default=0.0) + 1
    rest = forest.trees[count:]
    return Layout(
        tuple(_mirrored(place, columns) for place in places),
        tuple(_ring_mirrored(ring, columns) for ring in boxes),
        columns,
        max(top - 0.35, 0.0),
        len(rest),
        sum(forest.weight[tree] for tree in rest),
        sum(not graph.degree(node) for node in graph),
    )


def _forest(graph: nx.DiGraph, rings: Sequence[tuple[Sequence[str], bool]]) -> _Forest:
    small = nx.condensation(graph)
    blocks = {node: _block(graph, small.nodes[node]["members"], rings) for node in small}
    column: dict[int, int] = {}
    parent: dict[int, int] = {}
    order = list(reversed(list(nx.topological_sort(small))))
    for node in order:
        ahead = sorted(
            small.successors(node), key=lambda each: (-column[each] - blocks[each].columns, blocks[each].key)
        )
        column[node] = column[ahead[0]] + blocks[ahead[0]].columns if ahead else 0
        if ahead:
            parent[node] = ahead[0]
    weight = {node: blocks[node].size for node in small}
    waiters: defaultdict[str, list[str]] = defaultdict(list)
    for node in reversed(order):
        if node in parent:
            weight[parent[node]] += weight[node]
            waiters[blocks[parent[node]].key].append(blocks[node].key)
    by_key = {block.key: block for block in blocks.values()}
    weights = {blocks[node].key: weight[node] for node in small}

    def heavy(key: str) -> tuple[Any, ...]:
        block = by_key[key]
        return (not (block.is_ring and block.certain), not block.is_ring, -weights[key], key)

    # also one whose waiters all stand with another one that they wait for
    roots = [blocks[node].key for node in small if node not in parent and (small.degree(node) or blocks[node].is_ring)]
    return _Forest(
        by_key,
        {key: sorted(each, key=heavy) for key, each in waiters.items()},
        weights,
        {blocks[node].key: column[node] for node in small},
        sorted(roots, key=heavy),
    )


def _block(graph: nx.DiGraph, members: Iterable[str], rings: Sequence[tuple[Sequence[str], bool]]) -> _Block:
    here = set(members)
    if len(here) == 1:
        (alone,) = here
        is_ring = graph.has_edge(alone, alone)
        certain = any(tuple(way) == (alone,) and is_certain for way, is_certain in rings)
        return _Block(alone, (alone,), certain, 1, is_ring)
    known = [(tuple(way), certain) for way, certain in rings if here.issuperset(way) and len(way) > 1]
    way, certain = known[0] if known else (_around(graph, here), False)
    return _Block(min(here), way, certain, len(here), is_ring=True)


def _around(graph: nx.DiGraph, members: set[str]) -> tuple[str, ...]:
    return tuple(edge[0] for edge in nx.find_cycle(graph.subgraph(sorted(members)), min(members)))


def _shown(forest: _Forest, trees: Sequence[str], each: int) -> dict[str, list[str]]:
    """Return the blocks that are shown, with those of their waiters that are: ``each`` at most, or one more."""
    shown: dict[str, list[str]] = {}
    queue = list(trees)
    while queue:
        key = queue.pop()
        waiters = forest.waiters.get(key, [])
        fit = [one for one in waiters if forest.column[one] + forest.blocks[one].columns <= _COLUMNS]
        kept = fit if len(fit) == len(waiters) <= each + 1 else fit[:each]
        shown[key] = kept
        queue += kept
    return shown


def _place(
    forest: _Forest, shown: dict[str, list[str]], key: str, top: float, places: list[Place], rings: list[Ring]
) -> float:
    """Place a block and all behind it below ``top``; return how many rows that took."""
    block, kept = forest.blocks[key], shown[key]
    column = forest.column[key]
    folded = sum(forest.weight[one] for one in set(forest.waiters.get(key, [])) - set(kept))
    behind = 0.0
    for one in kept:
        behind += _place(forest, shown, one, top + behind, places, rings)
    if folded:
        places.append(Place(f"{key} folded", column + block.columns, top + behind + 0.5, folded, block.way[0]))
        behind += 1
    rows = max(block.rows, behind)
    middle = top + (behind if behind >= block.rows else rows) / 2
    if block.is_ring:
        _place_ring(block, column, middle, places, rings)
    else:
        places.append(Place(key, column, middle))
    return rows


def _place_ring(block: _Block, column: int, middle: float, places: list[Place], rings: list[Ring]) -> None:
    """Place a circle's members around: down its left column, and up its right one."""
    shown = block.shown
    keys = [*shown, *([f"{block.key} around"] if len(shown) < len(block.way) else [])]
    half = -(-len(keys) // 2)
    top = middle - half / 2 + 0.18
    for number, key in enumerate(keys):
        is_left = number < half
        row = number if is_left else len(keys) - 1 - number
        folded = 0 if key in shown else len(block.way) - len(shown)
        places.append(Place(key, column + is_left, top + row + 0.5, folded))
    unseen = block.size - len(block.way)
    rings.append(Ring(tuple(keys), block.certain, column + 1.44, column - 0.44, top - 0.35, top + half + 0.02, unseen))


def _mirrored(place: Place, columns: float) -> Place:
    return Place(place.key, columns - 1 - place.x, place.y, place.folded, place.blocker)


def _ring_mirrored(ring: Ring, columns: float) -> Ring:
    left, right = columns - 1 - ring.left, columns - 1 - ring.right
    return Ring(ring.way, ring.certain, left, right, ring.top, ring.bottom, ring.unseen)
