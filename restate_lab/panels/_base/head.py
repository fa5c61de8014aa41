"""The toolbar of a panel: the cluster, the views, the age of the data, errors, the statement and the code.

``head.js`` also reports whether the panel is visible, warns when the kernel does not respond, keeps the shortcuts of
the notebook away from the keys of the panel, and shows every text as text.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from uuid import uuid4

import traitlets
from pydantic import Field, TypeAdapter

from restate_lab._cells import FULL
from restate_lab._text import escape_invisible
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import MessageWidget, ViewMessage, Views
from restate_lab.panels._base.problem import ReadFailure
from restate_lab.tokens import panel_css

_View = Annotated[str, Field(min_length=1, max_length=40)]


class _HeadCommand(ViewMessage):
    type: Literal["close", "refresh", "report"]
    view: _View


class _Heartbeat(ViewMessage):
    type: Literal["alive"]
    view: _View
    in_sight: bool


class _Ready(ViewMessage):
    type: Literal["ready"]


class _Live(ViewMessage):
    type: Literal["live"]
    view: _View
    on: bool


class _Go(ViewMessage):
    type: Literal["go"]
    view: _View
    to: Annotated[str, Field(max_length=100)]


_Said: TypeAlias = _HeadCommand | _Heartbeat | _Live | _Go | _Ready


class Head(MessageWidget):
    """The toolbar and the messages below it; texts are shown as text and can be set from any thread.

    ``copy`` names the output with a copy of the panel, which the view hides. ``access`` is "writable" or
    "read-only". ``views`` are the available views and ``crumbs`` the path to the current one, each a dict with
    ``name`` (the argument of ``on_go``), ``label`` and ``current``. ``read_at`` is the time of the last read in
    seconds since 1970 (0: never). ``problem`` is the reason why the panel cannot read, from
    ``ReadFailure.for_view`` ({} if it can). ``banner`` is a message of the read in progress, ``error`` the last
    error, ``event`` the last event, ``file`` a written file (``name``, ``path`` and ``href``, the address relative to
    the notebook; {} if there is none), ``cost`` the cost of reading, ``sql`` the statement, ``code`` the code that
    "Copy as code" copies, and ``link`` the address that "Copy link" copies ("" without one). ``on_refresh``,
    ``on_live`` (with a bool), ``on_shown`` (with a bool), ``on_go`` (with a name), ``on_report``, and ``on_answer`` at
    the first message of a front end, are called in the main thread of the kernel and must not raise.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "_base/focus.js", "_base/head.js")
    _css = panel_css() + read_assets("_assets/controls.css", "_base/panel.css")  # also for the other widgets
    messages = TypeAdapter(Annotated[_Said, Field(discriminator="type")])

    copy = traitlets.Unicode("").tag(sync=True)
    heading = traitlets.Unicode("").tag(sync=True)
    place = traitlets.Unicode("").tag(sync=True)
    access = traitlets.Unicode("").tag(sync=True)
    views = traitlets.List(traitlets.Dict()).tag(sync=True)
    crumbs = traitlets.List(traitlets.Dict()).tag(sync=True)
    report = traitlets.Unicode("").tag(sync=True)
    read_at = traitlets.Float(0.0).tag(sync=True)
    problem = traitlets.Dict().tag(sync=True)
    banner = traitlets.Unicode("").tag(sync=True)
    event = traitlets.Unicode("").tag(sync=True)
    file = traitlets.Dict().tag(sync=True)
    cost = traitlets.Unicode("").tag(sync=True)
    sql = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
    link = traitlets.Unicode("").tag(sync=True)
    live = traitlets.Bool(allow_none=True, default_value=None).tag(sync=True)
    busy = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, heading: str, place: str, *, access: str, live: bool | None) -> None:
        self.on_refresh: Callable[[], object] = nothing
        self.on_live: Callable[[bool], object] = nothing
        self.on_shown: Callable[[bool], object] = nothing
        self.on_go: Callable[[str], object] = nothing
        self.on_report: Callable[[], object] = nothing
        self.on_answer: Callable[[], object] = nothing
        self.is_answered = False
        self._views = Views()
        self._lock = threading.Lock()
        self._was_in_sight = False
        super().__init__(
            copy=uuid4().hex,
            heading=escape_invisible(heading[:200], lines=False),
            place=escape_invisible(place[:300], lines=False),
            access=access,
            live=live,
        )

    @property
    def is_shown(self) -> bool:
        """Whether the user can see the panel: rendered, in the window, and with a message in the last 35 s."""
        with self._lock:
            now = self._views.any_in_sight()
            changed, self._was_in_sight = now != self._was_in_sight, now
        if changed:
            self.on_shown(now)
        return now

    def show(self, name: str, text: str) -> None:
        """Set one of the texts; invisible characters are made visible."""
        setattr(self, name, escape_invisible(text[:FULL]))

    def show_file(self, name: str, path: str, href: str) -> None:
        """Show a written file with its name, and buttons that open it and copy its path."""
        texts = {"name": name, "path": path}
        self.file = {key: escape_invisible(text[:FULL], lines=False) for key, text in texts.items()} | {"href": href}

    def show_cost(self, read_at: datetime | None, cost: str) -> None:
        """Show the time of the last read and the cost of reading."""
        self.cost = cost
        self.read_at = read_at.timestamp() if read_at else 0.0

    def show_way(self, views: Iterable[tuple[str, str, bool]], crumbs: Iterable[tuple[str, str, bool]]) -> None:
        """Show the views and the breadcrumb; each item is (name, label, whether it is the current one)."""
        self.views = [_link(*each) for each in views]
        self.crumbs = [_link(*each) for each in crumbs]

    def show_problem(self, problem: ReadFailure | None) -> None:
        """Show why the panel cannot read, with a countdown to the next attempt; None removes the message."""
        fields = {} if problem is None else problem.for_view()
        self.problem = {
            name: escape_invisible(value[:FULL]) if isinstance(value, str) else value for name, value in fields.items()
        }

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click on each control: the views, the way back, and the tools."""
        messages = {link["label"]: {"type": "go", "to": link["name"]} for link in (*self.views, *self.crumbs)}
        messages["Refresh"] = {"type": "refresh"}
        if self.live is not None:
            messages["live"] = {"type": "live", "on": not self.live}
        if self.report == "ready":
            messages["Report"] = {"type": "report"}
        return {name: {"view": "click", **message} for name, message in messages.items()} if row is None else {}

    def handle(self, message: _Said, /) -> None:
        """Call the handler of the panel, or note which view the user can see."""
        if not self.is_answered:
            self.is_answered = True
            self.on_answer()
        if isinstance(message, _Ready):
            return
        if isinstance(message, _Heartbeat):
            with self._lock:
                self._views.hear(message.view, in_sight=message.in_sight)
            self.send({"type": "heard", "view": message.view, "now": time.time()})
            _ = self.is_shown
        elif isinstance(message, _Live):
            self.live = message.on
            self.on_live(message.on)
        elif isinstance(message, _Go):
            self.on_go(message.to)
        elif message.type == "close":
            with self._lock:
                self._views.forget(message.view)
            _ = self.is_shown
        else:
            {"refresh": self.on_refresh, "report": self.on_report}[message.type]()


def _link(name: str, label: str, is_current: bool) -> dict[str, Any]:
    return {"name": name, "label": escape_invisible(label[:200], lines=False), "current": is_current}


def nothing(*_: object) -> None:
    """Do nothing: the callback of a widget until its owner sets another."""


class ReportSteps:
    """Shows the current chapter of a report as an event."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def update(self, rows: int, size: int) -> None:
        """Show the number of the chapter, ``rows``, of ``size`` chapters."""
        self._say(f"Writing the incident report: chapter {rows} of {size} …")

    def close(self) -> None:
        """Show that the file is written now."""
        self._say("Writing the incident report …")
