"""Read who waits for what: suspended invocations, calls that queue for a key, and open calls of running ones.

Ids come first, each kind bounded; details then by id, in chunks, so that no journal is scanned as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab.analysis.questions import run_question
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.statements import run_sql_file
from restate_lab.analysis.waits.commands import (
    AwaitedCommand,
    SuspendedInvocation,
    awaited_commands,
    edges_of,
    suspended_invocations,
)
from restate_lab.analysis.waits.model import (
    Edge,
    InvocationNode,
    describe_error,
    key_edge,
    needs_all,
    open_call_edge,
    waiter_node,
)
from restate_lab.client.schema import tables_of
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = [
    "KnownInvocations",
    "WaitSnapshot",
    "read_errors",
    "read_open_calls",
    "read_suspended",
    "read_suspended_edges",
    "read_waits",
]

CHUNK = 300  # ids in a statement: what a server takes to plan grows faster than the list
ROWS = 100_000  # commands of the journals of one chunk
AROUND = 3  # times the limit: so many suspended ones are read where keys are blocked
KEYS = 1_000  # keys whose unread queues are counted

Row = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class WaitSnapshot:
    """What was read: the edges, the nodes in them by id, and messages on what was excluded.

    ``unread`` has, by holder, how many calls queue for its key beyond those in the edges.
    """

    edges: tuple[Edge, ...]
    nodes: Mapping[str, InvocationNode]
    unread: Mapping[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownInvocations:
    """What has been read before: the suspended invocations (of ``suspended.sql``), and whether any are pending."""

    suspended: pd.DataFrame | None = None
    has_pending: bool = True


def read_waits(source: Source, *, limit: int, now: datetime, known: KnownInvocations) -> WaitSnapshot:
    """Read up to ``limit`` suspended and up to ``limit`` pending invocations, and what they wait for."""
    reader = _WaitsReader(source, limit, now, known)
    pending, unread = reader.read_pending()
    suspended = reader.read_suspended(around={id_ for edge in pending for id_ in (edge.caller, edge.blocker) if id_})
    callers = {edge.caller for edge in (*suspended, *pending) if edge.caller} - {edge.waiter for edge in suspended}
    edges = (*suspended, *pending, *reader.read_running(sorted(callers)))
    return WaitSnapshot(edges, reader.read_nodes(edges), unread, tuple(reader.excluded))


def read_errors(source: Source, ids: Sequence[str]) -> dict[str, str]:
    """Return the last error of each of these invocations that had one, as a line."""
    return {row["id"]: describe_error(row) for row in _read_rows(source, "last_errors", ids)}


def read_suspended_edges(source: Source, invocations: Sequence[SuspendedInvocation]) -> tuple[list[Edge], bool]:
    """Return what these wait for, and whether it is truncated: for each ``CHUNK`` of them, ``ROWS`` commands are read.

    An invocation that awaits several things may go on with one, unless its SDK reports that it needs all.
    """
    commands: dict[tuple[str, int], AwaitedCommand] = {}
    open_ = {each.id: each.completions for each in invocations if each.completions}
    is_truncated = False
    for chunk in chunks(list(open_), CHUNK):
        rows = run_sql_file(source, "analysis.waits", "commands", ids=chunk, limit=ROWS + 1)
        is_truncated = is_truncated or len(rows) > ROWS
        commands |= awaited_commands(rows, open_)
    several = [each.id for each in invocations if each.awaited_count > 1]
    needing_one = set(several) - _ids_needing_all(source, several)
    edges = (edges_of(each, commands, alternative=each.id in needing_one) for each in invocations)
    return [edge for each in edges for edge in each], is_truncated


def read_suspended(source: Source, ids: Sequence[str]) -> list[SuspendedInvocation]:
    """Return those of these invocations that are suspended."""
    frames = [run_sql_file(source, "analysis.waits", "suspended_of", ids=chunk) for chunk in chunks(ids, CHUNK)]
    return [each for frame in frames for each in suspended_invocations(frame)]


def read_open_calls(source: Source, ids: Sequence[str]) -> list[Edge]:
    """Return the edges of those of these invocations that run, to what they have called and have no answer of."""
    return [open_call_edge(row) for row in _read_rows(source, "open_calls", ids)]


def _ids_needing_all(source: Source, several: list[str]) -> set[str]:
    """Return the invocations whose SDK reports that they need all that they wait for."""
    if not several:
        return set()
    tables = tables_of(source)
    known = tables.loc[tables["table"] == "sys_invocation_status", "column"]
    if "suspended_waiting_future_json" not in set(known):
        return set()
    rows = _read_rows(source, "combinations", several)
    return {row["id"] for row in rows if needs_all(row["future_json"])}


class _WaitsReader:
    """Reads one source, and records what it excluded."""

    def __init__(self, source: Source, limit: int, now: datetime, known: KnownInvocations) -> None:
        self._source = source
        self._limit = limit
        self._now = now
        self._known = known
        self.excluded: list[str] = []

    def read_suspended(self, around: set[str]) -> list[Edge]:
        """Read those suspended for longest; where these are not all, also any suspended ones ``around`` keys."""
        rows = self._known.suspended
        if rows is None:
            rows = run_sql_file(self._source, "analysis.waits", "suspended", limit=self._limit + 1)
        invocations = suspended_invocations(rows.iloc[: self._limit])
        if len(rows) > self._limit:
            self.excluded.append(
                f"only the {self._limit:,} invocations that are suspended for longest were read, and those who hold a "
                "key or call somebody that queues for one"
            )
            around = around | {each.caller for each in invocations if each.id in around and each.caller}
            invocations += self._read_around(around, {each.id for each in invocations})
        edges, is_truncated = read_suspended_edges(self._source, invocations)
        if is_truncated:
            self.excluded.append(f"of the journals of {CHUNK:,} invocations at a time, only {ROWS:,} entries were read")
        return edges

    def _read_around(self, around: set[str], read: set[str]) -> list[SuspendedInvocation]:
        invocations: list[SuspendedInvocation] = []
        more = around - read
        while more and len(read) <= AROUND * self._limit:
            next_ones = read_suspended(self._source, sorted(more))
            invocations, read = invocations + next_ones, read | more
            more = {each.caller for each in next_ones if each.caller} - read
        return invocations

    def read_pending(self) -> tuple[list[Edge], dict[str, int]]:
        if not self._known.has_pending:
            return [], {}
        rows = run_sql_file(self._source, "analysis.waits", "key_waiters", limit=self._limit + 1).to_dict("records")
        edges = [key_edge(row) for row in rows[: self._limit]]
        return edges, self._count_unread(edges) if len(rows) > self._limit else {}

    def read_running(self, callers: Sequence[str]) -> list[Edge]:
        return read_open_calls(self._source, callers)

    def read_nodes(self, edges: Iterable[Edge]) -> dict[str, InvocationNode]:
        """Return all nodes; the states of those that only block others are read."""
        known = {edge.waiter: waiter_node(edge) for edge in edges}
        others = sorted({edge.blocker for edge in edges if edge.blocker} - set(known))
        states = {row["id"]: _blocker_node(row) for row in _read_rows(self._source, "states", others)}
        return known | {id_: states.get(id_, InvocationNode(id_)) for id_ in others}

    def _count_unread(self, edges: list[Edge]) -> dict[str, int]:
        """Count on the server the queues of which not every call was read."""
        keys = self._run_question("blocked_keys", limit=KEYS)
        read = Counter(edge.blocker for edge in edges)
        waiting = {
            row["holder_id"]: row["waiting"] for row in keys.to_dict("records") if none_if_missing(row["holder_id"])
        }
        unread = {id_: int(count) - read[id_] for id_, count in waiting.items() if count > read[id_]}
        scope = f" of the {KEYS:,} longest queues" if "truncated" in keys.attrs else ""
        self.excluded.append(
            f"only {self._limit:,} calls that queue for a key were read, first those that somebody waits for; "
            f"{sum(unread.values()):,} more{scope} are counted and not in the edges"
        )
        return unread

    def _run_question(self, name: str, **params: Any) -> pd.DataFrame:
        # What is truncated is reported once, for the whole.
        return run_question(self._source, name, now=self._now, **params)


def _read_rows(source: Source, name: str, ids: Sequence[str]) -> Iterator[Row]:
    for chunk in chunks(ids, CHUNK):
        yield from run_sql_file(source, "analysis.waits", name, ids=chunk).to_dict("records")


def _blocker_node(row: Row) -> InvocationNode:
    """Return the node of an invocation that blocks others and waits for none, as far as is known."""
    attempts, retry, start = (
        none_if_missing(row["attempts"]),
        none_if_missing(row["next_retry_at"]),
        none_if_missing(row["scheduled_start_at"]),
    )
    return InvocationNode(
        id=row["id"],
        target=row["target"],
        status=row["status"],
        since=none_if_missing(row["modified_at"]),
        created_at=none_if_missing(row["created_at"]),
        attempts=None if attempts is None else int(attempts),
        next_at=retry if row["status"] == "backing-off" else start if row["status"] == "scheduled" else None,
    )
