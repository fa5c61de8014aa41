"""Deployments and state in JupyterLab: used with mouse and keyboard, read in the kernel and on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import restate_lab as rl
from restate_lab.actions.state import set_state, state
from support import state_services
from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.bench import once_served, running_bench
from support.clusters import NEWEST, Cluster
from support.grids import GridOnPage
from support.jupyter import LabPage, write_notebook

ATTACK = "<img src=x onerror='window.attacked = 1'></script><script>window.attacked = 1</script>\u202e"
WORD = "w" * 10_000
DEPLOYMENTS = """
import restate_lab as rl
lab = rl.connect()
panel = rl.Panel(lab, view="deployments")
panel
"""
STATE = """
import restate_lab as rl
lab = rl.connect({url!r}, audit={audit!r})
panel = rl.Panel(lab, view="state")
panel
"""


@pytest.mark.long  # integration/test_other_panels.py has them without a page
def test_overview_and_deployments(page: LabPage, newest: Cluster, notebooks: Path, screenshots: Path) -> None:
    """A click shows the pins of a deployment and the next steps, or the invocations of a handler; the state follows."""
    write_notebook(notebooks / "deployments.ipynb", DEPLOYMENTS)
    page.open("deployments.ipynb")
    page.run_all()
    deployments = GridOnPage(page.page, 0)
    deployments.wait()
    deployments.cell(0, "verdict").click()
    detail = page.page.locator(".rl-panel .rl-block")
    expect(detail.filter(has_text="latest revision of").first).to_be_visible()
    assert page.value("panel.state['open'] == panel.view.opened == panel.view.grid.frame.id[0]")
    _pictures(page, screenshots, "deployments", deployments)
    page.page.get_by_role("tab", name="Overview").click()
    handlers = GridOnPage(page.page, 0)
    handlers.header("handler").wait_for()
    handlers.wait()
    _pictures(page, screenshots, "overview", handlers)
    handlers.cell(0, "handler").click()
    page.wait_for_value("panel.state.get('view', 'invocations')", "invocations")
    assert page.value("len(panel.state['service']) > 0 and len(panel.state['status']) > 0")
    assert page.console_errors == []


@pytest.fixture
def drawers(server: Path, tmp_path: Path) -> Iterator[rl.Lab]:
    """Give a separate server, whose object has state that is hostile, long, and not JSON."""
    with running_bench(NEWEST, tmp_path, state_services.__file__, ready=None, env={}) as bench:
        values = {"items": {"mug": 1}, ATTACK: ATTACK, "long": "x" * 100_000, "api_token": "hush", WORD: WORD}
        once_served(lambda: bench.lab.ingress.call("Drawer", "put", values, key=ATTACK))
        yield bench.lab


@pytest.mark.long  # integration/test_other_panels.py changes state without a page
def test_state_is_changed_with_care(page: LabPage, drawers: rl.Lab, notebooks: Path, screenshots: Path) -> None:
    """A key is found, read, edited, lost in a race, and set again from the keyboard; hostile text stays text."""
    source = STATE.format(url=drawers.settings.admin_url, audit=str(drawers.transport.audit.folder))
    write_notebook(notebooks / "state.ipynb", source)
    page.open("state.ipynb")
    page.run_all()
    objects, keys = GridOnPage(page.page, 0), GridOnPage(page.page, 1)
    objects.wait("1 object with state")
    expect(objects.cell(0, "state")).to_contain_text('items: {"mug": 1}')
    expect(objects.cell(0, "state")).not_to_contain_text("hush")
    objects.cell(0, "state").click()
    keys.wait("5 keys")
    _shows_values(page, keys)
    _holds_a_long_word(page, keys, screenshots)
    _loses_a_race(page, drawers, keys, screenshots)
    _sets_from_there(page, drawers)
    assert page.page.evaluate("window.attacked") is None
    assert page.page.locator(".rl-panel img, .rl-panel script").count() == 0
    assert page.console_errors == []


def _shows_values(page: LabPage, keys: GridOnPage) -> None:
    panel = page.page.locator(".rl-panel")
    keys.cell(1, "value").click()  # by the keys' order: the attack, api_token, items, long
    expect(panel.get_by_text("This value cannot be edited here")).to_be_visible()
    expect(panel.get_by_text("hush")).to_have_count(0)
    keys.cell(0, "key").click()
    field = page.page.get_by_label("New value")
    expect(field).to_be_visible()
    assert field.input_value() == f'"{ATTACK}"'
    _close(page)


def _holds_a_long_word(page: LabPage, keys: GridOnPage, screenshots: Path) -> None:
    """Show a name and a value of ten thousand letters without a space, in the table, the editor and the review."""
    keys.cell(4, "key").click()
    page.page.get_by_label("New value").fill(f'"{WORD}w"')
    page.page.get_by_role("button", name="Review").click()
    expect(page.page.get_by_role("button", name="Set it on")).to_be_visible()
    panel = page.page.locator(".rl-panel").first
    page.command("application:toggle-left-area")
    for width in (1400, 500):
        page.page.set_viewport_size({"width": width, "height": 1400})
        page.page.screenshot(path=screenshots / f"state-word-{width}.png")
        assert overflowing_parts(panel) == []
    page.page.set_viewport_size({"width": 1400, "height": 1000})
    page.page.get_by_role("button", name="Back to the text").click()
    _close(page)


def _close(page: LabPage) -> None:
    page.page.get_by_role("button", name="Close").click()
    expect(page.page.get_by_label("New value")).to_be_hidden(timeout=90_000)


def _loses_a_race(page: LabPage, drawers: rl.Lab, keys: GridOnPage, screenshots: Path) -> None:
    keys.cell(2, "key").click()
    page.page.get_by_label("New value").fill('{"mug": 2}')
    page.page.get_by_role("button", name="Review").click()
    button = page.page.get_by_role("button", name="Set it on")
    expect(button).to_be_visible()
    button.click()
    expect(page.page.locator(".rl-error").first).to_contain_text("the reason is empty")
    assert state(drawers, "Drawer", ATTACK)["items"] == {"mug": 1}
    page.page.get_by_label("Reason").fill("INC-7")
    set_state(drawers, "Drawer", ATTACK, {"items": {"mug": 9}}, reason="somebody else")
    button.click()
    expect(page.page.get_by_text("The state has changed since you read it")).to_be_visible(timeout=90_000)
    blocks = page.page.locator(".rl-block[data-value=true] pre")
    expect(blocks).to_have_text(['{\n  "mug": 1\n}', '{\n  "mug": 2\n}', '{\n  "mug": 9\n}'])
    assert state(drawers, "Drawer", ATTACK)["items"] == {"mug": 9}
    _pictures(page, screenshots, "state-conflict", keys)


def _sets_from_there(page: LabPage, drawers: rl.Lab) -> None:
    """Continue from the other value, with the keyboard alone."""
    cells = page.page.locator(".jp-CodeCell").count()
    keys = page.page.keyboard
    page.page.get_by_role("button", name="Continue with the current state").focus()
    keys.press("Enter")
    expect(page.page.get_by_label("New value")).to_be_visible()
    expect(page.page.get_by_label("New value")).to_have_value('{"mug": 2}')
    page.page.get_by_label("New value").focus()
    keys.press("Control+a")
    keys.type('{"mug": 10, "dd": "axb"}')  # letters that add and delete cells in a notebook
    keys.press("Tab")
    keys.press("Enter")
    expect(page.page.get_by_label("Reason")).to_be_visible()
    page.page.get_by_label("Reason").focus()
    keys.type("INC-7, counted")
    keys.press("Tab")
    keys.press("Enter")
    expect(page.page.get_by_text("was set; read back")).to_be_visible(timeout=90_000)
    read = state(drawers, "Drawer", ATTACK)
    assert read["items"] == {"mug": 10, "dd": "axb"}
    assert read["long"] == "x" * 100_000
    log = rl.audit_log(drawers.transport.audit.folder)
    assert "INC-7, counted" in set(log["reason"])
    assert page.page.locator(".jp-CodeCell").count() == cells


def _pictures(page: LabPage, screenshots: Path, name: str, grid: GridOnPage) -> None:
    panel = grid.root.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' rl-panel ')][last()]")
    assert unnamed_roles(panel) == []
    for size, width in (("wide", 1400), ("narrow", 700)):
        page.page.set_viewport_size({"width": width, "height": 1400})
        for theme in ("Light", "Dark"):
            page.theme(f"JupyterLab {theme}")
            grid.root.scroll_into_view_if_needed()
            page.page.screenshot(path=screenshots / f"{name}-{size}-{theme.lower()}.png")
            assert faint_texts(panel) == []
        assert overflowing_parts(panel) == []
    page.page.set_viewport_size({"width": 1400, "height": 1400})
