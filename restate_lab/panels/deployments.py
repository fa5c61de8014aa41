"""``DeploymentsPanel``: which revisions there are, what pins each deployment, and which could go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.panels.asked import params_of, sql_of
from restate_lab.panels.below import Below
from restate_lab.panels.blocks import Block, Blocks
from restate_lab.panels.deployment_rows import (
    Served,
    deployment_blocks,
    deployment_table,
    read_pins,
    read_served,
    summary,
)
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid_conversation import cut_off
from restate_lab.panels.panel import Panel, why_read_only
from restate_lab.source import Source

if TYPE_CHECKING:
    from restate_lab.panels.invocations import InvocationsPanel

__all__ = ["DeploymentsPanel"]


@dataclass(frozen=True)
class _Found:
    pins: pd.DataFrame = field(default_factory=pd.DataFrame)
    served: Mapping[str, Served] = field(default_factory=dict)


class DeploymentsPanel(Panel):
    """Show each deployment with its services' revisions and what is pinned to it; a click says whether it could go.

    What could be done stands there as code to copy: the panel itself changes nothing. ``refresh`` is as for every
    panel, ``tz`` the zone of the times. ``frame`` is the answer to ``deployment_pins``, ``selected`` the ids that are
    selected, ``opened`` the id that is open, ``invocations`` the InvocationsPanel of what is pinned to it, once asked
    for; both are None before.
    """

    def __init__(self, source: Source, /, *, refresh: DurationInput | None = "30s", tz: str = "UTC") -> None:
        self._found = _Found()
        self._below = Below(source, tz=tz)
        self.opened: str | None = None
        self._summary = Blocks()
        self._grid = Grid(noun="deployments", height=340, tz=tz, is_read=False)
        self._detail = Blocks()
        self._button = widgets.Button(description="Show what is pinned", layout={"display": "none"})
        super().__init__(source, title="deployments", refresh=refresh)
        self._grid.on_open(self.handled(self.look_at))
        self._button.on_click(self.handled(lambda _: self._below.show(deployment=self.opened)))
        buttons = widgets.Box([self._button])
        buttons.add_class("rl-fields")
        self.body = (self._summary, self._grid, self._detail, buttons, self._below.box)
        for part in (self._below, self._button):
            self.ends_with(part)
        self.refresh()

    @property
    def code(self) -> str:
        """Return the line that gives ``frame``."""
        return 'rl.ask(lab, "deployment_pins")'

    @property
    def sql(self) -> str:
        """Return the statement of ``frame``, which runs as it stands with ``params``."""
        return sql_of(self.frame)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return params_of(self.frame)

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per deployment, as ``rl.ask(lab, "deployment_pins")`` does."""
        return self._found.pins

    @property
    def selected(self) -> list[str]:
        """Return the ids of the deployments that are selected."""
        return self._grid.selected

    @property
    def invocations(self) -> InvocationsPanel | None:
        """Return the invocations that the button shows below; None before."""
        return self._below.panel

    def look_at(self, deployment: str, /) -> str:
        """Show what is to say of one deployment, and return it as text.

        Raises:
            ArgumentError: the panel has no such deployment.
        """
        if deployment not in set(self.frame.get("deployment_id", ())):
            raise ArgumentError(f"there is no deployment {deployment!r} in this panel; Refresh reads again.")
        self.opened = deployment
        self._show_opened()
        return self._detail.text

    def _read(self) -> _Found:
        return _Found(read_pins(self.reads), read_served(self.reads, self.source))

    def _show(self, found: _Found) -> None:
        self._found = found
        why_not = why_read_only(self.source)
        self._summary.show(Block("", summary(found.pins)), *([Block("", why_not, "warning")] if why_not else []))
        self._grid.refresh(deployment_table(found.pins, found.served), note=cut_off(found.pins))
        self._show_opened()

    def _show_opened(self) -> None:
        row = next((row for row in self.frame.to_dict("records") if row["deployment_id"] == self.opened), None)
        self._button.layout.display = "" if row is not None and row["pinned"] else "none"
        if row is not None:
            served = self._found.served.get(str(self.opened))
            self._detail.show(*deployment_blocks(row, served, is_live=self.source.live))
        elif self.opened is not None:
            self._detail.show(Block(self.opened, "It is not there any more: neither registered nor pinned.", "warning"))

    def _static(self) -> Iterable[str]:
        yield self._summary.static_html()
        yield self._grid.static_html()
        yield self._detail.static_html()
