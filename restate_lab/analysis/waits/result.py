"""The result of ``waits()``: the wait-for graph of a source as frames, and its card for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import networkx as nx
import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_age, format_timestamp, plural
from restate_lab.analysis.waits.graph import WaitGraph
from restate_lab.analysis.waits.picture import draw_picture, group_blockers
from restate_lab.result import Result
from restate_lab.status import STATUSES

_MOST_DRAWN = 3_000  # waiting invocations in the picture; its layout then takes some tenths of a second
_MOST = 8  # rows of each list; the frames have all of them
_RED, _AMBER, _GREEN = STATUSES["failed"].colour, STATUSES["pending"].colour, STATUSES["succeeded"].colour


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
        certain = int(self.deadlocks["certain"].sum())
        parts = [
            plural(certain, "deadlock") if certain else "",
            plural(len(self.deadlocks) - certain, "possible deadlock") if len(self.deadlocks) > certain else "",
            plural(len(self.blockers), "root blocker") if len(self.blockers) else "",
            plural(len(self.open_awakeables), "awakeable") if len(self.open_awakeables) else "",
            plural(len(self.open_promises), "promise") if len(self.open_promises) else "",
            plural(len(self.sleeps), "sleep") if len(self.sleeps) else "",
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

    def _card(self) -> str:
        deadlocks, blockers, waiting = self.deadlocks, self.blockers, len(self._graph.successors)
        unresolved = (("Awakeables", self.open_awakeables), ("Promises", self.open_promises))
        anchors = _anchors(self)
        is_drawn = waiting <= _MOST_DRAWN
        note = f"{waiting:,} invocations wait, too many for a picture here; rl.plot(waits) draws the worst ones."
        return render(
            "analysis/waits/card.html.j2",
            title=self.summary,
            place=self.where,
            page=self.link,
            lines=[*([] if is_drawn else [note]), *_sleep_lines(self), *self.reasons],
            accent=_RED if deadlocks["certain"].any() else _AMBER if len(blockers) or len(deadlocks) else _GREEN,
            picture=draw_picture(self.graph(), blockers, deadlocks, anchors=anchors) if is_drawn else None,
            deadlocks=[_deadlock_block(row, self.read_at, anchors) for row in _first_rows(deadlocks)],
            more_deadlocks=_more_text(deadlocks, "deadlocks"),
            tables=[
                _blocker_table(self.grouped_blockers(), self.read_at, anchors),
                *(_unresolved_table(name, frame, self.read_at) for name, frame in unresolved),
            ],
        )

    def _edges_of(self, kind: str, order: str = "since") -> pd.DataFrame:
        return self.edges[self.edges["kind"] == kind].sort_values([order, "waiter"]).reset_index(drop=True)


def _anchors(waits: Waits) -> dict[str, str]:
    groups = [row["members"] for row in _first_rows(waits.deadlocks)]
    groups += [[row["id"]] for row in _first_rows(waits.grouped_blockers())]
    return {id_: f"rl-waits-{waits.read_at.timestamp():.6f}-{ids[0]}" for ids in groups for id_ in ids}


def _deadlock_block(row: dict[Any, Any], now: datetime, anchors: Mapping[str, str]) -> dict[str, str]:
    kind, colour = ("Deadlock", _RED) if row["certain"] else ("Possible deadlock", _AMBER)
    age, waiting = format_age(row["since"], now), row["waiting"]
    heading = f"{kind} for {age}" if age else kind
    heading += ", others wait for it" if pd.isna(waiting) else f", {waiting:,} more blocked" if waiting else ""
    return {
        "anchor": anchors[row["members"][0]],
        "colour": colour,
        "heading": heading,
        "description": row["description"],
        "reason": row["reason"],
        "resolution_code": row["resolution_code"],
    }


def _blocker_table(frame: pd.DataFrame, now: datetime, anchors: Mapping[str, str]) -> dict[str, Any]:
    rows = []
    for row in _first_rows(frame):
        waiting = row["total_waiting"]
        count = f"{row['direct_waiting']:,} or more" if pd.isna(waiting) else f"{waiting:,}"
        count, times = (f"{count} each", f"{row['times']:,} × ") if row["times"] > 1 else (count, "")
        target, status = f"{times}{row['target'] or 'unknown'}\n{row['id']}", row["status"] or "gone"
        cells = (count, target, status, row["waits_for"], format_age(row["since"], now))
        rows.append({"anchor": anchors[row["id"]], "cells": cells})
    heads = ("waiting", "invocation", "status", "waits for", "for")
    return {"title": "Root blockers", "heads": heads, "rows": rows, "more": _more_text(frame, "blockers")}


def _unresolved_table(name: str, frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
    cells = [
        (row["detail"], f"{row['waiter_target']}\n{row['waiter']}", format_age(row["since"], now))
        for row in _first_rows(frame)
    ]
    return {
        "title": f"{name} that are not resolved",
        "heads": (name.lower().removesuffix("s"), "waiting invocation", "for"),
        "rows": [{"anchor": "", "cells": each} for each in cells],
        "more": _more_text(frame, name.lower()),
    }


def _more_text(frame: pd.DataFrame, name: str) -> str:
    return f"… and {len(frame) - _MOST:,} more {name}" if len(frame) > _MOST else ""


def _sleep_lines(waits: Waits) -> list[str]:
    sleeps = waits.sleeps
    if sleeps.empty:
        return []
    first = sleeps["wakes_at"].min()
    return [f"{len(sleeps):,} sleeping" + (f"; the next one wakes at {format_timestamp(first)}" if first else "")]


def _first_rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")
