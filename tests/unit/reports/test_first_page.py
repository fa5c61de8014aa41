"""The first page of a report: its sentence, its numbers and its drawn timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.diagnosis import CheckGap, CheckRun, Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Blocked, Finding, Severity
from restate_lab.analysis.suggestions import ask_call, why_call
from restate_lab.links import VARIABLE
from restate_lab.reports.first_page import (
    diagnosis_title,
    draw_timeline,
    first_error,
    first_numbers,
    lead_of,
    time_window,
    verdict_of,
)
from restate_lab.reports.masking import masker_for
from restate_lab.reports.timeline import EarlierTimes, TimelineEvent, action_events, grouped_frame, timeline_frame
from support.sample_reports import report_source
from support.sample_rows import SampleRows

NOW = datetime(2026, 11, 25, 3, 27, tzinfo=UTC)
BEGAN = NOW - timedelta(minutes=36)
CALLERS = ("inv_4", "inv_5", "inv_6")
TIMES = EarlierTimes(report_source())


def storm(**values: Any) -> Finding:
    finding = {
        "severity": Severity.CRITICAL, "title": "3 invocations retry", "where": "Payments/charge", "count": 3,
        "ids": ("inv_1", "inv_2", "inv_3"), "since": BEGAN, "check": "retry_storm",
        "evidence": ask_call("retry_storm_ids", service="Payments", step="charge card"),
        "suggested": (why_call("inv_1"),), "blocked": Blocked(CALLERS, 3),
    }  # fmt: skip
    return Finding(**(finding | values))


def diagnosis(*findings: Finding, gap: str = "") -> Diagnosis:
    return build_diagnosis(
        source="prod",
        version="1.7.12",
        at=NOW,
        seconds=1.0,
        findings=findings,
        checked=[CheckRun("retry_storm", "retries", len(findings), 1, 0.1, 1)] * 22,
        gaps=[CheckGap("deadlocks", gap, "deadlocks", applies=True)] if gap else [],
        skipped=0,
    )


def test_the_verdict_has_the_first_finding_its_time_its_error_and_the_blocked_invocations() -> None:
    targets = {"inv_4": "Orders/place", "inv_5": "Orders/place", "inv_6": "Account/acme/debit"}
    retries = pd.DataFrame(
        {"target_service_name": ["Payments"] * 2, "target_handler_name": "charge", "invocations": [1, 2],
         "example_message": ["Down('connect timed out')", "Down('HTTP 503 Service Unavailable from x')"]}
    )  # fmt: skip
    error = first_error(diagnosis(storm()), retries)
    assert verdict_of(diagnosis(storm()), UTC, targets=targets, error=error) == (
        "3 invocations retry, since 02:51 UTC (HTTP 503); they block 2 Orders/place, 1 Account/debit."
    )
    one = storm(count=1, ids=("inv_1",), blocked=Blocked(CALLERS, 2_000))
    assert verdict_of(diagnosis(one), ZoneInfo("Asia/Tokyo"), targets=targets, error="Down('no route')") == (
        "3 invocations retry, since 11:51 Asia/Tokyo (no route); it blocks 2,000 other invocations."
    )
    other = storm(check="a new check", title="Something new", details="details", blocked=Blocked(), since=None)
    assert verdict_of(diagnosis(other), UTC) == "Something new."


def test_an_incomplete_diagnosis_is_called_so_first_and_names_the_missing_checks() -> None:
    assert verdict_of(diagnosis(), UTC) == "No problem found by 22 checks."
    assert diagnosis_title(diagnosis()) == "No problem found: prod"
    incomplete = diagnosis(gap="the timeout of 60s was used up")
    assert verdict_of(incomplete, UTC) == "The diagnosis is incomplete. The checks that could run found no problem."
    assert diagnosis_title(incomplete) == "Incomplete diagnosis: prod"
    lead = lead_of(diagnosis(storm(), gap="no table"), masker_for(None), UTC)
    assert lead[0].startswith("The diagnosis is incomplete. 3 invocations retry")
    assert lead[1:] == ("Findings: 1 critical", "Not checked: deadlocks: no table")
    assert diagnosis_title(diagnosis(storm())) == "Incident at Payments/charge on prod"
    assert diagnosis_title(diagnosis(storm(where=""))) == "Incident on prod"


def test_the_four_numbers_count_an_invocation_once_and_are_limits_without_all_ids() -> None:
    second = storm(check="paused", count=2, ids=("inv_3", "inv_4"), since=NOW - timedelta(days=2), blocked=Blocked())
    failures = pd.DataFrame({"status": ["failed", "killed", "failed"], "invocations": [7, 3, 4]})
    numbers = first_numbers(diagnosis(storm(), second), failures, UTC, NOW - timedelta(days=1))
    assert [each.text for each in numbers] == ["6", "23 Nov 03:27", "3", "11"]
    assert numbers[0].note == "by 2 critical findings"
    many = storm(count=5_000, blocked=Blocked(CALLERS, 200))
    numbers = first_numbers(diagnosis(many), None, UTC, NOW)
    assert [each.text for each in numbers] == ["up to 5,200", "02:51", "up to 200", "–"]


def events(*minutes: float, event: str = "new error") -> list[TimelineEvent]:
    return [TimelineEvent(NOW - timedelta(minutes=each), event, f"event {each}") for each in minutes]


def test_the_timeline_begins_at_most_three_lengths_of_the_incident_before_it() -> None:
    all_events = [*events(1_400, 900, 36, 35.9, 5), *events(700, event="deployment registered")]
    window = time_window(all_events, BEGAN, since=NOW - timedelta(days=1), now=NOW)
    assert timedelta(minutes=144) < NOW - window.start < timedelta(minutes=150)
    frame = pd.DataFrame({"span_start": [BEGAN], "invocations": [5]})
    about: dict[str, Any] = {"times": TIMES, "zone": UTC, "masker": masker_for(None)}
    drawing = draw_timeline(window, diagnosis(storm()), all_events, frame, None, **about)
    lanes = {lane.name: lane for lane in drawing.lanes}
    assert list(lanes) == ["Payments/charge", "created", "new errors", "deployments"]
    (bar,) = lanes["Payments/charge"].bars
    assert bar.left + bar.width == pytest.approx(100)
    assert bar.left == pytest.approx(75, abs=2)
    assert [mark.count for mark in lanes["new errors"].marks] == [2, 1]
    assert (lanes["new errors"].earlier, lanes["deployments"].earlier, lanes["deployments"].marks) == (2, 1, ())
    assert [tick.label for tick in drawing.ticks] == ["01:30", "02:00", "02:30", "03:00"]


@pytest.mark.parametrize("span", [timedelta(0), timedelta(milliseconds=5), timedelta(days=400)])
def test_incidents_without_a_duration_and_of_a_year_have_marks_within_the_picture(span: timedelta) -> None:
    first = [TimelineEvent(NOW - span, "paused", "a")]
    window = time_window(first, None, since=NOW - span, now=NOW)
    drawing = draw_timeline(window, diagnosis(), first, None, None, times=TIMES, zone=UTC, masker=masker_for(None))
    assert 0 <= drawing.lanes[0].marks[0].at <= 100
    assert len(drawing.ticks) <= 8


@pytest.mark.parametrize("is_live", [True, False])
@pytest.mark.parametrize("address", ["", "https://lab.example.com/restate"])
def test_findings_and_marks_open_the_cluster_at_their_time(
    monkeypatch: pytest.MonkeyPatch, address: str, is_live: bool
) -> None:
    """With pages they are links that have only the time and the source; a report has no calls in Python."""
    monkeypatch.setenv(VARIABLE, address)
    source = report_source(name="a&b <prod>") if is_live else report_source(live=False, address="inc.evidence")
    first = [TimelineEvent(NOW - timedelta(minutes=5, milliseconds=1.5), "paused", "Payments <b>"), *events(4.9)]
    window = time_window(first, BEGAN, since=NOW - timedelta(days=1), now=NOW)
    about: dict[str, Any] = {"times": EarlierTimes(source), "zone": ZoneInfo("Asia/Tokyo"), "masker": masker_for(None)}
    drawing = draw_timeline(window, diagnosis(storm()), first, None, None, **about)
    (bar,), marks = drawing.lanes[0].bars, [mark for lane in drawing.lanes for mark in lane.marks]
    base = "https://lab.example.com/restate/?at=2026-11-25T{}Z&source=a%26b+%3Cprod%3E"
    times = ("02%3A51%3A00.000", "03%3A22%3A06.000", "03%3A21%3A59.998")
    has_links = bool(address) and is_live
    assert [bar.link, *(mark.link for mark in marks)] == (
        [base.format(each) for each in times] if has_links else [""] * 3
    )
    assert bool(drawing.note) == has_links == all(tick.link for tick in drawing.ticks)
    assert marks[1].text.endswith(": Payments <b>")
    assert not any("lab." in each.text for each in (bar, *marks))


def test_close_routine_events_are_one_row_and_findings_and_actions_stay_single() -> None:
    every = timeline_frame([*events(9, 8.99, 8.98, 2), *events(9, 8.99, event="finding begins")])
    groups = grouped_frame(every, gap=pd.Timedelta("2s"))
    assert sorted(zip(groups["event"], groups["events"], strict=True)) == [
        ("finding begins", 1), ("finding begins", 1), ("new error", 1), ("new error", 3),
    ]  # fmt: skip
    assert groups["what"][groups["events"] == 3].iloc[0] == "event 9; event 8.99; event 8.98"
    assert grouped_frame(timeline_frame([]), gap=pd.Timedelta("2s")).empty


def test_equal_consecutive_actions_are_one_event_unless_more_than_a_minute_passed() -> None:
    rows = [
        *((second, "send", f"Orders/{second % 4}", "done", None, "") for second in range(10)),
        (10, "send", "Orders/9", "not known", None, "lost"),
        (11, "resume", "inv_1a", "done", "INC-42", ""),
        (80, "resume", "inv_1b", "done", "INC-42", ""),
    ]
    log = pd.DataFrame(rows, columns=["time", "action", "what", "outcome", "reason", "error"]).assign(user="ann")
    log["time"] = NOW + pd.to_timedelta(log["time"], unit="s")
    assert [each.what for each in action_events(log)] == [
        "10 × send Orders/0, Orders/1 and 2 more: done",
        "send Orders/9: not known",
        "resume inv_1a: done (INC-42)",
        "resume inv_1b: done (INC-42)",
    ]
    assert list(action_events(log.head(0))) == []


def test_the_report_of_an_empty_cluster_says_that_nothing_is_registered() -> None:
    empty = doctor(SampleRows(sys_service=[], sys_deployment=[]))
    assert diagnosis_title(empty) == "Incomplete diagnosis: made"
    assert verdict_of(empty, UTC) == "The diagnosis is incomplete. No service is registered at made."
