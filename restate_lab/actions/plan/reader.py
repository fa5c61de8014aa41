"""Read what a plan shows beside its targets: journals, calls, keys, callers that wait for them, and deployments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from restate_lab.actions.reader import IDS_PER_QUERY
from restate_lab.client.schema import check_columns
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["has_deployment", "read_calls", "read_journals", "read_keys", "read_waiters"]

_JOURNALS_PER_QUERY = 500
_ENTRIES = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json
FROM sys_journal WHERE id IN :ids"""
_CALLS = """
SELECT id, entry_type = 'Command: OneWayCall' AS sent, coalesce(
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id'),
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'OneWayCall'), 'invocation_id')) AS callee_id
FROM sys_journal
WHERE id IN :ids AND entry_type IN ('Command: Call', 'Command: OneWayCall')
LIMIT :limit"""
_KEYS = """
SELECT invocation_id AS holder, service_name || '/' || service_key AS key
FROM sys_keyed_service_status WHERE invocation_id IN :ids"""
_KEYS_VQUEUES = "SELECT acquired_by AS holder, lock_name AS key FROM sys_locks WHERE acquired_by IN :ids"
_WAITERS = """
SELECT i.id, k.invocation_id AS holder, k.service_name || '/' || k.service_key AS key
FROM sys_keyed_service_status k
JOIN sys_inbox i ON i.service_name = k.service_name AND i.service_key = k.service_key
WHERE k.invocation_id IN :ids"""
# A holder that backs off stands in the inbox, too, and has the lock.
_WAITERS_VQUEUES = """
SELECT q.entry_id AS id, l.acquired_by AS holder, l.lock_name AS key
FROM sys_locks l
JOIN sys_vqueue_meta m ON m.lock_name = l.lock_name AND m.scope IS NOT DISTINCT FROM l.scope
JOIN sys_vqueues q ON q.id = m.id
WHERE l.acquired_by IN :ids AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock"""
_DEPLOYMENT = "SELECT id FROM sys_deployment WHERE id = :id"


def read_journals(lab: Source, ids: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the rows of sys_journal of each of these invocations, without payloads."""
    journals: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in _read_rows(lab, _ENTRIES, ids, _JOURNALS_PER_QUERY):
        journals[row["id"]].append(row)
    return journals


def read_calls(lab: Source, ids: Sequence[str], limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the calls in the journals of these invocations, at most ``limit`` at a time: ``id, sent, callee_id``.

    ``sent`` is true for one-way calls. A list with ``limit`` rows may not be complete.
    """
    for chunk in chunks(ids, IDS_PER_QUERY):
        table = lab.arrow(_CALLS, ids=chunk, limit=limit, progress=False)
        yield check_columns(table, _CALLS, lab).to_pylist()


def read_keys(lab: Source, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the keys that these invocations hold: ``holder`` and ``key`` ("service/key")."""
    return list(_read_rows(lab, _KEYS_VQUEUES if _has_vqueues(lab) else _KEYS, ids))


def read_waiters(lab: Source, holders: Sequence[str]) -> list[dict[str, Any]]:
    """Return the invocations that wait for keys of these holders: ``id``, ``holder`` and ``key``."""
    return list(_read_rows(lab, _WAITERS_VQUEUES if _has_vqueues(lab) else _WAITERS, holders))


def has_deployment(lab: Source, id_: str) -> bool:
    """Return whether there is a deployment with this id."""
    return bool(check_columns(lab.arrow(_DEPLOYMENT, id=id_, progress=False), _DEPLOYMENT, lab).num_rows)


def _has_vqueues(lab: Source) -> bool:
    return lab.features.get("vqueues", False)


def _read_rows(lab: Source, statement: str, ids: Sequence[str], size: int = IDS_PER_QUERY) -> Iterator[dict[str, Any]]:
    for chunk in chunks(ids, size):
        yield from check_columns(lab.arrow(statement, ids=chunk, progress=False), statement, lab).to_pylist()
