"""An execution request: an action, its targets, and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from restate_lab.actions.rules import ACTIONS
from restate_lab.client.arguments import check_count, check_deployment_choice, check_id
from restate_lab.errors import ArgumentError

__all__ = ["ExecutionRequest", "index_range"]


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """An action, its targets, and the reason; ``deployment`` and ``from_index`` are options of the action.

    ``from_indexes`` has the index of each id instead, if they differ; if it is not empty, it has exactly these ids.
    ``unrestarted`` are the ids for which the plan found no restart. ``created`` has the creation time of each reviewed
    run, if it is known: another run of the id is not acted on.

    Raises:
        ArgumentError: an id is malformed or occurs twice (a restart would happen twice), or ``reason`` is empty; or
            ``from_indexes`` has other ids, or ``from_index`` was passed too.
    """

    action: ACTIONS
    ids: tuple[str, ...]
    reason: str
    deployment: str | None = None
    from_index: int | None = None
    unrestarted: frozenset[str] = frozenset()
    created: Mapping[str, datetime] = field(default_factory=dict)
    from_indexes: Mapping[str, int] = field(default_factory=dict)

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
        self._check_from_indexes()

    def _check_from_indexes(self) -> None:
        if not self.from_indexes:
            return
        if self.from_index is not None:
            raise ArgumentError("from_index is for all ids, and from_indexes for each: pass one of them.")
        if self.from_indexes.keys() != set(self.ids):  # an id without an index would restart from its input
            raise ArgumentError("from_indexes must have exactly the ids of the request.")
        for index in self.from_indexes.values():
            check_count("from_indexes", index)

    @property
    def index_of_each(self) -> list[int] | None:
        """Return the ``from_index`` of each id, in their order; None if no index was chosen."""
        if self.from_index is None and not self.from_indexes:
            return None
        return [self.from_indexes.get(id_, self.from_index or 0) for id_ in self.ids]

    def __str__(self) -> str:
        options = {"deployment": self.deployment, "from_index": index_range(self.from_indexes) or self.from_index}
        options_text = "".join(f", {name} {value}" for name, value in options.items() if value is not None)
        return f"{self.action.value} of {len(self.ids):,} invocations{options_text}"


def index_range(from_indexes: Mapping[str, int]) -> str | None:
    """Return the lowest and highest of these indexes as text, such as "1 to 9"; None without indexes."""
    if not from_indexes:
        return None
    lowest, highest = min(from_indexes.values()), max(from_indexes.values())
    return str(lowest) if lowest == highest else f"{lowest} to {highest}"
