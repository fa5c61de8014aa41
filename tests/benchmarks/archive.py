"""The cost of a visit of an archiver that finds nothing new: ``archive.py --rows 1000000 --executed 0.1``.

In turn: ``count(*)`` of the invocations, and visits with and without samples, as CPU seconds of the server process and
as seconds of the call. The first visit archives all ended invocations; its cost is given per invocation.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

import restate_lab as rl
from restate_lab.history.archive import archive

COUNT, PLAIN, SAMPLED = "count(*)", "visit without samples", "visit with samples"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
AT_MOST = {PLAIN: 1.5, SAMPLED: 2.8}  # × count(*)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    options = parser.parse_args()
    with (
        populated(options) as population,
        rl.connect(population.admin_url, read_only=True) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        _say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        where = Path(folder) / "archive"
        server = server_of(population.admin_url)
        seconds: dict[str, list[float]] = {}

        def visit(*, samples: bool) -> int:
            frame = archive(lab, where, cluster_name="c", samples=samples, progress=False)
            return int(frame["new_runs"].sum())

        cpu, started = cpu_of(server), time.perf_counter()
        new = visit(samples=True)
        _say(
            f"first visit: {new:,} invocations, each {(time.perf_counter() - started) / new * 1e6:,.0f} µs, of which "
            f"{(cpu_of(server) - cpu) / new * 1e6:,.0f} µs are CPU of the server"
        )
        calls: dict[str, Callable[[], object]] = {
            COUNT: lambda: lab.arrow(COUNTED, progress=False),
            PLAIN: lambda: visit(samples=False),
            SAMPLED: lambda: visit(samples=True),
        }

        def measured(name: str) -> Callable[[], float]:
            def measure() -> float:
                cpu, started = cpu_of(server), time.perf_counter()
                calls[name]()
                seconds.setdefault(name, []).append(time.perf_counter() - started)
                return cpu_of(server) - cpu

            return measure

        times = in_turn({name: measured(name) for name in calls}, options.rounds)
        rows = [
            (name, f"{statistics.median(each) * 1000:,.0f}", f"{ratio(each, times[COUNT]):.2f}",
             f"{statistics.median(seconds[name][1:]) * 1000:,.0f}")
            for name, each in times.items()
        ]  # fmt: skip
        _say(table(("what", "CPU ms of the server", "× count(*)", "ms"), rows))
        figures = [
            Figure(f"{name}, × count(*)", ratio(times[name], times[COUNT]), at_most=most)
            for name, most in AT_MOST.items()
        ]
        _say(show(figures))


def server_of(admin_url: str) -> psutil.Process:
    """Return the process that listens at an address."""
    port = urlsplit(admin_url).port
    listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    return psutil.Process(next(each.pid for each in listening if each.laddr.port == port))


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
