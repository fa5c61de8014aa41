"""Runs sessions that are interrupted (`support.interrupts`) on a real server, and checks the audit log at the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import restate_lab as rl
from restate_lab.demo.embedded import start_services
from support import state_services, wait_services
from support.bench import wait_for
from support.bulk import running_bulk
from support.clusters import NEWEST
from support.fault_verbs import find_depot_call
from support.interrupts import VERBS, WHY, InterruptWorld, SessionOrder, SessionReport

TESTS = Path(__file__).parents[1]
RESTARTS = "SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"
STATES = "SELECT service_key FROM state WHERE service_name = 'Drawer' AND key = 'n'"
SESSION_LIMIT = 300.0  # seconds, for a session of one interrupt; only detects a hang


@dataclass
class InterruptField:
    """A server for sessions, and the ids that can still be restarted."""

    ground: InterruptWorld
    ended: list[str]
    env: dict[str, str] = field(default_factory=dict)

    def take(self, count: int) -> tuple[str, ...]:
        taken, self.ended[:] = self.ended[:count], self.ended[count:]
        assert len(taken) == count, "not enough ended invocations"
        return tuple(taken)

    def order(self, kind: str, verbs: Sequence[str], interrupts: int, seed: int, **known: object) -> SessionOrder:
        """Return an order with enough ids for all restarts."""
        times = 3 * interrupts // len(verbs) + 5  # the most that a warm session chooses one verb
        restarts = {"learn": 1, "trace": 1, "fresh": 2, "warm": 2 + 2 * times}[kind]
        ids = self.take(2 * restarts) if "execute" in verbs else ()
        return SessionOrder(self.ground, kind, tuple(verbs), interrupts, seed, ids, **known)  # type: ignore[arg-type]

    def session(self, order: SessionOrder) -> SessionReport:
        """Run a session in its own process."""
        limit = SESSION_LIMIT + 10 * order.interrupts
        done = subprocess.run(
            [sys.executable, "-m", "support.interrupts"],
            input=json.dumps(asdict(order)),
            cwd=TESTS,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        if done.returncode != 0:
            what = f"{order.kind} {order.verbs} {order.seed}"
            return SessionReport(failures=[f"{what} ended with {done.returncode}: {done.stderr}"])
        return SessionReport(**json.loads(done.stdout))

    def sessions(self, orders: Sequence[SessionOrder], *, at_once: int) -> Iterator[SessionReport]:
        with ThreadPoolExecutor(at_once) as pool:
            yield from pool.map(self.session, orders)

    def learn(self) -> tuple[dict[str, float], dict[str, object]]:
        """Return the duration and the result of the first use of each verb."""
        orders = [self.order("learn", [verb], 0, 0) for verb in VERBS]
        reports = list(self.sessions(orders, at_once=2))
        failures = [failure for report in reports for failure in report.failures]
        assert not failures, failures
        seconds = {verb: each for report in reports for verb, each in report.seconds.items()}
        return seconds, {verb: each for report in reports for verb, each in report.right.items()}

    def fresh(self, count: int, *, seed: int = 0, at_once: int = 2) -> Iterator[tuple[str, SessionReport]]:
        """Interrupt this many fresh sessions at the first use of each verb in turn.

        A session whose call ended before its interrupt is reported too, and another one replaces it.
        """
        seconds, right = self.learn()
        verbs, number = itertools.cycle(VERBS), 0
        while count > 0:
            some = list(itertools.islice(verbs, min(count, 20)))
            orders = [
                self.order("fresh", [verb], 1, seed + number + at, seconds=seconds, right=right)
                for at, verb in enumerate(some)
            ]
            number += len(some)
            for verb, report in zip(some, self.sessions(orders, at_once=at_once), strict=True):
                count -= report.sent
                yield verb, report

    def warm(self, count: int, *, seed: int = 0, verbs: Sequence[str] = tuple(VERBS)) -> SessionReport:
        """Interrupt one session this many times, after it has used every verb."""
        return self.session(self.order("warm", verbs, count, seed))

    def audit_failures(self) -> tuple[int, list[str]]:
        """Return how many changes the audit log has, and where it is incomplete or differs from the server."""
        time.sleep(1)  # a request that the server accepted is visible within milliseconds
        log = rl.audit_log(self.ground.audit)
        ours = log[log["reason"].eq(WHY)]
        failures = [f"no result: {row}" for row in log[log["outcome"].isna()].to_dict("records")]
        if "truncated" in log.attrs:
            failures.append(log.attrs["truncated"])
        with rl.connect(self.ground.url, read_only=True) as lab:
            for row in ours[ours["action"].eq("restart_as_new")].to_dict("records"):
                each = rl.audit_log(self.ground.audit, change=row["change"])
                there = lab.sql(RESTARTS, ids=row["targets"], progress=False)["restarted_from"].tolist()
                failures += [
                    f"{outcome} and {there.count(id_)} restarts of {id_}: {row}"
                    for id_, outcome in zip(each["id"], each["outcome"], strict=True)
                    if not _agrees(outcome, there.count(id_))
                ]
            keys = set(lab.sql(STATES, progress=False)["service_key"])
            for row in ours[ours["action"].eq("modify_service_state")].to_dict("records"):
                is_there = row["targets"][0].partition("/")[2] in keys
                if not _agrees(row["outcome"], int(is_there)):
                    failures.append(f"{row['outcome']}, and the state is {'there' if is_there else 'not there'}: {row}")
        return len(log), failures


def _agrees(outcome: str | None, times: int) -> bool:
    if outcome in {"done", "accepted"}:
        return times == 1
    return times <= 1 if outcome == "unknown" else times == 0


@contextlib.contextmanager
def interrupted_ground(folder: Path, *, ended: int) -> Iterator[InterruptField]:
    """Start a server with held keys, waiters, delayed and ended invocations, and state."""
    with contextlib.ExitStack() as stack:
        bulk = stack.enter_context(running_bulk(NEWEST, folder / "bulk"))
        for services in (wait_services, state_services):
            place = folder / Path(str(services.__file__)).stem
            place.mkdir()
            process, uri = start_services(place, str(services.__file__))
            stack.enter_context(process)
            bulk.lab.admin.create_deployment(uri=uri)
        ids, waiting = bulk.fill("answer", ended), bulk.fill("wait", 4)
        bulk.fill("later", 50)
        holder = wait_for(lambda: find_depot_call(bulk.lab, "hold", "north"))
        wait_for(lambda: bulk.status(holder) == "suspended")
        waiter = bulk.lab.ingress.send("Depot", "take", key="north").invocation_id
        wait_for(lambda: bulk.status(waiter) == "pending")
        bulk.lab.ingress.call("Drawer", "put", {"n": 0}, key="first")
        ground = InterruptWorld(bulk.url, str(folder), waiting, holder, waiter)
        rl.freeze(bulk.lab, ground.evidence, service="Depot", progress=False)
        home = folder / "home"
        home.mkdir()
        path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        env = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": path}
        yield InterruptField(ground, list(ids), env)


def main(fresh: int, warm: int, *, seed: int, at_once: int) -> None:
    """Send this many interrupts, write the results, and exit with an error if something failed."""
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as name, interrupted_ground(Path(name), ended=600 + warm) as place:
        total = SessionReport()
        for number, (verb, report) in enumerate(place.fresh(fresh, seed=seed, at_once=at_once), 1):
            _add(total, report)
            failures += report.failures
            if report.failures or number % 25 == 0:
                _say(f"{number} fresh sessions, {len(failures)} failures", *[f"{verb}: {f}" for f in report.failures])
        _say(f"fresh sessions: {_text(total)}")
        rest, part, total = warm, 0, SessionReport()
        while rest > 0:
            part += 1
            report = place.warm(min(rest, 175), seed=seed + part)
            rest -= max(report.sent, 1)
            _add(total, report)
            failures += report.failures
            _say(f"{warm - rest} interrupts of warm sessions, {len(failures)} failures", *report.failures)
        _say(f"warm sessions: {part}; {_text(total)}")
        changes, audit = place.audit_failures()
        failures += audit
        _say(f"audit log: {changes} changes, {len(audit)} without a result or unlike the server", *audit)
    sys.exit(f"{len(failures)} failures" if failures else None)


def _add(total: SessionReport, report: SessionReport) -> None:
    total.sent, total.raised, total.late = (
        total.sent + report.sent, total.raised + report.raised, total.late + report.late,
    )  # fmt: skip


def _text(report: SessionReport) -> str:
    return f"{report.sent} interrupts sent, {report.raised} raised, {report.late} calls ended before theirs"


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
