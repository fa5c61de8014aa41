"""The panel in JupyterLab: finding, sorting, selecting, opening and exporting rows, and a lost connection."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import nbformat
import pytest
from playwright.sync_api import Browser, expect

import restate_lab as rl
from restate_lab.demo.embedded import Embedded, start_services
from restate_lab.panels.find import SEARCH
from support import echo_services
from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.bench import once_served, wait_for
from support.clusters import Cluster
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell

ATTACKS = (
    "<img src=x onerror='window.attacked=1'>",
    "</script><script>window.attacked=1</script>",
    "a\u202etxt.exe",
    "\x1b[31mred\x1b[0m",
)
SHOWN = (*ATTACKS[:2], "a‹U+202E›txt.exe", "‹U+001B›[31mred‹U+001B›[0m")
MEGABYTE = 1 << 20
WORD = "w" * 10_000


def test_find_read_and_come_back(page: LabPage, incident_server: Cluster, notebooks: Path, screenshots: Path) -> None:
    """Filters go to the server, the selection survives a refresh, and an opened row gives the reason of its wait."""
    write_notebook(notebooks / "panel.ipynb", panel_cell(incident_server.admin_url))
    page.open("panel.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    panel.picture(screenshots / "invocations-first.png")
    _begins_with_the_cause(panel)
    _stays_in_place(page, panel)
    _reads_a_finding(page, panel)
    _filters(page, panel)
    _searches_inputs(page, panel, screenshots)
    _keeps_the_selection(page, panel)
    _opens(page, panel, incident_server, screenshots)
    _looks(page, panel, screenshots)
    _walks_the_journal(page, panel, incident_server, screenshots)
    _goes_through_the_waits(page, panel, incident_server, screenshots)
    _shows_the_queues(page, panel, screenshots)
    assert page.console_errors == []


def _begins_with_the_cause(panel: PanelOnPage) -> None:
    """Show the first finding in full, with one button until the pointer is in its row, and its rows first."""
    finding = panel.finding("15 invocations of Payments/charge retry the step “charge card”")
    assert finding.locator(".rl-findingtext").evaluate("e => e.scrollWidth <= e.clientWidth")
    expect(finding.locator(".rl-context")).to_contain_text("HTTP 503 Service Unavailable")
    expect(finding.locator(".rl-context")).to_contain_text("blocks 3 Orders/place")
    others = finding.locator(".rl-findingmore")
    expect(others).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    finding.hover()
    expect(others).to_have_css("clip-path", "none")
    more = finding.locator("summary")
    more.focus()
    more.press("Enter")
    expect(finding.locator(".rl-menuitem")).to_have_text(["Show 15", "Why", "What do they share?", "Note…"])
    more.press("Escape")
    expect(finding.locator(".rl-menuitem").first).to_be_hidden()
    expect(more).to_be_focused()
    expect(panel.grid.cell(0, "target")).to_contain_text("Payments/charge")


# The timer of 30 seconds ends when the test says so.
FADE = """() => { const set = setTimeout;
    window.setTimeout = (act, ms) => ms === 30_000 ? (window.fade = act, 0) : set(act, ms); }"""


def _stays_in_place(page: LabPage, panel: PanelOnPage) -> None:
    """Keep the table in its place when a message, a report, a selection, its undo or another order appears."""
    before = page.page.evaluate(ROOM)
    live = panel.root.get_by_role("checkbox", name="live")
    live.click()
    page.value("panel.say('Writing the incident report …')")
    panel.expect_text("Writing the incident report …")
    assert page.page.evaluate(ROOM) == before, "a message"
    page.value("[panel.say(''), panel.head.show_file('Incident report: incident-1.html', '/nb/incident-1.html', '')]")
    expect(panel.button("Copy path")).to_be_visible()
    assert page.page.evaluate(ROOM) == before, "a report"
    page.value("setattr(panel.head, 'file', {})")
    page.page.evaluate(FADE)
    panel.grid.box(0).click()
    panel.expect_text("1 selected", within=panel.grid.root)
    assert page.page.evaluate(ROOM) == before, "a selection"
    panel.grid.root.get_by_role("button", name="Deselect").click()
    expect(panel.button("Undo")).to_be_visible()
    assert page.page.evaluate(ROOM) == before, "undo"
    page.page.evaluate("() => window.fade()")
    expect(panel.button("Undo")).to_be_hidden()
    assert page.page.evaluate(ROOM) == before, "the end of undo"
    panel.grid.box(0).hover()
    page.wait_for_value("panel.view.grid.controller.views.any_holding()", expected=True)
    page.value("panel.view.grid.refresh(panel.view.grid.frame.iloc[::-1])")
    expect(panel.button("Sort again")).to_be_visible()
    assert page.page.evaluate(ROOM) == before, "another order"
    panel.button("Sort again").click()
    expect(panel.button("Sort again")).to_be_hidden()
    for name in ("Queues", "Invocations"):
        panel.root.get_by_role("tab", name=name).click()
        expect(panel.root.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
    panel.wait()
    assert page.page.evaluate(ROOM) == before, "another view"
    read_at = page.value("panel.head.read_at")
    panel.button("Refresh").first.click()
    page.wait_for_value(f"panel.head.read_at != {read_at!r}", expected=True)
    assert page.page.evaluate(ROOM) == before, "a refresh"
    live.click()


def _reads_a_finding(page: LabPage, panel: PanelOnPage) -> None:
    """Open a finding and the fold in its details; it stays open, with the focus, when the findings are drawn again."""
    panel.findings.locator(".rl-findingtext").first.click()
    fold = panel.findings.locator(".rl-findingdetails summary")
    fold.press("Enter")
    page.value("panel.findings.begin()")
    expect(panel.button("Running …")).to_be_visible()
    expect(panel.findings.get_by_text("retry_storm", exact=True)).to_be_visible()
    expect(fold).to_be_focused()


ROOM = """() => {
  const top = (selector) => document.querySelector(selector).getBoundingClientRect().top;
  return top(".rl-grid .rl-body .rl-row") - top(".rl-panel");
}"""
HEADROOM = """() => document.querySelector(".rl-jbody").getBoundingClientRect().top
  - document.querySelector(".rl-panel").getBoundingClientRect().top"""
LEVEL = """() => [...document.querySelectorAll(".rl-grid .rl-body .rl-row:not(.rl-loading)")].every((row) => {
  const [box, text] = [row.querySelector("input"), row.querySelector(".rl-dot, .rl-group-content")].map(
    (part) => part.getBoundingClientRect());
  return Math.abs((box.top + box.bottom) / 2 - (text.top + text.bottom) / 2) < 5;
})"""
READABLE = """() => [...document.querySelectorAll(".rl-finding")].map((row) =>
  row.querySelector(".rl-findingtext").clientWidth / row.clientWidth)"""
BUTTONS_FIT = """[...document.querySelectorAll(".rl-findingtools button")].every(each =>
  each.getBoundingClientRect().right <= each.closest(".rl-finding").getBoundingClientRect().right + 1)"""
SHARES = "parts => parts.map((part) => part.offsetWidth / part.parentElement.clientWidth)"
CUT = """() => [...document.querySelectorAll(".rl-grid .rl-cell")]
  .filter((cell) => cell.offsetWidth && cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)"""
MANY_SERVICES = """[
    setattr(panel.view, "counts", __import__("pandas").DataFrame({
        "target_service_name": [f"Service{n:03}" for n in range(200)],
        "status": ["running"] * 199 + ["paused"], "is_retried": False, "invocations": 7,
    })),
    panel.view._draw(),
    panel.findings.show({
        **panel.findings.content, "more": 0,
        "rows": [{**panel.findings.content["rows"][0], "title": f"finding {n}"} for n in range(60)],
        "groups": [{"rows": list(range(1, 40)), "label": "39 more: handlers that retry"}],
    }),
][:0]"""


@pytest.mark.long  # three widths, both themes and 200 services
def test_rows_have_room_on_pages_of_each_width(
    page: LabPage, own: Embedded, notebooks: Path, screenshots: Path
) -> None:
    """The list begins early; columns leave a narrow page in their order; no text is cut while there is room."""
    write_notebook(notebooks / "widths.ipynb", panel_cell(own.server.admin_url, options=", refresh=None"))
    page.open("widths.ipynb")
    page.command("application:toggle-left-area")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    expect(panel.findings.locator(".rl-finding")).to_have_count(3)
    heads = panel.grid.root.locator(".rl-head .rl-name")
    for width, (room, names) in {
        1280: (420, ["status", "target", "attempts", "step", "error", "age", "next try", "id"]),
        900: (600, ["status", "target", "attempts", "error"]),
        600: (700, ["status", "target", "error"]),
        400: (1010, ["status", "target", "error"]),
    }.items():
        page.page.set_viewport_size({"width": width, "height": 800})
        expect(heads).to_have_text(names)
        for theme in ("Light", "Dark"):
            page.theme(f"JupyterLab {theme}")
            panel.picture(screenshots / f"widths-{width}-{theme.lower()}.png")
        assert overflowing_parts(panel.root) == []
        assert [page.page.evaluate(each) for each in (BUTTONS_FIT, LEVEL)] == [True, True]
        assert min(page.page.evaluate(READABLE)) > 0.4
        assert page.page.evaluate(ROOM) < room
    expect(panel.grid.root.locator(".rl-below").first).to_have_text("charge card")
    expect(panel.chip("paused")).to_be_hidden()
    panel.button("Filter").click()
    panel.chip("paused").click()
    expect(panel.button("Filter (1)")).to_be_visible()
    panel.grid.expect_text("count", "3 invocations")
    page.page.set_viewport_size({"width": 1280, "height": 800})
    panel.chip("In flight").click()
    panel.grid.expect_text("count", "75 invocations")
    before = page.page.evaluate(ROOM)
    panel.grid.box(0).click()
    panel.grid.expect_text("chosen", "1 selected")
    assert page.page.evaluate(ROOM) == before
    panel.picture(screenshots / "widths-selected.png")
    panel.button("Deselect").click()
    expect(panel.button("Undo")).to_be_visible()
    assert page.page.evaluate(ROOM) == before
    panel.root.get_by_role("tab", name="Overview").click()
    expect(panel.root.locator(".rl-head .rl-name").filter(has_text="blocked key")).to_be_visible()
    panel.expect_text("acme-retail", within=panel.root.locator(".rl-grid").last)
    assert page.page.evaluate(CUT) == []
    panel.root.get_by_role("tab", name="Invocations").click()
    panel.grid.expect_text("count", "75 invocations")
    page.value(MANY_SERVICES)
    expect(panel.strip.locator("datalist option")).to_have_count(200)
    expect(panel.strip.locator("datalist option").first).to_have_attribute("label", "Service199: 7, 7 need attention")
    panel.button("Show all 60").click()
    expect(panel.button("39 more: handlers that retry")).to_be_visible()
    assert (
        panel.findings.locator(".rl-findinglist").evaluate("e => [e.clientHeight < 440, e.scrollHeight > 500]")
        == [True] * 2
    )
    panel.picture(screenshots / "widths-many.png")
    panel.strip.get_by_label("Find a service").fill("Service042")
    page.wait_for_value("panel.state.get('service')", "Service042")
    assert page.console_errors == []


def _filters(page: LabPage, panel: PanelOnPage) -> None:
    panel.chip("Payments").click()
    page.wait_for_value("set(panel.frame.target_service_name) == {'Payments'}", expected=True)
    panel.chip("backing-off").click()
    page.wait_for_value("panel.params.get('status')", ["backing-off"])
    panel.button("SQL").click()
    panel.expect_text(re.compile(r"s\.target_service_name IN :service"), within=panel.root.locator(".rl-sql"))
    panel.button("SQL").click()
    panel.filter("text contains", "TIMED out")  # a capital makes the case count
    page.wait_for_value("len(panel.frame)", 0)
    panel.filter("text contains", "timed out")
    page.wait_for_value("bool(len(panel.frame) and panel.frame.failure.str.contains('timed out').all())", expected=True)
    panel.filter("older than", "soon")
    panel.expect_text(re.compile("older than is 'soon'"))
    panel.clear_filters()
    page.wait_for_value("panel.code", "rl.Panel(lab)")
    expect(panel.root.locator(".rl-panelhead .rl-error").first).to_be_empty()
    _group(panel, on=False)  # the number of similar failures changes with time, and the box of a group selects them all
    panel.button("More filters").click()


def _group(panel: PanelOnPage, *, on: bool) -> None:
    box = panel.strip.get_by_label("group equal failures")
    expect(box).to_be_checked(checked=not on)
    box.click()  # not set_checked: counts that arrive at the same time show the old state once more
    expect(box).to_be_checked(checked=on)
    groups = panel.grid.root.locator(".rl-body .rl-group")
    expect(groups.first).to_be_visible(timeout=90_000) if on else expect(groups).to_have_count(0, timeout=90_000)


def _searches_inputs(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Search inputs for a text that no row has; the found invocations are a filter, and the text is gone."""
    panel.grid.search.fill("ord-1401")
    expect(panel.button(SEARCH)).to_be_visible()
    panel.picture(screenshots / "invocations-search-inputs.png")
    panel.button(SEARCH).click()
    panel.expect_text("found: 1 with this text")
    panel.wait("1 invocation")
    panel.expect_text("Where: input.order.")
    panel.picture(screenshots / "invocations-found.png")
    assert "1401" not in str(page.value("[panel.code, str(panel.state), str(panel.params)]"))
    panel.button("Close").click()
    panel.clear_filters()
    panel.chip("In flight").click()
    panel.wait("75 invocations")


def _keeps_the_selection(page: LabPage, panel: PanelOnPage) -> None:
    panel.grid.header("target").click()
    expect(panel.grid.header("target")).to_have_attribute("aria-sort", "ascending", timeout=90_000)
    panel.grid.box(1).click()
    panel.grid.box(3).click()
    panel.grid.expect_text("chosen", "2 selected")
    page.wait_for_value("len(panel.selected)", 2)  # the page counts a click before the kernel has it
    chosen = page.value("panel.selected")
    before = page.value("panel.head.read_at")
    panel.button("Refresh").first.click()
    page.wait_for_value(f"panel.head.read_at != {before!r}", expected=True)
    assert page.value("panel.selected") == chosen
    panel.expect_text("2 selected")
    panel.grid.root.get_by_role("button", name="Deselect").click()
    panel.grid.header("target").click()
    panel.grid.header("target").click()
    panel.button("More filters").click()
    _group(panel, on=True)
    panel.button("More filters").click()


SLOW_READ = """
import threading
from restate_lab.panels.invocation import detail
may_read, read_now = threading.Event(), detail.read_invocation
def read_later(*args, **options):
    may_read.wait(60)
    return read_now(*args, **options)
detail.read_invocation = read_later
"""
RECORD = """() => {
  window.shown = new Set();
  window.recording = setInterval(() => window.shown.add(document.querySelector(".rl-panel").innerText), 20);
}"""


def _says_nothing_that_it_has_not_read(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Until the kernel has answered, the head shows what the row knew, and the journal has bars and no text."""
    page.value(f"exec({SLOW_READ!r}, globals())")
    page.page.evaluate(RECORD)
    expect(panel.grid.cell(0, "target")).to_contain_text("agent/run")  # and the step that fails
    panel.grid.cell(0, "target").click()
    expect(panel.detail.locator(".rl-target")).to_have_text("agent/run")
    expect(panel.detail.locator(".rl-word")).to_have_text(
        re.compile(r"^(backing-off|running) · \d+(st|nd|rd|th) attempt$")
    )
    expect(panel.root.locator(".rl-crumbs button").last).to_have_text("agent/run")
    expect(panel.detail.locator(".rl-journal .rl-bone:visible")).to_have_count(3)
    expect(panel.detail.get_by_role("treegrid")).to_be_hidden()
    expect(panel.detail.locator(".rl-folds")).to_be_hidden()
    panel.picture(screenshots / "invocation-reading.png")
    page.value("may_read.set()")
    expect(panel.detail.locator(".rl-journal")).to_have_attribute("aria-busy", "false", timeout=90_000)
    expect(panel.detail.locator(".rl-journal .rl-bone:visible")).to_have_count(0)
    texts = page.page.evaluate("() => { clearInterval(window.recording); return [...window.shown]; }")
    assert len(texts) > 1
    assert [text for text in texts if "no journal" in text or "no entries" in text] == []
    page.value("setattr(detail, 'read_invocation', read_now)")
    panel.back()


def _opens(page: LabPage, panel: PanelOnPage, cluster: Cluster, screenshots: Path) -> None:
    panel.strip.get_by_label("Find a service").fill("agent")
    page.wait_for_value("len(panel.frame)", 1)
    _says_nothing_that_it_has_not_read(page, panel, screenshots)
    panel.open(0, "agent/run")
    assert page.value("panel.state['open']") == cluster.roles["agent_denver"]
    panel.expect_text(
        re.compile("no answer from the weather service for Denver"), within=panel.detail.locator(".rl-failure")
    )
    explanation = panel.detail.get_by_role("button", name="Explanation")
    if explanation.get_attribute("aria-expanded") == "false":  # it is open if the first read was during an attempt
        explanation.click()
    panel.detail.get_by_text("As text", exact=True).click()
    panel.expect_text(re.compile("Every attempt fails"), within=panel.detail)
    link = panel.detail.get_by_role("link", name="Open in web UI")
    assert link.get_attribute("href") == f"{cluster.admin_url}/ui/invocations/{cluster.roles['agent_denver']}"
    row = panel.detail.locator('.rl-jrow[data-outcome="retrying"]')
    expect(row).to_contain_text("get weather")
    expect(row).to_contain_text("no answer from the weather service for Denver")
    expect(row.locator(".rl-jbar-of-time")).to_have_css("background-color", "rgb(232, 113, 10)")
    panel.picture(screenshots / "invocations-journal.png")
    assert page.page.evaluate(HEADROOM) < 260
    panel.read_payloads()
    panel.expect_text(re.compile("What is the weather in Denver"), within=panel.detail)
    panel.button("Copy as code").first.click()
    expect(panel.button("Copied")).to_be_visible()
    assert page.value("panel.code").startswith("rl.Panel(lab, service='agent', open='inv_")
    assert page.value("[panel.head.is_answered, panel._is_unanswered]") == [True, False]
    _copies_a_link(page, panel, cluster)


def _copies_a_link(page: LabPage, panel: PanelOnPage, cluster: Cluster) -> None:
    """Copy the address of the open item, with a button that is there only with the address of the server."""
    copy = panel.button("Copy link")
    expect(copy).to_be_hidden()
    page.value("__import__('os').environ.update(RESTATE_LAB_SERVE='https://lab.example.com')")
    panel.button("Refresh").first.click()
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy.click()
    # "Copy as code" can still show "Copied", too.
    expect(panel.root.locator(".rl-tools button[title^='https://']")).to_have_text("Copied")
    link = page.page.evaluate("() => navigator.clipboard.readText()")
    assert link == page.value("panel.link")
    name = quote_plus(page.value("lab.name"))
    assert link == f"https://lab.example.com/invocation/{cluster.roles['agent_denver']}?source={name}"
    expect(copy).to_be_visible()


def _looks(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    panel.button("Pause", within=panel.detail).click()
    panel.expect_text(re.compile("^Pause 1 of 1 · "), within=panel.detail)
    expect(panel.button("Pause 1 invocation", within=panel.detail)).to_be_visible(timeout=90_000)
    assert unnamed_roles(panel.root) == []
    page.command("application:toggle-left-area")
    for name, width, theme in (("wide", 1500, "Light"), ("phone", 390, "Dark")):  # a long test has each pair
        page.page.set_viewport_size({"width": width, "height": 1200})
        page.theme(f"JupyterLab {theme}")
        panel.root.evaluate("e => e.scrollIntoView()")
        panel.picture(screenshots / f"invocations-{name}-{theme.lower()}.png")
        assert faint_texts(panel.root) == []
        assert overflowing_parts(panel.root) == []


def _goes_through_the_waits(page: LabPage, panel: PanelOnPage, cluster: Cluster, screenshots: Path) -> None:
    """From a finding to the picture of its deadlock, to a member with the keyboard, and back; then a list is a file."""
    panel.root.get_by_role("tab", name="Invocations").click()
    finding = panel.finding("deadlock").first
    if not finding.is_visible():
        panel.findings.locator(".rl-more").click()
    finding.locator("summary").click()
    panel.button("Why", within=finding.locator(".rl-menulist")).click()
    waits = panel.root.locator(".rl-waits")
    panel.expect_text(re.compile("^Only the part of the graph with Warehouse"))
    page.wait_for_value("panel.state.get('view')", "waits")
    panel.button("Show the whole graph").click()
    expect(waits.locator("svg rect")).to_have_count(3)
    blockers = panel.root.locator(".rl-grid").last
    expect(blockers.locator(".rl-body .rl-row:not(.rl-loading)").first).to_be_visible()  # with its name
    for name, width, theme in (("wide", 1280, "Light"), ("phone", 400, "Dark")):
        page.page.set_viewport_size({"width": width, "height": 1000})
        page.theme(f"JupyterLab {theme}")
        panel.root.evaluate("e => e.scrollIntoView()")
        panel.picture(screenshots / f"waits-{name}-{theme.lower()}.png")
        assert (unnamed_roles(panel.root), faint_texts(panel.root), overflowing_parts(panel.root)) == ([], [], [])
    member = cluster.ids("deadlock_pair")[0]
    box = waits.locator(f'[data-open="{member}"]')
    panel.reach(box)
    page.page.keyboard.press("Enter")
    line = panel.detail.locator(".rl-deadlock")
    expect(line).to_contain_text("In a deadlock with")
    panel.picture(screenshots / "waits-member.png")
    page.page.keyboard.press("Escape")
    expect(box).to_be_focused()
    blockers.locator(".rl-menu > summary").click()
    panel.picture(screenshots / "waits-export.png")
    panel.button("Copy ids", within=blockers).click()
    expect(blockers.locator(".rl-message")).to_have_text(re.compile(r"ids copied"))
    assert "inv_" in page.page.evaluate("() => navigator.clipboard.readText()")
    blockers.locator(".rl-menu > summary").click()
    panel.button("CSV file", within=blockers).click()
    expect(panel.root.locator(".rl-file")).to_contain_text(re.compile(r"Exported \d+ rows: root-blockers-\d+-\d+\.csv"))
    assert page.value("open(panel.head.file['path']).read().count('inv_') >= len(panel.view.blocker_grid.frame)")


def _shows_the_queues(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Each bar has the lengths of its row, and each queue a line; Enter on a queue lists its calls."""
    panel.root.get_by_role("tab", name="Queues").click()
    page.wait_for_value("panel.state.get('view')", "queues")
    grid = panel.root.locator(".rl-grid").first
    page.page.set_viewport_size({"width": 1280, "height": 1000})
    expect(grid.locator(".rl-body .rl-load").first).to_be_visible()
    lengths = grid.locator(".rl-body .rl-row").first.locator(".rl-load > :not(.rl-mark)").evaluate_all(SHARES)
    assert lengths == pytest.approx(page.value("panel.view.grid.frame['bar'][0][:4]"), abs=0.03)
    rows = grid.locator(".rl-body .rl-row").count()
    assert grid.locator(".rl-body polyline[points]").count() == rows
    for name, width, theme in (("wide", 1280, "Light"), ("phone", 400, "Dark")):
        page.page.set_viewport_size({"width": width, "height": 1000})
        page.theme(f"JupyterLab {theme}")
        panel.root.evaluate("e => e.scrollIntoView()")
        panel.picture(screenshots / f"queues-{name}-{theme.lower()}.png")
        assert (unnamed_roles(panel.root), faint_texts(panel.root), overflowing_parts(panel.root)) == ([], [], [])
    cell = grid.locator(".rl-body .rl-row").first.locator(".rl-cell").nth(1)
    waiting = page.value("int(panel.view.grid.frame['waiting'][0])")
    cell.focus()
    page.page.keyboard.press("Enter")
    page.wait_for_value("len(panel.state.get('id', ())) == len(panel.frame)", expected=True)
    assert page.value("len(panel.frame)") >= waiting > 0


def _walks_the_journal(page: LabPage, panel: PanelOnPage, cluster: Cluster, screenshots: Path) -> None:
    """Expand a call to the journal of its callee, where the failing step is orange; keys move, collapse and open."""
    page.page.set_viewport_size({"width": 1400, "height": 1000})
    page.value(f"panel.open_invocation({cluster.roles['storm_caller_1']!r}) and None")
    expect(panel.detail.locator(".rl-target")).to_have_text("Orders/place", timeout=90_000)
    grid = panel.detail.get_by_role("treegrid")
    call = grid.get_by_role("row").filter(has_text="Call")
    expect(call).to_have_attribute("aria-expanded", "false")
    call.focus()
    page.page.keyboard.press("ArrowRight")
    failing = grid.locator('[data-outcome="retrying"]')
    expect(failing).to_contain_text("charge card", timeout=90_000)
    expect(failing).to_have_attribute("aria-level", "2")
    panel.detail.get_by_role("button", name="Fit").click()
    page.page.wait_for_function(  # the entries before the failing step have room, although each takes 0 to 2 ms
        """() => {
          const bar = [...document.querySelectorAll(".rl-jbar-of-time")].at(-1);
          return bar.getBoundingClientRect().left - bar.parentElement.getBoundingClientRect().left > 30;
        }"""
    )
    panel.picture(screenshots / "invocations-callee.png")
    call.focus()
    page.page.keyboard.press("ArrowLeft")
    expect(failing).to_be_hidden()
    page.page.keyboard.press("Enter")
    expect(panel.detail.locator(".rl-target")).to_have_text("Payments/charge", timeout=90_000)
    expect(panel.detail.locator(".rl-jchip").first).to_contain_text("Orders/place")


@pytest.fixture(scope="module")
def echoes(own: Embedded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Send invocations whose key, target, failure and payload are hostile, and one with a megabyte."""
    folder = tmp_path_factory.mktemp("echoes")
    services, uri = start_services(folder, echo_services.__file__)
    with services, rl.connect(own.server.admin_url, audit=folder / "audit") as lab:
        lab.admin.create_deployment(uri=uri)
        once_served(lambda: lab.ingress.send("Echo", "fail", ATTACKS[0], key=ATTACKS[0]))
        lab.ingress.send("Echo", "wait", ATTACKS[0] * (MEGABYTE // len(ATTACKS[0])), key="long")
        for attack in (*ATTACKS[1:], WORD):
            lab.ingress.send("Echo", "fail", attack, key=attack)
        # with vqueues, a long back-off has no last_failure
        failed = """SELECT count(DISTINCT id) AS n FROM sys_journal_events WHERE event_type = 'TransientError'
            AND id IN (SELECT id FROM sys_invocation_status WHERE target_service_name = 'Echo')"""
        wait_for(lambda: lab.sql(failed)["n"].iloc[0] == len(ATTACKS) + 1)
        yield


@pytest.mark.long  # faults/test_hostile.py and test_grid.py have hostile text
@pytest.mark.usefixtures("echoes")
def test_hostile_text_and_two_panels(page: LabPage, own: Embedded, notebooks: Path, screenshots: Path) -> None:
    """Keys, targets, failures and payloads stay text, also a megabyte; two panels do not affect each other."""
    cells = panel_cell(own.server.admin_url, "first", ", service='Echo'"), panel_cell(own.server.admin_url, "second")
    write_notebook(notebooks / "hostile-panel.ipynb", *cells)
    page.open("hostile-panel.ipynb")
    page.run_all()
    first, second = PanelOnPage(page.page, 0), PanelOnPage(page.page, 1)
    first.wait("6 invocations")
    second.wait()
    for attack, shown in zip(ATTACKS, SHOWN, strict=True):
        first.filter("key", attack)
        page.wait_for_value("list(first.frame.target_service_key)", [attack])
        first.open(0, f"Echo/{shown}/fail")
        expect(first.detail.locator(".rl-failure")).to_contain_text(shown)
        first.read_payloads()
        expect(first.detail.locator(".rl-payloads")).to_contain_text(shown)
        first.back()
    first.picture(screenshots / "invocations-hostile.png")
    first.filter("key", "long")
    page.wait_for_value("list(first.frame.target_service_key)", ["long"])
    first.open(0, "Echo/long/wait")
    first.read_payloads()
    expect(first.detail.locator(".rl-payloads")).to_contain_text(SHOWN[0] * 100)
    first.back()
    _holds_a_long_word(page, first, screenshots)
    assert page.page.evaluate("window.attacked") is None
    assert page.page.locator(".rl-panel script, .rl-panel img").count() == 0
    second.grid.box(0).click()
    second.grid.expect_text("chosen", "1 selected")
    assert page.value("[len(first.selected), len(second.selected)]") == [0, 1]
    assert page.value("second.state") == {}
    _ends(page)
    assert page.console_errors == []


def _holds_a_long_word(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Show a key and a failure of ten thousand letters without a space, in the table, opened, and in a plan."""
    panel.filter("key", WORD)
    page.wait_for_value("[first.error, list(first.frame.target_service_key)]", ["", [WORD]])
    expect(panel.grid.cell(0, "target")).to_contain_text(WORD[:100])
    panel.grid.cell(0, "target").click()
    expect(panel.detail.locator(".rl-failure")).to_contain_text(WORD[:100])
    panel.read_payloads()
    panel.button("Cancel", within=panel.detail).click()
    panel.expect_text(re.compile("^Cancel 1 of 1 · "), within=panel.detail)
    page.command("application:toggle-left-area")
    for width in (1400, 500):
        page.page.set_viewport_size({"width": width, "height": 1400})
        panel.picture(screenshots / f"invocations-word-{width}.png")
        assert overflowing_parts(panel.root) == []
    page.page.set_viewport_size({"width": 1400, "height": 1000})
    panel.back()
    panel.clear_filters()


def _ends(page: LabPage) -> None:
    """Expect closed panels to leave no thread in the kernel."""
    assert page.value("[first.close(), second.close()]") == [None, None]
    alive = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('restate-lab')]"
    page.wait_for_value(alive, [])


def test_exported_without_a_kernel(
    browser: Browser, incident_server: Cluster, tmp_path: Path, screenshots: Path
) -> None:
    """A page exported from a notebook shows the panels' rows, without kernel or external content."""
    from nbconvert import HTMLExporter

    with rl.connect(incident_server.admin_url) as lab:
        panel = rl.Panel(lab, open=incident_server.roles["agent_denver"], refresh=None)
        data = panel._repr_mimebundle_()
        panel.close()
    cell = nbformat.v4.new_code_cell("panel")
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    exporter = HTMLExporter(config={"NbConvertBase": {"display_data_priority": ["text/html", "text/plain"]}})
    for url in ("require_js_url", "jquery_url", "mathjax_url", "mermaid_js_url"):
        setattr(exporter, url, "")
    html, _ = exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    (tmp_path / "export.html").write_text(html, "utf-8")
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "export.html").as_uri())
    expect(page.get_by_text("WeatherDown('no answer from the weather service for Denver").first).to_be_visible()
    expect(page.get_by_text(incident_server.admin_url).first).to_be_visible()
    page.screenshot(path=screenshots / "invocations-exported.png", full_page=True)
    page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
