"""Services of tests are forked from a process with their libraries: they start, run and end as others do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.forked import Forked, Host

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start Python for each program")
PROGRAM = """
import os, sys, time
os.fstat(int(sys.argv[-1]))
names = sorted(os.environ.keys() - {'LC_CTYPE'})
print(__name__, sys.argv[:-1], sys.path[0], os.getcwd(), names, os.isatty(0), os.getpgid(0) == os.getppid(), flush=True)
time.sleep(60 if 'waits' in os.environ else 0)
raise SystemExit(7)
"""
IN_A_PARENT = """
import sys, time
from pathlib import Path
from support.forked import Forked, Host
program = Forked(Host().address, sys.argv[1:2], env={'waits': ''}, log=Path(sys.argv[2]), pass_fds=(1,))
time.sleep(60)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host() as host:
        yield host


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def wait_for_output(log: Path) -> str:
    deadline = time.monotonic() + 20
    while not (log.is_file() and log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return log.read_text()


def test_a_program_has_what_python_gives_it(host: Host, program: Path, log: Path, tmp_path: Path) -> None:
    env, other = clean_environment(A_VARIABLE="1"), tmp_path / "other.log"
    with socket.socket() as served:
        fds = (served.fileno(),)
        command = [sys.executable, str(program), "--fd", str(fds[0])]
        with Process(command, env=env, log=other, pass_fds=fds) as started:
            assert started.wait(20) == 7
        with Forked(host.address, [str(program)], env=env, log=log, pass_fds=fds) as forked:
            assert forked.wait(20) == forked.exit_code == 7
    assert log.read_text().startswith("__main__")
    assert log.read_text().replace(str(log), "") == other.read_text()


@pytest.mark.parametrize("ended", ["stop", "program", "guard"])
def test_a_program_ends(host: Host, program: Path, log: Path, ended: str) -> None:
    """It ends with ``stop()``; if it was killed, or its guard, ``exit_code`` and ``stop()`` are those of a process."""
    with Forked(host.address, [str(program)], env={"waits": ""}, log=log, pass_fds=(1,)) as forked:
        wait_for_output(log)
        guard = psutil.Process(forked.pid)
        (waiting,) = guard.children()
        assert forked.exit_code is None
        with pytest.raises(subprocess.TimeoutExpired):
            forked.wait(0.01)
        if ended != "stop":
            (waiting if ended == "program" else guard).kill()
            assert forked.wait(20) == {"program": 256 - signal.SIGKILL, "guard": -signal.SIGKILL}[ended]
    assert not psutil.wait_procs([guard, waiting], timeout=5)[1]


def test_nothing_outlives_a_killed_run(program: Path, log: Path) -> None:
    """The host and its programs end with the process of the run, also after ``kill -9``."""
    command = [sys.executable, "-c", IN_A_PARENT, str(program), str(log)]
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: a unix socket's path must be short
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": folder}
        orphans = _orphans(command, env, log)
    assert not psutil.wait_procs(orphans, timeout=10)[1]


def _orphans(command: list[str], env: dict[str, str], log: Path) -> list[psutil.Process]:
    """Return the processes of a run that is killed once it has a program."""
    with subprocess.Popen(command, env=env) as parent:
        wait_for_output(log)
        orphans: list[psutil.Process] = psutil.Process(parent.pid).children(recursive=True)
        assert len(orphans) == 4, "the host, its program, and their guards"
        parent.kill()
    return orphans
