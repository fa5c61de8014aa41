"""When a panel reads: at a rate that the server can afford, only while the panel is visible, one read at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from restate_lab.errors import (
    AccessDenied,
    QueryInterrupted,
    RateLimited,
    RestateLabError,
    ServerFailed,
    TimedOut,
    Unreachable,
)

SHARE = 10
"""Reading takes at most about one part in so many of the time."""
_FIRST_RETRY, _LONGEST = 2.0, 30.0  # seconds
_LONGEST_LIMITED = 300.0
_OLDEST = 90.0
_LOOK = 1.0  # seconds between two visibility checks
_END_WITHIN = 1.0  # seconds that close() waits for a thread

LOST: tuple[type[RestateLabError], ...] = (
    Unreachable, TimedOut, ServerFailed, RateLimited, QueryInterrupted, AccessDenied,
)  # fmt: skip
"""Errors that can resolve by themselves; the panel tries again."""


@dataclass(slots=True)
class Pace:
    """The time between two reads; ``every`` is in seconds, and None reads only on request.

    Reading takes at most about one part in ``share`` of the time, unless the rows would be older than 90 s; in any case
    it takes at most about one part in ``SHARE``.
    """

    every: float | None = 5.0
    share: int = SHARE
    took: float = 0.0
    failures: int = 0
    wait: float | None = None

    def record_success(self, took: float) -> None:
        """Record the duration of a successful read, in seconds."""
        self.took, self.failures = took, 0
        self.wait = None if self.every is None else max(self.every, SHARE * took, min(self.share * took, _OLDEST))

    def record_failure(self, error: Exception, took: float, *, is_slow: bool = False) -> None:
        """Record a failed read; errors in ``LOST`` are retried after 2 s, 4 s, 8 s … up to 30 s.

        ``is_slow`` means that the server responds but the query took too long. Each such query costs the server its
        full time limit, so the wait grows up to ten times the duration of the read.
        """
        self.took = took
        if not isinstance(error, LOST):
            self.wait = None
            return
        self.failures += 1
        longest = max(_LONGEST, SHARE * took) if is_slow else _LONGEST
        if isinstance(error, RateLimited):
            longest = _LONGEST_LIMITED
        wait = min(_FIRST_RETRY * 2.0 ** min(self.failures - 1, 10), longest)
        self.wait = max(wait, self._asked_for(error))

    def _asked_for(self, error: Exception) -> float:
        asked = getattr(error, "retry_after", None) or 0.0
        return max(asked, self.every or 0.0) if isinstance(error, RateLimited) else asked


class Refresher:
    """Call ``work`` in a thread on request, and at its pace while ``is_wanted`` returns True.

    The thread exists only while there is work; ``work`` must not raise. Each check calls ``is_wanted``: whether the
    panel is visible. Each check after a failure calls ``is_back``: whether the server responds to other reads again, so
    that the next read is due at once.
    """

    def __init__(
        self,
        work: Callable[[], None],
        *,
        pace: Pace,
        is_wanted: Callable[[], bool],
        is_back: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pace = pace
        self._work = work
        self._is_wanted = is_wanted
        self._is_back = is_back
        self._changed = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._due: float | None = None
        self._thread: threading.Thread | None = None
        self._last: threading.Thread | None = None  # the last thread, which can be about to end
        self._ended = False

    def ask(self) -> None:
        """Read soon, in the thread; a request during a read causes one more read."""
        with self._changed:
            self._asked += 1
            self._go_on()

    def set_every(self, every: float | None) -> None:
        """Set the seconds between two reads, or None to read only when asked."""
        with self._changed:
            self.pace.every = every
            if not self.pace.failures:
                self.pace.record_success(self.pace.took)
                self.done()
            self._go_on()

    def wake(self) -> None:
        """Continue automatic reads: the panel became visible, or was set to live."""
        with self._changed:
            self._go_on()

    def done(self) -> None:
        """Record that a read has ended in any thread; the next one is due after the wait of the pace."""
        with self._changed:
            self._due = None if self.pace.wait is None else time.monotonic() + self.pace.wait
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds until all requested reads are done; return whether they are."""
        with self._changed:
            target = self._asked
            return self._changed.wait_for(lambda: self._answered >= target or self._ended, timeout)

    def stop(self) -> None:
        """End the thread; wait a few seconds at most."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            thread = self._last
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_WITHIN)

    @property
    def is_running(self) -> bool:
        """Return whether the thread exists."""
        return self._thread is not None

    def _go_on(self) -> None:
        if self._ended:
            return
        self._changed.notify_all()
        if self._thread is None:
            self._thread = self._last = threading.Thread(target=self._run, name="restate-lab panel", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                target = self._next()
                if target is None:
                    self._thread = None
                    self._changed.notify_all()
                    return
            self._work()
            with self._changed:
                self._answered = max(self._answered, target)
                self._changed.notify_all()

    def _next(self) -> int | None:
        """Wait until a read is due and return the number of the request it serves, or None if there is no work."""
        while not self._ended:
            if self._asked > self._answered:
                return self._asked
            if self._due is None or not self._is_wanted():
                return None
            left = self._due - time.monotonic()
            if left <= 0 or (self.pace.failures and self._is_back()):
                return self._asked
            self._changed.wait(min(left, _LOOK))
        return None
