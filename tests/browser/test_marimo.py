"""Results in a real marimo, which is another front end than Jupyter; the guide says what works there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from restate_lab.demo.server import free_ports
from restate_lab.environment import python_environment
from support.accessibility import faint_texts
from support.bench import wait_for
from support.integrations.environments import python_environment_of
from support.stored_formats import unpack

pytestmark = pytest.mark.long  # installs 200 MB once, and takes most of a minute
OPEN = "import restate_lab as rl; evidence = rl.open_evidence({!r}); evidence"
RESULTS = (
    "rl.doctor(evidence)",
    'rows = evidence.sql("SELECT id, target, status FROM sys_invocation ORDER BY id"); rows',
    'rl.journal(evidence, rows["id"][0])',
    'rl.why(evidence, rows["id"][0])',
    "rl.show(rows)",
    'rl.plot(rl.ask(evidence, "overview"))',
    "rl.Panel(evidence)",
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of an app with one result in each cell; its theme is that of the browser."""
    folder = tmp_path_factory.mktemp("marimo")
    evidence = unpack("evidence-2", folder / "evidence")
    cells = (f"@app.cell\ndef _():\n    {code}\n    return" for code in (OPEN.format(str(evidence)), *RESULTS))
    (folder / "app.py").write_text("\n\n\n".join(("import marimo\n\napp = marimo.App()", *cells)))
    settings = folder / "marimo" / "marimo.toml"
    settings.parent.mkdir()
    settings.write_text('[display]\ntheme = "system"\n')
    packages = next(python_environment_of("marimo").parents[1].glob("lib/python*/site-packages"))
    env = python_environment(HOME=str(folder), XDG_CONFIG_HOME=str(folder), PYTHONPATH=str(packages))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "marimo", "-q", "run", "app.py", "--headless", "--no-token"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _responds(f"http://127.0.0.1:{port}/"))
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def _responds(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cards_frames_and_plots_work_and_a_panel_is_a_copy(
    address: str, browser: Browser, scheme: str, screenshots: Path
) -> None:
    """Each result is shown as in Jupyter, a plain frame as marimo's own table, and a panel says that it is a copy."""
    outside: list[str] = []
    with browser.new_context(viewport={"width": 1200, "height": 4000}, color_scheme=scheme) as context:
        page = context.new_page()
        local = (address, "data:", "blob:")
        page.on("request", lambda each: None if each.url.startswith(local) else outside.append(each.url))
        page.goto(address)
        panel = page.locator(".rl-unanswered")
        expect(panel).to_contain_text("A panel needs a front end of Jupyter")
        expect(page.get_by_text("Ledger/slow").last).to_be_visible()
        for title in ("1 warning · 2 notes", "Order/order 20/run · succeeded", "What you can do"):
            expect(page.get_by_text(title).first).to_be_visible()
        expect(page.locator("marimo-table")).to_have_count(1)
        expect(page.locator("img, svg").filter(visible=True).first).to_be_visible()
        page.wait_for_timeout(1_000)
        page.screenshot(path=screenshots / f"marimo-{scheme}.png")
        for card in page.locator("div[style*='border-left:3px solid'][style*='max-width:1080px']").all():
            assert faint_texts(card) == []
        context.close()
    assert outside == []
