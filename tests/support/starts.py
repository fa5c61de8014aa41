"""The programs of a run: those that all of its workers use, and how many servers and browsers which modules start.

The processes of a run share a folder. A program that all workers use ends with the run, also after ``kill -9``: its
guard watches a pipe in this folder, which only the first process of the run holds open.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from restate_lab.demo.process import GUARD, Process, Stoppable

_FOLDER = "TESTS_RUN"
"""The variable with the path of the folder."""
_PROGRAMS = {"restate-server": "restate-server", "jupyterlab": "JupyterLab"}
"""What a command contains → the name of the program in the summary."""
# The shell ends at once. So the program is not a child of the worker, which may end before the other workers.
_IN_BACKGROUND = 'log=$1; shift; "$@" >"$log" 2>&1 & echo $!'
_ENDS_WITHIN = 20.0  # seconds; the guard kills the program after five
Starts = Counter[tuple[str, str]]
"""(program, module) → how often the module started it."""


def run_folder() -> Path:
    """Return the folder that the processes of the run share."""
    return Path(os.environ[_FOLDER])


def record_starts(patch: pytest.MonkeyPatch, folder: str) -> None:
    """Add each program that `demo.process.Process` starts to the file, and what `note_start` gets."""
    start = Process.__init__

    def recorded(self: Process, command: Sequence[str], **options: Any) -> None:
        for part, program in _PROGRAMS.items():
            if any(Path(word).name == part for word in command):
                note_start(program)
        start(self, command, **options)

    patch.setenv(_FOLDER, folder)
    patch.setattr(Process, "__init__", recorded)


def note_start(program: str) -> None:
    """Add a program that the current test starts."""
    module = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0].removeprefix("tests/")
    with _file_of(run_folder()).open("a") as lines:
        lines.write(f"{program}\t{module}\n")


def _file_of(folder: Path) -> Path:
    return folder / "starts"


def read_starts(folder: str) -> Starts:
    """Return how often each module of the run started each program."""
    file = _file_of(Path(folder))
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter((program, module) for program, _, module in (line.partition("\t") for line in lines))


def describe_starts(starts: Starts) -> list[str]:
    """Return one line per program, with the modules that started it, the most frequent first."""
    lines = []
    for program in sorted({program for program, _ in starts}):
        modules = [(module, count) for (name, module), count in starts.most_common() if name == program]
        total = sum(count for _, count in modules)
        lines.append(f"{total} {program}: " + ", ".join(f"{count} {module}" for module, count in modules))
    return lines


def runs(process: psutil.Process) -> bool:
    """Return whether a process has not ended; one whose parent has ended may be listed for seconds after its end."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until_ended(processes: Sequence[psutil.Process], *, within: float) -> None:
    """Wait until none of the processes runs; ``within`` is in seconds."""
    deadline = time.monotonic() + within
    while running := [process for process in processes if runs(process)]:
        assert time.monotonic() < deadline, running
        time.sleep(0.02)


class RunPrograms(Stoppable):
    """Ends the programs of a run with the process that has this object."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        os.mkfifo(folder / "lifeline")
        self._lifeline = os.open(folder / "lifeline", os.O_RDWR)

    def stop(self) -> None:
        """End the programs; each of them must have ended."""
        os.close(self._lifeline)
        pids = [int(path.read_text()) for path in self._folder.glob("*.pid")]
        guards = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        wait_until_ended(guards, within=_ENDS_WITHIN)


def start_for_run(folder: Path, name: str, command: Sequence[str]) -> Path:
    """Start a program that ends with the run; return the file that gets its output."""
    log = folder / f"{name}.log"
    log.touch()
    watched = os.open(folder / "lifeline", os.O_RDONLY)
    try:
        guarded = [sys.executable, "-I", str(GUARD), str(watched), *command]
        started = subprocess.run(
            ["/bin/sh", "-c", _IN_BACKGROUND, "sh", str(log), *guarded],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(watched,),
            start_new_session=True,
        )
    finally:
        os.close(watched)
    (folder / f"{name}.pid").write_bytes(started.stdout)
    return log
