"""The incident and the healthy day: every role is where the story puts it, seen through plain SQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.demo.stories.incident import FAULTS, INCIDENT, VICTIMS
from restate_lab.demo.stories.player import read_roles
from restate_lab.status import PAST_ONLY, STATUSES
from support.bench import wait_for
from support.clusters import NEWEST, PHASE, PLAIN, Cluster, running_demo
from support.demo.healthy import HEALTHY
from support.statuses import (
    attempts,
    check_cycle,
    expected_statuses,
    failures,
    has_status,
    holders,
    invocations,
    last_events,
    queue,
    statuses,
    unexpected_invocations,
)

pytestmark = pytest.mark.server
OTHER_STATUSES = pytest.mark.also_on(
    PLAIN, reason="without vqueues a long back-off and a wait for a slot have another status"
)


@pytest.fixture
def lab(incident: Cluster) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url) as connected:
        yield connected


@OTHER_STATUSES
def test_every_role_has_its_status(incident: Cluster, lab: rl.Lab) -> None:
    now = statuses(lab)
    for id_, told in expected_statuses(INCIDENT, incident.roles).items():
        assert has_status(now[id_], told), (id_, now[id_], told)


def test_the_story_shows_every_status(lab: rl.Lab) -> None:
    without_limits = set(STATUSES) - {"ready", "yielded", *PAST_ONLY}
    for _ in range(50):
        missing = without_limits - set(statuses(lab).values())
        # With vqueues a long wait is shown as ready; short ones are between attempts most of the time.
        if not missing:
            return
        time.sleep(0.1)
    raise AssertionError(missing)


def test_nothing_is_wrong_without_a_role(incident: Cluster, lab: rl.Lab) -> None:
    assert unexpected_invocations(incident, lab, FAULTS | VICTIMS) == {incident.roles["rendering"]}


def test_storm(incident: Cluster, lab: rl.Lab) -> None:
    """Fifteen charges fail in one step, with two messages, repeatedly."""
    assert [len(incident.ids(role)) for role in ("storm_503", "storm_timeout")] == [9, 6]
    assert failures(lab, incident.ids("storm_503")) == {
        (
            "RT0007",
            "charge card",
            "ProviderDown('HTTP 503 Service Unavailable from https://api.paystream.example/v1/charges')",
        )
    }
    assert failures(lab, incident.ids("storm_timeout")) == {
        ("RT0007", "charge card", "ProviderDown('connect to mc-gateway.paystream.example:443 timed out after 10.0 s')")
    }
    callers = invocations(lab, incident.ids("storm_503")[6:], "invoked_by_id")["invoked_by_id"]
    assert list(callers) == incident.ids("storm_caller")


def test_attempts_of_the_storm_continue(incident: Cluster, lab: rl.Lab) -> None:
    storm = [*incident.ids("storm_503"), *incident.ids("storm_timeout")]
    before = attempts(incident, lab, storm)
    for _ in range(150):
        if attempts(incident, lab, storm) > before + 3:
            return
        time.sleep(0.1)
    raise AssertionError("no attempts were made")


def test_hot_key(incident: Cluster, lab: rl.Lab) -> None:
    """Twelve wait for a key; its holder has a caller and waits for an awakeable."""
    holder, opener = incident.roles["hot_key_holder"], incident.roles["hot_key_opener"]
    assert holders(incident, lab)["Account/acme-retail"] == holder
    waiting = incident.ids("hot_key_queue")
    assert len(waiting) == 12
    assert queue(incident, lab, "Account", "acme-retail") == set(waiting)
    row = invocations(lab, [holder], "status, invoked_by_id, suspended_waiting_for_signals").iloc[0]
    assert (row["status"], row["invoked_by_id"]) == ("suspended", opener)
    assert 17 in row["suspended_waiting_for_signals"]
    callers = invocations(lab, waiting[8:], "invoked_by_id")["invoked_by_id"]
    assert list(callers) == incident.ids("hot_key_caller")


@pytest.mark.parametrize("role", ["deadlock_pair", "deadlock_ring", "deadlock_self"])
def test_deadlock(role: str, incident: Cluster, lab: rl.Lab) -> None:
    """Each holds its key and waits for a call that waits for the next one's key; the last waits for the first."""
    queues = check_cycle(incident, lab, incident.ids(role), incident.ids(f"{role}_blocked"))
    assert [len(each) for each in queues] == [1] * len(queues)


def test_paused(incident: Cluster, lab: rl.Lab) -> None:
    """The reason of a pause is in the events; with vqueues a pause by hand has none, only the failures before it."""
    by_policy = [event["last_failure"] for event in last_events(lab, incident.ids("paused"), "Paused")]
    assert all("SEPA transfer returned AC04, account closed" in failure["error_message"] for failure in by_policy)
    [by_hand] = last_events(lab, incident.ids("paused_by_hand"), "Paused")
    assert incident.vqueues or "no route to host" in by_hand["last_failure"]["error_message"]
    assert failures(lab, incident.ids("paused_by_hand")) == {
        ("RT0007", "print label", "PrinterOffline('lpd://packing-hall-3:515: no route to host')")
    }


def test_forgotten(incident: Cluster, lab: rl.Lab) -> None:
    """One waits for an awakeable that is open, one for a promise that is open."""
    [signals] = invocations(lab, incident.ids("forgotten_awakeable"), "suspended_waiting_for_signals").iloc[:, 0]
    assert 17 in signals
    promises = lab.sql("SELECT service_key, key, completed FROM sys_promise")
    assert promises.values.tolist() == [["ord-1402", "payment", False]]
    assert list(invocations(lab, incident.ids("forgotten_promise"))["status"]) == ["suspended"]


def test_removed(incident: Cluster, lab: rl.Lab) -> None:
    """Five are pinned to a removed deployment: three retry with RT0011, two sleep."""
    removed = incident.roles["loyalty_deployment"]
    retrying, asleep = incident.ids("pinned_to_removed"), incident.ids("asleep_on_removed")
    pinned = lab.sql("SELECT id FROM sys_invocation_status WHERE pinned_deployment_id = :id", id=removed)
    assert set(pinned["id"]) == {*retrying, *asleep}
    assert removed not in set(lab.sql("SELECT id FROM sys_deployment")["id"])
    assert {code for code, _, _ in failures(lab, retrying)} == {"RT0011"}


def test_unreachable(incident: Cluster, lab: rl.Lab) -> None:
    """Two retry because their deployment does not respond (RT0010)."""
    assert failures(lab, incident.ids("unreachable")) == {
        ("RT0010", None, "service is temporary unavailable '502 Bad Gateway'")
    }
    deployments = invocations(lab, incident.ids("unreachable"), "last_attempt_deployment_id").iloc[:, 0]
    assert set(deployments.dropna()) <= {incident.roles["courier_deployment"]}


def test_mismatch(incident: Cluster, lab: rl.Lab) -> None:
    """Three have begun with the first release; its first step does not exist in the second one (RT0016)."""
    ids = incident.ids("mismatch")
    assert {code for code, _, _ in failures(lab, ids)} == {"RT0016"}
    steps = lab.sql("SELECT id, index, name FROM sys_journal WHERE id IN :ids AND entry_type = 'Command: Run'", ids=ids)
    begun = steps.sort_values("index").groupby("id")["name"].agg(list)
    assert [begun[id_] for id_ in ids] == [["inspect parcel", "refund card"]] * 3
    [event, *_] = last_events(lab, ids, "TransientError")
    assert "scan label" in event["error_message"]
    revision = lab.sql("SELECT revision FROM sys_service WHERE name = 'Returns'")["revision"]
    assert list(revision) == [2]


def test_failures(incident: Cluster, lab: rl.Lab) -> None:
    """Failures have terminal errors, with messages that are all different and of three families."""
    declined = invocations(lab, incident.ids("declined"), "completion_failure").iloc[:, 0]
    assert declined.str.fullmatch(
        r"\[402\] card declined: insufficient_funds \(order ord-17\d\d, request req_\w+\)"
    ).all()
    address = invocations(lab, incident.ids("bad_address"), "completion_failure").iloc[:, 0]
    assert address.str.fullmatch(r"\[422\] no carrier delivers to postal code 99\d50 \(order ord-180\d\)").all()
    refused = invocations(lab, incident.ids("refused_settlement"), "completion_failure").iloc[:, 0]
    message = r"\[422\] settlement refused: merchant not enrolled \(order ord-22\d\d, request req_\w+\)"
    assert refused.str.fullmatch(message).all()
    assert [declined.nunique(), address.nunique(), refused.nunique()] == [7, 4, 24]
    failed = {id_ for id_, word in statuses(lab).items() if word == "failed"}
    assert failed == {*declined.index, *address.index, *refused.index}


def test_slow(incident: Cluster, lab: rl.Lab) -> None:
    """One handler takes seconds, and others that wait for nothing take less than half of that."""
    took = lab.sql(
        """SELECT id, arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') AS ms FROM sys_invocation
        WHERE completion_result = 'success'"""
    ).set_index("id")["ms"]
    slow = took[incident.ids("slow")]
    assert slow.between(2500, 60_000).all()
    quick = took[[*incident.ids("booked_twice"), *incident.ids("agent_detroit"), incident.roles["restock_mugs"]]]
    assert quick.median() < slow.median() / 2


def test_ends_and_restarts(incident: Cluster, lab: rl.Lab) -> None:
    """A killed invocation, a cancelled one, and a chain of three, each restarted from the one before."""
    now = statuses(lab)
    assert [now[incident.roles[role]] for role in ("killed", "cancelled")] == ["killed", "cancelled"]
    line = incident.ids("restarted")
    assert [now[id_] for id_ in line] == ["killed", "killed", "suspended"]
    assert list(invocations(lab, line[1:], "restarted_from")["restarted_from"]) == line[:2]


def test_notes(incident: Cluster, lab: rl.Lab) -> None:
    """A key used twice, a large journal and state, an old release that is needed and one that is not."""
    keys = invocations(lab, incident.ids("booked_twice"), "idempotency_key, target_service_key")
    assert list(keys["idempotency_key"]) == ["transfer-2026-11-0042"] * 2
    assert keys["target_service_key"].nunique() == 2
    assert invocations(lab, incident.ids("big_journal"), "journal_size").iloc[0, 0] > 300
    state = lab.sql("SELECT value_length FROM state WHERE service_name = 'Account' AND service_key = 'initech'")
    assert state["value_length"].max() > 100_000
    pins = lab.sql("SELECT id, pinned_deployment_id AS pin FROM sys_invocation_status WHERE status <> 'completed'")
    old = incident.roles["pinning_deployment"]
    assert list(pins[pins["pin"] == old]["id"]) == [incident.roles["on_old_deployment"]]
    assert incident.roles["drained_deployment"] not in set(pins["pin"])


def test_healthy(healthy: Cluster) -> None:
    """On the good day every role is where the story puts it; nothing retries, is paused, or waits for a key."""
    with rl.connect(healthy.admin_url) as lab:
        now = statuses(lab)
        assert all(now[id_] == told for id_, told in expected_statuses(HEALTHY, healthy.roles).items())
        assert set(now.values()) == {"succeeded", "suspended", "scheduled", "failed", "cancelled"}
        failed = [id_ for id_, word in now.items() if word == "failed"]
        assert failed == [healthy.roles["sold_out"]]
        assert sum(word in {"succeeded", "failed"} for word in now.values()) > 50
        assert not holders(healthy, lab) or {"Checkout"} == {each.partition("/")[0] for each in holders(healthy, lab)}
        pins = set(lab.sql("SELECT pinned_deployment_id AS pin FROM sys_invocation_status")["pin"].dropna())
        assert pins <= set(lab.sql("SELECT id FROM sys_deployment")["id"])


def test_healthy_has_had_hiccups(healthy: Cluster) -> None:
    """Three orders of the good day lost a first attempt and succeeded with the next: this is not a finding."""
    with rl.connect(healthy.admin_url) as lab:
        erred = lab.sql("SELECT DISTINCT id FROM sys_journal_events WHERE event_type = 'TransientError'")
        callers = invocations(lab, list(erred["id"]), "invoked_by_id")["invoked_by_id"]
        assert set(callers) == set(healthy.ids("recovered"))


@OTHER_STATUSES
def test_saturated(saturated: Cluster) -> None:
    """Three wait until the server may run them: ready or, with vqueues, pending and blocked on its concurrency."""
    waiting = saturated.ids("waiting")
    with rl.connect(saturated.admin_url) as lab:
        assert set(invocations(lab, saturated.ids("busy"))["status"]) == {"running"}
        # One that was ready before a migration can stay ready for the server itself.
        words = {"pending", "ready"} if PHASE else {"pending" if saturated.vqueues else "ready"}
        assert set(invocations(lab, waiting)["status"]) <= words
        if saturated.vqueues:
            blocked = "SELECT head_entry_id AS id FROM sys_scheduler WHERE blocked_on = 'invoker-concurrency'"
            # The scheduler checks its queues repeatedly, and a queue that it checks is not blocked during the check.
            wait_for(lambda: set(lab.sql(blocked)["id"]), lambda ids: ids == set(waiting))
        if saturated.vqueues and not PHASE:
            queues = wait_for(lambda: rl.ask(lab, "queues"), lambda rows: rows["blocked_on"].notna().all())
            names = ("waiting", "running", "blocked_on", "slots_share")
            assert [queues[name].item() for name in names] == [3, 2, "invoker-concurrency", 1]


@pytest.mark.long  # starts a demo twice
def test_incident_is_kept(server: Path, tmp_path: Path) -> None:
    """A kept folder has the same incident the next time: deployments are found again, the removed one stays removed."""
    with running_demo(NEWEST, tmp_path, story=INCIDENT) as demo:
        roles, deployments = demo.roles, demo.api.deployments()
    with running_demo(NEWEST, tmp_path, story=INCIDENT) as demo:
        assert demo.roles == roles == read_roles(tmp_path)
        assert set(demo.api.deployments()) == set(deployments)
        wanted = {roles[step.role]: step.fails_with for step in INCIDENT if step.fails_with}
        wait_for(lambda: demo.api.failure_codes(wanted), lambda codes: codes == wanted, within=20)
