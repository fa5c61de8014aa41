"""A gateway in front of a real server, for responses of gateways and busy servers: it answers some requests itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from restate_lab.audit import AuditLog
from restate_lab.client._http import QuickAckTransport
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings

Interceptor = Callable[[httpx.Request], httpx.Response | None]


class Proxy(httpx.BaseTransport):
    """Passes requests on; ``before`` may answer one itself, ``after`` may replace the server's response.

    Both may raise. ``changes`` has method and path of every change that arrived.
    """

    def __init__(self, *, before: Interceptor | None = None, after: Interceptor | None = None) -> None:
        self.changes: list[tuple[str, str]] = []
        self._before = before
        self._after = after
        self._wire = QuickAckTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/query" and request.method != "GET":
            self.changes.append((request.method, request.url.path))
        if self._before is not None and (answer := self._before(request)) is not None:
            return answer
        response = self._wire.handle_request(request)
        if self._after is not None:
            try:
                answer = self._after(request)
            except BaseException:
                response.close()
                raise
            if answer is not None:
                response.close()
                return answer
        return response

    def close(self) -> None:
        self._wire.close()


def connect_through(proxy: Proxy, admin_url: str, audit: Path) -> Lab:
    return Lab(load_settings(admin_url), audit=AuditLog(audit), network=proxy)


def not_leader_response() -> httpx.Response:
    """Return the response of a node that could not pass a request on to the leader of the partition."""
    words = "Error when routing the request internally. Reason: rpc for partition 1 at node N1:1 failed: not leader"
    return httpx.Response(503, json={"message": words, "restate_code": None})


def is_batch(request: httpx.Request) -> bool:
    return request.url.path.startswith("/internal/")


def is_change(request: httpx.Request) -> bool:
    return is_batch(request) or request.method == "PATCH"
