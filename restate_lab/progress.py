"""One interface for progress: a line for whatever takes longer than a second.

Below the panels it is tqdm's plain line on stderr; panels hand in a bar of their own.
"""

from __future__ import annotations

import sys
import time
from typing import Protocol

__all__ = ["Progress", "Quiet", "RowsLine", "say"]

DELAY = 1.0  # seconds before anything is shown
EVERY = 0.2  # seconds between two lines


class Progress(Protocol):
    """Told how far a read has come; shows it or not."""

    def update(self, rows: int, size: int) -> None:
        """Take the rows and bytes (``size``) that have come so far, also when nothing new has."""

    def close(self) -> None:
        """Take the line away."""


class Quiet:
    """Shows nothing."""

    def update(self, rows: int, size: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RowsLine:
    """Rows and MB on one line of stderr, once the read has taken longer than a second."""

    def __init__(self, what: str = "reading") -> None:
        self._what = what
        self._started = time.monotonic()
        self._next = self._started + DELAY
        self._bar: _Bar | None = None

    def update(self, rows: int, size: int) -> None:
        """Show the rows and bytes that have come so far."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        if self._bar is None:
            self._bar = _bar(self._what, self._started)
        self._bar.n = rows
        self._bar.set_postfix_str(f"{size / 1e6:,.1f} MB", refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()


class _Bar(Protocol):
    n: float
    start_t: float

    def set_postfix_str(self, s: str, refresh: bool) -> None: ...
    def refresh(self) -> bool | None: ...
    def close(self) -> None: ...


def _bar(what: str, started: float) -> _Bar:
    from tqdm.std import tqdm  # noqa: PLC0415 - only a slow read pays for it

    layout = "{desc}: {n:,} rows{postfix}, {elapsed}"
    bar: _Bar = tqdm(desc=what, bar_format=layout, leave=False, file=sys.stderr, delay=1e-9)
    bar.start_t = time.time() - (time.monotonic() - started)
    return bar


def say(text: str) -> None:
    """Show one line to the person who waits."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - a person reads it
