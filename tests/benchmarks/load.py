"""Time and memory of each verb on a large server: ``load.py --rows 1000000 --suspended 3000``.

Every verb runs in a fresh process, after the same verb on very little data; the figures are the time relative to curl's
for the standard columns of all rows (the floor), and the growth of the process's peak of memory, also as a multiple of
the bytes of these rows. Linux only. ``--only freeze`` runs the verbs whose names contain this text.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from populate import arguments, populated
from query import QUERIES, Floor
from rounds import MIB, Figure, growth_since, in_fresh_process, reset_peak, say, show, table, timed, versions

import restate_lab as rl

STD = QUERIES["std"]
SMALL = f"{STD} LIMIT 1000"
SQL, PARQUET, FREEZE = "lab.sql, std", "lab.to_parquet, std", "freeze, redacted"

Verb = Callable[[rl.Lab, Path], object]


def _freeze(lab: rl.Lab, path: Path, **options: Any) -> Path:
    return rl.freeze(lab, path, progress=False, **options)


def _panel(lab: rl.Lab, _: Path, id_: str | None = None) -> object:
    panel = rl.Panel(lab, refresh=None, id=id_)
    if panel.error:
        raise RuntimeError(panel.error)
    panel.close()
    return panel.frame


_FREEZE_LITTLE: Verb = partial(_freeze, tables=["sys_service"])
VERBS: dict[str, tuple[Verb, Verb]] = {
    SQL: (lambda lab, _: lab.sql(SMALL, progress=False), lambda lab, _: lab.sql(STD, progress=False)),
    PARQUET: (
        lambda lab, path: lab.to_parquet(SMALL, path, progress=False),
        lambda lab, path: lab.to_parquet(STD, path, progress=False),
    ),
    'ask, "overview"': (lambda *_: rl.questions(), lambda lab, _: rl.ask(lab, "overview")),
    "doctor": (lambda lab, _: rl.doctor(lab, checks="old_protocols"), lambda lab, _: rl.doctor(lab)),
    "waits": (lambda lab, _: rl.doctor(lab, checks="old_protocols"), lambda lab, _: rl.waits(lab)),
    "Panel": (partial(_panel, id_="inv_1" + "0" * 33), _panel),
    "freeze": (_FREEZE_LITTLE, _freeze),
    FREEZE: (_FREEZE_LITTLE, partial(_freeze, payloads=True, redact=["failures"])),
    "freeze of one service": (_FREEZE_LITTLE, partial(_freeze, service="Trouble")),
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
    with populated(options) as population:
        say(f"{population}, {options.rounds} rounds; {versions(population.version)}")
        floor = Floor(population.admin_url)
        floor(STD)
        floors, taken = [], {verb: [] for verb in VERBS if options.only in verb}
        for _ in range(options.rounds):
            floors.append(floor(STD))
            for verb, each in taken.items():
                each.append(in_fresh_process(__file__, "--verb", verb, "--admin-url", population.admin_url))
        rows, growths = [("curl, std", f"{statistics.median(floors):.2f}", "1.00", "", "")], {}
        for verb, each in taken.items():
            seconds = statistics.median(one["seconds"] for one in each)
            times = statistics.median(one["seconds"] / of for one, of in zip(each, floors, strict=True))
            growths[verb] = growth = statistics.median(one["growth"] for one in each)
            rows.append((verb, f"{seconds:.2f}", f"{times:.2f}", f"{growth / MIB:,.0f}", f"{growth / floor.size:.2f}"))
        say(table(("verb", "s", "× curl", "growth MiB", "× bytes of std"), rows))
        limits = {SQL: (floor.size, "bytes of std", 1.7), PARQUET: (MIB, "MiB", 150), FREEZE: (MIB, "MiB", 300)}
        say(
            show(
                [
                    Figure(f"{verb}, growth in {unit}", growths[verb] / size, at_most=most)
                    for verb, (size, unit, most) in limits.items()
                    if verb in growths
                ]
            )
        )


def _measured(admin_url: str, little: Verb, everything: Verb) -> dict[str, float]:
    with TemporaryDirectory(prefix="restate-lab-") as folder, rl.connect(admin_url, read_only=True) as lab:
        little(lab, Path(folder) / "small")
        kept: list[object] = []
        before = reset_peak()
        seconds = timed(lambda: kept.append(everything(lab, Path(folder) / "large")))()
        return {"seconds": seconds, "growth": growth_since(before)}


if __name__ == "__main__":
    main()
