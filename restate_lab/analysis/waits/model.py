"""The edges and nodes of the wait-for graph: an Arrow table of edges, and single edges for descriptions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.ids import awakeable_id

_CANCEL = {"Single": {"SignalIndex": 1}}
_TEXT, _TIME = pa.large_string(), pa.timestamp("ms", "UTC")
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(("waiter", "kind", "blocker", "detail", "waiter_target"), _TEXT),
    "signal": pa.int64(),
    "wakes_at": _TIME,
    "alternative": pa.bool_(),
    **dict.fromkeys(("since", "created_at"), _TIME),
    "caller": _TEXT,
}
_EDGES = pa.schema([pa.field(name, kind) for name, kind in _TYPES.items()])
"""The columns of a table of edges, in the order of `Edge`; ``detail`` is not yet set for sleeps and awakeables.

``signal`` is the number of an awakeable, 0 for other kinds.
"""
_FRAME = ("waiter", "waiter_target", "kind", "blocker", "blocker_target", "detail", "wakes_at", "alternative", "since")
_STATUSES = {"key": "pending", "open call": "running"}
"""The status of a waiter by the kind of its edge; waiters with other kinds are suspended."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One wait of an invocation; ``blocker`` is ``None`` if it does not wait for an invocation.

    ``alternative`` means that the waiter may continue without it: the waiter waits for several things and one may be
    enough, or it runs and may not wait yet.
    """

    waiter: str
    kind: str
    blocker: str | None
    detail: str | None
    waiter_target: str = ""
    signal: int = 0
    wakes_at: pd.Timestamp | None = None
    alternative: bool = False
    since: pd.Timestamp | None = None
    created_at: pd.Timestamp | None = None
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class InvocationNode:
    """One invocation; a value is ``None`` if it was not read or if the invocation no longer exists."""

    id: str
    target: str | None = None
    status: str | None = None
    since: pd.Timestamp | None = None
    created_at: pd.Timestamp | None = None
    attempts: int | None = None
    next_at: pd.Timestamp | None = None


class Nodes(Mapping[str, InvocationNode]):
    """The nodes by id: the waiters from the table of edges, and the invocations that only block others."""

    def __init__(self, edges: pa.Table, blockers: Mapping[str, InvocationNode]) -> None:
        self._edges = edges
        self._blockers = blockers

    def __getitem__(self, id_: str) -> InvocationNode:
        return self.select([id_])[id_]

    def select(self, ids: Iterable[str]) -> dict[str, InvocationNode]:
        """Return the nodes for these ids, as far as they are in the graph."""
        wanted = list(ids)
        rows = self._edges.filter(pc.is_in(self._edges["waiter"], pa.array(wanted, _TEXT)))
        columns = [_values(rows, name) for name in ("waiter", "waiter_target", "kind", "since", "created_at")]
        waiting = {
            id_: InvocationNode(id_, target, _STATUSES.get(kind, "suspended"), since, created_at)
            for id_, target, kind, since, created_at in zip(*columns, strict=True)
        }
        return waiting | {id_: self._blockers[id_] for id_ in wanted if id_ in self._blockers and id_ not in waiting}

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*_values(self._edges, "waiter"), *self._blockers)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def has_ended(self, id_: str) -> bool:
        """Return whether an invocation has ended; then it blocks no other one."""
        return id_ in self._blockers and self._blockers[id_].status == "completed"

    def targets(self) -> dict[str, str | None]:
        """Return the targets by id."""
        waiting = zip(_values(self._edges, "waiter"), _values(self._edges, "waiter_target"), strict=True)
        return {id_: node.target for id_, node in self._blockers.items()} | dict(waiting)


def edges_of_keys(rows: pa.Table) -> pa.Table:
    """Return the edges of calls that wait for a key, from rows of ``key_waiters.sql``."""
    return _edges_of(rows, "key", alternative=False, blocker=rows["holder_id"], detail=rows["key"])


def edges_of_calls(rows: pa.Table) -> pa.Table:
    """Return the edges from running invocations to their callees, from rows of ``open_calls.sql``."""
    return _edges_of(rows, "open call", alternative=True, blocker=rows["callee_id"])


def _edges_of(rows: pa.Table, kind: str, *, alternative: bool, **columns: Any) -> pa.Table:
    names = {"waiter": "id", "waiter_target": "target", "caller": "invoked_by_id"}
    same: dict[str, Any] = {"kind": pa.scalar(kind), "alternative": pa.scalar(alternative), "signal": pa.scalar(0)}
    return edge_table(
        columns
        | {name: rows[column] for name, column in names.items()}
        | {name: rows[name] for name in ("since", "created_at")}
        | {name: pa.repeat(value, len(rows)) for name, value in same.items()}
    )


def edge_table(columns: Mapping[str, Any]) -> pa.Table:
    """Return a table of edges with these columns; other columns are null."""
    count = len(columns["waiter"])
    return pa.table({name: columns.get(name, pa.nulls(count)) for name in _EDGES.names}).cast(_EDGES).combine_chunks()


def table_of_edges(edges: Sequence[Edge]) -> pa.Table:
    """Return single edges as a table."""
    return pa.Table.from_pylist([asdict(edge) for edge in edges], _EDGES)


def single_edges(edges: pa.Table) -> list[Edge]:
    """Return the edges of a table as single edges with descriptions."""
    columns = {name: _values(edges, name) for name in _EDGES.names} | {"detail": _describe(edges)}
    return [Edge(*values) for values in zip(*columns.values(), strict=True)]


def edges_by_waiter(edges: pa.Table, waiters: Collection[str]) -> dict[str, list[Edge]]:
    """Return the edges of these waiters, by waiter."""
    by_waiter: dict[str, list[Edge]] = defaultdict(list)
    for edge in single_edges(edges.filter(pc.is_in(edges["waiter"], pa.array(list(waiters), _TEXT)))):
        by_waiter[edge.waiter].append(edge)
    return by_waiter


def edge_frame(edges: pa.Table, nodes: Nodes) -> pd.DataFrame:
    """Return the frame ``edges`` of ``waits``, with descriptions and the targets of both sides."""
    targets = nodes.targets()
    texts = {name: _values(edges, name) for name in ("waiter", "waiter_target", "kind", "blocker")}
    columns = {
        **{name: pd.Series(values, dtype="object") for name, values in texts.items()},
        "blocker_target": pd.Series([targets.get(id_) for id_ in texts["blocker"]], dtype="object"),
        "detail": pd.Series(_describe(edges), dtype="object"),
        "wakes_at": edges["wakes_at"].to_pandas(),
        "alternative": edges["alternative"].to_pandas().astype(bool),
        "since": edges["since"].to_pandas(),
    }
    return pd.DataFrame({name: columns[name] for name in _FRAME})


def _describe(edges: pa.Table) -> list[str | None]:
    """Return the text of each wait: "until …" for sleeps, the id of awakeables, the text in the table for others."""
    details: list[str | None] = edges["detail"].to_pylist()
    sleeps = np.flatnonzero(pc.is_valid(edges["wakes_at"]))
    for at, text in zip(sleeps.tolist(), _wake_up_texts(edges["wakes_at"].drop_null()), strict=True):
        details[at] = text
    awakeables = np.flatnonzero(edges["signal"])
    rows = edges.select(["waiter", "signal"]).take(awakeables).to_pylist()
    for at, row in zip(awakeables.tolist(), rows, strict=True):
        details[at] = awakeable_id(row["waiter"], row["signal"]) or f"signal {row['signal']}"
    return details


def _wake_up_texts(times: Any) -> list[str]:
    """Return "until …" for timestamps in the format of `format_timestamp`, which would take 20 times as long."""
    seconds: Any = pc.floor_temporal(times, unit="second")
    column = pc.strftime(seconds.cast(pa.timestamp("s", "UTC")), format="until %Y-%m-%d %H:%M:%S UTC")
    return [str(text) for text in column.to_pylist()]


def _values(rows: pa.Table, name: str) -> list[Any]:
    column = rows[name]
    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    return [None if value is pd.NaT else value for value in column.to_pandas()]


def needs_all(future_json: str) -> bool:
    """Return whether an awaited future completes only when all of its parts are complete.

    Since 1.7.12 an SDK with protocol 7 reports how it combines futures; older SDKs report "Unknown". Cancellation is
    part of every future and does not count. AllSucceededOrFirstFailed completes when one part fails, so it does not
    need all.
    """
    try:
        return _needs_all(json.loads(future_json))
    except (ValueError, TypeError, AttributeError):
        return False


def _needs_all(future: dict[str, Any]) -> bool:
    ((kind, parts),) = future.items()
    if kind == "Single":
        return True
    rest = [part for part in parts if part != _CANCEL]
    return (kind == "AllCompleted" or len(rest) == 1) and all(_needs_all(part) for part in rest)


def describe_unreadable_holders(keys: str) -> str:
    """Return the message that the holders of these keys ("2 keys", "the key Cart/alice") are not known."""
    return (
        f"the holder of {keys} is not known: restate 1.8 does not report it until the partition is migrated, which its "
        "leader does when it starts"
    )


def describe_error(row: Mapping[Any, Any]) -> str:
    """Return the error of an attempt on one line: code, step, and the first line of the message."""
    code, step, message = row["code"], row["step"], row["message"]
    first = (message or "").splitlines()[:1]
    parts = [f"[{code}]" if code else "", f"in step “{step}”:" if step else "", *first]
    return " ".join(part for part in parts if part)
