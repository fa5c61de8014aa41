"""A source with runs and journals that a test makes, with the tables and types of a 1.7.12 server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from restate_lab.analysis.ids import encode_invocation_id
from support.archives import SERVER_SCHEMA, TYPES
from support.table_source import TableSource, table_of

BEGIN = datetime(2026, 11, 30, 12, tzinfo=UTC)
NOW = BEGIN + timedelta(hours=1)
_SCHEMA = json.loads(SERVER_SCHEMA)
_TABLES = ("sys_invocation_status", "sys_invocation_state", "sys_journal", "sys_journal_events")


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def id_of(number: int, earlier: float | None = None) -> str:
    """Return an id; that of an earlier run in a history has the time of its creation."""
    id_ = encode_invocation_id(number.to_bytes(24, "little"))
    return id_ if earlier is None else f"{id_}@{at(earlier).isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def run(id_: str, created: float, ended: float | None, **columns: Any) -> dict[str, Any]:
    """Return a run of Svc/do; ``entries`` are those of its journal after the input."""
    row: dict[str, Any] = {"id": id_, "target": "Svc/do", "target_service_name": "Svc", "target_handler_name": "do"}
    row |= {"target_service_ty": "service", "status": "invoked" if ended is None else "completed"}
    row |= {"created_at": at(created), "running_at": at(created), "entries": (), **columns}
    if ended is not None:
        row |= {"completed_at": at(ended), "completion_result": "success"}
    return row


def call(callee: str, started: float, done: float | None) -> list[tuple[float, str, Any]]:
    """Return the entries of a call."""
    body = {"invocation_id": callee, "invocation_id_completion_id": 1, "result_completion_id": 2}
    entries: list[tuple[float, str, Any]] = [(started, "Call", body)]
    return entries if done is None else [*entries, (done, "Call result", 2)]


def send(callee: str, started: float) -> list[tuple[float, str, Any]]:
    return [(started, "OneWayCall", {"invocation_id": callee, "invoke_time": 0, "invocation_id_completion_id": 1})]


def promise(kind: str, started: float, done: float | None, *, key: str = "p") -> list[tuple[float, str, Any]]:
    """Return the entries of GetPromise, PeekPromise or CompletePromise of a promise."""
    entries: list[tuple[float, str, Any]] = [(started, kind, {"key": key, "completion_id": 3})]
    return entries if done is None else [*entries, (done, f"{kind} result", 3)]


class StoryRows(TableSource):
    """The runs given, with their journals; ``without`` are tables and columns that do not exist."""

    def __init__(self, *runs: Mapping[str, Any], without: Iterable[str] = ()) -> None:
        absent = set(without)
        schemas = {
            table: pa.schema(
                [(name, TYPES[kind]) for name, kind, _ in _SCHEMA["tables"][table] if f"{table}.{name}" not in absent]
            )
            for table in _TABLES
            if table not in absent
        }
        rows = {
            "sys_invocation_status": [{**each, "journal_size": _size(each)} for each in runs],
            "sys_journal": [entry for each in runs if not each.get("is_purged") for entry in _entries(each)],
        }
        tables = {table: table_of(schema, rows.get(table, [])) for table, schema in schemas.items()}
        super().__init__(tables, now=NOW)
        self.name = "made"
        self._context.sql(_SCHEMA["views"]["sys_invocation"])
        self._schemas["sys_invocation"] = pa.schema(
            [(name, TYPES[kind]) for name, kind, _ in _SCHEMA["tables"]["sys_invocation"]]
        )


def _size(row: Mapping[str, Any]) -> int:
    return len(_entries(row)) + int(row.get("lost", 0))


def _entries(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    if row["status"] in {"scheduled", "inboxed"}:
        return []
    entries = [(None, "Input", {}), *row["entries"]]
    if row["status"] == "completed" and not row.get("is_killed"):
        entries.append((None, "Output", {"result": "Success"}))
    return [_entry(row, index, *each) for index, each in enumerate(entries)]


def _entry(row: Mapping[str, Any], index: int, seconds: float | None, kind: str, body: Any) -> dict[str, Any]:
    time = (row["created_at"] if kind == "Input" else row.get("completed_at")) if seconds is None else at(seconds)
    if kind.endswith(" result"):
        type_ = kind.removesuffix(" result")
        content: Any = {
            "Notification": {"ty": {"Completion": type_}, "id": {"CompletionId": body}, "result": "Success"}
        }
        return _row(row, index, f"Notification: {type_}", time, content)
    if kind == "Signal":
        content = {"Notification": {"ty": "Signal", "id": body, "result": "Success"}}
        return _row(row, index, "Notification: Signal", time, content)
    return _row(row, index, f"Command: {kind}", time, {"Command": {kind: body}})


def _row(row: Mapping[str, Any], index: int, entry_type: str, time: Any, content: Any) -> dict[str, Any]:
    common = {"id": row["id"], "index": index, "entry_type": entry_type, "appended_at": time, "version": 2}
    return common | {"entry_lite_json": json.dumps(content), "raw_length": 20}
