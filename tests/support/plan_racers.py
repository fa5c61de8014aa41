"""Processes that execute stored plans: many at once, or killed at a random time.

``python -m support.plan_racers race URL COUNT PLAN`` forks processes that execute one plan at the same time, and prints
their exit codes. ``python -m support.plan_racers kill URL SEED PLAN…`` executes one plan after the other, each in a
process that gets SIGKILL.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from restate_lab.actions.execution import runner

REASON = "INC-42: the API is back"
_KILLED_WITHIN = 0.4  # seconds; an execution of one invocation takes about as long
_TESTS = Path(__file__).parents[1]


def race(url: str, plan: str, count: int) -> list[int]:
    """Return the exit codes of processes that execute a plan at once."""
    return [int(code) for code in _run("race", url, str(count), plan).split()]


def kill(url: str, plans: list[str], seed: int) -> None:
    """Execute each plan in a process of its own, and kill it at a random time."""
    _run("kill", url, str(seed), *plans)


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "support.plan_racers", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{_TESTS.parent}:{_TESTS}"}
    done = subprocess.run(
        command, cwd=_TESTS, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _fork(url: str, plan: str, pipe: tuple[int, int] | None = None) -> int:
    """Execute a plan in a new process, once all other processes have closed the end of a pipe; return its pid."""
    from restate_lab.cli import app

    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        if pipe is not None:
            os.close(pipe[1])
            os.read(pipe[0], 1)
        app(["execute", plan, "--reason", REASON, "-e", url], prog_name="restate-lab")
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)


def _race(url: str, count: str, plan: str) -> None:
    pipe = os.pipe()
    pids = [_fork(url, plan, pipe) for _ in range(int(count))]
    os.close(pipe[1])
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    sys.stdout.write(" ".join(map(str, codes)))


def _kill(url: str, seed: str, *plans: str) -> None:
    chance = random.Random(int(seed))  # noqa: S311 - times, no secrets
    for plan in plans:
        pid = _fork(url, plan)
        time.sleep(chance.random() * _KILLED_WITHIN)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def main() -> None:
    for module in ("restate_lab.actions.plan.store", "restate_lab.cli._output", "restate_lab.client.lab"):
        importlib.import_module(module)  # a fork is cheap once everything is loaded
    runner.SEEN_WITHIN = 60.0  # the processes that run at once make the server slow
    mode, *rest = sys.argv[1:]
    {"race": _race, "kill": _kill}[mode](*rest)


if __name__ == "__main__":
    main()
