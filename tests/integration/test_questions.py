"""Every named question about the incident on every kind of server: the ids, values and counts, as planted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.analysis.ask import ask
from restate_lab.analysis.questions.catalog import names
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from restate_lab.reads import Reads, used_params
from support.clusters import NEEDS_FLAG, PHASE, PLAIN, Cluster

pytestmark = pytest.mark.also_on(PLAIN, reason="without vqueues the SQL is another")


STORM = ("storm_503", "storm_timeout")
RETRYING = (*STORM, "agent_denver", "pinned_to_removed", "unreachable", "mismatch")
DEADLOCKED = ("deadlock_pair", "deadlock_ring", "deadlock_self")
VICTIMS = ("deadlock_pair_blocked", "deadlock_ring_blocked", "deadlock_self_blocked", "hot_key_queue")
SLEEPING = ("cooling_off", "restarted_3", "on_old_deployment", "asleep_on_removed")
ENDED_BADLY = ("declined", "bad_address", "refused_settlement", "killed", "cancelled", "restarted_1", "restarted_2")
ABOUT_FAULTS = (
    *("blocked_keys", "backlog_by_key", "retry_storm", "retry_storm_ids", "failing_deployments", "pinned_to_missing"),
    *("paused", "suspended_on_run", "repeated_idempotency_keys"),
)
REQUIRED = {"callers": {"ids": "paused"}, "ids_by_status": {"status": "paused"}}
OF_QUEUES = ("blocked_heads", "queues", "limits", "scopes", "queued_behind")
"""The questions about vqueues; `test_limits.py` asks them on a server with rules."""


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def ids(cluster: Cluster, *roles: str) -> set[str]:
    return {id_ for role in roles for id_ in cluster.ids(role)}


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Return the rows as tuples of these columns, missing values as None."""
    return [
        tuple(None if pd.isna(cell) else cell for cell in row) for row in frame[list(columns)].itertuples(index=False)
    ]


def settled(question: Callable[[], pd.DataFrame], is_settled: Callable[[pd.DataFrame], bool]) -> pd.DataFrame:
    """Ask until the condition holds: an invocation with a running attempt is not backing off."""
    frame = question()
    for _ in range(100):
        if is_settled(frame):
            break
        frame = question()
    return frame


@pytest.mark.parametrize("name", sorted(set(names()) - {*OF_QUEUES, "coverage", "stuck_without"}))
def test_every_question_is_answered(lab: Lab, incident: Cluster, name: str) -> None:
    params = {key: incident.ids(value) if key == "ids" else value for key, value in REQUIRED.get(name, {}).items()}
    frame = ask(lab, name, limit=None, **params)
    assert (frame.attrs["source"], frame.attrs["version"]) == (lab.name, incident.version)
    # An empty result has the same columns; a service that does not exist is an error.
    if name in {"overview", "oldest_unmoved", "waiting_on", "paused", "wakes_next"}:
        nothing = ask(lab, name, service="Inventory" if name != "overview" else "agent")
        assert list(nothing.columns) == list(frame.columns)
        with pytest.raises(ArgumentError, match="No service 'Nope'"):
            ask(lab, name, service="Nope")


def test_overview_counts_open_work_by_handler_and_status(lab: Lab, incident: Cluster) -> None:

    def has_no_attempt_under_way(frame: pd.DataFrame) -> bool:
        return (
            set(frame["status"]) == {"backing-off", "paused", "pending", "running", "scheduled", "suspended"}
            and (frame["status"] == "running").sum() == 1
        )

    frame = settled(lambda: ask(lab, "overview"), has_no_attempt_under_way)
    found = {(service, handler, status): n for service, handler, status, n in rows(frame, *frame.columns[:4])}
    assert found == {
        ("Account", "audit", "suspended"): 1,
        ("Account", "debit", "pending"): 12,
        ("Checkout", "run", "suspended"): 1,
        ("Courier", "deliver", "backing-off"): 2,
        ("Inventory", "restock", "scheduled"): 1,
        ("Invoices", "render", "running"): 1,
        ("Loyalty", "expire", "suspended"): 2,
        ("Loyalty", "redeem", "backing-off"): 3,
        ("Orders", "ask_for_review", "scheduled"): 6,
        ("Orders", "bill", "suspended"): 4,
        ("Orders", "close_quarter", "suspended"): 1,
        ("Orders", "cool_off", "suspended"): 2,
        ("Orders", "place", "suspended"): 3,
        ("Payments", "charge", "backing-off"): 15,
        ("Payments", "payout", "paused"): 2,
        ("Promotions", "end_campaign", "suspended"): 1,
        ("Returns", "take_back", "backing-off"): 3,
        ("Shipping", "clear_customs", "suspended"): 1,
        ("Shipping", "print_label", "paused"): 1,
        ("Warehouse", "receive", "pending"): 6,
        ("Warehouse", "transfer", "suspended"): 6,
        ("agent", "run", "backing-off"): 1,
    }
    oldest = frame.set_index(["target_handler_name", "status"])
    assert oldest.loc[("audit", "suspended"), "oldest_id"] == incident.roles["hot_key_holder"]
    age = pd.Timestamp(frame.attrs["read_at"]) - frame["oldest_created_at"]
    assert ((frame["oldest_age"] - age).abs() < pd.Timedelta(milliseconds=2)).all()


def test_oldest_unmoved(lab: Lab, incident: Cluster) -> None:
    """Invocations that do not move, the longest first; neither completed ones nor those scheduled for later."""
    frame = ask(lab, "oldest_unmoved")
    assert frame["modified_at"].is_monotonic_increasing
    assert not {"succeeded", "failed", "scheduled"} & set(frame["status"])
    expected = ids(incident, *DEADLOCKED, *VICTIMS, "paused", "forgotten_awakeable", "rendering", *RETRYING)
    assert expected <= set(frame["id"])
    assert not ids(incident, "restock_tomorrow", "slow", "declined") & set(frame["id"])
    assert len(ask(lab, "oldest_unmoved", older_than="1h")) == 0
    late = ask(lab, "oldest_unmoved", now=lab.now + pd.Timedelta(days=2))
    assert incident.roles["restock_tomorrow"] in set(late["id"]), "what should have started is not scheduled for later"


def test_blocked_keys(lab: Lab, incident: Cluster) -> None:
    """The holder of each key, its number of waiting calls, and its caller: the hot key first, then the deadlocks."""
    frame = ask(lab, "blocked_keys")
    who = incident.roles
    assert rows(frame.iloc[:1], "target_service_name", "target_service_key", "waiting", "holder_id") == [
        ("Account", "acme-retail", 12, who["hot_key_holder"])
    ]
    assert frame["holder_invoked_by_id"][0] == who["hot_key_opener"]
    holders = dict(rows(frame[1:], "target_service_key", "holder_id"))
    assert holders == {
        "berlin": who["deadlock_pair_1"],
        "madrid": who["deadlock_pair_2"],
        "oslo": who["deadlock_ring_1"],
        "riga": who["deadlock_ring_2"],
        "tallinn": who["deadlock_ring_3"],
        "porto": who["deadlock_self"],
    }
    assert set(frame["waiting"][1:]) == {1}
    assert set(frame["holder_status"]) == {"suspended"}
    assert (frame["waiting_since"] >= frame["holder_running_at"]).all()


def test_backlog_by_key(lab: Lab, incident: Cluster) -> None:
    """The number of calls waiting on each key and since when, the hottest first; keys that are only held are not in."""
    frame = ask(lab, "backlog_by_key")
    assert list(frame["waiting"]) == [12, 1, 1, 1, 1, 1, 1]
    assert frame["target_service_key"][0] == "acme-retail"
    queue = "SELECT id, inboxed_at FROM sys_invocation_status WHERE id IN :ids"
    since = lab.sql(queue, ids=incident.ids("hot_key_queue")).set_index("id")["inboxed_at"]
    # two may have arrived within one millisecond
    assert since[frame["oldest_id"][0]] == since[incident.ids("hot_key_queue")[0]] == frame["oldest_inboxed_at"][0]
    assert list(ask(lab, "backlog_by_key", service="Account")["waiting"]) == [12]


@NEEDS_FLAG
def test_blocked_heads(lab: Lab, incident: Cluster) -> None:
    """Heads that wait for a key name its holder, heads that back off are marked; without vqueues it is refused."""
    if not incident.vqueues:
        for name in OF_QUEUES:
            with pytest.raises(NotOnThisServer, match=rf"{name} .*{incident.version}.* needs feature vqueues"):
                ask(lab, name)
        return
    frame = ask(lab, "blocked_heads")
    locks = frame[frame["blocked_on"] == "lock"]
    assert set(locks["lock_holder_id"]) == ids(incident, "hot_key_holder", *DEADLOCKED)
    assert ids(incident, "deadlock_self_blocked", "deadlock_pair_blocked", "deadlock_ring_blocked") < set(locks["id"])
    assert locks.loc[locks["lock_name"] == "Account/acme-retail", "num_inbox"].item() == 12
    assert (locks["lock_block_duration"] > pd.Timedelta(0)).all()
    assert set(frame["blocked_on"]) <= {"lock", "backing-off"}
    assert not ids(incident, "restock_tomorrow") & set(frame["id"])


@NEEDS_FLAG
def test_a_paused_queue_is_a_blocked_head(lab: Lab, incident: Cluster) -> None:
    """A queue that was paused has no scheduler any more, and is still found, with its first in line."""
    if not incident.vqueues:
        return  # a test above covers that there are no queues
    queue = lab.sql("SELECT id FROM sys_vqueue_meta WHERE lock_name = 'Account/acme-retail'")["id"][0]
    lab.admin.pause_vqueue(queue)
    try:
        frame = settled(lambda: ask(lab, "blocked_heads"), lambda frame: "queue paused" in set(frame["blocked_on"]))
    finally:
        lab.admin.resume_vqueue(queue)
    held = frame[frame["blocked_on"] == "queue paused"]
    assert rows(held, "vqueue_id", "id", "lock_holder_id", "num_inbox") == [
        (queue, incident.ids("hot_key_queue")[0], incident.roles["hot_key_holder"], 12)
    ]


def test_retry_storm(lab: Lab, incident: Cluster) -> None:
    """One row per failure, with its code, step and message; the storm's two messages on top."""
    frame = settled(lambda: ask(lab, "retry_storm"), lambda frame: frame["invocations"].sum() == 24)
    found = rows(frame, "target_service_name", "target_handler_name", "error_code", "step", "invocations")
    assert found[:2] == [
        ("Payments", "charge", "RT0007", "charge card", 9),
        ("Payments", "charge", "RT0007", "charge card", 6),
    ]
    assert set(found[2:]) == {
        ("Loyalty", "redeem", "RT0011", None, 3),
        ("Returns", "take_back", "RT0016", "scan label", 3),
        ("Courier", "deliver", "RT0010", None, 2),
        ("agent", "run", "RT0007", "get weather", 1),
    }
    assert frame["message"][0] == (
        "ProviderDown('HTTP 503 Service Unavailable from https://api.paystream.example/v1/charges')"
    )
    assert frame["message"][1] == "ProviderDown('connect to mc-gateway.paystream.example:443 timed out after # s')"
    assert "after 10.0 s" in frame["example_message"][1]
    assert (frame["worst"] > 1).all()
    assert (frame["attempts"] >= frame["worst"]).all()
    assert frame["example_id"][0] in ids(incident, "storm_503")


def test_retry_storm_ids_has_exactly_the_retrying_invocations(lab: Lab, incident: Cluster) -> None:
    everyone = ids(incident, *RETRYING)
    frame = settled(lambda: ask(lab, "retry_storm_ids"), lambda frame: len(frame) == len(everyone))
    assert set(frame["id"]) == everyone
    assert set(frame["status"]) <= {"backing-off", "running"}
    assert frame["retry_count"].is_monotonic_decreasing
    storm = settled(lambda: ask(lab, "retry_storm_ids", step="charge card"), lambda frame: len(frame) == 15)
    assert set(storm["id"]) == ids(incident, *STORM)
    removed = ask(lab, "retry_storm_ids", error_code="RT0011")
    assert set(removed["id"]) == ids(incident, "pinned_to_removed")
    assert set(removed["deployment_id"]) == {incident.roles["loyalty_deployment"]}


def test_the_doctor_and_retry_storm_ids_read_the_same_attempts(lab: Lab, incident: Cluster) -> None:
    columns = ["id", "error_code", "step", "message", "deployment_id"]

    def compare() -> pd.DataFrame:
        read = Reads(lab).frame("doctor/attempts", limit=1_000)
        # The attempts of a paused one are kept, and the doctor excludes it.
        read = read[read["id"].isin(lab.sql("SELECT id, status FROM sys_invocation WHERE status <> 'paused'")["id"])]
        asked = ask(lab, "retry_storm_ids")
        assert read["retry_count"].is_monotonic_decreasing
        both = read[columns].fillna("").merge(asked[columns].fillna(""), how="outer", indicator="side")
        return both[both["side"] != "both"]

    assert settled(compare, lambda frame: frame.empty).to_dict("records") == []


def test_failing_deployments_have_their_code_and_a_removed_one_is_unknown(lab: Lab, incident: Cluster) -> None:
    frame = settled(lambda: ask(lab, "failing_deployments"), lambda frame: frame["invocations"].sum() == 24)
    found = {(deployment, code): n for deployment, code, n in rows(frame, "deployment_id", "error_code", "invocations")}
    who = incident.roles
    agent = found.pop(next(key for key in found if key[0] not in who.values()))
    assert agent == 1
    assert found == {
        (who["orders_deployment"], "RT0007"): 15,
        (who["returns_deployment"], "RT0016"): 3,
        (who["loyalty_deployment"], "RT0011"): 3,
        (who["courier_deployment"], "RT0010"): 2,
    }
    gone = frame.set_index("deployment_id").loc[who["loyalty_deployment"]]
    assert (bool(gone["is_known"]), list(gone["services"])) == (False, ["Loyalty"])


def test_waiting_on(lab: Lab, incident: Cluster) -> None:
    """Calls with their callee, promises with their key, awakeables with their signal, sleeps with their end."""
    frame = ask(lab, "waiting_on")
    who = incident.roles
    found = {id_: rest for id_, *rest in rows(frame, "id", "waits_for", "callee_id", "promise", "signal", "name")}
    assert len(found) == len(frame) == (lab.sql("SELECT id FROM sys_invocation WHERE status = 'suspended'").shape[0])
    calls = {
        who[f"{caller}_{number}"]: who[f"{callee}_{number + shift}"]
        for caller, callee, shift, count in (
            ("storm_caller", "storm_503", 6, 3),
            ("hot_key_caller", "hot_key_queue", 8, 4),
            ("deadlock_pair", "deadlock_pair_blocked", 0, 2),
            ("deadlock_ring", "deadlock_ring_blocked", 0, 3),
        )
        for number in range(1, count + 1)
    }
    calls |= {who["deadlock_self"]: who["deadlock_self_blocked"], who["hot_key_opener"]: who["hot_key_holder"]}
    assert {id_: rest[1] for id_, rest in found.items() if rest[0] == "Call"} == calls
    for role in ("forgotten_awakeable", "hot_key_holder"):
        assert found[who[role]] == ["Awakeable", None, None, 17, None]
    assert found[who["forgotten_promise"]][:3] == ["GetPromise", None, "payment"]
    assert {id_ for id_, rest in found.items() if rest[0] == "Sleep"} == ids(incident, *SLEEPING)
    assert found[who["on_old_deployment"]][4] == "until the campaign ends"
    sleeper = frame.set_index("id").loc[who["cooling_off"]]
    assert abs(sleeper["wakes_at"] - pd.Timedelta(days=14) - sleeper["created_at"]) < pd.Timedelta("1min")
    assert set(frame["waits_for"]) == {"Call", "Awakeable", "GetPromise", "Sleep"}
    given = ask(lab, "waiting_on", ids=incident.ids("deadlock_pair"))
    assert set(given["id"]) == ids(incident, "deadlock_pair")


def test_no_other_wait_is_mistaken_for_a_suspension_on_its_own_run(lab: Lab) -> None:
    assert len(ask(lab, "suspended_on_run")) == 0


def test_open_awakeables_and_promises(lab: Lab, incident: Cluster) -> None:
    """The awakeables with a waiting invocation, and the promise that is not completed, are found; no others."""
    awakeables = ask(lab, "open_awakeables")
    assert set(awakeables["id"]) == ids(incident, "forgotten_awakeable", "hot_key_holder")
    assert set(awakeables["signal"]) == {17}
    assert len(ask(lab, "open_awakeables", older_than="1h")) == 0
    promises = ask(lab, "open_promises")
    assert rows(promises, "service_name", "service_key", "promise", "id", "open_invocations") == [
        ("Checkout", "ord-1402", "payment", incident.roles["forgotten_promise"], 1)
    ]


def test_callers(lab: Lab, incident: Cluster) -> None:
    """From a blocked call up to its first caller, with the number of steps; those without callers are alone."""
    who = incident.roles
    frame = ask(lab, "callers", ids=[who["hot_key_holder"], who["storm_503_7"], who["declined_1"]])
    assert set(rows(frame, "of_id", "depth", "id")) == {
        (who["hot_key_holder"], 0, who["hot_key_holder"]),
        (who["hot_key_holder"], 1, who["hot_key_opener"]),
        (who["storm_503_7"], 0, who["storm_503_7"]),
        (who["storm_503_7"], 1, who["storm_caller_1"]),
        (who["declined_1"], 0, who["declined_1"]),
    }
    assert frame.set_index("id").loc[who["declined_1"], "status"] == "failed"
    assert len(ask(lab, "callers", ids=who["hot_key_holder"], depth=0)) == 1


def test_terminal_failures(lab: Lab, incident: Cluster) -> None:
    """Failures with different orders and requests become one row per family; killed and cancelled are distinct."""
    frame = ask(lab, "terminal_failures")
    assert rows(frame, "target_service_name", "status", "code", "message", "invocations") == [
        (
            *("Settlements", "failed", "422"),
            *("settlement refused: merchant not enrolled (order ord-#, request req_#)", 24),
        ),
        ("Payments", "failed", "402", "card declined: insufficient_funds (order ord-#, request req_#)", 7),
        ("Shipping", "failed", "422", "no carrier delivers to postal code # (order ord-#)", 4),
        ("Orders", "killed", "409", "killed", 3),
        ("Orders", "cancelled", "409", "cancelled", 1),
    ]
    assert frame["example_id"][1] in ids(incident, "declined")
    assert "ord-17" in frame["example_message"][1]
    assert (frame["first_at"] <= frame["last_at"]).all()
    assert len(ask(lab, "terminal_failures", since=lab.now)) == 0


def test_error_onset(lab: Lab, incident: Cluster) -> None:
    """Each error with its invocations, each counted once however often it was retried."""
    frame = ask(lab, "error_onset", bin="1d")
    found = {
        (handler, code, step): n
        for handler, code, step, n in rows(
            frame.groupby(["target_handler_name", "error_code", "step"], dropna=False, as_index=False)[
                "new_invocations"
            ].sum(),
            *("target_handler_name", "error_code", "step", "new_invocations"),
        )
    }
    assert found[("charge", "RT0007", "charge card")] == 15
    assert found[("redeem", "RT0007", "write off points")] == found[("redeem", "RT0011", None)] == 3
    assert found[("take_back", "RT0007", "refund card")] == found[("take_back", "RT0016", "scan label")] == 3
    assert found[("deliver", "RT0010", None)] == 2
    assert found[("payout", "RT0007", "send transfer")] == 2
    refund = frame[frame["step"] == "refund card"].iloc[0]
    mismatch = frame[frame["error_code"] == "RT0016"].iloc[0]
    assert refund["first_at"] < mismatch["first_at"], "the code was replaced after the first failures"
    assert refund["example_id"] in ids(incident, "mismatch")
    assert (frame["span_start"] <= frame["first_at"]).all()
    assert len(ask(lab, "error_onset", since=lab.now)) == 0


def test_deployments(lab: Lab, incident: Cluster) -> None:
    """The invocations pinned to a removed deployment, the pins of the others, and the deployments that could go."""
    missing = ask(lab, "pinned_to_missing")
    assert set(missing["id"]) == ids(incident, "pinned_to_removed", "asleep_on_removed")
    assert set(missing["pinned_deployment_id"]) == {incident.roles["loyalty_deployment"]}
    frame = ask(lab, "deployment_pins").set_index("deployment_id")
    assert list(frame.index[frame["can_be_removed"]]) == [incident.roles["drained_deployment"]]
    assert incident.roles["drained_deployment"] == frame.index[0]
    pinning = frame.loc[incident.roles["pinning_deployment"]]
    assert (pinning["pinned"], pinning["pinned_suspended"]) == (1, 1)
    assert pinning["oldest_id"] == incident.roles["on_old_deployment"]
    removed = frame.loc[incident.roles["loyalty_deployment"]]
    assert (bool(removed["is_known"]), removed["pinned"], removed["pinned_suspended"]) == (False, 5, 2)
    orders = frame.loc[incident.roles["orders_deployment"]]
    services = ["Account", "Invoices", "Orders", "Payments", "Settlements", "Shipping", "Warehouse"]
    assert list(orders["latest_of"]) == services
    assert orders["pinned_paused"] == 3
    assert orders["would_land"] == 24, "18 calls that wait for a key, and 6 mails scheduled for later"
    assert frame["is_known"].sum() == len(lab.sql("SELECT id FROM sys_deployment"))


def test_every_registered_deployment_has_its_protocols_and_an_sdk_while_it_runs(lab: Lab, incident: Cluster) -> None:
    frame = ask(lab, "sdks")
    assert set(frame["deployment_id"]) == set(lab.sql("SELECT id FROM sys_deployment")["id"])
    seen = frame.set_index("deployment_id").loc[incident.roles["orders_deployment"]]
    assert str(seen["sdk"]).startswith("restate-sdk-python/")
    assert seen["attempted"] >= 1
    assert (frame["max_service_protocol_version"] >= frame["min_service_protocol_version"]).all()


def test_completed_work(lab: Lab, incident: Cluster) -> None:
    """Throughput counts each end once; latency and its parts show how slow the slow handler is, the slowest first."""
    completed = lab.sql("SELECT target_service_name FROM sys_invocation_status WHERE status = 'completed'")
    ends = completed["target_service_name"].value_counts().to_dict()
    through = ask(lab, "throughput", bin="1h").groupby("target_service_name").sum(numeric_only=True)
    assert through["completed"].to_dict() == ends
    assert (through.loc["Payments", "failed"], through.loc["Orders", "killed"], through.loc["Orders", "cancelled"]) == (
        7,
        3,
        1,
    )
    assert (through[["succeeded", "failed", "cancelled", "killed"]].sum(axis=1) == through["completed"]).all()

    latency = ask(lab, "latency").set_index("target_handler_name")
    assert latency["p99_ms"].is_monotonic_decreasing
    assert latency.loc["render", "invocations"] == 8
    assert 2500 < latency.loc["render", "p50_ms"] <= latency.loc["render", "p99_ms"] <= latency.loc["render", "max_ms"]
    parts = ask(lab, "latency_parts").set_index("target_handler_name")
    assert parts.loc["render", "running_p50_ms"] > 2500 > parts.loc["render", "queued_p50_ms"]
    assert parts["blocked_on_lock_ms"].notna().any() == (incident.vqueues and PHASE != "open")
    assert parts.loc["render", "invocations"] == 8


def test_sizes(lab: Lab, incident: Cluster) -> None:
    """The long journal and the large state are on top; the sizes agree between versions."""
    big = incident.roles["big_journal"]
    journals = ask(lab, "largest_journals", limit=None)
    assert (journals["id"][0], journals["status"][0]) == (big, "succeeded")
    assert journals["journal_size"][0] > 300
    payloads = ask(lab, "largest_payloads", limit=None)
    assert payloads["id"][0] == big
    assert 390_000 < payloads["bytes"][0] < 430_000, "the bookings once in the steps, and once in the state"
    assert payloads["entries"][0] == journals["journal_size"][0]
    states = ask(lab, "state_sizes", limit=None)
    assert rows(states[:1], "service_name", "service_key", "largest_value_name") == [("Account", "initech", "history")]
    assert states["bytes"][0] == 205_807
    accounts = states[states["service_name"] == "Account"]
    assert set(accounts["service_bytes"]) == {accounts["bytes"].sum()}
    assert set(accounts["service_keys"]) == {len(accounts)}


def test_wakes_next(lab: Lab, incident: Cluster) -> None:
    """Within the hour only retries; within two years sleeps and delayed starts, too, with their timestamps."""
    everyone = ids(incident, *RETRYING)
    soon = ask(lab, "wakes_next")
    assert set(soon["event"]) == {"retry"}
    assert set(soon["id"]) <= everyone
    assert soon["wakes_at"].is_monotonic_increasing
    later = ask(lab, "wakes_next", until="700d")
    assert set(later.loc[later["event"] == "sleep", "id"]) == ids(incident, *SLEEPING)
    starts = later[later["event"] == "start"]
    assert incident.roles["restock_tomorrow"] in set(starts["id"])
    assert len(starts) == 7
    retried: set[str] = set()
    for _ in range(50):
        retried |= set(ask(lab, "wakes_next").query("event == 'retry'")["id"])
        if retried == everyone:
            break
    assert retried == everyone


def test_lineage(lab: Lab, incident: Cluster) -> None:
    """Restarts name their origin; one idempotency key with two targets is found, generated keys are not."""
    who = incident.roles
    restarts = ask(lab, "restarts")
    assert rows(restarts, "id", "restarted_from", "status", "before_completion_failure", "before_restarted_from") == [
        (who["restarted_3"], who["restarted_2"], "suspended", "[409] killed", who["restarted_1"]),
        (who["restarted_2"], who["restarted_1"], "killed", "[409] killed", None),
    ]
    repeated = ask(lab, "repeated_idempotency_keys")
    assert rows(repeated, "idempotency_key", "invocations", "targets") == [("transfer-2026-11-0042", 2, 2)]
    both = {who["booked_twice_1"], who["booked_twice_2"]}  # sent one after the other, often in one millisecond
    assert {*repeated["first_id"], *repeated["last_id"]} == both
    assert (repeated["first_created_at"] <= repeated["last_created_at"]).all()


def test_paused_has_code_step_and_message_of_the_failure(lab: Lab, incident: Cluster) -> None:
    frame = ask(lab, "paused")
    assert set(frame["id"]) == ids(incident, "paused", "paused_by_hand")
    gave_up = frame[frame["id"].isin(incident.ids("paused"))]
    assert set(rows(gave_up, "error_code", "http_code", "step")) == {("RT0007", 500, "send transfer")}
    assert gave_up["message"].str.startswith("BankRejected('SEPA transfer returned AC04").all()
    assert (frame["paused_at"] >= frame["created_at"]).all()


def test_expiring(lab: Lab, incident: Cluster) -> None:
    """Nothing expires within the hour; within two days every ended one does, and by default failures are listed."""
    assert len(ask(lab, "expiring")) == 0
    frame = ask(lab, "expiring", until="2d")
    assert set(frame["id"]) == ids(incident, *ENDED_BADLY)
    assert set(frame["status"]) == {"failed", "killed", "cancelled"}
    assert (frame["expires_at"] - frame["completed_at"] == pd.Timedelta(days=1)).all()
    assert frame["expires_in"].between(pd.Timedelta("23h"), pd.Timedelta("24h")).all()
    everything = ask(lab, "expiring", until="2d", failures_only=False)
    assert ids(incident, "slow", *ENDED_BADLY) < set(everything["id"])


@pytest.mark.parametrize("name", ABOUT_FAULTS)
def test_on_a_healthy_cluster_questions_about_faults_have_no_rows(healthy: Cluster, tmp_path: Path, name: str) -> None:
    with rl.connect(healthy.admin_url, audit=tmp_path / "audit") as lab:
        frame = ask(lab, name)
    assert len(frame) == 0, frame.to_string()


def test_a_limit_that_cuts_rows_warns_and_one_that_just_fits_does_not(lab: Lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = ask(lab, "terminal_failures", limit=5)
    with pytest.warns(Truncated, match="terminal_failures has more than 3 rows"):
        cut = ask(lab, "terminal_failures", limit=3)
    assert "truncated" not in whole.attrs
    assert cut.attrs["truncated"]["limit"] == len(cut) == 3
    pd.testing.assert_frame_equal(cut, whole.iloc[:3], check_flags=False)


def test_sql_accepts_the_statement_in_attrs_with_new_values(lab: Lab) -> None:
    answer = ask(lab, "terminal_failures")
    by_hand = lab.sql(answer.attrs["sql"], service=None, since=lab.now - pd.Timedelta(days=1), limit=10)
    assert rows(by_hand, "message", "invocations") == rows(answer, "message", "invocations")


@pytest.mark.parametrize("name", ["oldest_unmoved", "largest_journals", "pinned_to_missing"])
def test_a_limit_ends_the_scan_early(lab: Lab, incident: Cluster, name: str) -> None:
    """The bound of a sorted and limited list reaches the scan of the invocations, also where vqueues are joined."""
    statement = ask(lab, name, limit=None).attrs["sql"]
    params = used_params(statement, {"service": None, "older_than": pd.Timedelta(0), "now": lab.now, "limit": 10})
    plan = lab.sql(f"EXPLAIN {statement}", params=params)["plan"].str.cat()
    (scan,) = [line for line in plan.splitlines() if 'table_name: "sys_invocation_status"' in line]
    assert "DynamicFilter" in scan


def test_a_shortened_message_is_sent_alone(lab: Lab) -> None:
    """A message is not a string view: the server would send the whole text of all messages with each batch."""
    for statement in (
        ask(lab, "retry_storm_ids").attrs["sql"],
        Reads(lab).statement("doctor/attempts"),
    ):
        params = used_params(statement, dict.fromkeys(("service", "handler", "error_code", "step")) | {"limit": 10})
        schema = lab.arrow(statement, params=params).schema
        assert pa.types.is_large_string(schema.field("message").type)
