"""The cost of the doctor, ``waits`` and ``why`` relative to the server's own count over the status table.

``doctor.py --rows 0 --trouble small``: the count and each verb in turn, and the median of the ratios within each round;
below it the time of each check of the doctor, and the peak of memory. ``--incident`` plays the demo's incident on the
same server first, and reports whether each of its faults is still found.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from peaks import growth_since, start_anew
from populate import Population, arguments, populated
from rounds import Figure, in_turn, ratio, show, table, timed, versions

import restate_lab as rl
from restate_lab.demo.api import Api
from restate_lab.demo.embedded import start_services
from restate_lab.demo.stories.incident import FAULTS, INCIDENT
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import ids

COUNT, DOCTOR, WAITS, WHY, VERSION = "count over the status table", "doctor", "waits", "why", "GET /version"
ALLOWANCE = 0.1  # seconds of the doctor that do not depend on the rows
COUNTING = "SELECT count(*) AS n FROM sys_invocation_status"
ONE = "SELECT id FROM sys_invocation_status WHERE status = 'suspended' AND target_handler_name = 'follow' LIMIT 1"
MIB = 1 << 20


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--incident", action="store_true", help="play the demo's incident first, and look for its faults"
    )
    options = parser.parse_args()
    with populated(options) as population, rl.connect(population.admin_url, read_only=True) as lab:
        _say(f"{population}; {options.rounds} rounds; {versions(population.version)}")
        if options.incident:
            _say(_faults(population, lab))
        diagnoses: list[rl.Diagnosis] = []
        times = in_turn(_methods(population, lab, diagnoses), options.rounds)
        _say(f"{diagnoses[-1]!r}")
        _say(_whole(times))
        _say(_checks(diagnoses[1:], statistics.median(times[COUNT])))
        _say(show([*_figures(times), *_memory(lab)]))


def _methods(population: Population, lab: rl.Lab, diagnoses: list[rl.Diagnosis]) -> dict[str, Callable[[], float]]:
    client = httpx.Client(base_url=population.admin_url, timeout=60)
    one = lab.arrow(ONE, progress=False)["id"].to_pylist()
    methods: dict[str, Callable[[], object]] = {
        COUNT: lambda: lab.sql(COUNTING, progress=False),
        DOCTOR: lambda: diagnoses.append(rl.doctor(lab)),
        WAITS: lambda: rl.waits(lab),
        VERSION: lambda: client.get("/version").raise_for_status(),
    }
    if one:
        methods[WHY] = lambda: rl.why(lab, one[0])
    return {name: timed(method) for name, method in methods.items()}


def _figures(times: dict[str, list[float]]) -> list[Figure]:
    beyond = [max(seconds - ALLOWANCE, 0.0) for seconds in times[DOCTOR]]
    figures = [
        Figure("doctor beyond 100 ms, × the count", ratio(beyond, times[COUNT]), at_most=8),
        Figure("waits, × the count", ratio(times[WAITS], times[COUNT]), at_most=15),
    ]
    if WHY in times:
        own = statistics.median(why - version for why, version in zip(times[WHY], times[VERSION], strict=True))
        figures.append(Figure("why beyond GET /version, ms", own * 1000, at_most=150))
    return figures


def _memory(lab: rl.Lab) -> list[Figure]:
    figures = []
    for name, verb in ((DOCTOR, rl.doctor), (WAITS, rl.waits)):
        before = start_anew()
        kept = verb(lab)
        figures.append(Figure(f"{name}, MiB of memory above the start", growth_since(before) / MIB, at_most=300))
        del kept
    return figures


def _whole(times: dict[str, list[float]]) -> str:
    rows = [
        (name, f"{statistics.median(seconds) * 1000:,.1f}", f"{ratio(seconds, times[COUNT]):.2f}")
        for name, seconds in times.items()
    ]
    return table(("what", "median ms", "× the count"), rows)


def _checks(diagnoses: list[rl.Diagnosis], count: float) -> str:
    """Return the median time of each check; a shared read counts for the first check that needs it."""
    seconds = [diagnosis.checked.set_index("check")["seconds"] for diagnosis in diagnoses]
    rows = []
    for name in seconds[0].index:
        median = statistics.median(each[name] for each in seconds)
        rows.append((str(name), f"{median * 1000:,.1f}", f"{median / count:.2f}"))
    return table(("check", "median ms", "× the count"), rows)


def _faults(population: Population, lab: rl.Lab) -> str:
    """Play the incident, and return for each of its faults whether the doctor finds all of its invocations."""
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as name:
        folder = Path(name)
        services, address = start_services(folder)
        with services, _IncidentApi(population.admin_url, population.ingress_url, audit=folder / "audit") as api:
            api.address = address
            api.register(address)
            roles = play(api, INCIDENT, folder)
            deadline = time.monotonic() + 60
            while missing := _missing(rl.doctor(lab), roles):
                if time.monotonic() > deadline:
                    break
                time.sleep(1)
    rest = f": not {', '.join(missing)}" if missing else ""
    return f"of {len(FAULTS)} faults of the incident, {len(FAULTS) - len(missing)} are found{rest}"


class _IncidentApi(Api):
    """Sees only the deployments of the incident, as its steps register releases beside the first one at "/"."""

    address = ""

    def deployments(self) -> dict[str, str]:
        return {id_: uri for id_, uri in super().deployments().items() if uri.startswith(self.address)}


def _missing(diagnosis: rl.Diagnosis, roles: dict[str, str]) -> list[str]:
    named = {id_ for some in diagnosis.findings["ids"] for id_ in some}
    return [fault for fault in FAULTS if not set(ids(roles, fault)) <= named]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
