"""Acting from a panel in JupyterLab: four clicks to the report; a conflict; the keyboard alone; a check by replay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import Embedded
from support.clusters import NEWEST
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell
from support.replay_bench import running_replay_bench
from support.replay_cases import OPEN, Operations


@pytest.fixture
def lab(own: Embedded, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(own.server.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def status(lab: Lab, id_: str) -> str:
    return str(lab.sql("SELECT status FROM sys_invocation WHERE id = :id", id=id_)["status"].iloc[0])


IN_THE_README = """
import restate_lab as rl

lab = rl.connect()
rl.Panel(lab)
"""


@pytest.mark.long  # test_keyboard.py has the same from the finding to the report, with keys
def test_from_the_finding_to_the_report_in_four_clicks(
    page: LabPage, own: Embedded, lab: Lab, notebooks: Path, screenshots: Path
) -> None:
    """Payments is failing: the panel shows cause and blocked handlers; four clicks and a reason resume and report."""
    write_notebook(
        notebooks / "incident.ipynb", IN_THE_README.strip().replace("rl.Panel", "panel = rl.Panel") + "\npanel"
    )
    page.open("incident.ipynb")
    page.command("application:toggle-left-area")
    page.value(f"__import__('os').environ.update(RESTATE_ADMIN_URL={own.server.admin_url!r})")
    page.value(f"__import__('os').chdir({str(notebooks)!r})")
    page.run_all()
    panel = PanelOnPage(page.page)
    finding = panel.findings.locator(".rl-finding").first
    expect(finding).to_contain_text("15 invocations of Payments/charge retry the step “charge card”", timeout=60_000)
    expect(finding).to_contain_text("Orders/place")  # the blocked handler
    panel.root.evaluate("e => { e.closest('.jp-WindowedPanel-outer').scrollTop = 0; }")
    panel.picture(screenshots / "panels.png")
    finding.hover()  # the button is there only while the pointer is over its finding
    panel.click(panel.button(re.compile("^Show 15"), within=finding))
    panel.expect_text("15 selected")
    panel.click(panel.button("Resume 15"))
    # An invocation with a running attempt is excluded: it is being tried.
    panel.expect_text(re.compile(r"^Resume \d+ of 15 · Payments/charge · on "))
    confirm = panel.button(re.compile(r"^Resume \d+ invocations$"))
    expect(confirm).to_be_disabled()
    panel.root.get_by_label("reason").fill("INC-42: the provider says it is back")
    expect(confirm).to_be_enabled()
    assert page.value("panel.plan.is_executed") is False
    panel.picture(screenshots / "resume-plan.png")
    panel.click(confirm)
    # One that began an attempt after the plan was made is skipped; one may be in its next attempt at the last read.
    panel.expect_text(
        re.compile(r"^Resumed \d+(; \d+ skipped)?\. After \d+s: 0 succeeded, .*\d+ failing again \(same error\)")
    )
    panel.picture(screenshots / "resume-done.png")
    panel.click(panel.button("Report"))
    panel.expect_text(re.compile(r"^Incident report: .*incident-.*\.html$"))
    assert panel.clicks == 4
    with page.page.context.expect_page() as opened:
        panel.button("Open").click()
    expect(opened.value.locator("p.verdict")).to_contain_text("Payments/charge", timeout=30_000)
    opened.value.close()
    panel.picture(screenshots / "report-written.png")
    report = max(notebooks.glob("incident-*.html"))
    assert "Payments/charge" in report.read_text("utf-8")
    assert "done" in page.value("list(panel.plan.outcome.outcome)")
    assert page.value("set(panel.plan.outcome.outcome) <= {'done', 'skipped'}")
    assert "INC-42: the provider says it is back" in page.value("rl.audit_log().reason.dropna().tolist()")
    panel.click(panel.root.get_by_role("tab", name="Overview"))
    expect(panel.button("Copy path")).to_be_hidden()
    assert page.console_errors == []


@pytest.mark.long  # integration/test_other_panels.py and unit/panels/test_action_bar.py have it without a page
def test_many_with_a_conflict(page: LabPage, own: Embedded, lab: Lab, notebooks: Path, screenshots: Path) -> None:
    """A kill of many requires the exact number; an invocation that changed since the plan is skipped and reported."""
    write_notebook(notebooks / "many.ipynb", panel_cell(own.server.admin_url, options=", service='Payments'"))
    page.open("many.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    panel.select_all()
    number = page.value("len(panel.selected)")
    assert number > 10
    panel.button(re.compile(r"^Kill \d+$")).click()
    name = f"Kill {number} invocations"
    panel.root.get_by_label("reason").fill("INC-42: charged by hand")
    expect(panel.button(name)).to_be_disabled()
    panel.root.get_by_label("number").fill(str(number - 1))
    expect(panel.button(name)).to_be_disabled()
    panel.picture(screenshots / "kill-plan.png")
    lab.admin.kill_invocation(page.value("panel.plan.targets[0]"), reason="another person")
    panel.root.get_by_label("number").fill(str(number))
    panel.button(name).click()
    panel.expect_text(re.compile(rf"^Killed {number - 1}; 1 skipped\."))
    panel.picture(screenshots / "kill-outcome.png")
    page.wait_for_value("len(panel.frame)", 0)
    ended = lab.sql("SELECT status FROM sys_invocation WHERE id IN :ids", ids=page.value("list(panel.plan.targets)"))
    assert set(ended["status"]) == {"completed"}
    assert page.value("sorted(set(panel.plan.outcome.outcome))") == ["done", "skipped"]


@pytest.mark.long  # integration/test_replay_gates.py has the panel without a page
def test_a_check_by_replay_before_a_move(
    page: LabPage, server: Path, notebooks: Path, screenshots: Path, tmp_path: Path
) -> None:
    """The deployment is contacted only after its address is confirmed; what diverges is excluded, the rest is moved."""
    steps: Operations = [["run", "reserve stock"], ["call", "answer", 1]]
    with running_replay_bench(NEWEST, tmp_path) as bench:
        fits = bench.start([*steps, OPEN], [*steps, OPEN, ["run", "send receipt"]])
        diverges = bench.start([*steps, OPEN], [["run", "check fraud"], *steps, OPEN])
        bench.settle([fits, diverges])
        deployment = bench.register_new()
        write_notebook(
            notebooks / "check.ipynb",
            panel_cell(bench.lab.settings.admin_url, options=", service='Programs', status='all'"),
        )
        page.open("check.ipynb")
        page.run_all()
        panel = PanelOnPage(page.page)
        panel.wait()
        panel.select_all()
        panel.button("Move 2…").click()
        panel.expect_text("Move 2 of 2 · Programs/run")
        panel.root.get_by_label("Check by replay first").check()
        run, move = panel.button(f"Run the check at {bench.new.uri.rstrip('/')}"), panel.button("Move 2 invocations")
        expect(run).to_be_visible()
        panel.expect_text(re.compile("No step runs there, but code outside of steps does"))
        panel.root.get_by_label("reason").fill("INC-42: the corrected code")
        expect(move).to_be_disabled()
        panel.picture(screenshots / "check-offer.png")
        assert bench.new.outside == []
        run.click()
        panel.expect_text(re.compile(r"^1 diverges, 1 fits\."))
        panel.expect_text(re.compile("^1 suspended: replay diverges: the journal has Run 'reserve stock' as command 1"))
        assert page.value("panel.plan.targets") == [fits]
        panel.picture(screenshots / "check-result.png")
        panel.root.get_by_text(re.compile("^1 suspended: replay diverges: ")).scroll_into_view_if_needed()
        panel.picture(screenshots / "check-excluded.png")
        page.theme("JupyterLab Dark")
        panel.picture(screenshots / "check-result-dark.png")
        page.theme("JupyterLab Light")
        panel.button("Move 1 invocation").click()
        panel.expect_text(re.compile(r"^Moved 1\."))
        assert bench.new.steps == []
        pinned = "SELECT id FROM sys_invocation WHERE pinned_deployment_id = :deployment"
        assert list(bench.lab.sql(pinned, deployment=deployment)["id"]) == [fits]
