"""Runners execute a request: read, send, retry temporary refusals, stop on request, and read again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from restate_lab._text import format_duration
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution.outcomes import ActionOutcome, determine_outcome, has_happened
from restate_lab.actions.execution.sender import MAX_BATCH, BatchSender, CallResult
from restate_lab.actions.reader import (
    NO_INVOCATION,
    SCAN_TIMEOUT,
    InvocationSnapshot,
    read_any_restarts,
    read_cancel_signals,
    read_restarts,
    read_snapshots,
    with_retries,
)
from restate_lab.actions.rules import ACTIONS, Effect
from restate_lab.analysis.ids import describe_new_run
from restate_lab.client.lab import Lab
from restate_lab.client.sql.bind import chunks
from restate_lab.client.transport import ChangeRecord
from restate_lab.errors import PlanExpired, RestateLabError, TimedOut, WriteFailed
from restate_lab.progress import Progress, notify
from restate_lab.reads import Reads

PATIENCE = 30.0  # seconds for which a request is repeated if the server cannot accept it
FRESH = 0.5  # seconds; an older snapshot is read again before its invocation is acted on
SEEN_WITHIN = 3.0  # seconds; most effects are visible within 50 ms, a cancelled back-off after 600
MOST_LOST = 3  # consecutive requests with a lost response, after which the execution ends
_CLOCK_STEP = timedelta(milliseconds=10)  # created_at can be a little older than now() before it: 1 ms was measured
_QUIET_WAIT = 2.0  # seconds; a longer wait is shown
_SLICE = 0.1


@dataclass(frozen=True, slots=True)
class _LostCall:
    result: CallResult
    before: InvocationSnapshot


@dataclass(frozen=True, slots=True)
class _Prefetch:
    snapshots: dict[str, InvocationSnapshot]
    at: float


class Runner(ABC):
    """Executes a request, and keeps the known results of each id.

    ``halt`` is the reason why it ended early, otherwise None. ``gone`` has the ids whose reviewed run no longer exists.
    ``outcomes()`` returns the results so far at any time, also after an exception.
    """

    def __init__(self, lab: Lab, request: ExecutionRequest, record: ChangeRecord) -> None:
        self.halt: str | None = None
        self.gone: set[str] = set()
        self._lab = lab
        self._request = request
        self._effects: dict[tuple[str, bool], Effect] = {}
        self._skipped: dict[str, str] = {}
        self._before: dict[str, InvocationSnapshot] = {}
        self._after: dict[str, InvocationSnapshot] = {}
        # For ids whose run ended and that have a new run afterwards.
        self._new_runs: dict[str, InvocationSnapshot] = {}
        self._stop: Callable[[], bool] | None = None
        self._sender = BatchSender(record, lab.transport.refused_batches, self._should_stop)
        self._lost: dict[str, _LostCall] = {}
        self._lost_in_a_row = 0
        self._prefetched: _Prefetch | None = None
        self._has_begun = False

    @property
    def _reads(self) -> Reads:
        """Return new reads: during a long execution the server can be upgraded and have other columns."""
        return Reads(self._lab)

    def act(self, progress: Progress, stop: Callable[[], bool] | None) -> None:
        """Send all calls, until all are sent, ``stop`` returns True, or continuing makes no sense."""
        self._stop = stop
        try:
            self._act(progress)
            if not self._should_stop():
                self._begin()  # everything can be skipped because of the effects of another process, which has begun
        except (PlanExpired, WriteFailed):  # of begin()
            raise
        except RestateLabError as error:  # a read that failed after all retries
            self.halt = str(error)

    @abstractmethod
    def _act(self, progress: Progress) -> None: ...

    @abstractmethod
    def verify(self) -> None:
        """Read the outcomes of all sent calls."""

    def outcomes(self) -> list[ActionOutcome]:
        """Return one outcome per id, in the request's order."""
        return [self._outcome(id_) for id_ in self._request.ids]

    def _outcome(self, id_: str) -> ActionOutcome:
        before = self._before.get(id_, NO_INVOCATION)
        result = self._sender.results.get(id_)
        if id_ in self._skipped and result is None:
            return ActionOutcome(id_, "skipped", self._skipped[id_], status=before.status)
        if result is None:
            return ActionOutcome(id_, "not sent", self.halt, status=before.status)
        outcome = determine_outcome(self._request.action, id_, result, before, self._after.get(id_))
        new = self._new_runs.get(id_)
        if new is None:
            return outcome
        message = f"{describe_new_run(new.created_at, before.created_at)}. The new one is {new.status}"
        return replace(outcome, error="; ".join(filter(None, (outcome.error, message))))

    def _try_to_read(self, ids: Sequence[str]) -> bool:
        try:
            self._read_after(ids)
        except RestateLabError as error:
            notify(f"the outcome of {self._request} could not be read: {error}")
            return False
        return True

    def _read_after(self, ids: Sequence[str]) -> None:
        for id_, snapshot in read_snapshots(self._reads, ids).items():
            is_new = self._is_new_run(snapshot, self._before.get(id_, NO_INVOCATION).created_at)
            self._after[id_] = NO_INVOCATION if is_new else snapshot
            if is_new:
                self._new_runs[id_] = snapshot

    def _is_new_run(self, snapshot: InvocationSnapshot, created_at: datetime | None) -> bool:
        """Return whether the id now has another run than the one created at this time; False if that is unknown."""
        return snapshot.status is not None and created_at is not None and snapshot.created_at != created_at

    def _read(self, ids: Sequence[str]) -> dict[str, InvocationSnapshot]:
        ahead, self._prefetched = self._prefetched, None
        is_fresh = ahead is not None and time.monotonic() - ahead.at < FRESH and ahead.snapshots.keys() >= set(ids)
        snapshots = ahead.snapshots if ahead is not None and is_fresh else read_snapshots(self._reads, ids)
        self._before.update(snapshots)
        return snapshots

    def _skip(self, id_: str, why: str) -> None:
        """Send nothing for this id; a lost response is kept, because its request may have changed the status."""
        self._skipped[id_] = why
        if id_ in self._lost:
            self._before[id_] = self._lost[id_].before
        else:
            self._sender.results.pop(id_, None)

    def _check(self, id_: str, snapshot: InvocationSnapshot) -> None:
        reviewed = self._request.created.get(id_)
        is_new = self._is_new_run(snapshot, reviewed)
        if snapshot.status is None or is_new:
            self.gone.add(id_)
            self._skip(id_, describe_new_run(snapshot.created_at, reviewed) if is_new else "it is gone")
            return
        effect = self._effect(snapshot.status, in_vqueue=snapshot.in_vqueue)
        if not effect.acts:
            self._skip(id_, f"it is now {snapshot.status}: {effect.description}")

    def _effect(self, status: str, *, in_vqueue: bool) -> Effect:
        """Return the effect of the action in a status; cached, because many ids have the same status."""
        if (status, in_vqueue) not in self._effects:
            self._effects[status, in_vqueue] = self._request.action.rule.effect(
                status, has_vqueues=in_vqueue, deployment=self._request.change.deployment
            )
        return self._effects[status, in_vqueue]

    def _send(self, change: Change, ids: Sequence[str], select: Callable[[Sequence[str]], list[str]]) -> None:
        """Send a change of each id that ``select`` returns, and repeat calls that the server could not accept.

        ``select`` is called, and reads, just before each round. A call that a gateway reports as not forwarded is also
        repeated, if reading shows no effect.
        """
        give_up, pause = time.monotonic() + PATIENCE, 0.1
        pending: Sequence[str] = ids
        self._lost = {}
        while pending and not self._should_stop():
            pending = select(self._drop_settled(pending))
            if pending:
                self._begin()
            try:
                self._sender.send(change, pending)
            finally:
                self._keep_lost(pending)
            self._count_lost(pending)
            results = {id_: self._sender.results.get(id_) for id_ in pending}
            pending = [id_ for id_, result in results.items() if result is None or result.may_be_resent]
            if pending and not self._should_stop():
                reasons = (result for id_ in pending if (result := results[id_]) is not None)
                self._wait(next(reasons, CallResult("not taken")), pause, give_up)
            pause = min(pause * 2, 2.0)

    def _begin(self) -> None:
        if not self._has_begun and self._request.begin is not None:
            self._request.begin()
        self._has_begun = True

    def _drop_settled(self, ids: Sequence[str]) -> list[str]:
        """Read the effects of earlier requests whose responses were lost; return the ids without an effect."""
        lost = [id_ for id_ in ids if id_ in self._lost]
        if lost:
            self._read_after(lost)
        return [id_ for id_ in ids if id_ not in self._lost or not self._is_settled(id_)]

    def _keep_lost(self, sent: Iterable[str]) -> None:
        """Keep lost results: a later refusal or stop does not prove that the earlier request had no effect."""
        results = self._sender.results
        for id_ in sent:
            result, lost = results.get(id_), self._lost.get(id_)
            if lost is None:
                if result is not None and result.kind == "lost" and result.never_forwarded:
                    self._lost[id_] = _LostCall(result, self._before[id_])
                continue
            self._before[id_] = lost.before
            if result is None or result.kind == "not taken":
                results[id_] = replace(lost.result, wait=result.wait if result else None)
            elif result.kind == "refused":
                error = f"{lost.result.error}; sent again, it was refused: {result.error}"
                results[id_] = CallResult("lost", error, milliseconds=result.milliseconds)

    @abstractmethod
    def _is_settled(self, id_: str) -> bool: ...

    def _should_stop(self) -> bool:
        if self.halt is None and self._stop is not None and self._stop():
            self.halt = "stopped"
        return self.halt is not None

    def _wait(self, result: CallResult, pause: float, give_up: float) -> None:
        seconds = result.wait or pause
        if time.monotonic() + seconds > give_up:
            self.halt = f"the server could not accept it for {format_duration(PATIENCE)}: {result.error}"
            return
        if seconds > _QUIET_WAIT:
            notify(f"{self._request.action.value}: waiting {format_duration(seconds)} ({result.error})")
        self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and not self._should_stop():
            time.sleep(min(left, _SLICE))

    def _count_lost(self, sent: Sequence[str]) -> None:
        results = [result for id_ in sent if (result := self._sender.results.get(id_))]
        are_lost = {result.kind == "lost" and not result.may_be_resent for result in results}
        if results:
            self._lost_in_a_row = self._lost_in_a_row + 1 if are_lost == {True} else 0
        if self._lost_in_a_row >= MOST_LOST:
            self.halt = f"the responses of {MOST_LOST} consecutive requests were lost"


class SingleCallRunner(Runner):
    """The runner for an action with one call per invocation."""

    def __init__(self, lab: Lab, request: ExecutionRequest, record: ChangeRecord) -> None:
        super().__init__(lab, request, record)
        self._restarted_since: dict[str, datetime] = {}

    def _act(self, progress: Progress) -> None:
        parts, done = list(chunks(self._request.ids, MAX_BATCH)), 0
        if not parts:
            return
        self._skip_restarted()
        # The next part is read while the server works on the current one.
        with ThreadPoolExecutor(1, thread_name_prefix="restate-lab") as reader:
            ahead = reader.submit(self._prefetch, parts[0])
            for number, part in enumerate(parts):
                self._prefetched = ahead.result()
                if number + 1 < len(parts):
                    ahead = reader.submit(self._prefetch, parts[number + 1])
                if self._should_stop():
                    return
                self._send(self._request.change, part, self._read_allowed)
                done += len(part)
                progress.update(done, len(self._request.ids))

    def _skip_restarted(self) -> None:
        """Skip invocations that were restarted after the plan was made; their status does not show that."""
        try:
            restarts = read_any_restarts(self._reads, sorted(self._request.unrestarted), self._request.created)
        except TimedOut:
            notify(f"{self._request}: restarts since the plan was made were not checked, because that took too long.")
            return
        for id_, new_id in restarts.items():
            self._skip(id_, f"it was restarted after the plan was made, as {new_id}")

    def _prefetch(self, ids: Sequence[str]) -> _Prefetch:
        at = time.monotonic()
        return _Prefetch(read_snapshots(self._reads, ids), at)

    def _read_allowed(self, ids: Sequence[str]) -> list[str]:
        if self._request.action is ACTIONS.RESTART_AS_NEW:
            since = with_retries(lambda: self._lab.now) - _CLOCK_STEP
            for id_ in ids:  # the time of the first attempt, whatever its outcome
                self._restarted_since.setdefault(id_, since)
        for id_, snapshot in self._read(ids).items():
            self._check(id_, snapshot)
        return [id_ for id_ in ids if id_ not in self._skipped]

    def verify(self) -> None:
        """Read until all effects are visible, for at most ``SEEN_WITHIN`` seconds."""
        pending = list(self._sender.results)
        ends, pause = time.monotonic() + SEEN_WITHIN, 0.02
        while pending and self._try_to_read(pending):
            pending = [id_ for id_ in pending if not self._is_settled(id_)]
            if time.monotonic() + pause > ends:
                break
            if pending:
                time.sleep(pause)
            pause = min(pause * 2, 0.3)
        if self._request.action is ACTIONS.RESTART_AS_NEW:
            self._find_repeated_restarts()

    def _read_after(self, ids: Sequence[str]) -> None:
        super()._read_after(ids)
        lost = [id_ for id_ in ids if self._sender.results[id_].kind == "lost" and not self._is_settled(id_)]
        if lost and self._request.action is ACTIONS.CANCEL:
            for id_ in read_cancel_signals(self._reads, lost):
                self._mark_taken(id_)
        if self._request.action is ACTIONS.RESTART_AS_NEW:
            for id_, restarts in read_restarts(self._reads, {id_: self._restarted_since[id_] for id_ in lost}).items():
                self._mark_taken(id_, *restarts)
            new_ids = {id_: new_id for id_ in ids if (new_id := self._sender.results[id_].new_id)}
            snapshots = read_snapshots(self._reads, list(new_ids.values()))
            self._after.update({id_: snapshots[new_id] for id_, new_id in new_ids.items()})

    def _mark_taken(self, id_: str, *new_ids: str) -> None:
        new_id, others = (new_ids[0] if new_ids else None), new_ids[1:]
        results = self._sender.results
        results[id_] = replace(results[id_], kind="taken", error=None, new_id=new_id, other_new_ids=others)

    def _find_repeated_restarts(self) -> None:
        """Find restarts that are not in the responses: a gateway may have sent a request twice."""
        results = self._sender.results
        since = {id_: self._restarted_since[id_] for id_, result in results.items() if result.new_id}
        try:
            restarts = read_restarts(self._reads, since, timeout=SCAN_TIMEOUT)
        except RestateLabError as error:
            notify(f"{self._request}: could not check whether an invocation was restarted more than once: {error}")
            return
        for id_, new_ids in restarts.items():
            others = tuple(new_id for new_id in new_ids if new_id != results[id_].new_id)
            results[id_] = replace(results[id_], other_new_ids=others)

    def _is_settled(self, id_: str) -> bool:
        result = self._sender.results[id_]
        if result.kind in {"refused", "not taken"} or result.new_id:
            return True
        after, taken = self._after.get(id_), result.kind == "taken"
        return after is not None and has_happened(self._request.action, self._before[id_], after, taken=taken)
