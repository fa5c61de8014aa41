"""The notebook runner, with real kernels."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from restate_lab.demo.notebook import run_notebook
from support.demos import command_of


def write(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\ntext"), *cells]), path)
    return path


def outputs(executed: Path) -> list[Any]:
    return [output for cell in nbformat.read(executed, as_version=4).cells for output in cell.get("outputs", [])]


def test_a_notebook_runs_with_this_interpreter_and_refuses_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "kernels" / "python3" / "kernel.json"
    broken.parent.mkdir(parents=True)
    broken.write_text('{"argv": ["/bin/false"], "display_name": "broken", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "a-script's")
    show = "sys.executable, os.getcwd(), os.environ['RESTATE_LAB_READ_ONLY'], 'inline' in os.environ['MPLBACKEND']"
    source = f"import os, sys; print({show})"
    run = run_notebook(write(tmp_path / "n.ipynb", source), tmp_path / "out" / "n.ipynb")
    assert run.failure == ""
    assert run.text == f"# Title\n\n{sys.executable} {tmp_path} 1 True"
    assert str(run).startswith("n.ipynb: executed in ")
    assert str(run).endswith(", read-only")


def test_a_failure_names_cell_and_error_and_the_copy_has_the_earlier_output(tmp_path: Path) -> None:
    run = run_notebook(write(tmp_path / "n.ipynb", "print('before')", "1 / 0", "print('after')"), tmp_path / "o.ipynb")
    assert run.failure.startswith("cell 2 failed:\n\n    1 / 0\n\n")
    assert run.failure.endswith("ZeroDivisionError: division by zero")
    assert "\x1b" not in run.failure
    assert "stopped by an error" in str(run)
    assert [output.output_type for output in outputs(run.executed)] == ["stream", "error"]
    assert "after" not in run.text


def test_a_dead_kernel_stops_the_notebook(tmp_path: Path) -> None:
    dies = "import os; os._exit(3)"
    run = run_notebook(write(tmp_path / "n.ipynb", "print('before')", dies), tmp_path / "o.ipynb")
    assert run.failure.startswith(f"cell 2 failed:\n\n    {dies}\n\nKernel died")
    assert outputs(run.executed)[0].text == "before\n"
    assert not kernels()


def test_ctrl_c_saves_the_copy_and_leaves_no_kernel(tmp_path: Path) -> None:
    notebook = write(
        tmp_path / "n.ipynb",
        "import pathlib, time; print('before')",
        "pathlib.Path('begun').touch(); time.sleep(60); pathlib.Path('ended').touch()",
    )

    def interrupt() -> None:
        while not (tmp_path / "begun").exists():
            ended.wait(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    ended = threading.Event()
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_notebook(notebook, tmp_path / "o.ipynb")
    assert outputs(tmp_path / "o.ipynb")[0].text == "before\n"
    assert not (tmp_path / "ended").exists()
    assert not kernels()


def kernels() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "ipykernel_launcher" in command_of(each)]
