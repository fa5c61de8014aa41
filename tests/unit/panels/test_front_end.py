"""What a cell shows if no front end answers a panel, and that a runner and a slow front end do not show it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from restate_lab.demo.notebook import run_notebook
from restate_lab.panels._base import front_end
from restate_lab.panels._base.front_end import AnswerWatch
from support.stored_formats import unpack

MESSAGE = "No front end answered this panel within 5 seconds."
SAVED = "A saved copy of the panel."
WAIT = 60.0  # seconds, for a machine that does other work


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("evidence-2", tmp_path_factory.mktemp("evidence"))


class Cells:
    """Runs cells in a real kernel, and records the outputs with the copy of a panel, as (id of the output, HTML)."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client
        self.copies: list[tuple[str, str]] = []
        self.ended: set[str] = set()  # the requests whose cell has run
        self.heads: list[str] = []  # the comms of the heads, each a widget with the name of its copy

    def run(self, code: str, **options: Any) -> None:
        assert (
            self.client.execute_interactive(code, timeout=WAIT, output_hook=self._note, **options)["content"]["status"]
            == "ok"
        )

    def wait(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT
        while not is_done():
            assert time.monotonic() < deadline, self.copies
            try:
                self._note(self.client.get_iopub_msg(timeout=0.2))
            except Empty:
                continue

    def run_cell(self, cell: str, code: str) -> None:
        """Run a cell of a notebook, which has an id."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        request = self.client.session.msg("execute_request", content, metadata={"cellId": cell})
        self.client.shell_channel.send(request)
        self.wait(lambda: request["header"]["msg_id"] in self.ended)

    def evaluate(self, code: str) -> str:
        """Return the repr of an expression."""
        reply = self.client.execute_interactive("", user_expressions={"it": code}, silent=True, timeout=WAIT)
        text: str = reply["content"]["user_expressions"]["it"]["data"]["text/plain"]
        return text

    def answer(self, comm: str, **message: Any) -> None:
        """Send what the model of the toolbar sends from a page."""
        data = {"method": "custom", "content": message or {"type": "ready"}}
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        self.client.shell_channel.send(message)

    def shown(self, at: int) -> str:
        """Return the current HTML of a panel's copy."""
        id_ = list(dict.fromkeys(id_ for id_, _ in self.copies))[at]
        return [html for each, html in self.copies if each == id_][-1]

    def _note(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        html = content.get("data", {}).get("text/html", "")
        if kind in {"display_data", "update_display_data"} and "rl-saved" in html:
            self.copies.append((content["transient"]["display_id"], html))
        if kind == "comm_open" and "heading" in content["data"].get("state", {}):
            self.heads.append(content["comm_id"])
        if kind == "status" and content["execution_state"] == "idle":
            self.ended.add(message["parent_header"].get("msg_id", ""))
        assert kind != "error", json.dumps(content)


@pytest.fixture
def cells() -> Iterator[Cells]:
    manager: KernelManager
    manager, client = start_new_kernel()
    yield Cells(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


def test_without_a_front_end_the_cell_says_so_until_one_answers(cells: Cells, evidence: Path) -> None:
    """The message replaces the note of the copy; a panel of a runner and one with an answer have none."""
    cells.run(f"import restate_lab as rl; evidence = rl.open_evidence({str(evidence)!r})")
    cells.run("rl.Panel(evidence)", allow_stdin=False)
    cells.run("rl.Panel(evidence)", allow_stdin=True)
    cells.answer(cells.heads[1])
    cells.run("rl.Panel(evidence)", allow_stdin=True)
    cells.wait(lambda: any(MESSAGE in html for _, html in cells.copies))
    assert SAVED in cells.shown(0)
    assert SAVED in cells.shown(1)
    assert MESSAGE in cells.shown(2)
    assert "Ledger" in cells.shown(2), "the content is in the copy"
    cells.answer(cells.heads[2])
    cells.wait(lambda: MESSAGE not in cells.shown(2))
    assert SAVED in cells.shown(2)


def test_a_panel_that_its_cell_has_replaced_is_closed(cells: Cells, evidence: Path) -> None:
    """The others stay: those with a view, in a variable or a list of one, and in a cell that only shows them again."""
    cells.run(f"import restate_lab as rl; evidence = rl.open_evidence({str(evidence)!r})")
    cells.run_cell("zero", "rl.Panel(evidence, refresh=None)")
    assert cells.evaluate("_.closed.is_set()") == "False", "without a variable"
    cells.run_cell("zero", "1")
    cells.run_cell("one", "first = panel = rl.Panel(evidence, refresh=None)\npanel")
    listed = "panels = [rl.Panel(evidence, refresh=None)]\npanels[0]"
    for cell, code in (("two", listed), ("two", "1"), ("three", "panel"), ("three", "panel")):
        cells.run_cell(cell, code)
    cells.run_cell("one", "panel = rl.Panel(evidence, refresh=None)\npanel")
    assert cells.evaluate("[each.closed.is_set() for each in (first, panels[0], panel)]") == "[False, False, False]"
    cells.answer(cells.heads[1], type="alive", view="v", in_sight=False)
    cells.run("del first, panels")
    cells.run_cell("three", "1")
    kept = "len({id(each) for each in Out.values() if isinstance(each, rl.Panel)})"
    assert cells.evaluate(kept) == "2", "with the one that has a view"
    cells.answer(cells.heads[1], type="close", view="v")
    assert cells.evaluate(kept) == "1"
    for _ in range(5):
        cells.run_cell("one", "panel = rl.Panel(evidence, refresh=None)\npanel")
    alive = (
        "__import__('gc').collect() * 0 + sum(isinstance(each, rl.Panel) for each in __import__('gc').get_objects())"
    )
    assert int(cells.evaluate(alive)) <= 4, "IPython keeps the last three"


@pytest.mark.long  # a panel is opened 55 times; test_panel.py has the widgets of a closed one by day
@pytest.mark.timeout(900)
def test_a_cell_that_runs_often_does_not_grow(cells: Cells, evidence: Path) -> None:
    """Each panel that was replaced leaves at most 50 kB, and no widget; IPython itself keeps the last three."""
    cells.run(f"""
import gc, tracemalloc, restate_lab as rl
from ipywidgets.widgets import widget
evidence = rl.open_evidence({str(evidence)!r})
def state():
    return gc.collect() * 0 + tracemalloc.get_traced_memory()[0]
tracemalloc.start()
""")
    sizes, numbers = [], []
    for times in (5, 50):
        for _ in range(times):
            cells.run_cell("one", "panel = rl.Panel(evidence, refresh=None)\npanel")
        sizes.append(int(cells.evaluate("state()")))
        numbers.append(cells.evaluate("len(widget._instances)"))
    assert numbers[0] == numbers[1]
    assert (sizes[1] - sizes[0]) / 50 < 50_000


@pytest.mark.long
def test_nbclient_is_not_a_front_end(evidence: Path, tmp_path: Path) -> None:
    code = f"import restate_lab as rl; panel = rl.Panel(rl.open_evidence({str(evidence)!r})); panel"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(each) for each in (code, "import asyncio; await asyncio.sleep(6)")]
    )
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert run_notebook(tmp_path / "a.ipynb", tmp_path / "b.ipynb").failure == ""
    text = (tmp_path / "b.ipynb").read_text("utf-8")
    assert SAVED in text
    assert MESSAGE not in text


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the calls of a watch in an event loop whose seconds are short."""
    monkeypatch.setattr(front_end, "_STEP", 0.02)
    monkeypatch.setattr(front_end, "_LATE", 0.2)
    monkeypatch.setattr(front_end, "_loop_of_kernel", asyncio.get_running_loop)
    return []


def test_time_in_which_a_cell_runs_does_not_count(quick: list[str]) -> None:
    """A kernel that runs a cell hears no answer, so the wait begins again after the cell."""

    async def run() -> None:
        AnswerWatch(lambda: False, lambda: quick.append("missing")).start()
        for _ in range(3):
            await asyncio.sleep(0.05)
            time.sleep(0.3)
            assert quick == []
        await asyncio.sleep(1)

    asyncio.run(run())
    assert quick == ["missing"]


def test_an_answer_ends_the_wait(quick: list[str]) -> None:
    async def run() -> None:
        watch = AnswerWatch(lambda: True, lambda: quick.append("missing"))
        watch.start()
        watch.start()
        await asyncio.sleep(0.5)

    asyncio.run(run())
    assert quick == []


def test_a_script_does_not_wait() -> None:
    AnswerWatch(lambda: False, lambda: pytest.fail("there is no kernel")).start()
