"""How often before and after differ in weeks without a change, and how often a real change is found.

The daily tests compare few weeks of each kind; the long ones compare 1,000, which takes some minutes in all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.before_after import compare_rows, compare_series
from support.history_rows import DEPLOYMENT
from support.simulated_weeks import SimulatedWeeks

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MANY = 1_000
MOST_FALSE, LEAST_FOUND = 0.08, 0.9
SOON = SimulatedWeeks(per_day=600, curve=0.25)
QUIET = {
    "independent days": SimulatedWeeks(),
    "days that differ by 15 %": SimulatedWeeks(spread=0.15),
    "20 invocations a day": SimulatedWeeks(spread=0.15, per_day=20),
    "bursts of failures": SimulatedWeeks(bursts=0.1),
    "bursts of failures on many days": SimulatedWeeks(bursts=0.3, per_day=600),
    "faster weekends": SimulatedWeeks(weekend=0.8),
    "a deployment before a faster weekend": SimulatedWeeks(weekend=0.8, weekday=0, after=2 * DAY),
    **{
        f"days with autocorrelation {alike}, {days} after": SimulatedWeeks(spread=0.15, alike=alike, after=days * DAY)
        for alike in (0.6, 0.85)
        for days in (1, 2, 5, 7)
    },
    "autocorrelated days with many invocations": SimulatedWeeks(spread=0.15, alike=0.85, per_day=1_000),
    "autocorrelated days and heavy tails": SimulatedWeeks(spread=0.15, alike=0.6, tail=1.5),
    "autocorrelated days of 5 handlers": SimulatedWeeks(spread=0.15, alike=0.85, handlers=5, has_steps=False),
    "autocorrelated days and a gap": SimulatedWeeks(spread=0.15, alike=0.85, gap=(-96, -72)),
    **{
        f"{hours} hours after, phase {phase} of a daily curve": replace(SOON, after=hours * HOUR, phase=phase)
        for hours in (5, 12)
        for phase in (0, 0.25, 0.5, 0.75)
    },
    "30 hours after, with a daily curve": replace(SOON, after=30 * HOUR),
    "a daily curve and days that differ by 15 %": replace(SOON, after=5 * HOUR, spread=0.15),
    "a daily curve and autocorrelated days": replace(SOON, after=5 * HOUR, spread=0.15, alike=0.85),
    "a daily curve, and 5 earlier days": replace(SOON, after=12 * HOUR, before=5, spread=0.15, alike=0.85),
    "a daily curve, and a gap after the change": replace(SOON, after=12 * HOUR, gap=(3, 5)),
    "a daily curve and heavy tails": replace(SOON, after=5 * HOUR, tail=2.0),
    "a daily curve, and twice as many invocations": replace(SOON, after=5 * HOUR, busier=2.0),
    "a daily curve of 5 handlers": replace(SOON, after=5 * HOUR, handlers=5),
}
CHANGED = {
    "p50 × 1.5, days that differ by 15 %": ("p50", SimulatedWeeks(slower=1.5, spread=0.15)),
    "p50 / 1.5, days that differ by 15 %": ("p50", SimulatedWeeks(slower=1 / 1.5, spread=0.15)),
    "p50 × 1.5, 5 days after": ("p50", SimulatedWeeks(slower=1.5, spread=0.15, after=5 * DAY)),
    "p50 × 2, 5 days after": ("p50", SimulatedWeeks(slower=2, after=5 * DAY)),
    "p50 × 2, a day after": ("p50", SimulatedWeeks(slower=2, after=DAY)),
    "p50 × 2, 5 hours after": ("p50", SimulatedWeeks(slower=2, after=5 * HOUR, per_day=600)),
    "p50 × 2, 5 hours after, with a daily curve": ("p50", replace(SOON, slower=2, after=5 * HOUR)),
    "p50 × 2, 20 invocations a day": ("p50", SimulatedWeeks(slower=2, after=5 * DAY, per_day=20)),
    "failures 1 to 5 %, 5 days after": ("failures", SimulatedWeeks(failing=5, after=5 * DAY)),
    "failures 1 to 5 %, a day after": ("failures", SimulatedWeeks(failing=5, after=DAY, per_day=600)),
    "failures 1 to 5 %, 12 hours after": ("failures", replace(SOON, failing=5, after=12 * HOUR)),
}


def share_changed(weeks: SimulatedWeeks, number: int, what: str = "") -> float:
    """Return in how many of ``number`` archives any comparison changed, or one of this name or kind."""
    hits = 0
    for seed in range(number):
        rows = [row for row in compare_rows(weeks.series(seed)) if row["verdict"] == "changed"]
        hits += any(what in {"", row["what"], row["name"]} for row in rows)
    return hits / number


@pytest.mark.parametrize("kind", QUIET)
@pytest.mark.long
def test_at_most_8_percent_of_many_weeks_without_a_change_report_one(kind: str) -> None:
    assert share_changed(QUIET[kind], MANY) <= MOST_FALSE


@pytest.mark.parametrize("kind", CHANGED)
@pytest.mark.long
def test_at_least_90_percent_of_many_real_changes_are_found(kind: str) -> None:
    what, weeks = CHANGED[kind]
    assert share_changed(weeks, MANY, what) >= LEAST_FOUND


def test_few_weeks_without_a_change_report_one() -> None:
    """A daily curve and autocorrelated days are not reported as a change, also if several handlers are compared."""
    kinds = ("5 hours after, phase 0 of a daily curve", "5 hours after, phase 0.5 of a daily curve")
    assert sum(share_changed(QUIET[kind], 50) for kind in kinds) == 0
    kinds = ("days with autocorrelation 0.6, 7 after", "days with autocorrelation 0.85, 7 after")
    assert max(share_changed(QUIET[kind], 100) for kind in kinds) <= MOST_FALSE + 0.02
    assert share_changed(QUIET["autocorrelated days of 5 handlers"], 50) <= MOST_FALSE + 0.02


@pytest.mark.parametrize(
    "kind", ["p50 × 1.5, 5 days after", "p50 × 2, 5 hours after", "failures 1 to 5 %, 5 days after"]
)
def test_most_real_changes_are_found(kind: str) -> None:
    """A change of the median, also some hours after it, and more failures are found."""
    what, weeks = CHANGED[kind]
    assert share_changed(weeks, 40, what) >= LEAST_FOUND


@pytest.mark.parametrize(
    "weeks",
    [
        SimulatedWeeks(per_day=40, after=3 * DAY, handlers=2, failures=0.1, slower=2),
        SimulatedWeeks(per_day=200, after=12 * HOUR, curve=0.25, gap=(3, 5), has_steps=False),
        SimulatedWeeks(per_day=60, after=25 * HOUR, gap=(-72, -60), failures=0, has_steps=False),
    ],
)
def test_simulated_weeks_are_those_of_the_tables(weeks: SimulatedWeeks) -> None:
    """The same invocations, written to tables and read with SQL, have the same comparisons."""
    read = rl.before_after(weeks.source(1), DEPLOYMENT).comparisons
    assert read["p"].notna().any()
    pd.testing.assert_frame_equal(compare_series(weeks.series(1)), read, check_flags=False)
