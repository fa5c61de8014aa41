"""An execution request: an action, its targets, and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from restate_lab.actions.rules import ACTIONS
from restate_lab.client.arguments import check_count, check_deployment_choice, check_id
from restate_lab.errors import ArgumentError

__all__ = ["ExecutionRequest"]


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """An action, its targets, and the reason; ``deployment`` and ``from_index`` are options of the action.

    ``unrestarted`` are the ids for which the plan found no restart. ``created`` has the creation time of each reviewed
    run, if it is known: another run of the id is not acted on.

    Raises:
        ArgumentError: an id is malformed or occurs twice (a restart would happen twice), or ``reason`` is empty.
    """

    action: ACTIONS
    ids: tuple[str, ...]
    reason: str
    deployment: str | None = None
    from_index: int | None = None
    unrestarted: frozenset[str] = frozenset()
    created: Mapping[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [id_ for id_, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise ArgumentError(f"{len(twice):,} ids occur more than once, such as {twice[0]}: pass each id once.")
        for id_ in self.ids:
            check_id("ids", id_, "invocation")
        if not self.reason.strip():
            raise ArgumentError("reason is empty: pass a short reason for the audit log.")
        if self.deployment is not None:
            check_deployment_choice("deployment", self.deployment)
        if self.from_index is not None:
            check_count("from_index", self.from_index)

    def __str__(self) -> str:
        options = {"deployment": self.deployment, "from_index": self.from_index}
        options_text = "".join(f", {name} {value}" for name, value in options.items() if value is not None)
        return f"{self.action.value} of {len(self.ids):,} invocations{options_text}"
