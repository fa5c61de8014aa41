"""One value of a frame as text that a person reads: times in one zone, lengths in two units, lists cut and counted."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import pandas as pd

from restate_lab.payload_json import write_for_display
from restate_lab.reports.parts import Cell, Column, Kind
from restate_lab.status import STATUSES

__all__ = ["cell", "column", "heading", "moment_text", "visible"]

_LONGEST = 300  # characters of a cell
_LONGEST_NAME = 80  # of a column
_MORE = 2_000  # characters that stand behind it
_ITEMS = 3
_IDS = ("inv_1", "dp_1", "sub_1", "vq_1", "prom_1", "sign_1")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_DASH = Cell("–")
_UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))


def column(name: str, values: pd.Series[Any], zone: tzinfo) -> Column:
    """Return how a column is shown, judged by its type, its name and its first value."""
    label = heading(name.replace("_", " "), _LONGEST_NAME)
    kind = _kind(name, values)
    if kind == "time" and getattr(values.dtype, "tz", None) is not None:
        label = f"{label} ({zone})"
    return Column(label, kind)


def cell(value: Any, zone: tzinfo, *, kind: Kind = "text") -> Cell:
    """Return one value as text; a status has its colour."""
    if _is_missing(value):
        return _DASH
    if isinstance(value, str):
        return _text(value, STATUSES[value].colour if kind == "status" and value in STATUSES else "")
    return _text(_words(value, zone))


def moment_text(value: datetime, zone: tzinfo) -> str:
    """Return a moment as "2026-11-25 04:22:10", in the zone where it has one."""
    stamp = pd.Timestamp(value)
    return f"{stamp.tz_convert(zone) if stamp.tzinfo else stamp:%Y-%m-%d %H:%M:%S}"


def heading(text: str, longest: int = 200) -> str:
    """Return a text that stands above others, cut to some lines: what is below it is to be found."""
    shown = visible(text[: longest + 1])
    return shown if len(shown) <= longest else f"{shown[:longest]}…"


def visible(text: str) -> str:
    """Return text in which everything can be seen: what is invisible, or turns the direction, stands as its code."""
    if text.isprintable():  # as nearly all of it is
        return text
    return "".join(
        each if each in "\n\t" or unicodedata.category(each) not in _INVISIBLE else f"\\u{{{ord(each):x}}}"
        for each in text
    )


def _kind(name: str, values: pd.Series[Any]) -> Kind:
    kinds = pd.api.types
    if kinds.is_datetime64_any_dtype(values.dtype):
        return "time"
    if kinds.is_timedelta64_dtype(values.dtype):
        return "number"
    if kinds.is_bool_dtype(values.dtype):
        return "text"
    if kinds.is_numeric_dtype(values.dtype):
        return "number"
    if name == "status" or name.endswith("_status"):
        return "status"
    return _kind_of_texts(values)


def _kind_of_texts(values: pd.Series[Any]) -> Kind:
    there = values.dropna()
    first = there.iloc[0] if len(there) else None
    if isinstance(first, str) and first.startswith(_IDS):
        return "id"
    longest = max((len(each) for each in there.head(100) if isinstance(each, str)), default=0)
    return "words" if longest > 40 else "text"


def _is_missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, float) and bool(np.isnan(value))


def _words(value: Any, zone: tzinfo) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, timedelta | np.timedelta64):
        return _length(pd.Timedelta(value).total_seconds())
    if isinstance(value, datetime | np.datetime64):
        return moment_text(pd.Timestamp(value), zone)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        value = float(value)
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
    return _words_of_parts(value, zone)


def _words_of_parts(value: Any, zone: tzinfo) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        items = [cell(each, zone).text for each in value]
        more = f" and {len(items) - _ITEMS:,} more" if len(items) > _ITEMS else ""
        return f"{', '.join(items[:_ITEMS])}{more}" if items else "none"
    if isinstance(value, Mapping):
        return write_for_display(value)
    return str(value)


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"{len(value):,} bytes: {value[:24].hex(' ')}{' …' if len(value) > 24 else ''}"


def _length(seconds: float) -> str:
    """Return a length in its two largest units; below a minute as decimals."""
    sign, rest = ("-" if seconds < 0 else ""), abs(seconds)
    if rest < 1:
        return f"{sign}{rest * 1000:.4g} ms"
    if rest < 60:
        return f"{sign}{rest:.3g} s"
    parts, left = [], round(rest)
    for unit, size in _UNITS:
        count, left = divmod(left, int(size))
        parts.append((count, unit))
    first = next(at for at, (count, _) in enumerate(parts) if count)
    return sign + " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def _text(text: str, colour: str = "") -> Cell:
    shown = visible(text)
    if len(shown) <= _LONGEST:
        return Cell(shown, colour=colour)
    return Cell(f"{shown[:_LONGEST]}…", more=shown[:_MORE] + ("…" if len(shown) > _MORE else ""))
