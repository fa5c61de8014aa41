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

from restate_lab.analysis.questions import answer
from restate_lab.analysis.sql_files import run
from restate_lab.analysis.wait_rows import Edge, Person, awaited, called, error_words, given, needs_all, person, queued
from restate_lab.source import Source

__all__ = ["Reading", "awaited_by", "open_calls", "read_errors", "read_waits", "suspended_edges"]

CHUNK = 1_000  # ids in a statement: what a server takes to plan grows faster than the list
ROWS = 100_000  # things awaited by the invocations of one chunk
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
    left_out: tuple[str, ...] = ()


def read_waits(source: Source, *, limit: int, now: datetime) -> Reading:
    """Read up to ``limit`` suspended and up to ``limit`` pending invocations, and what they wait for."""
    reader = _Reader(source, limit, now)
    pending, unread = reader.pending()
    suspended = reader.suspended(around={id_ for edge in pending for id_ in (edge.caller, edge.blocker) if id_})
    callers = {edge.caller for edge in (*suspended, *pending) if edge.caller} - {edge.waiter for edge in suspended}
    edges = (*suspended, *pending, *reader.running(sorted(callers)))
    return Reading(edges, reader.people(edges), unread, tuple(reader.left_out))


def read_errors(source: Source, ids: Sequence[str]) -> dict[str, str]:
    """Return the last error of each of these invocations that had one, as a line."""
    return {row["id"]: error_words(row) for row in _rows(source, "last_errors", ids)}


def awaited_by(source: Source, ids: Sequence[str], *, now: datetime) -> tuple[list[Row], bool]:
    """Return the rows of ``waiting_on`` about those of these invocations that are suspended, and whether they are cut.

    Whoever waits for more than ``ROWS`` things with the others of its chunk is cut.
    """
    frames = [answer(source, "waiting_on", ids=chunk, limit=ROWS, now=now) for chunk in _chunks(ids)]
    rows = [row for frame in frames for row in frame.to_dict("records")]
    return rows, any("truncated" in frame.attrs for frame in frames)


def suspended_edges(source: Source, rows: Sequence[Row]) -> list[Edge]:
    """Return the edges of rows of ``waiting_on``; who awaits several things may go on with one, unless it says no."""
    several = [id_ for id_, count in Counter(row["id"] for row in rows).items() if count > 1]
    need_not_all = set(several) - _needing_all(source, several)
    return [awaited(row, need_not_all) for row in rows]


def open_calls(source: Source, ids: Sequence[str]) -> list[Edge]:
    """Return the edges of those of these invocations that run, to what they have called and have no answer of."""
    return [called(row) for row in _rows(source, "open_calls", ids)]


def _needing_all(source: Source, several: list[str]) -> set[str]:
    """Return those who say that they need everything that they wait for."""
    if not several:
        return set()
    tables = source.tables()
    known = tables.loc[tables["table"] == "sys_invocation_status", "column"]
    if "suspended_waiting_future_json" not in set(known):
        return set()
    rows = _rows(source, "combinations", several)
    return {row["id"] for row in rows if needs_all(row["future_json"])}


class _Reader:
    """Asks one source, and notes what it left out."""

    def __init__(self, source: Source, limit: int, now: datetime) -> None:
        self._source = source
        self._limit = limit
        self._now = now
        self.left_out: list[str] = []

    def suspended(self, around: set[str]) -> list[Edge]:
        """Read those suspended for longest; where these are not all, also whoever may be suspended ``around`` keys."""
        first = self._ask("ids_by_status", status="suspended", limit=self._limit)
        rows, read = self._awaited_by(list(first["id"])), set(first["id"])
        if "truncated" in first.attrs:
            self.left_out.append(
                f"only the {self._limit:,} invocations that are suspended for longest were read, and those who hold a "
                "key or call somebody that queues for one"
            )
            more = around - read
            while more and len(read) <= AROUND * self._limit:
                found = self._awaited_by(sorted(more))
                rows, read = rows + found, read | more
                more = {row["invoked_by_id"] for row in found if given(row["invoked_by_id"])} - read
        return suspended_edges(self._source, rows)

    def _awaited_by(self, ids: list[str]) -> list[Row]:
        rows, is_cut = awaited_by(self._source, ids, now=self._now)
        if is_cut:
            self.left_out.append(
                f"of {CHUNK:,} suspended invocations at a time, only {ROWS:,} things awaited were read"
            )
        return rows

    def pending(self) -> tuple[list[Edge], dict[str, int]]:
        rows = run(self._source, "waits", "key_waiters", limit=self._limit + 1).to_dict("records")
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
        waiting = {row["holder_id"]: row["waiting"] for row in keys.to_dict("records") if given(row["holder_id"])}
        unread = {id_: int(count) - read[id_] for id_, count in waiting.items() if count > read[id_]}
        counted = f" of the {KEYS:,} longest queues" if "truncated" in keys.attrs else ""
        self.left_out.append(
            f"only {self._limit:,} calls that queue for a key were read, first those that somebody waits for; "
            f"{sum(unread.values()):,} more{counted} are counted and not in the edges"
        )
        return unread

    def _ask(self, name: str, **params: Any) -> pd.DataFrame:
        # What is cut is said once, for the whole.
        return answer(self._source, name, now=self._now, **params)


def _rows(source: Source, name: str, ids: Sequence[str]) -> Iterator[Row]:
    for chunk in _chunks(ids):
        yield from run(source, "waits", name, ids=chunk).to_dict("records")


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    return (list(ids[at : at + CHUNK]) for at in range(0, len(ids), CHUNK))


def _other(row: Row) -> Person:
    """Return somebody who waits for nobody, as far as is known."""
    attempts, retry, start = given(row["attempts"]), given(row["next_retry_at"]), given(row["scheduled_start_at"])
    return Person(
        id=row["id"],
        target=row["target"],
        status=row["status"],
        since=given(row["modified_at"]),
        created_at=given(row["created_at"]),
        attempts=None if attempts is None else int(attempts),
        next_at=retry if row["status"] == "backing-off" else start if row["status"] == "scheduled" else None,
    )
