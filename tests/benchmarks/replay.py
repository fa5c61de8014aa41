"""How many journals a replay check judges per minute: ``replay.py --journals 2000``.

The service under test is the limit: it and the server share the cores. An open journal is sent twice, an ended one
once. The figures include reading the journals.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rounds import table, versions

from support.clusters import NEWEST
from support.replay_bench import ReplayBench, running_replay_bench

STEPS = [["run", f"step {number}"] for number in range(5)]
KINDS = {"open": [*STEPS, ["nap", "the end"]], "ended": [*STEPS, ["return", 1]]}
WORKERS = (1, 4)
AT_ONCE = 50  # invocations that are started before they are awaited


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journals", type=int, default=1000, help="journals of each kind (1000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_replay_bench(NEWEST, Path(folder)) as bench:
        ids = {kind: _start(bench, kind, options.journals) for kind in KINDS}
        rows = []
        for kind, targets in ids.items():
            for workers in WORKERS:
                rates = [_rate(bench, targets, workers) for _ in range(options.rounds)]
                rows.append(
                    [kind, f"{workers}", f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}"]
                )
        header = ("journals", "workers", "per minute", "lowest", "highest")
        sys.stdout.write(f"{versions(bench.lab.version)}\n{table(header, rows)}\n")


def _start(bench: ReplayBench, kind: str, count: int) -> list[str]:
    ids: list[str] = []
    for first in range(0, count, AT_ONCE):
        some = [bench.start(KINDS[kind], KINDS[kind]) for _ in range(min(AT_ONCE, count - first))]
        bench.settle(some)
        ids += some
    return ids


def _rate(bench: ReplayBench, ids: list[str], workers: int) -> float:
    started = time.monotonic()
    result = bench.replay(ids, workers=workers)
    assert result.counts == {"fits": len(ids)}, result.counts
    return 60 * len(ids) / (time.monotonic() - started)


if __name__ == "__main__":
    main()
