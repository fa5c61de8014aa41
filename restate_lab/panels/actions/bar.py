"""Change invocations from a panel: a button creates a plan, and the user confirms it with a reason before it is sent.

A single click never changes anything. ``ACTIONS`` defines the effect of a button in each status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._text import plural
from restate_lab.actions.change import Change
from restate_lab.actions.plan import make_plan
from restate_lab.actions.plan.gate import CHECKED_ACTIONS, CheckOffer, offer_check
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.client.arguments import check_seconds
from restate_lab.client.lab import is_lab
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.content import close_all
from restate_lab.panels._base.source import PanelSource, why_read_only
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.worker import BackgroundAction, Busy
from restate_lab.panels.actions.followup import FollowUp, done_text, follow
from restate_lab.panels.actions.form import PlanForm, name_of
from restate_lab.panels.grid import Grid
from restate_lab.reads import Reads
from restate_lab.source import Source

_COLUMNS = ("outcome", "target", "when sent", "error", "new_id", "other_new_ids", "id")
_SAFE = (ACTIONS.RESUME, ACTIONS.RESTART_AS_NEW, ACTIONS.PAUSE, ACTIONS.MOVE_TO)
_ENDING = (ACTIONS.CANCEL, ACTIONS.KILL, ACTIONS.PURGE_JOURNAL, ACTIONS.PURGE)
Guard = Callable[[Callable[..., object]], Callable[..., None]]


class OutcomeView(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The outcome of one execution; ``summary`` is its first line and ``grid`` shows its rows.

    ``back`` closes the view, and ``open_targets`` shows the affected invocations in the list.
    """

    def __init__(self, *, back: Callable[[], object], open_targets: Callable[[Sequence[str]], object] | None) -> None:
        self.summary = ""
        self._done_text = ""
        self._ids: tuple[str, ...] = ()
        self._text = Blocks()
        self.grid = Grid(noun="invocations", height=200, narrow={"id": "", "when sent": ""})
        self.targets = widgets.Button(description="Show them", tooltip="Show these invocations in the list")
        self.targets.on_click(lambda _: open_targets(self._ids) if open_targets else None)
        self.targets.layout.display = "" if open_targets else "none"
        self.done = widgets.Button(description="Done", tooltip="The outcome stays in panel.plan.outcome")
        self.done.on_click(lambda _: back())
        self._top = fields_row(self._text, self.targets, self.done)
        self.rows = widgets.Accordion(selected_index=None)
        super().__init__([self._top])
        self.add_class("rl-outcome")

    def show(self, plan: Plan, outcome: pd.DataFrame) -> None:
        """Show the result of ``plan.execute``."""
        self._done_text = self.summary = done_text(plan, outcome)
        self._ids = tuple(outcome["new_id"].dropna()) or tuple(outcome["id"])
        targets = dict(zip(plan.frame["id"], plan.frame["target"], strict=True))
        rows = outcome.assign(target=outcome["id"].map(targets)).rename(columns={"status": "when sent"})
        self._text.show(Block("", self.summary))
        self.grid.refresh(rows.assign(now=None))
        names = [name for name in _COLUMNS if name == "id" or (name in rows and not rows[name].isna().all())]
        self.grid.columns = names
        self._show_rows()
        self.done.focus()

    def report(self, follow_up: FollowUp) -> None:
        """Show the status of the targets some seconds later."""
        self.summary = f"{self._done_text} {follow_up.text}"
        self._text.show(Block("", self.summary))
        rows = self.grid.frame
        ids = rows["new_id"].fillna(rows["id"]) if "new_id" in rows else rows["id"]
        self.grid.refresh(rows.assign(now=ids.map(dict(follow_up.statuses))))
        if "now" not in self.grid.columns:
            columns = self.grid.columns
            self.grid.columns = [*columns[:2], "now", *columns[2:]]
        self._show_rows()

    def _show_rows(self) -> None:
        """Show the rows; they are folded if they agree, because the summary then says it all."""
        rows = self.grid.frame
        states = rows[["outcome", "when sent", "now"]].fillna("").drop_duplicates()
        is_folded = len(rows) > 1 == len(states) and ("error" not in rows or rows["error"].isna().all())
        first = states.iloc[0] if len(states) else ()
        self.rows.titles = (f"All {len(rows):,}: {' · '.join(dict.fromkeys(each for each in first if each))}",)
        self.rows.children = (self.grid,) if is_folded else ()
        # The page has no table before there are rows.
        self.children = (self._top, self.rows if is_folded else self.grid)

    def close(self) -> None:
        """Close the widgets; only one of them is among the children."""
        close_all(self.grid)
        close_all(self.rows)
        super().close()

    def __repr__(self) -> str:
        return f"<OutcomeView: {self.summary or 'nothing yet'}>"


class ActionBar(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Buttons for the offered invocations; below them the plan, then its outcome.

    ``guard`` wraps every handler so that errors are shown, ``say`` shows a line of text, ``acted`` is called after an
    action. ``label`` returns the text before the buttons for a number of invocations, ``open_targets`` shows
    invocations by their ids, and ``more`` are other controls after the buttons. With ``has_row_apart``, the owner shows
    ``row``, which has the buttons. Evidence has no buttons; a line states
    the reason. On a read-only connection, the buttons make plans that can be checked by replay but not executed.
    ``plan`` is the last plan, and ``form`` and ``outcome`` are the views of a plan and of its outcome.
    """

    def __init__(
        self,
        source: Source,
        *,
        guard: Guard,
        say: Callable[[str], object],
        acted: Callable[[], object],
        label: Callable[[int], str],
        reads: Source | None = None,
        open_targets: Callable[[Sequence[str]], object] | None = None,
        more: Sequence[Any] = (),
        has_row_apart: bool = False,
    ) -> None:
        self._label_of = label
        self._reads = reads or source
        self._source = source
        self._guard = guard
        self._say = say
        self._acted = acted
        self._targets: Sequence[str] | pd.DataFrame = []
        self._failures: dict[str, str] = {}
        self._background, self._follower = BackgroundAction(), BackgroundAction()
        self.plan: Plan | None = None
        self.label, self._waiting = widgets.Label(), widgets.Label()
        self._why_not = why_read_only(source)
        self.is_absent = self._why_not is not None and not is_lab(source)
        actions = () if self.is_absent else (*_SAFE, *_ENDING) if self._why_not is None else CHECKED_ACTIONS
        self.buttons = {action: self._button(action) for action in actions}
        self.form = PlanForm(
            confirm=guard(self._confirm), back=guard(self._back), again=guard(self._plan_again),
            stop=self._background.stop.set, find_check=guard(self._find_check), check=guard(self._run_check),
            why_not=self._why_not,
        )  # fmt: skip
        self.outcome = OutcomeView(back=guard(self._back), open_targets=open_targets)
        self.row = fields_row(self.label, *self.buttons.values(), *more)
        self.row.add_class("rl-action-row")
        below = [self._waiting, self.form, self.outcome]
        super().__init__(below if has_row_apart else [self.row, *below])
        self.add_class("rl-actions")
        self.label.value = self._why_not or ""
        self._show(None)
        self._tell("")
        self.offer([])

    def offer(self, targets: Sequence[str] | pd.DataFrame, kinds: pd.DataFrame | None = None) -> None:
        """Offer the actions that apply to these invocations; ``kinds`` has ``status`` and ``in_vqueue`` of each.

        One cluster can have invocations in vqueues and others, so each row decides. ``targets`` are ids, or rows with
        ``id`` and ``created_at``; with rows, a plan excludes newer runs of an id. The follow-up compares later failures
        with the column ``failure`` if the rows have it.
        """
        if self.is_absent:
            return
        self._targets = targets
        self._failures = {}
        if isinstance(targets, pd.DataFrame) and "failure" in targets:
            failing = targets[targets["failure"].notna()]
            self._failures = dict(zip(failing["id"], failing["failure"], strict=True))
        self.label.value = " · ".join(filter(None, (self._label_of(len(targets)), self._why_not)))
        counts = _count_kinds(kinds)
        for action, button in self.buttons.items():
            number = _number_of(action, counts)
            button.disabled, button.layout.display = not number, "" if number else "none"
            verb = name_of(action) if self._why_not is None else f"Check {name_of(action).lower()}"
            count = f" {number:,}" if len(targets) > 1 else ""
            button.description = f"{verb}{count}{'…' if action is ACTIONS.MOVE_TO else ''}"
            button.tooltip = f"Create a plan; nothing is sent yet. Requirement: {action.rule.needs}."

    def make_plan(self, action: ACTIONS | str, targets: Sequence[str] | pd.DataFrame | None = None) -> None:
        """Create the plan of an action in the background and show it; ``targets`` default to those offered."""
        self._plan(_first_change(ACTIONS(action)), self._targets if targets is None else targets)

    def reset(self) -> None:
        """Close the open plan or outcome, because other invocations are shown next."""
        self._follower.stop.set()
        self.plan = None
        self._show(None)

    def wait(self, *, timeout: DurationInput = "60s") -> bool:
        """Wait at most ``timeout`` for the current operation (planning or executing); return whether it is done."""
        return self._background.wait(check_seconds("timeout", timeout))

    def close(self) -> None:
        """Stop all operations and close the widgets."""
        self._background.close()
        self._follower.close()
        super().close()

    @property
    def is_open(self) -> bool:
        """Return whether a plan or an outcome is shown."""
        return any(part.layout.display != "none" for part in (self.form, self.outcome))

    def _button(self, action: ACTIONS) -> Any:
        button = widgets.Button(description=name_of(action), disabled=True)
        button.add_class("rl-ends" if action in _ENDING else "rl-safe")
        button.on_click(self._guard(lambda _: self.make_plan(action)))
        return button

    def _plan(self, change: Change, targets: Sequence[str] | pd.DataFrame, offer: CheckOffer | None = None) -> None:
        """Create a plan in the background; ``offer`` is the check that the user confirmed for it."""
        waiting, done, failed = _progress_texts(change.action, len(targets), offer)
        self._follower.stop.set()

        def work() -> None:
            try:
                stop = self._background.stop  # the user stops the check, or the panel is closed
                checked: dict[str, Any] = {}
                if offer is not None:
                    checked = {"progress": self.form.begin(stop), "reads": PanelSource(self._source, stop)}
                made = make_plan(self._source, change, targets, **checked)  # type: ignore[arg-type] # make_plan checks
                self.plan = made
                self._show(self.form)
                self.form.show(made)
                self._say(done)
            except BaseException:
                self._say(failed)
                raise
            finally:
                self.form.end()
                self._tell("")
            self._read_offer(made)

        self._tell(waiting)
        try:
            self._background.run(self._guard(work))
        except Busy:
            self._tell("")
            raise

    def _find_check(self) -> None:
        """Read in the background the address that a check of the plan would contact."""
        plan = self.plan
        if plan is not None:
            self._background.run(self._guard(lambda: self._read_offer(plan)))

    def _read_offer(self, plan: Plan) -> None:
        if not self.form.check.is_pending:
            return
        offer = None
        try:
            offer = offer_check(Reads(self._reads), plan.rows, plan.deployment)
        finally:
            self.form.check.show_offer(plan, offer)

    def _run_check(self) -> None:
        """Make the same plan again, with the check that the user confirmed."""
        plan, offer = self.plan, self.form.check.offer
        if plan is not None and offer is not None:
            change = replace(self.form.change, check=offer.deployment, confirm=offer.address)
            self._plan(change, plan.frame, offer)

    def _tell(self, text: str) -> None:
        self._waiting.value = text
        self._waiting.layout.display = "" if text else "none"

    def _plan_again(self) -> None:
        if self.plan is not None:
            self._plan(self.form.change, self.plan.frame)

    def _confirm(self) -> None:
        plan = self.plan
        if plan is None or plan.is_executed:
            return
        if self.form.lacking:
            raise ArgumentError(f"{self.form.lacking} Nothing was sent.")
        reason, expect = self.form.reason, self.form.expect

        def work() -> None:
            moves = self.form.begin()
            self._say("")  # it says that nothing has been sent
            try:
                done = plan.execute(reason=reason, expect=expect, progress=moves, stop=self._background.stop.is_set)
                self._show(self.outcome)
                self.outcome.show(plan, done)
                self._follow(plan, done)
            finally:
                self.form.end()
                self._acted()

        self._background.run(self._guard(work))

    def _follow(self, plan: Plan, outcome: pd.DataFrame) -> None:
        failures = self._failures

        def work() -> None:
            stop = self._follower.stop.is_set
            follow(self._reads, plan, outcome, failures, is_stopped=stop, report=self.outcome.report)
            self._acted()

        if self._follower.wait(2.0):
            self._follower.run(self._guard(work))

    def _back(self) -> None:
        self._say("")
        self._show(None)
        self.focus_first()

    def focus_first(self) -> None:
        """Move the keyboard focus to the first enabled button."""
        first = next((button for button in self.buttons.values() if not button.disabled), None)
        if first is not None and not self.is_absent:
            first.focus()

    def _show(self, part: Any) -> None:
        for each in (self.form, self.outcome):
            each.layout.display = "" if each is part else "none"
        planned = self.plan.action if self.plan is not None and part is self.form else None
        for action, button in self.buttons.items():
            (button.add_class if action is planned else button.remove_class)("rl-current")


def _first_change(action: ACTIONS) -> Change:
    """Return the change that a button plans; the form then has its options."""
    return Change(action, "latest" if action is ACTIONS.MOVE_TO else None)


def _progress_texts(action: ACTIONS, number: int, offer: CheckOffer | None) -> tuple[str, str, str]:
    """Return the texts while a plan is made, when it is shown, and when it failed."""
    name, targets = name_of(action).lower(), plural(number, "invocation")
    if offer is None:
        return (
            f"Reading {number:,} invocations for the plan …",
            f"The plan to {name} is below; nothing has been sent.",
            f"The plan to {name} was not created; nothing has been sent.",
        )
    return (
        f"Checking the plan with {targets} at {offer.address} …",
        f"The plan to {name} was checked at {offer.address}; nothing on the cluster has changed.",
        f"The check at {offer.address} was not completed; nothing on the cluster has changed.",
    )


def _count_kinds(kinds: pd.DataFrame | None) -> Counter[tuple[str, bool]]:
    """Return the number of invocations for each status, and whether they are in a vqueue."""
    rows = pd.DataFrame(columns=["status", "in_vqueue"]) if kinds is None else kinds.dropna(subset=["status"])
    in_vqueue = (not is_missing(each) and bool(each) for each in rows["in_vqueue"])
    return Counter(zip(rows["status"], in_vqueue, strict=True))


def _number_of(action: ACTIONS, counts: Counter[tuple[str, bool]]) -> int:
    where = _first_change(action).deployment
    return sum(
        number
        for (status, in_vqueue), number in counts.items()
        if action.rule.effect(status, has_vqueues=in_vqueue, deployment=where).acts
    )
