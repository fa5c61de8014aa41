"""Convert durations between text ("1d 2h", "500ms", "PT2H") and timedeltas."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from numbers import Real
from typing import TypeAlias

from restate_lab._text import truncate
from restate_lab.errors import ArgumentError

DurationInput: TypeAlias = float | str | timedelta
"""A duration as users pass it: seconds, text such as "30s" or "2h 30min", or a timedelta."""

_MICROSECONDS: dict[str, int | Fraction] = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
    "ns": Fraction(1, 1000),
}
_SPELLINGS = {
    "w": "w wk wks week weeks",
    "d": "d day days",
    "h": "h hr hrs hour hours",
    "m": "m min mins minute minutes",
    "s": "s sec secs second seconds",
    "ms": "ms msec msecs milli millis millisecond milliseconds",
    "us": "us µs μs usec usecs micro micros microsecond microseconds",
    "ns": "ns nsec nsecs nano nanos nanosecond nanoseconds",
}
_UNITS = {spelling: _MICROSECONDS[unit] for unit, line in _SPELLINGS.items() for spelling in line.split()}
ROUND_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600, 2592000, 7776000, 31536000),
)
"""Round durations in seconds, for the ticks of an axis and the bars of a histogram."""
_PART = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-zµμ]+)(?:\s*,\s*|\s+|(?=\d)|$)")
_ISO = re.compile(
    r"P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.IGNORECASE,
)


def parse_duration(text: str) -> timedelta:
    """Return the timedelta of a text such as "1d", "2h 30min", "1day 2h", "500ms" or "PT2H"; it is truncated to 1 µs.

    Months and years are not allowed, because they have no fixed length. A duration that is too long for a timedelta
    becomes ``timedelta.max``.

    Raises:
        ValueError: the text is not a duration, or it is negative.
    """
    clean = text.strip()
    microseconds = _iso_microseconds(clean) if clean[:1] in {"P", "p"} else _friendly_microseconds(clean)
    if microseconds is None:
        raise ValueError(
            f"invalid duration {truncate(text, 40)!r}; use for example '30s', '10m', '2h 30min', '1d', '500ms', 'PT2H'"
        )
    try:
        return timedelta(microseconds=int(microseconds))
    except OverflowError:
        return timedelta.max


def to_timedelta(value: DurationInput, *, name: str = "duration") -> timedelta:
    """Return a duration that a user passed: seconds, "30s", "2h 30min", "1.5 days", ISO 8601's "PT2H", or a timedelta.

    ``name`` is the parameter's name, for messages. A duration that is too long becomes ``timedelta.max``.

    Raises:
        ArgumentError: the value is not a duration, or it is negative.
    """
    duration = _to_timedelta(value)
    if duration is None:
        raise ArgumentError(
            f"{name} is {value!r}; use seconds, a text such as '30s', '2h' or '1d 12h', or a timedelta."
        )
    if duration < timedelta(0):
        raise ArgumentError(f"{name} is {value!r}; a duration must not be negative.")
    return duration


def round_step(span: float, most: int) -> float:
    """Return the shortest round duration that is at most ``most`` times in a span; both are in seconds."""
    return next((step for step in ROUND_STEPS if span / step <= most), ROUND_STEPS[-1])


def seconds_of(text: str, *, name: str) -> float:
    """Return the seconds of a duration from the user as text: "90" is in seconds, "90s" and "5m" have a unit.

    Raises:
        ArgumentError: the text is not a duration, or it is negative.
    """
    try:
        value: DurationInput = float(text)
    except ValueError:
        value = text
    return to_timedelta(value, name=name).total_seconds()


def _to_timedelta(value: object) -> timedelta | None:
    if isinstance(value, timedelta):
        is_missing = value != value  # noqa: PLR0124 (pandas' NaT is not equal to itself)
        return (
            None if is_missing else timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)
        )
    if isinstance(value, bool):
        return None
    if isinstance(value, Real):
        return _seconds(float(value))
    try:
        return parse_duration(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _seconds(value: float) -> timedelta | None:
    try:
        return timedelta(seconds=value)
    except OverflowError:
        return timedelta.max if value > 0 else timedelta.min
    except ValueError:  # not a number
        return None


def to_iso8601(duration: timedelta) -> str:
    """Return a duration in ISO 8601, exact and in seconds ("PT5400.5S"), which every server version accepts."""
    whole, rest = divmod(duration, timedelta(seconds=1))
    fraction = f".{rest.microseconds:06}".rstrip("0") if rest else ""
    return f"PT{whole}{fraction}S"


def _friendly_microseconds(text: str) -> Fraction | None:
    total = Fraction(0)
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        # For the server a capital M is a month; here it would become a minute.
        unit = part["unit"].lower() if part and part["unit"] != "M" else ""
        if part is None or unit not in _UNITS:
            return None
        total += Fraction(part["count"]) * _UNITS[unit]
        at = part.end()
    return total if at else None


def _iso_microseconds(text: str) -> Fraction | None:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groupdict().values()):
        return None
    counts = ((Fraction(count), unit) for unit, count in match.groupdict().items() if count)
    return sum((count * _MICROSECONDS[unit] for count, unit in counts), Fraction(0))
