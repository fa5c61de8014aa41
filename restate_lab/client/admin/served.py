"""Which operations and parameters a server has, by its own OpenAPI document, or by its version where it has none."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from restate_lab.client.server import KNOWN_FOR, Server
from restate_lab.client.transport import Transport
from restate_lab.errors import NotOnThisServer, RequestRefused, RestateLabError
from restate_lab.source import is_older

__all__ = ["Served"]

_NEEDS_1_7 = frozenset({
    "list_kafka_clusters", "create_kafka_cluster", "get_kafka_cluster", "update_kafka_cluster", "delete_kafka_cluster",
    "upsert_rules", "bulk_delete_rules", "pause_vqueue", "resume_vqueue",
    "create_deployment.auth", "modify_service_state.scope",
})  # fmt: skip


class Served:
    """Asks the server only when an answer leaves it open, and again when what it said is old."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._operations: dict[str, frozenset[str]] | None = None
        self._since = 0.0
        self._server = Server(transport)

    @property
    def version(self) -> str:
        """Return the server's version, such as "1.7.12"."""
        return self._server.about().version

    @property
    def features(self) -> Mapping[str, bool]:
        """Return the server's feature flags; empty before 1.7."""
        return self._server.about().features

    @contextmanager
    def expecting(self, operation: str) -> Iterator[None]:
        """Turn the empty 404 or 405 of a server that does not know the operation into NotOnThisServer.

        An empty answer alone does not say so (a gateway gives it too), nor does a version: both must agree.
        """
        try:
            yield
        except RequestRefused as error:
            if error.status not in {404, 405} or error.reason or self.has(operation):
                raise
            raise NotOnThisServer(
                f"{operation} is not on this server: it has Restate {self.version}, which lacks it (it came with 1.7). "
                f"Nothing was changed."
            ) from error

    def require(self, operation: str, parameter: str) -> None:
        """Raise NotOnThisServer where the server would pass over a parameter in silence."""
        if not self.has(operation, parameter):
            raise NotOnThisServer(
                f"{operation}({parameter}=…) is not on this server: Restate {self.version} would ignore it (it came "
                f"with 1.7). Nothing was sent."
            )

    def has(self, operation: str, parameter: str | None = None) -> bool:
        """Tell whether the server has an operation, or a parameter of one."""
        if self._operations is None or time.monotonic() - self._since > KNOWN_FOR:
            self._operations, self._since = self._read(), time.monotonic()
        if self._operations:
            known = self._operations.get(operation)
            return known is not None and (parameter is None or parameter in known)
        is_new = (f"{operation}.{parameter}" if parameter else operation) in _NEEDS_1_7
        return not is_new or not is_older(self.version, "1.7")

    def _read(self) -> dict[str, frozenset[str]]:
        try:
            document = self._transport.read("GET", "/openapi").json()
            return {
                operation["operationId"]: frozenset(_parameters(document, operation))
                for methods in document["paths"].values()
                for operation in methods.values()
            }
        except (RestateLabError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # not every gateway passes it on


def _parameters(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    yield from (parameter["name"] for parameter in operation.get("parameters", ()))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from _properties(document, content["schema"])


def _properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _properties(document, document["components"]["schemas"][name])
    yield from schema.get("properties", ())
    for variant in schema.get("oneOf", ()):
        yield from _properties(document, variant)
