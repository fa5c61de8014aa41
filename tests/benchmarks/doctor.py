"""What the doctor costs beside the server's own count over the status table: ``doctor.py --rows 100000``.

A real server with that many invocations (``populate.py`` says how), the count and the doctor in turn, and the median
of the ratios within each round; below it what each check took of its own.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

import restate_lab as rl
from restate_lab.analysis.doctor import Diagnosis, doctor

COUNT, DOCTOR = "count over the status table", "doctor"
AT_MOST = 10.0
COUNTING = "SELECT count(*) AS n FROM sys_invocation_status"


def main() -> None:
    """Run the benchmark."""
    options = arguments(__doc__).parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        found: list[Diagnosis] = []
        methods = {COUNT: partial(_timed, partial(lab.sql, COUNTING)), DOCTOR: partial(_timed, _keeping(lab, found))}
        times = in_turn(methods, options.rounds)
        sys.stdout.write(f"{population}; {options.rounds} rounds; {versions(population.version)}\n")
        sys.stdout.write(f"{found[-1]!r}\n\n")
        sys.stdout.write(f"{_whole(times)}\n\n{_checks(found[1:], statistics.median(times[COUNT]))}\n\n")
        figure = Figure("doctor, × the count", ratio(times[DOCTOR], times[COUNT]), at_most=AT_MOST)
        sys.stdout.write(f"{show([figure])}\n")


def _timed(method: Callable[[], object]) -> float:
    started = time.perf_counter()
    method()
    return time.perf_counter() - started


def _keeping(lab: rl.Lab, found: list[Diagnosis]) -> Callable[[], None]:
    return lambda: found.append(doctor(lab))


def _whole(times: dict[str, list[float]]) -> str:
    rows = [
        (name, f"{statistics.median(seconds) * 1000:,.1f}", f"{ratio(seconds, times[COUNT]):.2f}")
        for name, seconds in times.items()
    ]
    return table(("what", "median ms", "× the count"), rows)


def _checks(found: list[Diagnosis], count: float) -> str:
    """Return the median of what each check took; what several read counts for the first of them."""
    seconds = [diagnosis.checked.set_index("check")["seconds"] for diagnosis in found]
    rows = []
    for name in seconds[0].index:
        median = statistics.median(each[name] for each in seconds)
        rows.append((str(name), f"{median * 1000:,.1f}", f"{median / count:.2f}"))
    return table(("check", "median ms", "× the count"), rows)


if __name__ == "__main__":
    main()
