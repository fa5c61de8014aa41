"""What a newcomer sees first."""

from __future__ import annotations

from pathlib import Path

from support.clusters import Cluster
from support.jupyter import LabPage


def test_first_look_in_jupyterlab(page: LabPage, newest: Cluster, screenshots: Path) -> None:
    """The first notebook runs in JupyterLab from top to bottom, on real invocations, readable in light and dark."""
    page.open("01_first_look.ipynb")
    page.run_all()

    assert page.value("lab.version") == newest.version
    assert page.value("stuck") == newest.roles["agent_denver"]
    assert page.value("journal.name.iloc[-1]") == "get weather"
    assert page.value("int(now.invocations.sum())") >= len(newest.roles)

    card = page.page.locator(".jp-OutputArea-output", has_text=newest.admin_url.removeprefix("http://")).first
    picture = page.page.locator(".jp-RenderedImage img")
    for theme in ("Light", "Dark"):
        page.theme(f"JupyterLab {theme}")
        for name, part in (("card", card), ("picture", picture)):
            part.scroll_into_view_if_needed()
            assert part.is_visible()
            page.page.screenshot(path=screenshots / f"first-look-{name}-{theme.lower()}.png")

    assert page.console_errors == []
    take_what_the_readme_shows(page, screenshots / "first-look.png")


def take_what_the_readme_shows(page: LabPage, path: Path) -> None:
    """Take a picture of the notebook's first question, from its heading to its picture, with nothing beside it."""
    page.theme("JupyterLab Light")
    page.command("application:toggle-left-area")
    page.page.set_viewport_size({"width": 1100, "height": 3000})
    first = page.page.locator(".jp-Notebook .jp-Cell", has_text="What is going on right now?").first
    first.evaluate("e => { e.closest('.jp-WindowedPanel-outer').scrollTop = 0; }")
    last = page.page.locator(".jp-RenderedImage img").first
    last.wait_for()
    page.page.wait_for_timeout(600)  # at rest
    top, bottom = first.bounding_box(), last.bounding_box()
    assert top
    assert bottom
    height = bottom["y"] + bottom["height"] + 8 - top["y"]
    page.page.screenshot(path=path, clip={"x": top["x"], "y": top["y"], "width": top["width"], "height": height})
