"""Stored formats: the program opens what earlier versions wrote, and refuses a newer version with an explanation."""

from __future__ import annotations

import functools
import json
import re
import runpy
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from restate import TerminalError

import restate_lab as rl
from restate_lab.actions.plan.store import PlanStore, StoredPlan, StoredTarget
from restate_lab.alerts.alert import Event
from restate_lab.alerts.delivery import Senders, create_receivers
from restate_lab.alerts.reader import AcknowledgedAlert, ClusterVisit
from restate_lab.alerts.store import AlertStore
from restate_lab.audit import AuditLog
from restate_lab.debugging import as_errors
from restate_lab.demo import run as demo
from restate_lab.errors import (
    ArchiveBroken,
    ArgumentError,
    EvidenceBroken,
    NotReplayable,
    PlanExpired,
    RestateLabError,
    Unreachable,
)
from restate_lab.identity import ClusterIdentity
from restate_lab.mcp.approvals import ApprovalRequest, ApprovalStore
from restate_lab.notes import read_notes
from restate_lab.testing import Record
from support.sample_rows import SampleRows
from support.stored_formats import CLUSTER, RECEIVER, RECORDED_APP, unpack

ANSWERED_BY_1_6 = {
    "overview": 14, "blocked_keys": 1, "open_promises": 1, "paused": 1, "retry_storm": 7, "state_sizes": 2, "usage": 6,
    "latency_parts": 17, "waiting_on": 8,
}  # fmt: skip
"""The questions that choose between columns, each with its number of rows."""


def test_an_archive_opens_and_says_once_what_is_not_known(tmp_path: Path) -> None:
    """Every question is answered or explained; the card has one line about what its visits did not read."""
    with rl.open_history(unpack("archive-1", tmp_path)) as history:
        runs = history.sql("SELECT id, target_handler_name AS handler, completion_result AS result FROM sys_invocation")
        assert runs["id"].is_unique
        expected = {"spread": 8, "book": 8, "refuse": 4, "stumble": 2, "add": 2, "run": 2, "chat": 1, "responses": 1}
        assert runs["handler"].value_counts().to_dict() == expected
        assert (runs["result"] == "failure").sum() == 6
        assert len(history.sql("SELECT index FROM agent_steps")) == 3
        assert set(history.sql("SELECT visit, open_retention FROM visits")["open_retention"].isna()) == {True}
        assert len(history.coverage.unknown) == 1
        assert history._repr_html_().count("did not read the retention of open invocations") == 1
        assert {"terminal_failures"} <= set(rl.doctor(history).findings["check"])
        assert {gap.handler for gap in history.coverage.gaps} == {"never"}


def test_an_archive_of_shards_opens_with_what_no_shard_reads(tmp_path: Path) -> None:
    """One of three shards was released, and one of its services belongs to another shard since."""
    with rl.open_history(unpack("archive-2", tmp_path)) as history:
        runs = history.sql("SELECT id, target_service_name AS service FROM sys_invocation")
        assert runs["id"].is_unique
        assert set(runs["service"]) == {"Ledger", "Account", "Order"}
        visits = history.sql("SELECT shard, services, new_runs FROM visits ORDER BY started_at")
        assert [(row.shard, list(row.services)) for row in visits.itertuples()] == [
            ("money", ["Account", "Ledger"]),
            ("orders", ["Order"]),
            ("accounts", ["Account"]),
        ]
        assert visits["new_runs"].sum() == len(runs) > 20
        unread = {gap.service for gap in history.coverage.gaps if "in no shard" in gap.reason}
        assert unread == {"Ledger", "OpenAIAgent", "OpenAISession", "PydanticAgent"}
        assert "&#39;accounts&#39; (Account), &#39;orders&#39; (Order)" in history._repr_html_()


def test_evidence_opens_and_is_compared_with_the_archive_of_its_cluster(tmp_path: Path) -> None:
    """Evidence and an archive of one cluster at about one time have the same ended runs."""
    with (
        rl.open_evidence(unpack("evidence-2", tmp_path / "evidence")) as evidence,
        rl.open_history(unpack("archive-1", tmp_path / "archive")) as history,
    ):
        found = rl.compare(history, evidence)
        assert found.invocations["change"].tolist() == ["created"] * 2
        assert set(found.invocations["status_after"]) == {"running"}
        assert found.invocations.attrs["in_both"] == 28
        assert found.deployments.empty
        assert rl.doctor(evidence).worst == "warning"


def test_evidence_of_1_6_answers_all_but_what_needs_vqueues_and_sizes(tmp_path: Path) -> None:
    """Its tables have fewer columns, and its inputs and requests for all keys have another form."""
    with rl.open_evidence(unpack("evidence-of-1.6.1", tmp_path)) as evidence:
        assert {name: len(rl.ask(evidence, name)) for name in ANSWERED_BY_1_6} == ANSWERED_BY_1_6
        for name in ("blocked_heads", "limits", "queues", "scopes", "largest_payloads"):
            with pytest.raises(rl.errors.NotOnThisServer, match=f"question {name} is not available"):
                rl.ask(evidence, name)
        ids = dict(evidence.sql("SELECT target, min(id) FROM sys_invocation GROUP BY target").to_numpy())
        lazily = rl.journal(evidence, ids["LazyTour/k1/lazily"])
        assert lazily["entry_type"].tolist() == ["Input", "SetState", "GetLazyState", "GetLazyStateKeys", "Output"]
        held = rl.ask(evidence, "blocked_keys")["holder_id"].iloc[0]
        assert set(rl.story(evidence, held).phases["kind"]) == {"retrying", "running"}
        assert "Every attempt fails" in rl.why(evidence, held).summary
        assert len(rl.waits(evidence).edges) == 9
        assert dict(rl.state(evidence, "LazyTour", "k1")) != {}
        assert rl.compare(evidence, evidence).state.empty
        assert "1 input of an unknown form" in rl.find(evidence, "acme", since="3650d").reasons
        upgrade = rl.doctor(evidence, checks="upgrade", partitions=4).findings.set_index("check")
        assert upgrade.loc["upgrade_version", "severity"] == "critical"
        assert "Upgrade all nodes to the latest 1.7" in upgrade.loc["upgrade_version", "details"]
        assert upgrade.loc["upgrade_migration", "count"] == len(evidence.sql("SELECT id FROM sys_invocation"))


def test_an_archive_of_1_6_answers_all_about_ended_invocations(tmp_path: Path) -> None:
    with rl.open_history(unpack("archive-of-1.6.1", tmp_path)) as history:
        assert history.version == "1.6.1"
        assert [len(rl.ask(history, name)) for name in ("usage", "latency_parts")] == [6, 17]
        ids = dict(history.sql("SELECT target, min(id) FROM sys_invocation GROUP BY target").to_numpy())
        assert "GetLazyStateKeys" in set(rl.journal(history, ids["LazyTour/k1/lazily"])["entry_type"])
        assert rl.doctor(history, checks="terminal_failures").findings["count"].tolist() == [3]


def test_the_state_of_watch_goes_on(tmp_path: Path) -> None:
    """Waiting messages are delivered once; an open alert is sent again, because its cluster is not known."""
    file = unpack("watch-1", tmp_path) / "watch.sqlite"
    with closing(Senders()) as senders:
        (receiver,) = create_receivers(senders, [RECEIVER], [], keep=timedelta(minutes=5))
    delivered: list[tuple[str, str]] = []
    opened: list[str] = []
    for _ in range(2):  # the second process finds nothing to do
        store = AlertStore(file)
        try:
            now = datetime.now(UTC)
            assert store.set_receivers([receiver.id], now) == 0
            alerts = tuple(each.alert for each in store.open_alerts())
            opened += [each.subject for each in alerts]
            store.record(ClusterVisit(cluster=CLUSTER, at=now, alerts=alerts))
            store.record(ClusterVisit(cluster=CLUSTER, at=now, alerts=()))
            while message := store.next_message(receiver.id, now, waits=False):
                delivered.append((message.alert.subject, message.event.value))
                store.remove(message)
        finally:
            store.close()
    assert opened == ["Ledger/refuse", "OpenAIAgent/chat"]
    subjects = [*opened, "OpenAIAgent/responses"]
    assert sorted(delivered) == sorted(
        [(subject, event.value) for subject in subjects for event in (Event.OPENED, Event.RESOLVED)]
        + [(subject, Event.OPENED.value) for subject in opened]
    )


def clusters_of_notes(folder: Path) -> list[ClusterIdentity | None]:
    """Return the clusters of the two notes of an example, which have the same texts in each version."""
    known = read_notes(folder)
    assert [each.text for each in known.notes] == ["INC-42: called the provider", "INC-42: paused by hand"]
    assert [each.acknowledges for each in known.notes] == [False, True]
    assert known.unreadable == []
    return [each.cluster for each in known.notes]


def test_a_note_of_an_earlier_version_does_not_know_its_cluster(tmp_path: Path) -> None:
    unpack("notes-1", tmp_path / "notes")
    assert clusters_of_notes(tmp_path) == [None, None]
    unpack("watch-3", tmp_path)
    with closing(AlertStore(tmp_path / "watch.sqlite")) as store:
        alerts = tuple(each.alert for each in store.open_alerts())
        changes = store.record(ClusterVisit(cluster=CLUSTER, at=datetime.now(UTC), alerts=alerts))
        assert [event for event, _ in changes] == [Event.OPENED] * len(alerts)


def test_notes_and_their_acknowledgement_in_the_state_of_watch_go_on(tmp_path: Path) -> None:
    """The note that the state has is not reported again; the alert is sent when the note does not hold any more."""
    unpack("notes-2", tmp_path / "notes")
    _, identity = clusters_of_notes(tmp_path)
    assert identity is not None
    notes = rl.audit_log(tmp_path, notes=True)
    store, now = AlertStore(unpack("watch-4", tmp_path) / "watch.sqlite"), datetime.now(UTC)
    visit = functools.partial(ClusterVisit, cluster=CLUSTER, at=now, identity=identity)
    try:
        (paused,) = (each.alert for each in store.open_alerts() if each.alert.rule == "paused")
        known = {paused.fingerprint: AcknowledgedAlert(notes["id"][1], paused)}
        others = tuple(each.alert for each in store.open_alerts() if each.alert.rule != "paused")
        assert store.record(visit(alerts=others, acknowledged=known)) == []
        ended = store.record(visit(alerts=(paused, *others)))
        assert ended == [(Event.OPENED, paused)]
    finally:
        store.close()


def test_audit_records_without_a_format_are_read(tmp_path: Path) -> None:
    folder = unpack("audit-0", tmp_path)
    log = AuditLog(folder)
    log.result(log.intent("purge_invocation", ["inv_1"]), "done")
    changes = rl.audit_log(folder)
    assert len(changes) == 25
    assert set(changes["outcome"]) == {"done"}
    assert "pause_invocation" in set(changes["action"])


def test_records_and_their_tests_still_reproduce_what_was_recorded(tmp_path: Path) -> None:
    """A failure outside of steps and one that ended the invocation are raised, and a result is returned."""
    folder = unpack("record-1", tmp_path)
    tests = {path.stem.split("_")[2]: path for path in folder.glob("test_ledger_*.py")}
    raised = {"stumble": (ValueError, "attempt of 20 failed"), "refuse": (TerminalError, "cannot book")}
    for handler, (error, message) in raised.items():
        with pytest.raises(error, match=message):
            runpy.run_path(str(tests[handler]))[tests[handler].stem]()
    runpy.run_path(str(tests["spread"]))[tests["spread"].stem]()
    for path in folder.glob("journals/*.json"):
        journal = Record.load(path).journal
        assert (journal.service, journal.protocol, journal.masked) == ("Ledger", 7, ())
        assert Record.load(path).reproduces(RECORDED_APP) == ("spread" not in path.name)


def test_a_stored_plan_has_the_runs_and_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of an earlier version has the same, but not its cluster, so it is refused before it is claimed."""
    monkeypatch.setattr("restate_lab.actions.plan.store.LIFETIME", timedelta(days=100_000))
    for name, has_cluster in (("plan-1", False), ("plan-2", True)):
        folder = unpack(name, tmp_path / name)
        (file,) = folder.iterdir()
        file.chmod(0o600)
        store = PlanStore(folder)
        plan = store.load(file.stem)
        assert (plan.name, plan.cluster is not None) == (file.stem, has_cluster)
        assert (plan.action, plan.deployment, plan.from_index) == ("restart_as_new", "latest", 1)
        assert [(each.status, each.is_restarted) for each in plan.targets] == [("succeeded", False)] * 2
        command = f"restate-lab plan restart-as-new {plan.targets[0].id} {plan.targets[1].id} --deployment latest"
        lab: Any = SampleRows()
        lab.fails = Unreachable("no route")
        with pytest.raises(PlanExpired) as refused:
            plan.check_cluster(lab, "prod")
        assert f"plan again: {command} --from-index 1 -e prod" in str(refused.value)
        assert ("an earlier version of restate_lab wrote it" in str(refused.value)) == (not has_cluster)
        assert len(lab.asked) == has_cluster, "nothing that is read now can prove it"
        store.claim(plan)


def test_a_request_of_an_assistant_has_its_cluster(tmp_path: Path) -> None:
    """A request of an earlier version does not, and its server could not compare it, so it is refused."""
    for name in ("approval-1", "approval-2"):
        (unpack(name, tmp_path / name) / "plan-1a2b3c4d.pending").chmod(0o600)
    request = ApprovalStore(tmp_path / "approval-2").load("plan-1a2b3c4d")
    assert request.cluster is not None
    assert len(request.cluster.deployments) > 1
    with pytest.raises(ArgumentError, match="has format 1, and this restate_lab reads format 2: approve it with"):
        ApprovalStore(tmp_path / "approval-1").load("plan-1a2b3c4d")


def newer_archive(folder: Path) -> None:
    unpack("archive-1", folder)
    log = next((folder / "visits" / "_delta_log").glob("*0.json"))
    log.write_text(log.read_text("utf-8").replace("archive, schema 1", "archive, schema 3"), "utf-8")
    rl.open_history(folder)


def newer_evidence(folder: Path) -> None:
    manifest = unpack("evidence-2", folder) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text("utf-8")) | {"format": 3}), "utf-8")
    rl.open_evidence(folder)


def newer_watch_state(folder: Path) -> None:
    file = unpack("watch-1", folder) / "watch.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    AlertStore(file)


def newer_approval(folder: Path) -> None:
    store, expires = ApprovalStore(folder), datetime.now(UTC) + timedelta(hours=1)
    store.save(ApprovalRequest("plan-1a2b3c4d", "text", "question", "1", "targets", expires))
    file = folder / "plan-1a2b3c4d.pending"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"format": 3, "more": True}), "utf-8")
    store.load("plan-1a2b3c4d")


def newer_plan(folder: Path) -> None:
    target = StoredTarget("inv_1", "2026-05-01T10:00:00+00:00", "paused")
    where = ("prod", "http://127.0.0.1:9070", "restate 1.7.12, with vqueues")
    plan, store = StoredPlan("resume", None, None, *where, datetime.now(UTC), (target,)), PlanStore(folder)
    store.save(plan)
    file = folder / f"{plan.name}.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"format": 3, "more": True}), "utf-8")
    store.load(plan.name)


def newer_audit_log(folder: Path) -> None:
    log = AuditLog(folder)
    log.intent("purge_invocation", ["inv_1"])
    assert log.path is not None
    log.path.write_text(json.dumps(json.loads(log.path.read_text("utf-8")) | {"format": 2, "kind": "x"}), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rl.audit_log(folder)


def newer_note(folder: Path) -> None:
    (file,) = unpack("notes-2", folder / "notes").iterdir()
    file.write_text(file.read_text("utf-8").replace('"format": 2', '"format": 3'), "utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rl.audit_log(folder, notes=True)


def newer_record(folder: Path) -> None:
    path = next((unpack("record-1", folder) / "journals").glob("*.json"))
    path.write_text(path.read_text("utf-8").replace('"format": 1', '"format": 2'), "utf-8")
    with as_errors():
        Record.load(path)


def newer_demo(folder: Path) -> None:
    folder.mkdir()
    demo._check_format(folder)
    demo._check_format(folder)
    (folder / "format.txt").write_text("2")
    demo._check_format(folder)


@pytest.mark.parametrize(
    ("open_newer", "error", "message"),
    [
        (newer_archive, ArchiveBroken, "has schema 3, and this restate_lab supports 2: update restate_lab"),
        (newer_evidence, EvidenceBroken, "has format 3, but this version of restate_lab reads only format 2: install"),
        (newer_watch_state, ArgumentError, r"a newer restate_lab wrote .*; install .*, or name another"),
        (newer_approval, ArgumentError, "has format 3, and this restate_lab reads format 2: approve it with"),
        (newer_plan, ArgumentError, "has format 3, and this restate_lab reads format 2: execute it with"),
        (newer_audit_log, rl.errors.Truncated, r"\(format 2; this restate_lab reads up to 1: update it\)"),
        (newer_note, rl.errors.Truncated, r"\(format 3; this restate_lab reads up to 2: update it\)"),
        (newer_record, NotReplayable, "has the format 2; this version reads format 1"),
        (newer_demo, RestateLabError, "format '2', and this one reads '1'.; update restate_lab, or use another folder"),
    ],
)
def test_a_newer_version_is_refused(
    tmp_path: Path, open_newer: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        open_newer(tmp_path / "stored")
    assert re.search(message, str(raised.value)), str(raised.value)
