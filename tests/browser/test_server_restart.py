"""A server that is killed and started again under an open panel in JupyterLab."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from support.bench import wait_until_served
from support.bulk import READY, SERVICES, Bulk
from support.clusters import NEWEST, Cluster
from support.demo.nodes import Node
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell
from support.restartable import restartable, wait_until_ready
from support.tcp_relay import TcpSwitch

COUNT = 20


@pytest.fixture
def node(server: Path, tmp_path: Path) -> Iterator[tuple[Node, Lab]]:
    """Give a server that can be killed, with suspended invocations on it."""
    with contextlib.ExitStack() as stack:
        services, uri = start_services(tmp_path, SERVICES)
        stack.enter_context(services)
        running = stack.enter_context(restartable(NEWEST, tmp_path / "data"))
        lab = stack.enter_context(rl.connect(running.admin_url, ingress_url=running.ingress_url, audit=tmp_path))
        bulk = Bulk("1.7.12", lab, tmp_path, uri, str(lab.admin.create_deployment(uri=uri).id))
        wait_until_served(lab, *READY)
        bulk.fill("wait", COUNT)
        yield running, lab


SPOKEN = "e => [...e.querySelectorAll('[role=status]')].map(each => each.textContent).join('|')"
OPACITY = "e => getComputedStyle(e).opacity"


@pytest.mark.long  # faults/test_panels_away.py has it without a page
def test_a_lost_server_comes_back(page: LabPage, newest: Cluster, notebooks: Path, screenshots: Path) -> None:
    """One banner names the problem, counts down and has a button that works; it disappears when the server is back."""
    with TcpSwitch(newest.admin_url) as line:
        write_notebook(notebooks / "lost.ipynb", panel_cell(line.address, options=", refresh=1"))
        page.open("lost.ipynb")
        page.run_all()
        panel = PanelOnPage(page.page)
        panel.wait()
        rows = page.value("len(panel.frame)")
        line.down()
        _says_one_thing(page, panel, rows)
        _pictures(page, panel, screenshots, "lost")
        _counts_down(panel)
        _tries_by_the_keyboard(page, panel)
        line.up()
        panel.root.get_by_role("button", name="Try now").first.press("Enter")
        banner = panel.root.locator(".rl-problem").first
        expect(banner).to_be_hidden(timeout=60_000)
        expect(panel.root.locator(".rl-problem:visible")).to_have_count(0, timeout=60_000)
        assert page.page.evaluate("document.activeElement.ariaLabel") == "Refresh"
        expect(panel.root.locator(".rl-spoken").first).to_have_text("The data is up to date again.")
        assert panel.grid.root.evaluate(OPACITY) == "1"
        assert page.value("panel.error") == ""
    assert page.console_errors == []


def _says_one_thing(page: LabPage, panel: PanelOnPage, rows: int) -> None:
    """Expect one banner over gray data, all of it still there."""
    banner = panel.root.locator(".rl-problem").first
    expect(banner).to_contain_text("Cannot reach ", timeout=60_000)
    expect(panel.root.locator(".rl-banner:visible")).to_have_count(1)
    said = re.compile(
        r"Cannot reach \S+ for \d+s\. Showing \d\d:\d\d:\d\d\.\s*(Next try in \d+s|Trying now …)\s*Try now"
    )
    expect(banner.locator(".rl-problemline")).to_have_text(said)
    assert page.value("len(panel.frame)") == rows
    assert panel.grid.root.evaluate(OPACITY) == "0.6"


def _counts_down(panel: PanelOnPage) -> None:
    """Expect the seconds to change in view, and no announcement of each to a screen reader."""
    lead, head = panel.root.locator(".rl-lead").first, panel.root.locator(".rl-panelhead").first
    before, spoken = lead.inner_text(), head.evaluate(SPOKEN)
    assert re.search(r"Cannot reach \S+, since \d\d:\d\d:\d\d UTC\. Showing", spoken)
    expect(lead).not_to_have_text(before)
    assert head.evaluate(SPOKEN) == spoken


def _tries_by_the_keyboard(page: LabPage, panel: PanelOnPage) -> None:
    """Expect Tab to reach "Try now", which tries, and keeps the focus while the server is away."""
    failures = page.value("panel.refresher.pace.failures")
    button = panel.root.get_by_role("button", name="Try now").first
    panel.root.locator(".rl-views button:not([tabindex='-1'])").focus()
    page.page.keyboard.press("Tab")
    expect(button).to_be_focused()
    page.page.keyboard.press("Enter")
    page.wait_for_value(f"panel.refresher.pace.failures > {failures}", expected=True)
    expect(button).to_be_focused()


@pytest.mark.long
def test_a_server_restarts_under_an_open_plan(
    page: LabPage, node: tuple[Node, Lab], notebooks: Path, screenshots: Path
) -> None:
    """Rows, the opened invocation and its plan stay in view with their age; then all continues with a valid plan."""
    server, lab = node
    write_notebook(notebooks / "restart.ipynb", panel_cell(server.admin_url, options=", refresh=1"))
    page.open("restart.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait(f"{COUNT} invocations")
    panel.open(0, "Bulk/wait")
    opened = page.value("panel.state['open']")
    panel.button("Cancel", within=panel.detail).click()
    panel.expect_text(re.compile("^Cancel 1 of 1 · "), within=panel.detail)
    server.kill()
    banner = panel.root.locator(".rl-problem").first
    expect(banner).to_contain_text("Cannot reach ", timeout=60_000)
    expect(banner).to_contain_text("Showing ")
    panel.button("Kill", within=panel.detail).click()
    assert page.value("1 + 1") == 2
    panel.expect_text("The plan to kill was not created; nothing has been sent.", within=panel.head)
    panel.expect_text(re.compile("^Cancel 1 of 1 · "), within=panel.detail)
    _pictures(page, panel, screenshots, "away")
    server.start()
    wait_until_ready(server)
    expect(banner).to_be_hidden(timeout=90_000)
    assert page.value("panel.error").startswith("Unreachable: "), "the reason for no plan stays until the next action"
    panel.detail.get_by_label("reason").fill("INC-42: after the restart")
    panel.button("Cancel 1 invocation", within=panel.detail).click()
    panel.expect_text(re.compile(r"^Cancelled 1\."), within=panel.detail)
    assert page.value("[panel.error, panel.head.event]") == ["", ""]
    _pictures(page, panel, screenshots, "back")
    panel.back()
    panel.wait(f"{COUNT - 1} invocations")
    assert page.value("rl.audit_log().outcome.dropna().tolist()")[-1] == "done"
    assert lab.sql("SELECT status FROM sys_invocation WHERE id = :id", id=opened)["status"].tolist() == ["completed"]
    assert page.console_errors == []


def _pictures(page: LabPage, panel: PanelOnPage, screenshots: Path, name: str) -> None:
    for theme, width in (("Dark", 900), ("Light", 1600)):
        page.theme(f"JupyterLab {theme}")
        page.page.set_viewport_size({"width": width, "height": 1000})
        panel.root.evaluate("e => e.scrollIntoView()")
        panel.picture(screenshots / f"{name}-{theme.lower()}-{width}.png")
