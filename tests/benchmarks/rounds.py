"""The harness: methods in turn, A B C A B C; ratios within a round and their median; and fresh processes."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("restate-lab", "httpx", "pyarrow", "pandas")
MIB = 1 << 20

Times = dict[str, list[float]]
"""The seconds of each method, one for each round."""


@dataclass(frozen=True)
class Figure:
    """A measured value, and its maximum or minimum."""

    what: str
    value: float
    at_most: float = math.inf
    at_least: float = -math.inf

    @property
    def is_reached(self) -> bool:
        return self.at_least <= self.value <= self.at_most

    @property
    def wanted(self) -> str:
        return f"≤ {self.at_most:g}" if self.at_most < math.inf else f"≥ {self.at_least:g}"


def in_turn(methods: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Return the seconds of every method, one for each round; each method measures itself.

    A first round is run and discarded: connections, caches of the server, imports.
    """
    seconds: Times = {name: [] for name in methods}
    for number in range(-1, rounds):
        for name, method in methods.items():
            took = method()
            if number >= 0:
                seconds[name].append(took)
    return seconds


def timed(method: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Return a function that calls this method and returns its seconds."""

    def measure() -> float:
        gc.collect()
        started = clock()
        kept = method()
        seconds = clock() - started
        del kept  # to free the memory is not part of the call
        return seconds

    return measure


def in_fresh_process(script: str, *options: str) -> dict[str, float]:
    """Return what a benchmark prints as JSON when it runs with these options in its own process."""
    done = subprocess.run([sys.executable, script, *options], check=True, stdout=subprocess.PIPE)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def reset_peak() -> int:
    """Reset the peak of this process's memory, and return its resident bytes (Linux only)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def growth_since(before: int) -> int:
    """Return the bytes of the peak since `reset_peak` above the resident memory at that time."""
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


def versions(server: str) -> str:
    """Return one line with all versions that matter for a figure."""
    packages = (f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"restate-server {server}, Python {platform.python_version()}, {', '.join(packages)}, {platform.system()}"


def compare(what: str, times: Times, base: str) -> str:
    """Return a table of methods: median and best milliseconds, and the ratios to one of them."""
    rows = []
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times[base], strict=True)]
        milliseconds = (f"{each * 1000:,.1f}" for each in (statistics.median(seconds), min(seconds)))
        rows.append((name, *milliseconds, *(f"{f(ratios):.2f}" for f in (statistics.median, min, max))))
    return table((what, "median ms", "best ms", f"× {base}", "lowest", "highest"), rows)


def show(figures: Sequence[Figure]) -> str:
    """Return a table with each figure and its limit."""
    rows = [(each.what, f"{each.value:.2f}", each.wanted, "yes" if each.is_reached else "NO") for each in figures]
    return table(("figure", "measured", "wanted", "reached"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, aligned for a terminal: the first column to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    rule = "|".join([f"{'-' * (widths[0] + 2)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])])
    lines = [_line(header, widths), f"|{rule}|"]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return f"| {first[0]:<{first[1]}} |{''.join(f' {cell:>{width}} |' for cell, width in rest)}"
