"""A change: an action with its options, from the call or the click until the audit record."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.actions.rules import ACTIONS
from restate_lab.client.arguments import check_count, check_deployment_choice
from restate_lab.client.lab import Lab, require_lab
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError

_WITH_CALLEES = {ACTIONS.CANCEL, ACTIONS.KILL, ACTIONS.PAUSE, ACTIONS.RESUME}


@dataclass(frozen=True, slots=True)
class Change:
    """An action on invocations with its options, which ``plan()`` describes.

    ``deployment`` and ``from_index`` are sent with the action. ``from_indexes`` has the index of each invocation
    instead, if they differ; if it is not empty, it has all of them. The other options concern only the plan.
    """

    action: ACTIONS
    deployment: str | None = None
    from_index: int | None = None
    include_callees: bool = False
    check: str | None = None
    confirm: str | None = None
    timeout: DurationInput | None = None
    from_indexes: Mapping[str, int] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Return the chosen options that are sent, for people: different indexes are a range, such as "1 to 9"."""
        indexes: Any = self.from_index
        if self.from_indexes:
            lowest, highest = min(self.from_indexes.values()), max(self.from_indexes.values())
            indexes = str(lowest) if lowest == highest else f"{lowest} to {highest}"
        options = {"deployment": self.deployment, "from_index": indexes}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def common_params(self) -> dict[str, str]:
        """Return the query parameters that are the same for all invocations, and that the batch endpoint accepts."""
        return {} if self.deployment is None else {"deployment": self.deployment}

    def index_of(self, id_: str) -> int | None:
        """Return the ``from_index`` of an invocation; with ``from_indexes``, an id without an index is an error."""
        return self.from_indexes[id_] if self.from_indexes else self.from_index

    def only(self, ids: Collection[str]) -> Change:
        """Return the change of only these invocations."""
        return replace(self, from_indexes={id_: self.from_indexes[id_] for id_ in ids}) if self.from_indexes else self

    def check_options(self, lab: Lab) -> None:
        """Raise ArgumentError without a live cluster, or if the action does not have an option or its value."""
        require_lab(lab, "a plan")
        for name, value in (("deployment", self.deployment), ("from_index", self.from_index)):
            if value is not None and name not in self.action.rule.options:
                takers = [each.value for each in ACTIONS if name in each.rule.options]
                raise ArgumentError(f"{self.action} has no option {name}; it is only for {', '.join(takers)}.")
        if self.include_callees and self.action not in _WITH_CALLEES:
            takers = sorted(_WITH_CALLEES)
            raise ArgumentError(f"{self.action} has no option include_callees; it is only for {', '.join(takers)}.")
        if self.from_index is not None:
            check_count("from_index", self.from_index)
        if self.action is ACTIONS.MOVE_TO and self.deployment in {None, "keep"}:
            raise ArgumentError("move_to needs deployment=: 'latest', or the id of a deployment.")
        if self.deployment is not None:
            check_deployment_choice("deployment", self.deployment)


def action_of(name: str) -> ACTIONS:
    """Return the action with this name.

    Raises:
        ArgumentError: the action is unknown.
    """
    if name not in set(ACTIONS):
        hint = did_you_mean(nearest_names(str(name), ACTIONS)) or f"Choose from {', '.join(ACTIONS)}."
        raise ArgumentError(f"unknown action {name!r}. {hint}")
    return ACTIONS(name)


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """A change of these invocations, and its reason.

    ``unrestarted`` are the ids for which the plan found no restart. ``created`` has the creation time of each reviewed
    run, if it is known: another run of the id is not acted on. The plan has checked the ids, the options and the
    reason. ``begin`` is called once, just before the first request or after all ids were skipped; if it raises,
    nothing is sent.

    Raises:
        ArgumentError: an id occurs twice: a restart would happen twice.
    """

    change: Change
    ids: tuple[str, ...]
    reason: str
    unrestarted: frozenset[str] = frozenset()
    created: Mapping[str, datetime] = field(default_factory=dict)
    begin: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        twice = [id_ for id_, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise ArgumentError(f"{len(twice):,} ids occur more than once, such as {twice[0]}: pass each id once.")

    @property
    def action(self) -> ACTIONS:
        """Return the action of the change."""
        return self.change.action

    def __str__(self) -> str:
        options = "".join(f", {name} {value}" for name, value in self.change.options.items())
        return f"{self.action.value} of {len(self.ids):,} invocations{options}"


@dataclass(slots=True)
class SharedExecution:
    """The shared data of related plans: when they were made, and which invocations one of them acted on."""

    acted: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.monotonic)

    def age(self, read_at: datetime) -> timedelta:
        """Return the time since they were made, the longer one of two clocks: one may stop while a laptop sleeps."""
        return max(timedelta(seconds=time.monotonic() - self.started), datetime.now(UTC) - read_at)


@dataclass(slots=True)
class Execution:
    """The targets and the outcome of one plan's execution; None before it."""

    targets: tuple[str, ...] | None = None
    outcome: pd.DataFrame | None = None
