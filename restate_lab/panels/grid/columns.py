"""The layout of grid columns: headers, widths, ages, countdowns and short ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeAlias

import pandas as pd

from restate_lab._cells import MISSING, Kind, cell, is_missing
from restate_lab._text import escape_invisible
from restate_lab.errors import ArgumentError
from restate_lab.panels.grid.table import GridTable

Form: TypeAlias = Kind | Literal["age", "countdown", "id"]

_SAMPLE = 50  # rows that determine the initial width of a column
_PER_CHARACTER, _PER_HEAD_CHARACTER, _AROUND, _DOT, _COPY = 7.6, 8.2, 15, 16, 18  # pixels
_NARROWEST, _WIDEST = 48, 460
_RELATIVE = {"age": 58, "countdown": 74}  # pixels of "2h 13m" and of "in 2h 13m"
_FLEX = 120  # minimum width of the flexible column in pixels
_LEAST_SHARE = 0.5  # minimum fraction of its width that a text column keeps on a narrow page
_SHORT = 12  # maximum length of an id that is shown in full
_LAST = 4  # characters at the end of a short id


@dataclass(frozen=True, slots=True)
class ColumnStyles:
    """The settings of a grid owner for columns, by column name.

    ``heads`` are the header texts. ``ages`` and ``countdowns`` contain timestamps: an age is the time since the
    timestamp ("36m"), a countdown the time until it ("in 4s"). ``ids`` are shown shortened. ``widths`` are in pixels.
    ``flex`` is the column that takes the remaining width; the other text columns then shrink on a narrow page.
    ``reasons`` maps columns to the column with the reason for a missing value, which is its tooltip.

    Raises:
        ArgumentError: a column is in more than one of ages, countdowns and ids.
    """

    heads: Mapping[str, str] = field(default_factory=dict)
    ages: Collection[str] = ()
    countdowns: Collection[str] = ()
    ids: Collection[str] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    flex: str | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject a column with two display forms."""
        names = [*self.ages, *self.countdowns, *self.ids]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ArgumentError(f"{', '.join(repeated)}: list a column in only one of ages, countdowns and ids.")

    def head(self, name: str) -> str:
        """Return the header text of a column."""
        return escape_invisible(self.heads.get(name, name), lines=False)

    def form(self, name: str, kind: Kind) -> Form:
        """Return the display form of the values of a column."""
        if name in self.ids:
            return "id"
        if kind == "time" and name in self.ages:
            return "age"
        return "countdown" if kind == "time" and name in self.countdowns else kind

    def for_view(self, value: Any, form: Form, zone: tzinfo, reason: Any = None) -> Any:
        """Return a cell in the format of the view.

        The cell is null, a text, or a list: the text, its tooltip and, for an age or a countdown, the timestamp in
        milliseconds since 1970, from which the view creates the text. ``reason`` is the tooltip of a missing value.
        """
        shown = cell(value, zone)
        if shown.text is None:
            return None if is_missing(reason) else [None, cell(reason, zone).text]
        if form == "id" and shown.text is not None:
            short = short_id(shown.text)
            return shown.text if short == shown.text and shown.more is None else [short, shown.more or shown.text]
        if form in {"age", "countdown"} and shown.text is not None:
            return [shown.text, shown.more or shown.text, _milliseconds(value)]
        return shown.text if shown.more is None else [shown.text, shown.more]


def short_id(text: str) -> str:
    """Return the prefix and the last characters of a long id: "inv_…k8Ep"."""
    if len(text) <= _SHORT:
        return text
    prefix, separator, _ = text.partition("_")
    start = prefix + separator if separator and len(prefix) <= _LAST else ""
    return f"{start}…{text[-_LAST:]}"


class ColumnLayout:
    """The widths of the columns: initial widths and widths set by the user."""

    def __init__(self, styles: ColumnStyles, zone: tzinfo) -> None:
        self.styles = styles
        self.zone = zone
        self._set: dict[str, int] = {}
        self._started: dict[str, int] = {}

    def widen(self, name: str, pixels: int) -> None:
        """Set the width of a column, which then no longer grows or shrinks."""
        self._set[name] = pixels

    def describe(self, table: GridTable, names: Sequence[str], shown: Sequence[str], key: str) -> list[dict[str, Any]]:
        """Return the description of each column in ``names`` for the view."""
        return [
            {
                "name": name,
                "label": self.styles.head(name),
                "form": self.styles.form(name, table.kinds[name]),
                "key": name == key,
                "shown": name in shown,
                **self._widths(table, name, shown),
            }
            for name in names
        ]

    def _widths(self, table: GridTable, name: str, shown: Sequence[str]) -> dict[str, Any]:
        if name in self._set:
            return {"width": self._set[name], "least": self._set[name], "flex": False}
        width = self.styles.widths.get(name) or self._start(table, name)
        if name == self.styles.flex:
            return {"width": max(width, _FLEX), "least": _FLEX, "flex": True}
        least = width
        if self.styles.flex in shown and self.styles.form(name, table.kinds[name]) == "text":
            least = min(width, max(self._head_width(name), round(width * _LEAST_SHARE)))
        return {"width": width, "least": least, "flex": False}

    def _start(self, table: GridTable, name: str) -> int:
        """Return the initial width of a column; it stays the same, so that a refresh does not move the text."""
        if name in self._started:
            return self._started[name]
        form = self.styles.form(name, table.kinds[name])
        if form in {"age", "countdown"}:
            return max(self._head_width(name), _RELATIVE[form] + _AROUND)
        cells = [self._text(table.value(at, name), form) for at in range(min(_SAMPLE, len(table)))]
        around = _AROUND + {"status": _DOT, "id": _COPY}.get(form, 0)
        longest = max(map(len, cells), default=0)
        width = max(self._head_width(name), round(longest * _PER_CHARACTER) + around)
        width = min(max(width, _NARROWEST), _WIDEST)
        if cells:
            self._started[name] = width
        return width

    def _text(self, value: Any, form: Form) -> str:
        text = cell(value, self.zone).text or MISSING
        return short_id(text) if form == "id" else text

    def _head_width(self, name: str) -> int:
        return round(len(self.styles.head(name)) * _PER_HEAD_CHARACTER) + _AROUND


def _milliseconds(value: Any) -> int | None:
    if is_missing(value):
        return None
    time: datetime = value if isinstance(value, datetime) else pd.Timestamp(value)
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
