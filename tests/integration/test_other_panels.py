"""The panels on real servers of each kind, and on evidence frozen from them; clicked from Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.actions.state import set_state, state
from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from restate_lab.frames import records
from restate_lab.panels.deployments import DeploymentsView
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.overview import OverviewView
from restate_lab.panels.panel import Panel
from restate_lab.panels.state import StateView
from restate_lab.panels.waits import WaitsView
from restate_lab.source import Source
from support import state_services
from support.bench import once_served, running_bench, wait_for
from support.clusters import KINDS, Cluster

pytestmark = pytest.mark.server


@pytest.fixture
def sources(incident: Cluster, tmp_path: Path) -> Iterator[dict[str, Source]]:
    with rl.connect(incident.admin_url, read_only=True) as lab:
        freeze(lab, tmp_path / "incident.evidence", payloads=True)  # with values of state
        with open_evidence(tmp_path / "incident.evidence") as evidence:
            yield {"live": lab, "frozen": evidence}


def test_the_incident_in_panels(incident: Cluster, sources: dict[str, Source]) -> None:
    """Live and frozen show the same: counts, the hot key, deployments, the state of an object, and the deadlocks."""
    for name, source in sources.items():
        with contextlib.closing(Panel(source, view="overview", refresh=None)) as panel:
            _overview(incident, panel)
            panel.state = {"view": "deployments", "open": incident.roles["pinning_deployment"]}
            assert panel.wait()
            _deployments(incident, panel, is_live=name == "live")
            panel.state = {"view": "state", "service": "Account"}
            assert panel.wait()
            _state(panel)
            _waits(incident, panel)


def test_the_filters_of_the_panel_and_one_invocation(incident: Cluster, sources: dict[str, Source]) -> None:
    """Live and frozen, every filter finds its invocations, and one of them is explained."""
    both = set(incident.ids("paused") + incident.ids("paused_by_hand"))
    parts: list[tuple[dict[str, Any], set[str]]] = [
        ({"status": "paused"}, both),
        ({"service": "Payments", "handler": "payout"}, set(incident.ids("paused"))),
        ({"key": "acme-retail", "status": "pending"}, set(incident.ids("hot_key_queue"))),
        ({"deployment": incident.roles["pinning_deployment"]}, set(incident.ids("on_old_deployment"))),
        ({"error_code": "RT0016"}, set(incident.ids("mismatch"))),
        ({"text": "no answer from the weather service", "retries": 1}, {incident.roles["agent_denver"]}),
        ({"text": "account closed", "status": "all"}, set(incident.ids("paused"))),
        ({"id": incident.ids("cancelled"), "status": "cancelled"}, set(incident.ids("cancelled"))),
        ({"service": "Payments", "handler": "payout", "since": "9h", "age": "1ms"}, set(incident.ids("paused"))),
        ({"age": "9h"}, set()),
        ({"until": "9h", "status": "all"}, set()),
    ]
    for name, source in sources.items():
        with contextlib.closing(Panel(source, refresh=None)) as panel:
            assert panel.error == ""
            assert isinstance(panel.view, InvocationsView)
            assert panel.view.grid.controller.options.total == len(panel.frame) > len(both)
            for filters, ids in parts if source.live else parts[::3]:
                panel.show_invocations(**filters)
                assert panel.wait()
                assert (name, filters, panel.error, set(panel.frame["id"])) == (name, filters, "", ids)
                assert set(source.sql(panel.sql, params=panel.params)["id"]) == ids
            _one(incident, panel)


def _one(incident: Cluster, panel: Panel) -> None:
    panel.open_invocation(incident.roles["agent_denver"])
    assert panel.wait()
    assert panel.error == ""
    detail = panel.view.detail
    assert "no answer from the weather service for Denver" in detail._failure.value
    assert "“get weather” (Run)" in detail._facts.value
    assert panel.frame["name"].iloc[-1] == "get weather"
    assert incident.roles["agent_denver"] in detail.title.value
    (*_, row) = detail.journal.content["rows"]
    assert (row["label"], row["outcome"]) == ("get weather", "retrying")
    assert "no answer from the weather service for Denver" in row["value"]
    assert "Denver" not in detail._payloads.value
    detail.folds.toggle("payloads")
    assert panel.wait()
    assert "What is the weather in Denver" in detail._payloads.value
    panel.open_invocation(incident.ids("hot_key_caller")[0])
    assert panel.wait()
    assert panel.error == ""
    assert any(each.id in incident.ids("hot_key_queue") for each in panel.view.content.related)


def _overview(incident: Cluster, panel: Panel) -> None:
    view = panel.view
    assert isinstance(view, OverviewView)
    counts = panel.frame.set_index(["target_service_name", "target_handler_name", "status"])["invocations"]
    assert panel.error == ""
    storm = counts["Payments", "charge"].reindex(["backing-off", "ready", "running"]).sum()  # each attempt runs shortly
    assert storm == len(incident.ids("storm_503") + incident.ids("storm_timeout"))
    assert view.backlog.iloc[0][["target_service_key", "waiting"]].tolist() == ["acme-retail", 12]
    view._open(view.key_grid.frame["row"][0])
    assert panel.wait()
    assert panel.error == ""
    assert set(panel.frame["id"]) == set(incident.ids("hot_key_queue"))
    view._open(next(row for row in view.handler_grid.frame["row"] if '"payout"' in row))
    assert panel.wait()
    assert set(panel.frame["id"]) == set(incident.ids("paused"))


def _deployments(incident: Cluster, panel: Panel, *, is_live: bool) -> None:
    view = panel.view
    assert isinstance(view, DeploymentsView)
    assert panel.error == ""
    table = view.grid.frame.set_index("id")
    roles = incident.roles
    assert table.index[0] == roles["loyalty_deployment"]
    assert table.loc[roles["loyalty_deployment"], ["verdict", "services"]].tolist() == [
        "✖ removed, still needed",
        "Loyalty (removed)",
    ]
    assert table["verdict"][roles["drained_deployment"]] == "can be removed"
    assert table["verdict"][roles["pinning_deployment"]] == "▲ old, needed by 1"
    assert table["services"][roles["promotions_deployment"]] == "Promotions r3"
    assert table["services"][roles["pinning_deployment"]] == ("Promotions r2" if is_live else "Promotions")
    assert view.plan_button.layout.display == "none", "the source is read-only"
    view.show_button.click()
    assert panel.wait()
    assert list(panel.frame["id"]) == incident.ids("on_old_deployment")


def _waits(incident: Cluster, panel: Panel) -> None:
    """Check that the graph has the planted deadlocks and the queue, and that a member leads to its part."""
    panel.state = {"view": "waits"}
    assert panel.wait()
    view = panel.view
    assert isinstance(view, WaitsView)
    assert panel.error == ""
    rows = records(view.deadlock_grid.frame)
    pair = {*incident.ids("deadlock_pair"), *incident.ids("deadlock_pair_blocked")}
    assert (len(rows), [set(row["ids"]) for row in rows].count(pair)) == (3, 1)
    assert view.picture.content["html"].count(">DEADLOCK<") == 3
    holder = view.blocker_grid.frame.set_index("id").loc[incident.roles["hot_key_holder"]]
    assert holder["total_waiting"] >= len(incident.ids("hot_key_queue"))
    panel.open_invocation(incident.ids("deadlock_pair")[0])
    assert panel.wait()
    assert panel.error == ""
    line = panel.view.detail.deadlock
    assert line.content["text"] == "In a deadlock with"
    assert {member["id"] for member in line.content["members"]} == pair - {incident.ids("deadlock_pair")[0]}
    panel.click("Show the picture")
    assert panel.wait()
    assert (panel.state["view"], set(panel.state["id"])) == ("waits", pair)
    assert view.picture.content["html"].count("data-open=") == len(pair)
    panel.open_invocation(incident.ids("hot_key_caller")[0])
    assert panel.wait()
    assert panel.view.detail.deadlock.content == {}


def _state(panel: Panel) -> None:
    view = panel.view
    assert isinstance(view, StateView)
    listing = panel.frame.set_index("service_key")
    assert "history: [" in listing.loc["initech", "preview"]
    view._open_row("Account", "initech", None)
    assert panel.wait()
    assert panel.error == ""
    assert view.state is not None
    assert len(view.state["history"]) > 100
    assert "read-only" in view.why_not.text


@pytest.fixture(scope="module", params=KINDS)
def drawers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    """Give a server of its own, with an object whose handlers write and hold."""
    folder = tmp_path_factory.mktemp("panels")
    with running_bench(request.param, folder, state_services.__file__, ready=None, env={}) as bench:
        once_served(lambda: bench.lab.ingress.call("Drawer", "put", {"n": 0}, key="warm"))
        yield bench.lab


def _open(lab: rl.Lab, key: str) -> tuple[Panel, StateView]:
    panel = Panel(lab, view="state", service="Drawer", key=key, refresh=None)
    assert isinstance(panel.view, StateView)
    return panel, panel.view


def _review(panel: Panel, name: str, text: str) -> None:
    panel.click("open", row=name)
    panel.fill("New value", text)
    panel.click("Review")
    panel.fill("Reason", "INC-7")


def _send(panel: Panel) -> None:
    panel.click(f"Set it on {panel.source.name}")
    assert panel.wait(timeout=30, action=True)


def test_a_key_is_set_and_a_race_is_lost_in_view(drawers: rl.Lab) -> None:
    """A value that the panel sets is in the cluster, other keys stay; a change in between stays, and is shown."""
    drawers.ingress.call("Drawer", "put", {"items": {"mug": 1}, "total": 5}, key="k")
    panel, view = _open(drawers, "k")
    _review(panel, "items", '{"mug": 2}')
    _send(panel)
    assert (panel.error, view.editor.stage) == ("", "closed")
    assert dict(state(drawers, "Drawer", "k")) == {"items": {"mug": 2}, "total": 5}

    panel.refresh()
    _review(panel, "items", '{"mug": 3}')
    set_state(drawers, "Drawer", "k", {"items": {"mug": 9}}, reason="somebody else")
    _send(panel)
    assert view.editor.stage == "conflict"
    assert '"mug": 9' in view.editor.compare.text
    assert dict(state(drawers, "Drawer", "k"))["items"] == {"mug": 9}
    panel.close()


def test_a_held_object_takes_the_change_later(drawers: rl.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a handler holds the object the panel names the holder, and it reports when the change is applied."""
    monkeypatch.setattr("restate_lab.panels.state._TIMEOUT", "1500ms")
    drawers.ingress.call("Drawer", "put", {"n": 1}, key="held")
    holder = drawers.ingress.send("Drawer", "hold", key="held").invocation_id
    held = "SELECT id FROM sys_invocation WHERE id = :id AND status = 'suspended'"
    wait_for(lambda: drawers.arrow(held, id=holder).num_rows == 1)
    panel, view = _open(drawers, "held")
    _review(panel, "n", "2")
    _send(panel)
    assert view.editor.stage == "unknown"
    assert f"{holder} holds the object" in view.editor.compare.text
    drawers.ingress.resolve_awakeable(str(awakeable_id(holder, FIRST_AWAKEABLE)), "go on")
    wait_for(lambda: dict(state(drawers, "Drawer", "held")) == {"n": 2})
    panel.refresh()
    assert "The change is applied" in view.editor.compare.text
    panel.close()
