"""IngressClient: call handlers, send requests to them, wait for results, and complete awakeables.

The ingress receives the requests of a cluster's users, so a call from a notebook is a change like any other. It is
refused on a read-only connection and written to the audit log (service, key and handler, but not body or headers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from restate_lab._public import public
from restate_lab.client.arguments import (
    check_awakeable,
    check_duration,
    check_id,
    check_name,
    check_strings,
    format_value,
    path_segment,
)
from restate_lab.client.responses import SUCCESS, Success, mask_request_secrets, read_error_response, suggesting
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import (
    ArgumentError,
    Conflict,
    InvocationFailed,
    NotReady,
    RequestRefused,
    RestateLabError,
    ServerFailed,
)
from restate_lab.redaction import Secret

Headers = Mapping[str, str | Secret]
JSON = "application/json"
BINARY = "application/octet-stream"
_NO_SUCH_PATH = "bad path"
_STATUS = "/status"
_SECOND_RUN = "the workflow method was already invoked"
# The ingress compares an idempotency key in a path without decoding it.
_PATH_KEY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")


@dataclass(frozen=True, slots=True)
class SentInvocation:
    """An invocation that the server has accepted.

    ``status`` is "Accepted", or "PreviouslyAccepted" if the idempotency key or the key of the workflow already existed:
    then no new invocation was started, and ``invocation_id`` is the id of the earlier one. ``execution_time`` (UTC) is
    when a delayed invocation starts; None if it starts at once.
    """

    invocation_id: str
    status: str
    execution_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class InvocationStage:
    """The stage of an invocation, as the ingress reports it to the clients of a cluster.

    ``stage`` is "created" (it has not started: it is scheduled or pending), "started" (ready, running, backing off,
    suspended or paused) or "completed". ``error_code`` and ``error_message`` are those of a failed, cancelled or killed
    invocation (409 "killed"); None if it succeeded or has not ended. ``invocation_id`` has None if a proxy removed
    the header ``x-restate-id``.
    """

    invocation_id: str | None
    stage: str
    error_code: int | None = None
    error_message: str | None = None


class IngressTransport(Transport):
    """A transport to the ingress, where an error status can be the result of an invocation.

    Such a status becomes InvocationFailed, whatever its number: a handler that fails with 503 is not a broken gateway.
    The audit log has "done", because the invocation was executed.
    """

    def _evaluate(
        self, response: httpx.Response, action: str, request_line: str, success: Success, result: dict[str, Any]
    ) -> httpx.Response:
        if response.is_error and _is_invocation_failure(response):
            error = self._response_error(response, request_line)
            outcome = "done" if isinstance(error, InvocationFailed) else "refused"
            result.update(outcome=outcome, status=response.status_code)
            raise error
        return super()._evaluate(response, action, request_line, success, result)

    def _response_error(self, response: httpx.Response, request_line: str) -> RestateLabError:
        error_response = read_error_response(response)
        if not _is_invocation_failure(response):
            if error_response.status == 470:
                return NotReady(
                    f"{request_line}: the invocation has not ended. Try again later, or use attach() to wait for it."
                )
            if error_response.status == 400 and error_response.reason.startswith(_NO_SUCH_PATH):
                advice = "A virtual object or workflow needs key=; a service must not have it."
                message = f"{request_line}: 400 {error_response.reason}. {advice}"
                return RequestRefused(message, status=400, reason=error_response.reason)
            return super()._response_error(response, request_line)
        id_ = mask_request_secrets(response.headers.get("x-restate-id", ""), response)
        if error_response.status == 409 and error_response.reason == _SECOND_RUN:
            return Conflict(
                f"{request_line}: a workflow runs once per key, and this key was already used by {id_}: attach to it.",
                status=409,
                reason=error_response.reason,
            )
        return InvocationFailed(
            f"{request_line}: the invocation {id_} failed: [{error_response.status}] {error_response.reason}",
            status=error_response.status,
            reason=error_response.reason,
        )


@public
class IngressClient:
    """A client for the handlers of a cluster; ``lab.ingress`` is one.

    Bodies of requests and responses are JSON. ``None`` sends no body, for a handler without a parameter. Bytes are sent
    unchanged, as application/octet-stream unless ``headers`` has another ``content-type``. A response that is not JSON
    is returned as bytes, and one without a body as None; ``raw=True`` returns every response as bytes.

    ``timeout`` is the limit of the whole call; None means the limit of the connection. If a call times out, its
    invocation continues: attach to it with its idempotency key.
    """

    def __init__(self, transport: IngressTransport, services: Callable[[], Iterable[Any]] = tuple) -> None:
        self._transport = transport
        self._services = services

    @property
    def address(self) -> str:
        """Return the address of the ingress."""
        return self._transport.address

    def call(
        self,
        service: str,
        handler: str,
        body: Any = None,
        /,
        *,
        key: str | None = None,
        idempotency_key: str | None = None,
        headers: Headers | None = None,
        timeout: DurationInput | None = None,
        raw: bool = False,
        reason: str | None = None,
    ) -> Any:
        """Invoke a handler, wait for it, and return its result; ``key`` is the key of a virtual object or workflow.

        Raises:
            InvocationFailed: the invocation failed, or was killed or cancelled; see ``status`` and ``reason``.
            NotFound: the service or the handler does not exist.
            RequestRefused: the handler is private or does not accept the body, or a required ``key`` is missing.
            Conflict: a workflow was already started with this key.
            OutcomeUnknown: no response arrived within the time limit; the invocation may continue.
        """
        target = _handler_path(service, handler, key)
        request = _request(body, headers, idempotency_key)
        with suggesting(self._services, service, handler):
            answer = self._change("call", f"/{target.path}", target.name, reason, timeout=timeout, **request)
        return _response_value(answer, raw=raw)

    def send(
        self,
        service: str,
        handler: str,
        body: Any = None,
        /,
        *,
        key: str | None = None,
        delay: DurationInput | None = None,
        idempotency_key: str | None = None,
        headers: Headers | None = None,
        timeout: DurationInput | None = None,
        reason: str | None = None,
    ) -> SentInvocation:
        """Invoke a handler and return at once; with ``delay`` ("30s", seconds, a timedelta) it starts later.

        Raises:
            NotFound: the service or the handler does not exist.
            RequestRefused: the handler is private or does not accept the body, or a required ``key`` is missing.
            OutcomeUnknown: no response arrived; the server may have accepted the message.
        """
        target = _handler_path(service, handler, key)
        request = _request(body, headers, idempotency_key)
        if delay is not None:
            request["params"] = {"delay": check_duration("delay", delay)}
        path = f"/{target.path}/send"
        with suggesting(self._services, service, handler):
            return _sent_invocation(self._change("send", path, target.name, reason, timeout=timeout, **request))

    def attach(
        self,
        invocation_id: str | None = None,
        /,
        *,
        workflow: str | None = None,
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        timeout: DurationInput | None = None,
        raw: bool = False,
    ) -> Any:
        """Wait for an invocation to end and return its result; this starts nothing.

        Identify the invocation by its id; by ``workflow`` and ``key``; or by ``service``, ``handler`` and
        ``idempotency_key`` (and ``key`` for a virtual object).

        Raises:
            InvocationFailed: it failed.
            NotFound: it does not exist, or its result was removed.
            TimedOut: it has not ended within ``timeout``.
        """
        path = _invocation_path(invocation_id, workflow, service, handler, key, idempotency_key)
        try:
            return self._read("attach", path, timeout, raw=raw)
        except InvocationFailed as error:
            # An unknown id looks like a handler that failed with "not found"; /output tells them apart.
            if (error.status, error.reason) != (404, "not found"):
                raise
            self._transport.read("GET", f"{path}/output", retry_for=0)
            raise

    def output(
        self,
        invocation_id: str | None = None,
        /,
        *,
        workflow: str | None = None,
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        timeout: DurationInput | None = None,
        raw: bool = False,
    ) -> Any:
        """Return the result of an invocation that has ended; identify it as in ``attach``.

        Raises:
            NotReady: it has not ended.
            InvocationFailed: it failed.
            NotFound: it does not exist, or its result was removed.
            TimedOut: no response arrived within ``timeout``.
        """
        path = _invocation_path(invocation_id, workflow, service, handler, key, idempotency_key)
        return self._read("output", path, timeout, raw=raw)

    def status(
        self,
        invocation_id: str | None = None,
        /,
        *,
        workflow: str | None = None,
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        scope: str | None = None,
        timeout: DurationInput | None = None,
    ) -> InvocationStage:
        """Return the stage of an invocation without waiting for it; identify it as in ``attach``.

        ``scope`` is the scope of the workflow, or of the request with the idempotency key; an id needs none. The stages
        are coarse: ``lab.sql("SELECT status FROM sys_invocation WHERE id = :id", id=…)`` has the exact status.

        Raises:
            NotFound: it does not exist, or it was removed.
            TimedOut: no response arrived within ``timeout``.
        """
        path = _invocation_path(invocation_id, workflow, service, handler, key, idempotency_key)
        if scope is None:
            response = self._transport.read("GET", f"{path}{_STATUS}", timeout=timeout, retry_for=0)
            return _stage(response, self.address)
        if invocation_id is not None:
            raise ArgumentError("scope cannot be combined with invocation_id, which identifies the invocation alone.")
        target: dict[str, str | None] = {"target": "workflow", "workflowName": workflow, "workflowKey": key}
        if workflow is None:
            target = {"target": "idempotentInvocation", "service": service, "key": key, "handler": handler}
            target["idempotencyKey"] = idempotency_key
        body = {name: value for name, value in target.items() if value is not None} | {
            "scope": check_name("scope", scope)
        }
        response = self._transport.read("POST", f"/restate{_STATUS}", timeout=timeout, retry_for=0, json=body)
        return _stage(response, self.address)

    def _read(self, operation: str, path: str, timeout: DurationInput | None, *, raw: bool) -> Any:
        response = self._transport.read("GET", f"{path}/{operation}", timeout=timeout, retry_for=0)
        mismatch = SUCCESS[operation].mismatch(response)
        if mismatch is not None:
            raise ServerFailed(
                f"the response to {operation} is not from a Restate ingress ({mismatch}). It may be from a login page "
                f"or a proxy: check the ingress address {self.address}.",
                status=response.status_code,
            )
        return _response_value(response, raw=raw)

    def resolve_awakeable(self, awakeable_id: str, value: Any = None, /, *, reason: str | None = None) -> None:
        """Resolve an awakeable with a value, which the waiting handler receives.

        If the awakeable is already completed, the server also returns 202 and keeps the first value.

        Raises:
            RequestRefused: no awakeable has this id.
        """
        id_ = check_awakeable("awakeable_id", awakeable_id)
        path = f"/restate/awakeables/{id_}/resolve"
        request = _request(value, None, None)
        self._change("resolve_awakeable", path, id_, reason, **request)

    def reject_awakeable(self, awakeable_id: str, message: str, /, *, reason: str | None = None) -> None:
        """Reject an awakeable: the waiting handler gets an error with this message (code 500).

        If the awakeable is already completed, the server keeps the first result. ``reason`` is only for the audit log.

        Raises:
            RequestRefused: no awakeable has this id.
        """
        id_ = check_awakeable("awakeable_id", awakeable_id)
        self._change(
            "reject_awakeable",
            f"/restate/awakeables/{id_}/reject",
            id_,
            reason,
            content=check_name("message", message).encode(),
            headers={"content-type": "text/plain; charset=utf-8"},
        )

    def _change(self, operation: str, path: str, target: str, reason: str | None, **request: Any) -> httpx.Response:
        return self._transport.change(
            "POST", path, action=operation, targets=[target], success=SUCCESS[operation], reason=reason, **request
        )


@dataclass(frozen=True, slots=True)
class _HandlerPath:
    name: str
    path: str


def _handler_path(service: str, handler: str, key: str | None) -> _HandlerPath:
    names = [check_name("service", service), check_name("handler", handler)]
    if key is not None:
        names.insert(1, check_name("key", key))
    return _HandlerPath("/".join(names), "/".join(path_segment(name) for name in names))


def _request(body: Any, headers: Headers | None, idempotency_key: str | None) -> dict[str, Any]:
    content, kind = _content(body)
    fields = {} if kind is None else {"content-type": kind}
    for name, value in check_strings("headers", headers or {}, as_headers=True).items():
        fields[name.lower()] = value
    if idempotency_key is not None:
        if "idempotency-key" in fields:
            raise ArgumentError("idempotency_key is given twice, as an argument and in headers; keep one.")
        key = check_name("idempotency_key", idempotency_key)
        fields |= check_strings("idempotency_key", {"idempotency-key": key}, as_headers=True)
    return {"content": content, "headers": fields}


def _content(body: Any) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), BINARY
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode(), JSON
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"body cannot be written as JSON ({error}): pass JSON values, or bytes.") from error


def _response_value(response: httpx.Response, *, raw: bool) -> Any:
    if raw:
        return response.content
    if not response.content:
        return None
    if JSON not in response.headers.get("content-type", ""):
        return response.content
    try:
        return response.json()
    except ValueError as error:
        raise ServerFailed(
            f"the handler's response is not JSON, although its content type is: {error}. Use raw=True for its bytes.",
            status=response.status_code,
        ) from error


def _stage(response: httpx.Response, address: str) -> InvocationStage:
    try:
        body = response.json()
        error = body["error"] or {}
        code, message = error.get("code"), error.get("message")
        return InvocationStage(response.headers.get("x-restate-id"), str(body["stage"]), code, message)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFailed(
            f"the response to status is not from a Restate ingress ({error!r}). It may be from a login page or a "
            f"proxy: check the ingress address {address}.",
            status=response.status_code,
        ) from error


def _sent_invocation(response: httpx.Response) -> SentInvocation:
    try:
        body = response.json()
        time_text = body.get("executionTime")
        begins = datetime.fromisoformat(time_text).astimezone(UTC) if time_text else None
        return SentInvocation(body["invocationId"], body["status"], begins)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServerFailed(
            f"the response to send is not from a Restate ingress ({error!r}); it may have accepted the message.",
            status=response.status_code,
        ) from error


def _invocation_path(
    invocation_id: str | None,
    workflow: str | None,
    service: str | None,
    handler: str | None,
    key: str | None,
    idempotency_key: str | None,
) -> str:
    by_request = {"service": service, "handler": handler, "idempotency_key": idempotency_key}
    has_request = any(value is not None for value in by_request.values())
    match invocation_id is not None, workflow is not None, has_request:
        case True, False, False if key is None:
            return f"/restate/invocation/{check_id('invocation_id', invocation_id, 'invocation')}"
        case False, True, False:
            names = check_name("workflow", workflow), check_name("key", key)
            return "/restate/workflow/" + "/".join(path_segment(name) for name in names)
        case False, False, True:
            for name, value in by_request.items():
                check_name(name, value)
            target = _handler_path(str(service), str(handler), key)
            return f"/restate/invocation/{target.path}/{_path_key(idempotency_key)}"
    raise ArgumentError(
        "identify one invocation: by invocation_id; by workflow and key; or by service, handler and idempotency_key "
        "(and key, for a virtual object)."
    )


def _path_key(idempotency_key: str | None) -> str:
    key = str(idempotency_key)
    if _PATH_KEY.fullmatch(key) is None or key in {".", ".."}:
        raise ArgumentError(
            f"idempotency_key {format_value(key)} cannot be part of a URL path; only letters, digits and "
            f"-._~!$&'()*+,;=:@ are allowed. Use the invocation_id that send() returned."
        )
    return key


def _is_invocation_failure(response: httpx.Response) -> bool:
    """Return whether an error is the failure of an invocation, not an error of the ingress itself.

    Since 1.7 a header shows that. Before 1.7, the response of an invocation has its id, and a code in its body.
    """
    source = response.headers.get("x-restate-error-source")
    if source is not None:
        return bool(source == "invocation")
    return "x-restate-id" in response.headers and b'"code"' in response.content
