"""A Plan: what an action would do to which invocations, to be reviewed; ``execute`` then does exactly that, once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import escape_invisible, format_duration, format_time
from restate_lab.actions.execution import execute
from restate_lab.actions.execution.outcomes import frame as outcome_frame
from restate_lab.actions.execution.request import Order
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.actions.snapshot import read_created, read_ids
from restate_lab.analysis.ids import is_other_run
from restate_lab.client.arguments import check_count
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, AuditFailed, Interrupted, PlanExpired, ReadOnly
from restate_lab.interrupts import Shield
from restate_lab.progress import Progress
from restate_lab.status import STATUSES

__all__ = ["Family", "Plan"]

_MOST = 10  # rows of each list; the frames have all
_LOSSES = {
    ACTIONS.KILL: (
        "Kill ends them without clean-up: what they have done stays done, and no compensation runs. Where that "
        "matters, cancel instead."
    ),
    ACTIONS.PURGE: (
        "Purge removes them for good, with journal and output, and of a workflow its state: whatever is still to be "
        "found out about them, find it out before."
    ),
    ACTIONS.PURGE_JOURNAL: (
        "The journals are removed for good: these invocations can then not be explained or restarted any more."
    ),
}
_MOST_IN_CARD = 8  # rows of each list; the frames have all
_RED, _ORANGE, _GREY = STATUSES["failed"].colour, STATUSES["backing-off"].colour, STATUSES["ready"].colour
Row = Sequence[str]
LASTS = timedelta(minutes=15)


def headline(plan: Plan) -> str:
    """Return what would be done to how many."""
    number, excluded = len(plan.targets), len(plan.excluded)
    options = {"deployment": plan.deployment, "from_index": plan.from_index}
    given = "".join(f", {name}={value}" for name, value in options.items() if value is not None)
    acted = len(plan.frame) - excluded - number
    rest = [f"{excluded:,} left out"] if excluded else []
    rest += [f"{acted:,} acted on through a related plan"] if acted else []
    return f"{plan.action} {number:,} of {len(plan.frame):,} invocations{given}" + (
        f" ({', '.join(rest)})" if rest else ""
    )


def warnings_for(plan: Plan) -> tuple[str, ...]:
    """Return what should be read before a plan is executed."""
    action, counts = plan.action, plan.counts
    said = [_LOSSES[action]] if action in _LOSSES and len(counts) else []
    kinds = plan.impact["kind"].value_counts()
    sent, called = int(kinds.get("one-way call", 0)), int(kinds.get("call", 0))
    if action is ACTIONS.KILL and sent + called:
        said.append(f"{sent + called:,} more are killed with them, {sent:,} of which were sent one-way: see impact.")
    if action is ACTIONS.CANCEL and called:
        said.append(f"{called:,} more that they have called are cancelled with them: see impact.")
    vanish = int(counts.loc[counts["status"].isin(NOT_BEGUN), "n"].sum())
    if vanish and action in {ACTIONS.CANCEL, ACTIONS.KILL}:
        said.append(f"{vanish:,} have not begun: these vanish, and no completed record of them stays.")
    if again := len(plan.restarted.intersection(plan.targets)):
        said.append(f"{again:,} were restarted before: what they do would be done once more.")
    return tuple(said)


def groups(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return how many rows share a status and the words of a column: number, status, words; most first."""
    counts = Counter(
        (status or "–", words) for status, words in zip(rows["status"], rows[column], strict=True) if words is not None
    )
    return [(n, status, words) for (status, words), n in counts.most_common()]


def notes(plan: Plan) -> list[str]:
    """Return what else is to be known: duplicates, what was not looked at, how long the plan lasts."""
    duplicates = plan.frame.attrs.get("duplicates", 0)
    said = [f"ids that were there more than once are joined: {duplicates:,} fewer"] if duplicates else []
    return [*said, *plan.limitations]


def next_step(plan: Plan) -> str:
    """Return what to write next, or that there is nothing to be done."""
    number = len(plan.targets)
    if plan.is_executed:
        return "It was executed; plan.outcome has what came of it."
    if not number:
        return "There is nothing to be done."
    expect = f", expect={number}" if number > plan.action.rule.expect_above else ""
    return f'Nothing has been sent. Until {format_time(plan.expires_at)}: plan.execute(reason="…"{expect})'


def plan_text(plan: Plan) -> str:
    """Return the whole plan as text; its first line says where."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield plan.where
    yield headline(plan)
    yield from (f"! {warning}" for warning in plan.warnings)
    rows = plan.rows
    for title, groups_of in (
        ("What will happen", groups(rows, "effect")),
        ("Left out", groups(plan.frame, "excluded")),
    ):
        yield from _list(title, [f"{n:>9,}  {status:<11}  {words}" for n, status, words in groups_of], len(groups_of))
    for title, frame, layout in (
        ("By service", plan.counts, "{n:>9,}  {status:<11}  {service}"),
        ("Invocations", rows, "  {id}  {status:<11}  {age:>9}  {target}"),
        ("Goes with them", plan.impact, "  {kind:<12}  {target}  {what}"),
        ("May be kept in a restart", plan.prefixes, "  {id}  from_index={from_index}  {entry}"),
    ):
        yield from _list(title, [_line(layout, row) for row in frame.head(_MOST).to_dict("records")], len(frame))
    yield from (f"- {note}" for note in notes(plan))
    yield next_step(plan)


def _line(layout: str, row: dict[Any, Any]) -> str:
    """Return a row in a layout, on one line."""
    words = {str(name): format_duration(value) if name == "age" else value for name, value in row.items()}
    return escape_invisible(layout.format(**words), lines=False)


def _list(title: str, lines: list[str], total: int) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:"
    yield from lines[:_MOST]
    if total > _MOST:
        yield f"  … and {total - _MOST:,} more"


def plan_card(plan: Plan) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    rows = plan.rows
    effects, excluded = groups(rows, "effect"), groups(plan.frame, "excluded")
    return render(
        "actions/plan/card.html.j2",
        title=f"{plan.environment} · {plan.address}",
        place=plan.server,
        lines=[*notes(plan), next_step(plan)],
        accent=_accent(plan),
        heading=headline(plan),
        warnings=plan.warnings,
        warning=_RED,
        parts=_parts(plan),
        tables=[
            _table("What will happen", [(f"{n:,}", status, words) for n, status, words in effects], len(effects)),
            _table("Left out", [(f"{n:,}", status, words) for n, status, words in excluded], len(excluded)),
            _table(
                "By service",
                [(f"{row['n']:,}", row["status"], row["service"]) for row in _first(plan.counts)],
                len(plan.counts),
            ),
            _table(
                "Invocations",
                [(_who(row), row["status"], format_duration(row["age"])) for row in _first(rows)],
                len(rows),
            ),
            _table(
                "Goes with them",
                [(row["kind"], _who(row), row["what"]) for row in _first(plan.impact)],
                len(plan.impact),
            ),
            _table(
                "May be kept in a restart",
                [(row["id"], f"from_index={row['from_index']}", row["entry"]) for row in _first(plan.prefixes)],
                len(plan.prefixes),
            ),
        ],
    )


def _accent(plan: Plan) -> str:
    if not plan.targets:
        return _GREY
    return _RED if plan.action.rule.destructive or plan.action is ACTIONS.CANCEL else _ORANGE


def _parts(plan: Plan) -> list[tuple[str, int, str]]:
    counts = plan.counts.groupby("status")["n"].sum()
    words = [word for word in STATUSES if word in counts.index]
    return [(word, int(counts[word]), STATUSES[word].colour) for word in words]


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST_IN_CARD).to_dict("records")


def _who(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()


def _table(title: str, rows: Sequence[Row], total: int) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [tuple(map(str, row)) for row in rows[:_MOST_IN_CARD]],
        "more": total - _MOST_IN_CARD,
    }


@dataclass(slots=True)
class Family:
    """What a plan and the smaller ones made from it share: when they were made, and who was acted on by one of them."""

    acted: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: float = field(default_factory=time.monotonic)

    def age(self, made_at: datetime) -> timedelta:
        """Return the time since they were made: by the clock that a sleeping laptop stops, or by the other one."""
        return max(timedelta(seconds=time.monotonic() - self.made), datetime.now(UTC) - made_at)


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
    _kept: tuple[str, ...]
    _lab: Lab
    _unrestarted: frozenset[str] = frozenset()
    _created: Mapping[str, datetime] = field(default_factory=dict)
    _family: Family = field(default_factory=Family)
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
        return tuple(id_ for id_ in self._kept if id_ not in self._family.acted)

    @property
    def is_executed(self) -> bool:
        """Tell whether it was executed; it is then of no further use."""
        return self._execution.targets is not None

    @property
    def rows(self) -> pd.DataFrame:
        """Return the rows of ``frame`` that are of ``targets``."""
        return _rows_of(self.frame, "id", set(self.targets))

    @property
    def counts(self) -> pd.DataFrame:
        """Return how many would be acted on: one row per service and status, most first (``service, status, n``)."""
        counts = self.rows.groupby(["service", "status"], sort=False).size().rename("n").reset_index()
        return counts.sort_values(["n", "service", "status"], ascending=[False, True, True], ignore_index=True)

    @property
    def excluded(self) -> pd.DataFrame:
        """Return who is left out and why: one row each (``id, target, status, why``)."""
        rows = self.frame.loc[self.frame["excluded"].notna(), ["id", "target", "status", "excluded"]]
        return rows.rename(columns={"excluded": "why"}).reset_index(drop=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what should be read before executing."""
        return warnings_for(self)

    @property
    def outcome(self) -> pd.DataFrame | None:
        """Return what ``execute`` returned, also when it was interrupted; None before."""
        return self._execution.outcome

    @property
    def expires_at(self) -> datetime:
        """Return until when it may be executed, UTC."""
        return self.made_at + LASTS

    def only(self, ids: Any, /) -> Plan:
        """Return a smaller plan, of these ids alone (given as ``plan()`` takes them); nothing is read again.

        A frame with a column ``created_at`` means the runs that were created then.

        Raises:
            ArgumentError: some are not in this plan, or another run of the id is.
        """
        (wanted, _), created = read_ids(ids), read_created(ids)
        strange = [id_ for id_ in wanted if id_ not in set(self.frame["id"])]
        if strange:
            raise ArgumentError(f"{len(strange):,} of these ids are not in the plan, such as {strange[0]!r}.")
        others = [id_ for id_ in wanted if id_ in self._created and is_other_run(self._created[id_], created, id_)]
        if others:
            raise ArgumentError(
                f"{len(others):,} of these rows are another run of the id than the plan's, such as {others[0]!r}: "
                f"their created_at differs. Make a plan of the rows that are meant."
            )
        return self._of(wanted)

    def first(self, n: int, /) -> Plan:
        """Return a smaller plan, of the first ``n`` that would be acted on."""
        return self._of(self.targets[: check_count("n", n)])

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
            targets = self._take(expect)
            try:
                outcome = self._carry_out(targets, reason, progress, stop)
            except (ReadOnly, AuditFailed, ArgumentError):  # nothing was sent
                self._give_back(targets)
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
        return plan_text(self)

    def _repr_html_(self) -> str:
        return plan_card(self)

    def _of(self, ids: Sequence[str]) -> Plan:
        wanted = set(ids)
        return replace(
            self,
            frame=_rows_of(self.frame, "id", wanted),
            impact=_rows_of(self.impact, "caused_by", wanted),
            prefixes=_rows_of(self.prefixes, "id", wanted),
            _kept=tuple(id_ for id_ in self._kept if id_ in wanted),
            _execution=_Execution(),
        )

    def _check_frame(self) -> None:
        """Refuse a plan whose frame was edited: who drops a row there means to leave somebody out."""
        rows = self.frame
        shown = set(rows["id"][rows["excluded"].isna()]) if {"id", "excluded"} <= set(rows) else set()
        if shown != set(self._kept):
            raise ArgumentError(
                "plan.frame was changed, which does not change the plan, and nothing was sent: plan.only(ids) gives a "
                "smaller one, and rl.plan(…) another."
            )

    def _take(self, expect: int | None) -> tuple[str, ...]:
        """Return the targets, which from now on are no other plan's; once, and not too late."""
        with self._family.lock:
            if self.is_executed:
                raise PlanExpired("this plan was executed already: its outcome stands in plan.outcome. Make it again.")
            if self._family.age(self.made_at) > LASTS:
                raise PlanExpired(
                    f"this plan is of {format_time(self.made_at)}, more than 15 minutes ago: make it again, and look."
                )
            targets = self.targets
            _check_expect(self.action, len(targets), expect)
            self._execution.targets = targets
            self._family.acted.update(targets)
            return targets

    def _give_back(self, targets: Sequence[str]) -> None:
        with self._family.lock:
            self._execution.targets = None
            self._family.acted.difference_update(targets)

    def _carry_out(
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
        order = Order(self.action, targets, reason, self.deployment, self.from_index, unrestarted, created)
        return execute(self._lab, order, progress=progress, stop=stop)


def _rows_of(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    # Of texts, isin() is slow.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


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
