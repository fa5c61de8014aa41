"""The statistic of a contrast: its tests and intervals, the conditions on values, and the rules of a decision."""

from __future__ import annotations

from itertools import product
from math import comb
from typing import Any

import numpy as np
import pytest

from restate_lab.analysis.contrast.conditions import build_table, domain_of, pattern_of, prefix_of
from restate_lab.analysis.contrast.decide import decide, find_causes, smallest_gap
from restate_lab.analysis.contrast.model import (
    MISSING,
    UNKNOWN,
    Attribute,
    Claim,
    Counted,
    Decision,
    Elements,
    Fields,
    Many,
    Observed,
    Operator,
    Role,
    Where,
)
from restate_lab.analysis.contrast.statistic import (
    fisher,
    mantel_haenszel,
    newcombe,
    runs_test,
    similarity_within,
    tarone,
)
from support.contrast_samples import column, field, sample_of

DEPLOYMENT = Attribute(Where.COLUMN, "pinned_deployment_id", sql="pinned_deployment_id", is_sequential=True)


def integers(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


def conditions(*values: object, where: Where = Where.INPUT) -> dict[tuple[Operator, Any], list[bool]]:
    """Return the rows of each condition on an attribute with these values; for True and False, the value is a text."""
    table = build_table([Observed(Attribute(where, "field", ("field",)), values)], len(values))
    names = [str(each.value) if isinstance(each.value, bool) else each.value for each in table.conditions]
    return {
        (each.op, name): table.rows(at).tolist()
        for at, (each, name) in enumerate(zip(table.conditions, names, strict=True))
    }


def only(decision: Decision) -> Claim:
    assert len(decision.claims) == 1
    return decision.claims[0]


@pytest.mark.parametrize(("a", "b"), [*product((0, 1, 4, 7), (0, 3, 9))])
def test_the_p_value_is_the_probability_of_as_many_failing_rows_or_more(a: int, b: int) -> None:
    n1, n0, k = 7, 12, a + b
    more = sum(comb(n1, x) * comb(n0, k - x) for x in range(a, min(k, n1) + 1)) / comb(n1 + n0, k)
    expected = more if a / n1 > b / n0 else 1
    assert fisher(*(integers(each) for each in (a, b, n1, n0)))[0] == pytest.approx(expected)


def test_a_p_value_too_small_for_a_float_is_zero() -> None:
    assert fisher(*(integers(each) for each in (100_000, 1_000, 100_000, 1_000_000)))[0] == 0


def test_conditions_too_rare_to_reach_the_level_are_not_counted_as_tests() -> None:
    """A value that one row has cannot be significant, so thousands of ids do not weaken the other tests."""
    rare = (np.ones(5_000, dtype=np.int64), np.zeros(5_000, dtype=np.int64))
    common = (integers(30, 28), integers(5, 60))
    a, b = (np.concatenate(each) for each in zip(rare, common, strict=True))
    assert tarone(a, b, np.full_like(a, 30), np.full_like(a, 300)) == 2


def test_the_interval_of_a_gap_is_newcombes() -> None:
    """The example is from Newcombe (1998), method 10: 56/70 and 48/80."""
    low, high = newcombe(56, 48, 70, 80)
    assert (float(low), float(high)) == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_a_condition_that_follows_another_one_adds_nothing_to_it() -> None:
    failing = np.array([True] * 40 + [False] * 200)
    cause = failing.copy()
    proxy = np.array([True] * 40 + [True] * 20 + [False] * 180)
    assert mantel_haenszel(proxy, cause, failing) == 0
    assert mantel_haenszel(cause, proxy, failing) > 3.5


def test_bursts_have_fewer_runs_and_alternating_rows_have_more() -> None:
    assert runs_test(np.array([True] * 20 + [False] * 20)) < -3
    assert runs_test(np.array([True, False] * 20)) > 3


def test_callers_that_decide_the_outcome_are_alike() -> None:
    groups = np.repeat(np.arange(20), 10)
    assert similarity_within(groups, groups < 5) == pytest.approx(1)
    assert similarity_within(groups, np.arange(200) % 10 < 3) < 0


@pytest.mark.parametrize(
    ("text", "prefix", "domain", "pattern"),
    [
        ("tenant-17", "tenant-", None, "a-9"),
        ("anna@mail.example", "anna@", "mail.example", "a@a.a"),
        ("https://shop.example/x?y", "https:", "shop.example", "a://a.a/a?a"),
        ("größe 7", None, None, "a 9"),
        ("plain", None, None, "a"),
        ("ends-", None, None, "a-"),
    ],
)
def test_the_parts_of_a_text(text: str, prefix: str | None, domain: str | None, pattern: str) -> None:
    assert (prefix_of(text), domain_of(text), pattern_of(text)) == (prefix, domain, pattern)


def test_true_is_not_one_and_a_text_is_not_a_number() -> None:
    found = conditions(*[True] * 3, *[1] * 3, *["1"] * 3, *[1.0] * 3)
    assert found[Operator.EQUAL, "1"] == [False] * 6 + [True] * 3 + [False] * 3
    assert found[Operator.EQUAL, 1] == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    assert found[Operator.EQUAL, "True"] == [True] * 3 + [False] * 9
    assert found[Operator.TYPE, "boolean"] == [True] * 3 + [False] * 9


def test_integers_above_two_to_53_stay_different() -> None:
    large = 2**53
    found = conditions(*[large] * 3, *[large + 1] * 3, *[large + 2] * 3)
    assert found[Operator.EQUAL, large + 1] == [False] * 3 + [True] * 3 + [False] * 3
    bounds = {(op, value.low) for (op, value) in found if op is Operator.ABOVE}
    assert bounds == {(Operator.ABOVE, large + 1), (Operator.ABOVE, large + 2)}


def test_an_unknown_value_is_in_no_count_and_never_missing() -> None:
    """The failing rows whose input was not read must not become a perfect "missing"."""
    values = [UNKNOWN] * 30 + ["a"] * 20 + ["a"] * 90 + [MISSING] * 10
    decision = decide(sample_of(50, 100, Observed(field("x"), values)), payloads=True)
    assert decision.claims == ()
    values = ["bad"] * 20 + [UNKNOWN] * 30 + ["a"] * 100
    claim = only(decide(sample_of(50, 100, Observed(field("x"), values)), payloads=True))
    assert (claim.failing_with, claim.failing, claim.healthy_with, claim.healthy) == (20, 20, 0, 100)


def test_a_null_of_an_input_is_not_missing() -> None:
    found = conditions(*[None] * 3, *[MISSING] * 3, *["a"] * 3)
    assert found[Operator.MISSING, None] == [False] * 3 + [True] * 3 + [False] * 3
    assert found[Operator.TYPE, "null"] == [True] * 3 + [False] * 6
    assert (Operator.EQUAL, None) not in found


def test_an_element_of_a_list_meets_a_condition_for_its_row() -> None:
    lists = [Many(("a", "b")), Many(("b", "c")), Many(()), Many(("c", "b", "a")), Many(("c", "a"))]
    found = conditions(*lists)
    assert found[Operator.EQUAL, "a"] == [True, False, False, True, True]
    assert found[Operator.MISSING, None] == [False, False, True, False, False]


def test_the_largest_element_of_a_list_is_compared() -> None:
    rows = [Many((1, 9)), Many((1, 2)), Many((2, 3))] * 3
    largest = {value.low: each for (op, value), each in conditions(*rows).items() if op is Operator.ABOVE}
    assert largest[9] == [True, False, False] * 3


def test_lists_and_objects_are_compared_by_their_number_of_elements() -> None:
    found = conditions(*[Elements(1)] * 3, *[Elements(4)] * 3, *[Fields(9)] * 3)
    counts = {value.low: rows for (op, value), rows in found.items() if op is Operator.COUNT_ABOVE}
    assert counts[4] == [False] * 3 + [True] * 6
    assert found[Operator.TYPE, "list"] == [True] * 6 + [False] * 3


def test_a_step_is_only_compared_as_taken() -> None:
    found = conditions(*[True, MISSING, MISSING] * 2, where=Where.STEP)
    assert list(found) == [(Operator.PRESENT, None)]


def test_no_condition_is_met_by_all_or_none() -> None:
    assert conditions(*["same"] * 9) == {}


def test_of_equal_rows_a_value_is_named_before_its_opposite() -> None:
    """It runs on the new deployment, and not: it does not run on the old one."""
    values = ["dp_new"] * 30 + ["dp_old"] * 300
    claim = only(decide(sample_of(30, 300, Observed(DEPLOYMENT, values)), payloads=False))
    assert (claim.op, claim.value) == (Operator.EQUAL, "dp_new")


def test_two_deployments_without_failures_are_named_by_the_opposite_of_the_old_one() -> None:
    values = ["dp_a"] * 15 + ["dp_b"] * 15 + ["dp_old"] * 300
    claim = only(decide(sample_of(30, 300, Observed(DEPLOYMENT, values)), payloads=False))
    assert (claim.op, claim.value) == (Operator.NOT_EQUAL, "dp_old")


def test_a_value_is_preferred_to_the_form_of_a_text() -> None:
    """The length of "onyx" selects a few rows less among the healthy by chance, which is not five points."""
    values = ["onyx"] * 60 + ["onyx"] * 12 + ["amber", "birch", "cedar", "delta"] * 72
    claim = only(decide(sample_of(60, 300, Observed(field("station"), values)), payloads=True))
    assert claim.condition == 'input.station = "onyx"'


def test_the_rows_of_several_conditions_are_one_test_and_one_cause() -> None:
    values = ["eu"] * 30 + ["us"] * 300
    observed = [Observed(field(name), values) for name in ("region", "zone", "site")]
    decision = decide(sample_of(30, 300, *observed), payloads=True)
    assert [(claim.group, claim.role, claim.path) for claim in decision.claims] == [
        (1, Role.DISTINGUISHES, "region"),
        (1, Role.SAME_ROWS, "site"),
        (1, Role.SAME_ROWS, "zone"),
    ]
    assert decision.tests == 2


def test_a_proxy_is_explained_by_the_cause() -> None:
    cause = ["x"] * 60 + ["y"] * 300
    proxy = ["p"] * 57 + ["q"] * 3 + ["p"] * 12 + ["q"] * 288
    decision = decide(
        sample_of(60, 300, Observed(field("proxy"), proxy), Observed(field("cause"), cause)), payloads=True
    )
    assert only(decision).path == "cause"
    assert {each.path: each.verdict for each in decision.attributes} == {
        "cause": "distinguishes (1)",
        "proxy": "explained by 1",
    }


def test_two_imperfect_conditions_that_overlap_cannot_be_told_apart() -> None:
    first = ["x"] * 27 + ["y"] * 3 + ["x"] * 12 + ["y"] * 288
    second = ["p"] * 26 + ["q", "p", "q", "q"] + ["p"] * 11 + ["q"] * 289
    decision = decide(sample_of(30, 300, Observed(field("a"), first), Observed(field("b"), second)), payloads=True)
    assert [claim.role for claim in decision.claims] == [Role.DISTINGUISHES, Role.INDISTINCT]


def test_a_further_cause_is_counted_outside_of_the_first_one() -> None:
    caller = ["Backfill"] * 57 + ["Orders"] * 43 + ["Backfill"] * 10 + ["Orders"] * 990
    header = [MISSING] * 57 + ["yes"] * 40 + [MISSING] * 1003
    flag = Observed(Attribute(Where.HEADER, "x-dry-run", is_payload=True), header)
    decision = decide(sample_of(100, 1_000, Observed(column("invoked_by"), caller), flag), payloads=True)
    assert [(claim.group, claim.role) for claim in decision.claims] == [(1, Role.DISTINGUISHES), (2, Role.FURTHER)]
    assert decision.claims[1].outside == (40, 43, 0, 990)


def test_two_values_of_one_attribute_are_two_causes() -> None:
    region = ["eu"] * 60 + ["ap"] * 40 + ["us"] * 100 + ["ca"] * 200
    decision = decide(sample_of(100, 300, Observed(field("region"), region)), payloads=True)
    assert [claim.value for claim in decision.claims] == ["eu", "ap"]


def test_two_conditions_that_fail_only_together_are_a_pair() -> None:
    first = ["maple"] * 60 + ["maple"] * 100 + ["oak"] * 300
    second = ["thorn"] * 60 + ["rose"] * 100 + ["thorn"] * 100 + ["rose"] * 200
    decision = decide(sample_of(60, 400, Observed(field("a"), first), Observed(field("b"), second)), payloads=True)
    claim = only(decision)
    assert claim.condition == 'input.a = "maple" and input.b = "thorn"'
    assert [(part.healthy_with, part.healthy) for part in claim.parts] == [(100, 400), (100, 400)]
    assert claim.healthy_with == 0


def test_a_number_is_cut_between_its_real_values_at_a_round_number() -> None:
    amounts = [9_012 + n for n in range(50)] + [8_951 - 17 * n for n in range(500)]
    claim = only(decide(sample_of(50, 500, Observed(field("amount"), amounts)), payloads=True))
    assert claim.condition == "input.amount > 9,000"
    assert (claim.failing_with, claim.healthy_with) == (50, 0)


def test_a_range_of_numbers_has_two_ends() -> None:
    amounts = [400 + n for n in range(50)] + list(range(390)) + list(range(460, 1_000))
    claim = only(decide(sample_of(50, 930, Observed(field("amount"), amounts)), payloads=True))
    assert claim.condition == "input.amount between 390 and 450"


def test_a_narrow_range_near_the_end_is_not_open() -> None:
    """By the grid of quantiles it is "less than 90", which 60 healthy rows meet, too."""
    amounts = [*range(60, 90), *range(60), *range(90, 1_700)]
    claim = only(decide(sample_of(30, 1_670, Observed(field("amount"), amounts)), payloads=True))
    assert claim.condition == "input.amount between 59 and 90"
    assert claim.healthy_with == 0


def test_a_difference_below_ten_points_is_not_claimed() -> None:
    """With enough rows each difference is significant."""
    values = ["x"] * 600 + ["y"] * 1_400 + ["x"] * 400 + ["y"] * 1_600
    decision = decide(sample_of(2_000, 2_000, Observed(column("zone"), values)), payloads=False)
    assert decision.claims == ()
    assert decision.attributes[0].gap == pytest.approx(10)
    assert decision.attributes[0].verdict == "no clear difference"


@pytest.mark.parametrize(
    ("failing_with", "healthy_with", "is_claimed"), [(12, 60, True), (12, 70, False), (5, 0, False)]
)
def test_few_failing_rows_need_a_clear_majority(failing_with: int, healthy_with: int, is_claimed: bool) -> None:
    values = ["x"] * failing_with + ["y"] * (12 - failing_with) + ["x"] * healthy_with + ["y"] * (300 - healthy_with)
    decision = decide(sample_of(12, 300, Observed(column("zone"), values)), payloads=False)
    assert bool(decision.claims) is is_claimed


def test_fewer_than_four_rows_of_a_side_claim_nothing() -> None:
    for failing, healthy in ((3, 1_000), (1_000, 3)):
        values = ["x"] * failing + ["y"] * healthy
        assert decide(sample_of(failing, healthy, Observed(column("zone"), values)), payloads=False).claims == ()


def test_the_counts_of_the_population_replace_those_of_the_sample() -> None:
    values = ["dp_new"] * 50 + ["dp_new"] * 10 + ["dp_old"] * 90
    counted = Counted(DEPLOYMENT, ["dp_new", "dp_old"], integers(5_000, 0), integers(900, 9_000), 5_000, 10_000)
    sample = sample_of(50, 100, Observed(DEPLOYMENT, values), counted=[counted])
    claim = only(decide(sample, payloads=False))
    assert (claim.failing_with, claim.failing, claim.healthy_with, claim.healthy) == (5_000, 5_000, 900, 10_000)
    assert (claim.all_with, claim.all_failing) == (5_900, 5_000)
    assert claim.sql == "pinned_deployment_id = 'dp_new'"


def test_a_counted_attribute_must_be_observed() -> None:
    counted = Counted(DEPLOYMENT, ["dp_new"], integers(1), integers(1), 9, 9)
    with pytest.raises(ValueError, match="pinned_deployment_id is counted, but not observed"):
        decide(sample_of(5, 5, counted=[counted]), payloads=False)


def test_attributes_must_have_a_value_for_each_row() -> None:
    with pytest.raises(ValueError, match="one value for each row"):
        decide(sample_of(5, 5, Observed(DEPLOYMENT, ["a"] * 9)), payloads=False)


def test_rows_of_a_few_bursts_prove_nothing_but_the_time() -> None:
    """Two callers start forty invocations each with equal inputs; by rows, the input would be a perfect cause."""
    regions = ["eu"] * 80 + ["us"] * 1_000
    seconds = [n // 40 * 3_000 + n % 40 * 0.05 for n in range(80)] + [n * 10.0 for n in range(1_000)]
    sample = sample_of(80, 1_000, Observed(field("region"), regions), seconds=seconds)
    causes = find_causes(sample)
    assert causes.first == []
    assert [each.role for each in causes.places] == [Role.IN_A_BURST]
    burst = decide(sample, payloads=True).burst
    assert burst is not None
    assert (burst.rows, burst.runs) == (80, 2)


def test_children_of_few_callers_prove_nothing_at_any_time() -> None:
    regions = ["eu"] * 80 + ["us"] * 1_000
    callers = [f"inv_{n % 4}" for n in range(80)] + [f"inv_{4 + n % 50}" for n in range(1_000)]
    assert find_causes(sample_of(80, 1_000, Observed(field("region"), regions), callers=callers)).first == []
    alone = sample_of(80, 1_000, Observed(field("region"), regions), callers=[None] * 1_080)
    assert len(find_causes(alone).first) == 1


def test_children_of_a_caller_with_both_outcomes_are_compared() -> None:
    """Within a caller whose children do not all fail, the input tells the failing ones from the others."""
    regions = ["eu"] * 80 + ["us"] * 1_000
    callers = [f"inv_{n % 2}" for n in range(80)] + [f"inv_{n % 2 + n % 25}" for n in range(1_000)]
    assert len(find_causes(sample_of(80, 1_000, Observed(field("region"), regions), callers=callers)).first) == 1


def test_the_smallest_difference_that_would_be_found_needs_more_rows_to_be_small() -> None:
    assert smallest_gap(2_000, 2_000, 1_000) < smallest_gap(200, 2_000, 1_000) < smallest_gap(30, 2_000, 1_000)  # type: ignore[operator]
    assert smallest_gap(3, 10, 1_000) is None


def test_a_sample_without_attributes_has_no_cause() -> None:
    decision = decide(sample_of(9, 9), payloads=False)
    assert (decision.claims, decision.attributes, decision.tests) == ((), (), 0)


def test_an_attribute_that_was_not_read_is_named_as_such() -> None:
    unread, constant = Observed(field("x"), [UNKNOWN] * 18), Observed(column("zone"), ["a"] * 18)
    decision = decide(sample_of(9, 9, unread, constant), payloads=True)
    assert {each.path: (each.verdict, each.unknown) for each in decision.attributes} == {
        "x": ("not read", 18),
        "zone": ("nothing to compare", 0),
    }
