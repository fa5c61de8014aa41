"""A panel's grid in a page, used and read as a person would."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


class GridOnPage:
    """The ``nth`` grid of a page; lines count from 0, and columns are found by their label."""

    def __init__(self, page: Page, nth: int = 0) -> None:
        self.page = page
        self.root = page.locator(".rl-grid").nth(nth)
        self.search = self.root.get_by_label("Filter", exact=True)
        self.scroller = self.root.locator(".rl-scroll")

    def wait(self, count: str | None = None) -> None:
        """Wait until rows are there, and until the line above them has this text."""
        expect(self.root.locator(".rl-body .rl-row:not(.rl-loading)").first).to_be_visible(timeout=60_000)
        if count is not None:
            expect(self.root.locator(".rl-count")).to_have_text(count, timeout=90_000)

    def line(self, line: int) -> Locator:
        """Return the row in a line, which must be in view."""
        return self.root.locator(f".rl-body .rl-row:not(.rl-loading)[aria-rowindex='{line + 2}']")

    def header(self, label: str) -> Locator:
        name = re.compile(f"^{re.escape(label)}$")
        return self.root.get_by_role("columnheader").filter(has=self.page.locator(".rl-name", has_text=name))

    def cell(self, line: int, label: str) -> Locator:
        column = self.header(label).get_attribute("aria-colindex")
        return self.line(line).locator(f"[aria-colindex='{column}']")

    def text(self, line: int, label: str) -> str:
        return self.cell(line, label).inner_text()

    def box(self, line: int) -> Locator:
        return self.line(line).locator(".rl-box")

    def expect_text(self, name: str, text: str | re.Pattern[str]) -> None:
        """Wait until the part "count", "chosen", "note", "error", "full", "empty" or "busy" has this text."""
        expect(self.root.locator(f".rl-{name}")).to_have_text(text, timeout=90_000)

    def scroll_to(self, fraction: float) -> None:
        """Drag the scroll bar: 0 is the top, 1 the end."""
        self.scroller.evaluate("(e, f) => { e.scrollTop = f * (e.scrollHeight - e.clientHeight); }", fraction)
