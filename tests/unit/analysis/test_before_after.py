"""Before and after a deployment: no change is reported without one, planted changes are found, and few data are few."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.before_after import compare_rows, compare_series
from restate_lab.analysis.before_after.reader import DAY, BlockSeries
from restate_lab.analysis.before_after.statistics import adjust, compare_quantiles, compare_rates, quantile_of_block
from restate_lab.errors import ArgumentError
from restate_lab.source import CoverageGap
from support.history_rows import AT, DEPLOYMENT, OLD_DEPLOYMENT, Weeks, WeekTables

ARCHIVES = 200
NOTHING_OPEN = (np.empty(0), np.empty(0))


def archive(
    seed: int, *, days: int = 14, per_day: int = 40, slower: float = 1.0, failing: float = 1.0, drift: float = 0.15
) -> list[BlockSeries]:
    """Return the series of two handlers with three steps and three errors; each day has its own level."""
    rng = np.random.default_rng(seed)
    is_after = np.arange(2 * days) >= days
    series = []
    for handler in ("first", "second"):
        level = rng.normal(0, drift, 2 * days)
        counts = rng.poisson(per_day * np.exp(rng.normal(0, drift, 2 * days))) + 1
        is_planted = handler == "first"
        for step in range(3):
            typical = np.log(100) + level + np.log(slower) * (is_after & (step == 0) & is_planted)
            values = [np.round(rng.normal(mean, 0.5, n), 2) for mean, n in zip(typical, counts, strict=True)]
            medians = np.array([quantile_of_block((each, np.ones(len(each))), NOTHING_OPEN, 0.5) for each in values])
            series.append(BlockSeries("S", handler, "step", f"{step}", medians, counts * 1.0, days, DAY))
        for error in range(3):
            rate = 0.02 * np.exp(level) * np.where(is_after & (error == 0) & is_planted, failing, 1)
            failures = rng.binomial(counts, rate).astype(float)
            series.append(BlockSeries("S", handler, "failures", f"{error}", failures, counts * 1.0, days, DAY))
    return series


def changed(series: list[BlockSeries]) -> set[tuple[str, str, str]]:
    rows = [row for row in compare_rows(series) if row["verdict"] == "changed"]
    return {(row["handler"], row["measure"], row["name"]) for row in rows}


def test_no_change_is_reported_where_there_is_none() -> None:
    """In 200 archives whose days drift by 15 % and in which nothing changed, at most 5 % report any change."""
    assert sum(bool(changed(archive(seed, days=7))) for seed in range(ARCHIVES)) <= ARCHIVES * 0.05


def test_with_single_invocations_as_the_unit_the_drift_is_reported() -> None:
    def is_wrong(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        days = [rng.normal(rng.normal(0, 0.15), 0.5, 300) for _ in range(14)]
        sides = np.concatenate(days[:7]), np.concatenate(days[7:])
        error = np.sqrt(sum(side.var() / len(side) for side in sides))
        return abs(sides[0].mean() - sides[1].mean()) > 1.96 * error

    assert sum(map(is_wrong, range(100))) > 40


def test_a_slower_step_and_a_more_frequent_failure_are_found_and_hardly_any_other() -> None:
    planted = {("first", "step", "0"), ("first", "failures", "0")}
    results = [changed(archive(seed, per_day=150, slower=1.5, failing=3)) for seed in range(20)]
    assert sum(planted <= each for each in results) >= 18
    assert sum(bool(each - planted) for each in results) <= 4


def test_the_interval_contains_the_true_ratio_in_95_percent_of_the_archives() -> None:
    for days in (4, 7):
        hits = 0
        for seed in range(200):
            rng = np.random.default_rng(seed)
            before, after = rng.normal(5, 0.2, days), rng.normal(5.3, 0.2, days)
            effect = compare_quantiles(before, after)
            hits += effect.low <= 0.3 <= effect.high
        assert 182 <= hits <= 198


def test_p_values_and_intervals_are_those_of_students_t() -> None:
    side = np.array([-1.0, 0.5, 0.0, 1.0, -0.5, 0.25, -0.25]) * 100
    effect = compare_quantiles(side + 1_000, side + 1_000)
    error = side.std(ddof=1) * np.sqrt(2 / 7)
    assert effect.high == pytest.approx(2.178813 * error, rel=1e-3)
    assert effect.p == pytest.approx(1)
    shifted = compare_quantiles(side + 1_000, side + 1_000 + 2.178813 * error)
    assert shifted.p == pytest.approx(0.05, abs=1e-3)
    one_day = compare_quantiles(side + 1_000, np.array([1_000.0]))  # the variance is that of the other side
    assert one_day.high == pytest.approx(2.446912 * side.std(ddof=1) * np.sqrt(1 + 1 / 7), rel=1e-3)


def test_rates_with_few_events_have_the_variance_of_independent_invocations() -> None:
    counts = np.full(7, 100.0)
    none, one = np.zeros(7), np.array([0, 1.0, 0, 1, 0, 1, 0])
    assert compare_rates((none, counts), (one, counts)).p > 0.05
    many = np.full(7, 10.0)
    effect = compare_rates((none, counts), (many, counts))
    assert effect.p < 0.001
    assert effect.change == pytest.approx(0.1)


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    np.testing.assert_allclose(adjust([0.01, 0.04, 0.03, 0.005]), [0.02, 0.04, 0.04, 0.02])
    assert len(adjust([])) == 0


def test_a_quantile_is_unknown_if_it_depends_on_open_invocations() -> None:
    ended = (np.log(np.array([10.0, 20, 30])), np.ones(3))
    old, new = (np.log(np.array([1e6])), np.ones(1)), (np.log(np.array([5.0])), np.ones(1))
    assert quantile_of_block(ended, old, 0.4) == pytest.approx(np.log(20))
    assert np.isnan(quantile_of_block(ended, new, 0.4))
    assert quantile_of_block(ended, NOTHING_OPEN, 0.5) == pytest.approx(np.log(20))


def test_both_changes_are_found_through_sql_by_deployment_and_by_time() -> None:
    weeks = Weeks(0, days=9, per_day=120, slower=1.5, failing=3, drift=0.05)
    source = weeks.source()
    result = rl.before_after(source, DEPLOYMENT, window="9d")
    rows = result.changed.set_index("name")
    step, failure = rows.loc["charge card"], rows.loc["[409] out of stock: item #"]
    assert step["change"] == pytest.approx(1.5, rel=0.15)
    assert step["before"] == pytest.approx(200, rel=0.15)
    assert failure["low"] < 100 * 0.04 < failure["high"]
    assert "write order #" not in rows.index
    assert set(rows["block"]) == {"day"}
    assert (rows["n_before"], rows["n_after"])[0].max() <= 9 * 120
    assert re.search(r"step “charge card” +\S+ +\S+ +× ", str(result))
    assert f"{result.tests} tests, Benjamini-Hochberg at 5 %" in str(result)
    by_time = rl.before_after(source, AT, window="9d", service="Shop")
    pd.testing.assert_frame_equal(by_time.comparisons, result.comparisons, check_flags=False)
    assert "charge card" in result._repr_html_()


@pytest.mark.parametrize("seed", range(3))
def test_weeks_with_drift_and_without_a_change_have_no_change(seed: int) -> None:
    result = rl.before_after(Weeks(seed, per_day=60).source(), DEPLOYMENT)
    assert result.summary == "no change found"
    assert result.tests > 3


def test_the_values_of_blocks_are_the_medians_of_pandas() -> None:
    weeks = Weeks(5, per_day=51)
    row = rl.before_after(weeks.source(), DEPLOYMENT).comparisons.query("name == 'p50'").iloc[0]
    rows = pd.DataFrame(weeks.tables["sys_invocation_status"])
    rows["ms"] = (rows["completed_at"].dt.floor("ms") - rows["created_at"].dt.floor("ms")) / pd.Timedelta("1ms")
    day = (rows["created_at"] - AT) // pd.Timedelta("1D")
    medians = np.log(rows.groupby(day)["ms"].median())
    assert row["before"] == pytest.approx(np.exp(medians[medians.index < 0].mean()), rel=0.01)
    assert row["after"] == pytest.approx(np.exp(medians[medians.index >= 0].mean()), rel=0.01)
    failed = rows["completion_result"] == "failure"
    rate = rl.before_after(weeks.source(), DEPLOYMENT).comparisons.query("measure == 'failures'").iloc[0]
    if not np.isnan(rate["before"]):
        assert rate["before"] == pytest.approx(100 * failed[day < 0].mean())


def test_few_invocations_or_days_are_not_tested_and_the_text_has_the_reason() -> None:
    few = rl.before_after(Weeks(3, per_day=5, slower=3).source(), DEPLOYMENT)
    assert (few.summary, few.tests) == ("too few to compare", 0)
    assert "too few: Shop/checkout p50 (35 before, 35 after; 50 needed)" in str(few)
    assert set(few.comparisons["verdict"]) == {"too few"}
    now = AT + timedelta(hours=2, minutes=30)
    early = rl.before_after(Weeks(3, per_day=120, slower=3).source(now=now), DEPLOYMENT)
    assert early.tests == 0
    assert early.comparisons["reason"].str.contains("50 needed").any()
    assert "p95 (the same 2h of 0 days with enough invocations before, 0 after; 6 needed in all)" in str(early)
    assert few.comparisons["p"].isna().all()


def test_hours_are_compared_with_the_same_hours_of_earlier_days() -> None:
    now = AT + timedelta(hours=12, minutes=5)
    result = rl.before_after(Weeks(4, days=6, per_day=240, slower=3, drift=0).source(now=now), DEPLOYMENT)
    assert set(result.comparisons["block"]) == {"12h of a day"}
    assert set(zip(result.changed["blocks_before"], result.changed["blocks_after"], strict=True)) == {(6, 1)}
    assert "charge card" in set(result.changed["name"])
    assert "12h after, with the same hours of the 6 days before, by start; " in str(result)


def test_too_few_earlier_days_are_a_reason_and_no_whole_hour_is_a_note() -> None:
    source = Weeks(4, days=2, per_day=240, slower=3).source(now=AT + timedelta(hours=12, minutes=5))
    few = rl.before_after(source, DEPLOYMENT)
    assert few.summary == "too few to compare"
    assert "the same 12h of 2 days with enough invocations before, 1 after; 6 needed in all" in str(few)
    note = "1 handler without a whole hour after the change and the same hour of an earlier day"
    assert note in str(rl.before_after(source, DEPLOYMENT, window="20h"))
    assert note in str(rl.before_after(source, AT + timedelta(hours=12)))
    hours = rl.before_after(source, DEPLOYMENT, block="1h")
    assert hours.tests > 0
    assert "in blocks of an hour at any time of day" in str(hours)


def test_an_hour_in_a_gap_is_compared_on_no_day() -> None:
    weeks = Weeks(2, days=7, per_day=240)
    source = weeks.source(now=AT + timedelta(hours=6, minutes=5), visits=[{"started_at": AT - timedelta(days=20)}])
    source.gaps = tuple(
        CoverageGap(service="Shop", handler="checkout", since=AT + since, until=AT + until, reason="no visit")
        for since, until in [(timedelta(hours=2, minutes=9), timedelta(hours=2, minutes=50)), (-DAY, -DAY * 0.9)]
    )
    result = rl.before_after(source, DEPLOYMENT)
    row = result.comparisons.query("name == 'p50'").iloc[0]
    starts = [row["created_at"] - AT for row in weeks.tables["sys_invocation_status"]]
    hours = [start // timedelta(hours=1) for start in starts]
    assert row["block"] == "5h of a day"
    assert (row["blocks_before"], row["blocks_after"]) == (6, 1)
    assert row["n_before"] == sum(hour % 24 in {0, 1, 3, 4, 5} and -168 <= hour < -24 for hour in hours)
    assert row["n_after"] == sum(hour in {0, 1, 3, 4, 5} for hour in hours)
    assert "4 of 48 hours of Shop/checkout, because the archive may lack invocations" in str(result)


def test_a_handler_that_always_fails_has_not_changed() -> None:
    counts = np.full(7, 100.0)
    effect = compare_rates((counts, counts), (counts, counts))
    assert (effect.p, effect.change, effect.ratio) == (1.0, 0.0, 1.0)
    assert effect.low < 0 < effect.high


def test_a_certain_change_below_the_least_ratio_is_not_reported() -> None:
    days = np.random.default_rng(1).normal(5, 0.02, 14)
    days[7:] += np.log(1.2)
    fail = np.where(np.arange(14) < 7, 0.0, 500.0) + 5_000
    counts = np.full(14, 10_000.0)
    series = [
        BlockSeries("S", "h", "step", "a", days, counts, 7, DAY),
        BlockSeries("S", "h", "step", "b", days + np.log(1.4) * (np.arange(14) >= 7), counts, 7, DAY),
        BlockSeries("S", "h", "failures", "", fail, counts, 7, DAY),
    ]
    frame = compare_series(series).set_index("name")
    assert (frame["adjusted_p"] < 0.01).all()
    assert frame["verdict"].to_dict() == {"a": "no clear change", "b": "changed", "": "no clear change"}
    assert frame["reason"].to_dict() == {"a": "less than × 1.32", "b": "", "": "less than × 1.32"}
    several = compare_series([replace(each, handler=str(number)) for number, each in enumerate(series)])
    assert several["least"].min() > frame["least"].max()


def test_a_share_changes_if_its_rest_does() -> None:
    counts = np.full(7, 1_000.0)
    assert compare_rates((counts * 0.6, counts), (counts * 0.8, counts)).ratio == pytest.approx(2)
    assert compare_rates((counts * 0.01, counts), (counts * 0.05, counts)).ratio == pytest.approx(5)


def test_the_interval_of_a_share_contains_the_true_difference_also_if_days_differ() -> None:
    rng = np.random.default_rng(3)
    for spread, after in ((0.0, 7), (0.0, 1), (0.3, 7)):
        hits = 0
        for _ in range(200):
            rates = np.repeat([0.02, 0.06], [7, after]) * np.exp(rng.normal(0, spread, 7 + after))
            counts = np.full(7 + after, 400.0)
            events = rng.binomial(400, rates).astype(float)
            effect = compare_rates((events[:7], counts[:7]), (events[7:], counts[7:]))
            hits += effect.low <= 0.04 * np.exp(spread**2 / 2) <= effect.high
        assert hits >= 182


def test_only_invocations_within_their_retention_are_compared() -> None:
    weeks = Weeks(6, per_day=60, retention=timedelta(days=10))
    row = rl.before_after(weeks.source(), DEPLOYMENT).comparisons.query("name == 'p50'").iloc[0]
    assert (row["blocks_before"], row["blocks_after"]) == (2, 7)


def test_an_archive_excludes_blocks_that_may_miss_long_invocations() -> None:
    weeks = Weeks(7, per_day=60)
    source = weeks.source(now=AT + timedelta(days=7, milliseconds=50), visits=[{"started_at": AT - timedelta(days=20)}])
    result = rl.before_after(source, DEPLOYMENT)
    row = result.comparisons.query("name == 'p50'").iloc[0]
    assert (row["blocks_before"], row["blocks_after"]) == (7, 6)
    assert "1 day too recent to have all long invocations not compared" in str(result)
    assert "invocations that have not ended are not in an archive" in str(result)


def test_blocks_in_which_an_archive_may_have_lost_invocations_are_excluded_and_counted() -> None:
    day, visits = timedelta(days=1), [{"started_at": AT - timedelta(days=20)}]
    weeks = Weeks(7, per_day=60)
    source = weeks.source(visits=visits)
    whole = rl.before_after(source, DEPLOYMENT).comparisons.query("name == 'p50'").iloc[0]
    assert (whole["blocks_before"], whole["blocks_after"]) == (7, 7)
    # A day before the change, and 50 ms of the next: longer invocations of the day before can have ended in them.
    gaps = [(-3 * day, -2 * day), (2 * day, 2 * day + timedelta(milliseconds=50))]
    source.gaps = tuple(
        CoverageGap(service="Shop", handler=handler, since=AT + since, until=AT + until, reason="no visit")
        for handler, since, until in [("checkout", *gaps[0]), ("checkout", *gaps[1]), ("other", -7 * day, 7 * day)]
    )
    result = rl.before_after(source, DEPLOYMENT)
    for row in result.comparisons.query("measure in ('latency', 'step', 'retries')").itertuples():
        assert (row.blocks_before, row.blocks_after) == (5, 5), row.name
    text = "4 of 14 days of Shop/checkout, because the archive may lack invocations of that time"
    assert text in str(result)
    assert text in result._repr_html_()


def test_an_archive_with_a_gap_reports_the_same_as_one_without() -> None:
    first, last = AT + timedelta(days=1), AT + timedelta(days=5)
    gap = CoverageGap(service="Shop", handler="checkout", since=first, until=last, reason="no visit")
    weeks = Weeks(3, per_day=60, rate=0.2)
    visits = [{"started_at": AT - timedelta(days=20)}]
    whole = weeks.source(visits=visits)
    rows = [
        row
        for row in weeks.tables["sys_invocation_status"]
        if row["completion_result"] == "failure" or not first <= row["completed_at"] < last
    ]
    lossy = WeekTables(whole.now, **{**weeks.tables, "sys_invocation_status": rows, "visits": visits})
    before, after = (rl.before_after(each, AT).comparisons for each in (whole, lossy))
    assert not before.equals(after)
    whole.gaps = lossy.gaps = (gap,)
    before, after = (rl.before_after(each, AT).comparisons for each in (whole, lossy))
    assert before["p"].notna().sum() >= 3
    pd.testing.assert_frame_equal(after, before, check_flags=False)


def test_unknown_deployments_and_services_future_times_and_an_empty_window_are_refused() -> None:
    source = Weeks(8, days=2, per_day=20).source()
    with pytest.raises(ArgumentError, match="deployment 'dp_nope' is not in sys_deployment of weeks"):
        rl.before_after(source, "dp_nope")
    with pytest.raises(ArgumentError, match="nothing is after"):
        rl.before_after(source, source.now + timedelta(hours=1))
    with pytest.raises(ArgumentError, match="window is 0"):
        rl.before_after(source, DEPLOYMENT, window=0)


def test_the_time_after_ends_at_the_next_deployment_of_the_same_services() -> None:
    source = Weeks(9, per_day=20).source()
    result = rl.before_after(source, OLD_DEPLOYMENT, window="61d")
    assert result.end == AT
    assert DEPLOYMENT in result.reasons[0]
