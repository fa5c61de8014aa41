"""The cost of a visit of an archiver that finds nothing new: ``archive.py --rows 1000000 --executed 0.1``.

In turn: ``count(*)`` of the invocations, and visits with and without samples, as CPU seconds of the server process. The
first visit archives all ended invocations; its cost is given per invocation. ``--shards 1 2 4``: archives of so many
shards, whose archivers make two visits at the same time, each in its own process; the second visit finds nothing new.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from populate import arguments, populated
from rounds import MIB, Figure, compare, in_turn, ratio, say, show, table, timed, versions

import restate_lab as rl

COUNT, PLAIN, SAMPLED = "count(*)", "visit without samples", "visit with samples"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
AT_MOST = {PLAIN: 1.5, SAMPLED: 2.8}  # × count(*)


BY_SERVICE = "SELECT target_service_name AS service, count(*) AS n FROM sys_invocation GROUP BY 1 ORDER BY n DESC"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, nargs="*", default=(), help="numbers of shards that visit at once (none)")
    parser.add_argument("--archiver", nargs="*", help="be the archiver of a folder, and of a shard's services")
    options = parser.parse_args()
    if options.archiver:
        sys.stdout.write(json.dumps(visit_twice(options.admin_url, *options.archiver)))
        return
    with (
        populated(options) as population,
        rl.connect(population.admin_url, read_only=True) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        server = server_of(population.admin_url)
        cpu = partial(cpu_of, server)
        if options.shards:
            counts = lab.sql(BY_SERVICE)
            rows = [
                row for number in options.shards for row in at_once(population.admin_url, counts["service"], number)
            ]
            say(table(HEADER, rows))
            return
        visit = partial(rl.archive, lab, Path(folder) / "archive", cluster_name="c", progress=False)
        before = cpu()
        seconds = timed(visit)()
        new = lab.sql("SELECT count(*) AS n FROM sys_invocation_status WHERE status = 'completed'")["n"][0]
        each = f"each {seconds / new * 1e6:,.0f} µs, of which {(cpu() - before) / new * 1e6:,.0f} are CPU of the server"
        say(f"first visit: {new:,} ended invocations, {each}")
        methods = {
            COUNT: timed(partial(lab.arrow, COUNTED, progress=False), cpu),
            PLAIN: timed(partial(visit, samples=False), cpu),
            SAMPLED: timed(partial(visit, samples=True), cpu),
        }
        times = in_turn(methods, options.rounds)
        say(f"CPU of the server:\n\n{compare('what', times, COUNT)}")
        say(show([Figure(f"{name}, × count(*)", ratio(times[name], times[COUNT]), at) for name, at in AT_MOST.items()]))


HEADER = ("shards", "shard", "runs", "first visit s", "CPU s", "MiB", "list of ids s", "second visit s", "bytes / run")


def at_once(admin_url: str, services: Sequence[str], number: int) -> Iterator[tuple[str, ...]]:
    """Yield the figures of archivers that write a new archive at the same time."""
    groups = [services[place::number] for place in range(number)] if number > 1 else [()]
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "archive"
        command = [sys.executable, __file__, "--admin-url", admin_url, "--archiver", str(where)]
        started = time.perf_counter()
        archivers = [subprocess.Popen([*command, *each], stdout=subprocess.PIPE) for each in groups]
        measured = [json.loads(each.communicate()[0]) for each in archivers]
        say(f"{number} at once: all visits after {time.perf_counter() - started:.1f} s")
        size = sum(each.stat().st_size for each in where.rglob("*.parquet"))
        runs = sum(each["runs"] for each in measured)
        for group, each in zip(groups, measured, strict=True):
            seconds = (each[name] for name in ("first", "cpu", "memory", "ids", "second"))
            figures = (f"{value:,.2f}" for value in seconds)
            yield str(number), ", ".join(group) or "all", f"{each['runs']:,}", *figures, f"{size / runs:.0f}"


def visit_twice(admin_url: str, where: str, *services: str) -> dict[str, float]:
    """Make a visit, and one that finds nothing new, and return the seconds and the memory of this process."""
    options = {"shard": services[0], "service": services} if services else {}
    with rl.connect(admin_url, read_only=True) as lab:
        visit = partial(rl.archive, lab, where, cluster_name="c", progress=False, **options)
        started, cpu = time.perf_counter(), time.process_time()
        records = visit()
        first, used = time.perf_counter() - started, time.process_time() - cpu
        second = timed(visit)()
    return {
        "runs": int(records["new_runs"].sum()),
        "first": first,
        "cpu": used,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB,
        "ids": float(records["ids_seconds"].iloc[-1]),
        "second": second,
    }


def server_of(admin_url: str) -> psutil.Process:
    port = urlsplit(admin_url).port
    listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    return psutil.Process(next(each.pid for each in listening if each.laddr.port == port))


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
