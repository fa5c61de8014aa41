"""Who waits for whom: root blockers, deadlocks, and what nobody resolves."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import networkx as nx
import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_age, format_timestamp, plural
from restate_lab.analysis.deadline import within
from restate_lab.analysis.waits.graph import STEPS, Circle, Root, build, circles, count_waiters, roots
from restate_lab.analysis.waits.model import Edge, Person, edge_frame
from restate_lab.analysis.waits.reader import Known, Reading, read_errors, read_waits
from restate_lab.analysis.waits.text import describe, root_words
from restate_lab.client.schema import translated
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, Truncated
from restate_lab.recorder import Recorder
from restate_lab.source import Source, check_tried
from restate_lab.status import STATUSES

__all__ = ["Known", "Waits", "find_waits", "waits"]

_MOST = 8  # rows of each list; the frames have all
_RED, _AMBER, _GREEN = STATUSES["failed"].colour, STATUSES["pending"].colour, STATUSES["succeeded"].colour
_ERRORS = 1_000  # root blockers whose last error is read
_MAY_HAVE_FAILED = {"backing-off", "paused", "ready", "running"}
_BLOCKER_TYPES = {"direct_waiting": "int64", "total_waiting": "Int64"}
_DEADLOCK_TYPES = {"certain": "bool", "length": "int64", "waiting": "Int64"}
Awaited = Mapping[str, list[Edge]]


def waits_card(waits: Waits) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    deadlocks, blockers = waits.deadlocks, waits.blockers
    unresolved = (("Awakeables", waits.open_awakeables), ("Promises", waits.open_promises))
    return render(
        "analysis/waits/card.html.j2",
        title=waits.verdict,
        place=waits.where,
        lines=[*_sleeps(waits), *waits.excluded],
        accent=_RED if deadlocks["certain"].any() else _AMBER if len(blockers) or len(deadlocks) else _GREEN,
        deadlocks=[_deadlock(row, waits.at) for row in _first(deadlocks)],
        more_deadlocks=_more(deadlocks, "deadlocks"),
        tables=[_blockers(blockers, waits.at), *(_unresolved(name, frame, waits.at) for name, frame in unresolved)],
    )


def _deadlock(row: dict[Any, Any], now: datetime) -> dict[str, str]:
    what, colour = ("Deadlock", _RED) if row["certain"] else ("Possible deadlock", _AMBER)
    ago, behind = format_age(row["since"], now), row["waiting"]
    head = f"{what} for {ago}" if ago else what
    head += ", others wait for it" if pd.isna(behind) else f", {behind:,} more wait for it" if behind else ""
    return {
        "colour": colour,
        "heading": head,
        "description": row["description"],
        "resolution_code": row["resolution_code"],
    }


def _blockers(frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
    rows = [
        (
            f"{row['total_waiting']:,}" if pd.notna(row["total_waiting"]) else f"{row['direct_waiting']:,} or more",
            f"{row['target'] or 'unknown'}\n{row['id']}",
            row["status"] or "gone",
            row["waits_for"],
            format_age(row["since"], now),
        )
        for row in _first(frame)
    ]
    return {
        "title": "Who everybody waits for",
        "heads": ("waiting", "invocation", "status", "waits for", "for"),
        "rows": rows,
        "more": _more(frame, "blockers"),
    }


def _unresolved(name: str, frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
    return {
        "title": f"{name} that nobody has resolved",
        "heads": (name.lower().removesuffix("s"), "who waits", "for"),
        "rows": [
            (row["what"], f"{row['waiter_target']}\n{row['waiter']}", format_age(row["since"], now))
            for row in _first(frame)
        ],
        "more": _more(frame, name.lower()),
    }


def _more(frame: pd.DataFrame, name: str) -> str:
    return f"… and {len(frame) - _MOST:,} more {name}" if len(frame) > _MOST else ""


def _sleeps(waits: Waits) -> list[str]:
    sleeps = waits.sleeps
    if sleeps.empty:
        return []
    first = sleeps["wakes_at"].min()
    return [f"{len(sleeps):,} asleep" + (f", the next wakes at {format_timestamp(first)}" if first else "")]


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")


@public
@dataclass(frozen=True, repr=False, eq=False)
class Waits:
    """The wait-for graph of a source at a moment; ``waits()`` makes it, and says what is in the frames."""

    edges: pd.DataFrame
    blockers: pd.DataFrame
    deadlocks: pd.DataFrame
    source: str
    version: str
    at: datetime
    excluded: tuple[str, ...]
    _graph: nx.DiGraph
    queries: tuple[Mapping[str, Any], ...] = ()
    """Each statement that was sent: ``sql``, ``params`` as JSON has them, ``times``."""

    @property
    def open_awakeables(self) -> pd.DataFrame:
        """Return the edges that are awakeables nobody has resolved, longest awaited first."""
        return self._of("awakeable")

    @property
    def open_promises(self) -> pd.DataFrame:
        """Return the edges that are promises nobody has completed, longest awaited first."""
        return self._of("promise")

    @property
    def sleeps(self) -> pd.DataFrame:
        """Return the edges that are sleeps, the next to wake first."""
        return self._of("sleep", "wakes_at")

    @property
    def verdict(self) -> str:
        """Return all of it in a line."""
        certain = int(self.deadlocks["certain"].sum())
        parts = [
            plural(certain, "deadlock") if certain else "",
            plural(len(self.deadlocks) - certain, "possible deadlock") if len(self.deadlocks) > certain else "",
            plural(len(self.blockers), "root blocker") if len(self.blockers) else "",
            plural(len(self.open_awakeables), "open awakeable") if len(self.open_awakeables) else "",
            plural(len(self.open_promises), "open promise") if len(self.open_promises) else "",
            plural(len(self.sleeps), "sleep") if len(self.sleeps) else "",
        ]
        said = ", ".join(part for part in parts if part) or "nobody waits for anything"
        return said + (" (not everything was read)" if self.excluded else "")

    @property
    def where(self) -> str:
        """Return on what this was read, and when."""
        return f"{self.source}, restate {self.version}, {format_timestamp(self.at)}"

    def graph(self) -> nx.DiGraph:
        """Return a copy of the graph: an edge leads from who waits to who is waited for, both by invocation id.

        Nodes have ``target, status``; edges ``kind, what, since, alternative`` as in ``edges``.
        """
        return self._graph.copy()

    def waiters(self) -> dict[str, list[str]]:
        """Return who waits for whom directly: ids by the id of who is waited for."""
        return {id_: list(self._graph.predecessors(id_)) for id_, degree in self._graph.in_degree() if degree}

    def __repr__(self) -> str:
        return f"<Waits of {self.where}: {self.verdict}>"

    def _repr_html_(self) -> str:
        return waits_card(self)

    def _of(self, kind: str, order: str = "since") -> pd.DataFrame:
        return self.edges[self.edges["kind"] == kind].sort_values([order, "waiter"]).reset_index(drop=True)


@translated
def waits(source: Source, /, *, limit: int = 20_000, timeout: DurationInput | None = None) -> Waits:
    """Find out who waits for whom, who everybody waits for, and who waits in a circle.

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
      ``resolution_code`` (a line to paste, with its reason; nothing is done here).

    A deadlock is certain when nobody in it can go on. Who awaits several things at once may need only one of them:
    SDKs before protocol 7 do not tell, so a circle through such a one is certain only where all that it awaits is
    stuck, or where it says that it needs all. Awakeables, promises and sleeps may always end.

    Raises:
        ArgumentError: ``limit`` is not a positive number, or ``timeout`` is not a duration.
        NotOnThisServer: the source lacks tables that it takes, or is too old.
        TimedOut: not everything was read within ``timeout``.
    """
    made = find_waits(within(source, timeout, verb="waits"), limit=limit)
    if made.excluded:
        warnings.warn("; ".join(made.excluded), Truncated, stacklevel=3)  # of the caller of the decorated function
    return made


def find_waits(source: Source, *, limit: int = 20_000, known: Known | None = None) -> Waits:
    """Return what ``waits`` returns, and warn nobody: ``excluded`` says what was not read.

    ``known`` has what need not be read again.

    Raises:
        As ``waits``.
    """
    if limit < 1:
        raise ArgumentError(f"limit is {limit!r}: give a whole number, one or more.")
    check_tried(source, "waits()")
    at = source.now
    recorder = Recorder(source)
    return _made(recorder, read_waits(recorder, limit=limit, now=at, known=known or Known()), at)


def _made(source: Recorder, reading: Reading, at: datetime) -> Waits:
    graph = build(reading.edges, reading.people)
    found = circles(graph, reading.edges, reading.people)
    blocking = roots(graph, {id_ for circle in found for id_ in circle.members}, reading.unread, steps=STEPS)
    excluded = list(reading.excluded)
    awaited: Awaited = defaultdict(list)
    for edge in reading.edges:
        awaited[edge.waiter].append(edge)
    frames = {
        "edges": edge_frame(reading.edges, reading.people),
        "blockers": _blocker_frame(source, blocking, reading, awaited),
        "deadlocks": _deadlocks(found, graph, reading, awaited),
    }
    if uncounted := int(frames["blockers"]["total_waiting"].isna().sum() + frames["deadlocks"]["waiting"].isna().sum()):
        excluded.append(f"for {uncounted:,} root blockers or deadlocks not everybody behind them was counted")
    for frame in frames.values():
        frame.attrs = {"source": source.name, "version": source.version, "now": at.isoformat(), "excluded": excluded}
    return Waits(
        **frames,
        source=source.name,
        version=source.version,
        at=at,
        excluded=tuple(excluded),
        _graph=graph,
        queries=tuple(source.queries),
    )


def _blocker_frame(source: Source, found: list[Root], reading: Reading, awaited: Awaited) -> pd.DataFrame:
    people = {root.id: reading.people[root.id] for root in found}
    failed = [id_ for id_, person in people.items() if person.status in _MAY_HAVE_FAILED]
    errors = read_errors(source, failed[:_ERRORS])
    rows = [
        {
            "id": root.id,
            "target": people[root.id].target,
            "status": people[root.id].status,
            "waits_for": root_words(people[root.id], awaited.get(root.id, []), errors.get(root.id)),
            "direct_waiting": root.direct_waiting,
            "total_waiting": root.total_waiting,
            "since": people[root.id].since,
            "examples": list(root.examples),
        }
        for root in found
    ]
    columns = ("id", "target", "status", "waits_for", "direct_waiting", "total_waiting", "since", "examples")
    return _frame(rows, columns, _BLOCKER_TYPES)


def _deadlocks(found: list[Circle], graph: nx.DiGraph, reading: Reading, awaited: Awaited) -> pd.DataFrame:
    people: Mapping[str, Person] = reading.people
    rows, steps = [], STEPS
    for circle in found:
        waiting, steps = count_waiters(graph, circle.members, reading.unread, steps)
        told = describe(circle, graph, people, awaited)
        rows.append(
            {
                "certain": circle.certain,
                "length": len(told.keys) or len(circle.way),
                "members": list(circle.way),
                "targets": [people[id_].target for id_ in circle.way],
                "keys": list(told.keys),
                "waiting": waiting,
                "since": told.since,
                "description": told.description,
                "cancel": told.cancel,
                "resolution_code": told.resolution_code,
            }
        )
    columns = (
        *("certain", "length", "members", "targets", "keys"),
        *("waiting", "since", "description", "cancel", "resolution_code"),
    )
    return _frame(rows, columns, _DEADLOCK_TYPES)


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...], types: Mapping[str, str]) -> pd.DataFrame:
    series = {name: pd.Series([row[name] for row in rows], dtype=types.get(name, "object")) for name in columns}
    frame = pd.DataFrame(series)
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame
