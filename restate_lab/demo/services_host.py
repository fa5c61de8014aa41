"""Serve services over HTTP/2 on an inherited socket; call ``serve_inherited(app)`` at the end of the program."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from restate import Service, VirtualObject, Workflow

RELEASE_HEADER = "x-release"
"""The header of a deployment whose path serves several releases of the code.

Restate sends a deployment's headers with every request, so this header selects the release, as in a service mesh.
"""
Deployments: TypeAlias = "Mapping[tuple[str, str], tuple[Service | VirtualObject | Workflow, ...]]"
"""(path, release) → the services at that path."""


def application(deployments: Deployments, unavailable: Mapping[str, tuple[int, bytes]]) -> Any:
    """Return the ASGI application that serves all deployments, each at its path and in its release.

    The services at "" serve all paths that are not in ``deployments``. ``unavailable`` maps a path to the status and
    body that replace the response to each invocation, like those of a proxy. Discovery still works at this path.
    """
    import restate  # noqa: PLC0415 - part of the extra "demo"

    apps = {place: restate.app(services=list(services)) for place, services in deployments.items()}
    paths = {path for path, _ in deployments}

    async def serve_deployment(scope: Any, receive: Any, send: Any) -> None:
        first = scope.get("path", "").split("/")[1:2]
        path = first[0] if first and first[0] in paths else ""
        release = dict(scope.get("headers", ())).get(RELEASE_HEADER.encode(), b"1").decode()
        if path in unavailable and "/invoke/" in scope["path"]:
            await _respond(*unavailable[path], receive, send)
        else:
            await apps[path, release](scope, receive, send)

    return serve_deployment


async def _respond(status: int, body: bytes, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    # An unread request body would block other requests on the same HTTP/2 connection.
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.body", "body": body})


def serve_inherited(app: Any) -> None:
    """Serve an ASGI app on the listening socket of ``--fd`` until SIGTERM, which ends this process immediately.

    Restate retries interrupted invocations.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a listening socket")
    fd = parser.parse_args().fd
    # On the main thread, the SDK would handle SIGTERM and wait for requests that stay open for hours.
    server = threading.Thread(target=_serve, args=(app, fd), daemon=True)
    server.start()
    server.join()
    sys.exit("the services stopped unexpectedly")


def _serve(app: Any, fd: int) -> None:
    from hypercorn.asyncio import serve  # noqa: PLC0415 - part of the extra "demo"
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [f"fd://{fd}"]
    # If a connection closes while the server uses it, its invocations fail. By default, Hypercorn closes a connection
    # after some idle seconds and after 1,000 requests, and allows only 100 concurrent requests per connection.
    config.keep_alive_timeout = 3600
    config.keep_alive_max_requests = config.h2_max_concurrent_streams = 2**31 - 1
    never = asyncio.Event()
    asyncio.run(serve(app, config, shutdown_trigger=never.wait))
