"""The route to an address (TLS, proxies, unix sockets), and an httpx transport over http.client for direct connections.

The transport reads query responses as fast as the server sends them. httpx's own transport does not: the server uses
Nagle's algorithm and sends one small chunk per 127 rows, so a reused connection in delayed-ACK mode waits 40 ms at the
end of a response. TCP_QUICKACK before every recv avoids this wait, but httpcore cannot set it. The transport raises the
errors of httpx, so that its callers need no special cases.

Three request extensions control it: ``deadline`` (time.monotonic seconds, the end of the whole call), ``tick`` (called
about four times a second while no data arrives) and ``sending`` (called once, just before the first byte is sent).
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import io
import os
import platform
import select
import socket
import ssl
import time
import urllib.request
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx

from restate_lab._text import format_duration
from restate_lab.client.address import is_loopback
from restate_lab.client.settings import Settings
from restate_lab.errors import SettingsError
from restate_lab.redaction import Secret

BLOCK = 256 * 1024
CONNECT_LIMIT = 3.0  # seconds, as in the restate CLI
IDLE_LIMIT = 50.0  # seconds; load balancers close idle connections after 60
_SLICE = 0.25
_MOST_IDLE = 8
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # exists on Linux only


@dataclass(frozen=True, slots=True)
class Route:
    """The base URL, the transport for its requests, and the text about a proxy ("" without a proxy)."""

    base: str
    network: httpx.BaseTransport
    description: str = ""


def route_to(address: str, ca: str | Path | None) -> Route:
    """Return the route to an address; httpx's own transports handle proxies and unix sockets.

    Raises:
        SettingsError: the certificate authority cannot be read, or the proxy in the environment cannot be used.
    """
    if address.startswith("unix:"):
        return Route("http://localhost", httpx.HTTPTransport(uds=address.removeprefix("unix:")))
    context = _context(ca) if address.startswith("https:") else None
    proxy = _proxy_url(httpx.URL(address))
    if proxy is not None:
        network, description = _proxy_transport(proxy, context or _context(ca))
        return Route(address, network, description)
    return Route(address, QuickAckTransport(context=context))


def headers_for(settings: Settings, base: str) -> dict[str, str]:
    """Return the headers of every request; on loopback, without compression, which would only take time."""
    is_plain = is_loopback(httpx.URL(base).host) or importlib.util.find_spec("zstandard") is None
    headers = {
        "user-agent": f"restate-lab/{metadata.version('restate-lab')} python/{platform.python_version()}",
        "accept-encoding": "identity" if is_plain else "zstd",
    }
    if settings.token is not None:
        headers["authorization"] = f"Bearer {settings.token.reveal()}"
    return headers


class QuickAckTransport(httpx.BaseTransport):
    """A pool of plain and TLS connections; safe to use from several threads.

    It has no lock: an interrupt can come before a lock is released, and the next request would wait forever. Each
    change of a list or dict is one step.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._idle: dict[_Origin, list[_Connection]] = {}
        self._closed = False
        # Closes the sockets of a Lab that is deleted without close().
        weakref.finalize(self, _close_all, self._idle)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _httpx_errors():
            connection = self._borrow(request.url)
            try:
                if sending := request.extensions.get("sending"):
                    sending()
                answer = connection.send(request)
            except BaseException:
                connection.close()
                raise
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in answer.getheaders()]
        return httpx.Response(answer.status, headers=headers, stream=_ResponseBody(self, connection, answer))

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose response was read to the end."""
        connection.idle_since = time.monotonic()
        idle = self._idle.setdefault(connection.origin, [])
        idle.append(connection)
        if (self._closed or len(idle) > _MOST_IDLE) and (extra := self._pop_idle(connection.origin)):
            extra.close()

    def close(self) -> None:
        """Close the idle connections; a connection in use closes with its response."""
        self._closed = True
        _close_all(self._idle)

    def _borrow(self, url: httpx.URL) -> _Connection:
        origin = _Origin(url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80))
        while connection := self._pop_idle(origin):
            if not connection.is_stale():
                return connection
            connection.close()
        connection = _Connection(origin, self._context)
        try:
            connection.connect()
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {format_duration(CONNECT_LIMIT)}") from error
        except (OSError, UnicodeError) as error:  # also TLS and DNS errors; UnicodeError: an invalid host name
            raise httpx.ConnectError(str(error)) from error
        return connection

    def _pop_idle(self, origin: _Origin) -> _Connection | None:
        try:
            return self._idle[origin].pop()
        except (KeyError, IndexError):  # another thread can have taken the last one
            return None


class _Connection:
    def __init__(self, origin: _Origin, context: ssl.SSLContext | None) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._deadline: float | None = None
        self._tick: Callable[[], None] | None = None
        self._reader: _SliceReader | None = None
        if origin.scheme == "https":
            self._http: _OneWrite = _OneWriteTls(origin.host, origin.port, timeout=CONNECT_LIMIT, context=context)
        else:
            self._http = _OneWrite(origin.host, origin.port, timeout=CONNECT_LIMIT)
        self._http.set_debuglevel(0)  # with a global debug level, http.client would print headers, including our token
        self._http.response_class = cast("type[http.client.HTTPResponse]", self._create_response)

    def connect(self) -> None:
        self._http.connect()
        _set_options(self._http.sock)

    def send(self, request: httpx.Request) -> http.client.HTTPResponse:
        """Send the request and return the response; only its headers have been read."""
        self._deadline = request.extensions.get("deadline")
        self._tick = request.extensions.get("tick")
        self._http.sock.settimeout(max(0.01, self._deadline - time.monotonic()) if self._deadline else None)
        self._http.putrequest(
            request.method, request.url.raw_path.decode("ascii"), skip_host=True, skip_accept_encoding=True
        )
        self._put_headers(request)
        try:
            self._http.endheaders(request.read() or None)
            self._http.flush()
        except TimeoutError:
            raise
        except OSError as broken:
            return self._early_response(broken)
        return self._read_response()

    def _early_response(self, broken: OSError) -> http.client.HTTPResponse:
        """Return the error response of a server that closed the connection early, or raise the connection's error.

        A server that did not receive the whole request did not act on it. So a success cannot be its response.
        """
        try:
            answer = self._read_response()
        except (OSError, http.client.HTTPException):
            raise broken from None
        if answer.status < 300:
            answer.close()
            raise broken
        answer.will_close = True
        return answer

    def _read_response(self) -> http.client.HTTPResponse:
        answer = self._http.getresponse()
        if self._reader is not None and self._reader.ended:  # http.client accepts incomplete headers
            answer.close()
            raise http.client.IncompleteRead(b"")
        if answer.status < 200:  # the final response follows, and the next request would read it as its own
            answer.close()
            raise http.client.UnknownProtocol(f"an interim response, {answer.status} {answer.reason}")
        return answer

    def _put_headers(self, request: httpx.Request) -> None:
        # A separate method: the last value of the loop can be our token, and a verbose traceback shows local variables.
        for name, value in request.headers.raw:
            self._http.putheader(name, value)

    def is_stale(self) -> bool:
        """Return whether the server closed the idle connection, or it was idle for too long."""
        readable = select.poll()
        readable.register(self._http.sock, select.POLLIN)
        return time.monotonic() - self.idle_since > IDLE_LIMIT or bool(readable.poll(0))

    def close(self) -> None:
        self._http.close()
        if self._reader is not None:
            self._reader.close()  # it holds the socket, and without a response nothing else closes it

    def _create_response(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        self._reader = _SliceReader(sock, self._deadline, self._tick)
        return http.client.HTTPResponse(cast("socket.socket", _ReadableSocket(self._reader)), *args, **kwargs)


class _OneWrite(http.client.HTTPConnection):
    """Sends a request in one piece. http.client sends the body separately, which wakes the server twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pieces: list[Any] = []

    def send(self, data: Any) -> None:
        self._pieces.append(data)

    def flush(self) -> None:
        request = b"".join(self._pieces)
        self._pieces.clear()
        super().send(request)


class _OneWriteTls(_OneWrite, http.client.HTTPSConnection):
    pass


class _SliceReader(io.RawIOBase):
    """Reads a socket in time slices, so that it keeps a deadline and calls ``tick`` while it waits."""

    def __init__(self, sock: socket.socket, deadline: float | None, tick: Callable[[], None] | None) -> None:
        self._sock = sock
        self._deadline = deadline
        self._tick = tick
        self.ended = False
        self._pid = os.getpid()
        # http.client closes the socket of a "Connection: close" response before its body is read. An open makefile()
        # keeps it open until then.
        self._hold = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._pid != os.getpid():
            raise httpx.ReadError("this response belongs to the parent process; repeat the request in this process")
        while True:
            self._sock.settimeout(self._slice())
            if _QUICKACK is not None:
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)  # not sticky
            try:
                size = self._sock.recv_into(buffer)
            except TimeoutError:
                if self._tick is not None:
                    self._tick()
                continue
            self.ended = size == 0
            return size

    def close(self) -> None:
        self._hold.close()
        super().close()

    def _slice(self) -> float:
        if self._deadline is None:
            return _SLICE
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpx.ReadTimeout("the time limit of this call has passed")
        return min(left, _SLICE)


class _ReadableSocket:
    """Replaces the socket from which HTTPResponse makes a file."""

    def __init__(self, reader: _SliceReader) -> None:
        self._reader = reader

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self._reader, BLOCK)


class _ResponseBody(httpx.SyncByteStream):
    """The body of a response in blocks; its connection returns to the pool only if the body was read to its end."""

    def __init__(self, transport: QuickAckTransport, connection: _Connection, answer: http.client.HTTPResponse) -> None:
        self._transport = transport
        self._connection = connection
        self._response = answer

    def __iter__(self) -> Iterator[bytes]:
        # read1 returns the data that has arrived. read waits for a full block, and loses data if the connection breaks.
        read = self._response.read1 if self._response.chunked else self._response.read
        with _httpx_errors():
            while block := read(BLOCK):
                yield block
            if self._response.length:  # http.client does not report a body that is shorter than its length
                raise http.client.IncompleteRead(b"", self._response.length)

    def close(self) -> None:
        whole = self._response.isclosed() and not self._response.will_close
        self._response.close()
        if whole:
            self._transport.give_back(self._connection)
        else:
            self._connection.close()


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int


def _close_all(idle: dict[_Origin, list[_Connection]]) -> None:
    for connections in list(idle.values()):
        with contextlib.suppress(IndexError):  # another thread can have taken the last one
            while True:
                connections.pop().close()


def _set_options(sock: socket.socket) -> None:
    """Send at once, and keep the connection alive: a scan that finds no rows sends no data until it ends."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPALIVE", 20), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # macOS calls the first one TCP_KEEPALIVE
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@contextlib.contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except http.client.IncompleteRead as error:
        raise httpx.RemoteProtocolError("the connection closed before the response was complete") from error
    except http.client.RemoteDisconnected as error:
        raise httpx.RemoteProtocolError("the server closed the connection without a response") from error
    except http.client.HTTPException as error:
        raise httpx.RemoteProtocolError(f"not an HTTP response: {error!r}") from error
    except TimeoutError as error:
        raise httpx.WriteTimeout("the time limit of this call has passed") from error
    except OSError as error:
        raise httpx.ReadError(str(error)) from error


def _context(ca: str | Path | None) -> ssl.SSLContext:
    try:
        if ca is not None:
            return ssl.create_default_context(cafile=str(ca))
        context = httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate authority {ca} cannot be read: {error}") from error
    context.load_default_certs()  # the authority of a company is usually installed on the system
    return context


def _proxy_url(url: httpx.URL) -> Secret | None:
    """Return the environment's proxy for a URL, which can have a password; loopback needs no proxy."""
    if is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return Secret(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _proxy_transport(proxy: Secret, context: ssl.SSLContext) -> tuple[httpx.BaseTransport, str]:
    network, description = _create_proxy_transport(proxy, context)
    if network is None:  # raised outside of the except, because the frames of that error have the address
        raise SettingsError(
            f"the proxy in the environment (http_proxy, https_proxy or all_proxy) cannot be used: {description}. Set "
            f"it to http://host:port, or add this server to no_proxy."
        )
    return network, description


def _create_proxy_transport(proxy: Secret, context: ssl.SSLContext) -> tuple[httpx.BaseTransport | None, str]:
    """Return the transport through a proxy and the text about it; or None and the reason."""
    try:
        url = httpx.URL(proxy.reveal())
        description = f", through the environment's proxy {url.host}:{url.port or url.scheme}"
        return httpx.HTTPTransport(proxy=url, verify=context), description
    except ImportError:
        return None, "SOCKS needs httpx[socks]; install it"
    except (ValueError, httpx.InvalidURL):
        return None, "it is not a valid address"
