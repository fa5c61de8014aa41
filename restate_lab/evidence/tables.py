"""The tables, columns and views of a source, and the order in which its tables are frozen.

Tables are read one after another, so the order decides which joins find their rows. Tables that refer to invocations
are read before the invocations, so that these invocations are found. The state of an invocation is read before its
status, because the status is used if both have changed. Data of an invocation (journal, promises, its deployment) is
read after it, so that the entries that it waits for are found.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from restate_lab.client.schema import tables_of
from restate_lab.errors import ArgumentError, QueryRefused
from restate_lab.evidence.manifest import SourceColumn
from restate_lab.reads import Reads

_FIRST = (
    *("sys_scheduler", "sys_vqueue_meta", "sys_vqueues", "sys_vqueue_entry_status", "sys_locks", "sys_user_limits"),
    *("sys_inbox", "sys_keyed_service_status", "sys_invocation_state", "sys_invocation_status"),
)
"""The first tables in the order of reading, up to the invocations; all other tables are read after them."""
_LAST = ("sys_service", "sys_deployment")
_VIEWS = "SELECT table_name, definition FROM information_schema.views WHERE definition IS NOT NULL"


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table, and the names of the views that select from it."""

    name: str
    columns: tuple[SourceColumn, ...]
    views: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceView:
    """A view: the server's own statement, and the tables that it selects from."""

    name: str
    definition: str
    columns: tuple[SourceColumn, ...]
    base_tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceSchema:
    """The tables of a source, without views, and its views."""

    tables: Mapping[str, SourceTable]
    views: Mapping[str, SourceView]

    @property
    def columns(self) -> dict[str, list[str]]:
        """Return table or view → the names of its columns."""
        return {
            **{name: [column.name for column in table.columns] for name, table in self.tables.items()},
            **{name: [column.name for column in view.columns] for name, view in self.views.items()},
        }

    def base_tables(self, names: str | Iterable[str] | None) -> list[SourceTable]:
        """Return the tables with these names in the order in which they are frozen; None means all tables.

        The name of a view means the tables that it selects from.

        Raises:
            ArgumentError: a table does not exist, or there are no names.
        """
        tables: set[str] = set(self.tables) if names is None else set()
        for name in [names] if isinstance(names, str) else names or ():
            if name in self.views:
                tables.update(self.views[name].base_tables)
            elif name in self.tables:
                tables.add(name)
            else:
                nearest = difflib.get_close_matches(name, [*self.tables, *self.views], n=3)
                raise ArgumentError(f"unknown table {name!r} in tables=; similar names: {', '.join(nearest) or '–'}.")
        if not tables:
            raise ArgumentError("tables= is empty: pass at least one table.")
        return [self.tables[name] for name in sorted(tables, key=_rank)]


def read_schema(reads: Reads) -> SourceSchema:
    """Read the schema of a source.

    A view is handled like a table if its definition is not reported, or selects from no other table of the source.
    """
    columns: dict[str, list[SourceColumn]] = {}
    for row in tables_of(reads).to_dict("records"):
        kind = None if pd.isna(row.get("type")) else str(row["type"])
        column = SourceColumn(row["column"], kind, bool(row.get("nullable", True)))
        columns.setdefault(row["table"], []).append(column)
    try:
        rows = reads.query(_VIEWS, progress=None).to_pylist()
    except QueryRefused:
        rows = []
    definitions = {
        row["table_name"]: row["definition"]
        for row in rows
        if _tables_in(row["definition"], [name for name in columns if name != row["table_name"]])
    }
    tables = [name for name in columns if name not in definitions]
    views = {
        name: SourceView(name, definitions[name], tuple(columns[name]), _tables_in(definitions[name], tables))
        for name in columns
        if name in definitions
    }
    return SourceSchema(
        {
            name: SourceTable(
                name, tuple(columns[name]), tuple(view.name for view in views.values() if name in view.base_tables)
            )
            for name in tables
        },
        views,
    )


def _rank(table: str) -> tuple[int, int, str]:
    for rank, names in ((0, _FIRST), (2, _LAST)):
        if table in names:
            return rank, names.index(table), table
    return 1, 0, table


def quote_name(name: str) -> str:
    """Return a name in quotes for SQL; it can have any characters."""
    return '"' + name.replace('"', '""') + '"'


def _tables_in(definition: str, tables: Sequence[str]) -> tuple[str, ...]:
    words = set(re.findall(r"\w+", definition))
    return tuple(name for name in tables if name in words)
