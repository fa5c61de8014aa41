"""A redrive on real servers: completed steps run once, lost responses act once, and each exclusion has its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.execution import runner
from restate_lab.actions.plan import plan
from restate_lab.actions.plan.store import PlanStore, StoredPlan
from restate_lab.actions.redrive import redrive
from restate_lab.audit import audit_log
from restate_lab.demo.embedded import start_services
from restate_lab.progress import NoProgress
from restate_lab.reads import read_identity
from support.bench import wait_for, wait_until_served
from support.clusters import KINDS, server_binary
from support.demo.nodes import Nodes
from support.proxy import Proxy, connect_through, is_batch, not_leader_response
from support.redrive_bench import READY, SERVICES, RedriveBench, running_redrive_bench, runs_of
from support.tcp_relay import Cut, Fault, tcp_relay

pytestmark = pytest.mark.server

WHY = "INC-42"
RESTARTS = "SELECT id, restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedriveBench]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with running_redrive_bench(request.param, tmp_path_factory.mktemp("redrive")) as bench:
        yield bench


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for effects that these tests never see."""
    monkeypatch.setattr(runner, "SEEN_WITHIN", 1.0)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    return {str(word): int(n) for word, n in frame["outcome"].value_counts().items()}


def check_audit(bench: RedriveBench, made: rl.Plan) -> None:
    """Compare the audit log with the plan: each target has its outcome and the index from which it restarted."""
    assert made.outcome is not None
    written = audit_log(bench.audit, change=made.outcome.attrs["change"])
    indexes = dict(zip(made.frame["id"], made.frame["from_index"], strict=True))
    assert written["id"].tolist() == made.outcome["id"].tolist()
    assert written["from_index"].tolist() == [indexes[id_] for id_ in written["id"]]
    for column in ("outcome", "error", "new_id", "other_new_ids"):
        assert written[column].tolist() == made.outcome[column].tolist()


def check_restarted_once(bench: RedriveBench, frame: pd.DataFrame) -> None:
    """Compare the outcome with the restarts on the server: one for each that is done, and no other."""
    rows = bench.lab.sql(RESTARTS, ids=list(frame["id"]))
    done = frame[frame["outcome"] == "done"]
    assert sorted(zip(rows["restarted_from"], rows["id"], strict=True)) == sorted(
        zip(done["id"], done["new_id"], strict=True)
    )


MORE = (1000, 1), (5000, 2)
"""Numbers of invocations, each with the seed of their steps, that take most of a minute."""


def redrive_orders(bench: RedriveBench, prefix: str, count: int, seed: int, *, store: PlanStore | None = None) -> None:
    """Fail orders at random steps and redrive them: each completed step runs once, and the failed one twice."""
    ids, orders = bench.fail_orders(prefix, count, seed)
    assert bench.runs(prefix) == runs_of(orders, is_done=False)
    made = redrive(bench.lab, bench.failed(ids))
    if store is not None:
        stored = StoredPlan.of(made, read_identity(bench.lab))
        store.save(stored)
        made = store.load(stored.name).on(bench.lab, store)
    assert set(made.targets) == set(ids)
    with bench.repaired():
        frame = made.execute(reason=WHY, expect=count, progress=NoProgress())
        assert counts(frame) == {"done": count}
        bench.until_ended(list(frame["new_id"]))
    assert bench.runs(prefix) == runs_of(orders, is_done=True)
    assert bench.failed(list(frame["new_id"])).empty
    check_restarted_once(bench, frame)
    check_audit(bench, made)


@pytest.mark.parametrize(("count", "seed"), [(250, 1), *(pytest.param(*each, marks=pytest.mark.long) for each in MORE)])
def test_a_redrive_repeats_only_the_failed_step(bench: RedriveBench, count: int, seed: int) -> None:
    redrive_orders(bench, f"{count}-", count, seed=seed)


def test_a_stored_redrive_has_the_index_of_each_invocation(bench: RedriveBench, tmp_path: Path) -> None:
    redrive_orders(bench, "stored-", 8, seed=3, store=PlanStore(tmp_path))


def test_each_kind_of_failure_has_its_index_or_its_reason(bench: RedriveBench) -> None:
    """The plan keeps what it should, and excludes with the reason; executed, it gives the expected result."""
    lab = bench.lab
    ids = {name: bench.send(name, f"kinds-{name}") for name in (*KEEPS, *WHYS)}
    ids["fill"] = lab.ingress.send("Carts", "fill", "kinds-fill", key="k").invocation_id
    ids["run"] = lab.ingress.send("Approvals", "run", "kinds-run", key="w").invocation_id
    wait_for(lambda: bench.statuses([ids["asks"], ids["run"]]), lambda now: now == {"suspended": 2})
    asked = rl.journal(lab, ids["asks"], payloads=True).set_index("name")["payload"]["ask"]
    lab.ingress.reject_awakeable(asked, "no")
    lab.ingress.call("Approvals", "reject", key="w")
    bench.until_ended(list(ids.values()))
    purged, fine = bench.send("compensates", "kinds-purged"), bench.send("greets", "kinds-fine")
    bench.until_ended([purged, fine])
    lab.admin.purge_journal(purged, reason="INC-42")
    (callee,) = lab.sql("SELECT id FROM sys_invocation WHERE invoked_by_id = :id", id=ids["calls"])["id"]

    made = redrive(lab, [*ids.values(), purged, fine, callee])
    names = {id_: name for name, id_ in ids.items()} | {purged: "purged", fine: "fine", callee: "callee"}
    rows = made.frame.assign(name=[names[id_] for id_ in made.frame["id"]]).set_index("name")
    keeps = rows.loc[rows["excluded"].isna(), ["from_index", "failed_type", "failed_name", "kept_steps"]]
    assert {name: tuple(row) for name, row in zip(keeps.index, keeps.to_numpy(dtype=object), strict=True)} == {
        **{name: (index, *command, kept) for name, (index, command, kept) in KEEPS.items()},
        "fill": (4, "Run", "charge", 3),
    }
    whys = rows["excluded"].dropna().to_dict()
    assert {name: why for name, why in whys.items() if not why.startswith(WHYS.get(name, "?"))} == {
        "run": "a workflow cannot be restarted",
        "purged": "its journal was purged or not retained",
        "fine": "it is succeeded, not failed: use restate_lab.plan() to restart it",
        "callee": f"its caller {ids['calls']} is a target too, or was restarted, and calls it again",
    }
    assert "charge is down" in str(made)
    assert "No replay check was made" in made.warnings[0]
    before = bench.runs("kinds-")
    with bench.repaired():
        frame = made.execute(reason=WHY)
        assert counts(frame) == {"done": len(KEEPS) + 1}
        bench.until_ended(list(frame["new_id"]))
    assert bench.failed(list(frame["new_id"])).empty
    again = bench.runs("kinds-") - before
    assert again == Counter({f"kinds-{step}": 1 for step in AGAIN})
    check_restarted_once(bench, frame)
    check_audit(bench, made)
    # another plan of the same invocations restarts none of them, nor the callee that was called again
    later = redrive(lab, [*ids.values(), callee])
    assert later.targets == ()
    assert later.excluded["reason"].str.contains("already restarted, as inv_1").sum() == len(frame)


KEEPS = {
    "calls": (2, ("Call", "Orders/pay"), 1),
    "decides": (4, (None, None), 2),
    "gives_up": (2, ("Run", "charge"), 1),
    "step_gives_up": (2, ("Run", "charge"), 1),
}
"""Handlers whose failures can be redriven: the index, the failed command, and the number of steps to keep."""
WHYS = {
    "compensates": "1 command follows Run “charge”, which failed: Run “release”, such as a compensation",
    "wraps": "its failure is not that of a command: [400] no order: charge is down; failed commands: Run “charge” (",
    "asks": "a rejected awakeable or signal (entry 5) ended it",
    "at_once": "Run “part 2” ran at the same time as Run “part 1”, which failed, and would run again",
    "calls_once": "Call “Orders/pay” has an idempotency key: the same call would return the same failure again",
}
"""Handlers whose failures are excluded, and the beginning of the reason."""
AGAIN = ("calls callee charge", "calls deliver", "gives_up charge", "step_gives_up charge", "fill charge")
"""The steps that run again: those that failed, and those after them."""


def test_a_row_can_be_overridden(bench: RedriveBench) -> None:
    """The index of an override is used, what the server would refuse is excluded, and unknown ids are an error."""
    ids = [bench.send(handler, f"overrides-{handler}") for handler in ("compensates", "wraps", "decides")]
    bench.until_ended(ids)
    made = redrive(bench.lab, ids, overrides={ids[0]: 2, ids[1]: 2, ids[2]: 99})
    assert made.targets == tuple(ids[:2])
    assert made.frame["from_index"].tolist()[:2] == [2, 2]
    assert made.frame["repeated_steps"].tolist()[:2] == [2, 1]
    assert made.excluded["reason"].tolist() == ["its journal has no entry 99: the last one is 5"]
    (output,) = redrive(bench.lab, ids[2], overrides={ids[2]: 5}).excluded["reason"]
    assert output.startswith("entry 5 is the output")
    with bench.repaired():
        frame = made.execute(reason=WHY)
        bench.until_ended(list(frame["new_id"]))
    assert bench.failed(list(frame["new_id"])).empty
    assert bench.runs("overrides-")["overrides-compensates reserve"] == 1
    with pytest.raises(errors.ArgumentError, match="not among the invocations to redrive"):
        redrive(bench.lab, ids[:1], overrides={ids[1]: 2})


@pytest.mark.parametrize("when", ["before", pytest.param("within", marks=pytest.mark.long), "after"])
def test_a_lost_response_acts_once(bench: RedriveBench, in_haste: None, when: str) -> None:
    """A cut connection is resolved by reading, and never sent again: a second plan does only what did not happen."""
    prefix = f"cut-{when}-"
    ids, orders = bench.fail_orders(prefix, 20, seed=4)
    cut = Cut(b"/restart-as-new", number=9, when=when)  # type: ignore[arg-type]
    with bench.repaired(), tcp_relay(bench.url, cut=cut) as relay:
        with rl.connect(relay.url, audit=bench.audit) as lab:
            made = redrive(lab, ids)
            frame = made.execute(reason=WHY)
            assert cut.happened
            assert sum(b"/restart-as-new" in head for head in relay.heads) == 20
            assert set(frame["outcome"]) <= {"done", "unknown"}
            assert (frame["outcome"] == "unknown").sum() <= (0 if when == "after" else 1)
            check_restarted_once(bench, frame)
            check_audit(bench, made)
            again = redrive(lab, ids)
            assert set(again.targets) == set(frame.loc[frame["outcome"] == "unknown", "id"])
            rest = again.execute(reason=WHY)
        bench.until_ended([*frame["new_id"].dropna(), *rest["new_id"]])
    assert bench.runs(prefix) == runs_of(orders, is_done=True)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(b"/restart-as-new", number=3, times=4, passes=0, end="reset"),
        Fault(b"/restart-as-new", number=3, times=4, passes=20),
        Fault(
            b"/restart-as-new",
            number=3,
            times=2,
            acted=True,
            response=b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        ),
    ],
    ids=["reset", "a part of the response", "a gateway's 502"],
)
def test_a_fault_acts_once(bench: RedriveBench, in_haste: None, fault: Fault, request: pytest.FixtureRequest) -> None:
    """Whatever becomes of the responses, each invocation is restarted once, and the outcome names the new one."""
    prefix = f"{request.node.callspec.id.replace(' ', '-')}-"
    ids, orders = bench.fail_orders(prefix, 20, seed=5)
    with bench.repaired(), tcp_relay(bench.url, fault=fault) as relay:
        with rl.connect(relay.url, audit=bench.audit) as lab:
            frame = redrive(lab, ids).execute(reason=WHY)
        assert fault.happened == fault.times
        assert counts(frame) == {"done": 20}
        bench.until_ended(list(frame["new_id"]))
    check_restarted_once(bench, frame)
    assert bench.runs(prefix) == runs_of(orders, is_done=True)


def test_a_busy_server_is_waited_for_and_no_batch_is_sent(bench: RedriveBench) -> None:
    """429 and 503 are waited out; each invocation has a request of its own, with its own index."""
    ids, orders = bench.fail_orders("busy-", 12, seed=6)
    busy = iter([httpx.Response(429, headers={"retry-after": "0.1"}), not_leader_response()])
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method != "PATCH":
            return None
        early = next(busy, None)
        if early is None:
            sent.append(request)
        return early

    with bench.repaired(), connect_through(proxy := Proxy(before=answer), bench.url, bench.audit) as lab:
        made = redrive(lab, ids)
        frame = made.execute(reason=WHY, progress=NoProgress())
        bench.until_ended(list(frame["new_id"]))
    assert counts(frame) == {"done": 12}
    assert not any(is_batch(httpx.Request(method, f"http://x{path}")) for method, path in proxy.changes)
    indexes = {each.url.path.split("/")[-2]: int(each.url.params["from"]) for each in sent}
    assert indexes == dict(zip(made.frame["id"], made.frame["from_index"], strict=True))
    assert {each.url.params["deployment"] for each in sent} == {"latest"}
    assert bench.runs("busy-") == runs_of(orders, is_done=True)


def test_an_interrupted_redrive_goes_on_with_the_rest(bench: RedriveBench) -> None:
    ids, orders = bench.fail_orders("stop-", 20, seed=7)
    passed: list[httpx.Request] = []

    def note(request: httpx.Request) -> None:
        if request.method == "PATCH":
            passed.append(request)

    with bench.repaired(), connect_through(Proxy(after=note), bench.url, bench.audit) as lab:
        first = redrive(lab, ids).execute(reason=WHY, stop=lambda: len(passed) >= 7)
        assert 7 <= counts(first)["done"] < 20
        whole = redrive(lab, ids)
        part = whole.first(3).execute(reason=WHY)
        rest = whole.execute(reason=WHY)
        new = [*first["new_id"].dropna(), *part["new_id"], *rest["new_id"]]
        assert len(new) == 20
        bench.until_ended(new)
    assert bench.runs("stop-") == runs_of(orders, is_done=True)
    assert len(bench.lab.sql(RESTARTS, ids=ids)) == 20


def test_an_edited_index_is_not_sent(bench: RedriveBench) -> None:
    """The plan refuses to execute if its frame was changed; a restart by hand in the meantime is skipped."""
    ids, _ = bench.fail_orders("edit-", 3, seed=8)
    made = redrive(bench.lab, ids)
    index = int(made.frame["from_index"][0])
    made.frame.loc[0, "from_index"] = index + 1
    with pytest.raises(errors.ArgumentError, match="frame was changed"):
        made.execute(reason=WHY)
    made.frame.loc[0, "from_index"] = index
    plan(bench.lab, "restart_as_new", ids[:1]).execute(reason=WHY)
    assert sorted(made.execute(reason=WHY)["outcome"]) == ["done", "done", "skipped"]


@pytest.mark.long
def test_a_node_that_is_killed_repeats_no_completed_step(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three nodes one dies during the redrive: each invocation is restarted once, and its kept steps do not run."""
    monkeypatch.setattr(runner, "SEEN_WITHIN", 30.0)  # a new leader may show ended invocations for some seconds
    services, uri = start_services(tmp_path, SERVICES)
    with services, Nodes(server, tmp_path / "nodes") as running:
        first, audit = running.nodes[0], tmp_path / "audit"
        with rl.connect(first.admin_url, ingress_url=first.ingress_url, audit=audit) as lab:
            deployment = lab.admin.create_deployment(uri=uri)
            wait_until_served(lab, *READY)
            bench = RedriveBench("1.7.12", lab, tmp_path, uri, str(deployment.id))
            ids, orders = bench.fail_orders("nodes-", 300, seed=9)
            fault = Fault(b"/restart-as-new", number=60, end="go on", passes=0, meanwhile=running.nodes[1].kill)
            with bench.repaired(), tcp_relay(first.admin_url, fault=fault) as relay:
                with rl.connect(relay.url, audit=audit) as through:
                    made = redrive(through, ids)
                    frame = made.execute(reason=WHY, expect=len(ids), progress=NoProgress())
                assert fault.happened == 1
                check_audit(bench, made)
                assert (frame["outcome"] == "done").mean() > 0.5
                rest = redrive(lab, ids)
                frames = [frame, rest.execute(reason=WHY, expect=len(rest.targets))]
                restarts = lab.sql(RESTARTS, ids=ids)
                assert sorted(restarts["restarted_from"]) == sorted(ids)
                new = pd.concat(frames)["new_id"].dropna()
                assert set(new) <= set(restarts["id"])
                bench.until_ended(list(restarts["id"]))
            runs = bench.runs("nodes-")
            kept = [f"{order['name']} step {number}" for order in orders for number in range(order["fails"])]
            assert {runs[step] for step in kept} == {1}
