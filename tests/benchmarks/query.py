"""The cost of a query, relative to curl and to other ways to query: ``query.py --rows 100000``.

Prints one table for each set of columns, one for a small query that is repeated, and the target figures. Each method
has its own process, so that no method uses the memory of another.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

import httpx
import pandas as pd
import pyarrow as pa
from populate import arguments, populated
from rounds import Figure, Times, compare, in_turn, ratio, say, show, timed, versions

from restate_lab import connect
from restate_lab.demo.install import install_cli
from restate_lab.environment import clean_environment

QUERIES = {
    "std": (
        "SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status, "
        "created_at, modified_at, running_at, completed_at, retry_count, last_failure, pinned_deployment_id, "
        "journal_size FROM sys_invocation"
    ),
    "narrow": "SELECT id, target_service_name, target_handler_name, status, created_at FROM sys_invocation",
    "star": "SELECT * FROM sys_invocation",
}
ARROW = "application/vnd.apache.arrow.stream"
FLOOR = "curl"
SQL, STOCK, HAND, CLI = "lab.sql", "httpx, Arrow", "httpx JSON by hand, gzip", "restate sql --json"
SMALL, REPEATED = 1000, 100  # rows, and times
STALL = 0.035  # seconds; a stall is 40 ms of waiting
LARGE = 500_000  # the figures for large results hold from this number of rows


class Floor:
    """curl in a new process, the response discarded: the cost of server and transfer; no client can be faster."""

    def __init__(self, admin_url: str) -> None:
        curl = shutil.which("curl")
        if curl is None:
            sys.exit("the benchmarks take curl as their floor: install it")
        self.size = 0
        headers = ("-H", f"accept: {ARROW}", "-H", "content-type: application/json")
        written = ("-w", "%{time_total} %{size_download}")
        self._command = [curl, "-s", "-S", "--fail", "-o", os.devnull, *headers, *written, f"{admin_url}/query"]

    def __call__(self, query: str) -> float:
        """Return the seconds of the request alone, as curl reports them, without the start of its process."""
        body = json.dumps({"query": query})
        done = subprocess.run([*self._command, "-d", body], check=True, capture_output=True, text=True)
        seconds, size = done.stdout.split()
        self.size = int(size)
        return float(seconds)


@functools.cache
def ways(admin_url: str) -> Mapping[str, Callable[[str], Any]]:
    """Return the methods by name, on connections that this process keeps; each takes a query and returns the rows."""
    lab = connect(admin_url)
    client = httpx.Client(base_url=admin_url, timeout=600, trust_env=False)
    return {
        SQL: lambda query: lab.sql(query, progress=False),
        "lab.arrow": lambda query: lab.arrow(query, progress=False),
        STOCK: lambda query: _read_arrow(client, query),
        HAND: lambda query: _read_json(client, query),
        CLI: lambda query: _run_cli(admin_url, query),
    }


def _read_arrow(client: httpx.Client, query: str) -> pd.DataFrame:
    headers = {"accept": ARROW, "accept-encoding": "identity"}
    response = client.post("/query", json={"query": query}, headers=headers).raise_for_status()
    return pa.ipc.open_stream(response.content).read_all().to_pandas()


def _read_json(client: httpx.Client, query: str) -> pd.DataFrame:
    headers = {"accept": "application/json", "accept-encoding": "gzip, deflate"}  # what httpx requests by itself
    response = client.post("/query", json={"query": query}, headers=headers).raise_for_status()
    return pd.DataFrame(json.loads(response.content)["rows"])


def _run_cli(admin_url: str, query: str) -> bytes:
    environment = clean_environment(RESTATE_ADMIN_URL=admin_url, DO_NOT_TRACK="1")
    command = [str(install_cli()), "sql", "--json", query]
    return subprocess.run(command, check=True, capture_output=True, env=environment).stdout


class Worker:
    """A method in its own process."""

    def __init__(self, admin_url: str, name: str) -> None:
        self._task = partial(_measure, admin_url, name)
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __call__(self, query: str) -> float:
        """Return the seconds until the rows are there."""
        return self._process.submit(self._task, query).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


def _measure(admin_url: str, name: str, query: str) -> float:
    return timed(partial(ways(admin_url)[name], query))()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--queries", nargs="+", choices=QUERIES, default=list(QUERIES))
    parser.add_argument("--cli", action="store_true", help=f"also `{CLI}`")
    parser.add_argument("--fast", action="store_true", help="without JSON, which takes most of the time")
    options = parser.parse_args()
    excluded = {*(() if options.cli else (CLI,)), *((HAND,) if options.fast else ())}
    with populated(options) as population, ExitStack() as stack:
        say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        url, floor = population.admin_url, Floor(population.admin_url)
        workers = {name: stack.enter_context(Worker(url, name)) for name in ways(url) if name not in excluded}
        methods = {FLOOR: floor, **workers}
        times = {}
        for name in options.queries:
            times[name] = in_turn({way: partial(call, QUERIES[name]) for way, call in methods.items()}, options.rounds)
            say(f"{name}: {floor.size / 1e6:,.1f} MB of Arrow\n\n{compare('method', times[name], FLOOR)}")
        few = f"{QUERIES['std']} LIMIT {SMALL}"  # on one connection, a stall of 40 ms would be most of the time
        repeated = in_turn({way: partial(methods[way], few) for way in (FLOOR, SQL, STOCK)}, REPEATED)
        stalls = sum(seconds > STALL for seconds in repeated[SQL])
        say(f"{SMALL:,} rows, {REPEATED} times, {stalls} above 35 ms\n\n{compare('method', repeated, FLOOR)}")
        small = Figure(f"{SMALL:,} rows repeated, × a new curl", ratio(repeated[SQL], repeated[FLOOR]), at_most=1.2)
        say(show([*_figures(times, population.rows), small]))


def _figures(times: Mapping[str, Times], rows: int) -> list[Figure]:
    figures = []
    is_large = rows >= LARGE
    if std := times.get("std"):
        figures.append(Figure("std, × curl", ratio(std[SQL], std[FLOOR]), at_most=1.4 if is_large else 1.15))
        if is_large:
            below = statistics.median((b - a) / c for a, b, c in zip(std[SQL], std[STOCK], std[FLOOR], strict=True))
            figures.append(Figure("std, × curl, below stock httpx by", below, at_least=0.15))
        if HAND in std:
            figures.append(Figure("std, times faster than JSON by hand", ratio(std[HAND], std[SQL]), at_least=9))
    if (star := times.get("star")) and not is_large:
        figures.append(Figure("star, × curl", ratio(star[SQL], star[FLOOR]), at_most=1.35))
    return figures


if __name__ == "__main__":
    main()
