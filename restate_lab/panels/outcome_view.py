"""What came of a plan, in a panel: the counts in words, and one row for each invocation."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import pandas as pd

from restate_lab.actions.plan.model import Plan
from restate_lab.panels.grid import Grid

__all__ = ["OutcomeView"]

_COLUMNS = ("outcome", "target", "status", "error", "new_id", "other_new_ids", "id")


class OutcomeView(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The outcome of one execution; ``summary`` is its first line, ``grid`` its rows."""

    def __init__(self, *, back: Callable[[], object]) -> None:
        self.summary = ""
        self._said = widgets.HTML()
        self.grid = Grid(noun="invocations", height=200)
        self.done = widgets.Button(description="Close the outcome", tooltip="It stays in panel.plan.outcome")
        self.done.on_click(lambda _: back())
        self._top = widgets.Box([self._said, self.done])
        self._top.add_class("rl-fields")
        super().__init__([self._top])
        self.add_class("rl-outcome")

    def show(self, plan: Plan, outcome: pd.DataFrame) -> None:
        """Show what ``plan.execute`` returned."""
        counts = outcome["outcome"].value_counts()
        words = ", ".join(f"{int(n):,} {word}" for word, n in counts.items()) or "nothing to be done"
        halt = outcome.attrs.get("halt")
        self.summary = f"{plan.action}: {words}." + (f" It ended early: {halt.rstrip('.')}." if halt else "")
        targets = dict(zip(plan.frame["id"], plan.frame["target"], strict=True))
        rows = outcome.assign(target=outcome["id"].map(targets))
        self._said.value = f"<b>{escape(self.summary)}</b>"
        self.grid.refresh(rows)
        self.grid.columns = [name for name in _COLUMNS if name == "id" or not rows[name].isna().all()]
        self.children = (self._top, self.grid)  # no table is in the page before there is something in it
        self.done.focus()

    def close(self) -> None:
        """Take it away."""
        self.grid.close()
        super().close()

    def __repr__(self) -> str:
        return f"<OutcomeView: {self.summary or 'nothing yet'}>"
