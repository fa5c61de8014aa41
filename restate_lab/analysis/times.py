"""Parse points in time (an age such as "2h", or a timestamp with its zone), and names of time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time as clock_time, timedelta, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo

import pandas as pd

from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError

TimeInput: TypeAlias = str | datetime | timedelta

_FORMATS = (
    "a duration such as '30s', '2h' or '1d 12h', a time of day with its zone such as '14:05Z', or a timestamp with its "
    "zone such as '2026-11-25T03:00:00Z'"
)
_TIMESTAMP = re.compile(r"\s*\d{4}-\d")
_CLOCK = re.compile(r"\s*\d\d:\d\d")
_DAY = timedelta(days=1)


def to_datetime(value: TimeInput, *, now: datetime, ahead: bool = False, name: str = "time") -> datetime:
    """Return a point in time in UTC.

    A duration is subtracted from ``now``, or added to it if ``ahead`` is set. A datetime or an ISO string must have a
    zone. A time of day with its zone ("14:05Z") is the last one before ``now``. ``name`` is used in messages.

    Raises:
        ArgumentError: the value is not a time, has no zone, or is outside of the years 1 to 9999.
    """
    try:
        if isinstance(value, datetime):
            return _to_utc(value, name)
        if isinstance(value, str) and not is_relative(value):
            return _to_utc(datetime.fromisoformat(value.strip()), name)
        if isinstance(value, str) and _CLOCK.match(value):
            return _last(clock_time.fromisoformat(value.strip()), now, name)
        distance = _distance(value)
        return _to_utc(now + distance if ahead else now - distance, name)
    except (OverflowError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{name} is {value!r}: use {_FORMATS}.") from error


def is_relative(value: str) -> bool:
    """Return whether a text is another time tomorrow: a duration or a time of day, and not a timestamp."""
    return _TIMESTAMP.match(value) is None


def to_zone(tz: str | tzinfo) -> tzinfo:
    """Return the time zone with this name.

    Raises:
        ArgumentError: the time zone is unknown.
    """
    if isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ArgumentError(f"unknown time zone {tz!r}; use for example 'UTC', 'Europe/Paris' or a tzinfo.") from error


def _distance(value: object) -> timedelta:
    """Return a duration; a number is refused, because it could be a timestamp."""
    try:
        if isinstance(value, str | timedelta):
            return to_timedelta(value)
    except ArgumentError as error:
        raise ValueError(str(error)) from error
    raise ValueError


def _last(value: clock_time, now: datetime, name: str) -> datetime:
    """Return the last time before ``now`` at which a clock showed a time with its zone."""
    today = _to_utc(datetime.combine(now.astimezone(value.tzinfo).date(), value), name)
    return today if today <= now else today - _DAY


def _to_utc(value: datetime, name: str) -> datetime:
    if pd.isna(value):
        raise ArgumentError(f"{name} is a missing time: use {_FORMATS}.")
    if value.utcoffset() is None:
        raise ArgumentError(f"{name} is {value.isoformat()}, without a zone: append Z, or an offset such as +01:00.")
    return value.astimezone(UTC)
