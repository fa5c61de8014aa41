"""``source.at(time)`` on a real cluster under load: a poll of all statuses is the truth about each time."""

from __future__ import annotations

import gc
import json
import re
import shlex
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import anyio
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.audit import AuditLog
from restate_lab.cli import app
from restate_lab.errors import ArgumentError, NotOnThisServer, StatementError
from restate_lab.history.past_runs import RUNS
from restate_lab.source import Source
from restate_lab.sources import Sources
from support.bench import wait_for
from support.clusters import KINDS, NEWEST, PLAIN, has_vqueues
from support.page_servers import running_pages
from support.past_bench import LATE, PastBench, compare, running_past_bench

pytestmark = pytest.mark.server
SECONDS = 6.0
LONG = 600.0
CALLED = """
    SELECT called.id, caller.target FROM sys_invocation AS called
    JOIN sys_invocation AS caller ON caller.id = called.invoked_by_id ORDER BY called.id LIMIT 1
"""
"""An invocation with a caller, for which `why` prints the command of a story; the target of its caller."""


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastBench]:
    """Give a server after a load with an archive of its middle; for the night, it was killed in between."""
    with running_past_bench(request.param, tmp_path_factory.mktemp("past")) as bench:
        bench.run(SECONDS, restarts=0 if request.param == NEWEST else 1, archive_at=SECONDS / 2)
        yield bench


@pytest.mark.also_on(PLAIN, reason="without vqueues attempts leave other traces")
def test_no_status_of_an_earlier_time_is_wrong(bench: PastBench) -> None:
    """The cluster at the time of a poll has the polled invocations, each with its polled status or "unknown"."""
    seen = compare(bench, bench.lab, times=2, pairs=1_000, after=LATE)
    assert not seen.wrong
    assert seen.count("right") > 10


def test_a_suspended_invocation_that_a_person_paused_was_not_running_before(tmp_path: Path) -> None:
    """With vqueues a suspended invocation can be paused, and before protocol 7 its suspension is not recorded."""
    with running_past_bench(NEWEST, tmp_path, {"RESTATE_EXPERIMENTAL_ENABLE_PROTOCOL_V7": "false"}) as bench:
        lab = bench.lab
        ids = [lab.ingress.send("Past", each, 60).invocation_id for each in ("nap", "waits", "calls", "both")]
        wait_for(lambda: _statuses(lab, ids), lambda statuses: statuses == {"suspended"})
        then = lab.now
        wait_for(lambda: lab.now > then)
        for id_ in ids:
            lab.admin.pause_invocation(id_)
        wait_for(lambda: _statuses(lab, ids), lambda statuses: statuses == {"paused"})
        with lab.at(then) as past:
            assert _statuses(past, ids) == {"unknown"}
            assert any("purges by hand" in each for each in past.coverage.unknown)


def _statuses(source: Source, ids: Sequence[str]) -> set[str]:
    return set(source.sql("SELECT status FROM sys_invocation WHERE id IN :ids", ids=ids)["status"])


def test_an_archive_with_its_cluster_has_the_same_statuses(bench: PastBench) -> None:
    with rl.open_history(bench.where, live=bench.lab) as history:
        assert history.sql("SELECT count(*) AS n FROM origins WHERE origin = 'archive'")["n"][0]
        seen = compare(bench, history, times=1, pairs=1_000, after=0.5)
    assert not seen.wrong
    assert seen.count("right") > 5


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
        for id_ in waiting.head(1):
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
def test_commands_read_an_archive_with_its_cluster_at_a_time(bench: PastBench) -> None:
    """The printed command of a story names the archive, the cluster and the time, and its story has the caller."""
    poll = bench.polls[len(bench.polls) // 2]
    options = ["--evidence", str(bench.where), "--live", bench.server.admin_url, "--at", poll.at.isoformat()]
    with bench.lab.at(poll.at) as past:
        (id_,), (caller,) = past.sql(CALLED).to_dict("list").values()
    (printed,) = re.findall("restate-lab (story .*)", run("why", id_, *options))
    assert printed.endswith(shlex.join([*options[:-1], past.now.isoformat(timespec="milliseconds")]))
    assert run(*shlex.split(printed)).startswith(f"{caller} and ")
    assert json.loads(run("agents", "--json", *options)) == []


def test_pages_of_a_time_keep_it_in_their_links(bench: PastBench) -> None:
    """A page is about the time of its address, its links lead to pages of this time, and one leads to the present."""
    poll = bench.polls[len(bench.polls) // 2]
    at = quote_plus(poll.at.isoformat(timespec="milliseconds"))
    with running_pages({"here": bench.lab}, bench.folder / "pages") as pages, pages.client() as client:
        changes = client.get("/?since=1h").text
        assert 'name="at"' in changes
        assert re.search(r'<td class="time" title="[^"]+"><a href="/\?at=20', changes)
        page = client.get(f"/invocations?at={at}")
        assert page.status_code == 200
        links = set(re.findall(r'href="(/[^"#]*)"', page.text)) - {"/"}
        assert len(links) > 5
        assert {each for each in links if f"at={at}" not in each} == {"/invocations"}, "the link to the present"
        assert f"as it was at <b>{poll.at:%Y-%m-%d %H:%M:%S}" in page.text
        assert page.text.count('name="at" value="') > 1, "the forms keep the time"
        statuses = {row["status"] for row in client.get(f"/question/overview.json?at={at}").json()["rows"]}
        assert statuses <= {"scheduled", "pending", "in-progress", "suspended", "paused", "unknown"}
        refused = client.get("/?at=2099-01-01T00:00Z")
        assert (refused.status_code, "in the future" in refused.text) == (400, True)


def test_an_assistant_opens_a_time_as_a_source(bench: PastBench, tmp_path: Path) -> None:
    """A tool reads the opened source, and the oldest of many times is closed."""
    from restate_lab.mcp.server import build_server

    poll = bench.polls[len(bench.polls) // 2]
    with ExitStack() as stack:
        server = build_server(Sources(stack, [bench.lab]), allow_changes=True, audit=AuditLog(tmp_path))
        opened = call(server, "at", time=poll.at.isoformat())["data"]
        name = opened["opened"]
        assert any("attempts, state" in each for each in opened["not_recorded"])
        assert {"service": "Past", "handler": "vanishes", "reason": "not kept"} in opened["may_be_missing"]
        assert call(server, "waits", source=name)["at"].startswith(poll.at.isoformat()[:19])
        kinds = {row["name"]: row["kind"] for row in call(server, "sources")["data"]["sources"]}
        assert kinds[name] == "cluster at an earlier time"
        for number in range(1, 6):
            call(server, "at", time=(poll.at - timedelta(milliseconds=number)).isoformat())
        with pytest.raises(AssertionError, match="unknown source"):
            call(server, "waits", source=name)


def test_earlier_times_are_freed_when_nothing_reads_them(bench: PastBench) -> None:
    """Not while a call reads the oldest of many. The last ones are closed at the end, and ``close`` frees the rows."""
    at, statement = bench.polls[len(bench.polls) // 2].at, "SELECT id FROM sys_invocation"
    with ExitStack() as stack:
        sources = Sources(stack, [bench.lab])
        first: Any = sources.open_at(None, at.isoformat())[1]
        with first.stream(statement) as reader:
            others = [
                weakref.ref(sources.open_at(None, (at - timedelta(milliseconds=number)).isoformat())[1])
                for number in range(1, 8)
            ]
            assert reader.read_all().num_rows == len(first.sql(statement)), "it is not among the last five any more"
        gc.collect()
        assert [each() is not None for each in others] == [False] * 2 + [True] * 5
        last: Any = others[-1]()
    rows = weakref.ref(first._tables[RUNS])
    first.close()
    for past in (first, last):
        with pytest.raises(StatementError, match="is closed; open it again"):
            past.sql(statement)
    gc.collect()
    assert rows() is None


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def call(server: Any, name: str, **arguments: object) -> dict[str, Any]:
    result = anyio.run(server.call_tool, name, arguments)
    assert not result.is_error, result.content
    return result.structured_content


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
        assert seen.known_share >= 0.95
