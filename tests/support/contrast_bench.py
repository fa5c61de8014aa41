"""A server with the apps of ``contrast_apps``, each with its calls in the planted outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from support.bench import Bench, running_bench, wait_for
from support.contrast_apps import CALLS, PLANTED, App, call_of, is_planted

SERVICES = Path(__file__).with_name("contrast_services.py")
_OUTCOMES = """
SELECT target_handler_name AS handler, count(*) AS n FROM sys_invocation_status
WHERE {where} GROUP BY target_handler_name"""
_SETTLED = {
    "failed": "status = 'completed' AND completion_result = 'failure'",
    "paused": "status = 'paused'",
    "suspended": "status = 'suspended'",
}
_LONGEST = """
SELECT max(arrow_cast(completed_at, 'Int64') - arrow_cast(created_at, 'Int64')) AS ms FROM sys_invocation_status
WHERE target_handler_name = '{name}' AND status = 'completed'"""
_YOUNGEST = """
SELECT min(arrow_cast(now(), 'Int64') / 1000000 - arrow_cast(created_at, 'Int64')) AS ms FROM sys_invocation_status
WHERE target_handler_name = '{name}' AND status <> 'completed'"""
_SUCCEEDED = "status = 'completed' AND completion_result = 'success'"


class ContrastBench(Bench):
    """A server with the services of the apps."""

    def play(self, apps: Sequence[App]) -> None:
        """Send the calls of one app after another, and wait until they have their outcomes."""
        for app in apps:
            (self.folder / "released").unlink(missing_ok=True)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(partial(self._send, app), range(CALLS)))
            self._wait(app)

    def play_release(self, app: App) -> str:
        """Send calls to the old release and then to the new one, which fails; return the new deployment."""
        good = [number for number in range(CALLS) if not is_planted(app, number)]
        for number in good:
            self._send(app, number)
        wait_for(lambda: self._count(_SUCCEEDED, app), lambda n: n == len(good))
        deployment = self.admin.create_deployment(uri=f"{self.uri}/new").id
        for number in sorted({*range(CALLS)}.difference(good)):
            self._send(app, number)
        wait_for(lambda: self._count(_SETTLED["failed"], app), lambda n: n == PLANTED)
        return str(deployment)

    def _send(self, app: App, number: int) -> None:
        call, key = call_of(app, number), f"{app.name}-{number}"
        if app.is_relayed:
            caller = "Backfill" if is_planted(app, number) else "Frontdesk"
            order = {**call.order, "via": caller}
            self.ingress.send(caller, "send", [[app.name, order, key]], idempotency_key=f"send-{key}")
            return
        service = "Carts" if app.is_keyed else "Shop"
        self.ingress.send(
            service, app.name, call.order, key=call.key or None, headers=dict(call.headers), idempotency_key=key
        )

    def _wait(self, app: App) -> None:
        good = sum(not is_planted(app, number) for number in range(CALLS))
        wait_for(lambda: self._count(_SUCCEEDED, app), lambda n: n == good)
        if where := _SETTLED.get(app.outcome):
            wait_for(lambda: self._count(where, app), lambda n: n == PLANTED)
        if app.outcome == "backing-off":
            wait_for(lambda: self._failed_attempts(app), lambda n: n == PLANTED)
        if app.outcome == "slow":
            self._release(app)

    def _release(self, app: App) -> None:
        """Let the slow calls end when the last of them is older than twice the longest duration of the others."""
        longest, youngest = _LONGEST.format(name=app.name), _YOUNGEST.format(name=app.name)
        ms = int(self.lab.sql(longest, progress=False)["ms"][0])
        wait_for(lambda: int(self.lab.sql(youngest, progress=False)["ms"][0]), lambda age: age > 2 * ms)
        (self.folder / "released").touch()
        wait_for(lambda: self._count(_SUCCEEDED, app), lambda n: n == CALLS)

    def _count(self, where: str, app: App) -> int:
        rows = self.lab.sql(_OUTCOMES.format(where=where), progress=False)
        return int(rows.loc[rows["handler"] == app.name, "n"].sum())

    def _failed_attempts(self, app: App) -> int:
        statement = """SELECT count(DISTINCT e.id) AS n FROM sys_journal_events e
            JOIN sys_invocation_status s ON s.id = e.id
            WHERE e.event_type = 'TransientError' AND s.target_handler_name = :name"""
        return int(self.lab.sql(statement, name=app.name, progress=False)["n"][0])


@contextlib.contextmanager
def running_contrast_bench(kind: str, folder: Path) -> Iterator[ContrastBench]:
    """Start a server of a kind with the services of the apps."""
    with running_bench(
        kind, folder, SERVICES, ready=("Frontdesk", "ready", None), env={}, bench=ContrastBench
    ) as bench:
        yield bench
