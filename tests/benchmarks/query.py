"""The cost of a query, relative to curl and to other ways to query: ``query.py --rows 100000``.

Prints one table for each set of columns, one for a small query that is repeated, and the target figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

from methods import CLI, QUERIES, Floor, Worker, ways
from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

FLOOR = "curl to /dev/null"
SQL = "lab.sql"
STREAM = "httpx stream, Arrow"
HAND = "httpx JSON by hand, gzip"
SMALL = 1000  # rows
REPEATED = 100  # times
STALL = 0.035  # seconds; a stall is 40 ms of waiting
LARGE = 500_000  # the figures for large results hold from this number of rows

Times = dict[str, list[float]]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--queries", nargs="+", choices=QUERIES, default=list(QUERIES))
    parser.add_argument("--cli", action="store_true", help="also `restate sql --json`")
    parser.add_argument("--fast", action="store_true", help="without JSON, which takes most of the time")
    options = parser.parse_args()
    with populated(options) as population, ExitStack() as stack:
        _say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        floor = Floor(population.admin_url)
        names = [name for name in ways(population.admin_url) if _is_wanted(name, options)]
        workers = {name: stack.enter_context(Worker(population.admin_url, name)) for name in names}
        times = {query: _compare(query, floor, workers, options.rounds) for query in options.queries}
        repeated = _repeat(floor, workers)
        _say(show([*_figures(times, population.rows), *repeated]))


def _is_wanted(name: str, options: argparse.Namespace) -> bool:
    return bool(options.cli) if name == CLI else not (options.fast and "JSON" in name)


def _compare(query: str, floor: Floor, workers: Mapping[str, Worker], rounds: int) -> Times:
    statement = QUERIES[query]
    methods = {FLOOR: floor, **workers}
    times = in_turn({name: partial(method, statement) for name, method in methods.items()}, rounds)
    rows = [_row(name, seconds, times[FLOOR]) for name, seconds in times.items()]
    _say(f"{query}: {floor.size / 1e6:,.1f} MB of Arrow")
    _say(table(("method", "median ms", "best ms", "× curl", "lowest", "highest"), rows))
    return times


def _row(name: str, seconds: list[float], floor: list[float]) -> tuple[str, ...]:
    ratios = [a / b for a, b in zip(seconds, floor, strict=True)]
    words = (f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios)))
    return name, f"{statistics.median(seconds) * 1000:,.0f}", f"{min(seconds) * 1000:,.0f}", *words


def _repeat(floor: Floor, workers: Mapping[str, Worker]) -> list[Figure]:
    """Query a few rows repeatedly on one connection, where a stall of 40 ms would be most of the time."""
    statement = f"{QUERIES['std']} LIMIT {SMALL}"
    ours, stock = f"{SQL}, one Lab", f"{STREAM}, one client"
    methods = {"a new curl": floor, ours: workers[SQL], stock: workers[STREAM]}
    times = in_turn({name: partial(method, statement) for name, method in methods.items()}, REPEATED)
    curl = times["a new curl"]
    rows = [
        (name, f"{statistics.median(each) * 1000:.1f}", f"{ratio(each, curl):.2f}", f"{sum(s > STALL for s in each)}")
        for name, each in times.items()
    ]
    _say(f"{SMALL:,} rows of std, {REPEATED} times:")
    _say(table(("method", "median ms", "× curl", "above 35 ms"), rows))
    return [Figure(f"{SMALL:,} rows repeated, × a new curl", ratio(times[ours], curl), at_most=1.2)]


def _figures(times: Mapping[str, Times], rows: int) -> list[Figure]:
    figures = []
    is_large = rows >= LARGE
    if std := times.get("std"):
        figures.append(Figure("std, × curl", ratio(std[SQL], std[FLOOR]), at_most=1.4 if is_large else 1.15))
        if is_large:
            below = statistics.median((b - a) / c for a, b, c in zip(std[SQL], std[STREAM], std[FLOOR], strict=True))
            figures.append(Figure("std, × curl, below httpx streaming by", below, at_least=0.15))
        if HAND in std:
            figures.append(Figure("std, times faster than JSON by hand", ratio(std[HAND], std[SQL]), at_least=9))
    if (star := times.get("star")) and not is_large:
        figures.append(Figure("star, × curl", ratio(star[SQL], star[FLOOR]), at_most=1.35))
    return figures


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
