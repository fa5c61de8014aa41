"""Write a large archive, and measure it as a history: ``history.py --archive /tmp/1m --runs 1000000``.

An archive that exists is only measured. Each verb runs in a fresh process. Times are CPU seconds of the process, which
other work on the machine disturbs less, and ratios to a count of all runs by service and result; memory is the growth
of the process's peak (Linux only). ``--maintain`` measures
``compact``, ``vacuum`` and ``delete_before`` on copies of the archive, whose files are links.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa
import pyarrow.compute as pc
from rounds import MIB, growth_since, in_fresh_process, reset_peak, say, table, timed

import restate_lab as rl
from restate_lab.history.commits import ArchivedIds, ClusterTables, with_repeated
from restate_lab.history.maintenance import compact, delete_before, vacuum
from restate_lab.history.store import locate_store
from support.large_archive import CLUSTER, LAST_DAY, write_archive

COUNT = "SELECT target_service_name, completion_result, count(*) AS runs FROM archive.invocations GROUP BY 1, 2"
QUESTIONS = (
    *("throughput_by_day", "latency_by_day", "error_families", "usage", "slo", "slow_steps", "terminal_failures"),
    *("latency", "repeated_idempotency_keys", "largest_journals", "agent_spend", "coverage"),
)
LONG = "2h"
Verb = Callable[[rl.History], object]


def _ask(name: str, history: rl.History) -> object:
    return rl.ask(history, name, timeout=LONG)


def _newest(history: rl.History) -> str:
    rows = history.sql("SELECT id FROM sys_invocation WHERE completion_failure IS NOT NULL LIMIT 1")
    return str(rows["id"][0])


VERBS: dict[str, Verb] = {
    "count by service and result": lambda history: history.sql(COUNT),
    **{f"ask {name}": partial(_ask, name) for name in QUESTIONS},
    "before_after": lambda history: rl.before_after(history, history.now - timedelta(days=5), timeout=LONG),
    "doctor": lambda history: rl.doctor(history, timeout=LONG),
    "why": lambda history: rl.why(history, _newest(history)),
    "journal": lambda history: rl.journal(history, _newest(history)),
}


def visit_ids(store: ClusterTables) -> object:
    """Subtract the ids of the last day from themselves, as a visit does that finds nothing new."""
    ended = store.read("invocations", ["id", "created_at"], f"AND day >= '{LAST_DAY}'")
    known = store.read("invocations", ["id", "created_at"], f"AND day >= '{LAST_DAY}'")
    return ended.join(known, keys=["id", "created_at"], join_type="left anti")


def visit_repeated(store: ClusterTables) -> object:
    """Search the earlier runs of 20 workflows in all days, as a visit does."""
    where = f"AND day = '{LAST_DAY}' AND target_service_ty = 'workflow'"
    names = ["id", "created_at", "target_service_ty", "idempotency_key"]
    runs = store.read("invocations", names, where).slice(0, 20)
    return with_repeated(runs, store, ArchivedIds(LAST_DAY, pa.array([], pa.string())))


PARTS: dict[str, Callable[[ClusterTables], object]] = {
    "visit: subtract the ids of a day": visit_ids,
    "visit: earlier runs of 20 workflows": visit_repeated,
}
MAINTENANCE: dict[str, Callable[[Any], object]] = {
    "compact": compact,
    "vacuum": vacuum,
    "delete_before, one day": lambda store: delete_before(store, LAST_DAY - timedelta(days=8)),
}


def main() -> None:
    options = arguments().parse_args()
    if options.verb:
        sys.stdout.write(json.dumps(_measured(options.archive, options.verb)))
        return
    if not options.archive.exists():
        write(options)
    say(describe(options.archive))
    verbs = [*VERBS, *PARTS, *(MAINTENANCE if options.maintain else ())]
    rows = []
    for verb in verbs:
        if any(each in verb for each in options.only):
            each = in_fresh_process(__file__, "--archive", str(options.archive), "--verb", verb)
            ratio = each["seconds"] / each["count"]
            opened = f"{each['open'] / each['count']:.1f}"
            rows.append((verb, f"{each['seconds']:.2f}", f"{ratio:.1f}", f"{each['grown'] / MIB:,.0f}", opened))
            say("  ".join(rows[-1]))
    say(table(("what", "CPU s", "× count", "MiB", "open, × count"), rows))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="the folder of the archive")
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs of an archive to write (1000000)")
    parser.add_argument("--days", type=int, default=10, help="its days (10)")
    parser.add_argument("--every", type=int, default=60, help="minutes between its visits (60)")
    parser.add_argument("--shards", type=int, default=1, help="its archivers (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--maintain", action="store_true", help="also measure the maintenance, on copies")
    parser.add_argument(
        "--only", nargs="*", default=[""], help="names of the rows to measure, or parts of them; by default all"
    )
    parser.add_argument("--verb", choices=[*VERBS, *PARTS, *MAINTENANCE], help="do this one here and print its figures")
    return parser


def write(options: argparse.Namespace) -> None:
    visits = itertools.count()

    def after_visit(runs: int) -> None:
        if next(visits) % 24 == 0:
            say(f"{runs:,} runs")

    write_archive(
        options.archive,
        runs=options.runs,
        days=options.days,
        every=timedelta(minutes=options.every),
        shards=options.shards,
        seed=options.seed,
        after_visit=after_visit,
    )


def describe(folder: Path) -> str:
    """Return the rows, bytes and files of each table, as the archive uses them."""
    tables = locate_store(folder).open_all()
    used = {name: pa.table(each.get_add_actions(flatten=True)) for name, each in tables.items()}
    runs = pc.sum(used["invocations"]["num_records"]).as_py()
    rows = []
    for name, files in used.items():
        size, count = (pc.sum(files[column]).as_py() or 0 for column in ("size_bytes", "num_records"))
        days = Counter(files["partition.day"].to_pylist()) if "partition.day" in files.column_names else {}
        most = max(days.values(), default=0)
        rows.append((name, f"{count:,}", f"{size:,}", f"{size / runs:.2f}", f"{files.num_rows:,}", f"{most:,}"))
    return table(("table", "rows", "bytes", "bytes / run", "files", "files of a day, most"), rows)


def _measured(folder: Path, verb: str) -> dict[str, float]:
    """Return the seconds of opening, of the count, and of this verb, and the bytes by which the peak of memory grew."""
    opened: list[rl.History] = []
    opening = timed(lambda: opened.append(rl.open_history(folder, cluster_name=CLUSTER)), process_time)
    opening()  # it imports the engines
    seconds = {"open": opening()}
    count = timed(lambda: opened[0].sql(COUNT), process_time)
    count()
    seconds["count"] = count()
    with _subject(folder, verb, opened[0]) as act:
        before = reset_peak()
        seconds["seconds"] = timed(act, process_time)()
        return seconds | {"grown": growth_since(before)}


@contextmanager
def _subject(folder: Path, verb: str, history: rl.History) -> Iterator[Callable[[], object]]:
    if verb in VERBS:
        yield partial(VERBS[verb], history)
    elif verb in PARTS:
        store = locate_store(folder)
        yield partial(PARTS[verb], ClusterTables(store, CLUSTER, store.open_all()))
    else:
        with tempfile.TemporaryDirectory(dir=folder.parent) as copy:
            shutil.copytree(folder, Path(copy) / "archive", copy_function=_link)
            yield partial(MAINTENANCE[verb], locate_store(Path(copy) / "archive"))


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)  # the files of a Delta table do not change


if __name__ == "__main__":
    main()
