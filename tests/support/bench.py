"""A server with services for one test module: a test that breaks something affects no other module.

`running_bench` starts any services; `support.bulk`, `support.journal_bench` and `support.redrive_bench` know more about
theirs. `support.restartable` gives a server that can be killed and started again.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import restate_lab as rl
from restate_lab.client.admin import AdminClient
from restate_lab.client.ingress import IngressClient
from restate_lab.demo.embedded import start_services
from support.clusters import KindServer, has_vqueues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from restate_lab.client.lab import Lab

SERVICES = Path(__file__).with_name("client_services.py")
WITH_KAFKA = {"RESTATE_INGRESS__KAFKA_CLUSTERS": '[{name="settings",brokers=["PLAINTEXT://127.0.0.1:1"]}]'}


@dataclass(frozen=True)
class Bench:
    """A server of one kind, a connection with its audit folder, and the address and deployment of the services."""

    kind: str
    lab: Lab
    folder: Path
    uri: str
    deployment: str

    @property
    def admin(self) -> AdminClient:
        return self.lab.admin

    @property
    def ingress(self) -> IngressClient:
        return self.lab.ingress

    @property
    def audit(self) -> Path:
        return self.folder / "audit"

    @property
    def url(self) -> str:
        return self.lab.settings.admin_url

    @property
    def has_vqueues(self) -> bool:
        return has_vqueues(self.kind)

    def status(self, invocation_id: str) -> str | None:
        """Return an invocation's status, None if it has no row."""
        rows = self.lab.arrow("SELECT status FROM sys_invocation WHERE id = :id", id=invocation_id).to_pylist()
        return rows[0]["status"] if rows else None

    def until(self, invocation_id: str, *statuses: str | None) -> str | None:
        status: str | None = wait_for(lambda: self.status(invocation_id), lambda status: status in statuses)
        return status

    @contextlib.contextmanager
    def repaired(self) -> Iterator[None]:
        """Let the services succeed where they otherwise fail."""
        switch = self.folder / "repaired"
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()


B = TypeVar("B", bound=Bench)


def wait_for(look: Callable[[], Any], holds: Callable[[Any], bool] = bool, *, within: float = 60) -> Any:
    """Return the result of ``look`` once it is true; fail with the last result otherwise.

    It sleeps twice as long as a look takes, so that waiting needs at most a third of a core.
    """
    deadline = time.monotonic() + within
    while True:
        began = time.monotonic()
        if holds(seen := look()):
            return seen
        now = time.monotonic()
        assert now < deadline, f"not within {within} s; last seen: {seen!r}"
        time.sleep(min(max(0.03, 2 * (now - began)), 1.0))


@contextlib.contextmanager
def running_bench(
    kind: str,
    folder: Path,
    services: str | Path = SERVICES,
    *,
    ready: tuple[str, str, Any] | None = ("Echo", "say", "ready"),
    env: Mapping[str, str] = WITH_KAFKA,
    model: str | None = None,
    bench: Callable[..., B] = Bench,  # type: ignore[assignment] # B is Bench then
) -> Iterator[B]:
    """Start a server of a kind and the services of a file, and register them.

    ``ready`` is a call (service, handler, body) that succeeds once the ingress knows the services, which is shortly
    after the Admin API does. ``model`` is the address of the language model that agents call.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(KindServer(kind, env=dict(env)))
        process, uri = start_services(folder, str(services), model=model)
        stack.enter_context(process)
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        deployment = lab.admin.create_deployment(uri=uri).id
        if ready is not None:
            wait_until_served(lab, *ready)
        yield bench(kind, lab, folder, uri, str(deployment))


def wait_until_served(lab: Lab, service: str, handler: str, body: Any) -> None:
    once_served(lambda: lab.ingress.call(service, handler, body))


def once_served(call: Callable[[], Any]) -> Any:
    """Return the result of a call or a send, which is repeated until the ingress knows the service."""
    results: list[Any] = []

    def is_served() -> bool:
        with contextlib.suppress(rl.errors.RestateLabError):
            results.append(call())
        return bool(results)

    wait_for(is_served)
    return results[0]
