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
from restate_lab.analysis.waits.commands import Command, Sleeper, awaited, edges_of, sleepers
from restate_lab.analysis.waits.model import Edge, Person, called, error_words, needs_all, person, queued
from restate_lab.client.schema import tables_of
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["Known", "Reading", "open_calls", "read_errors", "read_waits", "suspended_edges", "suspended_of"]

CHUNK = 300  # ids in a statement: what a server takes to plan grows faster than the list
ROWS = 100_000  # commands of the journals of one chunk
AROUND = 3  # times the limit: so many suspended ones are read where keys are blocked
KEYS = 1_000  # keys whose unread queues are counted

Row = dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read: the edges, everybody in them by id, and what was left out, in words.

    ``unread`` has, by holder, how many calls queue for its key beyond those in the edges.
    """

    edges: tuple[Edge, ...]
    people: Mapping[str, Person]
    unread: Mapping[str, int] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What has been read before: all suspended invocations, as ``suspended.sql`` has them, and whether any pends."""

    suspended: pd.DataFrame | None = None
    has_pending: bool = True


def read_waits(source: Source, *, limit: int, now: datetime, known: Known) -> Reading:
    """Read up to ``limit`` suspended and up to ``limit`` pending invocations, and what they wait for."""
    reader = _Reader(source, limit, now, known)
    pending, unread = reader.pending()
    suspended = reader.suspended(around={id_ for edge in pending for id_ in (edge.caller, edge.blocker) if id_})
    callers = {edge.caller for edge in (*suspended, *pending) if edge.caller} - {edge.waiter for edge in suspended}
    edges = (*suspended, *pending, *reader.running(sorted(callers)))
    return Reading(edges, reader.people(edges), unread, tuple(reader.excluded))


def read_errors(source: Source, ids: Sequence[str]) -> dict[str, str]:
    """Return the last error of each of these invocations that had one, as a line."""
    return {row["id"]: error_words(row) for row in _rows(source, "last_errors", ids)}


def suspended_edges(source: Source, found: Sequence[Sleeper]) -> tuple[list[Edge], bool]:
    """Return what these wait for, and whether it is cut: of each ``CHUNK`` of them, ``ROWS`` commands are read.

    Who awaits several things may go on with one, unless it says no.
    """
    commands: dict[tuple[str, int], Command] = {}
    open_ = {each.id: each.completions for each in found if each.completions}
    is_cut = False
    for chunk in chunks(list(open_), CHUNK):
        rows = run_sql_file(source, "waits", "commands", ids=chunk, limit=ROWS + 1)
        is_cut = is_cut or len(rows) > ROWS
        commands |= awaited(rows, open_)
    several = [each.id for each in found if each.things > 1]
    need_not_all = set(several) - _needing_all(source, several)
    edges = (edges_of(each, commands, alternative=each.id in need_not_all) for each in found)
    return [edge for each in edges for edge in each], is_cut


def suspended_of(source: Source, ids: Sequence[str]) -> list[Sleeper]:
    """Return those of these invocations that are suspended."""
    frames = [run_sql_file(source, "waits", "suspended_of", ids=chunk) for chunk in chunks(ids, CHUNK)]
    return [each for frame in frames for each in sleepers(frame)]


def open_calls(source: Source, ids: Sequence[str]) -> list[Edge]:
    """Return the edges of those of these invocations that run, to what they have called and have no answer of."""
    return [called(row) for row in _rows(source, "open_calls", ids)]


def _needing_all(source: Source, several: list[str]) -> set[str]:
    """Return those who say that they need everything that they wait for."""
    if not several:
        return set()
    tables = tables_of(source)
    known = tables.loc[tables["table"] == "sys_invocation_status", "column"]
    if "suspended_waiting_future_json" not in set(known):
        return set()
    rows = _rows(source, "combinations", several)
    return {row["id"] for row in rows if needs_all(row["future_json"])}


class _Reader:
    """Asks one source, and notes what it left out."""

    def __init__(self, source: Source, limit: int, now: datetime, known: Known) -> None:
        self._source = source
        self._limit = limit
        self._now = now
        self._known = known
        self.excluded: list[str] = []

    def suspended(self, around: set[str]) -> list[Edge]:
        """Read those suspended for longest; where these are not all, also whoever may be suspended ``around`` keys."""
        rows = self._known.suspended
        if rows is None:
            rows = run_sql_file(self._source, "waits", "suspended", limit=self._limit + 1)
        found = sleepers(rows.iloc[: self._limit])
        if len(rows) > self._limit:
            self.excluded.append(
                f"only the {self._limit:,} invocations that are suspended for longest were read, and those who hold a "
                "key or call somebody that queues for one"
            )
            around = around | {each.caller for each in found if each.id in around and each.caller}
            found += self._around(around, {each.id for each in found})
        edges, is_cut = suspended_edges(self._source, found)
        if is_cut:
            self.excluded.append(f"of the journals of {CHUNK:,} invocations at a time, only {ROWS:,} entries were read")
        return edges

    def _around(self, around: set[str], read: set[str]) -> list[Sleeper]:
        found: list[Sleeper] = []
        more = around - read
        while more and len(read) <= AROUND * self._limit:
            next_ones = suspended_of(self._source, sorted(more))
            found, read = found + next_ones, read | more
            more = {each.caller for each in next_ones if each.caller} - read
        return found

    def pending(self) -> tuple[list[Edge], dict[str, int]]:
        if not self._known.has_pending:
            return [], {}
        rows = run_sql_file(self._source, "waits", "key_waiters", limit=self._limit + 1).to_dict("records")
        edges = [queued(row) for row in rows[: self._limit]]
        return edges, self._unread(edges) if len(rows) > self._limit else {}

    def running(self, callers: Sequence[str]) -> list[Edge]:
        return open_calls(self._source, callers)

    def people(self, edges: Iterable[Edge]) -> dict[str, Person]:
        """Return everybody; of those who are only waited for, ask what they do."""
        known = {edge.waiter: person(edge) for edge in edges}
        others = sorted({edge.blocker for edge in edges if edge.blocker} - set(known))
        states = {row["id"]: _other(row) for row in _rows(self._source, "states", others)}
        return known | {id_: states.get(id_, Person(id_)) for id_ in others}

    def _unread(self, edges: list[Edge]) -> dict[str, int]:
        """Count on the server the queues of which not every call was read."""
        keys = self._ask("blocked_keys", limit=KEYS)
        read = Counter(edge.blocker for edge in edges)
        waiting = {
            row["holder_id"]: row["waiting"] for row in keys.to_dict("records") if none_if_missing(row["holder_id"])
        }
        unread = {id_: int(count) - read[id_] for id_, count in waiting.items() if count > read[id_]}
        counted = f" of the {KEYS:,} longest queues" if "truncated" in keys.attrs else ""
        self.excluded.append(
            f"only {self._limit:,} calls that queue for a key were read, first those that somebody waits for; "
            f"{sum(unread.values()):,} more{counted} are counted and not in the edges"
        )
        return unread

    def _ask(self, name: str, **params: Any) -> pd.DataFrame:
        # What is cut is said once, for the whole.
        return run_question(self._source, name, now=self._now, **params)


def _rows(source: Source, name: str, ids: Sequence[str]) -> Iterator[Row]:
    for chunk in chunks(ids, CHUNK):
        yield from run_sql_file(source, "waits", name, ids=chunk).to_dict("records")


def _other(row: Row) -> Person:
    """Return somebody who waits for nobody, as far as is known."""
    attempts, retry, start = (
        none_if_missing(row["attempts"]),
        none_if_missing(row["next_retry_at"]),
        none_if_missing(row["scheduled_start_at"]),
    )
    return Person(
        id=row["id"],
        target=row["target"],
        status=row["status"],
        since=none_if_missing(row["modified_at"]),
        created_at=none_if_missing(row["created_at"]),
        attempts=None if attempts is None else int(attempts),
        next_at=retry if row["status"] == "backing-off" else start if row["status"] == "scheduled" else None,
    )
