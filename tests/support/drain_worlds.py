"""Simulated systems with a backlog: servers that take calls in order, and calls that arrive in six ways."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("constant", "draining", "daily", "bursty", "growing", "stuck")
PAST, FUTURE = 60, 24 * 60
"""Minutes that are observed and simulated."""
_LOADS = {"constant": (0.6, 0.95), "draining": (0.1, 0.8), "daily": (0.5, 0.85), "bursty": (0.4, 0.85)}
_LOADS |= {"growing": (1.1, 2.0), "stuck": (0.4, 0.9)}


@dataclass(frozen=True)
class World:
    """What is observed of a system, and ``truth``: the minutes until nothing waits; infinite if it always does."""

    arrivals: Any
    completions: Any
    backlog: int
    truth: float


def world(kind: str, random: np.random.Generator) -> World:
    """Return a system of a kind: handlers of 3 to 60 s on 2 to 30 slots, and a pile of calls up to 2 hours ago."""
    seconds, slots = random.uniform(3, 60), int(random.integers(2, 30))
    capacity = slots * 60 / seconds
    mean = capacity * random.uniform(*_LOADS[kind])
    began = -random.uniform(15, 120)
    minutes = np.arange(int(min(began, -PAST)) - 5, FUTURE)
    counts = random.poisson(np.maximum(_rates(kind, mean, random)(minutes + 0.5), 0))
    pile = began + random.random(_pile(kind, capacity, mean, began, random)) * 0.5
    arrivals = np.sort(np.concatenate([np.repeat(minutes, counts) + random.random(counts.sum()), pile]))
    stops = -random.uniform(3, 40) if kind == "stuck" else np.inf
    starts, ends = _serve(arrivals, seconds / 60, slots, stops, random)
    bins = np.arange(-PAST, 1)
    return World(
        np.histogram(arrivals, bins)[0],
        np.histogram(ends[np.isfinite(ends)], bins)[0],
        int(((arrivals <= 0) & (starts > 0)).sum()),
        _empty_at(arrivals, starts),
    )


def _rates(kind: str, mean: float, random: np.random.Generator) -> Callable[[Any], Any]:
    if kind == "daily":
        height, phase = random.uniform(0.2, 0.6), random.uniform(0, 2 * np.pi)
        return lambda minutes: mean * (1 + height * np.sin(2 * np.pi * minutes / 1440 + phase))
    if kind == "bursty":
        length, share = random.uniform(2, 8), random.uniform(0.2, 0.5)
        count = PAST + FUTURE + 300
        on, place = np.zeros(count), 0
        while place < count:
            burst = max(1, int(random.exponential(length * share)))
            on[place : place + burst] = 1
            place += burst + max(1, int(random.exponential(length * (1 - share))))
        return lambda minutes: mean / max(on.mean(), 0.05) * np.interp(minutes, np.arange(count) - PAST - 100, on)
    return lambda minutes: np.full(len(minutes), mean)


def _pile(kind: str, capacity: float, mean: float, began: float, random: np.random.Generator) -> int:
    if kind == "stuck":
        return 0
    if kind == "growing":
        return int(capacity * random.uniform(0, 30))
    drain = max(capacity - mean, 0.1 * capacity)
    return int(drain * (np.exp(random.uniform(np.log(3), np.log(200))) - began))


def _serve(arrivals: Any, mean: float, slots: int, stops: float, random: np.random.Generator) -> tuple[Any, Any]:
    """Return the start and end of each call; after ``stops`` nothing starts."""
    count = len(arrivals)
    is_skewed = random.random() < 0.4
    durations = mean * random.lognormal(-0.5, 1, count) if is_skewed else random.exponential(mean, count)
    free = [float(arrivals[0])] * slots
    starts, ends = np.empty(count), np.empty(count)
    for place, arrival in enumerate(arrivals):
        start = max(float(arrival), heapq.heappop(free))
        starts[place] = start if start < stops else np.inf
        ends[place] = starts[place] + durations[place]
        heapq.heappush(free, ends[place])
    return starts, ends


def _empty_at(arrivals: Any, starts: Any) -> float:
    later, begun = arrivals[arrivals > 0], starts[(starts > 0) & np.isfinite(starts)]
    times = np.concatenate([later, begun])
    changes = np.concatenate([np.ones(len(later)), -np.ones(len(begun))])
    order = np.lexsort((-changes, times))
    waiting = ((arrivals <= 0) & (starts > 0)).sum() + np.cumsum(changes[order])
    empty = np.flatnonzero(waiting <= 0)
    return float(times[order][empty[0]]) if len(empty) else np.inf
