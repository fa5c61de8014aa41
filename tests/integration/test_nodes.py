"""Three nodes: the cluster's results, and its results when one node is killed and comes back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.demo.api import Api
from restate_lab.demo.embedded import start_services
from support.bench import wait_for
from support.demo.nodes import Node, Nodes

pytestmark = pytest.mark.server

KEYS = 40
COUNT = "SELECT count(*) AS n, count(DISTINCT target_service_key) AS keys FROM sys_invocation_status"


@pytest.fixture(scope="module")
def nodes(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Give three nodes with an invocation on each of forty keys, so that every partition has some."""
    folder = tmp_path_factory.mktemp("nodes")
    services, address = start_services(folder)
    with services, Nodes(server, folder) as running:
        first = running.nodes[0]
        with contextlib.closing(Api(first.admin_url, first.ingress_url, audit=folder)) as api:
            api.register(address)
            for number in range(KEYS):
                api.send(f"Inventory/product-{number}/restock", number)
        yield running


def read(node: Node) -> list[int]:
    with rl.connect(node.admin_url) as lab:
        return lab.sql(COUNT).iloc[0].tolist()


def test_every_node_answers_for_all(nodes: Nodes) -> None:
    assert [read(node) for node in nodes.nodes] == [[KEYS, KEYS]] * 3
    for node in nodes.nodes:
        with rl.connect(node.admin_url) as lab:
            assert lab.ingress.address == node.ingress_url


@pytest.mark.parametrize(
    "victim", [pytest.param(0, id="the founder"), pytest.param(2, id="another", marks=pytest.mark.long)]
)
def test_reads_survive_the_death_and_the_return_of_a_node(victim: int, nodes: Nodes) -> None:
    """After kill -9 of a node a read through the others is right within 30 seconds, and stays right when it returns."""
    one, other = (node for number, node in enumerate(nodes.nodes) if number != victim)
    with rl.connect(one.admin_url) as lab:
        assert lab.sql(COUNT)["n"][0] == KEYS
        nodes.nodes[victim].kill()
        killed = time.monotonic()
        assert lab.sql(COUNT)["n"][0] == KEYS
        assert read(other) == [KEYS, KEYS]
        assert time.monotonic() - killed < 30

        nodes.nodes[victim].start()
        started = time.monotonic()
        # Partitions move for some seconds after the return, and reads in this time get a correct result late.
        while time.monotonic() - started < 8:
            assert lab.sql(COUNT)["n"][0] == KEYS
    nodes.wait_until_ready()
    # a new connection knows nothing about the node's return
    wait_for(lambda: read(nodes.nodes[victim]), lambda seen: seen == [KEYS, KEYS])
