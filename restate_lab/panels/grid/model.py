"""The data of a grid, without a widget: a frame, its order and filter, the selection, and the pages for views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from restate_lab._cells import cell, full_text
from restate_lab.analysis.ids import NEW_RUN
from restate_lab.errors import ArgumentError
from restate_lab.panels.grid.columns import ColumnLayout, ColumnStyles, Form
from restate_lab.panels.grid.table import Arrangement, GridTable, Lines, Positions, Selection, gather

_Line: TypeAlias = tuple[str, Any, Any]  # "row", its id and its run; or "group" and its value

_VIEWS = 4  # earlier views that a delayed message can refer to
_CHANGED = (
    "Rows were added, removed or moved just before this click, so nothing was selected. Check the rows and repeat."
)


class GridModel:
    """One frame with its order, filter and selection.

    ``values`` changes after every change of the cells. ``members`` changes only when other rows are shown or their
    order changes: a live table has new values every few seconds, but mostly the same members.

    Raises:
        ArgumentError: the frame has no usable ids, or a column or id does not exist; nothing has changed then.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        key: str,
        zone: tzinfo = UTC,
        *,
        run: str | None = None,
        styles: ColumnStyles | None = None,
        group: str | None = None,
        group_label: str | None = None,
    ) -> None:
        self.key = key
        self.run = run
        self.zone = zone
        self._group, self._group_label = group, group_label
        self.table = GridTable(frame, key, run)
        self.arrangement = Arrangement()
        self.selection = Selection(self.table)
        self._cleared: Selection | None = None  # the selection that `restore` restores
        self.values = 0
        self.members = 0
        self._chosen: list[str] | None = None
        self.layout = ColumnLayout(styles or ColumnStyles(), zone)
        # A view identifies a row by a number assigned here, because ids can be long, and because a view can then only
        # name rows that it has received. Each run of an id has its own number.
        self._numbers: dict[_Line, int] = {}
        self._numbered: list[_Line] = []
        self._is_grouped = group is not None
        self._expanded: set[Any] = set()  # values of the expanded groups
        self.order, self.lines = self._gather(self.table.order(self.arrangement, self.shown))
        self._sorted_order = self.order
        self._views = {0: self.table.index(self.order)}  # the ids of the last orders, by ``members``

    @property
    def is_out_of_order(self) -> bool:
        """Whether the rows were kept in an order that differs from the sort order."""
        return self.order is not self._sorted_order

    @property
    def shown(self) -> list[str]:
        """The visible columns, from left to right."""
        return self._present(self._chosen, self.table)

    def replace(self, frame: pd.DataFrame, *, keeps_order: bool = False) -> None:
        """Replace the frame; sort order, filter, columns and selection stay if the new frame has their columns and ids.

        With ``keeps_order`` rows do not move: the current rows stay in their order, and new ones come last.
        """
        table = GridTable(frame, self.key, self.run)
        selection = self.selection.over(table)
        cleared = None if self._cleared is None else self._cleared.over(table)
        sort, within = self.arrangement.sort, self.arrangement.within
        arrangement = replace(
            self.arrangement,
            sort=sort if sort in table.names else None,
            within=within if within in table.text_columns() else None,
        )
        by_sorting = table.order(arrangement, self._present(self._chosen, table))
        has_new_runs = self._has_new_runs(table)
        order = _keep_order(by_sorting, table.positions(self._views[self.members])) if keeps_order else by_sorting
        # All slow work is done, so an interrupt finds either the old frame or the new one.
        self.table, self.selection, self.arrangement = table, selection, arrangement
        self._cleared = cleared
        if has_new_runs:
            self._views = {}
        self._reorder(order, by_sorting)

    def sort_again(self) -> None:
        """Sort the rows again."""
        self._reorder(self._sorted_order)

    def arrange(self, arrangement: Arrangement) -> None:
        """Sort and filter."""
        self._check_names([name for name in (arrangement.sort, arrangement.within) if name is not None])
        if arrangement.within is not None and arrangement.within not in self.table.text_columns():
            raise ArgumentError(
                f"cannot filter {arrangement.within}, which has no text; "
                f"choose from {', '.join(self.table.text_columns())}."
            )
        order = self.table.order(arrangement, self.shown)
        self.arrangement = arrangement
        self._reorder(order)

    def choose(self, names: Sequence[str]) -> None:
        """Show these columns in this order."""
        self._check_names(names)
        if not names:
            raise ArgumentError("at least one column must stay visible.")
        chosen = list(dict.fromkeys(names))
        order = self.table.order(self.arrangement, chosen)
        self._chosen = chosen
        self._reorder(order)

    def toggle(self, name: str, *, shown: bool) -> None:
        """Show or hide a column; if the columns are in frame order, a shown column takes its place in that order."""
        self._check_names([name])
        names = [each for each in self.shown if each != name]
        in_frame_order = names == [each for each in self.table.names if each in names]
        if shown:
            names.append(name)
        self.choose(sorted(names, key=self.table.names.index) if in_frame_order else names)

    def widen(self, name: str, pixels: int) -> None:
        """Set the width of a column."""
        self._check_names([name])
        self.layout.widen(name, pixels)

    def select(self, ids: Sequence[Any]) -> None:
        """Select only these ids."""
        positions = self.table.positions(ids)
        absent = [str(each)[:80] for each, position in zip(ids, positions, strict=True) if position < 0]
        if absent:
            raise ArgumentError(
                f"{len(absent):,} ids are not in the table, for example {absent[0]!r}; nothing was selected."
            )
        self._change_selection().replace(positions)

    @property
    def cleared(self) -> int:
        """The number of rows that ``restore`` would select again."""
        return 0 if self._cleared is None else len(self._cleared)

    def clear(self) -> None:
        """Clear the selection; ``restore`` undoes this until another row is selected."""
        before = self.selection
        self.selection = Selection(self.table, revision=before.revision + 1)
        self._cleared = before if len(before) else None

    def restore(self) -> None:
        """Restore the selection from before it was cleared, for rows that the frame still has."""
        if self._cleared is not None:
            self._cleared.revision = self.selection.revision + 1
            self.selection, self._cleared = self._cleared, None

    def mark(self, number: int, *, on: bool) -> None:
        """Select or deselect one row, or all rows of a group, by its number."""
        line = self._line(number) if self._is_group(number) else None
        rows = np.array([self.position(number)]) if line is None else self.order[self.lines.members(line)]
        self._change_selection().set(rows.astype(np.int64), on=on)

    def mark_all(self, members: int, *, on: bool) -> None:
        """Select or deselect all rows that match the filter; ``members`` is the version that the user saw."""
        if members != self.members and not self._has_same_rows(members):
            raise ArgumentError(_CHANGED)
        self._change_selection().set(self.order, on=on)

    def extend(self, start: int, end: int, members: int) -> None:
        """Select the lines between two rows or groups; this replaces the last range from the same start."""
        origin = self._line(start)
        first, last = sorted((origin, self._line(end)))
        places = slice(self.lines.place(first), self.lines.end(last))
        if members != self.members and not self._has_same_range(members, places):
            raise ArgumentError(_CHANGED)
        self._change_selection().extend(self.order[places], int(self.order[self.lines.members(origin).start]))

    @property
    def is_grouped(self) -> bool:
        """Whether the rows of a group share one line; set it to False to show each row."""
        return self._is_grouped

    @is_grouped.setter
    def is_grouped(self, on: bool) -> None:
        self._is_grouped = on and self._group is not None
        self._reorder(self.table.order(self.arrangement, self.shown))

    def expand(self, number: int, *, on: bool) -> None:
        """Expand or collapse the rows of a group."""
        self._line(number)
        (self._expanded.add if on else self._expanded.discard)(self._numbered[number][1])
        self._reorder(self.order, self._sorted_order)

    def number(self, position: int) -> int:
        """Return the number that views use for the row."""
        return self._number(("row", self.table.id_at(position), self.table.run_at(position)))

    def position(self, number: int) -> int:
        """Return the position in the frame of the row with this number."""
        if number >= len(self._numbered) or self._is_group(number):
            raise ArgumentError("the view sent an unknown row number. Reload the page.")
        _, id_, run = self._numbered[number]
        position = int(self.table.positions([id_])[0])
        if position < 0:
            raise ArgumentError(f"{str(id_)[:80]} is no longer in the table.")
        if self.table.run_at(position) != run:
            raise ArgumentError(f"{str(id_)[:80]} now has {NEW_RUN} in the table; check it and repeat.")
        return position

    def id_of(self, number: int) -> Any:
        """Return the id of the row with this number."""
        self.position(number)
        return self._numbered[number][1]

    def place(self, number: int) -> int | None:
        """Return the current line of a row, or None if it is filtered out or gone."""
        try:
            return self._line(number)
        except ArgumentError:
            return None

    def rows_at(self, start: int, count: int) -> list[int]:
        """Return the positions in the frame of the rows on these lines."""
        lines = range(start, min(start + count, len(self.lines)))
        return [int(self.order[self.lines.place(line)]) for line in lines if self.lines.group(line) is None]

    def page(self, start: int, count: int) -> list[Any]:
        """Return the lines in the format of the view.

        A row is ``[number, selected, cells]``, plus true if it is below the line of its group;
        ``ColumnStyles.for_view`` creates the cells. The line of a group is a mapping.
        """
        forms = {name: self.layout.styles.form(name, self.table.kinds[name]) for name in self.shown}
        return [self._row_for_view(line, forms) for line in range(start, min(start + count, len(self.lines)))]

    def _row_for_view(self, line: int, forms: Mapping[str, Form]) -> Any:
        if self.lines.group(line) is not None:
            return self._group_for_view(line)
        position, styles = int(self.order[self.lines.place(line)]), self.layout.styles
        cells = [
            styles.draw(
                styles.for_view(self.table.value(position, name), form, self.zone, self._reason(position, name)),
                name,
                self._drawing(position, name),
            )
            for name, form in forms.items()
        ]
        row = [self.number(position), self.selection.has(position), cells]
        return [*row, True] if self.lines.is_member(line) else row

    def _reason(self, position: int, name: str) -> Any:
        reasons = self.layout.styles.reasons.get(name)
        return self.table.value(position, reasons) if reasons in self.table.names else None

    def _drawing(self, position: int, name: str) -> Any:
        drawing = self.layout.styles.drawings.get(name)
        return self.table.value(position, drawing) if drawing in self.table.names else None

    def _group_for_view(self, line: int) -> dict[str, Any]:
        places = self.lines.members(line)
        rows = self.order[places]
        value = self._group_of(int(rows[0]))
        chosen = self.selection.within(rows)
        label = "" if self._group_label not in self.table.names else self.table.value(int(rows[0]), self._group_label)
        return {
            "number": self._number(("group", value, None)),
            "size": len(rows),
            "label": cell(label, self.zone).text or "",
            "expanded": value in self._expanded,
            "checked": "none" if not chosen else "all" if chosen == len(rows) else "some",
        }

    def detail(self, number: int, name: str) -> str:
        """Return the full text of one cell, up to the limit of a page."""
        self._check_names([name])
        return full_text(self.table.value(self.position(number), name), self.zone)

    def columns(self) -> list[dict[str, Any]]:
        """Return the description of each column for the view, visible columns first."""
        names = [*self.shown, *(name for name in self._present(None, self.table) if name not in self.shown)]
        return self.layout.describe(self.table, names, self.shown, self.key)

    def _line(self, number: int) -> int:
        if self._is_group(number):
            return self._line_of_group(number)
        found = np.flatnonzero(self.order == self.position(number))
        if not len(found):
            raise ArgumentError(f"the filter hides {str(self._numbered[number][1])[:80]}.")
        return self.lines.line_of(int(found[0]))

    def _line_of_group(self, number: int) -> int:
        _, values = self.table.groups(self._group)
        code = int(values.get_indexer(pd.Index([self._numbered[number][1]]))[0])
        line = self.lines.line_of_group(code) if code >= 0 else None
        if line is None:
            raise ArgumentError("this group is no longer in the table.")
        return line

    def _number(self, line: _Line) -> int:
        if line not in self._numbers:
            self._numbers[line] = len(self._numbered)
            self._numbered.append(line)
        return self._numbers[line]

    def _is_group(self, number: int) -> bool:
        return number < len(self._numbered) and self._numbered[number][0] == "group"

    def _group_of(self, position: int) -> Any:
        codes, values = self.table.groups(self._group)
        return values[codes[position]]

    def _gather(self, order: Positions) -> tuple[Positions, Lines]:
        """Return the order with the rows of each group together, and the lines."""
        if not self._is_grouped:
            return order, Lines(len(order))
        codes, values = self.table.groups(self._group)
        gathered, codes = gather(order, codes)
        return gathered, Lines(len(order), codes, values.get_indexer(pd.Index(list(self._expanded))).tolist())

    def _reorder(self, order: Positions, by_sorting: Positions | None = None) -> None:
        lines = self.lines
        self.order, self.lines = self._gather(order)
        self._sorted_order = self.order if by_sorting is None else self._gather(by_sorting)[0]
        if self.is_out_of_order and np.array_equal(self.order, self._sorted_order):
            self._sorted_order = self.order
        self.values += 1
        view = self.table.index(self.order)
        before = self._views.get(self.members)
        if before is None or not view.equals(before) or not self.lines.equals(lines):
            self.members += 1
            self.selection.end_range()
        self._views[self.members] = view
        for oldest in list(self._views)[:-_VIEWS]:
            del self._views[oldest]

    def _change_selection(self) -> Selection:
        self._cleared = None
        return self.selection

    def _has_new_runs(self, table: GridTable) -> bool:
        """Return whether another table has another run of a visible row."""
        if self.run is None:
            return False
        theirs = table.positions(self._views[self.members])
        return bool(self.table.has_other_runs(self.order, table, theirs).any())

    def _has_same_rows(self, members: int) -> bool:
        """Return whether an earlier view had the current rows, in any order."""
        before, now = self._views.get(members), self._views[self.members]
        return before is not None and len(before) == len(now) and bool(now.isin(before).all())

    def _has_same_range(self, members: int, places: slice) -> bool:
        """Return whether an earlier view had the same rows in the same order as the current ones at these places."""
        before, now = self._views.get(members), self._views[self.members][places]
        if before is None or not len(now):
            return False
        start = int(before.get_indexer(now[:1])[0])
        return start >= 0 and bool(before[start : start + len(now)].equals(now))

    def _present(self, chosen: Sequence[str] | None, table: GridTable) -> list[str]:
        """Return the visible columns of a table: the chosen ones, or all except those of groups and drawings."""
        helpers = {self._group, self._group_label, *self.layout.styles.drawings.values()}
        names = [name for name in table.names if name not in helpers] or table.names
        return [name for name in chosen or names if name in table.names] or names

    def _check_names(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self.table.names]
        if unknown:
            raise ArgumentError(
                f"no column {', '.join(map(repr, unknown))} in the table; it has {', '.join(self.table.names)}."
            )


def _keep_order(by_sorting: Positions, before: Positions) -> Positions:
    """Return the rows of ``by_sorting``: first those of ``before`` in their order, then the others."""
    is_wanted = np.zeros(int(max(by_sorting.max(initial=-1), before.max(initial=-1))) + 1, dtype=np.bool_)
    is_wanted[by_sorting] = True
    kept = before[before >= 0]
    kept = kept[is_wanted[kept]]
    is_wanted[kept] = False
    return np.concatenate([kept, by_sorting[is_wanted[by_sorting]]])
