"""Fill a server through its public ingress: ``populate.py --rows 100000 --admin-url … --ingress-url …``.

``--rows`` counts invocations without trouble: most are ``scheduled`` calls, appended 500 at a time by one invocation (6
to 9 thousand a second on two cores); a share is executed and leaves journals, some with failures. ``--trouble`` adds a
cluster in trouble: invocations that are suspended, back off, have failed, and queue for keys; ``small`` (26,000
invocations) is ready within a minute, ``large`` (126,000) after several.

Only a deployment is registered through the Admin API. Without addresses a temporary server is filled and kept until
Enter is pressed. The other benchmarks call ``populated()``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from restate_lab.demo.embedded import start_services
from restate_lab.demo.install import PINNED, install_server
from restate_lab.demo.server import RestateServer

BATCH = 500  # calls that one invocation appends
AT_ONCE = 4  # invocations of the filler
SETTLED_WITHIN = 600.0  # seconds
TROUBLE = {
    "none": {},
    "small": {
        "suspended": 20_000,
        "retrying": 3_000,
        "failed": 3_000,
        "queued": 100,
    },
    "large": {
        "suspended": 99_980,  # besides those that hold a key
        "retrying": 5_000,
        "failed": 20_000,
        "queued": 1_000,
    },
}
"""The number of each kind in a population; ``--suspended`` adds to it."""


@dataclass(frozen=True)
class Population:
    admin_url: str
    ingress_url: str
    version: str
    statuses: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(self.statuses.values())

    def __str__(self) -> str:
        statuses = ", ".join(f"{rows:,} {status}" for status, rows in self.statuses.items())
        return f"{self.rows:,} invocations ({statuses})"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="invocations to have at least (100000)")
    parser.add_argument("--executed", type=float, default=0.05, help="the share of new rows that really runs (0.05)")
    parser.add_argument("--trouble", choices=TROUBLE, default="none", help="a cluster in trouble besides (none)")
    parser.add_argument("--suspended", type=int, default=0, help="suspended invocations: asleep, calling, asking (0)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, five or more to mean anything (7)")
    parser.add_argument("--admin-url", help="a running server; without it a temporary one is started")
    parser.add_argument("--ingress-url", help="its ingress")
    parser.add_argument("--server-version", default=PINNED, help=f"version of the temporary server ({PINNED})")
    parser.add_argument("--vqueues", action="store_true", help="make the temporary server one with vqueues")
    return parser


@contextmanager
def populated(options: argparse.Namespace) -> Iterator[Population]:
    """Give a server with at least ``options.rows`` invocations: the running one that was named, or a temporary one."""
    if options.admin_url:
        yield _filled(options.admin_url, options.ingress_url, options)
        return
    binary, env = install_server(options.server_version), {"RESTATE_DEFAULT_NUM_PARTITIONS": "24"}  # without settings
    with RestateServer(binary, vqueues=options.vqueues, env=env) as server:
        yield _filled(server.admin_url, server.ingress_url, options)


def _filled(admin_url: str, ingress_url: str | None, options: argparse.Namespace) -> Population:
    with httpx.Client(base_url=admin_url, timeout=60) as admin:
        version = admin.get("/version").json()
        ingress = ingress_url or version["ingress_endpoint"]
        existing = sum(_statuses(admin).values())
        trouble = {} if existing else dict(TROUBLE[options.trouble])
        trouble["suspended"] = trouble.get("suspended", 0) + options.suspended
        if existing < options.rows or any(trouble.values()):
            _fill(admin, ingress, range(existing, options.rows), trouble, options.executed)
        return Population(admin_url, ingress, version["version"], _statuses(admin))


def _fill(
    admin: httpx.Client, ingress_url: str, numbers: range, trouble: Mapping[str, int], executed_share: float
) -> None:
    started = time.monotonic()
    executed = round(len(numbers) * executed_share)
    first_scheduled = numbers.start + executed
    before = _statuses(admin)
    program = str(Path(__file__).with_name("services.py"))
    with TemporaryDirectory(prefix="restate-lab-") as folder:
        services, address = start_services(Path(folder), program)
        with services, httpx.Client(base_url=ingress_url, timeout=600) as ingress:
            admin.post("/deployments", json={"uri": address, "force": True}).raise_for_status()
            _append(ingress, "execute", range(numbers.start, first_scheduled))
            _append(ingress, "schedule", range(first_scheduled, numbers.stop))
            for kind in ("suspended", "retrying", "failed", "queued"):
                _append(ingress, kind, range(trouble.get(kind, 0)))
            _settle(admin, before.get("invoked", 0) + trouble.get("retrying", 0))
    seconds = time.monotonic() - started
    sys.stderr.write(f"{sum(_statuses(admin).values()):,} invocations after {seconds:.0f} s\n")


def _append(ingress: httpx.Client, kind: str, numbers: range) -> None:
    batches = [(kind, start, min(start + BATCH, numbers.stop)) for start in range(numbers.start, numbers.stop, BATCH)]

    def call(batch: tuple[str, int, int]) -> None:
        ingress.post("/Filler/append", json=batch).raise_for_status()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(call, batches))


def _settle(admin: httpx.Client, retrying: int) -> None:
    """Wait until only invocations that back off are active: the data must not change during a benchmark."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while busy := _statuses(admin).get("invoked", 0) - retrying or _running(admin):
        if time.monotonic() > deadline:
            sys.exit(f"{busy:,} invocations were still running after {SETTLED_WITHIN:g} s")
        time.sleep(0.5)


def _statuses(admin: httpx.Client) -> dict[str, int]:
    query = "SELECT status, count(*) AS n FROM sys_invocation_status GROUP BY status ORDER BY n DESC"
    return {row["status"]: int(row["n"]) for row in _rows(admin, query)}


def _running(admin: httpx.Client) -> int:
    return int(_rows(admin, "SELECT count(*) AS n FROM sys_invocation_state WHERE in_flight")[0]["n"])


def _rows(admin: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = admin.post("/query", json={"query": query}, headers={"accept": "application/json"}).raise_for_status()
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


def main() -> None:
    options = arguments(__doc__).parse_args()
    with populated(options) as population:
        sys.stdout.write(f"{population}\nadmin {population.admin_url}, ingress {population.ingress_url}\n")
        if not options.admin_url and sys.stdin.isatty():
            input("Enter ends the server. ")


if __name__ == "__main__":
    main()
