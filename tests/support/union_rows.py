"""The union of an archive and its server by hand: both sides are exported to one engine, without joined sources."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.lab import Lab
from restate_lab.evidence.engine import create_view
from restate_lab.history.source import History
from restate_lab.source import Coverage, Source, SourceWrapper
from support.table_source import TableSource

OF_RUNS = ("sys_invocation_status", "sys_invocation_state", "sys_journal", "sys_journal_events")
_VIEW = "SELECT definition FROM information_schema.views WHERE table_name = 'sys_invocation'"


class AtTime(SourceWrapper):
    """The same source at a fixed time, so that two sources count ages from the same time."""

    def __init__(self, source: Source, now: datetime) -> None:
        super().__init__(source)
        self._fixed = now

    @property
    def now(self) -> datetime:
        return self._fixed


class UnionRows(TableSource):
    """The rows of both, without the archive's own tables: questions have to use their statements for servers."""

    gaps: Any = ()

    def __init__(self, history: History, lab: Lab) -> None:
        server = lab.tables().groupby("table", sort=False)["column"].agg(list)
        tables = {name: _read(lab, name) for name in server.index if name != "sys_invocation"}
        archived = {name: _read(history, name) for name in OF_RUNS}
        runs = archived["sys_invocation_status"].to_pylist()
        known = {(row["id"].partition("@")[0], row["created_at"]) for row in runs}
        there = tables["sys_invocation_status"].to_pylist()
        self.new = {row["id"]: row["created_at"] for row in there if (row["id"], row["created_at"]) not in known}
        self.newest_archived = {row["id"]: row["created_at"] for row in runs}
        for name in OF_RUNS:
            tables[name] = self._joined(archived[name], tables[name])
        now = lab.now
        # a server rounds a time in a statement to milliseconds
        super().__init__(tables, now=now.replace(microsecond=now.microsecond // 1_000 * 1_000))
        self.name, self.version, self.features = "union", lab.version, dict(lab.features)
        definition = lab.arrow(_VIEW, progress=False)["definition"][0].as_py()
        create_view(self._context, "sys_invocation", definition, server["sys_invocation"])

    @property
    def coverage(self) -> Coverage:
        return Coverage(gaps=self.gaps)

    def tables(self) -> pd.DataFrame:
        return Source.tables(self)

    def _joined(self, archived: pa.Table, served: pa.Table) -> pa.Table:
        """Return the archived rows, whose ids have their time if the server has a newer run, and the new rows."""
        rows = defaultdict(list)
        for row in archived.to_pylist():
            for name in served.schema.names:
                rows[name].append(row.get(name))
        rows["id"] = [self._unique(id_) for id_ in rows["id"]]
        for row in served.to_pylist():
            if row["id"] in self.new:
                for name in served.schema.names:
                    rows[name].append(row[name])
        return pa.table({name: pa.array(rows[name], served.schema.field(name).type) for name in served.schema.names})

    def _unique(self, id_: str) -> str:
        created = self.newest_archived.get(id_) if id_ in self.new else None
        if created is None:
            return id_
        return f"{id_}@{created.astimezone(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def _read(source: Source, table: str) -> pa.Table:
    return source.arrow(f'SELECT * FROM "{table}"', progress=False)
