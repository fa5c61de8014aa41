"""The plan of a freeze: for each table the statement, the kept rows, the masked columns and the exclusions.

The plan is complete before anything is written; the writer only executes it.

The rows of a table that belong to selected invocations are found by the invocations' ids, or by their keys, queues or
locks. A table for which no such column is known is excluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from restate_lab.evidence.manifest import Exclusion, SourceColumn, StoredView
from restate_lab.evidence.masking import ColumnMask, column_masks
from restate_lab.evidence.redaction import PAYLOADS, Pattern
from restate_lab.evidence.selection import InvocationSelection, statement_chunks
from restate_lab.evidence.tables import SourceSchema, SourceTable, quote_name

_BY_ID = {
    **dict.fromkeys(("sys_invocation_status", "sys_invocation_state", "sys_journal", "sys_journal_events"), "id"),
    **dict.fromkeys(("sys_vqueues", "sys_vqueue_entry_status"), "entry_id"),
}
_BY_KEY = ("state", "sys_promise", "sys_inbox", "sys_keyed_service_status")
_BY_QUEUE = {"sys_vqueue_meta": "id", "sys_scheduler": "id"}
_BY_LOCK = {"sys_locks": "lock_name"}
_WHOLE = ("sys_deployment", "sys_service", "sys_rules", "sys_user_limits")

_NOT_NAMED = "tables= does not name it"
_RAW = "the raw entry contains payloads and secret headers in plain text, so it is never frozen"
_PAYLOAD = "payloads are frozen only with payloads=True"
_BINARY = "unknown binary column that could contain payloads; frozen only with payloads=True"
_UNKNOWN_ROWS = "this version of restate_lab does not know which of its rows belong to the selected invocations"
_NO_VIEW = "a table that the view needs is excluded"


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Keeps the rows whose values of ``columns`` are in ``allowed``."""

    columns: tuple[str, ...]
    allowed: frozenset[tuple[str, ...]]

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the kept rows."""
        rows = zip(*(batch[column].to_pylist() for column in self.columns), strict=True)
        return batch.filter(pa.array([row in self.allowed for row in rows], pa.bool_()))


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of one table that are written, by default all of them.

    The statement with the condition ``where`` is sent once for each of ``params``, one after another. ``keep`` is the
    filter for the rows of the responses.
    """

    where: str = ""
    params: tuple[Mapping[str, Any], ...] = ({},)
    keep: RowFilter | None = None


_NO_ROWS = TableRows("1 = 0")


@dataclass(frozen=True, slots=True)
class TablePlan:
    """The part of one table that is written.

    - ``columns``: the frozen columns, in the order of the statement ``sql``.
    - ``masks``: how values are masked, by column; a column without a mask is not changed.
    """

    name: str
    columns: tuple[SourceColumn, ...]
    masks: Mapping[str, ColumnMask]
    sql: str
    rows: TableRows


@dataclass(frozen=True, slots=True)
class FreezePlan:
    """Everything that a freeze writes, with the information for the manifest.

    - ``tables``: the tables, in the order in which they are read.
    - ``views``: the views that can be created from these tables.
    - ``excluded``: tables, columns and views that are not frozen, with the reasons.
    - ``patterns``: the texts of ``redact=``, each once.
    """

    tables: tuple[TablePlan, ...]
    views: tuple[StoredView, ...]
    excluded: tuple[Exclusion, ...]
    patterns: tuple[str, ...]


def plan_freeze(
    schema: SourceSchema,
    tables: Sequence[SourceTable],
    *,
    selection: InvocationSelection | None,
    patterns: Sequence[Pattern],
    payloads: bool,
) -> FreezePlan:
    """Return the plan to freeze ``tables``, which are tables of the schema in the order of reading.

    ``selection`` are the selected invocations, None for the whole cluster.
    """
    excluded = [Exclusion(name, None, _NOT_NAMED) for name, table in schema.tables.items() if table not in tables]
    unknown: list[Exclusion] = []
    plans: list[TablePlan] = []
    for table in tables:
        reasons = {column.name: _exclusion_reason(table.name, column, payloads=payloads) for column in table.columns}
        excluded += [Exclusion(table.name, column, reason) for column, reason in reasons.items() if reason is not None]
        columns = tuple(column for column in table.columns if reasons[column.name] is None)
        plan = _table_plan(table, columns, selection, patterns)
        if plan is None:
            unknown.append(Exclusion(table.name, None, _UNKNOWN_ROWS))
        else:
            plans.append(plan)
    names = {plan.name for plan in plans}
    views = [view for view in schema.views.values() if names.issuperset(view.base_tables)]
    missing = [Exclusion(view.name, None, _NO_VIEW) for view in schema.views.values() if view not in views]
    return FreezePlan(
        tables=tuple(plans),
        views=tuple(StoredView(view.name, view.definition, view.columns) for view in views),
        excluded=(*excluded, *unknown, *missing),
        patterns=tuple(dict.fromkeys(pattern.text for pattern in patterns)),
    )


def _exclusion_reason(table: str, column: SourceColumn, *, payloads: bool) -> str | None:
    if (table, column.name) == ("sys_journal", "raw"):
        return _RAW
    if payloads:
        return None
    if (table, column.name) in PAYLOADS:
        return _PAYLOAD
    return _BINARY if "Binary" in (column.type or "") else None


def _table_plan(
    table: SourceTable,
    columns: Sequence[SourceColumn],
    selection: InvocationSelection | None,
    patterns: Sequence[Pattern],
) -> TablePlan | None:
    rows = _rows_of(table.name, selection)
    if rows is None:
        return None
    names = [column.name for column in columns]
    sql = f"SELECT {', '.join(map(quote_name, names))} FROM {quote_name(table.name)}"  # noqa: S608 - names from the source itself
    if rows.where:
        sql += f" WHERE {rows.where}"
    masks = column_masks(table.name, names, patterns, views=table.views)
    return TablePlan(table.name, tuple(columns), masks, sql, rows)


def _rows_of(table: str, selection: InvocationSelection | None) -> TableRows | None:
    """Return which rows of a table are frozen; None if it is unknown which of them belong to the selection."""
    if selection is None or table in _WHOLE:
        return TableRows()
    if table in _BY_KEY:
        services = sorted({service for service, _ in selection.keys})
        keys = statement_chunks(sorted({key for _, key in selection.keys}))
        params = tuple({"services": services, "keys": chunk} for chunk in keys)
        # The condition also matches the service of one pair with the key of another, so the rows are filtered again.
        keep = RowFilter(("service_name", "service_key"), selection.keys)
        return TableRows("service_name IN :services AND service_key IN :keys", params, keep) if params else _NO_ROWS
    locks = sorted(f"{service}/{key}" for service, key in selection.keys)
    for column_of, values in ((_BY_ID, selection.ids), (_BY_QUEUE, selection.queues), (_BY_LOCK, locks)):
        if table in column_of:
            params = tuple({"values": chunk} for chunk in statement_chunks(values))
            return TableRows(f"{quote_name(column_of[table])} IN :values", params) if params else _NO_ROWS
    return None
