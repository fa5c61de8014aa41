"""Commands whose standard streams are closed, full or not read any more."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from restate_lab._files import PrivateFolder
from restate_lab.actions.plan.store import PlanStore, StoredPlan, StoredTarget
from restate_lab.cli._errors import exit_on_error, note_change
from restate_lab.cli._page import TextPage
from restate_lab.cli._streams import print_line, standard_streams
from restate_lab.cli.act import _exit_code
from restate_lab.client.arguments import check_reason
from restate_lab.demo.run import copy_notebooks, run_demo
from restate_lab.errors import ArgumentError, WriteFailed
from support.faults import no_room_in_files


@contextmanager
def stdout_that_is(state: str) -> Iterator[None]:
    """Give a stdout that accepts nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    end = os.open("/dev/full", os.O_WRONLY) if state == "full" else writer
    with open(end, "w", closefd=False) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", None if state == "closed" else stream)
        yield


@pytest.mark.parametrize("state", ["full", "no reader", "closed"])
@pytest.mark.parametrize("code", [0, 3])
def test_an_output_error_after_a_change_keeps_the_exit_code(
    state: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with open(2, "w", closefd=False) as errors, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", errors)
        with stdout_that_is(state), standard_streams(), pytest.raises(typer.Exit) as ended, exit_on_error():
            note_change("executed", shown_by="restate-lab audit --change 3f", code=code)
            TextPage().paragraph("done")
    assert ended.value.exit_code == code
    assert capfd.readouterr().err.startswith("restate-lab: executed; the result could not be printed (")


@pytest.mark.parametrize("state", ["full", "no reader", "closed"])
def test_a_line_that_stdout_refuses_is_on_stderr_and_is_no_error_at_the_end(
    state: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with open(2, "w", closefd=False) as errors, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", errors)
        with stdout_that_is(state), standard_streams(), exit_on_error():
            print_line("ready")
            print_line("stopping")
    assert capfd.readouterr().err == "ready\nstopping\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_slow_reader_of_a_stream_that_does_not_block_gets_everything(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs can make the pipe or terminal non-blocking, which they share; the command waits."""
    text, waits, wait = "x" * 300_000, [], select.select
    monkeypatch.setattr(select, "select", lambda *streams: waits.append(streams) or wait(*streams))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as end, ThreadPoolExecutor(1) as threads:
        with os.fdopen(writer, "w") as stream:
            monkeypatch.setattr(sys, name, stream)
            with standard_streams():
                received = threads.submit(lambda: (wait([], [], [], 0.2), end.read())[1])
                getattr(sys, name).write(text)
        assert received.result(10).decode() == text
    assert waits


def test_an_output_without_a_buffer_is_written_at_once() -> None:
    """Containers often set PYTHONUNBUFFERED; a footer on stderr must not come before the table."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as end, os.fdopen(writer, "wb", buffering=0) as raw:
        unbuffered = io.TextIOWrapper(raw, write_through=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", unbuffered)
            with standard_streams():
                sys.stdout.write("a row")
                assert end.read(100) == b"a row"


def test_a_full_stdout_and_stderr_have_the_exit_code_of_an_error() -> None:
    command = [sys.executable, "-c", "from restate_lab.cli import main; main()", "--help"]
    with Path("/dev/full").open("w") as full:
        assert subprocess.run(command, stdout=full, stderr=full, check=False).returncode == 1


@pytest.mark.parametrize(
    ("outcomes", "gone", "code"),
    [(["done", "skipped"], 0, 0), (["done", "skipped"], 1, 3), (["skipped"], 0, 3), (["accepted"], 0, 0)],
)
def test_the_exit_code_of_an_execution(outcomes: list[str], gone: int, code: int) -> None:
    frame: Any = pd.DataFrame({"outcome": outcomes})
    frame.attrs["gone"] = gone
    assert _exit_code(frame) == code


def test_a_plan_is_given_back(tmp_path: Path) -> None:
    """It can be loaded and claimed again, once."""
    now = pd.Timestamp.now("UTC").to_pydatetime()
    target = StoredTarget("inv_1" + "a" * 33, now.isoformat(), "paused")
    plan = StoredPlan("resume", None, None, "prod", "http://127.0.0.1:9070", "restate 1.7.12", now, (target,))
    store = PlanStore(tmp_path)
    store.save(plan)
    store.claim(plan)
    assert store.give_back(plan)
    assert store.load(plan.name) == plan
    store.claim(plan)


@pytest.mark.parametrize("reason", ["…", "...", " ", "", None])
def test_a_placeholder_is_not_a_reason(reason: Any) -> None:
    with pytest.raises(ArgumentError, match=r"reason (is empty|has the placeholder)"):
        check_reason(reason)


def test_a_full_disk_is_reported_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", full)
    with pytest.raises(WriteFailed, match=f"{tmp_path / 'plan'} cannot be written: No space left on device"):
        PrivateFolder(tmp_path, longest=9).write("plan", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_demo_on_a_full_disk_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    """The next start with the same folder writes what is missing."""
    with pytest.raises(WriteFailed, match=r"\.ipynb cannot be written"), no_room_in_files():
        run_demo(server=Path("/bin/false"), keep=tmp_path)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [tmp_path / "lock"]
    copy_notebooks(tmp_path / "notebooks")
    assert all(json.loads(each.read_text())["cells"] for each in tmp_path.glob("notebooks/*.ipynb"))
