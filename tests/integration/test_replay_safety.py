"""What a replay must not do, and what it does with a deployment that misbehaves; real services on a real server."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import errors
from restate_lab.analysis.journal.encoding import encode_entry
from restate_lab.analysis.replay.reader import RecordingReader
from restate_lab.cli import app
from restate_lab.client.endpoint import Endpoint
from restate_lab.demo.embedded import start_services
from restate_lab.payload_json import read
from restate_lab.protocol import messages
from restate_lab.protocol.entries import entry_of, message_of
from restate_lab.protocol.messages import MESSAGE_TYPES
from support.clusters import NEWEST
from support.replay_bench import SERVICES, ReplayBench, Version, running_replay_bench
from support.replay_cases import OPEN, VALUES

pytestmark = pytest.mark.server

ENTRIES = "SELECT entry_type, raw, entry_json FROM sys_journal ORDER BY id, index"
RUN = [["run", "a"], ["set", "k", {"card": 4111}], OPEN]


@pytest.fixture(scope="module")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayBench]:
    with running_replay_bench(NEWEST, tmp_path_factory.mktemp("replay")) as bench:
        yield bench


@pytest.fixture
def fragile(bench: ReplayBench, tmp_path: Path) -> Iterator[Version]:
    """Give another process of the new version, which a test may block or crash."""
    services, uri = start_services(tmp_path, str(SERVICES))
    with services:
        with contextlib.closing(Endpoint(uri, {}, 30.0)) as endpoint:
            endpoint.discover()  # it is ready
        yield Version(uri, tmp_path)


def started(bench: ReplayBench, *programs: tuple[list[list[object]], list[list[object]]]) -> list[str]:
    ids = [bench.start(before, after) for before, after in programs]
    bench.settle(ids)
    return ids


def test_the_stop_command_prevents_steps(bench: ReplayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = started(bench, ([["run_failing", "next"]], [["run", "next"], ["return", 1]]))
    ran = len(bench.new.steps)
    assert bench.replay(ids).rows["continues_with"].tolist() == ["Run 'next'"]
    assert len(bench.new.steps) == ran
    monkeypatch.setattr(messages, "_with_stop_command", tuple)
    with pytest.raises(errors.StepRan, match=r"Programs/run \(inv_1\w+\) ran at http"):
        bench.replay(ids)
    assert bench.new.steps[ran:] == ["next"]


def test_nothing_changes_and_a_read_only_connection_may_replay(bench: ReplayBench, tmp_path: Path) -> None:
    ids = started(bench, (RUN, [["run", "b"], OPEN]))
    state = "SELECT id, status, modified_at, journal_size, retry_count, pinned_deployment_id FROM sys_invocation"
    before = bench.lab.sql(state).sort_values("id", ignore_index=True)
    deployments = [each.id for each in bench.lab.admin.list_deployments()]
    settings = bench.lab.settings
    with rl.connect(settings.admin_url, read_only=True, audit=tmp_path) as lab:
        result = rl.replay(lab, ids, bench.new.uri, confirm=bench.new.uri)
        report = rl.Report("Before the deployment", source=lab).add(result).write(tmp_path / "replay.html")
    assert result.verdict == "diverges"
    page = report.read_text("utf-8")
    assert all(text in page for text in ("Replay check", "Run &#39;b&#39;", ids[0], "FROM sys_journal"))
    assert bench.lab.sql(state).sort_values("id", ignore_index=True).equals(before)
    assert [each.id for each in bench.lab.admin.list_deployments()] == deployments
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_nothing_is_sent_without_the_confirmation_of_the_address(bench: ReplayBench) -> None:
    ids = started(bench, (RUN, RUN))
    ran = len(bench.new.outside), len(bench.old.outside)
    (deployment,) = [each.id for each in bench.lab.admin.list_deployments()]
    for target, confirm, address in (
        (bench.new.uri, None, bench.new.uri),
        (bench.new.uri, bench.old.uri, bench.new.uri),
        (deployment, None, bench.old.uri),
        (deployment, deployment, bench.old.uri),
    ):
        with pytest.raises(errors.ArgumentError, match=address if confirm != deployment else "confirm"):
            rl.replay(bench.lab, ids, target, confirm=confirm)
    assert (len(bench.new.outside), len(bench.old.outside)) == ran
    assert rl.replay(bench.lab, ids, deployment, confirm=f"{bench.old.uri}/").verdict == "fits"
    with pytest.raises(errors.NotFound):
        rl.replay(bench.lab, ids, deployment[:-3] + "abc", confirm=bench.old.uri)


def test_headers_of_a_registered_deployment_are_sent(bench: ReplayBench) -> None:
    (id_,) = started(bench, (RUN, RUN))
    (deployment,) = [each.id for each in bench.lab.admin.list_deployments()]
    bench.lab.admin.update_deployment(deployment, additional_headers={"x-release": "17"})
    key = bench.lab.sql("SELECT target_service_key FROM sys_invocation WHERE id = :id", id=id_).iloc[0, 0]
    bench.old.set(key, [["header", "x-release"], ["header", "x-other"], *RUN])
    result = rl.replay(bench.lab, id_, deployment, confirm=bench.old.uri, headers={"x-other": "18"}, progress=False)
    assert result.verdict == "fits"
    assert bench.old.outside[-2:] == ["17", "18"]


def test_a_deployment_without_http_2_is_checked_over_http_1(
    bench: ReplayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [RUN, [["run", "b"], OPEN], [["run", "a"], ["raise", "x"]], [["await_awakeable"], *RUN]]
    ids = started(bench, *((RUN, each) for each in changed))
    expected = bench.replay(ids).rows["verdict"].tolist()
    assert expected == ["fits", "diverges", "fails", "diverges"]
    init = Endpoint.__init__
    monkeypatch.setattr(Endpoint, "__init__", lambda self, *args, **more: init(self, *args[:4], is_http2=False))
    assert bench.replay(ids).rows["verdict"].tolist() == expected


def test_frozen_journals_have_the_live_verdicts_with_payloads_and_are_not_checkable_without(
    bench: ReplayBench, tmp_path: Path
) -> None:
    ids = started(bench, (RUN, RUN), (RUN, [["run", "b"], OPEN]), (RUN, [["run", "a"], ["set", "k", 2], OPEN]))
    live = bench.replay(ids).rows

    def replay_of(name: str, **options: object) -> rl.Replay:
        rl.freeze(bench.lab, tmp_path / name, progress=False, **options)
        with rl.open_evidence(tmp_path / name) as evidence:
            return rl.replay(evidence, ids, bench.new.uri, confirm=bench.new.uri)

    frozen = replay_of("all", payloads=True)
    assert frozen.rows.drop(columns="status").equals(live.drop(columns="status"))
    assert live["verdict"].tolist() == ["fits", "diverges", "diverges"]
    plain = replay_of("plain")
    assert set(plain.rows["verdict"]) == {"not checkable"}
    assert plain.rows["reason"].str.contains("payloads=True").all()
    masked = replay_of("masked", payloads=True, redact=["$..card"])
    assert set(masked.rows["verdict"]) == {"cannot say"}


def test_entries_are_encoded_as_the_server_stores_them(bench: ReplayBench) -> None:
    bench.settle([bench.start([each.before, OPEN], [], service=each.service) for each in VALUES.values()])
    bench.settle([bench.start([["return", None]], [])])
    rows = bench.lab.arrow(ENTRIES).to_pylist()
    wrong = [row for row in rows if encode_entry(read(row["entry_json"])) != row["raw"]]
    assert wrong == []
    assert len({row["entry_type"] for row in rows}) == 30
    messages = [(MESSAGE_TYPES[row["entry_type"]], bytes(row["raw"])) for row in rows]
    entries = [entry_of(each) for each in messages]
    assert [message_of(each) for each in entries] == messages
    assert [each for each in entries if "body" in each] == []  # each field is in the table of entries


def test_what_is_not_checked(bench: ReplayBench) -> None:
    """Killed invocations are open paths, purged ones are not checkable, and an unknown id is reported."""
    killed, ended, fitting = started(
        bench, (RUN, RUN), ([["run", "a"], ["return", 1]], [["run", "b"]]), (RUN, [["run", "c"], OPEN])
    )
    bench.lab.admin.kill_invocation(killed, reason="INC-42")
    bench.lab.admin.purge_journal(ended, reason="INC-42")
    unknown = f"{killed[:-3]}abc"
    result = bench.replay([killed, ended, fitting, unknown])
    assert result.rows["verdict"].tolist() == ["fits", "not checkable", "diverges"]
    assert result.not_read["part"].tolist() == [unknown]
    assert (result.verdict, len(result.groups)) == ("diverges", 2)


def test_a_sample_covers_each_path(bench: ReplayBench) -> None:
    other = [["run", "rare"], OPEN]
    started(bench, *[(RUN, RUN)] * 6, (other, other))
    result = bench.replay({"service": "Programs", "status": "suspended"}, sample=4)
    paths = bench.replay({"service": "Programs", "status": "suspended"}).rows
    assert len(result.rows) == 4
    assert len(result.rows) + len(result.not_read) == len(paths)
    assert set(result.not_read["reason"]) == {"sampled out"}
    with pytest.raises(errors.ArgumentError, match="Did you mean 'service'"):
        bench.replay({"servce": "Programs"})


def test_a_hanging_and_a_crashing_deployment(bench: ReplayBench, fragile: Version) -> None:
    """A journal that blocks the process ends after its limit; a process that dies gives no verdict on the others."""
    hangs, crashes = started(bench, (RUN, RUN), (RUN, RUN))
    for id_, program in ((hangs, [["spin", 3], *RUN]), (crashes, [["exit"]])):
        key = bench.lab.sql("SELECT target_service_key FROM sys_invocation WHERE id = :id", id=id_).iloc[0, 0]
        fragile.set(key, program)
    options: dict[str, Any] = {"confirm": fragile.uri, "journal_timeout": "1s", "progress": False}
    (hang,) = rl.replay(bench.lab, hangs, fragile.uri, **options).rows.to_dict("records")
    assert (hang["verdict"], hang["reason"]) == ("cannot say", "no complete response within 1s")
    options["journal_timeout"] = "10s"
    (crash,) = rl.replay(bench.lab, crashes, fragile.uri, **options).rows.to_dict("records")
    assert crash["verdict"] == "cannot say"
    assert re.search("the response ended early|the connection ended without a response", crash["reason"])


def test_an_interrupt_of_a_blocked_request_ends_its_threads_and_connections(
    bench: ReplayBench, fragile: Version
) -> None:

    class Interrupting:
        def update(self, rows: int, size: int) -> None:
            if fragile.outside:
                raise KeyboardInterrupt

        def close(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    ids = started(bench, (RUN, RUN))
    key = bench.lab.sql("SELECT target_service_key FROM sys_invocation WHERE id = :id", id=ids[0]).iloc[0, 0]
    fragile.set(key, [["spin", 3], ["note", "the end"], *RUN])
    with pytest.raises(KeyboardInterrupt):
        rl.replay(bench.lab, ids, fragile.uri, confirm=fragile.uri, journal_timeout="60s", progress=Interrupting())
    assert "the end" not in fragile.outside
    assert closed == [True]
    assert not [each.name for each in threading.enumerate() if "replay" in each.name]


def test_the_result_at_the_timeout_has_the_verdicts_so_far(bench: ReplayBench, fragile: Version) -> None:
    ids = started(bench, (RUN, RUN), (RUN, RUN))
    keys = bench.lab.sql("SELECT target_service_key AS key FROM sys_invocation WHERE id IN :ids", ids=ids)["key"]
    for key in keys:
        fragile.set(key, [["spin", 4], *RUN])
    result = rl.replay(bench.lab, ids, fragile.uri, confirm=fragile.uri, timeout="2s", progress=False)
    assert result.rows.empty
    assert result.not_read["reason"].tolist() == ["the timeout of 2s was over"] * 2
    assert result.verdict == "cannot say"


def test_a_journal_that_changes_while_it_is_read_is_not_checked(
    bench: ReplayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries and its status could belong to different times, so it is reported and not sent."""
    ids = started(bench, (RUN, RUN), (RUN, RUN))
    read = RecordingReader._entries

    def read_while_it_changes(self: RecordingReader, part: list[str]) -> Any:
        entries = read(self, part)
        bench.lab.admin.kill_invocation(ids[0], reason="INC-42")
        return entries

    monkeypatch.setattr(RecordingReader, "_entries", read_while_it_changes)
    result = bench.replay(ids)
    assert result.rows["id"].tolist() == ids[1:]
    assert result.not_read[["part", "reason"]].to_numpy().tolist() == [[ids[0], "it changed while it was read"]]
    assert result.verdict == "cannot say"


def command(bench: ReplayBench, *arguments: str) -> Any:
    cluster = str(bench.lab.settings.admin_url)
    return CliRunner().invoke(app, ["replay", bench.new.uri, "-e", cluster, *arguments])


@pytest.mark.parametrize(
    ("after", "code", "verdict"), [([["run", "b"], OPEN], 3, "diverges"), (RUN, 0, "fits"), ([], 3, "fails")]
)
def test_the_command_line(bench: ReplayBench, after: list[list[object]], code: int, verdict: str) -> None:
    """The exit code is for CI; the table shows both paths, and JSON has the rows."""
    (id_,) = started(bench, (RUN, after or [["fail", "no"]]))
    yes = "--yes-run-code-outside-steps"
    shown = command(bench, "--id", id_, yes)
    assert shown.exit_code == code, shown.output
    assert f"1 {verdict}" in shown.output
    assert "Code outside of steps ran at" in shown.output
    if verdict == "diverges":
        assert "recorded 1: Run 'a'" in shown.output
        assert "now 1: Run 'b'" in shown.output
    content = json.loads(command(bench, "--id", id_, yes, "--json").stdout)
    assert (content["verdict"], [row["id"] for row in content["rows"]]) == (verdict, [id_])


def test_the_command_line_asks(bench: ReplayBench) -> None:
    """Without a terminal and without the option, nothing is sent; a header is read from the environment."""
    (id_,) = started(bench, (RUN, RUN))
    before = len(bench.new.outside)
    refused = command(bench, "--id", id_)
    assert refused.exit_code == 2
    assert f"code outside of steps would run at {bench.new.uri}. Add --yes-run-code-outside-steps." in refused.output
    assert command(bench, "--id", id_, "--header", "Authorization=NO_SUCH_VARIABLE").exit_code == 2
    assert len(bench.new.outside) == before
