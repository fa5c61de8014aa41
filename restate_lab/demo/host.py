"""Serve the sample services over HTTP/2: ``python -m restate_lab.demo.host --fd N`` on an inherited socket."""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from restate_lab.demo.services.deployments import application

__all__ = ["serve_inherited"]


def serve_inherited(app: Any) -> None:
    """Serve an ASGI app on the listening socket of ``--fd`` until SIGTERM, which ends this process at once.

    Restate tries again what is cut off.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a listening socket")
    fd = parser.parse_args().fd
    # On the main thread the SDK would take SIGTERM over, and wait for requests that stay open for hours.
    server = threading.Thread(target=_serve, args=(app, fd), daemon=True)
    server.start()
    server.join()
    sys.exit("the services stopped by themselves")


def _serve(app: Any, fd: int) -> None:
    config = Config()
    config.bind = [f"fd://{fd}"]
    # A line that is closed while the server uses it is an error of whatever runs on it. By default that comes after
    # some seconds without a request, and after a thousand requests; and it carries no more than a hundred at a time.
    config.keep_alive_timeout = 3600
    config.keep_alive_max_requests = config.h2_max_concurrent_streams = 2**31 - 1
    never = asyncio.Event()
    asyncio.run(serve(app, config, shutdown_trigger=never.wait))


if __name__ == "__main__":
    serve_inherited(application())
