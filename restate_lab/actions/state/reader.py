"""Read which objects have state, the state of one of them, and the queue of its changes, from any source."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restate_lab._public import nearest_names
from restate_lab.actions.state.codec import format_preview
from restate_lab.actions.state.model import State
from restate_lab.client.arguments import check_name, format_value
from restate_lab.client.schema import translate_errors
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, RestateLabError
from restate_lab.reads import Reads, Row
from restate_lab.server import has_vqueues, may_lose_state_changes
from restate_lab.source import Source, check_supported, read_once

_STATE = "SELECT key, value FROM state WHERE service_name = :service AND service_key = :key"
_KEYS = "SELECT DISTINCT service_key FROM state WHERE service_name = :service LIMIT :most"
_SCOPED, _UNSCOPED = " AND scope = :scope", " AND scope IS NULL"
_ANY_ENTRY = "SELECT id FROM sys_vqueues LIMIT 1"
_MAY_BE_LOST = (
    "Restate {version} with vqueues can lose a change of state that you write (restate issue 5416). If a partition has "
    "more than one replica, followers can skip the change, and the old value returns when the leader changes. With one "
    "replica per partition, nothing is lost. Upgrade to 1.7.13 or newer, and then write the state again."
)
_SERVICES = "SELECT name, ty FROM sys_service"
_STATEFUL_SERVICES = "SELECT name FROM sys_service WHERE ty <> 'service'"
# The server truncates the text, because values can have megabytes. It is null if the bytes are not UTF-8.
_ENTRIES = "SELECT service_name, service_key, {scope}, key, substr(value_utf8, 1, 200) AS value_start\nFROM state"
_OBJECTS = "SELECT DISTINCT service_name, service_key, {scope}\nFROM state"
_BY_SERVICE = "service_name = :service"
_BY_KEY = "strpos(service_key, :key) > 0"  # not LIKE: a key may contain its wildcards
_OBJECT = ["service_name", "service_key", "scope"]
_MOST_ENTRIES = 4_000
_MOST_OBJECTS = 1_000
# The invocation that holds the object, and the invocations that wait for it. With vqueues the rows include a pending
# change of state. Without vqueues they do not, so the change is over when all invocations before it are gone.
# The brackets are necessary: otherwise the server parses AND as a part of IS NOT DISTINCT FROM.
_QUEUE = """
-- if: sys_keyed_service_status
SELECT invocation_id AS id, true AS holds FROM sys_keyed_service_status
WHERE service_name = :service AND service_key = :key
-- if: sys_inbox
SELECT id, false AS holds FROM sys_inbox WHERE service_name = :service AND service_key = :key
-- if: sys_locks, sys_vqueues, sys_vqueue_meta
SELECT acquired_by AS id, true AS holds FROM sys_locks
WHERE lock_name = :lock AND (scope IS NOT DISTINCT FROM :scope)
UNION ALL
SELECT v.entry_id AS id, false AS holds FROM sys_vqueue_meta m JOIN sys_vqueues v ON v.id = m.id
WHERE m.lock_name = :lock AND (m.scope IS NOT DISTINCT FROM :scope)
  AND v.entry_kind = 'state-mutation' AND v.stage <> 'finished'
-- end"""


class StateReader:
    """Reads the state of one object or workflow, any number of times; its arguments are checked first."""

    def __init__(self, reads: Reads, service: str, key: str, scope: str | None) -> None:
        self._reads = reads
        self._object: dict[str, Any] = {
            "service": check_name("service", service),
            "key": check_name("key", key),
            "scope": None if scope is None else check_name("scope", scope),
        }
        check_supported(reads, "state()")
        has_scope = reads.has("state.scope")
        if scope is not None and not has_scope:
            raise NotOnThisServer(
                f"state(scope={format_value(scope)}) is not supported by {reads.name}, Restate {reads.version}: "
                f"scopes need 1.7 or newer."
            )
        self._statement = _STATE + (_SCOPED if scope is not None else _UNSCOPED if has_scope else "")

    def read(self) -> State:
        """Return the state; raise if there is no such service."""
        now = self._reads.read_clock()
        params = {name: value for name, value in self._object.items() if value is not None}
        rows = self._reads.query(self._statement, params).to_pylist()
        raw = {row["key"]: row["value"] for row in sorted(rows, key=lambda row: str(row["key"]))}
        near: tuple[str, ...] = ()
        if not raw:
            _check_service(self._reads, self._object["service"])
            near = self._similar_keys()
        return State(
            **self._object,
            source=self._reads.name,
            version=self._reads.version,
            read_at=now,
            queries=tuple(self._reads.queries),
            _raw=raw,
            warnings=self._warnings,
            near=near,
        )

    def _similar_keys(self) -> tuple[str, ...]:
        rows = self._reads.query(_KEYS, {"service": self._object["service"], "most": _MOST_OBJECTS}).to_pylist()
        keys = [row["service_key"] for row in rows]
        return () if self._object["key"] in keys else nearest_names(self._object["key"], keys)

    @read_once
    def _warnings(self) -> tuple[str, ...]:
        """Return what a user must know before a change, read once; empty for a source that cannot be changed."""
        version = self._reads.version
        if not self._reads.live or not may_lose_state_changes(version) or not _uses_vqueues(self._reads):
            return ()
        return (_MAY_BE_LOST.format(version=version),)


@dataclass(frozen=True)
class StatefulObjects:
    """The objects that have state, sorted, and the statement that was used.

    ``frame`` has one row per object: ``service_name, service_key, scope, preview`` (the start of its state in one line,
    secrets masked; null if it was not read). ``is_cut`` is set if there are more objects.
    """

    frame: pd.DataFrame = field(default_factory=lambda: _object_frame({}))
    sql: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    is_cut: bool = False


@translate_errors
def stateful_services(source: Source) -> list[str]:
    """Return the names of the registered virtual objects and workflows, sorted."""
    return sorted(map(str, Reads(source).query(_STATEFUL_SERVICES)["name"].to_pylist()))


@translate_errors
def find_objects(
    source: Source,
    *,
    service: str | None = None,
    key: str = "",
    most_entries: int = _MOST_ENTRIES,
    most_objects: int = _MOST_OBJECTS,
) -> StatefulObjects:
    """Find objects that have state, of a service (None: all services), with a text in their key ("": all keys).

    If there are more than ``most_entries`` keys of state, at most ``most_objects`` objects are read without values, and
    only some of them have a preview. Each of the two scans ends as soon as it has enough rows.
    """
    reads = Reads(source)
    params: dict[str, Any] = {"limit": most_entries + 1}  # one more row shows that the result is truncated
    conditions = []
    if service is not None:
        conditions.append(_BY_SERVICE)
        params["service"] = service
    if key:
        conditions.append(_BY_KEY)
        params["key"] = key
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    scope = "scope" if reads.has("state.scope") else "CAST(NULL AS VARCHAR) AS scope"
    sql = f"{_ENTRIES.format(scope=scope)}{where}\nLIMIT :limit"
    entries = reads.query(sql, params).to_pylist()
    if len(entries) <= most_entries:
        return StatefulObjects(_object_frame(_previews(entries)), sql, params)
    sql = f"{_OBJECTS.format(scope=scope)}{where}\nLIMIT :limit"
    params = {**params, "limit": most_objects + 1}
    rows = reads.query(sql, params).to_pylist()
    previews = _previews(entries, is_partial=True)
    objects = {each: previews.get(each) for each in map(_object_of, rows[:most_objects])}
    return StatefulObjects(_object_frame(objects), sql, params, is_cut=len(rows) > most_objects)


def _previews(entries: Iterable[Mapping[str, Any]], *, is_partial: bool = False) -> dict[tuple[Any, ...], str | None]:
    values: defaultdict[tuple[Any, ...], dict[str, str | None]] = defaultdict(dict)
    for entry in entries:
        values[_object_of(entry)][str(entry["key"])] = entry["value_start"]
    return {each: format_preview(texts, is_partial=is_partial) for each, texts in values.items()}


def _object_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _OBJECT)


def _object_frame(objects: Mapping[tuple[Any, ...], str | None]) -> pd.DataFrame:
    frame = pd.DataFrame([(*each, preview) for each, preview in objects.items()], columns=[*_OBJECT, "preview"])
    return frame.astype("str").sort_values(_OBJECT, ignore_index=True)


def read_queue(reads: Reads, service: str, key: str, scope: str | None) -> list[Row]:
    """Return the invocations that hold an object (``holds``) or wait for it; with vqueues also changes of its state."""
    params = {"service": service, "key": key, "lock": f"{service}/{key}", "scope": scope}
    return list(reads.query(_QUEUE, params).to_pylist())


def _uses_vqueues(reads: Reads) -> bool:
    """Return whether changes of state can be in vqueues; without the flag, the cluster can have been moved back."""
    if has_vqueues(reads):
        return True
    try:
        return bool(reads.query(_ANY_ENTRY).num_rows)
    except RestateLabError:  # not known, so the warning is shown
        return True


def _check_service(reads: Reads, service: str) -> None:
    kinds = {row["name"]: row["ty"] for row in reads.query(_SERVICES).to_pylist()}
    if kinds.get(service) == "service":
        raise ArgumentError(
            f"service {format_value(service)} is a plain service, which has no state; only virtual objects and "
            f"workflows have state."
        )
    if service not in kinds:
        near = difflib.get_close_matches(service, kinds, n=3) or sorted(set(kinds) - {"service"})[:5]
        raise NotFound(
            f"there is no service and no state named {format_value(service)} on {reads.name}. "
            f"{'Similar: ' + ', '.join(near) + '.' if near else 'No service is registered.'} Names are case-sensitive.",
            status=404,
            reason="not among the registered services",
        )
