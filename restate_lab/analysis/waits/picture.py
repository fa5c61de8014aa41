"""The picture of a wait-for graph, for its card and its plot: boxes, arrows and deadlocks, in pixels."""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import wrap
from typing import Any

import networkx as nx
import pandas as pd

from restate_lab._text import one_line, shorten_id, truncate
from restate_lab.analysis.patterns import message_kinds
from restate_lab.analysis.waits.layout import Box, CycleBox, Layout, arrange, group_equal
from restate_lab.analysis.waits.text import describe_state
from restate_lab.status import COLOURS

_COLUMN, _ROW = 250.0, 56.0  # pixels
_WIDE, _HIGH = 216.0, 42.0  # of a box
_TEXT_WIDTH = 268.0  # for the waits of root blockers
_LETTERS, _LINES = 40, 3  # of this text
_OWN = re.compile(r" at [\d-]+ [\d:]+ UTC| after [\d,]+ failed attempts")
"""What differs between root blockers that wait for one cause: their next attempt, and their number of attempts."""
_LETTERS_IN_BOX = 26
_MOST = 30  # boxes
_TIP = 5.0  # of an arrow
_DASHES = {"call": "", "key": "5 3", "attach": "1 3", "open call": "2 3"}


@dataclass(frozen=True, slots=True)
class WaitPicture:
    """The data for the template; coordinates are pixels, and texts are not escaped yet."""

    width: float
    text_width: float
    """The width for the waits of root blockers, at the right of the boxes."""
    height: float
    boxes: tuple[dict[str, Any], ...]
    arrows: tuple[dict[str, Any], ...]
    cycles: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    """The kinds of waits in the picture, each with the dashes of its arrow."""


def grouped_graph(graph: nx.DiGraph, blockers: pd.DataFrame) -> nx.DiGraph:
    """Return the graph with equal invocations merged into one, whose attribute ``times`` is their number.

    ``graph`` and ``blockers`` are those of ``Waits``.
    """
    texts = {row["id"]: _OWN.sub("", row["waits_for"]) for row in blockers[["id", "waits_for"]].to_dict("records")}
    kinds = message_kinds(texts.values())
    reasons = {id_: kinds[text] for id_, text in texts.items()}
    labels: dict[str, Hashable] = {
        id_: (node.get("target") or id_, node.get("status"), reasons.get(id_)) for id_, node in graph.nodes(data=True)
    }
    return group_equal(graph, labels)


def group_blockers(graph: nx.DiGraph, blockers: pd.DataFrame) -> pd.DataFrame:
    """Return the first of equal root blockers, with their number in ``times``, as in the picture; most waiters first.

    ``graph`` and ``blockers`` are those of ``Waits``.
    """
    times = dict(grouped_graph(graph, blockers).nodes(data="times"))
    kept = blockers[blockers["id"].isin(times)]
    texts = [
        _OWN.sub("", text) if times[id_] > 1 else text for id_, text in zip(kept["id"], kept["waits_for"], strict=True)
    ]
    groups = kept.assign(waits_for=texts, times=[times[id_] for id_ in kept["id"]])
    waiting = groups["times"] * groups["total_waiting"].fillna(groups["direct_waiting"])
    return groups.loc[waiting.sort_values(ascending=False, kind="stable").index]


def part_of(graph: nx.DiGraph, ids: Iterable[str]) -> nx.DiGraph:
    """Return the part of the graph with these invocations, all that they wait for, and all that wait for them."""
    known = [id_ for id_ in ids if id_ in graph]
    return graph.subgraph({*known, *_reached(graph.succ, known), *_reached(graph.pred, known)})


def _reached(links: Mapping[str, Iterable[str]], ids: Collection[str]) -> set[str]:
    seen, queue = set(ids), list(ids)
    while queue:
        new = [id_ for id_ in links[queue.pop()] if id_ not in seen]
        seen.update(new)
        queue += new
    return seen


def draw_picture(
    waits: nx.DiGraph,
    root_blockers: pd.DataFrame,
    deadlocks: pd.DataFrame,
    *,
    anchors: Mapping[str, str],
    most: int = _MOST,
) -> WaitPicture | None:
    """Return the picture of a wait-for graph; None if no invocation waits for another one.

    ``anchors`` maps ids to the element id of their details on the page. It has about ``most`` boxes.
    """
    graph = grouped_graph(waits, root_blockers)
    rows = deadlocks[["members", "certain"]].to_dict("records")
    layout = arrange(graph, [(row["members"], bool(row["certain"])) for row in rows], most=most)
    if not layout.boxes:
        return None
    blockers = {row["id"]: row for row in root_blockers.to_dict("records")}
    boxes = {box.key: box for box in layout.boxes}
    arrows = [*_arrows(graph, layout, boxes), *_cycle_arrows(graph, layout, boxes)]
    kinds = sorted({arrow["kind"] for arrow in arrows if arrow["kind"]})
    return WaitPicture(
        width=layout.columns * _COLUMN,
        text_width=_TEXT_WIDTH if any(key in boxes for key in blockers) else 0.0,
        height=layout.rows * _ROW + 8,
        boxes=tuple(
            _draw_box(box, graph, blockers.get(box.key)) | {"anchor": anchors.get(box.key, "")} for box in layout.boxes
        ),
        arrows=tuple(arrows),
        cycles=tuple(map(_draw_cycle, layout.cycles)),
        notes=tuple(_notes(layout)),
        kinds=tuple((kind, _DASHES.get(kind, "1 2")) for kind in kinds),
    )


def _notes(layout: Layout) -> Iterator[str]:
    if layout.excluded_trees:
        yield (
            f"Not drawn: {layout.excluded_trees:,} more root blockers or deadlocks with "
            f"{layout.excluded_invocations:,} invocations."
        )
    if layout.isolated:
        yield f"Not drawn: {layout.isolated:,} that wait for something other than an invocation and block none."


def _draw_box(box: Box, graph: nx.DiGraph, blocker: Mapping[Any, Any] | None) -> dict[str, Any]:
    place = {"x": _left_edge(box), "y": _middle(box) - _HIGH / 2, "width": _WIDE, "height": _HIGH, "times": box.times}
    if box.folded:
        label = f"+{box.folded:,} waiting" if box.blocker else f"… {box.folded:,} more …"
        return place | {"folded": label, "blocker": box.blocker or "", "lines": []}
    node = graph.nodes[box.key]
    status = node.get("status") or "gone"
    return place | {
        "folded": "",
        "target": node.get("target") or "unknown",
        "label": _shorten_target(node.get("target") or "unknown", _LETTERS_IN_BOX - (4 if box.times > 1 else 0)),
        "id": box.key,
        "short_id": shorten_id(box.key),
        "status": status,
        "colour": COLOURS.get(status, COLOURS["quiet"]),
        "lines": _blocker_lines(blocker, box) if blocker is not None else [],
        "text_x": _left_edge(box) + _WIDE + 10,
    }


def _shorten_target(target: str, letters: int) -> str:
    """Return a target with a shortened key, so its service and its handler stay visible."""
    half = (letters - 1) // 2
    return target if len(target) <= letters else f"{target[:half]}…{target[-half:]}"


def _blocker_lines(blocker: Mapping[Any, Any], box: Box) -> list[str]:
    total, each = blocker["total_waiting"], " each" if box.times > 1 else ""
    count = f"{blocker['direct_waiting']:,} or more wait" if pd.isna(total) else f"{total:,} waiting"
    reason = _OWN.sub("", shorten_id(one_line(blocker["waits_for"], 400)))
    lines = [truncate(line, _LETTERS) for line in wrap(describe_state(reason), _LETTERS, break_long_words=False)]
    if len(lines) > _LINES:
        lines[_LINES - 1] = f"{lines[_LINES - 1].rstrip(' .:…')} …"
    return [f"{count}{each}", *lines[:_LINES]]


def _draw_cycle(cycle: CycleBox) -> dict[str, Any]:
    label = "DEADLOCK" if cycle.certain else "POSSIBLE DEADLOCK"
    left, right = sorted((cycle.left, cycle.right))
    return {
        "x": (left + 0.5) * _COLUMN,
        "y": cycle.top * _ROW + 4,
        "width": (right - left) * _COLUMN,
        "height": (cycle.bottom - cycle.top) * _ROW,
        "certain": cycle.certain,
        "label": f"{label}, {cycle.hidden:,} more in it" if cycle.hidden else label,
    }


def _arrows(graph: nx.DiGraph, layout: Layout, boxes: Mapping[str, Box]) -> Iterator[dict[str, Any]]:
    """Yield the arrows between invocations that are not in the same cycle, and those of folded invocations."""
    in_cycle = {key: cycle for cycle in layout.cycles for key in cycle.members}
    for waiter, blocker, edge in graph.edges(data=True):
        if waiter not in boxes or blocker not in boxes or in_cycle.get(waiter, 0) is in_cycle.get(blocker, 1):
            continue
        yield _curve(boxes[waiter], boxes[blocker], edge.get("kind"))
    for box in boxes.values():
        if box.folded and box.blocker and box.blocker in boxes:
            yield _curve(box, boxes[box.blocker], "")


def _cycle_arrows(graph: nx.DiGraph, layout: Layout, boxes: Mapping[str, Box]) -> Iterator[dict[str, Any]]:
    for cycle in layout.cycles:
        keys = [*cycle.members, cycle.members[0]]
        for waiter, blocker in pairwise(keys):
            kind = (graph.get_edge_data(waiter, blocker) or {}).get("kind", "")
            yield _around(boxes[waiter], boxes[blocker], len(cycle.members), kind)


def _around(waiter: Box, blocker: Box, count: int, kind: str) -> dict[str, Any]:
    middle = _left_edge(waiter) + _WIDE / 2
    if waiter is blocker:
        x, y = _left_edge(waiter) + _WIDE, _middle(waiter)
        loop = ((x, y - 10), (x + 26, y - 10), (x + 26, y + 10))
        return _arrow(loop, (x, y + 10), (-1, 0), kind, is_red=True)
    if waiter.x == blocker.x:
        down = 1 if blocker.y > waiter.y else -1
        begin, end = _middle(waiter) + down * _HIGH / 2, _middle(blocker) - down * _HIGH / 2
        return _arrow(((middle, begin),), (middle, end), (0, down), kind, is_red=True)
    right = 1 if blocker.x > waiter.x else -1
    aside = 9.0 * right if count == 2 else 0.0  # with two members, the two arrows are side by side
    begin, end = (_left_edge(box) + (_WIDE if side > 0 else 0) for box, side in ((waiter, right), (blocker, -right)))
    start = (begin, _middle(waiter) + aside)
    return _arrow((start,), (end, _middle(blocker) + aside), (right, 0), kind, is_red=True)


def _curve(waiter: Box, blocker: Box, kind: str | None) -> dict[str, Any]:
    (x, y), (end, there) = (_left_edge(waiter) + _WIDE, _middle(waiter)), (_left_edge(blocker), _middle(blocker))
    bend = (end - x) / 2
    return _arrow(((x, y), (x + bend, y), (end - bend, there)), (end, there), (1, 0), kind or "", is_red=False)


def _arrow(
    line: Sequence[tuple[float, float]], end: tuple[float, float], way: tuple[int, int], kind: str, *, is_red: bool
) -> dict[str, Any]:
    """Return an arrow along a line of two points, or a curve of four; the last point is in the middle of its tip."""
    (x, y), (right, down) = end, way
    back = (x - right * 2 * _TIP, y - down * 2 * _TIP)
    tip = (
        (x, y),
        (back[0] + down * _TIP, back[1] + right * _TIP),
        (back[0] - down * _TIP, back[1] - right * _TIP),
    )
    points = (*line, (x - right * _TIP, y - down * _TIP))
    return {"points": points, "tip": tip, "kind": kind, "dashes": _DASHES.get(kind, "1 2"), "red": is_red}


def _left_edge(box: Box) -> float:
    return (box.x + 0.5) * _COLUMN - _WIDE / 2


def _middle(box: Box) -> float:
    return box.y * _ROW + 4
