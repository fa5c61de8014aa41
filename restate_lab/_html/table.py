"""Show a frame as a static table: ``show()`` for notebooks, and the renderer of grids without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from restate_lab._cells import GRID, MISSING, CellStyle, cell, kind_of
from restate_lab._html import render
from restate_lab._text import escape_invisible, format_age, format_timestamp
from restate_lab.errors import ArgumentError
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    import pandas as pd

ROWS = 100
ColumnKind: TypeAlias = Literal["text", "number", "time", "duration", "status", "id", "long"]
_RIGHT: frozenset[ColumnKind] = frozenset({"number", "duration"})
_LONG = 45  # characters; a longer text may not fit into its column


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a table: its heading, and the kind of its values."""

    name: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class TableCell:
    """One value as text; a missing value is a dash. ``more`` is the full text if ``text`` is shortened.

    ``colour`` is the color of a status.
    """

    text: str
    more: str = ""
    colour: str = ""
    is_missing: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class ShownFrame:
    """A frame that a notebook shows as a readable table; ``show()`` makes it."""

    frame: pd.DataFrame
    rows: int

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str:
        frame = _with_index(self.frame)
        kinds = [kind_of(str(name), frame.iloc[:, at]) for at, name in enumerate(frame.columns)]
        first = frame.head(self.rows)
        more = [f"The first {self.rows:,} of {len(frame):,} rows."] if len(frame) > self.rows else []
        return render_table(
            [TableColumn(str(name), kind) for name, kind in zip(frame.columns, kinds, strict=True)],
            zip(*(list(first.iloc[:, at]) for at in range(first.shape[1])), strict=True),
            lines=more or [f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'}."],
            now=_read_at(self.frame),
        )


def show(frame: pd.DataFrame, /, *, rows: int = ROWS) -> ShownFrame:
    """Show a frame as a readable table: short ids, colored statuses, times as ages, right-aligned numbers.

    Copying a short id copies the full id. Tooltips show full ids, exact times in UTC, and the full text of truncated
    values. Ages count from the time at which the frame was read; a frame without this time shows UTC times instead.
    ``rows`` is the maximum number of rows, from the first. The frame itself does not change; ``.frame`` returns it.

    Raises:
        ArgumentError: this is not a DataFrame, or ``rows`` is not a positive number.
    """
    if not hasattr(frame, "columns"):
        raise ArgumentError(f"show() needs a DataFrame; got {type(frame).__name__!r}.")
    if rows < 1:
        raise ArgumentError(f"rows is {rows!r}; use a whole number, 1 or more.")
    return ShownFrame(frame, rows)


def render_table(
    columns: Sequence[TableColumn],
    rows: Iterable[Sequence[Any]],
    *,
    zone: tzinfo = UTC,
    now: datetime | None = None,
    lines: Sequence[str] = (),
    marks: Iterable[str] = (),
) -> str:
    """Return rows of values as an HTML table below lines of text.

    With ``now``, timestamps are shown as ages; otherwise they are in ``zone``. ``marks`` has a text for each row, shown
    in a first column without a heading.
    """
    marked = list(marks)
    note = [f"Ages count from {format_timestamp(now)}."] if now and any(each.kind == "time" for each in columns) else []
    return render(
        "_html/table.html.j2",
        lines=[*lines, *note],
        heads=[_heading(each, zone, is_age=now is not None) for each in columns],
        rows=[[_cell(value, each.kind, zone, now) for value, each in zip(row, columns, strict=True)] for row in rows],
        sides=["right" if each.kind in _RIGHT else "left" for each in columns],
        marks=marked,
    )


def _heading(column: TableColumn, zone: tzinfo, *, is_age: bool) -> str:
    name = escape_invisible(column.name, lines=False)
    return f"{name} ({zone})" if column.kind == "time" and not is_age else name


def table_cell(value: Any, kind: ColumnKind, zone: tzinfo, style: CellStyle = GRID) -> TableCell:
    """Return one value as text; a status also has its color."""
    shown = cell(value, zone, style)
    if shown.text is None:
        return TableCell(MISSING, is_missing=True)
    is_status = kind == "status" and shown.text in STATUSES
    return TableCell(shown.text, shown.more or "", STATUSES[shown.text].colour if is_status else "")


def _cell(value: Any, kind: ColumnKind, zone: tzinfo, now: datetime | None) -> TableCell:
    """Return a value for a notebook: an age if there is a time to count from, and the tooltip of a long text."""
    shown = table_cell(value, kind, zone)
    if kind == "time" and now is not None and not shown.is_missing and getattr(value, "tzinfo", None) is not None:
        return TableCell(_relative(value, now), format_timestamp(value, exact=True))
    return shown if shown.more or len(shown.text) <= _LONG else replace(shown, more=shown.text)


def _relative(value: datetime, now: datetime) -> str:
    return f"in {format_age(now, value)}" if value > now else f"{format_age(value, now)} ago"


def _read_at(frame: pd.DataFrame) -> datetime | None:
    """Return when a frame was read, from its ``attrs``, or None."""
    text = frame.attrs.get("now") or frame.attrs.get("read_at")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as first columns, unless the index only numbers the rows."""
    names = [name for name in frame.index.names if name is not None]
    is_plain = not names and all(isinstance(each, int) for each in islice(frame.index, 1))
    frame = frame if is_plain else frame.set_axis(frame.index.rename(_index_names(frame)), axis=0).reset_index()
    if frame.columns.nlevels == 1:
        return frame
    return frame.set_axis([" ".join(map(str, each)) for each in frame.columns], axis=1)


def _index_names(frame: pd.DataFrame) -> Any:
    names = [f"index {at}" if name is None else name for at, name in enumerate(frame.index.names)]
    return names if len(names) > 1 else "index" if frame.index.name is None else frame.index.name
