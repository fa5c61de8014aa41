"""A server with agents that have very long journals and very large payloads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import restate_lab as rl
from restate_lab.demo.embedded import start_services
from support.bench import wait_for
from support.clusters import NEWEST, KindServer

SERVICES = Path(__file__).with_name("long_agent_services.py")
SUCCEEDED = "SELECT status FROM sys_invocation WHERE id = :id AND status = 'completed'"


@contextmanager
def running_long_agents(folder: Path) -> Iterator[rl.Lab]:
    """Give a connection to the server."""
    services, address = start_services(folder, str(SERVICES))
    with services, KindServer(NEWEST) as server:
        with rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit") as lab:
            lab.admin.create_deployment(uri=address)
            yield lab


def run_agent(lab: rl.Lab, handler: str, size: int) -> str:
    id_ = send_to_agent(lab, handler, size)
    wait_for(lambda: lab.arrow(SUCCEEDED, id=id_, progress=False).num_rows, within=280)
    return id_


def send_to_agent(lab: rl.Lab, handler: str, size: int) -> str:
    return str(wait_for(lambda: _sent(lab, handler, size)))


def _sent(lab: rl.Lab, handler: str, size: int) -> str | None:
    try:
        return str(lab.ingress.send("LongAgent", handler, size, key=f"{handler}-{size}").invocation_id)
    except rl.errors.RestateLabError:
        return None  # the ingress does not know the service yet
