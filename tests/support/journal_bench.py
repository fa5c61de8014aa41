"""A server with the journal services on it, and invocations in every situation that a journal can show."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import restate_lab as rl
from restate_lab.analysis.journal import journal
from restate_lab.demo.embedded import start_services
from support.bench import wait_for
from support.clusters import KindServer, has_vqueues

if TYPE_CHECKING:
    from collections.abc import Iterator

    from restate_lab.client.lab import Lab

SERVICES = Path(__file__).with_name("journal_services.py")
SECRET = "Bearer swordfish"


@dataclass(frozen=True)
class Stage:
    """A server of one kind, a connection to it, and role → invocation id."""

    kind: str
    lab: Lab
    roles: dict[str, str]

    @property
    def has_vqueues(self) -> bool:
        return has_vqueues(self.kind)

    @property
    def is_old(self) -> bool:
        return self.kind.startswith("1.6")

    def send(self, role: str, path: str, body: Any = None, **options: Any) -> str:
        """Send to "service/handler" or "service/key/handler", and keep the id under a role."""
        service, *key, handler = path.split("/")
        sent = self.lab.ingress.send(service, handler, body, key=key[0] if key else None, **options)
        self.roles[role] = sent.invocation_id
        return sent.invocation_id

    def status(self, role: str) -> str | None:
        rows = self.lab.arrow("SELECT status FROM sys_invocation WHERE id = :id", id=self.roles[role]).to_pylist()
        return rows[0]["status"] if rows else None

    def until(self, role: str, *statuses: str) -> None:
        wait_for(lambda: self.status(role), lambda status: status in statuses)

    def errors(self, role: str) -> int:
        """Return the number of errors kept for an invocation."""
        return self.lab.arrow("SELECT id FROM sys_journal_events WHERE id = :id", id=self.roles[role]).num_rows


@contextlib.contextmanager
def running_stage(kind: str, folder: Path) -> Iterator[Stage]:
    """Start a server of a kind and the services, and make the data of the tests."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(KindServer(kind))
        services, uri = start_services(folder, str(SERVICES))
        stack.enter_context(services)
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        stage = Stage(kind, lab, {})
        wait_for(lambda: _is_ready(lab))
        _play(stage)
        yield stage


def _is_ready(lab: Lab) -> bool:
    """Return True once the ingress knows the services, which is shortly after the Admin API does."""
    try:
        return bool(lab.ingress.call("Helper", "answer", "you") == "answer to you")
    except rl.errors.RestateLabError:
        return False


def _play(stage: Stage) -> None:
    for role in ("always", "slowly", "pauses", "third_time", "two_steps", "between_steps", "own_policy"):
        stage.send(role, f"Retries/{role}")
    for how in ("name", "type", "end"):
        stage.send(f"changes_{how}", "Retries/changes", how)
    for role in ("wait", "wait_for_two", "listen", "nap", "fails"):
        stage.send(role, f"Helper/{role}")
    # without a key 1.6 would keep nothing of it, not even its row
    stage.send("forgets", "Helper/forgets", idempotency_key="k1")
    stage.send("waiting", "Helper/wait")
    stage.send("napping", "Helper/nap")
    stage.send("finished", "Helper/answer", "all", headers={"authorization": SECRET, "x-tenant": "acme"})
    stage.send("raw", "Helper/raw", b"hey")
    stage.send("down", "Helper/down", 3)
    stage.send("fan", "Helper/fan", 5)
    stage.send("workflow", "Approval/w1/run")
    stage.send("asked", "Approval/w2/run")
    stage.send("kept", "LazyTour/k1/keep")
    stage.send("lazily", "LazyTour/k1/lazily")
    for role in ("wait", "wait_for_two", "listen", "nap", "waiting", "napping", "workflow", "asked"):
        stage.until(role, "suspended")
    guests = {"awakeable": published_output(stage, "wait"), "listener": stage.roles["listen"]}
    guests |= {"victim": stage.roles["nap"], "finished": stage.roles["finished"]}
    stage.send("grant", "Approval/w1/grant", "ada")
    stage.send("every", "Tour/k1/every", guests)
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
        stage.until(role, "completed")
    stage.until("third_time", "completed")
    stage.until("pauses", "paused")
    wait_for(lambda: all(stage.errors(f"changes_{how}") for how in ("name", "type", "end")), within=60)


def published_output(stage: Stage, role: str) -> Any:
    """Return the output of a step that a handler published: the ids of its awakeables, as its SDK made them."""
    frame = journal(stage.lab, stage.roles[role], payloads=True)
    return frame.loc[frame["name"] == "publish", "payload"].iloc[0]
