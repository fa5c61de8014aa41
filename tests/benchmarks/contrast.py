"""The cost of ``contrast`` relative to the server's count: ``contrast.py --rows 1100000 --executed 1``.

In turn: the count, and the comparison of failed invocations by columns (as in the doctor), with the steps, and with the
inputs. Memory is the growth of this process.
"""

from __future__ import annotations

from functools import partial

from populate import arguments, populated
from rounds import MIB, Figure, compare, growth_since, in_turn, ratio, reset_peak, say, show, timed, versions

import restate_lab as rl
from restate_lab.analysis.contrast import compare_sides

COUNT, COLUMNS, STEPS, INPUTS = "count(*)", "columns", "columns and steps", "columns, steps and inputs"
COUNTED = "SELECT count(*) AS n FROM sys_invocation_status"
ALLOWANCE = 0.1  # seconds that do not depend on the rows
TIMES, MEMORY = 5, 200  # at most: × count(*), and MiB


def main() -> None:
    options = arguments(__doc__).parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        columns = partial(compare_sides, lab, "failed", reads_steps=False)
        methods = {
            COUNT: partial(lab.arrow, COUNTED, progress=False),
            COLUMNS: columns,
            STEPS: partial(compare_sides, lab, "failed"),
            INPUTS: partial(compare_sides, lab, "failed", payloads="shape"),
        }
        before = reset_peak()
        found = columns()
        memory = growth_since(before) / MIB
        say(f"{found.sides.to_string()}\n\n{found}")
        times = in_turn({name: timed(method) for name, method in methods.items()}, options.rounds)
        beyond = [max(seconds - ALLOWANCE, 0.0) for seconds in times[COLUMNS]]
        say(compare("what", times, COUNT))
        say(
            show(
                [
                    Figure("columns beyond 100 ms, × count(*)", ratio(beyond, times[COUNT]), at_most=TIMES),
                    Figure("memory of columns, MiB", memory, at_most=MEMORY),
                ]
            )
        )


if __name__ == "__main__":
    main()
