"""A server older than any that restate_lab is tested with: it is reported, and its tables are not interpreted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.demo.server import RestateServer
from restate_lab.server import OLDEST
from support.clusters import OLD

pytestmark = pytest.mark.server

SOMEBODY = "inv_1" + "0" * 33
# In that version address and port were one setting, and there was no --no-logo.
LAUNCHER = """#!/bin/sh
node="127.0.0.1:$RESTATE_BIND_PORT"
export RESTATE_BIND_ADDRESS="$node" RESTATE_ADVERTISED_ADDRESS="http://$node/"
export RESTATE_METADATA_CLIENT__ADDRESSES="[\\"http://$node/\\"]"
export RESTATE_ADMIN__BIND_ADDRESS="127.0.0.1:$RESTATE_ADMIN__BIND_PORT"
ingress="127.0.0.1:$RESTATE_INGRESS__BIND_PORT"
export RESTATE_INGRESS__BIND_ADDRESS="$ingress" RESTATE_INGRESS__ADVERTISED_INGRESS_ENDPOINT="http://$ingress/"
exec "{binary}"
"""
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
def old(old_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    """Give a connection to the oldest server that npm has."""
    launcher = tmp_path_factory.mktemp("old") / "restate-server"
    launcher.write_text(LAUNCHER.format(binary=old_server))
    launcher.chmod(0o755)
    with RestateServer(launcher) as server:
        with pytest.warns(errors.UntriedServer, match=rf"has restate {OLD}.* {OLDEST} or newer") as caught:
            lab = rl.connect(server.admin_url)
        assert caught[0].filename == __file__
        with lab:
            yield lab


def test_the_version_is_said_where_the_cluster_is(old: rl.Lab) -> None:
    """The repr and the card state that the server is older than any tested one; newer ones have no such note."""
    said = f"restate {OLD}, older than {OLDEST}"
    assert said in repr(old)
    assert said in old._repr_html_()


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
    with pytest.raises(errors.NotOnThisServer, match=rf"needs restate {OLDEST} or newer; .* has {OLD}"):
        REFUSED[name](old, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_question_and_every_plan_refuses(old: rl.Lab) -> None:
    for name in rl.questions()["name"]:
        with pytest.raises(errors.NotOnThisServer, match=rf"question {name} needs .* has {OLD}"):
            rl.ask(old, name)
    for action in set(rl.ACTIONS) - {rl.ACTIONS.MOVE_TO}:
        with pytest.raises(errors.NotOnThisServer, match=rf"{action} needs .* has {OLD}"):
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
    assert "No problem found." not in report


def test_every_view_of_a_panel_gives_the_reason(old: rl.Lab) -> None:
    with contextlib.closing(rl.Panel(old, refresh=None)) as panel:
        for state in VIEWS:
            panel.state = state
            assert panel.wait(doctor=True)
            assert f"needs restate {OLDEST} or newer" in panel.error
            assert OLD in panel.error
            assert len(panel.frame) == 0
        assert panel.diagnosis is not None
        assert panel.diagnosis.verdict == "incomplete"
