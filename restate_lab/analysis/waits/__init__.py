"""Find out which invocations wait for which: root blockers, deadlocks, and awaited things that are not resolved.

The verb and the frames of its result. ``reader`` reads the rows, ``graph`` finds cycles and root blockers, ``text``
describes them, and ``result`` is what the verb returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab.analysis.deadline import within
from restate_lab.analysis.waits.graph import (
    STEPS,
    Cycle,
    RootBlocker,
    WaitGraph,
    count_waiters,
    cycles,
    root_blockers,
)
from restate_lab.analysis.waits.model import edge_frame, edges_by_waiter
from restate_lab.analysis.waits.reader import KnownInvocations, WaitSnapshot, read_errors, read_waits
from restate_lab.analysis.waits.result import Waits
from restate_lab.analysis.waits.text import describe_blocker, describe_deadlock
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, Truncated
from restate_lab.recorder import QueryRecorder
from restate_lab.source import Source, check_supported

__all__ = [
    "KnownInvocations",
    "WaitAnalysis",
    "Waits",
    "analyze_waits",
    "blocker_frame",
    "deadlock_frame",
    "find_waits",
    "waits",
]

_ERRORS = 1_000  # root blockers whose last error is read
_MAY_HAVE_FAILED = {"backing-off", "paused", "ready", "running"}
_BLOCKER_TYPES = {"direct_waiting": "int64", "total_waiting": "Int64"}
_DEADLOCK_TYPES = {"certain": "bool", "length": "int64", "waiting": "Int64"}


@translate_errors
def waits(source: Source, /, *, limit: int = 150_000, timeout: DurationInput | None = None) -> Waits:
    """Find out which invocations wait for which, the root blockers, and the deadlocks.

    ``limit`` bounds how many suspended and how many pending invocations are read, those that wait for longest first;
    pending ones that an invocation called come before others, and with them always who called them or holds their
    key, so that sleepers hide no deadlock. Queues beyond it are counted on the server. What was left out stands in
    ``excluded``, in the repr, and is warned of (Truncated). The tables are read one after the other, so on a busy
    cluster an edge may be over by the time that another is read. ``timeout`` is for the whole call; None leaves each
    statement to the connection's own limit.

    - ``edges``: one row per thing awaited. ``waiter, waiter_target``; ``kind`` (call, attach, key, awakeable,
      promise, sleep, run, signal, state, unknown, and "open call": of a running invocation, which may not have come
      to waiting for it yet; the inactivity timeout suspends it, by default after a minute); ``blocker,
      blocker_target`` (an invocation, or None); ``what`` (service/key, promise, awakeable's id, wake-up time, step);
      ``wakes_at`` (UTC, of sleeps); ``alternative`` (it may go on without this one); ``since`` (UTC).
    - ``blockers``: one row per invocation that waits for no other while others wait for it, most waited for first.
      ``id, target, status, waits_for`` (in words, with its last error), ``direct_waiting`` (waiting for it, or for
      the key that it holds), ``total_waiting`` (with those who wait for these; at least so many where something was
      left out, None past a bound on the work), ``since`` (UTC, its last movement), ``examples`` (ids). Who is in a
      circle, or behind one alone, stands with the deadlocks.
    - ``deadlocks``: one row per circle, certain ones first. ``certain, length`` (keys, or invocations where there is
      no key), ``members`` (ids in order, each waits for the next), ``targets, keys``, ``waiting`` (others behind it;
      None as ``total_waiting``), ``since`` (UTC), ``description``, ``cancel`` (the id whose end breaks it),
      ``reason`` (why this one, and how to prevent the deadlock), ``resolution_code`` (a line to paste; it is not run
      here).

    A deadlock is certain when nobody in it can go on. Who awaits several things at once may need only one of them:
    SDKs before protocol 7 do not tell, so a circle through such a one is certain only where all that it awaits is
    stuck, or where it says that it needs all. Awakeables, promises and sleeps may always end.

    Raises:
        ArgumentError: ``limit`` is not a positive number, or ``timeout`` is not a duration.
        NotOnThisServer: the source lacks tables that it takes, or is too old.
        TimedOut: not everything was read within ``timeout``.
    """
    found = find_waits(within(source, timeout, verb="waits"), limit=limit)
    if found.excluded:
        warnings.warn("; ".join(found.excluded), Truncated, stacklevel=3)  # of the caller of the decorated function
    return found


def find_waits(source: Source, *, limit: int = 150_000) -> Waits:
    """Return what ``waits`` returns, without its warning: ``excluded`` lists what was not read.

    Raises:
        As ``waits``.
    """
    recorder = QueryRecorder(source)
    return _describe(recorder, analyze_waits(recorder, limit=limit))


@dataclass(frozen=True, slots=True)
class WaitAnalysis:
    """What was read of a source at one time, and the cycles in its graph; nothing is described yet."""

    snapshot: WaitSnapshot
    graph: WaitGraph
    cycles: tuple[Cycle, ...]
    at: datetime

    def root_blockers(self, ends: Collection[str] | None = None) -> list[RootBlocker]:
        """Return the root blockers, all of them or those among ``ends``, most waiters first."""
        in_cycles = {id_ for cycle in self.cycles for id_ in cycle.members}
        unread = self.snapshot.unread
        holders = [id_ for id_ in self.snapshot.nodes.select(unread) if id_ not in self.graph.successors]
        known = dict.fromkeys((*self.graph.ends(), *holders))
        chosen = [id_ for id_ in known if id_ not in in_cycles and (ends is None or id_ in ends)]
        return root_blockers(self.graph, chosen, unread, steps=STEPS)


def analyze_waits(source: Source, *, limit: int, known: KnownInvocations | None = None) -> WaitAnalysis:
    """Read which invocations wait for which, and find the cycles; ``known`` has what is known already.

    Raises:
        As ``waits``.
    """
    if limit < 1:
        raise ArgumentError(f"limit is {limit!r}: give a whole number, one or more.")
    check_supported(source, "waits()")
    at = source.now
    snapshot = read_waits(source, limit=limit, now=at, known=known)
    graph = WaitGraph(snapshot.edges, snapshot.nodes)
    return WaitAnalysis(snapshot, graph, tuple(cycles(graph)), at)


def _describe(source: QueryRecorder, analysis: WaitAnalysis) -> Waits:
    snapshot = analysis.snapshot
    excluded = list(snapshot.excluded)
    frames = {
        "edges": edge_frame(snapshot.edges, snapshot.nodes),
        "blockers": blocker_frame(source, analysis, analysis.root_blockers()),
        "deadlocks": deadlock_frame(analysis),
    }
    if uncounted := int(frames["blockers"]["total_waiting"].isna().sum() + frames["deadlocks"]["waiting"].isna().sum()):
        excluded.append(f"for {uncounted:,} root blockers or deadlocks not everybody behind them was counted")
    for frame in frames.values():
        attrs = {"source": source.name, "version": source.version, "now": analysis.at.isoformat()}
        frame.attrs = attrs | {"excluded": excluded}
    return Waits(
        **frames,
        source=source.name,
        version=source.version,
        at=analysis.at,
        excluded=tuple(excluded),
        _graph=analysis.graph,
        queries=tuple(source.queries),
    )


def blocker_frame(source: Source, analysis: WaitAnalysis, blockers: list[RootBlocker]) -> pd.DataFrame:
    """Return root blockers as a frame, described with their last errors, which are read."""
    nodes = analysis.snapshot.nodes.select(blocker.id for blocker in blockers)
    failed = [id_ for id_, node in nodes.items() if node.status in _MAY_HAVE_FAILED]
    errors = read_errors(source, failed[:_ERRORS])
    awaited = edges_by_waiter(analysis.snapshot.edges, nodes)
    rows = [
        {
            "id": blocker.id,
            "target": nodes[blocker.id].target,
            "status": nodes[blocker.id].status,
            "waits_for": describe_blocker(nodes[blocker.id], awaited.get(blocker.id, []), errors.get(blocker.id)),
            "direct_waiting": blocker.direct_waiting,
            "total_waiting": blocker.total_waiting,
            "since": nodes[blocker.id].since,
            "examples": list(blocker.examples),
        }
        for blocker in blockers
    ]
    columns = ("id", "target", "status", "waits_for", "direct_waiting", "total_waiting", "since", "examples")
    return _to_frame(rows, columns, _BLOCKER_TYPES)


def deadlock_frame(analysis: WaitAnalysis) -> pd.DataFrame:
    """Return the cycles as a frame, described."""
    snapshot, graph = analysis.snapshot, analysis.graph
    members = {id_ for cycle in analysis.cycles for id_ in cycle.path}
    nodes, steps = snapshot.nodes.select(members), STEPS
    awaited = edges_by_waiter(snapshot.edges, members)
    rows = []
    for cycle in analysis.cycles:
        waiting, steps = count_waiters(graph, cycle.members, snapshot.unread, steps)
        deadlock = describe_deadlock(cycle, graph, nodes, awaited)
        rows.append(
            {
                "certain": cycle.certain,
                "length": len(deadlock.keys) or len(cycle.path),
                "members": list(cycle.path),
                "targets": [nodes[id_].target for id_ in cycle.path],
                "keys": list(deadlock.keys),
                "waiting": waiting,
                "since": deadlock.since,
                "description": deadlock.description,
                "cancel": deadlock.cancel,
                "reason": deadlock.why,
                "resolution_code": deadlock.resolution_code,
            }
        )
    columns = (
        *("certain", "length", "members", "targets", "keys"),
        *("waiting", "since", "description", "cancel", "reason", "resolution_code"),
    )
    return _to_frame(rows, columns, _DEADLOCK_TYPES)


def _to_frame(rows: list[dict[str, Any]], columns: tuple[str, ...], types: Mapping[str, str]) -> pd.DataFrame:
    series = {name: pd.Series([row[name] for row in rows], dtype=types.get(name, "object")) for name in columns}
    frame = pd.DataFrame(series)
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame
