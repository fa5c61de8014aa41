"""One server that can be killed and started again, on the same ports and data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from restate_lab.demo.cluster import free_ports, server_settings
from restate_lab.demo.nodes import Node
from restate_lab.demo.process import clean_environment

READY_WITHIN = 60.0


@contextlib.contextmanager
def restartable(binary: Path, folder: Path) -> Iterator[Node]:
    """Give a running server; ``kill()`` ends it as a power cut does, and ``start()`` brings it back."""
    node, ingress, admin = free_ports(3)
    settings = server_settings(folder) | {
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
    }
    server = Node(
        "one",
        binary,
        folder,
        f"http://127.0.0.1:{admin}",
        f"http://127.0.0.1:{ingress}",
        clean_environment(**settings),
    )
    try:
        server.start()
        wait_until_ready(server)
        yield server
    finally:
        server.stop()


def wait_until_ready(server: Node) -> None:
    """Return when it answers."""
    deadline = time.monotonic() + READY_WITHIN
    while not server.is_ready():
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(0.05)
