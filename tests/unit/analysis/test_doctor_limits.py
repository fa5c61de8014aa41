"""Limits and scopes on made rows: waits for a place or a slot, scopes that have them, and queues that are only busy."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from restate_lab.analysis.doctor import doctor
from support.sample_rows import BEFORE, NOW, SampleRows, invocation

CHECKS = ["starved_scopes", "dominant_scopes", "blocked_queues", "late_starts"]
RULE, SLOT = "limit-key-concurrency", "invoker-concurrency"
LONG, RECENTLY = timedelta(minutes=5), NOW - timedelta(seconds=5)


class Queues:
    """The rows of a server with queues; each queue has calls that run, and calls that wait."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self._number = 0

    def add(
        self,
        scope: str | None,
        limit_key: str | None = None,
        *,
        running: int = 0,
        waiting: int = 0,
        blocked_on: str = RULE,
        level: str = "scope",
        blocked_for: timedelta = LONG,
        last_start_at: datetime | None = BEFORE,
    ) -> list[str]:
        """Add a queue, and return the ids of its waiting calls."""
        queue = f"vq_{len(self.tables.get('sys_vqueue_meta', ()))}"
        place = {"scope": scope, "limit_key": limit_key}
        self._put("sys_vqueue_meta", id=queue, service_name="Svc", queue_is_paused=False, num_inbox=waiting, **place)
        self.tables["sys_vqueue_meta"][-1]["last_start_at"] = last_start_at
        ids = [self._call(queue, "running" if at < running else "inbox", place) for at in range(running + waiting)]
        if waiting:
            about = {**place, "resource": blocked_on, "blocked_level": level, "blocked_rule": "*"}
            duration = "concurrency_rules" if blocked_on == RULE else "invoker_concurrency"
            columns = {f"{duration}_block_duration": blocked_for, "blocked_on_json": json.dumps(about)}
            head = {"head_entry_id": ids[running], "num_inbox": waiting, "status": "blocked", "blocked_on": blocked_on}
            self._put("sys_scheduler", id=queue, **head, **columns)
        return ids[running:]

    def _call(self, queue: str, stage: str, place: dict[str, Any]) -> str:
        self._number += 1
        row = invocation(self._number, "invoked" if stage == "running" else "inboxed", **place)
        self._put("sys_invocation_status", **row)
        entry = {"entry_id": row["id"], "entry_kind": "invocation", "stage": stage, "status": "new"}
        times = {"created_at": BEFORE, "run_at": BEFORE, "transitioned_at": BEFORE}
        self._put("sys_vqueues", id=queue, sequence_number=self._number, has_lock=False, **entry, **times)
        return str(row["id"])

    def _put(self, table: str, **row: Any) -> None:
        self.tables.setdefault(table, []).append(row)

    def findings(self, **thresholds: Any) -> list[tuple[str, set[str]]]:
        """Return the check and the ids of each finding."""
        source = SampleRows(vqueues=True, **self.tables)
        frame = doctor(source, checks=CHECKS, thresholds=thresholds).findings
        return [(row["check"], set(row["ids"])) for row in frame.to_dict("records")]


@pytest.fixture
def queues() -> Queues:
    return Queues()


def test_a_head_that_became_the_head_recently_is_in_a_busy_queue(queues: Queues) -> None:
    """Its call has been in the queue for two hours, because of the calls before it."""
    queues.add("red", running=2, waiting=9, blocked_for=timedelta(seconds=3), last_start_at=RECENTLY)
    queues.add(None, running=1)
    assert queues.findings() == []


def test_a_limit_key_with_most_places_is_reported_if_others_wait_although_some_of_them_start(queues: Queues) -> None:
    queues.add("red", "a", running=9)
    ids = queues.add("red", "b", running=1, waiting=3, last_start_at=RECENTLY)
    assert queues.findings() == [("dominant_scopes", set(ids))]
    assert queues.findings(dominance=0.95) == [("blocked_queues", set(ids))]


def test_a_limit_key_that_gets_nothing_is_starved_and_not_reported_twice(queues: Queues) -> None:
    queues.add("red", "a", running=10, last_start_at=RECENTLY)
    ids = queues.add("red", "b/deep", waiting=3, last_start_at=None)
    queues.add("red", "c", waiting=0)
    queues.add(None, running=1)
    assert queues.findings() == [("starved_scopes", set(ids))]


def test_the_second_part_of_a_limit_key_has_places_of_its_own(queues: Queues) -> None:
    queues.add("red", "a/x", running=9)
    ids = queues.add("red", "a/y", running=1, waiting=3, level="level1", last_start_at=RECENTLY)
    queues.add("red", "b", running=20)
    assert queues.findings() == [("dominant_scopes", set(ids))]


def test_a_scope_is_starved_only_while_others_run(queues: Queues) -> None:
    """If nothing else runs, the limit is not the reason; the wait itself is reported."""
    ids = queues.add("blue", running=2, waiting=4)
    assert queues.findings() == [("blocked_queues", set(ids))]
    queues.add("red", running=1)
    assert queues.findings() == [("starved_scopes", set(ids))]


def test_calls_that_usually_take_long_keep_others_waiting_without_a_finding(queues: Queues) -> None:
    queues.add("blue", running=2, waiting=4)
    queues.add("red", running=1)
    took = {"running_at": NOW - timedelta(minutes=9), "completed_at": NOW - timedelta(minutes=5)}
    queues.tables["sys_invocation_status"] += [invocation(500 + at, "succeeded", **took) for at in range(5)]
    assert queues.findings() == []
    assert queues.findings(waiting_long="4m") != [], "from then on, it is too long for any call"


def test_a_scope_with_most_slots_is_the_cause_of_the_waits_of_others(queues: Queues) -> None:
    queues.add("red", "a", running=9)
    queues.add("red", "a", waiting=2, blocked_on=SLOT)
    others = queues.add("red", "b", waiting=3, blocked_on=SLOT)
    others += queues.add(None, running=1, waiting=1, blocked_on=SLOT)
    assert queues.findings() == [("dominant_scopes", set(others))]


def test_a_scope_that_waits_only_for_itself_dominates_nobody(queues: Queues) -> None:
    ids = queues.add("red", running=9, waiting=2, blocked_on=SLOT)
    assert queues.findings() == [("blocked_queues", set(ids))]


def test_a_call_of_the_scope_that_ended_in_an_empty_queue_is_progress(queues: Queues) -> None:
    """The server removes an empty queue with its times, so the ended calls are read, too."""
    ids = queues.add("blue", running=2, waiting=4)
    queues.add("red", running=1)
    ended = invocation(400, "succeeded", scope="blue", completed_at=RECENTLY, running_at=RECENTLY)
    queues.tables["sys_invocation_status"].append(ended)
    assert queues.findings() == [("blocked_queues", set(ids))]


def test_scheduled_calls_of_a_paused_queue_are_late_because_of_the_pause(queues: Queues) -> None:
    """Before the first of them is due, the pause is only a note."""
    waiting = queues.add(None, waiting=2, blocked_on="lock")
    queues.tables["sys_vqueue_meta"][0]["queue_is_paused"] = True
    del queues.tables["sys_scheduler"]
    due = BEFORE + timedelta(hours=1)
    late = {"status": "scheduled", "scheduled_at": BEFORE, "scheduled_start_at": due}
    queues.tables["sys_invocation_status"][1] |= late
    queues.tables["sys_vqueues"][1] |= {"status": "scheduled", "run_at": due}
    assert queues.findings() == [("blocked_queues", set(waiting))]
    other = invocation(300, **late)
    queues.tables["sys_invocation_status"].append(other)
    assert queues.findings() == [("blocked_queues", set(waiting)), ("late_starts", {other["id"]})]
    for row in queues.tables["sys_vqueues"]:
        row.update(status="scheduled", run_at=NOW + timedelta(hours=1))
    for row in queues.tables["sys_invocation_status"]:
        row.update(late, scheduled_start_at=NOW + timedelta(hours=1))
    diagnosis = doctor(SampleRows(vqueues=True, **queues.tables), checks=CHECKS)
    assert diagnosis.findings["severity"].tolist() == ["note"]
    assert "while its queue is paused" in diagnosis.findings["title"].item()
