"""Waits of random worlds; this file computes their deadlocks, roots and queues from the planted calls."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import networkx as nx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.waits import Waits, waits
from support.bench import wait_for
from support.clusters import KINDS
from support.wait_services import running_waits

pytestmark = pytest.mark.server

KEYS = 40
SEED = 452  # of a planted with four deadlocks, one possible one, and members that wait for several keys
Orders = Mapping[str, list[str]]
Node = str | tuple[str, int, str]


@dataclass(frozen=True)
class PlantedWaits:
    """The planted waits, the holder of each key, and the result of waits()."""

    orders: Orders
    holders: Mapping[str, str]
    found: Waits

    @property
    def graph(self) -> nx.DiGraph:
        """Return the graph of waits: holders by id, their calls by a tuple."""
        graph = nx.DiGraph()
        for key, wanted in self.orders.items():
            for number, each in enumerate(wanted):
                waiter, call = self.holders[key], (key, number, "takes")
                if each.startswith("~"):
                    graph.add_edge(waiter, (key, number, "fetches"))
                    waiter = (key, number, "fetches")
                graph.add_edge(waiter, call)
                graph.add_edge(call, self.holders[each.removeprefix("~")])
        return graph

    @property
    def stuck(self) -> set[Node]:
        """Return the holders that can never go on, whatever each of them chooses, and the calls that wait for these."""
        goes = {key for key, wanted in self.orders.items() if not wanted}
        while more := {
            key
            for key, wanted in self.orders.items()
            if key not in goes and any(each.removeprefix("~") in goes for each in wanted)
        }:
            goes |= more
        stuck = {self.holders[key] for key in self.orders.keys() - goes}
        return {node for node in self.graph if (self._awaited(node) if isinstance(node, tuple) else node) in stuck}

    def _awaited(self, call: tuple[str, int, str]) -> str:
        key, number, _ = call
        return self.holders[self.orders[key][number].removeprefix("~")]


@pytest.fixture(scope="module", params=KINDS)
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlantedWaits]:
    """Give a planted in which every holder has a key and then, on a sign, waits for keys of others."""
    with running_waits(request.param, tmp_path_factory.mktemp("random")) as lab:
        orders = _orders(random.Random(SEED))  # noqa: S311 - no secret
        sent = {key: lab.ingress.send("Depot", "obey", wanted, key=key) for key, wanted in orders.items()}
        holders = {key: each.invocation_id for key, each in sent.items()}
        wait_for(lambda: len(waits(lab).open_awakeables), lambda seen: seen == KEYS, within=60)
        for sign in waits(lab).open_awakeables["detail"]:
            lab.ingress.resolve_awakeable(sign, "go")
        calls = sum(map(len, orders.values()))
        fetches = sum(each.startswith("~") for wanted in orders.values() for each in wanted)
        wait_for(lambda: _settled(lab), lambda seen: seen == (calls, KEYS + fetches), within=60)
        yield PlantedWaits(orders, holders, waits(lab))


def _orders(chance: random.Random) -> Orders:
    keys = [f"k{number}" for number in range(KEYS)]
    kinds = chance.choices(["one", "through", "two", "none"], [10, 4, 3, 3], k=KEYS)
    how_many = {"one": 1, "through": 1, "two": 2, "none": 0}
    return {
        key: [("~" if kind == "through" else "") + each for each in chance.sample(keys, how_many[kind])]
        for key, kind in zip(keys, kinds, strict=True)
    }


def _settled(lab: rl.Lab) -> tuple[int, int]:
    """Return how many are queued, and how many are suspended without a signal to go on."""
    seen = lab.sql("SELECT status, suspended_waiting_for_signals AS signals FROM sys_invocation_status")
    first_sign = [17 in (signals if signals is not None else []) for signals in seen["signals"]]
    suspended = seen["status"].eq("suspended") & ~pd.Series(first_sign, dtype=bool)
    return int(seen["status"].eq("inboxed").sum()), int(suspended.sum())


def test_every_deadlock_is_found_and_no_other(planted: PlantedWaits) -> None:
    """A deadlock is certain if none of its members can leave it, otherwise possible; each is named once."""
    graph = planted.graph
    certain = _circles(graph.subgraph(planted.stuck))
    possible = [each for each in _circles(graph) if not any(each & circle for circle in certain)]
    assert (len(certain), len(possible)) == (4, 1)
    for expected, is_certain in ((certain, True), (possible, False)):
        rows = planted.found.deadlocks[planted.found.deadlocks["certain"] == is_certain]
        named = [{id_ for id_ in members if id_ in set(planted.holders.values())} for members in rows["members"]]
        assert len(named) == len(expected)
        for circle in expected:
            (members,) = [each for each in named if each <= circle]
            assert members


def test_roots_and_their_waiters_are_counted(planted: PlantedWaits) -> None:
    graph = planted.graph
    roots = {node for node in graph if not graph.out_degree(node)}
    expected = {node: (graph.in_degree(node), len(nx.ancestors(graph, node))) for node in roots}
    assert {row.id: (row.direct_waiting, row.total_waiting) for row in planted.found.blockers.itertuples()} == expected
    components = [set(each) for each in nx.strongly_connected_components(graph)]
    for row in planted.found.deadlocks.itertuples():
        (circle,) = [each for each in components if set(row.members) & each]
        behind = set().union(*(nx.ancestors(graph, node) for node in circle)) - circle
        assert row.waiting == len(behind)


def _circles(graph: nx.DiGraph) -> list[set[str]]:
    components = [set(each) for each in nx.strongly_connected_components(graph) if len(each) > 1]
    return [{node for node in each if isinstance(node, str)} for each in components]
