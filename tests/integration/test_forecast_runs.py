"""Twenty-one backlogs on a real server: the interval of the forecast, and when nothing waited any more.

All run at the same time, because a forecast needs ten minutes of a backlog. ``pytest -m long -s`` prints the table.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.forecast.result import describe
from restate_lab.client.models import UpsertRule
from support.bench import Bench, running_bench, wait_for
from support.clusters import NEEDS_FLAG, NEWEST

SERVICES = Path(__file__).parents[1] / "support" / "forecast_services.py"
MINUTE = 60.0
OBSERVED, FOLLOWED = 13.0, 23.0
"""Minutes before the forecast, and after it."""
WAITING = """
SELECT s.target_service_name AS service, s.target_service_key AS key, s.scope, count(*) AS n
FROM sys_invocation_status s LEFT JOIN sys_invocation_state r ON r.id = s.id
WHERE s.status = 'inboxed' OR (s.status = 'invoked' AND r.in_flight IS NOT TRUE AND coalesce(r.retry_count, 0) = 0)
GROUP BY 1, 2, 3"""
pytestmark = [pytest.mark.server, pytest.mark.long, NEEDS_FLAG, pytest.mark.timeout(3_600)]


@dataclass(frozen=True)
class Run:
    """One backlog: ``slots`` calls of ``seconds`` at a time, ``rate`` arrivals a minute, empty after about ``ends``.

    ``wave`` is the number of delayed or sleeping calls that come 2 to 4 minutes after the forecast.
    """

    kind: str
    slots: int
    seconds: float
    rate: float
    ends: float
    service: str = "Queue"
    bursts: bool = False
    raised_at: float = 0
    stops_at: float = 0
    wave: int = 0
    number: int = field(default_factory=itertools.count(1).__next__)

    @property
    def name(self) -> str:
        return f"run-{self.number}"

    @property
    def place(self) -> tuple[str, str | None, str | None]:
        """Return the service, the key and the scope."""
        return (self.service, self.name, None) if self.service == "Hot" else (self.service, None, self.name)

    @property
    def pile(self) -> int:
        drain = self.slots * MINUTE / self.seconds - self.rate
        slower = drain / 2 * self.raised_at if self.raised_at else 0
        return int(max(drain * (OBSERVED + self.ends) - slower, 60))

    def arrivals(self, chance: random.Random) -> Iterator[float]:
        """Yield the minutes at which calls arrive; bursts are two minutes out of five, at random times."""
        minute, is_on, until = 0.0, True, 0.0
        while minute < OBSERVED + FOLLOWED and self.rate:
            if self.bursts and minute >= until:
                is_on = not is_on
                until = minute + chance.expovariate(1 if is_on else 1 / 1.5)
            if self.bursts and not is_on:
                minute = until
                continue
            minute += chance.expovariate(self.rate * (2.5 if self.bursts else 1))
            yield minute


RUNS = (
    *(Run("draining", 3, 6, 12, ends) for ends in (4, 8, 13, 17)),
    *(Run("draining, no arrivals", 2, 8, 0, ends) for ends in (6, 12)),
    *(Run("busy", 4, 6, 30, ends) for ends in (5, 14)),
    *(Run("bursty", 4, 6, 20, ends, bursts=True) for ends in (6, 10, 15)),
    *(Run("hot key", 1, 3, rate, ends, service="Hot") for rate, ends in ((0, 5), (6, 9), (8, 14))),
    Run("hot key, growing", 1, 3, 26, 0, service="Hot"),
    *(Run("growing", 2, 6, rate, 0) for rate in (26, 32)),
    Run("stuck", 2, 6, 12, 10, stops_at=9),
    Run("limit raised", 4, 8, 10, 9, raised_at=4),
    Run("delayed calls", 3, 6, 12, 6, service="Delayed", wave=150),
    Run("sleeping calls", 3, 6, 12, 6, service="Sleeper", wave=150),
)


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a server of its own for calls that are not kept."""
    with running_bench(
        NEWEST, tmp_path_factory.mktemp("brief"), SERVICES, ready=("Queue", "work", {}), env={}
    ) as bench:
        yield bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a server with a limit for each run."""
    folder = tmp_path_factory.mktemp("runs")
    with running_bench(NEWEST, folder, SERVICES, ready=("Queue", "work", {}), env={}) as bench:
        limits = {run.name: run.slots // (2 if run.raised_at else 1) for run in RUNS if run.service != "Hot"}
        bench.admin.upsert_rules([UpsertRule(name, limits={"concurrency": most}) for name, most in limits.items()])
        yield bench


def send(bench: Bench, client: httpx.Client, run: Run, handler: str, body: dict[str, float], delay: float = 0) -> None:
    params = {"delay": f"{delay:.0f}s"} if delay else {}
    service, key, scope = run.place
    path = f"{service}/{handler}/send" if key is None else f"{service}/{key}/{handler}/send"
    if scope is not None:
        path = f"restate/scope/{scope}/send/{service}/{handler}"
    client.post(f"{bench.lab.settings.ingress_url}/{path}", json=body, params=params).raise_for_status()


def waiting(bench: Bench) -> dict[tuple[str, str | None, str | None], int]:
    rows = bench.lab.arrow(WAITING).to_pylist()
    return {(row["service"], row["key"], row["scope"]): row["n"] for row in rows}


def play(bench: Bench, client: httpx.Client) -> tuple[pd.DataFrame, dict[str, float]]:
    """Send the calls of all runs; return the forecast, and the minutes after it at which each backlog was empty."""
    chance = random.Random(45)  # noqa: S311 - the same runs each time
    send_sleepers(bench, client, chance)
    began = time.time()
    calls = [
        (minute, run.number, chance.uniform(0.5, 1.5) * run.seconds)
        for run in RUNS
        for minute in (*(0.0,) * run.pile, *run.arrivals(chance))
    ]
    heapq.heapify(calls)
    events: list[tuple[float, Callable[[], None]]] = [
        (4, lambda: raise_limits(bench)),
        (OBSERVED - 2, lambda: send_delayed(bench, client, chance)),
    ]
    result, forecast_at, empty = None, 0.0, {}
    while (minute := (time.time() - began) / MINUTE) < OBSERVED + FOLLOWED:
        send_due(bench, client, calls, minute, began)
        while events and events[0][0] <= minute:
            events.pop(0)[1]()
        if result is None and minute >= OBSERVED:
            result, forecast_at = rl.forecast(bench.lab), minute
        if result is not None:
            left = waiting(bench)
            empty = {run.name: minute - forecast_at for run in RUNS if run.place not in left} | empty
        time.sleep(1)
    assert result is not None
    return result.frame, empty


def send_due(
    bench: Bench, client: httpx.Client, calls: list[tuple[float, int, float]], minute: float, began: float
) -> None:
    """Send the calls whose time has come, at most 200 at once."""
    for _ in range(200):
        if not calls or calls[0][0] > minute:
            return
        _, number, seconds = heapq.heappop(calls)
        run = RUNS[number - RUNS[0].number]
        stops = {"stops": began + run.stops_at * MINUTE} if run.stops_at else {}
        send(bench, client, run, "work", {"seconds": seconds, **stops})


def raise_limits(bench: Bench) -> None:
    bench.admin.upsert_rules([UpsertRule(run.name, limits={"concurrency": run.slots}) for run in RUNS if run.raised_at])


def send_sleepers(bench: Bench, client: httpx.Client, chance: random.Random) -> None:
    """Send the calls that sleep until after the forecast, and wait until all of them sleep."""
    for run in RUNS:
        for _ in range(run.wave if run.service == "Sleeper" else 0):
            end = (OBSERVED + chance.uniform(2, 4) + 1) * MINUTE
            times = {"sent": time.time(), "until": time.time() + end, "seconds": run.seconds}
            send(bench, client, run, "sleep", times)
    while waiting(bench):
        time.sleep(1)


def send_delayed(bench: Bench, client: httpx.Client, chance: random.Random) -> None:
    """Send the calls that start after the forecast, two minutes before it."""
    for run in RUNS:
        for _ in range(run.wave if run.service == "Delayed" else 0):
            send(bench, client, run, "work", {"seconds": run.seconds}, chance.uniform(4, 6) * MINUTE)


def row_of(frame: pd.DataFrame, run: Run) -> dict[Any, Any]:
    service, key, scope = run.place
    names = frame.fillna({"key": "", "scope": ""})
    level = {"Hot": "key", "Queue": "queue"}.get(service, "service")
    wanted = (frame["service"] == service) & (frame["level"] == level)
    if level != "service":
        wanted &= (names["key"] == (key or "")) & (names["scope"] == (scope or ""))
    (row,) = frame[wanted].to_dict("records")
    return row


def test_most_intervals_contain_the_time_at_which_nothing_waits(bench: Bench) -> None:
    """Of 16 intervals with a chance of 80 %, 10 or more contain the truth in 99 % of the cases."""
    rl.forecast(bench.lab)
    with httpx.Client(timeout=30) as client:
        frame, empty = play(bench, client)
    hits, finite = [], []
    table = [f"{'run':<24}{'waiting':>8}{'in':>7}{'out':>7}  {'forecast':<30}{'truth':>9}  contains"]
    for run in RUNS:
        row, truth = row_of(frame, run), empty.get(run.name)
        answer, contains = row["answer"], ""
        if answer == "drains":
            latest = FOLLOWED * 60 if pd.isna(row["latest"]) else row["latest"] / pd.Timedelta(minutes=1)
            hit = row["earliest"] / pd.Timedelta(minutes=1) <= (FOLLOWED if truth is None else truth) <= latest
            hits.append(hit)
            contains = "yes" if hit else "no"
            finite += [run.kind] * (run.kind in {"growing", "hot key, growing", "stuck"} and not pd.isna(row["latest"]))
        shown = f"> {FOLLOWED:.0f} min" if truth is None else f"{truth:.1f} min"
        rates = f"{row['arrivals']:>7.1f}{row['completions']:>7.1f}"
        table.append(f"{run.kind:<24}{row['waiting']:>8,}{rates}  {describe(row):<30}{shown:>9}  {contains}")
    table.append(f"{sum(hits)} of {len(hits)} intervals contain the truth")
    sys.stdout.write("\n" + "\n".join(table) + "\n")
    assert len(hits) >= 14
    assert sum(hits) >= 0.6 * len(hits)
    assert len(finite) <= 1


def test_two_readings_forecast_calls_that_are_not_kept(brief: Bench) -> None:
    """700 calls of a key, which take a quarter of a second each and vanish when they end."""
    for _ in range(700):
        brief.ingress.send("Brief", "work", {"seconds": 0.25}, key="k")
    began = time.monotonic()
    result = rl.forecast(brief.lab, service="Brief", apart="30s")
    assert time.monotonic() - began > 30
    row = result.frame[result.frame["level"] == "key"].to_dict("records")[0]
    wait_for(lambda: not waiting(brief), within=600)
    truth = pd.Timedelta(seconds=time.monotonic() - began)
    assert brief.lab.sql("SELECT count(*) AS n FROM sys_invocation WHERE target_service_name = 'Brief'")["n"][0] <= 1
    assert (row["answer"], row["minutes"]) == ("drains", 0)
    assert row["earliest"] * 0.9 <= truth <= row["latest"] * 1.1
    assert result.reasons == [
        "completed calls of Brief, which are not kept: the rates are those of 30s, without any bursts"
    ]
