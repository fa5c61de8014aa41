"""An imitation of restate-server 1.8.1: restate-server 1.7.12 behind a proxy that changes what 1.8 changed.

The binary of 1.8 is not available to the tests. Version 1.7.12 with the flags in ``FLAGS_OF_1_8`` behaves like 1.8
where the flags decide; the proxy changes the rest of the Admin API. It cannot imitate errors that only 1.8 reports
(RT0020), the limits of a node, yields under memory pressure, or a partition that migrates while it is read.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

VERSION = "1.8.1"
Features = Literal["removed", "absent", "empty"]
"""What ``/version`` says about the features: the flags of 1.8 are removed, or there is no map, or an empty one."""
FORMS: Mapping[str, Features] = {"removed": "removed", "absent": "absent", "empty": "empty", "legacy": "removed"}
"""The forms of ``RESTATE_LAB_TESTS_BEHIND``; with "legacy" the server behind the proxy has no vqueues."""
_REMOVED = {
    "vqueues", "vqueues_migration_skip_completed", "invoker_yield", "scoped_virtual_objects", "protocol_v7",
    "unique_random_seeds",
}  # fmt: skip
_NEW = ("schema_bilrost_encoding", "inconsistent_state_mutation_cleanup", "preflight_signal_recording")
_BULK_DELETE = "/deployments/bulk-delete"
_GONE = "sys_keyed_service_status"
_CANONICAL = ("sys_vqueues", "sys_vqueue_entry_status")
"""The tables with a last column ``canonical_id``: the id of the entry, "_" and its number."""
_IN_PARTS = re.compile(r"(--[^\n]*|'(?:[^']|'')*')")
_WITH_ID = {
    name: f"(SELECT *, entry_id || '_' || CAST(sequence_number AS VARCHAR) AS canonical_id FROM {name})"
    for name in _CANONICAL
}
_READ = re.compile(
    rf"\b((?:FROM|JOIN)\s+)\"?({'|'.join(_CANONICAL)})\b\"?"
    r"(\s+(?:AS\s+)?(?!(?:WHERE|JOIN|LEFT|RIGHT|INNER|FULL|CROSS|ON|GROUP|ORDER|LIMIT|UNION|HAVING|AS|EXCEPT)\b)\w+)?",
    re.IGNORECASE,
)
"""A table with ``canonical_id`` after FROM or JOIN, and its alias if it has one."""
_TABLES = f"(SELECT * FROM information_schema.tables WHERE table_name <> '{_GONE}')"
_SCHEMA = f"""(
SELECT table_catalog, table_schema, table_name, column_name, ordinal_position, column_default, is_nullable, data_type
FROM information_schema.columns WHERE table_name <> '{_GONE}'
UNION ALL
SELECT table_catalog, table_schema, table_name, 'canonical_id' AS column_name,
  CAST(max(ordinal_position) + 1 AS BIGINT UNSIGNED) AS ordinal_position, CAST(NULL AS VARCHAR) AS column_default,
  'YES' AS is_nullable, 'LargeUtf8' AS data_type
FROM information_schema.columns WHERE table_name IN {_CANONICAL} GROUP BY table_catalog, table_schema, table_name)"""
_LITERALS = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_REFUSED = re.compile(r"\s*(?:SET|RESET|BEGIN|START|COMMIT|ROLLBACK|PREPARE|EXECUTE|DEALLOCATE)\b", re.IGNORECASE)
_PASSED = ("content-type", "content-encoding", "retry-after", "x-restate-id")


@contextlib.contextmanager
def imitation(admin_url: str, features: Features = "removed") -> Iterator[str]:
    """Serve the Admin API of a 1.7.12 as that of 1.8.1, and give its address."""
    kind = type("_Handler", (_Handler,), {"upstream": urlsplit(admin_url).netloc, "features": features})
    server = _Server(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Close the connection without a message: the client or the server has ended it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[str]
    features: ClassVar[Features]

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = re.sub(r"^/v5/", "/v4/", self.path)
        route = re.sub(r"^/v\d+", "", path.partition("?")[0])
        if route == "/cluster-health":
            self._send(404, b"")
        elif route == "/query":
            self._query(path, body)
        elif route == "/version" or (route == "/openapi" and self.command == "GET"):
            status, value = self._json(path, body)
            self._send_json(status, self._version(value) if route == "/version" else _openapi(value))
        elif route == _BULK_DELETE and self.command == "POST":
            self._bulk_delete(json.loads(body))
        elif re.fullmatch(r"/deployments(/[^/]+)?", route) and self.command in {"GET", "PATCH"}:
            status, value = self._json(path, body)
            for each in value.get("deployments", [value]):
                if "id" in each:
                    each["type"] = "lambda" if "arn" in each else "http"
            self._send_json(status, value)
        else:
            self._pass(path, body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815 - names of http.server

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def _version(self, value: dict[str, Any]) -> dict[str, Any]:
        flags = {name: is_on for name, is_on in (value.pop("features", None) or {}).items() if name not in _REMOVED}
        value |= {"version": VERSION, "max_admin_api_version": 5}
        if self.features != "absent":
            value["features"] = {} if self.features == "empty" else {**flags, **dict.fromkeys(_NEW, False)}
        return value

    def _query(self, path: str, body: bytes) -> None:
        request = json.loads(body)
        statement = request["query"]
        text = _LITERALS.sub("''", statement)
        if _REFUSED.match(text):
            self._send_json(400, {"message": "Datafusion error: Error during planning: Statement not supported"})
        elif re.search(rf"\b{_GONE}\b", text, re.IGNORECASE):
            message = f"Datafusion error: Error during planning: table 'restate.public.{_GONE}' not found"
            self._send_json(500, {"message": message})
        else:
            rewritten = _rewritten(statement)
            is_same = rewritten == statement  # the server limits the length of a body
            self._pass(path, body if is_same else json.dumps({**request, "query": rewritten}).encode())

    def _bulk_delete(self, request: dict[str, Any]) -> None:
        """Remove each deployment; the form of request and response is a guess, as in ``_openapi``."""
        for id_ in request["deployment_ids"]:
            with self._request(f"/deployments/{id_}?force=true", b"", method="DELETE") as response:
                if response.status != 202:
                    self._send(response.status, response.read())
                    return
        self._send_json(200, {"deleted": request["deployment_ids"]})

    def _json(self, path: str, body: bytes) -> tuple[int, Any]:
        del self.headers["accept-encoding"]  # the server would compress a long response
        with self._request(path, body) as response:
            return response.status, json.loads(response.read())

    def _pass(self, path: str, body: bytes) -> None:
        with self._request(path, body) as response:
            self.send_response(response.status)
            for name in _PASSED:
                if (value := response.headers.get(name)) is not None:
                    self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            while block := response.read1(1 << 18):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            self.wfile.write(b"0\r\n\r\n")

    @contextlib.contextmanager
    def _request(self, path: str, body: bytes, method: str | None = None) -> Iterator[http.client.HTTPResponse]:
        with contextlib.closing(http.client.HTTPConnection(self.upstream, timeout=60)) as connection:
            connection.set_debuglevel(0)  # a test of secrets prints what the clients of its process send
            dropped = {"host", "content-length", "connection"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            connection.request(method or self.command, path, body or None, headers)
            with self._until_the_client_leaves(connection.sock):
                yield connection.getresponse()

    @contextlib.contextmanager
    def _until_the_client_leaves(self, upstream: socket.socket) -> Iterator[None]:
        """End the connection to the server when the client ends its own, so that the server stops a query."""
        is_done = threading.Event()

        def watch() -> None:
            while not is_done.wait(0.1):
                if select.select([self.connection], [], [], 0)[0] and self._has_left():
                    upstream.shutdown(socket.SHUT_RDWR)
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_done.set()
            thread.join()

    def _has_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _rewritten(statement: str) -> str:
    """Return a statement that reads the tables as 1.8.1 has them; comments and literals stay as they are."""
    parts = _IN_PARTS.split(statement)
    return "".join(part if number % 2 else _with_tables_of_1_8(part) for number, part in enumerate(parts))


def _with_tables_of_1_8(sql: str) -> str:
    sql = re.sub(r"^\s*SHOW\s+TABLES\s*$", "SELECT * FROM information_schema.tables", sql, flags=re.IGNORECASE)
    sql = re.sub(r"\binformation_schema\.tables\b", _TABLES, sql, flags=re.IGNORECASE)
    sql = re.sub(r"\binformation_schema\.columns\b", _SCHEMA, sql, flags=re.IGNORECASE)
    return re.sub(_READ, lambda found: found[1] + _WITH_ID[found[2].lower()] + (found[3] or f" AS {found[2]}"), sql)


def _openapi(value: dict[str, Any]) -> dict[str, Any]:
    value["info"]["version"] = VERSION
    value["paths"].pop("/cluster-health", None)
    ids = {"type": "array", "items": {"type": "string"}}
    form = {"type": "object", "required": ["deployment_ids"], "properties": {"deployment_ids": ids}}
    value["components"]["schemas"]["BulkDeleteDeploymentsRequest"] = form
    schema = {"$ref": "#/components/schemas/BulkDeleteDeploymentsRequest"}
    content = {"application/json": {"schema": schema}}
    operation = {"operationId": "bulk_delete_deployments", "requestBody": {"required": True, "content": content}}
    value["paths"][_BULK_DELETE] = {"post": operation}
    return value
