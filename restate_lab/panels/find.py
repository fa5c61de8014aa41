"""The second step of the search: a text that no loaded row has is searched in inputs, in the background."""

from __future__ import annotations

import time
from collections.abc import Callable

import ipywidgets as widgets

from restate_lab._text import join, plural
from restate_lab.analysis.find import Matches, find
from restate_lab.analysis.find.needle import LEAST
from restate_lab.panels._base.blocks import Block, Blocks, Tone
from restate_lab.panels._base.source import PanelSource
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.worker import BackgroundForm
from restate_lab.reads import UntilStopped
from restate_lab.redaction import Secret
from restate_lab.source import Source

SEARCH = "Search inputs of the last 24 h"
_WINDOW = "24h"
_EVERY = 0.3  # seconds between two texts about the progress


class FindForm(BackgroundForm):
    """Offer to search inputs for a text, and show how far the search is and what it found.

    Nothing is read before a press of ``start``. ``guard`` wraps every handler so that errors are shown, and ``show``
    is called with the result if invocations were found, and by the button ``again``. ``result`` is the last result,
    None before it. The text is in no widget: it is in the filter of the table, where the user entered it.
    """

    def __init__(
        self,
        source: Source,
        *,
        guard: Callable[[Callable[..., object]], Callable[..., None]],
        show: Callable[[Matches], object],
    ) -> None:
        super().__init__(source, guard)
        self._show = show
        self._can_search = source.coverage.payloads
        self._text: Secret | None = None
        self.result: Matches | None = None
        self._lines = Blocks()
        self.start = widgets.Button(description=SEARCH, tooltip="Only reads; newest first, at most 30 s and 256 MB")
        self.start.on_click(guard(lambda _: self._start()))
        self.stop = widgets.Button(description="Stop", tooltip="Stop the search and keep what it found")
        self.stop.on_click(guard(lambda _: self._background.stop.set()))
        self.again = widgets.Button(description="Show", tooltip="List the invocations that were found")
        self.again.on_click(guard(lambda _: self.result and show(self.result)))
        self.done = widgets.Button(description="Close", tooltip="Close the search")
        self.done.on_click(guard(lambda _: self._hide()))
        self.children = (self._lines, fields_row(self.start, self.stop, self.again, self.done))
        self.add_class("rl-find")
        self._hide()

    def offer(self, text: str) -> None:
        """Offer to search for a text that no loaded row has; "" withdraws the offer, and a result stays."""
        can_search = self._can_search and len(text.strip()) >= LEAST
        if self._is_running or (can_search and self._text is not None and self._text.reveal() == text):
            return
        if can_search:
            self._text = Secret(text)
            self._draw(Block("Not among the loaded rows.", ""), self.start)
        elif not self._has_result:
            self._text = None
            self._hide()

    @property
    def _is_running(self) -> bool:
        return not self._background.wait(0)

    @property
    def _has_result(self) -> bool:
        return bool(self.layout.display == "" and self.done.layout.display == "")

    def _hide(self) -> None:
        self.layout.display = "none"

    def _draw(self, block: Block, *buttons: widgets.Button) -> None:
        self._lines.show(block)
        for each in (self.start, self.stop, self.again, self.done):
            each.layout.display = "" if each in buttons else "none"
        self.layout.display = ""

    def _start(self) -> None:
        text = self._text
        if text is None:
            return
        self._draw(Block("Searching inputs of the last 24 h, newest first …", ""), self.stop)
        self._background.run(self._guard(lambda: self._search(text)))

    def _search(self, text: Secret) -> None:
        try:
            source = PanelSource(self._source, self._background.stop)
            progress = UntilStopped(self._background.stop, _FindProgress(self._lines))
            result = find(source, text, since=_WINDOW, progress=progress)
        except BaseException:
            self._hide()
            raise
        self.result = result
        tone: Tone = "warning" if result.ended_by else "plain"
        where = [f"Where: {join(result.frame['path'])}."] if result.ids else []
        notes = "\n".join([*where, result.searched, *(f"Not searched: {reason}." for reason in result.reasons)])
        shown = (self.again, self.done) if result.ids else (self.done,)
        self._draw(Block(f"{result.summary}.", notes, tone), *shown)
        if result.ids:
            self._show(result)


class _FindProgress:
    """Shows how many invocations were searched."""

    def __init__(self, lines: Blocks) -> None:
        self._lines, self._next = lines, 0.0

    def update(self, rows: int, size: int) -> None:
        """Show that ``rows`` of ``size`` invocations were searched."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + _EVERY
            text = f"{rows:,} of {plural(size, 'invocation')}, newest first"
            self._lines.show(Block("Searching inputs of the last 24 h …", text))

    def close(self) -> None:
        """Do nothing: the result replaces the text."""
