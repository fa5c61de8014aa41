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
from restate_lab.demo.nodes import Node
from support.bench import wait_for
from support.bulk import SERVICES, Bulk
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell
from support.restartable import is_served, restartable, wait_until_ready

COUNT = 20


@pytest.fixture
def node(server: Path, tmp_path: Path) -> Iterator[tuple[Node, Lab]]:
    """Give a server that can be killed, with suspended invocations on it."""
    with contextlib.ExitStack() as stack:
        services, uri = start_services(tmp_path, SERVICES)
        stack.enter_context(services)
        running = stack.enter_context(restartable(server, tmp_path / "data"))
        lab = stack.enter_context(rl.connect(running.admin_url, ingress_url=running.ingress_url, audit=tmp_path))
        bulk = Bulk("1.7.12", lab, tmp_path, str(lab.admin.create_deployment(uri=uri).id))
        wait_for(lambda: is_served(lab))
        bulk.fill("wait", COUNT)
        yield running, lab


@pytest.mark.long
def test_a_server_restarts_under_an_open_plan(
    page: LabPage, node: tuple[Node, Lab], notebooks: Path, screenshots: Path
) -> None:
    """Rows, the opened invocation and its plan stay in view with their age; then all goes on, and the plan is good."""
    server, lab = node
    write_notebook(notebooks / "restart.ipynb", panel_cell(server.admin_url, options=", refresh=1"))
    page.open("restart.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait(f"{COUNT} invocations")
    panel.open(0, "Bulk/wait")
    panel.button("Cancel…", within=panel.opened).click()
    panel.says("cancel 1 of 1 invocations", within=panel.opened)
    server.kill()
    banner, opened = (within.locator(".rl-banner").first for within in (panel.root, panel.opened))
    expect(banner).to_contain_text("asked again", timeout=60_000)
    expect(banner).to_contain_text("What is shown is of")
    _pictures(page, panel, screenshots, "asking")
    expect(banner).to_contain_text("No answer from", timeout=60_000)
    expect(opened).to_contain_text("No answer from", timeout=60_000)
    panel.grid.says("count", f"{COUNT} invocations")
    panel.button("Kill…", within=panel.opened).click()
    assert page.value("1 + 1") == 2
    panel.says("No plan to kill was made; nothing has been sent.", within=panel.opened)
    _pictures(page, panel, screenshots, "away")
    server.start()
    wait_until_ready(server)
    for each in (banner, opened):
        expect(each).to_be_empty(timeout=90_000)
    assert page.value("[panel.error, len(panel.frame)]") == ["", COUNT]
    panel.opened.get_by_label("reason").fill("INC-42: after the restart")
    panel.button("Cancel 1 invocation", within=panel.opened).click()
    panel.says("cancel: 1 done.", within=panel.opened)
    panel.says(re.compile(rf"{COUNT - 1} invocations"))
    _pictures(page, panel, screenshots, "back")
    assert page.value("panel.plan.outcome.outcome.tolist()") == ["done"]
    gone = "SELECT status FROM sys_invocation WHERE id = :id"
    assert lab.sql(gone, id=page.value("panel.plan.targets[0]"))["status"].tolist() == ["completed"]
    assert page.console_errors == []


def _pictures(page: LabPage, panel: PanelOnPage, screenshots: Path, name: str) -> None:
    for theme in ("Light", "Dark"):
        page.theme(f"JupyterLab {theme}")
        panel.root.evaluate("e => e.scrollIntoView()")
        panel.picture(screenshots / f"restart-{name}-{theme.lower()}.png")
