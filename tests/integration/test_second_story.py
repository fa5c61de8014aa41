"""The hospital: every role is where the story puts it, seen through plain SQL."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import restate_lab as rl
from support.clusters import Cluster
from support.demo.hospital import FAULTS, HOSPITAL, NEUROLOGY, PATIENT, SCANNER, SHELF, SHELF_ALIKE, VICTIMS, WARDS
from support.statuses import (
    RETRYING,
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

pytestmark = [pytest.mark.server, pytest.mark.long]  # a second incident, with other names


@pytest.fixture
def lab(second: Cluster) -> Iterator[rl.Lab]:
    with rl.connect(second.admin_url) as connected:
        yield connected


def called_by(lab: rl.Lab, ids: list[str]) -> list[str]:
    return list(invocations(lab, ids, "invoked_by_id")["invoked_by_id"])


def test_everybody_is_where_the_story_says(second: Cluster, lab: rl.Lab) -> None:
    """Every role has its status, and every retrying invocation is between attempts or in one."""
    now = statuses(lab)
    off = {
        id_: (now[id_], told)
        for id_, told in expected_statuses(HOSPITAL, second.roles).items()
        if not has_status(now[id_], told)
    }
    assert not off


def test_nothing_else_is_wrong(second: Cluster, lab: rl.Lab) -> None:
    """Every invocation that retries, is paused, waits for a key or has failed is a fault, a victim, or a known note."""
    assert unexpected_invocations(second, lab, FAULTS | VICTIMS) == {
        second.roles["sequencing"],
        second.roles["wrong_number"],
    }


def test_one_fault_drowns_the_others(second: Cluster, lab: rl.Lab) -> None:
    """Sixty fail in one step, more than all other retries, and no two messages are alike even at their beginning."""
    flood = second.ids("unacknowledged")
    found = failures(lab, flood)
    assert {(code, step) for code, step, _ in found} == {("RT0007", "Befund übermitteln")}
    messages = {message for _, _, message in found}
    assert len({message[:60] for message in messages}) == len(messages) == len(flood) == 60
    assert min(map(len, messages)) > 400
    retrying = [id_ for id_, word in statuses(lab).items() if word in RETRYING]
    assert len(flood) > 0.75 * len(retrying)
    assert called_by(lab, flood[56:]) == second.ids("blood_reader")


def test_retries_go_on(second: Cluster, lab: rl.Lab) -> None:
    """Attempts continue, on every kind of server; the sixty make several each."""
    quick = [*second.ids("wholesale_down"), *second.ids("reordered"), *second.ids("porter_fetch")]
    before = attempts(second, lab, quick)
    for _ in range(150):
        if attempts(second, lab, quick) > before and attempts(second, lab, second.ids("unacknowledged")) > 3 * 60:
            return
        time.sleep(0.1)
    raise AssertionError("no attempts were made")


def test_a_cause_behind_a_cause(second: Cluster, lab: rl.Lab) -> None:
    """Forty wait for a shelf; its holder waits for a call, which retries because a deployment does not respond."""
    holder, waiting = second.roles["shelf_holder"], second.ids("shelf_queue")
    assert holders(second, lab)[f"Pharmacy/{SHELF}"] == holder
    assert queue(second, lab, "Pharmacy", SHELF) == set(waiting)
    assert len(waiting) == 40
    assert called_by(lab, waiting[34:]) == second.ids("shelf_caller")
    down = second.ids("wholesale_down")
    assert called_by(lab, down[:1]) == [holder]
    assert failures(lab, down) == {("RT0010", None, "service is temporary unavailable '504 Gateway Timeout'")}
    pinned = invocations(lab, down, "last_attempt_deployment_id").iloc[:, 0]
    assert set(pinned.dropna()) <= {second.roles["wholesale_deployment"]}
    alike = invocations(lab, second.ids("shelf_alike"), "status, target_service_key")
    assert set(alike.itertuples(index=False, name=None)) == {("completed", SHELF_ALIKE)}


def test_four_wards_wait_for_each_other(second: Cluster, lab: rl.Lab) -> None:
    """The calls of a circle of four wait for its keys, one of them behind three others."""
    circle = second.ids("ward_circle")
    queues = check_cycle(second, lab, circle, second.ids("ward_circle_blocked"))
    assert [len(each) for each in queues] == [4, 1, 1, 1]
    assert queues[0] > set(second.ids("ward_circle_queue"))
    assert [holders(second, lab)[f"Ward/{key}"] for key in WARDS] == circle


def test_a_theatre_and_a_workflow_wait_for_each_other(second: Cluster, lab: rl.Lab) -> None:
    """An object waits for a workflow, which waits for the key that the object's own invocation holds."""
    planned, operation, blocked = (second.roles[f"theatre_{role}"] for role in ("planned", "surgery", "blocked"))
    assert called_by(lab, [operation, blocked]) == [planned, operation]
    assert holders(second, lab)["operating-theatre/OP 1"] == planned
    assert list(invocations(lab, [operation], "target")["target"]) == ["Surgery/case 77/B/operate"]
    assert queue(second, lab, "operating-theatre", "OP 1") == {blocked}


def test_chain_of_callers(second: Cluster, lab: rl.Lab) -> None:
    """Five callers are above one invocation that the policy has paused."""
    chain = [*second.ids("admission"), second.roles["register_closed"]]
    assert called_by(lab, chain[1:]) == chain[:-1]
    assert len(chain) == 6
    [event] = last_events(lab, chain[-1:], "Paused")
    assert "L'annuaire des assurés est fermé" in event["last_failure"]["error_message"]


def test_awakeable_behind_a_key(second: Cluster, lab: rl.Lab) -> None:
    """Nine wait for a scanner; its holder waits for an awakeable."""
    holder = second.roles["technician"]
    assert holders(second, lab)[f"scanner_pool/{SCANNER}"] == holder
    assert queue(second, lab, "scanner_pool", SCANNER) == set(second.ids("scanner_queue"))
    assert len(second.ids("scanner_queue")) == 9
    [signals] = invocations(lab, [holder], "suspended_waiting_for_signals").iloc[:, 0]
    assert 17 in signals


def test_promise_behind_a_key(second: Cluster, lab: rl.Lab) -> None:
    """Five wait for a ward; its holder asks for a promise that its workflow waits for, too."""
    promises = lab.sql("SELECT service_name, service_key, key FROM sys_promise WHERE NOT completed")
    assert promises.values.tolist() == [["Consent", PATIENT, "Unterschrift"]]
    holder, question = second.roles["bed_holder"], second.roles["bed_question"]
    assert holders(second, lab)[f"Ward/{NEUROLOGY}"] == holder
    assert called_by(lab, [question]) == [holder]
    assert queue(second, lab, "Ward", NEUROLOGY) == set(second.ids("bed_queue"))
    keys = invocations(lab, [question, second.roles["consent_unsigned"]], "target_service_name, target_service_key")
    assert set(keys.itertuples(index=False, name=None)) == {("Consent", PATIENT)}
    asked = lab.sql(
        "SELECT id FROM sys_journal WHERE id IN :ids AND entry_type = 'Command: GetPromise'", ids=keys.index
    )
    assert set(asked["id"]) == set(keys.index)


def test_mismatch_by_another_order(second: Cluster, lab: rl.Lab) -> None:
    """Five have begun with the first release; the second one has the same steps in another order (RT0016)."""
    ids = second.ids("reordered")
    assert {code for code, _, _ in failures(lab, ids)} == {"RT0016"}
    steps = lab.sql("SELECT id, index, name FROM sys_journal WHERE id IN :ids AND entry_type = 'Command: Run'", ids=ids)
    begun = steps.sort_values("index").groupby("id")["name"].agg(list)
    assert [begun[id_] for id_ in ids] == [["write letter", "cancel meals", "ベッドを空ける"]] * 5
    [event, *_] = last_events(lab, ids, "TransientError")
    assert all(step in event["error_message"] for step in ("write letter", "cancel meals"))


def test_removed(second: Cluster, lab: rl.Lab) -> None:
    """Seven in three handlers are pinned to a removed deployment: six retry with RT0011, one sleeps."""
    removed = second.roles["porters_deployment"]
    retrying = [*second.ids("porter_fetch"), *second.ids("porter_back")]
    pinned = lab.sql(
        "SELECT id, target_handler_name AS handler, pinned_deployment_id FROM sys_invocation_status "
        "WHERE pinned_deployment_id = :id",
        id=removed,
    )
    assert set(pinned["id"]) == {*retrying, *second.ids("porter_asleep")}
    assert dict(pinned["handler"].value_counts()) == {"fetch": 4, "bring_back": 2, "tidy_up": 1}
    assert removed not in set(lab.sql("SELECT id FROM sys_deployment")["id"])
    assert {code for code, _, _ in failures(lab, retrying)} == {"RT0011"}


@pytest.mark.parametrize(
    ("role", "count", "step", "message"),
    [
        ("insurer_silent", 5, "enviar guia", "A operadora não respondeu"),
        ("insurer_refused", 2, "enviar guia", "Poliçe bulunamadı"),
        ("rate_missing", 1, "find rate", "KeyError('K99')"),
    ],
)
def test_paused(role: str, count: int, step: str, message: str, second: Cluster, lab: rl.Lab) -> None:
    """One handler was paused by its policy for three causes, in two steps."""
    causes = [event["last_failure"] for event in last_events(lab, second.ids(role), "Paused")]
    assert len(causes) == count
    assert {cause["related_command_name"] for cause in causes} == {step}
    assert all(message in cause["error_message"] for cause in causes)


def test_failures_that_differ_in_one_word(second: Cluster, lab: rl.Lab) -> None:
    """Twenty have failed with terminal errors: each message has its own numbers, and one term separates two kinds."""
    for role, count, word in (("card_expired", 14, "abgelaufen"), ("card_blocked", 6, "gesperrt")):
        messages = invocations(lab, second.ids(role), "completion_failure").iloc[:, 0]
        assert messages.nunique() == count
        assert messages.str.fullmatch(
            rf"\[402\] Zuzahlung abgelehnt: Karte {word} \(Fall 4[89]\d{{5}}, Beleg [0-9a-f-]{{36}}\)"
        ).all()


def test_everyday_work_is_there_and_fine(second: Cluster, lab: rl.Lab) -> None:
    """Most ended invocations are fine, eight with a second attempt; a follow-up waits for one that sleeps."""
    words = list(statuses(lab).values())
    assert words.count("succeeded") > 100 > 4 * words.count("failed")
    recovered = second.ids("recovered")
    erred = lab.sql(
        "SELECT DISTINCT id FROM sys_journal_events WHERE id IN :ids AND event_type = 'TransientError'", ids=recovered
    )
    assert set(erred["id"]) == set(recovered)
    sleeping = lab.sql(
        "SELECT invoked_by_id FROM sys_invocation WHERE target_handler_name = 'remind' AND status = 'suspended'"
    )
    assert set(second.ids("follow_up")) <= set(sleeping["invoked_by_id"])
