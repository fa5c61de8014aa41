"""The sample, the figures and the pictures of the README, from one run of the demo.

``RESTATE_LAB_README=1 .venv/bin/pytest -m "" tests/browser/test_front_page.py`` writes them. Without the variable, the
tests compare the README with the demo: each picture has the figures of the run that made it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, expect

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings
from restate_lab.demo.run import notebook_environment
from restate_lab.demo.stories import STORIES
from support.clusters import NEWEST, running_demo
from support.jupyter import LabPage, write_notebook
from support.panels import PanelOnPage

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
IMAGES = ROOT / ".github" / "images"
IS_WRITTEN = bool(os.environ.get("RESTATE_LAB_README"))
SETTLED, SETTLES_WITHIN = 150.0, 240.0  # seconds: some findings become critical when they are a minute or two old
COLORS = 256  # of a picture: with fewer, grays turn blue
MOST_BYTES = 120_000
CELL = "import restate_lab as rl\n\nlab = rl.connect()\nrl.Panel(lab)"
# name: (width of the page, height of the picture)
CARDS = {"journal": (900, 268), "waits": (900, 545), "report": (900, 800)}

pytestmark = pytest.mark.long  # the demo needs minutes until its findings are settled


@pytest.fixture(scope="module")
def environment(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start the demo's incident, and return the variables with which `rl.connect()` finds it under its name."""
    folder = tmp_path_factory.mktemp("front")
    with running_demo(NEWEST, folder, story=STORIES["incident"]) as demo:
        yield notebook_environment(folder, demo.server.admin_url, demo.server.ingress_url)


@pytest.fixture(scope="module")
def lab(environment: dict[str, str]) -> Lab:
    return Lab(load_settings(env=environment), read_only=True)


@pytest.fixture(scope="module")
def figures(lab: Lab) -> str:
    """Return "8 critical · 6 warnings · 8 notes": as the README has it, or to write it, after a while."""
    wanted, now, started = sample().partition("\n")[0], "", time.monotonic()
    while (age := time.monotonic() - started) < SETTLES_WITHIN:
        now = str(rl.doctor(lab)).partition("\n")[0]
        if age > SETTLED if IS_WRITTEN else now == wanted:
            return now
        time.sleep(2)
    raise AssertionError(f"the doctor of the demo reports {now!r}, and the README {wanted!r}: write the README again")


def sample() -> str:
    """Return the doctor's output in the README."""
    found = re.search(r"```\n(\d+ critical.*?)\n```", README.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def save(picture: Path, name: str, figures: str) -> None:
    """Write a picture of the README: few colors, and the figures of this run."""
    text = PngImagePlugin.PngInfo()
    text.add_text("figures", figures)
    with Image.open(picture) as image:
        image.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(
            IMAGES / f"{name}.png", optimize=True, pnginfo=text
        )


def test_the_sample_is_that_of_the_demo(lab: Lab, figures: str) -> None:
    lines = str(rl.doctor(lab)).splitlines()
    first = [line for line in lines[1:] if line.strip() and "checks in" not in line]
    title = next(line.strip() for line in first if "Payments/charge" in line)
    if IS_WRITTEN:
        shown = [figures, *(line if len(line) <= 100 else f"{line[:99].rstrip()}…" for line in first[:5]), "…"]
        README.write_text(README.read_text("utf-8").replace(sample(), "\n".join(shown)), "utf-8")
    without_numbers = re.sub(r"up to \d+", "up to #", title)
    assert without_numbers in re.sub(r"up to \d+", "up to #", sample())


def test_the_picture_of_the_panel_is_that_of_the_demo(
    page: LabPage, environment: dict[str, str], notebooks: Path, figures: str, tmp_path: Path
) -> None:
    write_notebook(notebooks / "payments.ipynb", CELL)
    page.open("payments.ipynb")
    page.command("application:toggle-left-area")
    variables = {name: value for name, value in environment.items() if name.startswith("RESTATE_")}
    page.value(f"__import__('os').environ.update({variables!r})")
    page.run_all()
    panel = PanelOnPage(page.page)
    expect(panel.findings).to_contain_text("15 invocations of Payments/charge", timeout=60_000)
    for figure in figures.split(" · "):
        expect(panel.findings).to_contain_text(figure)
    panel.root.evaluate("e => { e.closest('.jp-WindowedPanel-outer').scrollTop = 0; }")
    panel.picture(tmp_path / "panels.png")
    if IS_WRITTEN:
        save(tmp_path / "panels.png", "panels", figures)


def test_the_pictures_of_cards_are_those_of_the_demo(lab: Lab, browser: Browser, figures: str, tmp_path: Path) -> None:
    failing = rl.ask(lab, "retry_storm_ids", service="Payments").id[0]
    rl.incident_report(lab, tmp_path / "report.html")
    assert figures.replace(" · ", ", ") in (tmp_path / "report.html").read_text("utf-8")
    (tmp_path / "journal.html").write_text(rl.journal(lab, failing)._repr_html_(), "utf-8")  # type: ignore[operator]
    (tmp_path / "waits.html").write_text(rl.waits(lab)._repr_html_(), "utf-8")
    for name, (width, height) in CARDS.items():
        shown = browser.new_page(viewport={"width": width, "height": height})
        shown.goto((tmp_path / f"{name}.html").as_uri())
        shown.screenshot(path=tmp_path / f"{name}.png")
        shown.close()
        if IS_WRITTEN:
            save(tmp_path / f"{name}.png", name, figures)


def test_each_picture_is_of_the_run_that_wrote_the_sample() -> None:
    for name in ("panels", *CARDS):
        with Image.open(IMAGES / f"{name}.png") as picture:
            assert picture.text["figures"] == sample().partition("\n")[0], name  # type: ignore[attr-defined]
