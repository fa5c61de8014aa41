"""Replace the state of a virtual object or workflow, and check the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restate_lab._text import format_duration
from restate_lab.client.admin.operations import Operations, drop_none, poll_until, verification_errors
from restate_lab.client.arguments import check_name, check_reason, format_value, path_segment
from restate_lab.client.models import StateChange
from restate_lab.client.sql.parts import complete
from restate_lab.client.state_version import state_version
from restate_lab.errors import ArgumentError, Conflict, OutcomeUnknown

_SEEN_WITHIN = 2.0  # seconds; 50 ms are usual
_STATE = "SELECT key, value FROM state WHERE service_name = :service AND service_key = :key"
_HOLDER = """
-- with: holders
SELECT holder_id AS id FROM holders WHERE key = :object AND scope IS NOT DISTINCT FROM :scope"""


class States(Operations):
    """The operation on state."""

    def modify_service_state(
        self,
        service: str,
        object_key: str,
        /,
        *,
        new_state: Mapping[str, bytes],
        reason: str,
        version: str | None = None,
        scope: str | None = None,
    ) -> StateChange:
        """Replace the complete state of one virtual object or workflow; keys missing in ``new_state`` are removed.

        Values are bytes in the format of the service's serializer (``json.dumps(value).encode()`` for the default of
        the SDKs). ``version`` is the version of the state that you read (``state_version``): a state that changed since
        then is not replaced. ``scope`` (since 1.7) selects the object of that scope; None selects the one without.

        The server always returns 202, so the state is read back. If an exclusive handler holds the object, the change
        is applied when that invocation ends: then ``applied`` has the value None, and ``queued_behind`` is the id of
        the invocation. If ``version`` no longer matches at that time, the server silently drops the change.

        Raises:
            NotFound: there is no service with this name.
            RequestRefused: it is a plain service, which has no state.
            Conflict: the state has another version; it was not changed.
            NotOnThisServer: ``scope`` was passed, but the server would change the object without scope instead.
            OutcomeUnknown: the new state was not visible within 2 seconds; a handler may have changed it again.
        """
        check_name("service", service)
        check_name("object_key", object_key)
        check_reason(reason)
        body = {
            "object_key": object_key,
            "new_state": _byte_numbers(new_state),
            **drop_none(version=version, scope=scope),
        }
        if scope is not None:
            check_name("scope", scope)
            self._catalog.require("modify_service_state", "scope")
        path = f"/services/{path_segment(service)}"
        self._read("get_service", path)
        if version is not None:
            self._check_version(service, object_key, scope, check_name("version", version))
        answer = self._change(
            "modify_service_state",
            "POST",
            f"{path}/state",
            targets=[f"{service}/{object_key}", *([f"scope {scope}"] if scope else [])],
            reason=reason,
            json=body,
        )
        known = {"service": service, "object_key": object_key, "scope": scope, "status": answer.status_code}
        return self._read_back(known, {key: bytes(value) for key, value in new_state.items()}, version)

    def _read_back(self, known: Mapping[str, Any], wanted: Mapping[str, bytes], version: str | None) -> StateChange:
        where = (known["service"], known["object_key"], known["scope"])

        def read_state() -> tuple[bool, str | None]:
            # first: if it ends between the two reads, the change is applied
            holder = self._value(complete(_HOLDER, self._source), object="/".join(where[:2]), scope=where[2])
            return self._state(*where) == wanted, holder

        with verification_errors(f"modify_service_state on {where[0]}/{where[1]}"):
            is_there, holder = poll_until(read_state, lambda read: read[0] or read[1] is not None, within=_SEEN_WITHIN)
        if is_there:
            return StateChange(**known, applied=True, note="applied: the new state was read back")
        if holder is not None:
            dropped = ", or is silently dropped if the version no longer matches then" if version else ""
            note = f"accepted (202): {holder} holds the object; the change is applied when it ends{dropped}"
            return StateChange(**known, queued_behind=holder, note=note)
        if version is not None:
            raise self._conflict(*where, version, "it changed while this change was sent")
        raise OutcomeUnknown(
            f"modify_service_state on {where[0]}/{where[1]} was accepted (202), but the new state was not visible "
            f"within {format_duration(_SEEN_WITHIN)}: read the state before you repeat it."
        )

    def _check_version(self, service: str, key: str, scope: str | None, version: str) -> None:
        now = state_version(self._state(service, key, scope))
        if now != version:
            raise self._conflict(service, key, scope, version, f"the current version is {now}; nothing was sent")

    def _conflict(self, service: str, key: str, scope: str | None, version: str, why: str) -> Conflict:
        where = f"{service}/{key}{f' of scope {scope}' if scope else ''}"
        return Conflict(
            f"the state of {where} was not changed: it is not version {format_value(version)}; {why}. Read it again "
            f"before you change it.",
            status=409,
            reason=why,
        )

    def _state(self, service: str, key: str, scope: str | None) -> dict[str, bytes]:
        which = " AND scope IS NULL" if scope is None else " AND scope = :scope"
        rows = self._rows(_STATE + which, service=service, key=key, **drop_none(scope=scope))
        return {row["key"]: row["value"] for row in rows}


def _byte_numbers(state: object) -> dict[str, list[int]]:
    if not isinstance(state, Mapping):
        raise ArgumentError(f"new_state must be a mapping of keys to bytes; got {format_value(state)}.")
    for key, value in state.items():
        if not isinstance(key, str):  # an empty key is allowed
            raise ArgumentError(f"a key of new_state must be text; got {format_value(key)}.")
        if not isinstance(value, bytes | bytearray):
            raise ArgumentError(
                f"new_state[{format_value(key)}] must be bytes, not {type(value).__name__}: use for example "
                f"json.dumps(value).encode(), the default format of the SDKs."
            )
    return {key: list(value) for key, value in state.items()}
