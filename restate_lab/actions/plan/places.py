"""How many targets of a resume could run at once under the limits of concurrency, as they are now.

Observed on 1.7.12 with vqueues: a paused or suspended invocation holds no place of a limit, and neither does one with a
long back-off; one with a short back-off holds its place. A counter without use has no row, so that its rule is found by
the pattern. An invocation that has started holds its key, so that keys do not limit a resume.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from restate_lab._text import one_line, plural, verb_form
from restate_lab.actions.plan.reader import count_waiting_for_slots, read_limits, read_places, read_usage
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.scopes import ScopeKey, counter_key_of, scope_key_of
from restate_lab.errors import RestateLabError
from restate_lab.reads import Reads
from restate_lab.server import has_vqueues

COLUMNS = ("scope", "limit_key", "rule", "targets", "limit", "usage", "free")
_WITHIN = 10.0  # seconds
_LONGEST_ERROR = 300


class Limit(NamedTuple):
    """A rule, its limit, and how many places are used."""

    rule: str
    limit: int
    usage: int

    @property
    def free(self) -> int:
        """Return how many places are free; a limit can be lowered below its usage."""
        return max(self.limit - self.usage, 0)


@dataclass(frozen=True, slots=True)
class Places:
    """The limits that apply to the targets of a resume.

    ``scopes`` has the scope and the limit key of each target that needs a place, ``limits`` the limit of each of their
    levels, and ``waiting`` is the number of queues that wait for a slot of an invoker. ``failure`` is the reason why
    all this is not known.
    """

    scopes: Mapping[str, ScopeKey] = field(default_factory=dict)
    limits: Mapping[ScopeKey, Limit] = field(default_factory=dict)
    waiting: int = 0
    failure: str = ""

    def count(self, ids: Sequence[str]) -> int:
        """Return how many of these targets could run at once."""
        needed = Counter(self.scopes[id_] for id_ in ids if id_ in self.scopes)
        others = len(ids) - needed.total()
        for level in (3, 2):
            for place in [each for each in needed if each.level == level]:
                needed[place.upper(level - 1)] += self._most(place, needed.pop(place))
        return others + sum(self._most(place, number) for place, number in needed.items())

    def _most(self, place: ScopeKey, number: int) -> int:
        limit = self.limits.get(place)
        return number if limit is None else min(number, limit.free)

    def frame(self, ids: Iterable[str]) -> pd.DataFrame:
        """Return the limits of these targets, those with the fewest free places first."""
        targets: Counter[ScopeKey] = Counter()
        for id_ in ids:
            if id_ in self.scopes:
                targets.update(self.scopes[id_].levels)
        rows = [
            (place.scope, place.limit_key, limit.rule, targets[place], limit.limit, limit.usage, limit.free)
            for place, limit in self.limits.items()
            if targets[place]
        ]
        kinds = dict.fromkeys(("targets", "limit", "usage", "free"), "int64")
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({**dict.fromkeys(COLUMNS, "object"), **kinds})
        return frame.sort_values(["free", "targets", "scope"], ascending=[True, False, True], ignore_index=True)

    def describe(self, ids: Sequence[str]) -> str:
        """Return how many could run at once, and how many limits have too few places, as one sentence."""
        if self.failure:
            return f"It is not known how many could run at once: {self.failure}."
        number, limits = self.count(ids), self.frame(ids)
        full = limits[limits["free"] < limits["targets"]]
        shown = [
            f"{row.rule} has {row.free:,} of {row.limit:,} places free for {row.targets:,}"
            for row in full.head(3).itertuples()
        ]
        shown += [f"{len(full) - len(shown):,} more limits have too few"] if len(full) > len(shown) else []
        text = "No limit stops them"
        if shown:
            text = f"{number:,} of {len(ids):,} could run at once under the limits as they are ({'; '.join(shown)})"
        if self.waiting:
            queues = plural(self.waiting, "queue")
            return f"{text}, but {queues} {verb_form(self.waiting, 'waits', 'wait')} for a slot of an invoker."
        return f"{text}; how many slots are free is not known."


def find_places(reads: Reads, action: ACTIONS, targets: pd.DataFrame) -> Places | None:
    """Read the limits that apply to the targets of a resume; None for other actions and without vqueues."""
    if action is not ACTIONS.RESUME or targets.empty or not has_vqueues(reads):
        return None
    limited = Reads(reads, _WITHIN, over="their read took too long")
    try:
        return _read(limited, list(targets["id"]))
    except RestateLabError as error:
        return Places(failure=one_line(str(error), _LONGEST_ERROR))


def _read(reads: Reads, ids: Sequence[str]) -> Places:
    waiting = count_waiting_for_slots(reads)
    rules = read_limits(reads)
    if not rules:
        return Places(waiting=waiting)
    scopes = {row["id"]: scope_key_of(row) for row in read_places(reads, ids)}
    usage = {counter_key_of(row): row["usage"] for row in read_usage(reads)}
    every_level = {place for each in set(scopes.values()) for place in each.levels}
    found = {place: rule for place in every_level if (rule := place.find_rule(rules)) is not None}
    limits = {place: Limit(rule, rules[rule], usage.get(place, 0)) for place, rule in found.items()}
    return Places(scopes, limits, waiting)
