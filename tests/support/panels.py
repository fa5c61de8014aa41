"""An InvocationsPanel in a page, used and read as a person would."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from support.grids import GridOnPage

__all__ = ["PanelOnPage", "panel_cell"]


def panel_cell(address: str, name: str = "panel", options: str = "") -> str:
    """Return a cell that shows an InvocationsPanel of the server at this address."""
    return f"""
import restate_lab as rl
from restate_lab.panels.invocations import InvocationsPanel
lab = rl.connect({address!r})
{name} = InvocationsPanel(lab{options})
{name}
"""


class PanelOnPage:
    """The ``nth`` InvocationsPanel of a page, and the InvocationPanel opened beside its table."""

    def __init__(self, page: Page, nth: int = 0) -> None:
        self.page = page
        self.root = page.locator(".rl-panel:not(.rl-invocation)").nth(nth)
        self.opened = self.root.locator(".rl-invocation")
        self.grid = GridOnPage(page)
        self.grid.root = self.root.locator(".rl-grid").first
        self.grid.search = self.grid.root.get_by_label("Filter", exact=True)
        self.grid.scroller = self.grid.root.locator(".rl-scroll")

    def wait(self, count: str | None = None) -> None:
        """Wait until rows are there, and until the line above them says this."""
        self.grid.wait(count)

    def field(self, label: str) -> Locator:
        """Return a filter's field."""
        return self.root.get_by_role("combobox", name=label, exact=True)

    def filter(self, label: str, text: str) -> None:
        """Write into a filter's field, and press Enter."""
        self.field(label).fill(text)
        self.field(label).press("Enter")

    def chip(self, word: str) -> Locator:
        """Return a status's chip."""
        return self.root.locator(".rl-chip").filter(has_text=re.compile(f"^{word}$"))

    def select_all(self) -> None:
        """Tick all rows, and repeat it where the panel asks for that because rows came just then."""
        box = self.grid.root.locator(".rl-head .rl-box")
        selected, refused = self.root.get_by_text(re.compile(r"^\d+ selected:")), self.root.get_by_text("and repeat.")
        box.click()
        expect(selected.or_(refused).first).to_be_visible(timeout=30_000)
        if refused.is_visible():
            box.click()
        expect(selected).to_be_visible(timeout=30_000)

    def open(self, line: int, target: str) -> None:
        """Open a row once it has this target, and wait until the target's panel is there."""
        expect(self.grid.cell(line, "target")).to_have_text(target)
        self.grid.cell(line, "target").click()
        expect(self.opened.locator(".rl-target")).to_have_text(target, timeout=30_000)

    def read_payloads(self) -> None:
        """Have the payloads of the opened invocation read."""
        self.opened.get_by_role("tab", name="Payloads").click()
        self.opened.get_by_role("button", name=re.compile("^Read payloads")).click()

    def button(self, name: str, *, within: Locator | None = None) -> Locator:
        """Return a button, of the panel or of the part given."""
        return (within or self.root).get_by_role("button", name=name, exact=True)

    def expect_text(self, text: str | re.Pattern[str], *, within: Locator | None = None) -> None:
        """Wait until a text is there to be seen."""
        expect((within or self.root).get_by_text(text).first).to_be_visible(timeout=30_000)

    def picture(self, path: Path) -> None:
        """Take a picture of the page, at rest."""
        self.page.wait_for_timeout(600)
        self.page.screenshot(path=path)
