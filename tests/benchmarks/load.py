"""Time and memory of each verb on a large server: ``load.py --rows 1000000 --suspended 3000``.

Every verb runs in a fresh process, after the same verb on very little data. The figures are its seconds, also relative
to curl's for the standard columns of all rows (the floor) and to the server's count of all invocations in the same
round, and the growth of the process's peak of memory. Linux only. ``--only freeze`` runs the verbs whose names contain
this text. An incident: ``--rows 0 --trouble large``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from populate import arguments, populated
from rounds import MIB, growth_since, in_fresh_process, reset_peak, say, table, timed, versions

import restate_lab as rl

STD = (
    "SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status, "
    "created_at, modified_at, running_at, completed_at, retry_count, last_failure, pinned_deployment_id, "
    "journal_size FROM sys_invocation"
)
SMALL = f"{STD} LIMIT 1000"
ONE = "SELECT id FROM sys_invocation_status WHERE status = 'suspended' AND target_handler_name = 'follow' LIMIT 1"
COUNT = "count(*)"
ASKED = ("overview", "terminal_failures", "largest_payloads", "oldest_unmoved", "open_awakeables")

Verb = Callable[[rl.Lab, Path], object]


def _sql(statement: str) -> Verb:
    return lambda lab, _: lab.sql(statement, progress=False)


def _parquet(statement: str) -> Verb:
    return lambda lab, path: lab.to_parquet(statement, path, progress=False)


def _of_one(verb: Callable[[rl.Lab, str], object]) -> Verb:
    return lambda lab, _: [verb(lab, id_) for id_ in lab.sql(ONE, progress=False)["id"]]


def _panel(lab: rl.Lab, _: Path, **options: Any) -> object:
    with closing(rl.Panel(lab, refresh=None, **options)) as panel:
        if panel.error:
            raise RuntimeError(panel.error)
        return panel.frame


def _freeze(lab: rl.Lab, path: Path, **options: Any) -> object:
    return rl.freeze(lab, path, progress=False, **options)


def _check(lab: rl.Lab, _: Path) -> object:
    return rl.doctor(lab, checks="old_protocols")


def _ask(name: str) -> Verb:
    return lambda lab, _: rl.ask(lab, name)


LITTLE_PANEL: Verb = partial(_panel, id="inv_1" + "0" * 33)
VERBS: dict[str, tuple[Verb, Verb]] = {
    COUNT: (_sql(SMALL), _sql("SELECT count(*) AS n FROM sys_invocation_status")),
    "lab.sql, std": (_sql(SMALL), _sql(STD)),
    "lab.sql, std of the suspended": (_sql(SMALL), _sql(f"{STD} WHERE status = 'suspended'")),
    "lab.to_parquet, std": (_parquet(SMALL), _parquet(STD)),
    **{f"ask {name}": (_check, _ask(name)) for name in ASKED},
    "doctor": (_check, lambda lab, _: rl.doctor(lab)),
    "waits": (_check, lambda lab, _: rl.waits(lab)),
    "why": (_of_one(rl.why), _of_one(rl.why)),
    "journal": (_of_one(rl.journal), _of_one(rl.journal)),
    "Panel": (LITTLE_PANEL, _panel),
    "Panel of one service": (LITTLE_PANEL, partial(_panel, service="Trouble")),
    "Panel, overview": (LITTLE_PANEL, partial(_panel, view="overview")),
    "Panel, queues": (LITTLE_PANEL, partial(_panel, view="queues")),
    "freeze of one service": (partial(_freeze, tables=["sys_service"]), partial(_freeze, service="Trouble")),
}
"""Each verb on very little data, and on everything."""


def main() -> None:
    """Run the benchmark, or one verb of it in its own process."""
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="only verbs whose names contain this text")
    parser.add_argument("--verb", choices=VERBS, help="do this one here and print what it took")
    options = parser.parse_args()
    if options.verb:
        sys.stdout.write(json.dumps(_measured(options.admin_url, *VERBS[options.verb])))
        return
    names = [name for name in VERBS if name == COUNT or options.only in name]
    with populated(options) as population:
        say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        curl(population.admin_url)
        rounds = [measured_round(population.admin_url, names) for _ in range(options.rounds)]
    rows = []
    for name in names:
        figures = zip(*(each[name] for each in rounds), strict=True)
        rows.append((name, *(f"{statistics.median(figure):.2f}" for figure in figures)))
    say(table(("verb", "s", "× curl", f"× {COUNT}", "growth MiB"), rows))


def measured_round(admin_url: str, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Return the seconds of each verb, the same relative to curl and to the count, and the growth of memory."""
    floor = curl(admin_url)
    taken = {name: in_fresh_process(__file__, "--verb", name, "--admin-url", admin_url) for name in names}
    count = taken[COUNT]["seconds"]
    return {
        name: (each["seconds"], each["seconds"] / floor, each["seconds"] / count, each["growth"] / MIB)
        for name, each in taken.items()
    }


def curl(admin_url: str) -> float:
    """Return the seconds of a request by curl, which discards the response; the start of its process is not counted."""
    headers = ("-H", "accept: application/vnd.apache.arrow.stream", "-H", "content-type: application/json")
    options = ("-s", "-S", "--fail", "-o", os.devnull, "-w", "%{time_total}", "-d", json.dumps({"query": STD}))
    done = subprocess.run(
        [shutil.which("curl") or "curl", *headers, *options, f"{admin_url}/query"], check=True, capture_output=True
    )
    return float(done.stdout)


def _measured(admin_url: str, little: Verb, everything: Verb) -> dict[str, float]:
    with TemporaryDirectory(prefix="restate-lab-") as folder, rl.connect(admin_url, read_only=True) as lab:
        little(lab, Path(folder) / "small")
        kept: list[object] = []
        before = reset_peak()
        seconds = timed(lambda: kept.append(everything(lab, Path(folder) / "large")))()
        return {"seconds": seconds, "growth": growth_since(before)}


if __name__ == "__main__":
    main()
