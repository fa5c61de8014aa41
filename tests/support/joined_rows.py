"""The server of a joined source with the rows of a test: the tables that an archive copies, and the state of keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.audit import AuditLog
from restate_lab.evidence.engine import create_view
from restate_lab.source import Source
from support.archives import DEPLOYED, SERVER_SCHEMA, TYPES
from support.table_source import TableSource, table_of

STATE = pa.schema([("service_key", pa.large_string()), ("value_utf8", pa.large_string())])
_SCHEMA, _VIEW = json.loads(SERVER_SCHEMA), "sys_invocation"
SCHEMAS = {
    **{
        name: pa.schema([(column, TYPES[kind]) for column, kind, _ in columns])
        for name, columns in _SCHEMA["tables"].items()
        if name != _VIEW
    },
    "state": STATE,
}


class ServedRows(TableSource):
    """A connection to rows; ``before`` is called with each statement, and may change the rows."""

    name, live, address = "prod", True, "http://prod:9070"
    max_bytes = 1 << 30
    decoder = None
    transport = SimpleNamespace(limit=lambda timeout: 60.0 if timeout is None else float(timeout), audit=AuditLog())
    admin = SimpleNamespace(list_services=list)

    def __init__(self, now: datetime, **tables: list[dict[str, Any]]) -> None:
        tables.setdefault("sys_deployment", [{"id": "dp_1", "created_at": DEPLOYED}])
        super().__init__({name: table_of(each, tables.get(name, [])) for name, each in SCHEMAS.items()}, now=now)
        create_view(self._context, _VIEW, _SCHEMA["views"][_VIEW], [name for name, *_ in _SCHEMA["tables"][_VIEW]])
        self.before: Callable[[str], None] = lambda _: None

    def tables(self) -> pd.DataFrame:
        return Source.tables(self)

    def rows(self, statement: str, params: Mapping[str, Any], **options: Any) -> pa.Table:
        self.before(statement)
        return super().rows(statement, params, **options)
