"""A server with many invocations for the tests of actions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from support.bench import wait_for
from support.clusters import KindServer, has_vqueues

SERVICES = str(Path(__file__).with_name("bulk_services.py"))
AT_ONCE = 500  # calls that one invocation sends
_THERE = """SELECT id FROM sys_invocation
WHERE target_handler_name = :handler AND status = :status AND restarted_from IS NULL ORDER BY id"""
_KINDS = {"later": ("answer", "scheduled"), "answer": ("answer", "completed"), "wait": ("wait", "suspended")}


@dataclass(frozen=True)
class Bulk:
    """A server of one kind, a connection to it, and its audit folder."""

    kind: str
    lab: Lab
    audit: Path
    deployment: str

    @property
    def url(self) -> str:
        return self.lab.settings.admin_url

    @property
    def has_vqueues(self) -> bool:
        return has_vqueues(self.kind)

    def fill(self, what: str, count: int) -> tuple[str, ...]:
        """Return the ids of this many new invocations: "later", "answer" (completed) or "wait" (suspended)."""
        handler, status = _KINDS[what]
        before = set(self._ids(handler, status))
        for start in range(0, count, AT_ONCE):
            self.lab.ingress.call("Bulk", "send", [what, min(AT_ONCE, count - start)])
        there = wait_for(lambda: set(self._ids(handler, status)) - before, lambda ids: len(ids) == count, within=60)
        return tuple(sorted(there))

    def send(self, handler: str, body: object) -> str:
        return self.lab.ingress.send("Bulk", handler, body).invocation_id

    def status(self, id_: str) -> str | None:
        rows = self.lab.arrow("SELECT status FROM sys_invocation WHERE id = :id", id=id_).to_pylist()
        return rows[0]["status"] if rows else None

    def count(self, ids: tuple[str, ...]) -> int:
        """Return how many of these invocations have a row."""
        if not ids:
            return 0
        return int(self.lab.sql("SELECT count(*) AS n FROM sys_invocation_status WHERE id IN :ids", ids=ids)["n"][0])

    def _ids(self, handler: str, status: str) -> list[str]:
        return list(self.lab.sql(_THERE, handler=handler, status=status, progress=False)["id"])


@contextlib.contextmanager
def running_bulk(kind: str, folder: Path, services: str = "good") -> Iterator[Bulk]:
    """Start a server of a kind and the services, "good" or "bad" ones, and register them."""
    with contextlib.ExitStack() as stack:
        (folder / services).mkdir(parents=True)
        process, uri = start_services(folder / services, SERVICES)
        stack.enter_context(process)
        server = stack.enter_context(KindServer(kind))
        audit = folder / "audit"
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=audit))
        deployment = str(lab.admin.create_deployment(uri=uri).id)
        wait_for(lambda: _is_ready(lab))
        yield Bulk(kind, lab, audit, deployment)


def _is_ready(lab: Lab) -> bool:
    """Return True once the ingress knows the services, which is shortly after the Admin API does."""
    try:
        return bool(lab.ingress.call("Bulk", "answer", 1) == 1)
    except rl.errors.RestateLabError:
        return False
