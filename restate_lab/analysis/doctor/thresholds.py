"""The thresholds of the checks, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from restate_lab._public import did_you_mean, nearest_names, public
from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError


@public
@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits from which the checks of ``doctor`` report a problem; ages are counted from the last progress."""

    # A short network failure causes two or three failed attempts within seconds and then recovers.
    attempts: int = 3
    failing_for: timedelta = timedelta(seconds=5)
    # The default retry policy of Restate waits at most one minute. An invocation that waits more than ten minutes has a
    # policy of its own and is stuck until its next attempt, even if it has failed only once.
    next_attempt: timedelta = timedelta(minutes=10)
    # So many failures in the same step have a common cause.
    storm: int = 5
    # A few queued calls for a key are normal; ten are not.
    queue: int = 3
    long_queue: int = 10
    # The restate CLI uses the same limits: one minute is unusual, and after ten minutes users notice.
    waiting: timedelta = timedelta(minutes=1)
    waiting_long: timedelta = timedelta(minutes=10)
    # All others get at most a fifth of the slots or places.
    dominance: float = 0.8
    # The scheduler starts a ready invocation within milliseconds, or it reports what the invocation waits for.
    ready_for: timedelta = timedelta(minutes=1)
    # The server removes completed invocations once an hour; since 1.8 it removes many at a slower pace.
    cleanup: timedelta = timedelta(hours=2)
    # Programs resolve an awakeable within seconds and people within an hour; if its ID is lost, it is never resolved.
    awakeable: timedelta = timedelta(hours=1)
    # If enough invocations of a handler succeeded, an awakeable is too old after this many times their median duration.
    answered: int = 20
    proportion: float = 100.0
    # The rate is that of the web UI. A rate of fewer than three failures of the same kind is not meaningful.
    failures: int = 3
    failure_rate: float = 0.1
    # The failures of one hour are counted separately: a short burst is hidden in the totals of a day.
    recent: timedelta = timedelta(hours=1)
    # A user notices a delay of two seconds.
    slow: timedelta = timedelta(seconds=2)
    slower_than_others: float = 3.0
    slow_samples: int = 5
    # An hour is longer than any timeout between services.
    attempt: timedelta = timedelta(hours=1)
    # Every attempt reads the whole journal and receives the whole state of its key.
    journal_entries: int = 250
    journal_outlier: float = 10.0
    state_bytes: int = 64 * 1024
    # The time that a person needs to examine or freeze the data.
    expires_within: timedelta = timedelta(hours=1)
    # SDKs released since 2025 support at least this version.
    protocol: int = 5
    # At most this many suspended and this many pending invocations are read; the diagnosis reports how many are not.
    waits: int = 150_000
    # At most this many runs of agents that are in flight, and as many that ended recently, are examined.
    agent_runs: int = 500
    # A model may call a tool twice with equal arguments; three times in one run is a loop.
    agent_repeats: int = 3
    # A model often corrects its arguments after one failure of a tool.
    agent_failures: int = 2
    # A response takes seconds. A client that retries by itself waits for minutes and records nothing.
    agent_call: timedelta = timedelta(minutes=1)
    # A median of fewer runs is not meaningful, and a run with fewer tokens costs little.
    agent_samples: int = 5
    agent_tokens: int = 20_000
    agent_outlier: float = 10.0

    @property
    def slow_ms(self) -> int:
        """Return ``slow`` in milliseconds."""
        return round(self.slow.total_seconds() * 1000)


def thresholds_of(overrides: Mapping[str, Any] | None) -> Thresholds:
    """Return the thresholds with these overrides; a duration is text such as "30s" or "2h", or a timedelta.

    Raises:
        ArgumentError: a threshold is unknown, or a value is invalid.
    """
    defaults = Thresholds()
    known = [each.name for each in fields(Thresholds)]
    for name in overrides or {}:
        if name not in known:
            hint = did_you_mean(nearest_names(name, known)) or f"Choose from {', '.join(known)}."
            raise ArgumentError(f"unknown threshold {name!r}. {hint}")
    values = {name: _value(name, value, getattr(defaults, name)) for name, value in (overrides or {}).items()}
    return replace(defaults, **values)


def _value(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, timedelta):
        return to_timedelta(value, name=name)
    kinds = (int,) if isinstance(default, int) else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or not value >= 0:
        raise ArgumentError(f"invalid {name} {value!r}; use a number of 0 or more, for example {default!r}.")
    return type(default)(value)
