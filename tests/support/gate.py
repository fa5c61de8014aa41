"""A gateway in front of a real server, for what gateways and busy servers say: it answers some requests by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings
from restate_lab.client.wire import Wire

Hook = Callable[[httpx.Request], httpx.Response | None]


class Gate(httpx.BaseTransport):
    """Passes requests on; ``before`` may answer one itself, ``after`` sees each that the server has answered.

    Both may raise. ``changes`` has method and path of every change that came.
    """

    def __init__(self, *, before: Hook | None = None, after: Hook | None = None) -> None:
        self.changes: list[tuple[str, str]] = []
        self._before = before
        self._after = after
        self._wire = Wire()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/query" and request.method != "GET":
            self.changes.append((request.method, request.url.path))
        if self._before is not None and (answer := self._before(request)) is not None:
            return answer
        response = self._wire.handle_request(request)
        if self._after is not None:
            try:
                self._after(request)
            except BaseException:
                response.close()
                raise
        return response

    def close(self) -> None:
        self._wire.close()


def lab_behind(gate: Gate, admin_url: str, audit: Path) -> Lab:
    """Connect through a gate."""
    return Lab(load_settings(admin_url), audit=AuditLog(audit), network=gate)


def is_batch(request: httpx.Request) -> bool:
    """Tell whether a request goes to the batch endpoint."""
    return request.url.path.startswith("/internal/")


def is_change(request: httpx.Request) -> bool:
    """Tell whether a request acts on invocations."""
    return is_batch(request) or request.method == "PATCH"
