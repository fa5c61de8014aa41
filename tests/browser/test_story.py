"""The story of a real order in JupyterLab and as a page of ``serve``: with the mouse, the keyboard, and in pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.accessibility import faint_texts, overflowing_parts, unnamed_roles
from support.clusters import NEWEST
from support.jupyter import LabPage, write_notebook
from support.page_servers import TOKEN, running_pages
from support.panels import PanelOnPage, panel_cell
from support.story_bench import StoryBench, running_story_bench

WIDTHS = (1280, 900, 600, 400)
_WITHIN = 90_000  # milliseconds


@pytest.fixture(scope="module")
def order(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StoryBench, str]]:
    """Give a server with an order: a call that retries, equal sends, an answer of another handler, and a long wait."""
    folder = tmp_path_factory.mktemp("story")
    with running_story_bench(NEWEST, folder) as bench:
        charge = [["step", "charge card", 0.1, 3, str(folder / "failures")]]
        rows = [["send", "Node", None, "do", [["step", "store", 0.2]]] for _ in range(8)]
        answer = [["sleep", 0.6], ["resolve", "$approval"]]
        id_ = bench.send(
            [
                *(["call", "Box", "4711", "do", charge], *rows, ["awakeable", "approval"]),
                *(["send", "Node", None, "do", answer], ["wait", "approval"]),
                [
                    "send",
                    "Box",
                    "berlin",
                    "do",
                    [["fail", "out of stock <img src=x onerror='window.attacked = 1'>"]],
                    0.3,
                ],
                *(["send", "Node", None, "do", [["sleep", 3600]], 3600], ["sleep", 3600]),
            ]
        )
        bench.until(id_, "suspended")
        yield bench, id_


@pytest.mark.long  # unit/panels/test_story.py has it without a page
def test_the_story_in_the_panel(
    page: LabPage, order: tuple[StoryBench, str], notebooks: Path, screenshots: Path
) -> None:
    """The section reads the story, a member opens its invocation, and the focus is never lost."""
    bench, id_ = order
    write_notebook(notebooks / "story.ipynb", panel_cell(bench.url, options=f", open={id_!r}, refresh=1"))
    page.open("story.ipynb")
    page.command("application:toggle-left-area")
    page.run_all()
    panel = PanelOnPage(page.page)
    keys = page.page.keyboard
    fold = panel.detail.get_by_role("button", name="▸ Story")
    expect(fold).to_be_visible(timeout=_WITHIN)
    fold.focus()
    keys.press("Enter")
    story = panel.detail.locator(".rl-story")
    expect(story.get_by_text(re.compile(r"^Critical path \d"))).to_be_visible(timeout=_WITHIN)
    search = panel.button("Search all journals")
    search.focus()
    keys.press("Enter")
    page.wait_for_value("panel.story.searched", expected=True)
    expect(search).to_be_focused()
    assert page.value("len(panel.story.members)") == 13
    assert unnamed_roles(story) == []
    _pictures(page, panel, screenshots)
    member = story.get_by_role("button", name=re.compile("^Box.4711.do"))
    panel.reach(member)
    keys.press("Enter")
    expect(panel.detail.get_by_role("heading", level=2)).to_be_focused(timeout=_WITHIN)
    expect(panel.detail.get_by_text("Box/4711/do").first).to_be_visible(timeout=_WITHIN)
    expect(story).to_be_hidden()
    assert page.page.evaluate("window.attacked") is None
    assert page.console_errors == []


def _pictures(page: LabPage, panel: PanelOnPage, screenshots: Path) -> None:
    story = panel.detail.locator(".rl-story")
    for width in WIDTHS:
        page.page.set_viewport_size({"width": width, "height": 1300})
        for theme in ("Light", "Dark"):
            page.theme(f"JupyterLab {theme}")
            story.scroll_into_view_if_needed()
            page.page.wait_for_timeout(300)
            page.page.screenshot(path=screenshots / f"story-panel-{width}-{theme.lower()}.png")
            assert faint_texts(story) == [], (width, theme)
        assert overflowing_parts(story) == [], width
    page.theme("JupyterLab Light")
    page.page.set_viewport_size({"width": 1280, "height": 1300})


def test_the_story_as_a_page(
    browser: Browser, order: tuple[StoryBench, str], tmp_path: Path, screenshots: Path
) -> None:
    """The page follows the theme, fits narrow windows, and links members to their invocations."""
    bench, id_ = order
    with running_pages({"prod": bench.lab}, tmp_path) as pages:
        context = browser.new_context(extra_http_headers={"authorization": f"Bearer {TOKEN}"})
        page = context.new_page()
        page.goto(f"{pages.url}/story/{id_}?search=yes")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                page.screenshot(path=screenshots / f"story-page-{width}-{theme}.png", full_page=True)
                assert faint_texts(page.locator("main")) == [], (width, theme)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), width
        page.locator("main").get_by_role("link", name=re.compile("^inv_")).nth(1).click()
        expect(page).to_have_url(re.compile(r"/invocation/inv_"))
        page.get_by_role("link", name="Story", exact=True).click()
        expect(page).to_have_url(re.compile(r"/story/inv_"))
        assert page.evaluate("window.attacked") is None
        context.close()
