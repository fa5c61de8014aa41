"""A thread for slow actions that a click starts: one action at a time, ended by ``close()``; and forms with one."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import ipywidgets as widgets

from restate_lab.client.arguments import check_seconds
from restate_lab.durations import DurationInput
from restate_lab.errors import RestateLabError
from restate_lab.source import Source

_END_WITHIN = 15.0  # seconds; a running action ends between two requests and records its results


class Busy(RestateLabError):
    """Another action is running; wait until it ends, or stop it."""


class BackgroundAction:
    """Run one action at a time in a thread; ``stop`` is set when the action must end."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        # Also runs when the interpreter exits, because an action must record its results.
        self._finalizer = weakref.finalize(self, _end, self.stop, self._threads)

    def run(self, work: Callable[[], object]) -> None:
        """Start an action and return at once; ``work`` must not raise.

        Raises:
            Busy: another action is running.
        """
        with self._lock:
            if self._closed:
                return
            if any(thread.is_alive() for thread in self._threads):
                raise Busy("another action is running in this panel; wait until it ends, or stop it.")
            self.stop.clear()
            self._threads[:] = [threading.Thread(target=work, name="restate-lab action", daemon=True)]
            self._threads[0].start()

    def wait(self, timeout: float) -> bool:
        """Wait until the action has ended, at most ``timeout`` seconds; return whether it has."""
        for thread in self._threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Request the end of the action and wait at most 15 seconds for it."""
        self._closed = True
        self._finalizer()


class BackgroundForm(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A form with a button that reads in the background; ``guard`` wraps every handler so that errors are shown."""

    def __init__(self, source: Source, guard: Callable[[Callable[..., object]], Callable[..., None]]) -> None:
        self._source, self._guard = source, guard
        self._background = BackgroundAction()
        super().__init__()

    def wait(self, within: DurationInput) -> bool:
        """Wait at most this time for what is being read; return whether it has ended."""
        return self._background.wait(check_seconds("timeout", within))

    def close(self) -> None:
        """Stop reading and close the widgets."""
        self._background.close()
        super().close()


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(_END_WITHIN)
