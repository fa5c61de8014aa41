"""Acting from a panel in JupyterLab: plan, reason, number, outcome; a conflict; the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.stories import STORIES
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell


@pytest.fixture(scope="module")
def own(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """Give a server of this module's own, with the incident on it: the tests change it."""
    with Embedded(server, tmp_path_factory.mktemp("own"), story=STORIES["incident"]) as running:
        yield running


@pytest.fixture
def lab(own: Embedded, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(own.server.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def status(lab: Lab, id_: str) -> str:
    return str(lab.sql("SELECT status FROM sys_invocation WHERE id = :id", id=id_)["status"].iloc[0])


def confirm(panel: PanelOnPage, name: str, reason: str) -> None:
    """Give a reason, and confirm the plan that is shown beside the table."""
    within = panel.opened
    expect(panel.button(name, within=within)).to_be_disabled()
    within.get_by_label("reason").fill(reason)
    expect(panel.button(name, within=within)).to_be_enabled()
    panel.button(name, within=within).click()


IN_THE_README = """
import restate_lab as rl

lab = rl.connect()
rl.InvocationsPanel(lab, status=["backing-off", "paused", "suspended"])
"""


def test_what_the_readme_shows(page: LabPage, own: Embedded, notebooks: Path, screenshots: Path) -> None:
    """The picture in the README: filters, two that are selected, and one opened beside them."""
    write_notebook(notebooks / "incident.ipynb", IN_THE_README.strip())
    page.open("incident.ipynb")
    page.command("application:toggle-left-area")
    page.value(f"__import__('os').environ.update(RESTATE_ADMIN_URL={own.server.admin_url!r})")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    for line in (2, 5):
        panel.grid.box(line).click()
    panel.expect_text("2 selected:")
    panel.open(9, panel.grid.cell(9, "target").inner_text())
    panel.expect_text(re.compile("was created"), within=panel.opened)
    panel.root.evaluate("e => { e.closest('.jp-WindowedPanel-outer').scrollTop = 0; }")
    panel.picture(screenshots / "panels.png")
    assert page.console_errors == []


def test_find_why_and_resume(page: LabPage, own: Embedded, lab: Lab, notebooks: Path, screenshots: Path) -> None:
    """With the mouse alone: find the Denver invocation, see why it hangs, pause it, and resume it with a reason."""
    write_notebook(notebooks / "act.ipynb", panel_cell(own.server.admin_url))
    page.open("act.ipynb")
    page.run_all()
    panel, denver = PanelOnPage(page.page), own.roles["agent_denver"]
    panel.wait()
    panel.picture(screenshots / "resume-1-all.png")
    panel.grid.search.fill("Denver")
    panel.grid.wait(None)
    expect(panel.grid.cell(0, "target")).to_have_text("agent/run")
    panel.picture(screenshots / "resume-2-found.png")
    panel.open(0, "agent/run")
    panel.expect_text(re.compile("connection timed out"), within=panel.opened.locator(".rl-first"))
    panel.picture(screenshots / "resume-3-why.png")
    panel.button("Pause…", within=panel.opened).click()
    panel.expect_text("pause 1 of 1 invocations", within=panel.opened)
    assert status(lab, denver) != "paused"
    confirm(panel, "Pause 1 invocation", "INC-42: look at it first")
    panel.expect_text("pause: 1 done.", within=panel.opened)
    expect(panel.opened.locator(".rl-word")).to_have_text("paused", timeout=30_000)
    assert status(lab, denver) == "paused"
    panel.button("Resume…", within=panel.opened).click()
    panel.expect_text("resume 1 of 1 invocations", within=panel.opened)
    panel.picture(screenshots / "resume-4-plan.png")
    confirm(panel, "Resume 1 invocation", "INC-42: the weather API is back")
    panel.expect_text("resume: 1 done.", within=panel.opened)
    panel.picture(screenshots / "resume-5-done.png")
    assert status(lab, denver) != "paused"
    assert page.value("panel.plan.outcome.outcome.tolist()") == ["done"]
    expect(panel.grid.cell(0, "status")).not_to_have_text("paused", timeout=30_000)
    reasons = "rl.audit_log().reason.dropna().tolist()"
    assert {"INC-42: look at it first", "INC-42: the weather API is back"} <= set(page.value(reasons))
    assert page.console_errors == []


def test_many_with_a_conflict(page: LabPage, own: Embedded, lab: Lab, notebooks: Path, screenshots: Path) -> None:
    """A kill of many wants the exact number; who changed since the plan is skipped and said to be."""
    write_notebook(notebooks / "many.ipynb", panel_cell(own.server.admin_url, options=", service='Payments'"))
    page.open("many.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    panel.select_all()
    number = page.value("len(panel.selected)")
    assert number > 10
    panel.button("Kill…").click()
    name = f"Kill {number} invocations"
    panel.root.get_by_label("reason").fill("INC-42: charged by hand")
    expect(panel.button(name)).to_be_disabled()
    panel.root.get_by_label("number").fill(str(number - 1))
    expect(panel.button(name)).to_be_disabled()
    panel.picture(screenshots / "kill-plan.png")
    lab.admin.kill_invocation(page.value("panel.plan.targets[0]"), reason="somebody else")
    panel.root.get_by_label("number").fill(str(number))
    panel.button(name).click()
    panel.expect_text(f"kill: {number - 1} done, 1 skipped.")
    panel.picture(screenshots / "kill-outcome.png")
    page.wait_for_value("len(panel.frame)", 0)
    ended = lab.sql("SELECT status FROM sys_invocation WHERE id IN :ids", ids=page.value("list(panel.plan.targets)"))
    assert set(ended["status"]) == {"completed"}
    assert page.value("sorted(set(panel.plan.outcome.outcome))") == ["done", "skipped"]


def test_the_keyboard_alone(page: LabPage, own: Embedded, lab: Lab, notebooks: Path) -> None:
    """Filter, open, plan, give the reason and confirm without a mouse; the notebook takes none of the keys."""
    write_notebook(notebooks / "keys.ipynb", panel_cell(own.server.admin_url))
    page.open("keys.ipynb")
    page.run_all()
    panel, keys = PanelOnPage(page.page), page.page.keyboard
    panel.wait()
    cells = page.page.locator(".jp-CodeCell").count()
    panel.field("service").focus()
    keys.type("agent")
    keys.press("Enter")
    panel.wait("1 invocation")
    panel.grid.search.focus()
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(panel.opened.locator(".rl-target")).to_have_text("agent/run", timeout=30_000)
    _tab_to(panel, "Pause…")
    keys.press("Enter")
    expect(panel.opened.get_by_label("reason")).to_be_focused(timeout=30_000)
    keys.type("add a cell dd by keyboard")
    _tab_to(panel, "Pause 1 invocation")
    keys.press("Space")
    panel.expect_text("pause: 1 done.", within=panel.opened)
    expect(panel.button("Close the outcome", within=panel.opened)).to_be_focused(timeout=30_000)
    panel.button("Refresh").first.click()
    _tab_to(panel, "Close the outcome")
    keys.press("Enter")
    expect(panel.button("Close the outcome", within=panel.opened)).to_be_hidden(timeout=30_000)
    page.page.wait_for_function("() => document.activeElement.closest('.rl-panel') !== null")
    assert status(lab, own.roles["agent_denver"]) == "paused"
    assert page.page.locator(".jp-CodeCell").count() == cells
    assert page.value("panel.plan.outcome.attrs['reason']") == "add a cell dd by keyboard"
    lab.admin.resume_invocation(own.roles["agent_denver"], reason="as it was")


def _tab_to(panel: PanelOnPage, name: str) -> None:
    """Press Tab until this button has the focus."""
    expect(panel.button(name, within=panel.opened)).to_be_enabled(timeout=30_000)
    for _ in range(60):
        focused = panel.page.evaluate("() => document.activeElement.textContent")
        if focused == name:
            return
        panel.page.keyboard.press("Tab")
    raise AssertionError(f"{name} was not reached by Tab")
