"""Find the other effects of a plan: callees that also end, keys that become free or stay held, and their queues.

Observed on 1.7.12: a kill also kills all direct and indirect callees of its target that have not ended,
including one-way calls and scheduled ones. A cancel also cancels callees of calls, but not of one-way calls. A paused
invocation keeps its key. A change of state through the Admin API waits for its key in the same queue as calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab._text import plural, verb_form
from restate_lab.actions.plan.reader import PartialFrame, read_calls, read_keys, read_queued_changes, read_waiters
from restate_lab.actions.reader import read_invocations
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN, RETENTION
from restate_lab.reads import Reads
from restate_lab.server import has_feature, has_vqueues
from restate_lab.status import ENDED

COLUMNS = ("kind", "id", "target", "status", "caused_by", "effect")
JOURNALS = 2_000  # targets whose journals are read
CALLEES = 10_000  # invocations found through them
WAITERS = 1_000
CHANGES = 1_000


@dataclass(slots=True)
class Callees:
    """Callees of the targets: the target that affects each, which are one-way calls, and their rows."""

    caused_by: dict[str, str] = field(default_factory=dict)
    one_way: set[str] = field(default_factory=set)
    states: list[pd.DataFrame] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)


def find_impact(reads: Reads, action: ACTIONS, targets: pd.DataFrame) -> PartialFrame:
    """Find the invocations and keys that are also affected; ``targets`` are the rows of a plan that are acted on.

    One row per invocation or key. Columns: ``kind`` ("call" or "one-way call": a callee that also ends; "key": it
    becomes free, or stays held; "waiter": an invocation that then gets the key; "state change": a queued change of the
    key's state), ``id`` (None for keys and changes of state), ``target`` (for a key and a change of its state, the
    key's name), ``status``, ``caused_by`` (the target that affects it) and ``effect`` (a text).

    The journals of at most JOURNALS targets are read; the limitations show if there are more. Only kill and cancel
    end other invocations and free keys; a pause blocks keys.
    """
    begun = list(targets.loc[~targets["status"].isin(NOT_BEGUN), "id"])
    if action not in {ACTIONS.KILL, ACTIONS.CANCEL, ACTIONS.PAUSE} or not begun:
        return PartialFrame(pd.DataFrame(columns=list(COLUMNS), dtype="object"))
    if action is ACTIONS.PAUSE:
        return _find_blocked_keys(reads, begun)
    return _find_ended(reads, action, begun, set(targets["id"]))


def _find_ended(reads: Reads, action: ACTIONS, begun: Sequence[str], own: set[str]) -> PartialFrame:
    has_retention = has_feature(reads, RETENTION)
    callees = find_callees(reads, begun[:JOURNALS], own, follow_sent=action is ACTIONS.KILL)
    rows = [
        {
            "kind": "one-way call" if id_ in callees.one_way else "call",
            "id": id_,
            "target": state["target"],
            "status": state["status"],
            "caused_by": callees.caused_by[id_],
            "effect": _describe_callee(action, str(state["status"]), has_retention=has_retention),
        }
        for states in callees.states
        for id_, state in zip(map(str, states.index), states.to_dict("records"), strict=True)
    ]
    holders = {**{id_: id_ for id_ in begun}, **callees.caused_by}
    keys, more = _find_keys(reads, holders, own | set(callees.caused_by))
    limitations = [*callees.limitations, *more, *_limitations(action, len(begun))]
    return PartialFrame(_to_frame([*rows, *keys]), tuple(limitations))


def find_callees(
    reads: Reads, ids: Sequence[str], targets: set[str], *, follow_sent: bool, most: int = CALLEES
) -> Callees:
    """Follow the journals from these invocations, and return all direct and indirect callees that have not ended.

    ``follow_sent`` also follows one-way calls. A callee that is itself a target is not returned.
    """
    callees = Callees()
    roots = {id_: id_ for id_ in ids}
    while roots:
        calls = _find_calls(reads, list(roots), most, callees)
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
        states = read_invocations(reads, list(new))
        states = states[states["status"].notna() & ~states["status"].isin(ENDED)]
        callees.states.append(states)
        callees.caused_by |= {id_: new[id_] for id_ in states.index}
        has_journal = states.index[~states["status"].isin(NOT_BEGUN)]
        roots = {id_: new[id_] for id_ in has_journal}
    return callees


def _find_calls(reads: Reads, ids: Sequence[str], most: int, callees: Callees) -> Iterator[tuple[str, str, bool]]:
    for rows in read_calls(reads, ids, 10 * most):
        if len(rows) == 10 * most:
            callees.limitations.append(f"only {len(rows):,} calls in their journals were read")
        yield from ((row["id"], row["callee_id"], bool(row["sent"])) for row in rows if row["callee_id"])


def _find_keys(reads: Reads, holders: dict[str, str], callees: set[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each key that becomes free, each of the first waiters and changes of state; the limitations."""
    queues = _read_queues(reads, list(holders), without=callees)
    shown = queues.waiters[:WAITERS]
    states = read_invocations(reads, [row["id"] for row in shown]).to_dict("index") if shown else {}
    rows = [_key_row(row, holders, f"becomes free; {queues.describe(row['key'])}") for row in queues.keys]
    rows += [
        {
            "kind": "waiter",
            "id": row["id"],
            "target": states[row["id"]]["target"],
            "status": states[row["id"]]["status"],
            "caused_by": holders[row["holder"]],
            "effect": f"gets {row['key']} when its turn comes",
        }
        for row in shown
    ]
    rows += _change_rows(queues, holders, "applied when its turn comes")
    more = len(queues.waiters) - len(shown)
    limitations = [f"{more:,} more calls that wait for these keys are counted, but not listed"] if more else []
    return rows, limitations + queues.limitations


def _find_blocked_keys(reads: Reads, ids: Sequence[str]) -> PartialFrame:
    holders = {id_: id_ for id_ in ids}
    queues = _read_queues(reads, ids, without=set())
    rows = [
        _key_row(row, holders, f"stays held while it is paused; {queues.describe(row['key'])}")
        for row in queues.keys
        if queues.calls[row["key"]] or queues.changed[row["key"]]
    ]
    return PartialFrame(
        _to_frame(rows + _change_rows(queues, holders, "not applied before it is resumed and ends")),
        tuple(queues.limitations),
    )


@dataclass(slots=True)
class _Queues:
    """The keys that invocations hold, and their queues: rows with ``holder`` and ``key``, waiters also with ``id``."""

    keys: list[dict[str, Any]]
    waiters: list[dict[str, Any]]
    changes: list[dict[str, Any]]
    limitations: list[str]
    calls: Counter[str]
    changed: Counter[str]

    def describe(self, key: str) -> str:
        calls, changes = self.calls[key], self.changed[key]
        if not changes:
            return f"{calls:,} wait for it" if calls else "no other invocation waits for it"
        parts = [plural(calls, "call")] if calls else []
        parts.append(plural(changes, "change of state", "changes of state"))
        return f"{' and '.join(parts)} {verb_form(calls + changes, 'waits', 'wait')} for it"


def _read_queues(reads: Reads, ids: Sequence[str], *, without: set[str]) -> _Queues:
    """Return the keys of these holders and their queues; waiters in ``without`` end themselves."""
    keys = read_keys(reads, ids)
    holders = [row["holder"] for row in keys]
    waiters = [row for row in read_waiters(reads, holders) if row["id"] not in without] if keys else []
    changes = read_queued_changes(reads, holders, CHANGES + 1) if keys else []
    limitations = []
    if len(changes) > CHANGES:
        limitations.append(f"only the first {CHANGES:,} changes of state that wait for these keys were read")
    if keys and not changes and not has_vqueues(reads):
        limitations.append("not shown: changes of state that wait for these keys, which a server lists only in vqueues")
    calls, changed = (Counter(row["key"] for row in rows) for rows in (waiters, changes[:CHANGES]))
    return _Queues(keys, waiters, changes[:CHANGES], limitations, calls, changed)


def _key_row(row: Mapping[str, Any], holders: Mapping[str, str], effect: str) -> dict[str, Any]:
    return {
        "kind": "key",
        "id": None,
        "target": row["key"],
        "status": None,
        "caused_by": holders[row["holder"]],
        "effect": effect,
    }


def _change_rows(queues: _Queues, holders: Mapping[str, str], effect: str) -> list[dict[str, Any]]:
    """Return a row for each queued change of state; it has no id, because it is not an invocation."""
    return [{**_key_row(row, holders, effect), "kind": "state change", "status": "queued"} for row in queues.changes]


def _describe_callee(action: ACTIONS, status: str, *, has_retention: bool) -> str:
    if status in NOT_BEGUN:
        return f"also {'killed' if action is ACTIONS.KILL else 'cancelled'}" if has_retention else "also removed"
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
