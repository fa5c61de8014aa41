"""The output of a command: a table for people, and JSON, CSV or Parquet for programs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab._cells import read_at
from restate_lab._text import plural
from restate_lab.cli._errors import warn
from restate_lab.cli._options import ENDINGS, OutputFormat
from restate_lab.cli._page import TextPage
from restate_lab.cli._table import TableView, TerminalTable, plain_lines
from restate_lab.document import Document
from restate_lab.document.text import Write, python_of
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows, save
from restate_lab.export.json_text import escape_json, json_text


def write_frame(
    frame: pd.DataFrame,
    form: OutputFormat,
    *,
    about: str = "",
    has_names: bool = False,
    columns: Sequence[str] | None = None,
) -> None:
    """Write the frame in the requested format; a terminal also shows the number of rows and ``about``, their source.

    A terminal shows readable headings; with ``has_names`` it shows the column names of the statement. ``columns`` are
    those that a terminal shows without --wide; None means all. In a pipe a table has everything.
    """
    if form.is_table:
        _print_table(frame, form, about, has_names=has_names, columns=columns)
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
    form: OutputFormat,
    rows: pd.DataFrame,
    document: Callable[[], Document],
    to_json: Callable[[], Any],
    write: Write = python_of,
    *,
    reasons: Iterable[str] = (),
    **limits: Any,
) -> None:
    """Write a result in the requested format; ``write`` and ``limits`` are those of `TextPage.document`.

    A file of rows does not have the ``reasons`` why something is missing, so they are warnings beside it.
    """
    if form.is_table:
        TextPage().document(document(), write, **limits)
    elif form.kind == "json":
        print_json(to_json())
    else:
        for each in reasons:
            warn(each)
        write_frame(rows, form)


def _print_json_rows(rows: Iterable[str]) -> None:
    out, separator = sys.stdout.buffer, b"[\n"
    for row in rows:
        out.write(separator + escape_json(row).encode())
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def print_json(value: Any) -> None:
    sys.stdout.buffer.write(json_text(value).encode() + b"\n")


def _print_table(
    frame: pd.DataFrame, form: OutputFormat, about: str, *, has_names: bool, columns: Sequence[str] | None
) -> None:
    page = TextPage()
    if page.width is None:
        page.verbatim(plain_lines(frame))
        return
    if len(frame):
        view = TableView(
            page.width, read_at(frame) or datetime.now(UTC), has_names, form.is_wide, form.has_full_ids, columns
        )
        table = TerminalTable(frame, view)
        page.verbatim(table.lines())
        if table.note:
            page.paragraph((table.note, "dim"))
    rows = plural(len(frame), "row") if len(frame) else "No rows"
    TextPage(sys.stderr).paragraph((f"{rows} · {about}" if about else rows, "dim"))
