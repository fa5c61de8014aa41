"""A small TCP relay to a real server: TLS in front of it, a forward proxy before it, or a line that is cut."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Cut:
    """Cuts the line once, at the ``number``th request (from 0) whose first line has ``where`` in it.

    "before" the server gets a byte of it; "within": it got the whole request, and then nobody listens any more;
    "after" it has answered, and nothing of the answer reaches the caller.
    """

    where: bytes
    number: int = 0
    when: Literal["before", "within", "after"] = "after"
    seen: int = 0
    happened: bool = False

    def falls_on(self, request: bytes) -> bool:
        """Count a request, and tell whether the line is cut at it."""
        if self.happened or self.where not in request.partition(b"\r\n")[0]:
            return False
        self.seen += 1
        self.happened = self.seen > self.number
        return self.happened


@dataclass
class Relay:
    """Where it listens, and the heads of the requests that passed."""

    port: int
    heads: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def relay(
    target: str, *, tls: ssl.SSLContext | None = None, is_proxy: bool = False, cut: Cut | None = None
) -> Iterator[Relay]:
    """Pass connections on to ``target`` ("http://127.0.0.1:port").

    With ``tls`` it speaks TLS to its callers. As a proxy it takes absolute request targets, whatever their host.
    ``cut`` cuts the line of one request; those on other lines go on.
    """
    upstream = int(target.rsplit(":", 1)[1])
    listener = socket.create_server(("127.0.0.1", 0))
    state = Relay(listener.getsockname()[1])
    open_sockets: list[socket.socket] = [listener]

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            caller = tls.wrap_socket(plain, server_side=True) if tls else plain
            server = socket.create_connection(("127.0.0.1", upstream))
            open_sockets.extend([caller, server])
            is_cut = threading.Event()
            threading.Thread(target=pump, args=(server, caller, is_cut), daemon=True).start()
            pump_requests(caller, server, is_cut)

    def pump_requests(caller: socket.socket, server: socket.socket, is_cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := caller.recv(65536):
                if b" HTTP/1.1\r\n" in data:
                    state.heads.append(data.split(b"\r\n\r\n")[0])
                if cut is not None and cut.falls_on(data):
                    if cut.when != "before":
                        is_cut.set()
                        forward(data, caller, server)
                    if cut.when == "after":
                        return  # pump() ends the caller's line when the answer comes
                    break
                server.sendall(re.sub(rb"^(\w+) http://[^/]+", rb"\1 ", data) if is_proxy else data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                open_sockets.append(plain)
                threading.Thread(target=serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield state
    finally:
        end(open_sockets)


def end(open_sockets: list[socket.socket]) -> None:
    """Close them, whatever still waits for them."""
    for each in open_sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def forward(data: bytes, caller: socket.socket, server: socket.socket) -> None:
    """Pass one whole request on, which begins with ``data``."""
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    missing = (int(length[1]) if length else 0) - len(body)
    server.sendall(data)
    while missing > 0 and (piece := caller.recv(min(missing, 65536))):
        missing -= len(piece)
        server.sendall(piece)


def pump(source: socket.socket, sink: socket.socket, is_cut: threading.Event) -> None:
    """Pass bytes on until one side ends, or the line is cut: then the next ones are lost."""
    with contextlib.suppress(OSError):
        while (data := source.recv(65536)) and not is_cut.is_set():
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
