"""Finds leaks after very many calls: ``soak.py --rows 2000 --times 10000``.

So many queries, and then as many refreshes of an open panel, in one process; after each tenth the memory, threads,
sockets, open files, live widgets and comms are counted. The first tenth warms up; the counts at the end should equal
the counts after the first tenth. Linux only.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable

import comm
import ipywidgets
import psutil
from peaks import resident
from populate import arguments, populated
from rounds import table, versions

import restate_lab as rl

TENTHS = 10
MIB = 1 << 20
ROWS = "SELECT id, target, status, created_at, journal_size FROM sys_invocation LIMIT 200"


def main() -> None:
    """Run the script; it fails if something grew."""
    parser = arguments(__doc__)
    parser.add_argument("--times", type=int, default=10_000, help="calls of each kind (10000)")
    options = parser.parse_args()
    grown: list[str] = []
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        sys.stdout.write(f"{population}; {versions(population.version)}\n\n")
        grown += _soaked("queries", lambda: lab.sql(ROWS, progress=False), options.times)
        panel = rl.Panel(lab, refresh=None)
        grown += _soaked("refreshes of a panel", panel.refresh, options.times)
        if panel.error:
            grown.append(panel.error)
        panel.close()
    sys.exit("; ".join(grown) or None)


def _soaked(what: str, call: Callable[[], object], times: int) -> list[str]:
    """Return the names of the counts that grew, as text."""
    counts: list[dict[str, float]] = []
    for _ in range(TENTHS):
        started = time.perf_counter()
        for _ in range(times // TENTHS):
            call()
        counts.append({**_counted(), "ms each": (time.perf_counter() - started) / (times // TENTHS) * 1000})
    rows = [
        (f"{times // TENTHS * (number + 1):,}", *(f"{each:,.1f}" for each in count.values()))
        for number, count in enumerate(counts)
    ]
    sys.stdout.write(f"{table((what, *counts[0]), rows)}\n\n")
    first, last = counts[0], counts[-1]
    whole = ("threads", "sockets", "files", "widgets", "comms")
    said = [f"{name}: {first[name]:g} → {last[name]:g}" for name in whole if last[name] > first[name]]
    if last["MiB"] > first["MiB"] * 1.1 + 5:
        said.append(f"memory: {first['MiB']:.0f} → {last['MiB']:.0f} MiB")
    return [f"{what}: {each}" for each in said]


def _counted() -> dict[str, float]:
    gc.collect()
    process = psutil.Process()
    return {
        "MiB": resident() / MIB,
        "threads": threading.active_count(),
        "sockets": len(process.net_connections()),
        "files": process.num_fds(),
        "widgets": sum(isinstance(each, ipywidgets.Widget) for each in gc.get_objects()),
        "comms": len(comm.get_comm_manager().comms),
    }


if __name__ == "__main__":
    main()
