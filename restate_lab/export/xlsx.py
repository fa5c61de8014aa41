"""Write columns to one sheet of an xlsx file, without formulas and links."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._public import import_extra
from restate_lab.errors import ArgumentError
from restate_lab.export.columns import ArrowColumn, flatten, is_nested, is_text, to_iso8601, to_json_text, to_seconds

MOST_ROWS, MOST_COLUMNS, MOST_CHARACTERS = 1_048_575, 16_384, 32_767  # of data; Excel's own limits
_EXACT = 2**53
_LEAST, _MOST = 2.2251e-308, 9.99999999999999e307  # the range of numbers in Excel
# Milliseconds from 1900-03-01 to the end of 9999; before that, Excel counts 1900-02-29, which did not exist.
_FIRST_MS, _LAST_MS = -2_203_891_200_000, 253_402_300_799_999
_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
_NARROWEST, _WIDEST, _SAMPLED_ROWS = 8, 60, 200  # characters, and rows
# Texts that xlsxwriter 3.3 would not write unchanged: two escapes that share a "_" (and rich text, see _check_texts).
_TWO_ESCAPES = re.compile(r"_x[0-9a-fA-F]{4}_x[0-9a-fA-F]{4}_")


def write_xlsx(table: pa.Table, path: Path) -> None:
    """Write the sheet; before that, check the number of rows and columns and the length of texts.

    Raises:
        ArgumentError: the table does not fit in a sheet.
        MissingExtra: xlsxwriter is not installed.
    """
    advice = "Or save as .csv or .parquet."
    xlsxwriter = import_extra("xlsxwriter", "xlsx", purpose="an xlsx file requires xlsxwriter", advice=advice)
    if table.num_rows > MOST_ROWS:
        raise ArgumentError(
            f"the frame has {table.num_rows:,} rows, but a sheet holds at most {MOST_ROWS:,}: save it as .parquet or "
            f".csv, or save a part of it, such as frame.head({MOST_ROWS})."
        )
    if table.num_columns > MOST_COLUMNS:
        raise ArgumentError(
            f"the frame has {table.num_columns:,} columns, but a sheet holds at most {MOST_COLUMNS:,}: save it as "
            f".parquet or .csv."
        )
    columns = [_sheet_column(name, table.column(name)) for name in table.column_names]
    for column in columns:
        _check_texts(column)
    # The file is opened here, because xlsxwriter would leave a broken file after a failed write.
    try:
        with path.open("xb") as file, xlsxwriter.Workbook(file, _OPTIONS) as book:
            _Sheet(book).fill(columns)
    except xlsxwriter.exceptions.FileCreateError as error:
        raise error.args[0] from error  # the OSError, such as of a full disk


@dataclass(frozen=True, slots=True)
class _SheetColumn:
    header: str
    values: ArrowColumn
    are_times: bool = False


class _Sheet:
    def __init__(self, book: Any) -> None:
        self._book = book
        self._sheet = book.add_worksheet("restate")
        self._plain = book.add_format()
        self._bold = book.add_format({"bold": True, "bottom": 1})
        self._time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})

    def fill(self, columns: list[_SheetColumn]) -> None:
        """Write the header and then the rows in order, because xlsxwriter does not keep written rows in memory."""
        self._sheet.freeze_panes(1, 0)
        self._sheet.ignore_errors({"number_stored_as_text": "A1:XFD1048576"})
        for at, column in enumerate(columns):
            self._sheet.set_column(at, at, _width(column))
            self._sheet.write_string(0, at, column.header, self._bold)
        writers = [self._writer(column) for column in columns]
        rows = zip(*(column.values.to_pylist() for column in columns), strict=True)
        for number, row in enumerate(rows, 1):
            for at, (write, value) in enumerate(zip(writers, row, strict=True)):
                if value is not None:
                    write(number, at, value)
                elif at == 0:  # keep rows without values, also at the end
                    self._sheet.write_blank(number, at, None, self._plain)

    def _writer(self, column: _SheetColumn) -> Callable[[int, int, Any], object]:
        kind = column.values.type
        if column.are_times:
            return lambda row, at, value: self._sheet.write_datetime(row, at, value, self._time)
        if pa.types.is_boolean(kind):
            writes: Callable[[int, int, Any], object] = self._sheet.write_boolean
            return writes
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return self._write_number
        return self._write_text

    def _write_number(self, row: int, at: int, value: float) -> None:
        if value == 0 or _LEAST <= abs(value) <= _MOST:
            self._sheet.write_number(row, at, value)
        else:
            self._write_text(row, at, str(value))

    def _write_text(self, row: int, at: int, text: str) -> None:
        self._sheet.write_string(row, at, text, self._plain)


def _sheet_column(name: str, column: ArrowColumn) -> _SheetColumn:
    kind = column.type
    if is_nested(kind):
        return _SheetColumn(name, pa.chunked_array([to_json_text(name, column.to_pylist())]))
    if pa.types.is_duration(kind):
        return _SheetColumn(f"{name} (s)", to_seconds(column))
    if pa.types.is_timestamp(kind):
        header = name if kind.tz is None else f"{name} (UTC)"
        if not _fits_excel(column):
            return _SheetColumn(header, to_iso8601(column))
        return _SheetColumn(header, column.cast(pa.timestamp("ms")), are_times=True)
    values = flatten(column)
    if pa.types.is_integer(kind) and not _are_between(values, -_EXACT, _EXACT):
        values = values.cast(pa.string())
    return _SheetColumn(name, values)


def _fits_excel(times: ArrowColumn) -> bool:
    naive = times.cast(pa.timestamp(times.type.unit))
    try:
        exact = naive.cast(pa.timestamp("ms"))
    except pa.ArrowInvalid:  # digits below a millisecond
        return False
    return _are_between(exact.cast(pa.int64()), _FIRST_MS, _LAST_MS)


def _are_between(numbers: ArrowColumn, least: int, most: int) -> bool:
    ends: Any = pc.min_max(numbers)
    first, last = ends["min"].as_py(), ends["max"].as_py()
    return first is None or (least <= first and last <= most)


def _check_texts(column: _SheetColumn) -> None:
    texts = [column.header, *(column.values.to_pylist() if is_text(column.values.type) else [])]
    for row, text in enumerate(texts):
        if not text:
            continue
        # Excel counts UTF-16 units; a character has one or two of these.
        if len(text) > MOST_CHARACTERS // 2 and len(text.encode("utf-16-le")) // 2 > MOST_CHARACTERS:
            why = f"has {len(text):,} characters, but a cell holds at most {MOST_CHARACTERS:,}"
        elif (text.startswith("<r>") and text.endswith("</r>")) or _TWO_ESCAPES.search(text):
            why = "has a text that xlsx would read as markup (<r>…</r>, or _x0041_x0042_)"
        else:
            continue
        where = (
            f"row {row - 1} (counted from 0) of {column.header!r}"
            if row
            else f"the name of the column {column.header[:40]!r}"
        )
        raise ArgumentError(f"{where} {why}: save as .parquet or .csv, or remove the column.")


def _width(column: _SheetColumn) -> int:
    if column.are_times:
        return 24
    longest = max((len(str(each)) for each in column.values.slice(0, _SAMPLED_ROWS).to_pylist()), default=0)
    return min(max(longest, len(column.header), _NARROWEST) + 1, _WIDEST)
