"""The grid of every panel: rows in the kernel, in the browser only what is in view; selection by id.

A click or Enter opens a row; the box in front, Space, Ctrl-click, Shift-click and Ctrl-A select, so that neither is in
the way of the other. ``grid.js`` is the view, ``messages.py`` defines the messages between the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import anywidget
import pandas as pd

from restate_lab.errors import ArgumentError
from restate_lab.panels._assets import read_assets
from restate_lab.panels.grid.columns import ColumnStyles
from restate_lab.panels.grid.controller import GridController, GridOptions, cut_off
from restate_lab.panels.grid.model import GridModel
from restate_lab.panels.grid.static import static_table
from restate_lab.panels.grid.table import Arrangement

__all__ = ["Grid"]


class Grid(anywidget.AnyWidget):
    """Show a frame with an id in every row, one line for each row; a million rows are usable.

    ``key`` names the column with the ids: texts or integers, without nulls and duplicates. ``noun`` is what the rows
    are, ``one`` what one of them is where that is not the noun without its s. ``columns`` are those that are shown.
    ``height`` is the greatest height in pixels, by default 60 % of the window. ``tz`` is the zone of the times; their
    tooltips have UTC. With ``is_read=False`` gray bars are shown until the first ``refresh``. ``run`` names a column
    that tells the runs of a reused id apart: a selected row is deselected when a refresh brings another run of its id.

    ``heads`` are the texts of the header by column. ``ages`` and ``countdowns`` are columns with timestamps that are
    shown as "36m" and "in 4s", the exact UTC in the tooltip; the browser keeps them current. ``ids`` are columns that
    are shown short ("inv_…k8Ep") with a button that copies. ``widths`` are in pixels; ``flex`` is the column that takes
    the remaining width.

    ``group`` is a column whose equal values make a group: of three rows or more the first one is shown, and a line
    "14 more like it" that expands and selects them. ``group_label`` is a column with a text for that line, such as
    "same step, same error". Rows without a value are not grouped.

    ``empty`` is the text of a table without rows, by default "No invocations."; ``placeholder`` the text in the empty
    filter. ``bar=False`` leaves out the bar with the filter and the list of columns, for an owner that has its own.
    ``compact=True`` is for a short table within a panel: it has no bar and no check boxes.

    A grid may be used from any thread. A frame is shown as it is: mask secrets before.

    Raises:
        ArgumentError: the frame has no such column, a null or a repeated id in it, or a column without a usable name.
    """

    _esm = read_assets(
        "_assets/elements.js",
        "grid/rows.js",
        "grid/cells.js",
        "grid/columns.js",
        "grid/filter.js",
        "grid/bar.js",
        "grid/keys.js",
        "grid/detail.js",
        "grid/viewport.js",
        "grid/interactions.js",
        "grid/grid.js",
    )
    _css = read_assets("_assets/colours.css", "grid/grid.css")

    def __init__(
        self,
        frame: pd.DataFrame | None = None,
        *,
        key: str = "id",
        noun: str = "rows",
        one: str | None = None,
        columns: Sequence[str] | None = None,
        height: int | None = None,
        tz: str = "UTC",
        is_read: bool = True,
        run: str | None = None,
        heads: Mapping[str, str] | None = None,
        ages: Collection[str] = (),
        countdowns: Collection[str] = (),
        ids: Collection[str] = (),
        widths: Mapping[str, int] | None = None,
        flex: str | None = None,
        group: str | None = None,
        group_label: str | None = None,
        empty: str = "",
        placeholder: str = "Filter",
        compact: bool = False,
        bar: bool = True,
    ) -> None:
        first = pd.DataFrame({key: pd.Series([], dtype="str")}) if frame is None else frame
        styles = ColumnStyles(heads or {}, ages, countdowns, ids, widths or {}, flex)
        model = GridModel(first, key, _zone(tz), run=run, styles=styles, group=group, group_label=group_label)
        if columns is not None:
            model.choose(columns)
        options = GridOptions(noun, height, tz, compact, bar, placeholder, empty=empty, is_read=is_read)
        options = replace(options, note=cut_off(first), one=one or noun.removesuffix("s"))
        self._controller = GridController(model, options, self.send)
        super().__init__()
        self.on_msg(self._receive)

    # What it holds

    @property
    def frame(self) -> pd.DataFrame:
        """The frame it was given last; setting it is a ``refresh``."""
        return self._controller.model.table.frame.copy(deep=False)

    @frame.setter
    def frame(self, frame: pd.DataFrame) -> None:
        self.refresh(frame)

    def refresh(
        self,
        frame: pd.DataFrame,
        *,
        total: int | None = None,
        note: str | None = None,
        sort: bool = False,
        now: datetime | None = None,
        ticks: bool = True,
    ) -> None:
        """Show another frame; order, filter, columns and selection stay.

        ``total`` is how many rows the server has, None where nobody counted. ``note`` is a line above the table; where
        it is None, what the frame's ``attrs["truncated"]`` says. A selected id that the frame lacks is out of
        ``selected`` and said to be gone, until it is back or the selection is cleared.

        While the pointer or the focus is in a table, rows keep their places and new rows come last; the grid then
        offers to sort again. ``sort=True`` sorts at once: pass it for the answer to another query.

        ``now`` is the time to which ages relate, such as the server's; by default the kernel's clock. They keep growing
        from there; ``ticks=False`` freezes them at ``now``, as for recorded data.

        Raises:
            ArgumentError: as for a new grid; the grid then shows what it showed.
        """

        def act() -> None:
            keeps_order = not sort and self._controller.views.any_holding()
            self._controller.model.replace(frame, keeps_order=keeps_order)
            self._controller.set_options(
                total=total,
                note=cut_off(frame) if note is None else note,
                is_read=True,
                ahead=0.0 if now is None else now.timestamp() - time.time(),
                frozen_at=None if ticks else now or datetime.now(UTC),
            )

        self._controller.change(act)

    @property
    def visible(self) -> pd.DataFrame:
        """The rows that the filter leaves, in the order shown, with all columns."""
        with self._controller.lock:
            return self._controller.model.table.frame.iloc[self._controller.model.order]

    @property
    def selected(self) -> list[Any]:
        """The selected ids, in the order of the frame, whether the filter hides them or not; set it to select."""
        with self._controller.lock:
            return self._controller.model.selection.ids()

    @selected.setter
    def selected(self, ids: Iterable[Any]) -> None:
        wanted = list(ids)
        self._controller.change(lambda: self._controller.model.select(wanted))

    @property
    def selected_rows(self) -> pd.DataFrame:
        """The selected rows with all columns, in the order of the frame."""
        with self._controller.lock:
            return self._controller.model.table.frame.iloc[self._controller.model.selection.positions()]

    @property
    def total(self) -> int | None:
        """How many rows the server has; None where nobody has counted."""
        return self._controller.options.total

    @property
    def note(self) -> str:
        """The line above the table."""
        return self._controller.options.note

    @property
    def error(self) -> str:
        """What went wrong last, in a callback or in a message of a view; "" after the reader's next action."""
        return self._controller.error

    # How it is shown

    @property
    def columns(self) -> list[str]:
        """The columns that are shown, from left to right; set it to choose them."""
        return self._controller.model.shown

    @columns.setter
    def columns(self, names: Sequence[str]) -> None:
        self._controller.change(lambda: self._controller.model.choose(names))

    def sort(self, column: str | None, *, descending: bool = False) -> None:
        """Sort by a column, nulls last; None is the frame's own order. A status sorts by its place in a life."""
        self._arrange(lambda now: replace(now, sort=column, descending=descending))

    def filter(self, text: str, *, column: str | None = None) -> None:
        """Show the rows that have the text in a text column that is shown, or in ``column``; "" shows all.

        It is looked for as it stands, anywhere in a value; without a capital letter in it, the case is ignored.
        """
        self._arrange(lambda now: replace(now, text=text, within=column))

    @property
    def grouped(self) -> bool:
        """Whether rows of one group share a line; False shows each row, True needs the argument ``group``."""
        return self._controller.model.is_grouped

    @grouped.setter
    def grouped(self, on: bool) -> None:
        def act() -> None:
            self._controller.model.is_grouped = on

        self._controller.change(act)

    @property
    def stale(self) -> bool:
        """Whether the rows are grayed out, because newer ones could not be read; the owner sets it."""
        return self._controller.options.is_stale

    @stale.setter
    def stale(self, on: bool) -> None:
        self._controller.change(lambda: self._controller.set_options(is_stale=on))

    def set_empty(self, text: str, *, action: str = "", on_action: Callable[[], object] | None = None) -> None:
        """Set the text of a table without rows, and a button there that calls ``on_action``.

        Say which filter hides what, and let the button clear it. With "" the text is "No invocations." again.
        """

        def act() -> None:
            shown = action if on_action is not None else ""
            self._controller.on_empty_action[:] = [] if on_action is None else [lambda _: on_action()]
            self._controller.set_options(empty=text, empty_action=shown)

        self._controller.change(act)

    # Who looks, and what they do

    @property
    def is_shown(self) -> bool:
        """Whether a reader can see a view now: laid out, in a visible page that spoke in the last 35 s.

        Ask it before each refresh: that is when a closed tab is noticed. While a cell runs, views are not heard.
        """
        return self._controller.in_sight()

    def on_select(self, callback: Callable[[Grid], object]) -> Callable[[], None]:
        """Call it with the grid when the selection has changed; return what takes the callback away."""
        return _add(self._controller.on_select, lambda _: callback(self))

    def on_open(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call it with a row's id when the row is opened; return what takes the callback away."""
        return _add(self._controller.on_open, callback)

    def on_close(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call it with the id of the opened row when Escape is pressed; return what takes the callback away.

        Without a callback, Escape does not close anything. The row is not marked as opened any more.
        """
        remove = _add(self._controller.on_close, callback)
        self._controller.broadcast()
        return remove

    @property
    def opened(self) -> Any:
        """The id of the row that is marked as opened, None where none is; set it when a detail opens or closes."""
        with self._controller.lock:
            number = self._controller.opened
            return None if number is None else self._controller.model.id_at(number)

    @opened.setter
    def opened(self, row: Any) -> None:
        self._controller.change(lambda: self._controller.mark_opened(row))

    def on_search(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Call it with the text of the filter when Enter is pressed there; return what takes the callback away.

        The filter then says that Enter also searches the server.
        """
        remove = _add(self._controller.on_search, callback)
        self._controller.broadcast()
        return remove

    def on_shown(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """Call it with True when a view comes in sight, with False when none is; return what takes it away."""
        return _add(self._controller.on_shown, callback)

    def static_html(self) -> str:
        """Return the first 100 rows as an escaped HTML table, for where there is no kernel or no widget."""
        with self._controller.lock:
            return static_table(self._controller.model, self._lines())

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Refuse: a view says in messages what it wants, and sets nothing."""
        names = ", ".join(sorted(map(str, sync_data)))
        self._controller.fail(f"A view tried to set {names[:200]}: nothing was set. Reload the page.")

    def __repr__(self) -> str:
        return f"<Grid: {'; '.join(self._lines())}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget and, for where there is none, a table of what it holds now."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/html": self.static_html()}, metadata

    def _lines(self) -> list[str]:
        return [
            line for line in (self._controller.count(), self._controller.chosen(), self._controller.above()) if line
        ]

    def _arrange(self, changed: Callable[[Arrangement], Arrangement]) -> None:
        model = self._controller.model
        self._controller.change(lambda: model.arrange(changed(model.arrangement)))

    def _receive(self, _: object, content: object, __: object) -> None:
        self._controller.receive(content)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ArgumentError(f"tz is {name!r}: give a zone such as 'UTC' or 'Europe/Zurich'.") from error


def _add(callbacks: list[Callable[[Any], object]], callback: Callable[[Any], object]) -> Callable[[], None]:
    def remove() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    callbacks.append(callback)
    return remove
