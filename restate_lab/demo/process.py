"""Start a program in the background and make sure that it ends when this process ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

GUARD = Path(__file__).with_name("process_guard.py")
GRACE = 10.0  # seconds from SIGTERM to SIGKILL


class Stoppable(ABC):
    """A program that a ``with`` statement stops at its end."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the program; further calls do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Process(Stoppable):
    """A program in its own process group, started by a guard process; it ends with ``stop()`` or with this process."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        cwd: Path | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        """Start the command; ``log`` gets its output. The command names inherited descriptors as ``--fd N``."""
        self.log = log
        watched, self._lifeline = os.pipe()
        try:
            with log.open("ab") as output:
                self._guard = subprocess.Popen(
                    [sys.executable, "-I", str(GUARD), str(watched), *command],
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(watched, *pass_fds),
                    # Ctrl-C in the terminal must reach only the parent, which stops its programs in order.
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(watched)

    @property
    def pid(self) -> int:
        """Return the ID of the process group."""
        return self._guard.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of the program, or None while it runs."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the program has ended and return its exit code; ``timeout`` is in seconds."""
        return self._guard.wait(timeout)

    def last_lines(self, count: int = 15) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])

    def stop(self) -> None:
        """Stop the program with SIGTERM, and with SIGKILL after ten seconds; do nothing if it has ended."""
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
        try:
            self._guard.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._guard.wait()
        if self._guard.returncode < 0:
            # The guard itself was killed, so the program may still run.
            self._signal(signal.SIGKILL)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._guard.pid, number)
