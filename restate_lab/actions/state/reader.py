"""Read the state of one virtual object or workflow, and the queue of its changes, from any source."""

from __future__ import annotations

import difflib
from typing import Any

from restate_lab.actions.state.model import State
from restate_lab.client.arguments import check_name, format_value
from restate_lab.client.schema import check_columns, tables_of
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer
from restate_lab.source import Source, check_supported

__all__ = ["StateReader", "read_queue"]

_STATE = "SELECT key, value FROM state WHERE service_name = :service AND service_key = :key"
_SCOPED, _UNSCOPED = " AND scope = :scope", " AND scope IS NULL"
_SERVICES = "SELECT name, ty FROM sys_service"
# Who holds the object, and who waits for it. Without vqueues a change of state is not among them, so everyone who was
# there with it has to be gone; with vqueues it is.
# In brackets: what follows IS NOT DISTINCT FROM would be taken together with the AND behind it.
_QUEUE = """
SELECT invocation_id AS id, true AS holds FROM sys_keyed_service_status
WHERE service_name = :service AND service_key = :key
UNION ALL
SELECT id, false AS holds FROM sys_inbox WHERE service_name = :service AND service_key = :key"""
_QUEUE_VQUEUES = """
SELECT acquired_by AS id, true AS holds FROM sys_locks
WHERE lock_name = :lock AND (scope IS NOT DISTINCT FROM :scope)
UNION ALL
SELECT v.entry_id AS id, false AS holds FROM sys_vqueue_meta m JOIN sys_vqueues v ON v.id = m.id
WHERE m.lock_name = :lock AND (m.scope IS NOT DISTINCT FROM :scope)
  AND v.entry_kind = 'state-mutation' AND v.stage <> 'finished'"""


class StateReader:
    """Reads the state of one object or workflow, as often as one likes; what is named is checked first."""

    def __init__(self, source: Source, service: str, key: str, scope: str | None) -> None:
        self._source = source
        self._object: dict[str, Any] = {
            "service": check_name("service", service),
            "key": check_name("key", key),
            "scope": None if scope is None else check_name("scope", scope),
        }
        check_supported(source, "state()")
        tables = tables_of(source)
        has_scope = bool((tables["table"].eq("state") & tables["column"].eq("scope")).any())
        if scope is not None and not has_scope:
            raise NotOnThisServer(
                f"state(scope={format_value(scope)}) is not on {source.name}: Restate {source.version} has no scopes ("
                f"they came with 1.7)."
            )
        self._statement = _STATE + (_SCOPED if scope is not None else _UNSCOPED if has_scope else "")

    def read(self) -> State:
        """Return the state, or say that there is no such service."""
        now = self._source.now
        raw = self.read_raw()
        if not raw:
            _check_service(self._source, self._object["service"])
        return State(**self._object, read_at=now, source=self._source.name, _raw=raw)

    def read_raw(self) -> dict[str, bytes]:
        """Return the bytes of each key, in the keys' order."""
        params = {name: value for name, value in self._object.items() if value is not None}
        table = self._source.arrow(self._statement, params=params, progress=False)
        rows = check_columns(table, self._statement, self._source).to_pylist()
        return {row["key"]: row["value"] for row in sorted(rows, key=lambda row: str(row["key"]))}


def read_queue(source: Source, service: str, key: str, scope: str | None) -> list[dict[str, Any]]:
    """Return the invocations that hold an object (``holds``) or wait for it, with vqueues also changes of its state."""
    if source.features.get("vqueues", False):
        params, statement = {"lock": f"{service}/{key}", "scope": scope}, _QUEUE_VQUEUES
    else:
        params, statement = {"service": service, "key": key}, _QUEUE
    rows: list[dict[str, Any]] = check_columns(
        source.arrow(statement, params=params, progress=False), statement, source
    ).to_pylist()
    return rows


def _check_service(source: Source, service: str) -> None:
    """Tell an object that has no state from a service that cannot have any, or that is not there."""
    services = check_columns(source.arrow(_SERVICES, progress=False), _SERVICES, source)
    kinds = {row["name"]: row["ty"] for row in services.to_pylist()}
    if kinds.get(service) == "service":
        raise ArgumentError(
            f"service {format_value(service)} is a plain service, which has no state: virtual objects and workflows "
            f"have it."
        )
    if service not in kinds:
        near = difflib.get_close_matches(service, kinds, n=3) or sorted(set(kinds) - {"service"})[:5]
        raise NotFound(
            f"there is no service {format_value(service)} on {source.name}, and no state of that name. "
            f"{'Is it ' + ', '.join(near) + '?' if near else 'No service is registered.'} Names are case-sensitive.",
            status=404,
            reason="not among the registered services",
        )
