"""The plan of an action on invocations: review it, make it smaller, and execute it once within 15 minutes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_time
from restate_lab.actions.change import ExecutionRequest
from restate_lab.actions.execution import execute
from restate_lab.actions.execution.outcomes import outcome_frame
from restate_lab.actions.plan.text import LIFETIME, Execution, PlanReview, select_rows
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.ids import Targets, is_other_run, parse_created, parse_ids
from restate_lab.client.arguments import check_count, check_reason
from restate_lab.errors import ArgumentError, AuditFailed, Interrupted, PlanExpired, ReadOnly, WriteFailed
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress


@public
@dataclass(frozen=True, repr=False, eq=False)
class Plan(PlanReview):
    """What an action would do to which invocations; ``plan()`` makes it and describes its attributes.

    ``only()`` and ``first()`` return smaller, related plans. Across related plans, each invocation is acted on at most
    once: the other plans then exclude it. A new plan is not related to earlier ones.

    - ``frame``: one row per target, in order: ``id, target, service, status, created_at, age, idle_for``; ``effect``
      (what will happen) or ``excluded`` (the reason), one of them None; ``callee_of`` (the target that called it). The
      effect on a target that will fail again has the reason, and a warning has their number
    - ``targets, counts, excluded``: the targets, their number by service and status, and the excluded invocations
    - ``undo``: whether and how the action can be undone, in one sentence
    - ``impact``: for kill and cancel, the other invocations and keys that are affected: ``kind`` ("call", "one-way
      call", "key", "waiter", "state change"), ``id, target, status, effect``, ``caused_by`` (the target);
      ``not_read`` has the effects that this does not show. A kill also kills all direct and indirect callees that have
      not ended, including one-way calls; a cancel only cancels callees of calls. A "state change" is a queued change
      of the state of a key, and has no id. For pause, the keys that stay held while something waits for them
    - ``open_steps``: the steps (Run) without a result that are executed again after a pause of a running invocation in
      a vqueue, or on another deployment: ``id, step, entry_index, since`` (UTC); a warning has their names
    - ``at_once, capacity, places``: for resume on a server with vqueues, how many targets could run at once under the
      limits as they are, and in one sentence; ``places`` has the limits: ``scope, limit_key, rule, targets, limit,
      usage, free``, those with the fewest free places first
    - ``prefixes``: for restart_as_new, for up to 20 targets, the entries that ``from_index`` can select; ``restarted``:
      the targets that were already restarted before (a warning shows them)
    - ``replay``: the result of ``check=``, a ``Replay``; None without it
    - ``execute(reason=…)``, ``only(ids)``, ``first(n)``, ``outcome``

    The plan of ``redrive()`` has these columns in ``frame``: ``from_index`` (the index of the last entry to keep),
    ``failed_type`` and ``failed_name`` (of the failed command; None without one), ``failure`` (of the invocation),
    ``kept_steps`` and ``repeated_steps`` (numbers of commands), ``repeated_for`` (the duration of the repeated
    commands) and ``repeated_tokens`` (the journaled tokens of the responses of models among them, which are spent
    again; missing if a number is unknown; tokens of called invocations are not included). ``repeats`` has these columns
    per failed command. The audit log has each ``from_index``.
    """

    @property
    def digest(self) -> str:
        """Return a SHA-256 digest of what ``execute`` sends: address, action, options, and each run of the targets."""
        indexes = self.change.from_indexes
        runs = [(id_, str(self._created.get(id_)), indexes.get(id_)) for id_ in self.targets]
        content = [self.address, self.action.value, self.deployment, self.from_index, runs]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def outcome(self) -> pd.DataFrame | None:
        """Return the result of ``execute``, also if it was interrupted; None before execution."""
        return self._execution.outcome

    def only(self, ids: Targets, /) -> Plan:
        """Return a smaller plan with only these ids; nothing is read again.

        ``ids`` has the same form as ``targets`` of ``plan()``. A frame with a column ``created_at`` selects the runs
        that were created at these times.

        Raises:
            ArgumentError: some ids are not in this plan, or the plan has another run of the id.
        """
        (wanted, _), created = parse_ids(ids), parse_created(ids)
        strange = [id_ for id_ in wanted if id_ not in set(self.frame["id"])]
        if strange:
            raise ArgumentError(f"{len(strange):,} of these ids are not in the plan, such as {strange[0]!r}.")
        others = [id_ for id_ in wanted if id_ in self._created and is_other_run(self._created[id_], created, id_)]
        if others:
            raise ArgumentError(
                f"{len(others):,} of these rows are other runs of their id than in the plan, such as {others[0]!r}: "
                f"created_at differs. Make a new plan from these rows."
            )
        return self._restrict(wanted)

    def first(self, n: int, /) -> Plan:
        """Return a smaller plan with the first ``n`` targets."""
        return self._restrict(self.targets[: check_count("n", n)])

    def check_execution(self, *, reason: str, expect: int | None = None) -> None:
        """Raise the error that ``execute`` has for these arguments before it sends anything; this uses nothing up.

        Raises:
            ReadOnly, ArgumentError: as in ``execute``.
        """
        self._check_call(reason)
        _check_expect(self.action, len(self.targets), expect)

    def execute(
        self,
        reason: str,
        *,
        expect: int | None = None,
        progress: bool | Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> pd.DataFrame:
        """Act on the targets and return one row per target with its outcome.

        ``reason`` is written to the audit log. ``expect`` is the exact number of targets: required above 100, and above
        10 for kill and purge. A plan without targets does nothing and returns no row. A plan whose execution sent no
        request can be executed again. ``progress``: None or True shows a line once the call takes longer than a second,
        False shows nothing, and a ``Progress`` is updated instead with the number of processed targets and their total.
        If ``stop`` returns True, the rest is not sent.

        Each status is read again just before its request, and an invocation whose status no longer allows the action is
        skipped. A new run with the same id is also skipped: a workflow, or a call with an idempotency key, that was
        purged and called again after the plan was made. The API has no preconditions, so a run that starts between that
        read and the request is acted on. This gap is half a second plus the request; if the batch endpoint is closed,
        it includes the requests for up to 1,000 others.

        Columns: ``id``; ``outcome`` ("done": the effect was confirmed by reading; "accepted": the server accepted it,
        but the effect is not visible yet; "refused": the server did not accept it; "skipped": its status no longer
        allowed it; "unknown": the response was lost, and no effect is visible; "not sent"); ``error, new_id, status,
        milliseconds, other_new_ids``.

        Raises:
            ReadOnly: the connection is read-only; nothing was sent.
            ArgumentError: ``reason`` is empty or a placeholder, ``expect`` is missing or wrong, or ``frame`` was
                changed; nothing was sent.
            PlanExpired: the plan was already executed, or is older than 15 minutes; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
            Interrupted: you interrupted it; ``outcome`` has the changes made before that.
        """
        self._check_call(reason)
        with Shield() as shield:  # after a change, there is always an outcome
            targets = self._claim_targets(expect)
            try:
                outcome = self._run(targets, reason, progress, stop)
            except (ReadOnly, AuditFailed, ArgumentError, PlanExpired, WriteFailed):  # nothing was sent
                self._release(targets)
                raise
            except Interrupted as error:
                self._conclude(error.outcome, targets)
                shield.take()  # a second interrupt has no further effect
                raise
            self._conclude(outcome, targets)
            if shield.take():
                raise Interrupted(f"{self.action} was interrupted at its end; outcome is complete.", outcome)
            return outcome

    def _restrict(self, ids: Sequence[str]) -> Plan:
        wanted = set(ids)
        return replace(
            self,
            frame=select_rows(self.frame, "id", wanted),
            impact=select_rows(self.impact, "caused_by", wanted),
            prefixes=select_rows(self.prefixes, "id", wanted),
            open_steps=select_rows(self.open_steps, "id", wanted),
            _ids=tuple(id_ for id_ in self._ids if id_ in wanted),
            _execution=Execution(),
        )

    def _check_call(self, reason: str) -> None:
        if self._lab.read_only:
            raise ReadOnly(f"{self.action} was not sent: this connection to {self.source} is read-only.")
        check_reason(reason)
        self._check_frame()

    def _check_frame(self) -> None:
        """Refuse a plan whose frame was edited: the user probably wants to exclude the dropped rows."""
        rows = self.frame
        kept = rows[rows["excluded"].isna()] if {"id", "excluded"} <= set(rows) else rows.iloc[:0]
        indexes = dict(zip(kept["id"], kept["from_index"], strict=True)) if "from_index" in kept else {}
        if set(kept.get("id", ())) != set(self._ids) or indexes != self.change.only(self._ids).from_indexes:
            raise ArgumentError(
                "plan.frame was changed, which does not change the plan, so nothing was sent: use plan.only(ids) for a "
                "smaller plan, or rl.plan(…) for another."
            )

    def _claim_targets(self, expect: int | None) -> tuple[str, ...]:
        """Return the targets and reserve them, so that no related plan acts on them.

        Raises PlanExpired if the plan was already executed, or is too old.
        """
        with self._shared.lock:
            if self.is_executed:
                raise PlanExpired("this plan was already executed: plan.outcome has the result. Make a new plan.")
            if self._shared.age(self.read_at) > LIFETIME:
                raise PlanExpired(
                    f"this plan was made at {format_time(self.read_at)}, more than 15 minutes ago: make a new plan and "
                    f"review it."
                )
            targets = self.targets
            _check_expect(self.action, len(targets), expect)
            self._execution.targets = targets
            self._shared.acted.update(targets)
            return targets

    def _conclude(self, outcome: pd.DataFrame, targets: tuple[str, ...]) -> None:
        self._execution.outcome = outcome
        if not outcome.attrs.get("sent", True):
            self._release(targets)

    def _release(self, targets: tuple[str, ...]) -> None:
        """Give the targets back, because no request was sent: the plan can be executed again."""
        with self._shared.lock:
            self._execution.targets = None
            self._shared.acted.difference_update(targets)

    def _run(
        self,
        targets: tuple[str, ...],
        reason: str,
        progress: bool | Progress | None,
        stop: Callable[[], bool] | None,
    ) -> pd.DataFrame:
        if not targets:
            return outcome_frame([])
        created = {id_: self._created[id_] for id_ in targets if id_ in self._created}
        unrestarted = self._unrestarted.intersection(targets)
        request = ExecutionRequest(self.change.only(targets), targets, reason, unrestarted, created, self._begin)
        return execute(self._lab, request, progress=progress, stop=stop)


def _check_expect(action: ACTIONS, number: int, expect: int | None) -> None:
    if expect is None and number > action.rule.expect_above:
        raise ArgumentError(
            f"this would {action} {number:,} invocations, so nothing was sent: above {action.rule.expect_above}, "
            f"confirm the number with expect={number}."
        )
    if expect is not None and (isinstance(expect, bool) or expect != number):
        raise ArgumentError(
            f"expect is {expect!r}, but this would {action} {number:,} invocations; nothing was sent. Review the plan "
            f"again; if it is correct, pass expect={number}."
        )
