"""Queues, limits and scopes on a server with rules: the planted counts, and what each head waits for."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.queues import read_queues
from restate_lab.client.models import UpsertRule
from restate_lab.panels.panel import Panel
from restate_lab.panels.queues import QueuesView
from support.bench import Bench, running_bench, wait_for
from support.clusters import NEEDS_FLAG, NEWEST
from support.page_servers import running_pages
from support.scoped import send_scoped

SERVICES = Path(__file__).parents[1] / "support" / "limit_services.py"
RULES = {"blue": 2, "green/*": 1, "*": 50}
OPEN = "SELECT count(*) AS n FROM sys_invocation WHERE status <> 'completed'"
RUNNING = "SELECT count(*) AS n FROM sys_invocation WHERE status = 'running'"
pytestmark = [pytest.mark.server, NEEDS_FLAG]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give a server with three rules, whose calls hold their places: 8 in blue, 5 in green, 2 in red, 9 without."""
    folder = tmp_path_factory.mktemp("limits")
    with running_bench(NEWEST, folder, SERVICES, ready=("Work", "say", "ready"), env={}) as bench:
        bench.admin.upsert_rules(
            [
                UpsertRule(name, description=f"at most {most}", limits={"concurrency": most})
                for name, most in RULES.items()
            ]
        )
        send_scoped(bench, "Work/hold", scope="blue", count=6)
        send_scoped(bench, "Work/hold", scope="green", limit_key="a", count=3)
        send_scoped(bench, "Work/hold", scope="green", limit_key="b/deep", count=2)
        send_scoped(bench, "Work/hold", scope="red", count=2)
        wait_for(lambda: bench.lab.sql(RUNNING)["n"][0] == 6)
        send_scoped(bench, "Item/k1/hold", scope="blue", count=2)
        for _ in range(5):
            bench.ingress.send("Item", "hold", {}, key="k")
        for delay in (None, None, None, "1h"):
            bench.ingress.send("Work", "hold", {}, delay=delay)
        wait_for(lambda: (bench.lab.sql(OPEN)["n"][0], bench.lab.sql(RUNNING)["n"][0]) == (24, 10))
        yield bench


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Return the rows as tuples of these columns, missing values as None."""
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in frame[list(columns)].to_numpy().tolist()]


def ask_when_blocked(bench: Bench, name: str, **params: Any) -> pd.DataFrame:
    """Ask once the scheduler has seen the head of each queue; a head is not blocked while the scheduler looks at it."""
    heads = "SELECT count(*) AS n FROM sys_scheduler WHERE status = 'blocked'"
    wait_for(lambda: bench.lab.sql(heads)["n"][0] == 5)
    return rl.ask(bench.lab, name, **params)


def test_queues_have_their_waiting_and_running_calls_and_what_the_head_waits_for(bench: Bench) -> None:
    frame = ask_when_blocked(bench, "queues")
    names = ("target_service_name", "scope", "limit_key", "lock_name")
    found = {row[:4]: row[4:] for row in rows(frame, *names, "waiting", "scheduled", "running", "blocked_on")}
    rule = "limit-key-concurrency"
    assert found == {
        ("Work", "blue", None, None): (4, 0, 2, rule),
        ("Work", "green", "a", None): (2, 0, 1, rule),
        ("Work", "green", "b/deep", None): (1, 0, 1, rule),
        ("Work", "red", None, None): (0, 0, 2, None),
        ("Item", "blue", None, "Item/k1"): (2, 0, 0, rule),
        ("Item", None, None, "Item/k"): (4, 0, 1, "lock"),
        ("Work", None, None, None): (0, 1, 3, None),
    }
    by_lock = frame.set_index("lock_name")
    assert by_lock.loc["Item/k", ["lock_share", "rules_share"]].tolist() == [1, 0]
    assert by_lock.loc["Item/k1", ["lock_share", "rules_share", "blocked_rule"]].tolist() == [0, 1, "blue"]
    waiting = frame[frame["waiting"] > 0]
    assert frame["oldest_runnable_at"].dropna().is_monotonic_increasing
    created = bench.lab.sql("SELECT id, created_at FROM sys_invocation WHERE id IN :ids", ids=waiting["oldest_id"])
    times = created.set_index("id")["created_at"]
    assert (waiting["oldest_runnable_at"].to_numpy() == times.loc[waiting["oldest_id"]].to_numpy()).all()
    assert frame.loc[frame["waiting"] == 0, "oldest_wait"].isna().all()
    assert len(rl.ask(bench.lab, "queues", service="Item", scope="blue")) == 1


def test_a_paused_queue_is_named_as_the_reason(bench: Bench) -> None:
    queue = bench.lab.sql("SELECT id FROM sys_vqueue_meta WHERE lock_name = 'Item/k'")["id"][0]
    bench.admin.pause_vqueue(queue)
    try:
        frame = wait_for(
            lambda: rl.ask(bench.lab, "queues", service="Item").set_index("lock_name").loc[["Item/k"]],
            lambda frame: frame["blocked_on"].item() == "queue paused",
        )
    finally:
        bench.admin.resume_vqueue(queue)
    assert rows(frame, "is_paused", "waiting") == [(True, 4)]


def test_limits_have_the_usage_and_the_waiting_calls_of_each_counter(bench: Bench) -> None:
    frame = ask_when_blocked(bench, "limits")
    assert rows(frame, "rule", "scope", "l1", "usage", "concurrency_limit", "waiting", "waiting_queues") == [
        ("blue", "blue", None, 2, 2, 6, 2),
        ("green/*", "green", "a", 1, 1, 2, 1),
        ("green/*", "green", "b", 1, 1, 1, 1),
        ("*", "green", None, 2, 50, 0, 0),
        ("*", "red", None, 2, 50, 0, 0),
    ]
    assert frame["usage_share"].tolist() == [1, 1, 1, 0.04, 0.04]
    assert (frame["blocked_for"].head(3) > pd.Timedelta(0)).all()
    assert frame["description"].tolist() == ["at most 2", *["at most 1"] * 2, *["at most 50"] * 2]
    assert rl.ask(bench.lab, "limits", above=80)["rule"].tolist() == ["blue", "green/*", "green/*"]


def test_a_rule_that_nothing_uses_is_listed_last(bench: Bench) -> None:
    bench.admin.upsert_rules([UpsertRule("violet", limits={"concurrency": 7})])
    try:
        frame = wait_for(lambda: rl.ask(bench.lab, "limits"), lambda frame: "violet" in set(frame["rule"]))
    finally:
        bench.admin.bulk_delete_rules(["violet"], reason="INC-42")
    last = frame.tail(1)
    assert rows(last, "rule", "scope", "usage", "concurrency_limit", "waiting") == [("violet", None, None, 7, 0)]


def test_scopes_have_what_is_open_and_waiting_and_what_ended(bench: Bench) -> None:
    send_scoped(bench, "Work/say", scope="red", count=2)
    send_scoped(bench, "Work/fail", scope="red")
    names = ("scope", "open", "waiting", "succeeded", "failed")
    frame = wait_for(lambda: rl.ask(bench.lab, "scopes"), lambda frame: frame["failed"].sum() == 1)
    assert rows(frame, *names) == [("blue", 8, 6, 0, 0), ("green", 5, 3, 0, 0), ("red", 2, 0, 2, 1)]
    assert frame["last_failed_at"].notna().tolist() == [False, False, True]
    assert frame["oldest_id"].notna().tolist() == [True, True, False]
    assert rows(rl.ask(bench.lab, "scopes", service="Item"), *names) == [("blue", 2, 2, 0, 0)]
    assert rl.ask(bench.lab, "scopes", since="0s")["failed"].sum() == 0


def test_a_waiting_call_is_behind_the_running_and_the_earlier_ones(bench: Bench) -> None:
    query = "SELECT id, status FROM sys_invocation WHERE target = :target AND scope IS NULL ORDER BY created_at, id"
    calls = bench.lab.sql(query, target="Item/k/hold")
    frame = ask_when_blocked(bench, "queued_behind", id=calls["id"].iloc[-1])
    assert frame["position"].tolist() == [0, 1, 2, 3]
    assert frame["stage"].tolist() == ["running", "inbox", "inbox", "inbox"]
    assert set(frame["id"]) == set(calls["id"].iloc[:-1])
    assert frame["id"].iloc[0] == calls.loc[calls["status"] == "running", "id"].item()
    assert rows(frame, "blocked_on") == [(None,), ("lock",), (None,), (None,)]
    assert rl.ask(bench.lab, "queued_behind", id=calls["id"].iloc[0]).empty


def test_the_panel_shows_the_queues_and_lists_their_calls(bench: Bench) -> None:
    """The worst queue is first, with its reason as a sentence; a click lists its calls."""
    ask_when_blocked(bench, "queues")
    with contextlib.closing(Panel(bench.lab, view="queues", refresh=None)) as panel:
        view = panel.view
        assert isinstance(view, QueuesView)
        assert panel.error == ""
        assert view.summary.text.startswith("13 calls in 5 queues wait · 3 limits above 80%")
        table = view.grid.frame.set_index("queue")
        assert table.index[0] == "Work in scope blue"
        assert table["waits_for"].iloc[0] == "a free place in rule blue (2 of 2 used)"
        assert re.fullmatch(
            r"key Item/k, held for [\dms ]+ by a call that is running", table.loc["Item/k", "waits_for"]
        )
        assert table["load"].tolist()[:4] == ["2 of 2", "1 of 1", "1 of 1", "2 of 2"]
        assert set(bench.lab.sql(panel.sql, params=panel.params)["oldest_id"]) == set(panel.frame["oldest_id"])
        assert view.limit_grid.frame["mark"].tolist() == ["▲ full", "▲ full", "▲ full", "", ""]
        assert "UpsertRule('blue', limits={'concurrency': 2}, description='at most 2'" in view.rule.text
        panel.click("open", row=view.limit_grid.frame["id"][1])
        assert panel.wait()
        assert panel.state == {"view": "queues", "open": "green/*"}
        assert "UpsertRule('green/*'" in view.rule.text
        expected = {"Work in scope blue": 6, "Item/k": 5, "Work": 4, "Work in scope green, limit key b/deep": 2}
        for name, count in expected.items():
            panel.state = {"view": "queues"}
            assert panel.wait()
            panel.click("open", row=table.loc[name, "id"])
            assert panel.error == ""
            assert (panel.state.get("view", "invocations"), len(panel.frame)) == (
                "invocations",
                count,
            )


def test_a_paused_queue_shows_the_call_that_resumes_it(bench: Bench) -> None:
    """The panel runs nothing itself, and a read-only connection says why it cannot."""
    queue = bench.lab.sql("SELECT id FROM sys_vqueue_meta WHERE lock_name = 'Item/k'")["id"][0]
    bench.admin.pause_vqueue(queue)
    try:
        wait_for(lambda: "queue paused" in set(rl.ask(bench.lab, "queues")["blocked_on"]))
        with (
            rl.connect(bench.url, read_only=True) as lab,
            contextlib.closing(Panel(lab, view="queues", refresh=None)) as panel,
        ):
            detail = panel.view.detail.text
            page = read_queues(lab)
    finally:
        bench.admin.resume_vqueue(queue)
    assert f'lab.admin.resume_vqueue("{queue}", reason=' in detail
    assert "This connection is read-only" in detail
    assert "Its head waits for paused: nothing starts" not in detail
    assert f'to resume it: lab.admin.resume_vqueue("{queue}", reason="…")' in str(page)


def test_calls_that_never_end_are_stuck_and_others_that_end_are_not_their_rate(bench: Bench) -> None:
    """The seven calls of Work and two of Item wait for full limits, four of Item for a key that is held."""
    ask_when_blocked(bench, "queues")

    def ask() -> pd.DataFrame:
        for _ in range(5):
            bench.ingress.call("Work", "say", "x")
        return rl.ask(bench.lab, "draining", window="3s")

    frame = wait_for(ask, lambda frame: set(frame["answer"]) == {"standing still"})
    assert rows(frame, "service", "waiting", "stuck", "empty_in", "reason") == [
        ("Work", 7, 7, None, "stuck: 7 under a full limit"),
        ("Item", 6, 6, None, "stuck: 4 behind a held key, 2 under a full limit"),
    ]
    assert frame["completions"].iloc[0] > 0
    assert frame["arrivals"].iloc[1] == 0


def test_the_answer_stands_beside_each_queue_on_request(bench: Bench) -> None:
    ask_when_blocked(bench, "queues")
    with contextlib.closing(Panel(bench.lab, view="queues", refresh=None)) as panel:
        assert "draining" not in panel.view.grid.frame
        panel.click("Will it drain?")
        assert panel.wait(action=True)
        assert panel.error == ""
        table = panel.view.grid.frame.set_index("queue")
        assert table.loc["Item/k", "draining"].startswith("whole service: ")
        assert table["draining"].notna().tolist() == (table["waiting"] > 0).tolist()
        assert panel.view.grid.columns[-1] == "draining"


def test_the_page_of_the_queues_has_the_same(bench: Bench, tmp_path: Path) -> None:
    ask_when_blocked(bench, "queues")
    with running_pages({"prod": bench.lab}, tmp_path) as pages, pages.client() as client:
        page, data = client.get("/queues"), client.get("/queues.json").json()
    assert data["summary"] == "13 calls in 5 queues wait · 3 limits above 80%"
    assert [row["queue"] for row in data["queues"]][:2] == ["Work in scope blue", "Work in scope green, limit key a"]
    assert data["queues"][0]["waits_for"] == "a free place in rule blue (2 of 2 used)"
    assert [row["mark"] for row in data["limits"]] == ["▲ full", "▲ full", "▲ full", "", ""]
    assert data["queues"][0]["waits_for"] in page.text
    assert {row["service"]: row["waiting"] for row in data["draining"]["rows"]} == {"Work": 7, "Item": 6}
    assert "standing still" in page.text or "growing" in page.text
    assert f"/invocation/{data['queues'][0]['oldest_id']}" in page.text


def test_a_plan_to_resume_says_how_many_could_run_at_once(bench: Bench) -> None:
    """As many run after its execution. A limit without use has no counter, and a name comes before "*"."""
    query = "SELECT id, scope, limit_key, status FROM sys_invocation WHERE target = 'Work/hold' AND status = 'running'"
    running = bench.lab.sql(query).fillna({"scope": "", "limit_key": ""})
    targets = [*running[running["scope"] == "red"]["id"], *running[running["scope"] == "blue"]["id"].head(1)]
    targets += [*running[running["limit_key"] == "b/deep"]["id"], *running[running["scope"] == ""]["id"].head(1)]
    for id_ in targets:
        bench.admin.pause_invocation(id_)
    wait_for(lambda: bench.lab.sql(RUNNING)["n"][0] == 10 - len(targets) + 2)
    plan = rl.plan(bench.lab, "resume", targets)
    assert (plan.at_once, len(plan.targets)) == (3, 5)
    assert rows(plan.places, "scope", "limit_key", "rule", "targets", "limit", "usage", "free") == [
        ("blue", None, "blue", 1, 2, 2, 0),
        ("green", "b", "green/*", 1, 1, 1, 0),
        ("green", None, "*", 1, 50, 2, 48),
        ("red", None, "*", 2, 50, 0, 50),
    ]
    sentence = (
        "3 of 5 could run at once under the limits as they are (blue has 0 of 2 places free for 1; green/* has 0 of 1 "
        "places free for 1); how many slots are free is not known."
    )
    assert plan.capacity == plan.to_json()["capacity"] == sentence
    assert sentence in str(plan)
    assert "blue has 0 of 2 places free for 1" in plan._repr_html_()
    assert plan.only(targets[:2]).capacity.startswith("No limit stops them; how many slots are free is not known.")
    with contextlib.closing(Panel(bench.lab, refresh=None)) as panel:
        for selected, shown in ((targets, sentence), (targets[:2], "")):
            panel.selected = selected
            panel.click("Resume")
            assert panel.wait(action=True)
            text = panel.view.actions.form.children[0].blocks[0]["text"]
            assert shown in text
            assert ("slots are free" in text) is bool(shown)
            panel.click("Back")
    plan.execute(reason="the test")
    is_running = "SELECT count(*) AS n FROM sys_invocation WHERE id IN :ids AND status = 'running'"
    wait_for(lambda: bench.lab.sql(is_running, ids=targets)["n"][0] == plan.at_once)
    assert rl.plan(bench.lab, "kill", targets).capacity == ""
