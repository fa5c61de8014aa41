"""What acting on thousands costs, against httpx one by one and the restate CLI: ``bulk.py --at-once 5000``.

Every method cancels scheduled invocations, which are gone at once; a plan's time has both readings and the audit. The
seconds are those of one invocation, so that methods may take different numbers of them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import httpx
from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

from restate_lab import connect
from restate_lab.actions.plan import plan
from restate_lab.client.lab import Lab
from restate_lab.demo.install import install_cli
from restate_lab.demo.process import clean_environment
from restate_lab.progress import NoProgress

EXECUTE = "plan.execute"
WHOLE = "plan and plan.execute"
BATCH = "batch endpoint alone, 1000 ids a call"
SINGLE = "httpx, one by one"
CLI = "the restate CLI, 500 as it does by itself"
CLI_LIMIT = "the restate CLI, --limit 2000"
FEW = 500  # invocations of a slow method
PLACED = "SELECT id FROM sys_invocation_status WHERE target_service_name = 'Orders' AND status = 'scheduled'"
COUNT = f"SELECT count(*) AS n FROM ({PLACED})"


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--at-once", type=int, default=5000, help="invocations of one plan (5000)")
    options = parser.parse_args()
    needed = (options.rounds + 1) * (3 * options.at_once + 3000)
    options.rows, options.executed = max(options.rows, round(needed * 1.4)), 0.0
    with populated(options) as population, tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        _say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        with connect(population.admin_url, audit=folder) as lab:
            seconds = in_turn(_methods(lab, options.at_once), options.rounds)
        _report(seconds, options.at_once)


def _methods(lab: Lab, at_once: int) -> dict[str, Callable[[], float]]:
    client = httpx.Client(base_url=lab.settings.admin_url, timeout=60)

    def some(count: int) -> list[str]:
        return list(lab.sql(f"{PLACED} LIMIT {count}", progress=False)["id"])

    return {
        EXECUTE: lambda: _execute(lab, some(at_once), with_plan=False),
        WHOLE: lambda: _execute(lab, some(at_once), with_plan=True),
        BATCH: lambda: _batch(client, some(at_once)),
        SINGLE: lambda: _singly(client, some(FEW)),
        CLI: lambda: _cli(lab, 500),
        CLI_LIMIT: lambda: _cli(lab, 2000),
    }


def _execute(lab: Lab, ids: list[str], *, with_plan: bool) -> float:
    started = time.perf_counter()
    planned = plan(lab, "cancel", ids)
    if not with_plan:
        started = time.perf_counter()
    frame = planned.execute(reason="a benchmark", expect=len(ids), progress=NoProgress())
    took = time.perf_counter() - started
    if set(frame["outcome"]) != {"done"}:
        sys.exit(f"not all were cancelled: {frame.attrs}")
    return took / len(ids)


def _batch(client: httpx.Client, ids: list[str]) -> float:
    started = time.perf_counter()
    for start in range(0, len(ids), 1000):
        body = {"invocation_ids": ids[start : start + 1000]}
        client.post("/internal/invocations_batch_operations/cancel", json=body).raise_for_status()
    return (time.perf_counter() - started) / len(ids)


def _singly(client: httpx.Client, ids: list[str]) -> float:
    started = time.perf_counter()
    for id_ in ids:
        client.patch(f"/invocations/{id_}/cancel").raise_for_status()
    return (time.perf_counter() - started) / len(ids)


def _cli(lab: Lab, limit: int) -> float:
    """Cancel so many that the CLI chooses itself, its start and its listing included."""
    command = [str(install_cli()), "invocations", "cancel", "--yes", "--limit", str(limit), "Orders"]
    environment = clean_environment(RESTATE_ADMIN_URL=lab.settings.admin_url, DO_NOT_TRACK="1")
    before = lab.arrow(COUNT, progress=False)["n"][0].as_py()
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - started
    return took / (before - lab.arrow(COUNT, progress=False)["n"][0].as_py())


def _report(seconds: dict[str, list[float]], at_once: int) -> None:
    slow = seconds[SINGLE]
    rows = [
        (
            name,
            f"{1 / statistics.median(each):,.0f}",
            f"{1 / min(each):,.0f}",
            f"{ratio(slow, each):.1f}",
        )
        for name, each in seconds.items()
    ]
    _say(f"cancelled, {at_once:,} at once, one by one {FEW}:")
    _say(table(("method", "a second", "best", "× one by one"), rows))
    whole = seconds[EXECUTE]
    _say(
        show(
            [
                Figure("plan.execute, times faster than httpx one by one", ratio(slow, whole), at_least=10),
                Figure("plan.execute, times faster than the CLI by itself", ratio(seconds[CLI], whole), at_least=5),
            ]
        )
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
