"""Requests, verdicts and the loop around sending, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution import execute, runner
from restate_lab.actions.execution.outcomes import OUTCOMES, determine_outcome, outcome_frame
from restate_lab.actions.execution.sender import CallResult
from restate_lab.actions.reader import NO_INVOCATION, Destination, Destinations, InvocationSnapshot
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import AuditLog, audit_log
from restate_lab.client.settings import load_settings
from restate_lab.client.transport import Transport
from restate_lab.errors import ArgumentError, Unreachable

IDS = tuple(f"inv_1{number:033d}" for number in range(5000))
A = IDS[0]
TAKEN, LOST = CallResult("taken"), CallResult("lost", "the response was lost (cut)")


def test_a_duplicate_id_is_refused_because_it_would_restart_twice() -> None:
    with pytest.raises(ArgumentError, match="more than once"):
        ExecutionRequest(Change(ACTIONS.RESTART_AS_NEW), (A, A), "a test")


@pytest.mark.parametrize(
    ("action", "answer", "before", "after", "outcome"),
    [
        ("kill", TAKEN, "running", "killed", "done"),
        ("kill", TAKEN, "scheduled", None, "done"),
        ("kill", TAKEN, "running", "running", "accepted"),
        ("kill", LOST, "running", "running", "unknown"),
        ("cancel", TAKEN, "running", "running", "accepted"),
        ("cancel", LOST, "suspended", "cancelled", "done"),
        ("pause", TAKEN, "suspended", "suspended", "accepted"),
        ("pause", TAKEN, "running", "paused", "done"),
        ("resume", TAKEN, "backing-off", "backing-off", "done"),
        ("resume", TAKEN, "paused", "paused", "accepted"),
        ("resume", LOST, "backing-off", "backing-off", "unknown"),
        ("resume", LOST, "paused", "running", "done"),
        ("purge", LOST, "failed", "failed", "unknown"),
        ("purge", TAKEN, "failed", None, "done"),
        ("restart_as_new", CallResult("taken", new_id="inv_new"), "failed", "running", "done"),
        ("restart_as_new", LOST, "failed", None, "unknown"),
        ("kill", CallResult("refused", "409"), "running", "running", "refused"),
        ("kill", CallResult("not taken", "429"), "running", "running", "refused"),
        ("kill", None, "running", None, "not sent"),
    ],
)
def test_a_verdict_rests_on_what_was_seen(
    action: str, answer: CallResult | None, before: str, after: str | None, outcome: str
) -> None:
    """An id is done only if a read shows the effect; an accepted one stays accepted, and a lost one unknown."""
    verdict = determine_outcome(ACTIONS(action), A, answer, InvocationSnapshot(before), InvocationSnapshot(after))
    assert verdict.outcome == outcome
    assert outcome in OUTCOMES
    assert (verdict.error is None) == (outcome in {"done", "not sent"})


def test_a_purged_journal_is_one_of_size_zero() -> None:
    before = InvocationSnapshot("succeeded", journal_size=3)
    for size, outcome in ((0, "done"), (3, "accepted")):
        after = InvocationSnapshot("succeeded", journal_size=size)
        assert determine_outcome(ACTIONS.PURGE_JOURNAL, A, TAKEN, before, after).outcome == outcome


def test_an_outcome_that_could_not_be_read_is_not_done() -> None:
    assert determine_outcome(ACTIONS.KILL, A, TAKEN, NO_INVOCATION, None).outcome == "accepted"
    unknown = determine_outcome(ACTIONS.KILL, A, LOST, NO_INVOCATION, None)
    assert (unknown.outcome, unknown.error) == (
        "unknown",
        "the response was lost (cut); it could not be read afterwards",
    )


def test_an_empty_frame_has_its_columns() -> None:
    empty = outcome_frame([])
    assert list(empty) == ["id", "outcome", "error", "new_id", "status", "milliseconds", "other_new_ids"]
    assert empty["milliseconds"].dtype == "float64"


class FakeLab(SimpleNamespace):
    """The parts of a Lab that an execution needs; every invocation is running, whatever was done to it."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    monkeypatch.setattr(runner, "read_snapshots", lambda lab, ids: dict.fromkeys(ids, InvocationSnapshot("running")))
    monkeypatch.setattr(runner, "Reads", lambda lab: lab)
    monkeypatch.setattr(runner, "SEEN_WITHIN", 0.0)
    monkeypatch.setattr(runner, "PATIENCE", 1.0)
    settings = load_settings("http://127.0.0.1:9070")
    lab = FakeLab(features={}, settings=settings, name="127.0.0.1:9070", answer=None, sent=[])

    def handle(request: httpx.Request) -> httpx.Response:
        lab.sent.append(json.loads(request.content)["invocation_ids"])
        answer = lab.answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lab.transport = Transport(
        settings,
        settings.admin_url,
        read_only=False,
        timeout=5,
        audit=AuditLog(tmp_path),
        transport=httpx.MockTransport(handle),
    )
    return lab


def test_after_repeated_429_responses_the_rest_is_not_sent(lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.answer = lambda request: httpx.Response(429)
    table = execute(lab, ExecutionRequest(Change(ACTIONS.KILL), IDS[:1500], "a test"))  # type: ignore[arg-type]
    assert table["outcome"].tolist() == ["refused"] * 1000 + ["not sent"] * 500
    assert "could not accept it" in table["error"][1499]
    assert "ended early" in capsys.readouterr().err
    assert len(lab.sent) >= 2


def test_after_three_lost_responses_in_a_row_nothing_more_is_sent(lab: FakeLab) -> None:
    lab.answer = lambda request: httpx.ReadError("cut")
    table = execute(lab, ExecutionRequest(Change(ACTIONS.KILL), IDS, "a test"))  # type: ignore[arg-type]
    assert table["outcome"].tolist() == ["unknown"] * 3000 + ["not sent"] * 2000
    assert [len(ids) for ids in lab.sent] == [1000] * 3


def test_a_read_that_fails_ends_it_in_order(
    lab: FakeLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the statuses cannot be read, nothing more is sent, and ids already sent are accepted, not done."""
    lab.answer = lambda request: httpx.Response(200, json={"succeeded": lab.sent[-1], "failed": []})
    reads = iter([dict.fromkeys(IDS[:1000], InvocationSnapshot("running"))])

    def read_snapshots(lab: Any, ids: Any) -> Any:
        try:
            return next(reads)
        except StopIteration:
            raise Unreachable("nobody answers") from None

    monkeypatch.setattr(runner, "read_snapshots", read_snapshots)
    table = execute(lab, ExecutionRequest(Change(ACTIONS.KILL), IDS[:2000], "a test"))  # type: ignore[arg-type]
    assert table["outcome"].tolist() == ["accepted"] * 1000 + ["not sent"] * 1000
    assert set(table["error"]) == {"accepted, but it could not be read afterwards", "nobody answers"}
    assert "could not be read" in capsys.readouterr().err


def test_the_audit_log_has_each_known_result_after_an_unexpected_error(lab: FakeLab, tmp_path: Path) -> None:
    def break_down(request: httpx.Request) -> httpx.Response:
        if len(lab.sent) == 2:
            raise ZeroDivisionError
        return httpx.Response(200, json={"succeeded": lab.sent[-1], "failed": []})

    lab.answer = break_down
    with pytest.raises(ZeroDivisionError):
        execute(lab, ExecutionRequest(Change(ACTIONS.KILL), IDS[:3000], "a test"))  # type: ignore[arg-type]
    (row,) = audit_log(tmp_path).to_dict("records")
    assert row["outcome"] == "mixed"
    assert row["counts"] == "1,000 accepted, 1,000 unknown, 1,000 not sent"
    assert len(audit_log(tmp_path, change=row["change"])) == 3000


def test_why_an_invocation_cannot_or_need_not_move() -> None:
    there = Destinations("dp_new", {"Bulk": Destination("dp_new", 5, 7)})
    reasons = [
        there.reason_against(InvocationSnapshot("running", deployment=deployment, protocol=protocol, service=service))
        for deployment, protocol, service in (
            (None, None, "Bulk"),
            ("dp_new", 6, "Bulk"),
            ("dp_old", 6, "Other"),
            ("dp_old", 4, "Bulk"),
            ("dp_old", 6, "Bulk"),
        )
    ]
    assert reasons == [
        "it is not pinned to a deployment yet: its next attempt uses the latest one",
        "it is already on dp_new",
        "dp_new does not have the service Other",
        "it needs protocol 4, but dp_new supports 5 to 7",
        None,
    ]
