"""The CPU of the server for questions and verbs, against another checkout: ``statements.py --against ../other``.

Both packages are asked in turn on one server, each in a process that stays; the ratios are taken within a round. The
population is that of ``populate.py``; with ``--vqueues`` it is on a server with vqueues. ``frame`` is ``lab.sql`` of
the standard columns, for the CPU of the client. Make the other checkout with ``git worktree add ../other COMMIT``.
"""

from __future__ import annotations

import statistics
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
from archive import cpu_of, server_of
from methods import QUERIES
from populate import arguments, populated
from report import HERE, Worker
from rounds import Figure, in_turn, ratio, show, table, versions

AT_MOST = {False: 1.2, True: 1.1}  # × the other checkout, without and with vqueues
REPEATS = 3  # calls that are measured together: the CPU of a process has a resolution of 10 ms
QUESTIONS = (
    *("overview", "retry_storm", "retry_storm_ids", "backlog_by_key", "blocked_keys", "deployment_pins"),
    *("failing_deployments", "pinned_to_missing", "oldest_unmoved", "largest_journals", "restarts", "wakes_next"),
)
VERBS = ("card", "waits", "doctor", "why suspended", "why invoked", "why inboxed", "frame")
PROGRAM = """
import json, sys, time, warnings
import restate_lab as rl

warnings.simplefilter("ignore")
admin_url, repeats, frame = sys.argv[1:]
lab = rl.connect(admin_url, read_only=True)
ids = {}

def why(status):
    if status not in ids:
        one = f"SELECT id FROM sys_invocation_status WHERE status = '{status}' LIMIT 1"
        ids[status] = lab.arrow(one, progress=False)["id"][0].as_py()
    rl.why(lab, ids[status])

VERBS = {
    "card": lambda: lab._count_statuses(),
    "waits": lambda: rl.waits(lab),
    "doctor": lambda: rl.doctor(lab),
    "frame": lambda: lab.sql(frame, progress=False),
}
for line in sys.stdin:
    task = line.strip()
    busy, started = time.process_time(), time.perf_counter()
    for _ in range(int(repeats)):
        VERBS[task]() if task in VERBS else why(task[4:]) if task.startswith("why ") else rl.ask(lab, task)
    print(json.dumps({"cpu": time.process_time() - busy, "seconds": time.perf_counter() - started}), flush=True)
"""


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--against", type=Path, required=True, help="the folder of another checkout")
    parser.add_argument("--tasks", nargs="+", choices=(*QUESTIONS, *VERBS), default=(*QUESTIONS, *VERBS))
    parser.set_defaults(rows=30_000, trouble="small", rounds=9)
    options = parser.parse_args()
    with populated(options) as population, ExitStack() as stack:
        server = server_of(population.admin_url)
        workers = [
            stack.enter_context(Worker(PROGRAM, folder, population.admin_url, str(REPEATS), QUERIES["std"]))
            for folder in (HERE, options.against.resolve())
        ]
        sys.stdout.write(f"{population}; {options.rounds} rounds; {versions(population.version)}\n\n")
        rows, figures = [], []
        for task in options.tasks:
            methods = {str(number): partial(_server_cpu, server, worker, task) for number, worker in enumerate(workers)}
            ours, others = in_turn(methods, options.rounds).values()
            clients = [[each["cpu"] for each in worker.results[task][1:]] for worker in workers]
            medians = (statistics.median(each) * 1000 / REPEATS for each in (ours, others, *clients))
            rows.append((task, *(f"{each:,.1f}" for each in medians), f"{ratio(*clients):.2f}"))
            figures.append(Figure(task, ratio(ours, others), at_most=AT_MOST[options.vqueues]))
        header = ("what", "server, CPU ms", "the other", "client, CPU ms", "the other", "× the other")
        sys.stdout.write(f"{table(header, rows)}\n\nCPU of the server, × the other checkout\n{show(figures)}\n")


def _server_cpu(server: psutil.Process, worker: Worker, task: str) -> float:
    before = cpu_of(server)
    worker(task)
    return cpu_of(server) - before


if __name__ == "__main__":
    main()
