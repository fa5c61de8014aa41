"""A server under load with restarts, and a poll of all statuses twice a second: the truth about each time."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from support.bench import wait_for, wait_until_served
from support.demo.nodes import Node
from support.restartable import restartable

SERVICES = Path(__file__).with_name("past_services.py")
POLL = "SELECT id, created_at, status FROM sys_invocation"
EVERY = 0.5
SLOW = 0.3
HANDLERS = (
    *("work", "nap", "nap", "waits", "waits", "calls", "both", "stumbles", "pauses", "refuses", "forgets"),
    *("hold", "take", "take", "run", "later"),
)
ACTIONS = ("kill", "cancel", "pause", "pause", "resume", "resume", "resume", "restart")


@dataclass(frozen=True)
class Poll:
    """The status of each run, by id and creation, at one time."""

    at: datetime
    statuses: dict[tuple[str, datetime], str]


@dataclass
class PastBench:
    server: Node
    lab: Lab
    folder: Path
    polls: list[Poll] = field(default_factory=list)
    sent: int = 0
    acted: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _chance: random.Random = field(default_factory=lambda: random.Random(46))  # noqa: S311 - no secret

    def run(self, seconds: float, *, restarts: int) -> None:
        """Play the load and poll for this time, with kills of the server in between."""
        threads = [threading.Thread(target=each) for each in (self._poll, self._send, self._act)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(restarts):
                time.sleep(seconds / (restarts + 1))
                self.server.kill()
                self.server.start()
                wait_for(self.server.is_ready)
            time.sleep(seconds / (restarts + 1))
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _poll(self) -> None:
        while not self._stop.is_set():
            began, asked = time.monotonic(), datetime.now(UTC)
            with contextlib.suppress(errors.RestateLabError):
                rows = self.lab.arrow(POLL, timeout=2, progress=False).to_pylist()
                took = datetime.now(UTC) - asked
                if took.total_seconds() < SLOW:
                    statuses = {(row["id"], row["created_at"]): row["status"] for row in rows}
                    self.polls.append(Poll(asked + took / 2, statuses))
            self._stop.wait(max(0.0, EVERY - (time.monotonic() - began)))

    def _send(self) -> None:
        chance = random.Random(1)  # noqa: S311 - no secret
        while not self._stop.wait(0.2):
            with contextlib.suppress(errors.RestateLabError):
                self._send_one(chance)
                self.sent += 1

    def _send_one(self, chance: random.Random) -> None:
        handler, seconds = chance.choice(HANDLERS), round(chance.uniform(1, 12), 1)
        ingress = self.lab.ingress
        if handler in {"hold", "take"}:
            ingress.send("Box", handler, seconds / 3, key=f"box {self.sent % 3}")
        elif handler == "run":
            ingress.send("Flow", "run", seconds, key=f"flow {self.sent}")
        elif handler == "later":
            ingress.send("Past", "nap", seconds, delay=f"{seconds}s")
        elif handler == "stumbles":
            ingress.send("Past", handler, chance.randrange(1, 5))
        else:
            ingress.send("Past", handler, seconds)

    def _act(self) -> None:
        chance, admin = random.Random(2), self.lab.admin  # noqa: S311 - no secret
        actions: dict[str, Any] = {
            "kill": admin.kill_invocation,
            "cancel": admin.cancel_invocation,
            "pause": admin.pause_invocation,
            "resume": admin.resume_invocation,
            "restart": admin.restart_as_new_invocation,
        }
        while not self._stop.wait(0.4):
            name = chance.choice(ACTIONS)
            wanted = {"resume": "('paused')", "restart": "('completed')"}.get(name, "('running', 'suspended')")
            if name == "cancel":
                wanted = "('running', 'suspended', 'paused', 'scheduled', 'pending', 'backing-off')"
            with contextlib.suppress(errors.RestateLabError):
                ids = self.lab.arrow(f"SELECT id FROM sys_invocation WHERE status IN {wanted}")["id"].to_pylist()
                if ids:
                    actions[name](chance.choice(ids))
                    self.acted[name] = self.acted.get(name, 0) + 1


@contextlib.contextmanager
def running_past_bench(kind: str, folder: Path) -> Iterator[PastBench]:
    """Start a server of a kind with the services."""
    with contextlib.ExitStack() as stack:
        process, uri = start_services(folder, str(SERVICES))
        stack.enter_context(process)
        node = stack.enter_context(restartable(kind, folder / "data"))
        lab = stack.enter_context(rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        wait_until_served(lab, "Past", "work", 0)
        yield PastBench(node, lab, folder)
