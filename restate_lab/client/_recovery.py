"""Track when a server has just come back: for some seconds, its responses to queries can lack rows.

Observed on 1.7.12 after a kill and restart: until all partitions have caught up with their logs, after the last error
"shut down or removed", it responds with status 200 and with no rows or only some of them, for up to two seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import httpx

from restate_lab._text import format_duration
from restate_lab.client.responses import ErrorResponse, is_node_change
from restate_lab.progress import notify

_WITHOUT_RESPONSE = "without"  # "without a response" in our transport, "without sending a response" in httpcore
_SETTLES_WITHIN = 3.0  # seconds after the last sign that it was unavailable
_QUIET_WAIT = 2.0  # seconds; a longer wait is shown
_SLICE = 0.25  # seconds between two ticks


class RecoveryTracker:
    """Remembers when a server was last unavailable; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signs: dict[object, float] = {}

    def note(self) -> object:
        """Record a sign that the server is unavailable now, and return it; ``withdraw`` can remove it again."""
        now, sign = time.monotonic(), object()
        with self._lock:
            self._signs = {each: until for each, until in self._signs.items() if until > now}
            self._signs[sign] = now + _SETTLES_WITHIN
        return sign

    def withdraw(self, signs: Iterable[object]) -> None:
        """Remove signs that had another cause."""
        with self._lock:
            for sign in signs:
                self._signs.pop(sign, None)

    def has_others(self, signs: Iterable[object]) -> bool:
        """Return whether there are other recent signs that the server was unavailable."""
        now, known = time.monotonic(), set(signs)
        with self._lock:
            return any(until > now and sign not in known for sign, until in self._signs.items())

    @property
    def seconds_left(self) -> float:
        """Return for how many more seconds a response to a query can lack rows."""
        with self._lock:
            return max(0.0, max(self._signs.values(), default=0.0) - time.monotonic())


def indicates_absence(problem: httpx.TransportError | ErrorResponse) -> bool:
    """Return whether an error means that the server is not running, or has just started."""
    if isinstance(problem, ErrorResponse):
        return problem.status in {502, 503} or is_node_change(problem)
    # Behind a tunnel or a load balancer a connection is not refused: it is reset, or closed without a response.
    return isinstance(problem, httpx.NetworkError | httpx.RemoteProtocolError)


def closed_without_response(error: httpx.TransportError) -> bool:
    """Return whether the server closed the connection normally, without any byte of a response.

    This happens if the worker that handles the request panics. A network failure usually resets the connection, or
    ends it within a response.
    """
    return isinstance(error, httpx.RemoteProtocolError) and _WITHOUT_RESPONSE in str(error)


def may_repeat_read(error: httpx.TransportError) -> bool:
    """Return whether a read may be repeated.

    Refused and reset connections can be temporary; a wrong host name or certificate is permanent.
    """
    if isinstance(error, httpx.TimeoutException):
        return False
    if isinstance(error, httpx.ConnectError):
        return isinstance(error.__cause__, ConnectionError) or "refused" in str(error)
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def report_wait(seconds: float, request_line: str, reason: str, *, waited: float) -> None:
    if seconds > _QUIET_WAIT:
        notify(f"{request_line}: waiting {format_duration(seconds)} ({reason})")
    elif waited <= _QUIET_WAIT < waited + seconds:
        notify(f"{request_line}: no response yet; sending it again ({reason})")


def wait(seconds: float, tick: Callable[[], None] | None) -> None:
    """Wait some seconds; ``tick`` raises if the caller no longer waits."""
    if tick is None:
        time.sleep(seconds)
        return
    while seconds > 0:
        time.sleep(min(seconds, _SLICE))
        tick()
        seconds -= _SLICE
