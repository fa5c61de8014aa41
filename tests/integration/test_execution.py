"""Executions on real servers: thousands at a time, broken connections, closed endpoints, stops, and the audit log."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution import execute
from restate_lab.actions.plan import plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import audit_log
from restate_lab.progress import NoProgress
from support.bench import wait_for
from support.bulk import Bulk, running_bulk
from support.clusters import IMITATION, KINDS, NEWEST, PLAIN, server_binary
from support.proxy import Proxy, connect_through, is_batch, is_change, not_leader_response
from support.tcp_relay import Cut, tcp_relay

pytestmark = pytest.mark.server
OTHER_EFFECTS = pytest.mark.also_on(PLAIN, reason="without vqueues a suspended one cannot be paused")

MANY = {PLAIN: 2500, NEWEST: 2000, IMITATION: 2000}
RESTARTS = "SELECT id, restarted_from FROM sys_invocation_status WHERE restarted_from IN :ids"


@pytest.fixture(scope="module", params=KINDS)
def bulk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bulk]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with running_bulk(request.param, tmp_path_factory.mktemp("bulk")) as bulk:
        yield bulk


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for effects that these tests never see."""
    monkeypatch.setattr("restate_lab.actions.execution.runner.SEEN_WITHIN", 1.0)


def order(action: ACTIONS, ids: tuple[str, ...], from_index: int | None = None) -> ExecutionRequest:
    return ExecutionRequest(Change(action, from_index=from_index), ids, "a test")


def counts(frame: pd.DataFrame) -> dict[str, int]:
    return {str(word): int(n) for word, n in frame["outcome"].value_counts().items()}


def check_audit(bulk: Bulk, frame: pd.DataFrame) -> None:
    """Compare one execution's frame with the audit log, id for id."""
    written = audit_log(bulk.audit, change=frame.attrs["change"])
    assert written["id"].tolist() == frame["id"].tolist()
    for column in ("outcome", "error", "new_id", "other_new_ids"):
        assert written[column].tolist() == frame[column].tolist()


def test_thousands_are_cancelled_although_the_line_is_cut(bulk: Bulk) -> None:
    """A response that is lost after the server has acted is resolved by reading: all done, each requested once."""
    many = MANY[bulk.kind]
    ids = bulk.fill("later", many)
    cut = Cut(b"/cancel ", number=many // 2000, when="after")
    with tcp_relay(bulk.url, cut=cut) as relay:
        with rl.connect(f"http://127.0.0.1:{relay.port}", audit=bulk.audit) as lab:
            frame = plan(lab, "cancel", ids).execute(reason="a test", expect=many)
    assert cut.happened
    assert frame["id"].tolist() == list(ids)
    assert counts(frame) == {"done": many}
    assert frame["status"].isna().all()
    assert bulk.count(ids) == 0
    assert sum(b"/cancel " in head for head in relay.heads) == math.ceil(many / 1000)
    check_audit(bulk, frame)


@pytest.mark.parametrize("when", [pytest.param("before", marks=pytest.mark.long), "within"])
def test_thousands_are_purged_although_the_line_is_cut(bulk: Bulk, when: str) -> None:
    """If a request is lost before the server acts, it is unknown and not sent again; a second plan purges the rest."""
    many = MANY[bulk.kind] if when == "before" else 300
    ids = bulk.fill("answer", many)
    cut = Cut(b"/purge ", number=many // 2000, when=when)  # type: ignore[arg-type]
    with tcp_relay(bulk.url, cut=cut) as relay:
        with rl.connect(f"http://127.0.0.1:{relay.port}", audit=bulk.audit) as lab:
            frame = plan(lab, "purge", ids).execute(reason="a test", expect=many)
            assert cut.happened
            lost = frame[frame["outcome"] == "unknown"]
            assert set(frame["outcome"]) <= {"done", "unknown"}
            assert len(lost) == bulk.count(ids)
            if when == "before":
                assert lost["id"].tolist() == list(ids[many // 2000 * 1000 :][:1000])
                assert lost["error"].str.contains("afterwards it is succeeded").all()
            check_audit(bulk, frame)
            assert sum(b"/purge " in head for head in relay.heads) == math.ceil(many / 1000)
            again = plan(lab, "purge", frame).execute(reason="again", expect=len(lost))
    assert counts(again) == ({"done": len(lost)} if len(lost) else {})
    assert bulk.count(ids) == 0


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_restart_whose_answer_is_lost_happens_once(bulk: Bulk, in_haste: None, when: str) -> None:
    """It is found by restarted_from, not confused with an earlier restart, and never sent again."""
    ids = bulk.fill("answer", 20)
    earlier = execute(bulk.lab, order(ACTIONS.RESTART_AS_NEW, ids[:5]))
    cut = Cut(b"/restart-as-new ", when=when)  # type: ignore[arg-type]
    with tcp_relay(bulk.url, cut=cut) as relay:
        with rl.connect(f"http://127.0.0.1:{relay.port}", audit=bulk.audit) as lab:
            frame = execute(lab, order(ACTIONS.RESTART_AS_NEW, ids))
    assert cut.happened
    there = bulk.lab.sql(RESTARTS, ids=ids)
    ours = there[~there["id"].isin(earlier["new_id"])]
    assert counts(earlier) == {"done": 5}
    if when == "before":
        assert counts(frame) == {"unknown": 20}
        assert len(ours) == 0
    else:
        assert counts(frame) == {"done": 20}
        assert dict(zip(ours["restarted_from"], ours["id"], strict=True)) == dict(
            zip(frame["id"], frame["new_id"], strict=True)
        )
        # they may wait for their turn, and an attempt may meet a closed connection and be retried
        assert set(frame["status"]) <= {"pending", "ready", "running", "backing-off", "succeeded"}
    check_audit(bulk, frame)


def test_without_a_batch_endpoint_single_calls_give_the_same_frame(bulk: Bulk) -> None:
    ids = bulk.fill("wait", 30)
    proxy = Proxy(before=lambda request: httpx.Response(403) if is_batch(request) else None)
    with connect_through(proxy, bulk.url, bulk.audit) as lab:
        frames = [execute(lab, order(ACTIONS.KILL, part)) for part in (ids[:10], ids[10:20])]
    frames.append(execute(bulk.lab, order(ACTIONS.KILL, ids[20:])))
    for frame in frames:
        assert counts(frame) == {"done": 10}
        assert set(frame["status"]) == {"killed"}
        assert frame["milliseconds"].gt(0).all()
        check_audit(bulk, frame)
    assert [method for method, _ in proxy.changes] == ["POST"] + ["PATCH"] * 20


@OTHER_EFFECTS
def test_every_word_of_an_outcome(bulk: Bulk, in_haste: None) -> None:
    """Skipped, refused, accepted and done are distinct, and refusals have the server's message."""
    later, ended = bulk.fill("later", 1), bulk.fill("answer", 2)
    running = bulk.send("busy", 30)
    wait_for(lambda: bulk.status(running) == "running")
    nobody = ended[0][:-1] + ("a" if ended[0][-1] != "a" else "b")
    frame = execute(bulk.lab, order(ACTIONS.CANCEL, (ended[0], running, nobody, *later))).set_index("id")
    assert frame["outcome"].to_dict() == {
        ended[0]: "skipped",
        running: "accepted",
        nobody: "skipped",
        later[0]: "done",
    }
    assert frame["status"].tolist() == ["succeeded", "running", None, None]
    assert frame["error"].tolist()[0] == "it is now succeeded: it has ended"
    assert "gets the cancellation at its next await" in frame["error"][running]
    assert frame["error"][nobody] == "it is gone"

    execute(bulk.lab, order(ACTIONS.PURGE_JOURNAL, ended))
    refused = execute(bulk.lab, order(ACTIONS.RESTART_AS_NEW, ended))
    assert counts(refused) == {"refused": 2}
    assert refused["error"].str.contains("input is not available").all()
    assert counts(execute(bulk.lab, order(ACTIONS.KILL, (running,)))) == {"done": 1}


def test_a_cancellation_whose_answer_is_lost_is_read_from_the_journal(bulk: Bulk, in_haste: None) -> None:
    """If an invocation continues to run, its journal shows whether it was cancelled."""
    running = [bulk.send("busy", 30) for _ in range(2)]
    wait_for(lambda: [bulk.status(id_) for id_ in running] == ["running"] * 2)
    outcomes = []
    for id_, when in zip(running, ("before", "after"), strict=True):
        with tcp_relay(bulk.url, cut=Cut(b"/cancel ", when=when)) as relay:  # type: ignore[arg-type]
            with rl.connect(f"http://127.0.0.1:{relay.port}", audit=bulk.audit) as lab:
                outcomes += execute(lab, order(ACTIONS.CANCEL, (id_,)))["outcome"].tolist()
    assert outcomes == ["unknown", "accepted"]
    execute(bulk.lab, order(ACTIONS.KILL, tuple(running)))


def test_pause_resume_and_a_restart_from_the_middle(bulk: Bulk, in_haste: None) -> None:
    """Pause reports that it had no effect, resume is seen, and `from_index` uses single calls."""
    storm, waiting = bulk.send("busy", 30), bulk.fill("wait", 1)[0]
    wait_for(lambda: bulk.status(storm) == "running")
    paused = execute(bulk.lab, order(ACTIONS.PAUSE, (storm, waiting)))
    assert paused["outcome"].tolist() == (["done", "done"] if bulk.has_vqueues else ["accepted", "skipped"])
    wait_for(lambda: bulk.status(storm) == "paused")
    resumed = execute(bulk.lab, order(ACTIONS.RESUME, (storm, waiting)))
    assert counts(resumed) == {"done": 2}
    assert "paused" not in set(resumed["status"])

    (ended,) = bulk.fill("answer", 1)
    proxy = Proxy()
    with connect_through(proxy, bulk.url, bulk.audit) as lab:
        frame = execute(lab, order(ACTIONS.RESTART_AS_NEW, (ended,), from_index=0))
        assert counts(frame) == {"done": 1}
        assert proxy.changes == [("PATCH", f"/invocations/{ended}/restart-as-new")]
    execute(bulk.lab, order(ACTIONS.KILL, (storm, waiting)))


@pytest.mark.parametrize("closed", [False, True], ids=["batch", "single"])
def test_a_busy_server_is_waited_for(bulk: Bulk, closed: bool) -> None:
    """429 and Restate's own 503 are waited out, in batches and in single calls; nothing is done twice."""
    ids = bulk.fill("later", 20)
    busy = iter([httpx.Response(429, headers={"retry-after": "0.1"}), not_leader_response(), httpx.Response(429)])

    def answer(request: httpx.Request) -> httpx.Response | None:
        if closed and is_batch(request):
            return httpx.Response(404)
        return next(busy, None) if is_change(request) else None

    with connect_through(Proxy(before=answer), bulk.url, bulk.audit) as lab:
        frame = execute(lab, order(ACTIONS.KILL, ids), progress=NoProgress())
    assert counts(frame) == {"done": 20}
    assert next(busy, None) is None


def test_what_changes_while_a_server_is_waited_for_is_read_again(bulk: Bulk) -> None:
    """Before each round the statuses are read: an invocation that has ended in the meantime is not acted on."""
    ids = bulk.fill("wait", 3)

    def answer(request: httpx.Request) -> httpx.Response | None:
        if is_batch(request) and bulk.status(ids[0]) == "suspended":
            bulk.lab.admin.kill_invocation(ids[0], reason="INC-42")
            return not_leader_response()
        return None

    with connect_through(Proxy(before=answer), bulk.url, bulk.audit) as lab:
        frame = execute(lab, order(ACTIONS.KILL, ids))
    assert frame["outcome"].tolist() == ["skipped", "done", "done"]
    assert set(frame["status"]) == {"killed"}


def test_a_stop_leaves_a_correct_partial_outcome(bulk: Bulk) -> None:
    ids = bulk.fill("later", 3000)
    seen: list[tuple[int, int]] = []

    class Bar(NoProgress):
        def update(self, rows: int, size: int) -> None:
            seen.append((rows, size))

    frame = execute(bulk.lab, order(ACTIONS.KILL, ids), progress=Bar(), stop=lambda: len(seen) == 2)
    assert frame["outcome"].tolist() == ["done"] * 2000 + ["not sent"] * 1000
    assert set(frame["error"].dropna()) == {"stopped"}
    assert seen == [(1000, 3000), (2000, 3000)]
    assert bulk.count(ids) == 1000
    assert json.loads(json.dumps(frame.attrs))["halt"] == "stopped"
    check_audit(bulk, frame)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("closed", [False, True], ids=["batch", "single"])
def test_an_interrupt_leaves_a_complete_outcome(bulk: Bulk, in_haste: None, moment: str, closed: bool) -> None:
    """Every request in flight at the interrupt is resolved by reading; the audit log has all of it."""
    ids = bulk.fill("later", 40)
    passed = []

    def interrupt(request: httpx.Request) -> None:
        if is_change(request):
            passed.append(request)
            if len(passed) == (10 if closed else 1):
                raise KeyboardInterrupt

    def shut(request: httpx.Request) -> httpx.Response | None:
        if closed and is_batch(request):
            return httpx.Response(405)
        return interrupt(request) if moment == "before" else None

    proxy = Proxy(before=shut, after=interrupt if moment == "after" else None)
    with connect_through(proxy, bulk.url, bulk.audit) as lab, pytest.raises(errors.Interrupted) as caught:
        execute(lab, order(ACTIONS.KILL, ids))
    frame = caught.value.outcome
    done = frame["outcome"] == "done"
    assert bulk.count(tuple(frame["id"][done])) == 0
    assert bulk.count(tuple(frame["id"][~done])) == (~done).sum()
    assert set(frame["outcome"]) <= {"done", "unknown", "not sent"}
    if not closed:
        assert counts(frame) == ({"unknown": 40} if moment == "before" else {"done": 40})
    check_audit(bulk, frame)


def test_an_interrupt_while_reading_what_came_of_it_leaves_an_outcome(bulk: Bulk, in_haste: None) -> None:
    """All requests were sent and accepted: the outcome reports only that, and is in the audit log too."""
    ids = bulk.fill("later", 20)
    interrupts = iter([KeyboardInterrupt])

    def interrupt(request: httpx.Request) -> None:
        if proxy.changes and request.url.path == "/query":
            for each in interrupts:
                raise each

    proxy = Proxy(before=interrupt)
    with connect_through(proxy, bulk.url, bulk.audit) as lab, pytest.raises(errors.Interrupted) as caught:
        execute(lab, order(ACTIONS.KILL, ids))
    assert counts(caught.value.outcome) == {"accepted": 20}
    assert set(caught.value.outcome["error"]) == {"accepted, but it could not be read afterwards"}
    assert bulk.count(ids) == 0
    check_audit(bulk, caught.value.outcome)


def test_nothing_is_sent_that_cannot_be_answered_for(bulk: Bulk, tmp_path: Path) -> None:
    """Read-only connections, and connections that cannot write their intent, send nothing."""
    ids = bulk.fill("later", 2)
    (tmp_path / "file").write_text("")
    with rl.connect(bulk.url, read_only=True, audit=bulk.audit) as lab, pytest.raises(errors.ReadOnly):
        execute(lab, order(ACTIONS.KILL, ids))
    with rl.connect(bulk.url, audit=tmp_path / "file") as lab, pytest.raises(errors.AuditFailed):
        execute(lab, order(ACTIONS.KILL, ids))
    assert bulk.count(ids) == 2


KILLED = """
import os, sys
from pathlib import Path
from support.proxy import Proxy, connect_through, is_batch
from restate_lab.actions.execution import execute
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.plan import plan
from restate_lab.actions.rules import ACTIONS
url, audit, *ids = sys.argv[1:]
proxy = Proxy(after=lambda request: os._exit(9) if is_batch(request) else None)
execute(connect_through(proxy, url, Path(audit)), ExecutionRequest(Change(ACTIONS.KILL), tuple(ids), "a test"))
"""


def test_a_killed_kernel_leaves_its_intent(bulk: Bulk, tmp_path: Path) -> None:
    """If the process dies between the request and its response, the log has the ids and no outcome."""
    ids = bulk.fill("later", 3)
    command = [sys.executable, "-c", KILLED, bulk.url, str(tmp_path), *ids]
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), str(tests)])
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode == 9
    (row,) = audit_log(tmp_path).to_dict("records")
    assert row["targets"] == list(ids)
    assert row["action"] == "kill"
    assert pd.isna(row["outcome"])
    assert audit_log(tmp_path, change=row["change"])["outcome"].isna().all()
    assert bulk.count(ids) == 0
