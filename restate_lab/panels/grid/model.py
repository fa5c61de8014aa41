"""What a grid holds, without a widget: a frame, how it is arranged, what is selected, and the pages that views see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any

import numpy as np
import pandas as pd

from restate_lab._cells import MISSING, Cell, cell, full_text
from restate_lab._text import escape_invisible
from restate_lab.analysis.ids import NEW_RUN
from restate_lab.errors import ArgumentError
from restate_lab.panels.grid.table import Arrangement, GridTable, Positions, Selection

__all__ = ["GridModel"]

_SAMPLE = 50  # rows that decide how wide a column starts
_PER_CHARACTER, _AROUND, _DOT = 7.6, 26, 16  # pixels
_NARROWEST, _WIDEST = 64, 460


class GridModel:
    """One frame, arranged; every change of what stands in which row gives another ``revision``.

    Raises:
        ArgumentError: a frame without usable ids, or a column or id that is not there; nothing has changed then.
    """

    def __init__(self, frame: pd.DataFrame, key: str, zone: tzinfo = UTC, *, run: str | None = None) -> None:
        self.key = key
        self.run = run
        self.zone = zone
        self.table = GridTable(frame, key, run)
        self.arrangement = Arrangement()
        self.selection = Selection(self.table)
        self.revision = 0
        self._chosen: list[str] | None = None
        self._widths: dict[str, int] = {}
        self._started_wide: dict[str, int] = {}
        # A view names a row by a number given here: ids can be long, and a view can only name what it was shown. Each
        # run of an id has a number of its own.
        self._numbers: dict[tuple[Any, Any], int] = {}
        self._numbered: list[tuple[Any, Any]] = []
        self.order: Positions = self.table.order(self.arrangement, self.shown)

    @property
    def shown(self) -> list[str]:
        """The columns that are shown, from left to right."""
        return _present(self._chosen, self.table)

    def replace(self, frame: pd.DataFrame) -> None:
        """Take another frame; order, filter, columns and selection stay, as far as it has their columns and ids."""
        table = GridTable(frame, self.key, self.run)
        selection = self.selection.over(table)
        sort, within = self.arrangement.sort, self.arrangement.within
        arrangement = replace(
            self.arrangement,
            sort=sort if sort in table.names else None,
            within=within if within in table.text_columns() else None,
        )
        order = table.order(arrangement, _present(self._chosen, table))
        # All that takes long is done: the stop button finds either the old frame or the new one.
        self.table, self.selection, self.arrangement = table, selection, arrangement
        self._reorder(order)

    def arrange(self, arrangement: Arrangement) -> None:
        """Sort and filter."""
        self._known([name for name in (arrangement.sort, arrangement.within) if name is not None])
        if arrangement.within is not None and arrangement.within not in self.table.text_columns():
            raise ArgumentError(f"{arrangement.within} has no text: filter {', '.join(self.table.text_columns())}.")
        order = self.table.order(arrangement, self.shown)
        self.arrangement = arrangement
        self._reorder(order)

    def choose(self, names: Sequence[str]) -> None:
        """Show these columns, in this order."""
        self._known(names)
        if not names:
            raise ArgumentError("no column is left: at least one stays.")
        chosen = list(dict.fromkeys(names))
        order = self.table.order(self.arrangement, chosen)
        self._chosen = chosen
        self._reorder(order)

    def toggle(self, name: str, *, shown: bool) -> None:
        """Show a column or not; one that comes back takes its place in the frame's order, where that is in use."""
        self._known([name])
        names = [each for each in self.shown if each != name]
        in_frame_order = names == [each for each in self.table.names if each in names]
        if shown:
            names.append(name)
        self.choose(sorted(names, key=self.table.names.index) if in_frame_order else names)

    def widen(self, name: str, pixels: int) -> None:
        """Set the width of a column."""
        self._known([name])
        self._widths[name] = pixels

    def select(self, ids: Sequence[Any]) -> None:
        """Select these ids and no others."""
        positions = self.table.positions(ids)
        absent = [str(each)[:80] for each, position in zip(ids, positions, strict=True) if position < 0]
        if absent:
            raise ArgumentError(f"{len(absent):,} ids are not in the table, as {absent[0]!r}: nothing was selected.")
        self.selection.replace(positions)

    def mark(self, number: int, *, on: bool) -> None:
        """Select one row by its number, or take it out."""
        self.selection.set(np.array([self.position(number)], dtype=np.int64), on=on)

    def extend(self, start: int, end: int) -> None:
        """Select the lines between two rows, in place of the last range from the same start."""
        self.selection.extend(self.order, self._line(start), self._line(end))

    def number(self, position: int) -> int:
        """Return the number by which views name the row."""
        each = self.table.id_at(position), self.table.run_at(position)
        if each not in self._numbers:
            self._numbers[each] = len(self._numbered)
            self._numbered.append(each)
        return self._numbers[each]

    def position(self, number: int) -> int:
        """Return where the row with this number stands in the frame."""
        if number >= len(self._numbered):
            raise ArgumentError("the view names a row that it was never shown. Reload the page.")
        id_, run = self._numbered[number]
        found = int(self.table.positions([id_])[0])
        if found < 0:
            raise ArgumentError(f"{str(id_)[:80]} is not in the table any more.")
        if self.table.run_at(found) != run:
            raise ArgumentError(f"{str(id_)[:80]} has {NEW_RUN} in the table by now: look at it and repeat.")
        return found

    def id_of(self, number: int) -> Any:
        """Return the id of the row with this number."""
        self.position(number)
        return self._numbered[number][0]

    def place(self, number: int) -> int | None:
        """Return in which line a row stands now, None where it is filtered out or gone."""
        try:
            return self._line(number)
        except ArgumentError:
            return None

    def page(self, start: int, count: int) -> list[list[Any]]:
        """Return ``[number, selected, cells]`` for each line: a cell is null, a text, or a text and its tooltip."""
        names = self.shown
        return [
            [
                self.number(position),
                self.selection.has(position),
                [_sent(cell(self.table.value(position, name), self.zone)) for name in names],
            ]
            for position in self.order[start : start + count].tolist()
        ]

    def detail(self, number: int, name: str) -> str:
        """Return all of one cell, as far as a page can bear it."""
        self._known([name])
        return full_text(self.table.value(self.position(number), name), self.zone)

    def columns(self) -> list[dict[str, Any]]:
        """Return what a view needs to know of each column, those that are shown first."""
        shown = self.shown
        hidden = [name for name in self.table.names if name not in shown]
        searched = set(self.table.text_columns())
        return [
            {
                "name": name,
                "label": escape_invisible(name, lines=False),
                "kind": self.table.kinds[name],
                "key": name == self.key,
                "shown": name in shown,
                "searched": name in searched,
                "width": self._widths.get(name) or self._width(name),
            }
            for name in [*shown, *hidden]
        ]

    def _width(self, name: str) -> int:
        """Return the width a column starts with; it stays, so that a refresh does not move what somebody reads."""
        if name not in self._started_wide:
            cells = [
                cell(self.table.value(at, name), self.zone).text or MISSING
                for at in range(min(_SAMPLE, len(self.table)))
            ]
            longest = max([len(name) + 3, *map(len, cells)])
            around = _AROUND + (_DOT if self.table.kinds[name] == "status" else 0)
            width = min(max(round(longest * _PER_CHARACTER) + around, _NARROWEST), _WIDEST)
            if not cells:
                return width
            self._started_wide[name] = width
        return self._started_wide[name]

    def _line(self, number: int) -> int:
        found = np.flatnonzero(self.order == self.position(number))
        if not len(found):
            raise ArgumentError(f"the filter hides {str(self._numbered[number][0])[:80]}.")
        return int(found[0])

    def _reorder(self, order: Positions) -> None:
        self.order = order
        self.revision += 1
        self.selection.end_range()

    def _known(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self.table.names]
        if unknown:
            raise ArgumentError(
                f"no column {', '.join(map(repr, unknown))} in the table; it has {', '.join(self.table.names)}."
            )


def _present(chosen: Sequence[str] | None, table: GridTable) -> list[str]:
    if chosen is None:
        return list(table.names)
    return [name for name in chosen if name in table.names] or list(table.names)


def _sent(shown: Cell) -> Any:
    return shown.text if shown.more is None else [shown.text, shown.more]
