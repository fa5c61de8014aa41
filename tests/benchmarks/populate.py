"""Fill a server through its public ingress: ``populate.py --rows 100000 --admin-url … --ingress-url …``.

Most rows are ``scheduled`` calls, appended 500 at a time by one invocation (6 to 9 thousand a second on two cores);
a share is really executed and leaves journals, some with failures; some wait where ``--suspended`` says how many.
Without addresses a temporary server is filled and kept until Enter is pressed. The other benchmarks call
``populated()``.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from restate_lab.demo.install import PINNED, install_server
from restate_lab.demo.process import Process, clean_environment
from restate_lab.demo.server import RestateServer

__all__ = ["Population", "arguments", "populated"]

BATCH = 500  # calls that one invocation appends
AT_ONCE = 4  # invocations of the filler
SETTLED_WITHIN = 300.0  # seconds
AT_REST = {"completed", "scheduled", "suspended"}


@dataclass(frozen=True)
class Population:
    """A server with rows on it."""

    admin_url: str
    ingress_url: str
    version: str
    statuses: dict[str, int]

    @property
    def rows(self) -> int:
        """Return the number of invocations."""
        return sum(self.statuses.values())

    def __str__(self) -> str:
        statuses = ", ".join(f"{rows:,} {status}" for status, rows in self.statuses.items())
        return f"{self.rows:,} invocations ({statuses})"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="invocations to have at least (100000)")
    parser.add_argument("--executed", type=float, default=0.05, help="the share of new rows that really runs (0.05)")
    parser.add_argument("--suspended", type=int, default=0, help="new rows that wait, a third for another one (0)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, five or more to mean anything (7)")
    parser.add_argument("--admin-url", help="a running server; without it a temporary one is started")
    parser.add_argument("--ingress-url", help="its ingress")
    parser.add_argument("--server-version", default=PINNED, help=f"version of the temporary server ({PINNED})")
    parser.add_argument("--vqueues", action="store_true", help="make the temporary server one with vqueues")
    return parser


@contextmanager
def populated(options: argparse.Namespace) -> Iterator[Population]:
    """Give a server with at least ``options.rows`` invocations: the running one that is named, or a temporary one."""
    if options.admin_url:
        yield _filled(options.admin_url, options.ingress_url, options)
        return
    binary, env = install_server(options.server_version), {"RESTATE_DEFAULT_NUM_PARTITIONS": "24"}  # as it comes
    with RestateServer(binary, vqueues=options.vqueues, env=env) as server:
        yield _filled(server.admin_url, server.ingress_url, options)


def _filled(admin_url: str, ingress_url: str | None, options: argparse.Namespace) -> Population:
    with httpx.Client(base_url=admin_url, timeout=60) as admin:
        version = admin.get("/version").json()
        ingress = ingress_url or version["ingress_endpoint"]
        there = sum(_statuses(admin).values())
        if there < options.rows:
            _fill(admin, ingress, range(there, options.rows), options)
        return Population(admin_url, ingress, version["version"], _statuses(admin))


def _fill(admin: httpx.Client, ingress_url: str, numbers: range, options: argparse.Namespace) -> None:
    started = time.monotonic()
    executed = round(len(numbers) * options.executed)
    first_scheduled = numbers.start + executed
    with _services() as address:
        admin.post("/deployments", json={"uri": address, "force": True}).raise_for_status()
        with httpx.Client(base_url=ingress_url, timeout=600) as ingress:
            _append(ingress, "execute", range(numbers.start, first_scheduled))
            _append(ingress, "schedule", range(first_scheduled, numbers.stop - options.suspended))
            _append(ingress, "suspend", range(numbers.stop - options.suspended, numbers.stop))
        _settle(admin)
    seconds = time.monotonic() - started
    sys.stderr.write(f"{len(numbers):,} invocations in {seconds:.0f} s, {executed:,} of them executed\n")


def _append(ingress: httpx.Client, handler: str, numbers: range) -> None:
    spans = [(start, min(start + BATCH, numbers.stop)) for start in range(numbers.start, numbers.stop, BATCH)]

    def call(span: tuple[int, int]) -> None:
        ingress.post(f"/Filler/{handler}", json=span).raise_for_status()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(call, spans))


def _settle(admin: httpx.Client) -> None:
    """Wait until all that runs has ended: what a benchmark reads must not change under it."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while busy := sum(rows for status, rows in _statuses(admin).items() if status not in AT_REST):
        if time.monotonic() > deadline:
            sys.exit(f"{busy:,} invocations were still at work after {SETTLED_WITHIN:g} s")
        time.sleep(0.5)


def _statuses(admin: httpx.Client) -> dict[str, int]:
    query = "SELECT status, count(*) AS rows FROM sys_invocation_status GROUP BY status ORDER BY rows DESC"
    answer = admin.post("/query", json={"query": query}, headers={"accept": "application/json"}).raise_for_status()
    return {row["status"]: int(row["rows"]) for row in answer.json()["rows"]}


@contextmanager
def _services() -> Iterator[str]:
    """Give the address of the filling services."""
    host = Path(__file__).with_name("services.py")
    with TemporaryDirectory(prefix="restate-lab-") as folder, socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, str(host), "--fd", str(listening.fileno())]
        with Process(
            command, env=clean_environment(), log=Path(folder) / "services.log", pass_fds=(listening.fileno(),)
        ) as process:
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            except httpx.HTTPError:
                sys.stderr.write(process.last_lines())
                raise


def main() -> None:
    """Fill a server."""
    options = arguments(__doc__).parse_args()
    with populated(options) as population:
        sys.stdout.write(f"{population}\nadmin {population.admin_url}, ingress {population.ingress_url}\n")
        if not options.admin_url and sys.stdin.isatty():
            input("Enter ends the server. ")


if __name__ == "__main__":
    main()
