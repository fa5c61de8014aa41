"""The live journal of an invocation, and the buttons that collapse the sections below it.

Both show texts as text. A view only sends messages; it can only open ids that it has received.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Annotated, Any, Literal, TypeAlias

import anywidget
import traitlets
from pydantic import Field, TypeAdapter

from restate_lab._cells import FULL
from restate_lab._text import escape_invisible, one_line, shorten_id
from restate_lab.analysis.journal.bars import JournalBars, JournalRow
from restate_lab.analysis.journal.drawing import FUTURE, SCALES, describe_times, time_scale
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import ContentWidget, MessageWidget, ViewMessage
from restate_lab.panels._base.head import nothing
from restate_lab.panels.invocation.reader import DeadlockContent, Related
from restate_lab.status import OUTCOMES

_MOST_LINKS = 12
_VALUE = 4_000  # characters of an error or a value in a row
_OUTCOMES = {name: {"colour": each.colour, "sign": each.sign} for name, each in OUTCOMES.items()}


class _Click(ViewMessage):
    type: Literal["open", "expand"]
    id: str


class _More(ViewMessage):
    type: Literal["more"]


class _Export(ViewMessage):
    type: Literal["export"]
    form: Literal["csv", "xlsx"]


class _Toggle(ViewMessage):
    type: Literal["toggle"]
    key: str


class _MemberClick(ViewMessage):
    type: Literal["open"]
    id: str


class _PictureClick(ViewMessage):
    type: Literal["picture"]


Guard: TypeAlias = Callable[[Callable[..., object]], Callable[..., None]]
_JournalMessage: TypeAlias = _Click | _More | _Export
_DeadlockMessage: TypeAlias = _MemberClick | _PictureClick


class JournalView(MessageWidget):
    """Show the rows of a journal with live bars, and links to related invocations.

    ``on_open`` and ``on_expand`` are called with the id of an invocation, ``on_export`` with "csv" or "xlsx", and
    ``on_more`` without arguments, in the main thread of the kernel; they must not raise. ``shown`` has the bars.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "_assets/menu.js", "invocation/journal.js")
    _css = read_assets("invocation/journal.css")
    messages = TypeAdapter(Annotated[_JournalMessage, Field(discriminator="type")])

    content = traitlets.Dict().tag(sync=True)
    links = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self) -> None:
        self.on_open: Callable[[str], object] = nothing
        self.on_expand: Callable[[str], object] = nothing
        self.on_more: Callable[[], object] = nothing
        self.on_export: Callable[[Any], object] = nothing
        self.shown: JournalBars | None = None
        super().__init__()

    def show(self, id_: str, bars: JournalBars, related: Sequence[Related], *, zone: tzinfo, is_live: bool) -> None:
        """Show these rows and links to related invocations that are not in the rows; safe from any thread."""
        self.shown = bars
        self.content = _content(id_, bars, zone, is_live=is_live)
        callees = {row.callee for row in bars.rows}
        links = [each for each in related if each.how in {"blocks", "called by"} or each.id not in callees]
        self.links = [
            {"how": each.how, "id": each.id, "label": f"{_visible_text(each.target, 200)} {shorten_id(each.id)}"}
            for each in links[:_MOST_LINKS]
        ]

    def begin(self) -> None:
        """Show that the journal is read, which says nothing about its entries."""
        self.shown, self.content, self.links = None, {}, []

    def show_missing(self, note: str) -> None:
        """Show that there is no journal, and why; safe from any thread."""
        self.content = {"rows": [], "note": note}

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "open" and "expand" with an id; without one, "More rows" and exports."""
        if row is None:
            exports = {f"Export {form}": {"type": "export", "form": form} for form in ("csv", "xlsx")}
            return exports | ({"More rows": {"type": "more"}} if self.content.get("hidden") else {})
        return {kind: {"type": kind, "id": row} for kind in ("open", "expand")} if row in self._ids() else {}

    def handle(self, message: _JournalMessage, /) -> None:
        """Call the handler of the owner; an id that the view did not receive does nothing."""
        if isinstance(message, _More):
            self.on_more()
        elif isinstance(message, _Export):
            self.on_export(message.form)
        elif message.id in self._ids():
            {"open": self.on_open, "expand": self.on_expand}[message.type](message.id)

    def _ids(self) -> set[str | None]:
        rows = self.shown.rows if self.shown else ()
        return {row.callee for row in rows} | {link["id"] for link in self.links}


class DeadlockLine(ContentWidget):
    """Name the other members of the deadlock of an invocation as links, with a button for the picture.

    ``open_invocation`` is called with the id of a member, and ``show_picture`` without arguments.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "invocation/deadlock.js")
    _css = read_assets("invocation/journal.css")
    messages = TypeAdapter(Annotated[_DeadlockMessage, Field(discriminator="type")])

    def __init__(
        self, *, open_invocation: Callable[[str], object], show_picture: Callable[[], object], guard: Guard
    ) -> None:
        self._open, self._show_picture = open_invocation, show_picture
        super().__init__(guard(self._act))

    def show_deadlock(self, deadlock: DeadlockContent | None) -> None:
        """Show the line, or hide it without a deadlock."""
        self.layout.display = "" if deadlock else "none"
        if deadlock is None:
            self.show({})
            return
        kind = "In a deadlock with" if deadlock.is_certain else "Perhaps in a deadlock with"
        members = [{"id": id_, "label": f"{one_line(target)} {shorten_id(id_)}"} for id_, target in deadlock.others]
        self.show({"text": kind if members else f"{kind} itself", "members": members})

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "Show the picture", or "open member" with ``row``, the id of a member."""
        if not self.content:
            return {}
        if row is None:
            return {"Show the picture": {"type": "picture"}}
        return {"open member": {"type": "open", "id": row}} if row in self._ids() else {}

    def _ids(self) -> set[str]:
        return {member["id"] for member in self.content.get("members", ())}

    def _act(self, message: _DeadlockMessage) -> None:
        if isinstance(message, _PictureClick):
            self._show_picture()
        elif message.id in self._ids():
            self._open(message.id)


class FoldMemory(anywidget.AnyWidget):
    """Keeps the folds of the texts next to it as the user left them, because a refresh replaces the texts.

    ``about`` is the id of the invocation; for another one, the folds are as new.
    """

    _esm = read_assets("invocation/fold_memory.js")

    about = traitlets.Unicode().tag(sync=True)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore the data: a view sends nothing."""

    def __repr__(self) -> str:
        return "<FoldMemory>"


class Folds(MessageWidget):
    """Buttons that show and hide sections; ``on_toggle`` is called with the key and whether the section is open.

    A section that is not ``offered`` has no button, and is not shown.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "invocation/folds.js")
    _css = read_assets("invocation/journal.css")
    messages = TypeAdapter(_Toggle)

    sections = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, titles: Mapping[str, str], on_toggle: Callable[[str, bool], object]) -> None:
        self.on_toggle = on_toggle
        self._changing = threading.Lock()  # titles come from the reading thread, clicks from the kernel's thread
        sections = [{"key": key, "title": title, "open": False, "offered": True} for key, title in titles.items()]
        super().__init__(sections=sections)

    @property
    def opened(self) -> set[str]:
        """Return the keys of the open sections; one without a button stays closed until it is offered again."""
        return {section["key"] for section in self.sections if section["open"] and section["offered"]}

    def name(self, **titles: str) -> None:
        """Change the titles of these sections."""
        with self._changing:
            self.sections = [{**each, "title": titles.get(each["key"], each["title"])} for each in self.sections]

    def offer(self, key: str, *, on: bool) -> None:
        """Show or hide the button of a section."""
        with self._changing:
            self.sections = [{**each, "offered": on} if each["key"] == key else each for each in self.sections]

    def toggle(self, key: str) -> None:
        """Open or close a section."""
        with self._changing:
            self.sections = [{**each, "open": each["open"] ^ (each["key"] == key)} for each in self.sections]
        self.on_toggle(key, key in self.opened)

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click on the title of each section."""
        offered = [each for each in self.sections if each["offered"] and row is None]
        return {each["title"]: {"type": "toggle", "key": each["key"]} for each in offered}

    def handle(self, message: _Toggle, /) -> None:
        """Open or close a section; one that is not offered stays closed."""
        if message.key in {section["key"] for section in self.sections if section["offered"]}:
            self.toggle(message.key)


def _content(id_: str, bars: JournalBars, zone: tzinfo, *, is_live: bool) -> dict[str, Any]:
    """Return the data that the view draws; times are milliseconds since 1970."""
    scales = {kind: time_scale(bars, kind) for kind in SCALES}
    scale = scales["fit"]
    return {
        "id": id_,
        "rows": [_row(row, bars.now, zone) for row in bars.rows],
        "first": 1000 * scale.first,
        "last": 1000 * scale.last,
        "ended": bars.is_ended,
        "live": is_live and not bars.is_ended,
        "skew": 1000 * (bars.now.timestamp() - time.time()),
        "future": FUTURE,
        "knots": [[1000 * at, width] for at, width in scale.knots],
        "ticks": {kind: [[1000 * tick.time, tick.label] for tick in each.ticks(zone)] for kind, each in scales.items()},
        "outcomes": _OUTCOMES,
        "hidden": bars.hidden,
        "note": bars.note,
    }


def _row(row: JournalRow, now: datetime, zone: tzinfo) -> dict[str, Any]:
    return {
        "key": row.key,
        "index": row.index,
        "depth": row.depth,
        "parent": row.parent,
        "type": _visible_text(row.entry_type, 60),
        "label": _visible_text(row.label, 200),
        "outcome": row.outcome,
        "word": row.word,
        "value": _visible_text(row.value, _VALUE, lines=True),
        "start": _milliseconds(row.start),
        "end": _milliseconds(row.end),
        "open": row.end is None and row.outcome in {"waiting", "retrying"},
        "duration": row.duration(now),
        "attempts": [_milliseconds(each) for each in row.attempts],
        "failed": row.attempts_text,
        "next": _milliseconds(row.next_attempt),
        "wakes": _milliseconds(row.wakes_at),
        "callee": row.callee,
        "expand": row.can_expand,
        "about": describe_times(row, now, zone),
    }


def _milliseconds(at: datetime | None) -> float | None:
    return None if at is None else 1000 * at.timestamp()


def _visible_text(text: str, most: int, *, lines: bool = False) -> str:
    cut = text if len(text) <= most else f"{text[: min(most, FULL)]}… ({len(text):,} characters in all)"
    return escape_invisible(cut, lines=lines)
