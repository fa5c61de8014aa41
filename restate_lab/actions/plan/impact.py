"""What goes with a kill or a cancel: invocations that it takes along, keys that become free, and who waits for these.

Measured on 1.6.1 and 1.7.12: a kill takes along whatever its target, and these in turn, have called or sent one-way
and has not ended, also what is scheduled for later. A cancel is passed on to calls, and not to what was sent one-way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab.actions.rules import ACTIONS, ENDED, NOT_BEGUN
from restate_lab.actions.snapshot import CHUNK, read_states
from restate_lab.client.schema import checked
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["COLUMNS", "Impact", "find_callees", "find_impact"]

COLUMNS = ("kind", "id", "target", "status", "caused_by", "what")
JOURNALS = 2_000  # targets whose journals are read
CALLEES = 10_000  # invocations found through them
WAITERS = 1_000

_CALLS = """
SELECT id, entry_type = 'Command: OneWayCall' AS sent, coalesce(
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id'),
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'OneWayCall'), 'invocation_id')) AS callee_id
FROM sys_journal
WHERE id IN :ids AND entry_type IN ('Command: Call', 'Command: OneWayCall')
LIMIT :limit"""
_KEYS = """
SELECT invocation_id AS holder, service_name || '/' || service_key AS key
FROM sys_keyed_service_status WHERE invocation_id IN :ids"""
_KEYS_VQUEUES = "SELECT acquired_by AS holder, lock_name AS key FROM sys_locks WHERE acquired_by IN :ids"
_WAITERS = """
SELECT i.id, k.invocation_id AS holder, k.service_name || '/' || k.service_key AS key
FROM sys_keyed_service_status k
JOIN sys_inbox i ON i.service_name = k.service_name AND i.service_key = k.service_key
WHERE k.invocation_id IN :ids"""
# A holder that backs off stands in the inbox, too, and has the lock.
_WAITERS_VQUEUES = """
SELECT q.entry_id AS id, l.acquired_by AS holder, l.lock_name AS key
FROM sys_locks l
JOIN sys_vqueue_meta m ON m.lock_name = l.lock_name AND m.scope IS NOT DISTINCT FROM l.scope
JOIN sys_vqueues q ON q.id = m.id
WHERE l.acquired_by IN :ids AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock"""


@dataclass(frozen=True, slots=True)
class Impact:
    """One row per thing that goes with the targets, and what was not looked at, in words.

    Columns: ``kind`` ("call" or "one-way call": an invocation that is taken along; "key": it becomes free; "waiter":
    it then gets the key), ``id`` (None for keys), ``target`` (of a key its name), ``status``, ``caused_by`` (the
    target that it goes with) and ``what`` (in words).
    """

    frame: pd.DataFrame
    limitations: tuple[str, ...] = ()


@dataclass(slots=True)
class Callees:
    """Who would be taken along: id → the target it comes with, who was sent one-way, and their states."""

    caused_by: dict[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    states: list[pd.DataFrame] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)

    def all_states(self) -> pd.DataFrame:
        """Return the rows of everyone found, as ``read_states`` has them."""
        return pd.concat(self.states) if self.states else pd.DataFrame(columns=["status", "target"], dtype="object")


def find_impact(lab: Source, action: ACTIONS, targets: pd.DataFrame) -> Impact:
    """Find what goes with these targets; ``targets`` are the rows of a plan that are acted on.

    The journals of at most JOURNALS targets are read; what was left out is said. Only kill and cancel take something
    along.
    """
    if action not in {ACTIONS.KILL, ACTIONS.CANCEL}:
        return Impact(_frame([]))
    begun = list(targets.loc[~targets["status"].isin(NOT_BEGUN), "id"])
    if not begun:
        return Impact(_frame([]))
    mine = set(targets["id"])
    callees = find_callees(lab, begun[:JOURNALS], mine, follow_sent=action is ACTIONS.KILL)
    states = callees.all_states()
    rows = [
        {
            "kind": "one-way call" if id_ in callees.sent else "call",
            "id": id_,
            "target": state["target"],
            "status": state["status"],
            "caused_by": callees.caused_by[id_],
            "what": _taken_along(action, str(state["status"])),
        }
        for id_, state in zip(map(str, states.index), states.to_dict("records"), strict=True)
    ]
    holders = {**{id_: id_ for id_ in begun}, **callees.caused_by}
    keys, excluded = _keys(lab, holders, mine | set(callees.caused_by))
    limitations = [*callees.excluded, *excluded, *_limitations(action, len(begun))]
    return Impact(_frame([*rows, *keys]), tuple(limitations))


def find_callees(
    lab: Source, ids: Sequence[str], targets: set[str], *, follow_sent: bool, most: int = CALLEES
) -> Callees:
    """Follow the journals from these invocations down, and return everyone called who has not ended.

    ``follow_sent`` follows one-way calls, too. Whoever is a target is followed as such, and not returned.
    """
    found = Callees()
    roots = {id_: id_ for id_ in ids}
    while roots:
        calls = _calls(lab, list(roots), most, found)
        new: dict[str, str] = {}
        for caller, callee, is_sent in calls:
            if callee in targets or callee in found.caused_by or callee in new or (is_sent and not follow_sent):
                continue
            new[callee] = roots[caller]
            if is_sent:
                found.sent.add(callee)
        if len(found.caused_by) + len(new) > most:
            found.excluded = [f"only the first {most:,} invocations that they called were followed"]
            new = dict(list(new.items())[: most - len(found.caused_by)])
        if not new:
            break
        states = read_states(lab, list(new))
        states = states[states["status"].notna() & ~states["status"].isin(ENDED)]
        found.states.append(states)
        found.caused_by |= {id_: new[id_] for id_ in states.index}
        has_journal = states.index[~states["status"].isin(NOT_BEGUN)]
        roots = {id_: new[id_] for id_ in has_journal}
    return found


def _calls(lab: Source, ids: Sequence[str], most: int, found: Callees) -> Iterator[tuple[str, str, bool]]:
    for chunk in chunks(ids, CHUNK):
        answer = lab.arrow(_CALLS, ids=chunk, limit=10 * most, progress=False)
        rows = checked(answer, _CALLS, lab).to_pylist()
        if len(rows) == 10 * most:
            found.excluded.append(f"only {len(rows):,} calls in their journals were read")
        yield from ((row["id"], row["callee_id"], bool(row["sent"])) for row in rows if row["callee_id"])


def _keys(lab: Source, holders: dict[str, str], taken: set[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each key that becomes free, and one for each of the first who wait for them."""
    has_vqueues = lab.features.get("vqueues", False)
    held = _read(lab, _KEYS_VQUEUES if has_vqueues else _KEYS, list(holders))
    if not held:
        return [], []
    waiters = _read(lab, _WAITERS_VQUEUES if has_vqueues else _WAITERS, [row["holder"] for row in held])
    waiters = [row for row in waiters if row["id"] not in taken]
    counts = pd.Series([row["key"] for row in waiters], dtype="object").value_counts()
    shown = waiters[:WAITERS]
    states = read_states(lab, [row["id"] for row in shown]).to_dict("index") if shown else {}
    rows = [
        {
            "kind": "key",
            "id": None,
            "target": row["key"],
            "status": None,
            "caused_by": holders[row["holder"]],
            "what": _key_words(int(counts.get(row["key"], 0))),
        }
        for row in held
    ]
    rows += [
        {
            "kind": "waiter",
            "id": row["id"],
            "target": states[row["id"]]["target"],
            "status": states[row["id"]]["status"],
            "caused_by": holders[row["holder"]],
            "what": f"gets {row['key']} in its turn",
        }
        for row in shown
    ]
    more = len(waiters) - len(shown)
    return rows, [f"{more:,} more calls that wait for these keys are counted and not listed"] if more else []


def _read(lab: Source, statement: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    tables = (lab.arrow(statement, ids=chunk, progress=False) for chunk in chunks(ids, CHUNK))
    return [row for table in tables for row in checked(table, statement, lab).to_pylist()]


def _key_words(waiting: int) -> str:
    return f"becomes free, and {waiting:,} wait for it" if waiting else "becomes free; nobody else waits for it"


def _taken_along(action: ACTIONS, status: str) -> str:
    if status in NOT_BEGUN:
        return "removed with it"
    return "killed with it" if action is ACTIONS.KILL else "cancelled with it, once it is told"


def _limitations(action: ACTIONS, begun: int) -> list[str]:
    said = []
    if begun > JOURNALS:
        said.append(f"only the journals of the first {JOURNALS:,} of {begun:,} targets were read")
    said.append(
        "not seen: what they call from now on; what their services do outside of Restate; callers, who get the failure"
    )
    if action is ACTIONS.CANCEL:
        said.append("one-way calls are not touched; a handler may catch the cancellation and go on")
    return said


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype="object")
