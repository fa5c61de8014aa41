"""The cost of archivers by the number of their shards: ``archive.py --rows 100000 --executed 1 --shards 1 2 4``.

For each number, the archivers write a new archive at the same time, each in its own process, and make two visits: the
second one finds nothing new. Linux or macOS.
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

from populate import arguments, populated
from rounds import MIB, say, table, timed, versions

import restate_lab as rl

BY_SERVICE = "SELECT target_service_name AS service, count(*) AS n FROM sys_invocation GROUP BY 1 ORDER BY n DESC"
HEADER = ("shards", "shard", "runs", "first visit s", "CPU s", "MiB", "list of ids s", "second visit s", "bytes / run")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, nargs="+", default=(1, 2, 4), help="numbers of shards (1 2 4)")
    parser.add_argument("--archiver", nargs="*", help="be the archiver of a folder, and of a shard's services")
    options = parser.parse_args()
    if options.archiver:
        sys.stdout.write(json.dumps(visit_twice(options.admin_url, *options.archiver)))
        return
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        say(f"{population}; {versions(population.version)}")
        services = lab.sql(BY_SERVICE)["service"].tolist()
        rows = [row for number in options.shards for row in at_once(population.admin_url, services, number)]
        say(table(HEADER, rows))


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


if __name__ == "__main__":
    main()
