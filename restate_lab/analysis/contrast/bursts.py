"""Rows that are not independent: bursts of equal invocations, and the children of one caller.

A caller that starts forty children with equal inputs is one observation, because all of them fail or none. A claim that
is true for each row must then also be true with one row for each such cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from restate_lab.analysis.contrast.model import Burst, Flags, Integers, Sample
from restate_lab.analysis.contrast.statistic import runs_test, similarity_within

_FEWER_RUNS = -3.0  # standard deviations: there are bursts
_ALIKE = 0.1  # intra-class correlation: callers decide the outcome
_NEAR = 0.05  # of the mean time between two rows; by chance, one in 20 is shorter
_SECOND = 1e9  # nanoseconds


@dataclass(frozen=True, slots=True)
class Clusters:
    """One row of each cluster: for most attributes, and for attributes that begin at a time (``sequential``).

    Each array is one way to see the clusters, and a claim must be true in all of them. Equal outcomes in sequence are a
    cluster. Because a time or a deployment selects rows in sequence, for them only rows of the same burst are one.
    """

    general: tuple[Integers, ...]
    sequential: tuple[Integers, ...]
    burst: Burst


def find_clusters(sample: Sample) -> Clusters | None:
    """Return one row of each cluster; None if the rows are independent of each other."""
    order = _in_time(sample.created_at)
    failing = sample.failing[order]
    callers = _codes(sample.callers)
    is_called = callers >= 0
    has_bursts = runs_test(failing) < _FEWER_RUNS
    has_groups = bool(is_called.any()) and similarity_within(callers[is_called], sample.failing[is_called]) >= _ALIKE
    if not has_bursts and not has_groups:
        return None
    by_caller = (_first_of_groups(callers, sample.failing),) if has_groups else ()
    bursts = order[_first_of_bursts(sample.created_at[order], failing)]
    runs = bursts[_changes(sample.failing[bursts])]
    general, sequential = ((runs,), (bursts,)) if has_bursts else ((), ())
    return Clusters(general + by_caller, sequential + by_caller, _describe(sample, runs))


def _first_of_bursts(times: Integers, failing: Flags) -> Integers:
    """Return the first row of each burst and outcome; a burst ends with a time that is not short."""
    is_far = np.diff(times, prepend=times[0]) > _NEAR * (times[-1] - times[0]) / len(times)
    _, first = np.unique(np.cumsum(is_far) * 2 + failing, return_index=True)
    return np.sort(first)


def _changes(failing: Flags) -> Flags:
    return np.concatenate([[True], failing[1:] != failing[:-1]])


def _in_time(created_at: Integers) -> Integers:
    """Return the order of time; rows of the same time are in a random order, which is always the same."""
    shuffled = np.random.default_rng(0).permutation(len(created_at))
    return np.asarray(shuffled[np.argsort(created_at[shuffled], kind="stable")])


def _codes(callers: Sequence[str | None]) -> Integers:
    """Return a number for each caller, -1 for a row without one."""
    names: dict[str, int] = {}
    return np.array([-1 if each is None else names.setdefault(each, len(names)) for each in callers], dtype=np.int64)


def _first_of_groups(callers: Integers, failing: Flags) -> Integers:
    """Return the first row of each caller whose children all have one outcome, and all rows of other callers."""
    called = np.flatnonzero(callers >= 0)
    sizes = np.bincount(callers[called])
    failed = np.bincount(callers[called], failing[called])
    is_mixed = (failed > 0) & (failed < sizes)
    _, first = np.unique(callers[called], return_index=True)
    is_kept = (callers < 0) | is_mixed[np.maximum(callers, 0)]
    is_kept[called[first]] = True
    return np.flatnonzero(is_kept)


def _describe(sample: Sample, runs: Integers) -> Burst:
    times = sample.created_at[sample.failing]
    callers = [each for each, fails in zip(sample.callers, sample.failing, strict=True) if fails]
    known = None if None in callers else len(set(callers))
    return Burst(len(times), int(sample.failing[runs].sum()), float(times.max() - times.min()) / _SECOND, known)
