"""Every number that a check judges by, with its reason."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from restate_lab._public import public
from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError

__all__ = ["Thresholds", "thresholds_of"]


@public
@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is normal where no operator has set other values; ages count from the last progress."""

    # A connection that is lost for a moment costs two or three attempts within seconds, and mends itself.
    attempts: int = 3
    failing_for: timedelta = timedelta(seconds=5)
    # Back-offs of Restate's own policy end at one minute. An invocation that is tried again later than in ten has a
    # policy of its own and is stuck until then, however seldom it has failed.
    next_attempt: timedelta = timedelta(minutes=10)
    # So many at the same step are not bad luck of one of them.
    storm: int = 5
    # A few calls behind a key are its everyday life; ten are people waiting for people.
    queue: int = 3
    long_queue: int = 10
    # As the restate CLI marks ages: a minute is unusual; after ten somebody has noticed.
    waiting: timedelta = timedelta(minutes=1)
    waiting_long: timedelta = timedelta(minutes=10)
    # Machines answer within seconds and people within the hour; whoever lost an awakeable's id can never answer.
    awakeable: timedelta = timedelta(hours=1)
    # Where so many of a handler have ended, so many times what they take is out of all proportion.
    answered: int = 20
    proportion: float = 100.0
    # The web UI's threshold; with fewer than three alike a share says nothing.
    failures: int = 3
    failure_rate: float = 0.1
    # A burst drowns in what a day retains.
    recent: timedelta = timedelta(hours=1)
    # Two seconds are what somebody in front of a screen notices.
    slow: timedelta = timedelta(seconds=2)
    slower_than_others: float = 3.0
    slow_samples: int = 5
    # Longer than any time limit that services use between themselves.
    attempt: timedelta = timedelta(hours=1)
    # Every attempt reads the whole journal and is sent the whole state of its key.
    journal_entries: int = 250
    journal_outlier: float = 10.0
    state_bytes: int = 64 * 1024
    # The time that it takes to look at it, or to freeze it.
    expires_within: timedelta = timedelta(hours=1)
    # What SDKs since 2025 speak at least.
    protocol: int = 5
    # Suspended and pending invocations whose waits are read, each; what is left out is said.
    waits: int = 150_000

    @property
    def slow_ms(self) -> int:
        """Return ``slow`` in milliseconds."""
        return round(self.slow.total_seconds() * 1000)


def thresholds_of(overrides: Mapping[str, Any] | None) -> Thresholds:
    """Return the thresholds with these overrides; durations as "30s", "2h" or a timedelta.

    Raises:
        ArgumentError: there is no such threshold, or a value does not fit.
    """
    defaults = Thresholds()
    known = [each.name for each in fields(Thresholds)]
    for name in overrides or {}:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
            raise ArgumentError(f"there is no threshold {name!r}; the nearest: {', '.join(nearest)}.")
    values = {name: _value(name, value, getattr(defaults, name)) for name, value in (overrides or {}).items()}
    return replace(defaults, **values)


def _value(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, timedelta):
        return to_timedelta(value, name=name)
    kinds = (int,) if isinstance(default, int) else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not value >= 0:
        raise ArgumentError(f"{name} is {value!r}: give a number such as {default!r}, zero or more.")
    return type(default)(value)
