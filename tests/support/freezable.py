"""A whole Source over rows of a test: to freeze, and to fail during a read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from restate_lab.source import BaseSource

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TEXT = pa.large_string()
STATUS = dict.fromkeys(
    ("id", "status", "target_service_name", "target_service_key", "target_service_ty", "invoked_by_id"), TEXT
)
TIMES = {"created_at": pa.timestamp("ms", "+00:00"), "completed_at": pa.timestamp("ms", "+00:00")}
TABLES: dict[str, dict[str, pa.DataType]] = {
    "sys_invocation_status": STATUS | TIMES | {"waits_for": pa.list_(pa.uint32()), "kept": pa.duration("ms")},
    "sys_invocation_state": {"id": TEXT, "in_flight": pa.bool_(), "retry_count": pa.uint64(), "last_failure": TEXT},
    "sys_journal": {"id": TEXT, "index": pa.uint32(), "entry_type": TEXT, "entry_lite_json": TEXT, "entry_json": TEXT}
    | {"raw": pa.large_binary()},
    "state": {"service_name": TEXT, "service_key": TEXT, "key": TEXT, "value": pa.large_binary(), "value_utf8": TEXT},
    "sys_keyed_service_status": {"service_name": TEXT, "service_key": TEXT, "invocation_id": TEXT},
    "sys_deployment": {"id": TEXT, "endpoint": TEXT},
}
VIEW = """CREATE VIEW sys_invocation AS SELECT ss.id, ss.target_service_name, sis.last_failure,
arrow_cast(CASE WHEN sis.in_flight THEN 'running' ELSE ss.status END, 'LargeUtf8') AS status
FROM sys_invocation_state sis RIGHT JOIN sys_invocation_status ss ON ss.id = sis.id"""


class Freezable(BaseSource):
    """Tables with the rows given, all others empty; ``fails`` has, by table, the error raised after its rows.

    Its clock advances by a second whenever it is read.
    """

    name, version = "made", "1.7.12"
    features: Mapping[str, bool] = {"vqueues": False}

    def __init__(self, *, fails: Mapping[str, BaseException] | None = None, **rows: list[dict[str, Any]]) -> None:
        self.read: list[str] = []
        self._fails = dict(fails or {})
        self._asked = 0
        self._context = session(START)
        for name, columns in TABLES.items():
            schema = pa.schema(list(columns.items()))
            table = pa.Table.from_pylist([dict.fromkeys(columns) | row for row in rows.get(name, [])], schema=schema)
            empty = pa.RecordBatch.from_pylist([], schema=schema)
            self._context.register_record_batches(name, [[empty, *table.to_batches()]])
        self._context.sql(VIEW)

    @property
    def now(self) -> datetime:
        self._asked += 1
        return START + timedelta(seconds=self._asked)

    def tables(self) -> pd.DataFrame:
        rows = [(table, column, str(kind), True) for table, each in TABLES.items() for column, kind in each.items()]
        rows += [("sys_invocation", column, "large_string", True) for column in ("id", "target_service_name")]
        rows += [("sys_invocation", "last_failure", "large_string", True), ("sys_invocation", "status", "x", False)]
        return pd.DataFrame(rows, columns=["table", "column", "type", "nullable"])

    @contextmanager
    def stream(
        self, statement: str, /, *, params: Mapping[str, Any] | None = None, timeout: Any = None, **options: Any
    ) -> Iterator[pa.RecordBatchReader]:
        named = {name: value for name, value in options.items() if name not in {"max_bytes", "progress"}}
        name = statement.partition(' FROM "')[2].partition('"')[0]
        if name:
            self.read.append(name)
        schema, batches = read(self._context, bind(statement, params, **named))

        def rows() -> Iterator[pa.RecordBatch]:
            yield from batches
            if name in self._fails:
                raise self._fails[name]

        yield pa.RecordBatchReader.from_batches(schema, rows())


def sample_id(number: int) -> str:
    """Return a well-formed invocation id."""
    return f"inv_1{number:033}"


def invocation(number: int, *, service: str = "Svc", **columns: Any) -> dict[str, Any]:
    """Return a row of sys_invocation_status: an hour old, and waiting for something."""
    row = {"id": sample_id(number), "status": "suspended", "target_service_name": service}
    return row | {"created_at": START - timedelta(hours=1)} | columns
