"""The wait-for graph in words: what a root waits for, how a deadlock goes, and the way out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.analysis.waits.graph import Circle
from restate_lab.analysis.waits.model import Edge, Person

__all__ = ["Deadlock", "describe", "root_words"]

_NOT_WOKEN = "its own step{what} (Run), for which nothing wakes it: resume it"
_THINGS = {
    "awakeable": "the awakeable {what}, which nobody has resolved",
    "promise": "the promise “{what}”, which nobody has completed",
    "sleep": "a sleep {what}",
    "signal": "{what}",
    "state": "its state",
    "attach": "the outcome of another invocation",
    "call": "another call",
    "unknown": "something that is not in its journal any more",
}


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A circle in words; ``holders`` hold the ``keys``, in order; ``cancel`` is the one to end, for ``why``."""

    holders: tuple[str, ...]
    keys: tuple[str, ...]
    since: pd.Timestamp | None
    description: str
    cancel: str
    why: str
    resolution_code: str


def describe(
    circle: Circle, graph: nx.DiGraph, people: Mapping[str, Person], awaited: Mapping[str, Sequence[Edge]]
) -> Deadlock:
    """Say who holds what, who waits for it, and whom to end: who began last has the least work to lose.

    ``awaited`` has everybody's edges, by waiter.
    """
    steps = [(here, there, graph.edges[here, there]) for here, there in _pairs(circle.way)]
    held = {there: data["what"] for _, there, data in steps if data["kind"] == "key"}
    holders = tuple(id_ for id_ in circle.way if id_ in held)
    cancel = max(holders or circle.way, key=lambda id_: (_began(people[id_]), id_))
    moments = [data["since"] for _, _, data in steps if data["since"] is not None]
    why = _why(people[cancel], holders) if circle.certain else _look_again(circle, people, awaited)
    return Deadlock(
        holders=holders,
        keys=tuple(held[id_] for id_ in holders),
        since=max(moments, default=None),
        description=_holding(circle.way, held, people) if holders else _following(circle.way, people),
        cancel=cancel,
        why=_one_line(why),
        resolution_code=f'rl.plan(lab, "cancel", ["{cancel}"]).execute(reason="break a deadlock")  # {_one_line(why)}',
    )


def root_words(root: Person, awaited: Sequence[Edge], error: str | None) -> str:
    """Say what somebody waits for for whom others wait; ``awaited`` are its own edges."""
    if awaited:
        things = list(dict.fromkeys(_thing(edge) for edge in awaited))
        shown = things if len(things) <= 3 else [*things[:2], f"{len(things) - 2:,} other things"]
        return (" or " if awaited[0].alternative else " and ").join(shown)
    because = f": {error}" if error else ""
    if root.status == "backing-off":
        tried = f" after {root.attempts:,} failed attempts" if root.attempts and root.attempts > 1 else ""
        return f"its next attempt{_at(root.next_at)}{tried}{because}"
    before = f"; an attempt before failed: {error}" if error else ""
    return {
        "running": f"nothing: it runs{before}",
        "ready": f"a free slot of the invoker{before}",
        "paused": f"somebody to resume it: it is paused{because}",
        "scheduled": f"its start{_at(root.next_at)}",
        "pending": "its turn at a key that nobody holds",
        "suspended": "nothing that was read",
        None: "nothing: there is no such invocation any more",
    }.get(root.status, f"nothing: it is {root.status}")


def _pairs(way: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(way, [*way[1:], way[0]], strict=True))


def _holding(way: Sequence[str], held: Mapping[str, str], people: Mapping[str, Person]) -> str:
    """Say who holds what and waits for what; ``held`` has the keys by who holds them."""
    holders = [id_ for id_ in way if id_ in held]
    if len(holders) == 1:
        rest = f"and waits for {_through(way, holders[0], held, people)}a call that needs it"
        return f"{people[holders[0]].target} holds the key {held[holders[0]]} {rest}"
    told = [
        f"{people[here].target} holds {held[here]} and waits for {_through(way, here, held, people)}{held[there]}"
        for here, there in _pairs(holders)
    ]
    return "; ".join(told)


def _through(way: Sequence[str], holder: str, held: Mapping[str, str], people: Mapping[str, Person]) -> str:
    """Name whoever stands between a holder and the call that queues for the next key."""
    at = way.index(holder) + 1
    around = [*way[at:], *way[:at]]
    between = around[: next(number for number, id_ in enumerate(around) if id_ in held)][:-1]
    return "".join(f"{people[id_].target or id_}, which waits for " for id_ in between)


def _following(way: Sequence[str], people: Mapping[str, Person]) -> str:
    told = " waits for ".join(people[id_].target or id_ for id_ in way)
    return f"{told} waits for {'itself' if len(way) == 1 else people[way[0]].target}"


def _why(chosen: Person, holders: Sequence[str]) -> str:
    if len(holders) == 1:
        return (
            f"{chosen.target} waits for itself, and only its end frees the key; kill it if it does not obey. "
            "Every such call comes to this: a handler must not wait for an exclusive one of its own key"
        )
    rest = "the others then go on" if holders else "who waits for it then gets its failure"
    return (
        f"{chosen.target} began last and loses least; {rest}. Kill it if it does not obey. "
        "It comes back as long as handlers wait for each other in a circle: let all take keys in one order"
    )


def _look_again(circle: Circle, people: Mapping[str, Person], awaited: Mapping[str, Sequence[Edge]]) -> str:
    """Say who in a circle may leave it, and by what."""
    loose = [
        (edge, people[id_].target)
        for id_ in circle.way
        for edge in awaited.get(id_, ())
        if edge.alternative and (edge.kind == "open call" or edge.blocker not in circle.members)
    ]
    told = [
        f"{target} runs, and may not have come to waiting"
        if edge.kind == "open call"
        else f"{target} also waits for {_thing(edge)}, which may be enough"
        for edge, target in loose[:3]
    ]
    return f"look again first: {'; '.join(told) or 'somebody in it may go on without the others'}"


def _one_line(text: str) -> str:
    """Keep a comment a comment, whatever stands in a key."""
    return " ".join(text.split())


def _thing(edge: Edge) -> str:
    if edge.kind == "run":
        return _NOT_WOKEN.format(what=f" “{edge.what}”" if edge.what else "")
    if edge.kind == "key":
        return f"the key {edge.what}, which nobody holds: it is next"
    return _THINGS[edge.kind].format(what=edge.what or "of unknown length")


def _at(moment: pd.Timestamp | None) -> str:
    return f" at {format_timestamp(moment)}" if moment is not None else ""


def _began(person: Person) -> float:
    return person.created_at.timestamp() if person.created_at is not None else 0.0
