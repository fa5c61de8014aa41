"""Five questions to a history of millions of runs, against the same Delta tables in DataFusion without it.

The archive is written directly, without a server: ``history.py --runs 5000000``. Both sides return the same rows.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

sys.path.insert(0, str(Path(__file__).parents[1]))

from rounds import in_turn, ratio, table, timed, versions

import restate_lab as rl
from restate_lab.evidence.engine import session
from restate_lab.history.store import locate_store
from support.archives import DAY, SampleArchive

DAYS = 90
HANDLERS = 20
CLUSTERS = ("prod", "staging", "test")
ONE_DAY = DAY + timedelta(days=40)
FAILED = "completion_result = 'failure'"
QUESTIONS = {
    "counts": ("target_service_name, completion_result, count(*) AS n", "true", "GROUP BY 1, 2"),
    "one day": ("count(*) AS n, sum(journal_size) AS entries", "{day}", ""),
    "failures": (
        "completion_failure AS failure, min(completed_at) AS first, max(completed_at) AS last, count(*) AS n",
        FAILED,
        "GROUP BY 1",
    ),
    "usage": (
        "target_service_name, date_trunc('day', completed_at) AS day, count(*) AS n, sum(journal_size) AS entries",
        "true",
        "GROUP BY 1, 2",
    ),
    "one id": ("id, created_at, completion_result", "id = '{id}'", ""),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs in the archive (1,000,000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        written = timed(lambda: _write(path, options.runs))()
        size = sum(each.stat().st_size for each in path.rglob("*.parquet"))
        sys.stdout.write(f"{options.runs:,} runs in {written:.0f} s, {size / options.runs:.0f} bytes each\n")
        _measure(path, options.rounds)


def _measure(path: Path, rounds: int) -> None:
    opened = time.perf_counter()
    history = rl.open_history(path, cluster_name=CLUSTERS[0])
    opened = time.perf_counter() - opened
    of_day = rl.open_history(path, cluster_name=CLUSTERS[0], since=ONE_DAY, until=ONE_DAY + timedelta(days=1))
    native = session(history.now)
    native.register_table("t", DeltaTable(path / "invocations"))
    id_ = history.sql("SELECT id FROM sys_invocation_status LIMIT 1")["id"][0]
    rows = []
    for name, (columns, where, rest) in QUESTIONS.items():
        source = of_day if name == "one day" else history
        condition = where.format(day="true", id=id_)
        own = f"SELECT {columns} FROM sys_invocation_status WHERE {condition} {rest}"
        theirs = where.format(day=f"day = DATE '{ONE_DAY.date()}'", id=id_)
        plain = f"SELECT {columns} FROM t WHERE cluster_name = '{CLUSTERS[0]}' AND {theirs} {rest}"
        methods: dict[str, Callable[[], float]] = {
            "history": timed(lambda own=own, source=source: source.arrow(own)),
            "native": timed(lambda plain=plain: native.sql(plain).collect()),
        }
        seconds = in_turn(methods, rounds)
        rows.append([name, f"{min(seconds['native']):.3f}", f"{ratio(seconds['history'], seconds['native']):.2f}"])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{versions(history.version)}\n{table(('question', 'native s', 'history ×'), rows)}\n")
    sys.stdout.write(f"opening: {opened:.2f} s; peak of memory with both sides: {memory:,.0f} MB\n")


def _write(path: Path, runs: int) -> None:
    random = np.random.default_rng(1)
    archives = [SampleArchive(path, name) for name in CLUSTERS]
    for archive in archives:
        archive.visit(DAY)
    store = locate_store(path)
    for day in range(DAYS):
        for number, archive in enumerate(archives):
            count = runs * (DAYS * number + day + 1) // (DAYS * 3) - runs * (DAYS * number + day) // (DAYS * 3)
            store.append(store.open("invocations"), _runs_of(random, archive.cluster_name, day, count), cluster="none")
    for archive in archives:
        archive.visit(DAY + timedelta(days=DAYS))


def _runs_of(random: np.random.Generator, cluster: str, day: int, count: int) -> pa.Table:
    start = DAY + timedelta(days=day)
    midnight = np.datetime64(start.replace(tzinfo=None), "ms")
    ended = midnight + random.integers(0, 86_399_000, count).astype("timedelta64[ms]")
    took = random.lognormal(6, 1, count).astype(int).astype("timedelta64[ms]")
    handlers = random.integers(0, HANDLERS, count)
    failed = random.random(count) < 0.03
    times = {
        name: pa.array(each).cast(pa.timestamp("us", "UTC"))
        for name, each in {
            "created_at": ended - took,
            "running_at": ended - took,
            "modified_at": ended,
            "completed_at": ended,
        }.items()
    }
    letters = random.integers(97, 123, (count, 33), dtype=np.uint8).view("S33").ravel().astype("U33")
    return pa.table(
        {
            "cluster_name": pa.array([cluster] * count),
            "day": pa.array([start.date()] * count),
            "visit": pa.array([1] * count, pa.int64()),
            "repeated": pa.array([False] * count),
            "id": pa.array(np.char.add("inv_1", letters)),
            **times,
            "status": pa.array(["completed"] * count),
            "completion_result": pa.array(np.where(failed, "failure", "success")),
            "completion_failure": pa.array(
                np.where(failed, np.char.add("[500] no stock of item ", (handlers % 7).astype("U2")), None), pa.string()
            ),
            "target_service_name": pa.array(np.char.add("Service", (handlers // 4).astype("U2"))),
            "target_handler_name": pa.array(np.char.add("handler", handlers.astype("U2"))),
            "target_service_ty": pa.array(["service"] * count),
            "journal_size": pa.array(random.integers(2, 20, count), pa.int32()),
        }
    )


if __name__ == "__main__":
    main()
