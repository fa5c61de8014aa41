"""A TCP server that sends exact bytes, for behavior that no well-behaved server shows."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class RawServer:
    """Its address, the requests (head and body) that arrived, per connection, and the number of closed connections."""

    address: str
    connections: list[list[bytes]] = field(default_factory=list)
    ended: int = 0

    @property
    def requests(self) -> list[bytes]:
        return [request for connection in self.connections for request in connection]


Talk = Callable[[socket.socket, int], bool]
"""Answers the nth request on a socket; False ends the connection."""
Respond = Callable[[socket.socket, bytes], bool]
"""Answers a request on a socket; False ends the connection."""


def respond_with(*answers: bytes, then_close: bool = False) -> Talk:
    """Answer the nth request with the nth of these bytes (the last one for all later requests)."""

    def talk(connection: socket.socket, number: int) -> bool:
        connection.sendall(answers[min(number, len(answers) - 1)])
        return not then_close

    return talk


def chunked_response(*chunks: bytes, end: bool = True, headers: str = "") -> bytes:
    """Return a 200 response with a chunked body; without ``end`` its last chunk is missing."""
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.apache.arrow.stream\r\n{headers}transfer-encoding: chunked"
    )
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head.encode() + b"\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


@contextlib.contextmanager
def raw_server(talk: Talk | None = None, *, respond: Respond | None = None) -> Iterator[RawServer]:
    """Serve on a free loopback port until the block ends; pass one of the two."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(f"http://127.0.0.1:{listener.getsockname()[1]}")
    open_sockets: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(connection)
            heard: list[bytes] = []
            server.connections.append(heard)
            threading.Thread(target=converse, args=(connection, heard), daemon=True).start()

    def converse(connection: socket.socket, heard: list[bytes]) -> None:
        with contextlib.suppress(OSError), connection:
            while request := _read_request(connection):
                heard.append(request)
                if not (respond(connection, request) if respond else talk and talk(connection, len(heard) - 1)):
                    break
        server.ended += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_sockets:
            with contextlib.suppress(OSError):
                connection.close()
        thread.join(5)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.split(b":")[1]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
