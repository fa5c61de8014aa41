"""When a panel reads again: no more often than is fair to the server, only while somebody looks, one at a time."""

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

__all__ = ["LOST", "Pace", "Refresher"]

SHARE = 10  # a refresh may cost a tenth of the time
_FIRST_RETRY, _LONGEST = 2.0, 30.0  # seconds
_LONGEST_LIMITED = 300.0
_LOOK = 1.0  # seconds between two looks at whether anybody still looks
_END_WITHIN = 1.0  # seconds that close() waits for a thread

LOST: tuple[type[RestateLabError], ...] = (
    Unreachable, TimedOut, ServerFailed, RateLimited, QueryInterrupted, AccessDenied,
)  # fmt: skip
"""What passes by itself, or with a look at the server: a panel tries again."""


@dataclass(slots=True)
class Pace:
    """How long to wait between two reads; ``every`` is in seconds, None reads only when asked."""

    every: float | None = 5.0
    took: float = 0.0
    failures: int = 0
    wait: float | None = None

    def record_success(self, took: float) -> None:
        """Take what a read cost, in seconds."""
        self.took, self.failures = took, 0
        self.wait = None if self.every is None else max(self.every, SHARE * took)

    def record_failure(self, error: Exception, took: float, *, is_slow: bool = False) -> None:
        """Take that a read failed; what passes by itself is tried again, after 2 s, 4 s, 8 s … up to 30 s.

        ``is_slow`` says that the server answers, and that the query alone took too long. Such a query costs the server
        its whole limit each time, so that its wait goes on growing up to ten times of what it took.
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
    """Calls ``work`` in a thread of its own when asked to, and at its pace while ``is_wanted`` says so.

    There is a thread only while there is something to do; ``work`` must not raise. ``is_wanted`` is asked at each
    look: whether the panel is in sight. ``is_back`` is asked at each look after a failure: whether the server answers
    others again, so that the next read is due at once.
    """

    def __init__(
        self,
        work: Callable[[], None],
        *,
        pace: Pace,
        is_wanted: Callable[[], bool],
        is_back: Callable[[], bool] = lambda: False,
        name: str = "restate-lab panel",
    ) -> None:
        self.pace = pace
        self._work = work
        self._is_wanted = is_wanted
        self._is_back = is_back
        self._name = name
        self._changed = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._due: float | None = None
        self._thread: threading.Thread | None = None
        self._last: threading.Thread | None = None  # the one that ran last, which may be just about to end
        self._ended = False

    def ask(self) -> None:
        """Read soon, in the thread; what is asked while a read is under way is one more read."""
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
        """Go on reading by itself, where that is wanted: the panel came in sight, or was set to live."""
        with self._changed:
            self._go_on()

    def done(self) -> None:
        """Note that a read has ended, whoever made it: the next one is due after the pace's wait."""
        with self._changed:
            self._due = None if self.pace.wait is None else time.monotonic() + self.pace.wait
            self._changed.notify_all()

    def wait(self, timeout: float) -> bool:
        """Wait until all that was asked for so far has been read; return whether it was, in so many seconds."""
        with self._changed:
            target = self._asked
            return self._changed.wait_for(lambda: self._answered >= target or self._ended, timeout)

    def stop(self) -> None:
        """End the thread, and wait for that some seconds at most."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            thread = self._last
        if thread is not None and thread is not threading.current_thread():
            thread.join(_END_WITHIN)

    @property
    def is_running(self) -> bool:
        """Tell whether there is a thread."""
        return self._thread is not None

    def _go_on(self) -> None:
        if self._ended:
            return
        self._changed.notify_all()
        if self._thread is None:
            self._thread = self._last = threading.Thread(target=self._run, name=self._name, daemon=True)
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
        """Wait until a read is due and return what it answers, or None where there is nothing more to do."""
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
