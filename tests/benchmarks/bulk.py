"""The cost of acting on thousands, against httpx one by one and the restate CLI: ``bulk.py --at-once 50000``.

A plan's time is the whole: planning, both readings of execute, the audit, and the frame of outcomes. ``cancel`` acts on
scheduled invocations, which are gone at once; ``kill`` and ``resume`` act on suspended ones (``--suspended``). The
seconds are per invocation, so that methods may act on different numbers of them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial

import httpx
from populate import arguments, populated
from rounds import Figure, Times, in_turn, ratio, say, show, table, timed, versions

import restate_lab as rl
from restate_lab.demo.install import install_cli
from restate_lab.environment import clean_environment

WHOLE = "plan, execute and outcome"
BATCH, SINGLE = "batch endpoint alone, 1000 ids a call", "httpx, one by one"
CLI, CLI_LIMIT = "the restate CLI, 500 as it does by itself", "the restate CLI, --limit 2000"
FEW = 500  # invocations of a slow method
AT_ALONE = 10_000  # invocations through the batch endpoint
ACTIONS = {"cancel": ("Orders", "scheduled"), "kill": ("Trouble", "suspended"), "resume": ("Trouble", "suspended")}
SELECTED = "SELECT id FROM sys_invocation_status WHERE target_service_name = :service AND status = :status"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--at-once", type=int, default=50_000, help="invocations of one plan (50000)")
    parser.add_argument("--action", choices=ACTIONS, default="cancel", help="what is done to them (cancel)")
    options = parser.parse_args()
    if options.action == "cancel":
        needed = (options.rounds + 1) * (options.at_once + min(AT_ALONE, options.at_once) + FEW + 2500)
        options.executed, options.rows = 0.0, max(options.rows, round(needed * 1.4))  # one in four is for a basket
    with populated(options) as population, tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        with rl.connect(population.admin_url, audit=folder) as lab:
            times = in_turn(_methods(lab, options), options.rounds)
        rows = [
            (name, f"{1 / statistics.median(each):,.0f}", f"{1 / min(each):,.0f}", f"{ratio(times[SINGLE], each):.1f}")
            for name, each in times.items()
        ]
        say(f"{options.action}, {options.at_once:,} at once, one by one {FEW}:")
        say(table(("method", "a second", "best", f"× {SINGLE}"), rows))
        say(show(_figures(times)))


def _methods(lab: rl.Lab, options: argparse.Namespace) -> dict[str, Callable[[], float]]:
    client, action, at_once = httpx.Client(base_url=lab.settings.admin_url, timeout=60), options.action, options.at_once

    def some(count: int) -> list[str]:
        service, status = ACTIONS[action]
        ids = list(lab.sql(f"{SELECTED} LIMIT {count}", service=service, status=status, progress=False)["id"])
        if len(ids) < count:
            sys.exit(f"only {len(ids):,} of {count:,} invocations of {service} are {status}: set --rows or --suspended")
        return ids

    def per_invocation(act: Callable[[list[str]], object], count: int) -> Callable[[], float]:
        def measure() -> float:
            ids = some(count)
            return timed(partial(act, ids))() / count

        return measure

    methods = {
        WHOLE: per_invocation(lambda ids: _execute(rl.plan(lab, action, ids)), at_once),
        BATCH: per_invocation(partial(_send_batches, client, action), min(AT_ALONE, at_once)),
        SINGLE: per_invocation(partial(_send_singly, client, action), FEW),
    }
    if action == "cancel":
        methods |= {CLI: partial(_run_cli, lab, 500), CLI_LIMIT: partial(_run_cli, lab, 2000)}
    return methods


def _figures(times: Times) -> list[Figure]:
    figures = [Figure(f"{WHOLE}, times faster than {SINGLE}", ratio(times[SINGLE], times[WHOLE]), at_least=12)]
    if CLI in times:
        figures.append(Figure(f"{WHOLE}, times faster than the CLI", ratio(times[CLI], times[WHOLE]), at_least=5))
    return figures


def _execute(plan: rl.Plan) -> None:
    frame = plan.execute(reason="a benchmark", expect=len(plan.targets), progress=False)
    # A killed caller ends its callees, which may be targets too.
    allowed = {"done", "refused", "skipped"} if plan.action == "kill" else {"done"}
    if not set(frame["outcome"]) <= allowed:
        sys.exit(f"not all of it was done: {frame.attrs}")


def _send_batches(client: httpx.Client, action: str, ids: list[str]) -> None:
    for start in range(0, len(ids), 1000):
        body = {"invocation_ids": ids[start : start + 1000]}
        client.post(f"/internal/invocations_batch_operations/{action}", json=body).raise_for_status()


def _send_singly(client: httpx.Client, action: str, ids: list[str]) -> None:
    for id_ in ids:
        response = client.patch(f"/invocations/{id_}/{action}")
        if not (action == "kill" and response.status_code == 409):  # it ended with its caller
            response.raise_for_status()


def _run_cli(lab: rl.Lab, limit: int) -> float:
    """Cancel as many as the CLI selects itself, including its start and its listing; return seconds per invocation."""
    command = [str(install_cli()), "invocations", "cancel", "--yes", "--limit", str(limit), "Orders"]
    environment = clean_environment(RESTATE_ADMIN_URL=lab.settings.admin_url, DO_NOT_TRACK="1")
    service, status = ACTIONS["cancel"]
    count = partial(lab.arrow, SELECTED, service=service, status=status, progress=False)
    before = count().num_rows
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    seconds = timed(partial(subprocess.run, command, env=environment, check=True, **quiet))()
    return seconds / (before - count().num_rows)


if __name__ == "__main__":
    main()
