"""Read journals from a source with a few point reads, for any number of invocations and any kind of server.

The structure is read from ``entry_lite_json``. The column ``entry_json`` has each payload as an array of numbers, which
is four times as large as the payload. It is read only with ``payloads`` and for steps that failed finally, because no
other column has their reason. The server builds this column for the whole journal even for a few entries, so it is not
read for very large journals.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.journal.awaited import AWAITED_SQL, Awaited, awaited_tree, open_signals
from restate_lab.analysis.journal.entries import ENTRY_TYPES, FAILED, entries_of, pair_entries, table_of
from restate_lab.analysis.journal.errors import SUSPENDED, JournalEvent, parse_event
from restate_lab.analysis.journal.payloads import Payloads, payloads_of
from restate_lab.payload_json import Decoding
from restate_lab.reads import Reads
from restate_lab.status import STATUS_SQL

_INVOCATIONS = f"""
SELECT id, created_at, target, status = 'completed' AS ended, {STATUS_SQL} AS status, journal_size, retry_count,
  completed_at, journal_retention, completion_failure, pinned_deployment_id, next_retry_at, last_start_at,
  last_failure, last_failure_related_command_index AS command_index, {AWAITED_SQL}
FROM sys_invocation WHERE id IN :ids ORDER BY created_at"""  # noqa: S608 - constants
_MAY_BACK_OFF = {"ready", "paused"}  # the statuses that the server reports of a long back-off in a vqueue
_QUEUE_ATTEMPTS = """
-- with: backing_off
SELECT id, retry_attempts AS attempts, next_at AS next_retry_at FROM backing_off WHERE id IN :ids"""
_ENTRIES = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json{columns},
  -- if: sys_journal.raw_length
  raw_length AS size
  -- else
  CAST(NULL AS BIGINT) AS size
  -- end
FROM sys_journal WHERE id IN :ids{condition}"""
_INPUTS = """
SELECT id, {content}
FROM sys_journal
WHERE index = 0 AND {is_small}{of_ids}"""
_PAYLOADS_OF_SOME = "SELECT index, entry_json FROM sys_journal WHERE id = :id AND index IN :indexes"
_ORIGIN = "SELECT id, origin FROM origins WHERE id = :id"
_EVENTS = """
SELECT e.id, e.after_journal_entry_index, e.appended_at, e.event_type,
  json_get_str(e.error, 'error_message') AS message, json_get_str(e.error, 'restate_doc_error_code') AS code,
  json_get_int(e.error, 'related_command_index') AS command_index,
  json_get_str(e.error, 'related_command_type') AS command_type,
  json_get_str(e.error, 'related_command_name') AS command_name, e.awaiting_on
FROM (
  SELECT id, after_journal_entry_index, appended_at, event_type,
    CASE WHEN event_type = 'Suspended' THEN json_get_json(event_json, 'awaiting_on') END AS awaiting_on,
    coalesce(json_get_json(event_json, 'last_failure'), event_json) AS error
  FROM sys_journal_events WHERE id IN :ids) e"""
_JSON_BYTES = 4  # characters of entry_json for each byte of a payload
_MOST_BYTES = 32 << 20
CHUNK = 500
"""Ids in a statement on journals: with 2,000, a server takes several times as long for each id."""
Ranges: TypeAlias = Sequence[tuple[int, int]]
"""The first and the last index of each part of a journal; empty for the whole journal."""


def input_statement(reads: Reads, content: str, most_bytes: int, *, of_ids: bool = False) -> str:
    """Return the statement for the inputs of at most this size: of all invocations, or of the parameter ``:ids``.

    ``content`` is the column with the payload; an input is the first entry of a journal.
    """
    is_small = f"raw_length <= {most_bytes}"
    if not reads.has("sys_journal.raw_length"):
        is_small = f"character_length({content}) <= {most_bytes * _JSON_BYTES}"
    return _INPUTS.format(content=content, is_small=is_small, of_ids=" AND id IN :ids" if of_ids else "")


def payload_size(entry: Mapping[Any, Any], content: str) -> int:
    """Return about how many bytes the payload of an entry has; ``content`` is the column with it, which can be null."""
    return len(entry[content] or "") // (1 if content == "raw" else _JSON_BYTES)


def is_archived(reads: Reads, id_: str) -> bool:
    """Return whether an ended invocation is from an archive; the cluster can still have it."""
    if not reads.has("origins.origin"):
        return not reads.coverage.open_invocations
    return any(row["origin"] == "archive" for row in reads.query(_ORIGIN, {"id": id_}).to_pylist())


@dataclass(frozen=True, slots=True)
class Suspension:
    """What an invocation waits for, or waited for when it was ended, since a time (None if it is not recorded)."""

    waits_for: Awaited
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """One invocation: its row, its entries, their payloads by index, and its events in the order of their times.

    ``entries`` is a table with the columns ``ENTRY_TYPES``, one row per entry.
    """

    id: str
    row: Mapping[str, Any]
    entries: pa.Table
    payloads: Mapping[int, Payloads]
    events: Sequence[JournalEvent] | None  # None if the source has no events
    attempts: int | None  # failed ones since the invocation last made progress; None if the server does not report it
    next_retry_at: datetime | None = None
    suspension: Suspension | None = None

    @property
    def status(self) -> str:
        """Return the status for display; with vqueues, the server reports "ready" during a long back-off."""
        is_backing_off = self.row["status"] == "ready" and self.attempts is not None
        return "backing-off" if is_backing_off else str(self.row["status"])


@dataclass(frozen=True, slots=True)
class JournalReader:
    """Reads journals from one source."""

    reads: Reads
    payloads: bool = False
    decoding: Decoding | None = None

    def rows(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return id → its row of ``sys_invocation``, for existing invocations, in the order of ``ids``."""
        by_id = {row["id"]: row for row in self.reads.query_of(_INVOCATIONS, ids)}  # the newest run of each id
        return {id_: by_id[id_] for id_ in ids if id_ in by_id}

    def journals(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Invocation]:
        """Return id → the invocation with its journal, for rows that ``rows`` returned."""
        table = self.read(list(rows), columns=", entry_json" if self.payloads else "")
        return self.invocations(rows, table, _payloads_by_id(table, self.decoding) if self.payloads else None)

    def read(self, ids: Sequence[str], *, columns: str = "", ranges: Ranges = ()) -> pa.Table:
        """Return the rows of journals, with more columns of ``sys_journal``.

        With ``ranges`` only the rows in these ranges are read. Entries whose result is outside look open. The
        server scans the whole journal for each statement.
        """
        parts = " OR ".join(f"index BETWEEN {first} AND {last}" for first, last in ranges)
        statement = _ENTRIES.format(columns=columns, condition=f" AND ({parts})" if parts else "")
        return self.reads.query(statement, {"ids": list(ids)})

    def invocations(
        self,
        rows: Mapping[str, Mapping[str, Any]],
        table: pa.Table,
        payloads: Mapping[str, Mapping[int, Payloads]] | None,
    ) -> dict[str, Invocation]:
        """Return id → the invocation with its journal, for rows that ``rows`` and ``read`` returned.

        Without ``payloads`` the failures of steps are read.
        """
        ids = list(rows)
        entries = pair_entries(table, ended={id_ for id_ in ids if rows[id_]["ended"]}).by_id()
        has_events = self.reads.has("sys_journal_events.event_json")
        events: defaultdict[str, list[JournalEvent]] = defaultdict(list)
        for event in self.reads.query_of(_EVENTS, ids) if has_events else ():
            events[event["id"]].append(parse_event(event))
        may_back_off = [id_ for id_ in ids if rows[id_]["status"] in _MAY_BACK_OFF]
        queues = {row["id"]: row for row in self.reads.query_of(_QUEUE_ATTEMPTS, may_back_off)}
        invocations = {}
        for id_, row in rows.items():
            own, queue = entries.get(id_, ENTRY_TYPES.empty_table()), queues.get(id_, {})
            failures = self._read_failures(row, own) if payloads is None else payloads.get(id_, {})
            if row["status"] == "suspended":
                awakeables = set(own["awakeable_id"].to_pylist())
                waits = open_signals(id_, row["signals"] or (), row["future"], awakeables)
                own = pa.concat_tables([own, table_of(waits)])
            invocations[id_] = Invocation(
                id=id_,
                row=row,
                entries=own,
                payloads=failures,
                events=events[id_] if has_events else None,
                attempts=failed_attempts(row, queue.get("attempts")),
                next_retry_at=row["next_retry_at"] or queue.get("next_retry_at"),
                suspension=_suspension(row, table, events[id_]),
            )
        return invocations

    def _read_failures(self, row: Mapping[str, Any], entries: pa.Table) -> dict[int, Payloads]:
        failures = entries_of(entries.filter(pc.equal(entries["status"], pa.scalar(FAILED))))
        failed = {entry.completion_index or entry.index or 0: entry for entry in failures}
        outputs = {
            at: final_failure(row["completion_failure"]) for at, each in failed.items() if each.entry_type == "Output"
        }
        indexes = [at for at in failed if at not in outputs]
        is_there = self.reads.has("sys_journal.entry_json")  # not in evidence that was frozen without payloads
        if not indexes or not is_there or (pc.sum(entries["size"]).as_py() or 0) > _MOST_BYTES:
            return outputs
        rows = self.reads.query(_PAYLOADS_OF_SOME, {"id": row["id"], "indexes": indexes}).to_pylist()
        return outputs | {each["index"]: payloads_of(each["entry_json"]) for each in rows}


def _payloads_by_id(table: pa.Table, decoding: Decoding | None) -> dict[str, dict[int, Payloads]]:
    payloads: defaultdict[str, dict[int, Payloads]] = defaultdict(dict)
    columns = (table[name].to_pylist() for name in ("id", "index", "entry_json"))
    for id_, index, entry_json in zip(*columns, strict=True):
        payloads[id_][index] = payloads_of(entry_json, decoding)
    return payloads


def _suspension(row: Mapping[str, Any], journals: pa.Table, events: Sequence[JournalEvent]) -> Suspension | None:
    """Return what an invocation waits for; also if it was ended while it waited, which leaves no entry after that."""
    is_suspended = row["status"] == "suspended"
    timed = sorted((event for event in events if event.at is not None), key=lambda event: str(event.at))
    last = timed[-1] if timed else None
    if not is_suspended and not (row["ended"] and last is not None and last.type == SUSPENDED):
        return None
    journal = journals.filter(pc.equal(journals["id"], pa.scalar(row["id"])))
    if not is_suspended and last is not None and journal.num_rows and pc.max(journal["appended_at"]).as_py() > last.at:
        return None
    begins = next((event for event in reversed(timed) if event.type == SUSPENDED), None)
    future = row["future"] if is_suspended else None
    waits_for = awaited_tree(future or (begins.awaiting_on if begins else None), journal, str(row["id"]))
    return Suspension(waits_for, begins.at if begins else None) if waits_for else None


def final_failure(completion_failure: str | None) -> Payloads:
    """Return the failure that ended an invocation, from "[404] no such user"."""
    parts = re.fullmatch(r"\[(\d{1,9})[^\]]*\] (.*)", completion_failure or "", re.DOTALL)
    return Payloads(failure=parts[2], failure_code=int(parts[1])) if parts else Payloads(failure=completion_failure)


def failed_attempts(row: Mapping[str, Any], queue_attempts: int | None) -> int | None:
    """Return the failed attempts since the last progress, for a row with ``status, retry_count``; None if unknown."""
    tried: int | None = row["retry_count"]
    if tried is None:
        return queue_attempts
    # the server counts the current attempt, which has not failed
    return max(0, tried - 1 if row["status"] == "running" else tried)
