"""The waits of made-up invocations: as the rows in which a server reports them, and as the wait-for graph."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.waits.graph import WaitGraph
from restate_lab.analysis.waits.model import Edge, InvocationNode, Nodes, table_of_edges

WaitRow = Mapping[str, Any]
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
HOUR_AGO = pd.Timestamp(NOW - timedelta(hours=1))
_OF_SIGNALS = {"Awakeable", "Signal"}


def inv(name: str) -> str:
    """Return the well-formed id of an invocation with this name."""
    return f"inv_1{int.from_bytes(name.encode(), 'big') % 10**20:033d}"


def suspended_rows(waits: Iterable[WaitRow]) -> list[dict[str, Any]]:
    """Return a row of ``suspended.sql`` for each invocation in these waits, in their order."""
    rows: dict[str, dict[str, Any]] = {}
    for number, wait in enumerate(waits, start=1):
        since = wait.get("waiting_since")
        row = rows.setdefault(
            wait["id"],
            {
                "id": wait["id"],
                "status": "suspended",
                "target": wait.get("target"),
                "modified_at": since,
                "created_at": wait.get("created_at"),
                "invoked_by_id": wait.get("invoked_by_id"),
                "completions": [],
                "signals": [1],
            },
        )
        if wait["waits_for"] in _OF_SIGNALS:
            row["signals"].append(wait["signal"])
        else:
            row["completions"].append(number)
    return list(rows.values())


def command_rows(waits: Iterable[WaitRow]) -> list[dict[str, Any]]:
    """Return a row of ``commands.sql`` for each wait that has a command in the journal."""
    return [
        {
            "id": wait["id"],
            "entry_index": number,
            "entry_type": f"Command: {wait['waits_for']}",
            "name": wait.get("name"),
            "body": json.dumps({"Command": {wait["waits_for"]: _body(wait, number)}}),
        }
        for number, wait in enumerate(waits, start=1)
        if wait["waits_for"] not in {*_OF_SIGNALS, "Unknown"}
    ]


def wait_graph(links: Iterable[tuple[str, str]], targets: Mapping[str, str] | None = None) -> WaitGraph:
    """Return the graph of suspended invocations that wait for the results of calls, by id; ``targets`` by id."""
    targets = targets or {}
    edges = [Edge(waiter, "call", blocker, None, targets.get(waiter, "")) for waiter, blocker in links]
    table = table_of_edges(edges)
    blockers = {edge.blocker or "" for edge in edges} - {edge.waiter for edge in edges}
    nodes = {id_: InvocationNode(id_, targets.get(id_), "suspended") for id_ in sorted(blockers)}
    return WaitGraph(table, Nodes(table, nodes))


def _body(wait: WaitRow, number: int) -> dict[str, Any]:
    match wait["waits_for"]:
        case "Call":
            return {
                "invocation_id": wait["callee_id"],
                "invocation_id_completion_id": number + 1_000,
                "result_completion_id": number,
            }
        case "AttachInvocation" | "GetInvocationOutput":
            return {"target": {"InvocationId": wait["callee_id"]}, "completion_id": number}
        case "GetPromise":
            return {"key": wait["promise"], "completion_id": number}
        case "Sleep":
            wakes = wait.get("wakes_at")
            return {"wake_up_time": wakes and int(wakes.timestamp() * 1000), "completion_id": number}
        case _:
            return {"completion_id": number}
