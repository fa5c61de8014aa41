"""The cost of a visit of an archiver that finds nothing new: ``archive.py --rows 1000000 --executed 0.1``.

In turn: ``count(*)`` of the invocations, and visits with and without samples, as CPU seconds of the server process. The
first visit archives all ended invocations; its cost is given per invocation.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from populate import arguments, populated
from rounds import Figure, compare, in_turn, ratio, say, show, timed, versions

import restate_lab as rl

COUNT, PLAIN, SAMPLED = "count(*)", "visit without samples", "visit with samples"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
AT_MOST = {PLAIN: 1.5, SAMPLED: 2.8}  # × count(*)


def main() -> None:
    options = arguments(__doc__).parse_args()
    with (
        populated(options) as population,
        rl.connect(population.admin_url, read_only=True) as lab,
        tempfile.TemporaryDirectory() as folder,
    ):
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        server = server_of(population.admin_url)
        cpu = partial(cpu_of, server)
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


def server_of(admin_url: str) -> psutil.Process:
    port = urlsplit(admin_url).port
    listening = (each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN)
    return psutil.Process(next(each.pid for each in listening if each.laddr.port == port))


def cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
