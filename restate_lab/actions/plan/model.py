"""The plan of an action on invocations: review it, make it smaller, and execute it once within 15 minutes."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_time
from restate_lab.actions.execution import execute
from restate_lab.actions.execution.outcomes import outcome_frame
from restate_lab.actions.execution.request import ExecutionRequest, index_range
from restate_lab.actions.plan.gate import CheckedTargets, check_warnings
from restate_lab.actions.plan.preview import repeat_frame
from restate_lab.actions.plan.steps import step_frame
from restate_lab.actions.plan.text import PlanSummary, approval_text, plan_card, plan_text, warnings_for
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.ids import is_other_run, parse_created, parse_ids
from restate_lab.analysis.replay.result import Replay
from restate_lab.client.arguments import check_count
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, AuditFailed, Interrupted, PlanExpired, ReadOnly
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress

LIFETIME = timedelta(minutes=15)


@dataclass(slots=True)
class SharedExecution:
    """The shared data of related plans: when they were made, and which invocations one of them acted on."""

    acted: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.monotonic)

    def age(self, made_at: datetime) -> timedelta:
        """Return the time since they were made, the longer one of two clocks: one may stop while a laptop sleeps."""
        return max(timedelta(seconds=time.monotonic() - self.started), datetime.now(UTC) - made_at)


@dataclass(slots=True)
class _Execution:
    """The targets and the outcome of one plan's execution; None before it."""

    targets: tuple[str, ...] | None = None
    outcome: pd.DataFrame | None = None


@public
@dataclass(frozen=True, repr=False, eq=False)
class Plan:
    """What an action would do to which invocations; ``plan()`` makes it and describes its attributes.

    ``only()`` and ``first()`` return smaller, related plans. Across related plans, each invocation is acted on at most
    once: the other plans then exclude it. A new plan is not related to earlier ones.
    """

    action: ACTIONS
    frame: pd.DataFrame
    impact: pd.DataFrame
    prefixes: pd.DataFrame
    restarted: frozenset[str]
    limitations: tuple[str, ...]
    deployment: str | None
    from_index: int | None
    made_at: datetime
    environment: str
    address: str
    server: str
    _ids: tuple[str, ...]
    _lab: Lab
    open_steps: pd.DataFrame = field(default_factory=lambda: step_frame([]))
    _has_retention: bool = False
    _unrestarted: frozenset[str] = frozenset()
    _created: Mapping[str, datetime] = field(default_factory=dict)
    _from_indexes: Mapping[str, int] = field(default_factory=dict)
    _checked: CheckedTargets | None = None
    _shared: SharedExecution = field(default_factory=SharedExecution)
    _execution: _Execution = field(default_factory=_Execution)

    @property
    def where(self) -> str:
        """Return the environment's name and address, and the server's version."""
        return f"{self.environment} at {self.address} ({self.server})"

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the ids that would be acted on, in order: not excluded, and not acted on through a related plan.

        After execution: the ids that the plan acted on.
        """
        if self._execution.targets is not None:
            return self._execution.targets
        return tuple(id_ for id_ in self._ids if id_ not in self._shared.acted)

    @property
    def is_executed(self) -> bool:
        """Return whether it was executed; a plan can be executed only once."""
        return self._execution.targets is not None

    @property
    def rows(self) -> pd.DataFrame:
        """Return the rows of ``frame`` for ``targets``."""
        return _select_rows(self.frame, "id", set(self.targets))

    @property
    def counts(self) -> pd.DataFrame:
        """Return how many invocations would be acted on: one row per service and status, highest number first.

        Columns: ``service, status, n``.
        """
        return _count(self.rows)

    @property
    def repeats(self) -> pd.DataFrame:
        """Return what would run again in a redrive: one row per service and failed command; empty for other plans.

        Columns: ``service, failed_type, failed_name`` (the pattern of similar names; None without a failed command),
        ``n`` invocations, ``failure`` (their messages), ``kept_steps``, ``repeated_steps``, ``repeated_for`` (how long
        these took) and ``repeated_tokens`` (the journaled tokens of their calls of models), in total.
        """
        return repeat_frame(self.rows)

    @property
    def excluded(self) -> pd.DataFrame:
        """Return the excluded invocations with the reason: one row each (``id, target, status, why``)."""
        rows = self.frame.loc[self.frame["excluded"].notna(), ["id", "target", "status", "excluded"]]
        return rows.rename(columns={"excluded": "why"}).reset_index(drop=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings to read before executing."""
        return warnings_for(self._summary())

    @property
    def approval_text(self) -> str:
        """Return the text that a person approves if another program executes the plan."""
        return approval_text(self._summary())

    @property
    def digest(self) -> str:
        """Return a SHA-256 digest of what ``execute`` sends: address, action, options, and each run of the targets."""
        runs = [(id_, str(self._created.get(id_)), self._from_indexes.get(id_)) for id_ in self.targets]
        content = [self.address, self.action.value, self.deployment, self.from_index, runs]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def replay(self) -> Replay | None:
        """Return the replay of the targets that ``check=`` made; None without a check."""
        return None if self._checked is None else self._checked.replay

    @property
    def outcome(self) -> pd.DataFrame | None:
        """Return the result of ``execute``, also if it was interrupted; None before execution."""
        return self._execution.outcome

    @property
    def expires_at(self) -> datetime:
        """Return the time until which it can be executed, UTC."""
        return self.made_at + LIFETIME

    def only(self, ids: Any, /) -> Plan:
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

    def execute(
        self,
        *,
        reason: str,
        expect: int | None = None,
        progress: bool | Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> pd.DataFrame:
        """Act on the targets and return one row per target with its outcome.

        ``reason`` is written to the audit log. ``expect`` is the exact number of targets: required above 100, and above
        10 for kill and purge. A plan without targets does nothing and returns no row. ``progress``: None or True shows
        a line once the call takes longer than a second, False shows nothing, and a ``Progress`` is updated instead with
        the number of processed targets and their total. If ``stop`` returns True, the rest is not sent.

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
            ArgumentError: ``reason`` is empty, ``expect`` is missing or wrong, or ``frame`` was changed; nothing was
                sent.
            PlanExpired: the plan was already executed, or is older than 15 minutes; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
            Interrupted: you interrupted it; ``outcome`` has the changes made before that.
        """
        if self._lab.read_only:
            raise ReadOnly(f"{self.action} was not sent: this connection to {self.environment} is read-only.")
        _check_reason(reason)
        self._check_frame()
        with Shield() as shield:  # after a change, there is always an outcome
            targets = self._claim_targets(expect)
            try:
                outcome = self._run(targets, reason, progress, stop)
            except (ReadOnly, AuditFailed, ArgumentError):  # nothing was sent
                self._release_targets(targets)
                raise
            except Interrupted as error:
                self._execution.outcome = error.outcome
                shield.take()  # a second interrupt has no further effect
                raise
            self._execution.outcome = outcome
            if shield.take():
                raise Interrupted(f"{self.action} was interrupted at its end; outcome is complete.", outcome)
            return outcome

    def __repr__(self) -> str:
        done = "executed" if self.is_executed else "nothing sent yet"
        return f"<Plan {self.action} {len(self.targets):,} of {len(self.frame):,} on {self.where}, {done}>"

    def __str__(self) -> str:
        return plan_text(self._summary())

    def _repr_html_(self) -> str:
        return plan_card(self._summary())

    def _summary(self) -> PlanSummary:
        targets = set(self.targets)
        indexes = index_range(self._indexes_of(targets))
        options = {"deployment": self.deployment, "from_index": indexes or self.from_index}
        rows = _select_rows(self.frame, "id", targets)
        return PlanSummary(
            action=self.action,
            options={name: value for name, value in options.items() if value is not None},
            environment=self.environment,
            address=self.address,
            server=self.server,
            number=len(targets),
            frame=self.frame,
            rows=rows,
            counts=_count(rows),
            impact=self.impact,
            prefixes=self.prefixes,
            repeats=repeat_frame(rows),
            open_steps=_select_rows(self.open_steps, "id", targets),
            warnings=self._check_warnings(rows),
            restarted=len(self.restarted.intersection(targets)),
            limitations=self.limitations,
            has_retention=self._has_retention,
            is_executed=self.is_executed,
            expires_at=self.expires_at,
        )

    def _check_warnings(self, rows: pd.DataFrame) -> tuple[str, ...]:
        """Return the warnings about the replay check of these rows."""
        indexes = self._indexes_of(rows["id"]).values() or [self.from_index or 0]
        return check_warnings(self._checked, rows, keeps_entries=max(indexes) > 0)

    def _restrict(self, ids: Sequence[str]) -> Plan:
        wanted = set(ids)
        return replace(
            self,
            frame=_select_rows(self.frame, "id", wanted),
            impact=_select_rows(self.impact, "caused_by", wanted),
            prefixes=_select_rows(self.prefixes, "id", wanted),
            open_steps=_select_rows(self.open_steps, "id", wanted),
            _ids=tuple(id_ for id_ in self._ids if id_ in wanted),
            _execution=_Execution(),
        )

    def _check_frame(self) -> None:
        """Refuse a plan whose frame was edited: the user probably wants to exclude the dropped rows."""
        rows = self.frame
        kept = rows[rows["excluded"].isna()] if {"id", "excluded"} <= set(rows) else rows.iloc[:0]
        indexes = dict(zip(kept["id"], kept["from_index"], strict=True)) if "from_index" in kept else {}
        if set(kept.get("id", ())) != set(self._ids) or indexes != self._indexes_of(self._ids):
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
            if self._shared.age(self.made_at) > LIFETIME:
                raise PlanExpired(
                    f"this plan was made at {format_time(self.made_at)}, more than 15 minutes ago: make a new plan and "
                    f"review it."
                )
            targets = self.targets
            _check_expect(self.action, len(targets), expect)
            self._execution.targets = targets
            self._shared.acted.update(targets)
            return targets

    def _release_targets(self, targets: Sequence[str]) -> None:
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
        request = ExecutionRequest(
            self.action,
            targets,
            reason,
            self.deployment,
            self.from_index,
            unrestarted=self._unrestarted.intersection(targets),
            created={id_: self._created[id_] for id_ in targets if id_ in self._created},
            from_indexes=self._indexes_of(targets),
        )
        return execute(self._lab, request, progress=progress, stop=stop)

    def _indexes_of(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the index from which each of these restarts; empty if no target has its own."""
        return {id_: self._from_indexes[id_] for id_ in ids} if self._from_indexes else {}


def _select_rows(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    # isin() is slow for texts.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


def _count(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby(["service", "status"], sort=False).size().rename("n").reset_index()
    return counts.sort_values(["n", "service", "status"], ascending=[False, True, True], ignore_index=True)


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise ArgumentError('reason is empty: pass a reason, for example reason="INC-42: the weather API is back".')


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
