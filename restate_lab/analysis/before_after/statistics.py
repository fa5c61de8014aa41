"""Compare blocks of time before and after: intervals, p-values, and a correction for many tests; numpy only.

The invocations of one day are alike, so they are not independent: a test on single invocations calls drift from day to
day a change. Here, the unit is a block of time. Each block gives one number, and a t test compares the blocks of both
sides. A trend over many blocks is reported as a change: without other data, it cannot be distinguished from one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Blocks", "Difference", "adjust", "compare_quantiles", "compare_rates", "quantile_of_block"]

Blocks: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
"""One number per block, in the order of time; NaN for a block without a number."""
_CONFIDENCE = 0.95
_BISECTIONS = 24
_STEPS = 200  # of the continued fraction
_PRECISION = 1e-12
_RESOLUTION = 0.01  # of the logarithm of a duration; short ones have a resolution of 1 ms


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two sides, its confidence interval and its p-value; ``before`` and ``after`` are means."""

    before: float
    after: float
    change: float
    low: float
    high: float
    p: float


def quantile_of_block(
    ended: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    still_open: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    share: float,
) -> float:
    """Return a quantile of logarithms of durations; NaN if the open ones leave it undecided.

    Each argument is (values, counts). An open one takes at least its value. Two bounds follow: each open one ends now,
    or each takes forever. Only if the bounds are equal, the quantile is known.
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
    """Compare the means of the logarithms of milliseconds of both sides; ``change`` is their difference."""
    sides = [side[~np.isnan(side)] for side in (before, after)]
    means, sizes = [float(side.mean()) for side in sides], [len(side) for side in sides]
    squares = [float(((side - mean) ** 2).sum()) for side, mean in zip(sides, means, strict=True)]
    variance, freedom = _welch_variance(squares, sizes) if min(sizes) > 2 else _pooled_variance(squares, sizes)
    rounding = max(_RESOLUTION, *(math.exp(-mean) for mean in means)) ** 2 / 12 * sum(1 / size for size in sizes)
    return _effect(means[0], means[1], variance + rounding, freedom)


def compare_rates(before: tuple[Blocks, Blocks], after: tuple[Blocks, Blocks]) -> Difference:
    """Compare shares; each side is (events per block, invocations per block), and NaN blocks are excluded.

    The variance is that between the blocks, and never below that of independent invocations: with few events the
    blocks may be equal by chance.
    """
    rates, squares, sizes, totals = [], [], [], []
    for events, counts in (before, after):
        total = float(np.nansum(counts))
        rate = float(np.nansum(events)) / total
        residual = (events - rate * counts) * np.sum(~np.isnan(counts)) / total
        rates.append(rate)
        squares.append(float(np.nansum(residual**2)))
        sizes.append(int(np.sum(~np.isnan(counts))))
        totals.append(total)
    between, freedom = _welch_variance(squares, sizes) if min(sizes) > 2 else _pooled_variance(squares, sizes)
    common = (rates[0] * totals[0] + rates[1] * totals[1]) / sum(totals)
    independent = common * (1 - common) * (1 / totals[0] + 1 / totals[1])
    return _effect(rates[0], rates[1], max(between, independent), freedom)


def adjust(p_values: Sequence[float]) -> Blocks:
    """Return the p-values after the correction of Benjamini and Hochberg, in the same order."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(values[order] * len(values) / ranks))
    return adjusted


def _welch_variance(squares: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Return the variance of the difference of the means, and the degrees of freedom, for unequal variances."""
    parts = [square / (size - 1) / size for square, size in zip(squares, sizes, strict=True)]
    weights = sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    return sum(parts), sum(parts) ** 2 / weights if weights else float(sum(sizes) - 2)


def _pooled_variance(squares: Sequence[float], sizes: Sequence[int]) -> tuple[float, float]:
    """Return the same for equal variances: it works if one side has a single block."""
    freedom = sum(sizes) - 2
    return sum(squares) / freedom * sum(1 / size for size in sizes), float(freedom)


def _effect(before: float, after: float, variance: float, freedom: float) -> Difference:
    change, error = after - before, math.sqrt(variance)
    margin = _t_quantile(freedom) * error
    return Difference(before, after, change, change - margin, change + margin, _t_tails(change / error, freedom))


def _t_tails(t: float, freedom: float) -> float:
    """Return the probability of a t this far from 0, on both sides."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _t_quantile(freedom: float) -> float:
    low, high = 0.0, 13.0  # enough for one degree of freedom
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tails(middle, freedom) > 1 - _CONFIDENCE else (low, middle)
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function."""
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
