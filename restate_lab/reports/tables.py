"""Build the parts of a report: documents, and frames as tables.

A table has the first rows, formatted by the kind of their columns, and all rows as a download.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from restate_lab._cells import REPORT, kind_of
from restate_lab._html.table import ColumnKind, TableColumn, index_to_columns, table_cell
from restate_lab._text import escape_invisible
from restate_lab.document import Block, Document
from restate_lab.document.html import html_of
from restate_lab.errors import ArgumentError
from restate_lab.export.columns import to_table
from restate_lab.export.files import write_csv
from restate_lab.redaction import is_secret_name
from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import Card, Download, FrameTable

_LONGEST_NAME = 80  # characters of a column's name
_IDS = ("inv_1", "dp_1", "sub_1", "vq_1", "prom_1", "sign_1")
ROWS = 50
MOST_BYTES = 5_000_000  # limit for all downloads of a report together
_HEAVY = 30_000_000  # bytes in memory; the CSV of a larger frame is always above the limit


@dataclass(frozen=True, slots=True)
class TableBuilder:
    """Builds the parts of one report, with times in ``zone``, secrets masked, and ``bytes_left`` for downloads."""

    zone: tzinfo
    masker: Masker
    bytes_left: int = MOST_BYTES

    def document(self, document: Document, /, *, title: str = "", is_short: bool = False) -> Card:
        """Return a document below a title, with secrets masked; a short one has only the headings of its folds."""
        html = html_of(document.map(self.masker.text), is_report=True, is_short=is_short)
        return Card(Markup(html), self.masker.text(title))  # noqa: S704 - our template escapes

    def blocks(self, *blocks: Block, title: str = "") -> Card:
        """Return blocks without a frame below a title, with secrets masked."""
        return self.document(Document("", "", blocks), title=title)

    def table(
        self,
        frame: pd.DataFrame,
        /,
        *,
        title: str = "",
        columns: Sequence[str] | None = None,
        rows: int = ROWS,
        file: str | None = None,
        drop_empty: bool = False,
    ) -> FrameTable:
        """Return a frame as a table.

        ``columns`` are the shown columns, in this order; the download has all columns. ``file`` is the name of the
        download without suffix; None means no download. There is a download only if some rows or columns are not shown.
        ``drop_empty`` hides columns without any value.
        """
        whole = index_to_columns(frame).copy(deep=False)
        whole.attrs = {}  # pandas would copy the attrs for each column
        shown = whole if columns is None else whole[[name for name in columns if name in whole.columns]]
        if drop_empty:
            shown = shown.dropna(axis="columns", how="all")
        first = self._mask(shown.head(rows))
        heads = tuple(table_column(str(name), first.iloc[:, at], self.zone) for at, name in enumerate(first.columns))
        cells = tuple(
            tuple(table_cell(value, head.kind, self.zone, REPORT) for value, head in zip(values, heads, strict=True))
            for values in first.itertuples(index=False, name=None)
        )
        is_cut = len(whole) > len(first) or shown.shape[1] < whole.shape[1]
        download, note = self._download(whole, file) if is_cut and file and len(whole) else (None, "")
        truncated = frame.attrs.get("truncated")
        message = truncated.get("message", truncated) if isinstance(truncated, dict) else truncated
        notes = [
            f"Incomplete: {message}" if message else "",
            f"The first {len(first):,} of {len(whole):,} rows." if len(first) < len(whole) else "",
            note,
        ]
        return FrameTable(heads, cells, title=title, note=" ".join(each for each in notes if each), download=download)

    def _mask(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {}
        for at, name in enumerate(frame.columns):
            values = frame.iloc[:, at]
            if _may_hold_text(values):
                label = str(name) if is_secret_name(str(name)) else ""
                masked = [self.masker.value(each, label) for each in values]
                values = pd.Series(masked, index=values.index, dtype=object)
            columns[at] = values
        return pd.DataFrame(columns, index=frame.index).set_axis(frame.columns, axis=1)

    def _download(self, frame: pd.DataFrame, file: str) -> tuple[Download | None, str]:
        advice = f"rl.save(frame, {file + '.csv'!r}) writes all rows."
        if int(frame.memory_usage(index=False, deep=True).sum()) > _HEAVY:
            return None, f"All rows are too large to embed (limit: {MOST_BYTES / 1e6:g} MB in a report); {advice}"
        try:
            content = _csv_bytes(self._mask(frame))
        except ArgumentError as error:
            return None, f"All rows could not be embedded: {error}"
        if len(content) > self.bytes_left:
            return None, (
                f"All rows ({len(content) / 1e6:,.1f} MB) are not embedded: the limit for all downloads of a report is "
                f"{MOST_BYTES / 1e6:g} MB; {advice}"
            )
        uri = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(content).decode()}"
        stem = re.sub(r"[^\w.-]+", "-", file).strip("-.")[:60] or "frame"
        return Download(f"{stem}.csv", len(content), uri), ""


def table_column(name: str, values: pd.Series[Any], zone: tzinfo) -> TableColumn:
    """Return the heading and the kind of a column, from its type, its name and its values."""
    label = heading(name.replace("_", " "), _LONGEST_NAME)
    kind = kind_of(name, values)
    if kind == "time" and getattr(values.dtype, "tz", None) is not None:
        label = f"{label} ({zone})"
    is_text = kind == "text" and not pd.api.types.is_bool_dtype(values.dtype)
    return TableColumn(label, _text_kind(values) if is_text else kind)


def heading(text: str, longest: int = 200) -> str:
    """Return a text for a heading, shortened to ``longest`` characters."""
    shown = escape_invisible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def _text_kind(values: pd.Series[Any]) -> ColumnKind:
    present = values.dropna()
    first = present.iloc[0] if len(present) else None
    if isinstance(first, str) and first.startswith(_IDS):
        return "id"
    longest = max((len(each) for each in present.head(100) if isinstance(each, str)), default=0)
    return "long" if longest > 40 else "text"


def _csv_bytes(frame: pd.DataFrame) -> bytes:
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        path = Path(folder) / "frame.csv"
        write_csv(to_table(frame), path)
        return path.read_bytes()


def _may_hold_text(values: pd.Series[Any]) -> bool:
    kinds = pd.api.types
    return not (
        kinds.is_numeric_dtype(values.dtype)
        or kinds.is_datetime64_any_dtype(values.dtype)
        or kinds.is_timedelta64_dtype(values.dtype)
    )
