"""A thread for actions that a click starts and that take long: one at a time, ended by ``close()``."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from restate_lab.errors import RestateLabError

__all__ = ["BackgroundAction", "Busy"]

_END_WITHIN = 15.0  # seconds; a running action ends between two requests, and records its results


class Busy(RestateLabError):
    """Wait until the running action has ended, or stop it."""


class BackgroundAction:
    """Runs one action at a time in a thread; ``stop`` is set when the action should end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        # Also when the interpreter exits: an action has to record its results.
        self._finalizer = weakref.finalize(self, _end, self.stop, self._threads)

    def run(self, work: Callable[[], object]) -> None:
        """Start an action, and return at once; ``work`` must not raise.

        Raises:
            Busy: another action is running.
        """
        with self._lock:
            if self._closed:
                return
            if any(thread.is_alive() for thread in self._threads):
                raise Busy("another action is running here: wait until it has ended, or stop it.")
            self.stop.clear()
            self._threads[:] = [threading.Thread(target=work, name="restate-lab action", daemon=True)]
            self._threads[0].start()

    def wait(self, timeout: float) -> bool:
        """Wait until the action has ended, at most ``timeout`` seconds; return whether it has."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Ask the action to end, and wait for that for at most 15 seconds."""
        self._closed = True
        self._finalizer()


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(_END_WITHIN)
