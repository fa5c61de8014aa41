"""A panel in a page, used and read as a person would."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from support.grids import GridOnPage

_MOST_KEYS = 40
_WHERE_IS_FOCUS = """e => document.activeElement === e ? "there"
    : document.activeElement.closest("[data-roving]")?.contains(e) ? "in its group" : "elsewhere" """


def panel_cell(address: str, name: str = "panel", options: str = "") -> str:
    return f"""
import restate_lab as rl
lab = rl.connect({address!r})
{name} = rl.Panel(lab{options})
{name}
"""


class PanelOnPage:
    """The ``nth`` panel of a page; ``clicks`` counts the clicks of ``click``."""

    def __init__(self, page: Page, nth: int = 0) -> None:
        self.page = page
        self.root = page.locator(".rl-panel").nth(nth)
        self.head = self.root.locator(".rl-panelhead")
        self.findings = self.root.locator(".rl-findings")
        self.strip = self.root.locator(".rl-strip")
        self.detail = self.root.locator(".rl-invocation")
        self.grid = GridOnPage(page)
        self.grid.root = self.root.locator(".rl-grid").first
        self.grid.search = self.grid.root.get_by_label("Filter", exact=True)
        self.grid.scroller = self.grid.root.locator(".rl-scroll")
        self.clicks = 0

    def wait(self, count: str | None = None) -> None:
        """Wait until rows are there, and until the line above them has this text."""
        self.grid.wait(count)

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def filter(self, label: str, text: str) -> None:
        """Write into one of the further filters, and press Enter."""
        field = self.strip.get_by_label(label, exact=True)
        if not field.is_visible():
            self.button("More filters").click()
        field.fill(text)
        field.press("Enter")

    def clear_filters(self) -> None:
        self.button("Clear all").click()

    def chip(self, name: str) -> Locator:
        return self.strip.locator(".rl-chip").filter(has_text=re.compile(rf"^{re.escape(name)}( [\d,]+)?$"))

    def finding(self, text: str) -> Locator:
        return self.findings.locator(".rl-finding").filter(has_text=text)

    def select_all(self) -> None:
        self.grid.root.locator(".rl-head .rl-box").click()
        expect(self.root.get_by_text(re.compile(r"^\d+ selected$")).first).to_be_visible(timeout=90_000)

    def open(self, line: int, target: str) -> None:
        """Open a row once it has this target, and wait until its journal is there.

        If it is retried, the cell also has the step that fails.
        """
        expect(self.grid.cell(line, "target")).to_contain_text(target)
        self.grid.cell(line, "target").click()
        self.expect_text(target, within=self.detail)
        expect(self.detail.locator(".rl-journal")).to_have_attribute("aria-busy", "false", timeout=90_000)

    def back(self) -> None:
        self.root.locator(".rl-crumbs button").first.click()
        expect(self.detail).to_be_hidden()

    def read_payloads(self) -> None:
        """Open the section of the payloads, once the invocation was read; this reads them."""
        facts = self.detail.get_by_role("button", name=re.compile(r"All facts \(\d+\)"))
        expect(facts).to_be_visible(timeout=90_000)
        fold = self.detail.get_by_role("button", name="Payloads")
        if fold.get_attribute("aria-expanded") == "false":
            fold.click()
        expect(self.detail.locator(".rl-payloads details").first).to_be_visible(timeout=90_000)

    def reach(self, target: Locator) -> int:
        """Move the focus to an element with the Tab key, and with arrow keys in its group; return how many keys."""
        expect(target).to_be_visible(timeout=90_000)
        for number in range(_MOST_KEYS):
            where = target.evaluate(_WHERE_IS_FOCUS)
            if where == "there":
                return number
            self.page.keyboard.press("ArrowRight" if where == "in its group" else "Tab")
        raise AssertionError(f"{target} was not reached with {_MOST_KEYS} keys")

    def button(self, name: str | re.Pattern[str], *, within: Locator | None = None) -> Locator:
        return (within or self.root).get_by_role("button", name=name, exact=isinstance(name, str))

    def expect_text(self, text: str | re.Pattern[str], *, within: Locator | None = None) -> None:
        expect((within or self.root).get_by_text(text).first).to_be_visible(timeout=90_000)

    def picture(self, path: Path) -> None:
        """Take a picture of the page; what moves is at its end first."""
        self.page.screenshot(path=path, animations="disabled")
