"""The table of a frame in a terminal: short ids, ages, the columns that fit, and long texts on lines of their own.

In a pipe, ``plain_lines`` has everything: each column under its own name, whole texts and ids, and exact times in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from restate_lab._cells import GRID, CellStyle, Kind, cell, full_text, is_missing, kind_of
from restate_lab._text import escape_invisible, format_ago, format_timestamp, plural, short_ids, verb_form
from restate_lab.document.bars import truncate_cells

GAP = "  "
_ROUNDED = CellStyle(is_summary=True)  # of a question; the rows of a statement are exact
_INDENT = " " * 4  # of a text below its row
_LONG = 40  # characters; a column with a longer text can move below the rows
_COMFORTABLE = 20  # columns; before a text is cut shorter than this, a less important column is omitted
_NARROWEST = 12
_PARTS_OF_TARGET = frozenset({"target_service_name", "target_handler_name", "target_service_key"})
_SPANS = frozenset({"day", "span_start"})  # the time is the name of a row, and not an age
_LESS_IMPORTANT = (
    "scope",
    "is_known",
    "service_protocol",
    "services",
    "invoked_by",
    "modified_at",
    "running_at",
    "entry_index",
    "created_at",
    "deployment_id",
    "example_id",
    "oldest_id",
)
"""Parts of the names of columns that a terminal omits first, in this order."""
HEADS: Mapping[str, str] = MappingProxyType(
    {
        "completion_failure": "failure",
        "holder_handler_name": "holder handler",
        "last_failure": "last error",
        "max_service_protocol_version": "protocol to",
        "min_service_protocol_version": "protocol from",
        "next_retry_at": "next try",
        "retry_count": "attempts",
        "service_key": "key",
        "service_name": "service",
        "target_handler_name": "handler",
        "target_service_key": "key",
        "target_service_name": "service",
    }
)
"""Column of a question → its heading in a terminal; other headings are the column names with spaces."""


@dataclass(frozen=True, slots=True)
class TableView:
    """How a terminal of ``width`` characters shows a frame.

    Ages count from ``now``. With ``has_names`` the headings are the names of the columns, and only an empty column is
    omitted although it would fit. ``columns`` are the names that are shown without ``is_wide``, in their order; None
    means all. ``is_wide`` shows every column, whatever the width of the terminal.
    """

    width: int
    now: datetime
    has_names: bool = False
    is_wide: bool = False
    has_full_ids: bool = False
    columns: Sequence[str] | None = None


@dataclass(slots=True, eq=False)
class _Column:
    name: str
    head: str
    cells: list[str]
    kind: Kind | Literal["id"]
    width: int = 0

    def __post_init__(self) -> None:
        self.width = max([cell_len(self.head), *map(cell_len, self.cells)])

    @property
    def may_shrink(self) -> bool:
        # The end is the handler of a target, the path of an endpoint, and the version of an SDK.
        needs_end = self.name in {"target", "endpoint", "sdk"} or self.name.endswith("_target")
        return self.kind == "text" and not (needs_end and self.width <= _LONG)

    @property
    def least(self) -> int:
        """Return the width to which the column may shrink before another column is omitted."""
        return min(self.width, max(_COMFORTABLE, cell_len(self.head))) if self.may_shrink else self.width

    def fit(self, text: str) -> str:
        text = truncate_cells(text, self.width)
        fill = " " * (self.width - cell_len(text))
        return fill + text if self.kind in {"number", "duration"} else text + fill


class TerminalTable:
    """The lines of a frame, and a note about what they do not show."""

    def __init__(self, frame: pd.DataFrame, view: TableView) -> None:
        self._frame, self._view = frame, view
        self._below: list[_Column] = []
        self._columns = _text_columns(frame, view)
        self._number = len(self._columns)
        self._empty = 0 if view.is_wide else self._omit_empty()
        self._is_vertical = len(frame) == 1 and not view.is_wide and _total(self._columns) > view.width
        if not self._is_vertical:
            self._arrange()

    @property
    def note(self) -> str:
        """Return which columns and parts of ids are missing, and the option that shows them; "" if nothing is."""
        missing = self._number - len(self._columns) - len(self._below)
        verb = verb_form(self._empty, "is", "are")
        empty = f" ({self._empty:,} {verb} empty)" if 0 < self._empty < missing else ""
        kind = "empty column" if self._empty == missing else "more column"
        parts = [f"{plural(missing, kind)}{empty}: --wide"] if missing else []
        is_short = not (self._is_vertical or self._view.has_full_ids)
        if is_short and any(each.kind == "id" for each in (*self._columns, *self._below)):
            parts.append("whole ids: --full-ids")
        return " · ".join(parts)

    def lines(self) -> Iterator[str]:
        """Yield a header, a rule, and each row; a single row that does not fit has a line for each column."""
        if self._is_vertical:
            yield from self._vertical()
            return
        yield GAP.join(column.fit(column.head) for column in self._columns).rstrip()
        if self._below:
            yield f"{_INDENT}{', '.join(column.head for column in self._below)}"
        yield GAP.join("─" * column.width for column in self._columns)
        for at in range(len(self._frame)):
            yield GAP.join(column.fit(column.cells[at]) for column in self._columns).rstrip()
            for text in filter(None, (column.cells[at] for column in self._below)):
                yield _INDENT + (text if self._view.is_wide else truncate_cells(text, self._view.width - len(_INDENT)))

    def _omit_empty(self) -> int:
        """Omit the columns without a value, and return their number; a table always keeps a column."""
        kept = [column for column in self._columns if any(column.cells)] or self._columns[:1]
        empty = len(self._columns) - len(kept) if len(self._frame) else 0
        self._columns = kept if empty else self._columns
        return empty

    def _arrange(self) -> None:
        """Move long texts below their rows, omit the least important columns, and shorten texts, until all fits."""
        view = self._view
        if not (view.has_names or view.is_wide):
            self._omit_repeated()
        for column in sorted(self._columns, key=lambda each: -each.width):
            if _total(self._columns) > view.width and len(self._columns) > 1 and _is_long(column):
                self._columns.remove(column)
                self._below.append(column)
        self._below.sort(key=lambda column: -column.width)
        if view.is_wide:
            return
        kept: list[_Column] = []
        for column in _by_importance(self._columns):
            if not kept or sum(each.least + len(GAP) for each in (*kept, column)) - len(GAP) <= view.width:
                kept.append(column)
        self._columns = [column for column in self._columns if column in kept]
        _shrink(self._columns, view.width)

    def _omit_repeated(self) -> None:
        """Omit columns that were not chosen, or whose texts are in another column, exactly or as a pattern."""
        names, order = {column.name for column in self._columns}, self._view.columns
        seen: set[tuple[str, ...]] = set()
        kept = []
        for column in self._columns:
            texts = tuple(text.removesuffix(" ago") for text in column.cells)
            is_known = column.name in _PARTS_OF_TARGET and "target" in names
            is_known |= column.name.startswith("example_") and column.name.removeprefix("example_") in names
            is_known |= column.name.endswith("_json") and column.name.removesuffix("_json") in names
            is_known |= column.name.endswith("_in") and f"{column.name.removesuffix('in')}at" in names
            is_chosen = order is None or column.name in order
            is_repeated = len(set(texts)) > 1 and texts in seen
            if is_chosen and not is_known and not is_repeated:
                kept.append(column)
                seen.add(texts)
        self._columns = sorted(kept, key=lambda column: order.index(column.name)) if order else kept

    def _vertical(self) -> Iterator[str]:
        margin = max(cell_len(column.head) for column in self._columns) + len(GAP)
        room = max(self._view.width - margin, _NARROWEST)
        console = Console(width=room)
        for column in self._columns:
            value, text = self._frame[column.name].iloc[0], column.cells[0]
            if column.kind in {"id", "text"}:
                text = escape_invisible(full_text(value, UTC), lines=False)
            elif column.kind == "time" and column.name not in _SPANS:
                text = f"{format_timestamp(value)} ({text})"
            first, *others = [line.plain.rstrip() for line in Text(text).wrap(console, room)] or [""]
            yield f"{column.head}{' ' * (margin - cell_len(column.head))}{first}".rstrip()
            yield from (f"{' ' * margin}{line}" for line in others)


def plain_lines(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a header, a rule, and one line per row, with every column and whole values, for a pipe or a file."""
    columns = [
        _Column(str(name), escape_invisible(str(name), lines=False), texts, kind_of(str(name), frame.iloc[:, at]))
        for at, name in enumerate(frame.columns)
        for texts in [[escape_invisible(full_text(value, UTC), lines=False) for value in frame.iloc[:, at]]]
    ]
    yield GAP.join(column.fit(column.head) for column in columns).rstrip()
    yield GAP.join("─" * column.width for column in columns)
    for at in range(len(frame)):
        yield GAP.join(column.fit(column.cells[at]) for column in columns).rstrip()


def _text_columns(frame: pd.DataFrame, view: TableView) -> list[_Column]:
    texts: list[list[str]] = []
    kinds: list[Kind] = []
    for at, name in enumerate(frame.columns):
        kinds.append(kind_of(str(name), frame.iloc[:, at]))
        texts.append(_texts(str(name), frame.iloc[:, at], kinds[-1], view))
    known = short_ids({text for cells in texts for text in cells})
    columns = []
    for name, cells, kind in zip(map(str, frame.columns), texts, kinds, strict=True):
        is_id = any(cells) and all(text in known for text in cells if text)
        head = name if view.has_names else _head(name, kind)
        shown = [known.get(text, text) for text in cells] if is_id and not view.has_full_ids else cells
        columns.append(_Column(name, escape_invisible(head, lines=False), shown, "id" if is_id else kind))
    return columns


def _texts(name: str, values: pd.Series[Any], kind: Kind, view: TableView) -> list[str]:
    """Return the texts of a column: a time is an age, and the time of a day is its date."""
    if kind == "time" and name not in _SPANS and getattr(values.dtype, "tz", None) is not None:
        return [_age(value, view.now) for value in values]
    style = GRID if view.has_names else _ROUNDED
    texts = [cell(value, UTC, style).text or "" for value in values]
    return [text.removesuffix(" 00:00:00") for text in texts] if name == "day" else texts


def _head(name: str, kind: Kind) -> str:
    """Return a readable heading; "created at" is "created", because the value is an age."""
    text = HEADS.get(name, name.replace("_", " "))
    if name in _SPANS and kind == "time":
        return f"{text} (UTC)"
    return text.removesuffix(" at") if kind == "time" else text


def _age(value: Any, now: datetime) -> str:
    return "" if is_missing(value) else format_ago(value, now)


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _is_long(column: _Column) -> bool:
    return column.may_shrink and column.width > _LONG


def _by_importance(columns: Sequence[_Column]) -> list[_Column]:
    """Return the first column, ids and statuses, the others from left to right, and the known ones."""

    def rank(column: _Column) -> int:
        if column is columns[0]:
            return 0
        known = [at for at, part in enumerate(_LESS_IMPORTANT) if part in column.name]
        if known:
            return 3 + len(_LESS_IMPORTANT) - known[0]
        return 1 if column.kind in {"id", "status"} else 2

    return sorted(columns, key=rank)


def _shrink(columns: Sequence[_Column], width: int) -> None:
    """Make the widest texts narrower until the columns fit, or are as narrow as possible."""
    for _ in range(max(_total(columns) - width, 0)):
        wide = [column for column in columns if column.may_shrink and column.width > _NARROWEST]
        if wide:
            max(wide, key=lambda column: column.width).width -= 1
