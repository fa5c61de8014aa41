"""A gateway in front of a store: ``python s3_gateway.py ADDRESS PORT HEADER STATUS``.

It removes HEADER from each request, or answers each request with STATUS unless that is 0.
"""

from __future__ import annotations

import contextlib
import http.client
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    """Passes requests on; the arguments of the program are read at each request."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        _, address, _, without, status = sys.argv
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if int(status):
            self.reply(int(status), [], b"")
            return
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.headers.items() if name.lower() != without}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            self.reply(response.status, response.getheaders(), response.read())

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815 - names of http.server

    def reply(self, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(code)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value
            elif name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("content-length", length)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
