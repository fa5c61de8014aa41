"""A server with many invocations for the tests of actions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from support.bench import Bench, running_bench, wait_for

SERVICES = str(Path(__file__).with_name("bulk_services.py"))
READY = ("Bulk", "answer", 1)
AT_ONCE = 500  # calls that one invocation sends
_THERE = """SELECT id FROM sys_invocation
WHERE target_handler_name = :handler AND status = :status AND restarted_from IS NULL ORDER BY id"""
_KINDS = {"later": ("answer", "scheduled"), "answer": ("answer", "completed"), "wait": ("wait", "suspended")}


class Bulk(Bench):
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

    def count(self, ids: tuple[str, ...]) -> int:
        if not ids:
            return 0
        return int(self.lab.sql("SELECT count(*) AS n FROM sys_invocation_status WHERE id IN :ids", ids=ids)["n"][0])

    def _ids(self, handler: str, status: str) -> list[str]:
        return list(self.lab.sql(_THERE, handler=handler, status=status, progress=False)["id"])


def running_bulk(kind: str, folder: Path, services: str = "good") -> AbstractContextManager[Bulk]:
    """Start a server of a kind and the services, "good" or "bad" ones, and register them."""
    (folder / services).mkdir(parents=True)
    return running_bench(kind, folder / services, SERVICES, ready=READY, env={}, bench=Bulk)
