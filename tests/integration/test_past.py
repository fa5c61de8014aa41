"""``source.at(time)`` on a real cluster under load: a poll of all statuses is the truth about each time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, NotOnThisServer
from support.clusters import KINDS, NEWEST, has_vqueues
from support.past_bench import PastBench, compare, running_past_bench

pytestmark = pytest.mark.server
SECONDS = 10.0
LONG = 600.0


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastBench]:
    """Give a server after a load with an archive of its middle; for the night, it was killed in between."""
    with running_past_bench(request.param, tmp_path_factory.mktemp("past")) as bench:
        bench.run(SECONDS, restarts=0 if request.param == NEWEST else 1, archive_at=SECONDS / 2)
        yield bench


def test_no_status_of_an_earlier_time_is_wrong(bench: PastBench) -> None:
    """The cluster at the time of a poll has the polled invocations, each with its polled status or "unknown"."""
    seen = compare(bench, bench.lab, times=3, pairs=1_000, after=0.4)
    assert not seen.wrong
    assert seen.count("right") > 30


def test_an_archive_with_its_cluster_has_the_same_statuses(bench: PastBench) -> None:
    with rl.open_history(bench.where, live=bench.lab) as history:
        assert history.sql("SELECT count(*) AS n FROM origins WHERE origin = 'archive'")["n"][0]
        seen = compare(bench, history, times=1, pairs=1_000, after=0.6)
    assert not seen.wrong
    assert seen.count("right") > 10


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("2099-01-01T00:00:00Z", "in the future: the cluster's clock is"),
        ("2020-01-01T00:00:00Z", "keeps ended invocations for 1d at most, so the earliest time is"),
        ("14:05", "without a zone: append Z"),
        ("soon", "use a duration such as"),
    ],
)
def test_a_time_that_the_cluster_does_not_have_is_one_error(bench: PastBench, time: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        bench.lab.at(time)


def test_verbs_answer_about_the_earlier_time(bench: PastBench) -> None:
    """Nothing after the time is in an answer, and each part that is not recorded is reported."""
    poll = bench.polls[len(bench.polls) // 2]
    with bench.lab.at(poll.at) as past:
        assert past.now <= poll.at
        assert not past.live
        waiting = past.sql("SELECT id FROM sys_invocation WHERE status = 'suspended' ORDER BY id")["id"]
        assert len(rl.waits(past).edges)
        assert {"suspended", "in-progress"} <= set(rl.ask(past, "overview")["status"])
        for id_ in waiting.head(3):
            assert (rl.journal(past, id_)["started"].dropna() <= past.now).all()
            explanation = rl.why(past, id_)
            assert explanation.status == "suspended"
            assert not len(explanation.options), "an earlier time cannot be changed"
        diagnosis = rl.doctor(past)
        reasons = dict(zip(diagnosis.not_read["part"], diagnosis.not_read["reason"], strict=True))
        not_recorded = "attempts, vqueues and removed deployments are not recorded for an earlier time"
        assert (reasons["retry_storm"], reasons["blocked_queues"]) == (not_recorded, not_recorded)
        assert "state" in reasons["large_states"]
        assert "coverage" in reasons
        with pytest.raises(NotOnThisServer, match="not recorded for an earlier time"):
            rl.ask(past, "retry_storm")
        with pytest.raises(ArgumentError, match="has one time"):
            past.at("1s")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(2_000)
def test_of_a_thousand_random_statuses_none_is_wrong(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten minutes of load with kills of the server on each kind; with vqueues and protocol 7, 95 % are known."""
    with running_past_bench(kind, tmp_path) as bench:
        bench.run(LONG, restarts=3)
        seen = compare(bench, bench.lab, times=60, pairs=20)
    with capsys.disabled():
        sys.stdout.write(f"\n{kind}: {len(bench.polls)} polls, {bench.sent} calls, {bench.acted}\n{seen}\n")
    assert not seen.wrong
    assert seen.results.total() >= 1_000
    if has_vqueues(kind):
        assert seen.known_share() >= 0.95
