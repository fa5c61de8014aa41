"""The waits of suspended invocations: the numbers in their status, matched with the commands in their journals.

All operations use whole columns: a cluster with problems may have 100,000 suspended invocations and many more commands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from restate_lab.analysis.ids import FIRST_AWAKEABLE
from restate_lab.analysis.waits.model import edge_table

# The type stubs do not allow plain values as arguments, or chunked columns as results.
pc: Any = pyarrow.compute
CANCEL = 1  # the signal that every invocation waits for
_NAMED_SIGNAL = "a signal with a name"
_COMMAND = "Command: "
# Only a JSON key ends with a plain quotation mark: in a JSON text, a backslash comes before the mark.
_NUMBER = r'"(?:result_)?completion_id":\s*(?P<value>\d+)'
_CALLEE = r'"(?:invocation_id|InvocationId)":\s*"(?P<value>[^"\\]+)"'
_WAKES_AT = r'"wake_up_time":\s*(?P<value>\d+)'
_KINDS = {
    "Call": "call",
    "AttachInvocation": "attach",
    "GetInvocationOutput": "attach",
    "GetPromise": "promise",
    "PeekPromise": "promise",
    "CompletePromise": "promise",
    "Sleep": "sleep",
    "Run": "run",
    "GetLazyState": "state",
    "GetLazyStateKeys": "state",
}
_WITH_CALLEE = pa.array(["call", "attach"], pa.large_string())
_AFTER_ALL = np.iinfo("int64").max
_COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "entry_index"), pa.int64()),
    **dict.fromkeys(("kind", "name", "body"), pa.large_string()),
}
_MATCHED = pa.schema([pa.field(name, kind) for name, kind in _COLUMNS.items()])
_WAITER = {
    "id": "waiter",
    "target": "waiter_target",
    "modified_at": "since",
    "created_at": "created_at",
    "invoked_by_id": "caller",
}
"""Column of ``suspended.sql`` → column of an edge."""


@dataclass(frozen=True, slots=True)
class AwaitedNumbers:
    """The numbers that suspended invocations wait for, as pairs of the row of the invocation and a number."""

    count: int
    """The number of invocations."""
    ids: pa.Array[Any]
    completion_rows: np.ndarray
    completions: np.ndarray
    signal_rows: np.ndarray
    signals: np.ndarray

    @property
    def completion_keys(self) -> np.ndarray:
        """Return one key for each pair of invocation and completion."""
        return _key(self.completion_rows, self.completions)

    @property
    def awaited_counts(self) -> np.ndarray:
        """Return the number of completions and signals that each invocation waits for."""
        rows = np.concatenate([self.completion_rows, self.signal_rows])
        return np.bincount(rows, minlength=self.count)

    def ids_without(self, matched: Sequence[pa.Table]) -> list[str]:
        """Return the ids of invocations that wait for a completion whose command is not in these tables."""
        known = np.concatenate([np.zeros(0, "int64"), *(each["key"].to_numpy() for each in matched)])
        rows = self.completion_rows[~np.isin(self.completion_keys, known)]
        return texts(self.ids.take(pa.array(np.unique(rows))))


def awaited_numbers(suspended: pa.Table) -> AwaitedNumbers:
    """Return the numbers in rows of ``suspended.sql``."""
    completion_rows, completions = _flatten(suspended["completions"])
    signal_rows, signals = _flatten(suspended["signals"])
    other = signals != CANCEL
    return AwaitedNumbers(
        len(suspended),
        suspended["id"].cast(pa.large_string()).combine_chunks(),
        completion_rows,
        completions,
        signal_rows[other],
        signals[other],
    )


def match_commands(commands: pa.Table, numbers: AwaitedNumbers) -> pa.Table:
    """Return the awaited rows of ``commands.sql`` with the columns ``key, entry_index, kind, name, body``."""
    rows = _numbers_of(pc.index_in(commands["id"].cast(pa.large_string()), numbers.ids), -1)
    keys = _key(rows, _numbers_of(_extract(commands["body"].cast(pa.large_string()), _NUMBER).cast(pa.int64()), -1))
    is_awaited = np.isin(keys, numbers.completion_keys)
    awaited = commands.filter(pa.array(is_awaited)).combine_chunks()
    types = awaited["entry_type"].cast(pa.large_string()).combine_chunks().dictionary_encode()
    kinds = pa.array([_KINDS.get(each.removeprefix(_COMMAND)) for each in texts(types.dictionary)], pa.large_string())
    columns = {"key": pa.array(keys[is_awaited]), "kind": kinds.take(types.indices)}
    columns |= {name: awaited[name].cast(_COLUMNS[name]) for name in ("entry_index", "name", "body")}
    return pa.table({name: columns[name] for name in _COLUMNS}, schema=_MATCHED)


def edges_of_suspended(
    suspended: pa.Table, numbers: AwaitedNumbers, matched: Sequence[pa.Table], needing_one: np.ndarray
) -> pa.Table:
    """Return a table with one edge for each wait of suspended invocations.

    The edges are in the order of the invocations, then of the journal; signals come last. ``needing_one`` has for each
    invocation whether one of its waits may be enough.
    """
    commands = _by_number(numbers, matched)
    named = np.flatnonzero(numbers.awaited_counts == 0)
    rows = np.concatenate([numbers.completion_rows, numbers.signal_rows, named])
    signals = np.concatenate([np.zeros(len(commands), "int64"), numbers.signals, np.zeros(len(named), "int64")])
    others = _edges_of_signals(signals[len(commands) :])
    indices = np.concatenate([commands["entry_index"].to_numpy(), np.full(len(others), _AFTER_ALL)])
    order: Any = pa.array(np.lexsort((signals, indices, rows)))
    awaited = pa.concat_tables([commands.drop(["entry_index"]), others]).take(order)
    of = suspended.select(list(_WAITER)).take(pc.take(pa.array(rows), order)).rename_columns(list(_WAITER.values()))
    columns = {name: of[name] for name in of.column_names} | {name: awaited[name] for name in awaited.column_names}
    return edge_table(columns | {"alternative": pa.array(needing_one[rows]).take(order)})


def _edges_of_signals(signals: np.ndarray) -> pa.Table:
    is_awakeable = signals >= FIRST_AWAKEABLE
    texts_of_signals = [f"signal {number}" if number else _NAMED_SIGNAL for number in signals.tolist()]
    columns: dict[str, Any] = {
        "kind": pa.array(["awakeable" if each else "signal" for each in is_awakeable.tolist()], pa.large_string()),
        "detail": pa.array(texts_of_signals, pa.large_string(), mask=is_awakeable),
        "blocker": pa.nulls(len(signals), pa.large_string()),
        "wakes_at": pa.nulls(len(signals), pa.timestamp("ms", "UTC")),
        "signal": pa.array(np.where(is_awakeable, signals, 0), pa.int64()),
    }
    return pa.table(columns)


def _by_number(numbers: AwaitedNumbers, matched: Sequence[pa.Table]) -> pa.Table:
    """Return one row per awaited completion, with ``entry_index`` (-1 if unknown) and the columns of edges."""
    commands = pa.concat_tables([_MATCHED.empty_table(), *matched])
    keys = commands["key"].to_numpy()
    order = np.argsort(keys, kind="stable")
    # If there are several runs of one id, the last one counts.
    at = np.searchsorted(keys[order], numbers.completion_keys, side="right") - 1
    is_known = (at >= 0) & (keys[order][at] == numbers.completion_keys) if len(keys) else np.zeros(len(at), bool)
    found: Any = pa.array(order[at] if len(keys) else at, mask=~is_known)
    rows = commands.take(found).combine_chunks()
    kind, body = pc.fill_null(rows["kind"], "unknown"), rows["body"]
    details = pc.if_else(pc.equal(rows["name"], ""), None, rows["name"])
    is_promise = pc.equal(kind, "promise")
    keys_of_promises = pa.array([_promise_key(each) for each in texts(body.filter(is_promise))], pa.large_string())
    return pa.table(
        {
            "entry_index": pc.fill_null(rows["entry_index"], -1),
            "kind": kind,
            "detail": pc.replace_with_mask(details.combine_chunks(), is_promise.combine_chunks(), keys_of_promises),
            "blocker": _extract(pc.if_else(pc.is_in(kind, _WITH_CALLEE), body, None), _CALLEE),
            "wakes_at": _extract(pc.if_else(pc.equal(kind, "sleep"), body, None), _WAKES_AT)
            .cast(pa.int64())
            .cast(pa.timestamp("ms", "UTC")),
            "signal": pa.array(np.zeros(len(rows), "int64")),
        }
    )


def _promise_key(body: str) -> str:
    (details,) = json.loads(body)["Command"].values()
    return str(details.get("key"))


def texts(column: pa.Array[Any] | pa.ChunkedArray[Any]) -> list[str]:
    """Return the values of a text column without nulls."""
    return [str(value) for value in column.to_pylist()]


def _key(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    keys: np.ndarray = (rows.astype("int64") << 32) | numbers.astype("int64")
    return keys


def _extract(column: Any, pattern: str) -> Any:
    """Return the text of the group ``value`` of the pattern; null if the pattern does not match."""
    return pc.struct_field(pc.extract_regex(column, pattern), "value")


def _numbers_of(column: Any, value: int) -> np.ndarray:
    numbers: np.ndarray = pc.fill_null(column, value).to_numpy()
    return numbers


def _flatten(column: pa.ChunkedArray[Any]) -> tuple[np.ndarray, np.ndarray]:
    lists = column.combine_chunks()
    if pa.types.is_null(lists.type) or not len(lists):
        return np.zeros(0, "int64"), np.zeros(0, "int64")
    rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype("int64")
    return rows, pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype("int64")
