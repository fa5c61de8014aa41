"""A source over tables of a test, answered by DataFusion, the server's engine: for panels without a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from support.row_source import RowSource

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)

_TEXT, _TIME, _NUMBER = pa.large_string(), pa.timestamp("ms", "+00:00"), pa.uint64()
_SCHEMAS = {
    "sys_invocation_status": {
        **dict.fromkeys(("id", "status", "target_service_name", "target_handler_name", "target_service_key"), _TEXT),
        **dict.fromkeys(("target", "pinned_deployment_id", "invoked_by_id"), _TEXT),
        "created_at": _TIME,
        "modified_at": _TIME,
        "inboxed_at": _TIME,
    },
    "sys_invocation_state": {"id": _TEXT, "in_flight": pa.bool_(), "retry_count": _NUMBER},
    "sys_inbox": {"id": _TEXT, "service_name": _TEXT, "service_key": _TEXT},
    "sys_deployment": {
        "id": _TEXT,
        "endpoint": _TEXT,
        "created_at": _TIME,
        "services": pa.list_(_TEXT),
        **dict.fromkeys(("min_service_protocol_version", "max_service_protocol_version"), pa.uint32()),
    },
    "sys_service": {"name": _TEXT, "ty": _TEXT, "revision": _NUMBER, "deployment_id": _TEXT},
    "state": {
        **dict.fromkeys(("scope", "service_name", "service_key", "key", "value_utf8"), _TEXT),
        "value": pa.large_binary(),
    },
}


class SampleTables(RowSource):
    """Tables with the rows given, the rest empty; ``fails`` is raised by a read.

    Tables ("state") and columns ("state.scope") in ``without`` do not exist.
    """

    version = "1.7.12"
    now = NOW
    features: Mapping[str, bool] = {}

    def __init__(self, *, name: str = "made", without: tuple[str, ...] = (), **tables: list[dict[str, Any]]) -> None:
        self.name = name
        self.fails: Exception | None = None
        self._schemas = {
            table: {name: kind for name, kind in columns.items() if f"{table}.{name}" not in without}
            for table, columns in _SCHEMAS.items()
            if table not in without
        }
        self._context = session(NOW)
        for table in self._schemas:
            self.put(table, tables.get(table, []))

    def put(self, table: str, rows: list[dict[str, Any]]) -> None:
        schema = pa.schema(list(self._schemas[table].items()))
        full = [{name: row.get(name) for name in schema.names} for row in rows]
        made = pa.Table.from_pylist(full, schema=schema)
        empty = pa.RecordBatch.from_pylist([], schema=schema)
        self._context.deregister_table(table)
        self._context.register_record_batches(table, [[empty, *made.to_batches()]])

    def tables(self) -> pd.DataFrame:
        pairs = [(name, column) for name, columns in self._schemas.items() for column in columns]
        return pd.DataFrame(pairs, columns=["table", "column"])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        if self.fails is not None:
            raise self.fails
        schema, batches = read(self._context, bind(statement, params))
        return pa.Table.from_batches(list(batches), schema)


class LiveTables(SampleTables):
    """Tables that panels accept as a live connection; nothing is sent anywhere."""

    transport = object()
    address = "http://127.0.0.1:1"
    live = True
    read_only = False


def invocation(number: int, status: str, *, service: str = "Svc", handler: str = "run", **more: Any) -> dict[str, Any]:
    """Return a row of sys_invocation_status, as many minutes old as its number says."""
    row = {"id": f"inv_1{number:033}", "status": status, "target_service_name": service, "target_handler_name": handler}
    return {**row, "created_at": NOW - timedelta(minutes=number), **more}
