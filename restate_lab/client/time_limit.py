"""A time limit for the requests of a block: those that no caller can give a timeout, such as reading the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["seconds_left", "time_limit"]

_ENDS: ContextVar[float | None] = ContextVar("ends", default=None)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the requests of this block and thread to what is left of so many seconds, for all of them together."""
    ends, outer = time.monotonic() + seconds, _ENDS.get()
    token = _ENDS.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _ENDS.reset(token)


def seconds_left(limit: float) -> float:
    """Return the seconds that a request may take: ``limit``, or what is left of the block's where that is less."""
    ends = _ENDS.get()
    return limit if ends is None else max(0.0, min(limit, ends - time.monotonic()))
