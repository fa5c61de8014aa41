"""The cost of each verb on a large server: ``load.py --rows 1000000 --suspended 3000``.

Every verb runs in a fresh process, after the same verb on very little data; the figures are the time relative to curl's
for the standard columns of all rows (the floor), and the growth of the process's peak of memory. Linux only. Below it
the longest journal, if the population has one (``--trouble large``), and ``why`` of a suspended invocation, each
relative to its minimum: a read of the journal's rows, and the time of ``/version``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from methods import QUERIES, Floor
from peaks import growth_since, start_anew
from populate import Population, arguments, populated
from rounds import Figure, in_turn, ratio, show, table, timed, versions

import restate_lab as rl

MIB = 1 << 20
STD = QUERIES["std"]
LONGEST = (
    "SELECT id, journal_size FROM sys_invocation_status WHERE journal_size > 1000 ORDER BY journal_size DESC LIMIT 1"
)
SUSPENDED = "SELECT id FROM sys_invocation_status WHERE status = 'suspended' LIMIT 1"
ROWS = (
    "SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json, raw_length FROM sys_journal "
    "WHERE id = :id"
)
JOURNAL_AT_MOST = 2.0  # × the read of its rows
WHY_AT_MOST = 150.0  # ms more than /version takes


def main() -> None:
    """Run the benchmark, or one verb of it in its own process."""
    parser = arguments(__doc__)
    parser.add_argument("--verb", choices=VERBS, help="do this one here and print what it took")
    options = parser.parse_args()
    if options.verb:
        sys.stdout.write(json.dumps(_measured(options.admin_url, VERBS[options.verb])))
        return
    with populated(options) as population:
        sys.stdout.write(f"{population}, {options.rounds} rounds; {versions(population.version)}\n\n")
        _compare(population, options.rounds)
        _examine(population, options.rounds)


def _compare(population: Population, rounds: int) -> None:
    floor = Floor(population.admin_url)
    floor(STD)
    floors: list[float] = []
    taken: dict[str, list[dict[str, float]]] = {verb: [] for verb in VERBS}
    for _ in range(rounds):
        floors.append(floor(STD))
        for verb in VERBS:
            taken[verb].append(_in_fresh_process(population, verb))
    rows = [("curl, std", f"{statistics.median(floors):.2f}", "1.00", "", "")]
    for verb, each in taken.items():
        seconds = statistics.median(one["seconds"] for one in each)
        ratio = statistics.median(one["seconds"] / of for one, of in zip(each, floors, strict=True))
        growth = statistics.median(one["growth"] for one in each) / MIB
        rows.append((verb, f"{seconds:.2f}", f"{ratio:.2f}", f"{growth:,.0f}", f"{growth * MIB / floor.size:.2f}"))
    sys.stdout.write(f"{table(('verb', 's', '× curl', 'growth MiB', '× bytes of std'), rows)}\n")


def _examine(population: Population, rounds: int) -> None:
    """Print the cost of one journal and one explanation, on a warm connection."""
    figures = []
    with rl.connect(population.admin_url, read_only=True) as lab:
        for id_, size in lab.sql(LONGEST).itertuples(index=False):
            rows, journal = partial(lab.arrow, ROWS, id=id_, progress=False), partial(rl.journal, lab, id_)
            times = in_turn({"rows": timed(rows), "journal": timed(journal)}, rounds)
            what = f"journal of {size:,} entries, × its rows"
            figures.append(Figure(what, ratio(times["journal"], times["rows"]), at_most=JOURNAL_AT_MOST))
        for id_ in lab.sql(SUSPENDED)["id"]:
            why, version = partial(rl.why, lab, id_), lab.admin.version
            times = in_turn({"why": timed(why), "version": timed(version)}, rounds)
            more = statistics.median(why - version for why, version in zip(times["why"], times["version"], strict=True))
            figures.append(Figure("why, ms more than /version", more * 1000, at_most=WHY_AT_MOST))
    sys.stdout.write(f"\n{show(figures)}\n" if figures else "")


def _in_fresh_process(population: Population, verb: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--verb", verb, "--admin-url", population.admin_url]
    taken: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return taken


def _measured(admin_url: str, verb: Callable[..., Any]) -> dict[str, float]:
    with TemporaryDirectory(prefix="restate-lab-") as folder, rl.connect(admin_url, read_only=True) as lab:
        verb(lab, Path(folder) / "small", small=True)
        before = start_anew()
        started = time.perf_counter()
        kept = verb(lab, Path(folder) / "large", small=False)
        seconds = time.perf_counter() - started
        grown = growth_since(before)
        del kept
        return {"seconds": seconds, "growth": grown}


def _sql(lab: rl.Lab, _: Path, *, small: bool) -> Any:
    return lab.sql(f"{STD} LIMIT 100" if small else STD, progress=False)


def _to_parquet(lab: rl.Lab, path: Path, *, small: bool) -> Any:
    return lab.to_parquet(f"{STD} LIMIT 100" if small else STD, path, progress=False)


def _overview(lab: rl.Lab, _: Path, *, small: bool) -> Any:
    return rl.questions() if small else rl.ask(lab, "overview")


def _doctor(lab: rl.Lab, _: Path, *, small: bool) -> Any:
    return rl.doctor(lab, checks="old_protocols" if small else None)


def _panel(lab: rl.Lab, _: Path, *, small: bool) -> Any:
    panel = rl.Panel(lab, refresh=None, id="inv_1" + "0" * 33 if small else None)
    if panel.error:
        raise RuntimeError(panel.error)
    panel.close()
    return panel.frame


def _freeze(lab: rl.Lab, path: Path, *, small: bool) -> Any:
    return rl.freeze(lab, path, progress=False, **({"tables": ["sys_service"]} if small else {"service": "Trouble"}))


VERBS: dict[str, Callable[..., Any]] = {
    "lab.sql, std": _sql,
    "lab.to_parquet, std": _to_parquet,
    'ask, "overview"': _overview,
    "doctor": _doctor,
    "Panel": _panel,
    "freeze of one service": _freeze,
}


if __name__ == "__main__":
    main()
