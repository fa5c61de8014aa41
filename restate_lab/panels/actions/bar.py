"""Act on invocations from a panel: a button makes a plan, a reader confirms it with a reason, only then it is done.

Nothing acts on one click. What a button does in which status comes from ``ACTIONS``; what stands in the plan is the
plan's own card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.actions.plan import make_plan
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.client.arguments import check_seconds
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.panels._base.panel import why_read_only
from restate_lab.panels._base.worker import Apart, Busy
from restate_lab.panels.actions.form import PlanForm, name_of
from restate_lab.panels.grid import Grid
from restate_lab.source import Source

__all__ = ["ActionBar"]

_COLUMNS = ("outcome", "target", "status", "error", "new_id", "other_new_ids", "id")
Handled = Callable[[Callable[..., object]], Callable[..., None]]


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


class ActionBar(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Buttons for the invocations that are offered; below them the plan, then what came of it.

    ``handled`` wraps every handler so that errors are shown, ``say`` shows a line, ``acted`` is called after something
    was done, ``label`` gives the words before the buttons for so many invocations. On what can only be read there are
    no buttons, and a line says why. ``plan`` is the last plan.
    """

    def __init__(
        self,
        source: Source,
        *,
        handled: Handled,
        say: Callable[[str], object],
        acted: Callable[[], object],
        label: Callable[[int], str],
    ) -> None:
        self._words = label
        self._source = source
        self._handled = handled
        self._say = say
        self._acted = acted
        self._targets: Sequence[str] | pd.DataFrame = []
        self._apart = Apart()
        self.plan: Plan | None = None
        self._label, self._waiting = widgets.Label(), widgets.Label()
        self.buttons = {action: self._button(action) for action in ACTIONS}
        self._form = PlanForm(
            confirm=handled(self._confirm), back=handled(self._back), again=handled(self._plan_again), stop=self._stop
        )
        self._outcome = OutcomeView(back=handled(self._back))
        why_not = why_read_only(source)
        self.is_absent = why_not is not None
        row = widgets.Box([self._label] if why_not else [self._label, *self.buttons.values()])
        row.add_class("rl-fields")
        super().__init__([row, self._waiting, self._form, self._outcome])
        self.add_class("rl-actions")
        self._label.value = why_not or ""
        self._show(None)
        self._tell("")
        self.offer([], [])

    def offer(self, targets: Sequence[str] | pd.DataFrame, statuses: Sequence[str]) -> None:
        """Offer what can be done to these, which are in these statuses.

        ``targets`` are ids, or rows with ``id`` and ``created_at``: a plan then leaves out a new run with the same id.
        """
        if self.is_absent:
            return
        self._targets = targets
        has_vqueues = self._source.features.get("vqueues", False)
        self._label.value = self._words(len(targets))
        for action, button in self.buttons.items():
            where = "latest" if action is ACTIONS.MOVE_TO else None
            acts = any(action.rule.effect(word, has_vqueues=has_vqueues, deployment=where).acts for word in statuses)
            button.disabled, button.layout.display = not acts, "" if acts else "none"
            button.tooltip = f"Plan it; nothing is sent yet. It is for those of which {action.rule.needs}."

    def wait(self, *, timeout: DurationInput = "60s") -> bool:
        """Wait until the plan is made, or done, ``timeout`` at most; return whether it is."""
        return self._apart.wait(check_seconds("timeout", timeout))

    def close(self) -> None:
        """End what is under way."""
        self._apart.close()
        super().close()

    @property
    def form(self) -> PlanForm:
        """Return the plan's form: its reason, its number, its buttons."""
        return self._form

    @property
    def outcome(self) -> OutcomeView:
        """Return the view of what came of it."""
        return self._outcome

    def _button(self, action: ACTIONS) -> Any:
        button = widgets.Button(description=f"{name_of(action)}…", disabled=True)
        button.on_click(self._handled(lambda _: self._plan(action, self._targets)))
        return button

    def _plan(self, action: ACTIONS, targets: Sequence[str] | pd.DataFrame, **options: Any) -> None:
        if action is ACTIONS.MOVE_TO:
            options.setdefault("deployment", "latest")

        def work() -> None:
            try:
                made = make_plan(self._source, action, targets, **options)  # type: ignore[arg-type] # checked by make_plan
                self.plan = made
                self._show(self._form)
                self._form.show(made)
                self._say(f"The plan to {name_of(action).lower()} is below; nothing has been sent.")
            except BaseException:
                self._say(f"No plan to {name_of(action).lower()} was made; nothing has been sent.")
                raise
            finally:
                self._tell("")

        self._tell(f"Reading {len(targets):,} invocations for the plan …")
        try:
            self._apart.run(self._handled(work))
        except Busy:
            self._tell("")
            raise

    def _tell(self, text: str) -> None:
        self._waiting.value = text
        self._waiting.layout.display = "" if text else "none"

    def _plan_again(self) -> None:
        if self.plan is not None:
            self._plan(self.plan.action, self.plan.frame, **self._form.options)

    def _confirm(self) -> None:
        plan = self.plan
        if plan is None or plan.is_executed:
            return
        if self._form.lacking:
            raise ArgumentError(f"{self._form.lacking} Nothing was sent.")
        reason, expect = self._form.reason, self._form.expect

        def work() -> None:
            moves = self._form.began()
            try:
                done = plan.execute(reason=reason, expect=expect, progress=moves, stop=self._apart.stop.is_set)
                self._show(self._outcome)
                self._outcome.show(plan, done)
                self._say(self._outcome.summary)
            finally:
                self._form.ended()
                self._acted()

        self._apart.run(self._handled(work))

    def _stop(self) -> None:
        self._apart.stop.set()

    def _back(self) -> None:
        self._show(None)
        self.focus_first()

    def focus_first(self) -> None:
        """Put the keyboard on the first button that can be pressed."""
        first = next((button for button in self.buttons.values() if not button.disabled), None)
        if first is not None and not self.is_absent:
            first.focus()

    def _show(self, part: Any) -> None:
        for each in (self._form, self._outcome):
            each.layout.display = "" if each is part else "none"
