"""Two clusters behind one forwarded port, and a cluster whose deployments are replaced: notes, plans and alerts."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.actions.rules import ACTIONS
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rule, Rules
from restate_lab.alerts.store import AlertStore
from restate_lab.cli import app
from restate_lab.errors import AuditFailed, PlanExpired
from restate_lab.mcp.approvals import ApprovalStore
from restate_lab.mcp.changes import Approval, ChangeTools, ReplayTargets
from restate_lab.sources import Sources
from support.bench import Bench, running_bench, wait_for
from support.clusters import NEWEST
from support.tcp_relay import TcpSwitch

pytestmark = pytest.mark.server

SERVICES = Path(__file__).parents[1] / "support" / "noted_services.py"
DOWN, DOUBLE = ["call provider", "provider is down"], ["write ledger", "duplicate key"]
REASON = "none of its deployments of that time is there: it is another cluster, or all were replaced"
RULES = Rules(default=Rule(check="*", min_severity="note"))


class ForwardedPort(TcpSwitch):
    """One address that leads to one cluster after the other."""

    def to(self, bench: Bench) -> None:
        self.down()
        self._target = bench.url
        self.up()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Bench]]:
    """Give two clusters with the same services, and one problem each."""
    with contextlib.ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(name) for name in ("staging", "prod")]
        benches = [stack.enter_context(running_bench(NEWEST, each, SERVICES, ready=None)) for each in folders]
        for bench in benches:
            fail(bench, DOWN, 3)
        yield benches[0], benches[1]


@pytest.fixture
def port(pair: tuple[Bench, Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForwardedPort]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path / "audit"))
    with ForwardedPort(pair[0].url) as switch:
        yield switch


def fail(bench: Bench, failure: list[str], count: int) -> None:
    """Send calls that fail in one step, and wait until each has failed."""
    sent = {str(wait_for(lambda: send(bench, failure)).invocation_id) for _ in range(count)}
    wait_for(lambda: sent <= set(storms(bench, failure[0])))


def send(bench: Bench, failure: list[str]) -> Any:
    with contextlib.suppress(rl.errors.RestateLabError):  # the ingress knows new services a little later
        return bench.ingress.send("Payments", "charge", failure)
    return None


def storms(bench: Bench, step: str) -> list[str]:
    """Return the invocations that the doctor finds failing in a step."""
    rows = storm_findings(bench.url).to_dict("records")
    return [id_ for row in rows if step in {path[3] for path in row["about"]} for id_ in row["ids"]]


def storm_findings(address: str) -> pd.DataFrame:
    with rl.connect(address, read_only=True) as lab:
        return rl.doctor(lab, checks="retry_storm").findings


def visit(folder: Path, address: str) -> list[tuple[str, str]]:
    """Visit a cluster as a new process would; return the changes of alerts about failing attempts."""
    with contextlib.closing(AlertStore(folder / "watch.sqlite")) as store:
        reader = ClusterReader(name="staging", option=address, rules=RULES, commands=lambda *_: None)
        changes = store.record(reader.visit())
    return [(event.value, alert.subject) for event, alert in changes if alert.rule == "retry_storm"]


def call(address: str, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "-e", address])


def note(address: str, text: str, until: str = "2h") -> Any:
    fingerprint = storm_findings(address)["fingerprint"][0]
    return call(address, "note", text, "--finding", fingerprint, "--until", until)


def test_a_note_about_one_cluster_does_not_silence_another_one_at_its_address(
    pair: tuple[Bench, Bench], port: ForwardedPort, tmp_path: Path
) -> None:
    """Back at the first one, the note holds again, and its problem is acknowledged as before."""
    staging, prod = pair
    assert note(port.address, "at staging").exit_code == 0
    assert storm_findings(port.address)["known"].tolist() == [True]
    assert visit(tmp_path, port.address) == [("acknowledged", "Payments/charge")]
    port.to(prod)
    (row,) = storm_findings(port.address).to_dict("records")
    assert not row["known"]
    assert row["note"].endswith(f"at staging; {REASON}")
    assert visit(tmp_path, port.address) == [("opened", "Payments/charge")]
    port.to(staging)
    assert storm_findings(port.address)["known"].tolist() == [True]
    assert visit(tmp_path, port.address) == []
    port.to(prod)
    assert visit(tmp_path, port.address) == [("opened", "Payments/charge")]


def test_a_row_of_a_diagnosis_is_noted_for_its_own_cluster(pair: tuple[Bench, Bench], port: ForwardedPort) -> None:
    findings = storm_findings(port.address)
    port.to(pair[1])
    with rl.connect(port.address, read_only=True) as lab:
        rl.note(lab, "seen at staging", finding=findings.loc[0], until="2h")
    assert storm_findings(port.address)["known"].tolist() == [False]
    port.to(pair[0])
    assert storm_findings(port.address)["known"].tolist() == [True]


def test_a_plan_is_executed_on_its_cluster_only_and_is_not_used_up_elsewhere(
    pair: tuple[Bench, Bench], port: ForwardedPort
) -> None:
    made = call(port.address, "plan", "pause", storms(pair[0], DOWN[0])[0], "--json")
    plan = json.loads(made.stdout)["plan"]
    execute = ("execute", plan, "--reason", "INC-42")
    port.to(pair[1])
    refused = call(port.address, *execute)
    assert refused.exit_code == 1
    text = " ".join(refused.output.split())
    assert f"nothing was sent: {REASON}" in text
    assert re.search(rf"plan again: restate-lab plan pause inv_\w+ -e {re.escape(port.address)}", text)
    assert rl.audit_log().empty
    port.to(pair[0])
    assert call(port.address, *execute).exit_code == 0


def test_an_approval_of_an_assistant_is_for_its_cluster_only(
    pair: tuple[Bench, Bench], port: ForwardedPort, tmp_path: Path
) -> None:
    """The approval is not used up at another cluster, or by an audit log that cannot be written.

    A replay is asked for again at another cluster.
    """
    store = ApprovalStore(tmp_path / "approvals")
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(rl.connect(port.address))
        tools = ChangeTools(Sources(stack, [lab]), store, can_execute=True)
        planned = tools.plan(ACTIONS("pause"), ids=[storms(pair[0], DOWN[0])[1]])
        plan = re.search(r"plan-[0-9a-f]{8}", str(planned))
        assert plan is not None
        request = tools.execution_request(plan[0], "INC-42")
        tools.execute(plan[0], "INC-42", Approval(), "test")
        store.approve(request)
        targets = ReplayTargets(None, "Payments", None, 5, None)
        tools.replay_request(pair[0].uri, targets)
        port.to(pair[1])
        with pytest.raises(PlanExpired, match="its approval was not used: none of its deployments"):
            tools.execute(plan[0], "INC-42", Approval(), "test")
        with pytest.raises(PlanExpired, match="its approval was not used: none of its deployments"):
            tools.replay_request(pair[0].uri, targets)
        assert tools.replay_request(pair[0].uri, targets) is tools.replay_request(pair[0].uri, targets)
        assert rl.audit_log().empty
        port.to(pair[0])
        (tmp_path / "audit").write_text("not a folder")
        with pytest.raises(AuditFailed):
            tools.execute(plan[0], "INC-42", Approval(), "test")
        (tmp_path / "audit").unlink()
        assert "waiting" in str(tools.execute(plan[0], "INC-43", Approval(), "test")), "another reason"
        assert "executed" in str(tools.execute(plan[0], "INC-42", Approval(), "test"))
        assert len(rl.audit_log()) == 1


def test_another_problem_of_a_handler_is_not_known_and_its_end_restores_the_note(
    pair: tuple[Bench, Bench], port: ForwardedPort, tmp_path: Path
) -> None:
    """The second step has an alert of its own; the shell notes all findings of a fingerprint."""
    bench = pair[0]
    assert note(port.address, "provider").exit_code == 0
    assert visit(tmp_path, port.address) == [("acknowledged", "Payments/charge")]
    fail(bench, DOUBLE, 4)
    rows = storm_findings(port.address)
    assert rows["fingerprint"].nunique() == 1
    known = {row["title"]: row["known"] for row in rows.to_dict("records")}
    assert {re.sub(".*“(.*)”.*", r"\1", title): value for title, value in known.items()} == {
        DOWN[0]: True,
        DOUBLE[0]: False,
    }
    (other,) = rows.loc[~rows["known"], "note"]
    assert "the note is about another cause: " in other
    assert DOWN[0] in other
    assert visit(tmp_path, port.address) == [("opened", "Payments/charge")]
    assert note(port.address, "both").exit_code == 0
    assert storm_findings(port.address)["known"].tolist() == [True, True]
    again = note(port.address, "both", until="5h")
    assert (again.exit_code, "already" in again.output) == (0, False)
    fail(bench, [DOWN[0], "card is stolen"], 1)
    assert storm_findings(port.address)["known"].tolist().count(False) == 1
    worse = note(port.address, "both", until="9h")
    assert (worse.exit_code, "the note is about another cause" in worse.output) == (3, True)


def test_a_note_holds_while_deployments_are_replaced_one_by_one_until_none_of_its_own_is_left(
    pair: tuple[Bench, Bench], port: ForwardedPort, tmp_path: Path
) -> None:
    """The state of watch is renewed at each visit, so that its alerts are not sent again."""
    prod = pair[1]
    port.to(prod)
    first = prod.admin.create_deployment(uri=prod.uri.replace("127.0.0.1", "localhost")).id
    fail(prod, DOWN, 2)
    assert note(port.address, "before the release").exit_code == 0
    assert visit(tmp_path, port.address) == [("acknowledged", "Payments/charge")]
    prod.admin.delete_deployment(prod.deployment, force=True, reason="INC-42: replaced")
    assert storm_findings(port.address)["known"].tolist() == [True]
    prod.admin.create_deployment(uri=prod.uri)
    fail(prod, DOWN, 1)
    assert storm_findings(port.address)["known"].tolist() == [True]
    assert visit(tmp_path, port.address) == []
    prod.admin.delete_deployment(first, force=True, reason="INC-42: replaced")
    (row,) = storm_findings(port.address).to_dict("records")
    assert (row["known"], row["note"].partition("; ")[2]) == (False, REASON)
    assert visit(tmp_path, port.address) == [("opened", "Payments/charge")]
    assert visit(tmp_path, port.address) == []
