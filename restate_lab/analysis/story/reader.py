"""Read what a story needs: rows and journals by id, and the scans for relations that no journal of a member names.

All times are milliseconds since 1970, because a story can have 100,000 entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from restate_lab.analysis.agents import read_agent_runs
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.ids import invocation_of_awakeable
from restate_lab.analysis.journal.awaited import AWAITED_SQL
from restate_lab.analysis.journal.entries import PairedEntries, pair_entries
from restate_lab.analysis.journal.reader import CHUNK, JournalReader
from restate_lab.analysis.story.journals import StoryJournal, journal_of
from restate_lab.analysis.story.result import entry_frame
from restate_lab.analysis.story.runs import StoryRun, plain_id
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import NotOnThisServer, TimedOut
from restate_lab.frames import records
from restate_lab.payload_json import Decoding
from restate_lab.reads import Reads
from restate_lab.source import read_once
from restate_lab.status import STATUS_SQL

pc: Any = pyarrow.compute  # the type stubs do not allow plain values as arguments
_MOST_DECODED = 1_000  # runs whose payloads are decoded to find agents
_AT_ONCE = 2_000  # ids in a scan: a server needs one hash table for them
_ROWS = f"""
SELECT id, target, target_service_name AS service, target_handler_name AS handler, target_service_key AS key,
  target_service_ty AS service_type, status = 'completed' AS ended, {STATUS_SQL} AS status, journal_size, retry_count,
  created_at, running_at, completed_at, last_start_at,
  CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END AS scheduled_start_at,
  completion_failure, last_failure, invoked_by_id, restarted_from,
  -- if: sys_invocation.trace_id
  trace_id,
  -- else
  NULL AS trace_id,
  -- end
  -- if: sys_invocation.scope
  scope,
  -- else
  NULL AS scope,
  -- end
  {AWAITED_SQL}
FROM sys_invocation WHERE id IN :ids"""  # noqa: S608 - constants
_QUEUE_ATTEMPTS = """
-- with: backing_off
SELECT id, retry_attempts AS attempts FROM backing_off WHERE id IN :ids"""
_EVENTS = """
SELECT id, appended_at, event_type FROM sys_journal_events
WHERE id IN :ids AND event_type IN ('TransientError', 'Paused') ORDER BY appended_at"""
_EARLIER = "SELECT id FROM sys_invocation_status WHERE id LIKE '%@%'"
_RELATED = """
SELECT id FROM sys_invocation_status WHERE invoked_by_id IN :callers OR restarted_from IN :ids
  -- if: sys_invocation_status.trace_id
  OR trace_id IN :traces
  -- else
  -- end"""
_TRACE = "SELECT id FROM sys_invocation_status WHERE trace_id = :trace ORDER BY created_at, id LIMIT :limit"
_KEY = """
SELECT id, target_service_name AS service, target_service_key AS key FROM sys_invocation_status
WHERE target_service_key IN :keys AND created_at >= :since ORDER BY created_at DESC, id LIMIT :limit"""
_WORKFLOWS = """
SELECT id, target_service_name AS service, target_service_key AS key FROM sys_invocation_status
WHERE target_service_key IN :keys AND target_service_name IN :services"""
_NAMING = """
SELECT id, entry_lite_json AS body FROM sys_journal
WHERE entry_type IN ('Command: Call', 'Command: OneWayCall', 'Command: AttachInvocation',
  'Command: GetInvocationOutput', 'Command: CompleteAwakeable', 'Command: SendSignal')"""
_ORIGINS = "SELECT id, origin FROM origins WHERE id IN :ids"
_NAMED = r'"(?:invocation_id|target_invocation_id|InvocationId)":\s*"(?P<value>inv_1[0-9A-Za-z]{33})"'
_AWAKEABLE = r'"id":\s*"(?P<value>sign_1[^"\\]+)"'
_MAY_BACK_OFF = frozenset({"ready", "paused"})
_TEXT = pa.large_string()


@dataclass(frozen=True, slots=True)
class JournalSearch:
    """The pairs of an invocation and an id that its journal names, of all journals."""

    owners: pa.ChunkedArray[Any]
    named: pa.ChunkedArray[Any]

    def naming(self, ids: Iterable[str]) -> list[str]:
        """Return the ids of the invocations whose journals name any of ``ids``."""
        wanted = pc.is_in(self.named, pa.array(list(ids), _TEXT))
        owners: list[str] = pc.unique(self.owners.filter(wanted)).to_pylist()
        return owners


@dataclass(frozen=True)
class StoryReader:
    """Reads invocations of one source; ``tables`` has the entries that were read, with the id of their run."""

    reads: Reads
    tables: list[pa.Table] = field(default_factory=list)

    def runs(self, ids: Iterable[str]) -> Iterator[StoryRun]:
        """Yield all runs of these ids that the source has; a history has earlier runs under ids of their own."""
        wanted = [own for id_ in dict.fromkeys(ids) for own in (id_, *self._earlier.get(id_, ()))]
        for part in chunks(wanted, _AT_ONCE):
            rows = _rows_of(self.reads.query(_ROWS, {"ids": part}))
            may_back_off = [row["id"] for row in rows if row["status"] in _MAY_BACK_OFF]
            queues = {row["id"]: row["attempts"] for row in self.reads.query_of(_QUEUE_ATTEMPTS, may_back_off)}
            yield from (StoryRun.of(row, queues.get(row["id"])) for row in rows)

    def journals(self, runs: Sequence[StoryRun]) -> Iterator[StoryJournal]:
        """Yield the journal of each run, also an empty one."""
        for layer in _distinct(runs):
            for start in range(0, len(layer), CHUNK):
                part = layer[start : start + CHUNK]
                ids = [run.id for run in part]
                rows, events = self.reads.together([partial(_read_entries, ids=ids), partial(_read_events, ids=ids)])
                yield from self._journals(part, rows, events)

    def related(self, callers: Sequence[str], ids: Sequence[str], traces: Sequence[str]) -> list[str]:
        """Return the ids of invocations called by ``callers``, restarted from ``ids``, or with one of ``traces``."""
        found: dict[str, None] = {}
        parts = [list(chunks(each, _AT_ONCE)) for each in (callers, ids, traces)]
        for place in range(max(map(len, parts))):
            names = zip(("callers", "ids", "traces"), parts, strict=True)
            params = {name: part[place] if place < len(part) else [""] for name, part in names}
            found.update(dict.fromkeys(self._ids(_RELATED, params)))
        return list(found)

    def of_trace(self, trace: str, limit: int) -> list[str]:
        """Return the ids with this trace id, the oldest first; at most one more than ``limit``."""
        if not self.reads.has("sys_invocation_status.trace_id"):
            return []
        return self._ids(_TRACE, {"trace": trace, "limit": limit + 1})

    def of_key(self, keys: Sequence[str], since: Any, limit: int) -> list[dict[str, Any]]:
        """Return ``id, service, key`` of invocations of these keys, the newest first; at most one more than limit."""
        rows: list[dict[str, Any]] = self.reads.query(
            _KEY, {"keys": list(keys), "since": since, "limit": limit + 1}
        ).to_pylist()
        return rows

    def of_workflows(self, workflows: Iterable[tuple[str, str]]) -> list[str]:
        """Return the ids of all invocations of these workflows, (service, key)."""
        wanted = set(workflows)
        found = []
        for part in chunks(sorted({key for _, key in wanted}), _AT_ONCE):
            params = {"keys": part, "services": sorted({service for service, key in wanted if key in set(part)})}
            rows = self.reads.query(_WORKFLOWS, params).to_pylist()
            found += [row["id"] for row in rows if (row["service"], row["key"]) in wanted]
        return found

    def search(self) -> JournalSearch:
        """Return which invocation names which in its journal; this reads commands of all journals."""
        owners, named = [], []
        if not self.reads.has("sys_journal"):
            return JournalSearch(pa.chunked_array([], _TEXT), pa.chunked_array([], _TEXT))
        for batch in self.reads.batches(_NAMING, max_bytes=None):
            body = batch["body"].cast(_TEXT)
            ids = pc.struct_field(pc.extract_regex(body, _NAMED), "value")
            awakeables = pc.struct_field(pc.extract_regex(body, _AWAKEABLE), "value")
            owners.append(batch["id"].cast(_TEXT))
            named.append(pc.coalesce(ids, _owners_of(awakeables)).cast(_TEXT))
        return JournalSearch(pa.chunked_array(owners, _TEXT), pa.chunked_array(named, _TEXT))

    def origins(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return id → "server" or "archive" on a source that joins both."""
        if not self.reads.has("origins"):
            return {}
        return {row["id"]: row["origin"] for row in self.reads.query_of(_ORIGINS, ids, chunk=_AT_ONCE)}

    def costs(
        self, decoding: Decoding | None, journals: Iterable[StoryJournal]
    ) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Return id → ``model_calls, tokens, cost`` of the runs that are agents, and the reasons for missing ones."""
        with_steps = [journal.run.id for journal in journals if journal.may_have_model]
        agents, reasons = AgentReader(self.reads, decoding), []
        try:
            ids = with_steps[:_MOST_DECODED] if decoding else list(agents.agents(with_steps))
            rows = records(read_agent_runs(self.reads, ids=ids)) if ids else []
        except NotOnThisServer:
            return {}, []
        except TimedOut as error:
            return {}, [f"the tokens and costs of agents were not read: {error}"]
        if decoding and len(with_steps) > _MOST_DECODED:
            reasons = [f"of {len(with_steps):,} invocations with steps, {_MOST_DECODED:,} were searched for agents"]
        fields = {"model_calls": "model_calls", "tokens": "spent_tokens", "cost": "cost"}
        return {row["id"]: {name: row[column] for name, column in fields.items()} for row in rows}, reasons

    def entries(self, members: Iterable[str]) -> pd.DataFrame:
        """Return the entries of these members as the frame ``entries`` of a story."""
        if not self.tables:
            return entry_frame()
        table = pa.concat_tables(self.tables)
        rows = table.filter(pc.is_in(table["id"], pa.array(list(members), _TEXT)))
        return entry_frame(**{name: rows[name].to_pandas() for name in rows.column_names})

    def _journals(
        self, runs: Sequence[StoryRun], rows: pa.Table | None, events: Sequence[Mapping[str, Any]]
    ) -> Iterator[StoryJournal]:
        by_id: dict[str, list[tuple[int, str]]] = {}
        for event in events:
            by_id.setdefault(event["id"], []).append((event["appended_at"], event["event_type"]))
        entries: dict[str, list[Any]] = {}
        counts: dict[str, int] = {}
        if rows is not None and rows.num_rows:
            plain = pc.replace_substring_regex(rows["id"].cast(_TEXT), "@.*$", "")
            paired = pair_entries(rows.set_column(0, "id", plain), ended={run.plain for run in runs if run.has_ended})
            columns = [_values(paired.table[name]) for name in _ENTRY]
            for id_, (start, end) in zip(paired.ids, pairwise(paired.bounds), strict=True):
                entries[id_] = list(zip(*(column[start:end] for column in columns), strict=True))
            counts = {each["values"]: each["counts"] for each in pc.value_counts(plain).to_pylist()}
            self.tables.append(_with_ids(paired, runs))
        for run in runs:
            yield journal_of(run, entries.get(run.plain, []), by_id.get(run.id, ()), counts.get(run.plain, 0))

    @read_once
    def _earlier(self) -> Mapping[str, Sequence[str]]:
        if self.reads.live and not self.reads.has("visits"):
            return {}
        earlier: dict[str, list[str]] = {}
        for id_ in self._ids(_EARLIER, {}):
            earlier.setdefault(plain_id(id_), []).append(id_)
        return earlier

    def _ids(self, statement: str, params: Mapping[str, Any]) -> list[str]:
        return [str(id_) for id_ in self.reads.query(statement, params)["id"].to_pylist()]


def _read_entries(reads: Reads, ids: Sequence[str]) -> pa.Table | None:
    return JournalReader(reads).read(ids) if reads.has("sys_journal") else None


def _read_events(reads: Reads, ids: Sequence[str]) -> list[dict[str, Any]]:
    return _rows_of(reads.query(_EVENTS, {"ids": list(ids)})) if reads.has("sys_journal_events") else []


def _distinct(runs: Sequence[StoryRun]) -> Iterator[list[StoryRun]]:
    """Yield the runs in layers in which each plain id is once, because journals are paired by the plain id."""
    left = list(runs)
    while left:
        layer = {run.plain: run for run in reversed(left)}
        yield list(layer.values())
        chosen = {run.id for run in layer.values()}
        left = [run for run in left if run.id not in chosen]


_ENTRY = (
    *("entry_type", "index", "name", "status", "started", "completed", "callee"),
    *("callee_target", "promise", "awakeable_id", "result", "size"),
)


def _with_ids(paired: PairedEntries, runs: Sequence[StoryRun]) -> pa.Table:
    """Return the entries of runs with the ids of the runs, without copies from the run that one was restarted from."""
    by_plain = {run.plain: run for run in runs}
    counts = np.diff(paired.bounds)
    own = [by_plain[id_] for id_ in paired.ids]
    places: Any = np.repeat(np.arange(len(own)), counts)
    ids = pa.array([run.id for run in own], _TEXT).take(pa.array(places))
    least = np.repeat([run.created if run.restarted else 0 for run in own], counts)
    table = paired.table.select(["index", "entry_type", "name", "status", "started", "completed"])
    at = pc.coalesce(table["started"], table["completed"]).cast(pa.int64())
    return table.add_column(0, "id", ids).filter(pc.greater_equal(pc.fill_null(at, 1 << 62), pa.array(least)))


def _rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as dicts, with times in milliseconds: several times as fast as with datetimes."""
    columns = {name: _values(table[name]) for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values


def _owners_of(awakeables: pa.Array[Any]) -> pa.Array[Any]:
    owners = [each and invocation_of_awakeable(each) for each in awakeables.to_pylist()]
    return pa.array(owners, _TEXT)
