"""How many rows of a file may be decoded at once: a small file can hold a large value for each of many rows.

A value stands once in a column's dictionary, and a thousand times in the rows that are decoded from it. No more rows
are taken at once than have room in a fixed number of bytes, so that ``max_bytes`` can stop the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["ROWS_AT_ONCE", "encodings_of", "rows_at_once", "text_paths"]

ROWS_AT_ONCE = 8192
_BYTES_AT_ONCE = 256 << 20
_MOST_BYTES = 1 << 30  # of one row's value in one column
_WIDTH = 8  # bytes of a number, of which a list can have many


def text_paths(file: pq.ParquetFile) -> list[str]:
    """Return the paths of the columns, also within lists, that are text or bytes."""
    columns = (file.schema.column(at) for at in range(len(file.schema)))
    return [each.path for each in columns if each.physical_type == "BYTE_ARRAY"]


def encodings_of(file: pq.ParquetFile) -> set[str]:
    """Return how the values of all columns are encoded."""
    return {each for chunks in _chunks(file) for chunk in chunks for each in chunk.encodings}


def rows_at_once(file: pq.ParquetFile) -> int:
    """Return how many rows may be decoded at once; 8,192 at most.

    ``file`` was opened with ``read_dictionary=`` its text paths.

    Raises:
        pa.ArrowInvalid: a value is larger than 1 GB.
    """
    largest = 1
    for at, chunks in enumerate(_chunks(file)):
        rows = file.metadata.row_group(at).num_rows
        if not rows:
            continue
        each_has = max((-(-chunk.num_values // rows) for chunk in chunks), default=1)
        told = max((chunk.total_uncompressed_size // rows for chunk in chunks), default=0)
        largest = max(largest, told, _WIDTH * each_has)
        if largest < _BYTES_AT_ONCE:
            # One row brings the whole dictionary, and nothing else is decoded.
            first = next(file.iter_batches(batch_size=1, row_groups=[at]), None)
            if first is None:
                raise pa.ArrowInvalid(f"row group {at} says that it has {rows:,} rows, and no row can be read")
            largest = max([largest, *(each_has * _longest(each) for each in first.columns)])
        if largest > _MOST_BYTES:
            raise pa.ArrowInvalid(f"a value has {largest:,} bytes, and {_MOST_BYTES:,} are the most")
    return max(1, min(ROWS_AT_ONCE, _BYTES_AT_ONCE // largest))


def _chunks(file: pq.ParquetFile) -> Iterator[list[Any]]:
    for at in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(at)
        yield [group.column(each) for each in range(group.num_columns)]


def _longest(values: Any) -> int:
    """Return the length of the longest text in the dictionaries of a column, and of what lies within it."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        lengths: Any = pc.binary_length(values.dictionary)
        return int(pc.max(lengths).as_py() or 0)
    if pa.types.is_struct(kind):
        return max((_longest(values.field(at)) for at in range(kind.num_fields)), default=0)
    return _longest(values.values) if hasattr(values, "values") else 0
