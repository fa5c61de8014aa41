"""Read from the server what a visit archives, masked and with the types of the archive.

Servers have no index on times, so a visit reads the ids of all ended runs first, and then all columns of the new ones.
Journals and events have no column that identifies the run, so they are read before the invocations: a run whose row
still has the ``created_at`` of the list is the run that the journal belongs to.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.client.schema import check_types
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ArgumentError
from restate_lab.evidence.manifest import SourceColumn
from restate_lab.evidence.masking import ColumnMask, MaskCounts, column_masks, mask_batch
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.tables import SourceSchema, quote_name
from restate_lab.history.tables import TABLES, describe_changes, describe_conflicts, to_archive
from restate_lab.progress import Progress
from restate_lab.reads import Reads

_ENDED = """
SELECT id, created_at, completed_at FROM sys_invocation_status
WHERE completed_at IS NOT NULL AND created_at IS NOT NULL AND {of_services}"""
_COUNTS = """
SELECT target_service_name AS service, target_handler_name AS handler, status, count(*) AS invocations,
  min(created_at) AS oldest_created_at, min(completion_retention) AS shortest_retention
FROM sys_invocation_status WHERE {of_services} GROUP BY 1, 2, 3"""
_BACKLOG = """
SELECT service, key, 'inboxed' AS status, invocations FROM (
-- if: sys_inbox
SELECT service_name AS service, service_key AS key, count(*) AS invocations FROM sys_inbox GROUP BY 1, 2
-- if: sys_vqueue_meta
SELECT service_name AS service, lock_name AS key, CAST(num_inbox AS BIGINT) AS invocations
FROM sys_vqueue_meta WHERE lock_name IS NOT NULL AND num_inbox > 0
-- end
) WHERE {of_services} ORDER BY invocations DESC, service, key LIMIT 20"""
_SHORTEST = "shortest_retention_ms"
STEP = "Notification: Run"
"""The type of the entries that can have the response of a model."""
_AT_ONCE = 1_000  # ids in a statement
_AT_ONCE_WITH_PAYLOADS = 200
_KEYS = ("id", "created_at", "completed_at")
# Of a call, the completion with its result; a one-way call has only the one with the id of the callee.
_COMPLETIONS = (
    r'"(?:result_completion_id|completion_id|CompletionId)":(?P<part>\d+)',
    r'"invocation_id_completion_id":(?P<part>\d+)',
)
_RESULT = r'"result":"(?P<part>[A-Za-z]+)"'
_OF_EVENTS = ("event_hash", "error_code", "error_line", "related_command")


@dataclass(slots=True)
class RunRows:
    """The rows of some new runs by table, without the number of the visit, and the ids that are gone."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    gone: int = 0

    @property
    def size(self) -> int:
        """Return the size of all rows in memory, in bytes."""
        return sum(table.nbytes for table in self.tables.values())

    def add(self, other: RunRows) -> None:
        """Add the rows of other runs."""
        self.gone += other.gone
        for name, rows in other.tables.items():
            mine = self.tables.get(name)
            self.tables[name] = rows if mine is None else pa.concat_tables([mine, rows], promote_options="permissive")


@dataclass(slots=True)
class ServerReader:
    """Reads one cluster; ``seconds`` has the duration of the reads by kind, ``notes`` what cannot be stored.

    ``services``: the only services whose ended runs and samples are read; () reads all.
    """

    source: Reads
    agents: AgentReader
    columns: Mapping[str, Sequence[SourceColumn]]
    masks: Mapping[str, Mapping[str, ColumnMask]]
    at_once: int
    progress: Progress
    notes: set[str]
    services: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    _rows: int = 0

    def ended_runs(self) -> pa.Table:
        """Return ``id, created_at, completed_at`` of all ended runs, in the order in which they ended."""
        started = time.monotonic()
        rows = to_archive(self._query_services(_ENDED, "target_service_name"))
        self.seconds["ids"] = time.monotonic() - started
        return rows.sort_by([("completed_at", "ascending"), ("id", "ascending")])

    def samples(self) -> tuple[pa.Table, list[dict[str, Any]]]:
        """Return the numbers of invocations, without the columns of the visit, and the retention of the open ones.

        The latter has the shortest retention per handler and status; it is fixed when an invocation is created.
        """
        started = time.monotonic()
        statements = ((_COUNTS, "target_service_name"), (_BACKLOG, "service"))
        parts = [to_archive(self._query_services(*each)) for each in statements]
        self.seconds["samples"] = time.monotonic() - started
        counts = parts[0].filter(pc.not_equal(parts[0]["status"], pa.scalar("completed")))
        open_ones = counts.select(["service", "handler", _SHORTEST]).to_pylist()
        return pa.concat_tables([parts[0].drop_columns([_SHORTEST]), parts[1]], promote_options="permissive"), open_ones

    def _query_services(self, statement: str, column: str) -> pa.Table:
        condition = f"{column} IN :services" if self.services else "true"
        params = {"services": list(self.services)} if self.services else None
        return self.source.query(statement.format(of_services=condition), params)

    def details(self, runs: pa.Table) -> RunRows:
        """Return the rows of runs, which are rows of ``ended_runs``."""
        started = time.monotonic()
        rows = RunRows()
        for ids in chunks(_texts(runs["id"]), self.at_once):
            part = runs.filter(pc.is_in(runs["id"], pa.array(ids, pa.string())))
            rows.add(self._details(part, ids))
            self._rows += len(ids)
            self.progress.update(self._rows, rows.size)
        self.seconds["details"] = self.seconds.get("details", 0.0) + time.monotonic() - started
        return rows

    def _details(self, runs: pa.Table, ids: list[str]) -> RunRows:
        journal, events = (self.read(name, "id IN :ids", ids=ids) for name in ("journal", "events"))
        types: Any = journal["entry_type"]  # a journal without the result of a step has no response of a model
        steps = self._agent_steps(_texts(pc.unique(journal.filter(pc.equal(types, pa.scalar(STEP)))["id"])))
        invocations = _same_runs(self.read("invocations", "id IN :ids", ids=ids), runs)
        invocations = invocations.append_column("day", pc.cast(invocations["completed_at"], pa.date32()))
        tables = {
            "invocations": invocations,
            "journal": with_run(with_entry_columns(journal), invocations),
            "events": with_run(with_event_columns(events), invocations),
            "agent_steps": with_run(with_appended_at(steps, journal), invocations, ("service", "handler")),
        }
        return RunRows(tables, gone=len(ids) - len(invocations))

    def read(self, table: str, where: str = "", **params: Any) -> pa.Table:
        """Return rows of the server's table that ``table`` of the archive copies."""
        name, columns = TABLES[table].copies, self.columns[table]
        statement = f"SELECT {', '.join(quote_name(each.name) for each in columns)} FROM {quote_name(name)}"  # noqa: S608 - names from the server itself
        if where:
            statement += f" WHERE {where}"
        with self.source.stream(statement, params=params) as reader:
            schema = check_types(reader.schema, {each.name: each.type for each in columns}, statement, self.source)
            masked = [mask_batch(batch, self.masks[table], MaskCounts()) for batch in reader]
            rows = pa.Table.from_batches(masked, schema)
        self.notes.update(describe_changes(name, schema))
        return to_archive(rows)

    def _agent_steps(self, ids: list[str]) -> pa.Table:
        table = agent_steps(self.agents, ids)
        masks = self.masks["agent_steps"]
        return pa.Table.from_batches(
            [mask_batch(each, masks, MaskCounts()) for each in table.to_batches()], table.schema
        )


def agent_steps(reader: AgentReader, ids: list[str]) -> pa.Table:
    """Return the responses of models in runs, with the archive's columns except those of the run and the entry."""
    own = TABLES["agent_steps"].own
    agents = sorted(reader.agents(ids))
    found = reader.model_steps(agents, (), has_text=False) if agents else {}
    rows = [
        {
            "id": id_,
            "index": index,
            "framework": step.framework,
            "model": step.model or step.model_asked,
            "finish_reason": step.finish,
            "tool_names": [call.name for call in step.tool_calls],
            "input_tokens": step.input_tokens,
            "cached_tokens": step.cached_tokens,
            "output_tokens": step.output_tokens,
            "reasoning_tokens": step.reasoning_tokens,
        }
        for id_, steps in found.items()
        for index, step in steps.steps.items()
    ]
    names = [name for name in own if name not in _SET_LATER]
    return pa.Table.from_pylist(rows, pa.schema([(name, own[name]) for name in names]))


_SET_LATER = frozenset({"cluster_name", "day", "visit", "created_at", "service", "handler", "appended_at"})


def server_reader(
    source: Reads, schema: SourceSchema, redact: str | Iterable[str] | None, *, payloads: bool, progress: Progress
) -> ServerReader:
    """Return the reader of a cluster.

    Raises:
        ArgumentError: a pattern is malformed, matches no column, or would mask the identity of runs.
    """
    patterns = parse_patterns(redact, {**schema.columns, "agent_steps": list(TABLES["agent_steps"].own)})
    covered = [name for name in _KEYS if any(each.covers("sys_invocation_status", name) for each in patterns)]
    if covered:
        raise ArgumentError(f"redact= matches {', '.join(covered)}, which identify the runs of an archive.")
    columns, notes = {}, set[str]()
    for name, table in TABLES.items():
        if not table.copies:
            continue
        wanted = [each for each in schema.tables[table.copies].columns if each.name not in table.left_out]
        if not payloads:  # unknown binary columns can have payloads
            wanted = [each for each in wanted if each.name not in table.payloads and "Binary" not in (each.type or "")]
        conflicts = describe_conflicts(name, [(each.name, each.type or "") for each in wanted])
        columns[name] = [each for each in wanted if each.name not in conflicts]
        notes.update(conflicts.values())
    masks = {
        name: column_masks(
            TABLES[name].copies,
            [each.name for each in columns[name]],
            patterns,
            views=schema.tables[TABLES[name].copies].views,
        )
        for name in columns
    }
    masks["agent_steps"] = column_masks("agent_steps", TABLES["agent_steps"].own, patterns)
    at_once = _AT_ONCE_WITH_PAYLOADS if payloads else _AT_ONCE
    return ServerReader(source, AgentReader(source), columns, masks, at_once, progress, notes)


def _same_runs(invocations: pa.Table, runs: pa.Table) -> pa.Table:
    place = pc.index_in(invocations["id"], runs["id"].combine_chunks())
    expected = runs["created_at"].take(place)
    is_same = pc.and_(pc.equal(invocations["created_at"], expected), pc.is_valid(invocations["completed_at"]))
    is_kept: Any = pc.fill_null(is_same, pa.scalar(value=False))
    return invocations.filter(is_kept)


def with_run(rows: pa.Table, invocations: pa.Table, more: Sequence[str] = ()) -> pa.Table:
    """Return the rows of these invocations, with the columns that identify the run; ``more`` are parts of its target.

    ``invocations`` also has ``day``.
    """
    place = pc.index_in(rows["id"], invocations["id"].combine_chunks())
    is_known: Any = pc.is_valid(place)
    rows = rows.filter(is_known)
    place = pc.drop_null(place)
    columns = {"created_at": "created_at", "day": "day", **{name: f"target_{name}_name" for name in more}}
    for name, column in columns.items():
        rows = rows.append_column(name, invocations[column].take(place))
    return rows


def _texts(column: Any) -> list[str]:
    texts: list[str] = column.to_pylist()
    return texts


def with_appended_at(steps: pa.Table, journal: pa.Table) -> pa.Table:
    """Return steps with the times of their entries in ``journal``."""
    entries = journal.select(["id", "index", "appended_at"]).to_pylist() if len(steps) else []
    times = {(row["id"], row["index"]): row["appended_at"] for row in entries}
    values = [times.get((row["id"], row["index"])) for row in steps.select(["id", "index"]).to_pylist()]
    return steps.append_column("appended_at", pa.array(values, TABLES["agent_steps"].own["appended_at"]))


def with_entry_columns(journal: pa.Table) -> pa.Table:
    """Return the entries with the archive's own columns, taken out of ``entry_lite_json``."""
    lite = journal["entry_lite_json"]
    texts = pc.coalesce(*(_first_group(lite, regex) for regex in _COMPLETIONS))
    journal = journal.append_column("completion_id", pc.cast(texts, pa.int64()))
    return journal.append_column("result", _first_group(lite, _RESULT))


def with_event_columns(events: pa.Table) -> pa.Table:
    """Return the events with the archive's own columns, taken out of ``event_json``."""
    own = TABLES["events"].own
    rows = [_event_values(text) for text in events["event_json"].to_pylist()]
    for place, name in enumerate(_OF_EVENTS):
        events = events.append_column(name, pa.array([row[place] for row in rows], own[name]))
    return events


def _event_values(text: str | None) -> tuple[str | None, ...]:
    """Return the values of ``_OF_EVENTS``; all but the hash are null for a text that is not JSON."""
    try:
        event = json.loads(text or "")
    except ValueError:
        event = None
    values = event if isinstance(event, dict) else {}
    lines = str(values.get("error_message") or "").strip().splitlines()
    command = values.get("related_command_name") or values.get("related_command_type")
    digest = None if text is None else hashlib.sha256(text.encode()).hexdigest()
    code = values.get("error_code")
    return digest, None if code is None else str(code), lines[0] if lines else None, command and str(command)


def _first_group(texts: Any, regex: str) -> Any:
    """Return the part of each text that the group ``part`` matches; null without a match."""
    return pc.struct_field(pc.extract_regex(texts, regex), "part")
