"""Methods in turn, A B C A B C, and the evaluation of their times: ratios within a round, and their median."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PACKAGES = ("restate-lab", "httpx", "pyarrow", "pandas")


@dataclass(frozen=True)
class Figure:
    """A measured value, and its maximum or minimum."""

    what: str
    value: float
    at_most: float = math.inf
    at_least: float = -math.inf

    @property
    def is_reached(self) -> bool:
        """Return True if the value is within the limit."""
        return self.at_least <= self.value <= self.at_most

    @property
    def wanted(self) -> str:
        """Return the limit as text."""
        return f"≤ {self.at_most:g}" if self.at_most < math.inf else f"≥ {self.at_least:g}"


def in_turn(methods: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every method, one for each round; each method measures itself.

    A first round is run and discarded: connections, caches of the server, imports.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for number in range(-1, rounds):
        for name, method in methods.items():
            took = method()
            if number >= 0:
                seconds[name].append(took)
    return seconds


def timed(method: Callable[[], object]) -> Callable[[], float]:
    """Return a function that calls this method and returns its seconds."""

    def measure() -> float:
        started = time.perf_counter()
        method()
        return time.perf_counter() - started

    return measure


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, aligned for a terminal: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "|".join([f"{'-' * (widths[0] + 2)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])])
    lines = [_line(header, widths), f"|{rule}|"]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def versions(server: str) -> str:
    """Return one line with all versions that matter for a figure."""
    packages = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"restate-server {server}, Python {platform.python_version()}, {', '.join(packages)}, {platform.system()}"


def show(figures: Sequence[Figure]) -> str:
    """Return a table with each figure and its limit."""
    rows = [(each.what, f"{each.value:.2f}", each.wanted, "yes" if each.is_reached else "NO") for each in figures]
    return table(("figure", "measured", "wanted", "reached"), rows)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return f"| {first[0]:<{first[1]}} |{''.join(f' {cell:>{width}} |' for cell, width in rest)}"
