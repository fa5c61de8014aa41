"""The cost of acting on thousands, against httpx one by one and the restate CLI: ``bulk.py --at-once 50000``.

A plan's time is the whole: planning, both readings of execute, the audit, and the frame of outcomes. ``cancel`` acts on
scheduled invocations, which are gone at once; ``kill`` and ``resume`` act on suspended ones (``--suspended``). The
seconds are per invocation, so that methods may act on different numbers of them. Memory, of ``cancel`` alone, is the
growth of a fresh process, for two sizes: their difference is the cost of one more target (Linux only).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import httpx
from peaks import growth_since, start_anew
from populate import Population, arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

from restate_lab import connect
from restate_lab.actions.plan import Plan, plan
from restate_lab.client.lab import Lab
from restate_lab.demo.install import install_cli
from restate_lab.environment import clean_environment
from restate_lab.progress import NoProgress

WHOLE = "plan, execute and outcome"
BATCH = "batch endpoint alone, 1000 ids a call"
SINGLE = "httpx, one by one"
CLI = "the restate CLI, 500 as it does by itself"
CLI_LIMIT = "the restate CLI, --limit 2000"
FEW = 500  # invocations of a slow method
SMALL = 5000  # targets of the smaller of two memories
AT_ALONE = 10_000  # invocations through the batch endpoint
ACTIONS = {"cancel": ("Orders", "scheduled"), "kill": ("Trouble", "suspended"), "resume": ("Trouble", "suspended")}
SELECTED = "SELECT id FROM sys_invocation_status WHERE target_service_name = :service AND status = :status"
COUNT = f"SELECT count(*) AS n FROM ({SELECTED})"
MIB = 1 << 20


def main() -> None:
    """Run the benchmark, or the plan of one size in its own process."""
    parser = arguments(__doc__)
    parser.add_argument("--at-once", type=int, default=50_000, help="invocations of one plan (50000)")
    parser.add_argument("--action", choices=ACTIONS, default="cancel", help="what is done to them (cancel)")
    parser.add_argument("--memory-of", type=int, help="measure the memory of a plan of so many here and print it")
    options = parser.parse_args()
    if options.memory_of:
        sys.stdout.write(json.dumps(_memory(options.admin_url, options.memory_of)))
        return
    alone = min(AT_ALONE, options.at_once)
    if options.action == "cancel":
        needed = (options.rounds + 1) * (options.at_once + alone + FEW + 2500) + options.at_once + 2 * SMALL
        needed = round(needed * 1.4)  # one in four belongs to another service
        options.executed = 0.0
        options.rows = max(options.rows, needed)
    with populated(options) as population, tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        _say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        with connect(population.admin_url, audit=folder) as lab:
            seconds = in_turn(_methods(lab, options, alone), options.rounds)
        figures = _speeds(seconds, options)
        if options.action == "cancel":
            figures += _sizes(_memories(population, options.at_once), options.at_once)
        _say(show(figures))


def _methods(lab: Lab, options: argparse.Namespace, alone: int) -> dict[str, Callable[[], float]]:
    client, action = httpx.Client(base_url=lab.settings.admin_url, timeout=60), options.action

    def some(count: int) -> list[str]:
        return _some(lab, action, count)

    methods = {
        WHOLE: lambda: _whole(lab, action, some(options.at_once)),
        BATCH: lambda: _batch(client, action, some(alone)),
        SINGLE: lambda: _singly(client, action, some(FEW)),
    }
    if action == "cancel":
        methods |= {CLI: lambda: _cli(lab, 500), CLI_LIMIT: lambda: _cli(lab, 2000)}
    return methods


def _some(lab: Lab, action: str, count: int) -> list[str]:
    service, status = ACTIONS[action]
    ids = list(lab.sql(f"{SELECTED} LIMIT {count}", service=service, status=status, progress=False)["id"])
    if len(ids) < count:
        sys.exit(f"only {len(ids):,} of {count:,} invocations of {service} are {status}: give more --rows, --suspended")
    return ids


def _whole(lab: Lab, action: str, ids: list[str]) -> float:
    started = time.perf_counter()
    _execute(plan(lab, action, ids))
    return (time.perf_counter() - started) / len(ids)


def _execute(planned: Plan) -> None:
    frame = planned.execute(reason="a benchmark", expect=len(planned.targets), progress=NoProgress())
    # A killed caller ends its callees, which may be targets too.
    allowed = {"done", "refused", "skipped"} if planned.action == "kill" else {"done"}
    if not set(frame["outcome"]) <= allowed:
        sys.exit(f"not all of it was done: {frame.attrs}")


def _batch(client: httpx.Client, action: str, ids: list[str]) -> float:
    started = time.perf_counter()
    for start in range(0, len(ids), 1000):
        body = {"invocation_ids": ids[start : start + 1000]}
        client.post(f"/internal/invocations_batch_operations/{action}", json=body).raise_for_status()
    return (time.perf_counter() - started) / len(ids)


def _singly(client: httpx.Client, action: str, ids: list[str]) -> float:
    started = time.perf_counter()
    for id_ in ids:
        response = client.patch(f"/invocations/{id_}/{action}")
        if not (action == "kill" and response.status_code == 409):  # it ended with its caller
            response.raise_for_status()
    return (time.perf_counter() - started) / len(ids)


def _cli(lab: Lab, limit: int) -> float:
    """Cancel as many as the CLI selects itself, including its start and its listing."""
    command = [str(install_cli()), "invocations", "cancel", "--yes", "--limit", str(limit), "Orders"]
    environment = clean_environment(RESTATE_ADMIN_URL=lab.settings.admin_url, DO_NOT_TRACK="1")
    before = _count(lab)
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - started
    return took / (before - _count(lab))


def _count(lab: Lab) -> int:
    service, status = ACTIONS["cancel"]
    return int(lab.arrow(COUNT, service=service, status=status, progress=False)["n"][0].as_py())


def _memories(population: Population, at_once: int) -> dict[int, dict[str, int]]:
    """Return the bytes of a small plan and of a large one, each in its own process."""
    command = [sys.executable, __file__, "--admin-url", population.admin_url]
    return {
        size: json.loads(
            subprocess.run([*command, "--memory-of", str(size)], check=True, stdout=subprocess.PIPE).stdout
        )
        for size in (SMALL, at_once)
    }


def _memory(admin_url: str, size: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as folder, connect(admin_url, audit=folder) as lab:
        ids = _some(lab, "cancel", size + 100)
        _execute(plan(lab, "cancel", ids[size:]))
        del ids[size:]
        before = start_anew()
        planned = plan(lab, "cancel", ids)
        planning, before = growth_since(before), start_anew()
        _execute(planned)
        executing = growth_since(before)
        frames = [planned.frame, planned.outcome]
        kept = sum(int(frame.memory_usage(index=False).sum()) for frame in frames if frame is not None)
    return {"plan": planning, "execute": executing, "frames": kept + sum(map(sys.getsizeof, ids))}


def _speeds(seconds: dict[str, list[float]], options: argparse.Namespace) -> list[Figure]:
    slow, whole = seconds[SINGLE], seconds[WHOLE]
    rows = [
        (name, f"{1 / statistics.median(each):,.0f}", f"{1 / min(each):,.0f}", f"{ratio(slow, each):.1f}")
        for name, each in seconds.items()
    ]
    _say(f"{options.action}, {options.at_once:,} at once, one by one {FEW}:")
    _say(table(("method", "a second", "best", "× one by one"), rows))
    figures = [Figure(f"{WHOLE}, times faster than httpx one by one", ratio(slow, whole), at_least=15)]
    if CLI in seconds:
        figures.append(Figure(f"{WHOLE}, times faster than the CLI by itself", ratio(seconds[CLI], whole), at_least=6))
    return figures


def _sizes(memories: dict[int, dict[str, int]], at_once: int) -> list[Figure]:
    small, large = memories[SMALL], memories[at_once]
    each = {name: (large[name] - small[name]) / max(1, at_once - SMALL) for name in large}
    rows = [(name, f"{small[name] / MIB:.1f}", f"{large[name] / MIB:.1f}", f"{each[name]:,.0f}") for name in large]
    _say(table(("growth, MiB", f"{SMALL:,}", f"{at_once:,}", "bytes of one more"), rows))
    return [Figure("execute, bytes of one more target ÷ those of ids and frames", each["execute"] / each["frames"], 2)]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
