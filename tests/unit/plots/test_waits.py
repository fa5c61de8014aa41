"""The picture of waits: every invocation is counted, nothing overlaps, and the same graph looks the same."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle
from matplotlib.text import Text

from restate_lab.analysis.waits.layout import Layout, arrange, group_equal
from restate_lab.analysis.waits.picture import draw_picture
from restate_lab.plots import plot_waits
from restate_lab.status import STATUSES
from support.pictures import all_text, draw, texts, waits

edges = st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), max_size=60)

forests = st.tuples(*(st.integers(0, number - 1) for number in range(1, 26))).map(
    lambda parents: [(number, parent) for number, parent in enumerate(parents, 1)]
)


def graph_of(pairs: list[tuple[int, int]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(f"n{number:02}" for number in range(28))
    graph.add_edges_from((f"n{a:02}", f"n{b:02}") for a, b in pairs)
    return graph


def accounted(layout: Layout) -> int:
    seen = sum(place.folded or 1 for place in layout.boxes)
    return seen + sum(cycle.hidden for cycle in layout.cycles) + layout.excluded_invocations + layout.isolated


@settings(max_examples=60)
@given(edges | forests, st.integers(3, 40))
def test_each_invocation_is_shown_or_folded_or_counted_exactly_once(pairs: list[tuple[int, int]], most: int) -> None:
    layout = arrange(graph_of(pairs), [], most=most)
    assert accounted(layout) == 28
    keys = [place.key for place in layout.boxes]
    assert len(keys) == len(set(keys))


@settings(max_examples=60)
@given(edges | forests)
def test_boxes_do_not_overlap_and_are_inside_the_picture(pairs: list[tuple[int, int]]) -> None:
    layout = arrange(graph_of(pairs), [])
    for one in layout.boxes:
        assert 0 <= one.x <= layout.columns - 1
        assert 0 < one.y < layout.rows
        for other in layout.boxes:
            assert one is other or one.x != other.x or abs(one.y - other.y) >= 0.99


@settings(max_examples=60)
@given(edges | forests)
def test_a_waiter_is_left_of_its_blocker_except_within_a_cycle(pairs: list[tuple[int, int]]) -> None:
    graph = graph_of(pairs)
    layout = arrange(graph, [])
    at = {place.key: place.x for place in layout.boxes}
    component = {node: number for number, each in enumerate(nx.strongly_connected_components(graph)) for node in each}
    for waiter, blocker in graph.edges:
        if waiter in at and blocker in at and component[waiter] != component[blocker]:
            assert at[waiter] < at[blocker]


@settings(max_examples=20)
@given(st.permutations(list(nx.gnp_random_graph(16, 0.12, seed=5, directed=True).edges)))
def test_the_order_of_the_edges_does_not_change_the_picture(pairs: list[tuple[int, int]]) -> None:
    first = sorted(nx.gnp_random_graph(16, 0.12, seed=5, directed=True).edges)
    assert arrange(graph_of(pairs), []) == arrange(graph_of(first), [])


def test_of_300_waiting_invocations_some_are_shown_and_the_others_are_a_number() -> None:
    pairs = [(f"w{number:03}", "root") for number in range(200)] + [(f"z{number:03}", "w150") for number in range(99)]
    targets = [f"Cart/{number}/do" for number in range(300)]
    ax = draw(plot_waits(waits(pairs, targets)))
    assert len(tips_of(ax)) < 40
    assert "299 waiting" in all_text(ax)
    layout = arrange(waits(pairs).graph(), [])
    shown = {place.key for place in layout.boxes}
    assert {"root", "w150"} <= shown
    assert [text for text in texts(ax) if text.startswith("+")] == [
        f"+{place.folded:,} waiting" for place in layout.boxes if place.folded
    ]
    assert sum(place.folded or 1 for place in layout.boxes) == 300


def test_equal_invocations_with_equal_waiters_are_one_box_with_their_number() -> None:
    pairs = [(f"w{number}", f"r{number}") for number in range(3)] + [("x", "r3"), ("y", "r3"), ("z", "r3"), ("v", "z")]
    names = {"x": "Orders/place", "y": "Orders/place", "z": "Orders/place", "v": "Orders/bill"}
    ids = sorted({id_ for pair in pairs for id_ in pair})
    found = waits(pairs, [names.get(id_, "Payments/charge" if id_[0] == "r" else "Orders/place") for id_ in ids])
    graph = group_equal(found.graph(), {id_: node["target"] for id_, node in found.graph().nodes(data=True)})
    assert dict(graph.nodes(data="times")) == {"r0": 3, "w0": 3, "r3": 1, "x": 2, "z": 1, "v": 1}
    ax = draw(plot_waits(found))
    assert len(tips_of(ax)) == 4
    assert "3 × Payments/charge" in all_text(ax)
    card = found.graph(), found.blockers.assign(target=None, status=None), found.deadlocks
    picture = draw_picture(*card, anchors={"r0": "rl-1"})
    assert picture is not None
    assert {(box["id"], box["times"], box["anchor"]) for box in picture.boxes if box["times"] > 1} == {
        *(("r0", 3, "rl-1"), ("w0", 3, ""), ("x", 2, "")),
    }
    assert max(box["x"] + box["width"] for box in picture.boxes) <= picture.width < 1_000


def tips_of(ax: Axes) -> list[Polygon]:
    return [each for each in ax.patches if type(each) is Polygon]


def test_a_deadlock_is_a_red_box_with_red_arrows_and_dashed_if_it_is_only_possible() -> None:
    pairs = [("a", "b"), ("b", "c"), ("c", "a"), ("w", "a"), ("p", "q"), ("q", "p"), ("self", "self")]
    ax = draw(plot_waits(waits(pairs, deadlocks=[(["a", "b", "c"], True), (["p", "q"], False), (["self"], True)])))
    rings = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert [ring.get_linestyle() for ring in rings] == ["-", "-", "--"]
    assert {to_hex(ring.get_edgecolor()) for ring in rings} == {STATUSES["failed"].colour}
    assert [text for text in texts(ax) if text.endswith("DEADLOCK")] == ["DEADLOCK", "DEADLOCK", "POSSIBLE DEADLOCK"]
    bold = [text for text in ax.findobj(Text) if text.get_weight() == "bold"]
    assert [text.get_fontfamily() for text in bold] == [rcParams["font.family"]] * 3, "others may have no bold face"
    red = [each for each in tips_of(ax) if to_hex(each.get_facecolor()) == STATUSES["failed"].colour]
    assert len(red) == 3 + 2 + 1
    words = all_text(ax)
    assert [id_ for id_ in ("a", "b", "c", "w", "p", "q", "self") if f"\n{id_}  suspended" not in words] == []


def test_a_large_cycle_shows_eleven_members_and_the_number_of_the_others() -> None:
    ring = [f"r{number:02}" for number in range(40)]
    ax = draw(plot_waits(waits(list(zip(ring, ring[1:] + ring[:1], strict=True)), deadlocks=[(ring, True)])))
    assert "… 29 more …" in texts(ax)


def test_twelve_of_60_root_blockers_are_drawn_and_the_others_are_counted() -> None:
    targets = [f"Cart/{number}/do" for number in range(120)]
    ax = plot_waits(waits([(f"w{number}", f"r{number}") for number in range(60)], targets))
    assert "Not drawn: 48 more root blockers or deadlocks with 96 invocations." in all_text(ax)


@pytest.mark.parametrize("size", [(3, 2), (30, 20)])
def test_a_name_ends_within_its_box_on_axes_of_any_size(size: tuple[int, int]) -> None:
    ax = Figure(figsize=size).subplots()
    draw(plot_waits(waits([("a", "b"), ("c", "b")], ["A" + "very" * 30 + "LongName", "WW" * 90]), ax=ax))
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, Rectangle)]
    for text in ax.texts:
        if "suspended" in text.get_text():
            left = text.get_window_extent()
            assert any(box.x0 <= left.x0 and left.x1 <= box.x1 for box in boxes)
