"""Plans on real servers of each kind: the plan is correct, and the execution does exactly that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.change import Change
from restate_lab.actions.execution.outcomes import COLUMNS
from restate_lab.actions.plan import make_plan, plan
from restate_lab.actions.plan.impact import find_callees
from restate_lab.actions.plan.model import LIFETIME, Plan
from restate_lab.actions.plan.preview import read_prefixes
from restate_lab.actions.reader import read_invocations
from restate_lab.actions.rules import ACTIONS, GONE
from restate_lab.audit import audit_log
from restate_lab.client.lab import Lab
from restate_lab.client.sql.parts import complete
from restate_lab.panels.actions.form import PlanForm
from restate_lab.reads import Reads
from restate_lab.status import STATUSES_SQL
from support.bench import wait_for
from support.clusters import KINDS, PLAIN, Cluster, server_binary
from support.every_status import status_server

pytestmark = pytest.mark.server
OTHER_TABLES = pytest.mark.also_on(
    PLAIN, reason="without vqueues statuses, queues and holders of keys are in other tables"
)

WHY = "INC-42: a test"
NOBODY = "inv_1" + "0" * 33


@pytest.fixture(scope="module", params=KINDS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with status_server(request.param, tmp_path_factory.mktemp("plan")) as lab:
        yield lab


def words(lab: Lab) -> dict[str, str]:
    rows = lab.arrow(complete(STATUSES_SQL, lab), progress=False).to_pylist()
    return {row["id"]: row["word"] for row in rows}


def send(lab: Lab, target: str, status: str, **options: Any) -> str:
    service, _, handler = target.partition("/")
    body = None if handler == "hold" else "x"
    id_ = lab.ingress.send(service, handler, body, **options).invocation_id
    wait_for(lambda: words(lab).get(id_, GONE), lambda word: word == status)
    return id_


def outcomes(frame: pd.DataFrame | None) -> dict[str, str]:
    assert frame is not None
    return dict(zip(frame["id"], frame["outcome"], strict=True))


def family(lab: Lab) -> tuple[str, dict[str, str]]:
    """Start a caller and return its id and the ids of all invocations below it: target → id, sent ones marked."""
    caller = send(lab, "Caller/calls", "suspended")
    statement = "SELECT id, target, invoked_by_id FROM sys_invocation_status"

    def below() -> dict[str, str]:
        rows = lab.arrow(statement, progress=False).to_pylist()
        called = {row["invoked_by_id"]: row["id"] for row in rows}
        first = [row for row in rows if row["invoked_by_id"] == caller]
        through = [row["id"] for row in first if row["target"] == "Caller/passes_on"]
        seen = {f"{row['target']} {row['id']}": row["id"] for row in first}
        return seen | ({"below": called[through[0]]} if through and through[0] in called else {})

    found = wait_for(below, lambda seen: len(seen) == 5)
    suspended = [id_ for name, id_ in found.items() if "greet" not in name]
    wait_for(lambda: {words(lab).get(id_) for id_ in suspended}, lambda seen: seen == {"suspended"})
    return caller, found


@OTHER_TABLES
def test_a_plan_shows_what_is_and_changes_nothing(incident: Cluster) -> None:
    """Every invocation of the incident has its true status in the plan, also a long back-off; nothing is sent."""
    with rl.connect(incident.admin_url, read_only=True) as lab:

        def look() -> tuple[dict[str, str], pd.DataFrame]:
            truth = words(lab)
            return truth, read_invocations(Reads(lab), list(truth))

        # between two attempts of the retrying ones
        truth, states = wait_for(look, lambda both: both[1]["status"].to_dict() == both[0])
        assert set(states["status"]) >= {"backing-off", "suspended", "paused"}
        made = plan(lab, "kill", states.reset_index())
        assert len(made.frame) == len(truth)
        assert made.frame["effect"].isna().equals(made.frame["excluded"].notna())
        assert int(made.counts["invocations"].sum()) == len(made.targets)
        title, place, *_ = str(made).splitlines()
        assert title.startswith(f"{lab.name}: kill ")
        assert place.startswith(f"{incident.admin_url} (restate {incident.version}")
        with pytest.raises(errors.ReadOnly):
            made.execute(reason=WHY, expect=len(made.targets))
        assert words(lab).keys() == truth.keys()


@OTHER_TABLES
def test_a_plan_and_why_agree_on_which_invocations_fail_again(incident: Cluster) -> None:
    """For each handler and status, a resume has the reason of ``why``; the text, the card and the form have a count."""
    with rl.connect(incident.admin_url, read_only=True) as lab:
        stopped = rl.ask(lab, "ids_by_status", status="paused")
        made = plan(lab, "resume", [*rl.ask(lab, "retry_storm_ids")["id"], *stopped["id"]])
        found = dict(zip(made.frame["id"], made.frame["effect"], strict=True))
        for _, rows in made.rows.groupby(["target", "status"]):
            id_ = rows["id"].iloc[0]
            options = rl.why(lab, id_).options
            resumes = options.loc[(options["id"] == id_) & (options["action"] == "resume"), "effect"]
            reasons = [text for text in resumes if text.startswith("will fail again: ")]
            assert found[id_].partition("; ")[2] == "".join(reasons), rows["target"].iloc[0]
        (warning,) = made.warnings
        mismatches, removed = len(incident.ids("mismatch")), len(incident.ids("pinned_to_removed"))
        assert warning.startswith(f"{mismatches + removed} of {len(made.targets)} will fail again: ")
        assert f"{mismatches} Returns/take_back do not match their journals (RT0016)" in warning
        assert f"{removed} Loyalty/redeem have no deployment (RT0011)" in warning
        for shown in (str(made), made._repr_html_(), made.approval_text, shown_in_form(made)):
            assert warning in shown
        assert plan(lab, "resume", rl.ask(lab, "retry_storm_ids", service="Payments")).warnings == ()


def test_why_some_are_left_out(lab: Lab) -> None:
    """Wrong status, gone, a workflow, a purged journal: each has its reason, and duplicates are merged."""
    ended = send(lab, "Every/greet", "succeeded")
    purged = send(lab, "Every/greet", "succeeded")
    lab.admin.purge_journal(purged, reason="INC-42")
    flow = send(lab, "Flow/run", "succeeded", key=f"w-{ended}")
    waiting = send(lab, "Every/waits", "suspended")
    made = plan(lab, "restart_as_new", [ended, waiting, ended, NOBODY, flow, purged])
    why = dict(zip(made.excluded["id"], made.excluded["reason"], strict=True))
    assert made.targets == (ended,)
    assert why[waiting] == "it has not ended: cancel or kill it first"
    assert why[NOBODY].startswith("gone")
    assert why[flow] == "a workflow cannot be restarted"
    assert why[purged] == "its journal was purged or not retained"
    assert made.frame.attrs["duplicates"] == 1
    assert plan(lab, "purge_journal", [purged]).targets == ()
    # the server agrees
    for id_ in (waiting, flow, purged):
        with pytest.raises(errors.RequestRefused):
            lab.admin.restart_as_new_invocation(id_, reason="INC-42")


@OTHER_TABLES
def test_a_kill_takes_along_what_the_plan_says(lab: Lab) -> None:
    """A kill also ends calls and one-way calls, also below and for later: these and no others."""
    caller, below = family(lab)
    bystander = send(lab, "Every/waits", "suspended")
    made = plan(lab, "kill", caller)
    assert set(made.impact["id"]) == set(below.values())
    kinds = dict(zip(made.impact["id"], made.impact["kind"], strict=True))
    assert sorted(kinds.values()) == ["call", "call", "call", "one-way call", "one-way call"]
    assert kinds[below["below"]] == "call"
    assert set(made.impact["caused_by"]) == {caller}
    assert "5 callees are also killed, 2 of them one-way calls: see plan.impact." in made.warnings
    few = find_callees(Reads(lab), [caller], {caller}, follow_sent=True, most=2)
    assert (len(few.caused_by), few.limitations) == (2, ["only the first 2 callees were followed"])
    assert outcomes(made.execute(reason=WHY)) == {caller: "done"}
    expected = dict.fromkeys(below.values(), "killed")
    expected |= {id_: GONE for name, id_ in below.items() if "greet" in name}
    wait_for(lambda: {id_: words(lab).get(id_, GONE) for id_ in expected}, lambda seen: seen == expected)
    assert words(lab)[bystander] == "suspended"


def test_a_cancel_ends_calls_and_no_invocation_that_was_sent(lab: Lab) -> None:
    caller, below = family(lab)
    made = plan(lab, "cancel", [caller])
    called = set(made.impact["id"])
    assert len(called) == 3
    assert below["below"] in called
    assert any("one-way calls are not cancelled" in said for said in made.reasons)
    made.execute(reason=WHY)
    wait_for(lambda: {words(lab)[id_] for id_ in called}, lambda seen: seen == {"cancelled"})
    sent = {id_: words(lab)[id_] for id_ in below.values() if id_ not in called}
    assert sorted(sent.values()) == ["scheduled", "suspended"]


@OTHER_TABLES
def test_callees_can_be_targets(lab: Lab) -> None:
    """With include_callees every callee is a target, with its caller; invocations that were sent are not."""
    caller, below = family(lab)
    made = plan(lab, "pause" if lab.features.get("vqueues") else "cancel", [caller], include_callees=True)
    assert made.targets[0] == caller
    assert len(made.targets) == 4
    assert below["below"] in made.targets
    assert list(made.frame["callee_of"]) == [None, caller, caller, caller]
    assert made.impact.empty
    assert set(made.execute(reason=WHY)["id"]) == {caller, *made.targets}
    with pytest.raises(errors.ArgumentError, match="include_callees"):
        plan(lab, "purge", [caller], include_callees=True)


@OTHER_TABLES
def test_keys_become_free(lab: Lab) -> None:
    """A holder's key is listed with the number of waiting calls and their ids; after the kill they had their turn."""
    key = "a/\"b'é✓"
    holder = send(lab, "Held/hold_and_call", "suspended", key=key)
    waiters = [send(lab, "Held/take", "pending", key=key) for _ in range(3)]
    made = plan(lab, "kill", [holder, waiters[2]])
    rows = made.impact.groupby("kind")["id"].apply(list).to_dict()
    (freed,) = made.impact[made.impact["kind"] == "key"].to_dict("records")
    assert (freed["target"], freed["caused_by"], freed["effect"]) == (
        f"Held/{key}",
        holder,
        "becomes free; 2 wait for it",
    )
    assert set(rows["waiter"]) == set(waiters[:2])
    assert len(rows["call"]) == 1
    assert "a/&#34;b&#39;é✓" in made._repr_html_()
    made.execute(reason=WHY)
    wait_for(lambda: [words(lab).get(id_) for id_ in waiters], lambda seen: seen == ["succeeded", "succeeded", None])


@OTHER_TABLES
def test_a_pause_names_the_steps_that_are_executed_again(lab: Lab) -> None:
    """In a vqueue a pause ends a running step, which is executed again on resume; plan and form have its name."""
    id_ = send(lab, "Every/busy", "running")
    made = plan(lab, "pause", [id_])
    text = "1 invocation is in a step that is executed again after the pause: work (1)."
    in_vqueue = bool(lab.features.get("vqueues"))
    assert made.warnings == ((text,) if in_vqueue else ())
    assert list(made.open_steps["step"]) == (["work"] if in_vqueue else [])
    assert made.not_read.empty
    if in_vqueue:
        for shown in (str(made), made._repr_html_(), made.approval_text, shown_in_form(made)):
            assert text in shown
        assert made.first(0).warnings == ()
        assert outcomes(made.execute(reason=WHY)) == {id_: "done"}
        assert plan(lab, "resume", [id_]).warnings == ()
        (elsewhere,) = plan(lab, "resume", [id_], deployment="latest").warnings
        assert elsewhere == text.replace("after the pause", "on the other deployment")
        plan(lab, "resume", [id_]).execute(reason=WHY)
        attempts = "SELECT num_attempts FROM sys_vqueue_entry_status WHERE entry_id = :id"
        wait_for(lambda: lab.sql(attempts, id=id_)["num_attempts"][0], lambda number: number == 2)
        wait_for(lambda: words(lab).get(id_), lambda word: word == "running")
        assert list(plan(lab, "pause", [id_]).open_steps["step"]) == ["work"]
    lab.admin.kill_invocation(id_, reason="INC-42")


def shown_in_form(made: Plan) -> str:
    nothing = dict.fromkeys(("confirm", "back", "again", "stop", "find_check", "check"), lambda: None)
    form = PlanForm(**nothing)
    form.show(made)
    return str(form._sentence.blocks[0]["text"])


@OTHER_TABLES
def test_queued_changes_of_state_are_part_of_the_impact(lab: Lab) -> None:
    """A change of state that waits for a key is counted where the plan frees or blocks the key, and has no id."""
    holder = send(lab, "Held/hold", "suspended", key="changed")
    waiter = send(lab, "Held/take", "pending", key="changed")
    lab.admin.modify_service_state("Held", "changed", new_state={"a": b"1"}, reason="INC-42")
    in_vqueue = bool(lab.features.get("vqueues"))
    waiting = "1 call and 1 change of state wait for it" if in_vqueue else "1 wait for it"
    for action, effect in {"kill": "becomes free", "cancel": "becomes free", "pause": "stays held"}.items():
        if action == "pause" and not in_vqueue:
            assert plan(lab, action, [holder]).targets == ()
            continue
        made = plan(lab, action, [holder])
        (key,) = made.impact[made.impact["kind"] == "key"]["effect"]
        assert key.startswith(effect)
        assert key.endswith(waiting)
        changes = made.impact[made.impact["kind"] == "state change"]
        assert changes[["id", "target", "caused_by"]].values.tolist() == [[None, "Held/changed", holder]] * in_vqueue
        assert any("not shown: changes of state" in each for each in made.reasons) is not in_vqueue
        assert ("1 queued change of state" in shown_in_form(made)) is in_vqueue
    plan(lab, "kill", [holder]).execute(reason=WHY)
    wait_for(lambda: words(lab).get(waiter), lambda word: word == "succeeded")
    wait_for(lambda: dict(rl.state(lab, "Held", "changed").raw) == {"a": b"1"})


def test_the_prefixes_are_those_that_the_server_takes(lab: Lab) -> None:
    """For every index of some journals, from_index is in the plan exactly where the server restarts from it."""
    ended = send(lab, "Every/greet", "succeeded")
    failed = send(lab, "Every/fail", "failed")
    caller, _ = family(lab)
    back = send(lab, "Every/flaky", "backing-off")
    sent = plan(lab, "kill", [caller, back])
    sent.execute(reason=WHY)
    for id_, prefix in read_prefixes(Reads(lab), [ended, failed, caller, back]).items():
        taken = [index for index in range(prefix.length + 1) if _restarts(lab, id_, index)]
        assert taken == list(range(prefix.ends)), id_
        listed = plan(lab, "restart_as_new", [id_]).prefixes["from_index"]
        assert set(listed) <= set(taken)
        assert plan(lab, "restart_as_new", [id_], from_index=taken[-1]).targets == (id_,)
        (why,) = plan(lab, "restart_as_new", [id_], from_index=taken[-1] + 1).excluded["reason"]
        assert "has no completion" in why or "has no entry" in why


def test_an_invocation_that_changed_after_the_plan_is_skipped(lab: Lab) -> None:
    ids = [send(lab, "Every/pauses", "paused") for _ in range(2)]
    made = plan(lab, "resume", pd.DataFrame({"invocation_id": ids}))
    lab.admin.kill_invocation(ids[0], reason="INC-42")
    found = made.execute(reason=WHY)
    assert outcomes(found)[ids[0]] == "skipped"
    assert outcomes(found)[ids[1]] in {"done", "accepted"}
    assert "killed" in found["error"][0]
    assert made.outcome is found


def test_a_smaller_plan_and_its_parent_act_once(lab: Lab) -> None:
    """Invocations restarted through first() are not restarted again by the whole plan, nor by another part."""
    ids = [send(lab, "Every/fail", "failed") for _ in range(3)]
    whole = plan(lab, "restart_as_new", ids)
    part, other = whole.first(1), whole.only(ids[:2])
    assert outcomes(part.execute(reason=WHY)) == {ids[0]: "done"}
    assert (whole.targets, other.targets) == (tuple(ids[1:]), (ids[1],))
    assert "1 acted on through a related plan" in str(whole)
    assert list(whole.execute(reason=WHY)["id"]) == ids[1:]
    assert other.execute(reason=WHY).empty
    for done in (part, whole, other):
        with pytest.raises(errors.PlanExpired):
            done.execute(reason=WHY)
    again = plan(lab, "restart_as_new", ids[:2])
    assert again.restarted == set(ids[:2])
    assert "2 were already restarted" in again.warnings[0]
    rows = lab.sql("SELECT restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids", ids=ids)
    assert sorted(rows["restarted_from"]) == sorted(ids)


def test_an_invocation_that_another_plan_restarted_is_skipped(lab: Lab) -> None:
    ids = [send(lab, "Every/fail", "failed") for _ in range(2)]
    mine, theirs = plan(lab, "restart_as_new", ids), plan(lab, "restart_as_new", ids[:1])
    theirs.execute(reason=WHY)
    found = mine.execute(reason=WHY)
    assert outcomes(found) == {ids[0]: "skipped", ids[1]: "done"}
    assert "restarted after the plan was made, as inv_1" in found["error"][0]
    assert outcomes(plan(lab, "restart_as_new", ids).execute(reason=WHY)) == dict.fromkeys(ids, "done")


def test_a_connection_that_is_closed_meanwhile(lab: Lab) -> None:
    """Nothing is sent, the outcome and the audit log state that, and the next plan works."""
    ids = [lab.ingress.send("Every", "greet", "x", delay="1h").invocation_id for _ in range(2)]
    wait_for(lambda: set(ids) <= set(words(lab)))
    folder = lab.transport.audit.folder
    with rl.connect(lab.settings.admin_url, audit=folder) as other:
        made = plan(other, "kill", ids)
    found = made.execute(reason=WHY)
    assert outcomes(found) == dict.fromkeys(ids, "not sent")
    assert "closed" in found["error"][0]
    assert audit_log(folder)["outcome"].iloc[-1] == "not sent"
    with pytest.raises(errors.ArgumentError, match="closed"):
        other.ingress.send("Every", "greet", "x")
    assert set(outcomes(plan(lab, "kill", ids).execute(reason=WHY)).values()) == {"done"}


def test_nothing_is_sent_without_what_it_needs(lab: Lab) -> None:
    """Without a reason or the exact number, or after 15 minutes, nothing is sent and nothing is in the audit log."""
    ids = [lab.ingress.send("Every", "greet", "x", delay="1h").invocation_id for _ in range(11)]
    wait_for(lambda: set(ids) <= set(words(lab)))
    folder = lab.transport.audit.folder
    before = len(audit_log(folder))
    made = plan(lab, "kill", ids)
    for wrong in ({"reason": " ", "expect": 11}, {"reason": WHY}, {"reason": WHY, "expect": 10}):
        with pytest.raises(errors.ArgumentError, match=r"reason|expect=11"):
            made.execute(**wrong)
    old = dataclasses.replace(made, read_at=made.read_at - LIFETIME)
    with pytest.raises(errors.PlanExpired, match="15 minutes"):
        old.execute(reason=WHY, expect=11)
    shorter = plan(lab, "kill", ids)
    shorter.frame.loc[1:, "excluded"] = "not these"
    for wrong in (shorter, dataclasses.replace(shorter, frame=pd.DataFrame())):
        with pytest.raises(errors.ArgumentError, match=r"plan\.only"):
            wrong.execute(reason=WHY, expect=11)
    with pytest.raises(errors.ArgumentError, match="reason"):
        made.execute(reason=42, expect=11)  # type: ignore[arg-type]
    assert len(audit_log(folder)) == before
    assert made.outcome is None
    assert len(made.execute(reason=WHY, expect=11)) == 11
    assert len(audit_log(folder)) == before + 1


def test_a_plan_without_targets_does_nothing_and_states_that(lab: Lab) -> None:
    for targets in ([], pd.DataFrame({"id": []}), [NOBODY]):
        made = plan(lab, "cancel", targets)
        assert "nothing to do" in str(made)
        assert list(made.execute(reason=WHY).columns) == list(COLUMNS)
        assert made._repr_html_()


def test_a_deployment_has_to_exist(lab: Lab) -> None:
    """An unknown deployment id is detected before the execution, and a move requires an id."""
    paused = send(lab, "Every/pauses", "paused")
    (deployment,) = (each.id for each in lab.admin.list_deployments())
    with pytest.raises(errors.ArgumentError, match="unknown deployment"):
        plan(lab, "resume", [paused], deployment="dp_1" + "0" * 22)
    with pytest.raises(errors.ArgumentError, match="deployment="):
        make_plan(lab, Change(ACTIONS.MOVE_TO), [paused])
    assert "is already on" in make_plan(lab, Change(ACTIONS.MOVE_TO, deployment), [paused]).excluded["reason"][0]
    assert plan(lab, "resume", [paused], deployment=deployment).targets == (paused,)


def _restarts(lab: Lab, id_: str, index: int) -> bool:
    try:
        lab.admin.restart_as_new_invocation(id_, from_index=index, reason="INC-42")
    except errors.RequestRefused:
        return False
    return True
