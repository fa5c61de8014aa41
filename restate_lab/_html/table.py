"""Show a frame as a static table: ``show()`` for notebooks, and the renderer of grids without a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from restate_lab._cells import GRID, MISSING, CellStyle, cell, is_empty, kind_of, read_at
from restate_lab._html import render
from restate_lab._public import explained
from restate_lab._text import escape_invisible, format_ago, format_timestamp, join, plural
from restate_lab.errors import ArgumentError
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    import pandas as pd

ROWS = 100
ColumnKind: TypeAlias = Literal["text", "number", "time", "duration", "status", "id", "long"]
_LONG = 45  # characters; a longer text may not fit into its column
_MOST_NAMES = 12  # of columns without a value


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a table: its heading, and the kind of its values."""

    name: str
    kind: ColumnKind

    @property
    def is_number(self) -> bool:
        """Return whether the values are numbers or durations, which are aligned at the right."""
        return self.kind in {"number", "duration"}


@dataclass(frozen=True, slots=True)
class TableCell:
    """One value as text; a missing value is a dash. ``more`` is the full text if ``text`` is shortened.

    ``colour`` is the color of a status. With ``is_folded``, a click shows ``more`` in the table. ``link`` is an address
    that the text opens.
    """

    text: str
    more: str = ""
    colour: str = ""
    is_missing: bool = False
    is_folded: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class ShownFrame:
    """A frame that a notebook shows as a readable table; ``show()`` makes it."""

    frame: pd.DataFrame
    rows: int

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str:
        return frame_html(self.frame, rows=self.rows)


@explained
def show(frame: pd.DataFrame, /, *, rows: int = ROWS) -> ShownFrame:
    """Show a frame as a readable table: short ids, colored statuses, times as ages, right-aligned numbers.

    Copying a short id copies the full id. Tooltips show full ids and exact times in UTC, and a click unfolds a long
    text. Ages count from the time at which the frame was read; a frame without this time shows UTC times instead.
    Columns without any value are omitted, and a line names them. ``rows`` is the maximum number of rows, from the
    first. The frame itself does not change; ``.frame`` returns it.

    After ``%load_ext restate_lab``, a notebook shows frames of restate_lab in this way without a call.

    Raises:
        ArgumentError: this is not a DataFrame, or ``rows`` is not a positive number.
    """
    if not hasattr(frame, "columns"):
        raise ArgumentError(f"show() needs a DataFrame; got {type(frame).__name__!r}.")
    if rows < 1:
        raise ArgumentError(f"rows is {rows!r}; use a whole number, 1 or more.")
    return ShownFrame(frame, rows)


def frame_html(frame: pd.DataFrame, *, rows: int, advice: str = "") -> str:
    """Return the first rows of a frame as an HTML table, with lines about the rows and columns that are not shown.

    ``advice`` is added to the number of rows if there are more.
    """
    whole = frame.copy(deep=False)
    whole.attrs = {}  # pandas would copy the attrs for each column
    first = index_to_columns(whole.head(rows))
    if first.columns.nlevels > 1:
        first = first.set_axis([" ".join(map(str, each)) for each in first.columns], axis=1)
    more = f"The first {rows:,} of {len(frame):,} rows{advice}." if len(frame) > rows else ""
    added = first.shape[1] - whole.shape[1]  # the columns of the index
    empty = {at for at in range(first.shape[1]) if _is_empty(first, whole, at, added)} if len(frame) else set()
    shown = [at for at in range(first.shape[1]) if at not in empty]
    hidden = join((str(first.columns[at]) for at in sorted(empty)), _MOST_NAMES)
    return render_table(
        [TableColumn(str(first.columns[at]), kind_of(str(first.columns[at]), first.iloc[:, at])) for at in shown],
        first.iloc[:, shown].itertuples(index=False, name=None),
        lines=[more or f"{plural(len(frame), 'row')}.", *([f"Without a value: {hidden}."] if hidden else [])],
        now=read_at(frame),
    )


def _is_empty(first: pd.DataFrame, whole: pd.DataFrame, at: int, added: int) -> bool:
    """Return whether a column is empty; the other rows are only read if the first ones have no value."""
    return at >= added and is_empty(first.iloc[:, at]) and is_empty(whole.iloc[:, at - added])


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
    note = [f"Ages count from {format_timestamp(now)}."] if now and any(each.kind == "time" for each in columns) else []
    return render(
        "_html/table.html.j2",
        lines=[*lines, *note],
        columns=[replace(each, name=_heading(each, zone, is_age=now is not None)) for each in columns],
        rows=[[_cell(value, each.kind, zone, now) for value, each in zip(row, columns, strict=True)] for row in rows],
        marks=list(marks),
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
        return TableCell(format_ago(value, now), format_timestamp(value, exact=True))
    is_long = kind in {"text", "long"} and len(shown.text) > _LONG
    return replace(shown, more=shown.more or shown.text, is_folded=True) if is_long else shown


def index_to_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index as the first columns; integers without a name only number the rows.

    Raises:
        ArgumentError: a column has the name of the index.
    """
    import pandas as pd  # noqa: PLC0415 - notebooks load the package without pandas

    index = frame.index
    is_numbered = index.empty or pd.api.types.is_integer_dtype(index.dtype)
    if is_numbered and all(name is None for name in index.names):
        return frame.reset_index(drop=True)
    try:
        return frame.reset_index()
    except ValueError as error:
        raise ArgumentError(
            f"the index cannot become a column: {error}. Rename it, or remove it with reset_index(drop=True)."
        ) from error
