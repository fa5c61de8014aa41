"""The first view of a new user: the notebook that the demo opens."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from restate_lab._html import render
from restate_lab.analysis.journal.drawing import journal_html
from restate_lab.demo.jupyter import JupyterLab
from restate_lab.document import Document, Item, Items, Row, Table, Word
from restate_lab.document.html import html_of
from support.clusters import Cluster
from support.jupyter import CONNECTED, LabPage
from support.pictures import journal

LINES = """element => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const parts = [...range.getClientRects()].filter((part) => part.width);
  return new Set(parts.map((part) => Math.round(part.bottom / 4))).size;
}"""


def test_the_demo_opens_its_notebook_unchanged_and_without_the_side_bar(
    context: BrowserContext, newest: Cluster, jupyterlab: JupyterLab, screenshots: Path
) -> None:
    """The address that the demo opens has the whole width for a panel, and no mark of unsaved changes."""
    page = context.new_page()
    page.goto(jupyterlab.url("01_what_is_wrong.ipynb"), wait_until="domcontentloaded")
    page.wait_for_function(CONNECTED, timeout=90_000)
    page.wait_for_timeout(2_000)  # JupyterLab writes the metadata after the kernel has answered
    page.screenshot(path=screenshots / "demo-opens.png")
    assert page.locator(".jp-NotebookPanel").is_visible()
    assert not page.locator("#jp-left-stack").is_visible()
    assert page.locator(".jp-mod-dirty").count() == 0
    page.close()


@pytest.mark.long  # test_reports.py has the findings in both themes, and other tests the calls
def test_what_is_wrong_in_jupyterlab(
    page: LabPage, newest: Cluster, incident_server: Cluster, notebooks: Path, screenshots: Path
) -> None:
    """The first notebook runs from top to bottom; its second cell shows the findings, readable in light and dark.

    JupyterLab keeps its own cluster; the notebook connects to the one with the incident.
    """
    content = nbformat.read(notebooks / "01_what_is_wrong.ipynb", as_version=4)
    connect = next(cell for cell in content.cells if cell.id == "connect")
    connect.source = connect.source.replace("rl.connect()", f"rl.connect({incident_server.admin_url!r})")
    nbformat.write(content, notebooks / "incident.ipynb")
    page.open("incident.ipynb")
    page.run_all()

    assert page.value("lab.version") == newest.version
    assert set(incident_server.ids("storm_503")) <= set(page.value("list(plan.targets) + plan.excluded.id.tolist()"))
    findings = page.page.locator(".jp-OutputArea-output", has_text="critical").first
    waits = page.page.locator(".rl-plot > svg").first
    for theme in ("Light", "Dark"):
        page.theme(f"JupyterLab {theme}")
        for name, part in (("doctor", findings), ("waits", waits)):
            part.scroll_into_view_if_needed()
            assert part.is_visible()
            page.page.screenshot(path=screenshots / f"what-is-wrong-{name}-{theme.lower()}.png")
    assert findings.get_by_text("charge card").first.is_visible()
    assert (notebooks / "incident.html").is_file()
    assert page.console_errors == []


def test_an_id_is_copied_whole(browser: Browser) -> None:
    """A click selects a shortened id, which is copied in full; so is an id in a selected text."""
    id_ = "inv_10VxIBLqnLEz12xdlk263JMVdBOdv5dZJ2"
    card = render(
        "_html/card.html.j2",
        **dict.fromkeys(("place", "place_tip"), ""),
        **dict.fromkeys(("badges", "facts", "parts", "lines"), ()),
        title=f"of {id_}",
        accent="red",
    )
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_content(f"<div id='card'>{card}</div><textarea></textarea>")
    short = page.locator(f"[title='{id_}']")
    box = short.bounding_box()
    assert box is not None
    assert box["width"] < 120
    short.click()
    assert copy(page) == id_
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#card'))")
    assert copy(page).strip() == f"of {id_}"
    context.close()


def test_cards_are_readable_on_a_narrow_page(browser: Browser, screenshots: Path) -> None:
    """No number, status or name of a step is broken into letters; what is wider scrolls, and the page does not."""
    effect = "cancelled at its next attempt, not earlier; resume it to start the attempt now"
    happens = Items((Item((Word("24 backing-off"), f": {effect}")),), "What will happen")
    services = Table(("invocations", "status", "service"), (Row(("24", "backing-off", "Payments")),), "By service")
    plan = html_of(Document("prod: cancel 24 of 24 invocations", "http://127.0.0.1:9070", (happens, services)))
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.set_content(plan + journal_html(journal(["reserve", "charge the card"])))
    page.screenshot(path=screenshots / "cards-narrow.png")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for text in ("24", "backing-off", "charge the card"):
        assert page.get_by_text(text, exact=len(text) < 12).first.evaluate(LINES) <= len(text.split()), text
    page.close()


def copy(page: Page) -> str:
    """Return the clipboard after a person copied the selection."""
    page.keyboard.press("Control+c")
    page.locator("textarea").fill("")
    page.locator("textarea").press("Control+v")
    return page.locator("textarea").input_value()
