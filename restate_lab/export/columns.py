"""A frame as Arrow columns that are exact: nothing becomes a float, and what Arrow cannot hold is JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from restate_lab._cells import is_missing
from restate_lab.errors import ArgumentError
from restate_lab.export.values import Column, interval_text, json_ready
from restate_lab.frames import repeated_field
from restate_lab.intervals import INTERVAL, durations, holds_intervals

__all__ = ["is_json", "json_text", "to_table"]

ATTRS = b"PANDAS_ATTRS"  # where pandas' own reader looks for a frame's attrs
_JSON = {b"encoding": b"json"}
_ONE_KIND = (str, bytes, bool, int, float)
_PLAIN: dict[pa.DataType, pa.DataType] = {
    kind(): plain()
    for kind, plain in ((getattr(pa, "string_view", None), pa.string), (getattr(pa, "binary_view", None), pa.binary))
    if kind is not None
}


@dataclass(frozen=True, slots=True)
class _Made:
    """A column as it is written; ``is_json`` says that its texts are JSON."""

    column: Column
    is_json: bool = False


def to_table(frame: pd.DataFrame | pa.Table) -> pa.Table:
    """Return the columns as Arrow ones, under distinct names; what is JSON is marked (``is_json``).

    A DataFrame's dtypes and attrs are in the metadata, where pandas looks for them.

    Raises:
        ArgumentError: names come twice, there are no columns, or a value is no text though it is a str.
    """
    whole = frame if isinstance(frame, pa.Table) else _with_index(frame)
    names = _names(whole)
    metadata: Any = None
    if isinstance(whole, pa.Table):
        made = [_simple(name, column) for name, column in zip(names, whole.columns, strict=True)]
    else:
        made = [_column(name, whole.iloc[:, at]) for at, name in enumerate(names)]
        metadata = _dtypes(whole, names) | _attrs(whole)
    fields = [
        pa.field(name, each.column.type, metadata=_JSON if each.is_json else None)
        for name, each in zip(names, made, strict=True)
    ]
    return pa.Table.from_arrays([each.column for each in made], schema=pa.schema(fields, metadata=metadata))


def is_json(field: pa.Field[Any]) -> bool:
    """Tell whether the texts of a column are JSON."""
    return field.metadata == _JSON


def json_text(name: str, values: Iterable[Any]) -> Column:
    """Return values as JSON texts, the missing ones as nulls."""
    try:
        texts = [None if is_missing(each) else json.dumps(json_ready(each), ensure_ascii=False) for each in values]
        return pa.array(texts, pa.string())
    except UnicodeEncodeError as error:
        raise _no_text(name) from error
    except RecursionError as error:
        raise ArgumentError(f"the column {name!r} has a value that is nested too deeply to be written.") from error


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with an index that says something as its first columns."""
    index = frame.index
    is_numbered = index.empty or pd.api.types.is_integer_dtype(index.dtype)
    if is_numbered and all(name is None for name in index.names):
        return frame.reset_index(drop=True)
    try:
        return frame.reset_index()
    except ValueError as error:
        raise ArgumentError(
            f"the index cannot become a column: {error}. Rename it, or reset_index(drop=True)."
        ) from error


def _attrs(frame: pd.DataFrame) -> dict[bytes, bytes]:
    if not frame.attrs:
        return {}
    try:
        return {ATTRS: json.dumps(frame.attrs).encode()}
    except TypeError as error:
        raise ArgumentError(f"frame.attrs must hold JSON values: {error}.") from error


def _names(frame: pd.DataFrame | pa.Table) -> list[str]:
    labels: list[Any] = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
    names = [" ".join(map(str, label)) if isinstance(label, tuple) else str(label) for label in labels]
    doubles = [name for name, times in Counter(names).items() if times > 1]
    if doubles:
        raise ArgumentError(f"the column {doubles[0]!r} is there twice: rename one.")
    if not names:
        raise ArgumentError("the frame has no columns, so there is nothing to write.")
    return names


def _dtypes(frame: pd.DataFrame, names: list[str]) -> dict[bytes, bytes]:
    """Return pandas' own note of the dtypes, by which it reads nullable integers as such."""
    kept = {at: pd.Series(dtype=dtype if _is_kept(dtype) else object) for at, dtype in enumerate(frame.dtypes)}
    empty = pd.DataFrame(kept).set_axis(names, axis=1)
    return dict(pa.Schema.from_pandas(empty, preserve_index=False).metadata or {})


def _is_kept(dtype: Any) -> bool:
    kinds = pd.api.types
    return bool(
        kinds.is_numeric_dtype(dtype)
        or kinds.is_datetime64_any_dtype(dtype)
        or kinds.is_timedelta64_dtype(dtype)
        or isinstance(dtype, pd.StringDtype)
    )


def _column(name: str, series: pd.Series[Any]) -> _Made:
    try:
        made = _array(series)
    except UnicodeEncodeError as error:
        raise _no_text(name) from error
    except (pa.ArrowException, OverflowError):
        made = None
    if made is None:
        return _Made(pa.chunked_array([json_text(name, list(series))]), is_json=True)
    return _simple(name, made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made]))


def _array(series: pd.Series[Any]) -> Any:
    """Return a column as Arrow has it, or None where it has no one type for it."""
    if series.dtype != object:
        made: Any = pa.array(series, from_pandas=True)
        is_pandas_own = isinstance(made.type, pa.ExtensionType)  # periods and intervals
        return pa.array(series.astype(str), pa.string()) if is_pandas_own else made
    values = list(series)
    there = [each for each in values if not is_missing(each)]
    if there and all(type(each) is pd.DateOffset for each in there):
        return pa.array([None if is_missing(each) else interval_text(each) for each in values], pa.string())
    if not _is_of_one_kind(values):
        return None
    return pa.array([None if is_missing(each) else each for each in values])


def _simple(name: str, column: Column) -> _Made:
    """Return a column without the types that few readers have."""
    kind = column.type
    if kind == INTERVAL:
        exact = durations(column)
        texts = [None if each is None else interval_text(each) for each in column.to_pylist()] if exact is None else []
        return _Made(pa.chunked_array([pa.array(texts, pa.string())]) if exact is None else exact)
    twice = repeated_field(kind)
    if twice is not None:
        raise ArgumentError(
            f"the column {name!r} holds a struct with two fields named {twice!r}, and a file can hold only one of "
            f"them: give the fields different names."
        )
    if isinstance(kind, pa.BaseExtensionType):
        kept: Any = kind.storage_type
        return _simple(name, pa.chunked_array([chunk.storage for chunk in column.chunks], type=kept))
    if pa.types.is_dictionary(kind):
        return _simple(name, column.cast(kind.value_type))
    if pa.types.is_union(kind) or _has_mappings(kind) or holds_intervals(kind):
        return _Made(pa.chunked_array([json_text(name, column.to_pylist())]), is_json=True)
    return _Made(column.cast(_PLAIN[kind]) if kind in _PLAIN else column)


def _has_mappings(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
        return True
    return any(_has_mappings(kind.field(at).type) for at in range(kind.num_fields))


def _is_of_one_kind(values: list[Any]) -> bool:
    """Tell whether Arrow has one plain type for these objects: texts, bytes, numbers, or lists of such."""
    there = [each for each in values if not is_missing(each)]
    if there and all(isinstance(each, list | tuple | np.ndarray) for each in there):
        return _is_of_one_kind([item for each in there for item in each])
    kinds = {type(each) for each in there}
    return len(kinds) <= 1 and kinds <= set(_ONE_KIND)


def _no_text(name: str) -> ArgumentError:
    return ArgumentError(
        f"the column {name!r} has half a character (a lone surrogate), which is no text: "
        f"frame[{name!r}].map(lambda s: s.encode(errors='replace').decode()) takes it out."
    )
