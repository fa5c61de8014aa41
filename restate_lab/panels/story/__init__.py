"""The story of invocations in a panel: everything that belongs together, as a waterfall whose members can be opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import ipywidgets as widgets
from pydantic import Field, TypeAdapter

from restate_lab._text import one_line, plural
from restate_lab.analysis.story import Story, story
from restate_lab.analysis.story.drawing import picture_of
from restate_lab.analysis.story.text import name_of
from restate_lab.analysis.story.waterfall import WaterfallRow, waterfall
from restate_lab.document.html import html_of
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.content import ContentWidget, ViewMessage
from restate_lab.panels._base.source import PanelSource
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.worker import BackgroundForm
from restate_lab.reads import Stopped
from restate_lab.source import Source

STORY, SEARCH, AGAIN, STOP = "Story", "Search all journals", "Read again", "Stop"
MOST_LISTED = 1_000
"""Equal members that a press lists."""
_LONGEST_NAME = 60  # characters
_WITHIN, _WITHIN_SEARCH = "30s", "60s"
_SEARCH_TIP = (
    "Read the journals of all invocations once: only they name those that completed an awakeable or sent a signal. "
    "Without it, the story has what its own journals and rows name"
)


class _MemberPress(ViewMessage):
    type: Literal["open", "list"]
    id: Annotated[str, Field(max_length=200)]


class StoryPicture(ContentWidget):
    """Show the card of a story whose targets are buttons.

    ``open_member`` gets the id of a member in the picture, and ``list_members`` the ids of equal members and a name.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "story/story.js")
    _css = read_assets("story/story.css")
    messages = TypeAdapter(_MemberPress)

    def __init__(
        self, open_member: Callable[[str], object], list_members: Callable[[Sequence[str], str], object]
    ) -> None:
        self._open, self._list = open_member, list_members
        self._rows: dict[str, WaterfallRow] = {}
        super().__init__(self._act)

    def draw(self, result: Story | None, *, tz: str = "UTC", selected: str = "") -> None:
        """Show this story, or nothing; the member with the ``selected`` id is marked."""
        html, self._rows = "", {}
        if result is not None:
            drawing, zone = waterfall(result), ZoneInfo(tz)
            picture = picture_of(result, zone, is_live=True, selected=selected, drawing=drawing)
            html = html_of(result.document(zone, picture=picture))
            self._rows = {row.ids[0]: row for row in drawing.rows}
        self.show({"html": html})

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "open member" or "list members" with ``row``, the id of the first one."""
        shown = self._rows.get(row)
        if shown is None:
            return {}
        kind = "open" if shown.count == 1 else "list"
        return {f"{kind} member{'' if kind == 'open' else 's'}": {"type": kind, "id": row}}

    def _act(self, message: _MemberPress) -> None:
        """Open or list the members of a row; an id that is not in the picture does nothing."""
        row = self._rows.get(message.id)
        if row is not None and row.count == 1:
            self._open(message.id)
        elif row is not None:
            first = f"first {MOST_LISTED:,} of " if row.count > MOST_LISTED else ""
            self._list(row.ids[:MOST_LISTED], f"story: {first}{one_line(name_of(row), _LONGEST_NAME)} {row.status}")


class StoryForm(BackgroundForm):
    """Read the story of invocations in the background, and show it with a button that searches all journals.

    ``guard`` wraps every handler so that errors are shown, ``open_item`` is called with the id of a member, and
    ``list_items`` with the ids of equal members and a name. With ``selection``, the form is hidden before a press of
    ``button``, which shows the story of the selected ids. ``ids`` are those that the story was requested for, and
    ``result`` is the last story, None before it.
    """

    def __init__(
        self,
        source: Source,
        *,
        guard: Callable[[Callable[..., object]], Callable[..., None]],
        open_item: Callable[[str], object],
        list_items: Callable[[Sequence[str], str], object],
        selection: Callable[[], Sequence[str]] | None = None,
        tz: str = "UTC",
    ) -> None:
        super().__init__(source, guard)
        self._tz = tz
        self.ids: tuple[str, ...] = ()
        self.result: Story | None = None
        self.lines = Blocks()
        self.picture = StoryPicture(guard(open_item), guard(list_items))
        self.search = widgets.Button(description=SEARCH, tooltip=_SEARCH_TIP)
        self.search.on_click(guard(lambda _: self._start(search=True)))
        self.again = widgets.Button(description=AGAIN)  # the same button, so that it keeps the focus
        self.again.on_click(guard(lambda _: self._stop_or_start()))
        self.done = widgets.Button(description="Close", tooltip="Close the story")
        self.done.on_click(guard(lambda _: self._close()))
        self.button = widgets.Button(description=STORY, tooltip="Show everything that belongs to these invocations")
        self.button.on_click(guard(lambda _: self._ask_for(selection() if selection else ())))
        self.done.layout.display = "none" if selection is None else ""
        self.children = (self.lines, self.picture, fields_row(self.search, self.again, self.done))
        self.add_class("rl-storyform")
        self.layout.display = "" if selection is None else "none"

    def ask(self, ids: Sequence[str]) -> None:
        """Show the story of these invocations; it is read in the background if it is not the shown one."""
        self.layout.display = ""
        if tuple(ids) != self.ids or self.result is None:
            self.forget()
            self.ids = tuple(ids)
            self._start()

    def forget(self) -> None:
        """Stop reading, and remove the story from the page and from ``result``."""
        self._background.stop.set()
        self._background.wait(2.0)
        self.ids, self.result = (), None
        self.picture.draw(None)

    def _ask_for(self, ids: Sequence[str]) -> None:
        self.ask(ids)
        self.again.focus()

    def _close(self) -> None:
        """Hide the form; ``result`` stays."""
        self._background.stop.set()
        self.layout.display = "none"
        self.button.focus()

    def _stop_or_start(self) -> None:
        if self._background.wait(0):
            self._start(search=self.result is not None and self.result.searched)
        else:
            self._background.stop.set()

    def _start(self, *, search: bool = False) -> None:
        ids = self.ids
        if not ids or not self._background.wait(0):
            return
        where = "in the journals of all invocations" if search else "from the rows and journals of its members"
        self.lines.show(Block("", f"Reading the story of {plural(len(ids), 'invocation')} {where} …"))
        self.again.description = STOP
        self._background.run(self._guard(lambda: self._read(ids, search=search)))

    def _read(self, ids: tuple[str, ...], *, search: bool) -> None:
        try:
            source = PanelSource(self._source, self._background.stop, between=True)
            within = _WITHIN_SEARCH if search else _WITHIN
            result = story(source, list(ids), search=search, timeout=within)
        except Stopped:
            self.lines.show(Block("", "Stopped before the story was read."))
            raise
        except BaseException:
            self.lines.show()
            raise
        else:
            self.result = result
            self.lines.show()
            self.picture.draw(result, tz=self._tz, selected=ids[0] if len(ids) == 1 else "")
        finally:
            self.again.description = AGAIN
