"""Watchers as processes that can be killed: ``python watchers.py`` forks ``restate-lab watch`` for each line on stdin.

The parent imports everything once, so each watcher is a new process within milliseconds. A line is a JSON list of the
variables of Restate and the command's arguments. The parent prints "pid <pid>", and "exit <pid> <code>" when a watcher
has ended.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Watchers:
    """Starts watchers; one at a time."""

    process: subprocess.Popen[str]
    pid: int | None = None
    """The watcher that runs; None if it has ended."""

    def start(self, *arguments: str) -> int:
        assert self.process.stdin is not None
        settings = {name: value for name, value in os.environ.items() if name.startswith("RESTATE_")}
        self.process.stdin.write(f"{json.dumps([settings, *arguments])}\n")
        self.process.stdin.flush()
        self.pid = int(self._words()[1])
        return self.pid

    def wait(self) -> int:
        """Return the exit code of the watcher, once it has ended."""
        code = int(self._words()[2])
        self.pid = None
        return code

    def end(self) -> None:
        """Kill the watcher if it still runs, because its test has failed."""
        if self.pid is not None:
            self.kill(self.pid)

    def kill(self, pid: int) -> None:
        """Kill a watcher as a power cut does."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def _words(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()


@contextlib.contextmanager
def running_watchers(folder: Path) -> Iterator[Watchers]:
    """Give a parent of watchers; their output is in ``folder / "watch.log"``."""
    with (
        (folder / "watch.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Watchers(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(30)


def main() -> None:
    """Fork watchers until stdin is closed."""
    from restate_lab.cli import app

    for module in (
        "alerts.delivery",
        "alerts.metrics",
        "alerts.reader",
        "alerts.watcher",
        "cli._page",
        "cli.shell_code",
        "history.cluster",
    ):
        importlib.import_module(f"restate_lab.{module}")
    lock = threading.Lock()  # a thread that prints during a fork would leave its lock to the child
    for line in sys.stdin:
        with lock:
            pid = os.fork()
            if pid == 0:
                os.dup2(2, 1)
                code = 1
                try:
                    settings, *arguments = json.loads(line)
                    os.environ.update(settings)
                    app(["watch", *arguments], prog_name="restate-lab")
                except SystemExit as ended:
                    code = int(ended.code or 0)
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            say(f"pid {pid}")
        threading.Thread(target=wait, args=(pid, lock)).start()


def wait(pid: int, lock: threading.Lock) -> None:
    _, status = os.waitpid(pid, 0)
    with lock:
        say(f"exit {pid} {os.waitstatus_to_exitcode(status)}")


def say(line: str) -> None:
    os.write(sys.__stdout__.fileno(), f"{line}\n".encode())  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
