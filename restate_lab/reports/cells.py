"""What a report adds to the text of a value: the colour of a status, a dash, a heading, and the look of a column."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import pandas as pd

from restate_lab._cells import MISSING, REPORT, cell as text_cell, kind_of
from restate_lab._text import escape_invisible
from restate_lab.reports.parts import Cell, Column, Kind
from restate_lab.status import STATUSES

__all__ = ["cell", "column", "heading"]

_LONGEST_NAME = 80  # characters of a column's name
_DASH = Cell(MISSING)
_IDS = ("inv_1", "dp_1", "sub_1", "vq_1", "prom_1", "sign_1")


def column(name: str, values: pd.Series[Any], zone: tzinfo) -> Column:
    """Return how a column is shown, judged by its type, its name and its first value."""
    label = heading(name.replace("_", " "), _LONGEST_NAME)
    kind = _kind(name, values)
    if kind == "time" and getattr(values.dtype, "tz", None) is not None:
        label = f"{label} ({zone})"
    return Column(label, kind)


def cell(value: Any, zone: tzinfo, *, kind: Kind = "text") -> Cell:
    """Return one value as text; a status has its colour."""
    shown = text_cell(value, zone, REPORT)
    if shown.text is None:
        return _DASH
    is_status = kind == "status" and isinstance(value, str) and value in STATUSES
    return Cell(shown.text, shown.more or "", STATUSES[value].colour if is_status else "")


def heading(text: str, longest: int = 200) -> str:
    """Return a text that stands above others, cut to some lines: what is below it is to be found."""
    shown = escape_invisible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def _kind(name: str, values: pd.Series[Any]) -> Kind:
    kind = kind_of(name, values)
    if kind == "duration":
        return "number"
    return _kind_of_texts(values) if kind == "text" and not pd.api.types.is_bool_dtype(values.dtype) else kind


def _kind_of_texts(values: pd.Series[Any]) -> Kind:
    there = values.dropna()
    first = there.iloc[0] if len(there) else None
    if isinstance(first, str) and first.startswith(_IDS):
        return "id"
    longest = max((len(each) for each in there.head(100) if isinstance(each, str)), default=0)
    return "words" if longest > 40 else "text"
