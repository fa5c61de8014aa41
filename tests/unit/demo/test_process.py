"""Programs in the background: they end on request, and when their parent process has gone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from restate_lab.demo import process
from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.starts import wait_until_ended

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP


def start(tmp_path: Path, code: str) -> Process:
    running = Process([sys.executable, "-c", code], env=clean_environment(), log=tmp_path / "log")
    wait_for(lambda: "up" in running.log.read_text())
    return running


@pytest.mark.parametrize("code", [SLEEP, STUBBORN], ids=["obedient", "stubborn"])
def test_stop_ends_the_guard_and_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(process, "GRACE", 0.5)
    running = start(tmp_path, code)
    both = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    assert len(both) == 2
    running.stop()
    running.stop()
    assert not psutil.wait_procs(both, timeout=5)[1]


def test_a_program_that_ends_leaves_its_exit_code_and_its_last_output(tmp_path: Path) -> None:
    code = "print('one'); print('two'); print('three'); raise SystemExit(7)"
    with Process([sys.executable, "-c", code], env=clean_environment(), log=tmp_path / "log") as running:
        assert running.wait(20) == 7
        assert running.exit_code == 7
        assert running.last_lines(2) == "two\nthree"


def test_stop_ends_the_program_of_a_killed_guard(tmp_path: Path) -> None:
    running = start(tmp_path, SLEEP)
    (program,) = psutil.Process(running.pid).children()
    psutil.Process(running.pid).kill()
    running.wait(5)
    running.stop()
    wait_until_ended([program], within=5)


def test_a_program_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent_code = (
        "import pathlib, sys, time; from restate_lab.demo.process import Process;"
        "from restate_lab.environment import clean_environment;"
        f"Process([sys.executable, '-c', {SLEEP!r}], env=clean_environment(), log=pathlib.Path(sys.argv[1]));"
        "time.sleep(60)"
    )
    (log := tmp_path / "log").touch()
    with subprocess.Popen([sys.executable, "-c", parent_code, str(log)]) as parent:
        wait_for(lambda: "up" in log.read_text())
        orphans = psutil.Process(parent.pid).children(recursive=True)
        assert len(orphans) == 2
        parent.send_signal(signal.SIGKILL)
    wait_until_ended(orphans, within=10)


def test_environment_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server gets neither the caller's Restate settings nor its secrets, only the given variables."""
    monkeypatch.setenv("RESTATE_ADMIN__BIND_PORT", "1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    environment = clean_environment(RESTATE_NODE_NAME="demo")
    assert environment["RESTATE_NODE_NAME"] == "demo"
    assert "PATH" in environment
    assert not {"RESTATE_ADMIN__BIND_PORT", "AWS_SECRET_ACCESS_KEY"} & set(environment)
