"""The web server: Starlette and uvicorn with the pages, a record of each access, and errors without tracebacks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import platformdirs
import uvicorn
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from restate_lab._html import render
from restate_lab._text import escape_invisible
from restate_lab.audit import AuditLog
from restate_lab.errors import (
    AccessDenied,
    ArgumentError,
    NotFound,
    NotOnThisServer,
    RestateLabError,
    StatementError,
    TimedOut,
)
from restate_lab.export.results import json_text
from restate_lab.redaction import Secret
from restate_lab.serve.access import LOGIN, Access, Guard
from restate_lab.serve.page import SOURCE, PageRequest, WebPage
from restate_lab.serve.pages import PAGES
from restate_lab.serve.readings import Readings, TooManyReadings
from restate_lab.sources import Sources, open_sources

_JSON = ".json"
_MOST_REQUESTS = 500  # at the same time
_MOST_RECORDED = 2_000  # characters of the parameters in the audit log
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (ArgumentError, 400),
    (StatementError, 400),
    (NotFound, 404),
    (NotOnThisServer, 404),
    (TimedOut, 504),
    (AccessDenied, 502),
    (RestateLabError, 502),
)
"""An error of the library → the status of the page; the first class that fits."""


def status_of(error: Exception) -> int:
    """Return the HTTP status of a page that failed."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


class PageServer:
    """The application behind the guard: finds the page of a path, and records each access before it answers."""

    def __init__(self, sources: Sources, *, timeout: float, payloads: bool, audit: AuditLog) -> None:
        self._readings = {name: Readings(name, each, longest=timeout + 5) for name, each in sources.items()}
        self._timeout, self._payloads, self._audit = timeout, payloads, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with a page, also if something unexpected fails."""
        request = Request(scope, receive)
        path, started = request.url.path, time.monotonic()
        if path == "/page.js":
            await _script()(scope, receive, send)
            return
        is_json = path.endswith(_JSON)
        name, _, argument = path.removesuffix(_JSON).removeprefix("/").partition("/")
        name = "" if name == "index" and is_json else name
        params = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=200)
        headers: dict[str, str] = {}
        try:
            page = await self._page(name, argument, params)
        except TooManyReadings as error:
            page, headers = _failure(503, error), {"Retry-After": str(error.retry_after)}
        except Exception as error:  # noqa: BLE001 - no traceback may reach a viewer
            page = _failure(status_of(error), error)
        body, media_type = self._body(page, name, is_json=is_json)
        problem = await self._record(path, params, page, len(body), started, request)
        if problem is not None:  # what cannot be recorded is not shown
            body, media_type = self._body(_failure(503, RestateLabError(problem)), name, is_json=is_json)
        response = Response(body, 503 if problem else page.status, headers, media_type)
        await response(scope, receive, send)

    async def _page(self, name: str, argument: str, params: dict[str, list[str]]) -> WebPage:
        function = PAGES.get(name)
        if function is None:
            return _failure(404, RestateLabError("there is no such page"))
        named = params.pop(SOURCE, [])
        source = named[0] if named else next(iter(self._readings))
        if source not in self._readings:
            raise ArgumentError(f"unknown source {source[:100]!r}; choose from {', '.join(self._readings)}.")
        return await function(
            PageRequest(
                self._readings[source],
                self._readings,
                params,
                argument,
                payloads=self._payloads,
                is_named=bool(named),
                timeout=self._timeout,
            )
        )

    def _body(self, page: WebPage, name: str, *, is_json: bool) -> tuple[bytes, str]:
        if is_json:
            return json_text(page.data).encode(), "application/json"
        html = render(
            "serve/page.html.j2",
            title=page.title,
            parts=page.parts,
            css=_asset("page.css"),
            home="/",
            pages=[(each or "Overview", f"/{each}", each == name) for each in PAGES],
        )
        return html.encode(), "text/html; charset=utf-8"

    async def _record(
        self, path: str, params: Mapping[str, Any], page: WebPage, size: int, started: float, request: Request
    ) -> str | None:
        """Record the access; return why it cannot be recorded, or None."""
        details = {
            "source": None,
            "rows": None,
            "bytes": size,
            "milliseconds": round((time.monotonic() - started) * 1000),
            "error": page.data.get("error") if page.status != 200 else None,
            "client": "" if request.client is None else request.client.host,
        }
        arguments = escape_invisible(json.dumps(params))[:_MOST_RECORDED]
        write = functools.partial(self._audit.read, f"serve {path[:200]}", arguments, **details)
        try:
            await asyncio.to_thread(write)
        except RestateLabError as error:
            return str(error)
        return None

    def close(self) -> None:
        """Let no other reading begin."""
        for each in self._readings.values():
            each.close()


def _failure(status: int, error: Exception) -> WebPage:
    text = (
        str(error)
        if isinstance(error, RestateLabError | TooManyReadings)
        else f"an internal error ({type(error).__name__})"
    )
    return WebPage("This page could not be made", [text], {"error": text}, status)


def _script() -> Response:
    return Response(_asset("page.js"), media_type="text/javascript")


@functools.cache
def _asset(name: str) -> Markup:
    return Markup(files("restate_lab.serve").joinpath(name).read_text("utf-8"))  # noqa: S704 - a file of the package


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How pages are served.

    ``listen`` is host and port; port 0 is a free one. ``url`` is the address under which viewers reach the server, by
    default that of ``listen``. ``token_file`` has the token; without it a token is made and stored for the time of
    the server. ``certificate`` and ``key`` are PEM files. ``timeout`` is the limit of a page, in seconds. ``say``
    prints the link.

    Raises:
        ArgumentError: the address is invalid, or needs TLS or a proxy in front.
    """

    listen: str = "127.0.0.1:9180"
    url: str | None = None
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    payloads: bool = False
    timeout: float = 30.0
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        host, port = self.listen.rpartition(":")[::2]
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
            raise ArgumentError(f"--listen is {self.listen!r}; use HOST:PORT, such as 127.0.0.1:9180.")
        if (self.certificate is None) != (self.key is None):
            raise ArgumentError("TLS needs both files: --tls-certificate and --tls-key.")
        if not (self.is_local or self.certificate or self.behind_proxy):
            raise ArgumentError(
                f"{self.host} can be reached by others: add --tls-certificate and --tls-key, or --behind-proxy with "
                f"--url if a proxy in front of the server has TLS."
            )
        if self.behind_proxy and self.url is None:
            raise ArgumentError("--behind-proxy needs --url, the address under which viewers reach the proxy.")

    @property
    def host(self) -> str:
        """Return the host without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Return whether only this machine can reach the address."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    def address(self, port: int) -> str:
        """Return the address under which viewers reach the server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"{'https' if self.certificate else 'http'}://{host}:{port}").rstrip("/")

    def names(self, port: int) -> list[str]:
        """Return the values of ``Host`` that the server answers."""
        also = [f"localhost:{port}"] if self.is_local and self.url is None else []
        return [urlsplit(self.address(port)).netloc, *also]

    def config(self, app: ASGIApp) -> uvicorn.Config:
        """Return the settings of the web server."""
        return uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=self.behind_proxy,
            limit_concurrency=_MOST_REQUESTS,
            timeout_graceful_shutdown=2,
            ssl_certfile=self.certificate,
            ssl_keyfile=self.key,
        )


def run_server(clusters: Sequence[str | None], paths: Sequence[Path], options: ServerOptions) -> None:
    """Serve the pages of these sources until SIGTERM or Ctrl-C.

    Raises:
        ArgumentError: the port is in use, or the token is too short.
        RestateLabError: any error of opening the sources.
    """
    with open_sources(clusters, paths) as sources, contextlib.closing(_bind(options)) as listener:
        port = listener.getsockname()[1]
        url = options.address(port)
        with _token(options.token_file, f"{options.host}-{port}".replace(":", "_")) as (token, where):
            access = Access(token, name=f"restate_lab_{port}", is_secure=url.startswith("https://"))
            pages = PageServer(sources, timeout=options.timeout, payloads=options.payloads, audit=AuditLog())
            with contextlib.closing(pages):
                _run(
                    pages, access, options, port, f"{', '.join(name for name, _ in sources.items())}. {where}", listener
                )


def _run(
    pages: PageServer, access: Access, options: ServerOptions, port: int, about: str, listener: socket.socket
) -> None:
    url = options.address(port)

    def new_link() -> str:
        return f"{url}{LOGIN}?code={access.new_code()}"

    def on_login() -> None:
        if sys.stdout.isatty():  # the link of a log would be open to its readers
            options.say(f"Open in another browser, once: {new_link()}")

    app = Guard(pages, access, options.names(port), on_login=on_login, new_link=new_link)
    options.say(f"Read-only pages at {url} of {about}")
    options.say(f"Open, once: {new_link()}")
    uvicorn.Server(options.config(app)).run(sockets=[listener])


def _bind(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise ArgumentError(f"{options.listen} cannot be used: {error.strerror}; choose another --listen.") from error


@contextlib.contextmanager
def _token(file: Path | None, name: str) -> Iterator[tuple[Secret, str]]:
    """Yield the token, and a sentence about where it is; a token that was made is removed afterwards."""
    if file is not None:
        text = file.read_text("utf-8").strip()
        if len(text) < 20:
            raise ArgumentError(f"the token in {file} has {len(text)} characters; use 20 or more.")
        yield Secret(text), f"Programs send the token in {file}."
        return
    folder = platformdirs.user_state_path("restate_lab") / "serve"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, token = folder / f"{name}.token", secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(token, "utf-8")
    try:
        yield Secret(token), f"Programs send the token in {path}."
    finally:
        path.unlink(missing_ok=True)
