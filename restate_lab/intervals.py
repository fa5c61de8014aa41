"""Convert SQL intervals (months, days, nanoseconds) to durations if that is exact.

The server's clock and times are UTC, so a day has 24 hours. A month has no fixed length, so an interval with months is
never converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

INTERVAL = pa.month_day_nano_interval()
_PARTS = np.dtype([("months", "i4"), ("days", "i4"), ("nanoseconds", "i8")])  # how Arrow stores one interval
_BILLION = 1_000_000_000
Unit = Literal["ns", "us", "ms", "s"]
_PER_SECOND: dict[Unit, int] = {"ns": _BILLION, "us": 1_000_000, "ms": 1_000, "s": 1}
_MOST = 2**63 - 1  # the smallest int64 is pandas' NaT


def to_durations(column: Any, units: Sequence[Unit] = tuple(_PER_SECOND)) -> Any:
    """Return intervals (a ChunkedArray) as durations, in the first of ``units`` that is exact for every value.

    Return None if an interval has months, or no unit fits all values. With the default units, every interval without
    months fits; ``ns`` fits up to 292 years.
    """
    chunks = [_chunk_seconds(chunk) for chunk in column.chunks]
    if any(chunk is None for chunk in chunks):
        return None
    for unit in units:
        if all(_fits(chunk, unit) for chunk in chunks if chunk is not None):
            kind: Any = pa.duration(unit)
            return pa.chunked_array([_duration_array(chunk, kind) for chunk in chunks if chunk is not None], kind)
    return None


def offset_or_timedelta(value: pa.MonthDayNano) -> pd.Timedelta | pd.DateOffset:
    """Return one interval as a Timedelta (exact to the nanosecond), or as a DateOffset if it has months.

    Raises:
        OverflowError: it has no months and is longer than 292 years, the limit of a Timedelta in nanoseconds.
    """
    months, days, nanoseconds = value
    if months:
        return pd.DateOffset(months=months, days=days, nanoseconds=nanoseconds)
    whole = days * 86_400 * _BILLION + nanoseconds
    if abs(whole) > _MOST:
        raise OverflowError(f"an interval of {days:,} days is longer than 292 years")
    return pd.Timedelta(whole, "ns")


def to_iso8601(months: int, days: int, nanoseconds: int) -> str:
    """Return an interval as an ISO 8601 duration, such as "P1M2DT0.000000003S"; each part keeps its own sign."""
    seconds, rest = divmod(abs(nanoseconds), _BILLION)
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"P{months}M{days}DT{'-' if nanoseconds < 0 else ''}{seconds}{fraction}S"


def holds_intervals(kind: pa.DataType) -> bool:
    """Return whether this is the type of intervals, or a nested type with intervals."""
    return kind == INTERVAL or any(holds_intervals(kind.field(at).type) for at in range(kind.num_fields))


class _ChunkSeconds:
    """The intervals of one chunk: whole seconds, the nanoseconds beyond them, and which are null."""

    def __init__(self, seconds: Any, rest: Any, missing: Any) -> None:
        self.seconds = seconds
        self.rest = rest
        self.missing = missing


def _chunk_seconds(chunk: Any) -> _ChunkSeconds | None:
    """Return the parts of one chunk; None if an interval has months."""
    missing = chunk.is_null().to_numpy(zero_copy_only=False)
    data = chunk.buffers()[1]
    if data is None:
        parts = np.zeros(len(chunk), _PARTS)
    else:
        parts = np.frombuffer(data, _PARTS, count=len(chunk), offset=chunk.offset * _PARTS.itemsize)
        parts = np.where(missing, np.zeros(1, _PARTS), parts)
    if parts["months"].any():
        return None
    seconds, rest = np.divmod(parts["nanoseconds"], _BILLION)
    return _ChunkSeconds(seconds + parts["days"].astype("i8") * 86_400, rest, missing)


def _fits(chunk: _ChunkSeconds, unit: Unit) -> bool:
    """Return whether a unit fits every value: without a remainder, and within 64 bits."""
    per_second = _PER_SECOND[unit]
    counts, beyond = np.divmod(chunk.rest, _BILLION // per_second)
    (low, low_rest), (high, high_rest) = divmod(-_MOST, per_second), divmod(_MOST, per_second)
    is_low = (chunk.seconds < low) | ((chunk.seconds == low) & (counts < low_rest))
    is_high = (chunk.seconds > high) | ((chunk.seconds == high) & (counts > high_rest))
    return not (beyond.any() or is_low.any() or is_high.any())


def _duration_array(chunk: _ChunkSeconds, kind: Any) -> Any:
    per_second = _PER_SECOND[kind.unit]
    # At the lower limit the product wraps around 64 bits, and the sum wraps back.
    counts = chunk.seconds * per_second + chunk.rest // (_BILLION // per_second)
    return pa.array(counts, pa.int64(), mask=chunk.missing).cast(kind)
