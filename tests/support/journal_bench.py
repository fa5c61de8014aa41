"""A server with the journal services on it, and invocations in every situation that a journal can show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restate_lab.analysis.journal import journal
from support.bench import Bench, running_bench, wait_for

SERVICES = Path(__file__).with_name("journal_services.py")
SECRET = "Bearer swordfish"


@dataclass(frozen=True)
class JournalBench(Bench):
    """A server with the journal services, and role → invocation id."""

    roles: dict[str, str] = field(default_factory=dict)

    def send(self, role: str, path: str, body: Any = None, **options: Any) -> str:
        """Send to "service/handler" or "service/key/handler", and keep the id under a role."""
        service, *key, handler = path.split("/")
        sent = self.lab.ingress.send(service, handler, body, key=key[0] if key else None, **options)
        self.roles[role] = sent.invocation_id
        return sent.invocation_id

    def status(self, role: str) -> str | None:
        return super().status(self.roles[role])

    def errors(self, role: str) -> int:
        return self.lab.arrow("SELECT id FROM sys_journal_events WHERE id = :id", id=self.roles[role]).num_rows


@contextlib.contextmanager
def running_journal_bench(kind: str, folder: Path) -> Iterator[JournalBench]:
    ready = ("Helper", "answer", "you")
    with running_bench(kind, folder, SERVICES, ready=ready, env={}, bench=JournalBench) as bench:
        _play(bench)
        yield bench


def _play(bench: JournalBench) -> None:
    for role in ("always", "slowly", "pauses", "third_time", "two_steps", "between_steps", "own_policy"):
        bench.send(role, f"Retries/{role}")
    for how in ("name", "type", "end"):
        bench.send(f"changes_{how}", "Retries/changes", how)
    for role in ("wait", "wait_for_two", "listen", "nap", "fails"):
        bench.send(role, f"Helper/{role}")
    bench.send("forgets", "Helper/forgets", idempotency_key="k1")
    bench.send("waiting", "Helper/wait")
    bench.send("napping", "Helper/nap")
    bench.send("finished", "Helper/answer", "all", headers={"authorization": SECRET, "x-tenant": "acme"})
    bench.send("raw", "Helper/raw", b"hey")
    bench.send("down", "Helper/down", 3)
    bench.send("fan", "Helper/fan", 5)
    bench.send("workflow", "Approval/w1/run")
    bench.send("asked", "Approval/w2/run")
    bench.send("kept", "LazyTour/k1/keep")
    bench.send("lazily", "LazyTour/k1/lazily")
    for role in ("wait", "wait_for_two", "listen", "nap", "waiting", "napping", "workflow", "asked"):
        bench.until(role, "suspended")
    guests = {"awakeable": published_output(bench, "wait"), "listener": bench.roles["listen"]}
    guests |= {"victim": bench.roles["nap"], "finished": bench.roles["finished"]}
    bench.send("grant", "Approval/w1/grant", "ada")
    bench.send("every", "Tour/k1/every", guests)
    for role in (
        "every",
        "wait",
        "listen",
        "nap",
        "workflow",
        "lazily",
        "fan",
        "forgets",
        "fails",
        "own_policy",
        "raw",
    ):
        bench.until(role, "completed")
    bench.until("third_time", "completed")
    bench.until("pauses", "paused")
    wait_for(lambda: all(bench.errors(f"changes_{how}") for how in ("name", "type", "end")), within=60)


def published_output(bench: JournalBench, role: str) -> Any:
    """Return the output of a step that a handler published: the ids of its awakeables, as its SDK made them."""
    frame = journal(bench.lab, bench.roles[role], payloads=True)
    return frame.loc[frame["name"] == "publish", "payload"].iloc[0]
