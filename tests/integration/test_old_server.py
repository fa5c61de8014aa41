"""A server older than the supported versions: it is reported, and its tables are not interpreted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import errors
from restate_lab.cli import app
from restate_lab.client.models import GoogleIdTokenAuth
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import RestateServer
from restate_lab.server import OLDEST, SUPPORTED
from support.archive_bench import SERVICES
from support.bench import once_served, wait_for
from support.clusters import OLD

pytestmark = pytest.mark.server

SOMEBODY = "inv_1" + "0" * 33
ORDER = "ord-4711"
Call = Callable[[rl.Lab, Path], Any]
NOWHERE = "http://127.0.0.1:1"
REFUSED: dict[str, Call] = {
    "waits": lambda lab, _: rl.waits(lab),
    "why": lambda lab, _: rl.why(lab, SOMEBODY),
    "journal": lambda lab, _: rl.journal(lab, SOMEBODY),
    "journal_diff": lambda lab, _: rl.journal_diff(lab, SOMEBODY, SOMEBODY),
    "state": lambda lab, _: rl.state(lab, "Cart", "ann"),
    "set_state": lambda lab, _: rl.set_state(lab, "Cart", "ann", {"n": 1}, reason="test"),
    "archive": lambda lab, folder: rl.archive(lab, folder / "archive", cluster_name="old"),
    "freeze": lambda lab, folder: rl.freeze(lab, folder / "a.evidence"),
    "compare": lambda lab, _: rl.compare(lab, lab),
    "before_after": lambda lab, _: rl.before_after(lab, "1h"),
    "contrast": lambda lab, _: rl.contrast(lab, "failed"),
    "find": lambda lab, _: rl.find(lab, "order-4711"),
    "wait_for": lambda lab, _: rl.wait_for(lab, SOMEBODY),
    "move_to": lambda lab, _: rl.move_to(lab, [SOMEBODY], deployment="latest"),
    "redrive": lambda lab, _: rl.redrive(lab, [SOMEBODY]),
    "agent_runs": lambda lab, _: rl.agent_runs(lab),
    "conversation": lambda lab, _: rl.conversation(lab, SOMEBODY),
    "replay": lambda lab, _: rl.replay(lab, [SOMEBODY], NOWHERE, confirm=NOWHERE),
    "at": lambda lab, _: lab.at("1h"),
}
VIEWS: tuple[dict[str, str], ...] = (
    {"view": "overview"},
    {},
    {"open": SOMEBODY},
    {"view": "state", "service": "Cart"},
    {"view": "deployments"},
    {"view": "queues"},
)


@pytest.fixture(scope="module")
def old(old_server: Path) -> Iterator[rl.Lab]:
    """Give a connection to a server of the last minor version that is not supported."""
    with RestateServer(old_server) as server:
        with pytest.warns(
            errors.UntriedServer, match=rf"has restate {OLD}; restate_lab supports {SUPPORTED}"
        ) as caught:
            lab = rl.connect(server.admin_url)
        assert [(each.filename, "\n" in str(each.message)) for each in caught] == [(__file__, False)]
        with lab:
            yield lab


def test_the_version_is_said_where_the_cluster_is(old: rl.Lab) -> None:
    """The repr and the card state that the server is older than any supported one; newer ones have no such note."""
    said = f"restate {OLD}, older than {OLDEST}"
    assert said in repr(old)
    assert said in old._repr_html_()


def test_a_shell_has_the_warning_once_on_stderr_and_the_rows_on_stdout(old: rl.Lab) -> None:
    answer = CliRunner().invoke(app, ["sql", "SELECT 1 AS n", "--json", "--cluster", old.address])
    assert (answer.exit_code, json.loads(answer.stdout)) == (0, [{"n": 1}])
    assert [f"supports {SUPPORTED}" in line for line in answer.stderr.splitlines() if OLD in line] == [True]


def test_sql_and_the_admin_api_go_on_working(old: rl.Lab) -> None:
    """Functions that only pass on the server's response work; an error about a missing name includes its version."""
    assert list(old.sql("SELECT id FROM sys_invocation")) == ["id"]
    assert "sys_journal" in set(old.tables()["table"])
    assert list(old.admin.list_services()) == []
    with pytest.raises(errors.UnknownName, match=rf"no table sys_vqueues on this server, restate {OLD}"):
        old.sql("SELECT * FROM sys_vqueues")
    with pytest.raises(errors.UnknownName, match=rf"no column scope on this server, restate {OLD}"):
        old.sql("SELECT scope FROM state")


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_explain_or_change_refuses(old: rl.Lab, tmp_path: Path, name: str) -> None:
    """Nothing is read or sent: with a missing column a problem could look like a healthy state."""
    with pytest.raises(errors.NotOnThisServer, match=rf"supports restate {SUPPORTED}; .* has {OLD}"):
        REFUSED[name](old, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_the_server_lacks_or_would_ignore_is_not_sent(old: rl.Lab) -> None:
    with pytest.raises(errors.NotOnThisServer, match=rf"list_kafka_clusters.*{OLD}"):
        old.admin.list_kafka_clusters()
    with pytest.raises(errors.NotOnThisServer, match=rf"scope=….*{OLD}"):
        old.admin.modify_service_state("Cart", "ann", new_state={}, scope="blue", reason="INC-42")
    with pytest.raises(errors.NotOnThisServer, match=rf"auth=….*{OLD}"):
        old.admin.create_deployment(uri=NOWHERE, auth=GoogleIdTokenAuth(audience="tests"), dry_run=True)


def test_every_question_and_every_plan_refuses(old: rl.Lab) -> None:
    for name in rl.questions()["name"]:
        with pytest.raises(errors.NotOnThisServer, match=rf"question {name} supports .* has {OLD}"):
            rl.ask(old, name)
    for action in set(rl.ACTIONS) - {rl.ACTIONS.MOVE_TO}:
        with pytest.raises(errors.NotOnThisServer, match=rf"supports .* has {OLD}"):
            rl.plan(old, action, [SOMEBODY])


def test_a_diagnosis_is_incomplete_and_never_healthy(old: rl.Lab, tmp_path: Path) -> None:
    diagnosis = rl.doctor(old)
    assert diagnosis.verdict == "incomplete"
    assert len(diagnosis.checked) == len(diagnosis.findings) == 0
    applying = diagnosis.not_read[diagnosis.not_read["applies"]]
    assert len(applying) > 10
    assert applying["reason"].str.contains(f"has {OLD}").all()
    report = rl.incident_report(old, tmp_path / "a.html").read_text("utf-8")
    assert "No check could run." in report
    assert "0 checks" in report
    assert "No problem found." not in report


def test_the_check_before_an_upgrade_names_the_next_version(old: rl.Lab) -> None:
    diagnosis = rl.doctor(old, checks="upgrade")
    (row,) = diagnosis.findings.to_dict("records")
    assert (row["check"], row["severity"]) == ("upgrade_version", "critical")
    assert row["title"] == f"restate {OLD} cannot be upgraded to 1.8 directly"
    assert "Upgrade all nodes to the latest 1.7" in row["details"]
    assert "upgrade_migration" in set(diagnosis.not_read["part"])


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_newer_server_has_invocations_that_began_on_it(old_server: Path, server: Path, tmp_path: Path) -> None:
    """An input that 1.6 wrote has no time, no JSON and no length until the code has issued a command."""
    with RestateServer(old_server, base_dir=tmp_path / "data") as began:
        with pytest.warns(errors.UntriedServer):
            lab = rl.connect(began.admin_url, ingress_url=began.ingress_url, audit=tmp_path / "audit")
        with lab:
            process, uri = start_services(tmp_path, str(SERVICES))
            with process:
                lab.admin.create_deployment(uri=uri)
                once_served(lambda: lab.ingress.call("Account", "add", 1, key="other"))
            first = lab.ingress.send("Account", "add", {"order": ORDER}, key="acme").invocation_id
            second = lab.ingress.send("Account", "add", 2, key="acme").invocation_id
            wait_for(lambda: len(lab.sql("SELECT id FROM sys_invocation WHERE status = 'backing-off'")))
    with RestateServer(server, base_dir=tmp_path / "data", vqueues=False) as now, rl.connect(now.admin_url) as lab:
        wait_for(lambda: "Every attempt fails" in str(rl.why(lab, first)))
        assert rl.journal(lab, first)["entry_type"].tolist() == ["Input"]
        assert rl.story(lab, first).members["id"].tolist() == [first]
        with lab.at("1ms") as past:
            statuses = past.sql("SELECT id, status FROM sys_invocation WHERE target_service_key = 'acme'")
        assert dict(statuses.to_numpy()) == {first: "in-progress", second: "pending"}
        reasons = rl.find(lab, ORDER, progress=False).reasons
        assert "1 input of an unknown form" in reasons


def test_every_view_of_a_panel_gives_the_reason(old: rl.Lab) -> None:
    with contextlib.closing(rl.Panel(old, refresh=None)) as panel:
        for state in VIEWS:
            panel.state = state
            assert panel.wait(doctor=True)
            assert f"supports restate {SUPPORTED}" in panel.error
            assert OLD in panel.error
            assert len(panel.frame) == 0
        assert panel.diagnosis is not None
        assert panel.diagnosis.verdict == "incomplete"
