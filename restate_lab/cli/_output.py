"""The output of a command: a table for people, and JSON, CSV or Parquet for programs."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from restate_lab._cells import cell, full_text, kind_of
from restate_lab._text import escape_invisible, plural
from restate_lab.cli._options import ENDINGS, OutputFormat
from restate_lab.cli._page import TextPage
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows, save
from restate_lab.export.results import rows_of

GAP = "  "
NARROWEST = 12  # minimum width of a shortened column, in characters
_KEPT = {"number", "time", "duration", "status"}
HEADS: Mapping[str, str] = MappingProxyType(
    {
        "completion_failure": "failure",
        "last_failure": "last error",
        "n": "invocations",
        "next_retry_at": "next try",
        "retry_count": "attempts",
        "target_handler_name": "handler",
        "target_service_key": "key",
        "target_service_name": "service",
    }
)
"""Column of a question → its heading in a terminal; other headings are the column names with spaces."""
_ID = re.compile(r"(?:inv|dp|sub|vq|prom|sign)_1\w+")


@dataclass(slots=True)
class _TextColumn:
    name: str
    cells: list[str]
    width: int
    is_right: bool
    may_shrink: bool

    def rename(self, name: str) -> None:
        self.name = name
        self.width = max([cell_len(name), *map(cell_len, self.cells)])

    def fit(self, text: str) -> str:
        text = _truncate(text, self.width)
        fill = " " * (self.width - cell_len(text))
        return fill + text if self.is_right else text + fill


def table_lines(frame: pd.DataFrame, width: int | None, heads: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the lines: a header, a rule, and one line per row; numbers are right-aligned and nulls are empty.

    ``width`` is the terminal width in characters. Long texts are cut (…); ids, numbers and times are not. If the rows
    still do not fit, each row becomes a block with one line per column. None means no limit, and nothing is cut.
    ``heads`` maps column names to headings; other headings are the names with spaces. None keeps all names.
    """
    columns = [_text_column(str(name), frame.iloc[:, at], whole=width is None) for at, name in enumerate(frame.columns)]
    for column in columns if heads is not None else ():
        column.rename((heads or {}).get(column.name, column.name.replace("_", " ")))
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
    """Make the widest columns narrower until all fit; return False if they cannot fit."""
    excess = sum(column.width for column in columns) + len(GAP) * (len(columns) - 1) - width
    shrinkable = [column for column in columns if column.may_shrink and column.width > NARROWEST]
    if excess > sum(column.width - NARROWEST for column in shrinkable):
        return False
    for _ in range(max(excess, 0)):
        max(shrinkable, key=lambda column: column.width).width -= 1
    return True


def _blocks(columns: Sequence[_TextColumn], width: int, rows: int) -> Iterator[str]:
    margin = max(cell_len(column.name) for column in columns) + len(GAP)
    room = max(width - margin, NARROWEST)
    console = Console(width=room)
    for at in range(rows):
        yield f"── {at + 1:,} ".ljust(min(width, margin + 20), "─")
        for column in columns:
            name = column.name + " " * (margin - cell_len(column.name))
            first, *others = [line.plain for line in Text(column.cells[at]).wrap(console, room)] or [""]
            yield f"{name}{first}".rstrip()
            yield from (f"{' ' * margin}{line}".rstrip() for line in others)


def _truncate(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def write_frame(frame: pd.DataFrame, form: OutputFormat, *, about: str = "", has_names: bool = False) -> None:
    """Write the frame in the requested format; a terminal also shows the number of rows and ``about``, their source.

    A terminal shows readable headings; with ``has_names`` it shows the column names of the statement.
    """
    if form.is_table:
        _print_table(frame, about, has_names=has_names)
    elif form.kind == "json":
        _print_json_rows(json_rows(to_table(frame, for_json=True)))
    elif form.file is not None:
        save(frame, form.file, overwrite=form.overwrite)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = save(frame, Path(folder) / f"rows{ENDINGS[form.kind][0]}")
            with path.open("rb") as rows:
                shutil.copyfileobj(rows, sys.stdout.buffer)


def write_result(
    form: OutputFormat, rows: pd.DataFrame, *, show: Callable[[TextPage], None], to_json: Callable[[], Any]
) -> None:
    if form.is_table:
        show(TextPage())
    elif form.kind == "json":
        print_json(to_json())
    else:
        write_frame(rows, form)


def _print_json_rows(rows: Iterable[str]) -> None:
    out, separator = sys.stdout.buffer, b"[\n"
    for row in rows:
        out.write(separator + _escape_json(row).encode())
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def print_json(value: Any) -> None:
    sys.stdout.buffer.write(
        _escape_json(json.dumps(value, ensure_ascii=False, indent=1, default=rows_of)).encode() + b"\n"
    )


def _escape_json(text: str) -> str:
    """Return the JSON with control characters and invisible characters as escape codes; the value stays the same."""
    return escape_invisible(text, escape=lambda character: json.dumps(character)[1:-1])


def _print_table(frame: pd.DataFrame, about: str, *, has_names: bool) -> None:
    page = TextPage()
    if page.width is None or len(frame):
        heads = None if page.width is None or has_names else HEADS
        page.verbatim(table_lines(frame, page.width, heads))
    if page.width is not None:
        rows = plural(len(frame), "row") if len(frame) else "No rows"
        TextPage(sys.stderr).paragraph((f"{rows} · {about}" if about else rows, "dim"))
