"""Columns into CSV and JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from restate_lab.export.columns import is_json, json_text
from restate_lab.export.values import Column, flat, is_nested, is_text, json_ready

__all__ = ["json_rows", "write_csv", "write_csv_gz", "write_json_lines"]

# Wide forms too: some spreadsheets take them for the narrow ones.
_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
_ROWS = 10_000  # at a time


def write_csv(table: pa.Table, path: Path) -> None:
    """Write CSV in UTF-8, every text quoted."""
    with path.open("xb") as file:
        _csv(table, file)


def write_csv_gz(table: pa.Table, path: Path) -> None:
    """Write the same, compressed."""
    with path.open("xb") as file, gzip.GzipFile("", "wb", fileobj=file) as packed:
        _csv(table, packed)


def write_json_lines(table: pa.Table, path: Path) -> None:
    """Write one JSON object per row."""
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{row}\n" for row in json_rows(table))


def json_rows(table: pa.Table) -> Iterator[str]:
    """Give each row as a JSON object."""
    for part in _parts(table):
        columns = [_json_values(field, part.column(field.name)) for field in table.schema]
        for row in zip(*columns, strict=True):
            yield json.dumps(dict(zip(table.column_names, row, strict=True)), ensure_ascii=False)


def _csv(table: pa.Table, file: Any) -> None:
    header: list[str] = _harmless(pa.chunked_array([pa.array(table.column_names, pa.string())])).to_pylist()
    file.write((",".join('"' + name.replace('"', '""') + '"' for name in header) + "\n").encode())
    for part in _parts(table):
        columns = [_csv_column(name, column) for name, column in zip(part.column_names, part.columns, strict=True)]
        if len(columns) == 1:  # a row of nothing would be an empty line, which readers pass over
            columns = [pc.fill_null(columns[0].cast(pa.string()), "")]
        made = pa.Table.from_arrays(columns, part.column_names)
        csv.write_csv(made, file, csv.WriteOptions(include_header=False))


def _csv_column(name: str, column: Column) -> Column:
    if is_nested(column.type):
        column = pa.chunked_array([json_text(name, column.to_pylist())])
    column = flat(column)
    return _harmless(column) if is_text(column.type) else column


def _harmless(texts: Column) -> Column:
    """Return texts with a ' before those that a spreadsheet would compute."""
    quoted = pc.binary_join_element_wise(pa.scalar("'", texts.type), texts, pa.scalar("", texts.type))
    return pc.if_else(pc.match_substring_regex(texts, _FORMULA), quoted, texts)


def _json_values(field: pa.Field[Any], column: Column) -> list[Any]:
    if is_json(field):
        return [None if text is None else json.loads(text) for text in column.to_pylist()]
    values = column if is_nested(column.type) else flat(column)
    return [json_ready(value) for value in values.to_pylist()]


def _parts(table: pa.Table) -> list[pa.Table]:
    return [table.slice(at, _ROWS) for at in range(0, table.num_rows, _ROWS)]
