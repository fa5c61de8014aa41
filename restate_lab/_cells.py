r"""Format one value for people: in the grid, in reports, in the command line's tables, and in reprs.

This module chooses the text of a value, where it is truncated, and its full text. A renderer adds HTML classes,
colours, alignment and width. The other differences between renderers are a ``CellStyle``:

============  ===================================  ===================================  =========================
value         GRID                                 REPORT                               ``value_line`` (reprs)
============  ===================================  ===================================  =========================
missing       None; the renderer draws it          None; the renderer draws it          –
bool          true, false                          true, false                          True, False
integer       9007199254740993                     9,007,199,254,740,993                9007199254740993
float         10 digits; exact in the tooltip      4 digits                             exact
Decimal       exact                                exact                                exact
timestamp     seconds, in the zone; UTC, exact,    seconds, in the zone                 UTC, exact
              in the tooltip
duration      two units; exact in the tooltip      two units                            exact
bytes         UTF-8; other bytes as ``\xff``        as GRID                              as GRID
list          JSON                                 the first three, and how many more   all
dict          JSON                                 JSON                                 name: value
text, id      200 characters; 1,000 in the         300; 2,000                           the requested length
              tooltip
============  ===================================  ===================================  =========================

A report can be printed, and paper has no tooltips, so reports round and summarize. Text from a cluster is not trusted,
so ``escape_invisible`` writes invisible characters as codes. A repr must not load pandas and numpy, so this module does
not import them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache
from numbers import Integral, Rational, Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from restate_lab._text import escape_invisible, format_duration, format_timestamp, truncate

if TYPE_CHECKING:
    import pandas as pd

Kind: TypeAlias = Literal["text", "number", "time", "duration", "status"]
_Type: TypeAlias = Literal[
    "missing", "text", "bool", "integer", "float", "time", "duration", "bytes", "list", "dict", "other"
]

FULL = 65_536  # characters of a full text
MISSING = "–"
"""What a renderer draws for a missing value."""

_MAY_BE_NAN = _EXACT_IN_MORE = frozenset({"float", "time", "duration"})
_MAY_BE_EMPTY = frozenset({"text", "bytes", "list", "dict"})
_ITEMS = 3  # shown of a list in a report
_DEEP = "JSON, nested too deeply to be shown"
_MOST_DIGITS = 4_300  # Python's limit for converting between an integer and its text


@dataclass(frozen=True, slots=True)
class Cell:
    """The ``text`` of a value, None if it is missing; ``more`` is the complete text if ``text`` is shortened."""

    text: str | None
    more: str | None = None


@dataclass(frozen=True, slots=True)
class CellStyle:
    """The differences between renderers.

    ``longest`` and ``longest_more`` are the maximum number of characters of the text and of its longer text. With
    ``keeps_lines`` line ends are kept; otherwise the text is one line. With ``is_summary`` numbers are rounded and have
    thousands separators, and a list has its first items and the number of the others.
    """

    longest: int = 200
    longest_more: int = 1_000
    keeps_lines: bool = False
    is_summary: bool = False


GRID = CellStyle()
REPORT = CellStyle(longest=300, longest_more=2_000, keeps_lines=True, is_summary=True)


def kind_of(name: str, column: pd.Series[Any]) -> Kind:
    """Return the kind of a column, for its alignment and style; a status column has the colours of ``STATUSES``."""
    import pandas as pd  # noqa: PLC0415 - reprs use this module without pandas

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
    """Return whether the value is missing: None, NA, NaT or NaN."""
    return _is_missing(value, _type_of(type(value)))


def is_empty(column: pd.Series[Any]) -> bool:
    """Return whether a column has no value: each is missing, or is a text, list or mapping without content."""
    present = column.dropna()
    if present.dtype == "str":
        return not present.str.len().any()
    return all(_type_of(type(value)) in _MAY_BE_EMPTY and not len(value) for value in present)


def read_at(frame: pd.DataFrame) -> datetime | None:
    """Return when a frame was read, from its ``attrs``: by the clock of its source if it has that; None if unknown."""
    text = frame.attrs.get("read_at") or frame.attrs.get("asked_at")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def cell(value: Any, zone: tzinfo, style: CellStyle = GRID) -> Cell:
    """Return the short text of a value, with timestamps in ``zone``, and its longer text."""
    kind = _type_of(type(value))
    return Cell(None) if _is_missing(value, kind) else _CELLS.get(kind, _other)(value, zone, style)


def full_text(value: Any, zone: tzinfo) -> str:
    """Return the full text of a value with its line ends; above 65,536 characters it is truncated, with a note.

    The text of a missing value is "". Timestamps with a zone are in UTC and exact.
    """
    kind = _type_of(type(value))
    if _is_missing(value, kind):
        return ""
    if kind in _EXACT_IN_MORE:
        exact = cell(value, zone)
        return exact.more or exact.text or ""
    text = _text(value, kind, FULL + 1)
    size = len(value) if kind == "text" else None
    return _append_size_note(escape_invisible(text[:FULL]), is_cut=len(text) > FULL, size=size)


def value_line(value: Any, longest: int) -> str:
    """Return a value as one line of at most ``longest`` characters; a mapping or list has all its items."""
    kind = _type_of(type(value))
    if kind == "dict":
        parts = [
            f"{escape_invisible(str(name), lines=False)}: {value_line(each, longest)}" for name, each in value.items()
        ]
    elif kind == "list":
        parts = [value_line(each, longest) for each in value]
    elif kind == "bool":
        parts = [str(bool(value))]  # as in Python's own reprs
    else:
        parts = [MISSING if _is_missing(value, kind) else escape_invisible(full_text(value, UTC), lines=False) or "''"]
    text = ", ".join(parts) or "none"
    return truncate(text, longest)


def _classify(kind: type) -> _Type:
    """Return the type of a class's values; numpy's numbers are registered as Python numbers."""
    name, package = kind.__name__, kind.__module__.partition(".")[0]
    if kind is type(None) or (package == "pandas" and name in {"NAType", "NaTType"}):
        return "missing"
    if issubclass(kind, bool) or (package == "numpy" and name in {"bool", "bool_"}):
        return "bool"
    if package == "numpy" and name in {"datetime64", "timedelta64"}:
        return "time" if name == "datetime64" else "duration"
    if package == "numpy" and name == "ndarray":
        return "list"
    classes: tuple[tuple[Any, _Type], ...] = (
        (str, "text"),
        (datetime, "time"),
        (timedelta, "duration"),
        (Integral, "integer"),
        (Rational, "other"),
        (Real, "float"),
        (bytes | bytearray | memoryview, "bytes"),
        (list | tuple | set | frozenset, "list"),
        (Mapping, "dict"),
    )
    return next((each for base, each in classes if issubclass(kind, base)), "other")


_type_of: Callable[[Any], _Type] = cache(_classify)


def _is_missing(value: Any, kind: _Type) -> bool:
    return kind == "missing" or (kind in _MAY_BE_NAN and bool(value != value))  # noqa: PLR0124 - NaN and NaT


def _shorten(text: str, style: CellStyle, size: int | None = None) -> Cell:
    """Return the cell of a text, which has at most one character more than the longer text can have."""
    if len(text) <= style.longest and text.isprintable():  # nearly every text
        return Cell(text)
    short = escape_invisible(text[: style.longest], lines=style.keeps_lines)
    if len(text) > style.longest:
        longer = escape_invisible(text[: style.longest_more])
        return Cell(f"{short}…", _append_size_note(longer, is_cut=len(text) > style.longest_more, size=size))
    whole = escape_invisible(text)
    return Cell(short, whole if whole != short else None)


def _append_size_note(text: str, *, is_cut: bool, size: int | None) -> str:
    if not is_cut:
        return text
    return f"{text}…\n({size:,} characters in all)" if size is not None else f"{text}…\n(there is more)"


def _string(value: str, zone: tzinfo, style: CellStyle) -> Cell:  # noqa: ARG001 - one signature for all types
    return _shorten(str(value[: style.longest_more + 1]), style, len(value))


def _other(value: Any, zone: tzinfo, style: CellStyle) -> Cell:  # noqa: ARG001
    return _shorten(_text(value, _type_of(type(value)), style.longest_more + 1), style)


def _time(value: Any, zone: tzinfo, style: CellStyle) -> Cell:
    time: datetime = value if isinstance(value, datetime) else _to_pandas("Timestamp", value)
    short = format_timestamp(time, zone=zone, show_zone=False)
    if style.is_summary:
        return Cell(short)
    if time.tzinfo is None:
        return Cell(short, f"{time.isoformat()} (without a zone)")
    return Cell(short, time.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _duration(value: Any, zone: tzinfo, style: CellStyle) -> Cell:  # noqa: ARG001
    exact = value if isinstance(value, timedelta) else _to_pandas("Timedelta", value)
    duration = exact.to_pytimedelta() if hasattr(exact, "to_pytimedelta") else exact
    short, whole = format_duration(duration), format_duration(duration, exact=True)
    return Cell(short, None if short == whole or style.is_summary else whole)


def _to_pandas(kind: Literal["Timestamp", "Timedelta"], value: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - reprs use this module without pandas

    return getattr(pd, kind)(value)


def _integer(value: Any, zone: tzinfo, style: CellStyle) -> Cell:  # noqa: ARG001
    return Cell(f"{value:,}" if style.is_summary else str(value))


def _float(value: Any, zone: tzinfo, style: CellStyle) -> Cell:  # noqa: ARG001
    number = float(value)
    if style.is_summary:
        return Cell(f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.4g}")
    short = f"{number:.10g}"
    return Cell(short, repr(number) if float(short) != number else None)


def _list(value: Any, zone: tzinfo, style: CellStyle) -> Cell:
    """Return a list as JSON; in a summary, its first items and the number of the others."""
    if not style.is_summary:
        return _other(value, zone, style)
    items = list(value)
    first = ", ".join(cell(each, zone, style).text or MISSING for each in items[:_ITEMS])
    more = f" and {len(items) - _ITEMS:,} more" if len(items) > _ITEMS else ""
    return _shorten(f"{first}{more}" if items else "none", style)


_CELLS: dict[_Type, Callable[[Any, tzinfo, CellStyle], Cell]] = {
    "text": _string,
    "time": _time,
    "duration": _duration,
    "float": _float,
    "integer": _integer,
    "list": _list,
}


def _text(value: Any, kind: _Type, limit: int) -> str:
    """Return about the first ``limit`` characters; the rest of a longer value is not converted to text."""
    match kind:
        case "text":
            return str(value[:limit])
        case "bool":
            return "true" if value else "false"
        case "bytes":
            return bytes(value[:limit]).decode("utf-8", "backslashreplace")
        case "list" | "dict":
            return _json(value, limit)
        case _:
            return str(value)[:limit]


def _json(value: Any, limit: int) -> str:
    parts, length = [], 0
    try:
        for part in json.JSONEncoder(ensure_ascii=False, default=_to_json_value).iterencode(value):
            parts.append(part)
            length += len(part)
            if length >= limit:
                break
    except RecursionError:
        return _DEEP
    except (TypeError, ValueError):  # keys that are not text, or a value that contains itself
        return str(value)[:limit]
    return "".join(parts)[:limit]


def _to_json_value(value: Any) -> Any:
    """Return a JSON value for a value of another type: an exact one, or its text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Decimal):
        is_integer = value.is_finite() and value.adjusted() < _MOST_DIGITS and value == value.to_integral_value()
        return int(value) if is_integer else str(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)
