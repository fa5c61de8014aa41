"""Write a frame to one file in the format of its suffix; the file is complete or does not exist."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from restate_lab._files import exists_error, write_atomically
from restate_lab._public import explained
from restate_lab.errors import ArgumentError, Truncated
from restate_lab.export.columns import (
    ArrowColumn,
    dump_json,
    flatten,
    is_json,
    is_nested,
    is_text,
    to_json_text,
    to_json_value,
    to_table,
)
from restate_lab.export.xlsx import write_xlsx

# With the full-width forms, because some spreadsheets treat them like the normal ones.
_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
_ROWS = 10_000  # per batch


@explained
def save(frame: pd.DataFrame | pa.Table, path: str | os.PathLike[str], /, *, overwrite: bool = False) -> Path:
    """Write a frame to a file and return its path; the file appears only when it is complete.

    ``path`` is local, and its suffix is the format: ``.csv``, ``.csv.gz``, ``.parquet``, ``.jsonl`` (``.ndjson``),
    ``.xlsx``. An existing file is kept unless ``overwrite=True``. An index that has a name or is not of integers is
    written as the first columns.

    - All formats: 64-bit integers and UTC times are exact. Parquet stores lists, bytes and durations; the other formats
      have them as JSON, base64 and seconds. A column of mappings or mixed values is JSON text (in JSON lines: JSON).
    - CSV: UTF-8. A missing value is empty, an empty text is ``""``. Times are ISO, in UTC with Z. Texts and column
      names that a spreadsheet would read as a formula (they begin with ``= + - @``, tab or line end) get a ``'`` in
      front. Numbers are not changed.
    - JSON lines: one object per row; missing values are null; numbers that JSON does not have (Infinity) are text. Half
      of a character, as in a text that was cut within an emoji, is an escape code, as JSON allows.
    - Parquet: zstd, with the frame's ``attrs``, which ``pandas.read_parquet`` restores.
    - xlsx (needs the extra ``xlsx``): one sheet without formulas and links. Excel has no time zones, so the header
      contains "UTC". Texts stay texts. Integers above 2**53, and times finer than a millisecond or before 1900, also
      become texts. Other numbers have 16 digits; numbers that are too large or too small for Excel become texts. A
      missing value is an empty cell.

    Warns:
        Truncated: the frame is incomplete, and the format cannot record this (all formats except Parquet).
        HalfCharacter: a text has half of a character, which is written as U+FFFD (all formats except JSON lines).

    Raises:
        ArgumentError: the value is not a frame, the format is unknown, the file exists, or the format cannot store a
            value. Nothing is written then.
        WriteFailed: the disk is full. Nothing remains of the file.
    """
    if not isinstance(frame, pd.DataFrame | pa.Table):
        raise ArgumentError(
            f"save requires a DataFrame or a pyarrow.Table, not a {type(frame).__name__}{_advice(frame)}."
        )
    target = resolve_target(path)
    write = _writer_for(target)
    check_absent(target, overwrite=overwrite)
    table = to_table(frame, for_json=write is write_json_lines)
    with write_atomically(target, overwrite=overwrite) as unfinished:
        write(table, unfinished)
    truncated = frame.attrs.get("truncated") if isinstance(frame, pd.DataFrame) else None
    if truncated and write is not write_parquet:
        warnings.warn(
            f"{target.name} is incomplete, because the frame was truncated: {truncated}", Truncated, stacklevel=3
        )
    return target


def write_csv(table: pa.Table, path: Path) -> None:
    """Write CSV in UTF-8, with every text in quotes."""
    with path.open("xb") as file:
        _write_csv_rows(table, file)


def write_csv_gz(table: pa.Table, path: Path) -> None:
    """Write CSV, compressed with gzip."""
    with path.open("xb") as file, gzip.GzipFile("", "wb", fileobj=file) as packed:
        _write_csv_rows(table, packed)


def write_json_lines(table: pa.Table, path: Path) -> None:
    """Write one JSON object per row."""
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{row}\n" for row in json_rows(table))


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write the table with its metadata, compressed with zstd."""
    try:
        pq.write_table(table, path, compression="zstd")
    except pa.ArrowNotImplementedError as error:
        raise ArgumentError(f"Parquet cannot store this frame: {error}. Cast the column, or save as .csv.") from error


def json_rows(table: pa.Table) -> Iterator[str]:
    """Yield each row of a table that was made ``for_json`` as a JSON object."""
    for part in _batches(table):
        columns = [_json_values(field, part.column(field.name)) for field in table.schema]
        for row in zip(*columns, strict=True):
            yield dump_json(dict(zip(table.column_names, row, strict=True)))


def resolve_target(path: str | os.PathLike[str]) -> Path:
    """Return the local file that a path names.

    Raises:
        ArgumentError: it is not a local file, or its folder does not exist.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise ArgumentError(f"path must be text or a Path; got {path!r}.")
    if "://" in text:
        raise ArgumentError(
            f"{text} is not a local file: pass a local path. To write rows to an object store, use lab.to_parquet."
        )
    target = Path(text).expanduser()
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder {target.parent} does not exist: create it, or pass another path.")
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder: pass the path of a file.")
    return target


def check_absent(target: Path, *, overwrite: bool) -> None:
    """Check that the file does not exist, before data for it is read.

    Raises:
        ArgumentError: it exists, and ``overwrite`` is False.
    """
    if target.exists() and not overwrite:
        raise exists_error(target)


def _writer_for(target: Path) -> Callable[[pa.Table, Path], None]:
    name = target.name.lower()
    for suffix in sorted(_WRITERS, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            return _WRITERS[suffix]
    raise ArgumentError(f"unknown format of {target.name!r}: the name must end with one of {', '.join(_WRITERS)}.")


def _advice(value: object) -> str:
    for name in ("frame", "findings", "edges"):
        with contextlib.suppress(AttributeError):
            if isinstance(getattr(value, name), pd.DataFrame):
                return f": save its .{name}"
    return ": convert it with to_frame()" if isinstance(value, pd.Series) else ""


def _write_csv_rows(table: pa.Table, file: Any) -> None:
    header: list[str] = _escape_formulas(pa.chunked_array([pa.array(table.column_names, pa.string())])).to_pylist()
    file.write((",".join('"' + name.replace('"', '""') + '"' for name in header) + "\n").encode())
    for part in _batches(table):
        columns = [_csv_column(name, column) for name, column in zip(part.column_names, part.columns, strict=True)]
        if len(columns) == 1:  # a row with one missing value would be an empty line, which readers skip
            columns = [pc.fill_null(columns[0].cast(pa.string()), "")]
        batch = pa.Table.from_arrays(columns, part.column_names)
        csv.write_csv(batch, file, csv.WriteOptions(include_header=False))


def _csv_column(name: str, column: ArrowColumn) -> ArrowColumn:
    if is_nested(column.type):
        column = pa.chunked_array([to_json_text(name, column.to_pylist())])
    column = flatten(column)
    return _escape_formulas(column) if is_text(column.type) else column


def _escape_formulas(texts: ArrowColumn) -> ArrowColumn:
    """Return texts with a ' before those that a spreadsheet would read as a formula."""
    quoted = pc.binary_join_element_wise(pa.scalar("'", texts.type), texts, pa.scalar("", texts.type))
    return pc.if_else(pc.match_substring_regex(texts, _FORMULA), quoted, texts)


def _json_values(field: pa.Field[Any], column: ArrowColumn) -> list[Any]:
    if is_json(field):
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    values = column if is_nested(column.type) else flatten(column)
    return [to_json_value(value) for value in values.to_pylist()]


def _batches(table: pa.Table) -> list[pa.Table]:
    return [table.slice(at, _ROWS) for at in range(0, table.num_rows, _ROWS)]


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    ".csv": write_csv,
    ".csv.gz": write_csv_gz,
    ".jsonl": write_json_lines,
    ".ndjson": write_json_lines,
    ".parquet": write_parquet,
    ".xlsx": write_xlsx,
}
