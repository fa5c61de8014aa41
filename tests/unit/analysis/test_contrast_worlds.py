"""A contrast finds planted causes and claims nothing without one, on generated samples."""

from __future__ import annotations

from collections import Counter

import pytest

from restate_lab.analysis.contrast.decide import find_causes
from support.contrast_worlds import KINDS, NULL_KINDS, null_world, place_of, plant_world

LEAST_FOUND, MOST_CLAIMED = 0.95, 0.05
PARTS = range(1_000, 1_020, 5)  # seeds of the long test: 4 parts of 28 kinds x 5 seeds x 2
NULL_PARTS = range(1_000, 1_132, 33)  # 4 parts of 8 kinds x 33 seeds


def test_a_planted_cause_of_each_kind_has_the_first_place() -> None:
    """Half of the kinds are hard: only some invocations with the cause fail, and some without it."""
    wrong = []
    for seed, kind in enumerate(KINDS):
        world = plant_world(kind, 7, is_hard=bool(seed % 2), is_small=True)
        if place_of(world, find_causes(world.sample)) not in {"right", "near"}:
            wrong.append(kind)
    assert len(wrong) <= (1 - LEAST_FOUND) * len(KINDS), wrong


@pytest.mark.parametrize("kind", NULL_KINDS)
def test_without_a_cause_nothing_is_claimed(kind: str) -> None:
    assert [seed for seed in range(2) if find_causes(null_world(kind, seed, is_small=True).sample).first] == []


@pytest.mark.long
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("start", PARTS)
def test_planted_causes_have_the_first_place_in_95_percent_of_1120_samples(start: int) -> None:
    places = Counter[str]()
    missed = Counter[str]()
    for kind in KINDS:
        for seed in range(start, start + PARTS.step):
            for is_hard in (False, True):
                world = plant_world(kind, seed, is_hard=is_hard)
                place = place_of(world, find_causes(world.sample))
                places[place] += 1
                missed[kind] += place not in {"right", "near"}
    assert places["right"] + places["near"] >= LEAST_FOUND * places.total(), (places, +missed)


@pytest.mark.long
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("start", NULL_PARTS)
def test_at_most_5_percent_of_1056_samples_without_a_cause_have_a_claim(start: int) -> None:
    claimed = Counter[str]()
    for kind in NULL_KINDS:
        for seed in range(start, start + NULL_PARTS.step):
            claimed[kind] += bool(find_causes(null_world(kind, seed).sample).first)
    assert claimed.total() <= MOST_CLAIMED * len(NULL_KINDS) * NULL_PARTS.step, claimed
