"""A server with services that fail at a chosen step, and the number of times that each step ran."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from support.bench import Bench, running_bench, wait_for

SERVICES = str(Path(__file__).with_name("redrive_services.py"))
READY = ("Orders", "ship", {"name": "first", "steps": 1, "fails": 1})
AT_ONCE = 250  # orders that one invocation sends
MOST_STEPS = 3
_SENT = "SELECT id, status FROM sys_invocation WHERE invoked_by_id = :id"
_FAILED = "SELECT id, created_at FROM sys_invocation WHERE id IN :ids AND completion_result = 'failure' ORDER BY id"
_STATUSES = "SELECT status, count(*) AS n FROM sys_invocation WHERE id IN :ids GROUP BY status"


class RedriveBench(Bench):
    def runs(self, prefix: str) -> Counter[str]:
        """Return how many times each step ran of the orders whose names begin with this prefix."""
        steps = (self.folder / "steps").read_text().splitlines()
        return Counter(step for step in steps if step.startswith(prefix))

    def send(self, handler: str, name: str) -> str:
        return self.lab.ingress.send("Orders", handler, name).invocation_id

    def until_ended(self, ids: list[str]) -> None:
        if ids:
            wait_for(lambda: self.statuses(ids), lambda statuses: statuses == {"completed": len(ids)}, within=240)

    def statuses(self, ids: list[str]) -> dict[str, int]:
        time.sleep(len(ids) / 2000)  # a read of many takes time from the services
        rows = self.lab.sql(_STATUSES, ids=ids, progress=False)
        return dict(zip(rows["status"], map(int, rows["n"]), strict=True))

    def failed(self, ids: list[str]) -> Any:
        return self.lab.sql(_FAILED, ids=ids, progress=False)

    def fail_orders(self, prefix: str, count: int, seed: int) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the ids of this many orders that each failed at a random step, and the orders."""
        chance = random.Random(seed)  # noqa: S311 - which step fails
        orders = []
        for number in range(count):
            steps = chance.randint(1, MOST_STEPS)
            orders.append({"name": f"{prefix}{number}", "steps": steps, "fails": chance.randrange(steps)})
        ids: list[str] = []
        for start in range(0, count, AT_ONCE):
            part = orders[start : start + AT_ONCE]
            sender = self.lab.ingress.send("Orders", "ship_many", part, idempotency_key=f"{prefix}{start}")
            ids += self._sent_by(sender.invocation_id, len(part))
        self.until_ended(ids)
        return ids, orders

    def _sent_by(self, sender: str, count: int) -> list[str]:
        rows = wait_for(
            lambda: self.lab.sql(_SENT, id=sender, progress=False),
            lambda rows: len(rows) == count,
        )
        return list(rows["id"])


def runs_of(orders: list[dict[str, Any]], *, is_done: bool) -> Counter[str]:
    """Return how many times each step of failed orders has run: until they failed, or until they were redriven."""
    runs: Counter[str] = Counter()
    for order in orders:
        steps = range(order["steps"] if is_done else order["fails"] + 1)
        runs.update({f"{order['name']} step {number}": 1 for number in steps})
        if is_done:
            runs[f"{order['name']} step {order['fails']}"] += 1
    return runs


def running_redrive_bench(
    kind: str, folder: Path, env: Mapping[str, str] | None = None
) -> AbstractContextManager[RedriveBench]:
    return running_bench(kind, folder, SERVICES, ready=READY, env=env or {}, bench=RedriveBench)
