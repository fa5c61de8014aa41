"""The peak memory of a result: ``memory.py --rows 100000``.

Each method runs in a fresh process, after a small query that loads everything that is loaded once. The figure is the
growth of the process's peak (VmHWM) over its peak before, in MiB and as a multiple of the result's Arrow bytes. Linux
only.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from methods import QUERIES, Floor, ways
from peaks import growth_since, start_anew
from populate import Population, arguments, populated
from rounds import Figure, show, table, versions

from restate_lab import Lab, connect

PARQUET, STREAM, SQL = "lab.to_parquet", "lab.stream", "lab.sql"
MEASURED = (
    SQL,
    "lab.arrow",
    STREAM,
    PARQUET,
    "httpx stream, Arrow",
    "httpx read all, Arrow",
    "httpx JSON by hand, gzip",
)
SMALL = 1000  # rows


def main() -> None:
    """Run the benchmark, or one method of it in its own process."""
    parser = arguments(__doc__)
    parser.add_argument("--query", choices=QUERIES, default="std")
    parser.add_argument("--method", choices=MEASURED, help="measure this one here and print the bytes")
    options = parser.parse_args()
    if options.method:
        sys.stdout.write(json.dumps(_growth(options.admin_url, options.method, QUERIES[options.query])))
        return
    with populated(options) as population:
        _compare(population, options.query, options.rounds)


def _compare(population: Population, query: str, rounds: int) -> None:
    sys.stdout.write(f"{query}: {population}, {rounds} rounds; {versions(population.version)}\n")
    floor = Floor(population.admin_url)
    floor(QUERIES[query])
    grown: dict[str, list[int]] = {method: [] for method in MEASURED}
    for _ in range(rounds):
        for method in MEASURED:
            grown[method].append(_in_fresh_process(population, method, query))
    median = {method: statistics.median(each) for method, each in grown.items()}
    rows = [(name, f"{size / (1 << 20):,.0f}", f"{size / floor.size:.2f}") for name, size in median.items()]
    sys.stdout.write(f"{floor.size / (1 << 20):,.1f} MiB of Arrow\n\n")
    sys.stdout.write(f"{table(('method', 'growth MiB', '× Arrow bytes'), rows)}\n\n")
    figures = [
        Figure(f"{SQL}, × Arrow bytes", median[SQL] / floor.size, at_most=1.7),
        Figure(f"{PARQUET}, MiB above the start", median[PARQUET] / (1 << 20), at_most=150),
    ]
    sys.stdout.write(f"{show(figures)}\n")


def _in_fresh_process(population: Population, method: str, query: str) -> int:
    command = [sys.executable, __file__, "--method", method, "--query", query, "--admin-url", population.admin_url]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _growth(admin_url: str, name: str, statement: str) -> int:
    with TemporaryDirectory(prefix="restate-lab-") as folder, connect(admin_url) as lab:
        method = _methods(admin_url, lab, Path(folder))[name]
        method(f"{statement} LIMIT {SMALL}")
        before = start_anew()
        kept = method(statement)
        grown = growth_since(before)
        del kept
    return grown


def _methods(admin_url: str, lab: Lab, folder: Path) -> dict[str, Callable[[str], Any]]:
    def read_through(statement: str) -> int:
        with lab.stream(statement) as reader:
            return sum(batch.num_rows for batch in reader)

    return {
        **ways(admin_url),
        STREAM: read_through,
        PARQUET: lambda statement: lab.to_parquet(statement, folder / "rows.parquet", progress=False),
    }


if __name__ == "__main__":
    main()
