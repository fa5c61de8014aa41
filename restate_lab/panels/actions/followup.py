"""Follow the targets of an executed plan for some seconds and report their status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab._text import format_duration
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.invocations.filters import ALL, Filters
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.analysis.patterns import message_kinds
from restate_lab.frames import records
from restate_lab.source import Source
from restate_lab.status import STATUSES

FOLLOWED = 1_000  # targets; more would cost the server too much
_FOR = 10.0  # seconds
_EVERY = 1.0
_DONE = {
    ACTIONS.CANCEL: "Cancelled",
    ACTIONS.KILL: "Killed",
    ACTIONS.PAUSE: "Paused",
    ACTIONS.RESUME: "Resumed",
    ACTIONS.PURGE: "Purged",
    ACTIONS.PURGE_JOURNAL: "Purged the journals of",
    ACTIONS.RESTART_AS_NEW: "Restarted",
    ACTIONS.MOVE_TO: "Moved",
}
_RETRIED = {ACTIONS.RESUME, ACTIONS.RESTART_AS_NEW, ACTIONS.MOVE_TO}
_FAILING = "failing again"


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The status of the targets some seconds after an action: ``counts`` per state, ``statuses`` by id."""

    seconds: float
    counts: Mapping[str, int]
    statuses: Mapping[str, str]
    is_same_error: bool = False

    @property
    def text(self) -> str:
        """Return one sentence: "After 10 s: 0 succeeded, 15 failing again (same error)."."""
        same = " (same error)" if self.is_same_error else ""
        parts = [f"{count:,} {state}{same if state == _FAILING else ''}" for state, count in self.counts.items()]
        return f"After {format_duration(round(self.seconds))}: {', '.join(parts)}."


def done_text(plan: Plan, outcome: Any) -> str:
    """Return the result as one line, for example "Resumed 15; 2 rejected."."""
    counts = outcome["outcome"].value_counts().to_dict()
    done = int(counts.pop("done", 0))
    text = f"{_DONE[plan.action]} {done:,}"
    rest = ", ".join(f"{int(count):,} {name}" for name, count in counts.items())
    halt = outcome.attrs.get("halt")
    return text + (f"; {rest}" if rest else "") + "." + (f" It ended early: {halt.rstrip('.')}." if halt else "")


def follow(
    source: Source,
    plan: Plan,
    outcome: Any,
    failures: Mapping[str, str],
    *,
    is_stopped: Callable[[], bool],
    report: Callable[[FollowUp], object],
) -> None:
    """Read the targets once a second for ten seconds and call ``report`` each time; stop when all of them have ended.

    ``failures`` has the failures of the targets before the action, by id. There is no follow-up after a purge.
    """
    ids = _ids_to_follow(plan, outcome)
    if not ids or len(ids) > FOLLOWED:
        return
    started = time.monotonic()
    while not is_stopped() and time.monotonic() - started < _FOR:
        time.sleep(_EVERY)
        rows = records(read_rows(source, Filters(status=(ALL,), id=ids)).frame)
        follow_up = _summarize(plan.action, ids, rows, failures, time.monotonic() - started)
        report(follow_up)
        if all(state in STATUSES and STATUSES[state].ended for state in follow_up.statuses.values()):
            return


def _ids_to_follow(plan: Plan, outcome: Any) -> tuple[str, ...]:
    if plan.action in {ACTIONS.PURGE, ACTIONS.PURGE_JOURNAL}:
        return ()
    done = outcome[outcome["outcome"] == "done"]
    column = "new_id" if plan.action is ACTIONS.RESTART_AS_NEW else "id"
    return tuple(done[column].dropna())


def _summarize(
    action: ACTIONS, ids: Sequence[str], rows: Sequence[Mapping[Any, Any]], failures: Mapping[str, str], seconds: float
) -> FollowUp:
    states: Counter[str] = Counter()
    if action in _RETRIED:
        states["succeeded"] = 0
    same, failing = 0, 0
    kinds = message_kinds([*failures.values(), *(row["failure"] for row in rows if row["failure"] is not None)])
    for row in rows:
        state = _state_of(row) if action in _RETRIED else str(row["status"])
        states[state] += 1
        failure = row["failure"]
        if state == _FAILING and failure is not None:
            failing += 1
            same += row["id"] in failures and kinds[failure] == kinds[failures[row["id"]]]
    if len(rows) < len(ids):
        states["not found"] = len(ids) - len(rows)
    return FollowUp(seconds, dict(states), {row["id"]: row["status"] for row in rows}, 0 < failing == same)


def _state_of(row: Mapping[Any, Any]) -> str:
    """Return the state of a retried invocation; a failure counts even while it is being retried."""
    status = str(row["status"])
    has_failed = row["failure"] is not None
    if status in {"backing-off", "paused"} or (status in {"running", "ready"} and has_failed):
        return _FAILING
    return status
