"""The doctor on a server whose limits, queues and slots keep calls from starting, and on one that is only busy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rule, Rules
from restate_lab.alerts.store import AlertStore
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.client.models import UpsertRule
from support.bench import Bench, running_bench, wait_for
from support.clusters import NEEDS_FLAG, NEWEST
from support.scoped import send_scoped

SERVICES = Path(__file__).parents[1] / "support" / "limit_services.py"
SLOTS = 40
SETTINGS = {"RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": str(SLOTS)}
RULES = {"blue": 2, "red": 4, "busy": 1}
CHECKS = ["starved_scopes", "dominant_scopes", "blocked_queues", "backlog", "scheduler_gaps", "blocked_keys"]
SOON = {"waiting": "1s", "waiting_long": "1h"}
RUNNING = "SELECT count(*) AS n FROM sys_invocation WHERE status = 'running'"
WAITING = "SELECT id FROM sys_invocation WHERE status = 'pending' AND id IN :ids"
pytestmark = [pytest.mark.server, NEEDS_FLAG]

Ids = dict[str, list[str]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a server with 40 slots and a rule for each of three scopes."""
    folder = tmp_path_factory.mktemp("findings")
    with running_bench(NEWEST, folder, SERVICES, ready=("Work", "say", "ready"), env=SETTINGS) as bench:
        rules = [UpsertRule(name, limits={"concurrency": most}) for name, most in RULES.items()]
        bench.admin.upsert_rules(rules)
        yield bench


@pytest.fixture(scope="module")
def busy(bench: Bench) -> list[Diagnosis]:
    """Give the diagnoses of a queue that moves, if a wait as long as that of its oldest call is too long."""
    ids = send_scoped(bench, "Work/take", scope="busy", count=12, body=0.3)
    wait_for(lambda: 0 < len(waiting(bench, ids)) < 7)
    diagnoses: list[Diagnosis] = []
    heads: pd.DataFrame = rl.ask(bench.lab, "blocked_heads")
    while not heads.empty:
        waited = (bench.lab.now - heads["waiting_since"].min()).total_seconds()
        diagnoses.append(doctor(bench.lab, checks=CHECKS, thresholds={"waiting": f"{waited:.3f}s"}))
        heads = rl.ask(bench.lab, "blocked_heads")
    return diagnoses


@pytest.fixture(scope="module")
def planted(bench: Bench, busy: list[Diagnosis]) -> Ids:
    """Give the ids of the planted calls, by scope, limit key, key or resource."""
    ids: Ids = {
        "blue": send_scoped(bench, "Work/hold", scope="blue", count=4),
        "taken": send_scoped(bench, "Work/hold", scope="red", limit_key="a", count=4),
    }
    wait_for(lambda: bench.lab.sql(RUNNING)["n"][0] == 6)
    ids["b"] = send_scoped(bench, "Work/hold", scope="red", limit_key="b", count=2)
    ids["key"] = [bench.ingress.send("Item", "hold", {}, key="k").invocation_id for _ in range(4)]
    wait_for(lambda: bench.lab.sql(RUNNING)["n"][0] == 7)
    holder, *ids["p"] = [bench.ingress.send("Item", "hold", {}, key="p").invocation_id for _ in range(3)]
    ids["later"] = [bench.ingress.send("Item", "hold", {}, key="later", delay="1h").invocation_id]
    bench.until(holder, "running")
    queues = "SELECT id FROM sys_vqueue_meta WHERE lock_name IN ('Item/p', 'Item/later') AND queue_is_paused = :paused"
    for queue in bench.lab.sql(queues, paused=False)["id"]:
        bench.admin.pause_vqueue(queue)
    wait_for(lambda: len(bench.lab.sql(queues, paused=True)) == 2)
    bench.admin.kill_invocation(holder, reason="INC-42")
    send_scoped(bench, "Work/hold", scope="green", count=SLOTS - 7)
    wait_for(lambda: bench.lab.sql(RUNNING)["n"][0] == SLOTS)
    ids["slots"] = [bench.ingress.send("Work", "hold", {}).invocation_id for _ in range(3)]
    return ids


def waiting(bench: Bench, ids: list[str]) -> set[str]:
    return set(bench.lab.sql(WAITING, ids=ids)["id"])


def findings_of(bench: Bench, *, least: int, **thresholds: Any) -> pd.DataFrame:
    """Return the findings once the heads have waited for a second."""
    limits = {**SOON, **thresholds}
    found = wait_for(
        lambda: doctor(bench.lab, checks=CHECKS, thresholds=limits), lambda seen: len(seen.findings) >= least
    )
    frame: pd.DataFrame = found.findings
    return frame


def test_a_busy_queue_is_no_finding(busy: list[Diagnosis]) -> None:
    assert busy
    assert [title for each in busy for title in each.findings["title"]] == []


def test_watch_reports_evidence_that_is_deleted_soon_until_it_is_gone(
    bench: Bench, busy: list[Diagnosis], tmp_path: Path
) -> None:
    bench.admin.modify_service("Work", journal_retention="1h")
    ids = [bench.ingress.send("Work", "fail", {}).invocation_id for _ in range(4)]
    rules = Rules((Rule(check="evidence_deleted"), Rule(check="will_not_drain")))
    reader = ClusterReader(name="prod", option=bench.url, rules=rules, commands=lambda *_: None)
    ended = "SELECT count(*) AS n FROM sys_invocation WHERE status = 'completed' AND id IN :ids"
    with contextlib.closing(AlertStore(tmp_path / "watch.sqlite")) as store:

        def visit() -> set[tuple[str, str, str]]:
            found = reader.visit(store.known_alerts("prod", datetime.now(UTC)))
            assert not found.unread & {"evidence_deleted", "will_not_drain"}
            return {(event.value, each.rule, each.subject) for event, each in store.record(found)}

        wait_for(lambda: bench.lab.sql(ended, ids=ids)["n"][0] == 4)
        subject = "terminal_failures Work/fail"
        assert ("opened", "evidence_deleted", subject) in visit()
        for id_ in ids:
            bench.admin.purge_invocation(id_, reason="INC-42")
        assert ("resolved", "evidence_deleted", subject) in visit()


def test_each_planted_situation_is_one_finding_with_its_reason_and_ids(bench: Bench, planted: Ids) -> None:
    frame = findings_of(bench, least=6)
    found = {row["title"]: (row["check"], set(row["ids"])) for row in frame.to_dict("records")}
    waits = {name: waiting(bench, ids) for name, ids in planted.items()}
    expected = {
        "2 invocations of Work/hold in scope blue wait for a place under the rule “blue”": ("starved_scopes", "blue"),
        "2 invocations of Work/hold with limit key b in scope red wait for a place under": ("starved_scopes", "b"),
        "scope green has 33 of 40 running calls, and 3 other invocations of Work/hold wait": (
            "dominant_scopes",
            "slots",
        ),
        "2 invocations of Item/hold wait in paused queues": ("blocked_queues", "p"),
        "1 invocation of Item/hold does not start on time": ("blocked_queues", "later"),
        "3 calls queue for Item/k, held by Item/k/hold (running)": ("blocked_keys", "key"),
    }
    assert len(found) == len(expected)
    for begin, (check, name) in expected.items():
        (match,) = [row for title, row in found.items() if title.startswith(begin)]
        holder = {planted["key"][0]}
        ids = {"later": set(planted["later"]), "key": holder}.get(name, waits[name])
        assert match == (check, ids)


def test_full_slots_without_a_dominant_scope_are_their_own_finding(bench: Bench, planted: Ids) -> None:
    frame = findings_of(bench, least=6, dominance=0.9)
    (row,) = [row for row in frame.to_dict("records") if "slot of the invoker" in row["title"]]
    assert (row["check"], set(row["ids"])) == ("blocked_queues", set(planted["slots"]))
    assert "dominant_scopes" not in set(frame["check"])
