"""What failing invocations share: a form that asks for the other side and for payloads, and the result below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from restate_lab._text import plural
from restate_lab.analysis.contrast import Contrast, contrast
from restate_lab.analysis.contrast.model import LEAST
from restate_lab.document.html import panel_html
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.source import PanelSource
from restate_lab.panels._base.submit import Submit, fields_row
from restate_lab.panels._base.worker import BackgroundForm
from restate_lab.source import Source

QUESTION = "What do they share?"
_WITHIN = "60s"
_PAYLOADS = (
    ("are not read", False),
    ("only names, types and sizes: no value is shown", "shape"),
    ("with values, which are shown here", True),
)
_HEALTHY = "healthy ones of their handler"


class ContrastForm(BackgroundForm):
    """Compare failing invocations with others. Nothing is read before a press of ``run``, and payloads only on request.

    ``guard`` wraps every handler so that errors are shown. ``button`` is for a selection: it calls
    ``ask_about_selected``. ``result`` is the last comparison, None before it.
    """

    def __init__(
        self,
        source: Source,
        *,
        guard: Callable[[Callable[..., object]], Callable[..., None]],
        ask_about_selected: Callable[[], object],
    ) -> None:
        super().__init__(source, guard)
        self._failing: tuple[str, ...] = ()
        self.result: Contrast | None = None
        self.button = widgets.Button(description=QUESTION, tooltip="Compare the selected invocations with others")
        self.button.on_click(guard(lambda _: ask_about_selected()))
        auto = {"description_width": "auto"}
        self._text = Blocks()
        self.healthy = widgets.Dropdown(description="compare with", options=[(_HEALTHY, None)], style=auto)
        self.payloads = widgets.Dropdown(description="inputs and headers", options=_PAYLOADS, style=auto)
        fields = (self.healthy, self.payloads)
        self.run = Submit("Compare", guard(self._start), fields=fields, tooltip="Only reads")
        self.done = widgets.Button(description="Close", tooltip="Close the comparison")
        self.done.on_click(guard(lambda _: self.hide()))
        self.card = widgets.HTML()
        self.children = (self._text, fields_row(*fields, self.run, self.done), self.card)
        self.add_class("rl-contrast")
        self.hide()

    def ask(self, failing: Sequence[str], others: Sequence[str], name: str) -> None:
        """Ask how to compare these invocations; ``others`` are the healthy ones that the filter shows beside them."""
        self._failing = tuple(failing)
        self._text.show(Block(f"What do {name} share?", ""))
        rest = [(f"the {plural(len(others), 'other')} of their handler in this list", tuple(others))]
        self.healthy.options = [*(rest if len(others) >= LEAST else ()), (_HEALTHY, None)]
        self.healthy.index = self.payloads.index = 0
        self.card.value = ""
        self.layout.display = ""
        self.run.renew()  # a press is for the question that the user saw
        self.healthy.focus()

    def hide(self) -> None:
        """Close the form; ``result`` stays."""
        self._background.stop.set()
        self.layout.display = "none"

    def _start(self) -> None:
        failing, healthy, payloads = self._failing, self.healthy.value, self.payloads.value

        def work() -> None:
            try:
                source = PanelSource(self._source, self._background.stop)
                options: dict[str, Any] = {"payloads": payloads, "timeout": _WITHIN}
                self.result = contrast(source, list(failing), healthy=healthy and list(healthy), **options)
                self.card.value = panel_html(self.result.document())
            except BaseException:
                self.card.value = ""
                raise

        self.card.value = f"Comparing {plural(len(failing), 'invocation')} …"
        self._background.run(self._guard(work))
