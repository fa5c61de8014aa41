"""How a grid and its views talk: what a view asks is done and answered, what went wrong stands in the grid."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatchmethod
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import escape_invisible
from restate_lab.analysis.ids import NEW_RUN
from restate_lab.errors import ArgumentError
from restate_lab.panels.grid import messages as said
from restate_lab.panels.grid.model import GridModel
from restate_lab.panels.grid.table import Arrangement
from restate_lab.status import STATUSES

__all__ = ["Conversation", "Face", "Views"]

SILENCE = 35.0  # seconds; a view in sight speaks every 10, and a busy kernel hears it later
MOST = 100
Send: TypeAlias = Callable[[dict[str, Any]], object]
Callbacks: TypeAlias = list[Callable[[Any], object]]

_COLOURS = {status.name: status.colour for status in STATUSES.values()}
_CHANGED = "The table changed just before this arrived, and nothing was selected: look at it and repeat."
_ASKING = said.Alive | said.Close | said.Page | said.Detail  # these leave the error line as it is


class Views:
    """The views of one grid by the id that each made up for itself; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._in_sight: dict[str, bool] = {}

    def hear(self, view: str, *, in_sight: bool) -> None:
        """Note that a view lives, and whether a reader can see it now."""
        self._heard.pop(view, None)
        self._heard[view] = self._clock()
        self._in_sight[view] = in_sight
        for oldest in list(self._heard)[:-MOST]:
            self.forget(oldest)

    def forget(self, view: str) -> None:
        """Note that a view was closed."""
        self._heard.pop(view, None)
        self._in_sight.pop(view, None)

    def any_in_sight(self) -> bool:
        """Tell whether a reader can see one; what has been silent for too long is taken for closed."""
        for view, heard in list(self._heard.items()):
            if self._in_sight.get(view) and self._clock() - heard > SILENCE:
                self.forget(view)
        return any(self._in_sight.values())

    def __len__(self) -> int:
        return len(self._heard)


@dataclass(frozen=True, slots=True)
class Face:
    """How the grid looks: what its rows are and what one of them is, its height in pixels, the zone's name, what
    stands above it, and whether its rows were read: of those that were not, nobody knows how many there are.
    """

    noun: str
    height: int
    tz: str
    total: int | None = None
    note: str = ""
    one: str = ""
    is_read: bool = True


@dataclass
class Conversation:
    """One grid's side of the talk. Its methods may be called from any thread; callbacks run without the lock."""

    model: GridModel
    face: Face
    send: Send
    views: Views = field(default_factory=Views)
    error: str = ""
    on_select: Callbacks = field(default_factory=list)
    on_open: Callbacks = field(default_factory=list)
    on_shown: Callbacks = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)
    _opened: int | None = None
    _sent: dict[str, Any] = field(default_factory=dict)
    _was_in_sight: bool = False

    def receive(self, content: object) -> None:
        """Do what a view says, or say in the grid why not. It never raises: nothing would show that."""
        try:
            with self.lock:
                message = said.parse(content)
                if not isinstance(message, _ASKING):
                    self.error = ""
                self._do(message)
            self._after(message)
        except Exception as error:  # noqa: BLE001 - a panel's handler: it is shown in the grid
            self.fail(str(error) or type(error).__name__)

    def fail(self, text: str) -> None:
        """Show what went wrong."""
        with self.lock:
            self.error = escape_invisible(text[:1000], lines=False)
            self.tell(force=True)

    def tell(self, *, force: bool = False) -> None:
        """Send all views the state, if it is another one or ``force`` is set."""
        with self.lock:
            state = self.state()
            if len(self.views) and (force or state != self._sent):
                self._sent = state
                self.send(state)

    def change(self, act: Callable[[], object]) -> None:
        """Change the model by ``act``, tell the views, and call back if another selection is the outcome."""
        with self.lock:
            before = self.model.selection.revision
            act()
            changed = before != self.model.selection.revision
            self.tell()
        if changed:
            self.call(self.on_select, None)

    def set_face(self, *, total: int | None, note: str) -> None:
        """Say of rows that were read how many the server has, and what stands above the table."""
        with self.lock:
            self.face = replace(self.face, total=total, note=note, is_read=True)

    def in_sight(self) -> bool:
        """Tell whether a reader can see a view, and call back if that has changed."""
        with self.lock:
            now = self.views.any_in_sight()
            changed, self._was_in_sight = now != self._was_in_sight, now
        if changed:
            self.call(self.on_shown, now)
        return now

    def call(self, callbacks: Callbacks, value: Any) -> None:
        """Call them all; what one of them raises stands in the grid."""
        for callback in list(callbacks):
            try:
                callback(value)
            except Exception as error:  # noqa: BLE001 - a panel's handler: it is shown in the grid
                self.fail(f"{type(error).__name__}: {error}")

    def state(self) -> dict[str, Any]:
        """Return all that a view shows but the cells."""
        with self.lock:
            model, chosen = self.model, self.model.selection.within(self.model.order)
            lines = len(model.order)
            return {
                "type": "state",
                "revision": model.revision,
                "selection": model.selection.revision,
                "lines": lines,
                "columns": model.columns(),
                "colours": _COLOURS,
                "sort": model.arrangement.sort,
                "descending": model.arrangement.descending,
                "filter": model.arrangement.text,
                "within": model.arrangement.within,
                "checked": "none" if not chosen else "all" if chosen == lines else "some",
                "opened": self._opened,
                "error": self.error,
                "noun": self.face.noun,
                "height": self.face.height,
                "zone": self.face.tz,
                "count": self.count(),
                "is_read": self.face.is_read,
                "chosen": self.chosen(),
                "note": self.above(),
            }

    def count(self) -> str:
        """Return how many rows there are, and how many of them match the filter."""
        every, lines = len(self.model.table), len(self.model.order)
        if not self.face.is_read:
            return "not read yet"
        if self.model.arrangement.text:
            return f"{lines:,} of {every:,} {self.face.noun} match"
        return f"{every:,} {self.face.one if every == 1 else self.face.noun}"

    def chosen(self) -> str:
        """Return how many are selected, and how many of those cannot be seen; "" where none is."""
        selection = self.model.selection
        number = len(selection)
        hidden = number - selection.within(self.model.order)
        if not number and not selection.gone and not selection.replaced:
            return ""
        words = [f"{number:,} selected"]
        words += [f"{hidden:,} hidden by the filter"] if hidden else []
        words += [f"{selection.gone:,} gone from the table and left out"] if selection.gone else []
        words += [f"{selection.replaced:,} deselected: {NEW_RUN}"] if selection.replaced else []
        return ", ".join(words)

    def above(self) -> str:
        """Return what stands above the table: that the server has more, and the note."""
        every, total = len(self.model.table), self.face.total
        more = f"{every:,} of {total:,} {self.face.noun} on the server were read." if (total or 0) > every else ""
        return " ".join(filter(None, (more, escape_invisible(self.face.note, lines=False))))

    def _after(self, message: said.Message) -> None:
        if isinstance(message, said.Alive | said.Close):
            self.in_sight()
        elif isinstance(message, said.OpenRow):
            self.call(self.on_open, self.model.id_of(message.row))
        elif isinstance(message, said.Select | said.SelectAll | said.Extend | said.Clear):
            self.call(self.on_select, None)

    @singledispatchmethod
    def _do(self, message: said.Message) -> None:
        raise NotImplementedError(type(message).__name__)

    @_do.register
    def _(self, message: said.Alive) -> None:
        self.views.hear(message.view, in_sight=message.in_sight)
        if message.state:
            self.tell(force=True)

    @_do.register
    def _(self, message: said.Close) -> None:
        self.views.forget(message.view)

    @_do.register
    def _(self, message: said.Page) -> None:
        self.send(
            {
                "type": "page",
                "view": message.view,
                "seq": message.seq,
                "revision": self.model.revision,
                "selection": self.model.selection.revision,
                "start": message.start,
                "found": None if message.find is None else self.model.place(message.find),
                "rows": self.model.page(message.start, message.count),
            }
        )

    @_do.register
    def _(self, message: said.Detail) -> None:
        text = self.model.detail(message.row, message.column)
        self.send({"type": "detail", "view": message.view, "seq": message.seq, "text": text})

    @_do.register
    def _(self, message: said.Select) -> None:
        self.model.mark(message.row, on=message.on)
        self.tell(force=True)

    @_do.register
    def _(self, message: said.SelectAll) -> None:
        self._same(message.revision)
        self.model.selection.set(self.model.order, on=message.on)
        self.tell(force=True)

    @_do.register
    def _(self, message: said.Extend) -> None:
        self._same(message.revision)
        self.model.extend(message.start, message.end)
        self.tell(force=True)

    @_do.register
    def _(self, _: said.Clear) -> None:
        self.model.select([])
        self.tell(force=True)

    @_do.register
    def _(self, message: said.OpenRow) -> None:
        self.model.position(message.row)
        self._opened = message.row
        self.tell(force=True)

    @_do.register
    def _(self, message: said.SortBy) -> None:
        self._arrange(replace(self.model.arrangement, sort=message.column, descending=message.descending))

    @_do.register
    def _(self, message: said.FilterBy) -> None:
        self._arrange(replace(self.model.arrangement, text=message.text, within=message.within))

    @_do.register
    def _(self, message: said.ShowColumn) -> None:
        self.model.toggle(message.column, shown=message.shown)
        self.tell(force=True)

    @_do.register
    def _(self, message: said.Width) -> None:
        self.model.widen(message.column, message.pixels)
        self.tell(force=True)

    def _arrange(self, arrangement: Arrangement) -> None:
        self.model.arrange(arrangement)
        self.tell(force=True)

    def _same(self, revision: int) -> None:
        if revision != self.model.revision:
            raise ArgumentError(_CHANGED)


def cut_off(frame: pd.DataFrame) -> str:
    """Return what a frame says of rows that it lacks."""
    cut = frame.attrs.get("truncated", "")
    return str(cut.get("message", cut) if isinstance(cut, dict) else cut)
