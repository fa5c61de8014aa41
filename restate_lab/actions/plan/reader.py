"""Read the other data of a plan: journals, open steps, calls, keys with their queues, and deployments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.actions.reader import IDS_PER_QUERY
from restate_lab.client.lab import is_lab
from restate_lab.client.schema import translate_errors
from restate_lab.client.sql.bind import chunks
from restate_lab.reads import Reads, Row
from restate_lab.source import Source

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
_DEPLOYMENTS = "SELECT id FROM sys_deployment"
# Cast a shortened line to LargeUtf8: without it, the server sends the whole text of all lines with each batch.
_ATTEMPTS = """
SELECT s.id, s.target_service_name AS service, s.target_service_name || '/' || s.target_handler_name AS handler,
  s.pinned_deployment_id AS deployment, r.last_failure_error_code AS code,
  arrow_cast(substr(split_part(r.last_failure, chr(10), 1), 1, 500), 'LargeUtf8') AS message
FROM (SELECT * FROM sys_invocation_status WHERE id IN :ids) s
LEFT JOIN (SELECT * FROM sys_invocation_state WHERE id IN :ids) r ON r.id = s.id"""
_SERVED = """
SELECT id, min_service_protocol_version AS oldest, max_service_protocol_version AS newest, services
FROM sys_deployment"""
_REVISIONS = "SELECT name, revision, deployment_id FROM sys_service"
_PINNED = """
SELECT id FROM sys_invocation_status
WHERE pinned_deployment_id = :deployment AND status <> 'completed'
ORDER BY created_at, id
LIMIT :limit"""

# An invocation in stage "running" holds its places already.
_PLACES = """
-- with: entries
SELECT s.id, s.scope, s.limit_key
FROM sys_invocation_status s
LEFT JOIN entries e ON e.id = s.id
WHERE s.id IN :ids AND s.scope IS NOT NULL AND (e.stage IS NULL OR e.stage <> 'running')"""
_LIMITS = "SELECT pattern AS rule, concurrency AS concurrency_limit FROM sys_rules WHERE disabled IS NOT TRUE"
_USAGE = "SELECT scope, l1, l2, usage FROM sys_user_limits WHERE usage > 0"
_WAITING_FOR_SLOTS = """
SELECT count(*) AS n FROM sys_scheduler WHERE status = 'blocked' AND blocked_on = 'invoker-concurrency'"""


@dataclass(frozen=True, slots=True)
class PartialFrame:
    """A frame of a plan, and the texts about what it does not show."""

    frame: pd.DataFrame
    limitations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedServices:
    """The services of one deployment (with their revisions if known), its protocol, and its SDK."""

    services: str
    protocol: str
    sdk: str | None = None


def read_journals(reads: Reads, ids: Sequence[str]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return the rows of sys_journal of each of these invocations, without payloads."""
    journals: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in reads.query_of(_ENTRIES, ids, chunk=_JOURNALS_PER_QUERY):
        journals[row["id"]].append(row)
    return journals


def read_open_steps(reads: Reads, ids: Sequence[str], limit: int) -> Iterator[list[Row]]:
    """Yield the steps (Run) without a result of some of these invocations at a time, at most ``limit`` of them.

    ``id, step`` (its name), ``entry_index, since``, without payloads. A list with ``limit`` rows can be incomplete.
    """
    for chunk in chunks(ids, _JOURNALS_PER_QUERY):
        yield reads.query(_OPEN_STEPS, {"ids": chunk, "limit": limit}).to_pylist()


def read_calls(reads: Reads, ids: Sequence[str], limit: int) -> Iterator[list[Row]]:
    """Yield the calls in the journals of these invocations, at most ``limit`` at a time: ``id, sent, callee_id``.

    ``sent`` is true for one-way calls. A list with ``limit`` rows can be incomplete.
    """
    for chunk in chunks(ids, IDS_PER_QUERY):
        yield reads.query(_CALLS, {"ids": chunk, "limit": limit}).to_pylist()


def read_keys(reads: Reads, ids: Sequence[str]) -> list[Row]:
    """Return the keys that these invocations hold: ``holder`` and ``key`` ("service/key")."""
    return list(reads.query_of(_KEYS, ids, chunk=IDS_PER_QUERY))


def read_waiters(reads: Reads, holders: Sequence[str]) -> list[Row]:
    """Return the invocations that wait for keys of these holders: ``id``, ``holder`` and ``key``."""
    return list(reads.query_of(_WAITERS, holders, chunk=IDS_PER_QUERY))


def read_queued_changes(reads: Reads, holders: Sequence[str], limit: int) -> list[Row]:
    """Return the changes of state that wait for keys of these holders, at most ``limit``: ``holder`` and ``key``.

    Only the vqueues have them.
    """
    rows: list[Row] = []
    for chunk in chunks(holders, IDS_PER_QUERY):
        rows += reads.query(_QUEUED_CHANGES, {"ids": chunk, "limit": limit}).to_pylist()
    return rows[:limit]


def read_places(reads: Reads, ids: Sequence[str]) -> list[Row]:
    """Return the invocations in a scope, which need a place to run: ``id, scope, limit_key``."""
    return list(reads.query_of(_PLACES, ids, chunk=IDS_PER_QUERY))


def read_limits(reads: Reads) -> dict[str, int]:
    """Return the limit of concurrency of each rule that applies, by its pattern."""
    rows = reads.query(_LIMITS).to_pylist()
    return {row["rule"]: row["concurrency_limit"] for row in rows if row["concurrency_limit"] is not None}


def read_usage(reads: Reads) -> list[Row]:
    """Return the used places of each scope and each level of its limit keys: ``scope, l1, l2, usage``."""
    return list(reads.query(_USAGE).to_pylist())


def count_waiting_for_slots(reads: Reads) -> int:
    """Return how many queues wait for a slot of an invoker."""
    return int(reads.query(_WAITING_FOR_SLOTS)["n"][0].as_py())


def read_attempts(reads: Reads, ids: Sequence[str]) -> list[Row]:
    """Return the handlers of these invocations with their pinned deployments, and the last errors in the invokers.

    ``id, service, handler`` ("service/handler"), ``deployment, code, message`` (the first line).
    """
    return list(reads.query_of(_ATTEMPTS, ids, chunk=IDS_PER_QUERY))


def read_deployment_ids(reads: Reads) -> frozenset[str]:
    """Return the ids of the registered deployments."""
    return frozenset(map(str, reads.query(_DEPLOYMENTS)["id"].to_pylist()))


def has_deployment(reads: Reads, id_: str) -> bool:
    """Return whether there is a deployment with this id."""
    return bool(reads.query(_DEPLOYMENT, {"id": id_}).num_rows)


@translate_errors
def read_pinned_ids(reads: Reads, deployment: str, *, limit: int) -> list[str]:
    """Scan for invocations that are pinned to a deployment and have not ended; return their ids, oldest first."""
    rows = reads.query(_PINNED, {"deployment": deployment, "limit": limit})
    return list(map(str, rows["id"].to_pylist()))


@translate_errors
def read_served_services(reads: Reads, source: Source) -> dict[str, ServedServices]:
    """Return the services of each deployment by its id: from the Admin API of a live cluster, otherwise from tables.

    ``reads`` is the source to query, and ``source`` the one whose Admin API is used. The tables have no SDK, and the
    revision of a service only for the deployment with its latest revision.
    """
    if is_lab(source):
        return {
            each.id: ServedServices(
                ", ".join(_with_revision(service.name, service.revision) for service in each.services or ()),
                f"{each.min_protocol_version} to {each.max_protocol_version}",
                each.sdk_version,
            )
            for each in source.admin.list_deployments()
        }
    revisions = {(row["deployment_id"], row["name"]): row["revision"] for row in reads.query(_REVISIONS).to_pylist()}
    return {
        row["id"]: ServedServices(
            ", ".join(_with_revision(name, revisions.get((row["id"], name))) for name in sorted(row["services"] or ())),
            f"{row['oldest']} to {row['newest']}",
        )
        for row in reads.query(_SERVED).to_pylist()
    }


def _with_revision(service: str, revision: int | None) -> str:
    return service if revision is None else f"{service} r{revision}"
