"""Find which invocations wait for which: root blockers, deadlocks, and unresolved awakeables and promises.

This module has the verb and builds its frames. ``reader`` reads the rows, ``graph`` finds cycles and root blockers,
``text`` describes them, and ``result`` is the type of the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

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
from restate_lab.links import page_link
from restate_lab.reads import Reads, begin
from restate_lab.result import unread
from restate_lab.source import Source

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

_ERRORS = 1_000  # maximum number of root blockers whose last error is read
_MAY_HAVE_FAILED = {"backing-off", "paused", "ready", "running"}
_BLOCKER_TYPES = {"direct_waiting": "int64", "total_waiting": "Int64"}
_DEADLOCK_TYPES = {"certain": "bool", "length": "int64", "waiting": "Int64"}


@translate_errors
def waits(source: Source, /, *, limit: int = 150_000, timeout: DurationInput | None = "2m") -> Waits:
    """Find which invocations wait for which, the root blockers, and the deadlocks.

    ``limit`` is the maximum number of suspended invocations that are read, and of pending ones; the longest waits come
    first. Pending invocations with a caller come before other pending ones. Callers and holders of keys are always
    read, so sleeping invocations hide no deadlock. The server counts the calls in queues that exceed the limit. If
    data was not read, ``not_read`` and the repr report it, and a Truncated warning is issued. The tables are read one
    after the other, so on a busy cluster an edge may end while another one is read. ``timeout`` is for the whole call.

    ``help(rl.Waits)`` describes the frames of the result.

    Raises:
        ArgumentError: ``limit`` is not a positive number, or ``timeout`` is not a duration.
        NotOnThisServer: the source does not have the required tables, or is too old.
        TimedOut: not everything was read within ``timeout``.
    """
    found = find_waits(source, limit=limit, timeout=timeout)
    if found.reasons:
        warnings.warn("; ".join(found.reasons), Truncated, stacklevel=3)  # the caller of the decorated function
    return found


def find_waits(source: Source, *, limit: int = 150_000, timeout: DurationInput | None = None) -> Waits:
    """Return the result of ``waits`` without its warning.

    Raises:
        As ``waits``.
    """
    if limit < 1:
        raise ArgumentError(f"limit is {limit!r}; use a whole number of 1 or more.")
    reads = begin(source, "waits", timeout, needs_open=True)
    return _describe(reads, analyze_waits(reads, limit=limit))


@dataclass(frozen=True, slots=True)
class WaitAnalysis:
    """The waits that were read from a source at one time, and the cycles in their graph, without descriptions."""

    snapshot: WaitSnapshot
    graph: WaitGraph
    cycles: tuple[Cycle, ...]
    at: datetime

    def root_blockers(self, ends: Collection[str] | None = None) -> list[RootBlocker]:
        """Return all root blockers, or those among ``ends``; most waiters first."""
        in_cycles = {id_ for cycle in self.cycles for id_ in cycle.members}
        unread = self.snapshot.unread
        holders = [id_ for id_ in self.snapshot.nodes.select(unread) if id_ not in self.graph.successors]
        known = dict.fromkeys((*self.graph.ends(), *holders))
        chosen = [id_ for id_ in known if id_ not in in_cycles and (ends is None or id_ in ends)]
        return root_blockers(self.graph, chosen, unread, steps=STEPS)


def analyze_waits(reads: Reads, *, limit: int, known: KnownInvocations | None = None) -> WaitAnalysis:
    """Read which invocations wait for which and find the cycles; ``known`` has counts and rows already read.

    Raises:
        As ``waits``.
    """
    at = reads.now
    snapshot = read_waits(reads, limit=limit, known=known)
    graph = WaitGraph(snapshot.edges, snapshot.nodes)
    return WaitAnalysis(snapshot, graph, tuple(cycles(graph)), at)


def _describe(reads: Reads, analysis: WaitAnalysis) -> Waits:
    snapshot = analysis.snapshot
    excluded = list(snapshot.excluded)
    deadlocks = deadlock_frame(analysis)
    if reads.coverage.is_past:
        deadlocks = deadlocks.assign(resolution_code="")
    frames = {
        "edges": edge_frame(snapshot.edges, snapshot.nodes),
        "blockers": blocker_frame(reads, analysis, analysis.root_blockers()),
        "deadlocks": deadlocks,
    }
    if uncounted := int(frames["blockers"]["total_waiting"].isna().sum() + frames["deadlocks"]["waiting"].isna().sum()):
        excluded.append(f"for {uncounted:,} root blockers or deadlocks, not all waiting invocations were counted")
    for frame in frames.values():
        attrs = {"source": reads.name, "version": reads.version, "read_at": analysis.at.isoformat()}
        frame.attrs = attrs | {"not_read": excluded}
    return Waits(
        **frames,
        source=reads.name,
        version=reads.version,
        read_at=analysis.at,
        not_read=unread(waits=excluded),
        _graph=analysis.graph,
        queries=tuple(reads.queries),
        link=page_link(reads, "waits"),
    )


def blocker_frame(reads: Reads, analysis: WaitAnalysis, blockers: list[RootBlocker]) -> pd.DataFrame:
    """Read the last errors of root blockers, and return the root blockers as a frame with descriptions."""
    nodes = analysis.snapshot.nodes.select(blocker.id for blocker in blockers)
    failed = [id_ for id_, node in nodes.items() if node.status in _MAY_HAVE_FAILED]
    errors = read_errors(reads, failed[:_ERRORS])
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
    """Return the cycles as a frame with descriptions."""
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
