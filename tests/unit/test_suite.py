"""The suite itself ends wherever it is started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest

from support.bench import wait_for
from support.starts import describe_starts, wait_until_ended

ROOT = Path(__file__).parents[2]
INTERRUPTED = (
    "tests/unit/actions/test_plan.py::test_an_interrupt_after_the_last_read_keeps_the_outcome_too",
    "tests/unit/test_interrupts.py::test_the_stop_button_ends_a_change_that_waits_with_an_unknown_outcome",
)
# A run, and a worker of it that ends; both are in the folder of the argument.
RUN = """
import os, pathlib, subprocess, sys, time
from support.starts import RunPrograms
run = RunPrograms(pathlib.Path(sys.argv[1]))
subprocess.run([sys.executable, "-c", sys.argv[2]], check=True, env=os.environ | {"TESTS_RUN": sys.argv[1]})
print("the worker has ended", flush=True)
input()
run.stop()
"""
SLEEPS = """
from support.starts import run_folder, start_for_run
start_for_run(run_folder(), "sleep", ["sleep", "600"])
"""
USES_CHROMIUM = """
from support.jupyter import chromium
with chromium() as browser:
    browser.new_page().set_content("<p>a page</p>")
"""
ENDS_WITHIN = 240  # seconds; a run takes about ten, and used to hang forever


@pytest.mark.long  # runs a part of the suite again
@pytest.mark.parametrize("workers", ["0", "1"])
def test_interrupts_arrive_when_the_suite_is_started_in_the_background(workers: str) -> None:
    """A script's `( pytest & )` starts it with SIGINT ignored; the tests that interrupt something pass there too."""
    in_background = '"$@" & wait $!'
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "-p", "no:cacheprovider", *INTERRUPTED]
    code, output = run(["sh", "-c", in_background, "sh", *command], ROOT)
    assert code == 0, output


def test_a_test_that_hangs_ends_as_a_failure(tmp_path: Path) -> None:
    """The time limit of each test, 300 seconds here, ends a test that waits forever, and the next test runs."""
    (tmp_path / "test_hangs.py").write_text(
        "import threading\ndef test_hangs():\n    threading.Event().wait()\ndef test_next():\n    pass\n",
        "utf-8",
    )
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-o", "timeout=1"]
    _, output = run([sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)], tmp_path)
    assert "1 failed, 1 passed" in output
    assert "Timeout (>1.0s)" in output


def test_every_test_has_a_time_limit(request: pytest.FixtureRequest) -> None:
    assert float(request.config.getini("timeout")) == 300


def run(command: list[str], folder: Path) -> tuple[int, str]:
    """Run a command without the pytest variables of this run; return its exit code and its output.

    All of its child processes end with it, also when it hangs.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=ENDS_WITHIN)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, output


def test_the_summary_names_the_modules_that_started_programs() -> None:
    starts = Counter({("restate-server", "a.py"): 1, ("restate-server", "b.py"): 2, ("Chromium", "c.py"): 1})
    assert describe_starts(starts) == ["1 Chromium: 1 c.py", "3 restate-server: 2 b.py, 1 a.py"]


@pytest.mark.parametrize("ends", ["stop", "kill"])
@pytest.mark.parametrize("worker", [SLEEPS, pytest.param(USES_CHROMIUM, marks=[pytest.mark.browser, pytest.mark.long])])
def test_a_program_of_the_run_outlives_its_worker_but_not_the_run(worker: str, ends: str) -> None:
    """The last worker finds it; it ends when the run ends, also with ``kill -9``."""
    path = {"PYTHONPATH": str(ROOT / "tests")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", RUN, folder, worker]
        with subprocess.Popen(command, env=os.environ | path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
            assert started.stdout is not None
            assert started.stdout.readline() == b"the worker has ended\n"
            (pid,) = [int(path.read_text()) for path in Path(folder).glob("*.pid")]
            guard = psutil.Process(pid)
            (program,) = wait_for(guard.children)
            programs = [guard, program, *program.children(recursive=True)]
            assert started.pid not in {each.pid for each in guard.parents()}
            started.communicate(b"\n") if ends == "stop" else started.kill()
        wait_until_ended(programs, within=10)
