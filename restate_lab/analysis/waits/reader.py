"""Read who waits for what: suspended invocations, calls that queue for a key, and open calls of running ones.

Ids come first, each kind bounded; details then by id, in chunks, so that no journal is scanned as a whole unless that
costs the server less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from restate_lab.analysis.questions import run_question
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.statements import read_together, run_sql_file, table_of_sql_file
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
    edges_of_calls,
    edges_of_keys,
    needs_all,
    single_edges,
)
from restate_lab.client.schema import tables_of
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["KnownInvocations", "WaitSnapshot", "read_edges_of", "read_errors", "read_open_calls", "read_waits"]

CHUNK = 1_000  # ids in a statement: what a server takes to plan grows faster than a longer list
ROWS = 500_000  # commands of one statement
AROUND = 3  # times the limit: so many suspended ones are read where keys are blocked
KEYS = 1_000  # keys whose unread queues are counted
ENTRIES_FOR_AN_ID = 25  # a server scans so many journal entries while it looks up one journal by its id (1.7.12)
_PENDING = ("id", "target", "key", "since", "created_at", "invoked_by_id", "holder_id")

Row = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class WaitSnapshot:
    """What was read: the table of edges, and the nodes in it.

    ``unread`` has, by holder, how many calls queue for its key beyond those in the edges; ``excluded`` has messages on
    what was not read.
    """

    edges: pa.Table
    nodes: Nodes
    unread: Mapping[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownInvocations:
    """How many invocations are suspended and pending, and how long all journals are together.

    ``read_suspended`` returns the suspended invocations (rows of ``suspended.sql``) where they need not be read.
    """

    suspended: int
    pending: int
    journal_entries: int
    read_suspended: Callable[[], pa.Table | None] = lambda: None

    @property
    def is_scan_cheaper(self) -> bool:
        """Return whether reading the journals of all suspended invocations costs less than looking each of them up."""
        return self.suspended > CHUNK and self.suspended * ENTRIES_FOR_AN_ID > self.journal_entries


def read_waits(source: Source, *, limit: int, now: datetime, known: KnownInvocations | None) -> WaitSnapshot:
    """Read up to ``limit`` suspended and up to ``limit`` pending invocations, and what they wait for."""
    reader = _WaitsReader(source, limit, now, known or _count(source))
    suspended, pending, commands = reader.read_tables()
    queued = reader.edges_of_pending(pending)
    around = {id_ for name in ("caller", "blocker") for id_ in _known_ids(queued[name])}
    waiting = reader.edges_of_suspended(suspended, commands, around)
    callers = {*_known_ids(waiting["caller"]), *_known_ids(queued["caller"])}
    running = _read_calls(source, sorted(callers.difference(_known_ids(waiting["waiter"]))))
    edges = pa.concat_tables([waiting, queued, running]).combine_chunks()
    return WaitSnapshot(edges, reader.read_nodes(edges), reader.unread, tuple(reader.excluded))


def read_errors(source: Source, ids: Sequence[str]) -> dict[str, str]:
    """Return the last error of each of these invocations that had one, as a line."""
    return {row["id"]: describe_error(row) for row in _read_rows(source, "last_errors", ids)}


def read_edges_of(source: Source, ids: Sequence[str]) -> list[Edge]:
    """Return what those of these invocations wait for that are suspended."""
    edges, _ = _edges_of(source, _suspended_of(source, ids), None)
    return single_edges(edges)


def read_open_calls(source: Source, ids: Sequence[str]) -> list[Edge]:
    """Return the edges of those of these invocations that run, to what they have called and have no answer of."""
    return single_edges(_read_calls(source, ids))


def _count(source: Source) -> KnownInvocations:
    (counts,) = records(run_sql_file(source, "analysis.waits", "counts"))
    return KnownInvocations(counts["suspended"], counts["pending"], int(none_if_missing(counts["entries"]) or 0))


def _suspended_of(source: Source, ids: Sequence[str]) -> pa.Table:
    tables = [table_of_sql_file(source, "analysis.waits", "suspended_of", ids=chunk) for chunk in chunks(ids, CHUNK)]
    return pa.concat_tables(tables, promote_options="permissive")


def _edges_of(source: Source, suspended: pa.Table, commands: pa.Table | None) -> tuple[pa.Table, bool]:
    """Return what these wait for, and whether not all of their commands were read.

    ``commands`` are those of all suspended invocations; what is not among them is read. An invocation that awaits
    several things may go on with one, unless its SDK reports that it needs all.
    """
    numbers = awaited_numbers(suspended)
    matched, is_truncated = [match_commands(commands, numbers)] if commands is not None else [], False
    # Between the scan and the reading of the statuses some were suspended, and a scan has a limit.
    for table in _commands_of(source, numbers.ids_without(matched)):
        is_truncated = is_truncated or len(table) > ROWS
        matched.append(match_commands(table, numbers))
    return edges_of_suspended(suspended, numbers, matched, _needing_one(source, numbers)), is_truncated


def _commands_of(source: Source, ids: Sequence[str]) -> Iterator[pa.Table]:
    for chunk in chunks(ids, CHUNK):
        yield table_of_sql_file(source, "analysis.waits", "commands", ids=chunk, limit=ROWS + 1)


def _needing_one(source: Source, numbers: AwaitedNumbers) -> np.ndarray:
    """Return for each invocation whether it awaits several things of which one may be enough."""
    several = numbers.awaited_counts > 1
    ids = texts(numbers.ids.filter(pa.array(several)))
    if ids:
        all_ids = _ids_needing_all(source, ids)
        several[several] = [id_ not in all_ids for id_ in ids]
    return several


def _ids_needing_all(source: Source, several: list[str]) -> set[str]:
    """Return the invocations whose SDK reports that they need all that they wait for."""
    tables = tables_of(source)
    known = tables.loc[tables["table"] == "sys_invocation_status", "column"]
    if "suspended_waiting_future_json" not in set(known):
        return set()
    rows = _read_rows(source, "combinations", several)
    return {row["id"] for row in rows if needs_all(row["future_json"])}


def _read_calls(source: Source, ids: Sequence[str]) -> pa.Table:
    columns = ("id", "target", "callee_id", "since", "created_at", "invoked_by_id")
    tables = [table_of_sql_file(source, "analysis.waits", "open_calls", ids=chunk) for chunk in chunks(ids, CHUNK)]
    empty = pa.table({name: pa.nulls(0) for name in columns})
    return edges_of_calls(pa.concat_tables([empty, *tables], promote_options="permissive"))


def _known_ids(column: pa.ChunkedArray[Any]) -> set[str]:
    return set(texts(column.drop_null()))


class _WaitsReader:
    """Reads one source, and records what it excluded."""

    def __init__(self, source: Source, limit: int, now: datetime, known: KnownInvocations) -> None:
        self._source = source
        self._limit = limit
        self._now = now
        self._known = known
        self.unread: dict[str, int] = {}
        self.excluded: list[str] = []

    def read_tables(self) -> tuple[pa.Table, pa.Table, pa.Table | None]:
        """Return suspended invocations, those that wait for a key, and the commands of all, None where unread."""
        suspended, pending, commands = read_together(
            self._source, [self._read_suspended, self._read_pending, self._read_commands]
        )
        return suspended, pending, commands

    def edges_of_suspended(self, rows: pa.Table, commands: pa.Table | None, around: set[str]) -> pa.Table:
        """Return the edges of those suspended for longest; where these are not all, also of any ``around`` keys."""
        suspended = rows.slice(0, self._limit)
        if len(rows) > self._limit:
            self.excluded.append(
                f"only the {self._limit:,} invocations that are suspended for longest were read, and those who hold a "
                "key or call somebody that queues for one"
            )
            ids = texts(suspended["id"])
            callers = dict(zip(ids, suspended["invoked_by_id"].to_pylist(), strict=True))
            around = around | {caller for id_ in around if (caller := callers.get(id_))}
            more = self._read_around(around, set(ids))
            suspended = pa.concat_tables([suspended, *more], promote_options="permissive")
        edges, is_truncated = _edges_of(self._source, suspended, commands)
        if is_truncated:
            self.excluded.append(f"of the journals of suspended invocations, only {ROWS:,} commands were read")
        return edges

    def edges_of_pending(self, rows: pa.Table) -> pa.Table:
        """Return the edges of the calls that queue for keys; those that were not read are counted in ``unread``."""
        edges = edges_of_keys(rows.slice(0, self._limit))
        if len(rows) > self._limit:
            self.unread = self._count_unread(edges)
        return edges

    def _read_suspended(self, source: Source) -> pa.Table:
        known = self._known.read_suspended()
        if known is not None:
            return known
        return table_of_sql_file(source, "analysis.waits", "suspended", limit=self._limit + 1)

    def _read_pending(self, source: Source) -> pa.Table:
        if not self._known.pending:
            return pa.table({name: pa.nulls(0) for name in _PENDING})
        return table_of_sql_file(source, "analysis.waits", "key_waiters", limit=self._limit + 1)

    def _read_commands(self, source: Source) -> pa.Table | None:
        if not self._known.is_scan_cheaper:
            return None
        return table_of_sql_file(source, "analysis.waits", "commands_of_suspended", limit=ROWS + 1)

    def _read_around(self, around: set[str], read: set[str]) -> list[pa.Table]:
        tables: list[pa.Table] = []
        more = around - read
        while more and len(read) <= AROUND * self._limit:
            next_ones = _suspended_of(self._source, sorted(more))
            tables, read = [*tables, next_ones], read | more
            more = {caller for caller in next_ones["invoked_by_id"].to_pylist() if caller} - read
        return tables

    def read_nodes(self, edges: pa.Table) -> Nodes:
        """Return all nodes; the states of those that only block others are read."""
        blockers = _known_ids(edges["blocker"]).difference(_known_ids(edges["waiter"]))
        nodes = {row["id"]: _blocker_node(row) for row in _read_rows(self._source, "states", sorted(blockers))}
        return Nodes(edges, {id_: nodes.get(id_) or InvocationNode(id_) for id_ in sorted(blockers)})

    def _count_unread(self, edges: pa.Table) -> dict[str, int]:
        """Count on the server the queues of which not every call was read."""
        # What is truncated is reported once, for the whole.
        keys = run_question(self._source, "blocked_keys", now=self._now, limit=KEYS)
        read = Counter(edges["blocker"].to_pylist())
        waiting = {row["holder_id"]: row["waiting"] for row in records(keys) if none_if_missing(row["holder_id"])}
        unread = {id_: n for id_, count in waiting.items() if (n := int(count) - read[id_]) > 0}
        scope = f" of the {KEYS:,} longest queues" if "truncated" in keys.attrs else ""
        self.excluded.append(
            f"only {self._limit:,} calls that queue for a key were read, first those that somebody waits for; "
            f"{sum(unread.values()):,} more{scope} are counted and not in the edges"
        )
        return unread


def _read_rows(source: Source, name: str, ids: Sequence[str]) -> Iterator[Row]:
    for chunk in chunks(ids, CHUNK):
        yield from records(run_sql_file(source, "analysis.waits", name, ids=chunk))


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
