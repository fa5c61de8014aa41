"""Execute a move: pause running invocations, wait until they are paused, resume them on the other deployment, verify.

Paused and suspended invocations are resumed there at once. If a move ends early, repeating it continues: it excludes
invocations that are already there, and resumes the paused ones.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution.outcomes import ActionOutcome
from restate_lab.actions.execution.runner import SEEN_WITHIN, Runner
from restate_lab.actions.execution.sender import MAX_BATCH
from restate_lab.actions.reader import Destinations, InvocationSnapshot, read_destinations
from restate_lab.actions.rules import ACTIONS, GONE
from restate_lab.client.lab import Lab
from restate_lab.client.sql.bind import chunks
from restate_lab.client.transport import ChangeRecord
from restate_lab.progress import Progress

PAUSED_WITHIN = 90.0  # seconds; the abort timeout, often a minute, ends a long step
_POLL_INTERVAL = 0.3  # seconds between two polls of invocations that are not paused yet
_SHORT_PAUSE = 0.05
_PAUSE = Change(ACTIONS.PAUSE)
_READY_TO_GO = ("paused", "suspended")
_ON_THE_WAY = ("ready", "running", "backing-off")


class MoveRunner(Runner):
    """A move of invocations to another deployment."""

    def __init__(self, lab: Lab, request: ExecutionRequest, record: ChangeRecord) -> None:
        super().__init__(lab, request, record)
        self._resume = Change(ACTIONS.RESUME, request.change.deployment)
        self._destinations = Destinations(str(request.change.deployment), {})
        self._waiting: dict[str, None] = {}  # to be paused, in order
        self._paused: set[str] = set()  # a pause was sent for these
        self._resumed: set[str] = set()

    def _act(self, progress: Progress) -> None:
        total, begun = len(self._request.ids), 0
        self._destinations = read_destinations(self._reads, str(self._request.change.deployment))
        for chunk in chunks(self._request.ids, MAX_BATCH):
            if self._should_stop():
                return
            self._start(chunk)
            begun += len(chunk)
            progress.update(begun - len(self._waiting), total)
        ends = time.monotonic() + PAUSED_WITHIN
        while self._waiting and not self._should_stop() and time.monotonic() < ends:
            for chunk in chunks(list(self._waiting), MAX_BATCH):
                self._resume_paused(chunk)
            progress.update(total - len(self._waiting), total)
            if self._waiting:
                self._sleep(_POLL_INTERVAL)

    def _start(self, chunk: Sequence[str]) -> None:
        snapshots = self._read_movable(chunk)
        self._send_resume([id_ for id_ in snapshots if snapshots[id_].status in _READY_TO_GO])
        to_pause = [id_ for id_ in snapshots if snapshots[id_].status not in _READY_TO_GO]
        self._send(_PAUSE, to_pause, self._select_to_pause)
        self._paused.update(to_pause)
        self._waiting.update(dict.fromkeys(id_ for id_ in to_pause if self._may_become_paused(id_)))

    def _resume_paused(self, chunk: Sequence[str]) -> None:
        snapshots = self._read_movable(chunk)
        ready = [id_ for id_, snapshot in snapshots.items() if snapshot.status in _READY_TO_GO]
        for id_ in {*chunk} - {*snapshots} | {*ready}:  # the missing ones have ended, or were moved by another user
            del self._waiting[id_]
        self._send_resume(ready)

    def _send_resume(self, ids: Sequence[str]) -> None:
        self._send(self._resume, ids, self._select_to_resume)

    def _select_to_resume(self, ids: Sequence[str]) -> list[str]:
        movable = list(self._read_movable(ids))
        self._resumed.update(movable)
        return movable

    def _select_to_pause(self, ids: Sequence[str]) -> list[str]:
        return [id_ for id_, snapshot in self._read_movable(ids).items() if snapshot.status not in _READY_TO_GO]

    def _may_become_paused(self, id_: str) -> bool:
        result = self._sender.results.get(id_)
        if result is None:  # it was read again as paused or suspended before the request
            return id_ not in self._skipped and self._before[id_].status in _READY_TO_GO
        return result.kind in {"taken", "lost"}

    def _read_movable(self, ids: Sequence[str]) -> dict[str, InvocationSnapshot]:
        for id_, snapshot in self._read(ids).items():
            self._check(id_, snapshot)
            why = self._destinations.reason_against(snapshot)
            if why is not None and id_ not in self._skipped:
                self._skip(id_, why)
        return {id_: self._before[id_] for id_ in ids if id_ not in self._skipped}

    def _check(self, id_: str, snapshot: InvocationSnapshot) -> None:
        # After a pause was sent, an invocation can briefly be ready between two attempts.
        is_new = self._is_new_run(snapshot, self._request.created.get(id_))
        if is_new or id_ not in self._paused or snapshot.status not in _ON_THE_WAY:
            super()._check(id_, snapshot)

    def verify(self) -> None:
        """Read until the resumed invocations are on the other deployment, and the others are paused."""
        pending = list(self._sender.results)
        ends = time.monotonic() + SEEN_WITHIN
        while pending and self._try_to_read(pending) and time.monotonic() < ends:
            pending = [id_ for id_ in pending if not self._is_settled(id_)]
            if pending:
                time.sleep(_SHORT_PAUSE)

    def _is_settled(self, id_: str) -> bool:
        after = self._after[id_]
        if self._sender.results[id_].kind in {"refused", "not taken"} or after.status is None:
            return True
        return self._destinations.is_reached_by(after) if id_ in self._resumed else after.status not in _ON_THE_WAY

    def _outcome(self, id_: str) -> ActionOutcome:
        outcome = super()._outcome(id_)
        if outcome.outcome == "skipped" and id_ in self._paused:
            return replace(outcome, error=f"a pause was sent, and then {outcome.error}")
        after = self._after.get(id_)
        if after is None or outcome.outcome in {"skipped", "not sent"}:
            return outcome
        if id_ in self._resumed and self._destinations.is_reached_by(after):
            return replace(outcome, outcome="done", error=None)
        where = f"it is {after.status or GONE} on {after.deployment}"
        if outcome.outcome in {"refused", "unknown"}:
            return replace(outcome, error=f"{outcome.error}; {where}")
        if id_ in self._resumed:
            return replace(outcome, outcome="accepted", error=f"resumed, but not on the new deployment yet: {where}")
        next_step = "it will pause when its attempt ends; then repeat the move to continue"
        if after.status == "paused":
            next_step = "repeat the move to resume it there"
        return replace(outcome, outcome="accepted", error=f"{where}: {next_step}")
