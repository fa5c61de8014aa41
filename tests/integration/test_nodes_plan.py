"""A plan on three nodes, one of which is killed during the execution."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.actions.execution import runner
from restate_lab.actions.plan import plan
from restate_lab.audit import audit_log
from restate_lab.demo.embedded import start_services
from restate_lab.progress import NoProgress
from support.bench import wait_until_served
from support.bulk import READY, SERVICES, Bulk
from support.demo.nodes import Nodes

pytestmark = [pytest.mark.server, pytest.mark.long]  # test_nodes.py kills one during reads

MANY = 3000
RESTARTS = "SELECT restarted_from, id FROM sys_invocation_status WHERE restarted_from IN :ids"


@pytest.fixture(scope="module")
def nodes(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, Bulk]]:
    """Give three nodes, and a connection through the first of them."""
    folder = tmp_path_factory.mktemp("nodes-plan")
    services, uri = start_services(folder, SERVICES)
    with services, Nodes(server, folder / "nodes") as running:
        first = running.nodes[0]
        with rl.connect(first.admin_url, ingress_url=first.ingress_url, audit=folder / "audit") as lab:
            deployment = str(lab.admin.create_deployment(uri=uri).id)
            wait_until_served(lab, *READY)
            yield running, Bulk("1.7.12", lab, folder, uri, deployment)


def test_plans_account_for_every_id_although_a_node_is_killed(
    nodes: tuple[Nodes, Bulk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests to the dead node are repeated through the others; this does not restart an invocation twice."""
    running, bulk = nodes
    monkeypatch.setattr(runner, "SEEN_WITHIN", 30.0)  # a new leader may show ended invocations for some seconds
    later, ended = bulk.fill("later", MANY), bulk.fill("answer", 200)
    plans = plan(bulk.lab, "cancel", later), plan(bulk.lab, "restart_as_new", ended)

    with ThreadPoolExecutor(1) as pool:

        class Killer(NoProgress):
            def update(self, rows: int, size: int) -> None:
                """Kill a node after the first thousand, and start another plan at the same time."""
                if rows == 1000:
                    running.nodes[1].kill()
                    started.append(pool.submit(plans[1].execute, reason="a test", expect=200, progress=NoProgress()))

        started: list[Future[pd.DataFrame]] = []
        cancelled = plans[0].execute(reason="a test", expect=MANY, progress=Killer())
        restarted = started[0].result()

    assert cancelled["id"].tolist() == list(later)
    assert bulk.count(later) == (cancelled["outcome"] == "unknown").sum()
    found = bulk.lab.sql(RESTARTS, ids=ended)
    assert found["restarted_from"].is_unique
    done = restarted[restarted["outcome"] == "done"]
    assert dict(zip(done["id"], done["new_id"], strict=True)).items() <= dict(found.to_numpy()).items()
    for frame in (cancelled, restarted):
        # A leader that loses its place reports an unknown outcome; that happens, but rarely.
        assert set(frame["outcome"]) <= {"done", "unknown"}
        assert (frame["outcome"] == "done").mean() > 0.5
        written = audit_log(bulk.audit, change=frame.attrs["change"])
        assert written["outcome"].tolist() == frame["outcome"].tolist()
