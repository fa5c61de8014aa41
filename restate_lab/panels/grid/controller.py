"""The messages between a grid and its views: the grid handles requests of the views and shows errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import singledispatchmethod
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import escape_invisible, verb_form
from restate_lab.analysis.ids import NEW_RUN
from restate_lab.panels._base.content import Views
from restate_lab.panels.grid import messages
from restate_lab.panels.grid.model import GridModel
from restate_lab.status import STATUSES

Send: TypeAlias = Callable[[dict[str, Any]], object]
Callbacks: TypeAlias = list[Callable[[Any], object]]

MOST_COPIED = 1_000
"""Ids that are copied to the clipboard; more are written to a file."""
_COLOURS = {status.name: status.colour for status in STATUSES.values()}
# These messages keep the error line.
_READING = messages.Heartbeat | messages.Close | messages.Detail | messages.Hold | messages.Page


@dataclass(frozen=True, slots=True)
class GridOptions:
    """The appearance of a grid; all texts from its owner are shown as text.

    ``noun`` names the rows in the plural and ``one`` in the singular. ``height`` is in pixels; None means 60 % of the
    window. ``tz`` is the name of the time zone. ``total`` and ``note`` appear above the table. Before ``is_read``, the
    number of rows is unknown. ``empty`` and ``empty_action`` are the text and the button of a table without rows;
    ``order`` says how the rows are sorted without a column; ``search_label`` is the label of the button that searches
    further for the text in the filter. ``has_ids`` offers to copy the ids. Ages relate to the kernel clock, or to
    ``frozen_at``.
    """

    noun: str
    one: str
    height: int | None
    tz: str
    is_compact: bool
    is_read: bool
    empty: str
    note: str
    frozen_at: datetime | None
    total: int | None = None
    empty_action: str = ""
    has_ids: bool = False
    order: str = ""
    search_label: str = ""


@dataclass
class GridController:
    """The kernel side of a grid. You can call its methods from any thread; callbacks run without the lock.

    ``page`` is the first line and the number of lines that a view last requested.
    """

    model: GridModel
    options: GridOptions
    send: Send
    views: Views = field(default_factory=Views)
    error: str = ""
    on_select: Callbacks = field(default_factory=list)
    on_open: Callbacks = field(default_factory=list)
    on_search: Callbacks = field(default_factory=list)
    on_filter: Callbacks = field(default_factory=list)
    on_empty_action: Callbacks = field(default_factory=list)
    on_page: Callbacks = field(default_factory=list)
    on_export: Callbacks = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)
    opened: int | None = None
    page: tuple[int, int] = (0, 50)
    _sent: dict[str, Any] = field(default_factory=dict)

    def receive(self, content: object) -> None:
        """Handle a message of a view and show errors in the grid; never raises, because that error would be lost."""
        try:
            with self.lock:
                message = messages.parse(content)
                is_reading, before = isinstance(message, _READING), self.model.selection.revision
                self.error = self.error if is_reading else ""
                self._do(message)
                has_selected = before != self.model.selection.revision
                if not is_reading:
                    self.broadcast(force=True)
            self._after(message)
            if has_selected:
                self.call(self.on_select, None)
        except Exception as error:  # noqa: BLE001 - a panel's handler: it is shown in the grid
            self.fail(str(error) or type(error).__name__)

    def fail(self, text: str) -> None:
        """Show an error."""
        with self.lock:
            self.error = escape_invisible(text[:1000], lines=False)
            self.broadcast(force=True)

    def broadcast(self, *, force: bool = False) -> None:
        """Send the state to all views if it has changed or ``force`` is set."""
        with self.lock:
            state = self.state()
            if len(self.views) and (force or state != self._sent):
                self._sent = state
                clock = time.time() if self.options.frozen_at is None else self.options.frozen_at.timestamp()
                self.send(state | {"clock": round(clock * 1000)})

    def change(self, act: Callable[[], object]) -> None:
        """Change the model with ``act``, update the views, and call back if the selection has changed."""
        with self.lock:
            before = self.model.selection.revision
            act()
            changed = before != self.model.selection.revision
            self.broadcast()
        if changed:
            self.call(self.on_select, None)

    def set_options(self, **options: Any) -> None:
        """Replace some options; ``broadcast`` then updates the views."""
        with self.lock:
            self.options = replace(self.options, **options)

    def call(self, callbacks: Callbacks, value: Any) -> None:
        """Call all callbacks; their errors are shown in the grid."""
        for callback in list(callbacks):
            try:
                callback(value)
            except Exception as error:  # noqa: BLE001 - a panel's handler: it is shown in the grid
                self.fail(f"{type(error).__name__}: {error}")

    def state(self) -> dict[str, Any]:
        """Return the complete state of a view except the cells."""
        with self.lock:
            model, chosen = self.model, self.model.selection.within(self.model.order)
            return {
                "type": "state",
                "values": model.values,
                "members": model.members,
                "selection": model.selection.revision,
                "is_out_of_order": model.is_out_of_order,
                "lines": len(model.lines),
                "is_grouped": model.is_grouped,
                "columns": model.columns(),
                "colours": _COLOURS,
                "sort": model.arrangement.sort,
                "order": self.options.order,
                "descending": model.arrangement.descending,
                "filter": model.arrangement.text,
                "within": model.arrangement.within,
                "checked": "none" if not chosen else "all" if chosen == len(model.order) else "some",
                "cleared": model.cleared,
                "opened": self.opened,
                "error": self.error,
                "key": model.key,
                "noun": self.options.noun,
                "height": self.options.height,
                "is_compact": self.options.is_compact,
                "can_search": bool(self.on_search),
                "exports": list(self._export_forms()),
                "search_label": escape_invisible(self.options.search_label, lines=False),
                "rows": len(model.table),
                "zone": self.options.tz,
                "ticks": self.options.frozen_at is None,
                "count": self.count(),
                "is_read": self.options.is_read,
                "empty": escape_invisible(self.options.empty),
                "empty_action": escape_invisible(self.options.empty_action, lines=False),
                "chosen": self.chosen(),
                "note": self.above(),
            }

    def count(self) -> str:
        """Return the number of rows, or the number of rows that match the filter."""
        every, lines = len(self.model.table), len(self.model.order)
        if not self.options.is_read:
            return "not read yet"
        if self.model.arrangement.text and self.on_search:
            return f"{lines:,} of the {every:,} loaded"
        if self.model.arrangement.text:
            return f"{lines:,} of {every:,} {self.options.noun} match"
        return f"{every:,} {self.options.one if every == 1 else self.options.noun}"

    def chosen(self) -> str:
        """Return the number of selected rows and of those that are not visible; "" without a selection."""
        selection = self.model.selection
        number = len(selection)
        hidden = number - selection.within(self.model.order)
        if not number and not selection.missing and not selection.replaced:
            return ""
        missing = selection.missing
        parts = [f"{number:,} selected"] if number or not missing else []
        parts += [f"{hidden:,} hidden by the filter"] if hidden else []
        parts += [f"{missing:,} selected {verb_form(missing, 'is', 'are')} outside of this filter"] if missing else []
        parts += [f"{selection.replaced:,} deselected: {NEW_RUN}"] if selection.replaced else []
        return ", ".join(parts)

    def above(self) -> str:
        """Return the text above the table: the number of rows on the server if not all were read, and the note."""
        every, total = len(self.model.table), self.options.total
        more = f"{every:,} of {total:,} {self.options.noun} on the server are loaded." if (total or 0) > every else ""
        return " ".join(filter(None, (more, escape_invisible(self.options.note, lines=False))))

    def exported(self) -> tuple[pd.DataFrame, bool]:
        """Return the selected rows, or else those that match the filter; and whether they are selected."""
        with self.lock:
            positions = self.model.selection.positions()
            is_selection = len(positions) > 0
            return self.model.table.frame.iloc[positions if is_selection else self.model.order], is_selection

    def _export_forms(self) -> tuple[str, ...]:
        forms = ("csv", "xlsx", "ids") if self.options.has_ids else ("csv", "xlsx")
        return forms if self.on_export else ()

    def _export(self, message: messages.Export) -> None:
        if message.form not in {*self._export_forms(), "txt"}:
            return
        ids = [escape_invisible(str(id_), lines=False) for id_ in self.exported()[0][self.model.key]]
        if message.form == "ids" and len(ids) <= MOST_COPIED:
            self.send({"type": "copy", "view": message.view, "text": "\n".join(ids), "count": len(ids)})
        else:
            self.call(self.on_export, "txt" if message.form == "ids" else message.form)

    def controls(self, row: Any) -> dict[str, dict[str, Any]]:
        """Return the message of a click on each control of the row with this id, or with None outside of rows."""
        with self.lock:
            model = self.model
            if row is None:
                messages: dict[str, dict[str, Any]] = {"clear selection": {"type": "clear"}}
                messages["select all"] = {"type": "select_all", "on": True, "members": model.members}
                if self.on_search and (text := model.arrangement.text):
                    messages[self.options.search_label] = {"type": "search", "text": text}
                for form in self._export_forms():
                    messages["Copy ids" if form == "ids" else f"Export {form}"] = {"type": "export", "form": form}
                if self.options.empty_action and not len(model.order):
                    messages[self.options.empty_action] = {"type": "empty_action"}
                return messages
            position = int(model.table.positions([row])[0])
            if position not in model.order:
                return {}
            number = model.number(position)
            messages = {name: {"type": name, "row": number, "on": True} for name in ("select", "expand")}
            return {**messages, "open": {"type": "open_row", "row": number}}

    def _after(self, message: messages.Message) -> None:
        if isinstance(message, messages.Page):
            self.call(self.on_page, None)
        elif isinstance(message, messages.OpenRow):
            self.call(self.on_open, self.model.id_of(message.row))
        elif isinstance(message, messages.SearchServer):
            self.call(self.on_search, message.text)
        elif isinstance(message, messages.FilterBy):
            self.call(self.on_filter, None)
        elif isinstance(message, messages.EmptyAction):
            self.call(self.on_empty_action, None)
        elif isinstance(message, messages.Export):
            self._export(message)

    @singledispatchmethod
    def _do(self, message: messages.Message) -> None:
        raise NotImplementedError(type(message).__name__)

    @_do.register
    def _(self, message: messages.Heartbeat) -> None:
        self.views.hear(message.view, in_sight=message.in_sight)
        if message.state:
            self.broadcast(force=True)

    @_do.register
    def _(self, message: messages.Close) -> None:
        self.views.forget(message.view)

    @_do.register
    def _(self, message: messages.Hold) -> None:
        self.views.hold(message.view, on=message.on)

    @_do.register
    def _(self, message: messages.Command) -> None:
        {"clear": self.model.clear, "restore": self.model.restore, "sort_again": self.model.sort_again}[message.type]()

    @_do.register
    def _(self, message: messages.Page) -> None:
        self.page = (message.start, message.count)
        self.send(
            {
                "type": "page",
                "view": message.view,
                "seq": message.seq,
                "values": self.model.values,
                "members": self.model.members,
                "selection": self.model.selection.revision,
                "start": message.start,
                "found": None if message.find is None else self.model.place(message.find),
                "rows": self.model.page(message.start, message.count),
            }
        )

    @_do.register
    def _(self, message: messages.Detail) -> None:
        text = self.model.detail(message.row, message.column)
        self.send({"type": "detail", "view": message.view, "seq": message.seq, "text": text})

    @_do.register
    def _(self, message: messages.Select) -> None:
        self.model.mark(message.row, on=message.on)

    @_do.register
    def _(self, message: messages.SelectAll) -> None:
        self.model.mark_all(message.members, on=message.on)

    @_do.register
    def _(self, message: messages.Extend) -> None:
        self.model.extend(message.start, message.end, message.members)

    @_do.register
    def _(self, _: messages.EmptyAction | messages.Export) -> None:
        return

    @_do.register
    def _(self, _: messages.SearchServer) -> None:
        self.model.arrange(replace(self.model.arrangement, text=""))

    @_do.register
    def _(self, message: messages.OpenRow) -> None:
        self.model.position(message.row)
        self.opened = message.row

    @_do.register
    def _(self, message: messages.Expand) -> None:
        self.model.expand(message.row, on=message.on)

    @_do.register
    def _(self, message: messages.SortBy) -> None:
        self.model.arrange(replace(self.model.arrangement, sort=message.column, descending=message.descending))

    @_do.register
    def _(self, message: messages.FilterBy) -> None:
        self.model.arrange(replace(self.model.arrangement, text=message.text, within=message.within))

    @_do.register
    def _(self, message: messages.ShowColumn) -> None:
        self.model.toggle(message.column, shown=message.shown)

    @_do.register
    def _(self, message: messages.Width) -> None:
        self.model.widen(message.column, message.pixels)


def cut_off(frame: pd.DataFrame) -> str:
    """Return the message of a frame about rows cut by a limit, or ""."""
    cut = frame.attrs.get("truncated", "")
    return str(cut.get("message", cut) if isinstance(cut, dict) else cut)
