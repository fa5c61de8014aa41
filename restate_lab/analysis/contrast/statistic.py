"""Tests and intervals of shares: Fisher's test, Tarone's count, Newcombe's interval, Mantel-Haenszel; numpy only.

All functions take arrays: ``a`` of ``n1`` failing rows and ``b`` of ``n0`` healthy rows meet a condition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from restate_lab.analysis.contrast.model import Flags, Integers, Numbers

LEVEL = 0.05
"""The probability of any claim by chance."""
_Z = 1.959964  # of an interval with a confidence of 95 %
_NEGLIGIBLE = 1e-12  # of a term, relative to the sum
_ROUNDING = 1e-9  # of a logarithm


def log_factorials(most: int) -> Numbers:
    """Return the logarithms of 0! to ``most``!."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def fisher(a: Integers, b: Integers, n1: Integers, n0: Integers) -> Numbers:
    """Return the p-values of Fisher's one-sided test of "more frequent among the failing".

    A condition that is not more frequent among them has 1: its p-value is not needed.
    """
    p, higher = np.ones(len(a)), a * n0 > b * n1
    tables, places = np.unique(np.stack([a, b, n1, n0])[:, higher], axis=1, return_inverse=True)
    if tables.size:
        p[higher] = _upper_tails(*tables)[places.ravel()]
    return p


def _upper_tails(a: Integers, b: Integers, n1: Integers, n0: Integers) -> Numbers:
    """Return the probabilities of ``a`` or more; the terms are relative to the first one, which can underflow."""
    log = log_factorials(int((n1 + n0).max()))
    first = _log_probability(log, a, a + b, n1, n0)
    total, term, rows, at = np.ones(len(a)), np.ones(len(a)), np.arange(len(a)), a.copy()
    while len(rows):
        left, free = (a + b)[rows] - at[rows], n1[rows] - at[rows]
        term[rows] *= left * free / ((at[rows] + 1.0) * (n0[rows] - left + 1.0))
        total[rows] += term[rows]
        at[rows] += 1
        rows = rows[term[rows] > _NEGLIGIBLE * total[rows]]
    return np.minimum(1.0, np.exp(first + np.log(total)))


def _log_probability(log: Numbers, a: Integers, k: Integers, n1: Integers, n0: Integers) -> Numbers:
    """Return the logarithm of the probability that exactly ``a`` of ``k`` rows are failing ones."""
    ways = log[n1] - log[a] - log[n1 - a] + log[n0] - log[k - a] - log[n0 - k + a]
    return np.asarray(ways - log[n1 + n0] + log[k] + log[n1 + n0 - k])


def tarone(a: Integers, b: Integers, n1: Integers, n0: Integers) -> int:
    """Return the number of tests to correct for, by Tarone: conditions too rare to reach the level are not tests."""
    if not len(a):
        return 1
    k = a + b
    log = log_factorials(int((n1 + n0).max()))
    least = np.sort(np.exp(_log_probability(log, np.minimum(k, n1), k, n1, n0)))
    counts = np.arange(1, len(least) + 1)
    reachable = np.searchsorted(least, LEVEL / counts * (1 + _ROUNDING), side="right")
    return int(counts[np.argmax(reachable <= counts)])


def wilson(rate: Any, total: Any, z: float = _Z) -> tuple[Any, Any]:
    """Return Wilson's interval of a share of ``total`` rows."""
    center, margin = rate + z**2 / (2 * total), z * np.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2)
    return (center - margin) / (1 + z**2 / total), (center + margin) / (1 + z**2 / total)


def newcombe(a: Any, b: Any, n1: Any, n0: Any) -> tuple[Any, Any]:
    """Return Newcombe's 95 % interval of the gap a/n1 - b/n0; without a row on one side, it is -1 to 1."""
    rate, other = a / np.maximum(n1, 1), b / np.maximum(n0, 1)
    (low, high), (other_low, other_high) = wilson(rate, np.maximum(n1, 1)), wilson(other, np.maximum(n0, 1))
    known = (np.asarray(n1) > 0) & (np.asarray(n0) > 0)
    below, above = np.hypot(rate - low, other_high - other), np.hypot(high - rate, other - other_low)
    return np.where(known, rate - other - below, -1.0), np.where(known, rate - other + above, 1.0)


def mantel_haenszel(condition: Flags, given: Flags, failing: Flags) -> float:
    """Return how far the failing rows meet a condition more often than others, in standard deviations.

    Rows that meet the condition ``given`` are compared with each other, as are the other rows.
    """
    excess = variance = 0.0
    for stratum in (given, ~given):
        total, failed, met = (int((each & stratum).sum()) for each in (np.ones_like(failing), failing, condition))
        if total > 1:
            excess += int((condition & failing & stratum).sum()) - met * failed / total
            variance += met * failed * (total - met) * (total - failed) / (total**2 * (total - 1.0))
    return float(excess / np.sqrt(variance)) if variance else 0.0


def runs_test(failing: Flags) -> float:
    """Return how far rows in the order of time have more runs of equal outcomes than by chance; bursts have fewer."""
    total, failed = len(failing), int(failing.sum())
    product = 2.0 * failed * (total - failed)
    variance = product * (product - total) / (total**2 * (total - 1.0)) if total > 1 else 0.0
    runs = 1 + int((failing[1:] != failing[:-1]).sum())
    return float((runs - product / total - 1) / np.sqrt(variance)) if variance > 0 else 0.0


def similarity_within(groups: Integers, failing: Flags) -> float:
    """Return the intra-class correlation of the outcomes in groups of rows; 0 if no group has two rows."""
    sizes = np.bincount(groups)
    failed = np.bincount(groups, failing)
    is_used = sizes > 1
    sizes, failed = sizes[is_used], failed[is_used]
    total, count = int(sizes.sum()), len(sizes)
    if count < 2:
        return 0.0
    rates = failed / sizes
    between = float((sizes * (rates - failed.sum() / total) ** 2).sum()) / (count - 1)
    within = float((sizes * rates * (1 - rates)).sum()) / (total - count)
    size = (total - float((sizes**2).sum()) / total) / (count - 1)
    scale = between + (size - 1) * within
    return (between - within) / scale if scale else 0.0
