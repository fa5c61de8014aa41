"""The services of ``replay_services.py``, with version 5 of the service protocol instead of 5 to 7."""

from __future__ import annotations

import json
from typing import Any

import restate
from replay_services import flows, helper, lazy, programs

from restate_lab.demo.services_host import serve_inherited

MAX_PROTOCOL = 5


async def with_old_protocol(scope: Any, receive: Any, send: Any) -> None:
    """Serve the services, and lower the newest protocol version in the response to ``/discover``."""
    start: dict[str, Any] = {}

    async def send_lowered(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        manifest = {**json.loads(message["body"]), "maxProtocolVersion": MAX_PROTOCOL}
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": headers})
        await send({**message, "body": json.dumps(manifest).encode()})

    is_discovery = scope.get("path", "").endswith("/discover")
    await app(scope, receive, send_lowered if is_discovery else send)


app = restate.app(services=[helper, programs, lazy, flows])

if __name__ == "__main__":
    serve_inherited(with_old_protocol)
