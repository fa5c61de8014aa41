"""The layout of grid columns: headers, widths, ages, countdowns and short ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, TypeAlias

import pandas as pd

from restate_lab._cells import MISSING, Kind, cell, is_missing
from restate_lab._text import escape_invisible, shorten_id
from restate_lab.errors import ArgumentError
from restate_lab.panels.grid.table import GridTable

Form: TypeAlias = Kind | Literal["age", "countdown", "id"]

_SAMPLE = 50  # rows that determine the initial width of a column
_PER_CHARACTER, _PER_HEAD_CHARACTER, _AROUND, _DOT, _COPY = 8.2, 7.6, 19, 16, 18  # pixels, in a wide font
_NARROWEST, _WIDEST = 48, 460
_DRAWING = 82  # pixels of a bar or a line with its margin
_RELATIVE = {"age": 58, "countdown": 74}  # pixels of "2h 13m" and of "in 2h 13m"
_FLEX = 120  # minimum width of the flexible column in pixels
_LEAST_SHARE = 0.5  # minimum fraction of its width that a text column keeps on a narrow page


@dataclass(frozen=True, slots=True)
class ColumnStyles:
    """The settings of a grid owner for columns, by column name.

    ``heads`` are the header texts. ``ages`` and ``countdowns`` contain timestamps: an age is the time since the
    timestamp ("36m"), a countdown the time until it ("in 4s"). ``ids`` are shown shortened. ``widths`` are in pixels.
    ``flex`` is the column that takes the remaining width; without it, all text columns share that width. Text is cut
    only if the columns do not fit. ``narrow`` has the columns that then leave the table, in this order, with the column
    under whose text each is shown ("" if nowhere). ``reasons`` maps columns to the column with the reason for a missing
    value, which is its tooltip. ``bars`` and ``lines`` map columns to the column with a drawing before their text: for
    a bar, the four lengths of its parts and the place of its mark (-1 for none) as shares of 1; for a line, its
    numbers. The grid does not list the columns with drawings.

    Raises:
        ArgumentError: a column is in more than one of ages, countdowns and ids.
    """

    heads: Mapping[str, str] = field(default_factory=dict)
    ages: Collection[str] = ()
    countdowns: Collection[str] = ()
    ids: Collection[str] = ()
    widths: Mapping[str, int] = field(default_factory=dict)
    flex: str | None = None
    narrow: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    bars: Mapping[str, str] = field(default_factory=dict)
    lines: Mapping[str, str] = field(default_factory=dict)

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

    @property
    def drawings(self) -> Mapping[str, str]:
        """Return the column with the drawing of each column that has one."""
        return {**self.bars, **self.lines}

    def draw(self, shown: Any, name: str, drawing: Any) -> Any:
        """Return a cell in the format of the view with its drawing: a list whose last part is the drawing."""
        if drawing is None or isinstance(drawing, float):
            return shown
        text, more = shown if isinstance(shown, list) else [shown, shown]
        return [text, more, None, {"bar" if name in self.bars else "line": [float(each) for each in drawing]}]

    def for_view(self, value: Any, form: Form, zone: tzinfo, reason: Any = None) -> Any:
        """Return a cell in the format of the view.

        The cell is null, a text, or a list: the text, its tooltip and, for an age or a countdown, the timestamp in
        milliseconds since 1970, from which the view creates the text. ``reason`` is the tooltip of a missing value.
        """
        shown = cell(value, zone)
        if shown.text is None:
            return None if is_missing(reason) else [None, cell(reason, zone).text]
        if form == "id" and shown.text is not None:
            short = shorten_id(shown.text)
            return shown.text if short == shown.text and shown.more is None else [short, shown.more or shown.text]
        if form in {"age", "countdown"} and shown.text is not None:
            return [shown.text, shown.more or shown.text, _milliseconds(value)]
        return shown.text if shown.more is None else [shown.text, shown.more]


class ColumnLayout:
    """The widths of the columns: initial widths and widths set by the user."""

    def __init__(self, styles: ColumnStyles, zone: tzinfo) -> None:
        self.styles = styles
        self.zone = zone
        self._set: dict[str, int] = {}
        self._natural: dict[str, tuple[GridTable, int]] = {}

    def widen(self, name: str, pixels: int) -> None:
        """Set the width of a column, which then no longer grows or shrinks."""
        self._set[name] = pixels

    def describe(self, table: GridTable, names: Sequence[str], shown: Sequence[str], key: str) -> list[dict[str, Any]]:
        """Return the description of each column in ``names`` for the view."""
        leaving = {name: at for at, name in enumerate(self.styles.narrow)}
        return [
            {
                "name": name,
                "label": self.styles.head(name),
                "form": self.styles.form(name, table.kinds[name]),
                "key": name == key,
                "shown": name in shown,
                "leaves": leaving.get(name),
                "under": self.styles.narrow.get(name, ""),
                **self._widths(table, name),
            }
            for name in names
        ]

    def _widths(self, table: GridTable, name: str) -> dict[str, Any]:
        if name in self._set:
            return {"width": self._set[name], "least": self._set[name], "grows": False, "flex": False}
        width = self.styles.widths.get(name) or self._width_of_content(table, name)
        width += _DRAWING if name in self.styles.drawings and name not in self.styles.widths else 0
        if name == self.styles.flex:
            return {"width": width, "least": min(width, _FLEX), "grows": True, "flex": True}
        is_text = self.styles.form(name, table.kinds[name]) == "text"
        least = min(width, max(self._head_width(name), round(width * _LEAST_SHARE))) if is_text else width
        return {"width": width, "least": least, "grows": is_text, "flex": False}

    def _width_of_content(self, table: GridTable, name: str) -> int:
        """Return the width of the longest text so far: a refresh with shorter texts does not move the columns."""
        form = self.styles.form(name, table.kinds[name])
        if form in {"age", "countdown"}:
            return max(self._head_width(name), _RELATIVE[form] + _AROUND)
        measured, before = self._natural.get(name, (None, 0))
        if measured is table:
            return before
        cells = [self._text(table.value(at, name), form) for at in range(min(_SAMPLE, len(table)))]
        around = _AROUND + {"status": _DOT, "id": _COPY}.get(form, 0)
        longest = max(map(len, cells), default=0)
        width = max(self._head_width(name), round(longest * _PER_CHARACTER) + around)
        width = max(before, min(max(width, _NARROWEST), _WIDEST))
        if cells:
            self._natural[name] = table, width
        return width

    def _text(self, value: Any, form: Form) -> str:
        text = cell(value, self.zone).text or MISSING
        return shorten_id(text) if form == "id" else text

    def _head_width(self, name: str) -> int:
        return round(len(self.styles.head(name)) * _PER_HEAD_CHARACTER) + _AROUND


def _milliseconds(value: Any) -> int | None:
    if is_missing(value):
        return None
    time: datetime = value if isinstance(value, datetime) else pd.Timestamp(value)
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
