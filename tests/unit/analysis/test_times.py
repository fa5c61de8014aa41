"""Times in all forms that people write."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from restate_lab.analysis.times import to_datetime
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30s", 30),
        ("2h", 7200),
        ("2h 30min", 9000),
        ("2h30m", 9000),
        ("1.5 days", 129_600),
        ("500ms", 0.5),
        ("1 Week", 604_800),
        ("PT2H", 7200),
        ("P1DT1M0.5S", 86_460.5),
        (timedelta(minutes=5), 300),
        (pd.Timedelta("5min"), 300),
        ("0s", 0),
        (30, 30),
        (1.5, 1.5),
        (np.int64(2), 2),
    ],
)
def test_durations(given: DurationInput, seconds: float) -> None:
    """Durations are seconds, or as people, ISO 8601 and Python write them."""
    assert to_timedelta(given).total_seconds() == seconds


@pytest.mark.parametrize("huge", [math.inf, 1e300, "9000000000000 days"])
def test_what_is_longer_than_a_timedelta_is_its_maximum(huge: DurationInput) -> None:
    """Infinity and too large durations become the longest timedelta."""
    assert to_timedelta(huge) == timedelta.max


@pytest.mark.parametrize(
    "odd", ["", "h", "30", "1M", "2 fortnights", "-5m", "5m ago", "P", "PT", "1e400s", -1, True, math.nan, pd.NaT, None]
)
def test_what_is_no_duration_is_refused(odd: object) -> None:
    """A text without unit, a capital M, a negative or unknown duration is an error with valid examples."""
    with pytest.raises(ArgumentError, match=r"timeout is .*(30s|2h|negative)"):
        to_timedelta(odd, name="timeout")  # type: ignore[arg-type]


def test_ages_count_back_or_ahead_from_now() -> None:
    """A duration is a time before now, or after it if the parameter looks ahead."""
    assert to_datetime("2h", now=NOW) == NOW - timedelta(hours=2)
    assert to_datetime(timedelta(hours=2), now=NOW, ahead=True) == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    "given",
    [
        "2026-11-25T02:00:00Z",
        "2026-11-25 03:00:00+01:00",
        "2026-11-24T18:00:00.000-08:00",
        datetime(2026, 11, 25, 7, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        pd.Timestamp("2026-11-25T02:00:00Z"),
    ],
)
def test_moments_keep_their_meaning_in_every_zone(given: str | datetime) -> None:
    """A timestamp with a zone is that time, in UTC, whichever direction the parameter looks in."""
    for ahead in (False, True):
        found = to_datetime(given, now=NOW, ahead=ahead)
        assert (found, found.utcoffset()) == (datetime(2026, 11, 25, 2, 0, tzinfo=UTC), timedelta(0))


@pytest.mark.parametrize("naive", ["2026-11-25", "2026-11-25T02:00:00", datetime(2026, 11, 25), pd.Timestamp("2026")])  # noqa: DTZ001
def test_a_moment_without_zone_is_refused(naive: str | datetime) -> None:
    """An ambiguous time is not guessed."""
    with pytest.raises(ArgumentError, match=r"since is .* without a zone"):
        to_datetime(naive, now=NOW, name="since")


@pytest.mark.parametrize("odd", ["2026-13-01T00:00:00Z", "yesterday", pd.NaT, "9000000 days", 30, "-5m"])
def test_what_is_no_time_is_refused(odd: object) -> None:
    """A month 13, a text, a missing value and a time before the year 1 are errors that name the parameter."""
    with pytest.raises(ArgumentError, match="since is"):
        to_datetime(odd, now=NOW, name="since")  # type: ignore[arg-type]
