"""How often before and after differ in weeks without a change, and how often a real change is found.

The daily tests compare few weeks of each kind; the long ones compare 1,000, which takes some minutes in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.before_after import compare_rows, compare_series
from restate_lab.analysis.before_after.reader import DAY, BlockGrid, BlockSeries, Period, grid_of
from restate_lab.source import CoverageGap
from support.history_rows import AT, DEPLOYMENT, WeekTables

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
_RETENTION = timedelta(days=30)
_MILLISECOND = timedelta(milliseconds=1)
_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000
_STEPS = {"charge card": 0.6, "write order": 0.3}  # share of the handler's duration
_ERROR = "[409] out of stock: item #"
_LEAST_IN_BLOCK = {0.5: 5, 0.95: 20}


@dataclass(frozen=True)
class SimulatedWeeks:
    """An archive of one or more handlers, from ``before`` days before a deployment to ``after`` days after it.

    Durations are log-normal around 300 ms, and ``tail`` is the standard deviation of their logarithm. After the
    deployment, ``slower`` multiplies the durations, ``failing`` the share of failures, and ``busier`` the number of
    invocations. ``curve`` is the amplitude of a daily curve of durations, failures and numbers, and ``phase`` (0 to 1)
    its phase at the deployment. ``spread`` is the standard deviation of the logarithm of a day's durations and
    failures, and ``alike`` the correlation of a day with the next one. ``bursts`` is the share of days with an hour in
    which half of the invocations fail. ``weekend`` multiplies the durations of two days in seven; ``weekday`` is the
    number of the first day after the deployment, and the weekend begins with 0. ``gap`` is a time without visits, in
    hours since the deployment.
    """

    after: timedelta = 7 * DAY
    before: int = 7
    per_day: int = 150
    handlers: int = 1
    spread: float = 0.0
    alike: float = 0.0
    curve: float = 0.0
    phase: float = 0.0
    tail: float = 0.5
    failures: float = 0.01
    bursts: float = 0.0
    weekend: float = 1.0
    weekday: int = 2
    slower: float = 1.0
    failing: float = 1.0
    busier: float = 1.0
    has_steps: bool = True
    gap: tuple[int, int] | None = None

    @property
    def period(self) -> Period:
        now = AT + self.after + timedelta(minutes=10)
        return Period(AT, AT - 7 * DAY, min(now, AT + 7 * DAY), now)

    def series(self, seed: int) -> list[BlockSeries]:
        """Return what the reader makes of the tables, without SQL."""
        rng, grid = np.random.default_rng(seed), grid_of(self.period, None)
        return [
            each
            for number in range(self.handlers)
            for each in self._series(f"handler {number}", *self._invocations(rng), grid)
        ]

    def source(self, seed: int) -> WeekTables:
        rng = np.random.default_rng(seed)
        tables: dict[str, list[dict[str, Any]]] = {"sys_invocation_status": [], "sys_journal": []}
        for number in range(self.handlers):
            for row in zip(*(each.tolist() for each in self._invocations(rng)), strict=True):
                _add(tables, f"handler {number}", *row, has_steps=self.has_steps)
        deployment = {"id": DEPLOYMENT, "endpoint": "x", "created_at": AT, "services": ["Shop"]}
        visits = [{"started_at": AT - 60 * DAY}]
        source = WeekTables(self.period.now, **tables, sys_deployment=[deployment], visits=visits)
        if self.gap:
            since, until = (AT + timedelta(hours=each) for each in self.gap)
            source.gaps = tuple(
                CoverageGap(service="Shop", handler=f"handler {number}", since=since, until=until, reason="no visit")
                for number in range(self.handlers)
            )
        return source

    def _invocations(self, rng: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
        hours = np.arange(-24 * self.before, int(np.ceil((self.after + timedelta(minutes=10)) / timedelta(hours=1))))
        days, is_after = hours // 24 + self.before, hours >= 0
        wave = 1 + self.curve * np.sin(2 * np.pi * (hours / 24 + self.phase))
        level = self._levels(rng, int(days[-1]) + 1)[days]
        weekend = np.where((hours // 24 + self.weekday) % 7 < 2, self.weekend, 1)
        typical = np.log(300 * wave * weekend * np.where(is_after, self.slower, 1)) + level
        rate = self.failures * wave * np.exp(level) * np.where(is_after, self.failing, 1)
        bursts = np.where(rng.uniform(size=days[-1] + 1) < self.bursts, rng.integers(0, 24, days[-1] + 1), -1)
        rate = np.where(hours % 24 == bursts[days], 0.5, np.minimum(rate, 0.95))
        counts = rng.poisson(self.per_day / 24 * wave * np.where(is_after, self.busier, 1))
        hour = np.repeat(np.arange(len(hours)), counts)
        start = np.floor((hours[hour] + rng.uniform(size=len(hour))) * _HOUR_MS).astype(np.int64)
        ms = np.exp(typical[hour] + rng.normal(0, self.tail, len(hour))).round()
        failed = rng.uniform(size=len(hour)) < rate[hour]
        is_there = start + ms < (self.after + timedelta(minutes=10)) / _MILLISECOND
        if self.gap:
            end = (start + ms) / _HOUR_MS
            is_there &= (end < self.gap[0]) | (end >= self.gap[1])
        return start[is_there], ms[is_there], failed[is_there]

    def _levels(self, rng: np.random.Generator, days: int) -> Numbers:
        levels = rng.normal(0, self.spread, days)
        levels[1:] *= np.sqrt(1 - self.alike**2)
        for day in range(1, days):
            levels[day] += self.alike * levels[day - 1]
        return levels

    def _series(
        self, handler: str, start: Numbers, ms: Numbers, failed: Numbers, grid: BlockGrid
    ) -> Iterator[BlockSeries]:
        """Yield the series of a handler, of the blocks and hours that no gap can have cut."""
        unit_ms = grid.unit // _MILLISECOND
        lost = self._lost_units(ms, grid).reshape(-1, grid.units)
        is_compared = np.arange(grid.units) < grid.part // grid.unit
        if grid.hours is not None:
            is_compared &= ~lost[grid.split]
        complete = ~(lost & is_compared).any(axis=1)
        unit = start // unit_ms + grid.split * grid.units
        is_read = (unit >= 0) & (unit < grid.count * grid.units) & is_compared[unit % grid.units]
        block, ms, failed = unit[is_read] // grid.units, ms[is_read], failed[is_read]
        counts = np.bincount(block, minlength=grid.count).astype(float)
        common = (grid.split, grid.block, None if is_compared.all() else int(is_compared.sum()))

        def latency(what: str, name: str, durations: Numbers, share: float) -> BlockSeries:
            is_known = complete & (counts >= _LEAST_IN_BLOCK[share])
            values = np.where(is_known, _quantiles(block, durations, counts, share), np.nan)
            return BlockSeries("Shop", handler, what, name, values, np.where(is_known, counts, np.nan), *common)

        def rate(what: str, name: str, events: Numbers) -> BlockSeries:
            known = np.where(complete & (counts > 0), counts, np.nan)
            numbers = np.bincount(block[events], minlength=grid.count).astype(float)
            return BlockSeries("Shop", handler, what, name, np.where(known > 0, numbers, np.nan), known, *common)

        yield latency("latency", "p50", ms, 0.5)
        yield latency("latency", "p95", ms, 0.95)
        yield rate("failures", _ERROR if failed.any() else "", failed)
        yield rate("retries", "", np.zeros(len(block), dtype=bool))
        for name, share in _STEPS.items() if self.has_steps else ():
            yield latency("step", name, np.round(ms * share), 0.5)

    def _lost_units(self, ms: Numbers, grid: BlockGrid) -> Numbers:
        if self.gap is None:
            return np.zeros(grid.count * grid.units, dtype=bool)
        start, unit = grid.split * grid.block, grid.unit
        since, until = (timedelta(hours=each) + start for each in self.gap)
        long = timedelta(milliseconds=float(np.exp(np.quantile(_bins(ms), 0.99) / 100)))
        numbers = np.arange(grid.count * grid.units)
        return (numbers >= (since - long) // unit) & (numbers < until / unit)


def _bins(ms: Numbers) -> Numbers:
    return np.round(100 * np.log(np.maximum(ms, 1)))


def _quantiles(block: Numbers, ms: Numbers, counts: Numbers, share: float) -> Numbers:
    bins = _bins(ms)
    ordered = bins[np.lexsort((bins, block))] / 100
    first = np.cumsum(counts) - counts
    ranks = [np.maximum(np.ceil(share * counts) - 1, 0), np.minimum(np.floor(share * counts), counts - 1)]
    low, high = (ordered[np.minimum(first + rank, len(ordered) - 1).astype(int)] for rank in ranks)
    return (low + high) / 2


def _add(
    tables: Mapping[str, list[dict[str, Any]]], handler: str, begin: int, ms: float, failed: bool, *, has_steps: bool
) -> None:
    number, start = len(tables["sys_invocation_status"]), AT + begin * _MILLISECOND
    row = {
        "id": f"inv_1{number:033}",
        "status": "completed",
        "target_service_name": "Shop",
        "target_handler_name": handler,
        "target": f"Shop/{handler}",
        "completion_result": "failure" if failed else "success",
        "completion_failure": f"[409] out of stock: item {number}" if failed else None,
        "created_at": start,
        "completed_at": start + ms * _MILLISECOND,
        "completion_retention": _RETENTION,
        "journal_retention": _RETENTION,
    }
    tables["sys_invocation_status"].append(row)
    for step, (name, share) in enumerate(_STEPS.items() if has_steps else (), 1):
        command = f'{{"Command": {{"Run": {{"completion_id": {step}}}}}}}'
        result = f'{{"Notification": {{"ty": {{"Completion": "Run"}}, "id": {{"CompletionId": {step}}}}}}}'
        entry = {"id": row["id"], "index": step, "raw_length": 10, "name": name, "appended_at": start}
        end = start + float(np.round(ms * share)) * _MILLISECOND
        tables["sys_journal"] += [
            {**entry, "entry_type": "Command: Run", "entry_lite_json": command},
            {**entry, "entry_type": "Notification: Run", "appended_at": end, "entry_lite_json": result},
        ]


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
        hits += any(what in {"", row["measure"], row["name"]} for row in rows)
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


def test_daily_curves_and_autocorrelated_days_are_rarely_reported_as_a_change() -> None:
    kinds = ("5 hours after, phase 0 of a daily curve", "5 hours after, phase 0.5 of a daily curve")
    assert sum(share_changed(QUIET[kind], 50) for kind in kinds) == 0
    kinds = ("days with autocorrelation 0.6, 7 after", "days with autocorrelation 0.85, 7 after")
    assert max(share_changed(QUIET[kind], 100) for kind in kinds) <= MOST_FALSE + 0.02
    assert share_changed(QUIET["autocorrelated days of 5 handlers"], 50) <= MOST_FALSE + 0.02


@pytest.mark.parametrize(
    "kind", ["p50 × 1.5, 5 days after", "p50 × 2, 5 hours after", "failures 1 to 5 %, 5 days after"]
)
def test_most_changes_of_medians_and_failures_are_found(kind: str) -> None:
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
def test_simulated_weeks_have_the_comparisons_of_the_same_rows_in_tables(weeks: SimulatedWeeks) -> None:
    read = rl.before_after(weeks.source(1), DEPLOYMENT).comparisons
    assert read["p"].notna().any()
    pd.testing.assert_frame_equal(compare_series(weeks.series(1)), read, check_flags=False)
