"""What is shown of a value: short, in one line, and never anything but text.

The grid, its tooltips and its static table all take their text from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Literal

import numpy as np
import pandas as pd

from restate_lab import errors
from restate_lab.durations import friendly

__all__ = ["FULL", "Cell", "Kind", "cell", "full_text", "is_missing", "kind_of", "visible"]

Kind = Literal["text", "number", "time", "duration", "status"]

SHOWN = 200  # characters in a cell
TOOLTIP = 1_000  # characters in its tooltip
FULL = 65_536  # characters where one cell is asked for

_LINE_ENDS = str.maketrans({"\n": "↵", "\r": "", "\t": " ", "\u2028": "↵", "\u2029": "↵"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, or None for a null; ``more`` is what its tooltip says, None where it is the text."""

    text: str | None
    more: str | None = None


def kind_of(name: str, column: pd.Series[Any]) -> Kind:
    """Tell how a column is aligned and drawn; those named status get a dot for each word of ``STATUSES``."""
    kinds = pd.api.types
    if kinds.is_bool_dtype(column.dtype):
        return "text"
    if kinds.is_numeric_dtype(column.dtype):
        return "number"
    if kinds.is_datetime64_any_dtype(column.dtype):
        return "time"
    if kinds.is_timedelta64_dtype(column.dtype):
        return "duration"
    return "status" if name == "status" or name.endswith("_status") else "text"


def is_missing(value: object) -> bool:
    """Tell whether it is a null: None, NA, NaT or NaN."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float | np.floating) and math.isnan(value)


def cell(value: object, zone: tzinfo) -> Cell:
    """Return what a cell shows of the value: times in ``zone``, in full and in UTC in the tooltip."""
    if is_missing(value):
        return Cell(None)
    if isinstance(value, datetime):
        return _time(value, zone)
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, float | np.floating):
        return _float(float(value))
    return _cut(_text(value, TOOLTIP + 1), _size(value))


def full_text(value: object, zone: tzinfo) -> str:
    """Return all of a value, with its line ends, up to 65,536 characters; then it says how many there are."""
    if is_missing(value):
        return ""
    if isinstance(value, datetime | timedelta | float | np.floating):
        shown = cell(value, zone)
        return shown.more or shown.text or ""
    text = _text(value, FULL + 1)
    return _ended(visible(text[:FULL], lines=True), len(text) > FULL, _size(value))


def visible(text: str, *, lines: bool = False) -> str:
    """Return the text with what cannot be seen made visible: ``‹U+202E›`` for a mark that turns text round.

    With ``lines`` line ends and tabs stay; without, the text is one line, and ``↵`` stands for its line ends.
    """
    return errors.visible(text if lines else text.translate(_LINE_ENDS))


def _cut(text: str, size: int | None) -> Cell:
    short = visible(text[:SHOWN])
    if len(text) > SHOWN:
        return Cell(short + "…", _ended(visible(text[:TOOLTIP], lines=True), len(text) > TOOLTIP, size))
    whole = visible(text, lines=True)
    return Cell(short, whole if whole != short else None)


def _ended(text: str, is_cut: bool, size: int | None) -> str:
    if not is_cut:
        return text
    return f"{text}…\n({size:,} characters in all)" if size is not None else f"{text}…\n(there is more)"


def _size(value: object) -> int | None:
    return len(value) if isinstance(value, str) else None


def _time(value: datetime, zone: tzinfo) -> Cell:
    if value.tzinfo is None:
        return Cell(value.strftime("%Y-%m-%d %H:%M:%S"), f"{value.isoformat()} (without a zone)")
    moment = pd.Timestamp(value)
    utc = moment.tz_convert("UTC").isoformat().replace("+00:00", "Z")
    return Cell(moment.tz_convert(zone).strftime("%Y-%m-%d %H:%M:%S"), utc)


def _duration(value: timedelta) -> Cell:
    whole = friendly(pd.Timedelta(value).to_pytimedelta())
    short = " ".join(whole.split()[:2])
    return Cell(short, whole if short != whole else None)


def _float(value: float) -> Cell:
    short, exact = f"{value:.10g}", repr(value)
    return Cell(short, exact if float(short) != value else None)


def _text(value: object, limit: int) -> str:
    """Return about the first ``limit`` characters; what is longer is never written out."""
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray):
        return bytes(value[:limit]).decode("utf-8", "backslashreplace")
    if isinstance(value, list | tuple | dict | np.ndarray):
        return _json(value, limit)
    return str(value)[:limit]


def _json(value: object, limit: int) -> str:
    written, length = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False, default=_plain).iterencode(value):
            written.append(part)
            length += len(part)
            if length >= limit:
                break
    except (TypeError, ValueError):  # keys that are no text, or a value that holds itself
        return str(value)[:limit]
    return "".join(written)[:limit]


def _plain(value: Any) -> Any:
    convert: Callable[[], Any] | None = getattr(value, "tolist", None)
    return convert() if convert else str(value)
