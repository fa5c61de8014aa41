"""One cluster on its way to 1.8: the same invocations before, during and after the migration to vqueues.

Four servers read one data folder in turn: without vqueues; with vqueues for open invocations only; with all
invocations migrated; and with the flag off again, as after a roll-back to 1.7. A fifth is the imitation of 1.8.1. The
first one is also read behind the imitation, as a cluster of 1.8 in which no partition is migrated yet.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rules
from restate_lab.analysis.invocations.filters import ALL, Filters
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.client.ingress import InvocationStage
from restate_lab.client.sql.parts import complete
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import FLAGS_OF_1_8, RestateServer
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.status import STATUSES_SQL
from support import imitation
from support.bench import wait_for, wait_until_served
from support.clusters import PLAIN, SKIP, VQUEUES, server_binary
from support.every_status import READY, SERVICES, InvocationStatuses
from support.fake_endpoint import MANIFEST, deployment, response
from support.raw_server import raw_server

pytestmark = [pytest.mark.server, pytest.mark.long]

RETENTION = {"RESTATE_EXPERIMENTAL_ENABLE_PREFLIGHT_INVOCATION_TERMINATION_RETENTION": "true"}
PHASES: Mapping[str, Mapping[str, str]] = {
    "legacy": {},
    "open ones only": VQUEUES | SKIP,
    "migrated": VQUEUES,
    "rolled back": {},
    "1.8.1": {**FLAGS_OF_1_8, **RETENTION},
}
BUTTONS = ("cancel", "kill", "resume", "purge", "pause")
TIMES = re.compile(r"\d+ ?(?:ms|s|m|h|d)\b(?: \d+ ?[smh]\b)*|\d\d:\d\d(?::\d\d)?|\d{4}-\d\d-\d\d")
HOSTILE = "a/\"b'é✓"


@dataclass(frozen=True)
class Answers:
    """The answers about the cluster in one phase, as values that do not depend on the time."""

    name: str
    statuses: dict[str, str | None]
    values: dict[str, Any]
    loses_changes: bool
    buttons: dict[str, int]
    pausable: int
    copies: dict[str, Any]
    """The same values from evidence, and the alerts of `restate-lab watch`."""
    upgrade: list[dict[Any, Any]]
    """The findings of the checks before an upgrade."""


@dataclass(frozen=True)
class Unmigrated:
    """What the functions that need the holders of keys report about the cluster of 1.8 that is not migrated."""

    why: dict[str, rl.Explanation]
    waits: rl.Waits
    blocked: pd.DataFrame
    findings: rl.Diagnosis


@dataclass(frozen=True)
class Migration:
    """The names of the invocations, the answers of each phase, and a connection in the last phase.

    ``change`` is the finding about a change of state that was sent before the migration. ``log`` is the server's log
    after the first migration.
    """

    ids: dict[str, str]
    change: tuple[str, str]
    log: str
    phases: list[Answers]
    unmigrated: Unmigrated
    lab: rl.Lab
    archive: Path
    """It was visited once in each phase."""


@pytest.fixture(scope="module")
def migration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migration]:
    folder = tmp_path_factory.mktemp("migration")
    services, uri = start_services(folder, str(SERVICES))
    ids: dict[str, str] = {}
    answers = []
    change, log = ("", ""), ""
    with services:
        for name, settings in PHASES.items():
            with contextlib.ExitStack() as stack:
                server = stack.enter_context(
                    RestateServer(server_binary(PLAIN), base_dir=folder / "server", vqueues=False, env=dict(settings))
                )
                url = server.admin_url
                if name == "1.8.1":
                    url = stack.enter_context(imitation.imitation(url))
                lab = stack.enter_context(rl.connect(url, ingress_url=server.ingress_url, audit=folder / name))
                ids = ids or begin(lab, uri)
                answers.append(answers_in(name, lab, ids, folder))
                if name == "legacy":
                    unmigrated = read_unmigrated(url, ids)
                    change = change_state(lab, ids["holder"])
                if name == "open ones only":
                    log = server.process.log.read_text("utf-8")
                if name == "1.8.1":
                    yield Migration(ids, change, log, answers, unmigrated, lab, folder / "archive")


def read_unmigrated(url: str, ids: Mapping[str, str]) -> Unmigrated:
    """Read a server without vqueues behind the imitation: 1.8 does not report the holders of its keys."""
    with imitation.imitation(url) as imitated, rl.connect(imitated, read_only=True) as lab:
        with pytest.warns(rl.errors.Truncated, match="the holder of 1 key is not known"):
            waiting = rl.waits(lab)
        explained = {name: rl.why(lab, ids[name]) for name in ("first", "holder")}
        return Unmigrated(explained, waiting, rl.ask(lab, "blocked_keys"), rl.doctor(lab))


STATUSES = {
    "holder": "suspended",
    "first": "pending",
    "second": "pending",
    "later": "scheduled",
    "flaky": "backing-off",
    "paused": "paused",
    "waits": "suspended",
    "greeted": "succeeded",
    "failed": "failed",
}


def begin(lab: rl.Lab, uri: str) -> dict[str, str]:
    lab.admin.create_deployment(uri=uri)
    wait_until_served(lab, *READY)
    return send_all(lab)


def answers_in(phase: str, lab: rl.Lab, ids: Mapping[str, str], folder: Path) -> Answers:
    wait_for(lambda: statuses_of(lab, ids), lambda seen: seen == STATUSES)
    lab.ingress.call("Held", "take", "x", key=phase)  # an invocation that ends in this phase
    answers = Answers(
        phase,
        statuses_of(lab, ids),
        answers_of(lab, ids),
        loses_changes=any("5416" in each for each in rl.state(lab, "Held", HOSTILE).warnings),
        buttons=buttons_of(lab, ids),
        pausable=len(rl.plan(lab, "pause", list(ids.values())).targets),
        copies=copies_of(lab, ids, folder / phase),
        upgrade=rows(rl.doctor(lab, checks="upgrade", partitions=4).findings),
    )
    rl.archive(lab, folder / "archive", cluster_name="prod", same_cluster=True)
    return answers


def copies_of(lab: rl.Lab, ids: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return the statuses and findings in evidence of this phase, and the alerts of a watcher's visit."""
    names = {id_: name for name, id_ in ids.items()}
    evidence = rl.open_evidence(rl.freeze(lab, path.with_suffix(".evidence")))
    rows_ = evidence.arrow(complete(STATUSES_SQL, evidence)).to_pylist()
    visit = ClusterReader(name="prod", option=lab.address, rules=Rules(), commands=lambda *_: None).visit()
    return {
        "statuses": {names[row["id"]]: row["word"] for row in rows_ if row["id"] in names},
        "findings": findings_of(evidence),
        "blocked keys": list(rl.ask(evidence, "blocked_keys")["waiting"]),
        "edges": len(rl.waits(evidence).edges),
        "alerts": sorted((alert.rule, alert.subject, str(alert.severity)) for alert in visit.alerts),
    }


def change_state(lab: rl.Lab, holder: str) -> tuple[str, str]:
    assert (
        lab.admin.modify_service_state("Held", HOSTILE, new_state={"dropped": b"1"}, reason="INC-42").queued_behind
        == holder
    )
    (row,) = rl.doctor(lab, checks="upgrade_state_changes").findings.to_dict("records")
    return row["severity"], row["title"]


def send_all(lab: rl.Lab) -> dict[str, str]:
    send = lab.ingress.send
    ids = {"holder": send("Held", "hold", key=HOSTILE).invocation_id}
    wait_for(lambda: statuses_of(lab, ids), lambda seen: seen == {"holder": "suspended"})
    ids |= {name: send("Held", "take", "x", key=HOSTILE).invocation_id for name in ("first", "second")}
    ids |= {"later": send("Every", "greet", "x", delay="1h").invocation_id}
    handlers = {"flaky": "flaky", "paused": "pauses", "waits": "waits", "greeted": "greet", "failed": "fail"}
    return ids | {name: send("Every", handler, "x").invocation_id for name, handler in handlers.items()}


def statuses_of(lab: rl.Lab, ids: Mapping[str, str]) -> dict[str, str | None]:
    by_id = InvocationStatuses("", lab, {}, ()).by_id()
    return {name: by_id.get(id_) for name, id_ in ids.items()}


def answers_of(lab: rl.Lab, ids: Mapping[str, str]) -> dict[str, Any]:
    """Ask each function that must know where an invocation is; without times."""
    names = {id_: name for name, id_ in ids.items()}
    blocked = rl.ask(lab, "blocked_keys")
    backlog = rl.ask(lab, "backlog_by_key")
    overview = rl.ask(lab, "overview").query("target_handler_name != 'take' or status != 'succeeded'")
    storm = rl.ask(lab, "retry_storm_ids")
    waiting = rl.waits(lab)
    why = {name: rl.why(lab, ids[name]) for name in ("first", "flaky", "holder")}
    plans = {action: rl.plan(lab, action, list(ids.values())) for action in ("cancel", "kill", "resume", "purge")}
    return {
        "keys": [(row["target_service_key"], row["waiting"], names[row["holder_id"]]) for row in rows(blocked)],
        "holder": list(blocked["holder_status"]),
        "backlog": [(row["target_service_key"], row["waiting"], names[row["oldest_id"]]) for row in rows(backlog)],
        "overview": sorted(
            zip(overview["target_handler_name"], overview["status"], overview["invocations"], strict=True)
        ),
        "storm": [(names[row["id"]], row["status"], row["message"]) for row in rows(storm)],
        "wakes": sorted((names[row["id"]], row["event"]) for row in rows(rl.ask(lab, "wakes_next", until="2h"))),
        "edges": sorted((names[row["waiter"]], names.get(row["blocker"], "")) for row in rows(waiting.edges)),
        "why": {name: (each.status, TIMES.sub("…", each.summary)) for name, each in why.items()},
        "plans": {action: sorted(names[id_] for id_ in plan.targets) for action, plan in plans.items()},
        "impact": {action: sorted(names.get(id_, "") for id_ in plan.impact["id"]) for action, plan in plans.items()},
        "findings": findings_of(lab),
    }


def findings_of(source: rl.Source) -> list[tuple[str, int]]:
    # Some findings begin at an age that a slow machine reaches in a later phase only.
    findings = rl.doctor(source, now=source.now + timedelta(minutes=30)).findings
    return sorted(zip(findings["check"], findings["count"], strict=True))


def buttons_of(lab: rl.Lab, ids: Mapping[str, str]) -> dict[str, int]:
    """Return action → the number on its button, if all these invocations are selected in a panel."""
    frame = read_rows(lab, Filters(status=(ALL,), id=tuple(ids.values()))).frame
    bar = ActionBar(lab, guard=lambda work: work, say=print, acted=list, label=str)
    bar.offer(frame[["id", "created_at"]], frame[["status", "in_vqueue"]])
    labels = {action: bar.buttons[rl.ACTIONS(action)].description for action in BUTTONS}
    bar.close()
    return {action: int(label.rpartition(" ")[2]) for action, label in labels.items()}


def rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


def test_statuses_stay_the_same_in_each_phase(migration: Migration) -> None:
    assert [each.statuses for each in migration.phases] == [STATUSES] * len(PHASES)


@pytest.mark.parametrize("phase", list(PHASES)[1:])
def test_answers_stay_the_same_in_each_phase(migration: Migration, phase: str) -> None:
    before = migration.phases[0].values
    (now,) = [each.values for each in migration.phases if each.name == phase]
    assert before["keys"] == [(HOSTILE, 2, "holder")]
    assert {name: value for name, value in now.items() if value != before[name]} == {}


@pytest.mark.parametrize("phase", list(PHASES))
def test_evidence_and_alerts_stay_the_same_in_each_phase(migration: Migration, phase: str) -> None:
    before = migration.phases[0]
    (now,) = [each.copies for each in migration.phases if each.name == phase]
    assert now["statuses"] == STATUSES
    assert now["findings"] == before.values["findings"]
    assert (now["blocked keys"], now["edges"]) == ([2], len(before.values["edges"]))
    assert ("paused", "Every/pauses", "critical") in now["alerts"]


def test_an_archive_has_the_runs_of_all_phases_once(migration: Migration) -> None:
    """An archiver that visits in each phase adds what ended in the phase, and nothing that it has already."""
    with rl.open_history(migration.archive) as history:
        runs = history.sql("SELECT id, target, status FROM sys_invocation")
    assert not runs["id"].duplicated().any()
    assert set(runs["target"]) >= {f"Held/{phase}/take" for phase in PHASES}
    assert {migration.ids["greeted"], migration.ids["failed"]} <= set(runs["id"])


def test_a_holder_that_cannot_be_read_is_not_known(migration: Migration) -> None:
    """Before its migration 1.8 reports no holder of a key: the blocker of a queued call is unknown."""
    seen = migration.unmigrated
    assert [(row["waiting"], row["holder_status"]) for row in rows(seen.blocked)] == [(2, "not known")]
    assert seen.blocked["holder_id"].isna().all()
    assert "not known" in seen.waits.reasons[0]
    assert set(seen.waits.edges.loc[seen.waits.edges["kind"] == "key", "blocker"]) == {None}
    assert "The holder of the key is not known" in seen.why["first"].summary
    assert "Whether invocations wait for it is not known." in seen.why["holder"].summary
    assert all("not known" in each.reasons[0] for each in seen.why.values())
    assert seen.findings.verdict == "incomplete"
    gaps = seen.findings.not_read.set_index("part")["reason"]
    assert "not known" in gaps["blocked_keys"]
    assert "not known" in gaps["deadlocks"]


def test_a_pause_before_the_migration_has_an_unknown_cause(migration: Migration) -> None:
    """Without vqueues a pause by hand has the last failure, too, and a migration does not change that."""
    lab, paused = migration.lab, migration.ids["paused"]
    assert "does not record whether it ran out of attempts or was paused by hand" in rl.why(lab, paused).summary
    other = lab.ingress.send("Every", "pauses", "x").invocation_id
    wait_for(lambda: rl.why(lab, other), lambda seen: seen.status == "paused")
    summary = rl.why(lab, other).summary
    assert "paused after one attempt: its retry policy allows only one, or its handler asked for the pause" in summary


def until(lab: rl.Lab, id_: str, status: str) -> None:
    """Wait for a status; it is read often, because a sleep of some seconds must not be missed."""
    wait_for(lambda: statuses_of(lab, {"it": id_})["it"], lambda seen: seen == status)


def start_again_during_a_sleep(lab: rl.Lab, seconds: int) -> tuple[str, bool]:
    """Kill a workflow that sleeps and start it again; return its id, and whether the sleep had not ended."""
    started = time.monotonic()
    first = lab.ingress.send("Nap", "sleeps", seconds, key=f"{seconds}").invocation_id
    until(lab, first, "suspended")
    lab.admin.kill_invocation(first, reason="INC-42")
    lab.admin.purge_invocation(first, reason="INC-42")
    second = lab.ingress.send("Nap", "sleeps", 0, key=f"{seconds}").invocation_id
    assert second == first
    until(lab, second, "suspended")
    return second, time.monotonic() - started < seconds


def test_a_timer_of_an_earlier_run_is_recognized(migration: Migration) -> None:
    """A server before 1.8.0 lets the sleep of a killed run end in the next run with its id (#5425)."""
    lab = migration.lab
    for seconds in (4, 15, 30):  # on a busy machine, the first timers fire before the next run has started
        id_, is_in_time = start_again_during_a_sleep(lab, seconds)
        if is_in_time:
            break
        lab.admin.kill_invocation(id_, reason="INC-42")
    until(lab, id_, "succeeded")
    assert "A timer of an earlier invocation with this id fired into this one" in rl.why(lab, id_).summary
    other = lab.ingress.send("Nap", "sleeps", 1, key="j").invocation_id
    until(lab, other, "succeeded")
    assert "timer" not in rl.why(lab, other).summary


def test_buttons_have_the_numbers_of_plans(migration: Migration) -> None:
    for each in migration.phases:
        planned = {action: len(targets) for action, targets in each.values["plans"].items()}
        assert each.buttons == {**planned, "pause": each.pausable}
    assert [each.pausable for each in migration.phases] == [1, 3, 3, 3, 3]


def test_changes_of_state_can_be_lost_in_vqueues_before_1_8(migration: Migration) -> None:
    """A state has a warning while changes go through vqueues of 1.7.12, also if a roll-back hides them."""
    warned = {each.name: each.loses_changes for each in migration.phases}
    assert warned == {**dict.fromkeys(PHASES, True), "legacy": False, "1.8.1": False}


def test_an_end_before_the_start_leaves_a_row_with_the_flag(migration: Migration) -> None:
    """With the flag for their retention, cancelled and killed invocations keep their rows; plan and outcome agree."""
    lab = migration.lab
    send = {"cancel": lambda: lab.ingress.send("Every", "greet", "x", delay="1h")}
    send |= {"kill": lambda: lab.ingress.send("Flow", "run", "x", key="w", delay="1h")}
    ids = {action: send[action]().invocation_id for action in send}
    wait_for(lambda: set(statuses_of(lab, ids).values()) == {"scheduled"})
    for action, status in (("cancel", "cancelled"), ("kill", "killed")):
        plan = rl.plan(lab, action, [ids[action]])
        assert list(plan.frame["effect"]) == [
            f"{status} before its start; it remains as a completed row until its retention ends"
        ]
        (warning,) = [each for each in plan.warnings if "have not started" in each]
        assert "the key of a workflow and an idempotency key stay taken" in warning
        outcome = plan.execute(reason="test")
        assert outcome[["outcome", "status"]].values.tolist() == [["done", status]]
    assert send["kill"]().status == "PreviouslyAccepted"
    pending = lab.ingress.send("Held", "take", "x", key=HOSTILE).invocation_id
    wait_for(lambda: statuses_of(lab, {"": pending}) == {"": "pending"})
    change = lab.admin.cancel_invocation(pending, reason="INC-42")
    assert (change.took_effect, change.state) == (True, "completed")
    assert lab.admin.purge_invocation(pending, reason="INC-42").took_effect
    for id_ in ids.values():
        lab.admin.purge_invocation(id_, reason="INC-42")


def test_a_queued_change_of_state_is_not_an_invocation(migration: Migration) -> None:
    lab, holder = migration.lab, migration.ids["holder"]
    change = lab.admin.modify_service_state("Held", HOSTILE, new_state={"a": b"1"}, reason="INC-42")
    assert change.queued_behind == holder
    changes = lab.sql("SELECT entry_id FROM sys_vqueues WHERE entry_kind = 'state-mutation'")["entry_id"]
    assert list(changes.str.startswith("mut_")) == [True]
    for action in ("cancel", "kill", "pause"):
        plan = rl.plan(lab, action, [holder])
        assert list(plan.targets) == [holder]
        changes = plan.impact[plan.impact["kind"] == "state change"]
        assert changes[["id", "target"]].values.tolist() == [[None, f"Held/{HOSTILE}"]]
    assert len(rl.waits(lab).edges) == len(migration.phases[0].values["edges"])
    assert "1 change of state waits since" in rl.why(lab, holder).summary
    assert "change" not in rl.why(lab, migration.ids["first"]).summary  # it was queued before the change
    behind = lab.ingress.send("Held", "take", "x", key=HOSTILE).invocation_id
    explained = wait_for(lambda: rl.why(lab, behind), lambda seen: seen.status == "pending")
    assert "1 change of state waits since" in explained.summary
    assert dict(explained.facts)["changes of state"].endswith("is applied before it starts")
    diagnosis = rl.doctor(lab, checks="queued_changes", now=lab.now + timedelta(minutes=5))
    assert list(diagnosis.findings["count"]) == [1]
    assert f"Held/{HOSTILE} is held by Held/{HOSTILE}/hold (suspended)" in diagnosis.findings["details"][0]
    assert rl.doctor(lab, checks="queued_changes").verdict == "healthy"
    assert rl.set_state(lab, "Held", "free", {"a": 1}, reason="test").raw == {"a": b"1"}


def test_a_run_of_an_entry_has_an_id_of_its_own(migration: Migration) -> None:
    """1.8.1 has a last column ``canonical_id`` in two tables; the schema has it, and a statement can read it."""
    lab, tables = migration.lab, migration.lab.tables()
    for table in ("sys_vqueues", "sys_vqueue_entry_status"):
        names = list(tables.loc[tables["table"] == table, "column"])
        assert names[-1] == "canonical_id"
        assert lab.arrow(f'SELECT * FROM "{table}"').column_names == names
        ids = lab.sql(f"SELECT e.entry_id, e.canonical_id, e.sequence_number FROM {table} e")
        expected = ids["entry_id"] + "_" + ids["sequence_number"].astype(str)
        assert len(ids) >= len(migration.ids)
        assert list(ids["canonical_id"]) == list(expected)
    assert "sys_keyed_service_status" not in set(lab.sql("SHOW TABLES")["table_name"])


def test_a_server_without_flags_is_a_server_with_vqueues(migration: Migration) -> None:
    """1.8 does not report what it always has, and a newer server is reported once when connecting."""
    assert migration.lab.version == imitation.VERSION
    assert migration.lab.features["vqueues"]
    assert "vqueues" in repr(migration.lab)
    assert {each.type for each in migration.lab.admin.list_deployments()} == {"http"}
    with pytest.raises(rl.errors.NotOnThisServer, match="restatectl status"):
        migration.lab.admin.cluster_health()


def test_attempts_on_a_removed_deployment_are_counted(migration: Migration) -> None:
    """With vqueues the counter of attempts since the last entry misses those that reach no code (RT0011)."""
    lab, flaky = migration.lab, migration.ids["flaky"]
    deployment = lab.admin.list_deployments()[0]
    entry = "SELECT status, retry_attempts FROM sys_vqueue_entry_status WHERE entry_id = :id"
    lab.admin.delete_deployment(deployment.id, force=True, reason="INC-42")
    try:
        lab.admin.resume_invocation(flaky)
        wait_for(lambda: lab.sql(entry, id=flaky).iloc[0], lambda row: row["retry_attempts"] > 2)
        before, explained = lab.sql(entry, id=flaky)["retry_attempts"][0], rl.why(lab, flaky)
        attempts = re.search(r"Every attempt fails: (\d+) attempts since", explained.summary)
        assert attempts, explained.summary
        assert before <= int(attempts[1]) <= before + 1
        assert "RT0011" in explained.summary
    finally:
        lab.admin.create_deployment(uri=deployment.uri)


def test_a_workflow_in_a_scope_has_a_stage(migration: Migration) -> None:
    """With its scope, status() finds the invocation that it does not find without, also behind the imitation."""
    lab, names = migration.lab, {"service": "Every", "handler": "greet", "idempotency_key": "scoped"}
    headers = {"idempotency-key": "scoped"}
    url = f"{lab.settings.ingress_url}/restate/scope/tenant/send/Every/greet"
    id_ = httpx.post(url, json="x", headers=headers).json()["invocationId"]
    wait_for(lambda: lab.ingress.status(id_).stage == "completed")
    assert lab.ingress.status(**names, scope="tenant") == InvocationStage(id_, "completed")  # type: ignore[arg-type]
    for scope in (None, "other"):
        with pytest.raises(rl.errors.NotFound):
            lab.ingress.status(**names, scope=scope)  # type: ignore[arg-type]


def test_several_deployments_are_removed_with_one_request(migration: Migration) -> None:
    lab = migration.lab
    kind = "content-type: application/vnd.restate.endpointmanifest.v1+json\r\n"
    manifest = {**MANIFEST, "services": [{"name": "Spare", "ty": "SERVICE", "handlers": [{"name": "run"}]}]}
    found = response(json.dumps({**manifest, "protocolMode": "REQUEST_RESPONSE"}).encode(), headers=kind)
    with raw_server(respond=deployment(b"", discover=found)) as endpoint:
        added = lab.admin.create_deployment(uri=endpoint.address, use_http_11=True).id
        result = lab.admin.bulk_delete_deployments([added], reason="INC-42")
    assert (result.removed, result.remaining) == ((added,), ())
    assert added not in [each.id for each in lab.admin.list_deployments()]
    log = rl.audit_log(lab.transport.audit.folder)
    assert [(row["outcome"], row["reason"]) for row in rows(log[log["action"] == "bulk_delete_deployments"])] == [
        ("done", "INC-42")
    ]


def test_what_an_upgrade_migrates_is_known_in_each_phase(migration: Migration) -> None:
    """Before, in the middle, after, and rolled back: the rows show which invocations are not migrated."""
    titles = {
        each.name: [row["title"] for row in each.upgrade if row["check"] in {"upgrade_migration", "upgrade_version"}]
        for each in migration.phases
    }
    done = "the upgrade has nothing to migrate: {} invocations are in vqueues already"
    assert titles == {
        "legacy": ["the upgrade migrates 7 open and 4 completed invocations to vqueues, in less than 1s"],
        "open ones only": ["4 completed invocations are not migrated to vqueues yet; 8 invocations are"],
        "migrated": [done.format(13)],
        "rolled back": [done.format(14)],
        "1.8.1": ["this cluster already has restate 1.8.1: no preparation is needed"],
    }
    severities = {each.name: {row["severity"] for row in each.upgrade} for each in migration.phases}
    assert severities == {"legacy": {"warning", "note"}} | {name: {"note"} for name in list(PHASES)[1:]}


def test_a_change_of_state_that_the_migration_drops_is_to_do(migration: Migration) -> None:
    """A change that this computer sent while the key was held is critical; the server drops it and logs that."""
    severity, title = migration.change
    assert severity == "critical"
    assert "1 change of state of Held/" in title
    assert "the migration drops it" in title
    assert "[VQueues Migration] Ignoring inboxed state mutation" in migration.log
    assert rl.state(migration.lab, "Held", HOSTILE).raw.get("dropped") is None


def test_partitions_have_equal_ranges_of_the_keys(migration: Migration) -> None:
    """The largest partition has as many completed invocations as the partition that skipped most of them logs."""
    skipped = [int(n) for n in re.findall(r"\bskipped_completed=(\d+)", migration.log)]
    (details,) = [row["details"] for row in migration.phases[0].upgrade if row["check"] == "upgrade_migration"]
    largest = re.search(r"Of 4 partitions, number \d has the most completed ones: (\d+)", details)
    assert largest is not None
    assert int(largest[1]) == max(skipped)
    assert sum(skipped) == 4
