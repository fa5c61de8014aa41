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
        """Return the fingerprints whose last event is not "resolved"."""
        with self.lock:
            return {fingerprint for fingerprint, event in dict(self.events).items() if event != "resolved"}

    @property
    def firing(self) -> set[str]:
        """Return the fingerprints of the alerts that the API of Alertmanager shows as firing now."""
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
    """A running receiver; ``stop()`` closes its port, and ``start()`` opens it again."""

    received: Received = field(default_factory=Received)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def to(self) -> str:
        """Return its address for apprise."""
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def alertmanager(self) -> str:
        """Return its address for Alertmanager's API."""
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
    """Give a running receiver."""
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def _handler(received: Received) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received.requests += 1
            if received.status == 200:
                received.add(self.path, body)
            time.sleep(received.delay)
            self.send_response(received.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
