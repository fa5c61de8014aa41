"""Plans that one process stores and another executes, in a shell: refusals, many processes at once, and kills."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from support.bench import wait_for
from support.fault_verbs import FaultBench
from support.plan_racers import REASON, kill, race
from support.tcp_relay import Cut, Fault, tcp_relay

pytestmark = pytest.mark.server

RESTARTS = "SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own audit log and its own stored plans; the server may be slow to show an effect."""
    monkeypatch.setattr("restate_lab.actions.execution.runner.SEEN_WITHIN", 60.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path / "audit"))
    return tmp_path / "audit"


@pytest.fixture
def url(bench: FaultBench) -> str:
    return str(bench.lab.settings.admin_url)


def call(url: str, *arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, [*arguments, "-e", url], input=text)


def plan_of(url: str, *arguments: str, text: str | None = None) -> dict[str, Any]:
    made = call(url, "plan", *arguments, "--json", text=text)
    assert made.exit_code == 0, made.output
    return dict(json.loads(made.stdout))


def execute(url: str, plan: str, *options: str) -> Any:
    return call(url, "execute", plan, "--reason", REASON, *options)


def outcomes(result: Any) -> list[str]:
    return [row["outcome"] for row in json.loads(result.stdout)]


def restarts(bench: FaultBench, ids: list[str]) -> list[str]:
    return list(bench.lab.sql(RESTARTS, ids=ids, progress=False)["restarted_from"])


def take(bench: FaultBench, count: int) -> list[str]:
    return [next(bench.ended) for _ in range(count)]


def test_an_incident_is_ended_in_a_shell(
    bench: FaultBench, url: str, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan sends nothing, an execution that is refused leaves it valid, and the audit log has the one that is not."""
    ids = list(bench.bulk.fill("wait", 3))
    shown = call(url, "plan", "cancel", "-", text="\n".join(ids)).stdout
    assert "Undo: no." in shown
    assert "cancel 3 of 3 invocations" in shown
    name = re.search(r"restate-lab execute (plan-[0-9a-f]{16}) ", shown)
    assert name is not None
    plan = name[1]
    stored = next((audit.parent / "restate_lab" / "plans").iterdir()).read_text()
    assert "Bulk" not in stored, "a target can have a key"
    with tcp_relay(url) as relay:
        for refused, code, message in (
            (execute(relay.url, plan), 2, f"is a plan for .* at {url}"),
            (execute(url, plan, "--expect", "2"), 2, "--expect is 2, but this would cancel 3"),
            (call(url, "execute", plan, "--reason", "..."), 2, "--reason has the placeholder"),
            (call(url, "execute", plan, "--reason", " "), 2, "--reason is empty"),
            (_read_only(url, plan, monkeypatch), 1, "read-only"),
        ):
            assert refused.exit_code == code, refused.output
            assert re.search(message, " ".join(refused.output.split())), refused.output
        assert not any(b"cancel" in head for head in relay.heads)
    assert rl.audit_log().empty
    done = execute(url, plan, "--json")
    assert (done.exit_code, outcomes(done)) == (0, ["done"] * 3)
    again = execute(url, plan)
    assert again.exit_code == 1
    assert "was started before" in " ".join(again.output.split())
    (change,) = json.loads(CliRunner().invoke(app, ["audit", "--json"]).stdout)
    assert (change["reason"], change["outcome"], change["targets"]) == (REASON, "done", ids)
    told = CliRunner().invoke(app, ["audit", "--change", change["change"][:8], "--json"])
    assert [row["id"] for row in json.loads(told.stdout)] == ids


def test_a_plan_that_sent_no_request_is_executed_again(
    bench: FaultBench, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit log refuses the intent, so that nothing is sent; the second execution acts, once."""
    ids = take(bench, 1)
    plan = plan_of(url, "restart-as-new", *ids)["plan"]
    with monkeypatch.context() as patch:
        patch.setenv("RESTATE_LAB_AUDIT", "/proc/nope")
        refused = execute(url, plan)
    assert (refused.exit_code, restarts(bench, ids)) == (1, [])
    assert "the plan can be executed again" in " ".join(refused.output.split())
    assert [execute(url, plan).exit_code for _ in range(2)] == [0, 1]
    assert restarts(bench, ids) == ids


def test_the_first_are_tried_and_then_the_others(bench: FaultBench, url: str) -> None:
    """Both plans are made from one read: each has its own targets, and the second one is printed after the first."""
    ids = take(bench, 5)
    made = plan_of(url, "restart-as-new", *ids, "--first", "2")
    assert (made["targets"], made["others"]["targets"]) == (2, 3)
    assert made["others"]["command"].startswith(f"restate-lab execute {made['others']['plan']} --reason")
    tried = {row["id"] for row in made["invocations"]}
    for plan, expected in ((made["plan"], tried), (made["others"]["plan"], set(ids))):
        assert execute(url, plan).exit_code == 0
        assert set(restarts(bench, ids)) == expected
    shown = " ".join(call(url, "plan", "kill", *ids, bench.holder, "--first", "1").stdout.split())
    assert "others" not in plan_of(url, "kill", bench.holder, "--first", "3")
    assert "Then the other" not in shown, "only one of them can be killed"
    shown = " ".join(call(url, "plan", "purge", *ids, "--first", "1").stdout.split())
    assert re.search(r"Then the other 4, if these have succeeded: restate-lab execute plan-\w{16} ", shown)


def _read_only(url: str, plan: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setenv("RESTATE_LAB_READ_ONLY", "1")
        return execute(url, plan)


def test_the_ways_to_select_have_the_same_targets(bench: FaultBench, url: str) -> None:
    """Filters, ids, standard input and a question are alternatives; none selects everything, and none is an error."""
    rows = "SELECT id FROM sys_invocation WHERE target_service_name = 'Depot' AND status NOT IN ('completed')"
    there = set(bench.lab.sql(rows, progress=False)["id"])
    filtered = plan_of(url, "kill", "--service", "Depot")
    assert {row["id"] for row in filtered["invocations"]} == there
    assert plan_of(url, "kill", *there)["targets"] == len(there)
    assert plan_of(url, "kill", "--service", "Depot", "--older-than", "2h")["targets"] == 0
    asked = plan_of(url, "resume", "--question", "retry_storm_ids", "-p", "limit=none", "-p", "service=Depot")
    assert {row["id"] for row in asked["invocations"]} <= there
    for arguments, message in (
        (("kill",), "no invocations are selected: use exactly one of ids"),
        (("kill", bench.holder, "--service", "Depot"), "ids, filters and --question are combined"),
        (("purge", "--service", "Bulk"), "have ended: add --status"),
        (("kill", "--service", "Depto"), "Did you mean 'Depot'"),
        (("kil", bench.holder), "unknown action 'kil'"),
        (("kill", bench.holder, "--deployment", "latest"), "kill has no option deployment"),
        (("kill", "2026-01-01 inv_1 failed"), "which is not an invocation id"),
        (("kill", bench.holder, "-p", "x=1"), "only for the parameters of --question"),
    ):
        told = call(url, "plan", *arguments)
        assert told.exit_code == 2, told.output
        assert message in " ".join(told.output.split()), told.output
    assert plan_of(url, "purge", "--service", "Depot", "--status", "ended")["targets"] == 0


def test_a_file_of_rows_leaves_the_command_to_the_terminal(bench: FaultBench, url: str, tmp_path: Path) -> None:
    told = call(url, "plan", "kill", bench.holder, "--csv", str(tmp_path / "plan.csv"))
    assert re.fullmatch(rf'execute: restate-lab execute plan-\w{{16}} --reason "…" -e {url}\n', told.stderr)
    assert pd.read_csv(tmp_path / "plan.csv")["id"].tolist() == [bench.holder]


def test_a_plan_without_targets_has_no_name(bench: FaultBench, url: str, audit: Path) -> None:
    """A move to the same deployment, and a redrive of what did not fail, exclude everything and store nothing."""
    (ended,) = take(bench, 1)
    for arguments in (("move-to", bench.holder, "--deployment", "latest"), ("redrive", ended)):
        made = plan_of(url, *arguments)
        assert (made["targets"], made["plan"], made["command"]) == (0, None, None)
        assert made["invocations"][0]["excluded"]
    assert not (audit.parent / "restate_lab").exists()


def test_each_status_is_read_again(bench: FaultBench, url: str) -> None:
    """An invocation that was purged or restarted after the plan is skipped, and above 10 a purge needs the number."""
    ids = take(bench, 12)
    first, second = (plan_of(url, "restart-as-new", *ids[:2])["plan"] for _ in range(2))
    purge = plan_of(url, "purge", *ids)["plan"]
    assert outcomes(execute(url, first, "--json")) == ["done"] * 2
    late = execute(url, second, "--json")
    assert (late.exit_code, outcomes(late)) == (3, ["skipped"] * 2), "nothing was done"
    assert sorted(restarts(bench, ids)) == sorted(ids[:2])
    rl.plan(bench.lab, "purge", ids[:1]).execute(reason="by someone else")
    told = execute(url, purge)
    assert told.exit_code == 2
    assert "confirm the number with --expect 12" in " ".join(told.output.split())
    done = execute(url, purge, "--expect", "12", "--json")
    assert (done.exit_code, outcomes(done)) == (3, ["skipped", *["done"] * 11]), "one is gone"


def test_an_unknown_outcome_has_an_exit_code_of_its_own(
    bench: FaultBench, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restate_lab.actions.execution.runner.SEEN_WITHIN", 0.2)
    with tcp_relay(url, cut=Cut(b"/purge", when="before")) as relay:
        plan = plan_of(relay.url, "purge", *take(bench, 1))["plan"]
        done = execute(relay.url, plan, "--json")
    assert (done.exit_code, outcomes(done)) == (3, ["unknown"])


@pytest.mark.parametrize("count", [10, pytest.param(100, marks=pytest.mark.long)])
def test_of_many_processes_that_execute_one_plan_one_acts(bench: FaultBench, url: str, count: int) -> None:
    ids = take(bench, 1)
    codes = race(url, plan_of(url, "restart-as-new", *ids)["plan"], count)
    assert sorted(codes) == [0, *[1] * (count - 1)]
    assert restarts(bench, ids) == ids
    outcomes = Counter(rl.audit_log()["outcome"])
    assert outcomes.pop("done") == 1
    assert set(outcomes) <= {"not sent", "skipped"}  # skipped: it read the restart that the first one had made


@pytest.mark.parametrize(
    ("number", "code", "outcome"),
    [(signal.SIGKILL, -9, None), pytest.param(signal.SIGTERM, 130, "done", marks=pytest.mark.long)],
    ids=["SIGKILL", "SIGTERM"],
)
def test_an_execution_that_is_ended_has_used_up_its_plan(
    bench: FaultBench, url: str, number: int, code: int, outcome: str | None
) -> None:
    """The process ends after the server acted: the audit log has the intent, and nothing acts again.

    After SIGTERM, as after Ctrl-C, the outcome is read first.
    """
    ids = take(bench, 2)
    fault = Fault(b"/restart-as-new", end="silence", passes=0)
    with tcp_relay(url, fault=fault) as relay:
        plan = plan_of(relay.url, "restart-as-new", *ids)["plan"]
        with _executing(relay.url, plan) as process:
            wait_for(lambda: len(restarts(bench, ids)) == 2)
            process.send_signal(number)
            assert process.wait(60) == code
        again = execute(relay.url, plan)
    assert (again.exit_code, "was started before" in " ".join(again.output.split())) == (1, True)
    assert sorted(restarts(bench, ids)) == sorted(ids)
    (change,) = rl.audit_log().to_dict("records")
    assert (change["targets"], change["outcome"], change["reason"]) == (ids, outcome, REASON)


@contextmanager
def _executing(url: str, plan: str) -> Iterator[subprocess.Popen[bytes]]:
    code = "from restate_lab.cli import main; main()"
    command = [sys.executable, "-c", code, "execute", plan, "--reason", REASON, "-e", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.long
def test_kills_at_random_times_never_act_twice(bench: FaultBench, url: str) -> None:
    """After a kill, the plan is used up or unused; each restart has its intent in the audit log.

    A process that is killed between its intent and its claim leaves an intent and an unused plan.
    """
    ids = take(bench, 60)
    plans = [str(plan_of(url, "restart-as-new", id_)["plan"]) for id_ in ids]
    kill(url, plans, seed=43)
    codes = [execute(url, plan).exit_code for plan in plans]
    assert set(codes) <= {0, 1}
    there, log = restarts(bench, ids), rl.audit_log()
    intents = pd.Series([row for targets in log["targets"] for row in targets])
    for id_, code in zip(ids, codes, strict=True):
        assert there.count(id_) <= 1
        assert there.count(id_) <= (intents == id_).sum() <= 2
        assert code == 1 or there.count(id_) == 1


def handler_call(url: str, target: str, *arguments: str, text: str | None = None) -> Any:
    return call(url, "call", target, *arguments, "--reason", REASON, text=text)


def called_through(ingress: str, url: str, monkeypatch: pytest.MonkeyPatch, body: str) -> Any:
    monkeypatch.setenv("RESTATE_ADMIN_URL", url)
    monkeypatch.setenv("RESTATE_INGRESS_URL", ingress)
    return CliRunner().invoke(app, ["call", "Bulk/answer", body, "--reason", REASON])


def calls_of(bench: FaultBench, handler: str) -> int:
    statement = "SELECT count(*) AS n FROM sys_invocation_status WHERE target_handler_name = :handler"
    return int(bench.lab.sql(statement, handler=handler, progress=False)["n"].iloc[0])


def test_a_handler_is_called_in_a_shell(
    bench: FaultBench, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result, the failure, the id and the wait that ends; what is wrong is found before anything is sent."""
    file = tmp_path / "body.json"
    file.write_text("41")
    before = calls_of(bench, "answer")
    for arguments, text, printed in ((("42",), None, "42\n"), ((f"@{file}",), None, "41\n"), (("-",), "40", "40\n")):
        done = handler_call(url, "Bulk/answer", *arguments, text=text)
        assert (done.exit_code, done.stdout) == (0, printed), done.output
    told = json.loads(handler_call(url, "Bulk/answer", "39", "--json").stdout)
    assert (told["status"], told["result"], told["invocation"][:5]) == ("succeeded", 39, "inv_1")
    key = f"INC-42-{before}"
    sent = handler_call(url, "Bulk/answer", "38", "--send", "--delay", "1h", "--idempotency-key", key)
    again = handler_call(url, "Bulk/answer", "38", "--send", "--idempotency-key", key)
    assert (sent.stdout, sent.exit_code, again.stdout) == (again.stdout, 0, sent.stdout)
    assert "nothing new was started" in again.stderr
    assert wait_for(lambda: calls_of(bench, "answer") == before + 5)
    late = handler_call(url, "Bulk/wait", "1", "--timeout", "1s")
    assert (late.exit_code, "The invocation continues" in " ".join(late.stderr.split())) == (3, True), late.output
    killed = handler_call(url, "Bulk/wait", "2", "--send", "--idempotency-key", key).stdout.strip()
    bench.lab.admin.kill_invocation(killed, reason=REASON)
    failed = handler_call(url, "Bulk/wait", "2", "--json", "--idempotency-key", key)
    assert (failed.exit_code, json.loads(failed.stdout)["status"]) == (3, "failed"), failed.output
    changes = json.loads(CliRunner().invoke(app, ["audit", "--json"]).stdout)
    assert {(each["action"], each["reason"]) for each in changes} == {("send", REASON)}
    before, sent_before = calls_of(bench, "answer"), len(changes)
    for target, arguments, code, message in (
        ("Bulk/answer", ("4 2",), 2, "BODY is not JSON"),
        ("Bulk/key/answer", ("42",), 2, "the target is Bulk/answer"),
        ("Bulk", ("42",), 2, "is not Service/handler"),
        ("Bluk/answer", ("42",), 1, "Did you mean 'Bulk'"),
        ("Bulk/anwser", ("42",), 1, "Did you mean 'answer'"),
        ("Bulk/answer", ("42", "--delay", "1h"), 2, "--delay needs --send"),
        ("Bulk/answer", (f"@{tmp_path / 'nope'}",), 1, "No such file"),
    ):
        refused = handler_call(url, target, *arguments)
        assert refused.exit_code == code, refused.output
        assert message in " ".join(refused.output.split())
    monkeypatch.setenv("RESTATE_LAB_READ_ONLY", "1")
    assert "read-only" in handler_call(url, "Bulk/answer", "42").output
    assert calls_of(bench, "answer") == before
    assert len(rl.audit_log()) == sent_before


@pytest.mark.parametrize("when", ["within", "after"])
def test_a_call_whose_response_is_lost_is_found_and_not_repeated(
    bench: FaultBench, url: str, monkeypatch: pytest.MonkeyPatch, when: Any
) -> None:
    before = calls_of(bench, "answer")
    cut = Cut(b"/answer/send", when=when)
    with tcp_relay(str(bench.lab.settings.ingress_url), cut=cut) as relay:
        done = called_through(relay.url, url, monkeypatch, "37")
    assert cut.happened
    outcome = done.exit_code, done.stdout, calls_of(bench, "answer") - before
    allowed = [(0, "37\n", 1)]
    if when == "within":  # the server may not execute a request whose sender is gone
        allowed.append((3, "", 0))
    assert outcome in allowed, done.output


def test_a_call_that_never_arrived_is_unknown(bench: FaultBench, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.actions.call._LOOKED_FOR", 0.5)
    before = calls_of(bench, "answer")
    with tcp_relay(str(bench.lab.settings.ingress_url), cut=Cut(b"/answer/send", when="before")) as relay:
        lost = called_through(relay.url, url, monkeypatch, "36")
    assert (lost.exit_code, lost.stdout) == (3, "")
    assert "No invocation has its idempotency key restate-lab-" in " ".join(lost.stderr.split())
    assert calls_of(bench, "answer") == before
