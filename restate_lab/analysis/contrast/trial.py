"""The test of all conditions of a table: which ones pass, the best one of each attribute, and its exact cut.

A condition must pass two gates: Fisher's test, corrected for the number of conditions, and a gap of at least ten points
at the lower end of its interval. The lower end is also its rank. The p-value is not, because several strong conditions
have a p-value of 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from restate_lab.analysis.contrast.conditions import RANGES, Column, Condition, ConditionTable, range_of
from restate_lab.analysis.contrast.model import (
    Attribute,
    Counted,
    Flags,
    Integers,
    Numbers,
    Operator,
    Where,
)
from restate_lab.analysis.contrast.statistic import LEVEL, fisher, newcombe, tarone

LEAST_GAP = 0.10
"""The least lower end of the interval of a gap."""
_FEW = 20  # failing rows; if there are fewer, most of them must meet the condition, and few healthy ones
_LEAST_OF_FEW, _MOST_OF_HEALTHY = 0.5, 0.2
_BETWEEN_PENALTY = 0.005  # so that the simpler of two equally good conditions is named
_MOST_VALUES = 3  # of one attribute
_WINDOW_GAIN = 0.02  # of a range with two ends over a range with one
_FORM_PENALTY = 0.05  # of a form of a text, compared with its value
_FORMS = frozenset({Operator.LENGTH_ABOVE, Operator.LENGTH_BELOW, Operator.PATTERN})
_OF_NUMBERS = frozenset(RANGES[0])
_ORDER_WHERE = {where: place for place, where in enumerate(Where)}
_ORDER_OP = {op: place for place, op in enumerate(Operator)}
_ENDS = {op: (above, below) for above, below, between in RANGES for op in (above, below, between) if op}
"""The operators of a range of numbers: those without a largest and without a smallest number."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of the failing and of the healthy rows meet a condition."""

    failing_with: int
    failing: int
    healthy_with: int
    healthy: int

    @property
    def gap(self) -> float:
        """Return the difference of both shares."""
        return self.failing_with / max(self.failing, 1) - self.healthy_with / max(self.healthy, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the difference of both shares."""
        low, high = newcombe(self.failing_with, self.healthy_with, self.failing, self.healthy)
        return float(low), float(high)

    def p(self) -> float:
        """Return the p-value of Fisher's one-sided test."""
        counts = (self.failing_with, self.healthy_with, self.failing, self.healthy)
        return float(fisher(*(np.array([each], dtype=np.int64) for each in counts))[0])

    def passes(self, tests: int, least_gap: float = LEAST_GAP) -> bool:
        """Return whether a condition with these counts passes both gates."""
        if not self.failing or not self.healthy or self.interval[0] < least_gap or self.p() * tests > LEVEL:
            return False
        return bool(_is_clear(self.failing_with, self.healthy_with, self.failing, self.healthy))


def _is_clear(a: Any, b: Any, n1: Any, n0: Any) -> Any:
    """Return whether there are enough failing rows, or most of the few meet the condition and few healthy ones do."""
    return (n1 >= _FEW) | ((a >= _LEAST_OF_FEW * n1) & (b <= _MOST_OF_HEALTHY * n0))


def count(rows: Flags, known: Flags, failing: Flags) -> Counts:
    """Return the counts of a condition among the known rows."""
    return Counts(
        int((rows & known & failing).sum()),
        int((known & failing).sum()),
        int((rows & known & ~failing).sum()),
        int((known & ~failing).sum()),
    )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A condition that passed, or a pair of conditions (``parts``), with its rows and counts.

    ``low`` and ``high`` are the ends of the interval of its gap, ``score`` its rank, and ``p`` the corrected p-value.
    """

    condition: Condition
    attribute: Attribute
    rows: Flags
    known: Flags
    counts: Counts
    low: float
    high: float
    score: float
    p: float
    is_counted: bool = False
    parts: tuple[Candidate, ...] = ()

    @property
    def is_sequential(self) -> bool:
        """Return whether its rows begin or end at a time."""
        return all(each.is_sequential for each in self.parts) if self.parts else self.attribute.is_sequential

    @property
    def order(self) -> tuple[float, int, int, int, str]:
        """Return the key that sorts candidates, best first."""
        where, op = self.attribute.where, self.condition.op
        return (
            -round(self.score, 9),
            _ORDER_WHERE[where],
            _order(where, op),
            len(self.attribute.names),
            self.attribute.path,
        )


class Trial:
    """The tests of the conditions of a table in some rows (``scope``); counts of the population replace counts of rows.

    - ``a, b, n1, n0``: one number for each condition, as in ``statistic``
    - ``tests``: the number to correct for; ``distinct`` the number of conditions on different rows
    """

    def __init__(
        self, table: ConditionTable, failing: Flags, scope: Flags, *, counted: Sequence[Counted] = (), factor: int = 1
    ) -> None:
        self.table, self.failing, self.scope = table, failing, scope
        met, known = table.count(np.stack([failing & scope, ~failing & scope]))
        self.a, self.b = met.T.copy()
        self.n1, self.n0 = known.T.copy()
        self.is_counted = np.zeros(len(self.a), dtype=bool)
        self._replace(counted)
        _, first = np.unique(table.test_of, return_index=True)
        each = (self.a[first], self.b[first], self.n1[first], self.n0[first])
        self.distinct = len(first)
        self.tests = tarone(*each) * factor
        self.p = np.minimum(1.0, fisher(self.a, self.b, self.n1, self.n0) * self.tests)
        self.low, self.high = newcombe(self.a, self.b, self.n1, self.n0)

    def _replace(self, counted: Sequence[Counted]) -> None:
        by_attribute = {each.attribute: each for each in counted}
        for place, condition in enumerate(self.table.conditions):
            population = by_attribute.get(self.table.columns[condition.attribute].attribute)
            counts = population and population.counts_of(condition.op, condition.value)
            if counts:
                self.a[place], self.b[place], self.n1[place], self.n0[place] = counts
                self.is_counted[place] = True

    def passing(self, least_gap: float = LEAST_GAP) -> Flags:
        """Return which conditions pass both gates."""
        is_clear = _is_clear(self.a, self.b, self.n1, self.n0)
        return np.asarray((self.p <= LEVEL) & (self.low >= least_gap) & is_clear)

    @cached_property
    def _scores(self) -> Numbers:
        penalties = [_within_attribute(each.op) for each in self.table.conditions]
        return np.asarray(self.low - np.array(penalties, dtype=float))

    def best(self, passing: Flags) -> list[int]:
        """Return the best condition of each attribute among these; if it is a value, also the next best values."""
        by_attribute = defaultdict[int, list[tuple[float, int, int]]](list)
        for place in np.flatnonzero(passing):
            condition = self.table.conditions[place]
            where = self.table.columns[condition.attribute].attribute.where
            key = (-round(float(self._scores[place]), 9), _order(where, condition.op), int(place))
            by_attribute[condition.attribute].append(key)
        equal, chosen = _ORDER_OP[Operator.EQUAL], list[int]()
        for keys in by_attribute.values():
            first, *others = sorted(keys)
            values = [place for _, op, place in others if op == first[1] == equal]
            chosen += [first[2], *values[: _MOST_VALUES - 1]]
        return chosen

    def candidate(self, place: int) -> Candidate:
        """Return a condition with its rows; a range of numbers is cut exactly, with the p-value of its grid."""
        condition, rows = self.table.conditions[place], self.table.rows(place)
        column, known = self.table.columns[condition.attribute], self.table.known[condition.attribute]
        counts = Counts(*(int(each[place]) for each in (self.a, self.n1, self.b, self.n0)))
        if condition.op in _ENDS:
            condition, rows = self._cut(condition, column)
            counts = count(rows, known & self.scope, self.failing)
        low, high = counts.interval
        penalty = _BETWEEN_PENALTY if condition.op is Operator.BETWEEN else 0.0
        return Candidate(
            condition,
            column.attribute,
            rows,
            known,
            counts,
            low,
            high,
            low - penalty,
            float(self.p[place]),
            bool(self.is_counted[place]),
        )

    def _cut(self, condition: Condition, column: Column) -> tuple[Condition, Flags]:
        """Return the range of the real values with the largest gap, at the open ends of a condition's range."""
        above, below = _ENDS[condition.op]
        of_values, distinct = column.rank(column.numbers(condition.op))
        of_rows = _rank_rows(column, of_values, is_largest=condition.op is above)
        known = self.table.known[condition.attribute] & self.scope
        failing, healthy = (_shares(of_rows, known & side, len(distinct)) for side in (self.failing, ~self.failing))
        gaps = failing - healthy
        op = condition.op
        has_window = op in _OF_NUMBERS and not column.is_many
        first, last = _best_range(gaps, _ENDS[op].index(op) if op in _ENDS[op] else None, has_window=has_window)
        if has_window:
            op = above if last + 1 == len(distinct) else below if first == 0 else Operator.BETWEEN
        rows = (of_rows >= first) & (of_rows <= last)
        return Condition(condition.attribute, op, range_of(distinct, first, last)), rows


def _order(where: Where, op: Operator) -> int:
    """Return the place of an operator among those on the same rows; a header itself is simpler than its value."""
    return -1 if where is Where.HEADER and op is Operator.PRESENT else _ORDER_OP[op]


def _within_attribute(op: Operator) -> float:
    return _FORM_PENALTY if op in _FORMS else _BETWEEN_PENALTY if op is Operator.BETWEEN else 0.0


def _rank_rows(column: Column, of_values: Integers, *, is_largest: bool) -> Integers:
    """Return the rank of the largest or smallest number of each row; -1 without one."""
    ranks = np.full(column.rows, -1, dtype=np.int64)
    if not column.is_many:
        ranks[column.present] = of_values[column.codes]
        return ranks
    most = len(of_values) + 1
    of_items = of_values[column.codes]
    if is_largest:
        ranks[column.present] = np.maximum.reduceat(of_items, column.starts)
        return ranks
    least = np.minimum.reduceat(np.where(of_items < 0, most, of_items), column.starts)
    ranks[column.present] = np.where(least == most, -1, least)
    return ranks


def _shares(ranks: Integers, rows: Flags, most: int) -> Numbers:
    return np.bincount(ranks[rows & (ranks >= 0)], minlength=most) / max(int(rows.sum()), 1)


def _best_range(gaps: Numbers, end: int | None, *, has_window: bool) -> tuple[int, int]:
    """Return the first and the last rank of the range with the largest gap, without the range of all ranks.

    It has no largest number (``end`` is 0) or no smallest one (1), unless a range with two ends is clearly better.
    """
    size = len(gaps)
    suffix = (1 + int(np.argmax(np.cumsum(gaps[::-1])[::-1][1:])), size - 1)
    prefix = (0, int(np.argmax(np.cumsum(gaps)[:-1])))
    if end is None:
        end = int(_sum(gaps, prefix) > _sum(gaps, suffix))
        least = -1.0
    else:
        least = _WINDOW_GAIN
    best, window = (suffix, prefix)[end], _best_window(gaps)
    is_better = has_window and window != (0, size - 1) and _sum(gaps, window) - _sum(gaps, best) >= least
    return window if is_better else best


def _sum(gaps: Numbers, places: tuple[int, int]) -> float:
    return float(gaps[places[0] : places[1] + 1].sum())


def _best_window(gaps: Numbers) -> tuple[int, int]:
    """Return the first and the last place of the part with the largest sum, in one pass."""
    sums = np.concatenate([[0.0], np.cumsum(gaps)])
    starts = np.minimum.accumulate(sums[:-1])
    last = int(np.argmax(sums[1:] - starts))
    return int(np.argmin(sums[: last + 1])), last
