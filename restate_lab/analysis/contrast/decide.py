"""Decide what distinguishes failing from healthy rows: ranking, pairs, conditioning on other conditions, bursts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np

from restate_lab.analysis.contrast.bursts import Clusters, find_clusters
from restate_lab.analysis.contrast.conditions import Condition, build_table
from restate_lab.analysis.contrast.model import (
    LEAST,
    Claim,
    Compared,
    Decision,
    Operator,
    Payloads,
    Role,
    Sample,
    Where,
)
from restate_lab.analysis.contrast.statistic import mantel_haenszel
from restate_lab.analysis.contrast.text import join_phrases
from restate_lab.analysis.contrast.trial import LEAST_GAP, Candidate, Counts, Trial, count
from restate_lab.analysis.contrast.wording import Wording

_LEAST_GAP_IN_PAIR = 0.20  # of the second condition, in the rows of the first
_LEAST_GAIN = 0.05  # of a pair over its first condition
_PAIR_PENALTY = 0.02  # so that one condition is named before an equally good pair
_MOST_PAIRED = 6
_MOST_CAUSES = 5
_SAME_ROWS, _SAME_EVENT = 0.98, 0.8  # Jaccard indexes; the second one for attributes that begin at a time
_BEYOND = 3.5  # standard deviations
_LEAST_SHARE = 0.05  # of the failing, in a further cause
_LEAST_CLUSTERS = 5  # of failing rows
_SECOND = 10**9  # nanoseconds
_ONE_IN_TEN = 1.28  # standard deviations
_ROLES = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a candidate is in the result: its role and the number of its cause; None if it is explained by a cause."""

    candidate: Candidate
    role: Role | None
    group: int
    outside: Counts | None = None


@dataclass(frozen=True, slots=True)
class Causes:
    """The candidates of a sample with their places, best first, and the trial of all conditions."""

    trial: Trial
    places: tuple[Place, ...]
    clusters: Clusters | None

    @property
    def first(self) -> list[Candidate]:
        """Return the first condition of each cause."""
        return [each.candidate for each in self.places if each.role in {Role.DISTINGUISHES, Role.FURTHER}]

    @property
    def named(self) -> list[Candidate]:
        """Return all conditions of the causes, also those on the same rows."""
        return [each.candidate for each in self.places if each.role not in {None, Role.IN_A_BURST}]


def find_causes(sample: Sample) -> Causes:
    """Return the conditions that distinguish the failing rows of a sample.

    Raises:
        ValueError: the rows of the sample have different numbers, or an attribute is counted and not observed.
    """
    _check(sample)
    table = build_table(sample.observed, len(sample.failing))
    trial = Trial(table, sample.failing, np.ones(len(sample.failing), dtype=bool), counted=sample.counted)
    is_enough = min(sample.failing.sum(), (~sample.failing).sum()) >= LEAST
    passing = trial.passing() if is_enough else np.zeros_like(trial.is_counted)
    singles = sorted(map(trial.candidate, trial.best(passing)), key=_order)
    pairs = [pair for single in singles[:_MOST_PAIRED] for pair in _pairs(trial, single)]
    clusters = find_clusters(sample) if singles else None
    is_true = {id(each): clusters is None or _holds(each, clusters, trial) for each in (*singles, *pairs)}
    places = _arrange(sorted([each for each in (*singles, *pairs) if is_true[id(each)]], key=_order), trial)
    in_burst = [Place(each, Role.IN_A_BURST, 0) for each in singles if not is_true[id(each)]]
    return Causes(trial, (*places, *in_burst), clusters)


def _check(sample: Sample) -> None:
    rows = {len(sample.failing), len(sample.created_at), len(sample.callers)}
    if len(rows | {len(each.values) for each in sample.observed}) > 1:
        raise ValueError("the attributes of a sample must have one value for each row")
    observed = {each.attribute for each in sample.observed}
    for each in sample.counted:
        if each.attribute not in observed:
            raise ValueError(f"{each.attribute.path} is counted, but not observed in the sample")


def _order(candidate: Candidate) -> tuple[float, int, int, int, str]:
    return candidate.order


def _holds(candidate: Candidate, clusters: Clusters, trial: Trial) -> bool:
    """Return whether a condition also passes with one row for each cluster of rows that are not independent."""
    for rows in clusters.sequential if candidate.is_sequential else clusters.general:
        counts = count(candidate.rows[rows], candidate.known[rows], trial.failing[rows])
        if counts.failing_with < _LEAST_CLUSTERS or not counts.passes(trial.tests):
            return False
    return True


def _pairs(trial: Trial, single: Candidate) -> Iterator[Candidate]:
    """Yield the best pair of a condition with one of each other attribute, if it is clearly better than it alone."""
    inside = Trial(trial.table, trial.failing, single.rows, factor=_MOST_PAIRED)
    is_other = trial.table.attribute_of != single.condition.attribute
    for place in inside.best(inside.passing(_LEAST_GAP_IN_PAIR) & is_other):
        second = inside.candidate(place)
        rows, known = single.rows & second.rows, single.known & second.known
        counts, alone = count(rows, known, trial.failing), count(single.rows, known, trial.failing)
        low, high = counts.interval
        if counts.passes(trial.tests) and low - alone.interval[0] >= _LEAST_GAIN:
            whole = _whole(second, trial)
            condition = Condition(single.condition.attribute, Operator.PAIR)
            yield replace(
                single,
                condition=condition,
                rows=rows,
                known=known,
                counts=counts,
                low=low,
                high=high,
                score=low - _PAIR_PENALTY,
                p=max(single.p, second.p),
                is_counted=False,
                parts=(single, whole),
            )


def _whole(second: Candidate, trial: Trial) -> Candidate:
    """Return the second condition of a pair with its counts in all rows."""
    counts = count(second.rows, second.known, trial.failing)
    low, high = counts.interval
    return replace(second, counts=counts, low=low, high=high)


def _arrange(candidates: Sequence[Candidate], trial: Trial) -> list[Place]:
    """Return the candidates, best first, as causes, other names of their rows, or explained by a cause."""
    places: list[Place] = []
    causes: list[Candidate] = []
    for candidate in candidates:
        place = _relate(candidate, causes, trial)
        if candidate.parts and place.role in {Role.SAME_ROWS, Role.INDISTINCT}:
            place = replace(place, role=None)  # one condition is simpler than two
        if place.role in {Role.DISTINGUISHES, Role.FURTHER}:
            causes.append(candidate)
        places.append(place)
    return places


def _relate(candidate: Candidate, causes: Sequence[Candidate], trial: Trial) -> Place:
    """Return the place of a candidate beside the causes that are better."""
    if not causes:
        return Place(candidate, Role.DISTINGUISHES, 1)
    for group, cause in enumerate(causes, 1):
        known = candidate.known & cause.known
        rows, given, failing = candidate.rows[known], cause.rows[known], trial.failing[known]
        likeness = (rows & given).sum() / max((rows | given).sum(), 1)
        if likeness >= _SAME_ROWS:
            return Place(candidate, Role.SAME_ROWS, group)
        if likeness >= _SAME_EVENT and candidate.is_sequential and cause.is_sequential:
            return Place(candidate, Role.INDISTINCT, group)
        if mantel_haenszel(rows, given, failing) < _BEYOND:
            is_explained = mantel_haenszel(given, rows, failing) >= _BEYOND
            return Place(candidate, None if is_explained else Role.INDISTINCT, group)
    outside = ~np.logical_or.reduce([each.rows for each in causes])
    counts = count(candidate.rows, candidate.known & outside, trial.failing)
    least = _LEAST_SHARE * trial.failing.sum()
    if len(causes) < _MOST_CAUSES and counts.failing_with >= least and counts.passes(trial.tests):
        return Place(candidate, Role.FURTHER, len(causes) + 1, counts)
    return Place(candidate, None, 1)


def decide(sample: Sample, *, payloads: Payloads, shows_keys: bool = False) -> Decision:
    """Return what distinguishes the failing rows of a sample, without any value that must be hidden.

    Below ``payloads=True``, the values of payloads and of keys are hidden. ``shows_keys`` shows the beginning that at
    least five different keys share.

    Raises:
        ValueError: the rows of the sample have different numbers, or an attribute is counted and not observed.
    """
    causes = find_causes(sample)
    wording = Wording(causes.trial.table, sample.failing, payloads=payloads, shows_keys=shows_keys)
    failing, healthy = int(sample.failing.sum()), int((~sample.failing).sum())
    return Decision(
        claims=tuple(_claims(causes, wording)),
        attributes=tuple(_attributes(causes, wording)),
        tests=causes.trial.distinct,
        detectable=smallest_gap(failing, healthy, causes.trial.tests),
        failing=failing,
        healthy=healthy,
        burst=causes.clusters.burst if causes.clusters else None,
        is_of_close_times=bool(causes.named) and all(_is_of_close_times(each, sample) for each in causes.named),
    )


def _is_of_close_times(candidate: Candidate, sample: Sample) -> bool:
    """Return whether a condition is a time of creation, and most healthy rows are less than a second away from it."""
    if candidate.parts or candidate.attribute.where is not Where.TIME:
        return False
    times = candidate.condition.value
    healthy = sample.created_at[candidate.known & ~candidate.rows & ~sample.failing]
    away = np.maximum(times.low - healthy, healthy - times.high)
    return len(away) > 0 and float(np.median(away)) < _SECOND


def _claims(causes: Causes, wording: Wording) -> Iterator[Claim]:
    named = [place for place in causes.places if place.role is not None]
    for place in sorted(named, key=lambda each: (each.group or len(named) + 1, _ROLES[each.role or Role.FURTHER])):
        outside = astuple(place.outside) if place.outside else None
        yield replace(
            _claim(place.candidate, place.role or Role.FURTHER, place.group, wording),
            outside=outside,
        )


def _claim(candidate: Candidate, role: Role, group: int, wording: Wording) -> Claim:
    parts = tuple(_claim(each, role, group, wording) for each in candidate.parts)
    condition, attribute, counts = candidate.condition, candidate.attribute, candidate.counts
    phrase, echo = (join_phrases([each.phrase for each in parts]), "do") if parts else wording.phrase(condition)
    all_with = counts.failing_with + counts.healthy_with
    return Claim(
        group=group,
        role=role,
        where=attribute.where,
        path=" and ".join(each.path for each in parts) or wording.path(attribute),
        op=condition.op,
        value=None if parts else wording.value(condition),
        condition=" and ".join(each.condition for each in parts) or wording.short(condition),
        phrase=phrase,
        echo=echo,
        failing_with=counts.failing_with,
        failing=counts.failing,
        healthy_with=counts.healthy_with,
        healthy=counts.healthy,
        gap=100 * counts.gap,
        low=100 * candidate.low,
        high=100 * candidate.high,
        adjusted_p=candidate.p,
        is_counted=candidate.is_counted,
        is_sequential=candidate.is_sequential,
        healthy_type=wording.healthy_type(candidate),
        all_with=all_with if candidate.is_counted else None,
        all_failing=counts.failing_with if candidate.is_counted else None,
        sql="" if parts else wording.sql(condition),
        parts=parts,
    )


def _attributes(causes: Causes, wording: Wording) -> Iterator[Compared]:
    """Yield the result of each attribute, those with the largest gaps first."""
    trial, verdicts = causes.trial, _verdicts(causes)
    rows = []
    failing, healthy = np.maximum(trial.n1, 1), np.maximum(trial.n0, 1)
    for at, column in enumerate(trial.table.columns):
        places = np.flatnonzero(trial.table.attribute_of == at)
        best = int(places[np.argmax(trial.low[places])]) if len(places) else None
        known = trial.table.known[at]
        is_read = bool((known & trial.failing).any() and (known & ~trial.failing).any())
        default = "no clear difference" if len(places) else "nothing to compare" if is_read else "not read"
        gap = None if best is None else 100 * float(trial.a[best] / failing[best] - trial.b[best] / healthy[best])
        low, high = (None if best is None else 100 * float(each[best]) for each in (trial.low, trial.high))
        where, path = column.attribute.where, wording.path(column.attribute)
        unknown = int((~known).sum())
        rows.append(Compared(where, path, len(places), unknown, gap, low, high, verdicts.get(at, default)))
    yield from sorted(rows, key=lambda each: -1.0 if each.low is None else -each.low)


def _verdicts(causes: Causes) -> dict[int, str]:
    """Return the text about each attribute with a condition that passed, by its index; the first place counts."""
    verdicts: dict[int, str] = {}
    for place in sorted(causes.places, key=lambda each: each.role is None):
        role = place.role
        text = (
            f"explained by {place.group}"
            if role is None
            else f"{role}"
            if not place.group
            else f"{role} ({place.group})"
        )
        for candidate in place.candidate.parts or (place.candidate,):
            verdicts.setdefault(candidate.condition.attribute, text)
    return verdicts


def smallest_gap(failing: int, healthy: int, tests: int) -> int | None:
    """Return the smallest difference in points that would have been found in nine of ten samples; None if none.

    The share of the healthy rows is the one at which the difference is hardest to find.
    """
    for points in range(int(100 * LEAST_GAP) + 1, 101):
        gap = points / 100
        shares = [share / 20 for share in range(20) if share / 20 + gap <= 1]
        if all(_is_found(failing, healthy, share, gap, tests) for share in shares):
            return points
    return None


def _is_found(failing: int, healthy: int, share: float, gap: float, tests: int) -> bool:
    rate = share + gap
    fewer = _ONE_IN_TEN * math.sqrt(failing * rate * (1 - rate) + failing**2 / max(healthy, 1) * share * (1 - share))
    with_it = min(failing, max(0, math.floor(failing * rate - fewer)))
    return Counts(with_it, failing, round(share * healthy), healthy).passes(tests)
