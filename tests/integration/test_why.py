"""Explanations on real servers of each kind: every planted fault and victim, healthy invocations, and next steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.waits import waits
from restate_lab.analysis.why import why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.client.lab import Lab
from restate_lab.source import SourceWrapper
from support.advice import contradictions
from support.clusters import PHASE, PLAIN, Cluster

pytestmark = pytest.mark.server
OTHER_TABLES = pytest.mark.also_on(PLAIN, reason="without vqueues holders, queues and attempts are in other tables")

NOBODY = "inv_1" + "0" * 33
TRYING = {"backing-off", "running", "ready"}
# role → the role at the end of its chain, its wait, and the terms that the summary has
CHAINS = {
    "storm_caller_1": ("storm_503_7", "step", "charge card", ["RT0007", "“charge card”", "HTTP 503"]),
    "storm_503_1": ("storm_503_1", "step", "charge card", ["RT0007", "“charge card”", "HTTP 503"]),
    "storm_timeout_1": ("storm_timeout_1", "step", "charge card", ["RT0007", "mc-gateway.paystream.example"]),
    "agent_denver": ("agent_denver", "step", "get weather", ["RT0007", "“get weather”", "Denver"]),
    "hot_key_holder": ("hot_key_holder", "awakeable", None, ["which is not resolved"]),
    "hot_key_opener": ("hot_key_holder", "awakeable", None, ["which is suspended", "which is not resolved"]),
    "hot_key_queue_1": ("hot_key_holder", "awakeable", None, ["key Account/acme-retail", "which is not resolved"]),
    "hot_key_caller_1": ("hot_key_holder", "awakeable", None, ["key Account/acme-retail", "which is not resolved"]),
    "paused_1": (
        "paused_1",
        "resume",
        None,
        ["RT0007", "“send transfer”", "returned AC04", "until it is resumed"],
    ),
    "paused_by_hand": ("paused_by_hand", "resume", None, ["“print label”", "PrinterOffline", "until it is resumed"]),
    "forgotten_awakeable": ("forgotten_awakeable", "awakeable", None, ["which is not resolved"]),
    "forgotten_promise": ("forgotten_promise", "promise", "payment", ["“payment”", "which is not completed"]),
    "pinned_to_removed_1": ("pinned_to_removed_1", "step", None, ["RT0011", "was removed", "service Loyalty"]),
    "asleep_on_removed_1": ("asleep_on_removed_1", "sleep", None, ["“a year”", "no longer registered", "RT0011"]),
    "unreachable_1": ("unreachable_1", "step", None, ["RT0010", "do not reach its code", "502 Bad Gateway"]),
    "mismatch_1": ("mismatch_1", "step", None, ["RT0016", "inspect parcel", "scan label"]),
    "rendering": ("rendering", "step", "render pdf", ["is running", "“render pdf”"]),
}
ENDS = {
    "declined_1": ("failed", ["[402] card declined: insufficient_funds", "its step “charge card” (Run)"]),
    "bad_address_1": ("failed", ["[422] no carrier delivers to postal code", "its step “find carrier” (Run)"]),
    "slow_1": ("succeeded", ["succeeded", "after it was created"]),
    "killed": ("killed", ["was killed"]),
    "cancelled": ("cancelled", ["was cancelled"]),
}
# the actions offered for each role, about its root and itself, at least; and actions without effect or refused
OFFERS = {
    "storm_caller_1": ({"repair", "resume", "pause", "cancel", "kill"}, {"purge", "restart_as_new"}),
    "hot_key_queue_1": ({"resolve_awakeable", "reject_awakeable", "cancel", "kill"}, {"resume", "pause"}),
    "forgotten_promise": ({"complete_promise", "cancel", "kill"}, {"kill and restart", "resume"}),
    "paused_1": ({"resume", "kill"}, {"cancel", "pause"}),
    "pinned_to_removed_1": ({"bring the code back", "kill"}, {"cancel", "repair", "move_to", "kill and restart"}),
    "unreachable_1": ({"bring the code back", "kill"}, {"cancel", "resume"}),
    "mismatch_1": ({"bring the code back", "kill", "kill and restart"}, {"cancel", "repair", "move_to"}),
    "restock_tomorrow": ({"wait", "cancel"}, {"kill", "resume", "pause"}),
    "declined_1": ({"restart_as_new", "purge"}, {"cancel", "kill", "resume"}),
}


class Watched(SourceWrapper):
    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.asked: list[tuple[str, set[str]]] = []

    def stream(self, statement: str, /, *, params: Mapping[str, Any] | None = None, **named: Any) -> Any:
        self.asked.append((statement, {*(params or {}), *named}))
        return super().stream(statement, params=params, **named)


@pytest.fixture(scope="module")
def told(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Explanation]]:
    """Explain one invocation of each role on a kind of server."""
    with rl.connect(incident.admin_url, audit=tmp_path_factory.mktemp("why"), read_only=True) as lab:
        roles = [*CHAINS, *ENDS, "restarted_2", "restarted_3", "restock_tomorrow", "cooling_off"]
        yield {role: why(lab, incident.roles[role]) for role in roles}


@OTHER_TABLES
@pytest.mark.parametrize("role", CHAINS)
def test_each_fault_and_victim_has_its_cause(told: dict[str, Explanation], incident: Cluster, role: str) -> None:
    """The chain ends at the true root blocker and its wait; the summary names step, code, key, failure."""
    root, waits_for, what, named = CHAINS[role]
    found = told[role]
    last = found.chain.iloc[-1]
    assert found.chain["id"].iloc[0] == found.id == incident.roles[role]
    assert (last["id"], last["waits_for"], last["blocker"]) == (incident.roles[root], waits_for, None)
    assert what in {None, last["detail"]}
    for words in (*named, found.id, incident.roles[root]):
        assert words in found.summary, found.summary
    assert found.not_read.empty


@OTHER_TABLES
def test_the_chain_goes_link_by_link(told: dict[str, Explanation], incident: Cluster) -> None:
    """Each row's blocker is the next row's id; a call, then the key that it queues for, then the awakeable."""
    chain, who = told["hot_key_caller_1"].chain, incident.roles
    assert list(chain["id"]) == [who["hot_key_caller_1"], who["hot_key_queue_9"], who["hot_key_holder"]]
    assert list(chain["blocker"][:-1]) == list(chain["id"][1:])
    assert list(chain["waits_for"]) == ["call", "key", "awakeable"]
    assert list(chain["status"]) == ["suspended", "pending", "suspended"]
    assert list(chain["step"]) == [1, 2, 3]
    assert chain["detail"].iloc[1] == "Account/acme-retail"
    assert str(chain["since"].dtype) == "datetime64[ms, UTC]"
    assert chain["since"].notna().all()


def test_the_awakeable_is_the_one_to_resolve(told: dict[str, Explanation], incident: Cluster) -> None:
    """Its id is in the summary, in the chain and in the suggested code, and belongs to the root blocker."""
    found = told["hot_key_queue_1"]
    options = found.options.set_index("action")
    awakeable = found.chain["detail"].iloc[-1]
    assert awakeable in found.summary
    assert f'lab.ingress.resolve_awakeable("{awakeable}"' in options.loc["resolve_awakeable", "code"]
    assert options.loc["resolve_awakeable", "id"] == incident.roles["hot_key_holder"]


@OTHER_TABLES
def test_where_attempts_go_is_said(told: dict[str, Explanation], incident: Cluster, lab: Lab) -> None:
    """A deployment that is gone or unreachable is named, the latter with its address; with the next step."""
    removed, unreachable = told["pinned_to_removed_1"], told["unreachable_1"]
    assert incident.roles["loyalty_deployment"] in removed.summary
    assert incident.roles["courier_deployment"] in unreachable.summary
    assert lab.admin.get_deployment(incident.roles["courier_deployment"]).uri.rstrip("/") in unreachable.summary
    assert "create_deployment" in removed.options["code"].iloc[0]
    assert "rl.move_to(" in removed.options["code"].iloc[0]


@OTHER_TABLES
@pytest.mark.parametrize(("name", "length"), [("deadlock_pair", 2), ("deadlock_ring", 3), ("deadlock_self", 1)])
def test_a_deadlock_is_named_with_its_circle(lab: Lab, incident: Cluster, name: str, length: int) -> None:
    """From a holder or from a call that it waits for, the chain goes once around, and one cancellation breaks it."""
    holders, calls = set(incident.ids(name)), set(incident.ids(f"{name}_blocked"))
    by_waits = [row for row in waits(lab).deadlocks.to_dict("records") if holders & set(row["members"])]
    for id_ in (incident.ids(name)[0], incident.ids(f"{name}_blocked")[0]):
        found = why(lab, id_)
        chain = found.chain
        assert "It is in a deadlock: " in found.summary
        assert set(chain["id"]) == holders | calls
        assert len(chain) == 2 * length
        assert list(chain["blocker"]) == [*chain["id"][1:], id_]
        assert sorted(set(chain["waits_for"])) == ["call", "key"]
        assert "No other invocation waits for those in the deadlock" in found.summary
        assert list(found.options["action"]) == ["cancel", "kill"]
        assert set(found.options["id"]) == {by_waits[0]["cancel"]} <= holders


@OTHER_TABLES
def test_callers_are_named_and_queues_are_counted(told: dict[str, Explanation], incident: Cluster) -> None:
    holder = told["hot_key_holder"].summary
    assert f"17 invocations wait for it: its caller Orders/close_quarter ({incident.roles['hot_key_opener']})" in holder
    assert "12 calls in the queue of its key Account/acme-retail, 4 that wait for these." in holder
    assert "No invocation waits for it." in told["storm_503_1"].summary


@OTHER_TABLES
def test_the_caller_of_a_failing_call_waits_for_it(lab: Lab, incident: Cluster) -> None:
    found = why(lab, incident.roles["storm_503_7"])
    assert found.status in TRYING
    assert f"1 invocation waits for it: its caller Orders/place ({incident.roles['storm_caller_1']})." in found.summary


@OTHER_TABLES
def test_retries_are_counted_on_each_kind(told: dict[str, Explanation]) -> None:
    """A back-off counts with vqueues, too, where it is shown as ready: with attempts, their begin, and the next."""
    for role in ("storm_503_1", "agent_denver", "unreachable_1"):
        found = told[role]
        assert found.status in TRYING
        attempts = re.search(r"Every attempt fails: ([\d,]+) attempts? since 20\d\d-", found.summary)
        assert attempts, found.summary
        assert int(attempts[1].replace(",", "")) >= 1
        assert "and the next attempt" in found.summary


@OTHER_TABLES
def test_a_pause_by_hand_is_told_where_the_server_tells_it(told: dict[str, Explanation], incident: Cluster) -> None:
    """Vqueues show that a pause by hand has no failure; a pause from before the migration has an unknown cause."""
    is_known = incident.vqueues and not PHASE
    assert ("by hand: the pause has no failure" in told["paused_by_hand"].summary) == is_known
    assert ("ran out of attempts, or its handler asked for" in told["paused_1"].summary) == is_known
    assert ("Restate does not record whether it ran out of attempts" in told["paused_1"].summary) != is_known


@pytest.mark.parametrize("role", ENDS)
def test_what_has_ended_is_told_with_its_end(told: dict[str, Explanation], role: str) -> None:
    """How and when it ended, how long it took, its failure, and until when its record is kept."""
    status, named = ENDS[role]
    found = told[role]
    assert found.status == status
    for words in (*named, "Its record is kept until 20", "its journal too."):
        assert words in found.summary
    assert "waits for it" not in found.summary
    assert list(found.chain["waits_for"]) == [None]


@OTHER_TABLES
def test_a_restart_has_the_chain_of_its_origins_and_its_own_restarts(
    told: dict[str, Explanation], incident: Cluster
) -> None:
    first, second, third = incident.ids("restarted")
    assert f"restarted from {second}, before that {first}." in told["restarted_3"].summary
    assert f"restarted from {first}. It was restarted as {third}." in told["restarted_2"].summary


@OTHER_TABLES
@pytest.mark.parametrize("role", OFFERS)
def test_actions_without_effect_are_not_offered(told: dict[str, Explanation], role: str) -> None:
    wanted, unwanted = OFFERS[role]
    options = told[role].options
    own = set(options["action"])
    # during an attempt it runs, and there is nothing to resume; with vqueues it is ready before and after it
    moment = {"running": {"resume"}, "ready": {"resume", "pause"}}
    assert wanted - moment.get(told[role].chain["status"].iloc[-1], set()) <= own
    assert not unwanted & own
    for row in options.to_dict("records"):
        assert not row["code"].startswith("rl.plan") or row["id"] in row["code"]


def test_the_doctor_and_why_never_contradict_each_other(lab: Lab) -> None:
    diagnosis = rl.doctor(lab)
    assert {"journal_mismatches", "removed_deployments", "paused"} <= set(diagnosis.findings["check"])
    assert contradictions(lab, diagnosis) == []


def test_actions_on_the_root_come_first(told: dict[str, Explanation], incident: Cluster) -> None:
    options = told["storm_caller_1"].options
    ids = list(dict.fromkeys(options["id"]))
    assert ids == [incident.roles["storm_503_7"], incident.roles["storm_caller_1"]]
    assert list(options.loc[options["id"] == ids[1], "action"]) == ["cancel", "kill"]


def test_what_is_not_wrong_is_told_as_such(healthy: Cluster, tmp_path: Path) -> None:
    """A two-week sleep, a start tomorrow, and a success need no action; an unpaid workflow waits for its promise."""
    with rl.connect(healthy.admin_url, audit=tmp_path / "audit", read_only=True) as lab:
        asleep, later, done, unpaid, cancelled = (
            why(lab, healthy.roles[role])
            for role in ("cooling_off_1", "restock_tomorrow", "order_1", "unpaid", "changed_mind")
        )
        wakes = asleep.chain["detail"].iloc[0].removeprefix("until ")
    assert f"its sleep “cooling-off period”, which ends at {wakes} (in 13d" in asleep.summary
    assert "It then wakes by itself; nothing is wrong with it." in asleep.summary
    assert "(in 23h" in later.summary
    assert "nothing is wrong with it" in later.summary
    assert asleep.options["action"].iloc[0] == later.options["action"].iloc[0] == "wait"
    assert (done.status, cancelled.status) == ("succeeded", "cancelled")
    assert "fail" not in done.summary
    assert "the promise “payment”" in unpaid.summary


def test_who_is_not_there_is_said_to_be_so(lab: Lab) -> None:
    """An unknown id is explained; a malformed one is refused before anything is sent."""
    found = why(lab, NOBODY)
    assert f"has no invocation {NOBODY}" in found.summary
    assert (found.target, found.status, len(found.chain), len(found.options)) == (None, None, 0, 0)
    assert "not found" in repr(found)
    assert "Invocation not found" in found._repr_html_()
    with pytest.raises(rl.errors.ArgumentError, match="id is 'inv_1x'"):
        why(lab, "inv_1x")


@OTHER_TABLES
def test_only_points_are_read(lab: Lab, incident: Cluster) -> None:
    """Every statement selects by ids, keys or partitions, and one invocation takes at most thirty."""
    for role in ("hot_key_caller_1", "hot_key_holder", "deadlock_ring_1", "restarted_2", "mismatch_1"):
        source: Any = Watched(lab)
        why(source, incident.roles[role])
        wide = [
            statement
            for statement, named in source.asked
            if not named & {"ids", "id", "keys", "partitions", "vqueue", "indexes"}
            and "information_schema" not in statement
        ]
        assert wide == []
        assert len(source.asked) <= 30


def test_it_looks_like_a_card(told: dict[str, Explanation]) -> None:
    """The text has the options below the summary, the repr is a line, and the card shows text from the cluster."""
    found = told["hot_key_caller_1"]
    assert isinstance(found, Explanation)
    assert str(found).startswith(f"{found.target} is {found.status}")
    assert "rl.plan(lab" in str(found)
    assert re.fullmatch(rf"<Explanation of {found.id}: Orders/bill is suspended; print\(\) shows it>", repr(found))
    html = found._repr_html_()
    assert html.count(found.id) >= 3
    assert "BankRejected(&#39;SEPA" in told["paused_1"]._repr_html_()


@pytest.fixture(scope="module")
def lab(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path_factory.mktemp("audit"), read_only=True) as connected:
        yield connected
