"""The doctor and ``retry_storm`` on rows with data in the names of steps, and on rows that failed once."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.ask import ask
from restate_lab.analysis.doctor import context as context_module, doctor
from restate_lab.analysis.doctor.checks import retries as retries_module
from restate_lab.analysis.questions import AGGREGATIONS
from restate_lab.plots import plot_retries
from support.pictures import draw
from support.sample_rows import BEFORE, NOW, SampleRows, invocation, sample_id

HALF_A_DAY = timedelta(hours=12)


def failing(*steps: str | None, handler: str = "run", first: int = 0, **columns: Any) -> SampleRows:
    rows = [one(step, first + number, handler=handler, **columns) for number, step in enumerate(steps)]
    return source(rows)


def one(step: str | None, number: int, *, handler: str = "run", code: str = "RT0007", **columns: Any) -> Any:
    about = (step or "").removeprefix("get weather ")
    state = {
        "id": sample_id(number),
        "in_flight": False,
        "retry_count": 9,
        "last_failure": f"[500 Internal] no station in {about}",
        "last_failure_error_code": code,
        "last_failure_related_command_name": step,
        "last_attempt_deployment_id": "dp_1",
        "next_retry_at": NOW + timedelta(seconds=1),
        **columns,
    }
    return invocation(sample_id(number), "invoked", handler=handler), state


def source(rows: list[Any], **tables: Any) -> SampleRows:
    return SampleRows(
        sys_invocation_status=[status for status, _ in rows],
        sys_invocation_state=[state for _, state in rows],
        **tables,
    )


def storms(made: SampleRows, check: str = "retry_storm") -> list[dict[Any, Any]]:
    findings = doctor(made).findings
    return findings[findings["check"] == check].to_dict("records")


def test_steps_that_differ_in_data_are_one_finding_with_all_ids() -> None:
    (storm,) = storms(failing(*(f"get weather City{chr(97 + n % 26)}{n}" for n in range(1_000))))
    assert (storm["severity"], storm["count"], len(set(storm["ids"]))) == ("critical", 1_000, 1_000)
    assert storm["title"] == "1,000 invocations of Svc/run retry the steps “get weather …”, up to 9 attempts"
    assert storm["details"].startswith("[RT0007] no station in … 1,000 steps: “get weather Citya0”, ")
    assert storm["details"].endswith(" and 995 more.")
    assert storm["suggested_code"].startswith('rl.why(lab, "inv_')
    assert "step=" not in storm["evidence_code"]


def test_two_handlers_two_codes_and_three_steps_are_separate_findings() -> None:
    cities = ("Denver", "Paris", "Oslo")
    rows = [one(f"get weather {city}", n, handler="a") for n, city in enumerate(cities)]
    rows += [one(f"get weather {city}", 10 + n, handler="b") for n, city in enumerate(cities)]
    rows += [one(f"get weather {city}", 20 + n, handler="a", code="RT0001") for n, city in enumerate(cities)]
    rows += [one(step, 30 + n, handler="c") for n, step in enumerate(("charge card", "send email", None))]
    found = storms(source(rows))
    assert sorted(len(row["ids"]) for row in found) == [1, 1, 1, 3, 3, 3]
    assert {row["where"] for row in found} == {"Svc/a", "Svc/b", "Svc/c"}


def test_one_code_in_four_unrelated_steps_is_one_finding_of_the_handler() -> None:
    (row,) = storms(failing("charge card", "send email", "book flight", "pay", "pay", None))
    assert len(row["ids"]) == 6
    assert "retry 5 different steps" in row["title"]
    assert "5 steps: “pay”, outside of any step, “book flight”, “charge card”, “send email”." in row["details"]
    assert len(storms(failing("charge card", "send email", "book flight", "book flight"))) == 3


def test_pauses_in_steps_of_one_pattern_are_one_finding_per_message() -> None:
    cities = ("Denver", "Paris", "Oslo", "Rome", "Bern", "Kyiv")
    rows = [(sample_id(n), f"get weather {city}", f"no station in {city}") for n, city in enumerate(cities)]
    rows.append((sample_id(9), "get weather Lima", "quota used up"))
    made = SampleRows(
        sys_invocation_status=[invocation(id_, "paused") for id_, _, _ in rows],
        sys_journal_events=[
            {"id": id_, "event_type": "Paused", "appended_at": BEFORE, "event_json": paused_event(step, message)}
            for id_, step, message in rows
        ],
    )
    found = {len(row["ids"]): row for row in storms(made, "paused")}
    assert found[6]["title"].endswith("are paused after failing in the steps “get weather …”")
    assert found[6]["details"].startswith("[RT0007] no station in … 6 steps: “get weather Bern”")
    assert found[1]["title"].endswith("is paused after failing in the step “get weather Lima”")
    assert found[1]["details"] == "[RT0007] quota used up. It continues only when resumed."


def paused_event(step: str, message: str) -> str:
    failure = {"restate_doc_error_code": "RT0007", "error_message": message, "related_command_name": step}
    return json.dumps({"last_failure": failure})


def test_time_in_steps_of_one_pattern_is_added_up() -> None:
    ids, begun = [sample_id(n) for n in range(10)], NOW - timedelta(minutes=5)
    ended = {"running_at": begun, "completion_result": "success"}
    status = [
        *(invocation(id_, "completed", **ended, completed_at=begun + timedelta(seconds=8)) for id_ in ids),
        *(
            invocation(sample_id(n), "completed", handler=f"q{n}", **ended, completed_at=begun + timedelta(seconds=0.1))
            for n in range(20, 24)
        ),
    ]
    journal = [
        row
        for n, id_ in enumerate(ids)
        for row in (
            {"entry_type": "Command: Run", "name": f"get weather {chr(97 + n)}x", **entry("Command", id_, begun)},
            {"entry_type": "Notification: Run", **entry("Notification", id_, begun + timedelta(seconds=7.6))},
        )
    ]
    (row,) = storms(SampleRows(sys_invocation_status=status, sys_journal=journal), "slow_handlers")
    assert "95% of it in the steps “get weather …”" in row["title"]
    assert "10 steps: " in row["details"]


def entry(kind: str, id_: str, at: Any) -> dict[str, Any]:
    lite = {"Command": {"Run": {"completion_id": 1}}, "Notification": {"id": {"CompletionId": 1}}}
    return {"id": id_, "index": 1, "entry_lite_json": json.dumps({kind: lite[kind]}), "appended_at": at}


@pytest.mark.parametrize(
    ("count", "wait", "severity"),
    [(3_000, HALF_A_DAY, "critical"), (1, HALF_A_DAY, "warning"), (4, timedelta(minutes=11), "warning")],
)
def test_one_failure_before_a_long_wait_is_a_finding(count: int, wait: timedelta, severity: str) -> None:
    (storm,) = storms(failing(*["first"] * count, retry_count=1, next_retry_at=NOW + wait))
    assert (storm["severity"], storm["count"]) == (severity, count)
    assert storm["title"].endswith("up to 1 attempt")
    assert "The next attempt begins up to " in storm["details"]
    unreachable = {"last_failure_error_code": "RT0010", "retry_count": 1, "next_retry_at": NOW + wait}
    (down,) = storms(failing(*["first"] * count, **unreachable), "unreachable_deployments")
    assert down["severity"] in {severity, "critical"}


def test_one_recent_failure_is_no_finding_and_without_progress_for_a_minute_a_note() -> None:
    young = [one("first", 1, retry_count=1, next_retry_at=NOW + timedelta(seconds=30))]
    young[0][0]["modified_at"] = NOW - timedelta(seconds=20)
    assert doctor(source(young)).findings.empty
    old = failing("first", retry_count=1, next_retry_at=NOW + timedelta(seconds=30))
    assert [row["severity"] for row in storms(old)] == ["note"]


def test_an_operator_can_raise_the_limit_of_the_wait_for_the_next_attempt() -> None:
    made = failing(*["first"] * 9, retry_count=1, next_retry_at=NOW + HALF_A_DAY)
    assert list(doctor(made, thresholds={"next_attempt": "1day"}).findings["severity"]) == ["note"]


def test_retry_storm_has_one_row_for_a_pattern_and_a_limit_counts_such_rows() -> None:
    rows = [one(f"get weather City{chr(97 + n % 26)}{n}", n, retry_count=2 + n % 3) for n in range(1_000)]
    rows += [one(f"charge order {n}", 2_000 + n, last_failure="[500 x] no") for n in range(50)]
    rows += [one("send email", 3_000 + n, last_failure=f"[500 x] {word}") for n, word in enumerate(("down", "busy"))]
    made = source(rows)
    frame = ask(made, "retry_storm")
    assert list(frame["step"]) == ["get weather …", "charge order #", "send email", "send email"]
    assert list(frame["invocations"]) == [1_000, 50, 1, 1]
    assert list(frame["steps"]) == [1_000, 50, 1, 1]
    assert (frame["attempts"][0], frame["worst"][0]) == (sum(2 + n % 3 for n in range(1_000)), 4)
    assert frame["message"][0] == "no station in …"
    assert (str(frame["invocations"].dtype), str(frame["next_retry_at"].dtype)) == ("int64", "datetime64[ms, UTC]")
    first = ask(made, "retry_storm", limit=4)
    assert "truncated" not in first.attrs
    assert len(ask(made, "retry_storm", limit=None)) == 4


def test_retry_storm_removes_the_text_of_refusals_and_merges_rows_that_differ_only_in_it() -> None:
    texts = ("I cannot help Jane", "I must not help Joe")
    rows = [
        one("call LLM", n, last_failure=f"[500 x] agents.ModelRefusalError('{text}')", retry_count=3 + n)
        for n, text in enumerate(texts)
    ]
    frame = ask(source([*rows, one("send email", 5, last_failure="[500 x] down")]), "retry_storm")
    assert frame[["step", "invocations", "attempts", "steps"]].to_numpy().tolist() == [
        ["call LLM", 2, 7, 1],
        ["send email", 1, 9, 1],
    ]
    hidden = "agents.ModelRefusalError(…)"
    assert ask(source(rows[:1]), "retry_storm")["message"].tolist() == [hidden]
    assert frame["message"].tolist() == frame["example_message"].tolist() == [hidden, "down"]
    assert str(frame["invocations"].dtype) == "int64"


def test_without_data_in_step_names_the_same_frame_is_returned() -> None:
    frame = pd.DataFrame(
        {
            **dict.fromkeys(("target_service_name", "target_handler_name", "error_code"), "a"),
            "step": ["charge card", None],
            "message": ["no", None],
            "invocations": [1, 2],
            "attempts": [3, 4],
        }
    )
    assert AGGREGATIONS["retry_storm"](frame) is frame


def test_a_plot_has_one_bar_for_a_pattern_also_of_rows_that_are_not_merged() -> None:
    made = failing(*(f"get weather {city}" for city in ("Denver", "Paris", "Oslo", "Rome", "Bern", "Kyiv")))
    frame = ask(made, "retry_storm")
    (label,) = draw(plot_retries(frame)).get_yticklabels()
    assert label.get_text() == "Svc/run\n6 steps “get weather …” [RT0007]"
    many = pd.concat([frame.assign(step=f"get weather {city}", invocations=2) for city in ("Lima", "Kyiv", "Bonn")])
    (label,) = draw(plot_retries(many.drop(columns=["steps"]).reset_index(drop=True))).get_yticklabels()
    assert label.get_text() == "Svc/run\nstep “get weather …” [RT0007]"


def test_a_finding_counts_invocations_beyond_the_limit_of_reading_and_states_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (context_module, retries_module):
        monkeypatch.setattr(module, "MAX_ROWS", 20)
    made = failing(*(f"get weather City{chr(97 + n % 26)}{n}" for n in range(200)))
    diagnosis = doctor(made)
    (storm,) = diagnosis.findings.to_dict("records")
    assert (storm["count"], len(storm["ids"])) == (200, 20)
    assert "only the 20 invocations with most attempts" in diagnosis.not_read.set_index("part")["reason"]["retry_storm"]
    assert sum("AS example_step" in each for each in made.asked) == 1
