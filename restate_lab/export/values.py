"""Values as text formats have them: times as ISO, durations as seconds, bytes as base64, the nested as JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab import intervals

__all__ = ["Column", "flat", "interval_text", "is_nested", "is_text", "iso", "json_ready", "seconds"]

Column: TypeAlias = Any
"""A pyarrow.ChunkedArray: its stubs know fewer of its types than it does."""


_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def is_nested(kind: pa.DataType) -> bool:
    """Tell whether a value of this type has parts."""
    return kind.num_fields > 0


def flat(column: Column) -> Column:
    """Return a column that is not nested as texts, numbers or booleans."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return iso(column)
    if pa.types.is_duration(kind):
        return seconds(column)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    texts = [None if value is None else str(json_ready(value)) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def iso(column: Column) -> Column:
    """Return times as ISO texts in the column's own precision: with a zone in UTC with Z, without one as they are."""
    # The cast to no zone keeps the moment in UTC, and needs no database of zones.
    texts = pc.replace_substring(column.cast(pa.timestamp(column.type.unit)).cast(pa.string()), " ", "T")
    return texts if column.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")


def seconds(column: Column) -> Column:
    """Return durations in seconds, as the floats nearest to them."""
    per_second = _PER_SECOND[column.type.unit]
    counts = column.cast(pa.int64()).to_pylist()
    return pa.chunked_array([pa.array([None if n is None else n / per_second for n in counts], pa.float64())])


def json_ready(value: Any) -> Any:
    """Return a value as ``json.dumps`` takes it, exactly; what JSON has no number for is text."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    for kinds, ready in _READY:
        if isinstance(value, kinds):
            return ready(value)
    return str(value)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether this is a type of texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def interval_text(value: pa.MonthDayNano | pd.DateOffset) -> str:
    """Return an interval as an ISO 8601 duration; another DateOffset as pandas writes it."""
    if isinstance(value, pa.MonthDayNano):
        return intervals.iso(*value)
    parts: dict[str, int] = value.kwds
    if value.n != 1 or not set(parts) <= {"months", "days", "nanoseconds"}:
        return str(value)
    return intervals.iso(parts.get("months", 0), parts.get("days", 0), parts.get("nanoseconds", 0))


def _interval(value: pa.MonthDayNano) -> str | float:
    return interval_text(value) if value.months else json_ready(intervals.offset_or_timedelta(value))


def _numpy(value: np.generic) -> Any:
    """Return numpy's scalar as Python has it; its times in nanoseconds would be integers there."""
    if isinstance(value, np.datetime64):
        return json_ready(pd.Timestamp(value))
    return json_ready(pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item())


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")


def _moment(value: datetime) -> str:
    return value.isoformat() if value.tzinfo is None else value.astimezone(UTC).isoformat()[:-6] + "Z"


def _items(values: Iterable[Any]) -> list[Any]:
    return [json_ready(each) for each in values]


# The first that fits: a datetime is a date, too.
_READY: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((bool, int, str), lambda value: value),
    (float, _number),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (pa.MonthDayNano, _interval),  # a tuple, too
    (pd.DateOffset, interval_text),
    (Mapping, lambda value: {str(name): json_ready(each) for name, each in value.items()}),
    ((list, tuple, np.ndarray), _items),
    ((set, frozenset), lambda values: sorted(_items(values), key=str)),
    (np.generic, _numpy),
    (timedelta, lambda value: value / timedelta(seconds=1)),
    (datetime, _moment),
    ((date, time), lambda value: value.isoformat()),
)
