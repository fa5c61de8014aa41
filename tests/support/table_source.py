"""A source over Arrow tables, answered by DataFusion, the server's engine: the base of sources with rows of a test."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from support.row_source import RowSource


class TableSource(RowSource):
    """Tables by name; ``asked`` has the statements."""

    name, version = "rows", "1.7.12"
    features: Mapping[str, bool] = {}

    def __init__(self, tables: Mapping[str, pa.Table], *, now: datetime) -> None:
        self.now = now
        self.asked: list[str] = []
        self._columns = [(name, column) for name, table in tables.items() for column in table.column_names]
        self._context = session(now)
        for name, table in tables.items():
            empty = pa.RecordBatch.from_pylist([], schema=table.schema)
            self._context.register_record_batches(name, [[empty, *table.to_batches()]])

    def tables(self) -> pd.DataFrame:
        return pd.DataFrame(self._columns, columns=["table", "column"])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        self.asked.append(statement)
        schema, batches = read(self._context, bind(statement, params))
        return pa.Table.from_batches(batches, schema)
