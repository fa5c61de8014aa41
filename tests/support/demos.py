"""`restate-lab demo` as a user runs it: in its own process, observed from outside."""

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

from support.starts import wait_until_ended

READY_WITHIN = 130.0
GONE_WITHIN = 30.0


class RunningDemo:
    """One demo in its own temporary folder, which also identifies its processes.

    ``command`` is a ``restate-lab`` other than the one of the tests. It starts in ``tmp``, outside of the checkout.
    """

    def __init__(self, tmp: Path, server: Path, *options: str, command: Path | None = None) -> None:
        self.tmp = tmp
        tmp.mkdir()
        self.output = tmp.with_name(f"{tmp.name}.txt")
        program = [str(command)] if command else [sys.executable, "-c", "from restate_lab.cli import main; main()"]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*program, "demo", *options],
                cwd=tmp if command else None,
                env={**os.environ, "TMPDIR": str(tmp), "RESTATE_LAB_SERVER": str(server)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, pattern: str) -> str:
        """Return the first group of the pattern's match in the output, as soon as it is there."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.output.read_text()):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"the demo did not print {pattern}:\n{self.output.read_text()}")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(GONE_WITHIN)

    def processes(self) -> list[psutil.Process]:
        """Return its processes that still run, kernels and servers included."""
        return processes_in(self.tmp)

    def wait_until_gone(self) -> None:
        wait_until_ended(self.processes(), within=GONE_WITHIN)

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
    """Return the command of a process; "" if it has ended in the meantime."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _variable(process: psutil.Process, name: str) -> str:
    try:
        return process.environ().get(name, "")
    except psutil.Error:
        return ""
