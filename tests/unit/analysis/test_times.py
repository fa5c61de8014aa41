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
def test_durations_are_seconds_or_texts_of_people_iso_8601_and_python(given: DurationInput, seconds: float) -> None:
    assert to_timedelta(given).total_seconds() == seconds


@pytest.mark.parametrize("huge", [math.inf, 1e300, "9000000000000 days"])
def test_infinite_and_too_large_durations_become_the_longest_timedelta(huge: DurationInput) -> None:
    assert to_timedelta(huge) == timedelta.max


@pytest.mark.parametrize(
    "odd", ["", "h", "30", "1M", "2 fortnights", "-5m", "5m ago", "P", "PT", "1e400s", -1, True, math.nan, pd.NaT, None]
)
def test_an_invalid_duration_is_an_error_with_valid_examples(odd: object) -> None:
    with pytest.raises(ArgumentError, match=r"timeout is .*(30s|2h|negative)"):
        to_timedelta(odd, name="timeout")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clock", "last"),
    [
        ("02:59Z", "2026-11-25T02:59:00Z"),
        ("03:01Z", "2026-11-24T03:01:00Z"),
        ("03:30:15+01:00", "2026-11-25T02:30:15Z"),
        ("23:00-05:00", "2026-11-24T04:00:00Z"),
    ],
)
def test_a_time_of_day_is_the_last_one_in_its_zone(clock: str, last: str) -> None:
    assert to_datetime(clock, now=NOW) == datetime.fromisoformat(last)


@pytest.mark.parametrize("clock", ["14:05", "25:00Z", "14:05 o'clock"])
def test_a_time_of_day_needs_its_zone(clock: str) -> None:
    with pytest.raises(ArgumentError, match="time is "):
        to_datetime(clock, now=NOW)


def test_a_duration_is_a_time_before_now_or_after_it_if_ahead() -> None:
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
def test_a_timestamp_with_a_zone_is_converted_to_utc(given: str | datetime) -> None:
    for ahead in (False, True):
        found = to_datetime(given, now=NOW, ahead=ahead)
        assert (found, found.utcoffset()) == (datetime(2026, 11, 25, 2, 0, tzinfo=UTC), timedelta(0))


@pytest.mark.parametrize("naive", ["2026-11-25", "2026-11-25T02:00:00", datetime(2026, 11, 25), pd.Timestamp("2026")])  # noqa: DTZ001
def test_a_timestamp_without_a_zone_is_refused(naive: str | datetime) -> None:
    with pytest.raises(ArgumentError, match=r"since is .* without a zone"):
        to_datetime(naive, now=NOW, name="since")


@pytest.mark.parametrize("odd", ["2026-13-01T00:00:00Z", "yesterday", pd.NaT, "9000000 days", 30, "-5m"])
def test_an_invalid_time_is_an_error_that_names_the_parameter(odd: object) -> None:
    with pytest.raises(ArgumentError, match="since is"):
        to_datetime(odd, now=NOW, name="since")  # type: ignore[arg-type]
