"""Waits on real servers of each kind: planted deadlocks, queues, chains, and waits that are never resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.analysis.waits import Waits, waits
from restate_lab.reads import Reads
from support.advice import contradictions
from support.bench import wait_for
from support.clusters import KINDS, PLAIN, Cluster, server_binary
from support.wait_services import running_waits

pytestmark = [
    pytest.mark.server,
    pytest.mark.also_on(PLAIN, reason="without vqueues, queues and holders of keys are in other tables"),
]

HOSTILE = "a/\"b'é✓"
SUSPENDED = {
    *("a1", "b1", "r1", "r2", "r3", "self", "through", "any", "both", "held", "look", "deep", "two", "follow"),
    *("ask", "rest", "consent"),
}


@dataclass(frozen=True)
class Planted:
    """A server with everything planted, the roles, and the result of waits()."""

    lab: rl.Lab
    ids: Mapping[str, str]
    found: Waits

    @property
    def reports_combinations(self) -> bool:
        """Return whether SDKs report how they combine futures, which they do with protocol 7."""
        return bool(self.lab.features.get("protocol_v7"))

    def names(self, ids: list[str]) -> list[str]:
        """Return the names of these ids; called ones, which have no name, as "·"."""
        known = {id_: name for name, id_ in self.ids.items()}
        return [known.get(id_, "·") for id_ in ids]

    def deadlock(self, name: str) -> dict[Any, Any]:
        (row,) = [row for row in self.found.deadlocks.to_dict("records") if self.ids[name] in row["members"]]
        return row

    def blocker(self, name: str) -> dict[Any, Any]:
        (row,) = self.found.blockers[self.found.blockers["id"] == self.ids[name]].to_dict("records")
        return row

    def edges(self, name: str) -> list[dict[Any, Any]]:
        return self.found.edges[self.found.edges["waiter"] == self.ids[name]].to_dict("records")


@pytest.fixture(scope="module", params=KINDS)
def planted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    folder = tmp_path_factory.mktemp("waits")
    with running_waits(request.param, folder) as lab:
        ids = _plant(lab)
        wait_for(lambda: _unsettled(lab, ids), lambda unsettled: not unsettled, within=30)
        yield Planted(lab, ids, waits(lab))


def _plant(lab: rl.Lab) -> dict[str, str]:
    send, ids = lab.ingress.send, {}

    def depot(name: str, handler: str, key: str, body: Any = None) -> None:
        ids[name] = send("Depot", handler, body, key=key).invocation_id

    for here, there in (("a1", "b1"), ("b1", "a1"), ("r1", "r2"), ("r2", "r3"), ("r3", "r1")):
        depot(here, "visit", here, there)
    depot("self", "visit", HOSTILE, HOSTILE)
    depot("through", "visit_through_office", "through", "through")
    depot("any", "visit_or_give_up", "any", "any")
    depot("both", "visit_and_rest", "both", "both")
    for here, there in (("e1", "e2"), ("e2", "e1")):
        ids[here] = send("Eager", "visit", there, key=here).invocation_id
    depot("held", "hold", "held")
    depot("spoilt", "spoil", "spoilt")
    wait_for(lambda: _statuses(lab, [ids["held"], ids["spoilt"]]), lambda seen: seen == ["invoked", "suspended"])
    for number in range(4):
        depot(f"queue{number}", "take", "held")
    depot("behind", "take", "spoilt")
    depot("look", "look", "held")
    for name, handler, body in (
        ("deep", "delegate", "held"),
        ("two", "fetch_all", ["held", "spoilt"]),
        ("follow", "follow", ids["held"]),
        ("ask", "ask", None),
        ("rest", "rest", None),
    ):
        ids[name] = send("Office", handler, body).invocation_id
    ids["consent"] = send("Consent", "run", key="w/1").invocation_id
    return ids


def _statuses(lab: rl.Lab, ids: list[str]) -> list[str]:
    return sorted(lab.sql("SELECT status FROM sys_invocation_status WHERE id IN :ids", ids=ids)["status"])


def _unsettled(lab: rl.Lab, ids: Mapping[str, str]) -> list[str]:
    """Return the invocations that do not wait yet as planted."""
    frame = lab.sql("SELECT id, status, invoked_by_id FROM sys_invocation_status WHERE status <> 'completed'")
    suspended = set(frame.loc[frame["status"] == "suspended", "id"])
    callers = set(frame.loc[frame["status"] == "inboxed", "invoked_by_id"])
    called = {ids[name] for name in ("a1", "b1", "r1", "r2", "r3", "self", "any", "both", "e1", "e2")}
    # A visitor is suspended in the sleep before, too: wait until its call queues.
    return [name for name in SUSPENDED if ids[name] not in suspended] + sorted(called - callers)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a1", "b1"], ["Depot/a1", "Depot/b1"]),
        (["r1", "r2", "r3"], ["Depot/r1", "Depot/r2", "Depot/r3"]),
        (["self"], [f"Depot/{HOSTILE}"]),
    ],
)
def test_a_circle_of_keys_is_a_deadlock(planted: Planted, names: list[str], keys: list[str]) -> None:
    """Two, three, and one alone: certain, with all members in order and the keys that they hold."""
    row = planted.deadlock(names[0])
    assert row["certain"]
    assert row["length"] == len(names)
    assert sorted(row["keys"]) == sorted(keys)
    members = planted.names(row["members"])
    assert members.count("·") == len(names)
    holders = [name for name in members if name != "·"]
    start = holders.index(names[0])
    assert [*holders[start:], *holders[:start]] == names
    assert row["cancel"] in {planted.ids[name] for name in names}
    assert row["cancel"] in row["resolution_code"]


def test_a_service_that_calls_the_key_of_its_caller_is_in_a_deadlock(planted: Planted) -> None:
    row = planted.deadlock("through")
    assert row["certain"]
    assert row["targets"] == ["Depot/through/visit_through_office", "Office/fetch", "Depot/through/take"]


def test_who_may_go_on_is_not_stuck_for_certain(planted: Planted) -> None:
    """A time-out or a running caller makes it uncertain, and all of several waits if the SDK does not report it."""
    assert not planted.deadlock("any")["certain"]
    assert "Depot/any/visit_or_give_up also waits for a sleep until" in planted.deadlock("any")["reason"]
    assert bool(planted.deadlock("both")["certain"]) is planted.reports_combinations
    assert not planted.deadlock("e1")["certain"]
    assert "Eager/e1/visit runs" in planted.deadlock("e1")["reason"]
    assert len(planted.found.deadlocks) == 7


def test_the_holder_of_a_key_is_the_root(planted: Planted) -> None:
    """Its queue, their callers up to the top, and the followers wait for the holder; it waits for an awakeable."""
    row = planted.blocker("held")
    # directly: four in the queue, three calls in it, one follower; then look, fetch, delegate, fetch_all
    assert (row["status"], row["direct_waiting"], row["total_waiting"]) == ("suspended", 8, 12)
    assert row["waits_for"].startswith("the awakeable sign_1")
    assert set(row["examples"]) <= set(planted.found.edges["waiter"])


def test_a_holder_that_backs_off_is_a_root_with_its_last_error(planted: Planted) -> None:
    row = planted.blocker("spoilt")
    assert (row["status"], row["direct_waiting"], row["total_waiting"]) == ("backing-off", 2, 3)
    assert "[RT0007] in step “count crates”: ValueError('the crates are wet" in row["waits_for"]
    assert list(planted.found.blockers["id"]) == [planted.ids["held"], planted.ids["spoilt"]]


def test_each_thing_awaited_is_an_edge(planted: Planted) -> None:
    """Calls, keys, handles, awakeables, promises and sleeps have the awaited thing, and the begin of the wait."""
    (follow,) = planted.edges("follow")
    assert (follow["kind"], follow["blocker"]) == ("attach", planted.ids["held"])
    (queued,) = planted.edges("queue0")
    assert (queued["kind"], queued["detail"], queued["blocker"]) == ("key", "Depot/held", planted.ids["held"])
    (look,) = planted.edges("look")
    assert (look["kind"], look["blocker_target"]) == ("call", "Depot/held/take")
    (consent,) = planted.edges("consent")
    assert (consent["kind"], consent["detail"]) == ("promise", "signed/by")
    (rest,) = planted.edges("rest")
    assert rest["kind"] == "sleep"
    assert rest["wakes_at"] - pd.Timestamp(planted.found.read_at) > pd.Timedelta(minutes=50)
    assert {edge["kind"] for edge in planted.edges("any")} == {"call", "sleep"}
    assert all(edge["alternative"] for edge in planted.edges("any"))
    assert [edge["kind"] for edge in planted.edges("e1")] == ["open call"]
    assert planted.found.edges["since"].notna().all()


def test_awakeables_promises_and_sleeps_are_listed_with_their_ids_and_times(planted: Planted) -> None:
    found = planted.found
    assert set(found.open_awakeables["waiter"]) == {planted.ids["held"], planted.ids["ask"]}
    assert list(found.open_promises["waiter"]) == [planted.ids["consent"]]
    assert set(found.sleeps["waiter"]) == {planted.ids[name] for name in ("rest", "any", "both")}
    assert found.sleeps["wakes_at"].is_monotonic_increasing


def test_the_card_and_the_line_say_it(planted: Planted) -> None:
    """The repr counts, the card names: the key with quotes is escaped, and nothing is excluded."""
    counts = "5 deadlocks · 2 possible" if planted.reports_combinations else "4 deadlocks · 3 possible"
    assert f"{counts} deadlocks · 2 root blockers · 2 awakeables · 1 promise" in repr(planted.found)
    html = planted.found._repr_html_()
    assert "a/&#34;b&#39;é✓" in html
    assert html.index("Deadlocks (") < html.index("Root blockers")
    assert planted.found.not_read.empty


def test_a_scan_reads_the_commands_that_are_read_by_id(planted: Planted) -> None:
    reads = Reads(planted.lab)
    suspended = reads.table("waits/suspended", limit=1_000)["id"].to_pylist()
    scanned = reads.table("waits/commands_of_suspended", limit=1_000)
    by_id = reads.table("waits/commands", ids=suspended, limit=1_000)
    order = [("id", "ascending"), ("entry_index", "ascending")]
    assert len(suspended) >= len(SUSPENDED)
    assert scanned.sort_by(order).to_pylist() == by_id.sort_by(order).to_pylist()
    (counts,) = reads.table("waits/counts").to_pylist()
    assert counts["suspended"] == len(suspended)
    assert counts["pending"] == len(planted.found.edges[planted.found.edges["kind"] == "key"])
    assert counts["entries"] >= len(by_id)


def test_a_small_limit_still_counts_the_queues(planted: Planted) -> None:
    """With few rows read, the counts behind each key come from the server, and the result states that."""
    with pytest.warns(errors.Truncated, match="suspended for longest"):
        found = waits(planted.lab, limit=10)
    (row,) = found.blockers[found.blockers["id"] == planted.ids["held"]].to_dict("records")
    keys = found.edges[(found.edges["kind"] == "key") & (found.edges["blocker"] == planted.ids["held"])]
    assert len(keys) < 7 <= row["direct_waiting"]
    assert "not everything was read" in repr(found)


def test_the_doctor_and_why_agree_about_the_waits(planted: Planted) -> None:
    diagnosis = rl.doctor(planted.lab)
    assert {"deadlocks", "blocked_keys"} <= set(diagnosis.findings["check"])
    details = "\n".join(diagnosis.findings["details"])
    assert "holds the key Depot/through and waits for Office/fetch, which waits for a" in details
    assert contradictions(planted.lab, diagnosis) == []


def test_the_way_out_leads_out(planted: Planted) -> None:
    """Cancelling the named invocation ends each certain deadlock, and none of its members waits; the last test."""
    certain = planted.found.deadlocks[planted.found.deadlocks["certain"]]
    for id_ in certain["cancel"]:
        planted.lab.admin.cancel_invocation(id_, reason="INC-42")
    stuck = {id_ for members in certain["members"] for id_ in members}

    wait_for(lambda: stuck.isdisjoint(waits(planted.lab).edges["waiter"]))
    assert not waits(planted.lab).deadlocks["certain"].any()


def test_the_waits_of_the_incident_are_found_by_role(incident: Cluster) -> None:
    with rl.connect(incident.admin_url) as lab:
        found = waits(lab)
    certain = found.deadlocks[found.deadlocks["certain"]]
    members = {frozenset(row) for row in certain["members"]}
    expected = [
        {*incident.ids("deadlock_pair"), *incident.ids("deadlock_pair_blocked")},
        {*incident.ids("deadlock_ring"), *incident.ids("deadlock_ring_blocked")},
        {*incident.ids("deadlock_self"), *incident.ids("deadlock_self_blocked")},
    ]
    assert members == set(map(frozenset, expected))
    (holder,) = incident.ids("hot_key_holder")
    top = found.blockers.iloc[0]
    behind = {*incident.ids("hot_key_queue"), *incident.ids("hot_key_caller"), *incident.ids("hot_key_opener")}
    assert (top["id"], top["total_waiting"]) == (holder, len(behind))
    assert top["waits_for"].startswith("the awakeable sign_1")
    assert set(incident.ids("forgotten_awakeable")) <= set(found.open_awakeables["waiter"])
    assert set(incident.ids("forgotten_promise")) <= set(found.open_promises["waiter"])
