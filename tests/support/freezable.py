"""A whole Source over rows of a test: to freeze, and to fail during a read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from support.sample_rows import sample_id
from support.table_source import TableSource, table_of

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


class Freezable(TableSource):
    """Tables with the rows given, all others empty; ``breaks`` has, by table, the error raised after its rows.

    Its clock advances by a second whenever it is read. ``read`` has the names of the tables in their order.
    """

    name = "made"
    features: Mapping[str, bool] = {"vqueues": False}

    def __init__(self, *, breaks: Mapping[str, BaseException] | None = None, **rows: list[dict[str, Any]]) -> None:
        self.read: list[str] = []
        self.clock_reads = 0
        self._breaks = dict(breaks or {})
        schemas = {name: pa.schema(columns) for name, columns in TABLES.items()}
        super().__init__({name: table_of(each, rows.get(name, [])) for name, each in schemas.items()}, now=START)
        self._context.sql(VIEW)

    @property
    def now(self) -> datetime:
        self.clock_reads += 1
        return START + timedelta(seconds=self.clock_reads)

    @now.setter
    def now(self, _: datetime) -> None: ...

    def tables(self) -> pd.DataFrame:
        view = [(column, "large_string", True) for column in ("id", "target_service_name", "last_failure")]
        rows = [("sys_invocation", *each) for each in (*view, ("status", "x", False))]
        return pd.concat([super().tables(), pd.DataFrame(rows, columns=["table", "column", "type", "nullable"])])

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        name = statement.partition(' FROM "')[2].partition('"')[0]
        if name:
            self.read.append(name)

        def rows(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
            yield from reader
            if name in self._breaks:
                raise self._breaks[name]

        with super().stream(statement, **options) as reader:
            yield pa.RecordBatchReader.from_batches(reader.schema, rows(reader))


def invocation(number: int, *, service: str = "Svc", **columns: Any) -> dict[str, Any]:
    """Return a row of sys_invocation_status: an hour old, and waiting for something."""
    row = {"id": sample_id(number), "status": "suspended", "target_service_name": service}
    return row | {"created_at": START - timedelta(hours=1)} | columns
