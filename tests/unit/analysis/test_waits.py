"""Waits on rows made by hand: circles, alternatives, shared waiters, hostile keys, cuts and bounds."""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.suggestions import why_call
from restate_lab.analysis.waits import Waits, result as waits_result, waits
from restate_lab.analysis.waits.graph import cycles, root_blockers
from restate_lab.analysis.waits.model import Nodes, needs_all, table_of_edges
from restate_lab.analysis.waits.reader import WaitSnapshot
from restate_lab.calls import SuggestedCall
from restate_lab.document.text import ROWS, text_of
from restate_lab.errors import ArgumentError, Truncated
from support.blocked_rows import HOUR_AGO, NOW, inv, wait_graph
from support.wait_world import World


def ids(*names: str) -> list[str]:
    return [inv(name) for name in names]


def the_deadlock(found: Waits) -> dict[Any, Any]:
    assert len(found.deadlocks) == 1
    return found.deadlocks.to_dict("records")[0]


def test_without_waits_frames_and_graph_are_empty_and_the_text_states_it() -> None:
    found = waits(World())
    assert repr(found) == "<Waits of prod, restate 1.7.12, 2026-11-25 03:00:00 UTC: no invocation waits>"
    assert found.edges.empty
    assert {"blocker", "alternative", "since"} <= set(found.edges.columns)
    assert {"total_waiting", "waits_for"} <= set(found.blockers.columns)
    assert {"certain", "resolution_code"} <= set(found.deadlocks.columns)
    assert len(found.graph()) == len(found.sleeps) == len(found.open_awakeables) == len(found.open_promises) == 0
    assert "no invocation waits" in found._repr_html_()


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_cycle_of_keys_is_one_deadlock_whose_newest_member_is_to_be_canceled(length: int) -> None:
    names = [f"n{number}" for number in range(length)]
    found = waits(World().ring(*names))
    row = the_deadlock(found)
    assert row["certain"]
    assert row["length"] == length
    assert len(row["members"]) == 2 * length
    start = row["members"].index(inv("n0"))
    in_order = [*row["members"][start:], *row["members"][:start]]
    assert in_order[::2] == ids(*names)
    assert set(row["keys"]) == {f"Svc/{name}" for name in names}
    assert row["cancel"] == inv(names[-1])
    assert row["resolution_code"] == f'rl.plan(lab, "cancel", ["{inv(names[-1])}"]).execute(reason="break a deadlock")'
    assert "Kill it if the cancel has no effect" in row["reason"]
    assert row["waiting"] == 0
    assert found.blockers.empty
    graph = found.graph()
    assert all(graph.has_edge(here, there) for here, there in zip(in_order, [*in_order[1:], in_order[0]], strict=True))


def test_waiters_of_a_deadlock_count_for_it_and_are_no_root_blockers() -> None:
    world = World().ring("a", "b").queue("q1", "Svc/a", "a").queue("q2", "Svc/b", "b", caller="outer")
    found = waits(world.suspend("outer", "Call", "q2"))
    assert the_deadlock(found)["waiting"] == 3
    assert found.blockers.empty


def test_cycles_without_a_common_member_are_separate_deadlocks() -> None:
    found = waits(World().ring("a", "b").ring("c", "d", "e"))
    assert sorted(found.deadlocks["length"]) == [2, 3]


def test_invocations_that_attach_to_each_other_are_in_a_deadlock() -> None:
    world = World().suspend("a", "AttachInvocation", "b").suspend("b", "AttachInvocation", "a")
    world.suspend("c", "GetInvocationOutput", "c")
    found = waits(world).deadlocks
    assert [sorted(members) for members in found["members"]] == [sorted(ids("a", "b")), ids("c")]
    assert found["certain"].all()
    assert list(found["keys"]) == [[], []]
    assert "waits for itself" in found["description"][1]


def test_a_waiter_with_two_paths_to_a_root_counts_once() -> None:
    world = World().suspend("top", "Call", "left").suspend("top", "Call", "right")
    world.suspend("left", "Call", "root").suspend("right", "Call", "root").be("root", "running")
    (row,) = waits(world).blockers.to_dict("records")
    assert (row["id"], row["direct_waiting"], row["total_waiting"]) == (inv("root"), 2, 3)
    assert row["examples"] == sorted(ids("left", "right"))


def test_a_waiter_for_two_roots_counts_for_both() -> None:
    world = World().suspend("both", "Call", "busy").suspend("both", "Call", "idle")
    world.suspend("one", "Call", "busy").be("busy", "running").be("idle", "running")
    blockers = waits(world).blockers
    assert list(blockers["id"]) == ids("busy", "idle")
    assert list(blockers["total_waiting"]) == [2, 1]


def test_a_deadlock_is_not_certain_if_a_member_also_waits_for_a_sleep() -> None:
    world = World().ring("a", "b").suspend("a", "Sleep", wakes_at=pd.Timestamp(NOW))
    row = the_deadlock(waits(world))
    assert not row["certain"]
    assert "Svc/a/go also waits for a sleep until 2026-11-25 03:00:00 UTC, which may be enough" in row["reason"]


def test_a_deadlock_is_certain_if_the_sdk_reports_that_its_member_needs_all() -> None:
    world = World().ring("a", "b").suspend("a", "Sleep", wakes_at=pd.Timestamp(NOW))
    both = {"AllCompleted": [{"Single": {"CompletionId": 1}}, {"Single": {"CompletionId": 2}}]}
    future = {"FirstCompleted": [both, {"Single": {"SignalIndex": 1}}]}
    world.made["combinations"] = [{"id": inv("a"), "future_json": json.dumps(future)}]
    assert the_deadlock(waits(world))["certain"]


def test_another_running_call_does_not_free_a_member_that_needs_all() -> None:
    world = World().ring("a", "b").suspend("a", "Call", "other").be("other", "running")
    both = {"AllCompleted": [{"Single": {"CompletionId": 1}}, {"Single": {"CompletionId": 2}}]}
    world.made["combinations"] = [{"id": inv("a"), "future_json": json.dumps(both)}]
    assert the_deadlock(waits(world))["certain"]


def test_a_deadlock_is_certain_if_all_alternatives_are_stuck() -> None:
    world = World().ring("a", "b").ring("c", "d").suspend("a", "Call", "a>c").queue("a>c", "Svc/c", "c", caller="a")
    found = waits(world).deadlocks
    assert list(found["certain"]) == [True, True]


def test_a_deadlock_is_not_certain_if_another_call_of_a_member_runs() -> None:
    world = World().ring("a", "b").suspend("a", "Call", "other").be("other", "running")
    found = waits(world)
    assert not the_deadlock(found)["certain"]
    assert list(found.blockers["id"]) == ids("other")


@pytest.mark.parametrize(
    ("future", "needs"),
    [
        ({"Unknown": [{"Single": {"CompletionId": 3}}, {"Single": {"CompletionId": 4}}]}, False),
        ({"AllCompleted": [{"Single": {"CompletionId": 3}}, {"Single": {"CompletionId": 4}}]}, True),
        ({"AllSucceededOrFirstFailed": [{"Single": {"CompletionId": 3}}, {"Single": {"CompletionId": 4}}]}, False),
        ({"FirstCompleted": [{"Single": {"CompletionId": 3}}, {"Single": {"SignalIndex": 1}}]}, True),
        ({"FirstCompleted": [{"Single": {"CompletionId": 3}}, {"Single": {"SignalIndex": 17}}]}, False),
        ({"AllCompleted": [{"FirstCompleted": [{"Single": {}}, {"Single": {}}]}, {"Single": {}}]}, False),
        ("nonsense", False),
        (None, False),
        ({}, False),
    ],
)
def test_only_the_combination_all_completed_needs_all_parts_besides_cancellation(future: Any, needs: bool) -> None:
    assert needs_all(json.dumps(future)) is needs


def test_a_cycle_of_calls_of_running_invocations_is_not_certain() -> None:
    world = World().queue("b-take", "Svc/b", "b", caller="a").queue("a-take", "Svc/a", "a", caller="b")
    world.made["open_calls"] = [
        {"id": inv(here), "target": f"Svc/{here}/go", "callee_id": inv(f"{there}-take"), "since": HOUR_AGO}
        for here, there in ("ab", "ba")
    ]
    found = waits(world)
    row = the_deadlock(found)
    assert not row["certain"]
    assert "Svc/a/go runs and may not wait yet" in row["reason"]
    assert repr(found).endswith(": 1 possible deadlock>")


def test_journals_are_read_only_for_running_callers_of_waiting_invocations() -> None:
    world = World().suspend("a", "Call", "q").queue("q", "Svc/k", "h", caller="a").be("h", "running")
    waits(world)
    assert "open_calls" not in world.asked
    world.queue("p", "Svc/k", "h", caller="runs")
    waits(world)
    assert "open_calls" in world.asked


def test_an_edge_to_a_completed_invocation_makes_no_blocker() -> None:
    found = waits(World().suspend("a", "Call", "done").be("done", "completed"))
    assert list(found.edges["blocker"]) == ids("done")
    assert found.blockers.empty


@pytest.mark.parametrize(
    ("status", "more", "error", "said"),
    [
        (
            "backing-off",
            {"attempts": 7, "next_retry_at": pd.Timestamp(NOW)},
            {"code": "RT0007", "message": "ValueError: wet\nTraceback", "step": "count"},
            (
                "its next attempt at 2026-11-25 03:00:00 UTC after 7 failed attempts: "
                "[RT0007] in step “count”: ValueError: wet"
            ),
        ),
        (
            "paused",
            {},
            {"code": "RT0007", "message": "no", "step": None},
            "a manual resume: it is paused: [RT0007] no",
        ),
        (
            "running",
            {"attempts": 2},
            {"code": None, "message": "no", "step": None},
            "nothing: it is in an attempt; the last one failed: no",
        ),
        ("running", {"attempts": 1}, None, "nothing: it is in an attempt"),
        ("ready", {}, None, "a free slot of the invoker"),
        (
            "ready",
            {},
            {"code": None, "message": "no", "step": None},
            "a free slot of the invoker; the last attempt failed: no",
        ),
        ("scheduled", {"scheduled_start_at": pd.Timestamp(NOW)}, None, "its start at 2026-11-25 03:00:00 UTC"),
        ("yielded", {}, None, "nothing: it is yielded"),
        (None, {}, None, "nothing: the invocation no longer exists"),
    ],
)
def test_the_text_of_a_root_has_its_status_and_last_error(
    status: str | None, more: dict[str, Any], error: dict[str, Any] | None, said: str
) -> None:
    world = World().queue("q", "Svc/h", "h")
    if status:
        world.be("h", status, **more)
    world.made["last_errors"] = [{"id": inv("h"), **error}] if error else []
    (row,) = waits(world).blockers.to_dict("records")
    assert row["waits_for"] == said
    assert row["status"] == status
    state = said.removeprefix("nothing: it ") if said.startswith("nothing: it ") else f"waits for {said}"
    assert f" is {status or 'gone'}{'' if state == f'is {status}' else f' and {state}'}" in " ".join(
        text_of(waits(world).document()).split()
    )


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("Awakeable", {"signal": 17}, "the awakeable sign_1"),
        ("GetPromise", {"promise": "a/b"}, "the promise “a/b”, which is not completed"),
        ("Sleep", {"wakes_at": pd.Timestamp(NOW)}, "a sleep until 2026-11-25 03:00:00 UTC"),
        ("Run", {"name": "charge"}, "its own step “charge” (Run), which does not wake it: resume it"),
        ("Signal", {"signal": 5}, "signal 5"),
        ("GetLazyState", {}, "its state"),
        ("Unknown", {}, "something that is no longer in its journal"),
    ],
)
def test_the_wait_of_a_suspended_root_blocker_is_named(kind: str, more: dict[str, Any], said: str) -> None:
    found = waits(World().suspend("h", kind, **more).queue("q", "Svc/h", "h"))
    assert found.blockers["waits_for"][0].startswith(said)
    assert found.edges["blocker"].isna()[0]
    assert len(found.open_awakeables) == (kind == "Awakeable")
    assert len(found.open_promises) == (kind == "GetPromise")
    assert len(found.sleeps) == (kind == "Sleep")


SHAPES = {
    *("x", "y", "width", "height", "rx", "d", "points", "fill", "fill-opacity", "stroke", "stroke-opacity"),
    *("stroke-width", "stroke-dasharray", "font-weight", "font-size"),
}
PICTURE = {"svg", "rect", "path", "polygon", "text", "foreignobject", "a", "span"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        assert {name for name, _ in attrs} <= {
            "style",
            "title",
            "id",
            "tabindex",
            "role",
            "aria-hidden",
            "aria-level",
            "aria-label",
            "href",
        } | SHAPES
        assert dict(attrs).get("href", "#").startswith("#")


@pytest.mark.parametrize("key", ["a/b", 'it\'s "q"', "<img src=x onerror=alert(1)>", "é✓\n'; DROP", "{what}", ""])
def test_keys_are_any_text(key: str) -> None:
    """Slashes, quotes, markup, braces, line ends and other scripts are preserved in every place.

    They are text in frames, escaped in the card, and within one line of the suggested code.
    """
    world = World().suspend("a", "Call", "q", target=f"Svc/{key}/go").queue("q", f"Svc/{key}", "a", caller="a")
    world.suspend("p", "GetPromise", promise=key, target=key).suspend("x", "Call", "p").suspend(
        "s", "Sleep", wakes_at=pd.Timestamp(NOW)
    )
    found = waits(world)
    assert the_deadlock(found)["keys"] == [f"Svc/{key}"]
    assert list(found.open_promises["detail"]) == [key]
    assert "\n" not in the_deadlock(found)["resolution_code"]
    assert "\n" not in repr(found)
    tags = _Tags()
    tags.feed(found._repr_html_())
    assert tags.seen <= {"div", "b", "span"} | PICTURE


def test_the_card_lists_deadlocks_before_root_blockers_before_awakeables() -> None:
    world = World().ring("a", "b").suspend("p", "GetPromise", promise="x").queue("q", "Svc/h", "h").be("h", "running")
    for number in range(20):
        world.suspend(f"w{number}", "Awakeable", signal=17)
    html = waits(world)._repr_html_()
    places = [html.index(each) for each in ("Deadlocks (1)", "Root blockers", "sign_1", "Promises")]
    assert places == sorted(places)
    assert ">12 more<" in html
    assert "rl.plan(lab" in html
    assert ".execute(" not in html


def test_root_blockers_with_one_cause_are_one_row_with_their_number() -> None:
    """The number of attempts and the time of the next one differ, and do not make a cause of its own."""
    world, down = World(), {"code": "RT0007", "step": "charge", "message": "ProviderDown('HTTP 503')"}
    for number in range(3):
        retry = {"attempts": 7 + number, "next_retry_at": NOW + timedelta(seconds=number)}
        world.suspend(f"w{number}", "Call", f"h{number}", target="Orders/place")
        world.be(f"h{number}", "backing-off", target="Payments/charge", **retry)
    world.suspend("x", "Call", "y", target="Orders/place").be("y", "backing-off", target="Payments/charge", attempts=5)
    world.made["last_errors"] = [{"id": inv(f"h{number}"), **down} for number in range(3)] + [
        {"id": inv("y"), **down, "message": "CardExpired()"}
    ]
    found = waits(world)
    groups = found.grouped_blockers()
    assert list(zip(groups["id"], groups["times"], strict=True)) == [(inv("h0"), 3), (inv("y"), 1)]
    assert groups["waits_for"].iloc[0] == "its next attempt: [RT0007] in step “charge”: ProviderDown('HTTP 503')"
    assert "after 5 failed attempts" in groups["waits_for"].iloc[1]
    assert "3 × Payments/charge" in found._repr_html_()
    assert len(found.blockers) == 4


def test_unread_waits_are_in_one_warning_and_in_not_read_repr_card_and_attrs() -> None:
    world = World().suspend("a", "Call", "q0").suspend("b", "Awakeable", signal=17).be("h", "running")
    for number in range(5):
        world.queue(f"q{number}", "Svc/h", "h", caller="a" if not number else None)
    world.made["blocked_keys"] = [{"holder_id": inv("h"), "waiting": 5}, {"holder_id": None, "waiting": 9}]
    with pytest.warns(Truncated) as caught:
        found = waits(world, limit=1)
    assert len(caught) == 1
    assert len(found.not_read) == 2
    assert "only the 1 invocations" in found.reasons[1]
    assert "4 more are counted" in found.reasons[0]
    assert "not everything was read" in repr(found)
    assert found.reasons[1] in found._repr_html_()
    assert found.blockers.attrs["not_read"] == found.reasons
    (row,) = found.blockers.to_dict("records")
    assert (row["direct_waiting"], row["total_waiting"]) == (5, 6)


def test_holders_and_callers_are_read_if_sleepers_exceed_the_limit() -> None:
    world = World()
    for number in range(9):
        world.suspend(f"s{number}", "Sleep", wakes_at=pd.Timestamp(NOW))
    world.ring("a", "b").suspend("top", "Call", "mid").suspend("mid", "Call", "a")
    world.things[-4]["invoked_by_id"] = inv("mid")
    world.things[-1]["invoked_by_id"] = inv("top")
    with pytest.warns(Truncated, match="only the 2 invocations"):
        found = waits(world, limit=2)
    assert the_deadlock(found)["waiting"] == 2
    assert len(found.sleeps) == 2


def test_nothing_is_excluded_if_the_waiting_invocations_equal_the_limit() -> None:
    world = World().suspend("a", "Call", "q").queue("q", "Svc/h", "h").be("h", "running")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert waits(world, limit=1).not_read.empty


def test_no_statement_gets_more_ids_than_its_limit_and_no_id_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.waits.reader.CHUNK", 2)
    world = World()
    for number in range(5):
        world.suspend(f"w{number}", "Call", f"h{number}").be(f"h{number}", "running")
    assert len(waits(world).blockers) == 5
    assert world.asked.count("commands") == world.asked.count("states") == 3


def test_above_the_limit_of_steps_a_root_has_only_its_direct_count() -> None:
    graph = wait_graph([*((f"w{number}", "big") for number in range(9)), ("w0", "small")])
    big, small = root_blockers(graph, graph.ends(), {}, steps=9)
    assert (big.id, big.direct_waiting, big.total_waiting) == ("big", 9, 9)
    assert (small.id, small.direct_waiting, small.total_waiting) == ("small", 1, None)


def test_above_the_limit_of_steps_counts_are_missing_and_the_warning_has_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("restate_lab.analysis.waits.STEPS", 0)
    world = World().queue("q", "Svc/h", "h").be("h", "running").ring("a", "b")
    with pytest.warns(Truncated, match="for 2 root blockers or deadlocks, not all"):
        found = waits(world)
    assert found.blockers["total_waiting"].isna().all()
    assert found.deadlocks["waiting"].isna().all()
    assert "1 or more" in found._repr_html_()


@pytest.mark.long  # large sizes of what the other tests count
def test_20000_edges_are_counted_exactly_at_any_depth() -> None:
    world = World()
    world.be("end", "running").suspend("c0", "Call", "end")
    for number in range(1, 10_000):
        world.suspend(f"c{number}", "Call", f"c{number - 1}")
    for number in range(4_000):
        world.queue(f"q{number}", "Svc/end", "end")
    for number in range(1_000):
        world.ring(*(f"r{number}.{member}" for member in range(1 + number % 5)))
    found = waits(world)
    assert len(found.edges) > 18_000
    assert len(found.deadlocks) == 1_000
    assert found.deadlocks["certain"].all()
    (row,) = found.blockers.to_dict("records")
    assert (row["direct_waiting"], row["total_waiting"]) == (4_001, 14_000)


def test_the_path_of_a_deadlock_of_many_cycles_is_a_shortest_one() -> None:
    graph = wait_graph((f"n{here}", f"n{there}") for here in range(6) for there in range(6) if here != there)
    (cycle,) = cycles(graph)
    assert len(cycle.members) == 6
    assert len(cycle.path) == 2


def test_the_graph_is_a_copy_and_attrs_are_json() -> None:
    found = waits(World().ring("a", "b"))
    found.graph().clear()
    assert len(found.graph()) == 4
    assert found.graph().nodes[inv("a")] == {"target": "Svc/a/go", "status": "suspended"}
    for frame in (found.edges, found.blockers, found.deadlocks, found.open_awakeables):
        assert json.loads(json.dumps(frame.attrs))["source"] == "prod"
    assert str(found.edges["since"].dtype) == "datetime64[ms, UTC]"


def test_a_limit_below_one_sends_nothing() -> None:
    world = World()
    with pytest.raises(ArgumentError, match="limit is 0"):
        waits(world, limit=0)
    assert world.asked == []


def test_a_snapshot_excludes_nothing_unless_it_lists_it() -> None:
    edges = table_of_edges([])
    assert WaitSnapshot(edges, Nodes(edges, {})).excluded == ()


def test_only_the_rows_that_a_surface_shows_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text builds at most a screen of rows at once, and a card the first 25 of each list."""
    world, built = World(), list[str]()
    for number in range(2_000):
        world.suspend(f"w{number}", "Awakeable", signal=17)
    found = waits(world)

    def count(id_: str) -> SuggestedCall:
        built.append(id_)
        return why_call(id_)

    monkeypatch.setattr(waits_result, "why_call", count)
    assert f"Awakeables that are not resolved ({2_000:,}):" in str(found)
    assert len(set(built)) <= ROWS
    built.clear()
    assert "1,992 more" in found._repr_html_()
    assert len(built) == 25
