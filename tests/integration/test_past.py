"""``source.at(time)`` on a real cluster under load: a poll of all statuses is the truth about each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from support.clusters import KINDS, NEWEST
from support.past_bench import PastBench, compare, running_past_bench

pytestmark = pytest.mark.server
SECONDS = 14.0


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastBench]:
    """Give a server after a load with an archive of its middle; for the night, it was killed in between."""
    with running_past_bench(request.param, tmp_path_factory.mktemp("past")) as bench:
        bench.run(SECONDS, restarts=0 if request.param == NEWEST else 1, archive_at=SECONDS / 2)
        yield bench


def test_no_status_of_an_earlier_time_is_wrong(bench: PastBench) -> None:
    """The cluster at the time of a poll has the polled invocations, each with its polled status or "unknown"."""
    seen = compare(bench, bench.lab, times=5, pairs=1_000)
    assert not seen.wrong
    assert seen.all["right"] > 50
    assert seen.all["no trace"] <= bench.acted.get("cancel", 0) + bench.acted.get("kill", 0) * 2


def test_an_archive_with_its_cluster_has_the_same_statuses(bench: PastBench) -> None:
    with rl.open_history(bench.where, live=bench.lab) as history:
        assert history.sql("SELECT count(*) AS n FROM origins WHERE origin = 'archive'")["n"][0]
        seen = compare(bench, history, times=1, pairs=1_000)
    assert not seen.wrong
    assert seen.all["right"] > 10


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(1_500)
def test_of_a_thousand_random_statuses_none_is_wrong(kind: str, tmp_path: Path) -> None:
    """Ten minutes of load with restarts on the newest server, two on the others."""
    with running_past_bench(kind, tmp_path) as bench:
        bench.run(600.0 if kind == NEWEST else 120.0, restarts=3)
        seen = compare(bench, bench.lab, times=50, pairs=20)
    assert not seen.wrong
    assert seen.all.total() >= 900
    if kind == NEWEST:
        assert seen.known_share >= 0.95
