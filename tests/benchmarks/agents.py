"""The cost of ``agent_runs`` relative to the server's own scan of the responses: ``agents.py --agents 5000``.

In turn: the scan of all Run notifications with their payloads as one statement, and ``agent_runs``; the median of the
ratios within each round. ``--profile`` prints the functions that take the most time instead.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import statistics
import sys
from collections.abc import Callable

from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, timed, versions

import restate_lab as rl

SCAN, RUNS, RECORDED = "scan of the Run notifications", "agent_runs", "agent_runs, without the server"
NOTIFICATIONS = "SELECT id, index, raw FROM sys_journal WHERE entry_type = 'Notification: Run'"
AT_MOST = 10  # × the scan
LINES = 45


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rows=0, agents=5_000)
    parser.add_argument("--profile", action="store_true", help="profile one call of agent_runs")
    options = parser.parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        _say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        if options.profile:
            _say(_profile(lambda: rl.agent_runs(lab)))
        runs = rl.agent_runs(lab)
        rows = lab.arrow(NOTIFICATIONS, progress=False)
        steps = runs["model_calls"].sum()
        _say(f"{len(runs):,} runs, {steps:,} responses; the scan has {len(rows):,} rows, {rows.nbytes / 1e6:.1f} MB")
        methods = {SCAN: lambda: lab.arrow(NOTIFICATIONS, progress=False), RUNS: lambda: rl.agent_runs(lab)}
        times = in_turn({name: timed(method) for name, method in methods.items()}, options.rounds)
        cells = [
            (name, f"{statistics.median(each) * 1000:,.0f}", f"{ratio(each, times[SCAN]):.1f}")
            for name, each in times.items()
        ]
        _say(table(("what", "median ms", "× the scan"), cells))
        _say(show([Figure("agent_runs, × the scan", ratio(times[RUNS], times[SCAN]), at_most=AT_MOST)]))


def _profile(method: Callable[[], object]) -> str:
    profile, text = cProfile.Profile(), io.StringIO()
    profile.runcall(method)
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
