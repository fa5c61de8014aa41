"""What a response to a change means: success, a refusal, or lost.

A response is a success if it has a status and a body that the operation returns (``SUCCESS``). It is a refusal if its
status says that the request was turned away (4xx), or if it is an error that Restate itself wrote. Every other response
counts as lost: a gateway wrote it, possibly after the server acted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import httpx

from restate_lab.client.failures import Refusal, masked, nodes_change, read_refusal, routing

__all__ = ["SUCCESS", "Success", "is_lost", "says_never_forwarded"]

_MAY_HAVE_PASSED = frozenset({408, 420, 499})  # a gateway sends them after it has begun to forward a request
# Envoy and Istio have these texts for requests that they did not forward. With "retried and the latest reset reason"
# an earlier attempt was forwarded, and the first text may follow such an attempt too: it is a hint, not a proof.
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
class Success:
    """What a successful response to one operation looks like.

    ``body`` is a JSON "object" or "list", "nothing", or "any". ``fields`` are in the object. ``header`` is set.
    ``new_id`` is the field with the id of an invocation that came into being.
    """

    statuses: tuple[int, ...]
    body: Literal["object", "list", "nothing", "any"]
    fields: tuple[str, ...] = ()
    header: str | None = None
    new_id: str | None = None

    def mismatch(self, response: httpx.Response) -> str | None:
        """Return why a response is not this success, without our token; None if it is. Its body must have been read."""
        reason = self._mismatch(response)
        return None if reason is None else masked(reason, response)

    def _mismatch(self, response: httpx.Response) -> str | None:
        words = read_refusal(response).words if _is_page(response) else f"{response.status_code} {_kind(response)}"
        if response.status_code not in self.statuses:
            return f"{words}; success has status {' or '.join(map(str, self.statuses))}"
        if self.header is not None and self.header not in response.headers:
            return f"{words}, without the header {self.header} that Restate sets"
        if self.body == "any":
            return None
        if self.body == "nothing":
            return f"{words}; success has no body" if response.content.strip() else None
        if not self._fits(_parsed(response)):
            return f"{words}; success is a JSON {self.body}{' with ' if self.fields else ''}{', '.join(self.fields)}"
        return None

    def created(self, response: httpx.Response) -> str | None:
        """Return the id of the invocation that came into being, or None where none did."""
        return None if self.new_id is None else str(_parsed(response)[self.new_id])

    def _fits(self, value: Any) -> bool:
        if self.body == "list":
            return isinstance(value, list)
        return isinstance(value, dict) and set(self.fields) <= value.keys()


_OK, _ACCEPTED = Success((200,), "nothing"), Success((202,), "nothing")
_EITHER = Success((200, 202), "nothing")
_OF_AN_INVOCATION = Success((200,), "any", header=_INVOCATION_ID)

SUCCESS: Mapping[str, Success] = MappingProxyType(
    {
        # Admin API: the names are its operationIds; seen on 1.6.1 and 1.7.12
        "health": _OK,
        "create_deployment": Success((200, 201), "object", ("id", "services")),
        "update_deployment": Success((200,), "object", ("id", "services")),
        "delete_deployment": _ACCEPTED,
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
        # the ingress: it sets the header on every response of an invocation, whatever the handler returns
        "call": _OF_AN_INVOCATION,
        "attach": _OF_AN_INVOCATION,
        "output": _OF_AN_INVOCATION,
        "send": Success((200, 202), "object", ("invocationId", "status")),
        "resolve_awakeable": _ACCEPTED,
        "reject_awakeable": _ACCEPTED,
    }
)
"""What success looks like, by operation: all changes, and the reads whose body nothing else checks."""


def is_lost(response: httpx.Response, refusal: Refusal) -> bool:
    """Return whether a change may have happened although the response is not a success; its body must have been read.

    A redirect counts as lost: it comes from a login page or a proxy, and some proxies redirect after a failure of the
    server behind them. 429 does not: a limit turns a request away before it is forwarded.
    """
    if refusal.status < 400:
        return True
    if refusal.status < 500:
        return refusal.status in _MAY_HAVE_PASSED and not _is_restates_own(response)
    if not _is_restates_own(response) or nodes_change(refusal):
        return True
    passed_on = routing(refusal.reason)
    # The Admin API says 503 only where it passes a request on to another node.
    return passed_on == "lost" or (refusal.status == 503 and passed_on is None)


def says_never_forwarded(refusal: Refusal) -> bool:
    """Return whether a gateway says that it did not forward the request. It may be wrong: read before resending."""
    return refusal.status == 503 and any(text in refusal.reason for text in _NEVER_FORWARDED)


def _is_restates_own(response: httpx.Response) -> bool:
    """Return whether Restate wrote an error, and not a gateway.

    The Admin API writes ``message`` and ``restate_code``, null included, where Kubernetes, Envoy and AWS write
    ``message`` alone or with other fields. An empty 501 is its answer to a removal without force.
    """
    if _ERROR_SOURCE in response.headers or (response.status_code == 501 and not response.content):
        return True
    body = _parsed(response)
    return isinstance(body, dict) and isinstance(body.get("message"), str) and "restate_code" in body


def _parsed(response: httpx.Response) -> Any:
    if "json" not in _kind(response):
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _is_page(response: httpx.Response) -> bool:
    return "html" in _kind(response) or response.content.lstrip()[:1] == b"<"


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "without a content type" if response.content else "without a body"))
