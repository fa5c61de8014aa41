"""Read the runs of a cluster and return their rows as they were at an earlier time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.client.sql.bind import chunks
from restate_lab.history.past_status import OpenRun, Trace, open_status, trace_of_entry, trace_of_event
from restate_lab.history.table_rows import RowFetcher
from restate_lab.reads import CHUNK, Row
from restate_lab.status import IN_PROGRESS

RUNS = "sys_invocation_status"
_THERE = """created_at <= :time
  AND (completed_at IS NULL OR completed_at > :time OR completed_at + completion_retention > :time)"""
_EVENTS = """SELECT id, appended_at, event_type, CASE WHEN event_type = 'Suspended' THEN event_json END AS content
FROM sys_journal_events
WHERE event_type IN ('Paused', 'Suspended', 'TransientError')"""
_ENTRIES = """SELECT id, appended_at, entry_type,
  CASE WHEN entry_type = 'Command: Run' OR entry_type LIKE 'Notification: %' THEN entry_lite_json END AS content
FROM sys_journal"""
_MOST_BY_ID = 20_000
_LATER = ("running_at", "completed_at", "inboxed_at")
_OF_THE_END = ("completion_result", "completion_failure")
_OF_AN_ATTEMPT = ("pinned_deployment_id", "pinned_service_protocol_version")
_OF_A_SUSPENSION = (
    *("suspended_waiting_for_completions", "suspended_waiting_for_signals"),
    "suspended_waiting_future_json",
)


@dataclass(slots=True)
class _RunTraces:
    """What the traces of one run show about a time: how long its journal was, and when it last changed."""

    traces: list[Trace] = field(default_factory=list)
    entries: int = 0
    commands: int = 0
    changed_at: datetime | None = None

    def count(self, at: datetime, *, is_entry: bool, is_command: bool) -> None:
        self.entries += is_entry
        self.commands += is_command
        self.changed_at = at if self.changed_at is None else max(self.changed_at, at)


@dataclass(slots=True)
class PastRuns:
    """Reads the runs that had been created by ``time``, and were open then or still kept."""

    rows: RowFetcher
    time: datetime

    def read(self) -> pa.Table:
        """Return the rows of ``sys_invocation_status`` as they were, with two statuses that a server does not have."""
        runs = self.rows.fetch(RUNS, None, {}, condition=_THERE, params={"time": self.time})
        has_changed = self._has_changed(runs)
        changed, unchanged = runs.filter(has_changed), runs.filter(pc.invert(has_changed))
        evidence = self._read_evidence(changed)
        rows = [row | self._as_then(row, evidence[row["id"]]) for row in changed.to_pylist()]
        then = pa.Table.from_pylist(rows, schema=runs.schema)
        table = _without_vqueues(pa.concat_tables([_with_past_words(unchanged), then]))
        return table.sort_by([("created_at", "ascending"), ("id", "ascending")])

    def _has_changed(self, runs: pa.Table) -> Any:
        """Return whether the row of a run changed after the time, which makes its status of then a question."""
        is_known: Any = pc.less_equal(runs["modified_at"], pa.scalar(self.time, runs["modified_at"].type))
        return pc.invert(pc.fill_null(is_known, pa.scalar(value=False)))

    def _read_evidence(self, runs: pa.Table) -> dict[str, _RunTraces]:
        """Return the traces of the runs that had started and had not ended."""
        rows = runs.select(["id", "created_at", "running_at"]).to_pylist()
        created = {row["id"]: row["created_at"] for row in rows if self._is_past(row["running_at"])}
        evidence: dict[str, _RunTraces] = defaultdict(_RunTraces)
        for row in self._traces(_ENTRIES, created):
            if row["appended_at"] is None:  # an input that 1.6 wrote, of an invocation without a completed attempt
                continue
            known = evidence[row["id"]]
            if row["appended_at"] <= self.time:
                is_command = row["entry_type"].startswith("Command: ")
                known.count(row["appended_at"], is_entry=True, is_command=is_command)
            # A restarted run has copied entries, which are older than the run.
            if row["appended_at"] >= created[row["id"]]:
                _add(known, trace_of_entry(row["appended_at"], row["entry_type"], row["content"]))
        for row in self._traces(_EVENTS, created):
            known = evidence[row["id"]]
            if row["appended_at"] <= self.time:
                known.count(row["appended_at"], is_entry=False, is_command=False)
            _add(known, trace_of_event(row["appended_at"], row["event_type"], row["content"]))
        return evidence

    def _traces(self, statement: str, ids: Mapping[str, Any]) -> Iterator[Row]:
        """Yield the rows of a statement of these runs: by id, or in one scan of all runs."""
        if len(ids) <= _MOST_BY_ID:
            by_id = f"{statement} {'AND' if 'WHERE' in statement else 'WHERE'} id IN :ids"
            for part in chunks(sorted(ids), CHUNK):
                yield from self._stream(by_id, ids, {"ids": part})
        else:
            yield from self._stream(statement, ids, {})

    def _stream(self, statement: str, ids: Mapping[str, Any], params: dict[str, Any]) -> Iterator[Row]:
        progress, wanted = self.rows.progress, pa.array(list(ids), pa.large_string())
        with self.rows.reads.stream(
            statement, params=params, max_bytes=self.rows.max_bytes, progress=progress
        ) as reader:
            for batch in reader:
                yield from batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist()

    def _as_then(self, row: Row, evidence: _RunTraces) -> Row:
        """Return the values of the columns that had other values at the time."""
        values: Row = {name: row[name] if self._is_past(row[name]) else None for name in _LATER if name in row}
        values |= dict.fromkeys((*_OF_THE_END, *_OF_A_SUSPENSION))
        times = [row["created_at"], *(each for each in values.values() if isinstance(each, datetime))]
        if evidence.changed_at is not None:
            times.append(evidence.changed_at)
        values["modified_at"] = max(times)
        if values["running_at"] is None:
            values |= dict.fromkeys(_OF_AN_ATTEMPT) | {"status": self._before_start(row)}
        elif values["completed_at"] is not None:
            # Nothing but the expiry of its journal changes a run that has ended.
            values |= {name: row[name] for name in _OF_THE_END} | {"status": "completed"}
            values["modified_at"] = row["completed_at"]
        else:
            protocol = row["pinned_service_protocol_version"]
            run = OpenRun(row["status"], row["running_at"], row["modified_at"], protocol)
            values["status"] = open_status(run, evidence.traces, self.time)
        if values["running_at"] is None:
            values |= dict.fromkeys(("journal_size", "journal_commands_size"))
        elif evidence.entries:
            values |= {"journal_size": evidence.entries, "journal_commands_size": evidence.commands}
        if values["status"] == "suspended":
            values |= _awaited(evidence.traces, self.time)
        return values

    def _before_start(self, row: Row) -> str:
        start = row["scheduled_start_at"]
        return "scheduled" if start is not None and start > self.time else "inboxed"

    def _is_past(self, at: datetime | None) -> bool:
        return at is not None and at <= self.time


def _with_past_words(runs: pa.Table) -> pa.Table:
    """Return unchanged runs with the word of the past for the status that a server calls "invoked"."""
    status: Any = runs["status"]
    words: Any = pc.if_else(
        pc.equal(status, pa.scalar("invoked", status.type)), pa.scalar(IN_PROGRESS, status.type), status
    )
    return runs.set_column(runs.schema.get_field_index("status"), runs.schema.field("status"), words)


def _without_vqueues(runs: pa.Table) -> pa.Table:
    """Return runs without the ids of vqueues, of which nothing is recorded."""
    at = runs.schema.get_field_index("vqueue_id")
    if at < 0:
        return runs
    field = runs.schema.field(at)
    return runs.set_column(at, field, pa.nulls(len(runs), field.type))


def _add(evidence: _RunTraces, trace: Trace | None) -> None:
    if trace is not None:
        evidence.traces.append(trace)


def _awaited(traces: list[Trace], time: datetime) -> Row:
    """Return the results that a run waited for, in the columns of its row.

    The lists have the results that are not in a combination, as on a server.
    """
    last = max((each for each in traces if each.kind == "suspended" and each.at <= time), key=lambda each: each.at)
    parts = next(iter(last.awaits.values()), ()) if isinstance(last.awaits, dict) else ()
    numbers: dict[str, list[int]] = {"CompletionId": [], "SignalIndex": []}
    for part in parts if isinstance(parts, list) else ({"Single": parts},):
        for kind, number in (part.get("Single") or {}).items():
            if isinstance(number, int) and kind in numbers:
                numbers[kind].append(number)
    return {
        "suspended_waiting_for_completions": sorted(numbers["CompletionId"]),
        "suspended_waiting_for_signals": sorted(numbers["SignalIndex"]),
        "suspended_waiting_future_json": json.dumps(last.awaits, separators=(",", ":")),
    }


def held_keys(runs: pa.Table, exclusive: set[tuple[str, str]]) -> tuple[pa.Table, pa.Table]:
    """Return the holders of the keys of virtual objects, and the calls that wait for them, as an older server has them.

    ``exclusive`` has the service and handler of the handlers that hold a key while an invocation of them is open.
    """
    holders: list[Row] = []
    waiting: list[Row] = []
    names = ("id", "status", "target_service_name", "target_handler_name", "target_service_key", "created_at")
    services: Any = pa.array(sorted({service for service, _ in exclusive}), runs.schema.field(names[2]).type)
    for row in runs.select(names).filter(pc.is_in(runs[names[2]], value_set=services)).to_pylist():
        service, key = row["target_service_name"], row["target_service_key"]
        if (service, row["target_handler_name"]) not in exclusive or row["status"] in {"scheduled", "completed"}:
            continue
        place = {"service_name": service, "service_key": key}
        if row["status"] == "inboxed":
            waiting.append({**place, "id": row["id"], "sequence_number": len(waiting), "created_at": row["created_at"]})
        else:
            holders.append({**place, "invocation_id": row["id"]})
    return pa.Table.from_pylist(holders, schema=HOLDERS), pa.Table.from_pylist(waiting, schema=WAITING)


_PLACE: list[tuple[str, pa.DataType]] = [("service_name", pa.large_string()), ("service_key", pa.large_string())]
HOLDERS = pa.schema([*_PLACE, ("invocation_id", pa.large_string())])
WAITING = pa.schema(
    [*_PLACE, ("id", pa.large_string()), ("sequence_number", pa.uint64()), ("created_at", pa.timestamp("ms", "+00:00"))]
)
"""The columns of ``sys_keyed_service_status`` and ``sys_inbox``, which version 1.8 does not have."""
