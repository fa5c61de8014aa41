"""A source over tables that a test changes between two reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from support.row_source import RowSource

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
_TEXT, _NUMBER, _TIME, _LENGTH = pa.large_string(), pa.uint64(), pa.timestamp("ms", "+00:00"), pa.duration("ms")
_SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "sys_invocation_status": {
        **dict.fromkeys(("id", "target", "status", "completion_result", "completion_failure"), _TEXT),
        **dict.fromkeys(("target_service_name", "target_handler_name", "target_service_key", "scope"), _TEXT),
        **dict.fromkeys(("target_service_ty", "pinned_deployment_id", "invoked_by", "invoked_by_id"), _TEXT),
        **dict.fromkeys(("created_at", "modified_at", "inboxed_at", "completed_at"), _TIME),
        **dict.fromkeys(("scheduled_at", "scheduled_start_at"), _TIME),
        "completion_retention": _LENGTH,
        "journal_size": pa.uint32(),
    },
    "sys_invocation_state": {
        "id": _TEXT,
        "in_flight": pa.bool_(),
        "retry_count": _NUMBER,
        **dict.fromkeys(("next_retry_at", "last_start_at"), _TIME),
        **dict.fromkeys(("last_failure", "last_failure_error_code", "last_failure_related_command_name"), _TEXT),
        "last_attempt_deployment_id": _TEXT,
    },
    "sys_inbox": dict.fromkeys(("id", "service_name", "service_key"), _TEXT),
    "state": {
        **dict.fromkeys(("scope", "service_name", "service_key", "key", "value_utf8"), _TEXT),
        "value": pa.large_binary(),
        "value_length": _NUMBER,
    },
    "sys_deployment": {
        **dict.fromkeys(("id", "endpoint", "ty"), _TEXT),
        **dict.fromkeys(("min_service_protocol_version", "max_service_protocol_version"), pa.uint32()),
    },
    "sys_service": {
        **dict.fromkeys(("name", "deployment_id", "ty"), _TEXT),
        "revision": _NUMBER,
        "public": pa.bool_(),
    },
    "sys_vqueue_entry_status": {
        **dict.fromkeys(("entry_id", "entry_kind", "status", "stage", "deployment"), _TEXT),
        **dict.fromkeys(("retry_attempts", "num_errors"), pa.uint32()),
        "next_at": pa.timestamp("ms", "UTC"),
    },
    "sys_vqueue_meta": {
        **dict.fromkeys(("id", "service_name", "lock_name", "scope"), _TEXT),
        "num_inbox": _NUMBER,
    },
    "sys_vqueues": {
        **dict.fromkeys(("id", "entry_id", "entry_kind", "stage", "status"), _TEXT),
        "has_lock": pa.bool_(),
    },
}
_QUEUES = ("sys_vqueue_entry_status", "sys_vqueue_meta", "sys_vqueues")


class MutableSource(RowSource):
    """Tables with the rows given, the rest empty; a test sets ``now``, and ``fails``, the error of a read.

    Tables ("state") and columns ("state.scope") in ``without`` do not exist.
    """

    version = "1.7.12"
    live = True

    def __init__(
        self,
        *,
        name: str = "made",
        now: datetime = START,
        vqueues: bool = False,
        without: tuple[str, ...] = (),
        **tables: list[dict[str, Any]],
    ) -> None:
        self.name = name
        self.now = now
        self.features: Mapping[str, bool] = {"vqueues": vqueues}
        self.fails: BaseException | None = None
        self.asked: list[str] = []
        gone = (*without, *(() if vqueues else _QUEUES))
        self._schemas = {
            table: {column: kind for column, kind in columns.items() if f"{table}.{column}" not in gone}
            for table, columns in _SCHEMAS.items()
            if table not in gone
        }
        self._context = session(START)
        for table in self._schemas:
            self._register(table, tables.get(table, []))

    def put(self, **tables: list[dict[str, Any]]) -> None:
        """Replace the rows of tables."""
        for table, rows in tables.items():
            self._context.deregister_table(table)
            self._register(table, rows)

    def tables(self) -> pd.DataFrame:
        rows = [(table, name, str(kind), True) for table, each in self._schemas.items() for name, kind in each.items()]
        return pd.DataFrame(rows, columns=["table", "column", "type", "nullable"])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        self.asked.append(statement)
        if self.fails is not None:
            raise self.fails
        schema, batches = read(self._context, bind(statement, params))
        return pa.Table.from_batches(batches, schema)

    def _register(self, table: str, rows: list[dict[str, Any]]) -> None:
        schema = pa.schema(list(self._schemas[table].items()))
        made = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)
        empty = pa.RecordBatch.from_pylist([], schema=schema)
        self._context.register_record_batches(table, [[empty, *made.to_batches()]])


def id_of(number: int) -> str:
    """Return a well-formed invocation id."""
    return f"inv_1{number:033}"


def invocation(number: int, status: str = "suspended", **columns: Any) -> dict[str, Any]:
    """Return a row of sys_invocation_status, an hour old; "succeeded" and "failed" are completed ones."""
    ends = {"succeeded": "success", "failed": "failure"}
    row = {"id": id_of(number), "target": "Svc/do", "target_service_name": "Svc", "target_handler_name": "do"}
    row |= {"created_at": START - timedelta(hours=1), "status": status, "journal_size": 3}
    if status in ends:
        row |= {"status": "completed", "completion_result": ends[status]}
    return row | columns
