"""The cost of freezing and opening: ``freeze.py --rows 100000 --executed 0.3``.

Each freeze runs in a fresh process, after a small one that loads everything that is loaded once. The figures are the
time and the growth of the process's peak of memory (VmHWM) over its peak before. Then the questions that read most are
asked of the server and of the evidence. Linux only.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from populate import Population, arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

from restate_lab import connect
from restate_lab.analysis.ask import ask
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence

WAYS: dict[str, dict[str, Any]] = {
    "freeze": {},
    "with payloads": {"payloads": True},
    "redacted": {"payloads": True, "redact": ["failures"]},
    "one service": {"service": "Patience"},
}
ASKED: dict[str, dict[str, Any]] = {
    "overview": {},
    "latency": {},
    "waiting_on": {"limit": None},
    "largest_journals": {},
    "error_onset": {},
}
RESET_PEAK = "5"


def main() -> None:
    """Run the benchmark, or one freeze of it in its own process."""
    parser = arguments(__doc__)
    parser.add_argument("--way", choices=WAYS, help="freeze in this way here and print what it took")
    options = parser.parse_args()
    if options.way:
        sys.stdout.write(json.dumps(_measured(options.admin_url, WAYS[options.way])))
        return
    with populated(options) as population:
        sys.stdout.write(f"{population}, {options.rounds} rounds; {versions(population.version)}\n\n")
        _freezes(population, options.rounds, scoped=options.suspended > 0)
        _questions(population, options.rounds)


def _freezes(population: Population, rounds: int, *, scoped: bool) -> None:
    rows, peaks = [], []
    for way in WAYS:
        if way == "one service" and not scoped:
            continue
        taken = [_in_fresh_process(population, way) for _ in range(rounds)]
        growth = statistics.median(each["growth"] for each in taken) / (1 << 20)
        seconds = statistics.median(each["seconds"] for each in taken)
        rows.append((way, f"{growth:,.0f}", f"{seconds:.2f}", f"{taken[0]['size'] / (1 << 20):,.1f}"))
        peaks.append(growth)
    sys.stdout.write(f"{table(('freeze', 'growth MiB', 's', 'files MiB'), rows)}\n\n")
    sys.stdout.write(f"{show([Figure('highest peak, MiB above the start', max(peaks), at_most=300)])}\n\n")


def _questions(population: Population, rounds: int) -> None:
    with TemporaryDirectory(prefix="restate-lab-") as folder, connect(population.admin_url) as lab:
        freeze(lab, Path(folder) / "evidence", progress=False)
        started = time.perf_counter()
        with open_evidence(Path(folder) / "evidence") as evidence:
            sys.stdout.write(f"opened and verified in {time.perf_counter() - started:.2f} s\n\n")
            rows = []
            for name, params in ASKED.items():
                ways = {"live": _timed(lab, name, params), "frozen": _timed(evidence, name, params)}
                seconds = in_turn(ways, rounds)
                medians = [statistics.median(seconds[way]) * 1000 for way in ("live", "frozen")]
                times = ratio(seconds["frozen"], seconds["live"])
                rows.append((name, *(f"{each:.0f}" for each in medians), f"{times:.2f}"))
    sys.stdout.write(f"{table(('question', 'live ms', 'frozen ms', '× live'), rows)}\n")


def _timed(source: Any, name: str, params: dict[str, Any]) -> Callable[[], float]:
    def method() -> float:
        started = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            ask(source, name, **params)
        return time.perf_counter() - started

    return method


def _in_fresh_process(population: Population, way: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--admin-url", population.admin_url]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    taken: dict[str, float] = json.loads(done.stdout)
    return taken


def _measured(admin_url: str, options: dict[str, Any]) -> dict[str, float]:
    with TemporaryDirectory(prefix="restate-lab-") as folder, connect(admin_url) as lab:
        freeze(lab, Path(folder) / "small", tables=["sys_service"], progress=False)
        gc.collect()
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        before = _status("VmRSS")
        started = time.perf_counter()
        freeze(lab, Path(folder) / "evidence", progress=False, **options)
        seconds = time.perf_counter() - started
        size = sum(each.stat().st_size for each in (Path(folder) / "evidence").iterdir())
        return {"growth": _status("VmHWM") - before, "seconds": seconds, "size": size}


def _status(field: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
