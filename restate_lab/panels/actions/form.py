"""The form of a plan: one sentence with action, number and cluster, the reason, the button, and the card below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import Any

import ipywidgets as widgets

from restate_lab._text import join, plural
from restate_lab.actions.change import Change
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.plan.text import shorten_cell
from restate_lab.actions.rules import ACTIONS
from restate_lab.document.html import panel_html
from restate_lab.errors import ArgumentError
from restate_lab.panels._base.blocks import Block, Blocks, Tone
from restate_lab.panels._base.content import close_all
from restate_lab.panels._base.submit import Submit, fields_row
from restate_lab.panels.actions.check import CheckForm
from restate_lab.progress import Progress
from restate_lab.reads import UntilStopped

_STAYS = "keep"  # keep the deployment that an invocation is pinned to
_WHOLE = "none: start from the beginning"
_SENDING = "Stop sending; requests already sent stay in effect"
_CHECKING = "Stop the check; nothing on the cluster changes"
_DEFAULTS = {ACTIONS.RESTART_AS_NEW: "latest, keep, or dp_…"}


def name_of(action: ACTIONS) -> str:
    """Return the label of an action on a button; "Move to 2" would read as a place."""
    return "Move" if action is ACTIONS.MOVE_TO else action.value.replace("_", " ").capitalize()


class PlanForm(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """One plan for review, and the progress bar of its execution.

    The handlers are ``confirm``, ``back``, ``again`` (other options), ``stop``, ``find_check`` and ``check``, which
    ``CheckForm`` describes. ``why_not`` is the reason why plans can be checked but not executed, or None.
    """

    def __init__(
        self,
        *,
        confirm: Callable[[], object],
        back: Callable[[], object],
        again: Callable[[], object],
        stop: Callable[[], object],
        find_check: Callable[[], object],
        check: Callable[[], object],
        why_not: str | None = None,
    ) -> None:
        self._plan: Plan | None = None
        self._again = again
        self._why_not = why_not
        self._quiet = False
        auto = {"description_width": "auto"}
        self._sentence = Blocks()
        self.card = widgets.HTML()
        self._paths = widgets.HTML()
        self.details = widgets.Accordion([self.card], titles=("Everything in this plan",), selected_index=None)
        self.deployment = widgets.Combobox(
            description="deployment", options=("latest", _STAYS), continuous_update=False, style=auto,
            placeholder="same as before, latest, or dp_…",
        )  # fmt: skip
        self.from_index = widgets.Dropdown(description="keep journal entries", options=[(_WHOLE, None)], style=auto)
        self.why = widgets.Text(description="reason", placeholder="INC-42: the dependency is back", style=auto)
        self.number = widgets.Text(description="number", style=auto)
        options = [self.deployment, self.from_index]
        self.check = CheckForm(find=find_check, check=check, drop=again, fields=options)
        options = [*options, self.check.tick]
        self.confirm = Submit("", lambda: self._submit(confirm), fields=[*options, self.why, self.number])
        self.back = widgets.Button(description="Back", tooltip="Close the plan; nothing is sent")
        self.bar = widgets.IntProgress(description="", bar_style="info")
        self.stop = widgets.Button(description="Stop")
        self._options = fields_row(*options)
        self._asked = fields_row(self.why, self.number, self.confirm, self.back)
        self.doing = fields_row(self.bar, self.stop)
        super().__init__([self._sentence, self._options, self.check, self._asked, self.doing, self.details])
        self.add_class("rl-plan").add_class("rl-card")
        self._observe(back, stop)

    def _observe(self, back: Callable[[], object], stop: Callable[[], object]) -> None:
        for field in (self.why, self.number):
            field.observe(lambda _: self._check(), "value")
        for field in (self.deployment, self.from_index):
            field.observe(lambda _: None if self._quiet else self._change_options(), "value")
        self.check.tick.observe(lambda _: self._check(), "value")
        self.back.on_click(lambda _: back())
        self.stop.on_click(lambda _: stop())

    @property
    def reason(self) -> str:
        """Return the reason in the field."""
        return str(self.why.value).strip()

    @property
    def expect(self) -> int | None:
        """Return the number in the field, or None if the field is empty or hidden."""
        text = str(self.number.value).replace(",", "").strip()
        return int(text) if text.isdecimal() else None

    @property
    def lacking(self) -> str:
        """Return the input that is missing before the plan can be executed; "" if it is complete."""
        if self._plan is None or not self._plan.targets:
            return "The plan has no targets."
        if problem := self._why_not or self._outdated or self.check.lacking:
            return problem
        number = len(self._plan.targets)
        if not self.reason:
            return "Enter a reason first."
        return "" if number <= self._plan.action.rule.expect_above or self.expect == number else f"Type {number} first."

    @property
    def _outdated(self) -> str:
        """Return a text if the plan was made with other options than those in the fields, as after an error."""
        plan = self._plan
        is_same = plan is None or self.change.options == Change(plan.action, plan.deployment, plan.from_index).options
        return "" if is_same else "The plan was not made with these options. Correct them first."

    @property
    def change(self) -> Change:
        """Return the action of the plan with the chosen options that it accepts, and without a check.

        Raises:
            ArgumentError: no plan is shown.
        """
        if self._plan is None:
            raise ArgumentError("no plan is shown; press the button of an action first.")
        action = self._plan.action
        chosen = {"deployment": str(self.deployment.value).strip() or None, "from_index": self.from_index.value}
        return Change(action, **{name: value for name, value in chosen.items() if name in action.rule.options})

    def show(self, plan: Plan) -> None:
        """Show a plan and ask for the reason."""
        renewed = _is_renewed(self._plan, plan)
        self._plan = plan
        self.confirm.renew()
        if not renewed:
            self.why.value = ""  # a reason applies to one plan only
        warnings = plan.warnings
        tone: Tone = "bad" if plan.action.rule.destructive else "warning" if warnings else "plain"
        self._sentence.show(Block(_sentence(plan), _effects(plan, warnings), tone))
        self._show_details(plan)
        self.check.show(plan, wanted=self.check.tick.value if renewed else self._why_not is not None)
        self._quiet = True
        try:
            self._show_options(plan, renewed=renewed)
        finally:
            self._quiet = False
        number = len(plan.targets)
        many = number > plan.action.rule.expect_above
        self.number.layout.display = "" if many else "none"
        self.number.placeholder = f"type {number:,} to confirm"
        self.number.value = ""
        self.confirm.description = f"{name_of(plan.action)} {plural(number, 'invocation')}"
        self.confirm.button_style = "danger" if plan.action.rule.destructive else "primary"
        can_send = bool(number) and self._why_not is None
        for part, shown in ((self._asked, True), (self.doing, False), (self.why, can_send), (self.confirm, can_send)):
            part.layout.display = "" if shown else "none"
        self._check()
        (self.why if can_send else self.back).focus()

    def begin(self, stop_check: Event | None = None) -> Progress:
        """Show the progress bar and the Stop button; return the progress that moves the bar.

        The progress of a check raises Stopped when ``stop_check`` is set.
        """
        tooltip = _SENDING if stop_check is None else _CHECKING
        self.bar.max, self.bar.value = max(1, len(self._plan.targets) if self._plan else 1), 0
        self.bar.description, self.stop.tooltip = f"0 of {self.bar.max:,}", tooltip
        self._show_doing(is_doing=True)
        return _Moves(self.bar) if stop_check is None else UntilStopped(stop_check, _Moves(self.bar))

    def end(self) -> None:
        """Hide the progress bar and the Stop button."""
        self._show_doing(is_doing=False)

    def close(self) -> None:
        """Close the widgets; before a check, the paths are not among the children."""
        close_all(self._paths)
        super().close()

    def _show_doing(self, *, is_doing: bool) -> None:
        self._asked.layout.display, self.doing.layout.display = ("none", "") if is_doing else ("", "none")
        for field in (self.deployment, self.from_index, self.check.tick):
            field.disabled = is_doing

    def _show_details(self, plan: Plan) -> None:
        """Show the plan's card and, after a check, both paths; the card is open if the check excluded targets."""
        self.card.value = panel_html(plan.document())
        replay = plan.replay
        self._paths.value = "" if replay is None else panel_html(replay.document())
        parts, titles = [self.card], ["Everything in this plan"]
        if replay is not None and len(replay.groups):
            parts, titles = [*parts, self._paths], [*titles, "Recorded and new path"]
        self.details.selected_index = None
        self.details.children, self.details.titles = parts, tuple(titles)
        self.details.selected_index = 0 if len(parts) > 1 else None

    def _show_options(self, plan: Plan, *, renewed: bool) -> None:
        takes = plan.action.rule.options
        prefixes = (
            plan.prefixes.to_dict("records") if "from_index" in takes and plan.prefixes["id"].nunique() == 1 else []
        )
        if not renewed:
            self.deployment.value = plan.deployment or ""
            kept = [(f"up to {row['from_index']}: {row['entry']}", int(row["from_index"])) for row in prefixes]
            self.from_index.options = [(_WHOLE, None), *kept]
            self.from_index.value = plan.from_index
        self.deployment.layout.display = "" if "deployment" in takes else "none"
        self.deployment.placeholder = _DEFAULTS.get(plan.action, "same as before, latest, or dp_…")
        self.from_index.layout.display = "" if prefixes else "none"

    def _change_options(self) -> None:
        self._check()
        self._again()

    def _submit(self, confirm: Callable[[], object]) -> None:
        """Confirm the plan; if the options changed with this click, create a new plan for review instead."""
        if not {self.deployment, self.from_index, self.check.tick}.intersection(self.confirm.changed):
            confirm()

    def _check(self) -> None:
        if self._plan is None:
            return
        self.confirm.disabled = bool(self.lacking)
        self.confirm.tooltip = self.lacking or "Send now"


class _Moves:
    """The Progress of an execution, shown as a bar."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, rows: int, size: int) -> None:
        self._bar.max, self._bar.value = max(size, 1), rows
        self._bar.description = f"{rows:,} of {size:,}"

    def close(self) -> None:
        return


def _sentence(plan: Plan) -> str:
    """Return the effect of the plan as one sentence: "Resume 15 of 15 · Payments/charge · on demo (…)"."""
    number, total = len(plan.targets), len(plan.frame)
    targets = list(dict.fromkeys(plan.rows["target"].astype(str).map(_handler_of)))
    more = f" and {len(targets) - 2:,} others" if len(targets) > 2 else ""
    where = f"{', '.join(map(shorten_cell, targets[:2]))}{more} · " if targets else ""
    cluster = plan.source if plan.source in plan.address else f"{plan.source} ({plan.address})"
    return f"{name_of(plan.action)} {number:,} of {total:,} · {where}on {cluster}"


def _handler_of(target: str) -> str:
    """Return the service and handler of a target, without the key of a virtual object."""
    parts = target.split("/")
    return f"{parts[0]}/{parts[-1]}" if len(parts) > 1 else target


def _effects(plan: Plan, warnings: Sequence[str]) -> str:
    """Return the effects, whether they can be undone, how many cannot run at once, other invocations, and all warnings.

    Warnings and limitations are visible without the card of the plan.
    """
    counts = plan.rows["effect"].dropna().value_counts()
    effects = "; ".join(f"{text} ({int(n):,})" if len(counts) > 1 else str(text) for text, n in counts.items())
    excluded = len(plan.frame) - len(plan.targets)
    parts = [
        f"Effect: {effects}." if effects else "",
        plan.undo if effects else "",
        plan.capacity if plan.at_once != len(plan.targets) else "",
        f"{excluded:,} excluded; see below." if excluded else "",
        _also_affected(plan),
    ]
    limitations = (f"- {text}" for text in plan.reasons)
    return "\n".join(filter(None, [" ".join(filter(None, parts)), *warnings, *limitations]))


def _also_affected(plan: Plan) -> str:
    kinds = plan.impact["kind"]
    numbers = (
        (int((~kinds.isin(["key", "state change"])).sum()), "other invocation", None),
        (int((kinds == "key").sum()), "key", None),
        (int((kinds == "state change").sum()), "queued change of state", "queued changes of state"),
    )
    others = [plural(number, *names) for number, *names in numbers if number]
    return f"Also affects {join(others)}." if others else ""


def _is_renewed(before: Plan | None, plan: Plan) -> bool:
    """Return whether the plan is the previous plan with other options."""
    if before is None or before.is_executed or before.action is not plan.action:
        return False
    return _runs(before) == _runs(plan)


def _runs(plan: Plan) -> set[tuple[str, str]]:
    """Return the runs in a plan as (id, created_at), or only the ids if it has no creation times."""
    created = plan.frame.get("created_at", plan.frame["id"])
    return set(zip(plan.frame["id"], created.astype(str), strict=True))
