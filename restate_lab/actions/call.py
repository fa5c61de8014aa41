"""Call a handler once, also if the response is lost: the call has an idempotency key, by which it is found again."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from restate_lab.actions.reader import find_by_idempotency_key
from restate_lab.client.ingress import JSON, SentInvocation
from restate_lab.client.lab import Lab
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, OutcomeUnknown, RestateLabError

_WORKFLOW = "Workflow"
_LOOKED_FOR = 5.0  # seconds after a lost response; the server had the request before it or never
_PAUSE = 0.5  # second


@dataclass(frozen=True, slots=True)
class HandlerCall:
    """A call of a handler that exists; ``body`` is the request as it is sent, and ``is_json`` its type.

    ``idempotency_key`` is missing for the handler ``run`` of a workflow, which the server runs once for each key.
    """

    service: str
    handler: str
    key: str | None
    body: bytes | None
    is_json: bool
    idempotency_key: str | None

    @property
    def target(self) -> str:
        """Return ``Service/handler`` or ``Service/key/handler``."""
        return "/".join(filter(None, (self.service, self.key, self.handler)))


def prepare_call(
    lab: Lab, target: str, body: bytes | None, *, is_json: bool = True, idempotency_key: str | None = None
) -> HandlerCall:
    """Return the call of ``Service/handler`` or ``Service/key/handler``; this sends nothing to the handler.

    Raises:
        ArgumentError: the target has another form, lacks the key, or has one that the service does not take.
        NotFound: there is no such service or handler.
    """
    service, _, rest = target.partition("/")
    key, has_key, handler = rest.rpartition("/")
    if not service or not handler or (has_key and not key):
        raise ArgumentError(f"the target {target!r} is not Service/handler or Service/key/handler.")
    found = lab.admin.get_service_handler(service, handler)
    if (found.ty is not None) != bool(has_key):
        form = f"{service}/{handler}" if has_key else f"{service}/KEY/{handler}"
        kind = "has no keys" if has_key else "has keys"
        raise ArgumentError(f"{service} {kind}: the target is {form}.")
    if found.ty == _WORKFLOW and idempotency_key is not None:
        raise ArgumentError(f"{service}/{handler} runs once for each key of the workflow, without an idempotency key.")
    made = None if found.ty == _WORKFLOW else idempotency_key or f"restate-lab-{uuid.uuid4()}"
    return HandlerCall(service, handler, key or None, body, is_json, made)


def send_call(lab: Lab, call: HandlerCall, *, reason: str, delay: DurationInput | None = None) -> SentInvocation:
    """Send a call once, and return its invocation; if the response is lost, look it up, and do not send it again.

    Raises:
        ReadOnly, RequestRefused: nothing was executed.
        OutcomeUnknown: the response was lost, and no invocation has the idempotency key.
    """
    headers = {"content-type": JSON} if call.body is not None and call.is_json else {}
    try:
        return lab.ingress.send(
            call.service,
            call.handler,
            call.body,
            key=call.key,
            delay=delay,
            idempotency_key=call.idempotency_key,
            headers=headers,
            reason=reason,
        )
    except OutcomeUnknown:
        id_ = _look_up(lab, call)
        if id_ is None:
            raise
        return SentInvocation(id_, "Accepted")


def _look_up(lab: Lab, call: HandlerCall) -> str | None:
    """Return the id of the invocation with the idempotency key of a call, if the server has it within some seconds."""
    key, deadline = call.idempotency_key, time.monotonic() + _LOOKED_FOR
    while key is not None and time.monotonic() < deadline:
        with suppress(RestateLabError):
            id_ = find_by_idempotency_key(lab, call.service, call.handler, key, timeout=_LOOKED_FOR)
            if id_ is not None:
                return id_
        time.sleep(_PAUSE)
    return None
