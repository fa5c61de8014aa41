"""The grid of every panel: it keeps all rows in the kernel and sends only the visible rows to the browser.

A click or Enter opens a row. The check box, Space, Ctrl-click, Shift-click and Ctrl-A select rows by id, so opening and
selecting do not conflict. ``grid.js`` is the view, and ``messages.py`` defines its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anywidget
import pandas as pd

from restate_lab.analysis.ids import ids_in
from restate_lab.analysis.times import to_zone
from restate_lab.panels._assets import read_assets
from restate_lab.panels.grid.columns import ColumnStyles
from restate_lab.panels.grid.controller import GridController, GridOptions, cut_off
from restate_lab.panels.grid.model import GridModel
from restate_lab.panels.grid.static import static_table


class Grid(anywidget.AnyWidget):
    """Show a frame with an id in every row, one line per row; it can handle a million rows.

    ``key`` is the column with the ids: texts or integers, without nulls and duplicates. ``noun`` names the rows in the
    plural; ``one`` is the singular if it is not the noun without its s. ``columns`` are the visible columns. ``height``
    is the maximum height in pixels, by default 60 % of the window. ``tz`` is the time zone of the timestamps; their
    tooltips show UTC. With ``is_read=False`` gray bars are shown until the first ``refresh``. ``run`` is a column that
    distinguishes the runs of a reused id: a selected row is deselected when a refresh has another run of its id.

    ``heads`` maps columns to header texts. ``ages`` and ``countdowns`` are timestamp columns that are shown as "36m"
    and "in 4s" with the exact UTC time in the tooltip; the browser keeps them current, unless ``frozen_at`` is the time
    of recorded data. ``ids`` are columns that are shown shortened ("inv_…k8Ep") with a copy button. ``widths`` are in
    pixels; ``flex`` is the column that takes the remaining width. ``narrow`` has the columns that leave the table on a
    narrow page, in this order, with the column under whose text each is shown then ("" if nowhere). ``reasons`` maps
    columns to the column with the reason for a missing value, which is its tooltip. ``bars`` and ``lines`` map columns
    to the column with a drawing before their text, which ``ColumnStyles`` describes; the text is complete without it.

    ``group`` is a column whose equal values form a group. Of three rows or more, only the first is shown, with a line
    "14 more like it" that expands and selects the others. ``group_label`` is a column with a text for that line, such
    as "same step, same error". Rows without a value are not grouped.

    ``empty`` is the text of a table without rows, by default "No invocations.". ``compact=True`` is for a short table
    within a panel: it has no bar with the filter and the list of columns, and no check boxes.

    You can use a grid from any thread. It shows the frame unchanged, so mask secrets first.

    Raises:
        ArgumentError: the key column has nulls or repeated ids.
    """

    _esm = read_assets(
        "_assets/elements.js",
        "_assets/roving.js",
        "_assets/menu.js",
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
    _css = read_assets("grid/grid.css")

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
        narrow: Mapping[str, str] | None = None,
        reasons: Mapping[str, str] | None = None,
        bars: Mapping[str, str] | None = None,
        lines: Mapping[str, str] | None = None,
        group: str | None = None,
        group_label: str | None = None,
        empty: str = "",
        compact: bool = False,
        frozen_at: datetime | None = None,
    ) -> None:
        first = pd.DataFrame({key: pd.Series([], dtype="str")}) if frame is None else frame
        styles = ColumnStyles(
            heads or {}, ages, countdowns, ids, widths or {}, flex, narrow or {}, reasons or {}, bars or {}, lines or {}
        )
        model = GridModel(first, key, to_zone(tz), run=run, styles=styles, group=group, group_label=group_label)
        if columns is not None:
            model.choose(columns)
        options = GridOptions(
            noun=noun, one=one or noun.removesuffix("s"), height=height, tz=tz, is_compact=compact, is_read=is_read,
            empty=empty, note=cut_off(first), frozen_at=frozen_at,
        )  # fmt: skip
        self.controller = GridController(model, options, self.send)
        super().__init__()
        self.on_msg(lambda _, content, __: self.receive(content))

    # Content

    @property
    def frame(self) -> pd.DataFrame:
        """The current frame."""
        return self.controller.model.table.frame.copy(deep=False)

    def refresh(
        self,
        frame: pd.DataFrame,
        *,
        total: int | None = None,
        note: str | None = None,
        sort: bool = False,
    ) -> None:
        """Show another frame; order, filter, columns and selection stay.

        ``total`` is the number of rows on the server, or None if it is unknown. ``note`` is a line above the table;
        None uses the message in ``attrs["truncated"]`` of the frame. A selected id that the frame does not have is not
        in ``selected`` and is reported as missing, until it is back or the selection is cleared.

        While the pointer or the focus is in a table, rows keep their places and new rows come last; the grid then
        offers to sort again. ``sort=True`` sorts at once: use it for the result of another query.

        Raises:
            ArgumentError: as for a new grid; the grid then keeps its previous content.
        """

        def act() -> None:
            keeps_order = not sort and self.controller.views.any_holding()
            self.controller.model.replace(frame, keeps_order=keeps_order)
            self.controller.set_options(total=total, note=cut_off(frame) if note is None else note, is_read=True)

        self.controller.change(act)

    @property
    def requested(self) -> pd.DataFrame:
        """The rows that a view last requested: those in view and a few more; without a view, the first 50."""
        with self.controller.lock:
            model = self.controller.model
            return model.table.frame.iloc[model.rows_at(*self.controller.page)]

    @property
    def selected(self) -> list[Any]:
        """The selected ids in the order of the frame, including rows hidden by the filter; set it to select rows."""
        with self.controller.lock:
            return self.controller.model.selection.ids()

    @selected.setter
    def selected(self, ids: Iterable[Any]) -> None:
        wanted = list(ids)
        self.controller.change(lambda: self.controller.model.select(wanted))

    @property
    def selected_rows(self) -> pd.DataFrame:
        """The selected rows with all columns, in the order of the frame."""
        with self.controller.lock:
            return self.controller.model.table.frame.iloc[self.controller.model.selection.positions()]

    @property
    def key(self) -> str:
        """The column with the ids."""
        return self.controller.model.key

    @property
    def note(self) -> str:
        """The text above the table: which rows it does not have, or ""."""
        return self.controller.above()

    @property
    def exported(self) -> tuple[pd.DataFrame, bool]:
        """The rows of an export, and whether they are a selection: else all that match the filter, in their order."""
        return self.controller.exported()

    # Presentation

    @property
    def columns(self) -> list[str]:
        """The visible columns, from left to right; set it to choose them."""
        return self.controller.model.shown

    @columns.setter
    def columns(self, names: Sequence[str]) -> None:
        self.controller.change(lambda: self.controller.model.choose(names))

    @property
    def grouped(self) -> bool:
        """Whether the rows of a group share one line; False shows each row, and True needs the argument ``group``."""
        return self.controller.model.is_grouped

    @grouped.setter
    def grouped(self, on: bool) -> None:
        def act() -> None:
            self.controller.model.is_grouped = on

        self.controller.change(act)

    def set_empty(self, text: str, action: str, on_action: Callable[[], object]) -> None:
        """Set the text of a table without rows, and the label of a button below it that calls ``on_action``."""
        self.controller.on_empty_action[:] = [lambda _: on_action()]
        self.controller.change(lambda: self.controller.set_options(empty=text, empty_action=action))

    # Actions of the user

    def on_select(self, callback: Callable[[Grid], object]) -> None:
        """Call ``callback`` with the grid after the selection changes."""
        self.controller.on_select.append(lambda _: callback(self))

    def on_open(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback`` with the id of a row when it is opened."""
        self.controller.on_open.append(callback)

    def on_search(self, callback: Callable[[str], object], *, filtered: Callable[[], object] | None = None) -> None:
        """Call ``callback`` with a pasted text that has an id, and with the filter text if the user searches further.

        The filter is then empty. ``filtered`` is called after the user has changed its text (see ``unmatched``).
        """
        self.controller.on_search.append(callback)
        if filtered is not None:
            self.controller.on_filter.append(lambda _: filtered())

    @property
    def unmatched(self) -> str:
        """The text in the filter if no row matches it; otherwise ""."""
        with self.controller.lock:
            model = self.controller.model
            return "" if len(model.order) else model.arrangement.text

    def clear_filter(self) -> None:
        """Remove the text from the filter."""
        model = self.controller.model
        self.controller.change(lambda: model.arrange(replace(model.arrangement, text="")))

    def name_search(self, label: str) -> None:
        """Set the label of the button that searches further for the text in the filter."""
        self.controller.change(lambda: self.controller.set_options(search_label=label))

    def on_export(self, callback: Callable[[Any], object], *, has_ids: bool) -> None:
        """Call ``callback`` with "csv", "xlsx" or "txt" to write the rows of ``exported`` to a file.

        With ``has_ids``, a view also copies their ids, up to 1,000; more are a file with one id per line, "txt".
        """
        self.controller.on_export.append(callback)
        self.controller.change(lambda: self.controller.set_options(has_ids=has_ids))

    def on_page(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when a view has requested other rows (see ``requested``)."""
        self.controller.on_page.append(lambda _: callback())

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "open", "select" and "expand" with ``row``, the id of a row.

        Without a row: "select all", "clear selection", "Export csv", "Export xlsx", "Copy ids", and the button of an
        empty table.
        """
        return {name: {"view": "click", **message} for name, message in self.controller.controls(row).items()}

    @property
    def labels(self) -> dict[str, str]:
        """The label of the filter field, if it also searches further."""
        return {"search": "text"} if self.controller.on_search else {}

    def enter(self, name: str, value: str, /) -> None:  # noqa: ARG002 - the grid has one field
        """Enter a text into the filter field; ids in it are opened or listed."""
        self.receive({"type": "search" if ids_in(value) else "filter", "view": "click", "text": value})

    def static_html(self) -> str:
        """Return the first 100 rows as an escaped HTML table, for pages without a kernel or widgets."""
        with self.controller.lock:
            now = self.controller.options.frozen_at or datetime.now(UTC)
            return static_table(self.controller.model, self._lines(), now=now)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore the data: a view can only send messages."""
        names = ", ".join(sorted(map(str, sync_data)))
        self.controller.fail(f"A view tried to set {names[:200]}. Nothing was set. Reload the page.")

    def __repr__(self) -> str:
        return f"<Grid: {'; '.join(self._lines())}>"

    def _lines(self) -> list[str]:
        return [line for line in (self.controller.count(), self.controller.chosen(), self.controller.above()) if line]

    def receive(self, content: object, /) -> None:
        """Handle a message of a view; an invalid one is reported and does nothing."""
        self.controller.receive(content)
