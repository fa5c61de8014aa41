"""The conversation of an agent in a panel of JupyterLab: opened on request, and refreshed while the agent runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from restate_lab.panels.invocation.view import FoldMemory
from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.agent_bench import AgentBench, running_agent_bench
from support.clusters import NEWEST
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage, panel_cell

TOP = "e => e.getBoundingClientRect().top - e.closest('.rl-conversation').getBoundingClientRect().top"
CHANGED = "before => document.querySelector('.rl-conversation').innerText !== before"
RENDER = """async code => {
    const module = await import(`data:text/javascript,${encodeURIComponent(code)}`);
    const model = { on: (_, show) => { window.show = show; } };
    module.default.render({ model, el: document.querySelector("#memory") }); }"""
AS_TEXT = "<details><summary>As text</summary>z</details>"
ENDED = "() => document.querySelector('.rl-conversation').innerText.includes('succeeded')"


@pytest.fixture(scope="module")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBench]:
    """Give a server with real agents."""
    with running_agent_bench(NEWEST, tmp_path_factory.mktemp("agents")) as bench:
        yield bench


@pytest.mark.long
def test_a_conversation_beside_the_journal(
    page: LabPage, bench: AgentBench, notebooks: Path, screenshots: Path
) -> None:
    """It is shown after a click, folds and focus of the user survive refreshes, and nothing jumps."""
    stuck = bench.send("OpenAIAgent/responses", "[stuck] <b>How warm</b> is it in Rome and in Denver?")
    ended = bench.run("PydanticAgent/chat", "[parallel] Compare Rome and Oslo.")
    bench.run("OpenAIAgent/responses", "[parallel] Compare Rome and Oslo.")
    bench.run("PydanticAgent/chat", "[two-steps] Book a room in Oslo.")
    write_notebook(notebooks / "agents.ipynb", panel_cell(bench.lab.settings.admin_url, options=f", open={stuck!r}"))
    page.open("agents.ipynb")
    page.run_all()
    panel = PanelOnPage(page.page)
    card = panel.detail.locator(".rl-conversation")
    button = panel.button(re.compile("Conversation"), within=panel.detail)
    expect(button).to_have_attribute("aria-expanded", "false", timeout=90_000)
    assert page.value("panel.view.conversation is None")
    button.focus()
    button.press("Enter")
    panel.expect_text("<b>How warm</b>", within=card)
    panel.expect_text("no answer from the weather service", within=card)
    bench.until(stuck, "paused")
    _keeps_folds(page, bench, card, stuck)
    _looks(page, panel, screenshots, "agent-conversation")
    with bench.repaired():
        bench.lab.admin.resume_invocation(stuck, reason="a test")
        page.page.wait_for_function(ENDED, timeout=90_000)
    expect(card.locator("details").first).to_have_attribute("open", "")
    _columns(page, panel, screenshots)
    panel.grid.search.fill(ended)
    panel.grid.search.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "false", timeout=90_000)
    expect(card).to_be_hidden()
    assert page.console_errors == []


def _keeps_folds(page: LabPage, bench: AgentBench, card: Locator, id_: str) -> None:
    """Open a fold with the keyboard: it stays open and focused while the card changes, and does not move."""
    fold, summary = card.locator("details").first, card.locator("summary").first
    expect(fold).not_to_have_attribute("open", "")
    summary.focus()
    summary.press("Enter")
    expect(fold).to_have_attribute("open", "")
    top = summary.evaluate(TOP)
    for _ in range(2):
        before = card.inner_text()
        bench.lab.admin.resume_invocation(id_, reason="a test")
        page.page.wait_for_function(CHANGED, arg=before, timeout=90_000)
        expect(fold).to_have_attribute("open", "")
        assert abs(summary.evaluate(TOP) - top) < 1
        assert summary.evaluate("e => e === document.activeElement")
        bench.until(id_, "paused")


def _columns(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    """Show the list: only the list of an agent has the columns, and a missing cost has its reason."""
    panel.back()
    page.value("panel.show_invocations(status='all', service=['OpenAIAgent', 'PydanticAgent'])")
    expect(panel.grid.header("tokens")).to_be_visible(timeout=90_000)
    page.wait_for_value("int(panel.frame.tokens.notna().sum()) == len(panel.frame)", expected=True)
    costs = panel.grid.root.locator(".rl-cell[title*='cost unknown']")
    expect(costs.first).to_have_text("–")
    _looks(page, panel, screenshots, "agent-list")


def _looks(page: LabPage, panel: PanelOnPage, screenshots: Path, name: str) -> None:
    page.command("application:toggle-left-area")
    for theme in ("Dark", "Light"):
        page.theme(f"JupyterLab {theme}")
        for width in (1400, 900):
            page.page.set_viewport_size({"width": width, "height": 1500})
            panel.picture(screenshots / f"{name}-{theme.lower()}-{width}.png")
            assert overflowing_parts(panel.root) == []
        assert faint_texts(panel.root) == []
    assert unnamed_roles(panel.root) == []
    page.page.set_viewport_size({"width": 1400, "height": 1000})
    page.command("application:toggle-left-area")


def test_folds_stay_as_the_user_left_them(browser: Browser) -> None:
    """A text that is replaced keeps the folds and the focus of the user, and opens no other fold."""
    page = browser.new_page()
    texts = f"<div id='card' class='widget-html'>{_card(1)}</div><div id='why' class='widget-html'>{AS_TEXT}</div>"
    page.set_content(f"<div class='rl-onedetail'>{texts}<i id='memory'></i></div>")
    page.evaluate(RENDER, FoldMemory._esm)
    first, second, third = (page.locator("details").nth(at) for at in (0, 1, 3))
    first.locator("summary").press("Enter")
    second.locator("summary").click()  # the page opened it
    why = page.locator("#why details")
    why.locator("summary").click()
    first.locator("summary").focus()
    for turns in (2, 3):
        page.evaluate("html => { document.querySelector('#card').innerHTML = html; }", _card(turns))
        page.evaluate("html => { document.querySelector('#why').innerHTML = html; }", AS_TEXT)
        assert why.get_attribute("open") == ""
        assert [each.get_attribute("open") for each in (first, second, third)] == ["", None, ""]
        assert first.locator("summary").evaluate("e => e === document.activeElement")
    page.evaluate("window.show()")
    page.evaluate("html => { document.querySelector('#why').innerHTML = html; }", AS_TEXT)
    assert why.get_attribute("open") is None
    page.close()


def _card(turns: int) -> str:
    """Return a card whose turns have a closed and an open fold."""
    folds = "<details><summary>a</summary>x</details><details open><summary>b</summary>y</details>"
    return "".join(f"<div data-turn='{at}'>{turns}{folds}</div>" for at in range(turns + 1))
