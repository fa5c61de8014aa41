"""Panels on a server that is killed and comes back: they report it, keep their rows, and are right again."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions import reader
from restate_lab.actions.execution import runner
from restate_lab.panels._base import refresher
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.panel import Panel
from restate_lab.panels.state import StateView
from support import state_services
from support.bench import once_served, wait_for
from support.clusters import NEWEST
from support.fault_panels import closing, mark_visible, panel_threads
from support.fault_verbs import RESTARTS
from support.faults import CHANGES, reads_give_up_after
from support.restartable import Killable, killable
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

STATUS = "SELECT id, status FROM sys_invocation WHERE id IN :ids ORDER BY id"
REASON = "a test"
RUN_DOCTOR = Panel.run_doctor


@pytest.fixture(scope="module")
def bench(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killable]:
    """Give a server that can be killed, with ended and delayed invocations and an object's state on it."""
    folder = tmp_path_factory.mktemp("away")
    with killable(NEWEST, folder, str(state_services.__file__), ended=40, later=12) as running:
        once_served(lambda: running.lab.ingress.call("Drawer", "put", {"n": 0}, key="first"))
        yield running


@pytest.fixture(autouse=True)
def _sooner(bench: Killable, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let reads and plans give up, and panels read again, after seconds, without the doctor; restart the server."""
    monkeypatch.setattr(Panel, "run_doctor", lambda _: None)
    reads_give_up_after(3.0, monkeypatch)
    monkeypatch.setattr(runner, "PATIENCE", 0.5)
    monkeypatch.setattr(reader, "RETRY_WITHIN", 0.5)
    monkeypatch.setattr(refresher, "_FIRST_RETRY", 0.3)
    monkeypatch.setattr(refresher, "_LONGEST", 1.0)
    yield
    with contextlib.suppress(errors.RestateLabError):
        bench.server.is_ready()
        return
    bench.server.start()
    bench.wait_until_whole()


def make_panels(bench: Killable) -> tuple[Panel, ...]:
    panels = (
        Panel(bench.lab, view="overview", refresh=0.3),
        Panel(bench.lab, refresh=0.3),
        Panel(bench.lab, open=bench.later[0], refresh=0.3),
        Panel(bench.lab, view="state", service="Drawer", key="first", refresh=0.3),
        Panel(bench.lab, view="deployments", refresh=0.3),
    )
    assert [panel.error for panel in panels] == [""] * 5
    return panels


def actions_of(panel: Panel) -> ActionBar:
    assert isinstance(panel.view, InvocationsView)
    return panel.view.actions


def ids(frame: pd.DataFrame) -> list[object]:
    """Return the first column, which identifies the rows."""
    return sorted(frame.iloc[:, 0].astype(str))


def test_every_view_outlives_a_restart(bench: Killable) -> None:
    """While the server is away each view reports it, and keeps its rows with their age; then all is right by itself."""
    panels = make_panels(bench)
    with closing(*panels):
        before = [panel.frame for panel in panels]
        assert all(len(frame) for frame in before)
        bench.server.kill()
        for panel in panels:
            wait_for(lambda panel=panel: panel.error)
            assert "Showing " in panel.error
        for panel, frame in zip(panels, before, strict=True):
            wait_for(lambda panel=panel: panel.error, lambda error: error.startswith("Cannot reach "))
            assert re.match(r"Cannot reach \S+ for \d+s\. Showing \S+\. Next try in \ds\.\n", panel.error)
            assert panel.head.cost.startswith("read at ")
            assert ids(panel.frame) == ids(frame)
            assert "Cannot reach " in panel._repr_mimebundle_()["text/html"]
        assert len(panel_threads()) <= 2 * len(panels)  # one reads the rows, one the counts
        mark_visible(*panels)
        bench.server.start()
        for panel, frame in zip(panels, before, strict=True):
            wait_for(lambda panel=panel: (mark_visible(panel), panel.error)[1], lambda error: error == "", within=60)
            assert ids(panel.frame) == ids(frame)
        assert len(panel_threads()) <= 2 * len(panels)  # one reads the rows, one the counts


@pytest.mark.long  # as the views that outlive a restart
def test_panels_made_while_nobody_is_there(bench: Killable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was never read does not look empty; one refresh corrects it, and then the doctor runs."""
    monkeypatch.setattr(Panel, "run_doctor", RUN_DOCTOR)
    bench.server.kill()
    panel = Panel(bench.lab, refresh=None)
    deployments = Panel(bench.lab, view="deployments", refresh=None)
    with closing(panel, deployments):
        for each in (panel, deployments):
            assert "Unreachable" in each.error
            html = each._repr_mimebundle_()["text/html"]
            assert "not read yet" in html
            assert not re.search(r"\b(0|No) (invocations|deployments)", html)
            assert each.wait(doctor=True)
            assert each.diagnosis is None
        bench.server.start()
        bench.wait_until_whole()
        panel.refresh()
        assert panel.wait(doctor=True)
        assert (panel.error, len(panel.frame)) == ("", len(bench.later))
        assert panel.diagnosis is not None
        assert panel.diagnosis.verdict == "healthy"


def test_closing_does_not_wait_for_the_server(bench: Killable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel that polls repeatedly ends at once when it is closed."""
    reads_give_up_after(25.0, monkeypatch)
    panel = Panel(bench.lab, refresh=None)
    with closing(panel):
        bench.server.kill()
        panel.ask()
        wait_for(lambda: panel.error)


LOST = {
    "a gateway": (Fault(response=b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), "Cannot reach "),
    "silence": (Fault(passes=0, end="silence"), "Cannot reach "),
    "resets": (Fault(passes=0, end="reset"), "Cannot reach "),
    "silent queries": (Fault(where=b"/query", passes=0, end="silence"), "The query took longer than 1s. "),
}


@pytest.mark.parametrize("kind", LOST)
def test_a_hiccup_is_over_when_the_server_answers(bench: Killable, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any failure between panel and server: the panel names it, retries within seconds, and recovers afterwards."""
    reads_give_up_after(0.0, monkeypatch)
    fault, message = LOST[kind]
    fault.times, fault.armed = math.inf, False
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, timeout=1.0) as lab:
        panel = Panel(lab, refresh=0.3)
        with closing(panel):
            assert panel.error == ""
            fault.armed = True
            wait_for(lambda: (mark_visible(panel), panel.error)[1], lambda error: error.startswith(message))
            assert panel.refresher.pace.wait is not None
            assert panel.refresher.pace.wait < 3.0
            assert len(panel.frame) == len(bench.later)
            fault.armed = False
            wait_for(lambda: (mark_visible(panel), panel.error)[1], lambda error: error == "")
            assert len(panel.frame) == len(bench.later)


def test_closing_does_not_wait_for_the_cheap_request(bench: Killable) -> None:
    """A panel that checks a silent server ends when it is closed, before the limit of that request."""
    fault = Fault(response=b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", times=math.inf, armed=False)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url) as lab:
        panel = Panel(lab, refresh=None)
        with closing(panel):
            fault.armed = True
            panel.refresh()
            assert " denied access. " in panel.error
            fault.response, fault.passes, fault.end, fault.happened = None, 0, "silence", 0
            panel.ask()
            wait_for(lambda: fault.happened)


def test_nothing_is_done_by_a_click_while_nobody_is_there(bench: Killable) -> None:
    """Neither a plan nor its execution reports "done", nothing was sent, and the kernel's own thread does not wait."""
    panel = Panel(bench.lab, refresh=None)
    overview = Panel(bench.lab, view="overview", refresh=None)
    with closing(panel, overview):
        panel.selected = bench.later[:3]
        bar = actions_of(panel)
        bar.buttons[rl.ACTIONS.CANCEL].click()
        assert bar.wait()
        plan = panel.plan
        assert plan is not None
        bench.server.kill()
        bar.buttons[rl.ACTIONS.KILL].click()
        assert bar.wait()
        assert "Unreachable" in panel.error
        assert panel.head.event == "The plan to kill was not created; nothing has been sent."
        assert panel.plan is plan
        bar.form.why.value = REASON
        bar.form.confirm.click()
        assert bar.wait()
        assert panel.head.event.startswith("cancel ended early (")
        assert panel.head.event.endswith(": 3 not sent.")
        assert bar.outcome.grid.frame["outcome"].tolist() == ["not sent"] * 3
        RUN_DOCTOR(overview)
        assert overview.wait(doctor=True)
        assert overview.diagnosis is None
        assert "Is the server running" in overview.findings.content["reason"]
        overview.show_invocations(service="Bulk")
        view = overview.view
        assert isinstance(view, InvocationsView)
        assert "not read yet" in repr(view.grid)  # it did not wait for the rows
        bench.server.start()
        bench.wait_until_whole()
        assert overview.wait()
        overview.refresh()
        assert len(overview.frame) == len(bench.later)
    assert set(bench.lab.sql(STATUS, ids=bench.later)["status"]) == {"scheduled"}


def test_a_state_is_set_once_the_server_is_back(bench: Killable) -> None:
    """A change that could not be sent stays in the editor, with its reason, and can be sent again."""
    panel = Panel(bench.lab, view="state", service="Drawer", key="first", refresh=None)
    with closing(panel):
        view = panel.view
        assert isinstance(view, StateView)
        editor = view.editor
        view.edit("n")
        panel.fill("New value", "42")
        panel.click("Review")
        panel.fill("Reason", REASON)
        bench.server.kill()
        panel.click(editor.set_button.description)
        assert panel.wait(action=True)
        assert (editor.stage, editor.text.value) == ("reviewing", "42")
        assert "Unreachable" in panel.error
        assert "set" not in panel.head.event
        bench.server.start()
        bench.wait_until_whole()
        assert dict(rl.state(bench.lab, "Drawer", "first")) == {"n": 0}
        panel.click(editor.set_button.description)
        assert panel.wait(action=True)
        assert (editor.stage, panel.error) == ("closed", "")
        assert dict(rl.state(bench.lab, "Drawer", "first")) == {"n": 42}


@pytest.mark.parametrize("comes_back", [pytest.param(True, marks=pytest.mark.long), False])
def test_killed_while_a_panel_executes(bench: Killable, tmp_path: Path, *, comes_back: bool) -> None:
    """Each row of the outcome is done or unknown, and every row that is done is on the server, once."""
    chosen = list(bench.ended[:20] if comes_back else bench.ended[20:])
    fault = Fault(where=CHANGES, passes=0, meanwhile=bench.restart if comes_back else bench.server.kill)
    with tcp_relay(bench.server.admin_url, fault=fault) as line, rl.connect(line.url, audit=tmp_path) as lab:
        panel = Panel(lab, id=chosen, status="all", refresh=None)
        with closing(panel):
            panel.selected = chosen
            bar = actions_of(panel)
            bar.buttons[rl.ACTIONS.RESTART_AS_NEW].click()
            assert bar.wait()
            bar.form.why.value = REASON
            bar.form.number.value = str(len(chosen))
            bar.form.confirm.click()
            assert bar.wait()
            outcome = bar.outcome.grid.frame
            if not comes_back:
                bench.server.start()
            bench.wait_until_whole()
            happened = bench.lab.sql(RESTARTS, ids=chosen)["restarted_from"].tolist()
    assert fault.happened == 1
    assert sorted(outcome["id"]) == sorted(chosen)
    assert len(happened) == len(set(happened))
    assert set(outcome["outcome"]) <= ({"done", "unknown"} if comes_back else {"unknown"})
    assert all(row["outcome"] == "unknown" or row["id"] in happened for row in outcome.to_dict("records"))
    assert all(row["outcome"] == "done" or row["error"] for row in outcome.to_dict("records"))
