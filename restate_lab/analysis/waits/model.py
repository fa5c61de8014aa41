"""Edges and nodes of the wait-for graph, built from rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.analysis.records import none_if_missing

__all__ = [
    "Edge",
    "InvocationNode",
    "describe_error",
    "edge_frame",
    "key_edge",
    "needs_all",
    "open_call_edge",
    "waiter_node",
]

_CANCEL = {"Single": {"SignalIndex": 1}}
_COLUMNS = ("waiter", "waiter_target", "kind", "blocker", "blocker_target", "what", "wakes_at", "alternative", "since")


@dataclass(frozen=True, slots=True)
class Edge:
    """One thing that an invocation waits for; ``blocker`` is None where it is not an invocation.

    ``alternative`` tells that it may go on without: it waits for several things of which one may be enough, or it
    runs and may not have come to waiting yet.
    """

    waiter: str
    waiter_target: str
    kind: str
    blocker: str | None
    what: str | None
    wakes_at: pd.Timestamp | None
    alternative: bool
    since: pd.Timestamp | None
    created_at: pd.Timestamp | None
    caller: str | None


@dataclass(frozen=True, slots=True)
class InvocationNode:
    """One invocation, as far as it was read: None for what was not, or where there is no such invocation any more."""

    id: str
    target: str | None = None
    status: str | None = None
    since: pd.Timestamp | None = None
    created_at: pd.Timestamp | None = None
    attempts: int | None = None
    next_at: pd.Timestamp | None = None


def key_edge(row: Mapping[Any, Any]) -> Edge:
    """Return the edge of a call that waits for a key."""
    return _edge(row, "key", row["holder_id"], row["key"], alternative=False)


def open_call_edge(row: Mapping[Any, Any]) -> Edge:
    """Return the edge of a running invocation to one that it has called."""
    return _edge(row, "open call", row["callee_id"], None, alternative=True)


def _edge(row: Mapping[Any, Any], kind: str, blocker: Any, what: str | None, *, alternative: bool) -> Edge:
    return Edge(
        waiter=row["id"],
        waiter_target=row["target"],
        kind=kind,
        blocker=none_if_missing(blocker),
        what=what,
        wakes_at=None,
        alternative=alternative,
        since=none_if_missing(row["since"]),
        created_at=none_if_missing(row["created_at"]),
        caller=none_if_missing(row["invoked_by_id"]),
    )


def waiter_node(edge: Edge) -> InvocationNode:
    """Return the node of the waiting invocation."""
    status = {"key": "pending", "open call": "running"}.get(edge.kind, "suspended")
    return InvocationNode(edge.waiter, edge.waiter_target, status, edge.since, edge.created_at)


def edge_frame(edges: Iterable[Edge], nodes: Mapping[str, InvocationNode]) -> pd.DataFrame:
    """Return the edges as a frame, with the targets of both sides."""
    targets = {id_: each.target for id_, each in nodes.items()}
    edges = tuple(edges)
    columns = {name: [getattr(edge, name) for edge in edges] for name in _COLUMNS if name != "blocker_target"}
    columns["blocker_target"] = [targets.get(edge.blocker or "") for edge in edges]
    frame = pd.DataFrame({name: pd.Series(columns[name], dtype="object") for name in _COLUMNS})
    for name in ("wakes_at", "since"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("ms")
    frame["alternative"] = frame["alternative"].astype(bool)
    return frame


def needs_all(future_json: str) -> bool:
    """Return whether an awaited future is over only when each of its parts is.

    Since 1.7.12 an SDK of protocol 7 says how it combines futures; older ones say "Unknown". Cancellation, which
    all await, does not count. AllSucceededOrFirstFailed is over when one part fails, so it does not need all.
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


def describe_error(row: Mapping[Any, Any]) -> str:
    """Return an attempt's error on one line: code, step, and the first line of its message."""
    code, step, message = none_if_missing(row["code"]), none_if_missing(row["step"]), none_if_missing(row["message"])
    first = (message or "").splitlines()[:1]
    parts = [f"[{code}]" if code else "", f"in step “{step}”:" if step else "", *first]
    return " ".join(part for part in parts if part)
