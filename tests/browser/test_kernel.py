"""A panel and its kernel: busy, restarted, found again after a reload; and many panels in one notebook."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

import restate_lab as rl
from support.clusters import Cluster
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell

MANY = 20
TWENTY = """
import restate_lab as rl
lab = rl.connect({url!r})
many = [rl.Panel(lab, refresh=0.2) for _ in range({many})]
display(*many)
"""


@pytest.fixture
def later(newest: Cluster, tmp_path: Path) -> Iterator[list[str]]:
    """Give two invocations that are scheduled for tomorrow."""
    with rl.connect(newest.admin_url, ingress_url=newest.ingress_url, audit=tmp_path / "audit") as lab:
        sent = [lab.ingress.send("Inventory", "restock", 1, key=key, delay="1d") for key in ("cup", "hat")]
        ids = [each.invocation_id for each in sent]
        yield ids
        there = lab.sql("SELECT id FROM sys_invocation WHERE id IN :ids AND status = 'scheduled'", ids=ids)["id"]
        for id_ in there:
            lab.admin.kill_invocation(id_, reason="the test is over")


def show(page: LabPage, notebooks: Path, name: str, newest: Cluster, ids: list[str]) -> PanelOnPage:
    write_notebook(notebooks / f"{name}.ipynb", panel_cell(newest.admin_url, options=f", id={ids}, refresh=1"))
    page.open(f"{name}.ipynb")
    page.run_cell(0)
    panel = PanelOnPage(page.page)
    panel.wait("2 invocations")
    return panel


@contextlib.contextmanager
def busy(page: LabPage) -> Iterator[None]:
    """Keep the kernel from answering in the meantime; a running cell is not enough if widgets have a subshell."""
    kernel = psutil.Process(page.value("__import__('os').getpid()"))
    kernel.suspend()
    try:
        yield
    finally:
        kernel.resume()


UNANSWERED = "No front end answered this panel"
RECORD = """text => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    window.copies = [];
    kernel.iopubMessage.connect((_, { content }) => {
        const html = content.data?.["text/html"] ?? "";
        if (html.includes("rl-saved")) window.copies.push(html.includes(text));
    }); }"""
# The messages of widgets wait, as on a slow connection, until RELEASE.
HOLD = """() => {
    const send = WebSocket.prototype.send;
    const held = [];
    WebSocket.prototype.send = function (data) {
        const text = typeof data === 'string' ? data : new TextDecoder().decode(data);
        if (text.includes('comm_msg')) held.push(() => send.call(this, data)); else send.call(this, data); };
    window.release = () => { WebSocket.prototype.send = send; held.forEach(each => each()); }; }"""


@pytest.mark.long  # waits for what does not come
def test_jupyterlab_answers_and_a_slow_page_removes_the_message(
    page: LabPage, newest: Cluster, notebooks: Path
) -> None:
    """The message about a missing front end is never sent to JupyterLab, and goes when a page answers late."""
    write_notebook(notebooks / "slow.ipynb", panel_cell(newest.admin_url))
    page.open("slow.ipynb")
    page.page.evaluate(RECORD, UNANSWERED)
    page.run_cell(0)
    PanelOnPage(page.page).wait()
    page.wait_for_value("panel.head.is_answered", expected=True)
    page.page.wait_for_timeout(6_000)
    assert page.page.evaluate("window.copies").count(True) == 0
    page.page.evaluate(HOLD)
    page.run_cell(0)
    page.page.wait_for_function("() => window.copies.includes(true)", timeout=90_000)
    page.page.evaluate("window.release()")
    page.page.wait_for_function("() => !window.copies.at(-1)", timeout=90_000)
    assert UNANSWERED not in page.page.inner_text(".jp-Notebook")
    assert page.console_errors == []


@pytest.mark.long  # waits for a busy kernel most of a minute
def test_clicks_wait_for_a_busy_kernel(
    page: LabPage, later: list[str], newest: Cluster, notebooks: Path, screenshots: Path
) -> None:
    """The panel shows that the kernel is busy; each click is carried out once, and for the plan that was in view."""
    panel = show(page, notebooks, "busy", newest, later)
    panel.grid.box(0).click()
    panel.expect_text("1 selected")
    expect(panel.button("Cancel")).to_be_visible()
    waits = panel.root.locator(".rl-kernel").first
    with busy(page):
        panel.button("Cancel").click()
        expect(waits).to_have_text("waiting for the kernel…")
        expect(panel.root.get_by_text(re.compile("kernel"))).to_have_count(1)  # not also in the table
        expect(waits).to_contain_text("The kernel has been busy for more than 10 s.", timeout=90_000)
        panel.picture(screenshots / "kernel-busy.png")
    panel.expect_text(re.compile("^Cancel 1 of 1 · "))
    expect(waits).to_be_empty()
    panel.root.get_by_label("reason").fill("INC-42: not wanted")
    expect(panel.button("Cancel 1 invocation")).to_be_enabled()
    with busy(page):
        panel.button("Kill").click()
        panel.button("Cancel 1 invocation").click()  # while the plan to cancel is in view
    panel.expect_text(re.compile("^Kill 1 of 1 · "))
    assert page.value("[panel.plan.action.value, panel.plan.is_executed]") == ["kill", False]
    panel.button("Cancel").click()
    panel.expect_text(re.compile("^Cancel 1 of 1 · "))
    panel.root.get_by_label("reason").fill("INC-42: not wanted")
    expect(panel.button("Cancel 1 invocation")).to_be_enabled()
    with busy(page):
        panel.button("Cancel 1 invocation").dblclick()
    panel.expect_text(re.compile(r"^Cancelled 1\."))
    target = page.value("panel.plan.targets[0]")
    assert target in later
    done = f"[r for r in rl.audit_log().to_dict('records') if {target!r} in str(r) and r['action'] == 'cancel']"
    assert page.value(f"len({done})") == 1
    assert page.console_errors == []


@pytest.mark.long  # two reloads and a restart of a kernel
def test_a_reload_and_a_restart(
    page: LabPage, later: list[str], newest: Cluster, notebooks: Path, screenshots: Path
) -> None:
    """A reload finds panel and plan again; after a restart the panel shows that nothing works any more."""
    panel = show(page, notebooks, "again", newest, later)
    panel.grid.box(0).click()
    panel.button("Kill").click()
    panel.expect_text(re.compile("^Kill 1 of 1 · "))
    page.command("docmanager:save")
    page.open("again.ipynb")
    panel.wait("2 invocations")
    panel.expect_text(re.compile("^Kill 1 of 1 · "))
    panel.root.get_by_label("reason").fill("INC-42: after the reload")
    panel.button("Kill 1 invocation").click()
    panel.expect_text(re.compile(r"^Killed 1\."))
    panel.grid.expect_text("count", "1 invocation")
    page.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    gone = panel.root.locator(".rl-kernel").first
    expect(gone).to_contain_text("The kernel was restarted or has ended.")
    expect(panel.root.locator(".rl-panelhead .rl-error").first).to_be_empty()  # one message, not two
    panel.picture(screenshots / "kernel-restarted.png")
    page.run_cell(0)
    panel.wait("1 invocation")
    expect(panel.root.locator(".rl-kernel").first).to_be_empty()


@pytest.mark.long  # it saves, ends the kernel and opens again; unit/panels/test_panel.py has the copy
def test_a_reopened_notebook_has_the_last_content(
    page: LabPage, later: list[str], newest: Cluster, notebooks: Path, screenshots: Path
) -> None:
    """While the panel is alive, its copy in the notebook is hidden; without the kernel it is all that is shown."""
    panel = show(page, notebooks, "kept", newest, later)
    kept, lost = page.page.locator(".rl-saved"), page.page.get_by_text("model not found")
    expect(kept).to_have_count(1)
    expect(kept).to_be_hidden()
    panel.chip("All").click()
    panel.filter("key", "hat")
    panel.wait("1 invocation")
    expect(kept).not_to_contain_text("Inventory/cup/restock")  # hidden, and up to date
    expect(kept).to_be_hidden()
    page.command("docmanager:save")
    page.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.open("kept.ipynb")
    for theme in ("Light", "Dark"):
        page.theme(f"JupyterLab {theme}")
        expect(kept).to_be_visible()
        expect(kept).to_contain_text("Inventory/hat/restock")
        expect(kept).not_to_contain_text("Inventory/cup/restock")
        expect(lost).to_be_hidden()
        page.page.screenshot(path=screenshots / f"kernel-reopened-{theme.lower()}.png")
    page.run_cell(0)
    panel.wait("2 invocations")
    expect(kept).to_be_hidden()


@pytest.mark.long
def test_twenty_panels_and_one_twice(page: LabPage, newest: Cluster, notebooks: Path, screenshots: Path) -> None:
    """Twenty panels appear quickly, hidden ones read nothing, and one that is shown twice is one panel."""
    write_notebook(notebooks / "many.ipynb", TWENTY.format(url=newest.admin_url, many=MANY), "many[-1]")
    page.open("many.ipynb")
    page.run_all()
    read = "[each._read_at.timestamp() for each in many]"
    page.page.wait_for_timeout(1500)
    page.page.screenshot(path=screenshots / "kernel-twenty.png")
    before = page.value(read)
    page.page.wait_for_timeout(2000)
    after = page.value(read)
    reading = [number for number in range(MANY) if after[number] != before[number]]
    assert 0 < len(reading) <= 4
    page.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(1)")
    last = PanelOnPage(page.page, page.page.locator(".rl-panel").count() - 1)
    last.wait()
    last.picture(screenshots / "kernel-many.png")
    last.grid.box(0).click()
    last.grid.expect_text("chosen", "1 selected")
    assert len(page.value("many[-1].selected")) == 1
    assert page.console_errors == []
