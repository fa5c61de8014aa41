"""The web server: uvicorn with the pages until a signal ends it, the token, and the connections of viewers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import signal
import socket
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import platformdirs
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from restate_lab import links
from restate_lab.audit import AuditLog
from restate_lab.errors import ArgumentError
from restate_lab.redaction import Secret
from restate_lab.serve.access import CODE, HEADERS, LOGIN, Access, Guard
from restate_lab.serve.app import PageServer
from restate_lab.serve.options import ServerOptions
from restate_lab.serve.readings import THREAD_NAME
from restate_lab.sources import open_sources

SILENCE = 10.0
"""Seconds in which a request has to arrive; with TLS, also seconds for the handshake before."""
SHORTEST_TOKEN = 20  # characters
_LONGEST_TOKEN = 1_000  # characters
_MOST_CONNECTIONS = 600  # at the same time
_PAUSE = 0.1  # seconds after a connection that could not be accepted
_LAST_RESPONSES = 1  # seconds for responses that are being made at the end
_LAST_READINGS = 0.5  # seconds for readings to end with their connections


def run_server(clusters: Sequence[str | None], paths: Sequence[Path], options: ServerOptions) -> None:
    """Serve the pages of these sources until SIGTERM or Ctrl-C.

    Raises:
        ArgumentError: the port is in use, or the token, the certificate or its key cannot be used.
        RestateLabError: any error of opening the sources.
    """
    os.environ.pop(links.VARIABLE, None)  # a card on a page needs no link to the page
    with contextlib.suppress(KeyboardInterrupt), _interrupted_by_sigterm(), contextlib.ExitStack() as stack:
        sources = stack.enter_context(open_sources(clusters, paths))
        listener = stack.enter_context(contextlib.closing(bind(options)))
        port = listener.getsockname()[1]
        token, where = stack.enter_context(token_of(options, port))
        pages = PageServer(sources, timeout=options.timeout, payloads=options.payloads, audit=AuditLog())
        stack.enter_context(contextlib.closing(pages))
        app = guarded(pages, token, options, port)
        server = web_server(app, options)
        names = ", ".join(name for name, _ in sources.items())
        options.say(f"Read-only pages of {names} at {options.address(port)}. {where}")
        options.say(f"Open, once: {app.new_link().reveal()}")
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)  # strangers could fill the log
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # viewers cannot see the terminal
            server.run(sockets=[listener])
    _end_readings()


def guarded(pages: PageServer, token: Secret, options: ServerOptions, port: int) -> Guard:
    """Return the pages behind the rules of access."""
    url = options.address(port)
    access = Access(token, name=f"restate_lab_{port}", is_secure=url.startswith("https://"))

    def new_link() -> Secret:
        return Secret(f"{url}{LOGIN}?{CODE}={access.new_code().reveal()}")

    async def on_login(scope: Scope) -> str | None:
        if sys.stdout.isatty():  # the link of a log would be open to its readers
            options.say(f"Open in another browser, once: {new_link().reveal()}")
        return await pages.records.write(scope, {})

    return Guard(pages, access, options.hosts(port), on_login=on_login, new_link=new_link)


def web_server(app: ASGIApp, options: ServerOptions) -> uvicorn.Server:
    """Return the web server, which logs nothing: connections of strangers could fill the log.

    Raises:
        ArgumentError: the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL + 1,
        access_log=False,
        server_header=False,
        headers=list(HEADERS.items()),
        proxy_headers=options.behind_proxy,
        timeout_graceful_shutdown=_LAST_RESPONSES,
    )
    config.load()
    config.ssl = options.tls()
    return _LimitedServer(config)


def bind(options: ServerOptions) -> socket.socket:
    """Return a socket that listens on the address.

    Raises:
        ArgumentError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise ArgumentError(f"{options.listen} cannot be used: {error.strerror}; choose another --listen.") from error


@contextlib.contextmanager
def token_of(options: ServerOptions, port: int) -> Iterator[tuple[Secret, str]]:
    """Yield the token, and a sentence about where it is; a token that was made is removed afterwards.

    Raises:
        ArgumentError: the file cannot be read, or its token cannot be used.
    """
    if options.token_file is not None:
        yield _read_token(options.token_file, options.warn), f"Programs send the token in {options.token_file}."
        return
    folder = platformdirs.user_state_path("restate_lab") / "serve"
    path = folder / f"{options.host}-{port}.token".replace(":", "_")
    token = Secret(secrets.token_urlsafe(32))
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)  # of a server that was killed: this one has its port
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(token.reveal())
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror}; pass a token with --token-file.") from error
    try:
        yield token, f"Programs send the token in {path}."
    finally:
        path.unlink(missing_ok=True)


def _read_token(path: Path, warn: Callable[[str], None]) -> Secret:
    try:
        mode, text = path.stat().st_mode, path.read_text("utf-8").strip()
    except OSError as error:
        raise ArgumentError(f"--token-file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"--token-file {path} is not a text.") from error
    if not SHORTEST_TOKEN <= len(text) <= _LONGEST_TOKEN:
        limits = f"use {SHORTEST_TOKEN} to {_LONGEST_TOKEN:,}"
        raise ArgumentError(f"the token in {path} has {len(text):,} characters; {limits}.")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ArgumentError(f"the token in {path} has characters that a header cannot have; use letters and digits.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        warn(f"other users of this machine can read or change the token in {path}; run: chmod 600 {path}")
    return Secret(text)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that the token is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_readings() -> None:
    """End the process at once if a reading is not over: Python waits for threads, and cannot stop one."""
    ends = time.monotonic() + _LAST_READINGS
    threads = [each for each in threading.enumerate() if each.name.startswith(THREAD_NAME)]
    for each in threads:
        each.join(max(0.0, ends - time.monotonic()))
    if any(each.is_alive() for each in threads):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


class _LimitedServer(uvicorn.Server):
    """uvicorn's server with a limit for open connections, which counts them also before the TLS handshake.

    At the limit, the oldest connection that waits for its client makes room for a new one. So silent connections do
    not keep viewers away.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._accepting: list[asyncio.Task[None]] = []
        self._open: dict[asyncio.Task[None], Connection] = {}  # the oldest first

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections; asyncio's own servers, which uvicorn starts for sockets, have no limit."""
        await super().startup(sockets=[])
        self._accepting = [asyncio.create_task(self._accept(each)) for each in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to accept connections, and end as uvicorn does."""
        for each in self._accepting:
            each.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await super().shutdown(sockets)

    async def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(0)
        listener.listen(self.config.backlog)
        while True:
            try:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
            except OSError:  # such as too many open files
                await asyncio.sleep(_PAUSE)
                continue
            if self._has_room():
                connection = Connection(self.config, self.server_state, self.lifespan.state)
                task = asyncio.create_task(self._hold(client, connection))
                self._open[task] = connection
                task.add_done_callback(lambda ended: self._open.pop(ended, None))
            else:
                client.close()
            await asyncio.sleep(0)  # others proceed, also while many connections wait to be accepted

    def _has_room(self) -> bool:
        """Return whether another connection can be opened, after the end of an older one if necessary."""
        if len(self._open) < _most_connections():
            return True
        waiting = (task for task, connection in self._open.items() if connection.is_waiting)
        oldest = next(waiting, None)
        if oldest is None:
            return False
        del self._open[oldest]
        oldest.cancel()
        return True

    async def _hold(self, client: socket.socket, connection: Connection) -> None:
        """Serve the connection until its end, or until this task is cancelled."""
        tls = self.config.ssl
        limits = {"ssl_handshake_timeout": SILENCE, "ssl_shutdown_timeout": SILENCE} if tls else {}
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, client, ssl=tls, **limits)
            await connection.ended.wait()
        except OSError:  # the handshake failed
            return
        finally:
            if connection.transport is not None:
                connection.transport.abort()


def _most_connections() -> int:
    """Return the limit of open connections: at most half of the files that this process can open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, files // 2)


class Connection(H11Protocol):
    """uvicorn's connection, with a limit for the time without a complete request, for which uvicorn waits forever."""

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self.ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the client has to act: complete the TLS handshake, send a request, or read its response."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        # asyncio does this only for sockets with a protocol number; a second write would wait 40 ms for the client.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer = self.loop.call_later(SILENCE, self._check, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        self.ended.set()
        if self._timer is not None:
            self._timer.cancel()  # otherwise it would keep this connection in memory until then

    def _check(self, before: Any) -> None:
        """Close a connection that has not completed another request since the last check, when this was its request."""
        if self.transport.is_closing():
            return
        if self.cycle is before and self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self.transport.close()  # after the rest of a page that a slow viewer still receives
        else:
            self._timer = self.loop.call_later(SILENCE, self._check, self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes other than HTTP; uvicorn's own response has none of our headers."""
        fields = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close", **HEADERS}
        response = h11.Response(status_code=400, headers=list(fields.items()), reason=b"Bad Request")
        if self.cycle is not None:
            self.cycle.disconnected = True  # its page is not sent any more
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:  # otherwise the response was already sent
            for event in (response, h11.Data(data=msg.encode("ascii", "replace")), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
