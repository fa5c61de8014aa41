"""A source over Arrow tables, answered by DataFusion, the server's engine: the base of sources with rows of a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from support.row_source import RowSource


class TableSource(RowSource):
    """Tables by name. A test can ``put`` other rows between two reads, and set ``fails``, the error of a read.

    ``asked`` has the statements.
    """

    name, version = "rows", "1.7.12"
    features: Mapping[str, bool] = {}
    now: Any = None

    def __init__(self, tables: Mapping[str, pa.Table], *, now: datetime) -> None:
        self.now = now
        self.asked: list[str] = []
        self.fails: BaseException | None = None
        self._schemas = {name: table.schema for name, table in tables.items()}
        self._context = session(now)
        for name, table in tables.items():
            self._register(name, table)

    def put(self, **tables: Iterable[Mapping[str, Any]]) -> None:
        """Replace the rows of tables."""
        for name, rows in tables.items():
            self._context.deregister_table(name)
            self._register(name, table_of(self._schemas[name], rows))

    def tables(self) -> pd.DataFrame:
        columns = [(name, each.name, str(each.type), True) for name, fields in self._schemas.items() for each in fields]
        return pd.DataFrame(columns, columns=["table", "column", "type", "nullable"])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        self.asked.append(statement)
        if self.fails is not None:
            raise self.fails
        schema, batches = read(self._context, bind(statement, params))
        return pa.Table.from_batches(batches, schema)

    def _register(self, name: str, table: pa.Table) -> None:
        empty = pa.RecordBatch.from_pylist([], schema=table.schema)
        self._context.register_record_batches(name, [[empty, *table.to_batches()]])


def table_of(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table; missing columns are null."""
    return pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)
