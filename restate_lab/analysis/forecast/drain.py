"""When a backlog will be empty: an 80 % interval from the arrivals and completions of the last minutes.

The minutes of the time in which the backlog has existed are one sample of what follows. Before it, the completions were
limited by the arrivals and not by the capacity. One or two minutes with a great many arrivals are the cause of the
backlog and not its future, so the sample begins after them; more of them are bursts, which will come again.

The drain of a minute is its completions minus its arrivals. Three sources of uncertainty are simulated: the mean of the
sample (its error is that of dependent minutes), the noise of the minutes to come, and a rate of arrivals that changes
slowly, as over a day. The constants were chosen so that 80 % of the intervals contain the true time in simulated
systems (``tests/unit/analysis/test_drain.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Answer: TypeAlias = Literal["empty", "drains", "growing", "unknown"]
Minutes: TypeAlias = npt.NDArray[np.float64]

FEWEST_COMPLETIONS = 30
FEWEST_MINUTES = 10
HORIZON = 24 * 60
"""The longest time that is computed, in minutes; the rates of an hour say nothing about later times."""
_PATHS = 2_000
_LAG = 8  # minutes that may depend on each other
_INFLATION = 1.5  # of the variance, which short samples underestimate
_INFLATION_BETWEEN = 1.0  # of the variance of independent calls
_DRIFT = 0.009  # of the arrivals, per square root of a minute
_STEP = 0.03  # of the time that has passed: later steps are longer
_LOW, _HIGH = 0.1, 0.9
_JUMPS = 2  # more jumps than these are bursts
_SEED = 45


@dataclass(frozen=True, slots=True)
class Drain:
    """The answer for one backlog; ``earliest`` and ``latest`` are minutes, and ``latest`` is infinite if it is late.

    ``rate`` is the mean drain per minute of the sample; None without one.
    """

    answer: Answer
    earliest: float | None = None
    latest: float | None = None
    rate: float | None = None
    reason: str = ""


def drain(arrivals: Minutes, completions: Minutes, backlog: int, coming: Minutes | None = None) -> Drain:
    """Return when a backlog will be empty.

    ``arrivals`` and ``completions`` are the counts of the last minutes, oldest first. ``coming`` are the further
    arrivals that are known for the next minutes, such as delayed calls.
    """
    if backlog <= 0:
        return Drain("empty", 0.0, 0.0)
    if completions.sum() < FEWEST_COMPLETIONS:
        return Drain("unknown", reason=f"fewer than {FEWEST_COMPLETIONS} completions")
    net = (completions - arrivals).astype(np.float64)
    sample = _after_jumps(net[len(net) - _length(net, backlog) :])
    count = len(sample)
    if count < FEWEST_MINUTES or completions[-count:].sum() < FEWEST_COMPLETIONS:
        return Drain("unknown", reason="the backlog is too new: too few completions since it began")
    mean, variance = float(sample.mean()), _variance(sample)
    freedom = max(3.0, count / min(_LAG, max(1, count // 4)) - 1)
    flow = _Flow(mean, variance, variance / count, freedom, float(arrivals[-count:].mean()))
    return _answer(flow, backlog, coming)


def drain_between(
    arrivals: int, completions: int, minutes: float, backlog: int, coming: Minutes | None = None
) -> Drain:
    """Return when a backlog will be empty, from the calls that came and ended between two readings.

    A minute says nothing about how the rates change, so that the variance is taken from the number of calls.
    """
    if completions < FEWEST_COMPLETIONS:
        return Drain("unknown", reason=f"fewer than {FEWEST_COMPLETIONS} completions between two readings")
    variance = _INFLATION_BETWEEN * (arrivals + completions) / minutes
    mean = (completions - arrivals) / minutes
    return _answer(_Flow(mean, variance, variance / minutes, 3.0, arrivals / minutes), backlog, coming)


class _Flow(NamedTuple):
    """The drain per minute: mean, variance, variance and degrees of freedom of the mean; and the mean arrivals."""

    mean: float
    variance: float
    error: float
    freedom: float
    arrivals: float


def _answer(flow: _Flow, backlog: int, coming: Minutes | None) -> Drain:
    times = _simulate(flow, backlog, coming)
    if not np.isfinite(np.median(times)):
        return Drain("growing", rate=flow.mean)
    low, high = np.quantile(times, [_LOW, _HIGH], method="lower")
    return Drain("drains", float(low), float(high), flow.mean)


def _length(net: Minutes, backlog: int) -> int:
    """Return how many of the last minutes had a backlog."""
    before = backlog + np.cumsum(net[::-1])
    idle = np.flatnonzero(before <= 0)
    return int(idle[0]) if len(idle) else len(net)


def _after_jumps(net: Minutes) -> Minutes:
    if len(net) < FEWEST_MINUTES:
        return net
    middle = np.median(net)
    spread = 1.4826 * np.median(np.abs(net - middle))
    least = max(6 * spread, 6 * np.sqrt(max(1.0, abs(middle))), 10)
    jumps = np.flatnonzero(net < middle - least)
    return net[jumps[-1] + 1 :] if 0 < len(jumps) <= _JUMPS else net


def _variance(net: Minutes) -> float:
    """Return the variance of the sum of many minutes, per minute: minutes that follow each other are alike."""
    count, rest = len(net), net - net.mean()
    lag = min(_LAG, max(1, count // 4))
    plain = float(rest @ rest) / count
    whole = plain + sum(2 * (1 - j / (lag + 1)) * float(rest[j:] @ rest[:-j]) / count for j in range(1, lag + 1))
    return _INFLATION * max(whole, 0.3 * plain, 1e-9)


def _simulate(flow: _Flow, backlog: int, coming: Minutes | None) -> Minutes:
    """Return the minute at which the backlog is empty on each of many paths; infinite if it is not."""
    random = np.random.default_rng(_SEED)
    rate = flow.mean + np.sqrt(flow.error) * random.standard_t(flow.freedom, _PATHS)
    known = np.concatenate([[0.0], np.cumsum(coming if coming is not None else np.zeros(1))])
    times, done, minute = np.full(_PATHS, np.inf), np.zeros(_PATHS), 0
    while minute < HORIZON and np.isfinite(times).mean() <= _HIGH:
        step = max(1, int(minute * _STEP))
        rate = rate + _DRIFT * flow.arrivals * np.sqrt(step) * random.standard_normal(_PATHS)
        more = known[min(minute + step, len(known) - 1)] - known[min(minute, len(known) - 1)]
        drained = rate * step - more + np.sqrt(flow.variance * step) * random.standard_normal(_PATHS)
        reached = ~np.isfinite(times) & (done + drained >= backlog)
        times[reached] = minute + step * (backlog - done[reached]) / np.maximum(drained[reached], 1e-9)
        done, minute = done + drained, minute + step
    return times
