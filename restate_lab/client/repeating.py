"""Reads that are sent again: after which errors, the wait before it, and what a person is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from restate_lab._text import format_duration
from restate_lab.progress import say

__all__ = ["broke_before_answer", "tell", "wait"]

_QUIET_WAIT = 2.0  # seconds; a longer one is shown
_SLICE = 0.25  # seconds between two ticks


def broke_before_answer(error: httpx.TransportError) -> bool:
    """Tell whether a read may be sent again: refused and reset lines pass, a wrong name or certificate does not."""
    if isinstance(error, httpx.TimeoutException):
        return False
    if isinstance(error, httpx.ConnectError):
        return isinstance(error.__cause__, ConnectionError) or "refused" in str(error)
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def tell(seconds: float, asked: str, reason: str, *, waited: float) -> None:
    """Say to who waits why, once that takes long."""
    if seconds > _QUIET_WAIT:
        say(f"{asked}: waiting {format_duration(seconds)} ({reason})")
    elif waited <= _QUIET_WAIT < waited + seconds:
        say(f"{asked}: no answer yet, and it is asked again ({reason})")


def wait(seconds: float, tick: Callable[[], None] | None) -> None:
    """Let some seconds pass; who has gone meanwhile says so in ``tick``."""
    if tick is None:
        time.sleep(seconds)
        return
    while seconds > 0:
        time.sleep(min(seconds, _SLICE))
        tick()
        seconds -= _SLICE
