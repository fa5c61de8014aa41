"""The invocations that a click in another panel shows: one InvocationsPanel at a time, below what was clicked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from restate_lab.interrupts import Shield
from restate_lab.source import Source

if TYPE_CHECKING:
    from restate_lab.panels.invocations import InvocationsPanel

__all__ = ["Below"]


class Below:
    """The place for an InvocationsPanel: ``box`` is its widget, ``panel`` what stands there, None while it is empty."""

    def __init__(self, source: Source, *, tz: str) -> None:
        self.box = widgets.VBox([])
        self.panel: InvocationsPanel | None = None
        self._source = source
        self._tz = tz

    def show(self, **filters: Any) -> InvocationsPanel:
        """Show the invocations that these filters of InvocationsPanel leave, in place of what was shown."""
        if self.panel is not None:
            self.panel.look_for(**filters)
            return self.panel
        with Shield():
            from restate_lab.panels.invocations import InvocationsPanel  # noqa: PLC0415 - only a click needs it

        self.panel = InvocationsPanel(self._source, **filters, tz=self._tz, wait=False)
        self.box.children = (self.panel,)
        return self.panel

    def close(self) -> None:
        """Close the panel that stands there."""
        if self.panel is not None:
            self.panel.close()
        self.box.close()
