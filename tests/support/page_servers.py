"""A running server of pages in this process, with real connections, for sources of any kind."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from restate_lab.audit import AuditLog
from restate_lab.redaction import Secret
from restate_lab.serve.app import PageServer
from restate_lab.serve.options import ServerOptions
from restate_lab.serve.server import bind, guarded, web_server
from restate_lab.source import Source
from restate_lab.sources import Sources
from support.proxy import Proxy

TOKEN = "a-token-of-a-test-4711"


@dataclass(frozen=True)
class RunningPages:
    """Its address, the folder of its audit log, and the function that returns a new one-time link."""

    url: str
    port: int
    audit: Path
    guard: Any

    def client(self, *, has_token: bool = True, **options: Any) -> httpx.Client:
        """Return a client that follows no redirect, with the token or without."""
        headers = {"authorization": f"Bearer {TOKEN}"} if has_token else {}
        headers |= options.pop("headers", {})
        options = {"verify": False, **options}  # to read the certificates of this machine takes time
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)

    def new_link(self) -> str:
        link: str = self.guard.new_link().reveal()
        return link

    def send(self, head: str | bytes) -> bytes:
        """Return the response to exact bytes; the connection is closed afterwards."""
        data = head.encode("latin-1") if isinstance(head, str) else head
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def request(self, method: str, path: str, *lines: str) -> bytes:
        """Return the response to a request with the token, whose path and method no client library changes."""
        host = self.url.partition("://")[2]
        given = (f"Host: {host}", f"Authorization: Bearer {TOKEN}", *lines, "Connection: close")
        return self.send("\r\n".join([f"{method} {path} HTTP/1.1", *given, "", ""]))

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return the records of accesses, in their order."""
        files = sorted((self.audit / "reads").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


@contextlib.contextmanager
def running_pages(
    sources: Mapping[str, Source], audit: Path, *, listen: str = "127.0.0.1:0", timeout: float = 30.0, **options: Any
) -> Iterator[RunningPages]:
    """Serve the pages of these sources until the block ends; ``options`` are those of ServerOptions."""
    settings = ServerOptions(listen=listen, timeout=timeout, **options)
    with ExitStack() as stack:
        listener = stack.enter_context(contextlib.closing(bind(settings)))
        port = listener.getsockname()[1]
        named = cast("Sources", _NamedSources(sources))
        pages = stack.enter_context(
            contextlib.closing(PageServer(named, timeout=timeout, payloads=settings.payloads, audit=AuditLog(audit)))
        )
        guard = guarded(pages, Secret(TOKEN), settings, port)
        server = web_server(guard, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield RunningPages(settings.address(port), port, audit, guard)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


class RecordingProxy(Proxy):
    """A gateway that records each request; each statement takes ``pause`` seconds longer, so that statements overlap.

    ``most`` is the number of statements that were on their way at the same time.
    """

    def __init__(self, *, pause: float = 0.0) -> None:
        super().__init__(before=self._record)
        self.requests: list[tuple[str, str]] = []
        self.count = self.most = 0
        self._pause = pause
        self._lock = threading.Lock()

    @property
    def statements(self) -> int:
        return self.requests.count(("POST", "/query"))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/query":
            return super().handle_request(request)
        with self._lock:
            self.count += 1
            self.most = max(self.most, self.count)
        try:
            time.sleep(self._pause)
            response = super().handle_request(request)
        except BaseException:
            self._end()
            raise
        response.stream = _Counted(cast("httpx.SyncByteStream", response.stream), self._end)
        return response

    def _record(self, request: httpx.Request) -> None:
        self.requests.append((request.method, request.url.path))

    def _end(self) -> None:
        with self._lock:
            self.count -= 1


class _Counted(httpx.SyncByteStream):
    """A body that reports once that it is closed."""

    def __init__(self, body: httpx.SyncByteStream, end: Callable[[], None]) -> None:
        self._body, self._end, self._is_closed = body, end, False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._end()
        self._body.close()


class _NamedSources:
    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def items(self) -> list[tuple[str, Source]]:
        return list(self._sources.items())
