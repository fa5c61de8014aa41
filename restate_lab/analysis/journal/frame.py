"""Convert the journals of invocations to a frame, those of callees below the calls that made them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.analysis.journal.entries import FAILED, OPEN, Entry
from restate_lab.analysis.journal.errors import NO_ERRORS, UNKNOWN, AttemptErrors, attempt_errors
from restate_lab.analysis.journal.payloads import Payloads
from restate_lab.analysis.journal.reader import Invocation

__all__ = ["CALLS", "JournalTree", "to_frame"]

CALLS = {"Call", "OneWayCall"}
"""What has a callee whose journal belongs below."""

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
_FROM_ENTRY = [field.name for field in fields(Entry)]
_PAYLOAD_COLUMNS = ("payload", "argument", "headers")


@dataclass(frozen=True, slots=True)
class JournalTree:
    """The invocations that were read, and of each level's callees how many were not."""

    root: str
    depth: int
    invocations: dict[str, Invocation] = field(default_factory=dict)
    excluded: dict[str, int] = field(default_factory=dict)


def to_frame(tree: JournalTree, *, payloads: bool) -> pd.DataFrame:
    """Return one row per entry; ``payloads`` adds the columns of payloads."""
    rows = list(_rows(tree))
    table = pa.table({name: pa.array([row[name] for row in rows], type_) for name, type_ in _TYPES.items()})
    frame = table.to_pandas(types_mapper=_NULLABLE.get).astype({"depth": "int64"})
    for name in _PAYLOAD_COLUMNS if payloads else ():
        frame[name] = pd.Series([row[name] for row in rows], dtype=object)
    return frame


def _rows(tree: JournalTree) -> Iterator[dict[str, Any]]:
    """Yield the rows, those of a callee right below the call that made it; each invocation appears once."""
    seen = {tree.root}
    stack = [_EntryCursor.of(tree.invocations[tree.root], None)]
    while stack:
        cursor = stack[-1]
        entry_errors = next(cursor.entries, None)
        if entry_errors is None:
            stack.pop()
            continue
        entry, errors = entry_errors
        can_nest = entry.entry_type in CALLS and entry.callee is not None and len(stack) < tree.depth
        callee = tree.invocations.get(entry.callee or "") if can_nest and entry.callee not in seen else None
        children = (len(callee.entries) if callee else 0) if can_nest else None
        payloads = cursor.invocation.payloads
        answer, own = (
            payloads.get(entry.completion_index or -1),
            payloads.get(-1 if entry.index is None else entry.index),
        )
        yield _row(cursor, entry, errors, answer or Payloads(), own or Payloads()) | {
            "depth": len(stack),
            "children": children,
        }
        if callee:
            seen.add(callee.id)
            stack.append(_EntryCursor.of(callee, cursor.invocation.id))


@dataclass(frozen=True, slots=True)
class _EntryCursor:
    """The position in the entries of an invocation, each with the errors of its attempts."""

    invocation: Invocation
    entries: Iterator[tuple[Entry, AttemptErrors]]
    caller: str | None

    @classmethod
    def of(cls, invocation: Invocation, caller: str | None) -> _EntryCursor:
        if invocation.events is None:
            return cls(invocation, ((entry, UNKNOWN) for entry in invocation.entries), caller)
        errors = attempt_errors(invocation.entries, invocation.events, invocation.attempts)
        entries = ((entry, errors.get(position, NO_ERRORS)) for position, entry in enumerate(invocation.entries))
        return cls(invocation, entries, caller)


def _row(cursor: _EntryCursor, entry: Entry, errors: AttemptErrors, answer: Payloads, own: Payloads) -> dict[str, Any]:
    has_failed = entry.status == FAILED
    length = entry.completed - entry.started if entry.completed and entry.started else None
    return {name: getattr(entry, name) for name in _FROM_ENTRY} | {
        "invocation_id": cursor.invocation.id,
        "open": entry.status == OPEN,
        "duration": length,
        "failure": (answer.failure or own.failure) if has_failed else None,
        "failure_code": (answer.failure_code or own.failure_code) if has_failed else None,
        "retries": errors.retries,
        "retries_at_least": errors.at_least,
        "last_error": errors.message,
        "last_error_code": errors.code,
        "caller": cursor.caller,
        "payload": own.payload if answer.payload is None else answer.payload,
        "argument": own.argument,
        "headers": own.headers,
    }
