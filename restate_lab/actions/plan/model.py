"""The plan of an action on invocations: review it, make it smaller, and execute it once within 15 minutes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_time, plural
from restate_lab.actions.change import Change, Execution, ExecutionRequest, SharedExecution
from restate_lab.actions.execution import execute
from restate_lab.actions.execution.outcomes import outcome_frame
from restate_lab.actions.plan.failures import RepeatedFailures
from restate_lab.actions.plan.gate import CheckedTargets, check_warnings
from restate_lab.actions.plan.places import Places
from restate_lab.actions.plan.preview import repeat_frame
from restate_lab.actions.plan.steps import step_frame
from restate_lab.actions.plan.text import (
    KEPT,
    LOSSES,
    REMOVED,
    count_rows,
    describe_open_steps,
    effects_of,
    lists_of,
    repeats_of,
    select_rows,
    shorten_cell,
)
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.analysis.ids import Targets, is_other_run, parse_created, parse_ids
from restate_lab.analysis.replay.result import Replay
from restate_lab.calls import Step
from restate_lab.client.arguments import check_count, check_reason
from restate_lab.client.lab import Lab
from restate_lab.document import Block, Calls, Document, Gaps, Item, Items, Picture, Text, Word
from restate_lab.document.text import TextLayout
from restate_lab.errors import ArgumentError, AuditFailed, Interrupted, PlanExpired, ReadOnly, WriteFailed
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress
from restate_lab.result import Result
from restate_lab.status import status_parts

LIFETIME = timedelta(minutes=15)
MOST = 10  # rows of each list in a text for an approval or a review; the frames have all
_APPROVAL = TextLayout(most=MOST, more="… and {more:,} more; the tool show_plan lists them")


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Plan(Result):
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

    _json = (
        *("action", "targets", "undo", "at_once", "capacity", "places", "expires_at"),
        *("source", "address", "version", "read_at", "warnings", "not_read", "counts"),
    )
    change: Change
    frame: pd.DataFrame
    impact: pd.DataFrame
    prefixes: pd.DataFrame
    restarted: frozenset[str]
    address: str
    server: str
    _ids: tuple[str, ...]
    _lab: Lab
    open_steps: pd.DataFrame = field(default_factory=lambda: step_frame([]))
    _has_retention: bool = False
    _unrestarted: frozenset[str] = frozenset()
    _created: Mapping[str, datetime] = field(default_factory=dict)
    _checked: CheckedTargets | None = None
    _places: Places | None = None
    _failures: RepeatedFailures = field(default_factory=RepeatedFailures)
    _shared: SharedExecution = field(default_factory=SharedExecution)
    _execution: Execution = field(default_factory=Execution)
    _begin: Callable[[], None] | None = None  # of a stored plan, as in ExecutionRequest

    @property
    def action(self) -> ACTIONS:
        """Return the action."""
        return self.change.action

    @property
    def deployment(self) -> str | None:
        """Return the deployment to continue on; None if none was chosen."""
        return self.change.deployment

    @property
    def from_index(self) -> int | None:
        """Return the index of the last journal entry to keep; None if it was not chosen or differs per target."""
        return self.change.from_index

    def to_json(self) -> dict[str, Any]:
        """Return the plan for programs, with the number of its targets; limits of a resume only if they are known."""
        data = super().to_json() | {"targets": len(self.targets)}
        for name in () if self.capacity else ("at_once", "capacity", "places"):
            del data[name]
        return data | {"invocations": self.frame, "impact": self.impact, "prefixes": self.prefixes}

    @property
    def where(self) -> str:
        """Return the environment's name and address, and the server's version."""
        return f"{self.source} at {self.address} ({self.server})"

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
        return select_rows(self.frame, "id", set(self.targets))

    @property
    def counts(self) -> pd.DataFrame:
        """Return how many invocations would be acted on: one row per service and status, highest number first.

        Columns: ``service, status, invocations``.
        """
        return self._of_source(count_rows(self.rows))

    @property
    def repeats(self) -> pd.DataFrame:
        """Return what would run again in a redrive: one row per service and failed command; empty for other plans.

        Columns: ``service, failed_type, failed_name`` (the pattern of similar names; None without a failed command),
        ``invocations``, ``failure`` (their messages), ``kept_steps``, ``repeated_steps``, ``repeated_for`` (how long
        these took) and ``repeated_tokens`` (the journaled tokens of their calls of models), in total.
        """
        return self._of_source(repeat_frame(self.rows))

    @property
    def excluded(self) -> pd.DataFrame:
        """Return the excluded invocations with the reason: one row each (``id, target, status, reason``)."""
        rows = self.frame.loc[self.frame["excluded"].notna(), ["id", "target", "status", "excluded"]]
        return rows.rename(columns={"excluded": "reason"}).reset_index(drop=True)

    @property
    def undo(self) -> str:
        """Return whether and how the action can be undone, in one sentence."""
        return f"{self.action.rule.undo}." if self.targets else "It changes nothing."

    @property
    def at_once(self) -> int | None:
        """Return how many targets of a resume could run at once under the limits as they are; None if not known."""
        return None if self._places is None or self._places.failure else self._places.count(self.targets)

    @property
    def capacity(self) -> str:
        """Return the same with the limits that have too few places, as one sentence; "" for other plans."""
        return "" if self._places is None or not self.targets else self._places.describe(self.targets)

    @property
    def places(self) -> pd.DataFrame:
        """Return the limits that apply to the targets of a resume, those with the fewest free places first."""
        return self._of_source((self._places or Places()).frame(self.targets))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings to read before executing."""
        action, rows = self.action, self.rows
        warnings = [LOSSES[action]] if action in LOSSES and len(rows) else []
        if len(rows):
            indexes = self.change.only(rows["id"]).from_indexes.values() or [self.from_index or 0]
            warnings += check_warnings(self._checked, rows, keeps_entries=max(indexes) > 0)
        warnings += filter(None, [self._failures.warning(list(rows["id"]))])
        warnings += describe_open_steps(action, select_rows(self.open_steps, "id", set(rows["id"])))
        kinds = self.impact["kind"].value_counts()
        one_way, calls = int(kinds.get("one-way call", 0)), int(kinds.get("call", 0))
        if action is ACTIONS.KILL and one_way + calls:
            warnings.append(
                f"{plural(one_way + calls, 'callee is', 'callees are')} also killed, "
                f"{one_way:,} of them one-way calls: see plan.impact."
            )
        if action is ACTIONS.CANCEL and calls:
            warnings.append(f"{plural(calls, 'callee is', 'callees are')} also cancelled: see plan.impact.")
        vanish = int(rows["status"].isin(NOT_BEGUN).sum())
        if vanish and action in {ACTIONS.CANCEL, ACTIONS.KILL}:
            warnings.append(f"{vanish:,} have not started: {KEPT if self._has_retention else REMOVED}.")
        restarted = len(self.restarted.intersection(rows["id"])) if self.restarted else 0
        if restarted:
            warnings.append(f"{restarted:,} were already restarted: their work would be done again.")
        return tuple(warnings)

    @property
    def approval_text(self) -> str:
        """Return the text that a person approves if another program executes the plan: without the next step in code.

        Warnings, limitations and the titles of lists are always whole; long cells and lists are shortened with a mark.
        """
        reviewed = replace(self, prefixes=self.prefixes.iloc[:0]).review()
        return "\n".join(row.plain for row in _APPROVAL.rows(reviewed))

    def review(self, label: str = "", code: str = "", /) -> Document:
        """Return what a person reviews, and the next step: a label, and the code of a surface."""
        rows = self.rows
        tone = "failed" if self.action.rule.destructive or self.action is ACTIONS.CANCEL else "backing-off"
        warnings = tuple(Item(each, Word("warning", "warning")) for each in self.warnings)
        first = (
            Text(Word(self.undo)),
            *((Text(self.capacity),) if self.capacity else ()),
            Items(warnings, shown=len(warnings)),
            Picture("_html/bar.html.j2", lambda: {"parts": status_parts(rows["status"].value_counts().to_dict())}),
            Gaps(self._notes(), "Note"),
            effects_of(rows),
            repeats_of(rows),
        )
        blocks: tuple[Block, ...] = (*first, *lists_of(self.frame, rows, self.impact, self.prefixes))
        if label:
            blocks += (Calls(Step((), label, code)) if code else Text(label),)
        title, place = f"{shorten_cell(self.source)}: {self._title(rows)}", f"{self.address} ({self.server})"
        return Document(title, place, blocks, tone if len(rows) else "ready", whole=len(first))

    @property
    def replay(self) -> Replay | None:
        """Return the replay of the targets that ``check=`` made; None without a check."""
        return None if self._checked is None else self._checked.replay

    @property
    def expires_at(self) -> datetime:
        """Return the time until which it can be executed, UTC."""
        return self.read_at + LIFETIME

    @property
    def summary(self) -> str:
        """Return the action, the number of targets, and whether it was executed."""
        done = "executed" if self.is_executed else "nothing sent yet"
        return f"{self.action} {len(self.targets):,} of {len(self.frame):,}, {done}"

    def _title(self, rows: pd.DataFrame) -> str:
        if self.frame.empty:
            return f"{self.action}: no invocation was selected"
        number, excluded = len(rows), int(self.frame["excluded"].notna().sum())
        options = "".join(f", {name}={value}" for name, value in self.change.only(rows["id"]).options.items())
        acted = len(self.frame) - excluded - number
        rest = [f"{excluded:,} excluded"] if excluded else []
        rest += [f"{acted:,} acted on through a related plan"] if acted else []
        return f"{self.action} {number:,} of {len(self.frame):,} invocations{options}" + (
            f" ({', '.join(rest)})" if rest else ""
        )

    def _notes(self) -> list[str]:
        duplicates = self.frame.attrs.get("duplicates", 0)
        notes = [f"{duplicates:,} duplicate ids were merged"] if duplicates else []
        return [*notes, *self.reasons]

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return the review and the call that executes the plan."""
        number = len(self.targets)
        if self.is_executed:
            return self.review("The plan was executed; plan.outcome has the result.")
        if not number:
            return self.review("There is nothing to do.")
        expect = f", expect={number}" if number > self.action.rule.expect_above else ""
        label = f"Nothing was sent. To execute before {format_time(self.expires_at)}"
        return self.review(label, f'plan.execute(reason="…"{expect})')

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
