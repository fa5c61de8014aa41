"""Read the waits: of suspended invocations, of calls that queue for a key, and of running invocations with open calls.

The ids are read first, with a limit for each kind. The details are then read by id, in chunks. All journals are scanned
only if that costs the server less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import plural
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.waits.commands import (
    AwaitedNumbers,
    awaited_numbers,
    edges_of_suspended,
    match_commands,
    texts,
)
from restate_lab.analysis.waits.model import (
    Edge,
    InvocationNode,
    Nodes,
    describe_error,
    describe_unreadable_holders,
    edges_of_calls,
    edges_of_keys,
    needs_all,
    single_edges,
)
from restate_lab.client.sql.bind import chunks
from restate_lab.frames import records
from restate_lab.reads import Reads, Row

CHUNK = 1_000  # ids in a statement: the planning time of a server grows faster than the list
ROWS = 500_000  # commands that one statement reads
AROUND = 3  # if keys are blocked, about this many times the limit of suspended invocations are read
KEYS = 1_000  # keys whose unread queues are counted
ENTRIES_FOR_AN_ID = 25  # journal entries that a server scans in the time of one lookup by id (1.7.12)
_PENDING = ("id", "target", "key", "since", "created_at", "invoked_by_id", "holder_id", "is_known")


@dataclass(frozen=True, slots=True)
class WaitSnapshot:
    """The data that was read: the table of edges, and its nodes.

    ``unread`` has by holder the number of calls in the queue of its key that are not in the edges; ``excluded`` has
    messages about unread data.
    """

    edges: pa.Table
    nodes: Nodes
    unread: Mapping[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownInvocations:
    """The number of suspended and of pending invocations, and the total length of all journals.

    ``read_suspended`` returns the suspended invocations (rows of ``suspended.sql``) if they are already known.
    """

    suspended: int
    pending: int
    journal_entries: int
    read_suspended: Callable[[], pa.Table | None] = lambda: None

    @property
    def is_scan_cheaper(self) -> bool:
        """Return whether a scan of all journals costs less than one lookup for each suspended invocation."""
        return self.suspended > CHUNK and self.suspended * ENTRIES_FOR_AN_ID > self.journal_entries


def read_waits(reads: Reads, *, limit: int, known: KnownInvocations | None) -> WaitSnapshot:
    """Read up to ``limit`` suspended and up to ``limit`` pending invocations, and their waits."""
    if known is None:
        (counts,) = reads.rows("waits/counts")
        known = KnownInvocations(counts["suspended"], counts["pending"], int(counts["entries"] or 0))
    reader = _WaitsReader(reads, limit, known)
    suspended, pending, commands = reads.together([reader.read_suspended, reader.read_pending, reader.read_commands])
    queued = reader.edges_of_pending(pending)
    around = {id_ for name in ("caller", "blocker") for id_ in _known_ids(queued[name])}
    waiting = reader.edges_of_suspended(suspended, commands, around)
    callers = {*_known_ids(waiting["caller"]), *_known_ids(queued["caller"])}
    running = _read_calls(reads, sorted(callers.difference(_known_ids(waiting["waiter"]))))
    edges = pa.concat_tables([waiting, queued, running]).combine_chunks()
    return WaitSnapshot(edges, reader.read_nodes(edges), reader.unread, tuple(reader.excluded))


def read_errors(reads: Reads, ids: Sequence[str]) -> dict[str, str]:
    """Return id → last error, as one line; an invocation without an error is omitted."""
    return {row["id"]: describe_error(row) for row in reads.rows_of("waits/last_errors", ids, chunk=CHUNK)}


def read_edges_of(reads: Reads, ids: Sequence[str]) -> list[Edge]:
    """Return the edges of the suspended ones of these invocations."""
    edges, _ = _edges_of(reads, _suspended_of(reads, ids), None)
    return single_edges(edges)


def read_open_calls(reads: Reads, ids: Sequence[str]) -> list[Edge]:
    """Return the edges from the running ones of these invocations to callees without a response."""
    return single_edges(_read_calls(reads, ids))


def _suspended_of(reads: Reads, ids: Sequence[str]) -> pa.Table:
    tables = [reads.table("waits/suspended_of", ids=chunk) for chunk in chunks(ids, CHUNK)]
    return pa.concat_tables(tables, promote_options="permissive")


def _edges_of(reads: Reads, suspended: pa.Table, commands: pa.Table | None) -> tuple[pa.Table, bool]:
    """Return the edges of these invocations, and whether some of their commands were not read.

    ``commands`` has the commands of all suspended invocations; missing ones are read. An invocation that waits for
    several things may continue with one of them, unless its SDK reports that it needs all.
    """
    numbers = awaited_numbers(suspended)
    matched, is_truncated = [match_commands(commands, numbers)] if commands is not None else [], False
    # Commands may be missing: a scan has a limit, and invocations may be suspended after it.
    for chunk in chunks(numbers.ids_without(matched), CHUNK):
        table = reads.table("waits/commands", ids=chunk, limit=ROWS + 1)
        is_truncated = is_truncated or len(table) > ROWS
        matched.append(match_commands(table, numbers))
    return edges_of_suspended(suspended, numbers, matched, _needing_one(reads, numbers)), is_truncated


def _needing_one(reads: Reads, numbers: AwaitedNumbers) -> np.ndarray:
    """Return for each invocation whether one of its several waits may be enough: unless its SDK reports otherwise."""
    several = numbers.awaited_counts > 1
    ids = texts(numbers.ids.filter(pa.array(several)))
    if ids and reads.has("sys_invocation_status.suspended_waiting_future_json"):
        rows = reads.rows_of("waits/combinations", ids, chunk=CHUNK)
        all_ids = {row["id"] for row in rows if needs_all(row["future_json"])}
        several[several] = [id_ not in all_ids for id_ in ids]
    return several


def _read_calls(reads: Reads, ids: Sequence[str]) -> pa.Table:
    columns = ("id", "target", "callee_id", "since", "created_at", "invoked_by_id")
    tables = [reads.table("waits/open_calls", ids=chunk) for chunk in chunks(ids, CHUNK)]
    empty = pa.table({name: pa.nulls(0) for name in columns})
    return edges_of_calls(pa.concat_tables([empty, *tables], promote_options="permissive"))


def _known_ids(column: pa.ChunkedArray[Any]) -> set[str]:
    return set(texts(column.drop_null()))


class _WaitsReader:
    def __init__(self, reads: Reads, limit: int, known: KnownInvocations) -> None:
        self._reads = reads
        self._limit = limit
        self._known = known
        self.unread: dict[str, int] = {}
        self.excluded: list[str] = []

    def edges_of_suspended(self, rows: pa.Table, commands: pa.Table | None, around: set[str]) -> pa.Table:
        """Return the edges of the longest suspended ones; if these are not all, also of those ``around`` keys."""
        suspended = rows.slice(0, self._limit)
        if len(rows) > self._limit:
            self.excluded.append(
                f"only the {self._limit:,} invocations that are suspended for longest were read, and those that hold a "
                "key or have called an invocation that queues for one"
            )
            ids = texts(suspended["id"])
            callers = dict(zip(ids, suspended["invoked_by_id"].to_pylist(), strict=True))
            around = around | {caller for id_ in around if (caller := callers.get(id_))}
            more = self._read_around(around, set(ids))
            suspended = pa.concat_tables([suspended, *more], promote_options="permissive")
        edges, is_truncated = _edges_of(self._reads, suspended, commands)
        if is_truncated:
            self.excluded.append(f"only {ROWS:,} commands in the journals of suspended invocations were read")
        return edges

    def edges_of_pending(self, rows: pa.Table) -> pa.Table:
        """Return the edges of the calls that queue for keys; ``unread`` counts the calls that were not read."""
        edges = edges_of_keys(rows.slice(0, self._limit))
        is_known: Any = rows["is_known"].cast(pa.bool_())
        unreadable = set(rows.filter(pc.invert(is_known))["key"].to_pylist())
        if unreadable:
            self.excluded.append(describe_unreadable_holders(plural(len(unreadable), "key")))
        if len(rows) > self._limit:
            self.unread = self._count_unread(edges)
        return edges

    def read_suspended(self, reads: Reads) -> pa.Table:
        known = self._known.read_suspended()
        return reads.table("waits/suspended", limit=self._limit + 1) if known is None else known

    def read_pending(self, reads: Reads) -> pa.Table:
        if not self._known.pending:
            return pa.table({name: pa.nulls(0) for name in _PENDING})
        return reads.table("waits/key_waiters", limit=self._limit + 1)

    def read_commands(self, reads: Reads) -> pa.Table | None:
        return reads.table("waits/commands_of_suspended", limit=ROWS + 1) if self._known.is_scan_cheaper else None

    def _read_around(self, around: set[str], read: set[str]) -> list[pa.Table]:
        tables: list[pa.Table] = []
        more = around - read
        while more and len(read) <= AROUND * self._limit:
            next_ones = _suspended_of(self._reads, sorted(more))
            tables, read = [*tables, next_ones], read | more
            more = {caller for caller in next_ones["invoked_by_id"].to_pylist() if caller} - read
        return tables

    def read_nodes(self, edges: pa.Table) -> Nodes:
        """Return all nodes; reads the states of the invocations that only block others."""
        blockers = sorted(_known_ids(edges["blocker"]).difference(_known_ids(edges["waiter"])))
        rows = self._reads.rows_of("waits/states", blockers, chunk=CHUNK)
        nodes = {row["id"]: _blocker_node(row) for row in rows}
        return Nodes(edges, {id_: nodes.get(id_) or InvocationNode(id_) for id_ in blockers})

    def _count_unread(self, edges: pa.Table) -> dict[str, int]:
        """Let the server count the calls in the queues that were not read completely."""
        # The message below reports a truncated result, once for all queues.
        keys = run_question(self._reads, "blocked_keys", limit=KEYS)
        read = Counter(edges["blocker"].to_pylist())
        waiting = {row["holder_id"]: row["waiting"] for row in records(keys) if row["holder_id"]}
        unread = {id_: n for id_, count in waiting.items() if (n := int(count) - read[id_]) > 0}
        scope = f" of the {KEYS:,} longest queues" if "truncated" in keys.attrs else ""
        self.excluded.append(
            f"only {self._limit:,} calls that queue for a key were read, those with a waiting caller first; "
            f"{sum(unread.values()):,} more{scope} are counted but not in the edges"
        )
        return unread


def _blocker_node(row: Row) -> InvocationNode:
    attempts, retry, start = row["attempts"], row["next_retry_at"], row["scheduled_start_at"]
    return InvocationNode(
        id=row["id"],
        target=row["target"],
        status=row["status"],
        since=row["modified_at"],
        created_at=row["created_at"],
        attempts=None if attempts is None else int(attempts),
        next_at=retry if row["status"] == "backing-off" else start if row["status"] == "scheduled" else None,
    )
