"""A client of the Debug Adapter Protocol, as an editor has it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class DebugClient:
    """Requests and events over the socket of debugpy."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def attach(self, file: str, line: int) -> bool:
        """Attach with one breakpoint, and return whether it was verified."""
        self.request("initialize", adapterID="debugpy", linesStartAt1=True, columnsStartAt1=True, pathFormat="path")
        self._send("attach", justMyCode=True)
        self.event("initialized")
        body = self.request("setBreakpoints", source={"path": file}, breakpoints=[{"line": line}])
        self.request("configurationDone")
        return bool(body["breakpoints"][0]["verified"])

    def stopped(self) -> tuple[int, list[tuple[str, int]], dict[str, str]]:
        """Wait for a stop; return the thread, the names and lines of its frames, and the locals of the first.

        From Python 3.12, the frames also have those of this package, unless it is installed as a library.
        """
        thread = self.event("stopped")["threadId"]
        frames = self.request("stackTrace", threadId=thread)["stackFrames"]
        frames = [each for each in frames if "restate_lab" not in each["source"]["path"]]
        scope = self.request("scopes", frameId=frames[0]["id"])["scopes"][0]["variablesReference"]
        variables = self.request("variables", variablesReference=scope)["variables"]
        places = [(each["name"], each["line"]) for each in frames]
        return thread, places, {each["name"]: each["value"] for each in variables}

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        number = self._send(command, **arguments)
        while True:
            message = self._read()
            if message["type"] == "response" and message["request_seq"] == number:
                assert message["success"], message
                return dict(message.get("body") or {})
            self.events.append(message)

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event, and return its body."""
        while True:
            for message in self.events:
                if message.get("event") == name:
                    self.events.remove(message)
                    return dict(message.get("body") or {})
            self.events.append(self._read())

    def close(self) -> None:
        self.request("disconnect")
        self._stream.close()

    def _send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        request = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        content = json.dumps(request).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        return self._number

    def _read(self) -> dict[str, Any]:
        size = 0
        while line := self._stream.readline().strip():
            if line.lower().startswith(b"content-length"):
                size = int(line.split(b":")[1])
        return dict(json.loads(self._stream.read(size)))


@contextmanager
def connected(port: int) -> Iterator[DebugClient]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        client = DebugClient(connection)
        yield client
        client.close()
