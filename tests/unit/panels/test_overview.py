"""The overview without a browser: what it shows and gives back, the doctor on request, what a click filters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from restate_lab.analysis.questions import run_question
from restate_lab.errors import QueryRefused
from restate_lab.panels.overview import OverviewPanel
from support.sample_tables import NOW, SampleTables, invocation

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"
ROWS = [
    invocation(1, "invoked"),
    invocation(5, "invoked"),
    invocation(2, "suspended", handler=ATTACK),
    *(
        invocation(n, "inboxed", service="Cart", target_service_key="a/b", inboxed_at=NOW - timedelta(minutes=n))
        for n in (7, 8)
    ),
    invocation(9, "completed"),
]
STATES = [{"id": ROWS[0]["id"], "in_flight": False, "retry_count": 4}, {"id": ROWS[1]["id"], "retry_count": 9}]
INBOX = [{"id": row["id"], "service_name": "Cart", "service_key": "a/b"} for row in ROWS[3:5]]


@pytest.fixture
def make(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., OverviewPanel]]:
    """Give what makes panels; when the test is over they are closed, and left neither a thread nor a line."""
    made: list[OverviewPanel] = []

    def make(source: Any, **options: Any) -> OverviewPanel:
        made.append(OverviewPanel(source, **options))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")] == []
    assert capsys.readouterr() == ("", "")


def source(**more: Any) -> SampleTables:
    tables = {"sys_invocation_status": ROWS, "sys_invocation_state": STATES, "sys_inbox": INBOX}
    return SampleTables(**(tables | more))


def opened(panel: OverviewPanel, grid: str, line: int) -> None:
    """Click a row, as the grid's view does."""
    table = getattr(panel, grid)
    table._handle_custom_msg({"type": "alive", "view": "v", "in_sight": True, "state": True}, [])
    number = table._talk.model.number(int(table._talk.model.order[line]))
    table._handle_custom_msg({"type": "open_row", "view": "v", "row": number}, [])


def test_it_shows_the_answers_of_two_questions_and_gives_them_back(make: Callable[..., OverviewPanel]) -> None:
    """Counts, oldest and backlog are those of the questions; frame, statement and code lead back to them."""
    made = source()
    panel = make(made)
    assert panel.error == ""
    assert panel.frame.equals(run_question(made, "overview"))
    assert panel.backlog.equals(run_question(made, "backlog_by_key"))
    shown = panel._handlers.frame.set_index(["service", "status"])
    assert dict(shown["count"]) == {("Cart", "pending"): 2, ("Svc", "suspended"): 1, ("Svc", "backing-off"): 2}
    assert shown["oldest"]["Svc", "backing-off"] == timedelta(minutes=5)
    assert panel._backlog.frame[["service", "key", "waiting", "the first for"]].to_numpy().tolist() == [
        ["Cart", "a/b", 2, timedelta(minutes=8)]
    ]
    assert made.sql(panel.sql, params=panel.params).equals(panel.frame)
    assert panel.code == 'rl.ask(lab, "overview")'
    assert make(made, service="Cart").code == "rl.ask(lab, \"overview\", service='Cart')"
    assert list(make(made, service="Cart").frame["target_service_name"]) == ["Cart"]


def test_the_selection_is_rows_of_the_frame_and_stays(make: Callable[..., OverviewPanel]) -> None:
    """Rows that are selected are the same handlers and statuses after a refresh, whatever their counts are then."""
    made = source()
    panel = make(made)
    panel._handlers.selected = [row for row in panel._handlers.frame["row"] if "backing-off" in row]
    made.put("sys_invocation_status", [*ROWS, invocation(3, "scheduled", service="Aaa")])
    made.put("sys_invocation_state", STATES[:1])
    panel.refresh()
    assert panel.selected[["target_service_name", "status", "n"]].to_numpy().tolist() == [["Svc", "backing-off", 1]]


def test_a_click_shows_the_invocations(make: Callable[..., OverviewPanel], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row opens exactly its own: service, handler and status; a key opens the calls that wait for it."""
    asked: list[dict[str, Any]] = []
    panel = make(source())
    monkeypatch.setattr(panel, "look_at", lambda **filters: asked.append(filters))
    for line in range(3):
        opened(panel, "_handlers", line)
    opened(panel, "_backlog", 0)
    assert {(each["service"], each.get("handler"), each["status"]) for each in asked[:3]} == {
        ("Cart", "run", "pending"),
        ("Svc", "run", "backing-off"),
        ("Svc", ATTACK, "suspended"),
    }
    assert asked[3] == {"service": "Cart", "key": "a/b", "status": "pending"}
    assert panel.error == ""


def test_the_doctor_looks_on_request_only(make: Callable[..., OverviewPanel]) -> None:
    """Nothing is diagnosed before it is asked for; then the card stands there, and the button offers another look."""
    panel = make(source())
    assert panel.diagnosis is None
    assert panel._findings.layout.display == "none"
    panel._button.click()
    assert panel._doctor.wait(30)
    assert panel.diagnosis is not None
    assert "not checked" in panel._card.value  # such a source lacks most tables, and that is said
    assert (panel._findings.layout.display, panel._button.disabled) == ("", False)
    assert panel.error == ""


def test_what_the_doctor_raises_stands_in_the_panel(make: Callable[..., OverviewPanel]) -> None:
    """A source that does not even tell its time: the panel says so, and the button can be pressed again."""
    made = source()
    panel = make(made)
    type(made).now = property(lambda _: (_ for _ in ()).throw(QueryRefused("no clock", status=500)))  # type: ignore[assignment]
    try:
        assert panel.examine() is None
    finally:
        type(made).now = NOW
    assert panel.error == "QueryRefused: no clock"
    assert not panel._button.disabled


def test_a_source_without_an_inbox_is_shown_all_the_same(make: Callable[..., OverviewPanel]) -> None:
    """What cannot be asked of a source is said where it would stand; the rest is there."""
    panel = make(source(without=("sys_inbox",)))
    assert len(panel.frame) == 3
    assert "sys_inbox" in repr(panel._backlog)
    assert panel.error == ""


def test_the_static_page_is_text(make: Callable[..., OverviewPanel]) -> None:
    """Without a front end there are sums and both tables, and hostile text stays text."""
    html = make(source(name=ATTACK))._repr_mimebundle_()["text/html"]
    assert html.count("<table") == 2
    assert "backing-off <b>2</b>" in html
    assert "<img" not in html
    assert "</script>" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
