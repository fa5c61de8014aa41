"""Classify responses: the exception for an error, and whether a change was done, refused or lost.

A response is a success if it has a status and a body that the operation returns (``SUCCESS``). It is a refusal if its
status is 4xx, or if Restate itself wrote the error. Every other response counts as lost: a gateway wrote it, possibly
after the server made the change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import httpx

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_duration, truncate
from restate_lab.client.settings import Settings
from restate_lab.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    QueryRefused,
    RateLimited,
    RequestRefused,
    RestateLabError,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from restate_lab.redaction import mask_secrets, secrets_in

_REFUSAL_CLASSES: dict[int, type[RequestRefused]] = {404: NotFound, 409: Conflict, 410: Conflict, 425: Conflict}
# Nodes report these for some seconds after a node is lost or comes back. Every other 500 is permanent.
_NODE_CHANGES = (
    "External error: connection closed",
    "External error: connect throttled",
    "External error: handshake failed",
    "External error: node lookup for partition",
    "was shut down or removed",  # just after a restart, about the node's previous process
    "Internal error: No such scanner",
    "doesn't exist on this node, this is benign",
    "expecting a partition store",
    "the peer dropped the reply port",
)
# A node reports these if it has not forwarded a change to the leader of the partition.
_NOT_PASSED_ON = (
    "connect throttled",
    "handshake failed",
    "failed sending request",
    "not leader",
    "the partition is too busy",
    "cannot find node for partition",
)
_REFUSED_QUERY = "Datafusion error: "
_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_LONGEST_REASON = 600
_LONGEST_TEXT = 64_000  # characters
_MAY_HAVE_PASSED = frozenset({408, 420, 499})  # a gateway can send them after it started to forward a request
# Envoy and Istio report these for requests that they did not forward. With "retried and the latest reset reason" an
# earlier attempt was forwarded, and the first text can also follow such an attempt: it is a hint, not a proof.
_NEVER_FORWARDED = (
    "no healthy upstream",
    "headers. reset reason: connection failure",
    "headers. reset reason: remote connection failure",
    "headers. reset reason: local connection failure",
    "headers. reset reason: connection timeout",
    "headers. reset reason: overflow",
)
_ERROR_SOURCE = "x-restate-error-source"  # the ingress sets it on every error since 1.7
_INVOCATION_ID = "x-restate-id"


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A response that is not a success: HTTP status, Restate code or None, and the reason."""

    status: int
    code: str | None
    reason: str

    @property
    def summary(self) -> str:
        """Return status, code and reason in one phrase of readable length."""
        code = f" [{self.code}]" if self.code and self.code not in self.reason else ""
        reason = truncate(self.reason, _LONGEST_REASON)
        return f"{self.status}{code} {reason or '(no message)'}"


def read_error_response(response: httpx.Response) -> ErrorResponse:
    """Read the reason from a response: JSON with a message, plain text, an HTML page, or an empty body.

    Secrets of the request are masked in it, because some gateways repeat the headers that they refuse.
    """
    text = response.text.strip()
    kind = response.headers.get("content-type", "")
    code = None
    if "json" in kind and (body := _json_object(text)) is not None:
        code, text = body.get("restate_code"), str(body.get("message", ""))
    elif "html" in kind or text[:1] == "<":
        title = _TITLE.search(text)
        text = f"an HTML page ({title.group(1).strip() if title else 'no title'})"
    return ErrorResponse(
        response.status_code,
        mask_request_secrets(code, response) if isinstance(code, str) else None,
        mask_request_secrets(text, response),
    )


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def mask_request_secrets(text: str, response: httpx.Response) -> str:
    """Return a text of a response for display: truncated, and without the secret headers of its request."""
    # Mask before truncating: a truncated secret would not be recognized.
    return mask_secrets(text, secrets_in(response.request.headers))[:_LONGEST_TEXT]


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that the server asks to wait; None if it does not, or sends a date."""
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def is_temporary(error: ErrorResponse) -> bool:
    """Return whether a read may be repeated: a rate limit, a gateway error, or a node that was lost or came back."""
    return error.status in {429, 502, 503, 504} or is_node_change(error)


def is_node_change(error: ErrorResponse) -> bool:
    """Return whether the cause of an error is a node that was just lost or came back."""
    return error.status == 500 and any(sign in error.reason for sign in _NODE_CHANGES)


def routing_outcome(reason: str) -> Literal["not taken", "lost"] | None:
    """Return the outcome of a change that a node should forward to another node, from its error message.

    "not taken": the node did not forward it, so it may be sent again. "lost": the change may have happened. None: the
    message has another cause.
    """
    if any(sign in reason for sign in _NOT_PASSED_ON):
        return "not taken"
    return "lost" if "rpc for partition" in reason or "lost leadership" in reason else None


def error_from_response(
    response: httpx.Response, *, request_line: str, settings: Settings, address: str
) -> RestateLabError:
    """Return the exception for a response that is not a success; its body must have been read.

    ``request_line`` is for example "POST /query".
    """
    error = read_error_response(response)
    where = f"{request_line} on {place_of(settings, address)}"
    status = error.status
    if status in {401, 403}:
        return AccessDenied(f"{where}: {error.summary}. {_token_advice(settings)}")
    if status == 429:
        wait = retry_after(response)
        advice = f"The server asks to wait {format_duration(wait)}" if wait else "Wait, or send requests less often"
        text = f"{where}: {error.summary}. {advice}; the limits are settings of the server."
        return RateLimited(text, retry_after=wait)
    if 300 <= status < 400:
        target = mask_request_secrets(response.headers.get("location", "nowhere"), response)
        return ServerFailed(
            f"{where}: redirected to {target}. A login page or a proxy is in front of the Admin API; "
            f"use the API's own address and a token.",
            status=status,
        )
    if status in {502, 503, 504}:
        return Unreachable(f"{where}: {error.summary}. {_GATEWAY_ADVICE[status]}")
    if is_node_change(error):
        return Unreachable(f"{where}: {error.summary}. A node was lost or came back: try again shortly.")
    return _request_error(error, where, is_query=request_line.endswith("/query"))


_GATEWAY_ADVICE = {
    502: "A gateway did not reach the server: check that the server runs.",
    503: "No node can serve this request now: try again shortly, and check that all nodes run.",
    504: "A gateway timed out. Request less data, or use the server's own address: a scan that finds no rows sends "
    "no data until it ends, and load balancers close idle connections.",
}


def _request_error(error: ErrorResponse, where: str, *, is_query: bool) -> RestateLabError:
    details = {"status": error.status, "code": error.code, "reason": error.reason}
    if is_query and error.reason.startswith(_REFUSED_QUERY):
        reason = error.reason.removeprefix(_REFUSED_QUERY)
        message = f"the server refused the query: {truncate(reason, _LONGEST_REASON)}{_query_advice(reason)}"
        return QueryRefused(message, status=error.status, code=error.code, reason=reason)
    if error.status >= 500:
        return ServerFailed(f"{where}: {error.summary}. The server's log has more.", **details)  # type: ignore[arg-type]
    kind = _REFUSAL_CLASSES.get(error.status, RequestRefused)
    return kind(f"{where}: {error.summary}", **details)  # type: ignore[arg-type]


def _query_advice(reason: str) -> str:
    if "Resources exhausted" in reason or "Not enough memory" in reason:
        return ". All queries of a node share one memory pool: select fewer columns, filter, or sort in pandas."
    if "non valid invocation id" in reason:
        return ". An id is compared with an invalid invocation id: ids have 38 characters and are case-sensitive."
    return ""


def _token_advice(settings: Settings) -> str:
    if settings.token is None:
        return (
            f"No token is configured for {settings.environment}: set RESTATE_AUTH_TOKEN, or bearer_token in the "
            f"CLI's config.toml, or pass connect(token=getpass.getpass())."
        )
    return f"The token is from {settings.token_source}: it may have expired, or belong to another environment."


def place_of(settings: Settings, address: str) -> str:
    """Return the name and the address of a cluster for messages; only the address if the name is a part of it."""
    return address if settings.environment in address else f"{settings.environment} ({address})"


def _connecting_advice(error: str, settings: Settings, *, is_ingress: bool) -> str:
    if "WRONG_VERSION_NUMBER" in error:
        return "The server at this address does not use TLS: try http:// instead of https://."
    if is_ingress:
        return "Is the server running, and is this its ingress address? Otherwise use connect(ingress_url=…)."
    advice = "Is the server running, and is this its admin address?"
    if settings.chosen_by == "the default":
        advice += (
            ' For another cluster: connect("host:9070"), or an environment of the restate CLI. `restate-lab demo` '
            "starts a cluster to try."
        )
    return advice


def connecting_reason(error: httpx.ConnectError) -> str:
    """Return why there is no connection, without the number of the operating system: "connection refused"."""
    return re.sub(r"^\[Errno -?\d+\] ([A-Z])", lambda match: match[1].lower(), str(error))


def error_from_transport(
    error: httpx.RequestError, *, request_line: str, settings: Settings, address: str
) -> RestateLabError:
    """Return the exception for a call that ended without a readable response."""
    is_ingress = re.split(r"[ ,]", address)[0] != settings.admin_url  # a text about the proxy may follow
    where = f"{request_line} on {place_of(settings, address)}"
    is_named = is_ingress or settings.chosen_by in {"the argument", "the default"}
    origin = "" if is_named else f", chosen by {settings.chosen_by}"
    unreached = f"Cannot reach {place_of(settings, address)}{origin}"
    if isinstance(error, httpx.ConnectTimeout):
        return Unreachable(f"{unreached}: {error}. Check the address, the network and its firewalls.")
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(
            f"{where}: no response within the time limit. Allow more time with timeout=…, or request less data."
        )
    if isinstance(error, httpx.ConnectError):
        reason = connecting_reason(error)
        return Unreachable(f"{unreached}: {reason}. {_connecting_advice(reason, settings, is_ingress=is_ingress)}")
    if isinstance(error, httpx.DecodingError):
        return ServerFailed(
            f"{where}: {error}. This is not from a Restate server: check the address, and the proxies in front of it.",
            status=200,
        )
    return Unreachable(f"{where}: {error}. The connection broke before a response arrived.")


@dataclass(frozen=True, slots=True)
class Success:
    """The properties of a successful response to one operation.

    ``body`` is a JSON "object" or "list", "nothing", or "any". ``fields`` must be in the object. ``header`` must be
    set. ``new_id`` is the field with the id of the new invocation.
    """

    statuses: tuple[int, ...]
    body: Literal["object", "list", "nothing", "any"]
    fields: tuple[str, ...] = ()
    header: str | None = None
    new_id: str | None = None

    def mismatch(self, response: httpx.Response) -> str | None:
        """Return why a response is not a success, without our token; None if it is. Its body must have been read."""
        reason = self._mismatch(response)
        return None if reason is None else mask_request_secrets(reason, response)

    def _mismatch(self, response: httpx.Response) -> str | None:
        summary = (
            read_error_response(response).summary if is_page(response) else f"{response.status_code} {_kind(response)}"
        )
        if response.status_code not in self.statuses:
            return f"{summary}; success has status {' or '.join(map(str, self.statuses))}"
        if self.header is not None and self.header not in response.headers:
            return f"{summary}, without the header {self.header} that Restate sets"
        if self.body == "any":
            return summary if self.header is None and is_page(response) else None
        if self.body == "nothing":
            return f"{summary}; success has no body" if response.content.strip() else None
        if not self._fits(_parse_json(response)):
            return f"{summary}; success is a JSON {self.body}{' with ' if self.fields else ''}{', '.join(self.fields)}"
        return None

    def new_invocation_id(self, response: httpx.Response) -> str | None:
        """Return the id of the new invocation, or None if there is no new one."""
        return None if self.new_id is None else str(_parse_json(response)[self.new_id])

    def _fits(self, value: Any) -> bool:
        if self.body == "list":
            return isinstance(value, list)
        return isinstance(value, dict) and set(self.fields) <= value.keys()


_OK, _ACCEPTED = Success((200,), "nothing"), Success((202,), "nothing")
_EITHER = Success((200, 202), "nothing")
_OF_AN_INVOCATION = Success((200,), "any", header=_INVOCATION_ID)

SUCCESS: Mapping[str, Success] = MappingProxyType(
    {
        # Admin API: the names are its operationIds; observed on 1.7.12
        "health": _OK,
        "create_deployment": Success((200, 201), "object", ("id", "services")),
        "update_deployment": Success((200,), "object", ("id", "services")),
        "delete_deployment": _ACCEPTED,
        # since 1.8.1, and never observed: the outcome is read afterwards
        "bulk_delete_deployments": Success((200, 202, 204), "any"),
        "modify_service": Success((200,), "object", ("name", "handlers")),
        "modify_service_state": _ACCEPTED,
        "cancel_invocation": _EITHER,
        "kill_invocation": _EITHER,
        "pause_invocation": _EITHER,
        "resume_invocation": _EITHER,
        "purge_invocation": _EITHER,
        "purge_journal": _EITHER,
        "restart_as_new_invocation": Success((200,), "object", ("new_invocation_id",), new_id="new_invocation_id"),
        "delete_invocation": _ACCEPTED,
        "create_subscription": Success((201,), "object", ("id", "source", "sink")),
        "delete_subscription": _ACCEPTED,
        "create_kafka_cluster": Success((201,), "object", ("name",)),
        "update_kafka_cluster": Success((200,), "object", ("name",)),
        "delete_kafka_cluster": _ACCEPTED,
        "upsert_rules": Success((200,), "list"),
        "bulk_delete_rules": Success((200,), "list"),
        "pause_vqueue": _ACCEPTED,
        "resume_vqueue": _ACCEPTED,
        # the batch endpoint, which has no operationId
        "batch": Success((200,), "object", ("succeeded", "failed")),
        # ingress: it sets the header on every response of an invocation, independent of the handler's result
        "call": _OF_AN_INVOCATION,
        "attach": _OF_AN_INVOCATION,
        "output": _OF_AN_INVOCATION,
        "send": Success((200, 202), "object", ("invocationId", "status")),
        "resolve_awakeable": _ACCEPTED,
        "reject_awakeable": _ACCEPTED,
    }
)
"""The successful responses by operation: all changes, and the reads whose body is not checked elsewhere."""


def is_lost(response: httpx.Response, error: ErrorResponse) -> bool:
    """Return whether a change may have happened although the response is not a success; its body must have been read.

    A redirect counts as lost: it is from a login page or a proxy, and some proxies redirect after the server behind
    them failed. 429 does not count as lost: a rate limit rejects a request before it is forwarded.
    """
    if error.status < 400:
        return True
    if error.status < 500:
        return error.status in _MAY_HAVE_PASSED and not _is_from_restate(response)
    if not _is_from_restate(response) or is_node_change(error):
        return True
    passed_on = routing_outcome(error.reason)
    # The Admin API returns 503 only for requests that it forwards to another node.
    return passed_on == "lost" or (error.status == 503 and passed_on is None)


def says_never_forwarded(error: ErrorResponse) -> bool:
    """Return whether a gateway reports that it did not forward the request. It can be wrong: read before resending."""
    return error.status == 503 and any(text in error.reason for text in _NEVER_FORWARDED)


def _is_from_restate(response: httpx.Response) -> bool:
    """Return whether Restate wrote an error, rather than a gateway.

    The Admin API always writes ``message`` and ``restate_code`` (which can be null). Kubernetes, Envoy and AWS write
    ``message`` alone or with other fields. An empty 501 is the Admin API's response to a removal without force.
    """
    if _ERROR_SOURCE in response.headers or (response.status_code == 501 and not response.content):
        return True
    body = _parse_json(response)
    return isinstance(body, dict) and isinstance(body.get("message"), str) and "restate_code" in body


def _parse_json(response: httpx.Response) -> Any:
    if "json" not in _kind(response):
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def is_page(response: httpx.Response) -> bool:
    """Return whether a response is an HTML page; its body must have been read."""
    return "html" in _kind(response) or response.content.lstrip()[:1] == b"<"


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "without a content type" if response.content else "without a body"))


@contextmanager
def suggesting(services: Callable[[], Iterable[Any]], service: str, handler: str = "") -> Iterator[None]:
    """Add the most similar service, or handler of the service, to a NotFound of this block.

    ``services`` reads the services, each with its name and handlers.
    """
    try:
        yield
    except NotFound as error:
        with suppress(RestateLabError):  # if the names cannot be read, the first error is enough
            handlers = {each.name: each.handlers or () for each in services()}
            if service in handlers:
                near = nearest_names(handler, (each.name for each in handlers[service]))
            else:
                near = nearest_names(service, handlers)
            error.args = (f"{error.args[0].rstrip('.')}. {did_you_mean(near)}".removesuffix(". "),)
        raise
