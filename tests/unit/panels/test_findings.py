"""The panel's findings and its overview, without a browser: the automatic doctor, and the effect of the buttons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.doctor.diagnosis import CheckGap, CheckRun, Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Blocked, Finding, Severity
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.errors import ArgumentError, QueryRefused
from restate_lab.identity import ClusterIdentity
from restate_lab.panels import panel as panel_module
from restate_lab.panels.overview import OverviewView
from restate_lab.panels.panel import Panel
from support.bench import wait_for
from support.sample_rows import NOW, SampleRows, invocation
from support.sample_source import LiveSource, SampleSource, invocations

ATTACK = "<img src=x onerror=alert(1)></script>\x1b[31m\u202etxt"
ROWS = [
    invocation(1, "invoked"),
    invocation(5, "invoked"),
    invocation(2, "suspended", handler=ATTACK),
    *(
        invocation(n, "inboxed", service="Cart", target_service_key="a/b", inboxed_at=NOW - timedelta(minutes=n))
        for n in (7, 8)
    ),
    invocation(9, "completed"),
]
STATES = [{"id": ROWS[0]["id"], "in_flight": False, "retry_count": 4}, {"id": ROWS[1]["id"], "retry_count": 9}]
INBOX = [{"id": row["id"], "service_name": "Cart", "service_key": "a/b"} for row in ROWS[3:5]]
LISTED = invocations(*({"id": n, "status": "backing-off", "failure": "HTTP 503"} for n in range(4)))


def source(**more: Any) -> SampleRows:
    tables = {"sys_invocation_status": ROWS, "sys_invocation_state": STATES, "sys_inbox": INBOX}
    return SampleRows(**(tables | more))


def diagnosis(*gaps: CheckGap) -> Diagnosis:
    """Return a diagnosis with two findings, one of which has a plan."""
    ids = tuple(LISTED["id"])
    findings = [
        Finding(
            severity=Severity.CRITICAL, title=ATTACK, details=ATTACK, where="agent/run",
            count=4, ids=ids, check="paused",
            evidence=ask_call("paused"), suggested=(plan_call("resume", ids),), since=NOW - timedelta(minutes=3),
        ),
        Finding(
            severity=Severity.NOTE, title="one is slow", where="agent/run", count=1, ids=ids[:1], check="slow",
            evidence=ask_call("latency"), suggested=(why_call(ids[0]),),
        ),
    ]  # fmt: skip
    return build_diagnosis(
        source="made", version="1.7.12", at=NOW, seconds=0.2, findings=findings, checked=(), gaps=gaps, skipped=0,
        cluster=ClusterIdentity(frozenset({("dp_1", "2026-11-01T00:00:00.000+00:00")})),
    )  # fmt: skip


@pytest.fixture
def show(make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Panel]:
    """Give a function that returns a panel with the findings of a diagnosis."""

    def show_findings(found: Diagnosis, listed: Any = None) -> Panel:
        monkeypatch.setattr(panel_module, "doctor", lambda *_, **__: found)
        panel = make(listed or LiveSource(LISTED), refresh=None)
        assert panel.wait(doctor=True)
        return panel

    return show_findings


@pytest.fixture
def diagnosed(show: Callable[..., Panel]) -> Panel:
    return show(diagnosis())


def test_the_doctor_runs_by_itself(make: Callable[..., Panel]) -> None:
    """Without a click the findings are there; checks that did not run are named, and nothing is called healthy."""
    panel = make(SampleRows(without=("sys_invocation_status.journal_size",)), view="overview")
    assert panel.wait(doctor=True)
    assert panel.findings.content["verdict"] == "incomplete"
    assert panel.findings.content["gaps"]  # such a source has few tables
    assert panel.error == ""


def test_each_finding_has_its_buttons(diagnosed: Panel) -> None:
    """Show has the number; a plan is offered if a next step is one; hostile text is text."""
    rows = diagnosed.findings.content["rows"]
    assert [[button["label"] for button in row["buttons"]] for row in rows] == [
        ["Show 4", "Why", "What do they share?", "Plan resume…"],
        ["Show 1", "Why"],
    ]
    assert rows[0]["age"] == "3m"
    assert all("‹U+202E›" in rows[0][name] for name in ("title", "details", "html"))
    assert "rl.ask(lab, &#34;paused&#34;)" in rows[0]["html"]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_note_on_a_finding_folds_it_and_is_in_the_strip(
    show: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read_only: bool
) -> None:
    """The rows stay, with the user and the time; a note about the cluster acknowledges nothing."""
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path))
    panel = show(diagnosis(), LiveSource(LISTED, read_only=read_only))
    assert panel.findings.content["done"] == []
    before = panel.findings.controls(0)["Note…"]
    panel.fill("note", f"INC-42 {ATTACK}")
    panel.fill("until", "4h")
    panel.click("Note", row=0)
    content = panel.findings.content
    assert (content["known"], [row["known"] for row in content["rows"]]) == (1, [True, False])
    assert content["rows"][0]["note"].startswith("known until ")
    assert panel.diagnosis is not None
    assert panel.diagnosis.findings["known"].tolist() == [True, False]
    assert "1 known" in panel._repr_mimebundle_()["text/html"]
    panel.fill("note", "called Anna")
    panel.click("Note")
    assert [each["text"][:20] for each in panel.findings.content["done"]] == [
        "note “called Anna”",
        "acknowledge “INC-42 ",
    ]
    assert "‹U+202E›" in panel.findings.content["done"][1]["text"]
    panel.findings.receive({**before, "text": "on findings that have changed"})
    assert "the findings have changed, so nothing was noted" in panel.error
    assert rl.audit_log(notes=True)["text"].tolist() == [f"INC-42 {ATTACK}", "called Anna"]


def test_a_panel_shows_the_notes_of_other_processes_at_its_next_read(
    show: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path))
    panel = show(diagnosis())
    other: Any = LiveSource(LISTED)
    rl.note(other, "from a shell", finding=diagnosis().findings.loc[1], until="1h")
    panel.refresh()
    assert [row["known"] for row in panel.findings.content["rows"]] == [False, True]
    assert panel.error == ""


def test_show_filters_and_selects(diagnosed: Panel) -> None:
    """Show filters the list to the invocations of the finding, all of them selected; the state has the filter."""
    diagnosed.click("Show", row=0)
    assert diagnosed.selected == list(LISTED["id"])
    assert diagnosed.state == {"status": "all", "id": list(LISTED["id"])}
    assert diagnosed.view.strip.content["active"] == [{"name": "id", "text": "finding: agent/run paused (4)"}]
    assert not diagnosed.view.actions.buttons[panel_module.ACTIONS.RESUME].disabled
    assert diagnosed.view.actions.buttons[panel_module.ACTIONS.RESUME].description == "Resume 4"


def test_a_finding_about_a_queue_shows_the_holder_or_the_queue(show: Callable[..., Panel]) -> None:
    holder, *waiting = LISTED["id"]
    finding = Finding(
        severity=Severity.CRITICAL, title="Calls queue for Cart/a, held by Cart/a/pay (suspended)", where="Cart/a",
        count=1, ids=(holder,), blocked=Blocked(tuple(waiting), 3, "3 Cart/pay"), check="blocked_keys", queued=1_234,
        evidence=ask_call("blocked_keys"), suggested=(why_call(holder),),
    )  # fmt: skip
    found = build_diagnosis(
        source="made", version="1.7.12", at=NOW, seconds=0.2, findings=[finding], checked=(), gaps=(), skipped=0
    )
    panel = show(found, LiveSource(LISTED.assign(status=["suspended", *["pending"] * 3])))
    for button, state, chip in (
        ("Holder", {"status": "all", "id": holder}, "finding: Cart/a holder (1)"),
        ("Queue 1,234", {"status": "pending", "id": waiting}, "finding: Cart/a queue (1,234)"),
    ):
        panel.click(button, row=0)
        assert panel.state == state
        assert panel.view.strip.content["active"] == [{"name": "id", "text": chip}]
    panel.show_invocations(status="all", id=waiting[:2])
    assert panel.view.strip.content["active"] == [{"name": "id", "text": "2 ids"}]
    panel.click("Why", row=0)
    assert panel.state == {"view": "waits", "id": [holder]}


def test_why_opens_an_invocation_of_the_finding(diagnosed: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(diagnosed, "open_invocation", opened.append)
    diagnosed.click("Why", row=0)
    assert opened == [LISTED["id"][0]]


def test_plan_makes_the_plan_of_the_next_step(diagnosed: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan selects the invocations and plans the action; nothing is sent."""
    planned: list[Any] = []
    monkeypatch.setattr(type(diagnosed.view), "plan", lambda _, action, ids: planned.append((action, tuple(ids))))
    diagnosed.click("Plan resume", row=0)
    assert planned == [(panel_module.ACTIONS.RESUME, tuple(LISTED["id"]))]
    assert diagnosed.selected == list(LISTED["id"])


def test_many_findings_of_one_check_share_a_line(show: Callable[..., Panel]) -> None:
    """The first one stays a finding of its own, and the line names the check; three of a kind are shown one by one."""
    ids = tuple(LISTED["id"])

    def finding(number: int, check: str) -> Finding:
        return Finding(
            severity=Severity.CRITICAL, title=f"{check} {number}", where="agent/run", count=1, ids=ids[:1], check=check,
            evidence=ask_call("paused"), suggested=(why_call(ids[0]),),
        )  # fmt: skip

    found = [finding(number, "retry_storm") for number in range(60)] + [
        finding(number, "paused") for number in range(3)
    ]
    many = build_diagnosis(
        source="made", version="1.7.12", at=NOW, seconds=0.2, findings=found, gaps=(), skipped=0,
        checked=[CheckRun("retry_storm", "handlers that retry", 60, 1, 0.1, 60)],
    )  # fmt: skip
    content = show(many).findings.content
    (group,) = content["groups"]
    assert group["label"] == "59 more: handlers that retry"
    assert {content["rows"][at]["title"].split()[0] for at in group["rows"]} == {"retry_storm"}
    assert len(content["rows"]) == 63


def test_a_button_of_old_findings_does_nothing(diagnosed: Panel) -> None:
    """Between the click and its arrival the doctor ran again: the number of the finding now belongs to another one."""
    diagnosed.findings.receive({"type": "act", "finding": 0, "act": "show", "revision": 0})
    assert diagnosed.state == {}


def test_nothing_can_be_planned_on_evidence(show: Callable[..., Panel]) -> None:
    row, _ = show(diagnosis(), SampleSource(LISTED)).findings.content["rows"]
    assert [button["label"] for button in row["buttons"]] == ["Show 4", "Why", "What do they share?"]


def test_a_failed_doctor_is_shown_and_can_run_again(
    make: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object, **__: object) -> Diagnosis:
        raise QueryRefused("no clock", status=500)

    monkeypatch.setattr(panel_module, "doctor", fail)
    panel = make(SampleSource(LISTED))
    assert panel.wait(doctor=True)
    assert (panel.findings.content["state"], panel.findings.content["reason"]) == ("failed", "no clock")
    monkeypatch.setattr(panel_module, "doctor", lambda *_, **__: diagnosis(CheckGap("a", "timeout", "b", applies=True)))
    panel.click("Run again")
    assert panel.wait(doctor=True)
    assert panel.findings.content["verdict"] == "incomplete"


def overview(panel: Panel) -> OverviewView:
    view = panel.view
    assert isinstance(view, OverviewView)
    return view


def test_the_overview_shows_two_questions_worst_first(make: Callable[..., Panel]) -> None:
    """Counts, oldest and backlog equal those of the questions; frame and statement lead back to them."""
    tables = source()
    panel = make(tables, view="overview")
    assert panel.error == ""
    assert panel.frame.equals(run_question(tables, "overview"))
    assert overview(panel).backlog.equals(run_question(tables, "backlog_by_key"))
    assert list(overview(panel).handler_grid.frame["status"]) == ["backing-off", "pending", "suspended"]
    assert list(overview(panel).handler_grid.frame["invocations"]) == [2, 2, 1]
    assert overview(panel).key_grid.frame[["service", "key", "waiting", "oldest wait"]].to_numpy().tolist() == [
        ["Cart", "a/b", 2, timedelta(minutes=8)]
    ]
    assert tables.sql(panel.sql, params=panel.params).equals(panel.frame)
    assert panel.code == "rl.Panel(lab, view='overview')"
    assert list(make(tables, view="overview", service="Cart").frame["target_service_name"]) == ["Cart"]


def test_a_row_of_the_overview_opens_its_invocations(make: Callable[..., Panel]) -> None:
    panel = make(source(), view="overview")
    states = []
    for grid, line in (("handler_grid", 1), ("handler_grid", 2), ("key_grid", 0)):
        panel.state = {"view": "overview"}
        panel.click("open", row=getattr(overview(panel), grid).frame["row"].iloc[line])
        states.append(panel.state)
    assert states == [
        {"status": "pending", "service": "Cart", "handler": "run"},
        {"status": "suspended", "service": "Svc", "handler": ATTACK},
        {"status": "pending", "service": "Cart", "key": "a/b"},
    ]


def test_the_overview_shows_its_filters_and_removes_them(make: Callable[..., Panel]) -> None:
    panel = make(source(), view="overview", service=["Cart", "Svc"], handler="run")
    assert panel.frame["target_service_name"].unique().tolist() == ["Cart", "Svc"]
    panel.click("service Cart ×")
    assert panel.state == {"view": "overview", "service": "Svc", "handler": "run"}
    panel.click("Clear all")
    assert panel.state == {"view": "overview", "handler": "run"}
    with pytest.raises(ArgumentError, match="no visible control is named 'Clear all'"):
        panel.click("Clear all")


def test_a_source_without_an_inbox_has_an_overview(make: Callable[..., Panel]) -> None:
    panel = make(source(without=("sys_inbox",)), view="overview")
    assert len(panel.frame) == 3
    assert "sys_inbox" in repr(overview(panel).key_grid)
    html = panel._repr_mimebundle_()["text/html"]
    assert html.count("<table") >= 2
    assert "<img" not in html
    assert "\u202e" not in html


def test_an_empty_cluster_has_a_warning_and_offers_nothing_to_show(make: Callable[..., Panel]) -> None:
    panel = make(SampleRows(sys_service=[], sys_deployment=[]))
    assert panel.wait(doctor=True)
    content = panel.findings.content
    assert (content["verdict"], content["headline"]) == ("incomplete", "Nothing is registered here")
    assert [row["title"] for row in content["rows"]] == ["no service is registered at made"]
    wait_for(lambda: panel.view.grid.controller.options.empty == "made has no invocation, in any status.")
    assert panel.view.grid.controller.options.empty_action == ""


def test_a_cluster_with_ended_invocations_only_offers_to_show_all(make: Callable[..., Panel]) -> None:
    panel = make(SampleRows(sys_invocation_status=[invocation(9, "succeeded", completed_at=NOW)]))
    assert panel.view.grid.controller.options.empty == "Nothing in flight."
    assert panel.view.grid.controller.options.empty_action == "Show all"


def test_the_text_filter_finds_failures_and_targets(make: Callable[..., Panel]) -> None:
    panel = make(source(), text="cart/")
    assert panel.error == ""
    assert panel.frame["target_service_name"].tolist() == ["Cart", "Cart"]
    assert make(source(), text="CART").frame.empty, "a capital makes the case count"
