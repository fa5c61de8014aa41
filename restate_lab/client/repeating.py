"""The wait before a read is sent again, and what a person is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from restate_lab.progress import say

__all__ = ["tell", "wait"]

_QUIET_WAIT = 2.0  # seconds; a longer one is shown
_SLICE = 0.25  # seconds between two ticks


def tell(seconds: float, asked: str, reason: str, *, waited: float) -> None:
    """Say to who waits why, once that takes long."""
    if seconds > _QUIET_WAIT:
        say(f"{asked}: waiting {seconds:.0f} s ({reason})")
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
