"""What a command gives: a table for people, and JSON, CSV or Parquet for programs."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible
from restate_lab.cli.form import ENDINGS, Form
from restate_lab.cli.table import table
from restate_lab.export import save
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows

__all__ = ["print_json", "print_text", "rows_of", "write"]


def write(frame: pd.DataFrame, form: Form, *, about: str = "") -> None:
    """Write the frame; a person at a terminal also reads how many rows there are, and ``about`` where they are from."""
    if form.is_for_people:
        _print_table(frame, about)
    elif form.kind == "json":
        _print_json_rows(json_rows(to_table(frame)))
    elif form.file is not None:
        save(frame, form.file, overwrite=form.overwrite)
    else:
        _to_stdout(frame, ENDINGS[form.kind][0])


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
        out.write(separator + _to_be_seen(row).encode())
        separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def print_json(value: Any) -> None:
    """Print one JSON value."""
    sys.stdout.buffer.write(_to_be_seen(json.dumps(value, ensure_ascii=False, indent=1)).encode() + b"\n")


def _to_be_seen(text: str) -> str:
    """Return JSON in which what a terminal would obey, or nobody sees, stands as its code: the value is the same."""
    return escape_invisible(text, escape=lambda character: json.dumps(character)[1:-1])


def _print_table(frame: pd.DataFrame, about: str) -> None:
    is_seen = sys.stdout.isatty()
    for line in table(frame, shutil.get_terminal_size().columns if is_seen else None):
        print(line)  # noqa: T201 - what the command is for
    if is_seen:
        rows = "no rows" if frame.empty else "1 row" if len(frame) == 1 else f"{len(frame):,} rows"
        print(escape_invisible(f"{rows} · {about}" if about else rows, lines=False), file=sys.stderr)  # noqa: T201


def _to_stdout(frame: pd.DataFrame, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = save(frame, Path(folder) / f"rows{ending}")
        with written.open("rb") as rows:
            shutil.copyfileobj(rows, sys.stdout.buffer)
