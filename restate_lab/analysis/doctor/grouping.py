"""Group the rows of a check by a key and by the pattern of the step that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from restate_lab._text import join, one_line, plural
from restate_lab.analysis.patterns import DATA, cause_paths, elide_data, group_by, step_patterns

MAX_PATTERNS = 3  # of one handler and code; more patterns have one common cause outside of the steps
_SHOWN = 5  # steps in a text
_WIDTH = 40
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StepGroup(Generic[_T]):
    """Members that fail in steps of one pattern, or in many different steps of one handler.

    ``steps`` has the name of each member's step; None outside of any step. ``labels`` has the pattern of each member's
    step, or its name if no other step in the group has the same pattern.
    """

    members: Sequence[_T]
    steps: Sequence[str | None]
    labels: Sequence[str | None]

    @property
    def only_step(self) -> str | None:
        """Return the name of the step if it is the same for all members, otherwise None."""
        return self.steps[0] if len(set(self.steps)) == 1 else None

    def title(self) -> str:
        """Return "the step “charge card”", "the steps “get weather …”", or "" outside of any step."""
        if set(self.steps) == {None}:
            return ""
        if self.only_step is not None:
            return f"the step “{one_line(self.only_step, _WIDTH)}”"
        kinds, label = len(set(self.labels)), self.labels[0]
        return (
            plural(kinds, "different step") if kinds > 1 or label is None else f"the steps “{one_line(label, _WIDTH)}”"
        )

    def details(self) -> str:
        """Return "6 steps: “get weather Oslo”, …, “get weather Rome” and 1 more", or "" for one step."""
        if len(set(self.steps)) == 1:
            return ""
        names = self.labels if len(set(self.labels)) > 1 else self.steps
        return f"{plural(len(set(names)), 'step')}: {_most_frequent(names)}"

    def about(self, cause: tuple[str, ...], message: Callable[[_T], str]) -> tuple[tuple[str, ...], ...]:
        """Return what a finding about the group is about: the cause, the pattern of the step, and kinds of messages.

        If the group has several patterns of steps, only the cause.
        """
        if len(set(self.labels)) > 1:
            return (cause,)
        label = self.labels[0] or ""
        step = label if DATA in label else step_patterns({label})[label]
        return cause_paths((*cause, step), self.messages(message))

    def subset(self, positions: Sequence[int]) -> StepGroup[_T]:
        """Return the group of the members at these positions."""
        return StepGroup(
            [self.members[at] for at in positions],
            [self.steps[at] for at in positions],
            [self.labels[at] for at in positions],
        )

    def messages(self, message: Callable[[_T], str]) -> list[str]:
        """Return the message of each member, without the data that is also in the name of its step."""
        return [
            message(member) if step is None or label is None else elide_data(message(member), step, label)
            for member, step, label in zip(self.members, self.steps, self.labels, strict=True)
        ]


def group_by_step(
    members: Iterable[_T],
    key: Callable[[_T], Hashable],
    step: Callable[[_T], str | None],
    *,
    most: int | None = MAX_PATTERNS,
) -> list[StepGroup[_T]]:
    """Return the members grouped by key (a handler and an error code) and by the pattern of their step.

    If more than ``most`` patterns have the same key, they are one group; None means no limit. The groups are in the
    order of their first members.
    """
    return [group for each in group_by(members, key) for group in _group_by_pattern(each, step, most)]


def _group_by_pattern(members: Sequence[_T], step: Callable[[_T], str | None], most: int | None) -> list[StepGroup[_T]]:
    steps = [step(member) or None for member in members]
    patterns = step_patterns({each for each in steps if each is not None})
    names = Counter(patterns.values())
    labels = [each if each is None or names[patterns[each]] == 1 else patterns[each] for each in steps]
    groups = group_by(range(len(labels)), labels.__getitem__)
    whole = StepGroup(members, steps, labels)
    return [whole] if most is not None and len(groups) > most else [whole.subset(each) for each in groups]


def _most_frequent(names: Iterable[str | None]) -> str:
    """Return "“a”, “b”, “c”, “d”, “e” and 3 more", the most frequent first."""
    counts = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0] or ""))
    shown = (f"“{one_line(name, _WIDTH)}”" if name else "outside of any step" for name, _ in counts[: _SHOWN + 1])
    return join(shown, _SHOWN, total=len(counts))
