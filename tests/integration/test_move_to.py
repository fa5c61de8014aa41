"""`move_to` on real servers: off a bad deployment, off a removed one, and again after a stop half-way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from restate_lab import errors
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution import execute
from restate_lab.actions.plan import move_to
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import audit_log
from restate_lab.demo.embedded import start_services
from support.bench import wait_for
from support.bulk import SERVICES, Bulk, running_bulk
from support.clusters import KINDS, server_binary
from support.proxy import Proxy, connect_through, is_batch

pytestmark = pytest.mark.server

NEVER = "no healthy upstream"
BOUND = "SELECT id, pinned_deployment_id AS deployment FROM sys_invocation_status WHERE id IN :ids"


@pytest.fixture(params=KINDS)
def bulk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bulk]:
    """Give a server with the bad deployment, which is the only one at first."""
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with running_bulk(request.param, tmp_path, services="bad") as bulk:
        yield bulk


@pytest.fixture
def good_uri(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "good"
    folder.mkdir()
    services, uri = start_services(folder, SERVICES)
    with services:
        yield uri


def bound(bulk: Bulk, ids: list[str]) -> set[str]:
    return set(bulk.lab.sql(BOUND, ids=ids)["deployment"])


def test_a_move_from_a_bad_and_from_a_removed_deployment(bulk: Bulk, good_uri: str) -> None:
    """Each status is moved, and succeeds or waits there; the old deployment may be gone; a repetition is safe."""
    storms = [bulk.send("storm", f"storm {number}") for number in range(6)]
    waiting = list(bulk.fill("wait", 3))
    later = list(bulk.fill("later", 1))
    running = bulk.send("busy", 60)
    for id_ in storms:
        wait_for(lambda id_=id_: bulk.status(id_) == "backing-off")
    wait_for(lambda: bound(bulk, [*storms, *waiting, running]) == {bulk.deployment})
    execute(bulk.lab, ExecutionRequest(Change(ACTIONS.PAUSE), (storms[0],), "a test"))
    good = str(bulk.lab.admin.create_deployment(uri=good_uri).id)

    first = [*storms[:4], *waiting[:2], running, *later]
    plan = move_to(bulk.lab, first, deployment=good)
    assert plan.targets == tuple(first[:-1])
    assert any("again on the other deployment" in each and "step (1)" in each for each in plan.warnings) is (
        bulk.has_vqueues
    )
    frame = plan.execute(reason="the bad one")
    assert frame["outcome"].tolist() == ["done"] * 7
    assert bound(bulk, first[:-1]) == {good}
    wait_for(lambda: {bulk.status(id_) for id_ in storms[:4]} == {"completed"})
    wait_for(lambda: {bulk.status(id_) for id_ in waiting[:2]} == {"suspended"})

    bulk.lab.admin.delete_deployment(bulk.deployment, force=True, reason="INC-42")
    rest = [*storms[4:], *waiting[2:]]
    wait_for(lambda: bulk.lab.sql("SELECT id FROM sys_deployment")["id"].tolist() == [good])
    frame = move_to(bulk.lab, rest, deployment="latest").execute(reason="it is gone")
    assert frame["outcome"].tolist() == ["done"] * 3
    assert bound(bulk, rest) == {good}
    again = move_to(bulk.lab, [*first, *rest], deployment="latest")
    assert again.targets == ()
    assert f"it is already on {good}" in set(again.excluded["reason"])
    (row,) = audit_log(bulk.audit).query("action == 'move_to' and reason == 'it is gone'").to_dict("records")
    assert (row["targets"], row["outcome"]) == (rest, "done")


def test_a_move_goes_on_after_a_stop_and_a_lost_answer(bulk: Bulk, good_uri: str) -> None:
    """Stopped after the pause, it names the paused invocations and their deployment; a repetition moves them all."""
    storms = tuple(bulk.send("storm", f"storm {number}") for number in range(6))
    for id_ in storms:
        wait_for(lambda id_=id_: bulk.status(id_) == "backing-off")
    storms, others = storms[:4], storms[4:]
    good = str(bulk.lab.admin.create_deployment(uri=good_uri).id)

    def interrupt(request: httpx.Request) -> None:
        if is_batch(request) and request.url.path.endswith("/pause"):
            raise KeyboardInterrupt

    with connect_through(Proxy(after=interrupt), bulk.url, bulk.audit) as lab:
        plan = move_to(lab, storms, deployment=good)
        with pytest.raises(errors.Interrupted):
            plan.execute(reason="a test")
    assert plan.outcome is not None
    assert set(plan.outcome["outcome"]) == {"unknown"}
    assert plan.outcome["error"].str.contains(f"it is paused on {bulk.deployment}").all()

    stopped = execute(bulk.lab, ExecutionRequest(Change(ACTIONS.MOVE_TO, good), storms, "a test"), stop=lambda: True)
    assert set(stopped["outcome"]) == {"not sent"}
    assert bound(bulk, list(storms)) == {bulk.deployment}

    def lose(request: httpx.Request) -> None:
        if is_batch(request):
            raise httpx.ReadError("cut")

    with connect_through(Proxy(after=lose), bulk.url, bulk.audit) as lab:
        frame = move_to(lab, storms, deployment=good).execute(reason="a test")
    assert frame["outcome"].tolist() == ["done"] * 4
    assert bound(bulk, list(storms)) == {good}

    hints = {"/pause": httpx.Response(503, text=NEVER), "/resume": httpx.Response(503, text=NEVER)}

    def hint(request: httpx.Request, verb: str) -> httpx.Response | None:
        return hints.pop(verb, None) if is_batch(request) and request.url.path.endswith(verb) else None

    proxy = Proxy(before=lambda request: hint(request, "/pause"), after=lambda request: hint(request, "/resume"))
    with connect_through(proxy, bulk.url, bulk.audit) as lab:
        frame = move_to(lab, others, deployment=good).execute(reason="a gateway that says that it forwarded nothing")
    assert frame["outcome"].tolist() == ["done"] * 2
    assert bound(bulk, list(others)) == {good}
    assert hints == {}
