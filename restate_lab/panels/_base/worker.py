"""One thread for what takes long and was asked for by a click: an action, one at a time, ended by close()."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from restate_lab.errors import RestateLabError

__all__ = ["Apart", "Busy"]

_END_WITHIN = 15.0  # seconds; an action under way ends between two requests, and writes down what it did


class Busy(RestateLabError):
    """Wait until what is under way has ended, or stop it."""


class Apart:
    """Does one thing at a time in a thread; ``stop`` is set where it shall come to an end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        # Also at the interpreter's end: what an action did has to be written down.
        self._finalizer = weakref.finalize(self, _end, self.stop, self._threads)

    def run(self, work: Callable[[], object]) -> None:
        """Start it, and return at once; ``work`` must not raise.

        Raises:
            Busy: something is under way.
        """
        with self._lock:
            if self._closed:
                return
            if any(thread.is_alive() for thread in self._threads):
                raise Busy("something is under way here: wait for it, or stop it.")
            self.stop.clear()
            self._threads[:] = [threading.Thread(target=work, name="restate-lab action", daemon=True)]
            self._threads[0].start()

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; return whether it has, in so many seconds."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Have it end, and wait for that some seconds at most."""
        self._closed = True
        self._finalizer()


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(_END_WITHIN)
