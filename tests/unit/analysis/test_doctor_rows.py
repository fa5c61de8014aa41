"""The doctor on made rows: faults that no demo has, and that no server shows on demand."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from restate_lab.analysis.doctor import census as census_module, doctor
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.diagnosis import Diagnosis, footer_of
from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.analysis.questions import get_question
from restate_lab.cli._errors import INCOMPLETE
from restate_lab.cli._exit_codes import doctor_exit_code
from restate_lab.errors import ArgumentError, QueryRefused, TimedOut
from restate_lab.source import Coverage, SourceWrapper
from support.sample_rows import BEFORE, NOW, LiveRows, SampleRows, command, invocation, sample_id, waiting_columns

FOR_VQUEUES = ("starved_scopes", "dominant_scopes", "blocked_queues", "scheduler_gaps", "queued_changes")
A, B, C, D = (sample_id(number) for number in (1, 2, 3, 4))


def diagnose(source: Any, **options: Any) -> Diagnosis:
    return doctor(source, **options)


def found(diagnosis: Diagnosis, check: str) -> list[dict[Any, Any]]:
    return diagnosis.findings[diagnosis.findings["check"] == check].to_dict("records")


def retrying(id_: str, attempts: int, code: str, message: str, **columns: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "in_flight": False,
        "retry_count": attempts,
        "last_failure": f"[500 Internal] {message}",
        "last_failure_error_code": code,
        "last_attempt_deployment_id": "dp_1",
        **columns,
    }


def ended(id_: str, seconds: float, *, handler: str = "run", failure: str | None = None) -> dict[str, Any]:
    return invocation(
        id_,
        "completed",
        handler=handler,
        running_at=NOW - timedelta(minutes=5),
        completed_at=NOW - timedelta(minutes=5) + timedelta(seconds=seconds),
        completion_result="failure" if failure else "success",
        completion_failure=failure,
        completion_retention=timedelta(days=1),
        journal_retention=timedelta(days=1),
        journal_size=3,
    )


def test_a_step_without_a_name_and_an_empty_key_are_reported_unchanged() -> None:
    source = SampleRows(
        sys_invocation_status=[invocation(A, **waiting_columns(1)), invocation(B, **waiting_columns(1))],
        sys_journal=[
            {**command(A, 1, "Run", completion_id=1), "name": ""},
            {**command(B, 1, "GetPromise", completion_id=1, key=""), "name": None},
        ],
    )
    diagnosis = diagnose(source)
    assert "its own step “”" in found(diagnosis, "suspended_on_run")[0]["title"]
    assert "its promise “”" in found(diagnosis, "promises")[0]["title"]


def test_suspended_on_its_own_run_on_rows_made_for_it() -> None:
    """No server shows it on demand (server issue 5196): of made rows only a wait for a Run is reported, as critical."""
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, **waiting_columns(2)),
            invocation(B, **waiting_columns(1)),
            invocation(C, handler="other", **waiting_columns(1, 2)),
        ],
        sys_journal=[
            command(id_, index, kind, completion_id=index, wake_up_time=2_000_000_000_000)
            for id_ in (A, B, C)
            for index, kind in ((1, "Sleep"), (2, "Run"))
        ],
    )
    diagnosis = diagnose(source)
    rows = {row["severity"]: row for row in found(diagnosis, "suspended_on_run")}
    assert rows["critical"]["ids"] == [A]
    assert rows["critical"]["suggested_code"].startswith('rl.plan(lab, "resume"')
    # An invocation that also sleeps may still wake up.
    assert rows["warning"]["ids"] == [C]
    assert set(diagnosis.findings["check"]) == {"suspended_on_run"}


def test_an_empty_source_is_healthy_and_says_what_was_checked() -> None:
    """No findings, and every check ran."""
    diagnosis = diagnose(SampleRows())
    assert diagnosis.verdict == "healthy"
    assert "deadlocks" in set(diagnosis.checked["check"])
    assert "invocations that wait for each other in a cycle" in str(diagnosis)
    assert list(diagnosis.not_read["part"]) == ["sampled_backlog", *FOR_VQUEUES]
    assert not diagnosis.not_read["applies"].any()


@pytest.mark.parametrize("checks", [None, "deadlocks", "upgrade"])
def test_a_cluster_without_services_and_invocations_is_not_healthy(checks: str | None) -> None:
    diagnosis = diagnose(SampleRows(sys_service=[], sys_deployment=[]), checks=checks)
    assert (diagnosis.verdict, doctor_exit_code(diagnosis, strict=False)) == ("incomplete", INCOMPLETE)
    (row,) = found(diagnosis, "services")
    assert (row["severity"], row["title"]) == ("warning", "no service is registered at made")
    assert row["title"] in str(diagnosis)
    assert row["title"] in diagnosis._repr_html_()
    assert diagnosis.summary.startswith("nothing is registered here · 1 warning")
    assert "healthy" not in str(diagnosis)


def test_a_cluster_without_services_that_has_invocations_is_not_called_empty() -> None:
    diagnosis = diagnose(SampleRows(sys_service=[], sys_invocation_status=[invocation(A, "succeeded")]))
    assert found(diagnosis, "services") == []


def test_a_live_cluster_without_services_names_its_address_and_how_it_was_chosen() -> None:
    source = LiveRows(sys_service=[], sys_deployment=[])
    source.settings = SimpleNamespace(chosen_by="the default")
    (row,) = found(diagnose(SourceWrapper(source), checks="services"), "services")
    assert row["title"] == "no service is registered at http://127.0.0.1:1"
    assert "The address was chosen by the default." in row["details"]


def test_a_source_without_journals_is_incomplete() -> None:
    source = SampleRows(without=("sys_journal", "sys_journal_events"))
    diagnosis = diagnose(source)
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_read[diagnosis.not_read["applies"]]
    assert set(missing["reason"]) == {"this source has no sys_journal"}


def test_the_number_of_checks_has_the_reasons_of_those_that_do_not_apply() -> None:
    footer = footer_of(diagnose(SampleRows(without=("sys_journal.entry_json",))))
    assert "9 do not apply: this server has no vqueues (5), this source has no payloads of journals (4)" in footer
    assert "do not apply" not in footer_of(diagnose(SampleRows(vqueues=True), checks=["deadlocks", "paused"]))
    card = diagnose(SampleRows())._repr_html_()
    assert ">Checks<" in card
    assert card.count(" checks in ") == 1


@pytest.mark.parametrize("name", ["retry_storms", "retrystorm", "retry-storm"])
def test_a_misspelled_check_or_question_has_the_right_name_in_its_error(name: str) -> None:
    for refused in (lambda: diagnose(SampleRows(), checks=name), lambda: get_question(name)):
        with pytest.raises(ArgumentError, match="Did you mean 'retry_storm'"):
            refused()


def test_a_check_without_its_table_makes_the_diagnosis_incomplete() -> None:
    diagnosis = diagnose(SampleRows(without=("sys_deployment",)))
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_read.set_index("part")["reason"]
    assert "sys_deployment" in missing["old_protocols"]
    assert "late_starts" in set(diagnosis.checked["check"])


class Failing(SampleRows):
    def __init__(self, text: str, error: Exception, **tables: Any) -> None:
        super().__init__(**tables)
        self.text, self.error = text, error

    def rows(self, statement: str, params: Any, **options: Any) -> Any:
        if self.text in statement:
            self.asked.append(statement)
            raise self.error
        return super().rows(statement, params, **options)


@pytest.mark.parametrize("error", [TimedOut("took too long"), QueryRefused("no memory", status=500)])
def test_a_failed_census_is_sent_once_and_its_checks_are_not_checked(error: Exception) -> None:
    source = Failing("longest_journal", error)
    diagnosis = diagnose(source)
    assert diagnosis.verdict == "incomplete"
    reasons = diagnosis.not_read.set_index("part")["reason"]
    assert {"removed_deployments", "deadlocks", "terminal_failures"} <= set(reasons.index)
    assert reasons["deadlocks"] == str(error)
    assert sum("longest_journal" in each for each in source.asked) == 1
    assert {"retry_storm", "large_states"} <= set(diagnosis.checked["check"])


def test_an_unexpected_error_in_a_check_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        diagnose(Failing("longest_journal", ZeroDivisionError()))


def test_after_the_timeout_nothing_is_sent_and_every_check_is_not_checked() -> None:
    source = SampleRows()
    diagnosis = diagnose(source, timeout="0s")
    assert diagnosis.verdict == "incomplete"
    reasons = diagnosis.not_read[diagnosis.not_read["applies"]]["reason"]
    assert set(reasons) == {"the timeout of 0s is over"}
    assert source.asked == []


def test_rows_excluded_by_a_limit_make_the_diagnosis_incomplete() -> None:
    source = SampleRows(
        sys_invocation_status=[invocation(sample_id(number), **waiting_columns(1)) for number in range(3)],
        sys_journal=[
            command(sample_id(number), 1, "Sleep", completion_id=1, wake_up_time=2_000_000_000_000)
            for number in range(3)
        ],
    )
    assert diagnose(source).verdict == "healthy"
    diagnosis = diagnose(source, thresholds={"waits": 2})
    assert diagnosis.verdict == "incomplete"
    assert "incomplete: " in diagnosis.not_read.set_index("part")["reason"]["deadlocks"]


def test_checks_share_their_reads() -> None:
    source = SampleRows(sys_invocation_status=[invocation(A, **waiting_columns(signals=(17,)))])
    diagnose(source)
    assert len(source.asked) == len(set(source.asked))


def many_kinds() -> dict[str, list[dict[str, Any]]]:
    """Return rows of every kind that is read one by one: suspended, paused, failed, and slow ones."""
    failed = [ended(sample_id(number), 1, failure="[402] declined") for number in range(10, 14)]
    slow = [ended(sample_id(number), 8, handler="slow") for number in range(20, 26)]
    quick = [ended(sample_id(number), 0.1, handler=f"quick{number}") for number in range(30, 33)]
    paused = [invocation(sample_id(number), "paused") for number in range(40, 43)]
    asleep = [invocation(sample_id(number), **waiting_columns(1)) for number in range(50, 53)]
    return {
        "sys_invocation_status": [*failed, *slow, *quick, *paused, *asleep],
        "sys_journal": [
            *(command(each["id"], 1, "Run", completion_id=1) for each in asleep),
            *(row for number in range(20, 26) for row in ran(number, 7.5)),
        ],
    }


def causes(diagnosis: Diagnosis) -> dict[str, set[str]]:
    return {row["check"]: set(row["ids"]) for row in diagnosis.findings.to_dict("records")}


def test_all_kinds_that_are_examined_one_by_one_cost_one_scan_beside_the_census() -> None:
    """A live cluster is scanned for the ids of few invocations, whose rows are then read by id."""
    frozen, live = SampleRows(**many_kinds()), LiveRows(**many_kinds())
    expected = causes(diagnose(frozen))
    assert set(expected) == {"terminal_failures", "slow_handlers", "paused", "suspended_on_run"}
    assert causes(diagnose(live)) == expected
    samples = [[each for each in source.asked if "one by one" in each.partition("\n")[0]] for source in (frozen, live)]
    assert [len(each) for each in samples] == [1, 2]
    assert [":ids" in each for each in samples[1]] == [False, True]
    for source in (frozen, live):
        scans = [each for each in source.asked if "FROM sys_invocation_status" in each and "id IN" not in each]
        assert len([each for each in scans if each not in samples[1]]) == 1, "the census"


def test_without_agents_the_checks_of_agents_search_a_few_journals_once_and_read_nothing_else() -> None:
    source = SampleRows(**many_kinds())
    diagnosis = diagnose(source, checks=[name for name in CHECKS if name.startswith("agent_")])
    assert list(diagnosis.checked["findings"]) == [0] * 4
    searches = [each for each in source.asked if "entry_type = 'Notification: Run' AND (entry_json LIKE" in each]
    others = [each for each in source.asked if each not in searches]
    assert [each.count("WHERE id IN") for each in searches] == [1]
    shared = ("longest_journal", "FROM sys_invocation_state", "FROM sys_service")
    assert [each for each in others if not any(text in each for text in shared)] == []


def test_too_many_invocations_of_a_kind_for_one_scan_are_read_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = causes(diagnose(SampleRows(**many_kinds())))
    assert expected["suspended_on_run"] == {sample_id(number) for number in range(50, 53)}
    for name, value in (("MAX_ROWS", 2), ("MAX_PAUSED", 2), ("_SURPLUS", -4)):
        with monkeypatch.context() as patch:
            patch.setattr(census_module, name, value)
            assert causes(diagnose(SampleRows(**many_kinds()))) == expected, name


def test_two_reasons_of_a_pause_in_one_step_are_two_findings_and_very_many_reasons_are_one() -> None:
    def paused(*messages: str) -> list[set[str]]:
        ids = [sample_id(number) for number in range(len(messages))]
        failures = [{"restate_doc_error_code": "RT0007", "error_message": each} for each in messages]
        source = SampleRows(
            sys_invocation_status=[invocation(id_, "paused") for id_ in ids],
            sys_journal_events=[
                {
                    "id": id_,
                    "event_type": "Paused",
                    "event_json": json.dumps({"last_failure": each}),
                    "appended_at": BEFORE,
                }
                for id_, each in zip(ids, failures, strict=True)
            ],
        )
        return [set(row["ids"]) for row in found(diagnose(source), "paused")]

    assert sorted(map(len, paused("no answer in 5 s", "no answer in 6 s", "refused"))) == [1, 2]
    words = ("ant", "bee", "cat", "dog", "elk", "fox")
    assert list(map(len, paused(*(f"no {word}" for word in words)))) == [6]


def test_only_failures_count_among_evidence_that_expires_soon() -> None:
    soon = {"completion_retention": timedelta(minutes=20), "journal_retention": timedelta(minutes=20)}
    rows = [
        {**ended(A, 1, failure="[402] declined"), **soon},
        {**ended(B, 1, failure="[409] cancelled"), **soon},
        {**ended(C, 1, failure="[409] killed"), **soon},
    ]
    (row,) = found(diagnose(SampleRows(sys_invocation_status=rows)), "expiring_evidence")
    assert (row["count"], row["ids"]) == (1, [A])
    assert "from 03:15:01 UTC on" in row["title"]


def test_few_attempts_are_a_note_and_after_a_while_a_finding() -> None:
    young = {"modified_at": NOW - timedelta(seconds=2)}
    state = [retrying(A, 4, "RT0007", "down")]
    blip = diagnose(SampleRows(sys_invocation_status=[invocation(A, "invoked", **young)], sys_invocation_state=state))
    assert [row["severity"] for row in found(blip, "retry_storm")] == ["note"]
    second = [retrying(A, 2, "RT0007", "down")]
    twice = diagnose(SampleRows(sys_invocation_status=[invocation(A, "invoked")], sys_invocation_state=second))
    assert [row["severity"] for row in found(twice, "retry_storm")] == ["note"]
    alone = diagnose(SampleRows(sys_invocation_status=[invocation(A, "invoked")], sys_invocation_state=state))
    assert [row["severity"] for row in found(alone, "retry_storm")] == ["warning"]


def test_sixty_messages_with_their_own_numbers_are_one_finding() -> None:
    ids = [sample_id(number) for number in range(60)]
    source = SampleRows(
        sys_invocation_status=[invocation(id_, "invoked") for id_ in ids],
        sys_invocation_state=[
            retrying(id_, 9, "RT0007", f"cannot reach shard-{number} for case 7f3e{number:04}ab: HTTP 504")
            for number, id_ in enumerate(ids)
        ],
    )
    (storm,) = found(diagnose(source), "retry_storm")
    assert (storm["severity"], storm["count"], set(storm["ids"])) == ("critical", 60, set(ids))
    assert "cannot reach shard-# for case #: HTTP 504" in storm["details"]


def test_a_retrying_invocation_with_callers_is_critical_and_lists_them_as_blocked() -> None:
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, "invoked", invoked_by_id=B),
            invocation(B, handler="caller", invoked_by_id=C, **waiting_columns(2)),
            invocation(C, handler="opener", **waiting_columns(2)),
            invocation(D, "invoked"),
        ],
        sys_invocation_state=[retrying(D, 9, "RT0007", "down"), retrying(A, 9, "RT0007", "down")],
        sys_journal=[
            command(B, 1, "Call", invocation_id=A, result_completion_id=2),
            command(C, 1, "Call", invocation_id=B, result_completion_id=2),
        ],
    )
    diagnosis = diagnose(source)
    (storm,) = diagnosis.findings.to_dict("records")
    assert (storm["severity"], set(storm["ids"]), storm["blocked"]) == ("critical", {A, D}, [B, C])
    assert storm["affected"] == 4


def test_the_next_step_of_a_finding_explains_an_invocation_that_blocks_others() -> None:
    source = SampleRows(
        sys_invocation_status=[
            *(invocation(each, "invoked") for each in (C, A)),
            invocation(B, handler="caller", **waiting_columns(2)),
        ],
        sys_invocation_state=[retrying(C, 20, "RT0007", "down"), retrying(A, 9, "RT0007", "down")],
        sys_journal=[command(B, 1, "Call", invocation_id=A, result_completion_id=2)],
    )
    diagnosis = diagnose(source)
    (storm,) = diagnosis.findings.to_dict("records")
    assert storm["blocks"] == "1 Svc/caller"
    assert "\n  Blocks 1 Svc/caller.\n" in str(diagnosis)
    assert storm["suggested_code"] == f'rl.why(lab, "{A}")'
    assert [call.arguments for call in diagnosis.suggested_calls[0]] == [(A,)]


def test_a_journal_mismatch_suggests_the_difference_and_then_a_replay() -> None:
    source = SampleRows(
        sys_invocation_status=[invocation(each, "invoked") for each in (A, B)],
        sys_invocation_state=[retrying(each, 20, "RT0016", "mismatch") for each in (A, B)],
    )
    (finding,) = found(diagnose(source), "journal_mismatches")
    first, second = finding["suggested_code"].splitlines()
    assert first.startswith("rl.journal_diff(lab, ")
    assert second == (
        f'rl.replay(lab, ["{A}", "{B}"], "http://…", confirm="http://…")  '
        f"# check the corrected code before you deploy it"
    )


def at(seconds: float) -> dict[str, Any]:
    return {"last_start_at": NOW - timedelta(seconds=seconds)}


@pytest.mark.parametrize(
    ("lost", "answered", "completed", "title"),
    [
        ([9, 8, 7], [5, 4], [], "responds, but not to 3 of 5 invocations (Svc/run), up to 9 attempts"),
        ([9, 8, 7], [], [1, 2], "responds, but not to 3 of 5 invocations (Svc/run), up to 9 attempts"),
        ([9, 8, 7], [7.5, 300], [300], "responds, but not to 3 of 5 invocations (Svc/run), up to 9 attempts"),
        ([9, 8, 7], [20, 30], [40], "does not respond to 3 invocations of Svc/run, up to 9 attempts"),
        ([600, 3, 2], [500, 60], [50], "does not respond to 3 invocations of Svc/run, up to 9 attempts"),
        ([], [5, 4], [1], "does not respond to 3 invocations of Svc/run, up to 9 attempts"),
    ],
)
def test_lost_attempts_of_a_deployment_that_responds_to_others_are_a_warning(
    lost: list[float], answered: list[float], completed: list[float], title: str
) -> None:
    ids = [sample_id(number) for number in range(20)]
    lost_ids, answered_ids, completed_ids = ids[:3], ids[3 : 3 + len(answered)], ids[10 : 10 + len(completed)]
    times: list[Any] = list(map(at, lost)) or [{}] * 3
    source = SampleRows(
        sys_invocation_status=[
            *(invocation(id_, "invoked", pinned_deployment_id="dp_1") for id_ in (*lost_ids, *answered_ids)),
            *(
                {**ended(id_, 1), "completed_at": NOW - timedelta(seconds=age), "pinned_deployment_id": "dp_1"}
                for id_, age in zip(completed_ids, completed, strict=True)
            ),
        ],
        sys_invocation_state=[
            *(
                retrying(id_, 9, "RT0010", "connection reset", **each)
                for id_, each in zip(lost_ids, times, strict=True)
            ),
            *(retrying(id_, 9, "RT0007", "no bed", **at(age)) for id_, age in zip(answered_ids, answered, strict=True)),
        ],
    )
    (row,) = found(diagnose(source, thresholds={"storm": 3}), "unreachable_deployments")
    assert row["title"] == f"http://svc (dp_1) {title}"
    is_up = title.startswith("responds")
    assert row["severity"] == ("warning" if is_up else "critical")
    assert ("start it again" in row["suggested_code"], "so it is running" in row["details"]) == (not is_up, is_up)
    assert row["where"] == "http://svc (dp_1)"


def test_a_key_whose_holder_waits_for_an_unreachable_deployment_is_no_cause() -> None:
    queue = [sample_id(number) for number in range(10, 50)]
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, "invoked", target_service_name="Gone"),
            invocation(B, handler="hold", target_service_key="k", **waiting_columns(2)),
            *(invocation(id_, "inboxed", target_service_key="k", inboxed_at=BEFORE) for id_ in queue),
        ],
        sys_invocation_state=[retrying(A, 9, "RT0010", "connection refused", last_attempt_deployment_id="dp_2")],
        sys_journal=[command(B, 1, "Call", invocation_id=A, result_completion_id=2)],
        sys_inbox=[{"id": id_, "service_name": "Svc", "service_key": "k"} for id_ in queue],
        sys_keyed_service_status=[{"service_name": "Svc", "service_key": "k", "invocation_id": B}],
        sys_deployment=[{"id": "dp_1", "endpoint": "http://svc"}, {"id": "dp_2", "endpoint": "http://gone"}],
    )
    diagnosis = diagnose(source)
    causes = diagnosis.findings[diagnosis.findings["severity"] != "note"]
    (cause,) = causes.to_dict("records")
    assert (cause["check"], cause["ids"], cause["affected"]) == ("unreachable_deployments", [A], 42)
    assert "http://gone" in cause["title"]
    # It is not the latest revision of any service any more.
    assert cause["suggested_code"] == f'rl.move_to(lab, ["{A}"], deployment="latest")'


@pytest.mark.parametrize(
    ("waited", "queue", "status", "severity"),
    [
        (timedelta(seconds=5), 2, "suspended", "note"),
        (timedelta(seconds=5), 3, "suspended", "warning"),
        (timedelta(seconds=5), 10, "suspended", "critical"),
        (timedelta(minutes=2), 1, "suspended", "warning"),
        (timedelta(minutes=20), 1, "suspended", "critical"),
        (timedelta(seconds=5), 10, "running", "note"),
        (timedelta(minutes=2), 10, "running", "warning"),
        (timedelta(minutes=20), 10, "running", "critical"),
    ],
)
def test_a_queue_is_critical_sooner_behind_a_holder_that_waits_than_behind_one_that_runs(
    waited: timedelta, queue: int, status: str, severity: str
) -> None:
    ids = [sample_id(number) for number in range(10, 10 + queue)]
    raw = "invoked" if status == "running" else status
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, raw, handler="hold", target_service_key="k", **waiting_columns(signals=(17,))),
            *(invocation(id_, "inboxed", target_service_key="k", inboxed_at=NOW - waited) for id_ in ids),
        ],
        sys_invocation_state=[{"id": A, "in_flight": True, "retry_count": 1}] if status == "running" else [],
        sys_inbox=[{"id": id_, "service_name": "Svc", "service_key": "k"} for id_ in ids],
        sys_keyed_service_status=[{"service_name": "Svc", "service_key": "k", "invocation_id": A}],
    )
    (row,) = found(diagnose(source), "blocked_keys")
    assert (row["severity"], row["ids"], set(row["blocked"])) == (severity, [A], set(ids))
    assert (row["blocks"], row["queued"]) == (f"{queue} Svc/run", queue)


def test_a_queue_behind_a_waiting_workflow_is_one_cause_with_the_run_of_the_workflow() -> None:
    queue = [sample_id(number) for number in range(10, 14)]
    promise = {"target_service_name": "Flow", **waiting_columns(1)}
    source = SampleRows(
        sys_invocation_status=[
            invocation(A, handler="ask", **promise, target="Flow/a/b/ask"),
            invocation(B, **promise, target="Flow/a/b/run"),
            invocation(C, **promise, target="Flow/a/c/run"),
            invocation(sample_id(9), handler="hold", target_service_key="k", **waiting_columns(1)),
            *(invocation(id_, "inboxed", target_service_key="k", inboxed_at=BEFORE) for id_ in queue),
        ],
        sys_journal=[
            *(command(id_, 1, "GetPromise", completion_id=1, key="signed") for id_ in (A, B, C)),
            command(sample_id(9), 1, "Call", invocation_id=A, result_completion_id=1),
        ],
        sys_inbox=[{"id": id_, "service_name": "Svc", "service_key": "k"} for id_ in queue],
        sys_keyed_service_status=[{"service_name": "Svc", "service_key": "k", "invocation_id": sample_id(9)}],
    )
    diagnosis = diagnose(source)
    (key,) = found(diagnosis, "blocked_keys")
    assert (key["ids"], key["severity"]) == ([A, B], "critical")
    assert [row["ids"] for row in found(diagnosis, "promises")] == [[C]]


def test_an_awakeable_is_forgotten_after_an_hour_or_after_100_times_the_usual_duration() -> None:
    def severity(age: timedelta, *others: dict[str, Any], **columns: Any) -> str:
        one = invocation(A, **{**waiting_columns(signals=(17,)), **columns, "modified_at": NOW - age})
        journal = [command(A, 1, "Sleep", completion_id=1, wake_up_time=2_000_000_000_000)]
        (row,) = found(diagnose(SampleRows(sys_invocation_status=[one, *others], sys_journal=journal)), "awakeables")
        return str(row["severity"])

    moments = [ended(sample_id(number), 0.5) for number in range(10, 30)]
    assert severity(timedelta(minutes=30)) == "note"
    assert severity(timedelta(minutes=61)) == "warning"
    assert severity(timedelta(minutes=2), *moments) == "warning"
    assert severity(timedelta(minutes=2), *moments[:19]) == "note"
    assert severity(timedelta(minutes=61), **waiting_columns(1, signals=(17,))) == "note"


def test_the_limit_of_an_awakeable_is_that_of_its_own_handler() -> None:
    limits, took = Thresholds(), {"quick": (20, 0.5), "slow": (20, 4.0), "rare": (19, 0.5)}
    ends = [
        ended(sample_id(100 * at + number), seconds, handler=handler)
        for at, (handler, (count, seconds)) in enumerate(took.items(), start=1)
        for number in range(count)
    ]
    ages = [timedelta(seconds=seconds) for seconds in (5, 59, 60, 399, 400, 3599, 3600, 90_000)]
    cases = [(handler, age, sleeps) for handler in took for age in ages for sleeps in (False, True)]
    status, journal, expected = [], [], defaultdict(set)
    for number, (handler, age, sleeps) in enumerate(cases, start=1000):
        id_, columns = sample_id(number), waiting_columns(*[1] * sleeps, signals=(17,))
        status.append({**invocation(id_, handler=handler, **columns), "modified_at": NOW - age})
        journal.append(command(id_, 1, "Sleep", completion_id=1, wake_up_time=2_000_000_000_000))
        count, seconds = took[handler]
        proportional = max(limits.waiting, timedelta(seconds=seconds) * limits.proportion)
        is_old = age >= limits.awakeable or (count >= limits.answered and age >= proportional)
        expected[f"Svc/{handler}", "warning" if is_old and not sleeps else "note"].add(id_)
    rows = found(diagnose(SampleRows(sys_invocation_status=[*status, *ends], sys_journal=journal)), "awakeables")
    assert len(rows) == len(expected) == 6
    assert {(row["where"], row["severity"]): set(row["ids"]) for row in rows} == expected


def test_a_pause_is_a_warning_and_with_a_failure_or_a_caller_critical() -> None:
    failure = {"restate_doc_error_code": "RT0007", "error_message": "down", "related_command_name": "pay"}
    events = [
        {"id": id_, "event_type": "Paused", "event_json": json.dumps(event), "appended_at": BEFORE}
        for id_, event in ((A, {"ty": "Paused"}), (B, {"ty": "Paused", "last_failure": failure}))
    ]
    status = [invocation(id_, "paused") for id_ in (A, B)]

    def pauses(callers: list[dict[str, Any]], journal: list[dict[str, Any]]) -> list[tuple[str, list[str], list[str]]]:
        rows = [*status, *callers]
        source = SampleRows(sys_invocation_status=rows, sys_journal_events=events, sys_journal=journal)
        return [(row["severity"], row["ids"], row["blocked"]) for row in found(diagnose(source), "paused")]

    assert pauses([], []) == [("critical", [B], []), ("warning", [A], [])]
    status[0] = invocation(A, "paused", invoked_by_id=C)
    caller = invocation(C, handler="caller", **waiting_columns(2))
    called = command(C, 1, "Call", invocation_id=A, result_completion_id=2)
    assert pauses([caller], [called]) == [("critical", [A], [C]), ("critical", [B], [])]


def test_three_failures_of_one_kind_at_a_tenth_of_the_ends_are_a_warning_with_the_failed_callers() -> None:
    failed = [
        {**ended(sample_id(number), 1, failure=f"[402] card of order ord-{number} declined"), "invoked_by_id": caller}
        for number, caller in ((10, sample_id(20)), (11, None), (12, None))
    ]
    caller = ended(sample_id(20), 1, handler="caller", failure="[402] card of order ord-10 declined")
    good = [ended(sample_id(number), 1) for number in range(100, 127)]
    (row,) = diagnose(SampleRows(sys_invocation_status=[*failed, caller, *good])).findings.to_dict("records")
    assert (row["check"], row["severity"], row["count"]) == ("terminal_failures", "warning", 3)
    assert row["blocked"] == [sample_id(20)]
    assert row["title"].endswith("failed permanently; 10% of completed calls failed")
    assert "[402] card of order ord-# declined." in row["details"]
    more = [ended(sample_id(number), 1) for number in range(200, 210)]
    (seldom,) = diagnose(SampleRows(sys_invocation_status=[*failed, *good, *more])).findings.to_dict("records")
    assert seldom["severity"] == "note"


def test_killed_and_cancelled_invocations_are_no_failures_and_in_no_share() -> None:
    rows = [
        ended(sample_id(number), 1, failure=f"[409] {'killed' if number % 2 else 'cancelled'}") for number in range(30)
    ]
    assert diagnose(SampleRows(sys_invocation_status=rows)).findings.empty
    rows += [ended(sample_id(number), 1) for number in range(100, 140)]
    rows += [ended(sample_id(number), 1, failure="[402] declined") for number in range(200, 203)]
    (row,) = diagnose(SampleRows(sys_invocation_status=rows)).findings.to_dict("records")
    assert (row["severity"], "3 invocations" in row["title"]) == ("note", True)


def test_time_outside_of_its_own_steps_does_not_make_a_handler_slow() -> None:
    status = [
        *(ended(sample_id(number), 8, handler="sleeps") for number in range(5)),
        *(ended(sample_id(number), 8, handler="renders") for number in range(10, 15)),
        *(ended(sample_id(number), 0.1, handler=f"quick{number}") for number in range(20, 25)),
    ]
    journal = [
        *(row for number in range(5) for row in ran(number, 0.1)),
        *(row for number in range(10, 15) for row in ran(number, 7.5)),
    ]
    (row,) = diagnose(SampleRows(sys_invocation_status=status, sys_journal=journal)).findings.to_dict("records")
    assert (row["where"], row["severity"], row["count"]) == ("Svc/renders", "warning", 5)
    assert "94% of it in the step “a step”" in row["title"]


def ran(number: int, seconds: float) -> list[dict[str, Any]]:
    begun = NOW - timedelta(minutes=5)
    lite = json.dumps({"Notification": {"id": {"CompletionId": 1}}})
    done = {"id": sample_id(number), "index": 2, "entry_type": "Notification: Run", "entry_lite_json": lite}
    return [
        {**command(sample_id(number), 1, "Run", completion_id=1), "appended_at": begun},
        {**done, "appended_at": begun + timedelta(seconds=seconds)},
    ]


def test_an_old_protocol_or_an_older_sdk_than_elsewhere_is_a_note() -> None:
    deployments = [
        {"id": "dp_1", "endpoint": "http://old", "max_service_protocol_version": 3},
        {"id": "dp_2", "endpoint": "http://older-sdk", "max_service_protocol_version": 6},
        {"id": "dp_3", "endpoint": "http://new", "max_service_protocol_version": 6},
    ]
    status = [invocation(id_, "invoked", pinned_deployment_id=f"dp_{n}") for n, id_ in ((2, A), (3, B))]
    state = [
        {"id": A, "in_flight": True, "last_attempt_deployment_id": "dp_2", "last_attempt_server": "sdk-java/2.9.0"},
        {"id": B, "in_flight": True, "last_attempt_deployment_id": "dp_3", "last_attempt_server": "sdk-java/2.10.0"},
    ]
    services = [{"name": name, "deployment_id": f"dp_{n}"} for n, name in enumerate(("A", "B", "C"), start=1)]
    source = SampleRows(
        sys_deployment=deployments, sys_service=services, sys_invocation_status=status, sys_invocation_state=state
    )
    (row,) = diagnose(source).findings.to_dict("records")
    assert (row["check"], row["severity"], row["ids"]) == ("old_protocols", "note", ["dp_1", "dp_2"])


def test_looking_ahead_lets_ages_grow_but_no_start_is_late() -> None:
    planned = {"scheduled_at": BEFORE, "scheduled_start_at": NOW + timedelta(hours=1)}
    source = SampleRows(
        sys_invocation_status=[invocation(A, "scheduled", **planned), invocation(B, **waiting_columns(signals=(17,)))]
    )
    ahead = diagnose(source, now=NOW + timedelta(hours=5))
    assert found(ahead, "late_starts") == []
    assert ahead.findings["title"].str.contains("for 7h").any()
    late = {"scheduled_at": BEFORE, "scheduled_start_at": NOW - timedelta(minutes=5)}
    (row,) = found(diagnose(SampleRows(sys_invocation_status=[invocation(A, "scheduled", **late)])), "late_starts")
    assert (row["severity"], row["ids"]) == ("warning", [A])


def test_a_wrong_check_or_threshold_sends_nothing_and_names_the_nearest() -> None:
    source = SampleRows()
    with pytest.raises(ArgumentError, match="deadlocks"):
        diagnose(source, checks=["deadlock"])
    with pytest.raises(ArgumentError, match="failure_rate"):
        diagnose(source, thresholds={"failures_rate": 0.2})
    with pytest.raises(ArgumentError, match="awakeable"):
        diagnose(source, thresholds={"awakeable": "soon"})
    assert source.asked == []


def test_only_the_chosen_checks_run_and_the_text_counts_the_others() -> None:
    diagnosis = diagnose(SampleRows(), checks="deadlocks")
    assert list(diagnosis.checked["check"]) == ["deadlocks"]
    assert f"{len(CHECKS) - 1} others not selected" in str(diagnosis)


class EarlierRows(SampleRows):
    """Rows of an earlier time."""

    coverage = Coverage(is_past=True)


def test_no_change_is_suggested_for_an_earlier_time() -> None:
    """A finding about an earlier time suggests a read, because its invocations can have changed since."""
    rows = [invocation(id_, "paused") for id_ in (A, B)]
    for rows_class, has_changes in ((SampleRows, True), (EarlierRows, False)):
        diagnosis = diagnose(rows_class(sys_invocation_status=rows))
        assert found(diagnosis, "paused")
        calls = [call for calls in diagnosis.suggested_calls for call in calls]
        assert any(call.is_for_present for call in calls) == has_changes
        assert all(diagnosis.suggested_calls)
