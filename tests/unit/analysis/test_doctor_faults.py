"""The doctor on rows with the documented signs of server faults, which no server shows on demand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.checks import faults
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from support.sample_rows import BEFORE, NOW, SampleRows, invocation, sample_id

A, B, C, D = (sample_id(number) for number in (1, 2, 3, 4))
REFUSED = "[500] service Svc is exposed by the deprecated deployment dp_1, please upgrade the SDK used by the …"
OTHER_KIND = 'Unexpected variant in async result: {"Void":{}}'
DAY = timedelta(days=1)


def found(diagnosis: Diagnosis, check: str) -> list[dict[Any, Any]]:
    return diagnosis.findings[diagnosis.findings["check"] == check].to_dict("records")


def ended(id_: str, *, at: Any = BEFORE, kept: timedelta = DAY, failure: str | None = None, **columns: Any) -> Any:
    result = "failure" if failure else "success"
    times = {"completed_at": at, "completion_retention": kept, "journal_retention": kept, "journal_size": 3}
    return invocation(id_, "completed", completion_result=result, completion_failure=failure, **times, **columns)


def test_failures_by_an_old_sdk_are_counted_once_without_those_restarted_as_new() -> None:
    source = SampleRows(
        sys_invocation_status=[
            *(ended(id_, failure=REFUSED) for id_ in (A, B)),
            ended(C, failure=REFUSED, target_service_ty="workflow"),
            invocation(D, restarted_from=B),
        ]
    )
    diagnosis = doctor(source, thresholds={"failures": 1})
    (row,) = found(diagnosis, "refused_protocols")
    assert set(row["ids"]) == {A, C}
    assert row["title"] == "2 invocations of Svc/run failed because dp_1 speaks service protocol 3 or older"
    assert row["severity"] == "critical"  # dp_1 has the latest revision: new calls fail, too
    assert "upgrade the SDK of Svc" in row["suggested_code"]
    assert f'rl.plan(lab, "restart_as_new", ["{A}"])' in row["suggested_code"]
    assert found(diagnosis, "terminal_failures") == []
    assert diagnosis.subjects[0].name == "Svc on dp_1"


def test_a_timer_of_an_earlier_invocation_is_critical_and_suggests_no_retry_or_resume() -> None:
    retry = {"id": A, "in_flight": False, "retry_count": 9, "last_failure_error_code": "RT0007"}
    source = SampleRows(
        sys_invocation_status=[invocation(A, "invoked"), invocation(B, "paused")],
        sys_invocation_state=[{**retry, "last_failure": f"[500 Internal] {OTHER_KIND}"}],
        sys_journal_events=[
            {"id": B, "event_type": "Paused", "appended_at": BEFORE, "after_journal_entry_index": 1}
            | {"event_json": f'{{"last_failure":{{"error_message":"{OTHER_KIND[:34]}"}}}}'}
        ],
    )
    diagnosis = doctor(source)
    (row,) = found(diagnosis, "stale_timers")
    assert set(row["ids"]) == {A, B}
    assert "#5425" in row["details"]
    assert row["suggested_code"].startswith('rl.plan(lab, "kill"')
    assert found(diagnosis, "retry_storm") == found(diagnosis, "paused") == []


def test_completed_invocations_are_counted_two_hours_after_their_retention() -> None:
    source = SampleRows(
        sys_invocation_status=[
            ended(A, at=NOW - DAY - timedelta(hours=3)),
            ended(B, at=NOW - DAY - timedelta(hours=1)),
            ended(C, failure="[409 Aborted] killed", at=NOW - DAY - timedelta(hours=5)),
            ended(D),
        ]
    )
    diagnosis = doctor(source, checks="late_cleanup", now=NOW + timedelta(days=2))
    (row,) = found(diagnosis, "late_cleanup")
    assert (row["count"], row["ids"]) == (2, [C, A])
    assert "removed at 2026-11-24 22:00:00 UTC" in row["details"]
    assert row["since"] == NOW - timedelta(hours=5)
    evidence = diagnosis.evidence_calls[0]
    assert len(source.sql(str(evidence.arguments[0]), params=dict(evidence.options))) == 2
    assert found(doctor(source, checks="late_cleanup", thresholds={"cleanup": "6h"}), "late_cleanup") == []


class Queues(SampleRows):
    """A live source with one vqueue: its columns, those of its scheduler, and its entries."""

    live = True

    def __init__(
        self, scheduler: Mapping[str, Any] | None, *entries: Mapping[str, Any], held: bool = False, **queue: Any
    ) -> None:
        usual = {"entry_kind": "invocation", "stage": "inbox", "status": "new", "has_lock": False}
        usual |= {"id": "vq_1", "run_at": BEFORE, "transitioned_at": BEFORE, "created_at": BEFORE}
        meta = {"id": "vq_1", "service_name": "Svc", "lock_name": "Svc/k", "num_inbox": 1, "queue_is_paused": False}
        rows = [
            {**usual, "entry_id": sample_id(at), "sequence_number": at, **each} for at, each in enumerate(entries, 1)
        ]
        ids = [row["entry_id"] for row in rows if row["entry_id"].startswith("inv")]
        super().__init__(
            vqueues=True,
            sys_invocation_status=[
                invocation(id_, "inboxed", target_service_key="k", inboxed_at=BEFORE) for id_ in ids
            ],
            sys_vqueues=rows,
            sys_vqueue_meta=[{**meta, "last_start_at": BEFORE, **queue}],
            sys_scheduler=[{"id": "vq_1", "num_inbox": 1, **scheduler}] if scheduler is not None else [],
            sys_locks=[{"lock_name": "Svc/k", "acquired_by": D}] if held else [],
        )


LOST = {"status": "empty"}
NOW_STARTED: Any = {"last_start_at": NOW - timedelta(seconds=1)}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "_CONFIRM", 0.001)


@pytest.mark.parametrize(
    ("source", "ids"),
    [
        (Queues(LOST, {}), [A]),
        (Queues(None, {}), [A]),
        # The scheduler takes the second entry for the first one, and starts entries.
        (Queues({"status": "ready", "head_entry_id": B}, {}, {}, **NOW_STARTED), [A]),
        (Queues({"status": "ready", "head_entry_id": A}, {}, {}, **NOW_STARTED), []),
        (Queues({"status": "blocked", "blocked_on": "invoker-concurrency"}, {}), []),
        (Queues({"status": "scheduled"}, {}), []),
        (Queues(LOST, {}, queue_is_paused=True), []),
        (Queues(LOST, {}, held=True), []),
        (Queues(LOST, {"status": "scheduled"}), []),
        (Queues(LOST, {"stage": "running"}), []),
        (Queues(LOST, {"entry_id": "mut_1", "entry_kind": "state-mutation"}), []),
        # It woke up 30 seconds ago; its queue has had it for two hours.
        (Queues(LOST, {"transitioned_at": NOW - timedelta(seconds=30)}), []),
    ],
)
def test_an_invocation_that_is_ready_for_a_minute_and_not_counted_by_the_scheduler_is_found(
    source: Queues, ids: list[str]
) -> None:
    rows = found(doctor(source, checks="scheduler_gaps"), "scheduler_gaps")
    assert [id_ for row in rows for id_ in row["ids"]] == ids
    assert all(row["severity"] == "critical" for row in rows)


def test_without_any_scheduler_the_finding_names_the_option_that_causes_it() -> None:
    diagnosis = doctor(Queues(None, {}), checks="scheduler_gaps")
    (row,) = found(diagnosis, "scheduler_gaps")
    assert row["title"] == "1 invocation of Svc/run is ready, and no partition has a scheduler"
    assert "worker.disable-scheduler" in row["details"]
    assert diagnosis.subjects[0].name == "no scheduler"


def test_an_entry_that_moves_between_two_reads_is_not_found() -> None:

    class Busy(Queues):
        def rows(self, statement: str, params: Mapping[str, Any], **options: Any) -> Any:
            rows = super().rows(statement, params, **options)
            is_second = "waiting AS" in statement and "head_entry_id" in statement and self.asked.count(statement) > 1
            return rows.slice(0, 0) if is_second else rows

    assert found(doctor(Busy(LOST, {}), checks="scheduler_gaps"), "scheduler_gaps") == []


def test_a_check_that_compares_two_times_does_not_apply_to_evidence() -> None:
    class Frozen(Queues):
        live = False

    diagnosis = doctor(Frozen(LOST, {}), checks=["scheduler_gaps", "paused"])
    gap = diagnosis.not_read.set_index("part").loc["scheduler_gaps"]
    assert "one time" in gap["reason"]
    assert not gap["applies"]
    assert diagnosis.verdict == "healthy"


def test_changes_of_state_that_wait_name_the_holder_and_are_a_warning_after_ten_minutes() -> None:
    check, change = "queued_changes", {"entry_id": "mut_1", "entry_kind": "state-mutation"}
    source = Queues({"status": "blocked", "blocked_on": "lock"}, change, {**change, "entry_id": "mut_2"}, {}, held=True)
    (row,) = found(doctor(source, checks=check), check)
    assert row["title"] == "2 changes of state wait for Svc/k, the oldest for 2h"
    assert (row["severity"], row["count"], row["ids"]) == ("warning", 2, [])
    assert row["suggested_code"] == f'rl.why(lab, "{D}")'
    young = {**change, "created_at": NOW - timedelta(minutes=5)}
    (row,) = found(doctor(Queues(None, young, {}, held=True), checks=check), check)
    assert row["severity"] == "note"
    assert found(doctor(Queues(None, {**change, "created_at": NOW}, {}, held=True), checks=check), check) == []


def test_a_finding_about_one_invocation_is_in_the_singular() -> None:
    refused = ended(A, failure=REFUSED, target_service_ty="service")
    paused = invocation(B, "paused")
    event = {"event_json": f'{{"last_failure":{{"error_message":"{OTHER_KIND[:34]}"}}}}'}
    source = SampleRows(
        sys_invocation_status=[refused, paused],
        sys_journal_events=[
            {"id": B, "event_type": "Paused", "appended_at": BEFORE, "after_journal_entry_index": 1} | event
        ],
    )
    rows = doctor(source).findings.to_dict("records")
    assert {"refused_protocols", "stale_timers"} <= {row["check"] for row in rows if row["count"] == 1}
    texts = " ".join(f"{row['title']} {row['details']} {row['suggested_code']}" for row in rows if row["count"] == 1)
    assert not re.search(r"\b(?:they|them|their|these|those)\b", texts)
