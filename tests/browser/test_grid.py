"""The grid in JupyterLab: used with mouse and keyboard, read in the kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.grids import GridOnPage
from support.jupyter import LabPage, write_notebook

MILLION = """
import numpy as np, pandas as pd
from restate_lab.panels.grid import Grid
n = 1_000_000
numbers = np.arange(n)
frame = pd.DataFrame({
    "id": pd.Series(numbers).map("inv_{:07}".format).astype("str"),
    "target": np.array(["agent/run", "Cart/add", "orders/pay"])[numbers % 3],
    "status": np.array(["running", "suspended", "failed", "backing-off"])[numbers % 4],
    "created_at": pd.Timestamp("2026-11-25", tz="UTC") + pd.to_timedelta(numbers, unit="s"),
    "retry_count": (numbers * 7919) % n,
    "last_failure": np.where(numbers % 1000 == 7, "Weather is down", None),
})
grid = Grid(frame, noun="invocations")
opened = []
grid.on_open(opened.append)
grid
"""
GROUPS = """
import numpy as np, pandas as pd
from restate_lab.panels.grid import Grid
def failures(n=30, attempts=200):
    now, numbers = pd.Timestamp.now(tz="UTC"), np.arange(n)
    return pd.DataFrame({
        "id": [f"inv_1brn{number:06}k8E{number % 10}" for number in numbers],
        "status": np.where(numbers < 15, "backing-off", "suspended"),
        "retry_count": attempts - numbers,
        "failure": np.where(numbers < 15, "HTTP 503 Service Unavailable, " * 9, None),
        "created_at": now - pd.to_timedelta(numbers + 36, unit="min"),
        "next_retry_at": now + pd.to_timedelta(numbers * 60 + 90, unit="s"),
        "group": np.where(numbers < 15, "charge", None),
        "why": "same step, same error",
    })
looks = dict(noun="invocations", ids=["id"], ages=["created_at"], countdowns=["next_retry_at"], flex="failure",
             heads={"retry_count": "attempts", "created_at": "age", "next_retry_at": "next try", "failure": "error"})
grouped = Grid(is_read=False, group="group", group_label="why", **looks)
searched = []
grouped.on_search(searched.append)
grouped.name_search("search all 129 on the server")
short = Grid(failures(3).drop(columns=["group", "why"]), compact=True, **looks)
import ipywidgets
from restate_lab.panels._base.head import Head
ipywidgets.VBox([ipywidgets.HTML(f"<style>{Head._css}</style>"), grouped, short])
"""
HOSTILE = """
import pandas as pd
from restate_lab.panels.grid import Grid
ATTACKS = [
    "<img src=x onerror='window.attacked = 1'>", "</script><script>window.attacked = 1</script>",
    "\\x1b[31mred\\x1b[0m", "abc\\u202etxt.exe", "x" * (1 << 20), "line\\nline", "'; DROP TABLE --", "&lt;b&gt;", None,
]
attacks = pd.DataFrame({"id": [f"<b>{n}</b>" for n in range(9)], "<i>name</i>": ATTACKS, "status": "<u>running</u>"})
first = Grid(attacks, noun="<s>rows</s>")
first.refresh(attacks, total=1000, note="<img src=x onerror='window.attacked = 1'>")
first
"""
SECOND = """
second = Grid(pd.DataFrame({"id": ["a", "b", "c"], "status": ["running", "paused", "killed"]}), noun="invocations")
second
"""


@pytest.mark.long  # takes minutes; unit/panels/test_grid.py has the grid without a page
def test_a_million_rows(page: LabPage, notebooks: Path, screenshots: Path) -> None:
    """A million rows are scrolled to the end, sorted, filtered and selected; the kernel knows the selection."""
    write_notebook(notebooks / "grid.ipynb", MILLION, GROUPS)
    page.open("grid.ipynb")
    page.run_all()
    grid = GridOnPage(page.page)
    grid.wait("1,000,000 invocations")
    assert grid.root.locator(".rl-body .rl-row").count() < 100
    _scrolls(grid)
    _sorts_and_filters(page, grid)
    _selects_only_what_was_seen(page, grid)
    _selects_with_the_mouse(page, grid)
    _selects_with_the_keyboard(page, grid)
    _keeps_the_selection(page, grid)
    _chooses_columns(page, grid)
    _widens_a_column(page, grid)
    _pictures(page, grid, "grid", screenshots)
    grouped, short = GridOnPage(page.page, 1), GridOnPage(page.page, 2)
    _expects_rows(page, grouped)
    _works_with_groups(page, grouped)
    _closes_one_thing_at_a_time(page, grouped)
    _searches(page, grouped)
    _stays_small(page, short)
    _pictures(page, grouped, "grid-groups", screenshots)
    assert page.console_errors == []


def _chooses_columns(page: LabPage, grid: GridOnPage) -> None:
    """Clear the box of a column: the column is hidden, and returns to its place."""
    shown = page.value("grid.columns")
    chooser = grid.root.locator(".rl-chooser")
    chooser.locator("summary").click()
    chooser.get_by_label("target", exact=True).uncheck()
    expect(grid.header("target")).to_have_count(0)
    page.wait_for_value("grid.columns", [name for name in shown if name != "target"])
    chooser.get_by_label("target", exact=True).check()
    expect(grid.header("target")).to_have_count(1)
    page.wait_for_value("grid.columns", shown)
    chooser.locator("summary").click()


def _widens_a_column(page: LabPage, grid: GridOnPage) -> None:
    """Drag the edge of a header: its column gets wider by the same amount."""
    header = grid.header("target")
    before = header.bounding_box()
    header.locator(".rl-handle").hover()
    edge = header.locator(".rl-handle").bounding_box()
    assert before
    assert edge
    page.page.mouse.down()
    page.page.mouse.move(edge["x"] + edge["width"] / 2 + 60, edge["y"] + 5, steps=4)
    page.page.mouse.up()
    page.page.wait_for_timeout(500)  # until the kernel has reported it, too
    after = header.bounding_box()
    assert after
    assert abs(after["width"] - before["width"] - 60) <= 2


def _scrolls(grid: GridOnPage) -> None:
    grid.scroll_to(1)
    assert grid.text(999_999, "id") == "inv_0999999"
    last = grid.line(999_999).bounding_box()
    frame = grid.scroller.bounding_box()
    assert last
    assert frame
    assert last["y"] + last["height"] <= frame["y"] + frame["height"]
    grid.scroll_to(0.5)
    assert grid.text(500_000, "id") == "inv_0500000"
    # A notebook removes cells far from view from the page; a cell that returns has lost its scroll position.
    grid.root.evaluate("e => { const home = e.parentNode; e.remove(); setTimeout(() => home.append(e), 300); }")
    expect(grid.line(500_000)).to_be_in_viewport(timeout=90_000)
    first = int(grid.root.locator(".rl-body .rl-row").first.get_attribute("aria-rowindex") or 0) - 2
    grid.scroller.hover()
    grid.page.mouse.wheel(0, 260)  # ten rows, although the scroll bar is scaled
    expect(grid.root.locator(".rl-body .rl-row").first).to_have_attribute("aria-rowindex", str(first + 12))
    assert grid.text(first + 10, "id") == f"inv_{first + 10:07}"
    grid.scroll_to(0)
    assert grid.text(0, "id") == "inv_0000000"


def _sorts_and_filters(page: LabPage, grid: GridOnPage) -> None:
    grid.header("retry_count").click()
    expect(grid.header("retry_count")).to_have_attribute("aria-sort", "ascending", timeout=90_000)
    grid.header("retry_count").click()
    expect(grid.header("retry_count")).to_have_attribute("aria-sort", "descending", timeout=90_000)
    expect(grid.cell(0, "retry_count")).to_have_text("999999")
    assert grid.text(0, "id") == page.value("grid.frame.id.iloc[grid.controller.model.order[0]]")
    grid.search.press_sequentially("weather")
    grid.wait("1,000 of 1,000,000 invocations match")
    expect(grid.cell(0, "last_failure")).to_have_text("Weather is down")
    grid.header("retry_count").click()
    expect(grid.header("retry_count")).to_have_attribute("aria-sort", "none", timeout=90_000)
    grid.search.fill("")
    grid.wait("1,000,000 invocations")
    expect(grid.cell(1, "id")).to_have_text("inv_0000001")


def _selects_only_what_was_seen(page: LabPage, grid: GridOnPage) -> None:
    """Choose a range among rows that are about to go: the rows between them in the new order are not selected."""
    grid.search.press_sequentially("weather")
    expect(grid.cell(1, "id")).to_have_text("inv_0001007")
    talk = "grid.controller"
    slow = f"lambda said: {talk}.held.append(said) if said['type'] == 'page' else {talk}.told(said)"
    page.value(f"[setattr({talk}, 'held', []), setattr({talk}, 'told', {talk}.send), setattr({talk}, 'send', {slow})]")
    grid.search.fill("")
    grid.wait("1,000,000 invocations")
    grid.box(1).click()
    grid.expect_text("chosen", "1 selected")
    grid.box(4).click(modifiers=["Shift"])
    grid.expect_text("error", re.compile("^Rows were added, removed or moved"))
    assert page.value("grid.selected") == ["inv_0001007"]
    page.value(f"[setattr({talk}, 'send', {talk}.told), [{talk}.told(said) for said in {talk}.held]]")
    grid.root.get_by_role("button", name="Deselect").click()
    expect(grid.cell(1, "id")).to_have_text("inv_0000001", timeout=90_000)
    grid.expect_text("chosen", "")


def _selects_with_the_mouse(page: LabPage, grid: GridOnPage) -> None:
    grid.box(1).click()
    grid.box(4).click(modifiers=["Shift"])
    grid.expect_text("chosen", "4 selected")
    grid.cell(6, "target").click(modifiers=["ControlOrMeta"])
    grid.expect_text("chosen", "5 selected")
    grid.box(2).click()
    grid.expect_text("chosen", "4 selected")
    assert page.value("grid.selected") == [f"inv_{n:07}" for n in (1, 3, 4, 6)]
    assert page.value("opened") == []
    grid.cell(5, "target").click()
    expect(grid.line(5)).to_have_attribute("aria-current", "true")
    page.wait_for_value("opened", ["inv_0000005"])
    assert page.value("len(grid.selected)") == 4
    grid.root.get_by_role("button", name="Deselect").click()
    grid.expect_text("chosen", "")


def _selects_with_the_keyboard(page: LabPage, grid: GridOnPage) -> None:
    cells = page.page.locator(".jp-CodeCell").count()
    keys = page.page.keyboard
    grid.search.focus()
    for key in ("ArrowDown", "ArrowDown", "Space", "Shift+ArrowDown", "Shift+ArrowDown", "Shift+ArrowDown"):
        keys.press(key)
    grid.expect_text("chosen", "4 selected")
    keys.press("Shift+ArrowUp")
    grid.expect_text("chosen", "3 selected")
    assert page.value("grid.selected") == ["inv_0000001", "inv_0000002", "inv_0000003"]
    keys.press("Control+End")
    expect(grid.cell(999_999, "last_failure")).to_be_focused()
    keys.press("Shift+PageUp")  # a range of one screen, up to a row that was not there before
    grid.expect_text("chosen", re.compile(r"^2\d selected$"))
    keys.press("Control+Home")
    keys.press("ArrowRight")
    expect(grid.cell(0, "id")).to_be_focused()
    for key in ("a", "b", "x", "d", "d", "ArrowDown", "Enter"):  # in a notebook they add and delete cells
        keys.press(key)
    expect(grid.line(1)).to_have_attribute("aria-current", "true")
    page.wait_for_value("opened[-1]", "inv_0000001")
    assert page.page.locator(".jp-CodeCell").count() == cells
    keys.press("Escape")
    grid.expect_text("chosen", "")
    grid.expect_text("cleared", re.compile(r"Selection removed \(\d+\)\. Undo"))
    before = page.value("len(grid.controller.model._cleared)")
    keys.press("Control+z")
    grid.expect_text("chosen", f"{before} selected")
    keys.press("Escape")
    grid.root.get_by_role("button", name="Undo").click()
    grid.expect_text("chosen", f"{before} selected")
    grid.root.get_by_role("button", name="Deselect").click()
    grid.expect_text("chosen", "")


def _keeps_the_selection(page: LabPage, grid: GridOnPage) -> None:
    grid.search.press_sequentially("weather")
    keys = page.page.keyboard
    # The filter has not been sent yet: the selection is all rows that match it, not the million that it excludes.
    grid.header("status").focus()
    keys.press("Control+a")
    grid.expect_text("chosen", "1,000 selected")
    assert page.value("grid.selected == list(frame.id[frame.last_failure.notna()])")
    page.page.mouse.move(0, 0)
    grid.search.fill("inv_000000")
    grid.wait("10 of 1,000,000 invocations match")
    grid.expect_text("chosen", "1,000 selected, 999 hidden by the filter")
    assert page.value("grid.refresh(frame[::-1].iloc[:-8], total=3_000_000)") is None
    grid.wait("2 of 999,992 invocations match")
    grid.expect_text("chosen", "999 selected, 999 hidden by the filter, 1 selected is outside of this filter")
    grid.expect_text("note", "999,992 of 3,000,000 invocations on the server are loaded.")
    assert page.value("sorted(grid.selected) == list(frame.id[frame.last_failure.notna()][1:])")
    grid.line(1).hover()
    expect(grid.cell(0, "id")).to_have_text("inv_0000009")
    assert page.value("grid.refresh(frame)") is None
    grid.expect_text("chosen", "1,000 selected, 999 hidden by the filter")
    expect(grid.cell(0, "id")).to_have_text("inv_0000009")  # the row under the pointer does not move
    grid.root.get_by_role("button", name="Sort again").click()
    expect(grid.line(7)).to_have_attribute("aria-selected", "true")
    grid.search.fill("")
    grid.wait("1,000,000 invocations")


def _expects_rows(page: LabPage, grid: GridOnPage) -> None:
    """Expect gray bars before the first read, then rows with ages, countdowns and short ids."""
    grid.root.scroll_into_view_if_needed()
    expect(grid.root.locator(".rl-bone").first).to_be_visible()
    assert page.value("grouped.refresh(failures())") is None
    grid.wait("30 invocations")
    expect(grid.root.locator(".rl-bone").first).to_be_hidden()
    expect(grid.cell(0, "age")).to_have_text(re.compile("^3[67]m$"))
    expect(grid.cell(0, "next try")).to_have_text(re.compile(r"^in (1m|\d+s)$"))
    expect(grid.cell(0, "id")).to_have_text("inv_…k8E0")
    assert page.page.evaluate("() => [...document.querySelectorAll('.rl-scroll')].at(-2).scrollWidth") <= 1400


def _works_with_groups(page: LabPage, grid: GridOnPage) -> None:
    """Expand, collapse and select a group by keyboard."""
    keys = page.page.keyboard
    expect(grid.line(1)).to_contain_text("14 more like it (same step, same error)")
    grid.cell(0, "status").focus()
    for key in ("j", "ArrowRight"):
        keys.press(key)
    expect(grid.line(1)).to_have_attribute("aria-expanded", "true")
    expect(grid.cell(2, "attempts")).to_have_text("199")
    keys.press("ArrowLeft")
    expect(grid.line(1)).to_have_attribute("aria-expanded", "false")
    keys.press("Space")
    grid.expect_text("chosen", "15 selected")
    assert page.value("grouped.selected == list(failures().id[:15])")
    keys.press("k")
    expect(grid.cell(0, "status")).to_be_focused()
    keys.press("Enter")
    expect(grid.line(0)).to_have_attribute("aria-current", "true")


def _closes_one_thing_at_a_time(page: LabPage, grid: GridOnPage) -> None:
    """Press Escape: it closes the list of keys, and then deselects, which can be undone."""
    keys = page.page.keyboard
    keys.press("?")
    expect(grid.root.get_by_role("dialog", name="Keys")).to_be_focused()
    keys.press("Escape")
    expect(grid.root.get_by_role("dialog", name="Keys")).to_be_hidden()
    expect(grid.cell(0, "status")).to_be_focused()
    keys.press("Escape")
    grid.expect_text("cleared", "Selection removed (15). Undo")
    keys.press("Control+z")
    grid.expect_text("chosen", "15 selected")
    keys.press("Escape")
    grid.expect_text("chosen", "")


def _searches(page: LabPage, grid: GridOnPage) -> None:
    """Read the full text of a shortened cell below the table, kept current; search the server from the filter."""
    keys = page.page.keyboard
    for _ in range(2):
        keys.press("ArrowRight")
    grid.expect_text("full", re.compile("^HTTP 503 Service"))
    assert page.value("grouped.refresh(failures().replace({'failure': {'503': '504'}}, regex=True))") is None
    grid.expect_text("full", re.compile("^HTTP 504 Service"))
    keys.press("/")
    expect(grid.search).to_be_focused()
    page.page.keyboard.type("504")
    grid.wait("15 of the 30 loaded")
    grid.root.get_by_role("button", name="search all 129 on the server").click()
    page.wait_for_value("searched", ["504"])
    grid.wait("30 invocations")


def _stays_small(page: LabPage, grid: GridOnPage) -> None:
    """Expect neither bar nor boxes in a compact table."""
    grid.root.scroll_into_view_if_needed()
    expect(grid.search).to_be_hidden()
    expect(grid.box(0)).to_be_hidden()
    grid.cell(0, "status").click()
    expect(grid.line(0)).to_have_attribute("aria-current", "true")
    page.page.keyboard.press("Space")
    assert page.value("short.selected") == []


def _pictures(page: LabPage, grid: GridOnPage, title: str, screenshots: Path) -> None:
    grid.root.locator(".rl-chooser > summary").click()  # the picture shows the list of columns
    for name, width in (("wide", 1280), ("narrow", 900)):
        page.page.set_viewport_size({"width": width, "height": 1000})
        for theme in ("Light", "Dark"):
            page.theme(f"JupyterLab {theme}")
            grid.root.scroll_into_view_if_needed()
            grid.wait()
            page.page.screenshot(path=screenshots / f"{title}-{name}-{theme.lower()}.png")


def test_hostile_text_and_two_grids(page: LabPage, notebooks: Path, screenshots: Path) -> None:
    """Text from a cluster stays text; two grids do not affect each other; a reloaded page has its grids again."""
    write_notebook(notebooks / "hostile.ipynb", HOSTILE, SECOND, "second")
    page.open("hostile.ipynb")
    page.run_all()
    first, second = GridOnPage(page.page, 0), GridOnPage(page.page, 1)
    first.wait("9 <s>rows</s>")
    second.wait("3 invocations")
    attacks = page.value("ATTACKS")
    for line in (0, 1, 6, 7):
        assert first.text(line, "<i>name</i>") == attacks[line]
    assert first.text(2, "<i>name</i>") == "‹U+001B›[31mred‹U+001B›[0m"
    assert first.text(3, "<i>name</i>") == "abc‹U+202E›txt.exe"
    assert first.text(4, "<i>name</i>") == "x" * 200 + "…"
    assert first.text(5, "<i>name</i>") == "line↵line"
    first.cell(4, "<i>name</i>").click()
    first.expect_text("full", re.compile(r"^x{60000}x*…\s*\(1,048,576 characters in all\)$"))
    second.box(1).click()
    second.expect_text("chosen", "1 selected")
    again = GridOnPage(page.page, 2)  # another view of the second grid
    again.expect_text("chosen", "1 selected")
    expect(again.line(1)).to_have_attribute("aria-selected", "true")
    first.expect_text("chosen", "")
    assert page.value("[first.selected, second.selected]") == [[], ["b"]]
    page.page.screenshot(path=screenshots / "grid-hostile.png")
    _reloads(page, second)
    assert page.page.evaluate("window.attacked") is None
    assert page.console_errors == []
    assert page.page.locator(".rl-grid img, .rl-grid i, .rl-grid b, .rl-grid script").count() == 0


def _reloads(page: LabPage, second: GridOnPage) -> None:
    """Expect the grids again, with their selection."""
    page.command("docmanager:save")
    page.page.reload(wait_until="domcontentloaded")
    second.wait("3 invocations")
    second.expect_text("chosen", "1 selected")
