"""How each table is read: as a whole, or reduced to the invocations, keys and queues of a scope."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa

from restate_lab.client.schema import checked_types
from restate_lab.errors import RestateLabError
from restate_lab.evidence.selection import Scope, chunks
from restate_lab.evidence.tables import TablePlan, quoted, select_all
from restate_lab.source import Source

__all__ = ["Reading", "cannot_reduce", "reading_of"]

_BY_ID = {
    **dict.fromkeys(("sys_invocation_status", "sys_journal", "sys_journal_events"), "id"),
    **dict.fromkeys(("sys_vqueues", "sys_vqueue_entry_status"), "entry_id"),
    "sys_idempotency": "invocation_id",
}
# 1.6.1 gives rows of this one twice for `id IN`; it holds only what is being attempted, so all of it is read.
_BY_ID_HERE = {"sys_invocation_state": "id"}
_BY_KEY = ("state", "sys_promise", "sys_inbox", "sys_keyed_service_status")
_BY_QUEUE = {"sys_vqueue_meta": "id", "sys_scheduler": "id"}
_BY_LOCK = {"sys_locks": "lock_name"}
_WHOLE = ("sys_deployment", "sys_service", "sys_rules", "sys_user_limits")
_NOTHING = "1 = 0"

Keep = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Reading:
    """A table's statement, the values with which it is sent in turn, and a filter for what comes."""

    plan: TablePlan
    sql: str
    values: Iterable[Mapping[str, Any]] = field(default=({},))
    keep: Keep | None = None

    @contextmanager
    def stream(self, source: Source) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """Give the schema and the rows, some thousand at a time; a failure says which table it was."""
        try:
            with closing(self._batches(source)) as batches:
                first = next(batches)
                yield first.schema, chain([first], batches)
        except RestateLabError as error:
            error.add_note(f"while {self.plan.name} was read to be frozen; nothing was kept")
            raise

    def _batches(self, source: Source) -> Generator[pa.RecordBatch]:
        """Give an empty batch for the schema, and then the rows."""
        schema: pa.Schema | None = None
        for values in self.values:
            with source.stream(self.sql, params=values) as reader:
                if schema is None:
                    types = {column.name: column.type for column in self.plan.columns}
                    schema = checked_types(reader.schema, types, self.sql, source)
                    yield pa.RecordBatch.from_pylist([], schema=schema)
                for batch in reader:
                    yield batch if self.keep is None else self.keep(batch)


def reading_of(plan: TablePlan, scope: Scope | None) -> Reading:
    """Return how a table is read."""
    if scope is None or plan.name in _WHOLE:
        return Reading(plan, select_all(plan))
    if plan.name in _BY_KEY:
        return _by_key(plan, scope)
    if plan.name in _BY_ID_HERE:
        return Reading(plan, select_all(plan), keep=_only(_BY_ID_HERE[plan.name], scope.ids))
    for columns, values in ((_BY_ID, scope.ids), (_BY_QUEUE, scope.queues), (_BY_LOCK, scope.locks)):
        if plan.name in columns:
            return _reduced(
                plan, f"{quoted(columns[plan.name])} IN :values", [{"values": each} for each in chunks(values)]
            )
    raise KeyError(plan.name)


def cannot_reduce(table: str) -> bool:
    """Tell whether this version does not know which rows of a table belong to a scope."""
    return table not in {*_WHOLE, *_BY_KEY, *_BY_ID, *_BY_ID_HERE, *_BY_QUEUE, *_BY_LOCK}


def _only(column: str, ids: Iterable[str]) -> Keep:
    wanted = frozenset(ids)

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        return batch.filter(pa.array([each in wanted for each in batch[column].to_pylist()], pa.bool_()))

    return keep


def _by_key(plan: TablePlan, scope: Scope) -> Reading:
    services = sorted({service for service, _ in scope.keys})

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        # A service of one pair may have the key of another, which was not meant.
        pairs = zip(batch["service_name"].to_pylist(), batch["service_key"].to_pylist(), strict=True)
        return batch.filter(pa.array([pair in scope.keys for pair in pairs], pa.bool_()))

    keys = chunks(sorted({key for _, key in scope.keys}))
    values = [{"services": services, "keys": each} for each in keys]
    return _reduced(plan, "service_name IN :services AND service_key IN :keys", values, keep)


def _reduced(plan: TablePlan, where: str, values: list[dict[str, Any]], keep: Keep | None = None) -> Reading:
    if not values:
        return Reading(plan, f"{select_all(plan)} WHERE {_NOTHING}")
    return Reading(plan, f"{select_all(plan)} WHERE {where}", values, keep)
