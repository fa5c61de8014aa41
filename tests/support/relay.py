"""A small TCP relay to a real server: TLS in front of it, or a forward proxy before it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Relay:
    """Where it listens, and the heads of the requests that passed."""

    port: int
    heads: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def relay(target: str, *, tls: ssl.SSLContext | None = None, is_proxy: bool = False) -> Iterator[Relay]:
    """Pass connections on to ``target`` ("http://127.0.0.1:port").

    With ``tls`` it speaks TLS to its callers. As a proxy it takes absolute request targets, whatever their host.
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
            threading.Thread(target=pump, args=(server, caller), daemon=True).start()
            pump_requests(caller, server)

    def pump_requests(caller: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := caller.recv(65536):
                if b" HTTP/1.1\r\n" in data:
                    state.heads.append(data.split(b"\r\n\r\n")[0])
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
        for each in open_sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until one side ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
