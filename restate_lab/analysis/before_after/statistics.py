"""Compare blocks of time before and after: intervals, p-values, and a correction for many tests; numpy only.

The invocations of one day are alike, so they are not independent: a test on single invocations calls drift from day to
day a change. Here, the unit is a block of time. Each block gives one number, and a t test compares the blocks of both
sides. The days of one week are also alike, and a few days cannot show how much. Therefore a change must also be large.
A trend over many blocks is reported as a change: without other data, it cannot be distinguished from one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from restate_lab.analysis.contrast.statistic import wilson

# One number per block, in the order of time; NaN for a block without a number.
Blocks: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
_CONFIDENCE = 0.95
_BISECTIONS = 24
_MOST_CHANGE = 700.0  # of a logarithm, so that its exponential is a float
_STEPS = 200  # of the continued fraction
_PRECISION = 1e-12
# The least change that is reported of one handler, because a few days cannot show how alike days are. With
# autocorrelated days (.6 or .85, standard deviation 15 %), the t test alone reports 20 to 35 % of the weeks without a
# change. With a least ratio of 1.25, it reports 12 %, and with this one 6 %. With 1.35, it would miss more than 10 % of
# the real changes of × 1.5.
_LEAST_RATIO = 1.32
_LEAST_SPREADS = 1.5  # the least change of durations, in standard deviations of their blocks
_PER_DOUBLING = 1 / 8  # of the number of handlers: the largest of many normal drifts grows about so fast
_RESOLUTION = 0.01  # of the logarithm of a duration; short ones have a resolution of 1 ms


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two sides, its confidence interval and its p-value; ``before`` and ``after`` are means.

    ``ratio`` is the size of the change as a factor of at least 1: of a duration, and for a share the larger factor of
    the share and of its rest to 100 %. ``least`` is the least ratio that counts as a change between blocks that differ
    so much; ``least_ratio()`` is that for blocks that are equal.
    """

    before: float
    after: float
    change: float
    low: float
    high: float
    p: float
    ratio: float
    least: float


def quantile_of_block(
    ended: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    still_open: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    share: float,
) -> float:
    """Return a quantile of logarithms of durations; NaN if it depends on how long open invocations will take.

    ``ended`` and ``still_open`` are (values, counts). An open invocation takes at least as long as its value. The
    quantile is lowest if all open invocations end now, and highest if no open invocation ever ends. If the lowest and
    the highest quantile are equal, the quantile is known.
    """
    values, counts = (np.concatenate(each) for each in zip(ended, still_open, strict=True))
    endless = np.concatenate([ended[0], np.full(len(still_open[0]), math.inf)])
    low, high = (_weighted_quantile(each, counts, share) for each in (values.astype(float), endless))
    return low if low == high else math.nan


def _weighted_quantile(values: Blocks, counts: Any, share: float) -> float:
    """Return the mean of the two values around the rank, so that few values are not biased to one side."""
    order = np.argsort(values, kind="stable")
    ranks, rank = np.cumsum(counts[order]), share * counts.sum()
    sides = (np.searchsorted(ranks, max(rank, 1e-9), side=each) for each in ("left", "right"))
    at = [values[order][min(int(side), len(order) - 1)] for side in sides]
    return float(sum(at)) / 2


def compare_quantiles(before: Blocks, after: Blocks) -> Difference:
    """Compare the means of the logarithms of milliseconds of both sides; ``change`` is their difference.

    The variance is that of the blocks around the mean of their side. Both sides share it, so that one block is enough
    for a side.
    """
    sides = [side[~np.isnan(side)] for side in (before, after)]
    means, sizes = [float(side.mean()) for side in sides], [len(side) for side in sides]
    squares = sum(float(((side - mean) ** 2).sum()) for side, mean in zip(sides, means, strict=True))
    freedom = sum(sizes) - 2
    rounding = max(_RESOLUTION, *(math.exp(-mean) for mean in means)) ** 2 / 12
    spread = math.sqrt(squares / freedom)
    error = math.sqrt((spread**2 + rounding) * sum(1 / size for size in sizes))
    change, margin = means[1] - means[0], _t_quantile(freedom) * error
    return Difference(
        before=means[0],
        after=means[1],
        change=change,
        low=change - margin,
        high=change + margin,
        p=_t_tails(change / error, freedom),
        ratio=limited_exp(abs(change)),
        least=limited_exp(_LEAST_SPREADS * spread),
    )


def compare_rates(before: tuple[Blocks, Blocks], after: tuple[Blocks, Blocks]) -> Difference:
    """Compare shares; each side is (events per block, invocations per block), and NaN blocks are excluded.

    The test is quasi-binomial: the variance of independent invocations, multiplied by the dispersion of the blocks of
    both sides around the share of their side. The dispersion is at least 1, because a few blocks with few events can be
    equal by chance. The interval is Newcombe's, from Wilson's intervals of both shares.
    """
    sides = [(events[~np.isnan(counts)], counts[~np.isnan(counts)]) for events, counts in (before, after)]
    totals = [float(counts.sum()) for _, counts in sides]
    rates = [float(events.sum()) / total for (events, _), total in zip(sides, totals, strict=True)]
    squares = sum(_pearson(events, counts, rate) for (events, counts), rate in zip(sides, rates, strict=True))
    freedom = sum(len(counts) for _, counts in sides) - 2
    dispersion = max(1.0, squares / freedom)
    common = (rates[0] * totals[0] + rates[1] * totals[1]) / sum(totals)
    error = math.sqrt(dispersion * common * (1 - common) * sum(1 / total for total in totals))
    change, z = rates[1] - rates[0], _t_quantile(freedom) * math.sqrt(dispersion)
    (low_before, high_before), (low_after, high_after) = (wilson(*side, z) for side in zip(rates, totals, strict=True))
    return Difference(
        before=rates[0],
        after=rates[1],
        change=change,
        low=change - math.hypot(rates[1] - low_after, high_before - rates[0]),
        high=change + math.hypot(high_after - rates[1], rates[0] - low_before),
        p=_t_tails(change / error, freedom) if error else 1.0,
        ratio=max(_ratio(*rates), _ratio(*(1 - rate for rate in rates))),
        least=1.0,
    )


def _pearson(events: Blocks, counts: Blocks, rate: float) -> float:
    """Return the sum of the squared residuals of the blocks, in units of their binomial variance."""
    if rate in {0.0, 1.0}:
        return 0.0
    return float(((events - counts * rate) ** 2 / (counts * rate * (1 - rate))).sum())


def limited_exp(value: float) -> float:
    """Return the exponential of a number, or of the largest number whose exponential is a float."""
    return math.exp(min(value, _MOST_CHANGE))


def _ratio(first: float, second: float) -> float:
    low, high = sorted((first, second))
    return high / low if low else math.inf if high else 1.0


def least_ratio(handlers: int) -> float:
    """Return the least ratio that counts as a change if so many handlers are compared.

    It grows with their number, because each handler can drift on its own, and the largest drift counts.
    """
    return float(_LEAST_RATIO ** (1 + _PER_DOUBLING * math.log2(max(handlers, 1))))


def adjust(p_values: Sequence[float]) -> Blocks:
    """Return the p-values after the correction of Benjamini and Hochberg, in the same order."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(values[order] * len(values) / ranks))
    return adjusted


def _t_tails(t: float, freedom: float) -> float:
    """Return the probability of a t this far from 0, on both sides."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


@cache  # most comparisons of a result have the same number of blocks
def _t_quantile(freedom: float) -> float:
    low, high = 0.0, 13.0  # enough for one degree of freedom
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tails(middle, freedom) > 1 - _CONFIDENCE else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    if x <= 0 or x >= 1:
        return float(x >= 1)
    factor = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return factor * _beta_fraction(x, a, b) / a
    return 1 - factor * _beta_fraction(1 - x, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS):
        n = a + 2 * m
        for term in (m * (b - m) * x / ((n - 1) * n), -(a + m) * (a + b + m) * x / (n * (n + 1))):
            c, d = 1 + term / c, 1 / (1 + term * d)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value
