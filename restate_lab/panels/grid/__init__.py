"""The grid of every panel: rows in the kernel, in the browser only what is in view; selection by id.

A click or Enter opens a row; the box in front, Space, Ctrl-click, Shift-click and Ctrl-A select, so that neither is in
the way of the other. ``grid.js`` is the view, ``grid_messages.py`` what the two say to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import anywidget
import pandas as pd

from restate_lab.errors import ArgumentError
from restate_lab.panels._assets import joined
from restate_lab.panels.grid.controller import Conversation, Face, cut_off
from restate_lab.panels.grid.model import GridModel
from restate_lab.panels.grid.static import static_table
from restate_lab.panels.grid.table import Arrangement

__all__ = ["Grid"]


class Grid(anywidget.AnyWidget):
    """Show a frame that has an id in every row, one row a line; a million rows are usable.

    ``key`` names the column with the ids: texts or integers, no nulls, none twice. ``noun`` is what the rows are,
    ``one`` what one of them is where the noun ends in more than an s, ``columns`` which ones are shown, ``height`` how
    high it grows, in pixels, ``tz`` the zone of the times (tooltips have UTC). Without ``is_read`` it says that it was
    not read yet, until the first ``refresh``. ``run`` names a column that tells which run of its id a row is, where an
    id can be given again: a selected row is deselected when a refresh brings another run of its id. It may be used from
    any thread. A frame is shown as it is: mask what is secret before.

    Raises:
        ArgumentError: the frame has no such column, a null or a repeated id in it, or a column without a usable name.
    """

    _esm = joined(
        "_assets/elements.js",
        "grid/rows.js",
        "grid/columns.js",
        "grid/filter.js",
        "grid/detail.js",
        "grid/viewport.js",
        "grid/interactions.js",
        "grid/grid.js",
    )
    _css = joined("_assets/colours.css", "grid/grid.css")

    def __init__(
        self,
        frame: pd.DataFrame | None = None,
        *,
        key: str = "id",
        noun: str = "rows",
        one: str | None = None,
        columns: Sequence[str] | None = None,
        height: int = 420,
        tz: str = "UTC",
        is_read: bool = True,
        run: str | None = None,
    ) -> None:
        first = pd.DataFrame({key: pd.Series([], dtype="str")}) if frame is None else frame
        model = GridModel(first, key, _zone(tz), run=run)
        if columns is not None:
            model.choose(columns)
        face = Face(noun, height, tz, note=cut_off(first), one=one or noun.removesuffix("s"), is_read=is_read)
        self._talk = Conversation(model, face, self.send)
        super().__init__()
        self.on_msg(self._receive)

    # What it holds

    @property
    def frame(self) -> pd.DataFrame:
        """The frame it was given last; setting it is a ``refresh``."""
        return self._talk.model.table.frame.copy(deep=False)

    @frame.setter
    def frame(self, frame: pd.DataFrame) -> None:
        self.refresh(frame)

    def refresh(self, frame: pd.DataFrame, *, total: int | None = None, note: str | None = None) -> None:
        """Show another frame; order, filter, columns and selection stay.

        ``total`` is how many rows the server has, None where nobody counted. ``note`` is a line above the table; where
        it is None, what the frame's ``attrs["truncated"]`` says. A selected id that the frame lacks is out of
        ``selected`` and said to be gone, until it is back or the selection is cleared.

        Raises:
            ArgumentError: as for a new grid; the grid then shows what it showed.
        """

        def act() -> None:
            self._talk.model.replace(frame)
            self._talk.set_face(total=total, note=cut_off(frame) if note is None else note)

        self._talk.change(act)

    @property
    def visible(self) -> pd.DataFrame:
        """The rows that the filter leaves, in the order shown, with all columns."""
        with self._talk.lock:
            return self._talk.model.table.frame.iloc[self._talk.model.order]

    @property
    def selected(self) -> list[Any]:
        """The selected ids, in the order of the frame, whether the filter hides them or not; set it to select."""
        with self._talk.lock:
            return self._talk.model.selection.ids()

    @selected.setter
    def selected(self, ids: Iterable[Any]) -> None:
        wanted = list(ids)
        self._talk.change(lambda: self._talk.model.select(wanted))

    @property
    def selected_rows(self) -> pd.DataFrame:
        """The selected rows with all columns, in the order of the frame."""
        with self._talk.lock:
            return self._talk.model.table.frame.iloc[self._talk.model.selection.positions()]

    @property
    def total(self) -> int | None:
        """How many rows the server has; None where nobody has counted."""
        return self._talk.face.total

    @property
    def note(self) -> str:
        """The line above the table."""
        return self._talk.face.note

    @property
    def error(self) -> str:
        """What went wrong last, in a callback or in a message of a view; "" after the reader's next action."""
        return self._talk.error

    # How it is shown

    @property
    def columns(self) -> list[str]:
        """The columns that are shown, from left to right; set it to choose them."""
        return self._talk.model.shown

    @columns.setter
    def columns(self, names: Sequence[str]) -> None:
        self._talk.change(lambda: self._talk.model.choose(names))

    def sort(self, column: str | None, *, descending: bool = False) -> None:
        """Sort by a column, nulls last; None is the frame's own order. A status sorts by its place in a life."""
        self._arrange(lambda now: replace(now, sort=column, descending=descending))

    def filter(self, text: str, *, column: str | None = None) -> None:
        """Show the rows that have the text in a text column that is shown, or in ``column``; "" shows all.

        It is looked for as it stands, anywhere in a value; without a capital letter in it, the case is ignored.
        """
        self._arrange(lambda now: replace(now, text=text, within=column))

    # Who looks, and what they do

    @property
    def is_shown(self) -> bool:
        """Whether a reader can see a view now: laid out, in a visible page that spoke in the last 35 s.

        Ask it before each refresh: that is when a closed tab is noticed. While a cell runs, views are not heard.
        """
        return self._talk.in_sight()

    def on_select(self, callback: Callable[[Grid], object]) -> Callable[[], None]:
        """Call it with the grid when the selection has changed; return what takes the callback away."""
        return _added(self._talk.on_select, lambda _: callback(self))

    def on_open(self, callback: Callable[[Any], object]) -> Callable[[], None]:
        """Call it with a row's id when the row is opened; return what takes the callback away."""
        return _added(self._talk.on_open, callback)

    def on_shown(self, callback: Callable[[bool], object]) -> Callable[[], None]:
        """Call it with True when a view comes in sight, with False when none is; return what takes it away."""
        return _added(self._talk.on_shown, callback)

    def static_html(self) -> str:
        """Return the first 100 rows as an escaped HTML table, for where there is no kernel or no widget."""
        with self._talk.lock:
            return static_table(self._talk.model, self._lines())

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Refuse: a view says in messages what it wants, and sets nothing."""
        names = ", ".join(sorted(map(str, sync_data)))
        self._talk.fail(f"A view tried to set {names[:200]}: nothing was set. Reload the page.")

    def __repr__(self) -> str:
        return f"<Grid: {'; '.join(self._lines())}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """Return the widget and, for where there is none, a table of what it holds now."""
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {**data, "text/html": self.static_html()}, metadata

    def _lines(self) -> list[str]:
        return [line for line in (self._talk.count(), self._talk.chosen(), self._talk.above()) if line]

    def _arrange(self, changed: Callable[[Arrangement], Arrangement]) -> None:
        model = self._talk.model
        self._talk.change(lambda: model.arrange(changed(model.arrangement)))

    def _receive(self, _: object, content: object, __: object) -> None:
        self._talk.receive(content)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ArgumentError(f"tz is {name!r}: give a zone such as 'UTC' or 'Europe/Zurich'.") from error


def _added(callbacks: list[Callable[[Any], object]], callback: Callable[[Any], object]) -> Callable[[], None]:
    def remove() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    callbacks.append(callback)
    return remove
