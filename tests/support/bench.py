"""A server with small services for one test module: a test that breaks something affects no other module."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import restate_lab as rl
from restate_lab.client.admin import AdminClient
from restate_lab.client.ingress import IngressClient
from restate_lab.demo.embedded import start_services
from support.clusters import KindServer, has_vqueues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from restate_lab.client.lab import Lab

SERVICES = Path(__file__).with_name("client_services.py")
KAFKA_IN_SETTINGS = '[{name="settings",brokers=["PLAINTEXT://127.0.0.1:1"]}]'


@dataclass(frozen=True)
class Bench:
    """A server of one kind, the services' address, and a connection with its audit folder."""

    kind: str
    uri: str
    deployment: str
    lab: Lab
    audit: Path

    @property
    def admin(self) -> AdminClient:
        return self.lab.admin

    @property
    def ingress(self) -> IngressClient:
        return self.lab.ingress

    @property
    def has_vqueues(self) -> bool:
        return has_vqueues(self.kind)

    @property
    def is_old(self) -> bool:
        return self.kind.startswith("1.6")

    def status(self, invocation_id: str) -> str | None:
        """Return an invocation's status, None if it has no row."""
        rows = self.lab.arrow("SELECT status FROM sys_invocation WHERE id = :id", id=invocation_id).to_pylist()
        return rows[0]["status"] if rows else None

    def until(self, invocation_id: str, *statuses: str | None) -> str | None:
        """Wait until an invocation has one of these statuses."""
        return wait_for(lambda: self.status(invocation_id), lambda status: status in statuses)


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool] = bool, *, within: float = 60) -> Any:
    """Return the result of ``look`` once it is true; fail with the last result otherwise."""
    deadline = time.monotonic() + within
    while not holds(seen := look()):
        assert time.monotonic() < deadline, f"not within {within} s; last seen: {seen!r}"
        time.sleep(0.03)
    return seen


@contextlib.contextmanager
def running_bench(kind: str, folder: Path) -> Iterator[Bench]:
    """Start a server of a kind and the services, and register them."""
    settings = {"RESTATE_INGRESS__KAFKA_CLUSTERS": KAFKA_IN_SETTINGS}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(KindServer(kind, env=settings))
        services, uri = start_services(folder, str(SERVICES))
        stack.enter_context(services)
        audit = folder / "audit"
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=audit))
        deployment = lab.admin.create_deployment(uri=uri).id
        wait_for(lambda: _is_ready(lab))
        yield Bench(kind=kind, uri=uri, deployment=deployment, lab=lab, audit=audit)


def _is_ready(lab: Lab) -> bool:
    """Return True once the ingress knows the services, which is shortly after the Admin API does."""
    try:
        return bool(lab.ingress.call("Echo", "say", "ready") == "ready")
    except rl.errors.RestateLabError:
        return False
