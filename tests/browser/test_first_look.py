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
