"""Convert a frame to exact Arrow columns: no integer becomes a float, and values without an Arrow type become JSON."""

from __future__ import annotations

import base64
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab import intervals
from restate_lab._cells import is_missing
from restate_lab._html.table import index_to_columns
from restate_lab._text import join
from restate_lab.errors import ArgumentError, HalfCharacter
from restate_lab.frames import repeated_field
from restate_lab.intervals import INTERVAL, holds_intervals, to_durations

ArrowColumn: TypeAlias = Any
"""A pyarrow.ChunkedArray; the type stubs of pyarrow do not include all of its types."""

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
ATTRS = b"PANDAS_ATTRS"  # the key from which pandas reads a frame's attrs
_JSON = {b"encoding": b"json"}
_HALF = re.compile("[\ud800-\udfff]")  # half of a surrogate pair: a text that was cut within an emoji
_REPLACED = (
    "{names}: a text has half of a character (a lone surrogate), as a text that was cut within an emoji; U+FFFD is "
    "written in its place."
)
_ONE_KIND = (str, bytes, bool, int, float)
_PLAIN: dict[pa.DataType, pa.DataType] = {
    kind(): plain()
    for kind, plain in ((getattr(pa, "string_view", None), pa.string), (getattr(pa, "binary_view", None), pa.binary))
    if kind is not None
}


def to_table(frame: pd.DataFrame | pa.Table, *, for_json: bool = False) -> pa.Table:
    """Return the frame as Arrow columns with distinct names; columns of JSON texts are marked (see ``is_json``).

    The dtypes and attrs of a DataFrame are in the metadata, in the form that pandas reads. Arrow cannot hold half of a
    character (a lone surrogate). ``for_json`` keeps it, in a column of JSON texts; otherwise U+FFFD replaces it.

    Warns:
        HalfCharacter: U+FFFD replaces half of a character.

    Raises:
        ArgumentError: two columns have the same name, or there are no columns.
    """
    whole = frame if isinstance(frame, pa.Table) else index_to_columns(frame)
    names = _column_names(whole)
    metadata: Any = None
    if isinstance(whole, pa.Table):
        outputs = [_simplify(name, column) for name, column in zip(names, whole.columns, strict=True)]
    else:
        outputs = [_convert_series(name, whole.iloc[:, at], for_json=for_json) for at, name in enumerate(names)]
        metadata = _dtype_metadata(whole, names) | _attrs_metadata(whole)
    fields = [
        pa.field(name, each.column.type, metadata=_JSON if each.is_json else None)
        for name, each in zip(names, outputs, strict=True)
    ]
    if replaced := [name for name, each in zip(names, outputs, strict=True) if each.is_replaced]:
        warnings.warn(_REPLACED.format(names=join(map(repr, replaced))), HalfCharacter, stacklevel=4)  # of save()
    return pa.Table.from_arrays([each.column for each in outputs], schema=pa.schema(fields, metadata=metadata))


def is_json(field: pa.Field[Any]) -> bool:
    """Return whether the texts of a column are JSON."""
    return field.metadata == _JSON


def to_json_text(name: str, values: Iterable[Any]) -> ArrowColumn:
    """Return values as JSON texts; missing values become nulls."""
    try:
        return pa.array([None if is_missing(each) else dump_json(to_json_value(each)) for each in values], pa.string())
    except RecursionError as error:
        raise ArgumentError(f"the column {name!r} has a value that is nested too deeply to write.") from error


def dump_json(value: Any) -> str:
    """Return a JSON value as text that can be encoded: half of a character is written as its escape code."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def is_nested(kind: pa.DataType) -> bool:
    """Return whether a value of this type has parts."""
    return kind.num_fields > 0


def is_text(kind: pa.DataType) -> bool:
    """Return whether this is a text type."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def flatten(column: ArrowColumn) -> ArrowColumn:
    """Return a column that is not nested as texts, numbers or booleans."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return to_iso8601(column)
    if pa.types.is_duration(kind):
        return to_seconds(column)
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    texts = [None if value is None else str(to_json_value(value)) for value in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def to_iso8601(column: ArrowColumn) -> ArrowColumn:
    """Return times as ISO texts in the column's precision: in UTC with Z if they have a zone, else unchanged."""
    # Removing the zone by a cast keeps the time in UTC and needs no time zone database.
    texts = pc.replace_substring(column.cast(pa.timestamp(column.type.unit)).cast(pa.string()), " ", "T")
    return texts if column.type.tz is None else pc.binary_join_element_wise(texts, "Z", "")


def to_seconds(column: ArrowColumn) -> ArrowColumn:
    """Return durations in seconds, as the nearest floats."""
    per_second = _PER_SECOND[column.type.unit]
    counts = column.cast(pa.int64()).to_pylist()
    return pa.chunked_array([pa.array([None if n is None else n / per_second for n in counts], pa.float64())])


def to_json_value(value: Any) -> Any:
    """Return a value in a form that ``json.dumps`` writes exactly; numbers that JSON does not have become text."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    for kinds, ready in _JSON_VALUES:
        if isinstance(value, kinds):
            return ready(value)
    return str(value)


def format_interval(value: pa.MonthDayNano | pd.DateOffset) -> str:
    """Return an interval as an ISO 8601 duration; another DateOffset as pandas writes it."""
    if isinstance(value, pa.MonthDayNano):
        return intervals.to_iso8601(*value)
    parts: dict[str, int] = value.kwds
    if value.n != 1 or not set(parts) <= {"months", "days", "nanoseconds"}:
        return str(value)
    return intervals.to_iso8601(parts.get("months", 0), parts.get("days", 0), parts.get("nanoseconds", 0))


@dataclass(frozen=True, slots=True)
class _OutputColumn:
    """A column to write; ``is_json``: its texts are JSON; ``is_replaced``: U+FFFD replaced halves of characters."""

    column: ArrowColumn
    is_json: bool = False
    is_replaced: bool = False


def _column_names(frame: pd.DataFrame | pa.Table) -> list[str]:
    labels: list[Any] = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
    texts = [" ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in labels]
    names = list(map(_without_halves, texts))
    doubles = [name for name, times in Counter(names).items() if times > 1]
    if doubles:
        raise ArgumentError(f"two columns are named {doubles[0]!r}: rename one of them.")
    if not names:
        raise ArgumentError("the frame has no columns, so there is nothing to write.")
    return names


def _convert_series(name: str, series: pd.Series[Any], *, for_json: bool) -> _OutputColumn:
    try:
        array = _to_array(series)
    except UnicodeEncodeError:
        if not for_json:
            whole = pd.Series(map(_without_halves, series), dtype="object")
            return replace(_convert_series(name, whole, for_json=False), is_replaced=True)
        array = None
    except (pa.ArrowException, OverflowError):
        array = None
    if array is None:
        return _OutputColumn(pa.chunked_array([to_json_text(name, list(series))]), is_json=True)
    return _simplify(name, array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]))


def _without_halves(value: Any) -> Any:
    """Return a text, or a list of texts, with U+FFFD for each half of a character; other values do not change."""
    if isinstance(value, list | tuple | np.ndarray):
        return [_without_halves(each) for each in value]
    return _HALF.sub("\ufffd", value) if isinstance(value, str) else value


def _to_array(series: pd.Series[Any]) -> Any:
    """Return a column as an Arrow array; None if its values do not have a common type."""
    if series.dtype != object:
        array: Any = pa.array(series, from_pandas=True)
        is_pandas_own = isinstance(array.type, pa.ExtensionType)  # pandas' periods and intervals
        return pa.array(series.astype(str), pa.string()) if is_pandas_own else array
    values = list(series)
    present = [each for each in values if not is_missing(each)]
    if present and all(type(each) is pd.DateOffset for each in present):
        return pa.array([None if is_missing(each) else format_interval(each) for each in values], pa.string())
    if not _is_of_one_kind(values):
        return None
    return pa.array([None if is_missing(each) else each for each in values])


def _is_of_one_kind(values: list[Any]) -> bool:
    present = [each for each in values if not is_missing(each)]
    if present and all(isinstance(each, list | tuple | np.ndarray) for each in present):
        return _is_of_one_kind([item for each in present for item in each])
    kinds = {type(each) for each in present}
    return len(kinds) <= 1 and kinds <= set(_ONE_KIND)


def _simplify(name: str, column: ArrowColumn) -> _OutputColumn:
    """Return a column without types that most readers do not support."""
    kind = column.type
    if kind == INTERVAL:
        exact = to_durations(column)
        texts = (
            [None if each is None else format_interval(each) for each in column.to_pylist()] if exact is None else []
        )
        return _OutputColumn(pa.chunked_array([pa.array(texts, pa.string())]) if exact is None else exact)
    repeated = repeated_field(kind)
    if repeated is not None:
        raise ArgumentError(
            f"the column {name!r} contains a struct with two fields named {repeated!r}, but a file can store only one "
            f"field of a name: rename one of them."
        )
    if isinstance(kind, pa.BaseExtensionType):
        storage: Any = kind.storage_type
        return _simplify(name, pa.chunked_array([chunk.storage for chunk in column.chunks], type=storage))
    if pa.types.is_dictionary(kind):
        return _simplify(name, column.cast(kind.value_type))
    if pa.types.is_union(kind) or _has_mappings(kind) or holds_intervals(kind):
        return _OutputColumn(pa.chunked_array([to_json_text(name, column.to_pylist())]), is_json=True)
    return _OutputColumn(column.cast(_PLAIN[kind]) if kind in _PLAIN else column)


def _has_mappings(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
        return True
    return any(_has_mappings(kind.field(at).type) for at in range(kind.num_fields))


def _dtype_metadata(frame: pd.DataFrame, names: list[str]) -> dict[bytes, bytes]:
    columns = {at: pd.Series(dtype=dtype if _is_kept(dtype) else object) for at, dtype in enumerate(frame.dtypes)}
    empty = pd.DataFrame(columns).set_axis(names, axis=1)
    return dict(pa.Schema.from_pandas(empty, preserve_index=False).metadata or {})


def _is_kept(dtype: Any) -> bool:
    kinds = pd.api.types
    return bool(
        kinds.is_numeric_dtype(dtype)
        or kinds.is_datetime64_any_dtype(dtype)
        or kinds.is_timedelta64_dtype(dtype)
        or isinstance(dtype, pd.StringDtype)
    )


def _attrs_metadata(frame: pd.DataFrame) -> dict[bytes, bytes]:
    if not frame.attrs:
        return {}
    try:
        return {ATTRS: json.dumps(frame.attrs).encode()}
    except TypeError as error:
        raise ArgumentError(f"frame.attrs must contain only JSON values: {error}.") from error


def _interval_value(value: pa.MonthDayNano) -> str | float:
    return format_interval(value) if value.months else to_json_value(intervals.offset_or_timedelta(value))


def _numpy_value(value: np.generic) -> Any:
    """Return a numpy scalar as a Python value; ``item`` would return times in nanoseconds as integers."""
    if isinstance(value, np.datetime64):
        return to_json_value(pd.Timestamp(value))
    return to_json_value(pd.Timedelta(value) if isinstance(value, np.timedelta64) else value.item())


def _number_value(value: float) -> float | str:
    return value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")


def _datetime_text(value: datetime) -> str:
    return value.isoformat() if value.tzinfo is None else value.astimezone(UTC).isoformat()[:-6] + "Z"


def _item_values(values: Iterable[Any]) -> list[Any]:
    return [to_json_value(each) for each in values]


# The first match is used, and the order matters: a datetime is also a date.
_JSON_VALUES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((bool, int, str), lambda value: value),
    (float, _number_value),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (pa.MonthDayNano, _interval_value),  # before list and tuple, because it is a tuple
    (pd.DateOffset, format_interval),
    (Mapping, lambda value: {str(name): to_json_value(each) for name, each in value.items()}),
    ((list, tuple, np.ndarray), _item_values),
    ((set, frozenset), lambda values: sorted(_item_values(values), key=str)),
    (np.generic, _numpy_value),
    (timedelta, lambda value: value / timedelta(seconds=1)),
    (datetime, _datetime_text),
    ((date, time), lambda value: value.isoformat()),
)
