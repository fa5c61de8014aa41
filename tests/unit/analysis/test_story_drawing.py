"""The waterfall, the text and the card of a story: every member is counted, and no text of the cluster is markup."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from restate_lab.analysis.story.drawing import PHASE_COLOURS, picture_of
from restate_lab.analysis.story.model import EDGE_KINDS, PHASES, Member
from restate_lab.analysis.story.result import Story
from restate_lab.analysis.story.text import agent_text, tree_lines
from restate_lab.analysis.story.waterfall import MOST_ROWS, WaterfallRow, waterfall
from restate_lab.document.html import html_of
from restate_lab.document.text import count_rows
from support.stories import (
    NOW,
    ROOT,
    agents_story,
    at,
    deep_story,
    hostile_story,
    id_of,
    joined_story,
    large_story,
    member,
    phase,
    sample_story,
    sends_story,
    sequence_story,
)

ATTACK = "<img src=x onerror=alert(1)>'\"\x1b[31m\u202e{{ 7*7 }}{% raw %}</td></script>\n" + "long" * 90
STORIES = {
    "sample": sample_story(),
    "large": large_story(500),
    "joined": joined_story(),
    "agents": agents_story(),
    "sequence": sequence_story(500),
    "deep": deep_story(300),
    "sends": sends_story(40),
    "hostile": hostile_story(ATTACK),
}
stories = pytest.mark.parametrize("name", STORIES)


def row_of(story: Story, number: int) -> WaterfallRow:
    (found,) = [row for row in waterfall(story).rows if id_of(number) in row.ids]
    return found


def test_a_bar_has_the_phases_and_the_critical_path_of_its_member() -> None:
    story = sample_story()
    drawing = waterfall(story)
    assert (drawing.axis.seconds, drawing.axis.breaks) == (120, ())
    for row in drawing.rows:
        (id_,) = row.ids
        phases = story.phases[story.phases["id"] == id_]
        assert [each.kind for each in row.segments] == list(phases["kind"])
        for segment, started in zip(row.segments, phases["started"], strict=True):
            assert segment.left * 120 == pytest.approx((started - story.started).total_seconds())
        ends = [each.left + each.width for each in row.segments]
        assert ends[:-1] == pytest.approx([each.left for each in row.segments[1:]])
        critical = sum(right - left for left, right in row.critical_parts)
        assert critical * 120 == pytest.approx(row.critical)
        assert row.segments[-1].is_open == row.is_open == (row.status not in {"succeeded", "failed"})


@stories
def test_each_member_is_in_one_row_or_counted(name: str) -> None:
    story = STORIES[name]
    drawing = waterfall(story)
    ids = [id_ for row in drawing.rows for id_ in row.ids]
    below = sum(row.below for row in drawing.rows)
    assert len(set(ids)) == len(ids)
    assert len(ids) + below + drawing.hidden == len(story.members)
    assert len(drawing.rows) <= MOST_ROWS
    for row in drawing.rows:
        assert all(0 <= each <= 1 for part in row.critical_parts for each in part)
        assert 0 <= row.left <= row.left + row.width <= 1 + 1e-9


def test_equal_siblings_share_a_row_and_others_do_not() -> None:
    """Members of random trees in one row have the same parent, handler, status, and equal members below them."""
    generator = random.Random(44)  # noqa: S311 - no secret
    for _ in range(25):
        members = [member(1, "Root/run", "running", 0, None, **ROOT)]
        for number in range(2, generator.randint(3, 80)):
            parent = generator.choice(members)
            target = f"{generator.choice('AB')}/{number}/run"
            status = generator.choice(["succeeded", "succeeded", "failed"])
            members.append(
                member(
                    number, target, status, number, 90, parent=parent.id, found_from=parent.id, depth=parent.depth + 1
                )
            )
        story = Story.of(members, [], [], [], source="prod", version="1.7.12", read_at=NOW)
        by_id = {each.id: each for each in members}
        drawing = waterfall(story, most=1_000)
        for row in drawing.rows:
            assert len({shape_of(by_id[id_], members) for id_ in row.ids}) == 1
            assert len({by_id[id_].parent for id_ in row.ids}) == 1
        assert sum(row.count + row.below for row in drawing.rows) == len(members)
        single = [row.ids[0] for row in drawing.rows if row.count == 1]
        by_place = {id_: place for place, id_ in enumerate(single)}
        for id_ in single:
            parent = by_id[id_].parent
            assert parent is None or by_place[parent] < by_place[id_]


def shape_of(one: Member, members: list[Member]) -> object:
    below = frozenset(shape_of(each, members) for each in members if each.parent == one.id)
    return one.service, one.handler, one.status, below


def test_equal_siblings_with_equal_members_below_them_share_a_row_that_counts_these() -> None:
    orders = [member(n, f"Order/{n}/place", "succeeded", n, 90) for n in range(2, 10)]
    below = {"found_by": "call", "depth": 2}
    calls = [
        member(100 * n + part, "Pay/charge", "succeeded", n, 80, parent=id_of(n), found_from=id_of(n), **below)
        for n in range(2, 10)
        for part in range(1 + n % 2)
    ]
    root = member(1, "Import/run", "running", 0, None, **ROOT)
    story = Story.of([root, *orders, *calls], [], [], [], source="prod", version="1.7.12", read_at=NOW)
    drawing = waterfall(story)
    assert [(row.count, row.below) for row in drawing.rows] == [(1, 0), (8, 12)]
    assert drawing.hidden == 0
    assert "12 more below" in story._repr_html_()
    assert "(12 below)" in str(story)


def test_the_slow_member_of_many_equal_ones_has_its_own_row() -> None:
    drawing = waterfall(sequence_story(500))
    assert [row.count for row in drawing.rows] == [1, 1, 499]
    assert drawing.rows[1].ids == (id_of(2),)
    assert drawing.rows[2].critical == pytest.approx(120 - drawing.rows[1].critical)
    assert max(drawing.rows[2].profile) < 0.05  # one after the other


def test_a_limit_keeps_the_root_and_what_the_story_waited_for() -> None:
    drawing = waterfall(deep_story(300))
    assert (len(drawing.rows), drawing.hidden) == (60, 240)
    assert drawing.rows[0].ids == (id_of(1),)
    assert drawing.rows[-1].ids == (id_of(300),)


def test_a_long_time_without_running_code_is_drawn_shorter() -> None:
    """The phases before and after it can be read, and its length is in the card."""
    day = 86_400.0
    steps = [phase(1, kind, n, n + 1) for n in range(8) for kind in ["running" if n % 2 else "waiting"]]
    steps += [phase(1, "waiting", 8, day)]
    steps += [phase(1, "running" if n % 2 else "calling", day + n, day + n + 1) for n in range(6)]
    one = member(1, "Order/4711/place", "succeeded", 0, day + 6, **ROOT)
    story = Story.of([one], [], [], steps, source="prod", version="1.7.12", read_at=at(2 * day))
    drawing = waterfall(story)
    assert drawing.axis.breaks == ((8.0, day + 1),)
    widths = [each.width for each in drawing.rows[0].segments]
    assert sum(widths) == pytest.approx(1)
    assert min(widths[:8]) > 0.05
    assert [each.label for each in drawing.axis.ticks()] == ["2026-11-30 14:03:00 UTC", "+8s", "+1d", "+1d"]
    assert "23h 59m in which no code ran, drawn shorter" in story._repr_html_()
    quiet = Story.of([one], [], [], steps[:9], source="prod", version="1.7.12", read_at=at(2 * day))
    assert waterfall(quiet).axis.breaks == (), "a few steps and a long wait are shown as they are"


def test_many_short_phases_are_drawn_together() -> None:
    steps = [phase(1, "retrying" if n % 3 else "running", n / 100, (n + 1) / 100, label=str(n)) for n in range(12_000)]
    one = member(1, "Loop/run", "succeeded", 0, 120, **ROOT)
    drawing = waterfall(Story.of([one], [], [], steps, source="prod", version="1.7.12", read_at=NOW))
    segments = drawing.rows[0].segments
    assert len(segments) <= 400
    assert sum(each.count for each in segments) == len(steps)
    assert sum(each.seconds for each in segments) == pytest.approx(120)
    assert {each.kind for each in segments} == {"retrying"}


def test_a_one_way_call_is_a_line_from_its_caller_down_to_its_callee() -> None:
    story = sends_story(3)
    caller, *callees = waterfall(story).rows
    assert caller.departures == tuple(each.arrival for each in callees)
    assert [len(each.passing) for each in callees] == [2, 1, 0]
    assert callees[0].relation == "Fanout/start sent a one-way call to it"
    assert row_of(sample_story(), 6).relation == "it completed an awakeable of Order/4711/place"


@stories
def test_the_text_fits_a_terminal(name: str) -> None:
    story = STORIES[name]
    for width in (80, 100):
        lines = tree_lines(story, width)
        assert max(map(len, lines)) <= width
        assert not any(unicodedata.category(each) in {"Cc", "Cf"} for line in lines for each in line)
    assert count_rows(str(story)) <= 40
    shown = [line for line in tree_lines(story, 100, most=1_000) if "inv_…" in line]
    marked = sum(line.startswith("*") for line in shown)
    single = [row for row in waterfall(story, most=1_000).rows if row.count == 1]
    assert marked == sum(row.critical > 0 for row in single)


def test_the_text_of_an_order() -> None:
    lines = tree_lines(sample_story())
    assert lines[0].split() == ["*", "Order/4711/place", "suspended", "2m", "+0s", f"inv_…{id_of(1)[-4:]}"]
    assert lines[2].startswith("    Mail/send (one-way)")
    assert lines[6:] == ["      [500] no answer", "* on the critical path"]
    path = "Critical path 2m: queued 47.9s (Stock/berlin/reserve), retrying 35s (Payments/charge, charge card), running"
    assert path in str(sample_story())
    assert "  48 × Row/store" in "\n".join(tree_lines(large_story(50)))


def test_the_cost_of_an_agent_is_never_zero_if_it_is_unknown() -> None:
    story = agents_story()
    assert agent_text(row_of(story, 2)) == "12 model calls, 61,004 tokens"
    assert agent_text(row_of(story, 5)) == ""
    assert "2 agents: 16 model calls, 70,104 tokens, $1.25 (unknown for 1)." in str(story)
    agents = [member(n, "Agent/ask", "succeeded", n, 50, tokens=None if n == 3 else 10) for n in range(2, 8)]
    root = member(1, "Chat/run", "succeeded", 0, 60, **ROOT)
    folded = Story.of([root, *agents], [], [], [], source="prod", version="1.7.12", read_at=NOW)
    assert agent_text(waterfall(folded).rows[1]) == "at least 50 tokens"
    assert "tokens" not in large_story(20)._repr_html_()


def test_the_origins_are_only_in_a_joined_story() -> None:
    assert "2 from the archive, 1 from the server." in joined_story()._repr_html_()
    assert "2 from the archive, 1 from the server." in str(joined_story())
    assert "archive" not in sample_story()._repr_html_() + str(sample_story())
    assert joined_story()._repr_html_().count("· archive") == 2
    ended = [member(1, "Order/4711/place", "succeeded", 0, 60, **ROOT, origin="archive")]
    only = Story.of(ended, [], [], [], source="prod", version="1.7.12", read_at=NOW)
    assert "1 from the archive." in only._repr_html_()
    assert "· archive" not in only._repr_html_(), "a note that each row would have"


def test_each_phase_has_a_colour_and_each_edge_a_sentence() -> None:
    assert set(PHASE_COLOURS) == set(PHASES)
    assert all(re.findall(r"\{\w+\}", text) for text in EDGE_KINDS.values())


def test_a_live_card_has_a_button_for_each_shown_member() -> None:
    story = sample_story()
    html = html_of(story.document(picture=picture_of(story, is_live=True, selected=id_of(2))))
    assert re.findall(r'data-open="(inv_\w+)"', html) == story.ids
    assert html.count('aria-current="true"') == 1
