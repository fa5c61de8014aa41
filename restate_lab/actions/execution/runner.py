"""Carry an order out: read, send, wait out what passes by itself, stop when asked to, read again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from restate_lab._text import format_duration
from restate_lab.actions.execution.outcomes import Outcome, has_happened, judge
from restate_lab.actions.execution.request import Order
from restate_lab.actions.execution.sender import LARGEST, Answer, Call, Sender
from restate_lab.actions.rules import ACTIONS
from restate_lab.actions.snapshot import (
    GONE,
    SCAN_WITHIN,
    Reading,
    patiently,
    read_any_restarts,
    read_cancel_signals,
    read_now,
    read_restarts,
)
from restate_lab.analysis.ids import describe_new_run
from restate_lab.client.lab import Lab
from restate_lab.client.sql.bind import chunks
from restate_lab.client.transport import Record
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.progress import Progress, say

__all__ = ["Pursuit", "Single"]

PATIENCE = 30.0  # seconds in which the server may say that it cannot take something now
FRESH = 0.5  # seconds; what was read longer ago is read again before it is acted on
SEEN_WITHIN = 3.0  # seconds; most is seen within 50 ms, a cancelled back-off after 600
MOST_LOST = 3  # requests in a row whose answers are lost, before no more are sent
_QUIET_WAIT = 2.0  # seconds; a longer one is shown
_SLICE = 0.1


@dataclass(frozen=True, slots=True)
class _Unsure:
    """An earlier request whose response was lost, and what was read before it."""

    answer: Answer
    before: Reading


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What was read, and when it was asked for."""

    readings: dict[str, Reading]
    at: float


class Pursuit(ABC):
    """What is known of each id of an order while it is carried out.

    ``halt`` says why it ended early, None as long as it did not. ``outcomes()`` tells what is known at any moment, also
    after an exception.
    """

    def __init__(self, lab: Lab, order: Order, record: Record) -> None:
        self.halt: str | None = None
        self._lab = lab
        self._order = order
        self._skipped: dict[str, str] = {}
        self._before: dict[str, Reading] = {}
        self._after: dict[str, Reading] = {}
        self._new_runs: dict[str, Reading] = {}  # of ids whose run ended and that have another one afterwards
        self._stop: Callable[[], bool] = _never
        self._sender = Sender(record, lab.transport.closed, self._stops)
        self._unsure: dict[str, _Unsure] = {}
        self._lost_in_a_row = 0
        self._ahead: _Ahead | None = None

    def act(self, line: Progress, stop: Callable[[], bool] | None) -> None:
        """Send what is to be sent, until all is, ``stop`` says True, or there is no use in going on."""
        self._stop = stop or _never
        try:
            self._act(line)
        except RestateLabError as error:  # a read that failed for longer than reads are repeated
            self.halt = str(error)

    @abstractmethod
    def _act(self, line: Progress) -> None: ...

    @abstractmethod
    def look(self) -> None:
        """Read what came of all that was sent."""

    def outcomes(self) -> list[Outcome]:
        """Return one outcome per id, in the order's order."""
        return [self._outcome(id_) for id_ in self._order.ids]

    def _outcome(self, id_: str) -> Outcome:
        before = self._before.get(id_, GONE)
        answer = self._sender.answers.get(id_)
        if id_ in self._skipped and answer is None:
            return Outcome(id_, "skipped", self._skipped[id_], status=before.status)
        if answer is None:
            return Outcome(id_, "not sent", self.halt, status=before.status)
        outcome = judge(self._order.action, id_, answer, before, self._after.get(id_))
        new = self._new_runs.get(id_)
        if new is None:
            return outcome
        said = f"{describe_new_run(new.created_at, before.created_at)}. The new one is {new.status}"
        return replace(outcome, error="; ".join(filter(None, (outcome.error, said))))

    def _look_at(self, ids: Sequence[str]) -> bool:
        """Read these afterwards; return whether that was possible."""
        try:
            self._read_afterwards(ids)
        except RestateLabError as error:
            say(f"what came of {self._order} could not be read: {error}")
            return False
        return True

    def _read_afterwards(self, ids: Sequence[str]) -> None:
        for id_, reading in read_now(self._lab, ids).items():
            is_new = self._is_new_run(reading, self._before.get(id_, GONE).created_at)
            self._after[id_] = GONE if is_new else reading
            if is_new:
                self._new_runs[id_] = reading

    def _is_new_run(self, reading: Reading, created_at: datetime | None) -> bool:
        """Tell whether there is a run of the id, and not the one that was created then (None: which one is meant)."""
        return reading.status is not None and created_at is not None and reading.created_at != created_at

    def _read(self, ids: Sequence[str]) -> dict[str, Reading]:
        """Read these just before acting, or take what was read ahead of them a moment ago."""
        ahead, self._ahead = self._ahead, None
        is_fresh = ahead is not None and time.monotonic() - ahead.at < FRESH and ahead.readings.keys() >= set(ids)
        readings = ahead.readings if ahead is not None and is_fresh else read_now(self._lab, ids)
        self._before.update(readings)
        return readings

    def _leave_out(self, id_: str, why: str) -> None:
        """Send nothing for this id; one with a lost response keeps it, because that may be why its status changed."""
        self._skipped[id_] = why
        if id_ in self._unsure:
            self._before[id_] = self._unsure[id_].before
        else:
            self._sender.answers.pop(id_, None)

    def _check(self, id_: str, reading: Reading) -> None:
        """Leave out one that is gone, is not the run that was reviewed, or whose status does not allow the action."""
        reviewed = self._order.created.get(id_)
        if reading.status is None:
            self._leave_out(id_, "it is gone")
            return
        if self._is_new_run(reading, reviewed):
            self._leave_out(id_, describe_new_run(reading.created_at, reviewed))
            return
        effect = self._order.action.rule.effect(
            reading.status,
            has_vqueues=self._lab.features.get("vqueues", False),
            deployment=self._order.deployment,
        )
        if not effect.acts:
            self._leave_out(id_, f"it is {reading.status} now: {effect.words}")

    def _send(self, call: Call, ids: Sequence[str], allowed: Callable[[Sequence[str]], list[str]]) -> None:
        """Send a call for each id that ``allowed`` leaves, and again for those that the server could not take.

        ``allowed`` is asked, and so reads, just before each round. What a gateway says that it never forwarded goes out
        again as well, once reading shows nothing of it.
        """
        give_up, pause = time.monotonic() + PATIENCE, 0.1
        pending: Sequence[str] = ids
        self._unsure = {}
        while pending and not self._stops():
            pending = allowed(self._unseen(pending))
            try:
                self._sender.send(call, pending)
            finally:
                self._remember_lost(pending)
            self._count_lost(pending)
            pending = [id_ for id_ in pending if self._is_waiting(id_)]
            if pending and not self._stops():
                self._wait(self._reason_to_wait(pending), pause, give_up)
            pause = min(pause * 2, 2.0)

    def _unseen(self, ids: Sequence[str]) -> list[str]:
        """Read what came of earlier requests whose responses were lost; return the ids of which nothing is seen."""
        unsure = [id_ for id_ in ids if id_ in self._unsure]
        if unsure:
            self._read_afterwards(unsure)
        return [id_ for id_ in ids if id_ not in self._unsure or not self._is_settled(id_)]

    def _remember_lost(self, sent: Iterable[str]) -> None:
        """Keep what was lost: a later refusal, or a stop before the next request, does not say that it never came."""
        answers = self._sender.answers
        for id_ in sent:
            answer, unsure = answers.get(id_), self._unsure.get(id_)
            if unsure is None:
                if answer is not None and answer.kind == "lost" and answer.never_forwarded:
                    self._unsure[id_] = _Unsure(answer, self._before[id_])
                continue
            self._before[id_] = unsure.before
            if answer is None or answer.kind == "not taken":
                answers[id_] = replace(unsure.answer, wait=answer.wait if answer else None)
            elif answer.kind == "refused":
                words = f"{unsure.answer.error}; sent again, it was refused: {answer.error}"
                answers[id_] = Answer("lost", words, milliseconds=answer.milliseconds)

    @abstractmethod
    def _is_settled(self, id_: str) -> bool: ...

    def _stops(self) -> bool:
        if self.halt is None and self._stop():
            self.halt = "stopped"
        return self.halt is not None

    def _is_waiting(self, id_: str) -> bool:
        answer = self._sender.answers.get(id_)
        return answer is None or answer.may_go_again

    def _reason_to_wait(self, pending: Iterable[str]) -> Answer:
        answers = (self._sender.answers.get(id_) for id_ in pending)
        return next((answer for answer in answers if answer is not None), Answer("not taken"))

    def _wait(self, answer: Answer, pause: float, give_up: float) -> None:
        seconds = answer.wait or pause
        if time.monotonic() + seconds > give_up:
            self.halt = f"the server could not take it for {format_duration(PATIENCE)}: {answer.error}"
            return
        if seconds > _QUIET_WAIT:
            say(f"{self._order.action.value}: waiting {format_duration(seconds)} ({answer.error})")
        self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and not self._stops():
            time.sleep(min(left, _SLICE))

    def _count_lost(self, sent: Sequence[str]) -> None:
        answers = [answer for id_ in sent if (answer := self._sender.answers.get(id_))]
        are_lost = {answer.kind == "lost" and not answer.may_go_again for answer in answers}
        if answers:
            self._lost_in_a_row = self._lost_in_a_row + 1 if are_lost == {True} else 0
        if self._lost_in_a_row >= MOST_LOST:
            self.halt = f"the answers of {MOST_LOST} requests in a row were lost"


class Single(Pursuit):
    """An action that is one call for each invocation."""

    def __init__(self, lab: Lab, order: Order, record: Record) -> None:
        super().__init__(lab, order, record)
        self._call = Call(str(order.action.rule.batch), order.deployment, order.from_index)
        self._restarted_since: dict[str, datetime] = {}

    def _act(self, line: Progress) -> None:
        parts, done = list(chunks(self._order.ids, LARGEST)), 0
        if not parts:
            return
        self._leave_out_restarted()
        # While the server works on one part, the next one is read.
        with ThreadPoolExecutor(1, thread_name_prefix="restate-lab") as reader:
            ahead = reader.submit(self._read_ahead, parts[0])
            for number, part in enumerate(parts):
                self._ahead = ahead.result()
                if number + 1 < len(parts):
                    ahead = reader.submit(self._read_ahead, parts[number + 1])
                if self._stops():
                    return
                self._send(self._call, part, self._allowed)
                done += len(part)
                line.update(done, len(self._order.ids))

    def _leave_out_restarted(self) -> None:
        """Leave out whom somebody else has restarted since the plan was made: their status tells nothing of it."""
        try:
            found = read_any_restarts(self._lab, sorted(self._order.unrestarted), self._order.created)
        except TimedOut:
            say(f"{self._order}: whether somebody has restarted them meanwhile could not be read in time.")
            return
        for id_, new_id in found.items():
            self._leave_out(id_, f"it was restarted meanwhile, as {new_id}")

    def _read_ahead(self, ids: Sequence[str]) -> _Ahead:
        at = time.monotonic()
        return _Ahead(read_now(self._lab, ids), at)

    def _allowed(self, ids: Sequence[str]) -> list[str]:
        """Read these again and return those whose status still allows the action."""
        if self._order.action is ACTIONS.RESTART_AS_NEW:
            now = patiently(lambda: self._lab.now)  # created_at counts milliseconds
            since = now.replace(microsecond=now.microsecond // 1000 * 1000)
            for id_ in ids:  # the first attempt counts, whatever came of it
                self._restarted_since.setdefault(id_, since)
        for id_, reading in self._read(ids).items():
            self._check(id_, reading)
        return [id_ for id_ in ids if id_ not in self._skipped]

    def look(self) -> None:
        """Read until everything is seen that can be seen soon."""
        pending = list(self._sender.answers)
        ends, pause = time.monotonic() + SEEN_WITHIN, 0.02
        while pending and self._look_at(pending):
            pending = [id_ for id_ in pending if not self._is_settled(id_)]
            if time.monotonic() + pause > ends:
                break
            if pending:
                time.sleep(pause)
            pause = min(pause * 2, 0.3)
        if self._order.action is ACTIONS.RESTART_AS_NEW:
            self._name_all_restarts()

    def _read_afterwards(self, ids: Sequence[str]) -> None:
        super()._read_afterwards(ids)
        lost = [id_ for id_ in ids if self._sender.answers[id_].kind == "lost" and not self._is_settled(id_)]
        if lost and self._order.action is ACTIONS.CANCEL:
            for id_ in read_cancel_signals(self._lab, lost):
                self._note_taken(id_)
        if self._order.action is ACTIONS.RESTART_AS_NEW:
            self._find_restarts(lost)
            new_ids = {id_: new_id for id_ in ids if (new_id := self._sender.answers[id_].new_id)}
            readings = read_now(self._lab, list(new_ids.values()))
            self._after.update({id_: readings[new_id] for id_, new_id in new_ids.items()})

    def _note_taken(self, id_: str, *new_ids: str) -> None:
        """Note that an answer which was lost must have been a yes."""
        new_id, others = (new_ids[0] if new_ids else None), new_ids[1:]
        answers = self._sender.answers
        answers[id_] = replace(answers[id_], kind="taken", error=None, new_id=new_id, other_new_ids=others)

    def _find_restarts(self, lost: Sequence[str]) -> None:
        for id_, new_ids in read_restarts(self._lab, {id_: self._restarted_since[id_] for id_ in lost}).items():
            self._note_taken(id_, *new_ids)

    def _name_all_restarts(self) -> None:
        """Look for restarts beside those that the answers name: a gateway may have sent a request twice."""
        answers = self._sender.answers
        since = {id_: self._restarted_since[id_] for id_, answer in answers.items() if answer.new_id}
        try:
            restarts = read_restarts(self._lab, since, timeout=SCAN_WITHIN)
        except RestateLabError as error:
            say(f"{self._order}: whether any was restarted more than once could not be read: {error}")
            return
        for id_, new_ids in restarts.items():
            others = tuple(new_id for new_id in new_ids if new_id != answers[id_].new_id)
            answers[id_] = replace(answers[id_], other_new_ids=others)

    def _is_settled(self, id_: str) -> bool:
        answer = self._sender.answers[id_]
        if answer.kind in {"refused", "not taken"} or answer.new_id:
            return True
        after, taken = self._after.get(id_), answer.kind == "taken"
        return after is not None and has_happened(self._order.action, self._before[id_], after, taken=taken)


def _never() -> bool:
    return False
