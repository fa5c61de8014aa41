"""Panels without a browser: their content, their error messages, and their cleanup."""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ipywidgets.widgets import widget

from restate_lab.analysis.ids import awakeable_id
from restate_lab.analysis.invocations import reader
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.errors import ArgumentError, QueryRefused, Unreachable
from restate_lab.panels import invocations as module
from restate_lab.panels._base import panel as panel_base, refresher
from restate_lab.panels._base.head import Head
from restate_lab.panels.grid import Grid
from restate_lab.panels.invocations.strip import FilterStrip, window_since
from restate_lab.panels.panel import Panel
from restate_lab.panels.panel.state import VIEWS
from restate_lab.progress import Progress, notify
from restate_lab.reports import incident
from restate_lab.serve.page import PageRequest
from restate_lab.serve.pages.chips import status_chips
from restate_lab.serve.readings import Readings
from restate_lab.status import ENDED, STATUSES
from support.bench import wait_for
from support.sample_source import LiveSource, SampleSource, invocations

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"
ROWS = invocations(
    {"id": 2, "status": "paused", "target": ATTACK},
    {"id": 3, "status": "backing-off", "failure": f"[500 Internal] {ATTACK}", "retry_count": 4, "error_code": "RT0007"},
    {"id": 1, "status": "killed", "failure": "[409] killed"},
)

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
OTHER = "inv_10VxIBLqnLEz12xdlk263JMVdBOdv5dZJ2"
DEPLOYMENT = "dp_17sztQp4gnEC1L0OCFM9aEh"


pytestmark = pytest.mark.usefixtures("no_doctor")


def show(panel: Panel, *, in_sight: bool) -> None:
    """Report whether the user can see the panel, as its view does."""
    panel.head.receive({"type": "alive", "view": "v1", "in_sight": in_sight})


class Clock:
    """The clock of refreshers, which the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        for each in (refresher, panel_base):
            monkeypatch.setattr(each, "time", SimpleNamespace(monotonic=lambda: self.now))

    def move(self, seconds: float) -> None:
        self.now += seconds


def test_the_panel_gives_its_rows_statement_and_code(make: Callable[..., Panel]) -> None:
    source = SampleSource(ROWS)
    panel = make(source, status="all", service="agent")
    assert list(panel.frame["id"]) == list(ROWS["id"])
    assert list(panel.frame["failure"]) == [panel.frame["failure"].iloc[0], ATTACK, "[409] killed"]
    assert list(source.sql(panel.sql, params=panel.params)["id"]) == list(ROWS["id"])
    assert panel.code == "rl.Panel(lab, status='all', service='agent')"
    assert panel.head.code == panel.code
    assert panel.error == ""


def test_the_selection_stays_after_a_refresh(make: Callable[..., Panel]) -> None:
    """After a refresh the same ids are selected, wherever they are then; ids that are gone are not selected."""
    source = SampleSource(ROWS)
    panel = make(source, status="all")
    panel.selected = [ROWS["id"][2], ROWS["id"][0]]
    source.frame = pd.concat([invocations({"id": 9}), ROWS.iloc[:2]], ignore_index=True)
    panel.refresh()
    assert panel.selected == [ROWS["id"][0]]
    assert len(panel.frame) == 3


def test_the_table_shows_the_total_if_rows_were_cut(make: Callable[..., Panel]) -> None:
    panel = make(SampleSource(ROWS), status="all", limit=2)
    assert len(panel.frame) == 2
    assert "2 of 3 invocations on the server are loaded." in repr(panel.view.grid)


@pytest.mark.usefixtures("make")
def test_the_first_rows_are_shown_while_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "FIRST", 2)
    source, shown, goes_on = SampleSource(ROWS), [], threading.Event()
    refresh = Grid.refresh

    def note(grid: Grid, frame: pd.DataFrame, **options: Any) -> None:
        shown.append((len(frame), options.get("note")))
        refresh(grid, frame, **options)

    monkeypatch.setattr(Grid, "refresh", note)
    reads = module.read_rows
    monkeypatch.setattr(module, "read_rows", lambda *given: goes_on.wait(10) and reads(*given))
    panel = Panel(source, status="all", sort="newest")
    assert shown == [(2, "Loading the other rows.")]
    goes_on.set()
    assert len(panel.frame) == 3
    assert [rows for rows, _ in shown] == [2, 3]
    panel.close()


@pytest.mark.parametrize("times", [2, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_a_closed_panel_is_freed_with_its_widgets(times: int) -> None:
    """A panel that showed all views leaves no widget open and, on average of 50, at most 50 kB in memory."""
    source = SampleSource(ROWS)

    def show_and_close() -> list[weakref.ref[Any]]:
        panel = Panel(source, status="all")
        for view in VIEWS:
            panel.state = {"view": view}
            assert panel.wait()
        panel.open_invocation(ROWS["id"][0])
        parts = [weakref.ref(each) for each in (panel, panel.head, panel.findings, panel.view, *panel.view.children)]
        panel.close()
        source.asked.clear()
        return parts

    show_and_close()
    gc.collect()
    before = set(widget._instances)
    if times > 2:
        tracemalloc.start()
    parts = [each for _ in range(times) for each in show_and_close()]
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert set(widget._instances) == before
    assert [each() for each in parts if each() is not None] == []
    assert kept / times < 50_000


def test_a_saved_copy_has_the_time_of_its_rows_or_only_the_code(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A still picture needs no cost of reading."""
    shown: list[Any] = []
    monkeypatch.setattr(panel_base, "display", lambda data, **_: shown.append(data["text/html"]))
    panel = make(LiveSource(ROWS), status="all")
    panel._ipython_display_()
    panel.keep = False
    panel._ipython_display_()
    assert "while visible" in panel.head.cost
    assert ["read at " in shown[0], "of the time" in shown[0], ROWS["id"][0][-4:] in shown[0]] == [True, False, True]
    assert "rl.Panel(lab, status=&#x27;all&#x27;)" in shown[2]
    assert len(shown[2]) < 1_000


def test_a_closed_panel_says_so(make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no rows and no findings, which would look like those of a healthy cluster."""
    shown: list[Any] = []
    monkeypatch.setattr(panel_base, "display", lambda data, **_: shown.append(data["text/html"]))
    panel = make(SampleSource(ROWS), status="all")
    panel.close()
    panel.close()
    for name in ("frame", "diagnosis", "plan", "story"):
        with pytest.raises(ArgumentError, match=r"this panel is closed\. .* rl\.Panel\(lab, status='all'\)"):
            getattr(panel, name)
    assert (panel.code, panel.error, panel.wait()) == ("rl.Panel(lab, status='all')", "", True)
    panel._ipython_display_()
    assert [("This panel is closed." in html, "rl-saved" in html) for html in shown] == [(True, False)]


def test_a_failed_count_is_not_repeated_with_each_read(make: Callable[..., Panel]) -> None:
    """A failed count costs the server a scan, so it is not repeated with each read of the rows."""
    source = SampleSource(ROWS)

    def fail() -> None:
        if "is_retried" in source.asked[-1][0]:
            raise QueryRefused("no counts", status=400)

    source.on_ask = fail
    panel = make(source)
    assert panel.error == "QueryRefused: no counts"
    panel.refresh()
    assert sum("is_retried" in statement for statement, _ in source.asked) == 1


def test_filters_that_change_during_a_count_are_counted(make: Callable[..., Panel]) -> None:
    source = SampleSource(ROWS)
    panel = make(source, refresh=None)
    counting, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        if "is_retried" in source.asked[-1][0] and not counting.is_set():
            counting.set()
            goes_on.wait(10)

    source.on_ask = hold
    panel.state = {"key": "a"}
    assert counting.wait(10)
    panel.state = {"key": "b"}
    assert panel.refresher.wait(10)
    goes_on.set()
    assert panel.wait(timeout=60)
    counted = [params.get("key") for statement, params in source.asked if "is_retried" in statement]
    assert counted[-1] == "b"


def test_a_lost_server_has_a_banner_until_it_responds(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresher, "_FIRST_RETRY", 0.05)
    source = LiveSource(ROWS)
    panel = make(source, refresh=None)
    show(panel, in_sight=True)
    source.fails = Unreachable("connection refused")
    panel.click("Refresh")
    assert panel.wait(timeout=60)
    assert "Cannot reach made for " in panel.error
    assert "connection refused" in panel.error
    assert len(panel.frame) == 3
    source.fails = None
    wait_for(lambda: panel.error == "")


def test_the_panel_shows_errors_until_the_next_action(make: Callable[..., Panel]) -> None:
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
    panel.fill("filter attempts ≥", "many")
    assert panel.error == "attempts ≥ is 'many', but must be a whole number."
    panel.guard(lambda: {}["gone"])()
    panel.refresh()
    assert panel.error == "KeyError: 'gone'"
    panel.fill("filter attempts ≥", "4")
    assert panel.wait(timeout=60)
    assert panel.error == ""
    assert panel.state == {"retries": 4}
    panel.view.grid.receive({"type": "open_row", "view": "v", "row": 99})
    assert panel.view.grid.controller.error


def test_a_written_report_is_shown_until_the_next_action(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = make(SampleSource(ROWS))
    events: list[str] = []
    panel.head.observe(lambda change: events.append(change.new), "event")

    def write(_: object, name: str, *, progress: Progress) -> SimpleNamespace:
        progress.update(3, 10)
        progress.close()
        return SimpleNamespace(name=name, absolute=lambda: f"/reports/{name}", href=name)

    monkeypatch.setattr(incident, "incident_report", write)
    panel.click("Report")
    wait_for(lambda: panel.head.file)
    file = panel.head.file
    assert file["name"] == f"Incident report: {file['href']}"
    assert file["path"] == f"/reports/{file['href']}"
    assert events[:2] == ["Writing the incident report …", "Writing the incident report: chapter 3 of 10 …"]
    assert panel.head.event == ""
    panel.click("Overview")
    assert panel.head.file == {}


def test_a_sentence_about_a_view_goes_with_the_view(make: Callable[..., Panel]) -> None:
    panel = make(SampleSource(ROWS))
    panel.say("The plan to resume is below; nothing has been sent.")
    panel.state = {"view": "overview"}
    assert panel.head.event == ""


def test_a_notice_of_a_read_is_shown_and_not_printed(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = make(SampleSource(ROWS))
    banners: list[str] = []
    panel.head.observe(lambda change: banners.append(change["new"]), "banner")
    reads = module.read_rows
    monkeypatch.setattr(module, "read_rows", lambda *given: notify("it takes long") or reads(*given))
    panel.ask()
    assert panel.wait(timeout=60)
    assert "it takes long. Showing " in banners[0]
    assert banners[1:] == [""]


def test_a_live_panel_reads_only_while_it_is_visible(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live panel reads while the user sees it, at its pace, never twice at once, and not while it is hidden."""
    clock = Clock(monkeypatch)
    source = LiveSource(ROWS)
    panel = make(source, refresh=60)
    before = len(source.asked)
    clock.move(61)
    panel.refresher.wake()
    wait_for(lambda: not panel.refresher.is_running)
    assert len(source.asked) == before
    show(panel, in_sight=True)
    wait_for(lambda: len(source.asked) > before)
    panel.refresh()
    read = len(source.asked)
    clock.move(59)
    panel.refresher.wake()
    assert len(source.asked) == read
    clock.move(2)
    panel.refresher.wake()
    wait_for(lambda: len(source.asked) > read)
    assert source.most_at_once == 1
    assert "while visible" in panel.head.cost
    panel.click("live")
    assert "while visible" not in panel.head.cost
    show(panel, in_sight=False)
    wait_for(lambda: not panel.refresher.is_running)


def test_rows_of_earlier_filters_are_not_shown(make: Callable[..., Panel]) -> None:
    source = SampleSource(ROWS)
    panel = make(source)
    go_on, began = threading.Event(), threading.Event()
    source.on_ask = lambda: (began.set(), go_on.wait(10))
    panel.show_invocations(service="first")
    began.wait(10)
    panel.show_invocations(service="second")
    source.frame = ROWS.iloc[:1]
    shown: list[int] = []
    refresh = panel.view.grid.refresh
    panel.view.grid.refresh = lambda frame, **more: (shown.append(len(frame)), refresh(frame, **more))  # type: ignore[method-assign]
    go_on.set()
    assert panel.wait(timeout=60)
    assert shown == [1]
    assert panel.params["service"] == ["second"]


def test_evidence_has_a_reason_in_place_of_buttons(make: Callable[..., Panel]) -> None:
    panel = make(SampleSource(ROWS), status="all")
    panel.selected = list(ROWS["id"])
    row = panel.view.actions.children[0]
    assert [type(part).__name__ for part in row.children] == ["Label", "Button", "Button"]
    assert [part.description for part in row.children[1:]] == ["Story", "What do they share?"]
    assert "read-only" in row.children[0].value


def test_the_static_page_has_escaped_text(make: Callable[..., Panel]) -> None:
    source = SampleSource(ROWS)
    source.name = ATTACK
    panel = make(source, status="all")
    bundle = panel._repr_mimebundle_()
    html = bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert html.count("<tr") == 4
    assert "<img" not in html
    assert "</script>" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;/script&gt;‹U+001B›[31m‹U+202E›txt" in html
    assert "\n" not in repr(panel)


def test_the_head_reports_invalid_messages_and_changes_nothing() -> None:
    head = Head("a", "b", access="writable", live=True)
    head.receive({"type": "live", "view": "v", "on": "yes"})
    assert head.live is True
    assert "invalid message" in head.error
    head.set_state({"heading": "<b>other</b>"})
    assert head.heading == "a"
    head.close()


@pytest.mark.parametrize("refresh", [0, -1, "soon", object()])
def test_an_invalid_refresh_is_refused(refresh: Any) -> None:
    with pytest.raises(ArgumentError, match=r"refresh (is|must be)"):
        Panel(SampleSource(ROWS), refresh=refresh)


def test_the_state_is_read_set_observed_and_copied(make: Callable[..., Panel]) -> None:
    """One value has the view, its filters and the open detail: setting it shows them, and its code can be copied."""
    panel = make(SampleSource(ROWS), status="all", sort="newest")
    seen: list[dict[str, Any]] = []
    panel.observe(lambda change: seen.append(change["new"]), "state")
    assert panel.code == f"rl.Panel(lab{''.join(f', {name}={value!r}' for name, value in panel.state.items())})"
    panel.state = {"status": ["paused", "retrying"], "service": ["agent", "Payments"], "group": False}
    assert panel.wait(timeout=60)
    assert panel.params["status"] == ["paused", "backing-off"]
    assert panel.params["service"] == ["agent", "Payments"]
    assert panel.view.strip.content["group"] is False
    panel.state = {"view": "overview"}
    assert type(panel.view).__name__ == "OverviewView"
    assert panel.code == "rl.Panel(lab, view='overview')"
    assert seen[-1] == {"view": "overview"}
    with pytest.raises(ArgumentError, match="did you mean 'service'"):
        panel.state = {"servce": "agent"}


def test_the_selection_can_be_observed_and_set(make: Callable[..., Panel]) -> None:
    panel = make(SampleSource(ROWS), status="all")
    seen: list[list[str]] = []
    panel.observe(lambda change: seen.append(change["new"]), "selected")
    panel.selected = [ROWS["id"][0]]
    assert panel.view.grid.selected == [ROWS["id"][0]]
    panel.view.grid.selected = list(ROWS["id"][:2])
    assert seen[-1] == list(ROWS["id"][:2])


def test_filters_have_counts_and_a_click_filters(make: Callable[..., Panel]) -> None:
    """Each preset, status and service has its count; a click filters by it, and Ctrl adds or removes it."""
    panel = make(SampleSource(ROWS), status="all")
    strip = panel.view.strip
    counts = {preset["name"]: preset["count"] for preset in strip.content["presets"]}
    assert counts == {"attention": 2, "in-flight": 2, "ended": 1, "all": 3}
    assert {chip["name"]: chip["count"] for chip in strip.content["chips"] if chip["count"]} == {
        "backing-off": 1,
        "paused": 1,
        "killed": 1,
    }
    assert strip.content["services"] == [{"name": "agent", "count": 3, "trouble": 2, "pressed": False}]
    panel.click("status paused")
    assert panel.state == {"status": "paused"}
    strip.receive({"type": "status", "name": "retrying", "add": True})
    assert panel.state == {"status": ["paused", "retrying"]}
    assert [chip["name"] for chip in strip.content["chips"] if chip["pressed"]] == ["retrying", "paused"]
    strip.receive({"type": "status", "name": "paused", "add": True})
    panel.click("status retrying")
    assert panel.state == {}
    assert panel.wait(timeout=60)
    panel.click("service agent")
    panel.click("Ended")
    assert panel.code == "rl.Panel(lab, status='ended', service='agent')"
    strip.receive({"type": "time", "kind": "created", "start": 1_800_000_000.0, "end": None})
    assert panel.view.filters.since == datetime(2027, 1, 15, 8, tzinfo=UTC)
    panel.click("Clear all")
    assert panel.state == {}


def test_a_status_has_one_word_and_one_place_in_panels_and_pages(make: Callable[..., Panel]) -> None:
    """The chips are the statuses in one order; "retrying", the name of a group, is among them only while chosen."""
    counts = pd.DataFrame(
        [("agent", name, is_retried, 1) for name in reversed(STATUSES) for is_retried in (name == "running", False)],
        columns=["target_service_name", "status", "is_retried", "invocations"],
    ).drop_duplicates()
    strip = make(SampleSource(ROWS), refresh=None).view.strip
    readings = Readings("made", SampleSource(ROWS), longest=1)
    for status, more in ((("all",), []), (("retrying", "succeeded"), ["retrying"])):
        filters = Filters(status=status)
        strip.draw(filters, counts=counts, histogram=None, window="1h", group=False)
        shown = [chip["name"] for chip in strip.content["chips"]]
        assert [name for name in shown if name not in more] == list(STATUSES)
        request = PageRequest(readings, {"made": readings}, {"status": list(status)}, name="invocations")
        chips = {chip["label"]: chip["count"] for chip in status_chips(request, counts, filters)}
        assert list(chips) == shown
        assert chips["running"] == 2
        assert chips["backing-off"] == 1
        assert chips.get("retrying", 2) == 2
    assert [part["name"] for part in strip.content["bar"]] == [each for each in STATUSES if each not in ENDED]


def test_services_with_trouble_come_first(make: Callable[..., Panel]) -> None:
    panel = make(SampleSource(ROWS), status="all")
    rows = [("calm", "running", 900), ("small", "paused", 1), ("big", "backing-off", 20), ("big", "succeeded", 5)]
    panel.view.counts = pd.DataFrame(rows, columns=["target_service_name", "status", "invocations"]).assign(
        is_retried=False
    )
    panel.view.group = True  # draws
    services = panel.view.strip.content["services"]
    assert [(each["name"], each["count"], each["trouble"]) for each in services] == [
        ("big", 25, 20),
        ("small", 1, 1),
        ("calm", 900, 0),
    ]


def test_a_histogram_begins_where_there_is_something(make: Callable[..., Panel]) -> None:
    """Of an hour with invocations in its last minutes, these minutes fill the strip, with a text at both ends."""
    panel = make(SampleSource(ROWS), status="all")
    end = datetime(2026, 11, 25, 4, tzinfo=UTC)
    times = [(120, "created"), (3, "created"), (0, "failed"), (0, "killed")]
    counts = pd.DataFrame(
        {
            "kind": "x",
            "start": [end - timedelta(seconds=age) for age, _ in times],
            "result": [each for _, each in times],
        }
    ).assign(invocations=2)
    panel.view.histogram = reader.Histogram(counts, end - timedelta(hours=1), end, timedelta(seconds=1))
    panel.view.group = True  # draws
    shown = panel.view.strip.content["histogram"]
    assert shown["ends"] == ["03:58:00 UTC", "2026-11-25 04:00:00 UTC"]  # this source is not live
    assert (shown["start"], len(shown["created"])) == ((end - timedelta(minutes=2)).timestamp(), 41)
    assert (shown["created"][0], sum(shown["created"]), shown["failed"][-1], shown["cancelled"][-1]) == (2, 4, 2, 2)


def test_histograms_are_shown_from_three_bars_on_and_do_not_appear_by_themselves() -> None:
    """The list below would move; only other filters or another window show or hide them."""
    parts: Any = dict.fromkeys(("change", "regroup", "set_window"), print)
    strip = FilterStrip(Filters(), has_open=True, is_live=True, guard=lambda act: act, **parts)
    few, many = histogram_of(0, 20), histogram_of(0, 20, 40)
    service, since = Filters(service=("Payments",)), Filters(since=timedelta(hours=1))
    for filters, histogram, window, expected in (
        (Filters(), None, "1h", False),
        (Filters(), few, "1h", False),
        (Filters(), histogram_of(0, 10, 30), "1h", False),
        (service, many, "1h", True),
        (service, histogram_of(0), "1h", True),
        (service, histogram_of(0), "6h", False),
        (since, histogram_of(0), "6h", True),
    ):
        strip.draw(filters, counts=None, histogram=histogram, window=window, group=True)
        assert strip.content["times"] is expected, (filters, window)


@pytest.mark.parametrize(
    ("minutes", "window"), [(None, "1h"), (5, "1h"), (60, "1h"), (62, "6h"), (600, "24h"), (1500, "7d"), (99_999, "7d")]
)
def test_the_histograms_begin_before_the_oldest_finding(minutes: int | None, window: str) -> None:
    now = datetime(2026, 11, 25, 4, tzinfo=UTC)
    assert window_since(None if minutes is None else now - timedelta(minutes=minutes), now) == window


def histogram_of(*minutes: int) -> reader.Histogram:
    """Return a histogram of the last hour in which an invocation was created in each of these minutes."""
    start = datetime(2026, 11, 25, 3, tzinfo=UTC)
    counts = pd.DataFrame({"kind": "created", "start": [start + timedelta(minutes=each) for each in minutes]})
    counts = counts.assign(result="created", invocations=1)
    return reader.Histogram(counts, start, start + timedelta(hours=1), timedelta(minutes=1))


def test_a_notebook_keeps_a_copy_of_the_panel(make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is an output of its own, because notebooks prefer a widget to other forms in the same output.

    It is written again when the panel shows something else, and else once a minute.
    """
    written: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr(panel_base, "display", lambda data, **options: written.append((data, options)))
    clock = Clock(monkeypatch)
    panel = make(SampleSource(ROWS), status="all", refresh=None)
    panel.refresh()
    assert written == []
    panel._ipython_display_()
    (copy, options), (widget, _) = written
    assert options["display_id"] == panel.head.copy
    assert not options["update"]
    assert f'<div class="rl-saved" data-panel="{panel.head.copy}">' in copy["text/html"]
    assert copy["text/html"].count("<tr") == 4
    assert "<img" not in copy["text/html"]
    assert widget["text/html"] == ""
    assert "application/vnd.jupyter.widget-view+json" in widget
    panel.refresh()
    assert len(written) == 2
    panel.state = {"status": "ended"}
    assert panel.wait(timeout=60)
    assert [options["update"] for _, options in written[2:]] == [True]
    clock.move(61)
    panel.refresh()
    assert len(written) == 4


def test_a_click_needs_one_visible_control(make: Callable[..., Panel]) -> None:
    """The error lists the names of the visible controls; a hidden control is not among them."""
    panel = make(LiveSource(ROWS), refresh=None)
    for act, name, error in (
        (
            panel.click,
            "Resume",
            r"is named 'Resume'; choose from Overview, Invocations, .*select all, Export csv, Export xlsx, Copy ids\.",
        ),
        (panel.click, "Confirm", "no visible control"),
        (
            lambda name: panel.fill(name, "INC-42"),
            "reason",
            "no visible field is named 'reason'; choose from note, until, filter text",
        ),
        (lambda name: panel.click("open", row=name), "inv_1other", "named 'open'; choose from none"),
    ):
        with pytest.raises(ArgumentError, match=error):
            act(name)
    panel.click("select", row=ROWS["id"][0])
    assert panel.selected == [ROWS["id"][0]]
    panel.click("select all")
    assert panel.selected == list(ROWS["id"])
    panel.click("clear selection")
    panel.click("Overview")
    assert panel.state == {"view": "overview"}
    with pytest.raises(ArgumentError, match="2 visible controls are named 'select all'"):
        panel.click("select all")


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (f"WARN retry of {ID}, attempt 3", {"open": ID}),
        (f"http://127.0.0.1:9070/ui/invocations/{ID}?column=id on {DEPLOYMENT}", {"open": ID}),
        (f"POST /restate/awakeables/{awakeable_id(ID, 17)}/resolve", {"open": ID}),
        (f"{ID}\n{OTHER}\n{ID}", {"status": "all", "id": [ID, OTHER]}),
        (f"on {DEPLOYMENT}", {"view": "deployments", "open": DEPLOYMENT}),
    ],
)
def test_the_search_box_takes_ids_out_of_any_text(make: Callable[..., Panel], text: str, state: dict[str, Any]) -> None:
    panel = make(LiveSource(ROWS), refresh=None)
    panel.fill("search", text)
    assert panel.state == state


def test_the_search_box_filters_the_loaded_rows_and_offers_the_server(make: Callable[..., Panel]) -> None:
    panel = make(LiveSource(ROWS), refresh=None, service="agent")
    panel.fill("search", "no such text")
    assert "0 of the 3 loaded" in repr(panel.view.grid)
    panel.click("search all 3 on the server")
    assert panel.state == {"status": "all", "service": "agent", "text": "no such text"}
    assert panel.view.grid.controller.model.arrangement.text == ""
    assert panel.wait(timeout=60)
    assert "strpos(lower(target), :text)" in panel.sql


def test_a_closed_invocation_is_not_the_one_before_the_next(make: Callable[..., Panel]) -> None:
    """Back goes to the list, however the invocation before was closed."""
    panel = make(LiveSource(ROWS), refresh=None)
    first, second = ROWS["id"][:2]
    panel.click("open", row=first)
    panel.click("‹ Invocations")
    panel.click("open", row=second)
    panel.back()
    assert panel.state == {}
    panel.click("open", row=first)
    panel.open_invocation(second)
    panel.back()
    assert panel.state == {"open": first}
    panel.back()
    assert panel.state == {}
