"""The view of queues without a server; tests/integration/test_limits.py has it on a server with rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from restate_lab.panels import queues as module
from restate_lab.panels.panel import Panel
from restate_lab.panels.panel.state import PanelState
from restate_lab.panels.queues import QueuesView
from support.queue_rows import queue, queues_of
from support.sample_rows import LiveRows, SampleRows

ATTACK = "<img src=x onerror=alert(1)>\x1b[31m\u202etxt"
pytestmark = pytest.mark.usefixtures("no_doctor")


def view_of(panel: Panel) -> QueuesView:
    assert panel.error == ""
    assert isinstance(panel.view, QueuesView)
    return panel.view


def test_a_source_without_vqueues_is_one_line(make: Callable[..., Panel]) -> None:
    view = view_of(make(SampleRows(), view="queues"))
    text = view.summary.text
    assert text.startswith("Queues and limits need vqueues, which Restate 1.8 has and 1.7 can enable. made (restate ")
    assert [part.layout.display for part in view.children[1:]] == ["none"] * 6
    assert text.partition(".")[0] in "".join(view.static())


def test_the_course_of_a_queue_begins_when_the_view_opens(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that empties loses its course; its length is limited."""
    rows = [queue(lock_name=ATTACK, queue=ATTACK, waiting=4), queue(waiting=1)]
    monkeypatch.setattr(module, "why_without_queues", lambda _: "")
    monkeypatch.setattr(module, "read_queues", lambda _: queues_of(rows))
    monkeypatch.setattr(module, "_POINTS", 5)
    view = view_of(make(LiveRows(), view="queues", refresh=None))
    assert view.grid.frame["course"].tolist() == ["±0", "±0"]
    for waiting in (9, 7):
        rows[0]["waiting"] = waiting
        view.show(view.read())
    assert view.grid.frame["course"].tolist() == ["+3", "±0"]
    assert view.grid.frame["points"].tolist() == [[4, 9, 7], [1, 1, 1]]
    first = rows.pop(0)
    view.show(view.read())
    rows.append(first)
    view.show(view.read())
    assert view.grid.frame["points"].tolist() == [[1, 1, 1, 1, 1], [7]]
    for _ in range(6):
        view.show(view.read())
    assert view.grid.frame["course"].tolist() == ["±0", "±0"]
    assert {len(points) for points in view.grid.frame["points"]} == {5}
    html = "".join(view.static())
    assert not any(each in html for each in ("<img", "\x1b", "\u202e"))


def test_reading_the_queues_takes_a_thousandth_of_the_time(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head states how often the view reads, the view counts the queues that it does not show, and other views read
    a hundred times as often for the same duration.
    """
    monkeypatch.setattr(module, "why_without_queues", lambda _: "")
    monkeypatch.setattr(module, "read_queues", lambda _: queues_of([queue()], hidden=30_000))
    panel = make(LiveRows(), view="queues", refresh="1ms")
    pace = panel.refresher.pace
    assert pace.wait == 1_000 * pace.took
    assert panel.head.cost.endswith(": 0.1 % of the time is spent reading")
    text = view_of(panel).summary.text
    assert "30,004 calls in 30,001 queues wait" in text
    assert "The 1 queues with the oldest waits of 30,001. 30,000 calls more wait in the other 30,000 queues." in text
    panel.click("Overview")
    assert panel.wait()
    assert pace.wait == 10 * pace.took


def test_a_rule_is_part_of_the_state_and_filters_are_not() -> None:
    state = PanelState.of({"view": "queues", "open": "green/*", "service": "Work"})
    assert state.keywords == {"view": "queues", "open": "green/*"}
    assert state.code == "rl.Panel(lab, view='queues', open='green/*')"
