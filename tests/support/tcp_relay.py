"""A small TCP relay to a real server: TLS in front of it, a forward proxy, a cut connection, or a worse fault."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self


@dataclass
class Cut:
    """Cuts the connection once, at request ``number`` (from 0) of those with ``where`` in their first line.

    "before": the server gets one byte of the request; "within": it gets the whole request, and then the connection is
    closed; "after": it has answered, and the caller gets no byte of the response.
    """

    where: bytes
    number: int = 0
    when: Literal["before", "within", "after"] = "after"
    seen: int = 0
    happened: bool = False

    def applies_to(self, request: bytes) -> bool:
        """Count a request, and return True if the connection is cut at it."""
        if self.happened or self.where not in request.partition(b"\r\n")[0]:
            return False
        self.seen += 1
        self.happened = self.seen > self.number
        return self.happened


@dataclass
class Fault:
    """A fault in the responses to some requests: first line matches ``where``, from request ``number`` (0) on.

    The fault occurs ``times`` times, once it is ``armed`` and a request that matches ``begins`` has passed.
    ``response`` replaces the server's response: the server does not get the request or, if ``acted`` is true, it acts
    first. ``edit`` changes the head of a real response. Of a real response only the first ``passes`` bytes pass, or
    everything up to ``loses``, which ends it and is replaced by ``gets``; in pieces of ``piece`` bytes with a ``pause``
    (seconds) between them. Then comes the ``end``: the connection is closed in order, reset, silent forever, or
    continues normally. ``meanwhile`` is called at that point, before the end.
    """

    where: bytes = b" "
    number: int = 0
    times: float = 1
    response: bytes | None = None
    acted: bool = False
    edit: Callable[[bytes], bytes] | None = None
    passes: float = math.inf
    end: Literal["close", "reset", "silence", "go on"] = "close"
    loses: bytes = b""
    gets: bytes = b""
    piece: int = 65536
    pause: float = 0.0
    meanwhile: Callable[[], object] | None = None
    begins: bytes = b""
    armed: bool = True
    seen: int = 0
    happened: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def applies_to(self, request: bytes) -> bool:
        line = request.partition(b"\r\n")[0]
        with self.lock:
            if self.begins and re.search(self.begins, line):
                self.begins = b""
                return False
            if not self.armed or self.begins or not re.search(self.where, line):
                return False
            self.seen += 1
            befallen = self.number < self.seen <= self.number + self.times
            self.happened += befallen
            return befallen


@dataclass
class TcpRelay:
    """The port that it listens on, the heads of the requests that passed, and the responses, byte for byte."""

    port: int
    heads: list[bytes] = field(default_factory=list)
    answers: list[bytearray] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass
class _Connection:
    """A caller's connection, the connection to the server, and the fault in the current response."""

    caller: socket.socket
    server: socket.socket
    fault: Fault | None = None
    passed: int = 0
    is_cut: bool = False
    is_silent: bool = False
    answer: bytearray = field(default_factory=bytearray)


@contextlib.contextmanager
def tcp_relay(
    target: str,
    *,
    tls: ssl.SSLContext | None = None,
    is_proxy: bool = False,
    cut: Cut | None = None,
    fault: Fault | None = None,
    port: int = 0,
) -> Iterator[TcpRelay]:
    """Pass connections on to ``target`` ("http://127.0.0.1:port").

    With ``tls`` it speaks TLS to its callers. As a proxy it accepts absolute request targets, whatever their host.
    ``cut`` cuts the connection of one request; other connections continue. ``fault`` is for any other fault.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=100)
    state = TcpRelay(listener.getsockname()[1])
    work = _RelayWorker(int(target.rsplit(":", 1)[1]), state, [listener], tls, cut, fault, is_proxy=is_proxy)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                work.open_sockets.append(plain)
                threading.Thread(target=work.serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield state
    finally:
        close_all(work.open_sockets)


class TcpSwitch:
    """A connection to a server at one address; ``down()`` ends all connections and refuses new ones."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._relay = contextlib.ExitStack()
        self.port = 0
        self.up()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Accept connections, at the same address as before."""
        self.port = self._relay.enter_context(tcp_relay(self._target, port=self.port)).port

    def down(self) -> None:
        """Accept no connections any more, and end the open ones."""
        self._relay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()


@dataclass
class _RelayWorker:
    """The shared data of all connections of a relay."""

    upstream: int
    state: TcpRelay
    open_sockets: list[socket.socket]
    tls: ssl.SSLContext | None
    cut: Cut | None
    fault: Fault | None
    is_proxy: bool

    def serve(self, plain: socket.socket) -> None:
        """Carry one caller's requests until a side ends."""
        with contextlib.suppress(OSError):
            caller = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
            self.open_sockets.append(caller)
            try:
                server = socket.create_connection(("127.0.0.1", self.upstream))
            except OSError:  # the server does not listen: the caller gets the failure
                reset(caller)
                return
            self.open_sockets.append(server)
            line = _Connection(caller, server)
            answers = threading.Thread(target=pump, args=(line,), daemon=True)
            answers.start()
            self._pump_requests(line)
            answers.join()
            caller.close()
            server.close()

    def _pump_requests(self, line: _Connection) -> None:
        with contextlib.suppress(OSError):
            while data := line.caller.recv(65536):
                if b" HTTP/1.1\r\n" in data:
                    self._begin(line, data)
                if self.cut is not None and self.cut.applies_to(data):
                    line.is_cut = self.cut.when != "before"
                    if line.is_cut:
                        forward(data, line.caller, line.server)
                    if self.cut.when == "after":
                        return  # pump() ends the caller's connection when the response arrives
                    break
                if line.fault is not None and line.fault.response is not None and not line.fault.acted:
                    answer_instead(line, line.fault.response, data)
                    continue
                line.server.sendall(re.sub(rb"^(\w+) http://[^/]+", rb"\1 ", data) if self.is_proxy else data)
        with contextlib.suppress(OSError):
            line.server.shutdown(socket.SHUT_RDWR)

    def _begin(self, line: _Connection, data: bytes) -> None:
        """Record a new request, and decide whether the fault applies to it."""
        self.state.heads.append(data.split(b"\r\n\r\n")[0])
        line.answer = bytearray()
        self.state.answers.append(line.answer)
        line.passed = 0
        line.fault = self.fault if self.fault is not None and self.fault.applies_to(data) else None


def close_all(open_sockets: list[socket.socket]) -> None:
    """Close all connections, also those that still wait."""
    for each in open_sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def reset(caller: socket.socket) -> None:
    """End a connection as a power cut or a firewall does: with a reset instead of an orderly close."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        caller.shutdown(socket.SHUT_RD)  # wakes its reader, so that closing takes effect
    caller.close()


def forward(data: bytes, caller: socket.socket, server: socket.socket) -> None:
    """Pass one whole request on, which begins with ``data``."""
    server.sendall(data)
    for piece in rest_of(data, caller):
        server.sendall(piece)


def rest_of(data: bytes, caller: socket.socket) -> Iterator[bytes]:
    """Yield the remaining bytes of a request that begins with ``data``."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    while missing > 0 and (piece := caller.recv(min(missing, 65536))):
        missing -= len(piece)
        yield piece


def answer_instead(line: _Connection, response: bytes, data: bytes) -> None:
    for _ in rest_of(data, line.caller):
        pass
    line.caller.sendall(response)


def pump(line: _Connection) -> None:
    """Pass responses on until one side ends, or a cut or a fault ends the connection: then the next bytes are lost."""
    with contextlib.suppress(OSError):
        while data := line.server.recv(65536):
            if line.is_cut:
                break
            line.answer += data
            if line.fault is None:
                line.caller.sendall(data)
            elif not pass_with(line, line.fault, data):
                return
    with contextlib.suppress(OSError):
        line.caller.shutdown(socket.SHUT_RDWR)


def pass_with(line: _Connection, fault: Fault, data: bytes) -> bool:
    """Pass a part of a response on as the fault defines; return whether the connection continues."""
    if line.is_silent:
        return True
    if fault.response is not None:
        if line.passed == 0:
            line.caller.sendall(fault.response)
        line.passed += len(data)
        return True
    if line.passed == 0 and fault.edit is not None:
        data = fault.edit(data)
    is_over = bool(fault.loses) and data.endswith(fault.loses)
    size = len(data) - len(fault.loses) if is_over else int(min(fault.passes - line.passed, len(data)))
    for start in range(0, size, fault.piece):
        line.caller.sendall(data[start : min(start + fault.piece, size)])
        time.sleep(fault.pause)
    line.passed += size
    if line.passed < fault.passes and not is_over:
        return True
    return finish(line, fault, data[size:])


def finish(line: _Connection, fault: Fault, rest: bytes) -> bool:
    """Apply the fault once the right part of a response has passed; return whether the connection continues."""
    if fault.meanwhile is not None:
        fault.meanwhile()
    line.is_silent = fault.end == "silence"
    if fault.gets:
        line.caller.sendall(fault.gets)
    if fault.end == "go on":
        line.fault = None
        line.caller.sendall(rest)
    elif fault.end == "reset":
        reset(line.caller)
    elif fault.end == "close":
        line.caller.shutdown(socket.SHUT_RDWR)
    return fault.end in {"silence", "go on"}
