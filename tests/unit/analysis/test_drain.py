"""Whether a backlog drains, and when: the intervals against the truth in simulated systems."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from restate_lab.analysis.forecast.drain import HORIZON, Drain, drain, drain_between
from support.drain_worlds import KINDS, World, world


def contains(result: Drain, each: World) -> bool:
    assert result.earliest is not None
    assert result.latest is not None
    return result.earliest <= each.truth <= result.latest


def check(count: int, seed: int, least: float, most: float) -> dict[str, Counter[str]]:
    """Check the share of intervals with the truth, and that growing backlogs seldom get a finite end."""
    random, answers, hits = np.random.default_rng(seed), {}, []
    for kind in KINDS:
        worlds = [world(kind, random) for _ in range(count)]
        results = [drain(each.arrivals, each.completions, each.backlog) for each in worlds]
        answers[kind] = Counter(result.answer for result in results)
        pairs = list(zip(results, worlds, strict=True))
        hits += [contains(*pair) for pair in pairs if pair[0].answer == "drains"]
        if kind in {"growing", "stuck"}:
            finite = [result for result in results if result.answer == "drains" and np.isfinite(result.latest or 0)]
            assert len(finite) <= 0.05 * count
    assert least <= np.mean(hits) <= most, (np.mean(hits), len(hits), answers)
    return answers


def test_most_intervals_contain_the_truth_and_a_growing_backlog_has_none() -> None:
    """The share of 30 intervals lies further from 80 % than that of many."""
    answers = check(6, 1, 0.6, 0.97)
    assert answers["growing"]["growing"] >= 5
    assert answers["draining"]["drains"] >= 4


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3])
def test_the_intervals_contain_the_truth_in_72_to_88_percent(seed: int) -> None:
    """600 systems; stated in the guide."""
    check(100, seed, 0.72, 0.88)


@pytest.mark.long
def test_the_intervals_of_two_readings_contain_the_truth_unless_there_are_bursts() -> None:
    """360 systems, of which only the last minute is read; a minute does not show bursts."""
    random, hits = np.random.default_rng(7), Counter[tuple[bool, bool]]()
    for kind in KINDS:
        for each in (world(kind, random) for _ in range(60)):
            result = drain_between(int(each.arrivals[-1]), int(each.completions[-1]), 1.0, each.backlog)
            if result.answer == "drains" and each.backlog:
                hits[kind == "bursty", contains(result, each)] += 1
    assert hits[False, True] / (hits[False, True] + hits[False, False]) >= 0.8
    assert hits[True, True] < hits[True, False]


def test_two_readings_with_few_completions_are_unknown_and_with_more_arrivals_growing() -> None:
    assert drain_between(0, 29, 1, 100).reason == "fewer than 30 completions between two readings"
    assert drain_between(300, 200, 1, 500).answer == "growing"
    result = drain_between(100, 300, 0.5, 4_000)
    assert (result.earliest or 0) <= 10 <= (result.latest or 0)


def test_an_empty_backlog_and_too_few_completions_have_no_interval() -> None:
    ones, none = np.ones(60), np.zeros(60)
    assert drain(ones, ones, 0) == Drain("empty", 0.0, 0.0)
    assert drain(ones, none, 5).answer == "unknown"
    assert drain(none, np.r_[np.zeros(31), np.ones(29)], 5).reason == "fewer than 30 completions"
    new = drain(np.r_[np.zeros(55), np.full(5, 100)], np.full(60, 10), 450)
    assert (new.answer, new.reason) == ("unknown", "the backlog is too new: too few completions since it began")


def test_a_steady_drain_ends_when_the_backlog_is_divided_by_its_rate() -> None:
    result = drain(np.full(60, 10.0), np.full(60, 30.0), 400)
    assert result.rate == 20
    assert (result.earliest or 0) <= 20 <= (result.latest or 0)
    assert (result.latest or 0) < 30


def test_calls_that_are_known_to_come_move_the_end() -> None:
    wave = np.r_[np.zeros(5), np.full(10, 30.0)]
    plain, later = (drain(np.full(60, 10.0), np.full(60, 30.0), 400, coming) for coming in (None, wave))
    assert (later.earliest or 0) > (plain.latest or 0)
    assert drain(np.full(60, 10.0), np.full(60, 30.0), 400, np.full(HORIZON, 25.0)).answer == "growing"


def test_the_pile_that_began_a_backlog_is_not_part_of_its_future() -> None:
    """An import of 2,000 calls 30 minutes ago, which drains by 20 a minute."""
    arrivals = np.full(60, 10.0)
    arrivals[30] = 2_000
    result = drain(arrivals, np.r_[np.full(30, 10.0), np.full(30, 30.0)], 1_400)
    assert result.answer == "drains"
    assert (result.earliest or 0) <= 70 <= (result.latest or 0)


def test_a_forecast_is_the_same_each_time() -> None:
    random = np.random.default_rng(5)
    each = world("bursty", random)
    assert drain(each.arrivals, each.completions, each.backlog) == drain(each.arrivals, each.completions, each.backlog)
