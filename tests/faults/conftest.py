"""The world of the fault tests: one real server, with data of every kind."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from restate_lab.demo.embedded import start_services
from support import state_services, wait_services
from support.bench import once_served, wait_for
from support.bulk import running_bulk
from support.clusters import NEWEST
from support.fault_verbs import FaultBench, learn

KIND = os.environ.get("RESTATE_LAB_FAULTS_ON", NEWEST)
"""The kind of server: "1.7.12-plain" is tested every night."""
FAILURES = "SELECT count(*) AS n FROM sys_journal_events WHERE id = :id"
ENDED = 800
LATER = 300


@pytest.fixture(scope="package")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultBench]:
    """Give a server with held keys, waiters, open steps, ended and delayed invocations, and state."""
    folder = tmp_path_factory.mktemp("faults")
    with contextlib.ExitStack() as stack:
        bulk = stack.enter_context(running_bulk(KIND, folder / "bulk"))
        for services in (wait_services, state_services):
            place = folder / Path(str(services.__file__)).stem
            place.mkdir()
            process, uri = start_services(place, str(services.__file__))
            stack.enter_context(process)
            bulk.lab.admin.create_deployment(uri=uri)
        ended, later = bulk.fill("answer", ENDED), bulk.fill("later", LATER)
        send = bulk.lab.ingress.send
        holder = once_served(lambda: bulk.lab.ingress.send("Depot", "hold", key="north")).invocation_id
        wait_for(lambda: bulk.status(holder) == "suspended")
        waiter = send("Depot", "take", key="north").invocation_id
        send("Depot", "take", key="north")
        failing = send("Depot", "spoil", key="south").invocation_id
        wait_for(lambda: bulk.lab.sql(FAILURES, id=failing)["n"][0])
        # With vqueues it waits for its next attempt in a queue.
        wait_for(lambda: bulk.status(failing) == ("ready" if bulk.has_vqueues else "backing-off"))
        wait_for(lambda: bulk.status(waiter) == "pending")
        bulk.lab.ingress.call("Drawer", "put", {"n": 0}, key="first")
        bench = FaultBench(bulk, folder, holder, waiter, later, iter(ended), bulk.lab.now + timedelta(0))
        bench.numbers = itertools.count()
        learn(bench)
        yield bench
