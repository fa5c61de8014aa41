"""The cost of an incident report beyond the doctor and the waits that it contains: ``report.py``.

The demo's incident on a temporary server, and in turn: the doctor with the waits, the report as HTML, and as PDF, each
in a process that stays; below it the time of each chapter. ``--against FOLDER`` measures the package of another
checkout on the same server, for the ratio of two versions. With ``--trouble`` or ``--admin-url`` the server is that of
``populate.py``, and the report is limited by ``--timeout``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from populate import arguments, populated
from rounds import Figure, in_turn, ratio, show, table, versions

from restate_lab.demo.embedded import Embedded
from restate_lab.demo.install import install_server
from restate_lab.demo.stories import STORIES
from restate_lab.environment import clean_environment

YARDSTICK, HTML, PDF = "doctor and waits", "report, HTML", "report, PDF"
HERE = Path(__file__).resolve().parents[2]
AT_MOST = 0.5  # of another version
MEMORY = 400.0  # MiB
WORKER = """
import json, resource, sys, time
import restate_lab as rl
from restate_lab.reports import incident

admin_url, folder, timeout = sys.argv[1:]
lab = rl.connect(admin_url, read_only=True)
build, chapters = incident._build_chapter, {}

def build_chapter(chapter, *rest):
    started = time.perf_counter()
    try:
        return build(chapter, *rest)
    finally:
        chapters[chapter] = time.perf_counter() - started

incident._build_chapter = build_chapter

def judge():
    rl.doctor(lab)
    rl.waits(lab)

def report(kind):
    rl.incident_report(lab, f"{folder}/report.{kind}", overwrite=True, timeout=timeout)

TASKS = {"doctor and waits": judge, "report, HTML": lambda: report("html"), "report, PDF": lambda: report("pdf")}
for line in sys.stdin:
    started, busy = time.perf_counter(), time.process_time()
    TASKS[line.strip()]()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": busy, "peak": peak, "chapters": chapters}), flush=True)
"""


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.set_defaults(rows=0)
    parser.add_argument("--against", type=Path, help="the folder of another checkout, to measure its package in turn")
    parser.add_argument("--timeout", default="10m", help="the timeout of the report (10m)")
    options = parser.parse_args()
    with ExitStack() as stack:
        admin_url = stack.enter_context(_server(options))
        folder = stack.enter_context(TemporaryDirectory(prefix="restate-lab-"))
        workers = {"": stack.enter_context(Worker(WORKER, HERE, admin_url, folder, options.timeout))}
        if options.against:
            workers[" of the other version"] = stack.enter_context(
                Worker(WORKER, options.against.resolve(), admin_url, folder, options.timeout)
            )
        methods = {
            f"{task}{version}": partial(worker, task)
            for task in (YARDSTICK, HTML, PDF)
            for version, worker in workers.items()
        }
        times = in_turn(methods, options.rounds)
        sys.stdout.write(f"{options.rounds} rounds; {versions(options.server_version)}\n\n{_whole(times, workers)}\n\n")
        sys.stdout.write(f"{_chapters(workers)}\n\n{show(list(_figures(times, workers)))}\n")


@contextmanager
def _server(options: Any) -> Iterator[str]:
    """Give the Admin API of the demo's incident, or of the population that the options describe."""
    if options.admin_url or options.rows or options.trouble != "none":
        with populated(options) as population:
            sys.stdout.write(f"{population}\n")
            yield population.admin_url
        return
    with (
        TemporaryDirectory(prefix="restate-lab-") as folder,
        Embedded(install_server(options.server_version), Path(folder), story=STORIES["incident"]) as demo,
    ):
        yield demo.server.admin_url


class Worker:
    """One checkout's package in a process that stays, so that imports and connections are not measured again.

    The program reads the name of a task from each line of its input, and prints what it measured as JSON.
    """

    def __init__(self, program: str, checkout: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env={**clean_environment(), "PYTHONPATH": os.fspath(checkout)},
        )
        self.results: dict[str, list[dict[str, Any]]] = {}

    def __call__(self, task: str) -> float:
        """Return the seconds of a task in that process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        self.results.setdefault(task, []).append(result)
        return float(result["seconds"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _whole(times: dict[str, list[float]], workers: dict[str, Worker]) -> str:
    rows = []
    for name, seconds in times.items():
        worker = next(workers[version] for version in sorted(workers, reverse=True) if name.endswith(version))
        results = worker.results[name.removesuffix(" of the other version")][1:]
        cpu, peak = statistics.median(each["cpu"] for each in results), max(each["peak"] for each in results)
        figures = (statistics.median(seconds), min(seconds), cpu)
        rows.append(
            (name, *(f"{each:,.2f}" for each in figures), f"{peak:,.0f}", f"{ratio(seconds, times[YARDSTICK]):.2f}")
        )
    return table(("what", "median s", "best s", "CPU s", "peak MiB", "× the doctor and waits"), rows)


def _chapters(workers: dict[str, Worker]) -> str:
    """Return the median time of each chapter, as HTML."""
    columns = [[each["chapters"] for each in worker.results[HTML][1:]] for worker in workers.values()]
    rows = [
        (chapter, *(f"{statistics.median(each[chapter] for each in column) * 1000:,.0f}" for column in columns))
        for chapter in columns[0][0]
    ]
    return table(("chapter", *(f"median ms{version}" for version in workers)), rows)


def _figures(times: dict[str, list[float]], workers: dict[str, Worker]) -> Iterator[Figure]:
    peak = max(each["peak"] for each in workers[""].results[HTML])
    yield Figure("peak of memory, MiB", peak, at_most=MEMORY)
    for version in list(workers)[1:]:
        for task in (HTML, PDF):
            yield Figure(f"{task}, × the other version", ratio(times[task], times[f"{task}{version}"]), at_most=AT_MOST)


if __name__ == "__main__":
    main()
