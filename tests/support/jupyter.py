"""A real JupyterLab in a real, headless Chromium, used as a person would, and read through its kernel."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, Page, Request, sync_playwright

from restate_lab.demo.jupyter import JupyterLab
from support.starts import note_start, run_folder, start_for_run

FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_READY_WITHIN = 120.0  # seconds; usually Chromium takes two
# The page shows "idle" before the kernel is connected, and a run at that time opens a dialog that waits forever.
CONNECTED = """() => {
    const kernel = window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.status === 'idle' && kernel.connectionStatus === 'connected'; }"""
# When nothing runs any more, every cell with code has its number, unless an error stopped the run.
ENDED = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const code = panel.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.source.trim());
    const failed = code.some(c => c.model.outputs.toJSON().some(o => o.output_type === 'error'));
    return panel.sessionContext.session.kernel.status === 'idle'
        && (failed || code.every(c => c.model.executionCount !== null && c.model.executionState !== 'running')); }"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .flatMap(c => c.model.outputs?.toJSON() ?? []).filter(o => o.output_type === 'error')
    .map(o => o.ename + ': ' + o.evalue)"""
EVALUATE = """async expression => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const reply = await kernel.requestExecute(
        {code: '', silent: true, user_expressions: {value: expression}}, true).done;
    return reply.content.user_expressions.value; }"""


def find_chromium() -> str | None:
    """Return the Chromium of this machine, or the one that the variable CHROMIUM names."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Connect to the Chromium of the run; the end closes the contexts of this connection, and no others.

    Chromium has one clipboard for all contexts: the modules that use it are one group in `support.placement`.
    """
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium: install it (Debian: apt-get install chromium), or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect(_address(executable))
        yield browser
        browser.close()


def _address(executable: str) -> str:
    """Return the address of the run's Chromium; the first process that asks for it starts it."""
    folder = run_folder()
    with (folder / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = folder / "chromium.log"
        if not log.exists():
            note_start("Chromium")
            options = folder / "chromium.json"
            options.write_text(json.dumps({"executablePath": executable, "args": FLAGS, "host": "127.0.0.1"}))
            server = [*compute_driver_executable(), "launch-server", "--browser=chromium", f"--config={options}"]
            start_for_run(folder, "chromium", server)
        return _wait_for_address(log)


def _wait_for_address(log: Path) -> str:
    deadline = time.monotonic() + _READY_WITHIN
    while not (output := log.read_text()).endswith("\n"):
        assert time.monotonic() < deadline, output
        time.sleep(0.05)
    assert output.startswith("ws://"), output
    return output.strip()


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    # Without it JupyterLab asks for the kernel, and waits forever.
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


class LabPage:
    """A page with JupyterLab in it; ``page`` is playwright's own."""

    def __init__(self, page: Page, lab: JupyterLab) -> None:
        self.page = page
        self.lab = lab
        self.left_the_machine: list[str] = []
        self.console_errors: list[str] = []
        page.on("request", self._note_request)
        page.on("console", lambda said: self.console_errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))

    def open(self, notebook: str) -> None:
        """Open a notebook of JupyterLab's folder, in a fresh workspace, and wait for its kernel."""
        self.page.goto(
            f"{self.lab.address}lab/workspaces/auto-e2e/tree/{notebook}?reset&token={self.lab.token}",
            wait_until="domcontentloaded",
        )
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
        self.page.wait_for_function(CONNECTED, timeout=90_000)

    def close(self) -> None:
        """Close the page, and end its kernel: panels without a page take processor time from the tests."""
        self.page.close()
        with httpx.Client(base_url=self.lab.address, params={"token": self.lab.token}, timeout=30) as client:
            for session in client.get("api/sessions").json():
                client.delete(f"api/sessions/{session['id']}")

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab, such as "notebook:run-cell", and wait until it is done."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }", [name, arguments]
        )

    def run_all(self) -> None:
        self.command("notebook:run-all-cells")
        self.page.wait_for_function(ENDED, timeout=120_000)
        assert self.page.evaluate(ERRORS) == []

    def run_cell(self, index: int) -> None:
        """Run one cell, by its position among all cells, and wait until it has ended."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i; }", index)
        self.command("notebook:run-cell")
        self.page.wait_for_function(CONNECTED, timeout=120_000)

    def value(self, expression: str) -> Any:
        """Return the value of a Python expression in the notebook's kernel; it must fit into JSON."""
        reply = self.page.evaluate(EVALUATE, f"__import__('json').dumps({expression}, default=str)")
        assert reply["status"] == "ok", reply
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))

    def wait_for_value(self, expression: str, expected: Any) -> None:
        """Wait until the expression has this value in the kernel; after a minute fail with its actual value."""
        deadline = time.monotonic() + 60
        while (value := self.value(expression)) != expected and time.monotonic() < deadline:
            self.page.wait_for_timeout(100)
        assert value == expected

    def theme(self, name: str) -> None:
        """Switch to "JupyterLab Light" or "JupyterLab Dark"."""
        self.command("apputils:change-theme", theme=name)
        light = "false" if name.endswith("Dark") else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
        self.page.wait_for_selector("#jupyterlab-splash", state="detached")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self.lab.address, "data:", "blob:")):
            self.left_the_machine.append(request.url)
