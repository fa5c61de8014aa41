"""Services of tests are forked from a process with their libraries: they start, run and end as others do."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.forked import ADDRESS, Forked, Host, python
from support.starts import wait_until_ended

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start Python for each program")
PROGRAM = """
import os, sys, time
os.fstat(int(sys.argv[-1]))
names = sorted(os.environ.keys() - {'LC_CTYPE'})
print(__name__, sys.argv[:-1], sys.path[0], os.getcwd(), names, os.isatty(0), os.getpgid(0) == os.getppid(), flush=True)
time.sleep(60 if 'waits' in os.environ else 0)
raise SystemExit(7)
"""
CODE = """
import atexit, json, os, resource, signal, sys

def is_open(fd):
    try:
        return bool(os.fstat(fd))
    except OSError:
        return False

streams = [sys.stdin, sys.stdout, sys.stderr]
forms = [each and (each.encoding, each.errors, each.line_buffering, each.isatty(), each.name) for each in streams]
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)
state = [*map(is_open, range(100)), *limits, *map(str, map(signal.getsignal, numbers))]
variables = sorted(os.environ.keys() - {'LC_CTYPE', 'PWD', 'OLDPWD', 'SHLVL', '_'})
seen = [forms, state, variables, __name__, sys.argv, sys.path[0], os.getcwd(), sys.stdin and sys.stdin.read()]
stream = int(sys.argv[1])
os.write(stream, json.dumps(seen).encode())
atexit.register(os.write, stream, b' and ended')
print('x', end='')
exec(sys.argv[2])
"""
SLEEPS = """
import time
try:
    print('up', flush=True)
    time.sleep(20)
except KeyboardInterrupt:
    raise SystemExit(5)
"""
STARTS = {
    "normal": ('exec "$@"', "pass", 0),
    "no stdin": ('exec "$@" <&-', "raise SystemExit('a message')", 1),
    "no stdout": ('exec "$@" >&-', "raise SystemExit(7)", 7),
    "no stderr": ('exec "$@" 2>&-', "1 / 0", 1),
    "a full stdout": ('exec "$@" >/dev/full', "pass", 120),
    "no file": ('ulimit -f 0; exec "$@"', "open('file', 'w', 1).write('x\\n')", 1),
    "a signal": ('exec "$@"', "os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
}
"""How a shell starts Python, the end of the code, and the exit code."""
OWN_FRAME = re.compile(r'Traceback .*\n  File ".*/forked\.py", .*\n.*\n')
"""The only difference: if stdout cannot be flushed, Python reports where it was called from."""
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
    return str(wait_for(lambda: log.is_file() and log.read_text()))


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


def run_code(start: str, env: dict[str, str]) -> tuple[int, str, str]:
    """Return the exit code and the output of the code."""
    shell, end, _ = STARTS[start]
    command = ["sh", "-c", shell, "sh", *python(), CODE, "1" if start == "no stderr" else "2", end]
    done = subprocess.run(command, input="a line", capture_output=True, env=env, text=True, timeout=20, check=False)
    return done.returncode, done.stdout, OWN_FRAME.sub("", done.stderr)


@pytest.mark.parametrize("start", STARTS)
def test_code_has_the_streams_and_the_end_that_python_gives_it(
    host: Host, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = clean_environment(A_VARIABLE="1")
    monkeypatch.delenv(ADDRESS, raising=False)
    started = run_code(start, env)
    assert started[0] == STARTS[start][2]
    assert ("and ended" in started[1] + started[2]) is (start != "a signal")
    monkeypatch.setenv(ADDRESS, host.address)
    assert run_code(start, env) == started


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 5), (signal.SIGTERM, -signal.SIGTERM)])
def test_code_gets_the_signals_of_its_command(
    host: Host, number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, host.address)
    with subprocess.Popen([*python(), SLEEPS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.wait(20) == code


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
    wait_until_ended([guard, waiting], within=5)


def test_nothing_outlives_a_killed_run(program: Path, log: Path) -> None:
    """The host and its programs end with the process of the run, also after ``kill -9``."""
    command = [sys.executable, "-c", IN_A_PARENT, str(program), str(log)]
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: a unix socket's path must be short
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": folder}
        orphans = _orphans(command, env, log)
    wait_until_ended(orphans, within=10)


def _orphans(command: list[str], env: dict[str, str], log: Path) -> list[psutil.Process]:
    """Return the processes of a run that is killed once it has a program."""
    with subprocess.Popen(command, env=env) as parent:
        wait_for_output(log)
        orphans: list[psutil.Process] = psutil.Process(parent.pid).children(recursive=True)
        assert len(orphans) == 4, "the host, its program, and their guards"
        parent.kill()
    return orphans
