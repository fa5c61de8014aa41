"""The requests that a plan sends again after a lost response, and the new ids that it names."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution import execute, runner
from restate_lab.actions.reader import NO_INVOCATION, InvocationSnapshot
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import AuditLog, audit_log
from restate_lab.client.settings import load_settings
from restate_lab.client.transport import Transport
from restate_lab.magics.frames import is_readable

A, B = (f"inv_1{number:033d}" for number in range(2))
STARTED = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
NEVER = httpx.Response(503, text="no healthy upstream")
LOST = httpx.Response(503, text="upstream connect error. reset reason: connection termination")
REFUSED = httpx.Response(409, json={"message": "no", "restate_code": None})


class FakeServer:
    """The parts of a Lab that an execution needs: statuses, restarts, and a clock that advances with each read."""

    def __init__(self, folder: Path, status: str) -> None:
        settings = load_settings("http://127.0.0.1:9070")
        self.settings, self.name = settings, "prod"
        self.features: dict[str, bool] = {}
        self.sent: list[list[str]] = []
        self.restarts: list[tuple[str, str, datetime]] = []
        self.readings = dict.fromkeys((A, B), InvocationSnapshot(status))
        self.answers: list[Callable[[list[str]], httpx.Response]] = []
        self.transport = Transport(
            settings,
            settings.admin_url,
            read_only=False,
            timeout=5,
            audit=AuditLog(folder),
            transport=httpx.MockTransport(self._answer),
        )
        self._ticks = itertools.count()

    @property
    def now(self) -> datetime:
        return STARTED + timedelta(seconds=next(self._ticks))

    def restart(self, *ids: str) -> list[dict[str, str]]:
        for id_ in ids:
            self.restarts.append((id_, f"new_{len(self.restarts)}", self.now))
        return [{"old_invocation_id": old, "new_invocation_id": new} for old, new, _ in self.restarts[-len(ids) :]]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        ids = json.loads(request.content)["invocation_ids"]
        self.sent.append(ids)
        return self.answers.pop(0)(ids)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], FakeServer]:
    def make(status: str) -> FakeServer:
        server = FakeServer(tmp_path, status)

        def read_snapshots(lab: Any, ids: Sequence[str]) -> dict[str, InvocationSnapshot]:
            return {id_: server.readings.get(id_, NO_INVOCATION) for id_ in ids}

        def read_restarts(
            lab: Any, since: Mapping[str, datetime], timeout: float | None = None
        ) -> dict[str, tuple[str, ...]]:
            found = {
                old: [new for each, new, at in server.restarts if each == old and at >= since[old]] for old in since
            }
            return {old: tuple(new) for old, new in found.items() if new}

        monkeypatch.setattr(runner, "read_snapshots", read_snapshots)
        monkeypatch.setattr(runner, "read_restarts", read_restarts)
        monkeypatch.setattr(runner, "read_any_restarts", lambda lab, ids, created: {})
        monkeypatch.setattr(runner, "Reads", lambda lab: lab)
        monkeypatch.setattr(runner, "SEEN_WITHIN", 0.0)
        return server

    return make


def run(server: FakeServer, action: ACTIONS, *answers: Callable[[list[str]], httpx.Response]) -> pd.DataFrame:
    server.answers += answers
    frame = execute(server, ExecutionRequest(Change(action), (A, B), "a test"))  # type: ignore[arg-type]
    written = audit_log(server.transport.audit.folder, change=frame.attrs["change"])
    for column in ("id", "outcome", "error", "new_id", "other_new_ids"):
        assert written[column].tolist() == frame[column].tolist()
    assert is_readable(frame)  # a notebook shows the outcome as a table of restate_lab
    return frame


def says(answer: httpx.Response) -> Callable[[list[str]], httpx.Response]:
    return lambda ids: httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)


def test_what_was_never_forwarded_goes_out_again(server: Callable[..., FakeServer]) -> None:
    """A read shows that the first request had no effect, so the second one is sent, and it is the only restart."""
    made = server("failed")
    frame = run(made, ACTIONS.RESTART_AS_NEW, says(NEVER), lambda ids: accepted(made.restart(*ids)))
    assert frame["outcome"].tolist() == ["done", "done"]
    assert frame["new_id"].tolist() == ["new_0", "new_1"]
    assert frame["other_new_ids"].tolist() == [None, None]
    assert made.sent == [[A, B], [A, B]]


def accepted(succeeded: Sequence[Any]) -> httpx.Response:
    return httpx.Response(200, json={"succeeded": succeeded, "failed": []})


@pytest.mark.parametrize("text", [NEVER, LOST], ids=["a hint", "no hint"])
def test_a_restart_that_happened_is_not_sent_again(server: Callable[..., FakeServer], text: httpx.Response) -> None:
    """The server restarted one of two, whatever the gateway reports: that one is found, and not sent again."""
    made = server("failed")

    def act(ids: list[str]) -> httpx.Response:
        made.restart(A)
        return says(text)(ids)

    frame = run(made, ACTIONS.RESTART_AS_NEW, act, lambda ids: accepted(made.restart(*ids)))
    assert frame["outcome"].tolist() == ["done", "done" if text is NEVER else "unknown"]
    assert frame["new_id"].tolist() == ["new_0", "new_1" if text is NEVER else None]
    assert made.sent == ([[A, B], [B]] if text is NEVER else [[A, B]])


def test_a_restart_of_the_first_attempt_is_found_after_the_third(server: Callable[..., FakeServer]) -> None:
    made = server("failed")
    first: list[datetime] = []

    def act_late(ids: list[str]) -> httpx.Response:
        first.append(made.now)
        if len(first) == 3:
            made.restarts += [(A, "late", first[0]), (B, "late too", first[0])]
        return says(NEVER)(ids)

    frame = run(made, ACTIONS.RESTART_AS_NEW, act_late, act_late, act_late)
    assert frame["new_id"].tolist() == ["late", "late too"]
    assert len(made.sent) == 3


def test_every_new_id_is_named(server: Callable[..., FakeServer]) -> None:
    """A gateway that sends a request twice creates two invocations: both are in the frame and in the audit log."""
    made = server("failed")

    def twice(ids: list[str]) -> httpx.Response:
        made.restart(A)
        return accepted(made.restart(A, B))

    frame = run(made, ACTIONS.RESTART_AS_NEW, twice)
    assert frame["outcome"].tolist() == ["done", "done"]
    assert frame["new_id"].tolist() == ["new_1", "new_2"]
    assert frame["other_new_ids"].tolist() == ["new_0", None]
    assert "restarted more than once: as new_1 and as new_0" in frame["error"][0]


def test_a_refusal_after_a_lost_response_is_no_answer_to_it(server: Callable[..., FakeServer]) -> None:
    """The second kill finds an invocation that the first one ended: it is done, not refused and not skipped."""
    made = server("running")

    def refuse(ids: list[str]) -> httpx.Response:
        made.readings[A] = InvocationSnapshot("killed")
        return says(REFUSED)(ids)

    frame = run(made, ACTIONS.KILL, says(NEVER), refuse)
    assert frame["outcome"].tolist() == ["done", "unknown"]
    assert "sent again, it was refused: 409 no" in frame["error"][1]

    made = server("running")

    def act(ids: list[str]) -> httpx.Response:
        made.readings[A] = InvocationSnapshot("killed")
        return says(NEVER)(ids)

    frame = run(made, ACTIONS.KILL, act, accepted)
    assert frame["outcome"].tolist() == ["done", "accepted"]
    assert made.sent == [[A, B], [B]]


def test_a_call_that_only_the_gateway_calls_unsent_stays_unknown(
    server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PATIENCE", 1.0)
    made = server("running")
    frame = run(made, ACTIONS.KILL, *[says(NEVER)] * 20)
    assert frame["outcome"].tolist() == ["unknown", "unknown"]
    assert frame["error"].str.contains("no healthy upstream").all()
    assert 2 <= len(made.sent) < 10


def test_what_was_sent_is_not_skipped(server: Callable[..., FakeServer]) -> None:
    """An invocation that ends after a lost pause is unknown: a request was sent, and nothing shows its effect."""
    made = server("running")

    def end(ids: list[str]) -> httpx.Response:
        made.readings[A] = InvocationSnapshot("succeeded")
        return says(NEVER)(ids)

    frame = run(made, ACTIONS.PAUSE, end, accepted)
    assert frame["outcome"].tolist() == ["unknown", "accepted"]
    assert "afterwards it is succeeded" in frame["error"][0]
    assert made.sent == [[A, B], [B]]
