"""An execution request: an action, its targets, and the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from restate_lab.actions.rules import ACTIONS
from restate_lab.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """An action, its targets, and the reason; ``deployment`` and ``from_index`` are options of the action.

    ``from_indexes`` has the index of each id instead, if they differ; if it is not empty, it has exactly these ids.
    ``unrestarted`` are the ids for which the plan found no restart. ``created`` has the creation time of each reviewed
    run, if it is known: another run of the id is not acted on.

    The plan has checked the ids, the options and the reason.

    Raises:
        ArgumentError: an id occurs twice: a restart would happen twice.
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

    @property
    def index_of_each(self) -> list[int] | None:
        """Return the ``from_index`` of each id, in their order; None if no index was chosen."""
        if self.from_indexes:  # an id without an index would restart from its input, so it is an error
            return [self.from_indexes[id_] for id_ in self.ids]
        return None if self.from_index is None else [self.from_index] * len(self.ids)

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
