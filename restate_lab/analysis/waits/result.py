"""The result of ``waits()``: the wait-for graph of a source as frames, and as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any

import networkx as nx
import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_age, format_timestamp, plural
from restate_lab.analysis.suggestions import plan_call, why_call
from restate_lab.analysis.waits.graph import WaitGraph
from restate_lab.analysis.waits.picture import draw_picture, group_blockers
from restate_lab.calls import Step
from restate_lab.document import Calls, Document, Gaps, Item, Items, Picture, Text, Word
from restate_lab.frames import BuiltRows, records
from restate_lab.result import ORIGIN, Result

_MOST_DRAWN = 3_000  # waiting invocations in the picture; its layout then takes some tenths of a second
_MOST = 8  # deadlocks, and root blockers, to which the picture has links
_TOO_LARGE = Calls(Step((), "There are too many for a picture here. A picture of the worst ones", "rl.plot(waits)"))


@public
@dataclass(frozen=True, repr=False, eq=False)
class Waits(Result):
    """The wait-for graph of a source at one time; ``waits()`` returns it.

    - ``edges``: one row per wait. ``waiter, waiter_target``; ``kind`` (call, attach, key, awakeable, promise, sleep,
      run, signal, state, unknown, or "open call": the call of a running invocation, which may not wait for it yet and
      is suspended after the inactivity timeout, by default a minute); ``blocker, blocker_target`` (an invocation, or
      None); ``detail`` (service/key, promise, id of the awakeable, wake-up time, step); ``wakes_at`` (UTC, for sleeps);
      ``alternative`` (the waiter may continue without it); ``since`` (UTC).
    - ``blockers``: one row per root blocker, an invocation that waits for no other one while others wait for it; most
      waiters first. ``id, target, status, waits_for`` (text, with its last error), ``direct_waiting`` (how many wait
      for it or for the key that it holds), ``total_waiting`` (direct and indirect waiters; a minimum if data was not
      read, None if counting takes too long), ``since`` (UTC, its last progress), ``examples`` (ids).
      ``grouped_blockers()`` has one row for equal ones, as the card and the plot do. Members of a deadlock, and
      invocations blocked only by a deadlock, are in ``deadlocks`` instead.
    - ``deadlocks``: one row per cycle, certain ones first. ``certain, length`` (number of keys, or of invocations if
      there is no key), ``members`` (ids in order; a member waits for the next one), ``targets, keys``, ``waiting``
      (how many others it blocks; None as for ``total_waiting``), ``since`` (UTC), ``description``, ``cancel`` (the id
      whose cancellation breaks it), ``reason`` (why this id, and how to prevent the deadlock), ``resolution_code``
      (Python code to break it, "" at an earlier time; it is not executed here).

    A deadlock is certain if none of its members can continue. An invocation that waits for several things may need only
    one of them. SDKs before protocol 7 do not report this. A cycle through such an invocation is certain only if all
    things that it waits for are stuck, or if its SDK reports that it needs all. Awakeables, promises and sleeps may
    always end.
    """

    _json = (*ORIGIN, "not_read", "deadlocks", "blockers", "edges")
    edges: pd.DataFrame
    blockers: pd.DataFrame
    deadlocks: pd.DataFrame
    _graph: WaitGraph

    @property
    def open_awakeables(self) -> pd.DataFrame:
        """Return the edges to unresolved awakeables, longest wait first."""
        return self._edges_of("awakeable")

    @property
    def open_promises(self) -> pd.DataFrame:
        """Return the edges to uncompleted promises, longest wait first."""
        return self._edges_of("promise")

    @property
    def sleeps(self) -> pd.DataFrame:
        """Return the edges that are sleeps, next wake-up first."""
        return self._edges_of("sleep", "wakes_at")

    @property
    def summary(self) -> str:
        """Return the numbers of deadlocks, root blockers and other waits on one line."""
        certain, kinds = int(self.deadlocks["certain"].sum()), Counter(self.edges["kind"])
        parts = [
            plural(certain, "deadlock") if certain else "",
            plural(len(self.deadlocks) - certain, "possible deadlock") if len(self.deadlocks) > certain else "",
            plural(len(self.blockers), "root blocker") if len(self.blockers) else "",
            *(plural(kinds[name], name) for name in ("awakeable", "promise", "sleep") if kinds[name]),
        ]
        summary = " · ".join(part for part in parts if part) or "no invocation waits"
        return summary + (" (not everything was read)" if len(self.not_read) else "")

    def graph(self) -> nx.DiGraph:
        """Return the graph for networkx; an edge points from the id of the waiter to the id of its blocker.

        Nodes have ``target, status``; edges ``kind, detail, since, alternative`` as in ``edges``.
        """
        return self._graph.to_networkx()

    def grouped_blockers(self) -> pd.DataFrame:
        """Return ``blockers`` with equal ones as one row, whose column ``times`` has their number.

        Root blockers are equal if they have the same target, status, error and equal waiters; the row is the first of
        them. The picture has the same groups. A graph that is too large for a picture is not grouped.
        """
        if len(self._graph.successors) > _MOST_DRAWN:
            return self.blockers.assign(times=1)
        return group_blockers(self.graph(), self.blockers)

    def waiters(self) -> dict[str, list[str]]:
        """Return blocker id → ids of the invocations that wait for it directly."""
        return {id_: list(waiters) for id_, waiters in self._graph.predecessors.items()}

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the deadlocks, the root blockers and the other waits as blocks."""
        deadlocks, blockers, sleeps = self.deadlocks, self.grouped_blockers(), self.sleeps
        deadlock_items, blocker_items, waiting_items = (
            partial(build, now=self.read_at) for build in (_deadlock_item, _blocker_item, _waiting_item)
        )
        is_drawn = len(self._graph.successors) <= _MOST_DRAWN
        blocks = (
            Picture("analysis/waits/picture.html.j2", partial(self._draw, blockers)) if is_drawn else _TOO_LARGE,
            Items(BuiltRows(deadlocks, deadlock_items), f"Deadlocks ({len(deadlocks):,})"),
            Items(BuiltRows(blockers, blocker_items), f"Root blockers ({blockers['times'].sum():,})"),
            *(
                Items(BuiltRows(frame, waiting_items), f"{name} ({len(frame):,})")
                for name, frame in (
                    ("Awakeables that are not resolved", self.open_awakeables),
                    ("Promises that are not completed", self.open_promises),
                )
            ),
            *((Text(_sleep_text(sleeps, zone)),) if len(sleeps) else ()),
            Gaps(self.reasons),
        )
        is_blocked = len(deadlocks) or len(blockers)
        tone = "failed" if deadlocks["certain"].any() else "pending" if is_blocked else "succeeded"
        return replace(super().document(zone), blocks=blocks, tone=tone)

    def _draw(self, blockers: pd.DataFrame) -> Mapping[str, Any] | None:
        groups = [row["members"] for row in _first_rows(self.deadlocks)]
        groups += [[row["id"]] for row in _first_rows(blockers)]
        anchors = {id_: _anchor(ids[0], self.read_at) for ids in groups for id_ in ids}
        picture = draw_picture(self.graph(), self.blockers, self.deadlocks, anchors=anchors)
        return None if picture is None else {"picture": picture, "is_live": False}

    def _edges_of(self, kind: str, order: str = "since") -> pd.DataFrame:
        return self.edges[self.edges["kind"] == kind].sort_values([order, "waiter"]).reset_index(drop=True)


def _anchor(id_: str, now: datetime) -> str:
    return f"rl-waits-{now.timestamp():.6f}-{id_}"


def _deadlock_item(row: Mapping[Any, Any], now: datetime) -> Item:
    name = Word("Deadlock", "critical") if row["certain"] else Word("Possible deadlock", "warning")
    waiting = row["waiting"]
    blocks = ", others wait for it" if waiting is None else f", {waiting:,} more blocked" if waiting else ""
    return Item(
        (name, f"{blocks}: {row['description']}"),
        lines=(Word(row["reason"], "quiet"),),
        age=format_age(row["since"], now),
        steps=(Step((plan_call("cancel", [row["cancel"]]),)),) if row["resolution_code"] else (),
        anchor=_anchor(row["members"][0], now),
    )


def _blocker_item(row: Mapping[Any, Any], now: datetime) -> Item:
    total, status = row["total_waiting"], row["status"] or "gone"
    blocks = f"blocks {row['direct_waiting']:,} or more" if total is None else f"blocks {total:,}"
    each, times = ("each ", f"{row['times']:,} × ") if row["times"] > 1 else ("", "")
    place = f": {times}{row['target'] or 'unknown'} {row['id']} is "
    return Item(
        (Word(f"{each}{blocks}"), place, Word(status, status), f" and waits for {row['waits_for']}"),
        age=format_age(row["since"], now),
        steps=(Step((why_call(row["id"]),)),),
        anchor=_anchor(row["id"], now),
    )


def _waiting_item(row: Mapping[Any, Any], now: datetime) -> Item:
    title = (Word(row["detail"]), f": {row['waiter_target']} {row['waiter']} waits for it")
    return Item(title, age=format_age(row["since"], now), steps=(Step((why_call(row["waiter"]),)),))


def _sleep_text(sleeps: pd.DataFrame, zone: tzinfo) -> str:
    first = sleeps["wakes_at"].min()
    next_text = f"; the next one wakes at {format_timestamp(first, zone=zone)}" if pd.notna(first) else ""
    return f"{len(sleeps):,} sleeping{next_text}"


def _first_rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return records(frame.head(_MOST))
