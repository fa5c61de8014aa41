"""Read the runs of agents: their invocations, the responses of models in their journals, and whole journals.

Payloads are read from ``raw``, or from ``entry_json`` where the source has no ``raw``. A payload with more than
``MOST_BYTES`` is not read. For many runs, the server first searches each payload for two names that every known shape
has one of; this is only a filter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa

from restate_lab.analysis.agents.entries import Content, ShapeFunction, content_of, model_step_of
from restate_lab.analysis.agents.model import ModelStep
from restate_lab.analysis.agents.shapes import SIGNATURES
from restate_lab.analysis.ids import parts_of
from restate_lab.analysis.journal.encoding import content_column
from restate_lab.analysis.journal.entries import pair_entries
from restate_lab.client.schema import check_columns, tables_of
from restate_lab.errors import NotOnThisServer
from restate_lab.source import Source
from restate_lab.status import STATUS_SQL

__all__ = ["MOST_BYTES", "AgentReader", "ModelSteps", "Scope", "scope_of"]

MOST_BYTES = 16 << 20
Row = Mapping[str, Any]

_INVOCATIONS = f"""
SELECT id, target, target_service_name AS service, target_handler_name AS handler, target_service_key AS key,
  {STATUS_SQL} AS status, status = 'completed' AS ended, created_at, completed_at, completion_failure, journal_size,
  retry_count, restarted_from, invoked_by_id, suspended_waiting_for_signals AS signals
FROM sys_invocation
WHERE {{where}}
ORDER BY created_at DESC, id LIMIT {{limit}}"""  # noqa: S608 - constants
_BACKING_OFF = "SELECT entry_id AS id FROM sys_vqueue_entry_status WHERE entry_id IN :ids AND status = 'backing-off'"
_MODELS = """
SELECT id, index, entry_type, {size} AS size, {content}
FROM sys_journal WHERE {where} AND entry_type = 'Notification: Run'{filter}"""
_STRUCTURE = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json, CAST(NULL AS BIGINT) AS size
FROM sys_journal WHERE {where}"""
_PAYLOADS = """
SELECT id, index, entry_type, {size} AS size, {content}
FROM sys_journal WHERE {where}"""
_ERRORS = """
SELECT id, appended_at, after_journal_entry_index,
  json_get_int(event_json, 'related_command_index') AS command_index,
  json_get_str(event_json, 'error_message') AS message
FROM sys_journal_events WHERE {where} AND event_type = 'TransientError'"""
_RESTARTS = "SELECT id, restarted_from, created_at FROM sys_invocation WHERE restarted_from IN :ids"
_COPIES = "SELECT id, index, appended_at FROM sys_journal WHERE id IN :ids AND entry_type = 'Notification: Run'"
_AGENTS = """
SELECT DISTINCT id FROM sys_journal
WHERE id IN :ids AND entry_type = 'Notification: Run' AND index >= :first AND ({signatures})"""
_AT_ONCE = 500  # invocations
# "usage" and "assistant", which are in every known shape
_FILTERS = {
    "raw": "(encode(raw, 'hex') LIKE '%7573616765%' OR encode(raw, 'hex') LIKE '%617373697374616e74%')",
    "entry_json": "(entry_json LIKE '%117,115,97,103,101%' OR entry_json LIKE '%97,115,115,105,115,116,97,110,116%')",
}


class Scope(NamedTuple):
    """The condition that selects many invocations, and its values; the alternative is a list of ids."""

    where: str
    params: Mapping[str, Any]


class ModelSteps(NamedTuple):
    """The responses of models by the index of their entry, and the number of payloads that were not read."""

    steps: dict[int, ModelStep]
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class AgentReader:
    """Reads runs of agents from one source; its list of columns is read once."""

    source: Source
    _columns: set[str] = field(default_factory=set)

    def check_payloads(self) -> None:
        """Check that the source has payloads.

        Raises:
            NotOnThisServer: it has none.
        """
        if self._content is None:
            raise NotOnThisServer(
                f"{self.source.name} has no payloads of journals, so the responses of models cannot be read. Freeze "
                f"the evidence with payloads=True, or read the live cluster."
            )

    def recent(self, scope: Scope, limit: int) -> dict[str, Row]:
        """Return id → the row of its invocation, newest first, for those in a scope."""
        return self._rows(_INVOCATIONS.format(where=scope.where, limit=limit), scope.params)

    def chosen(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return id → the row of its invocation, in the order of ``ids``."""
        rows: dict[str, Row] = {}
        for part in parts_of(ids, _AT_ONCE):
            rows |= self._rows(_INVOCATIONS.format(where="id IN :ids", limit=_AT_ONCE), {"ids": part})
        return {id_: rows[id_] for id_ in ids if id_ in rows}

    def session(self, row: Row, limit: int) -> dict[str, Row]:
        """Return id → the rows of the newest invocations of the same object, oldest first."""
        where = "target_service_name = :service AND target_service_key = :key"
        params = {"service": row["service"], "key": row["key"]}
        rows = self._rows(_INVOCATIONS.format(where=where, limit=limit), params)
        return dict(sorted(rows.items(), key=lambda each: (each[1]["created_at"], each[0])))

    def _rows(self, statement: str, params: Mapping[str, Any]) -> dict[str, Row]:
        rows: dict[str, Row] = {row["id"]: row for row in self._read(statement, params)}
        ready = [id_ for id_, row in rows.items() if row["status"] == "ready"]
        if ready and self.source.features.get("vqueues") and self._has("sys_vqueue_entry_status.entry_id"):
            for part in parts_of(ready, _AT_ONCE):
                rows |= {
                    each["id"]: {**rows[each["id"]], "status": "backing-off"}
                    for each in self._read(_BACKING_OFF, {"ids": part})
                }
        return rows

    def agents(self, ids: Sequence[str], *, first: int = 0) -> set[str]:
        """Return those of the ids whose journal has a response of a model, at the index ``first`` or later.

        No payload is read: the server searches for the signatures of the shapes. A payload can have one by chance, so
        this decides what is offered, and never a number. Empty if the source has no payloads.
        """
        if self._content is None:
            return set()
        statement = _AGENTS.format(signatures=_signatures(self._content))
        parts = parts_of(ids, _AT_ONCE)
        return {row["id"] for part in parts for row in self._read(statement, {"ids": part, "first": first})}

    def model_steps(
        self, ids: Sequence[str], shapes: Sequence[ShapeFunction], scope: Scope | None = None
    ) -> dict[str, ModelSteps]:
        """Return id → the responses of models in its journal, for those that have one, or payloads that were not read.

        With shapes of the user, every payload of a step is read.
        """
        statement = self._statement(_MODELS, filter_="" if shapes else f" AND {_FILTERS[self._content or 'raw']}")
        steps: defaultdict[str, dict[int, ModelStep]] = defaultdict(dict)
        excluded: defaultdict[str, int] = defaultdict(int)
        for row in self._stream(statement, ids, scope):
            step = model_step_of(row, shapes, most=MOST_BYTES)
            if step is not None:
                steps[row["id"]][row["index"]] = step
            elif row[self._content or "raw"] is None and (row["size"] or 0) > MOST_BYTES:
                excluded[row["id"]] += 1
        return {id_: ModelSteps(steps[id_], excluded[id_]) for id_ in ids if steps.get(id_) or excluded.get(id_)}

    def contents(self, ids: Sequence[str]) -> dict[str, dict[int, Content]]:
        """Return id → index → the payloads of the entry."""
        contents: defaultdict[str, dict[int, Content]] = defaultdict(dict)
        for row in self._stream(self._statement(_PAYLOADS), ids):
            contents[row["id"]][row["index"]] = content_of(row, most=MOST_BYTES)
        return contents

    def entries(self, rows: Mapping[str, Row], scope: Scope | None = None) -> dict[str, pa.Table]:
        """Return id → the entries of its journal without payloads."""
        entries: dict[str, pa.Table] = {}
        ended = {id_ for id_, row in rows.items() if row["ended"]}
        for where, params in _conditions(list(rows), scope):
            entries |= pair_entries(self._read_table(_STRUCTURE.format(where=where), params), ended=ended)
        return {id_: entries[id_] for id_ in rows if id_ in entries}

    def errors(self, ids: Sequence[str], scope: Scope | None = None) -> dict[str, list[Row]]:
        """Return id → the recorded errors of its attempts, in the order of their times; empty without events."""
        errors: defaultdict[str, list[Row]] = defaultdict(list)
        if self.has_events:
            for where, params in _conditions(ids, scope):
                for row in self._read(_ERRORS.format(where=where), params):
                    errors[row["id"]].append(row)
        return {id_: sorted(each, key=lambda row: row["appended_at"]) for id_, each in errors.items()}

    def copies(self, ids: Sequence[str]) -> dict[str, frozenset[int]]:
        """Return id → the indexes of the results of steps that restarts of it copied."""
        restarts = {row["id"]: row for part in parts_of(ids, _AT_ONCE) for row in self._read(_RESTARTS, {"ids": part})}
        copies: defaultdict[str, set[int]] = defaultdict(set)
        for part in parts_of(list(restarts), _AT_ONCE):
            for row in self._read(_COPIES, {"ids": part}):
                restart = restarts[row["id"]]
                if row["appended_at"] < restart["created_at"]:
                    copies[restart["restarted_from"]].add(row["index"])
        return {id_: frozenset(indexes) for id_, indexes in copies.items()}

    @property
    def has_events(self) -> bool:
        """Return whether the source has the errors of attempts."""
        return self._has("sys_journal_events.event_json")

    @property
    def _content(self) -> str | None:
        return content_column(self.source, self._has)

    def _statement(self, statement: str, filter_: str = "") -> str:
        """Return a statement with the column of payloads, which is null for a payload that is too large."""
        content = self._content or "raw"
        # a number in a list of bytes takes about four characters
        length = "raw_length" if content == "raw" else "character_length(entry_json) / 4"
        limited = f"CASE WHEN {length} <= {MOST_BYTES} THEN {content} END AS {content}"
        return statement.format(size=f"CAST({length} AS BIGINT)", content=limited, filter=filter_, where="{where}")

    def _stream(self, statement: str, ids: Sequence[str], scope: Scope | None = None) -> Iterator[Row]:
        wanted = set(ids)
        for where, params in _conditions(ids, scope):
            part = statement.format(where=where)
            with self.source.stream(part, params=dict(params), progress=False) as reader:
                check_columns(reader.schema, part, self.source)
                for batch in reader:
                    yield from (row for row in batch.to_pylist() if row["id"] in wanted)

    def _read(self, statement: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._read_table(statement, params).to_pylist()
        return rows

    def _read_table(self, statement: str, params: Mapping[str, Any]) -> pa.Table:
        table = self.source.arrow(statement, params=dict(params), progress=False)
        return check_columns(table, statement, self.source)

    def _has(self, column: str) -> bool:
        if not self._columns:
            tables = tables_of(self.source)
            self._columns.update(tables["table"] + "." + tables["column"])
        return column in self._columns


def scope_of(since: datetime, service: str | None) -> Scope:
    """Return the scope of the invocations that were created since a time, of one service or all."""
    if service is None:
        return Scope("created_at >= :since", {"since": since})
    return Scope("created_at >= :since AND target_service_name = :service", {"since": since, "service": service})


def _conditions(ids: Sequence[str], scope: Scope | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield conditions for all ids; a scan of the scope is faster than several lists of ids, and may select more."""
    if scope is not None and len(ids) > _AT_ONCE:
        yield f"id IN (SELECT id FROM sys_invocation_status WHERE {scope.where})", scope.params  # noqa: S608 - constants
    else:
        yield from (("id IN :ids", {"ids": part}) for part in parts_of(ids, _AT_ONCE))


def _signatures(column: str) -> str:
    """Return the condition that a payload has all strings of the signature of a shape."""
    return " OR ".join("(" + " AND ".join(_contains(column, text) for text in each) + ")" for each in SIGNATURES)


def _contains(column: str, text: str) -> str:
    quoted = f'"{text}"'.encode()
    if column == "raw":
        return f"encode(raw, 'hex') LIKE '%{quoted.hex()}%'"
    return f"entry_json LIKE '%,{','.join(map(str, quoted))},%'"
