"""The replay check of a plan: an option, the address that the check contacts, and the button that confirms it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from restate_lab._text import plural
from restate_lab.actions.plan.gate import CHECKED_ACTIONS, CheckOffer
from restate_lab.actions.plan.model import Plan
from restate_lab.analysis.replay.recording import FITS
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.panels._base.blocks import Block, Blocks, Tone
from restate_lab.panels._base.submit import Submit

_OPTION = "Check by replay first"
_FINDING = "Reading the address of the deployment …"
_NO_ADDRESS = "No address was found, so nothing was contacted."


class CheckForm(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The check of one plan. ``tick`` selects it, and ``run`` confirms the address of ``offer`` and starts it.

    Nothing is contacted before ``run`` is pressed: ``find`` is called to read the address, ``check`` to start the
    check, and ``drop`` if the user clears the tick of a checked plan. ``fields`` are other options of the plan: if they
    change with a press of ``run``, there will be another plan, so this one is not checked.
    """

    def __init__(
        self,
        *,
        find: Callable[[], object],
        check: Callable[[], object],
        drop: Callable[[], object],
        fields: Sequence[Any],
    ) -> None:
        self._plan: Plan | None = None
        self._find, self._drop = find, drop
        self._quiet = False
        self.offer: CheckOffer | None = None
        self.tick = widgets.Checkbox(description=_OPTION, indent=False)
        self.tick.add_class("rl-tick")
        self._text = Blocks()
        self.run = Submit("", lambda: self._submit(check), fields=fields)
        super().__init__([self._text, self.run])
        self.add_class("rl-check")
        self.tick.observe(lambda _: None if self._quiet else self._change(), "value")

    @property
    def is_pending(self) -> bool:
        """Return whether the user wants a check that was not made yet."""
        return bool(self.tick.value) and self._plan is not None and self._plan.replay is None

    @property
    def lacking(self) -> str:
        """Return why the plan cannot be executed yet; "" if it can."""
        return f"Run the check first, or clear “{_OPTION}”." if self.is_pending else ""

    @property
    def text(self) -> str:
        """Return the text about the check."""
        return self._text.text

    def show(self, plan: Plan, *, wanted: bool) -> None:
        """Show the check of a plan; ``wanted`` is the value of the tick."""
        self._plan = plan
        is_possible = plan.action in CHECKED_ACTIONS and (bool(plan.targets) or plan.replay is not None)
        self._quiet = True
        try:
            self.tick.value = is_possible and wanted
        finally:
            self._quiet = False
        self.tick.layout.display = "" if is_possible else "none"
        self._show_state()

    def show_offer(self, plan: Plan, offer: CheckOffer | None) -> None:
        """Show the address that a check of this plan contacts; None if there is no address."""
        if plan is not self._plan or not self.is_pending:
            return
        self.offer = offer
        self.run.renew()  # a press is for the address that the user saw
        if offer is None:
            self._text.show(Block("", _NO_ADDRESS, "warning"))
            return
        title = f"Check {plural(len(plan.targets), 'invocation')} at {offer.address}"
        self._text.show(Block(title, offer.notice, "warning" if offer.warning else "plain"))
        self.run.description = f"Run the check at {offer.address}"
        self.run.tooltip = f"Contacts {offer.address} ({offer.deployment}); nothing on the cluster changes"
        self.run.layout.display = ""

    def _change(self) -> None:
        self._show_state()
        if self.is_pending:
            self._find()
        elif not self.tick.value and self._plan is not None and self._plan.replay is not None:
            self._drop()

    def _show_state(self) -> None:
        self.offer = None
        self.run.layout.display = "none"
        replay = self._plan.replay if self._plan else None
        is_shown = self.is_pending or replay is not None
        if replay is not None:
            self._text.show(Block(f"Replay check at {replay.address}", _result(replay), _tone(replay)))
        else:
            self._text.show(*([Block("", _FINDING)] if is_shown else []))
        self.layout.display = "" if is_shown else "none"

    def _submit(self, check: Callable[[], object]) -> None:
        if not self.run.changed and self.is_pending and self.offer is not None:
            check()


def _result(replay: Replay) -> str:
    return f"{replay.summary}. No response showed that a step ran, and nothing on the cluster changed."


def _tone(replay: Replay) -> Tone:
    if replay.verdict in {FITS, OTHER_RESULT}:
        return "good"
    return "bad" if replay.verdict in {DIVERGES, FAILS} else "warning"
