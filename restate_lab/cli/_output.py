"""The output of a command: a table for people, and JSON, CSV or Parquet for programs."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd
from rich.cells import cell_len, set_cell_size

from restate_lab._cells import cell, full_text, kind_of
from restate_lab._text import escape_invisible
from restate_lab.cli._options import ENDINGS, OutputFormat
from restate_lab.export import save
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows

__all__ = ["print_json", "print_text", "rows_of", "table_lines", "write_frame"]

GAP = "  "
NARROWEST = 12  # characters that a column keeps at least, unless it has fewer
_KEPT = {"number", "time", "duration", "status"}
_ID = re.compile(r"(?:inv|dp|sub|vq|prom|sign)_1\w+")


@dataclass(slots=True)
class _TextColumn:
    name: str
    cells: list[str]
    width: int
    is_right: bool
    may_shrink: bool

    def fit(self, text: str) -> str:
        """Return a text in this column: cut or filled to its width."""
        text = _truncate(text, self.width)
        fill = " " * (self.width - cell_len(text))
        return fill + text if self.is_right else text + fill


def table_lines(frame: pd.DataFrame, width: int | None) -> Iterator[str]:
    """Yield the lines: a header, a rule, and one line a row; numbers are right-aligned, nulls empty.

    ``width`` is that of the terminal in characters: long texts are cut (…), and ids, numbers and times are not; where
    that does not fit, each row becomes a block with a line a column. None means no limit, and nothing is cut.
    """
    columns = [_text_column(str(name), frame.iloc[:, at], whole=width is None) for at, name in enumerate(frame.columns)]
    if width is not None and not _shrink_to(columns, width):
        yield from _blocks(columns, width, len(frame))
        return
    yield GAP.join(column.fit(column.name) for column in columns).rstrip()
    yield GAP.join("─" * column.width for column in columns)
    for at in range(len(frame)):
        yield GAP.join(column.fit(column.cells[at]) for column in columns).rstrip()


def _text_column(name: str, values: pd.Series[Any], *, whole: bool) -> _TextColumn:
    if whole:
        cells = [escape_invisible(full_text(value, UTC), lines=False) for value in values]
    else:
        cells = [cell(value, UTC).text or "" for value in values]
    kind = kind_of(name, values)
    has_ids = any(_ID.fullmatch(each) for each in cells)
    return _TextColumn(
        escape_invisible(name, lines=False),
        cells,
        max([cell_len(escape_invisible(name, lines=False)), *map(cell_len, cells)]),
        is_right=kind in {"number", "duration"},
        may_shrink=kind not in _KEPT and not has_ids,
    )


def _shrink_to(columns: Sequence[_TextColumn], width: int) -> bool:
    """Make the widest columns narrower until all fit; False where they cannot."""
    excess = sum(column.width for column in columns) + len(GAP) * (len(columns) - 1) - width
    shrinkable = [column for column in columns if column.may_shrink and column.width > NARROWEST]
    if excess > sum(column.width - NARROWEST for column in shrinkable):
        return False
    for _ in range(max(excess, 0)):
        max(shrinkable, key=lambda column: column.width).width -= 1
    return True


def _blocks(columns: Sequence[_TextColumn], width: int, rows: int) -> Iterator[str]:
    margin = max(cell_len(column.name) for column in columns)
    for at in range(rows):
        yield f"── {at + 1:,} ".ljust(min(width, margin + 20), "─")
        for column in columns:
            name = column.name + " " * (margin - cell_len(column.name))
            yield f"{name}{GAP}{_truncate(column.cells[at], max(width - margin - len(GAP), NARROWEST))}".rstrip()


def _truncate(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def write_frame(frame: pd.DataFrame, form: OutputFormat, *, about: str = "") -> None:
    """Write the frame; a person at a terminal also reads how many rows there are, and ``about`` where they are from."""
    if form.is_table:
        _print_table(frame, about)
    elif form.kind == "json":
        _print_json_rows(json_rows(to_table(frame)))
    elif form.file is not None:
        save(frame, form.file, overwrite=form.overwrite)
    else:
        _write_to_stdout(frame, ENDINGS[form.kind][0])


def print_text(text: str) -> None:
    """Print text that may come from a cluster: what a terminal would obey is made visible."""
    print(escape_invisible(text))  # noqa: T201 - what the command is for


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Return the rows as JSON values."""
    return [json.loads(row) for row in json_rows(to_table(frame))] if len(frame) else []


def _print_json_rows(rows: Iterable[str]) -> None:
    """Print JSON objects as one array, each on its line."""
    out, separator = sys.stdout.buffer, b"[\n"
    for row in rows:
        out.write(separator + _escape_json(row).encode())
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def print_json(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.buffer.write(_escape_json(json.dumps(value, ensure_ascii=False, indent=1)).encode() + b"\n")


def _escape_json(text: str) -> str:
    """Return JSON in which what a terminal would obey, or nobody sees, stands as its code: the value is the same."""
    return escape_invisible(text, escape=lambda character: json.dumps(character)[1:-1])


def _print_table(frame: pd.DataFrame, about: str) -> None:
    is_seen = sys.stdout.isatty()
    for line in table_lines(frame, shutil.get_terminal_size().columns if is_seen else None):
        print(line)  # noqa: T201 - what the command is for
    if is_seen:
        rows = "no rows" if frame.empty else "1 row" if len(frame) == 1 else f"{len(frame):,} rows"
        print(escape_invisible(f"{rows} · {about}" if about else rows, lines=False), file=sys.stderr)  # noqa: T201


def _write_to_stdout(frame: pd.DataFrame, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = save(frame, Path(folder) / f"rows{ending}")
        with path.open("rb") as rows:
            shutil.copyfileobj(rows, sys.stdout.buffer)
