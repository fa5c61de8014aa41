"""Write the rows of a query to one Parquet file, in constant memory; an incomplete file is never left."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from restate_lab.errors import ArgumentError, QueryRefused
from restate_lab.frames import repeated_field
from restate_lab.intervals import INTERVAL, holds_intervals, to_durations

_GROUP_BYTES = 24 << 20
_WITHOUT_VIEWS: dict[pa.DataType, Any] = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def write_parquet(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: str | os.PathLike[str], filesystem: fs.FileSystem | None
) -> Path | str:
    """Write the batches (zstd) and return the path, or the URI that was passed.

    The file gets its name only when it is complete, and then replaces an existing one. Intervals without months are
    written as durations in nanoseconds.

    Raises:
        ArgumentError: the folder does not exist.
        QueryRefused: Parquet has no exact type for a column; the message has its name.
    """
    location, target, name = locate(path, filesystem)
    if isinstance(location, fs.LocalFileSystem) and not Path(name).parent.is_dir():
        raise ArgumentError(f"the folder {Path(name).parent} does not exist: create it, or choose another path.")
    unfinished = f"{name}.{uuid.uuid4().hex[:8]}.unfinished"
    kept = writable_schema(schema)
    try:
        with location.open_output_stream(unfinished) as sink, pq.ParquetWriter(sink, kept, compression="zstd") as out:
            for table in row_groups(batches, schema):
                out.write_table(convert_table(table, kept))
        location.move(unfinished, name)
    except BaseException as error:
        if location.get_file_info(unfinished).type != fs.FileType.NotFound:
            location.delete_file(unfinished)
        if not isinstance(error, pa.ArrowException):
            raise
        raise _unsupported_type_error(
            f"the rows cannot be written as Parquet: {error}. Cast the column in the statement."
        ) from error
    return target


def convert_table(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the types of ``schema``, which is the result of ``writable_schema`` for this table.

    Raises:
        QueryRefused: a column has an interval that is not exact as a duration in nanoseconds.
    """
    for at, field in enumerate(table.schema):
        if field.type != INTERVAL:
            continue
        exact = to_durations(table.column(at), units=("ns",))
        if exact is None:
            raise _unsupported_type_error(
                f"column {field.name!r} has an interval with months, or one longer than 292 years. Parquet has no "
                f"exact type for it. Cast it to text in the statement: CAST({field.name} AS VARCHAR)."
            )
        table = table.set_column(at, schema.field(at), exact)
    return table.cast(schema)


def locate(path: str | os.PathLike[str], filesystem: fs.FileSystem | None) -> tuple[fs.FileSystem, Path | str, str]:
    """Return the file system of a path, the path for the user, and the path on that file system."""
    if filesystem is not None:
        return filesystem, os.fspath(path), os.fspath(path)
    if isinstance(path, str) and "://" in path:
        location, name = fs.FileSystem.from_uri(path)
        return location, path, name
    local = Path(path).expanduser()
    return fs.LocalFileSystem(), local, str(local.absolute())


def row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterable[pa.Table]:
    """Yield the batches in tables of about 24 MB."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += batch.get_total_buffer_size()  # the size in memory
        if size >= _GROUP_BYTES:
            yield pa.Table.from_batches(group, schema)
            group, size = [], 0
    if group:
        yield pa.Table.from_batches(group, schema)


def arrow_bytes(batch: pa.RecordBatch) -> int:
    """Return how many bytes a batch has."""
    try:
        return int(batch.nbytes)
    except pa.ArrowTypeError:
        # pyarrow before 24 cannot count views, which DataFusion uses for text.
        return sum(_column_bytes(column) for column in batch.columns)


def _column_bytes(column: pa.Array[Any]) -> int:
    kind = _WITHOUT_VIEWS.get(column.type)
    try:
        return int(column.nbytes if kind is None else column.cast(kind).nbytes)
    except pa.ArrowTypeError:
        return int(column.get_total_buffer_size())  # views within lists


def writable_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema with types that Parquet writers support.

    Raises:
        QueryRefused: Parquet has no exact type for a column; the message has its name.
    """
    for field in schema:
        _check_writable(field)
    return pa.schema([field.with_type(_PARQUET_TYPES.get(field.type, field.type)) for field in schema])


def _check_writable(field: pa.Field[Any]) -> None:
    if pa.types.is_union(field.type):
        raise _unsupported_type_error(
            f"column {field.name!r} has JSON values of several types, which Parquet does not support: "
            f"use ->> or json_get_str."
        )
    if field.type != INTERVAL and holds_intervals(field.type):
        raise _unsupported_type_error(
            f"column {field.name!r} has intervals in a nested value, which Parquet does not support: select their "
            f"parts, or cast them to text in the statement."
        )
    name = repeated_field(field.type)
    if name is not None:
        raise _unsupported_type_error(
            f"column {field.name!r} has a struct with two fields named {name!r}, which Parquet readers cannot "
            f"distinguish: give the fields different names in the statement."
        )


def _unsupported_type_error(message: str) -> QueryRefused:
    return QueryRefused(message, status=200, reason="no exact Parquet type")


_PARQUET_TYPES: dict[pa.DataType, pa.DataType] = {
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
    INTERVAL: pa.duration("ns"),
}
