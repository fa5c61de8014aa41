"""The cost of the doctor, ``waits``, ``why`` and ``journal`` relative to the server's count over the status table.

``doctor.py --rows 0 --trouble small``: the count and each verb in turn, and the median of the ratios within each round;
below it the time of each check of the doctor. With ``--trouble large``, the journal is one of 100,000 entries, and is
compared with a read of its rows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

from populate import arguments, populated
from rounds import Figure, Times, compare, in_turn, ratio, say, show, table, timed, versions

import restate_lab as rl

COUNT, DOCTOR, WAITS, WHY, VERSION = "count", "doctor", "waits", "why", "GET /version"
ROWS, JOURNAL = "rows of the longest journal", "journal"
ALLOWANCE = 0.1  # seconds of the doctor that do not depend on the rows
COUNTING = "SELECT count(*) AS n FROM sys_invocation_status"
ONE = "SELECT id FROM sys_invocation_status WHERE status = 'suspended' AND target_handler_name = 'follow' LIMIT 1"
LONGEST = "SELECT id FROM sys_invocation_status WHERE journal_size > 1000 ORDER BY journal_size DESC LIMIT 1"
ENTRIES = (
    "SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json, raw_length FROM sys_journal "
    "WHERE id = :id"
)


def main() -> None:
    options = arguments(__doc__).parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        diagnoses: list[rl.Diagnosis] = []
        methods = _methods(lab, diagnoses)
        times = in_turn({name: timed(method) for name, method in methods.items()}, options.rounds)
        say(f"{diagnoses[-1]!r}\n\n{compare('what', times, COUNT)}")
        say(_checks(diagnoses[1:], statistics.median(times[COUNT])))
        say(show([*_parts(diagnoses[1:], times[COUNT]), *_figures(times)]))


def _methods(lab: rl.Lab, diagnoses: list[rl.Diagnosis]) -> dict[str, Callable[[], object]]:
    methods: dict[str, Callable[[], object]] = {
        COUNT: lambda: lab.sql(COUNTING, progress=False),
        DOCTOR: lambda: diagnoses.append(rl.doctor(lab)),
        WAITS: lambda: rl.waits(lab),
        VERSION: lab.admin.version,
    }
    for id_ in lab.sql(ONE, progress=False)["id"]:
        methods[WHY] = partial(rl.why, lab, id_)
    for id_ in lab.sql(LONGEST, progress=False)["id"]:
        methods |= {ROWS: partial(lab.arrow, ENTRIES, id=id_, progress=False), JOURNAL: partial(rl.journal, lab, id_)}
    return methods


def _parts(diagnoses: list[rl.Diagnosis], counts: list[float]) -> list[Figure]:
    """Return the cost of all checks, and of the rest: the additions to findings, the clock, and building the result."""
    checks = [float(diagnosis.checked["seconds"].sum()) for diagnosis in diagnoses]
    rest = [diagnosis.seconds - seconds for diagnosis, seconds in zip(diagnoses, checks, strict=True)]
    return [
        Figure("checks, × the count", ratio(checks, counts), at_most=8),
        Figure("additions and all else, × the count", ratio(rest, counts), at_most=4),
    ]


def _figures(times: Times) -> list[Figure]:
    beyond = [max(seconds - ALLOWANCE, 0.0) for seconds in times[DOCTOR]]
    figures = [
        Figure("doctor beyond 100 ms, × the count", ratio(beyond, times[COUNT]), at_most=8),
        Figure("waits, × the count", ratio(times[WAITS], times[COUNT]), at_most=15),
    ]
    if WHY in times:
        own = statistics.median(why - version for why, version in zip(times[WHY], times[VERSION], strict=True))
        figures.append(Figure("why beyond GET /version, ms", own * 1000, at_most=150))
    if JOURNAL in times:
        figures.append(Figure("journal, × its rows", ratio(times[JOURNAL], times[ROWS]), at_most=2))
    return figures


def _checks(diagnoses: list[rl.Diagnosis], count: float) -> str:
    """Return the median time of each check; a shared read counts for the first check that needs it."""
    seconds = [diagnosis.checked.set_index("check")["seconds"] for diagnosis in diagnoses]
    medians = {str(name): statistics.median(each[name] for each in seconds) for name in seconds[0].index}
    rows = [(name, f"{median * 1000:,.1f}", f"{median / count:.2f}") for name, median in medians.items()]
    return table(("check", "median ms", "× the count"), rows)


if __name__ == "__main__":
    main()
