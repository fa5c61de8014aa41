"""The magics in JupyterLab: their output for a person, and the completion pop-up."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.clusters import Cluster
from support.jupyter import LabPage, write_notebook

ENDLESS = "SELECT value FROM generate_series(1, 100000000000)"
CELLS = (
    "%load_ext restate_lab\nservice = 'agent'",
    "%restate",
    "%%restate -o mine\nSELECT id, target, status\nFROM sys_invocation WHERE target_service_name = :service;",
    "%%restate\nSELECT id FROM sys_invocation\nWHERE target_service_name = :service ORDR BY id",
    f"%restate --timeout 9 {ENDLESS} WHERE value % 7 = 8",
    "",
    "",
)


@pytest.mark.long  # integration/test_magics.py has them without a page
def test_magics_in_jupyterlab(page: LabPage, notebooks: Path, newest: Cluster, screenshots: Path) -> None:
    """The card, a frame in a variable, one line for an error, a bar for a long query, and completion by Tab."""
    write_notebook(notebooks / "magics.ipynb", *CELLS)
    page.open("magics.ipynb")
    for number in range(4):
        page.run_cell(number)
    cells = page.page.locator(".jp-CodeCell")
    expect(cells.nth(1)).to_contain_text(newest.admin_url)
    assert page.value("sorted(set(mine.target))") == ["agent/run"]
    expect(cells.nth(2)).to_contain_text(f"mine: {page.value('len(mine)')} rows × 3 columns")
    error = cells.nth(3).locator(".jp-OutputArea-output")
    expect(error).to_have_count(1)
    expect(error).to_contain_text("QueryRefused: the server refused the query")
    assert "Traceback" not in error.inner_text()
    _shows_a_bar(page, screenshots)
    _completes(page, screenshots)
    _completes_questions(page, screenshots)


def _shows_a_bar(page: LabPage, screenshots: Path) -> None:
    """Expect a bar while the query runs, and none of it afterwards."""
    cell = page.page.locator(".jp-CodeCell").nth(4)
    page.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 4; }")
    page.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")
    expect(cell.locator("progress")).to_be_visible(timeout=60_000)
    expect(cell).to_contain_text("query: 0 rows")
    page.page.screenshot(path=screenshots / "magics-bar.png")
    expect(cell).to_contain_text("TimedOut: ", timeout=60_000)
    expect(cell.locator("progress")).to_have_count(0)
    page.page.screenshot(path=screenshots / "magics.png")


def _completes(page: LabPage, screenshots: Path) -> None:
    """Expect the tables in a pop-up, and the one matching column of a table with an alias."""
    page.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 5; }")
    page.command("notebook:enter-edit-mode")
    editor = page.page.locator(".jp-CodeCell").nth(5).locator(".cm-content")
    page.page.keyboard.type("%%restate\nSELECT s.id FROM sys_invocation_s")
    page.page.keyboard.press("Tab")
    offered = page.page.locator(".jp-Completer-item")
    expect(offered).to_have_count(2)
    expect(offered.nth(1)).to_contain_text("sys_invocation_status")
    page.page.screenshot(path=screenshots / "magics-completion.png")
    offered.nth(1).click()
    expect(editor).to_contain_text("FROM sys_invocation_status")
    page.page.keyboard.type(" s WHERE s.target_han")
    page.page.keyboard.press("Tab")
    name = "target_handler_name"  # JupyterLab writes the only match at once, or offers it with others
    expect(offered.filter(has_text=name).or_(editor.filter(has_text=f"s.{name}"))).to_have_count(1)
    if offered.count():
        page.page.keyboard.press("Enter")
    expect(editor).to_contain_text(f"s.{name}")


def _completes_questions(page: LabPage, screenshots: Path) -> None:
    """Expect the names of the matching questions within the quotes of rl.ask."""
    page.command("notebook:enter-command-mode")
    page.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 6; }")
    page.command("notebook:enter-edit-mode")
    page.page.keyboard.type('rl.ask(lab, "retry')
    page.page.keyboard.press("Tab")
    offered = page.page.locator(".jp-Completer-item:visible")
    expect(offered).to_have_count(2)
    page.page.screenshot(path=screenshots / "magics-questions.png")
    offered.filter(has_text="retry_storm_ids").click()
    expect(page.page.locator(".jp-CodeCell").nth(6).locator(".cm-content")).to_contain_text(
        'rl.ask(lab, "retry_storm_ids'
    )
