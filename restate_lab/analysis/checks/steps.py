"""Members of findings grouped by the pattern of the step that fails, and these steps in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from restate_lab._text import join, one_line, plural
from restate_lab.analysis.step_patterns import step_patterns, without_data

__all__ = ["StepGroup", "by_step"]

PATTERNS = 3  # of one handler and code; more of them have one cause outside of the steps
_SHOWN = 3
_WIDTH = 40
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StepGroup(Generic[_T]):
    """Members that fail in steps of one pattern, or in many different steps of one handler."""

    members: Sequence[_T]
    steps: Sequence[str | None]
    """The name of each member's step; None outside of any step."""
    labels: Sequence[str | None]
    """For each member the pattern of its step; the name where no other step of the group has this pattern."""

    @property
    def only_step(self) -> str | None:
        """Return the name of the step where it is the same for all members; None otherwise."""
        return self.steps[0] if len(set(self.steps)) == 1 else None

    def words(self) -> str:
        """Return "the step “charge card”", "the steps “get weather …” (6 steps: …)", or "" outside of any step."""
        if set(self.steps) == {None}:
            return ""
        if self.only_step is not None:
            return f"the step “{one_line(self.only_step, _WIDTH)}”"
        kinds, label = len(set(self.labels)), self.labels[0]
        if kinds > 1 or label is None:
            return f"{plural(kinds, 'different step')} ({_most_frequent(self.labels)})"
        steps = plural(len(set(self.steps)), "step")
        return f"the steps “{one_line(label, _WIDTH)}” ({steps}: {_most_frequent(self.steps)})"

    def of(self, positions: Sequence[int]) -> StepGroup[_T]:
        """Return the group of the members at these positions."""
        return StepGroup(
            [self.members[at] for at in positions],
            [self.steps[at] for at in positions],
            [self.labels[at] for at in positions],
        )

    def messages(self, message: Callable[[_T], str]) -> list[str]:
        """Return the message of each member, without the data that also stands in the name of its step."""
        return [
            message(member) if step is None or label is None else without_data(message(member), step, label)
            for member, step, label in zip(self.members, self.steps, self.labels, strict=True)
        ]


def by_step(
    members: Iterable[_T],
    key: Callable[[_T], Hashable],
    step: Callable[[_T], str | None],
    *,
    most: int | None = PATTERNS,
) -> list[StepGroup[_T]]:
    """Return the members grouped by key (a handler and an error code) and by the pattern of their step.

    Where more than ``most`` patterns have the same key, all of them are one group; None means no limit. Groups are in
    the order in which their first members are.
    """
    alike: dict[Hashable, list[_T]] = defaultdict(list)
    for member in members:
        alike[key(member)].append(member)
    return [group for each in alike.values() for group in _by_pattern(each, step, most)]


def _by_pattern(members: Sequence[_T], step: Callable[[_T], str | None], most: int | None) -> list[StepGroup[_T]]:
    steps = [step(member) or None for member in members]
    patterns = step_patterns({each for each in steps if each is not None})
    names = Counter(patterns.values())
    labels = [each if each is None or names[patterns[each]] == 1 else patterns[each] for each in steps]
    groups: dict[str | None, list[int]] = defaultdict(list)
    for at, label in enumerate(labels):
        groups[label].append(at)
    whole = StepGroup(members, steps, labels)
    return [whole] if most is not None and len(groups) > most else [whole.of(each) for each in groups.values()]


def _most_frequent(names: Iterable[str | None]) -> str:
    """Return "“a”, “b”, “c” and 3 more", the most frequent first."""
    counts = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0] or ""))
    shown = (f"“{one_line(name, _WIDTH)}”" if name else "outside of any step" for name, _ in counts[: _SHOWN + 1])
    return join(shown, _SHOWN, total=len(counts))
