"""Things that made-up invocations await, as the rows in which a server tells them: statuses and journal entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["command_rows", "suspended_rows"]

Thing = Mapping[str, Any]
_OF_SIGNALS = {"Awakeable", "Signal"}


def suspended_rows(things: Iterable[Thing]) -> list[dict[str, Any]]:
    """Return a row of ``suspended.sql`` for each invocation in these things, which are awaited in their order."""
    rows: dict[str, dict[str, Any]] = {}
    for number, thing in enumerate(things, start=1):
        since = thing.get("waiting_since")
        row = rows.setdefault(
            thing["id"],
            {
                "id": thing["id"],
                "status": "suspended",
                "target": thing.get("target"),
                "modified_at": since,
                "created_at": thing.get("created_at"),
                "invoked_by_id": thing.get("invoked_by_id"),
                "completions": [],
                "signals": [1],
            },
        )
        if thing["waits_for"] in _OF_SIGNALS:
            row["signals"].append(thing["signal"])
        else:
            row["completions"].append(number)
    return list(rows.values())


def command_rows(things: Iterable[Thing]) -> list[dict[str, Any]]:
    """Return a row of ``commands.sql`` for each thing that has a command in the journal."""
    return [
        {
            "id": thing["id"],
            "entry_index": number,
            "entry_type": f"Command: {thing['waits_for']}",
            "name": thing.get("name"),
            "body": json.dumps({"Command": {thing["waits_for"]: _body(thing, number)}}),
        }
        for number, thing in enumerate(things, start=1)
        if thing["waits_for"] not in {*_OF_SIGNALS, "Unknown"}
    ]


def _body(thing: Thing, number: int) -> dict[str, Any]:
    match thing["waits_for"]:
        case "Call":
            return {
                "invocation_id": thing["callee_id"],
                "invocation_id_completion_id": number + 1_000,
                "result_completion_id": number,
            }
        case "AttachInvocation" | "GetInvocationOutput":
            return {"target": {"InvocationId": thing["callee_id"]}, "completion_id": number}
        case "GetPromise":
            return {"key": thing["promise"], "completion_id": number}
        case "Sleep":
            wakes = thing.get("wakes_at")
            return {"wake_up_time": wakes and int(wakes.timestamp() * 1000), "completion_id": number}
        case _:
            return {"completion_id": number}
