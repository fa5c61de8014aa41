"""Arrow to pandas without losing a digit: exact integers, UTC times, and all columns of empty results."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.errors import DuplicateColumns
from restate_lab.source import DtypeBackend

__all__ = ["distinct", "to_frame"]

# pandas would make floats of integers with nulls (2**53 + 1 loses its last digit) and objects of booleans.
_NULLABLE: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
_ALL_NULLABLE: dict[pa.DataType, Any] = {
    **_NULLABLE,
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.string(): pd.StringDtype(),
    pa.large_string(): pd.StringDtype(),
}
if hasattr(pa, "string_view"):
    _ALL_NULLABLE[pa.string_view()] = pd.StringDtype()


def distinct(schema: pa.Schema) -> pa.Schema:
    """Return the schema with every column name distinct: a second ``id`` becomes ``id_2``, with a warning."""
    doubles = [name for name, times in Counter(schema.names).items() if times > 1]
    if not doubles:
        return schema
    names = _numbered(schema.names)
    warnings.warn(
        f"columns {', '.join(doubles)} came more than once and were numbered: {', '.join(names)}. Use AS to name them.",
        DuplicateColumns,
        stacklevel=2,
    )
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def to_frame(table: pa.Table, dtype_backend: DtypeBackend | None = None) -> pd.DataFrame:
    """Return a DataFrame with the table's columns and rows.

    ``dtype_backend=None`` is exact and plain: numpy types, nullable integers and booleans where there are nulls,
    pandas' default strings, UTC times, durations, Python objects for lists, bytes and JSON values.
    ``"numpy_nullable"`` and ``"pyarrow"`` mean what pandas means by them.
    """
    if dtype_backend not in {None, "numpy_nullable", "pyarrow"}:
        raise ValueError(f"dtype_backend is None, 'numpy_nullable' or 'pyarrow', not {dtype_backend!r}")
    series: dict[str, pd.Series[Any]] = {}
    rows, columns, names = table.num_rows, list(table.columns), table.column_names
    del table  # a column's Arrow memory goes as soon as it is converted
    for name in names:
        series[name] = _series(columns.pop(0), dtype_backend)
    return pd.DataFrame(series, copy=False) if series else pd.DataFrame(index=pd.RangeIndex(rows))


def _series(column: pa.ChunkedArray[Any], dtype_backend: DtypeBackend | None) -> pd.Series[Any]:
    if dtype_backend == "pyarrow":
        return column.to_pandas(types_mapper=pd.ArrowDtype)
    if pa.types.is_timestamp(column.type) and column.type.tz is None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))  # now() and casts: the server's session is UTC
    if pa.types.is_union(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    if dtype_backend == "numpy_nullable":
        return column.to_pandas(types_mapper=_ALL_NULLABLE.get)
    return column.to_pandas(types_mapper=_NULLABLE.get if column.null_count else None)


def _numbered(names: Sequence[str]) -> list[str]:
    taken, given = set(names), list[str]()
    for name in names:
        new, number = name, 2
        while new in given or (new != name and new in taken):
            new, number = f"{name}_{number}", number + 1
        given.append(new)
    return given
