"""A server that has just come back: for a moment it answers queries with fewer rows than there are.

Seen on 1.7.12, killed and started again: between its last "shut down or removed" and the moment at which all partitions
have caught up with their logs, it answers 200 with no rows, or with some of them, for up to two seconds.
"""

from __future__ import annotations

import threading
import time

import httpx

from restate_lab.client.failures import Refusal, nodes_change

__all__ = ["Comeback", "was_away"]

_SETTLES_WITHIN = 3.0  # seconds after the last sign that it was away


class Comeback:
    """Remembers when a server was last seen to be away; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trusted_from = 0.0

    def note(self) -> None:
        """Take that it is away at this moment."""
        with self._lock:
            self._trusted_from = time.monotonic() + _SETTLES_WITHIN

    @property
    def left(self) -> float:
        """Return for how many seconds what it answers to a query may be less than there is."""
        with self._lock:
            return max(0.0, self._trusted_from - time.monotonic())


def was_away(said: httpx.TransportError | Refusal) -> bool:
    """Tell whether this is what one gets of a server that does not run, or has just begun to."""
    if isinstance(said, Refusal):
        return said.status in {502, 503} or nodes_change(said)
    # Behind a tunnel or a load balancer nobody refuses: the line is reset, or closed without a word.
    return isinstance(said, httpx.NetworkError | httpx.RemoteProtocolError)
