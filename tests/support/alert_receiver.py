"""A receiver of alerts on this machine: it takes JSON messages of apprise and the API of Alertmanager.

It merges by fingerprint, as PagerDuty and Alertmanager do, and also keeps each request in order.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """What arrived. ``events`` are (fingerprint, event) in order; ``alerts`` are those posted to Alertmanager's API."""

    events: list[tuple[str, str]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    """The number of requests, also of those that were refused."""
    status: int = 200
    """The status of each response; an error means that the request is not kept."""
    delay: float = 0.0
    page: tuple[str, bytes] = ("", b"")
    """The content type and the body of each response with ``status``; with a body, requests are not kept."""
    location: str = ""
    """The address to which each request is redirected, with ``status``."""
    drips: str = ""
    """Whether the "headers" or the "body" of a response never end: a byte arrives now and then."""
    refuses: str = ""
    """The fingerprint of an alert whose messages are refused."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str, body: Any) -> None:
        with self.lock:
            if path == "/api/v2/alerts":
                self.alerts += body
            else:
                self.messages.append(body)
                self.events.append((body["fingerprint"], body["event"]))

    @property
    def open(self) -> set[str]:
        with self.lock:
            return {fingerprint for fingerprint, event in dict(self.events).items() if event != "resolved"}

    @property
    def firing(self) -> set[str]:
        now = datetime.now(UTC)
        with self.lock:
            ends = {
                (each["labels"]["fingerprint"], each["labels"]["severity"]): datetime.fromisoformat(each["endsAt"])
                for each in self.alerts
            }
        return {fingerprint for (fingerprint, _), end in ends.items() if end > now}

    @property
    def repeated(self) -> int:
        """Return how many messages are the same event as the last one of their alert."""
        with self.lock:
            last: dict[str, str] = {}
            count = 0
            for fingerprint, event in self.events:
                count += last.get(fingerprint) == event
                last[fingerprint] = event
            return count


@dataclass
class Receiver:
    received: Received = field(default_factory=Received)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def to(self) -> str:
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def alertmanager(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self.received))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextlib.contextmanager
def alert_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class _Handler(BaseHTTPRequestHandler):
    """Answers as ``received`` says, and keeps what it accepts."""

    received: Received

    def do_POST(self) -> None:
        received = self.received
        text = self.rfile.read(int(self.headers["content-length"]))
        received.requests += 1
        if received.drips:
            self._drip()
        elif received.location or received.page[1]:
            self._respond(received.status)
        else:
            self._receive(json.loads(text))

    def do_GET(self) -> None:  # the page to which a redirect leads
        self._respond(200)

    def log_message(self, *_: Any) -> None:
        pass

    def _receive(self, body: Any) -> None:
        received = self.received
        is_refused = received.refuses and received.refuses in json.dumps(body)
        if received.status == 200 and not is_refused:
            received.add(self.path, body)
        time.sleep(received.delay)
        self._respond(400 if is_refused else received.status)

    def _respond(self, status: int) -> None:
        self.send_response(status)
        if self.received.location:
            self.send_header("location", self.received.location)
        content_type, body = self.received.page
        if content_type:
            self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        in_headers = self.received.drips == "headers"
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Slow: " if in_headers else b"\r\n"))
        with contextlib.suppress(OSError):
            while self.received.drips:
                self.wfile.write(b"x")
                time.sleep(0.05)
        self.close_connection = True


def _handler(received: Received) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"received": received})
