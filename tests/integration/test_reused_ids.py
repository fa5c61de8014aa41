"""Reused ids on real servers: a workflow or an idempotent call that runs again after a purge is another run."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ipywidgets as widgets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restate_lab import errors
from restate_lab.actions.plan import move_to, plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.ask import ask
from restate_lab.analysis.ids import NEW_RUN
from restate_lab.analysis.journal import journal
from restate_lab.analysis.why import why
from restate_lab.client.lab import Lab
from restate_lab.evidence.compare import compare
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.manifest import NAME, Manifest
from restate_lab.evidence.store import open_evidence
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.panel import Panel
from support.bench import wait_for
from support.clusters import KINDS, PLAIN, server_binary
from support.every_status import status_server
from support.proxy import Proxy, connect_through, is_batch

pytestmark = pytest.mark.server

WHY = "INC-42: a test"
SELECT = "SELECT id, status, created_at FROM sys_invocation_status WHERE id = :id"


@pytest.fixture(scope="module", params=KINDS)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with status_server(request.param, tmp_path_factory.mktemp("reused")) as lab:
        yield lab


def run_of(lab: Lab, id_: str) -> dict[str, Any]:
    """Return the row of an id's run; empty if there is no row."""
    rows = lab.arrow(SELECT, id=id_, progress=False).to_pylist()
    return dict(rows[0]) if rows else {}


def begin(lab: Lab, target: str, status: str, **options: Any) -> str:
    service, _, handler = target.partition("/")
    id_ = str(lab.ingress.send(service, handler, "x", **options).invocation_id)
    wait_for(lambda: run_of(lab, id_).get("status"), lambda seen: seen == status)
    return id_


def run_again(lab: Lab, id_: str, target: str, status: str, **options: Any) -> None:
    """Remove the run of an id and start another one, which gets the same id."""
    first = run_of(lab, id_)
    if first["status"] != "completed":
        lab.admin.kill_invocation(id_, reason="INC-42")
        wait_for(lambda: run_of(lab, id_).get("status"), lambda seen: seen == "completed")
    lab.admin.purge_invocation(id_, reason="INC-42")
    wait_for(lambda: run_of(lab, id_), lambda seen: not seen)
    assert begin(lab, target, status, **options) == id_
    assert run_of(lab, id_)["created_at"] > first["created_at"]


CASES = {
    "purge, workflow": ("purge", "Flow/run", "completed", {"key": "purged"}),
    "purge, idempotent": ("purge", "Every/greet", "completed", {"idempotency_key": "purged"}),
    "purge_journal": ("purge_journal", "Every/greet", "completed", {"idempotency_key": "journal"}),
    "restart_as_new": ("restart_as_new", "Every/greet", "completed", {"idempotency_key": "restarted"}),
    "kill": ("kill", "Every/waits", "suspended", {"idempotency_key": "killed"}),
    "cancel": ("cancel", "Every/waits", "suspended", {"idempotency_key": "cancelled"}),
    "resume": ("resume", "Every/pauses", "paused", {"idempotency_key": "resumed"}),
    "move_to": ("move_to", "Every/pauses", "paused", {"idempotency_key": "moved"}),
}


def test_a_new_run_with_the_same_id_is_not_acted_on(lab: Lab) -> None:
    """Each plan of a run that was purged and runs again under its id is skipped with both times, and sends nothing."""
    (deployment,) = lab.admin.list_deployments()
    other = lab.admin.create_deployment(uri=f"{deployment.uri}again").id  # the same services at another address
    for name, (action, target, status, options) in CASES.items():
        id_ = begin(lab, target, status, **options)
        reviewed = run_of(lab, id_)["created_at"]
        is_move = action == "move_to"
        made = move_to(lab, [id_], deployment=deployment.id) if is_move else plan(lab, action, [id_])
        assert made.targets == (id_,), name
        run_again(lab, id_, target, status, **options)
        before = run_of(lab, id_)
        (row,) = made.execute(reason=WHY).to_dict("records")
        assert row["outcome"] == "skipped", name
        assert row["error"].startswith(f"{NEW_RUN}: created {before['created_at']:%Y-%m-%d %H:%M:%S}"), name
        assert f"{reviewed:%Y-%m-%d %H:%M:%S}.{reviewed.microsecond // 1000:03} UTC" in row["error"], name
        assert run_of(lab, id_) == before, name
        assert lab.sql("SELECT id FROM sys_invocation_status WHERE restarted_from = :id", id=id_).empty, name
    lab.admin.delete_deployment(other, force=True, reason="INC-42")


@pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "lost"])
def test_a_new_run_is_not_taken_for_the_purged_one(lab: Lab, tmp_path: Path, is_lost: bool) -> None:
    """A purged workflow that runs again before the result is read is purged, and the outcome names the new run."""
    key = f"purged again {is_lost}"
    id_ = begin(lab, "Flow/run", "completed", key=key)

    def after(request: httpx.Request) -> None:
        if is_batch(request):
            wait_for(lambda: run_of(lab, id_), lambda seen: not seen)
            assert begin(lab, "Flow/run", "completed", key=key) == id_
            if is_lost:
                raise httpx.ReadError("cut")

    with connect_through(Proxy(after=after), lab.settings.admin_url, tmp_path) as behind:
        (row,) = plan(behind, "purge", [id_]).execute(reason=WHY).to_dict("records")
    assert (row["outcome"], row["status"]) == ("done", None)
    assert row["error"].startswith(NEW_RUN)
    assert row["error"].endswith("The new one is succeeded")


def test_a_frame_means_its_runs(lab: Lab) -> None:
    """Rows with created_at select those runs at planning, ids the current runs; a plan's frame has such rows."""
    options = {"idempotency_key": "framed"}
    id_ = begin(lab, "Every/greet", "completed", **options)
    rows = lab.sql(SELECT, id=id_)
    first = plan(lab, "purge", rows)
    assert first.targets == (id_,)
    run_again(lab, id_, "Every/greet", "completed", **options)
    for old in (rows, lab.arrow(SELECT, id=id_).to_pandas().assign(created_at=rows["created_at"]), first.frame):
        stale = plan(lab, "purge", old)
        assert stale.targets == ()
        assert stale.excluded["reason"][0].startswith(NEW_RUN)
        assert stale.frame["created_at"][0] == rows["created_at"][0], "planned again, it is still that run"
        assert plan(lab, "purge", stale.frame).targets == ()
    both = pd.concat([rows, lab.sql(SELECT, id=id_)])
    now = plan(lab, "purge", both)
    assert now.targets == plan(lab, "purge", rows["id"]).targets == now.only(both).targets == (id_,)
    with pytest.raises(errors.ArgumentError, match="other runs of their id"):
        now.only(rows)
    assert list(now.first(1).execute(reason=WHY)["outcome"]) == ["done"]


@pytest.mark.also_on(PLAIN, reason="without vqueues restarts has SQL of its own")
def test_a_restart_of_an_earlier_run_is_not_one_of_this_run(lab: Lab) -> None:
    """If an earlier run of the id was restarted, the current run was not: no warning, and it is restarted."""
    options = {"idempotency_key": "twice"}
    id_ = begin(lab, "Every/greet", "completed", **options)
    restart = lab.admin.restart_as_new_invocation(id_, reason="INC-42").new_invocation_id
    wait_for(lambda: run_of(lab, restart).get("status"), lambda seen: seen == "completed")
    run_again(lab, id_, "Every/greet", "completed", **options)
    assert restart not in str(why(lab, id_))
    restarts = ask(lab, "restarts").set_index("id")
    assert restarts.loc[restart, "restarted_from"] == id_
    assert pd.isna(restarts.loc[restart, "before_created_at"]), "the run that was restarted is gone"
    made = plan(lab, "restart_as_new", [id_])
    assert made.restarted == frozenset()
    assert list(made.execute(reason=WHY)["outcome"]) == ["done"]
    assert plan(lab, "restart_as_new", [id_]).restarted == {id_}


def test_a_comparison_tells_runs_apart(lab: Lab, tmp_path: Path) -> None:
    id_ = begin(lab, "Flow/run", "completed", key="compared")
    freeze(lab, tmp_path / "before", progress=False)
    run_again(lab, id_, "Flow/run", "completed", key="compared")
    with open_evidence(tmp_path / "before") as before:
        found = compare(before, lab).invocations
    assert sorted(found.loc[found["id"] == id_, "change"]) == ["created", "removed"]


def html_of(widget: Any) -> str:
    value = widget.value if isinstance(widget, widgets.HTML) else ""
    return value + "".join(html_of(child) for child in getattr(widget, "children", ()))


def open_detail(panel: Panel, id_: str) -> str:
    """Open an invocation in a panel, and return its HTML."""
    panel.open_invocation(id_)
    assert panel.wait(timeout=30)
    assert panel.error == ""
    return html_of(panel.view)


def test_a_panel_tells_runs_apart(lab: Lab) -> None:
    """A selected run that was replaced is deselected, the open detail reports it, and an earlier plan is skipped."""
    options = {"idempotency_key": "in a panel"}
    id_ = begin(lab, "Every/waits", "suspended", **options)
    first = run_of(lab, id_)["created_at"]
    with contextlib.closing(Panel(lab, status="all", refresh=None)) as panel:
        invocations = panel.view
        assert isinstance(invocations, InvocationsView)
        panel.selected = [id_]
        invocations.actions.buttons[ACTIONS.KILL].click()
        assert invocations.actions.wait(timeout=30)
        made = panel.plan
        assert made is not None
        assert made.targets == (id_,)
        assert NEW_RUN not in open_detail(panel, id_)
        run_again(lab, id_, "Every/waits", "suspended", **options)
        panel.refresh()
        assert NEW_RUN in html_of(panel.view)
        assert f"{first:%H:%M:%S}.{first.microsecond // 1000:03} UTC" in html_of(panel.view)
        panel.back()
        assert panel.wait(timeout=30)
        assert panel.view is invocations
        assert panel.selected == []
        assert f"1 deselected: {NEW_RUN}" in invocations.grid.static_html()
        invocations.actions._plan_again()
        assert invocations.actions.wait(timeout=30)
        assert panel.plan is not None
        assert panel.plan.targets == (), "other options are for the same runs"
        assert list(made.execute(reason=WHY)["outcome"]) == ["skipped"]
        assert NEW_RUN not in open_detail(panel, id_), "opened from the row of the new run"


def test_a_freeze_does_not_mix_two_runs(lab: Lab, tmp_path: Path) -> None:
    id_, stays = (begin(lab, "Flow/run", "completed", key=f"frozen {n}") for n in range(2))
    first = run_of(lab, id_)
    left = [id_]

    def before(request: httpx.Request) -> None:
        if left and b'FROM \\"sys_journal\\"' in request.content:
            run_again(lab, left.pop(), "Flow/run", "completed", key="frozen 0")

    with (
        connect_through(Proxy(before=before), lab.settings.admin_url, tmp_path) as behind,
        pytest.warns(errors.EvidenceWarning, match=id_),
    ):
        freeze(behind, tmp_path / "mixed", ids=[id_, stays], progress=False)
    with open_evidence(tmp_path / "mixed") as evidence:
        assert evidence.manifest.new_runs == (id_,)
        rows = evidence.sql("SELECT id, created_at FROM sys_invocation_status")
        assert dict(zip(rows["id"], rows["created_at"], strict=True))[id_] == first["created_at"]
        assert set(evidence.sql("SELECT id FROM sys_journal")["id"]) == {stays}


def add_rows(folder: Path, other: Path, table: str) -> None:
    """Add the rows of other evidence to a table of evidence, as in a source that keeps ended runs."""
    file = folder / f"{table}.parquet"
    parts = [pq.read_table(each) for each in (other / file.name, file)]
    pq.write_table(pa.concat_tables(parts), file)
    content = file.read_bytes()
    facts = {"rows": sum(map(len, parts)), "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = Manifest.from_json((folder / NAME).read_bytes(), where="")
    files = tuple(dataclasses.replace(each, **facts) if each.table == table else each for each in manifest.files)
    (folder / NAME).write_bytes(dataclasses.replace(manifest, files=files).to_json())


def test_a_source_that_holds_both_runs(lab: Lab, tmp_path: Path) -> None:
    """For an id with two runs, comparisons have both, and explanation, journal and panel the newest."""
    options = {"idempotency_key": "both"}
    id_ = begin(lab, "Every/waits", "suspended", **options)
    lab.admin.kill_invocation(id_, reason="INC-42")
    wait_for(lambda: run_of(lab, id_).get("status"), lambda seen: seen == "completed")
    freeze(lab, tmp_path / "first", ids=[id_], progress=False)
    run_again(lab, id_, "Every/waits", "suspended", **options)
    for name in ("both", "reversed"):
        freeze(lab, tmp_path / name, ids=[id_], progress=False)
    freeze(lab, tmp_path / "second", ids=[id_], progress=False)
    add_rows(tmp_path / "both", tmp_path / "first", "sys_invocation_status")
    add_rows(tmp_path / "first", tmp_path / "reversed", "sys_invocation_status")  # the newest row is first
    with open_evidence(tmp_path / "both") as source, open_evidence(tmp_path / "first") as turned:
        assert len(source.sql("SELECT id FROM sys_invocation_status")) == 2
        found = compare(source, lab).invocations
        assert list(found["change"]) == ["removed"]
        assert list(found["status_before"]) == ["killed"]
        for each in (source, turned):
            assert why(each, id_).status == "suspended"
            assert not journal(each, id_).empty
        with contextlib.closing(Panel(source, status="all", refresh=None)) as panel:
            assert (panel.error, list(panel.frame["status"])) == ("", ["suspended"])
