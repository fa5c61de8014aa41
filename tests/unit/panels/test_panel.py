"""Panels without a browser: what they show, what they say when something is wrong, and that nothing is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from restate_lab.errors import ArgumentError, QueryRefused, Unreachable
from restate_lab.panels import invocations as module
from restate_lab.panels._base import refresher
from restate_lab.panels._base.head import Head
from restate_lab.panels.invocations import InvocationsPanel
from restate_lab.progress import notify
from support.sample_source import LiveSource, SampleSource, invocations

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"
ROWS = invocations(
    {"id": 3, "status": "backing-off", "failure": f"[500 Internal] {ATTACK}", "retry_count": 4, "error_code": "RT0007"},
    {"id": 2, "status": "paused", "target": ATTACK},
    {"id": 1, "status": "killed", "failure": "[409] killed"},
)


@pytest.fixture
def make(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., InvocationsPanel]]:
    """Give what makes panels; when the test is over they are closed, and left neither a thread nor a line."""
    made: list[InvocationsPanel] = []

    def make(source: Any, **options: Any) -> InvocationsPanel:
        made.append(InvocationsPanel(source, **options))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")] == []
    assert capsys.readouterr() == ("", "")


def said(panel: InvocationsPanel, kind: str, **fields: Any) -> None:
    """Say something as the panel's view does."""
    panel._head._handle_custom_msg({"type": kind, "view": "v1", **fields}, [])


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


def test_it_shows_what_was_read_and_gives_it_back(make: Callable[..., InvocationsPanel]) -> None:
    """The frame, the statement and the line of code are those of the screen."""
    source = SampleSource(ROWS)
    panel = make(source, status="all", service="agent")
    assert list(panel.frame["id"]) == list(ROWS["id"])
    assert list(panel.frame["failure"]) == [ATTACK, panel.frame["failure"].iloc[1], "[409] killed"]
    assert (panel.sql, panel.params) in [(sql, params) for sql, params in source.asked]
    assert panel.code == "rl.InvocationsPanel(lab, status=['all'], service='agent')"
    assert panel._head.code == panel.code
    assert panel.error == ""


def test_the_selection_stays_when_other_rows_come(make: Callable[..., InvocationsPanel]) -> None:
    """After a refresh the same ids are selected, wherever they stand then; what is gone is out of the selection."""
    source = SampleSource(ROWS)
    panel = make(source, status="all")
    panel.selected = [ROWS["id"][2], ROWS["id"][0]]
    source.frame = pd.concat([invocations({"id": 9}), ROWS.iloc[:2]], ignore_index=True)
    panel.refresh()
    assert panel.selected == [ROWS["id"][0]]
    assert len(panel.frame) == 3


def test_ten_thousand_of_n(make: Callable[..., InvocationsPanel]) -> None:
    """Where the limit cut rows off, they are counted, and the table says how many there are."""
    panel = make(SampleSource(ROWS), status="all", limit=2)
    assert len(panel.frame) == 2
    assert "2 of 3 invocations on the server were read." in repr(panel.grid)


def test_a_lost_server_is_a_banner_and_comes_back(
    make: Callable[..., InvocationsPanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no answer comes the panel says since when, keeps what it shows, and asks again until there is one."""
    monkeypatch.setattr(refresher, "_FIRST_RETRY", 0.05)
    source = LiveSource(ROWS)
    panel = make(source, refresh=None)
    said(panel, "alive", in_sight=True)
    source.fails = Unreachable("connection refused")
    said(panel, "refresh")
    assert panel.wait(timeout=10)
    assert "Cannot reach made for " in panel.error
    assert "connection refused" in panel.error
    assert len(panel.frame) == 3
    source.fails = None
    until(lambda: panel.error == "")


def test_errors_stand_in_the_panel_in_words(make: Callable[..., InvocationsPanel]) -> None:
    """Whatever a read or a handler raises is shown, and is gone after the next good read."""
    source = SampleSource(ROWS)
    panel = make(source)
    source.fails = QueryRefused("the server does not take it", status=400)
    panel.refresh()
    assert panel.error == "QueryRefused: the server does not take it"
    source.fails = ZeroDivisionError("of a bug")
    panel.refresh()
    assert panel.error == "ZeroDivisionError: of a bug"
    source.fails = None
    panel.refresh()
    assert panel.error == ""
    panel._bar._fields["retries"].value = "many"
    assert panel.error == "retries is 'many': give a whole number."
    panel.handled(lambda: {}["gone"])()
    panel.refresh()
    assert panel.error == "KeyError: 'gone'"
    panel._bar._fields["retries"].value = "4"
    assert panel.wait(timeout=10)
    assert panel.error == ""
    assert panel.filters.retries == 4
    panel.grid._handle_custom_msg({"type": "open_row", "view": "v", "row": 99}, [])
    assert panel.grid.error


def test_what_is_said_below_is_shown_and_not_printed(
    make: Callable[..., InvocationsPanel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that a reading says to whoever waits stands in the panel until the reading has ended."""
    panel = make(SampleSource(ROWS))
    banners: list[str] = []
    panel._head.observe(lambda change: banners.append(change["new"]), "banner")
    reads = module.read_rows
    monkeypatch.setattr(module, "read_rows", lambda *given: notify("it takes long") or reads(*given))
    panel.ask()
    assert panel.wait(timeout=10)
    assert "it takes long. Showing " in banners[0]
    assert banners[1:] == [""]


def test_it_reads_only_in_sight_one_at_a_time(make: Callable[..., InvocationsPanel]) -> None:
    """A live panel reads while a view of it is in sight, never twice at once, and not when it is out of sight."""
    source = LiveSource(ROWS)
    panel = make(source, refresh=0.01)
    before = len(source.asked)
    time.sleep(0.1)
    assert len(source.asked) == before
    source.on_ask = lambda: time.sleep(0.002)
    said(panel, "alive", in_sight=True)
    until(lambda: len(source.asked) > before + 3)
    panel.refresh()
    said(panel, "alive", in_sight=False)
    until(lambda: not panel._refresher.is_running)
    seen = len(source.asked)
    time.sleep(0.15)
    assert len(source.asked) == seen
    assert source.most_at_once == 1
    assert "while in sight" in panel._head.cost
    said(panel, "live", on=False)
    assert "while in sight" not in panel._head.cost


def test_what_was_asked_before_is_not_shown_after(make: Callable[..., InvocationsPanel]) -> None:
    """A filter that changes while a read is under way: that read's rows are not shown, those of the next are."""
    source = SampleSource(ROWS)
    panel = make(source)
    go_on, began = threading.Event(), threading.Event()
    source.on_ask = lambda: (began.set(), go_on.wait(10))
    panel.look_for(service="first")
    began.wait(10)
    panel.look_for(service="second")
    source.frame = ROWS.iloc[:1]
    shown: list[int] = []
    refresh = panel.grid.refresh
    panel.grid.refresh = lambda frame, **more: (shown.append(len(frame)), refresh(frame, **more))  # type: ignore[method-assign]
    go_on.set()
    assert panel.wait(timeout=10)
    assert shown == [1]
    assert panel.params["service"] == "second"


@pytest.mark.parametrize(
    "source", [SampleSource(ROWS), LiveSource(ROWS, read_only=True)], ids=["evidence", "read-only"]
)
def test_what_can_only_be_read_has_no_buttons(make: Callable[..., InvocationsPanel], source: Any) -> None:
    """On evidence and on a read-only connection there are no action buttons, and the panel says why."""
    panel = make(source, status="all")
    panel.selected = list(ROWS["id"])
    row = panel._actions.children[0]
    assert [type(part).__name__ for part in row.children] == ["Label"]
    assert "can be read" in row.children[0].value or "may only read" in row.children[0].value


def test_the_static_page_is_text(make: Callable[..., InvocationsPanel]) -> None:
    """Without a widget front end the panel is a table of what it held, and hostile text in it stays text."""
    source = SampleSource(ROWS)
    source.name = ATTACK
    panel = make(source, status="all")
    bundle = panel._repr_mimebundle_()
    html = bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert html.count("<tr>") == 4
    assert "<img" not in html
    assert "</script>" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;‹U+001B›[31m‹U+202E›txt" in html
    assert "\n" not in repr(panel)


def test_the_head_obeys_only_what_it_knows() -> None:
    """A view that sends something else, or sets state, changes nothing, and the head says so."""
    head = Head("a", "b", live=True)
    head._handle_custom_msg({"type": "live", "view": "v", "on": "yes"}, [])
    assert head.live is True
    assert "may not send" in head.error
    head.set_state({"heading": "<b>other</b>"})
    assert head.heading == "a"
    head.close()


@pytest.mark.parametrize("refresh", [0, -1, "soon", object()])
def test_a_refresh_that_is_none_is_refused(refresh: Any) -> None:
    """A wrong ``refresh`` is an ArgumentError."""
    with pytest.raises(ArgumentError, match="refresh is"):
        InvocationsPanel(SampleSource(ROWS), refresh=refresh)
