"""Comparing real clusters at two times: the differences are the changes in between, frozen or live."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.demo.embedded import start_services
from restate_lab.errors import RestateLabError
from restate_lab.evidence.compare import compare
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from support.bench import SERVICES, Bench, running_bench, wait_for
from support.clusters import KINDS, Cluster, server_binary

pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Story:
    """A bench that is frozen, changed, and frozen again."""

    bench: Bench
    before: Path
    after: Path
    ids: dict[str, str]
    deployment: str


@pytest.fixture(scope="module", params=KINDS)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, isolated: Path) -> Iterator[Story]:
    try:
        server_binary(request.param)
    except RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {error}")
    folder = tmp_path_factory.mktemp("story")
    with running_bench(request.param, folder) as bench, contextlib.ExitStack() as stack:
        ids = _begin(bench)
        before = Path(freeze(bench.lab, folder / "before", payloads=True))
        deployment = _go_on(bench, ids, folder, stack)
        after = Path(freeze(bench.lab, folder / "after", payloads=True))
        yield Story(bench, before, after, ids, deployment)


def _begin(bench: Bench) -> dict[str, str]:
    def send(role: str, service: str, handler: str, body: object = None, key: str | None = None) -> str:
        sent = bench.ingress.send(service, handler, body, key=key, idempotency_key=role)
        return str(sent.invocation_id)

    ids = {role: send(role, "Echo", "wait") for role in ("cancelled", "waits")}
    ids |= {role: send(role, "Echo", "storm") for role in ("storm", "resumed")}
    ids["holder"] = send("holder", "Counter", "hold", key="hot")
    for role in ("cancelled", "waits", "holder"):
        bench.until(ids[role], "suspended")
    ids["queued"] = send("queued", "Counter", "add", 1, key="hot")
    ids["purged"] = send("purged", "Echo", "say", "hello")
    bench.ingress.call("Counter", "add", 1, key="state")
    bench.admin.pause_invocation(ids["resumed"])
    for role, status in (("resumed", "paused"), ("queued", "pending"), ("purged", "completed")):
        bench.until(ids[role], status)
    wait_for(lambda: _attempts(bench, ids["storm"]), lambda n: n > 1)
    return ids


def _go_on(bench: Bench, ids: dict[str, str], folder: Path, stack: contextlib.ExitStack) -> str:
    """Cancel one, resume one, purge one, change a state, queue more calls, and register new services."""
    bench.admin.cancel_invocation(ids["cancelled"], reason="INC-42")
    bench.until(ids["cancelled"], "completed")
    bench.admin.resume_invocation(ids["resumed"])
    bench.until(ids["resumed"], "running", "backing-off", "ready")
    bench.admin.purge_invocation(ids["purged"], reason="INC-42")
    bench.until(ids["purged"], None)
    bench.ingress.call("Counter", "add", 1, key="state")
    bench.ingress.call("Counter", "add", 5, key="new")
    for number in range(3):
        sent = bench.ingress.send("Counter", "add", number, key="hot")
        ids[f"new_{number}"] = str(sent.invocation_id)
        bench.until(ids[f"new_{number}"], "pending")
    tried = _attempts(bench, ids["storm"])
    wait_for(lambda: _attempts(bench, ids["storm"]), lambda n: n > tried + 1)
    services, uri = start_services(folder, str(SERVICES))
    stack.enter_context(services)
    return bench.admin.create_deployment(uri=uri).id


def _attempts(bench: Bench, invocation_id: str) -> int:
    rows = bench.lab.arrow("SELECT retry_count FROM sys_invocation_state WHERE id = :id", id=invocation_id).to_pylist()
    return int(rows[0]["retry_count"] or 0) if rows else 0


def changes(frame: pd.DataFrame, ids: dict[str, str]) -> dict[str, tuple[object, ...]]:
    known = frame.set_index("id")[["change", "status_before", "status_after"]].astype(object)
    known = known.where(known.notna(), None)
    return {role: tuple(known.loc[id_]) for role, id_ in ids.items() if id_ in known.index}


@pytest.mark.parametrize("live", [False, True], ids=["two frozen", "frozen and live"])
def test_each_change_of_the_cluster_is_reported(story: Story, live: bool) -> None:
    with open_evidence(story.before) as before, open_evidence(story.after) as frozen:
        found = compare(before, story.bench.lab if live else frozen)
    told = changes(found.invocations, story.ids)
    assert told["cancelled"] == ("status", "suspended", "cancelled")
    assert told["purged"] == ("removed", "succeeded", None)
    if not live:  # it runs out of attempts again, and is then as it was
        assert told["resumed"][:2] == ("status", "paused")
        assert told["resumed"][2] in {"running", "backing-off", "ready"}
    assert [told[f"new_{number}"] for number in range(3)] == [("created", None, "pending")] * 3
    assert not {"waits", "holder", "queued"} & told.keys()
    about = found.invocations.set_index("id")
    assert about.loc[story.ids["storm"], "more_retries"] >= 2
    assert not about.loc[story.ids["purged"], "past_retention"]
    state = found.state.set_index(["service_key", "key"])["change"]
    assert state["state", "total"] == "changed", "1 and 2 are of equal length"
    assert state["new", "total"] == "added"
    backlog = found.backlog.set_index("target_service_key").loc["hot"]
    assert (backlog["waiting_before"], backlog["waiting_after"]) == (1, 4)
    assert len(found.backlog) == 1
    services = found.deployments[found.deployments["field"] == "deployment_id"].set_index("name")
    assert set(services["after"]) == {story.deployment}
    assert set(services.index) >= {"Echo", "Counter", "Signup"}
    assert found.deployments.set_index("name").loc[story.deployment, "change"] == "added"
    assert found.not_read.empty
    assert len(str(found).splitlines()) == 7
    assert "suspended → cancelled 1" in str(found)
    assert "1 → 4 calls waiting; Counter/hot 1 → 4" in str(found)


def test_comparisons_with_evidence_and_with_the_cluster_differ_only_in_retried_invocations(story: Story) -> None:
    with open_evidence(story.before) as before, open_evidence(story.after) as frozen:
        one, other = compare(before, frozen), compare(before, story.bench.lab)
    moving = {story.ids[role] for role in ("storm", "resumed")}
    still = [each.invocations[~each.invocations["id"].isin(moving)].reset_index(drop=True) for each in (one, other)]
    pd.testing.assert_frame_equal(still[0], still[1])
    pd.testing.assert_frame_equal(one.state, other.state)
    pd.testing.assert_frame_equal(one.deployments, other.deployments)
    waits = ["oldest_wait_before", "oldest_wait_after"]
    pd.testing.assert_frame_equal(one.backlog.drop(columns=waits), other.backlog.drop(columns=waits))


def test_a_scoped_freeze_is_compared_only_in_its_own_invocations(story: Story, tmp_path: Path) -> None:
    with open_evidence(story.before) as whole:
        freeze(whole, tmp_path / "part", ids=[story.ids["cancelled"]])
    with open_evidence(tmp_path / "part") as part:
        found = compare(part, story.bench.lab)
    assert changes(found.invocations, story.ids) == {"cancelled": ("status", "suspended", "cancelled")}
    assert found.backlog.empty
    assert "backlog      not compared: before contains only a part" in str(found)


def test_a_cluster_and_its_fresh_freeze_differ_only_in_retried_invocations(incident: Cluster, tmp_path: Path) -> None:
    with rl.connect(incident.admin_url, read_only=True) as lab:
        freeze(lab, tmp_path / "incident", payloads=True)
        with open_evidence(tmp_path / "incident") as evidence:
            found = compare(evidence, lab)
        trying = set(rl.ask(lab, "retry_storm_ids", limit=None)["id"])
    rest = found.invocations[~found.invocations["id"].isin(trying)]
    assert rest.empty, rest.to_string()
    assert found.state.empty
    assert found.deployments.empty
    assert (found.backlog["more"] == 0).all()
    assert found.backlog["waiting_after"].max() == 12
    assert found.invocations.attrs["in_both"] > 100
