"""Find the other effects of a kill or cancel: callees that also end, keys that become free, and their waiters.

Observed on 1.6.1 and 1.7.12: a kill also kills all direct and indirect callees of its target that have not ended,
including one-way calls and scheduled ones. A cancel also cancels callees of calls, but not of one-way calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab.actions.plan.reader import read_calls, read_keys, read_waiters
from restate_lab.actions.reader import read_invocations
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.source import Source
from restate_lab.status import ENDED

__all__ = ["COLUMNS", "Impact", "find_callees", "find_impact"]

COLUMNS = ("kind", "id", "target", "status", "caused_by", "what")
JOURNALS = 2_000  # targets whose journals are read
CALLEES = 10_000  # invocations found through them
WAITERS = 1_000


@dataclass(frozen=True, slots=True)
class Impact:
    """One row per invocation or key that is also affected, and the limitations as texts.

    Columns: ``kind`` ("call" or "one-way call": a callee that also ends; "key": it becomes free; "waiter": an
    invocation that then gets the key), ``id`` (None for keys), ``target`` (for a key, its name), ``status``,
    ``caused_by`` (the target that affects it) and ``what`` (a text).
    """

    frame: pd.DataFrame
    limitations: tuple[str, ...] = ()


@dataclass(slots=True)
class Callees:
    """Callees of the targets: the target that affects each, which are one-way calls, and their rows."""

    caused_by: dict[str, str] = field(default_factory=dict)
    one_way: set[str] = field(default_factory=set)
    states: list[pd.DataFrame] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """Return the rows of all callees, with the columns of ``read_invocations``."""
        return pd.concat(self.states) if self.states else pd.DataFrame(columns=["status", "target"], dtype="object")


def find_impact(lab: Source, action: ACTIONS, targets: pd.DataFrame) -> Impact:
    """Find the invocations and keys that are also affected; ``targets`` are the rows of a plan that are acted on.

    The journals of at most JOURNALS targets are read; the limitations show if there are more. Only kill and cancel
    affect other invocations.
    """
    if action not in {ACTIONS.KILL, ACTIONS.CANCEL}:
        return Impact(_to_frame([]))
    begun = list(targets.loc[~targets["status"].isin(NOT_BEGUN), "id"])
    if not begun:
        return Impact(_to_frame([]))
    own = set(targets["id"])
    callees = find_callees(lab, begun[:JOURNALS], own, follow_sent=action is ACTIONS.KILL)
    states = callees.frame()
    rows = [
        {
            "kind": "one-way call" if id_ in callees.one_way else "call",
            "id": id_,
            "target": state["target"],
            "status": state["status"],
            "caused_by": callees.caused_by[id_],
            "what": _describe_callee(action, str(state["status"])),
        }
        for id_, state in zip(map(str, states.index), states.to_dict("records"), strict=True)
    ]
    holders = {**{id_: id_ for id_ in begun}, **callees.caused_by}
    keys, more = _find_keys(lab, holders, own | set(callees.caused_by))
    limitations = [*callees.limitations, *more, *_limitations(action, len(begun))]
    return Impact(_to_frame([*rows, *keys]), tuple(limitations))


def find_callees(
    lab: Source, ids: Sequence[str], targets: set[str], *, follow_sent: bool, most: int = CALLEES
) -> Callees:
    """Follow the journals from these invocations, and return all direct and indirect callees that have not ended.

    ``follow_sent`` also follows one-way calls. A callee that is itself a target is not returned.
    """
    callees = Callees()
    roots = {id_: id_ for id_ in ids}
    while roots:
        calls = _find_calls(lab, list(roots), most, callees)
        new: dict[str, str] = {}
        for caller, callee, is_sent in calls:
            if callee in targets or callee in callees.caused_by or callee in new or (is_sent and not follow_sent):
                continue
            new[callee] = roots[caller]
            if is_sent:
                callees.one_way.add(callee)
        if len(callees.caused_by) + len(new) > most:
            callees.limitations = [f"only the first {most:,} callees were followed"]
            new = dict(list(new.items())[: most - len(callees.caused_by)])
        if not new:
            break
        states = read_invocations(lab, list(new))
        states = states[states["status"].notna() & ~states["status"].isin(ENDED)]
        callees.states.append(states)
        callees.caused_by |= {id_: new[id_] for id_ in states.index}
        has_journal = states.index[~states["status"].isin(NOT_BEGUN)]
        roots = {id_: new[id_] for id_ in has_journal}
    return callees


def _find_calls(lab: Source, ids: Sequence[str], most: int, callees: Callees) -> Iterator[tuple[str, str, bool]]:
    for rows in read_calls(lab, ids, 10 * most):
        if len(rows) == 10 * most:
            callees.limitations.append(f"only {len(rows):,} calls in their journals were read")
        yield from ((row["id"], row["callee_id"], bool(row["sent"])) for row in rows if row["callee_id"])


def _find_keys(lab: Source, holders: dict[str, str], callees: set[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each key that becomes free and for each of the first waiters, and the limitations."""
    keys = read_keys(lab, list(holders))
    if not keys:
        return [], []
    waiters = [row for row in read_waiters(lab, [row["holder"] for row in keys]) if row["id"] not in callees]
    counts = pd.Series([row["key"] for row in waiters], dtype="object").value_counts()
    shown = waiters[:WAITERS]
    states = read_invocations(lab, [row["id"] for row in shown]).to_dict("index") if shown else {}
    rows = [
        {
            "kind": "key",
            "id": None,
            "target": row["key"],
            "status": None,
            "caused_by": holders[row["holder"]],
            "what": _describe_key(int(counts.get(row["key"], 0))),
        }
        for row in keys
    ]
    rows += [
        {
            "kind": "waiter",
            "id": row["id"],
            "target": states[row["id"]]["target"],
            "status": states[row["id"]]["status"],
            "caused_by": holders[row["holder"]],
            "what": f"gets {row['key']} when its turn comes",
        }
        for row in shown
    ]
    more = len(waiters) - len(shown)
    return rows, [f"{more:,} more calls that wait for these keys are counted, but not listed"] if more else []


def _describe_key(waiting: int) -> str:
    return f"becomes free; {waiting:,} wait for it" if waiting else "becomes free; no other invocation waits for it"


def _describe_callee(action: ACTIONS, status: str) -> str:
    if status in NOT_BEGUN:
        return "also removed"
    return "also killed" if action is ACTIONS.KILL else "also cancelled, at its next await or attempt"


def _limitations(action: ACTIONS, begun: int) -> list[str]:
    limitations = []
    if begun > JOURNALS:
        limitations.append(f"only the journals of the first {JOURNALS:,} of {begun:,} targets were read")
    limitations.append(
        "not shown: later calls of the targets; effects of their services outside of Restate; callers, which get the "
        "failure"
    )
    if action is ACTIONS.CANCEL:
        limitations.append("one-way calls are not cancelled; a handler can catch the cancellation and continue")
    return limitations


def _to_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
