"""Three nodes, of which one is killed while another one handles a query or a change."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.history.store import locate_store
from support.bench import wait_for, wait_until_served
from support.bulk import READY, SERVICES, Bulk
from support.demo.nodes import Nodes
from support.fault_panels import closing, mark_visible, panel_threads
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

ALL = "SELECT id, target, status, created_at FROM sys_invocation_status WHERE id IN :ids ORDER BY id"


@dataclass
class NodesBench:
    """Three nodes with invocations in all partitions; the first one is read, and one of the others is killed."""

    nodes: Nodes
    lab: Lab
    later: tuple[str, ...]

    @contextlib.contextmanager
    def losing(self, victim: int, where: bytes, *, number: int, passes: float) -> Iterator[tuple[Lab, Fault]]:
        """Give a connection on which a node dies after a part of the response; the node is back when the block ends."""
        fault = Fault(where, number, passes=passes, end="go on", meanwhile=self.nodes.nodes[victim].kill)
        first = self.nodes.nodes[0]
        try:
            with tcp_relay(first.admin_url, fault=fault) as line, rl.connect(line.url, audit=first.base_dir) as lab:
                yield lab, fault
            assert fault.happened == 1
        finally:
            self.nodes.nodes[victim].start()
            self.nodes.wait_until_ready()
            # partitions still move for a short time
            wait_for(lambda: self.lab.arrow(ALL, ids=self.later).num_rows == len(self.later))


@pytest.fixture(scope="module")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodesBench]:
    folder = tmp_path_factory.mktemp("faulty-nodes")
    services, uri = start_services(folder, SERVICES)
    with services, Nodes(server, folder / "nodes") as running:
        first = running.nodes[0]
        with rl.connect(first.admin_url, ingress_url=first.ingress_url, audit=folder / "audit") as lab:
            bulk = Bulk("1.7.12", lab, folder, uri, str(lab.admin.create_deployment(uri=uri).id))
            wait_until_served(lab, *READY)
            bulk.fill("answer", 60)
            yield NodesBench(running, lab, bulk.fill("later", 3000))


def whole_or_interrupted(look: Callable[[], object], expected: object) -> str:
    try:
        got = look()
    except (errors.QueryInterrupted, errors.Unreachable):  # the second, if its partitions are not taken over in time
        return "interrupted"
    assert got == expected
    return "whole"


@pytest.mark.long  # integration/test_nodes.py has one death during reads
def test_a_node_dies_during_queries(bench: NodesBench, tmp_path: Path) -> None:
    """A read while a node dies is complete, or a clear error; afterwards it is complete again."""
    expected = bench.lab.arrow(ALL, ids=bench.later).to_pylist()
    with bench.losing(1, b"/query", number=1, passes=3000) as (lab, _):

        def read() -> str:
            return whole_or_interrupted(lambda: lab.arrow(ALL, ids=bench.later, progress=False).to_pylist(), expected)

        assert read() == "whole"
        read()
        wait_for(lambda: read() == "whole")


@pytest.mark.long
def test_a_node_dies_during_a_freeze(bench: NodesBench, tmp_path: Path) -> None:
    """Evidence is complete, or there is an error and no file; the next one is complete."""
    expected = bench.lab.arrow(ALL, ids=bench.later).to_pylist()
    with bench.losing(1, b"/query", number=8, passes=10) as (lab, _):

        def freeze() -> Path | str | None:
            try:
                return rl.freeze(lab, tmp_path / "x.evidence", progress=False)
            except errors.QueryInterrupted:
                assert list(tmp_path.iterdir()) == []
                return None

        path = wait_for(freeze, within=60)
    with rl.open_evidence(path) as evidence:
        assert evidence.arrow(ALL, ids=bench.later).to_pylist() == expected


@pytest.mark.long
@pytest.mark.parametrize("number", [2, 6, 8])  # the schema, the list of ended runs, or their journals
def test_a_node_dies_during_a_visit_of_an_archiver(bench: NodesBench, tmp_path: Path, number: int) -> None:
    """The visit is complete, or recorded as failed without incomplete runs; then one is complete, without a gap."""
    statement = "SELECT id FROM sys_invocation_status WHERE completed_at IS NOT NULL"
    expected = sorted(bench.lab.sql(statement)["id"])
    where, failed = tmp_path / "archive", 0
    locate_store(where).create()
    with bench.losing(1, b"/query", number=number, passes=300) as (lab, _):

        def visit() -> bool:
            nonlocal failed
            try:
                rl.archive(lab, where, cluster_name="c", progress=False, timeout="20s")
            except (errors.QueryInterrupted, errors.Unreachable, errors.ServerFailed, errors.TimedOut):
                failed += 1
                return False
            return True

        wait_for(visit, within=90)
    with rl.open_history(where) as history:
        wait_for(lambda: rl.archive(bench.lab, where, cluster_name="c", progress=False) is not None, within=60)
        outcomes = history.sql("SELECT outcome FROM visits")["outcome"].tolist()
        sys.stdout.write(f"query {number}: {failed} visits failed\n")
        assert (outcomes.count("failed"), outcomes.count("complete")) == (failed, 1)
    with rl.open_history(where) as history:
        runs = history.sql("SELECT id, journal_size FROM sys_invocation ORDER BY id")
        assert list(runs["id"]) == expected
        entries = history.sql("SELECT id, count(*) AS n FROM sys_journal GROUP BY id ORDER BY id")
        assert entries["n"].tolist() == runs.loc[runs["journal_size"] > 0, "journal_size"].tolist()
        assert {each.reason for each in history.coverage.gaps} <= {
            "the cluster does not keep its completed invocations"
        }


@pytest.mark.long
def test_a_node_dies_under_an_open_panel(bench: NodesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At any time the panel shows all of its rows, or reports a problem; then it is right by itself."""
    ids = sorted(bench.later[:200])
    monkeypatch.setattr(rl.Panel, "run_doctor", lambda _: None)  # so that only the list reads
    with bench.losing(1, b"/query", number=3, passes=10) as (lab, fault):
        panel = rl.Panel(lab, id=ids, refresh=0.2)
        with closing(panel):
            seen: list[tuple[str, list[str]]] = []

            def look() -> bool:
                mark_visible(panel)
                rows, error = sorted(panel.frame["id"]), panel.error
                seen.append((error, rows))
                return bool(fault.happened and not error and panel._read_at > died)

            wait_for(lambda: (mark_visible(panel), fault.happened)[1], within=60)
            died = datetime.now(UTC)
            wait_for(look, within=60)
            assert [error for error, rows in seen if rows != ids] == []
            assert len(panel_threads()) <= 2  # one reads the rows, one the counts
