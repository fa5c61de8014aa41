"""Convert the journals of invocations to a frame, with the journals of callees below their calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.journal.entries import ENTRY_TYPES, FAILED, OPEN
from restate_lab.analysis.journal.errors import KNOWN_EVENTS, NO_ERRORS, UNKNOWN, AttemptErrors, attempt_errors
from restate_lab.analysis.journal.payloads import Payloads
from restate_lab.analysis.journal.reader import Invocation

CALLS = {"Call", "OneWayCall"}  # the entry types whose callee's journal is shown below them

_TIME, _LENGTH = pa.timestamp("ms", "UTC"), pa.duration("ms")
_TYPES: dict[str, pa.DataType] = {
    "invocation_id": pa.string(),
    "depth": pa.int64(),
    "index": pa.int64(),
    "entry_type": pa.string(),
    "name": pa.string(),
    "status": pa.string(),
    "open": pa.bool_(),
    "started": _TIME,
    "completed": _TIME,
    "duration": _LENGTH,
    "result": pa.string(),
    "failure": pa.string(),
    "failure_code": pa.int64(),
    "callee": pa.string(),
    "callee_target": pa.string(),
    "wakes_at": _TIME,
    "promise": pa.string(),
    "awakeable_id": pa.string(),
    "state_key": pa.string(),
    "retries": pa.int64(),
    "retries_at_least": pa.bool_(),
    "last_error": pa.string(),
    "last_error_code": pa.string(),
    "size": pa.int64(),
    "command_index": pa.int64(),
    "completion_index": pa.int64(),
    "caller": pa.string(),
    "children": pa.int64(),
}
_NULLABLE: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype()}
_PAYLOAD_COLUMNS = ("payload", "argument", "headers")
_MOST_EVENTS = 100  # of one invocation, with unknown types
_NOTHING = Payloads()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JournalTree:
    """The invocations that were read, and per level the number of callees that were not read."""

    root: str
    depth: int
    invocations: dict[str, Invocation] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)


def to_frame(tree: JournalTree, *, payloads: bool) -> pd.DataFrame:
    """Return one row per entry; ``payloads`` adds the columns of payloads.

    ``attrs["invocations"]`` has id → the attempts of each invocation that is in flight or had errors.
    """
    parts = list(_arrange(tree))
    journals = {part.journal.invocation.id: part.journal for part in parts}
    tables = {id_: _table(journal) for id_, journal in journals.items()}
    slices = [tables[part.journal.invocation.id].slice(part.start, part.end - part.start) for part in parts]
    table = pa.concat_tables(slices)
    frame = table.to_pandas(types_mapper=_NULLABLE.get).astype({"depth": "int64"})
    if payloads:
        payload_rows = {id_: list(_payloads(journal.invocation)) for id_, journal in journals.items()}
        rows = [row for part in parts for row in payload_rows[part.journal.invocation.id][part.start : part.end]]
        for at, name in enumerate(_PAYLOAD_COLUMNS):
            frame[name] = pd.Series([row[at] for row in rows], dtype=object)
    frame.attrs["invocations"] = {id_: facts for id_, journal in journals.items() if (facts := _attempts(journal))}
    invocations = [journal.invocation for journal in journals.values()]
    suspensions = [
        {
            "id": each.id,
            "since": _iso(suspension.since),
            "waits_for": str(suspension.waits_for),
            "is_combination": suspension.waits_for.is_combination,
            "tree": suspension.waits_for.json(),
        }
        for each in invocations
        if (suspension := each.suspension)
    ]
    events = [event for each in invocations for event in _other_events(each)]
    frame.attrs |= {name: each for name, each in (("suspensions", suspensions), ("events", events)) if each}
    return frame


@dataclass
class _Journal:
    """A journal in the tree; its rows before ``start`` are already arranged.

    ``calls`` are the positions and callees of the calls whose journals are inserted; ``children`` is the number of rows
    inserted at each position.
    """

    invocation: Invocation
    depth: int
    caller: str | None
    calls: Iterator[tuple[int, str]]
    start: int = 0
    children: dict[int, int] = field(default_factory=dict)

    @cached_property
    def errors(self) -> Mapping[int, AttemptErrors]:
        invocation = self.invocation
        if invocation.events is None:
            return {}
        return attempt_errors(invocation.entries, invocation.events, invocation.attempts)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a journal from ``start`` to before ``end``."""

    journal: _Journal
    start: int
    end: int


def _arrange(tree: JournalTree) -> Iterator[_Part]:
    """Yield the parts of the journals, a callee's journal directly below its call; each invocation appears once."""
    root = tree.invocations[tree.root]
    seen = {tree.root}
    stack = [_Journal(root, 1, None, calls_of(root) if tree.depth > 1 else iter(()))]
    while stack:
        journal = stack[-1]
        call = next(journal.calls, None)
        if call is None:
            yield _Part(journal, journal.start, journal.invocation.entries.num_rows)
            stack.pop()
            continue
        position, id_ = call
        callee = tree.invocations.get(id_) if id_ not in seen else None
        journal.children[position] = callee.entries.num_rows if callee else 0
        if callee:
            seen.add(id_)
            yield _Part(journal, journal.start, position + 1)
            journal.start, depth = position + 1, journal.depth + 1
            calls = calls_of(callee) if tree.depth > depth else iter(())
            stack.append(_Journal(callee, depth, journal.invocation.id, calls))


def calls_of(invocation: Invocation) -> Iterator[tuple[int, str]]:
    """Return the position and the callee of each call."""
    entries = invocation.entries
    is_call = pc.and_(pc.is_in(entries["entry_type"], pa.array(sorted(CALLS))), entries["callee"].is_valid())
    positions = np.flatnonzero(is_call)
    callees = entries["callee"].take(positions).to_pylist()
    return iter([(at, str(callee)) for at, callee in zip(positions.tolist(), callees, strict=True)])


def _table(journal: _Journal) -> pa.Table:
    invocation, entries = journal.invocation, journal.invocation.entries
    count, events = entries.num_rows, invocation.events
    error, number_of_error = _spread(journal.errors, UNKNOWN if events is None else NO_ERRORS, count)
    failure, number_of_failure = _spread(_failures(invocation), _NOTHING, count)
    children, number_of_children = _spread(journal.children, None, count)

    columns: dict[str, Any] = {name: entries[name] for name in ENTRY_TYPES.names} | {
        "invocation_id": pa.repeat(invocation.id, count),
        "depth": pa.repeat(journal.depth, count),
        "open": pc.fill_null(pc.equal(entries["status"], pa.scalar(OPEN)), pa.scalar(value=False)),
        "duration": pc.subtract(entries["completed"], entries["started"]),
        "failure": pa.array([each.failure for each in failure], pa.string()).take(number_of_failure),
        "failure_code": pa.array([each.failure_code for each in failure], pa.int64()).take(number_of_failure),
        "retries": pa.array([each.retries for each in error], pa.int64()).take(number_of_error),
        "retries_at_least": pa.array([each.at_least for each in error], pa.bool_()).take(number_of_error),
        "last_error": pa.array([each.message for each in error], pa.string()).take(number_of_error),
        "last_error_code": pa.array([each.code for each in error], pa.string()).take(number_of_error),
        "caller": pa.repeat(pa.scalar(journal.caller, pa.string()), count),
        "children": pa.array(children, pa.int64()).take(number_of_children),
    }
    return pa.table({name: columns[name] for name in _TYPES}, pa.schema(_TYPES))


def _attempts(journal: _Journal) -> dict[str, Any]:
    """Return the state of an invocation's attempts as JSON values; {} if it ended without an error."""
    invocation, row = journal.invocation, journal.invocation.row
    if row["ended"] and not journal.errors:
        return {}
    indexes = invocation.entries["index"].take(list(journal.errors)).to_pylist() if journal.errors else []
    times = [[time.isoformat() for time in errors.times] for errors in journal.errors.values()]
    return {
        "target": row["target"],
        "status": invocation.status,
        "failed_attempts": invocation.attempts,
        "last_failure": row["last_failure"],
        "command_index": row["command_index"],
        "last_start_at": _iso(row["last_start_at"]),
        "next_retry_at": _iso(invocation.next_retry_at),
        "errors": [list(pair) for pair in zip(indexes, times, strict=True)],
    }


def _other_events(invocation: Invocation) -> list[dict[str, Any]]:
    """Return the latest events of unknown types, in the order of their times, as JSON values."""
    events = [event for event in invocation.events or () if event.type not in KNOWN_EVENTS]
    events.sort(key=lambda event: (event.at is not None, event.at))
    return [
        {"id": invocation.id, "event": event.type, "at": _iso(event.at), "after_index": event.after_index}
        for event in events[-_MOST_EVENTS:]
    ]


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _spread(values: Mapping[int, T], default: T, count: int) -> tuple[list[T], npt.NDArray[np.int64]]:
    numbers = np.zeros(count, np.int64)
    numbers[list(values)] = range(1, len(values) + 1)
    return [default, *values.values()], numbers


def _failures(invocation: Invocation) -> dict[int, Payloads]:
    entries = invocation.entries
    has_failed: Any = pc.fill_null(pc.equal(entries["status"], pa.scalar(FAILED)), pa.scalar(value=False))
    positions = np.flatnonzero(has_failed)
    pairs = _payload_pairs(invocation, entries.take(positions))
    return {
        at: Payloads(failure=answer.failure or own.failure, failure_code=answer.failure_code or own.failure_code)
        for at, (own, answer) in zip(positions.tolist(), pairs, strict=True)
    }


def _payloads(invocation: Invocation) -> Iterator[tuple[Any, Any, dict[str, str] | None]]:
    for own, answer in _payload_pairs(invocation, invocation.entries):
        yield own.payload if answer.payload is None else answer.payload, own.argument, own.headers


def _payload_pairs(invocation: Invocation, entries: pa.Table) -> Iterator[tuple[Payloads, Payloads]]:
    for index, completion in zip(*(entries[name].to_pylist() for name in ("index", "completion_index")), strict=True):
        yield invocation.payloads.get(index, _NOTHING), invocation.payloads.get(completion or -1, _NOTHING)
