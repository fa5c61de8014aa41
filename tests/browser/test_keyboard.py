"""The panel in JupyterLab with the keyboard alone: the number of keys, the place of the focus, and the search box."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from support.clusters import Cluster
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell

MOST_TABS = 10
LOG_LINE = "2026-11-25T03:28:31Z WARN restate_invoker: retry of {id} at attempt 12\n  caused by: HTTP 503"


@pytest.fixture
def panel(page: LabPage, incident_server: Cluster, notebooks: Path, tmp_path: Path) -> PanelOnPage:
    """Give the panel of a notebook, with its findings and its own audit log, in a folder for reports."""
    write_notebook(notebooks / "keyboard.ipynb", panel_cell(incident_server.admin_url, options=", refresh=1"))
    page.open("keyboard.ipynb")
    page.command("application:toggle-left-area")
    page.value(f"__import__('os').chdir({str(notebooks)!r})")
    page.value(f"__import__('os').environ.update(RESTATE_LAB_AUDIT={str(tmp_path / 'audit')!r})")
    page.run_all()
    panel = PanelOnPage(page.page)
    panel.wait()
    expect(panel.findings.locator(".rl-finding").first).to_be_visible(timeout=90_000)
    return panel


@pytest.mark.long  # the incident is gone through with the keyboard alone by day, too
def test_ten_tabs_lead_to_the_first_row_and_the_focus_is_never_lost(
    page: LabPage, panel: PanelOnPage, screenshots: Path
) -> None:
    """Opening an invocation focuses its heading, and Esc returns to the row, the button or the search box."""
    _counts_the_tabs(page, panel)
    _asks_what_they_share(page, panel, screenshots)
    keys = page.page.keyboard
    heading = panel.detail.get_by_role("heading", level=2)
    cell = panel.grid.cell(2, "target")
    cell.focus()
    keys.press("Enter")
    expect(heading).to_be_focused(timeout=90_000)
    keys.press("Escape")
    expect(cell).to_be_focused(timeout=90_000)
    keys.press("Enter")
    expect(heading).to_be_focused(timeout=90_000)
    panel.reach(panel.button(re.compile("^‹ Invocations")))
    keys.press("Enter")
    expect(cell).to_be_focused(timeout=90_000)
    why = panel.findings.get_by_role("button", name=re.compile("^Why: 15 invocations of Payments"))
    why.focus()
    keys.press("Enter")
    expect(heading).to_be_focused(timeout=90_000)
    before = page.value("panel.head.read_at")
    page.wait_for_value(f"panel.head.read_at != {before!r}", expected=True)
    expect(heading).to_be_focused()
    panel.reach(panel.button("Cancel", within=panel.detail))
    keys.press("Enter")
    expect(panel.detail.get_by_label("reason")).to_be_focused(timeout=90_000)
    panel.reach(panel.button("Back", within=panel.detail))
    keys.press("Enter")
    page.page.wait_for_function("() => document.activeElement.closest('.rl-action-row') !== null")
    keys.press("Escape")
    expect(why).to_be_focused(timeout=90_000)
    keys.press("?")
    expect(panel.root.get_by_role("dialog", name="Keys")).to_be_focused()
    keys.press("Escape")
    expect(why).to_be_focused()
    panel.findings.get_by_role("button", name=re.compile("^Why: 12 calls queue")).focus()
    keys.press("Enter")
    expect(panel.root.locator(".rl-waits [data-selected]")).to_be_visible(timeout=90_000)
    page.page.wait_for_function("() => document.activeElement.closest('.rl-panel') !== null")
    for view in ("Overview", "State"):
        panel.root.get_by_role("tab", name=view).click()
        expect(panel.strip).to_be_hidden(timeout=90_000)
        keys.press("g")
        expect(panel.grid.root.locator(".rl-cell:focus")).to_have_count(1, timeout=90_000)
    assert page.console_errors == []


def _counts_the_tabs(page: LabPage, panel: PanelOnPage) -> None:
    """Each strip is one stop of the Tab key, with arrow keys within it; the bar that repeats the chips has no stop."""
    keys = page.page.keyboard
    panel.root.get_by_role("toolbar").get_by_role("checkbox").focus()
    place = None
    for _ in range(MOST_TABS - 1):  # the toolbar is the first stop
        keys.press("Tab")
        place = page.page.evaluate("document.activeElement.closest('.rl-body .rl-row')?.getAttribute('aria-rowindex')")
        if place:
            break
    assert place == "2", f"the first row is more than {MOST_TABS} presses of Tab away"
    tabs = panel.root.get_by_role("tab")
    tabs.first.focus()
    for key, name in (("ArrowRight", "Invocations"), ("End", "Deployments"), ("ArrowRight", "Deployments")):
        keys.press(key)
        expect(panel.root.get_by_role("tab", name=name)).to_be_focused()
    assert tabs.evaluate_all("tabs => tabs.filter(tab => tab.tabIndex === 0).map(tab => tab.textContent)") == [
        "Deployments"
    ]
    assert panel.strip.locator(".rl-statusbar :is(button:not([tabindex='-1']))").count() == 0
    panel.chip("Payments").focus()
    keys.press("ArrowUp")
    expect(panel.strip.locator(".rl-chip:focus")).to_have_count(1)


def _asks_what_they_share(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Open the question with the button of a finding, read payloads only after a choice, and close it again."""
    keys = page.page.keyboard
    panel.findings.get_by_role("button", name="Show all").focus()
    keys.press("Enter")
    finding = panel.findings.locator(".rl-finding").filter(has_text="of Settlements/settle failed permanently")
    finding.get_by_role("button", name="What do they share?").focus()
    keys.press("Enter")
    form = panel.root.locator(".rl-contrast")
    expect(form.get_by_label("compare with")).to_be_focused()
    keys.press("Tab")
    expect(form.get_by_label("inputs and headers")).to_be_focused()
    keys.type("with")
    keys.press("Tab")
    expect(form.get_by_role("button", name="Compare")).to_be_focused()
    keys.press("Enter")
    expect(form).to_contain_text("eu-west")
    for theme in ("Dark", "Light"):
        page.theme(f"JupyterLab {theme}")
        panel.picture(screenshots / f"contrast-{theme.lower()}.png")
    form.get_by_role("button", name="Compare").focus()
    assert page.value("panel.contrast.payloads") is True
    keys.press("Tab")
    keys.press("Enter")
    expect(form).to_be_hidden()


@pytest.mark.long  # unit/panels has the rules of the box
def test_one_box_takes_ids_and_text(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """A log line opens its invocation, also an ended one; several ids are a filter; other text is searched for."""
    keys = page.page.keyboard
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ended = page.value("lab.sql(\"SELECT id FROM sys_invocation WHERE status = 'completed' LIMIT 2\")['id'].tolist()")
    panel.root.get_by_role("tab", name="Overview").click()
    expect(panel.strip).to_be_hidden(timeout=90_000)
    keys.press("/")
    expect(panel.grid.search).to_be_focused(timeout=90_000)
    _paste(page, LOG_LINE.format(id=ended[0]))
    expect(panel.detail.get_by_role("heading", level=2)).to_contain_text(ended[0], timeout=90_000)
    assert page.value("[panel.state, panel.error]") == [{"open": ended[0]}, ""]
    keys.press("Escape")
    expect(panel.grid.search).to_be_focused(timeout=90_000)
    expect(panel.grid.search).to_have_value("")
    _paste(page, "\n".join(ended))
    page.wait_for_value("sorted(panel.frame.id)", sorted(ended))
    expect(panel.strip.locator(".rl-pill")).to_have_text(re.compile("^2 ids"))
    panel.clear_filters()
    panel.grid.search.focus()
    keys.type("Account/globex")
    panel.grid.wait()
    keys.press("Control+a")
    keys.type("no such text")
    panel.grid.expect_text("count", re.compile(r"^0 of the \d+ loaded$"))
    panel.picture(screenshots / "search.png")
    keys.press("Enter")
    page.wait_for_value("panel.state", {"status": "all", "text": "no such text"})
    assert page.console_errors == []


def _paste(page: LabPage, text: str) -> None:
    page.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.page.keyboard.press("Control+v")


@pytest.mark.long
def test_an_incident_with_the_keyboard_alone(
    page: LabPage, panel: PanelOnPage, notebooks: Path, screenshots: Path
) -> None:
    """Payments is failing: the first line has the cause; then resume 15, acknowledge it, and hand over a report."""
    keys = page.page.keyboard
    cells = page.page.locator(".jp-CodeCell").count()
    finding = panel.findings.locator(".rl-finding").first
    expect(finding).to_contain_text("15 invocations of Payments/charge retry the step “charge card”")
    expect(finding).to_contain_text("blocks 3 Orders/place")
    panel.root.get_by_role("toolbar").get_by_role("checkbox").focus()
    pressed = panel.reach(panel.button(re.compile("^Plan resume"), within=finding))
    keys.press("Enter")
    expect(panel.root.get_by_label("reason")).to_be_focused(timeout=90_000)
    expect(panel.strip.locator(".rl-pill")).to_have_text(re.compile(r"^finding: Payments/charge retries \(15\)"))
    panel.picture(screenshots / "keyboard-plan.png")
    confirm = panel.button(re.compile(r"^Resume \d+ invocations$"))
    expect(confirm).to_be_disabled()
    assert page.value("panel.plan.is_executed") is False
    keys.type("INC-42: add a cell dd")  # letters that add and delete cells in a notebook
    pressed += panel.reach(confirm)
    keys.press("Enter")
    panel.expect_text(re.compile(r"^Resumed \d+(; \d+ skipped)?\. After \d+s: 0 succeeded"))
    outcomes = page.value("sorted(set(panel.plan.outcome.outcome))")
    assert outcomes in (["done"], ["done", "skipped"]), "one that began an attempt after the plan was made is skipped"
    assert page.value("rl.audit_log().reason.dropna().tolist()")[-1] == "INC-42: add a cell dd"
    expect(panel.button("Done")).to_be_focused(timeout=90_000)
    keys.press("Enter")
    page.page.wait_for_function("() => document.activeElement.closest('.rl-action-row, .rl-body') !== null")
    _acknowledges(page, panel, screenshots)
    report = panel.button("Report")
    while not panel.root.get_by_role("toolbar").evaluate("bar => bar.contains(document.activeElement)"):
        keys.press("Shift+Tab")
        pressed += 1
    pressed += panel.reach(report)
    keys.press("Enter")
    panel.expect_text(re.compile(r"^Incident report: .*incident-.*\.html$"))
    reports = [each.read_text("utf-8").rpartition(">Actions taken<")[2] for each in notebooks.glob("incident-*.html")]
    assert any(
        re.search("INC-42: add a cell dd.*>acknowledge<.*INC-42: known, dd", each, re.DOTALL) for each in reports
    )
    assert pressed <= 40
    with page.page.context.expect_page() as opened:
        panel.button("Open").click()
    expect(opened.value.locator("p.verdict")).to_contain_text("Payments/charge", timeout=30_000)
    opened.value.close()
    assert page.page.locator(".jp-CodeCell").count() == cells
    assert page.console_errors == []


def _acknowledges(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Acknowledge the finding: it is one line that has the focus and opens; the strip has the note and the plan."""
    keys, known = page.page.keyboard, panel.findings.get_by_role("button", name="1 known")
    panel.findings.get_by_role("button", name=re.compile("^Note: 15 invocations of Payments")).focus()
    keys.press("Enter")
    expect(panel.root.get_by_label("Text of the note")).to_be_focused()
    keys.type("INC-42: known, dd")
    keys.press("Enter")
    expect(known).to_be_focused(timeout=90_000)
    expect(panel.findings.get_by_text("15 invocations of Payments/charge")).to_have_count(0)
    keys.press("Enter")
    expect(panel.findings.get_by_text(re.compile(r"^known until .* INC-42: known, dd$"))).to_be_visible()
    panel.root.get_by_text(re.compile(r"^Changes in 24 h: \d+ \(.* by you")).click()
    expect(panel.root.locator(".rl-done li").first).to_contain_text("acknowledge “INC-42: known, dd”: 15 invocations")
    expect(panel.root.locator(".rl-done li").nth(1)).to_contain_text("(INC-42: add a cell dd)")
    panel.picture(screenshots / "keyboard-note.png")
    known.focus()
