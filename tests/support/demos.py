"""`restate-lab demo` as a person runs it: a process of its own, watched from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import psutil

READY_WITHIN = 130.0
GONE_WITHIN = 30.0


class RunningDemo:
    """One demo in its own temporary folder, which is also how its processes are told from others'."""

    def __init__(self, tmp: Path, server: Path, *options: str) -> None:
        self.tmp = tmp
        tmp.mkdir()
        self.output = tmp.with_name(f"{tmp.name}.txt")
        command = [sys.executable, "-c", "from restate_lab.cli import main; main()", "demo", *options]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "TMPDIR": str(tmp), "RESTATE_LAB_SERVER": str(server)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> str:
        """Return what the first group of the pattern matched in the output, as soon as it is there."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output.read_text()):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"the demo did not print {pattern}:\n{self.output.read_text()}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the demo alone and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(GONE_WITHIN)

    def processes(self) -> list[psutil.Process]:
        """Return what still runs of it, kernels and servers included."""
        return processes_in(self.tmp)

    def wait_until_gone(self) -> None:
        """Return when nothing of it runs any more."""
        _, alive = psutil.wait_procs(self.processes(), timeout=GONE_WITHIN)
        assert not alive, [command_of(each) for each in alive]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.processes():
            each.kill()
        self.process.wait()


def processes_in(tmp: Path) -> list[psutil.Process]:
    """Return the processes whose folder for temporary files is that one, or in it."""
    return [each for each in psutil.process_iter() if Path(_variable(each, "TMPDIR")).is_relative_to(tmp)]


def command_of(process: psutil.Process) -> str:
    """Return what a process was started with; "" where it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _variable(process: psutil.Process, name: str) -> str:
    try:
        return process.environ().get(name, "")
    except psutil.Error:
        return ""
