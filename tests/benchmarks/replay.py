"""How many journals a replay check judges per minute: ``replay.py --journals 2000``.

The service under test is the limit: it and the server share the cores. An open journal is sent twice, an ended one
once. The figures include reading the journals.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rounds import in_turn, say, table, timed, versions

from support.clusters import NEWEST
from support.replay_bench import ReplayBench, running_replay_bench

STEPS = [["run", f"step {number}"] for number in range(5)]
KINDS = {"open": [*STEPS, ["nap", "the end"]], "ended": [*STEPS, ["return", 1]]}
WORKERS = (1, 4)
AT_ONCE = 50  # invocations that are started before they are awaited


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journals", type=int, default=1000, help="journals of each kind (1000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_replay_bench(NEWEST, Path(folder)) as bench:
        methods = {}
        for kind in KINDS:
            ids = _start(bench, kind, options.journals)
            methods |= {f"{kind}, {count} workers": timed(partial(_check, bench, ids, count)) for count in WORKERS}
        times = in_turn(methods, options.rounds)
        rows = []
        for name, seconds in times.items():
            rates = [60 * options.journals / each for each in seconds]
            rows.append((name, f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f}", f"{max(rates):,.0f}"))
        say(f"{versions(bench.lab.version)}\n{table(('journals', 'per minute', 'lowest', 'highest'), rows)}")


def _start(bench: ReplayBench, kind: str, count: int) -> list[str]:
    ids: list[str] = []
    for first in range(0, count, AT_ONCE):
        some = [bench.start(KINDS[kind], KINDS[kind]) for _ in range(min(AT_ONCE, count - first))]
        bench.settle(some)
        ids += some
    return ids


def _check(bench: ReplayBench, ids: list[str], workers: int) -> None:
    result = bench.replay(ids, workers=workers)
    assert result.counts == {"fits": len(ids)}, result.counts


if __name__ == "__main__":
    main()
