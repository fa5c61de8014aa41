"""Read the other data of a plan: journals, open steps, calls, keys with their queues, and deployments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.actions.reader import IDS_PER_QUERY
from restate_lab.client.lab import is_lab
from restate_lab.client.schema import check_columns, translate_errors
from restate_lab.client.sql.bind import chunks
from restate_lab.client.sql.parts import complete
from restate_lab.source import Source

__all__ = [
    "ServedServices",
    "has_deployment",
    "read_calls",
    "read_journals",
    "read_keys",
    "read_open_steps",
    "read_pinned_ids",
    "read_queued_changes",
    "read_served_services",
    "read_waiters",
]

_JOURNALS_PER_QUERY = 500
_ENTRIES = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json
FROM sys_journal WHERE id IN :ids"""
_OPEN_STEPS = """
WITH begun AS (
  SELECT id, index, name, appended_at,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Run'),
done AS (
  SELECT id,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Notification: Run')
SELECT b.id, b.name AS step, CAST(b.index AS BIGINT) AS entry_index, b.appended_at AS since
FROM begun b
LEFT JOIN done d ON d.id = b.id AND d.completion_id = b.completion_id
WHERE d.id IS NULL
ORDER BY b.id, b.index
LIMIT :limit"""
_CALLS = """
SELECT id, entry_type = 'Command: OneWayCall' AS sent, coalesce(
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id'),
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'OneWayCall'), 'invocation_id')) AS callee_id
FROM sys_journal
WHERE id IN :ids AND entry_type IN ('Command: Call', 'Command: OneWayCall')
LIMIT :limit"""
_KEYS = """
-- with: holders
SELECT holder_id AS holder, key FROM holders WHERE holder_id IN :ids"""
_WAITERS = """
-- with: holders, queued
SELECT q.id, k.holder_id AS holder, k.key
FROM holders k
JOIN queued q ON q.key = k.key AND q.scope IS NOT DISTINCT FROM k.scope
WHERE k.holder_id IN :ids"""
# A change of state has an id that is not the id of an invocation, so only its key and its holder are read.
_QUEUED_CHANGES = """
-- with: holders
SELECT k.holder_id AS holder, k.key
FROM holders k
JOIN (
-- if: sys_vqueues, sys_vqueue_meta
  SELECT m.lock_name AS key, m.scope
  FROM sys_vqueue_meta m
  JOIN sys_vqueues v ON v.id = m.id
  WHERE m.lock_name IS NOT NULL AND v.entry_kind = 'state-mutation' AND v.stage = 'inbox'
-- else
  SELECT key, scope FROM holders WHERE false
-- end
) c ON c.key = k.key AND c.scope IS NOT DISTINCT FROM k.scope
WHERE k.holder_id IN :ids
LIMIT :limit"""
_DEPLOYMENT = "SELECT id FROM sys_deployment WHERE id = :id"
_SERVED = """
SELECT id, min_service_protocol_version AS oldest, max_service_protocol_version AS newest, services
FROM sys_deployment"""
_REVISIONS = "SELECT name, revision, deployment_id FROM sys_service"
_PINNED = """
SELECT id FROM sys_invocation_status
WHERE pinned_deployment_id = :deployment AND status <> 'completed'
ORDER BY created_at, id
LIMIT :limit"""


@dataclass(frozen=True, slots=True)
class ServedServices:
    """The services of one deployment (with their revisions if known), its protocol, and its SDK."""

    services: str
    protocol: str
    sdk: str | None = None


def read_journals(lab: Source, ids: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the rows of sys_journal of each of these invocations, without payloads."""
    journals: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in _read_rows(lab, _ENTRIES, ids, _JOURNALS_PER_QUERY):
        journals[row["id"]].append(row)
    return journals


def read_open_steps(lab: Source, ids: Sequence[str], limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the steps (Run) without a result of some of these invocations at a time, at most ``limit`` of them.

    ``id, step`` (its name), ``entry_index, since``, without payloads. A list with ``limit`` rows can be incomplete.
    """
    for chunk in chunks(ids, _JOURNALS_PER_QUERY):
        table = lab.arrow(_OPEN_STEPS, ids=chunk, limit=limit, progress=False)
        yield check_columns(table, _OPEN_STEPS, lab).to_pylist()


def read_calls(lab: Source, ids: Sequence[str], limit: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the calls in the journals of these invocations, at most ``limit`` at a time: ``id, sent, callee_id``.

    ``sent`` is true for one-way calls. A list with ``limit`` rows can be incomplete.
    """
    for chunk in chunks(ids, IDS_PER_QUERY):
        table = lab.arrow(_CALLS, ids=chunk, limit=limit, progress=False)
        yield check_columns(table, _CALLS, lab).to_pylist()


def read_keys(lab: Source, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the keys that these invocations hold: ``holder`` and ``key`` ("service/key")."""
    return list(_read_rows(lab, complete(_KEYS, lab), ids))


def read_waiters(lab: Source, holders: Sequence[str]) -> list[dict[str, Any]]:
    """Return the invocations that wait for keys of these holders: ``id``, ``holder`` and ``key``."""
    return list(_read_rows(lab, complete(_WAITERS, lab), holders))


def read_queued_changes(lab: Source, holders: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Return the changes of state that wait for keys of these holders, at most ``limit``: ``holder`` and ``key``.

    Only the vqueues have them.
    """
    statement = complete(_QUEUED_CHANGES, lab)
    rows: list[dict[str, Any]] = []
    for chunk in chunks(holders, IDS_PER_QUERY):
        table = lab.arrow(statement, ids=chunk, limit=limit, progress=False)
        rows += check_columns(table, statement, lab).to_pylist()
    return rows[:limit]


def has_deployment(lab: Source, id_: str) -> bool:
    """Return whether there is a deployment with this id."""
    return bool(check_columns(lab.arrow(_DEPLOYMENT, id=id_, progress=False), _DEPLOYMENT, lab).num_rows)


@translate_errors
def read_pinned_ids(source: Source, deployment: str, *, limit: int) -> list[str]:
    """Scan for invocations that are pinned to a deployment and have not ended; return their ids, oldest first."""
    table = source.arrow(_PINNED, deployment=deployment, limit=limit, progress=False)
    return list(map(str, check_columns(table, _PINNED, source)["id"].to_pylist()))


@translate_errors
def read_served_services(reads: Source, source: Source) -> dict[str, ServedServices]:
    """Return the services of each deployment by its id: from the Admin API of a live cluster, otherwise from tables.

    ``reads`` is the source to query, and ``source`` the one whose Admin API is used. The tables have no SDK, and the
    revision of a service only for the deployment with its latest revision.
    """
    if is_lab(source):
        return {each.id: _served_of_model(each) for each in source.admin.list_deployments()}
    revisions = {(row["deployment_id"], row["name"]): row["revision"] for row in _read_table(reads, _REVISIONS)}
    return {row["id"]: _served_of_row(row, revisions) for row in _read_table(reads, _SERVED)}


def _served_of_model(deployment: Any) -> ServedServices:
    services = ", ".join(_with_revision(each.name, each.revision) for each in deployment.services or ())
    protocol = f"{deployment.min_protocol_version} to {deployment.max_protocol_version}"
    return ServedServices(services, protocol, deployment.sdk_version)


def _served_of_row(row: Mapping[str, Any], revisions: Mapping[tuple[str, str], int]) -> ServedServices:
    names = sorted(row["services"] or ())
    services = ", ".join(_with_revision(name, revisions.get((row["id"], name))) for name in names)
    return ServedServices(services, f"{row['oldest']} to {row['newest']}")


def _with_revision(service: str, revision: int | None) -> str:
    return service if revision is None else f"{service} r{revision}"


def _read_table(source: Source, statement: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = check_columns(source.arrow(statement, progress=False), statement, source).to_pylist()
    return rows


def _read_rows(lab: Source, statement: str, ids: Sequence[str], size: int = IDS_PER_QUERY) -> Iterator[dict[str, Any]]:
    for chunk in chunks(ids, size):
        yield from check_columns(lab.arrow(statement, ids=chunk, progress=False), statement, lab).to_pylist()
