"""The head of every panel: which cluster, what was read and what it cost, what went wrong, and the line of code.

It is also the panel's eye: ``head.js`` says whether a reader can see the panel, notes when the kernel does not answer
to that, keeps the notebook's shortcuts away from the panel's keys, and shows every text as text.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import anywidget
import traitlets
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from restate_lab._cells import FULL
from restate_lab._text import escape_invisible
from restate_lab.panels._assets import joined
from restate_lab.panels._base.trouble import ReadFailure
from restate_lab.panels.grid.controller import Views

__all__ = ["Head"]

_View = Annotated[str, Field(min_length=1, max_length=40)]


class _HeadMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    view: _View


class _Alive(_HeadMessage):
    type: Literal["alive"]
    in_sight: bool


class _Close(_HeadMessage):
    type: Literal["close"]


class _Refresh(_HeadMessage):
    type: Literal["refresh"]


class _Live(_HeadMessage):
    type: Literal["live"]
    on: bool


_Said: TypeAlias = _Alive | _Close | _Refresh | _Live
_ADAPTER: TypeAdapter[_Said] = TypeAdapter(Annotated[_Said, Field(discriminator="type")])


class Head(anywidget.AnyWidget):
    """The first line of a panel and what stands below it; texts are shown as text, and may be set from any thread.

    ``trouble`` is why the panel cannot read, as ``ReadFailure.for_view`` has it ({} while it can), ``banner`` what a
    read says while it waits, ``error`` what went wrong last, ``said`` what happened last, ``cost`` what reading costs,
    ``sql`` the statement, ``code`` the line that "Copy as code" copies. ``on_refresh``, ``on_live`` (with a bool) and
    ``on_shown`` (with a bool) are called in the kernel's main thread and must not raise.
    """

    _esm = joined("_assets/elements.js", "_base/head.js")
    _css = joined("_assets/colours.css", "_base/panel.css")

    heading = traitlets.Unicode("").tag(sync=True)
    place = traitlets.Unicode("").tag(sync=True)
    trouble = traitlets.Dict().tag(sync=True)
    banner = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    said = traitlets.Unicode("").tag(sync=True)
    cost = traitlets.Unicode("").tag(sync=True)
    sql = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    live = traitlets.Bool(allow_none=True, default_value=None).tag(sync=True)
    busy = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, heading: str, place: str, *, live: bool | None) -> None:
        self.on_refresh: Callable[[], object] = _nothing
        self.on_live: Callable[[bool], object] = _nothing
        self.on_shown: Callable[[bool], object] = _nothing
        self._views = Views()
        self._lock = threading.Lock()
        self._was_in_sight = False
        super().__init__(
            heading=escape_invisible(heading[:200], lines=False),
            place=escape_invisible(place[:300], lines=False),
            live=live,
        )
        self.on_msg(self._receive)

    @property
    def is_shown(self) -> bool:
        """Whether a reader can see the panel now: laid out, in the window, in a page that spoke in the last 35 s."""
        with self._lock:
            now = self._views.any_in_sight()
            changed, self._was_in_sight = now != self._was_in_sight, now
        if changed:
            self.on_shown(now)
        return now

    def show(self, name: str, text: str) -> None:
        """Set one of the texts; what cannot be seen in it is made visible."""
        setattr(self, name, escape_invisible(text[:FULL]))

    def show_trouble(self, trouble: ReadFailure | None) -> None:
        """Show why the panel cannot read, with a countdown to the next try; None takes it away."""
        fields = {} if trouble is None else trouble.for_view()
        self.trouble = {
            name: escape_invisible(value[:FULL]) if isinstance(value, str) else value for name, value in fields.items()
        }

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Refuse: a view says in messages what it wants, and sets nothing."""
        self.error = f"A view tried to set {', '.join(map(str, sync_data))[:200]}: nothing was set. Reload the page."

    def __repr__(self) -> str:
        return f"<Head of {self.heading} on {self.place}>"

    def _receive(self, _: object, content: object, __: object) -> None:
        try:
            message = _ADAPTER.validate_python(content)
        except ValidationError as error:
            self.error = f"the panel's view sent what it may not send ({error.error_count()} fields). Reload the page."
            return
        if isinstance(message, _Refresh):
            self.on_refresh()
        elif isinstance(message, _Live):
            self.live = message.on
            self.on_live(message.on)
        else:
            self._note(message)

    def _note(self, message: _Alive | _Close) -> None:
        with self._lock:
            if isinstance(message, _Alive):
                self._views.hear(message.view, in_sight=message.in_sight)
            else:
                self._views.forget(message.view)
        if isinstance(message, _Alive):
            self.send({"type": "heard", "view": message.view, "now": time.time()})
        _ = self.is_shown


def _nothing(*_: object) -> None:
    return
