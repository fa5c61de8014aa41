"""A server that has just come back: for a moment it answers queries with fewer rows than there are.

Seen on 1.7.12, killed and started again: between its last "shut down or removed" and the moment at which all partitions
have caught up with their logs, it answers 200 with no rows, or with some of them, for up to two seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import httpx

from restate_lab._text import format_duration
from restate_lab.client.responses import ErrorResponse, is_node_change
from restate_lab.progress import notify

__all__ = ["RecoveryTracker", "closed_without_response", "indicates_absence", "may_repeat_read", "report_wait", "wait"]

_WITHOUT_RESPONSE = "without"  # "an answer", says our transport; "sending a response", says httpcore
_SETTLES_WITHIN = 3.0  # seconds after the last sign that it was away
_QUIET_WAIT = 2.0  # seconds; a longer one is shown
_SLICE = 0.25  # seconds between two ticks


class RecoveryTracker:
    """Remembers when a server was last away; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signs: dict[object, float] = {}

    def note(self) -> object:
        """Note that it is away now; the returned sign is for ``withdraw``."""
        now, sign = time.monotonic(), object()
        with self._lock:
            self._signs = {each: until for each, until in self._signs.items() if until > now}
            self._signs[sign] = now + _SETTLES_WITHIN
        return sign

    def withdraw(self, signs: Iterable[object]) -> None:
        """Forget signs that turned out to have another cause."""
        with self._lock:
            for sign in signs:
                self._signs.pop(sign, None)

    def has_others(self, signs: Iterable[object]) -> bool:
        """Return whether there are signs beside these that it was away a moment ago."""
        now, known = time.monotonic(), set(signs)
        with self._lock:
            return any(until > now and sign not in known for sign, until in self._signs.items())

    @property
    def seconds_left(self) -> float:
        """Return for how many seconds what it answers to a query may be less than there is."""
        with self._lock:
            return max(0.0, max(self._signs.values(), default=0.0) - time.monotonic())


def indicates_absence(problem: httpx.TransportError | ErrorResponse) -> bool:
    """Return whether this is an error of a server that does not run, or has just started."""
    if isinstance(problem, ErrorResponse):
        return problem.status in {502, 503} or is_node_change(problem)
    # Behind a tunnel or a load balancer nobody refuses: the line is reset, or closed without a word.
    return isinstance(problem, httpx.NetworkError | httpx.RemoteProtocolError)


def closed_without_response(error: httpx.TransportError) -> bool:
    """Tell whether the server closed the connection in order, without a byte of a response to the request.

    A panic of the worker that has the request does this. A line that breaks mostly resets it, or cuts an answer.
    """
    return isinstance(error, httpx.RemoteProtocolError) and _WITHOUT_RESPONSE in str(error)


def may_repeat_read(error: httpx.TransportError) -> bool:
    """Tell whether a read may be sent again: refused and reset lines pass, a wrong name or certificate does not."""
    if isinstance(error, httpx.TimeoutException):
        return False
    if isinstance(error, httpx.ConnectError):
        return isinstance(error.__cause__, ConnectionError) or "refused" in str(error)
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def report_wait(seconds: float, request_line: str, reason: str, *, waited: float) -> None:
    """Tell the user why a call waits, once that takes long."""
    if seconds > _QUIET_WAIT:
        notify(f"{request_line}: waiting {format_duration(seconds)} ({reason})")
    elif waited <= _QUIET_WAIT < waited + seconds:
        notify(f"{request_line}: no answer yet, and it is asked again ({reason})")


def wait(seconds: float, tick: Callable[[], None] | None) -> None:
    """Let some seconds pass; ``tick`` raises where the caller has gone meanwhile."""
    if tick is None:
        time.sleep(seconds)
        return
    while seconds > 0:
        time.sleep(min(seconds, _SLICE))
        tick()
        seconds -= _SLICE
