"""The cost of hundreds of tool calls in one response, and of large results: ``tool_calls.py --rounds 5``.

A response with 700 calls and 700 results against one with 70, and 16 results of one megabyte against reading their
journal; also the doctor on the same server. Each is the CPU of this process, so the server's time does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rounds import Figure, in_turn, ratio, show, table, versions

sys.path.insert(0, str(Path(__file__).parents[1]))
import restate_lab as rl
from support.long_agent_bench import run_agent, running_long_agents

FEW, MANY, LARGE = 70, 700, 16
AT_MOST_MANY, AT_MOST_LARGE = 12.0, 20.0
ONE_FEW, ONE_MANY = (f"conversation with {number} tool calls" for number in (FEW, MANY))
ONE_LARGE, READ = f"conversation with {LARGE} results of 1 MB", f"its journal with {LARGE} results, as Arrow"
JOURNAL = "SELECT index, entry_type, raw FROM sys_journal WHERE id = :id"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with TemporaryDirectory(prefix="restate-lab-") as folder, running_long_agents(Path(folder)) as lab:
        few, many, large = (
            run_agent(lab, handler, size) for handler, size in (("map_over", FEW), ("map_over", MANY), ("fetch", LARGE))
        )
        methods = {
            ONE_FEW: partial(rl.conversation, lab, few),
            ONE_MANY: partial(rl.conversation, lab, many),
            "agent_tools": partial(rl.agent_tools, lab),
            "doctor": partial(rl.doctor, lab),
            READ: partial(lab.arrow, JOURNAL, id=large, progress=False),
            ONE_LARGE: partial(rl.conversation, lab, large),
        }
        times = in_turn({name: cpu(method) for name, method in methods.items()}, rounds)
        sys.stdout.write(f"{rounds} rounds; {versions(lab.version)}\n\n")
        cells = [(name, f"{statistics.median(each) * 1000:,.0f}") for name, each in times.items()]
        sys.stdout.write(f"{table(('CPU', 'median ms'), cells)}\n\n")
        figures = [
            Figure(f"{MANY} calls ÷ {FEW}", ratio(times[ONE_MANY], times[ONE_FEW]), AT_MOST_MANY),
            Figure("large results ÷ reading them", ratio(times[ONE_LARGE], times[READ]), AT_MOST_LARGE),
        ]
        sys.stdout.write(f"{show(figures)}\n")


def cpu(method: Callable[[], object]) -> Callable[[], float]:
    """Return a function that calls this method and returns the seconds of CPU."""

    def measure() -> float:
        started = time.process_time()
        method()
        return time.process_time() - started

    return measure


if __name__ == "__main__":
    main()
