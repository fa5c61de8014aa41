"""Responses of another shape, from a proxy or a later server: the right result or one clear error, for every verb."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.client.schema import FAMILIES, selected_columns
from support.clusters import Cluster
from support.reshaped import KINDS, VERBS, Case, ReshapingProxy, format_result, problem

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore")]

FEW = ("ask: deployment_pins", "ask: overview", "ask: retry_storm")
"""Questions: one function reads all of them."""
STATUSES = "SELECT id, status, journal_size FROM sys_invocation_status ORDER BY created_at, id"
OBJECTS = "SELECT service_name, service_key FROM state ORDER BY service_name, service_key LIMIT 1"


@dataclass
class Try:
    """A server behind a proxy, and the invocations that the verbs read."""

    cluster: Cluster
    folder: Path
    proxy: ReshapingProxy
    ids: dict[str, Any]

    def cases(self, name: str) -> tuple[Callable[[], Any], str, list[Case]]:
        """Return a verb to be run, its good response, and the possible faults."""

        def run() -> Any:
            with warnings.catch_warnings(), self.proxy.lab(self.cluster.admin_url, self.folder) as lab:
                warnings.simplefilter("ignore")
                return VERBS[name](lab, self.ids, self.folder)

        self.proxy.case = None
        self.proxy.seen.clear()
        good = format_result(run())
        return run, good, list(self.proxy.cases())

    def problems(self, name: str, *, each: Callable[[list[Case]], list[Case]]) -> list[str]:
        run, good, cases = self.cases(name)
        found = []
        for case in each(cases):
            self.proxy.case = case
            told = problem(run, case, good)
            found += [f"{name}, {case.column} {case.way} in {case.statement[:80]}: {told}"] if told else []
        return found


def tried(cluster: Cluster, folder: Path) -> Try:
    with rl.connect(cluster.admin_url, audit=folder / "audit") as lab:
        rows = lab.sql(STATUSES, progress=False)
        thing = lab.sql(OBJECTS, progress=False).iloc[0]
    going = rows[rows["status"] != "completed"].groupby("status").head(2)
    ended = rows[(rows["status"] == "completed") & (rows["journal_size"] > 0)].head(2)
    ids = {"open": list(going["id"]), "ended": list(ended["id"]), "object": tuple(thing)}
    return Try(cluster, folder, ReshapingProxy(), ids)


@pytest.fixture(scope="module")
def newest_try(newest: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Try:
    return tried(newest, tmp_path_factory.mktemp("schema"))


def one_of_each_way(cases: list[Case]) -> list[Case]:
    """Return one case for each way, each of another statement or column."""
    ways = [[case for case in cases if case.way == way] for way in KINDS]
    return [some[at * len(some) // len(KINDS)] for at, some in enumerate(ways) if some]


@pytest.mark.parametrize("name", [name for name in VERBS if not name.startswith("ask") or name in FEW])
def test_a_response_of_another_shape_is_one_clear_error(newest_try: Try, name: str) -> None:
    """A column dropped, renamed, of another type or null: never a raw error, never a wrong result."""
    assert newest_try.problems(name, each=one_of_each_way) == []


@pytest.fixture(scope="module")
def incident_try(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Try:
    return tried(incident, tmp_path_factory.mktemp("schema"))


@pytest.mark.long
@pytest.mark.parametrize("name", VERBS)
def test_every_column_of_every_response_in_every_way(incident_try: Try, name: str) -> None:
    """The same for each column of each response, on every kind of server; the type of each column is known."""
    try:
        assert incident_try.problems(name, each=list) == []
    except rl.errors.NotOnThisServer:
        return
    # A freeze reads whole tables, whose columns have the server's types.
    statements = [each for each in incident_try.proxy.seen if not each.startswith('SELECT "')]
    names = {column.name for each in statements for column in selected_columns(each)}
    assert {each for each in names if each not in FAMILIES} == set()


READ_NOW = "pinned_service_protocol_version"


def test_an_execution_that_cannot_be_read_says_what_was_done(newest_try: Try, newest: Cluster) -> None:
    """Statuses of another shape: nothing is sent before they can be read, and the outcome has a row per target."""
    proxy = ReshapingProxy(remembers=False)
    with proxy.lab(newest.admin_url, newest_try.folder) as lab:
        first, second = (lab.ingress.send("Inventory", "restock", 1, key="lamp", delay="1day") for _ in range(2))
        plan = rl.plan(lab, "cancel", [first.invocation_id])
        proxy.seen.clear()
        assert plan.execute(reason="a test")["outcome"].tolist() == ["done"]
        statement = next(each for each in proxy.seen if READ_NOW in each)
        plan = rl.plan(lab, "cancel", [second.invocation_id])
        proxy.case = Case(statement, "status", "drop")
        outcome = plan.execute(reason="a test")
        proxy.case = None
        assert outcome["outcome"].tolist() == ["not sent"]
        assert "column 'status' is missing" in outcome["error"][0]
        assert rl.plan(lab, "cancel", [second.invocation_id]).execute(reason="a test")["outcome"].tolist() == ["done"]


@pytest.mark.parametrize("column", ["key", "value"])
def test_a_state_that_cannot_be_read_is_not_changed(newest_try: Try, newest: Cluster, column: str) -> None:
    """A state of another shape is one error, and nothing is sent."""
    proxy, (service, key) = newest_try.proxy, newest_try.ids["object"]
    with proxy.lab(newest.admin_url, newest_try.folder) as lab:
        proxy.case = None
        proxy.seen.clear()
        before = rl.state(lab, service, key)
        statement = next(each for each in proxy.seen if " FROM state " in each)
        proxy.case = Case(statement, column, "drop")
        with pytest.raises(rl.errors.ServerFailed, match=f"column '{column}' is missing.*runs restate 1.7"):
            rl.set_state(lab, service, key, {"n": 1}, reason="a test")
        proxy.case = None
        assert dict(rl.state(lab, service, key)) == dict(before)
