"""Overview, deployments and state in JupyterLab: used with mouse and keyboard, read in the kernel and on the server."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import restate_lab as rl
from restate_lab.actions.state import set_state, state
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import RestateServer
from support import state_services
from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.bench import wait_for
from support.clusters import Cluster
from support.grids import GridOnPage
from support.jupyter import LabPage, write_notebook

ATTACK = "<img src=x onerror='window.attacked = 1'></script><script>window.attacked = 1</script>\u202e"
WORD = "w" * 10_000
OVERVIEW = """
import restate_lab as rl
from restate_lab.panels.overview import OverviewPanel
from restate_lab.panels.deployments import DeploymentsPanel
lab = rl.connect()
overview = OverviewPanel(lab)
overview
"""
DEPLOYMENTS = """
deployments = DeploymentsPanel(lab)
deployments
"""
STATE = """
import restate_lab as rl
from restate_lab.panels.state import StatePanel
lab = rl.connect({url!r}, audit={audit!r})
panel = StatePanel(lab)
panel
"""


def test_overview_and_deployments(page: LabPage, newest: Cluster, notebooks: Path, screenshots: Path) -> None:
    """A click leads from the sums to the invocations; the doctor looks on request; the code is there to copy."""
    write_notebook(notebooks / "overview.ipynb", OVERVIEW, DEPLOYMENTS)
    page.open("overview.ipynb")
    page.run_all()
    first = page.page.locator(".rl-panel").nth(0)
    handlers = GridOnPage(page.page, 0)
    handlers.wait()
    assert page.value("overview.diagnosis") is None
    page.page.get_by_role("button", name="Look for what is wrong").click()
    expect(first.get_by_text("checks in")).to_be_visible(timeout=60_000)
    assert page.value("len(overview.diagnosis.checked) > 10")

    handlers.search.fill("backing")
    handlers.expect_text("count", re.compile("match$"))
    handlers.cell(0, "handler").click()
    expect(page.page.locator(".rl-panel .rl-panel")).to_have_count(1, timeout=30_000)
    below = GridOnPage(page.page, 2)
    below.wait()
    page.wait_for_value("list(overview.invocations.frame.id)", [newest.roles["agent_denver"]])
    _pictures(page, screenshots, "overview", handlers)

    deployments = GridOnPage(page.page, page.page.locator(".rl-grid").count() - 1)
    deployments.wait()
    deployments.header("verdict").scroll_into_view_if_needed()
    deployments.cell(0, "verdict").click()
    detail = page.page.locator(".rl-panel").last.locator(".rl-block")
    expect(detail.filter(has_text="latest revision of").first).to_be_visible()
    _pictures(page, screenshots, "deployments", deployments)
    assert page.console_errors == []


@pytest.fixture
def drawers(server: Path, tmp_path: Path) -> Iterator[rl.Lab]:
    """Give a server of its own, whose object has state that is hostile, long, and no JSON."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(RestateServer(server))
        services, uri = start_services(tmp_path, state_services.__file__)
        stack.enter_context(services)
        lab = stack.enter_context(
            rl.connect(running.admin_url, ingress_url=running.ingress_url, audit=tmp_path / "audit")
        )
        lab.admin.create_deployment(uri=uri)
        values = {"items": {"mug": 1}, ATTACK: ATTACK, "long": "x" * 100_000, "api_token": "hush", WORD: WORD}
        wait_for(lambda: _put(lab, values))
        yield lab


def _put(lab: rl.Lab, values: dict[str, object]) -> bool:
    with contextlib.suppress(rl.errors.RestateLabError):
        lab.ingress.call("Drawer", "put", values, key=ATTACK)
        return True
    return False


def test_state_is_changed_with_care(page: LabPage, drawers: rl.Lab, notebooks: Path, screenshots: Path) -> None:
    """Found, looked at, edited, a race lost in view, and set from there, by the keyboard; hostile text stays text."""
    source = STATE.format(url=drawers.settings.admin_url, audit=str(drawers.transport.audit.folder))
    write_notebook(notebooks / "state.ipynb", source)
    page.open("state.ipynb")
    page.run_all()
    objects, keys = GridOnPage(page.page, 0), GridOnPage(page.page, 1)
    objects.wait("1 object with state")
    objects.cell(0, "service").click()
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
    expect(panel.get_by_text("Not to be edited here")).to_be_visible()
    expect(panel.get_by_text("hush")).to_have_count(0)
    keys.cell(0, "key").click()
    field = page.page.get_by_label("New value")
    expect(field).to_be_visible()
    assert field.input_value() == f'"{ATTACK}"'
    _close(page)


def _holds_a_long_word(page: LabPage, keys: GridOnPage, screenshots: Path) -> None:
    """Hold a name and a value of ten thousand letters without a space, in the table, the editor and the review."""
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
    expect(page.page.get_by_label("New value")).to_be_hidden(timeout=30_000)


def _loses_a_race(page: LabPage, drawers: rl.Lab, keys: GridOnPage, screenshots: Path) -> None:
    keys.cell(2, "key").click()
    page.page.get_by_label("New value").fill('{"mug": 2}')
    page.page.get_by_role("button", name="Review").click()
    button = page.page.get_by_role("button", name="Set it on")
    expect(button).to_be_visible()
    button.click()
    expect(page.page.locator(".rl-error").first).to_contain_text("say why")
    assert state(drawers, "Drawer", ATTACK)["items"] == {"mug": 1}
    page.page.get_by_label("Reason").fill("INC-7")
    set_state(drawers, "Drawer", ATTACK, {"items": {"mug": 9}}, reason="somebody else")
    button.click()
    expect(page.page.get_by_text("Somebody else changed this state")).to_be_visible(timeout=30_000)
    blocks = page.page.locator(".rl-block[data-value=true] pre")
    expect(blocks).to_have_text(['{\n  "mug": 1\n}', '{\n  "mug": 2\n}', '{\n  "mug": 9\n}'])
    assert state(drawers, "Drawer", ATTACK)["items"] == {"mug": 9}
    _pictures(page, screenshots, "state-conflict", keys)


def _sets_from_there(page: LabPage, drawers: rl.Lab) -> None:
    """Go on from the other's value, with the keyboard alone."""
    cells = page.page.locator(".jp-CodeCell").count()
    keys = page.page.keyboard
    page.page.get_by_role("button", name="Edit from what is there now").focus()
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
    expect(page.page.get_by_text("was set; read back")).to_be_visible(timeout=30_000)
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
