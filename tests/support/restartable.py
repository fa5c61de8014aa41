"""One server that can be killed and started again, on the same ports and data, and invocations on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import NO_SETTINGS, server_settings, settings_for
from restate_lab.environment import clean_environment
from support.bench import wait_for, wait_until_served
from support.bulk import READY, SERVICES, Bulk
from support.clusters import admin_address, has_vqueues, server_binary
from support.demo.nodes import Node, lasting_ports

READY_WITHIN = 60.0
IDS = "SELECT id FROM sys_invocation_status WHERE id IN :ids"


@dataclass
class Killable:
    """A server that can be killed, with ended and delayed invocations on it; ``lab`` is a good connection to it."""

    server: Node
    lab: Lab
    ended: tuple[str, ...]
    later: tuple[str, ...]

    def wait_until_whole(self) -> None:
        """Return when it responds, with all of its invocations."""
        wait_until_ready(self.server)
        ids = [*self.ended, *self.later]
        wait_for(lambda: self.lab.arrow(IDS, ids=ids).num_rows == len(ids))

    def restart(self) -> None:
        self.server.kill()
        self.server.start()


@contextlib.contextmanager
def killable(kind: str, folder: Path, *more: str, ended: int, later: int) -> Iterator[Killable]:
    """Give a server with this many invocations; ``more`` are files of further services."""
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(restartable(kind, folder / "data"))
        lab = stack.enter_context(rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=folder / "audit"))
        for services in (*more, SERVICES):
            place = folder / Path(services).stem
            place.mkdir()
            process, uri = start_services(place, services)
            stack.enter_context(process)
            deployment = lab.admin.create_deployment(uri=uri)
        bulk = Bulk(kind, lab, folder, uri, str(deployment.id))
        wait_until_served(lab, *READY)
        yield Killable(node, lab, bulk.fill("answer", ended), bulk.fill("later", later))


@contextlib.contextmanager
def restartable(kind: str, folder: Path, *, env: Mapping[str, str] = NO_SETTINGS) -> Iterator[Node]:
    """Give a running server of a kind; ``kill()`` ends it as a power cut does, and ``start()`` starts it again."""
    binary, (node, ingress, admin) = server_binary(kind), lasting_ports(3)
    settings = server_settings(folder) | {
        **settings_for(binary, vqueues=has_vqueues(kind)),
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        **env,
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
        with admin_address(kind, server.admin_url) as server.admin_url:
            yield server
    finally:
        server.stop()


def wait_until_ready(server: Node) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not server.is_ready():
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(0.05)
