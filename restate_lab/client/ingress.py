"""IngressClient: call handlers, send to them, wait for outcomes, answer awakeables.

The ingress is where a cluster's own users come in, so a call from a notebook is a change like any other: refused on a
read-only connection, written to the audit log (service, key and handler; neither body nor headers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
from restate_lab.client.responses import SUCCESS, Success, mask_request_secrets, read_error_response
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

__all__ = ["IngressClient", "IngressTransport", "SentInvocation"]

Headers = Mapping[str, str | Secret]
JSON = "application/json"
BINARY = "application/octet-stream"
_NO_SUCH_PATH = "bad path"
_SECOND_RUN = "the workflow method was already invoked"
# The ingress compares an idempotency key in a path as it stands, percent signs and all.
_PATH_KEY = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")


@dataclass(frozen=True, slots=True)
class SentInvocation:
    """An invocation that the server has taken down.

    ``status`` is "Accepted", or "PreviouslyAccepted" where the idempotency key or the workflow's key was there before:
    then nothing new was started, and ``invocation_id`` is the earlier one's. ``execution_time`` (UTC) is when a delayed
    one begins, None for one that begins at once.
    """

    invocation_id: str
    status: str
    execution_time: datetime | None = None


class IngressTransport(Transport):
    """A transport to the ingress, where an error status may be an invocation's own answer.

    Then it becomes InvocationFailed, whatever the number: a handler that fails with 503 is no broken gateway, and the
    audit log has "done", because the invocation has run.
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
                    f"{request_line}: the invocation has not ended. Ask again later, or attach() to wait for it."
                )
            if error_response.status == 400 and error_response.reason.startswith(_NO_SUCH_PATH):
                advice = "A virtual object and a workflow want a key=, and a service takes none."
                message = f"{request_line}: 400 {error_response.reason}. {advice}"
                return RequestRefused(message, status=400, reason=error_response.reason)
            return super()._response_error(response, request_line)
        id_ = mask_request_secrets(response.headers.get("x-restate-id", ""), response)
        if error_response.status == 409 and error_response.reason == _SECOND_RUN:
            return Conflict(
                f"{request_line}: a workflow runs once per key, and this one has begun before as {id_}: attach to it.",
                status=409,
                reason=error_response.reason,
            )
        return InvocationFailed(
            f"{request_line}: the invocation {id_} ended in failure: [{error_response.status}] {error_response.reason}",
            status=error_response.status,
            reason=error_response.reason,
        )


@public
class IngressClient:
    """Talks to the handlers of a cluster, as ``lab.ingress``.

    Bodies are JSON, sent and received. ``None`` is no body, which is what a handler without a parameter wants; bytes go
    as they are, as application/octet-stream unless ``headers`` name another ``content-type``. An answer that is not
    JSON comes as bytes, one without a body as None; ``raw=True`` gives every answer as bytes.

    ``timeout`` is for the whole call; None is the connection's own limit. When it is over on a call, the invocation
    goes on: with an idempotency key, attach to it.
    """

    def __init__(self, transport: IngressTransport) -> None:
        self._transport = transport

    @property
    def address(self) -> str:
        """Return the ingress's address."""
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
        """Invoke a handler, wait for it, and return its answer; ``key`` is that of a virtual object or workflow.

        Raises:
            InvocationFailed: the handler failed for good, or was killed or cancelled: see its ``status``, ``reason``.
            NotFound: there is no such service or handler, or it is not public.
            RequestRefused: the body is not what the handler takes; there is no ``key`` where one is needed.
            Conflict: a workflow that has begun before under this key.
            OutcomeUnknown: no response of the ingress came within the time; the invocation may go on.
        """
        target = _handler_path(service, handler, key)
        request = _request(body, headers, idempotency_key)
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
        """Invoke a handler and return at once; ``delay`` ("30s", seconds, a timedelta) has it begin later.

        Raises:
            NotFound: there is no such service or handler, or it is not public.
            RequestRefused: the body is not what the handler takes; there is no ``key`` where one is needed.
            OutcomeUnknown: no response of the ingress came; the message may have been taken.
        """
        target = _handler_path(service, handler, key)
        request = _request(body, headers, idempotency_key)
        if delay is not None:
            request["params"] = {"delay": check_duration("delay", delay)}
        return _sent_invocation(
            self._change("send", f"/{target.path}/send", target.name, reason, timeout=timeout, **request)
        )

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
        """Wait for an invocation to end and return its answer; nothing is started.

        Named by its id; by ``workflow`` and ``key``; or by ``service``, ``handler`` and ``idempotency_key`` (and
        ``key``, where there is one).

        Raises:
            InvocationFailed: it ended in failure.
            NotFound: there is none, or its answer is kept no longer.
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
        """Return the answer of an invocation that has ended; named as in ``attach``.

        Raises:
            NotReady: it has not ended.
            InvocationFailed: it ended in failure.
            NotFound: there is none, or its answer is kept no longer.
            TimedOut: no response came within ``timeout``.
        """
        path = _invocation_path(invocation_id, workflow, service, handler, key, idempotency_key)
        return self._read("output", path, timeout, raw=raw)

    def _read(self, operation: str, path: str, timeout: DurationInput | None, *, raw: bool) -> Any:
        response = self._transport.read("GET", f"{path}/{operation}", timeout=timeout, retry_for=0)
        mismatch = SUCCESS[operation].mismatch(response)
        if mismatch is not None:
            raise ServerFailed(
                f"the response to {operation} is not what a Restate ingress gives ({mismatch}). A login page or a "
                f"proxy may have answered: check the ingress address {self.address}.",
                status=response.status_code,
            )
        return _response_value(response, raw=raw)

    def resolve_awakeable(self, awakeable_id: str, value: Any = None, /, *, reason: str | None = None) -> None:
        """Give the handler that waits for an awakeable its value.

        The server answers 202 also when it has one already, and then keeps the first.

        Raises:
            RequestRefused: no awakeable has this id.
        """
        id_ = check_awakeable("awakeable_id", awakeable_id)
        path = f"/restate/awakeables/{id_}/resolve"
        request = _request(value, None, None)
        self._change("resolve_awakeable", path, id_, reason, **request)

    def reject_awakeable(self, awakeable_id: str, message: str, /, *, reason: str | None = None) -> None:
        """Let what waits for an awakeable fail with this message (code 500); the first answer is kept.

        ``reason`` goes to the audit log alone.

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
    """Return content and headers as httpx takes them."""
    content, kind = _content(body)
    fields = {} if kind is None else {"content-type": kind}
    for name, value in check_strings("headers", headers or {}, as_headers=True).items():
        fields[name.lower()] = value
    if idempotency_key is not None:
        if "idempotency-key" in fields:
            raise ArgumentError("idempotency_key is given twice: by name and in headers.")
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
        raise ArgumentError(f"body cannot be written as JSON ({error}): give JSON values, or bytes.") from error


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
            f"the handler's answer says that it is JSON and is not: {error}. raw=True gives its bytes.",
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
            f"the answer to send is not what a Restate ingress gives ({error!r}); the message may have been taken.",
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
    """Return the path of an invocation by one of its three names."""
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
        "name one invocation: by invocation_id; by workflow and key; or by service, handler and idempotency_key (and "
        "key, for a virtual object)."
    )


def _path_key(idempotency_key: str | None) -> str:
    key = str(idempotency_key)
    if _PATH_KEY.fullmatch(key) is None or key in {".", ".."}:
        raise ArgumentError(
            f"idempotency_key {format_value(key)} cannot stand in a path of the ingress, which takes letters, digits "
            f"and -._~!$&'()*+,;=:@ there: use the invocation_id that send() returned."
        )
    return key


def _is_invocation_failure(response: httpx.Response) -> bool:
    """Tell an invocation's failure from a refusal of the ingress.

    Since 1.7 a header says so. Before, an answer of an invocation has its id, and a code in its body.
    """
    source = response.headers.get("x-restate-error-source")
    if source is not None:
        return bool(source == "invocation")
    return "x-restate-id" in response.headers and b'"code"' in response.content
