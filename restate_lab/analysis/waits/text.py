"""Descriptions for the wait-for graph: the waits of root blockers, and each deadlock with its resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.analysis.waits.graph import Cycle, WaitGraph
from restate_lab.analysis.waits.model import Edge, InvocationNode
from restate_lab.status import IN_PROGRESS, UNKNOWN

_NOT_WOKEN = "its own step{detail} (Run), which does not wake it: resume it"
_LONG_AGO = pd.Timestamp(0, tz="UTC")
_EDGE_TEXTS = {
    "awakeable": "the awakeable {detail}, which is not resolved",
    "promise": "the promise “{detail}”, which is not completed",
    "sleep": "a sleep {detail}",
    "signal": "{detail}",
    "state": "its state",
    "attach": "the result of another invocation",
    "call": "another call",
    "unknown": "something that is no longer in its journal",
}


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A cycle with its description; its members hold the ``keys``, in order; ``why`` is the reason for ``cancel``."""

    keys: tuple[str, ...]
    since: pd.Timestamp | None
    description: str
    cancel: str
    why: str
    resolution_code: str


def describe_deadlock(
    cycle: Cycle, graph: WaitGraph, nodes: Mapping[str, InvocationNode], awaited: Mapping[str, Sequence[Edge]]
) -> Deadlock:
    """Describe which invocation holds and waits for which key, and which one to cancel: the newest loses least work.

    ``awaited`` has the edges of all members, by waiter.
    """
    steps = [(here, there, graph.edge(here, there)) for here, there in _successive_pairs(cycle.path)]
    held = {there: edge.detail or "" for _, there, edge in steps if edge.kind == "key"}
    holders = tuple(id_ for id_ in cycle.path if id_ in held)
    cancel = max(holders or cycle.path, key=lambda id_: (nodes[id_].created_at or _LONG_AGO, id_))
    why = _reason_to_cancel(nodes[cancel], holders) if cycle.certain else _describe_alternatives(cycle, nodes, awaited)
    return Deadlock(
        keys=tuple(held[id_] for id_ in holders),
        since=max((edge.since for _, _, edge in steps if edge.since is not None), default=None),
        description=_describe_holders(cycle.path, held, nodes) if holders else _describe_cycle(cycle.path, nodes),
        cancel=cancel,
        why=" ".join(why.split()),  # a key with line breaks cannot end the comment
        resolution_code=f'rl.plan(lab, "cancel", ["{cancel}"]).execute(reason="break a deadlock")',
    )


def describe_blocker(blocker: InvocationNode, awaited: Sequence[Edge], error: str | None) -> str:
    """Return the text for the waits of a root blocker; ``awaited`` are its own edges."""
    if awaited:
        parts = list(dict.fromkeys(_describe_edge(edge) for edge in awaited))
        shown = parts if len(parts) <= 3 else [*parts[:2], f"{len(parts) - 2:,} other things"]
        return (" or " if awaited[0].alternative else " and ").join(shown)
    because = f": {error}" if error else ""
    if blocker.status == "backing-off":
        tried = f" after {blocker.attempts:,} failed attempts" if blocker.attempts and blocker.attempts > 1 else ""
        return f"its next attempt{_format_at(blocker.next_at)}{tried}{because}"
    before = f"failed: {error}" if error else ""
    return {
        "running": f"nothing: it is in an attempt{before and f'; the last one {before}'}",
        "ready": f"a free slot of the invoker{before and f'; the last attempt {before}'}",
        "paused": f"a manual resume: it is paused{because}",
        "scheduled": f"its start{_format_at(blocker.next_at)}",
        "pending": "its turn at a key that no invocation holds",
        "suspended": "something that was not read",
        None: "nothing: the invocation no longer exists",
        IN_PROGRESS: "nothing: it was in progress",
        UNKNOWN: "an unknown cause: its status at this time is not recorded",
    }.get(blocker.status, f"nothing: it is {blocker.status}")


def describe_state(waits_for: str) -> str:
    """Return the text of ``describe_blocker`` after the name of an invocation: "waits for …", or "is in an attempt"."""
    before, _, state = waits_for.partition("nothing: it ")
    return state if state and not before else f"waits for {waits_for}"


def _successive_pairs(path: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(path, [*path[1:], path[0]], strict=True))


def _describe_holders(path: Sequence[str], held: Mapping[str, str], nodes: Mapping[str, InvocationNode]) -> str:
    """Return which invocation holds and waits for which key; ``held`` has the keys by holder."""
    holders = [id_ for id_ in path if id_ in held]
    if len(holders) == 1:
        rest = f"and waits for {_describe_between(path, holders[0], held, nodes)}a call that needs it"
        return f"{nodes[holders[0]].target} holds the key {held[holders[0]]} {rest}"
    parts = [
        f"{nodes[here].target} holds {held[here]} and waits for "
        f"{_describe_between(path, here, held, nodes)}{held[there]}"
        for here, there in _successive_pairs(holders)
    ]
    return "; ".join(parts)


def _describe_between(
    path: Sequence[str], holder: str, held: Mapping[str, str], nodes: Mapping[str, InvocationNode]
) -> str:
    at = path.index(holder) + 1
    around = [*path[at:], *path[:at]]
    between = around[: next(number for number, id_ in enumerate(around) if id_ in held)][:-1]
    return "".join(f"{nodes[id_].target or id_}, which waits for " for id_ in between)


def _describe_cycle(path: Sequence[str], nodes: Mapping[str, InvocationNode]) -> str:
    chain = " waits for ".join(nodes[id_].target or id_ for id_ in path)
    return f"{chain} waits for {'itself' if len(path) == 1 else nodes[path[0]].target}"


def _reason_to_cancel(chosen: InvocationNode, holders: Sequence[str]) -> str:
    if len(holders) == 1:
        return (
            f"{chosen.target} waits for itself, and only its end frees the key. Kill it if the cancel has no effect. "
            "A handler must not wait for an exclusive call to its own key: each such call is a deadlock"
        )
    rest = "then the others continue" if holders else "then its waiter gets the failure"
    return (
        f"{chosen.target} started last and loses the least work; {rest}. Kill it if the cancel has no effect. "
        "To prevent this deadlock, lock keys in the same order in all handlers"
    )


def _describe_alternatives(
    cycle: Cycle, nodes: Mapping[str, InvocationNode], awaited: Mapping[str, Sequence[Edge]]
) -> str:
    loose = [
        (edge, nodes[id_].target)
        for id_ in cycle.path
        for edge in awaited.get(id_, ())
        if edge.alternative and (edge.kind == "open call" or edge.blocker not in cycle.members)
    ]
    reasons = [
        f"{target} runs and may not wait yet"
        if edge.kind == "open call"
        else f"{target} also waits for {_describe_edge(edge)}, which may be enough"
        for edge, target in loose[:3]
    ]
    return f"first run waits() again: {'; '.join(reasons) or 'a member may continue without the others'}"


def _describe_edge(edge: Edge) -> str:
    if edge.kind == "run":
        return _NOT_WOKEN.format(detail=f" “{edge.detail}”" if edge.detail else "")
    if edge.kind == "key":
        return f"the key {edge.detail}, which no invocation holds: it is next in the queue"
    return _EDGE_TEXTS[edge.kind].format(detail=edge.detail or "of unknown length")


def _format_at(time: pd.Timestamp | None) -> str:
    return f" at {format_timestamp(time)}" if time is not None else ""
