"""The view of waits: its picture, its lists, its state, and what a click does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from restate_lab.errors import ArgumentError, Unreachable
from restate_lab.panels import waits as module
from restate_lab.panels.panel import Panel
from restate_lab.panels.panel.state import WITHOUT_OPEN, PanelState
from restate_lab.panels.waits import WaitsView
from restate_lab.source import Coverage
from support.blocked_rows import inv
from support.wait_world import World

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"

pytestmark = pytest.mark.usefixtures("no_doctor")


def world() -> World:
    """Return two deadlocks, a queue of twelve, and an invocation with a hostile name that waits for another one."""
    world = World().ring("madrid", "oslo").ring("rome", "bern", "graz")
    for number in range(12):
        world.queue(f"queued{number}", "Account/acme", "holder")
    world.be("holder", "running", target="Account/acme/debit")
    return world.suspend("evil", "Call", "paid", target=ATTACK).be("paid", "paused", target="Payments/charge")


def view_of(panel: Panel) -> WaitsView:
    assert isinstance(panel.view, WaitsView)
    return panel.view


def test_the_view_has_the_picture_and_both_lists(make: Callable[..., Panel]) -> None:
    panel = make(world(), view="waits")
    view = view_of(panel)
    assert panel.error == ""
    assert view.summary.text == "2 deadlocks · 2 root blockers"
    assert panel.frame.equals(view.waits.edges if view.waits else None)
    html = view.picture.content["html"]
    assert (html.count(">DEADLOCK<"), html.count("× 12")) == (2, 1)
    assert list(view.deadlock_grid.frame["kind"]) == ["deadlock", "deadlock"]
    assert list(view.blocker_grid.frame["id"]) == [inv("holder"), inv("paid")]
    assert "Deadlock" in "".join(view.static())


def test_hostile_names_are_text(make: Callable[..., Panel]) -> None:
    html = view_of(make(world(), view="waits")).picture.content["html"]
    assert "&lt;img src=x" in html
    assert not any(each in html for each in ("<img", "</script", "\x1b", "\u202e"))


def test_a_click_on_a_box_opens_its_invocation(make: Callable[..., Panel]) -> None:
    panel = make(world(), view="waits")
    panel.click("open box", row=inv("holder"))
    assert panel.state == {"view": "waits", "open": inv("holder")}
    assert [link["label"] for link in panel.head.crumbs][:1] == ["‹ Waits"]
    panel.back()
    assert panel.state == {"view": "waits"}


def test_a_box_that_is_not_in_the_picture_does_nothing(make: Callable[..., Panel]) -> None:
    panel = make(world(), view="waits")
    view = view_of(panel)
    for message in ({"type": "open", "id": inv("other")}, {"type": "list", "id": inv("holder")}):
        view.picture.receive(message)
    assert panel.state == {"view": "waits"}
    assert panel.error == view.picture.error == ""


def test_a_deadlock_shows_its_part_of_the_graph(make: Callable[..., Panel]) -> None:
    """The part is in the state and in the code, and it filters no other view."""
    panel = make(world(), view="waits")
    view = view_of(panel)
    row = view.deadlock_grid.frame.iloc[0]
    panel.click("open", row=row["id"])
    assert panel.state == {"view": "waits", "id": row["ids"]}
    assert panel.code == f"rl.Panel(lab, view='waits', id={row['ids']!r})"
    content = view.picture.content
    assert content["html"].count(">DEADLOCK<") == 1
    assert content["html"].count("data-open=") == len(row["ids"])
    assert content["about"].startswith("Only the part of the graph with Svc/")
    panel.click("State")
    panel.click("Waits")
    assert panel.state == {"view": "waits", "id": row["ids"]}
    panel.click("Show the whole graph")
    assert panel.state == {"view": "waits"}
    assert view.picture.content["html"].count(">DEADLOCK<") == 2


def test_a_part_has_all_that_waits_for_an_invocation_and_what_it_waits_for(make: Callable[..., Panel]) -> None:
    view = view_of(make(world(), view="waits", id=inv("queued3")))
    html = view.picture.content["html"]
    assert all(f'data-open="{inv(name)}"' in html for name in ("queued3", "holder"))
    assert html.count("data-open=") == 2
    assert f'data-focus="wait-{inv("queued3")}" data-selected' in html


def test_a_part_that_waits_for_nothing_says_so(make: Callable[..., Panel]) -> None:
    view = view_of(make(world(), view="waits", id=inv("unknown")))
    content = view.picture.content
    assert content["html"] == ""
    assert content["about"] == f"Only the part of the graph with {inv('unknown')}. {module._ALONE}"


def test_nothing_waits(make: Callable[..., Panel]) -> None:
    panel = make(World(), view="waits")
    assert view_of(panel).picture.content == {"html": "", "about": module._NOTHING, "is_part": False}
    assert panel.error == ""


def test_folded_boxes_list_the_waiting_invocations(make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has the waiting invocations up to a number that its name states."""
    monkeypatch.setattr(module, "MOST_LISTED", 10)
    source = World().be("root", "running", target="Stock/mug/reserve")
    for number in range(60):
        source.suspend(f"caller{number}", "Call", "root", target=f"Orders/{number}/place")
    panel = make(source, view="waits")
    lists: list[tuple[int, str]] = []
    monkeypatch.setattr(view_of(panel), "_list_ids", lambda ids, name: lists.append((len(ids), name)))
    panel.click("list waiting", row=inv("root"))
    assert lists == [(10, "waiting for Stock/mug/reserve (first 10 of 60)")]


def test_a_large_graph_is_drawn_from_its_worst_ends(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_DRAWN", 20)
    monkeypatch.setattr(module, "_WORST", 1)
    view = view_of(make(world(), view="waits"))
    assert view.picture.content["about"].startswith("25 invocations wait or block. ")
    assert view.picture.content["html"].count(">DEADLOCK<") == 1
    assert len(view.deadlock_grid.frame) == 2


def test_a_failed_read_keeps_the_picture(make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch) -> None:
    panel = make(world(), view="waits")
    before = view_of(panel).picture.content

    def fail(*_: object, **__: object) -> None:
        raise Unreachable("cannot reach prod")

    monkeypatch.setattr(module, "find_waits", fail)
    panel.refresh()
    assert "cannot reach prod" in panel.error.lower()
    assert view_of(panel).picture.content == before


def test_a_history_has_no_waits(make: Callable[..., Panel]) -> None:
    class Ended(World):
        coverage = Coverage(open_invocations=False)

    panel = make(Ended(), view="waits")
    assert "".join(panel.view.static()).count(WITHOUT_OPEN["waits"]) == 1
    assert panel.error == ""


def test_a_part_needs_ids_and_filters_no_other_view() -> None:
    with pytest.raises(ArgumentError):
        PanelState.of({"view": "waits", "id": "Account/acme"})
    with pytest.raises(ArgumentError):
        PanelState.of({"view": "waits", "open": "dp_1"})
    state = PanelState.of({"view": "waits", "id": inv("a"), "service": "Svc"})
    assert (state.part, state.filters.changed) == ((inv("a"),), {"service": "Svc"})
    assert "id" not in state.with_(view="invocations").keywords
