"""The plan of an action on invocations: it is reviewed, made smaller, and executed once within 15 minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_time
from restate_lab.actions.execution import execute
from restate_lab.actions.execution.outcomes import outcome_frame
from restate_lab.actions.execution.request import ExecutionRequest
from restate_lab.actions.plan.text import PlanSummary, plan_card, plan_text, warnings_for
from restate_lab.actions.rules import ACTIONS
from restate_lab.actions.targets import parse_created, parse_ids
from restate_lab.analysis.ids import is_other_run
from restate_lab.client.arguments import check_count
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, AuditFailed, Interrupted, PlanExpired, ReadOnly
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress

__all__ = ["Plan", "SharedExecution"]

LIFETIME = timedelta(minutes=15)


@dataclass(slots=True)
class SharedExecution:
    """What a plan and the smaller ones made from it share: when they were made, and who was acted on by one of them."""

    acted: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    started: float = field(default_factory=time.monotonic)

    def age(self, made_at: datetime) -> timedelta:
        """Return the time since they were made: by the clock that a sleeping laptop stops, or by the other one."""
        return max(timedelta(seconds=time.monotonic() - self.started), datetime.now(UTC) - made_at)


@dataclass(slots=True)
class _Execution:
    """On whom one plan was executed (None: it was not), and what came of it."""

    targets: tuple[str, ...] | None = None
    outcome: pd.DataFrame | None = None


@public
@dataclass(frozen=True, repr=False, eq=False)
class Plan:
    """What an action would do to which invocations; ``plan()`` makes it, and says what is in it; it sends nothing.

    ``only()`` and ``first()`` give smaller plans. All of them together act on an invocation once: what was acted on
    through one of them is no target of the others any more. A plan that is made anew knows nothing of that.
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
    _unrestarted: frozenset[str] = frozenset()
    _created: Mapping[str, datetime] = field(default_factory=dict)
    _shared: SharedExecution = field(default_factory=SharedExecution)
    _execution: _Execution = field(default_factory=_Execution)

    @property
    def where(self) -> str:
        """Return the environment's name and address, and what the server is."""
        return f"{self.environment} at {self.address} ({self.server})"

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the ids that would be acted on, in order: not left out, and not acted on through a related plan.

        Of a plan that was executed: the ids that it acted on.
        """
        if self._execution.targets is not None:
            return self._execution.targets
        return tuple(id_ for id_ in self._ids if id_ not in self._shared.acted)

    @property
    def is_executed(self) -> bool:
        """Tell whether it was executed; it is then of no further use."""
        return self._execution.targets is not None

    @property
    def rows(self) -> pd.DataFrame:
        """Return the rows of ``frame`` that are of ``targets``."""
        return _select_rows(self.frame, "id", set(self.targets))

    @property
    def counts(self) -> pd.DataFrame:
        """Return how many would be acted on: one row per service and status, most first (``service, status, n``)."""
        return _count(self.rows)

    @property
    def excluded(self) -> pd.DataFrame:
        """Return who is left out and why: one row each (``id, target, status, why``)."""
        rows = self.frame.loc[self.frame["excluded"].notna(), ["id", "target", "status", "excluded"]]
        return rows.rename(columns={"excluded": "why"}).reset_index(drop=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what should be read before executing."""
        return warnings_for(self._summary())

    @property
    def outcome(self) -> pd.DataFrame | None:
        """Return what ``execute`` returned, also when it was interrupted; None before."""
        return self._execution.outcome

    @property
    def expires_at(self) -> datetime:
        """Return until when it may be executed, UTC."""
        return self.made_at + LIFETIME

    def only(self, ids: Any, /) -> Plan:
        """Return a smaller plan, of these ids alone (given as ``plan()`` takes them); nothing is read again.

        A frame with a column ``created_at`` means the runs that were created then.

        Raises:
            ArgumentError: some are not in this plan, or another run of the id is.
        """
        (wanted, _), created = parse_ids(ids), parse_created(ids)
        strange = [id_ for id_ in wanted if id_ not in set(self.frame["id"])]
        if strange:
            raise ArgumentError(f"{len(strange):,} of these ids are not in the plan, such as {strange[0]!r}.")
        others = [id_ for id_ in wanted if id_ in self._created and is_other_run(self._created[id_], created, id_)]
        if others:
            raise ArgumentError(
                f"{len(others):,} of these rows are another run of the id than the plan's, such as {others[0]!r}: "
                f"their created_at differs. Make a plan of the rows that are meant."
            )
        return self._restrict(wanted)

    def first(self, n: int, /) -> Plan:
        """Return a smaller plan, of the first ``n`` that would be acted on."""
        return self._restrict(self.targets[: check_count("n", n)])

    def execute(
        self,
        *,
        reason: str,
        expect: int | None = None,
        progress: bool | Progress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> pd.DataFrame:
        """Do it, and return one row per target with what came of it.

        Each status is read again just before, and who changed meanwhile is skipped. So is a new run with the same id: a
        workflow, or a call with an idempotency key, that was purged and called again since the plan was made. The API
        takes no precondition: a run that begins between that read and the request is acted on. That time is half a
        second and the request; where the batch endpoint is closed, it includes the requests for up to 1,000 others.
        ``reason`` goes to the audit log.
        ``expect`` is the exact number of targets: needed above 100, and above 10 for kill and purge. A plan without
        targets does nothing and returns no row. ``progress``: None or True shows a line once the call takes longer than
        a second, False shows nothing, and a ``Progress`` is updated instead: with how many of how many are dealt with.
        When ``stop`` says True, the rest is not sent. Columns: ``id``; ``outcome`` ("done": it was seen to have
        happened; "accepted": the server took it, and it was not seen yet; "refused": the server did not take it;
        "skipped": its status did not allow it any more; "unknown": the answer was lost, and it was not seen;
        "not sent"); ``error, new_id, status, milliseconds, other_new_ids``.

        Raises:
            ReadOnly: the connection may only read.
            ArgumentError: ``reason`` is empty, ``expect`` is missing or not the number, or ``frame`` was changed.
            PlanExpired: it was executed already, or was made more than 15 minutes ago.
            AuditFailed: the intent could not be written. After none of these four was anything sent.
            Interrupted: you interrupted it; ``outcome`` has what was done by then.
        """
        if self._lab.read_only:
            raise ReadOnly(f"{self.action} was not sent: this connection to {self.environment} may only read.")
        _check_reason(reason)
        self._check_frame()
        with Shield() as shield:  # what was done is never without an outcome
            targets = self._claim_targets(expect)
            try:
                outcome = self._run(targets, reason, progress, stop)
            except (ReadOnly, AuditFailed, ArgumentError):  # nothing was sent
                self._release_targets(targets)
                raise
            except Interrupted as error:
                self._execution.outcome = error.outcome
                shield.take()  # a second interrupt tells nothing new
                raise
            self._execution.outcome = outcome
            if shield.take():
                raise Interrupted(f"{self.action} was interrupted at its end; outcome has what was done.", outcome)
            return outcome

    def __repr__(self) -> str:
        done = "executed" if self.is_executed else "nothing sent yet"
        return f"<Plan {self.action} {len(self.targets):,} of {len(self.frame):,} on {self.where}, {done}>"

    def __str__(self) -> str:
        return plan_text(self._summary())

    def _repr_html_(self) -> str:
        return plan_card(self._summary())

    def _summary(self) -> PlanSummary:
        options = {"deployment": self.deployment, "from_index": self.from_index}
        targets = set(self.targets)
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
            restarted=len(self.restarted.intersection(targets)),
            limitations=self.limitations,
            is_executed=self.is_executed,
            expires_at=self.expires_at,
        )

    def _restrict(self, ids: Sequence[str]) -> Plan:
        wanted = set(ids)
        return replace(
            self,
            frame=_select_rows(self.frame, "id", wanted),
            impact=_select_rows(self.impact, "caused_by", wanted),
            prefixes=_select_rows(self.prefixes, "id", wanted),
            _ids=tuple(id_ for id_ in self._ids if id_ in wanted),
            _execution=_Execution(),
        )

    def _check_frame(self) -> None:
        """Refuse a plan whose frame was edited: who drops a row there means to leave somebody out."""
        rows = self.frame
        shown = set(rows["id"][rows["excluded"].isna()]) if {"id", "excluded"} <= set(rows) else set()
        if shown != set(self._ids):
            raise ArgumentError(
                "plan.frame was changed, which does not change the plan, and nothing was sent: plan.only(ids) gives a "
                "smaller one, and rl.plan(…) another."
            )

    def _claim_targets(self, expect: int | None) -> tuple[str, ...]:
        """Return the targets, which from now on are no other plan's; once, and not too late."""
        with self._shared.lock:
            if self.is_executed:
                raise PlanExpired("this plan was executed already: its outcome stands in plan.outcome. Make it again.")
            if self._shared.age(self.made_at) > LIFETIME:
                raise PlanExpired(
                    f"this plan is of {format_time(self.made_at)}, more than 15 minutes ago: make it again, and look."
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
        unrestarted = self._unrestarted.intersection(targets)
        created = {id_: self._created[id_] for id_ in targets if id_ in self._created}
        request = ExecutionRequest(self.action, targets, reason, self.deployment, self.from_index, unrestarted, created)
        return execute(self._lab, request, progress=progress, stop=stop)


def _select_rows(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    # Of texts, isin() is slow.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


def _count(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby(["service", "status"], sort=False).size().rename("n").reset_index()
    return counts.sort_values(["n", "service", "status"], ascending=[False, True, True], ignore_index=True)


def _check_reason(reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise ArgumentError('reason is empty: say why, as in reason="INC-42: the weather API is back".')


def _check_expect(action: ACTIONS, number: int, expect: int | None) -> None:
    if expect is None and number > action.rule.expect_above:
        raise ArgumentError(
            f"this would {action} {number:,} invocations, and nothing was sent: above {action.rule.expect_above} say "
            f"that this is meant, with expect={number}."
        )
    if expect is not None and (isinstance(expect, bool) or expect != number):
        raise ArgumentError(
            f"expect is {expect!r}, and this would {action} {number:,} invocations; nothing was sent. Look at the plan "
            f"again; if all of them are meant, write expect={number}."
        )
