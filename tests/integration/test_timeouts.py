"""The timeout of every verb that reads, behind a connection that is silent, and behind one that is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import restate_lab as rl
from restate_lab.audit import audit_log
from restate_lab.errors import TimedOut
from support.clusters import Cluster
from support.proxy import Proxy, connect_through
from support.tcp_relay import Fault, tcp_relay

pytestmark = [pytest.mark.server, pytest.mark.timeout(90)]

SLOW = 0.6  # seconds for each statement


@dataclass(frozen=True)
class TimeoutBench:
    """A connection to the server, the ids of some invocations there, and a folder to write to."""

    lab: rl.Lab
    ids: list[str]
    folder: Path
    services: str
    """The address of a deployment."""


def _second_poll() -> Callable[[Any], bool]:
    """Return a condition of wait_for that only the second poll meets."""
    polls = iter((False, True))
    return lambda _: next(polls)


Verb = Callable[[TimeoutBench, Any], Any]
VERBS: Mapping[str, Verb] = {
    "archive": lambda s, timeout: rl.archive(s.lab, s.folder / "archive", cluster_name="x", timeout=timeout),
    "agent_runs": lambda s, timeout: rl.agent_runs(s.lab, ids=s.ids, timeout=timeout),
    "agent_tools": lambda s, timeout: rl.ask(s.lab, "agent_tools", ids=s.ids, timeout=timeout),
    "ask": lambda s, timeout: rl.ask(s.lab, "overview", timeout=timeout),
    "before_after": lambda s, timeout: rl.before_after(s.lab, "1m", timeout=timeout),
    "contrast": lambda s, timeout: rl.contrast(s.lab, s.ids, timeout=timeout),
    "compare": lambda s, timeout: rl.compare(s.lab, s.lab, timeout=timeout),
    "conversation": lambda s, timeout: rl.conversation(s.lab, s.ids[0], timeout=timeout),
    "find": lambda s, timeout: rl.find(s.lab, "order", timeout=timeout),
    "freeze": lambda s, timeout: rl.freeze(s.lab, s.folder / "x.evidence", timeout=timeout),
    "journal": lambda s, timeout: rl.journal(s.lab, s.ids[0], timeout=timeout),
    "journal_diff": lambda s, timeout: rl.journal_diff(s.lab, s.ids[0], s.ids[1], timeout=timeout),
    "move_to": lambda s, timeout: rl.move_to(s.lab, s.ids, deployment="latest", timeout=timeout),
    "plan": lambda s, timeout: rl.plan(s.lab, "cancel", s.ids, timeout=timeout),
    "redrive": lambda s, timeout: rl.redrive(s.lab, s.ids, timeout=timeout),
    "replay": lambda s, timeout: rl.replay(s.lab, s.ids, s.services, confirm=s.services, timeout=timeout),
    "restart": lambda s, timeout: rl.plan(s.lab, "restart_as_new", s.ids, timeout=timeout),
    "save_dataset": lambda s, timeout: rl.save_dataset(s.lab, s.ids[:1], s.folder / "x.jsonl", timeout=timeout),
    "state": lambda s, timeout: rl.state(s.lab, "Inventory", "mug", timeout=timeout),
    "wait_for": lambda s, timeout: rl.wait_for(s.lab, s.ids, until=_second_poll(), timeout=timeout),
    "waits": lambda s, timeout: rl.waits(s.lab, timeout=timeout),
}


@pytest.fixture
def bench(newest: Cluster, tmp_path: Path) -> Iterator[TimeoutBench]:
    with rl.connect(newest.admin_url, audit=tmp_path / "audit") as lab:
        ids = list(lab.sql("SELECT id FROM sys_invocation ORDER BY created_at LIMIT 2")["id"])
        yield TimeoutBench(lab, ids, tmp_path, next(iter(lab.admin.list_deployments())).uri.rstrip("/"))


@pytest.fixture
def silent(bench: TimeoutBench) -> Iterator[TimeoutBench]:
    fault = Fault(where=b"POST /query", times=float("inf"), passes=0, end="silence")
    with tcp_relay(bench.lab.settings.admin_url, fault=fault) as line:
        with rl.connect(line.url, audit=bench.folder / "audit") as lab:
            yield TimeoutBench(lab, bench.ids, bench.folder, bench.services)


@pytest.fixture
def slow(bench: TimeoutBench) -> Iterator[TimeoutBench]:
    def delay(request: httpx.Request) -> None:
        time.sleep(SLOW if request.url.path == "/query" else 0)

    with connect_through(Proxy(before=delay), bench.lab.settings.admin_url, bench.folder / "audit") as lab:
        yield TimeoutBench(lab, bench.ids, bench.folder, bench.services)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_silent_connection_ends_each_verb_with_timed_out(
    bench: TimeoutBench, silent: TimeoutBench, verb: Verb
) -> None:
    with pytest.raises(TimedOut, match="timeout="):
        verb(silent, "300ms")
    verb(bench, "60s")


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_the_timeout_is_for_the_whole_call(slow: TimeoutBench, verb: Verb) -> None:
    with pytest.raises(TimedOut, match=r"did not finish within its timeout of 1s|no response within the time|timeout="):
        verb(slow, 1.0)


def test_why_raises_where_it_cannot_read_the_invocation(silent: TimeoutBench) -> None:
    with pytest.raises(TimedOut, match="timeout="):
        rl.why(silent.lab, silent.ids[0], timeout="300ms")


def test_the_doctor_waits_for_a_silent_server_as_long_as_it_may(silent: TimeoutBench) -> None:
    started = time.monotonic()
    with pytest.raises(TimedOut, match="no response within"):
        rl.doctor(silent.lab, timeout="3s")
    assert time.monotonic() - started < 2 * 3


def test_the_doctor_and_the_report_name_the_reads_that_failed(slow: TimeoutBench) -> None:
    assert rl.doctor(slow.lab, timeout=1.5).verdict == "incomplete"
    page = rl.incident_report(slow.lab, slow.folder / "report.html", timeout="3s").read_text()
    assert "Not read: Wait-for graph: incident_report did not finish" in page
    assert "incident_report did not finish within its timeout of 3s" in page


def test_nothing_is_sent_once_the_time_is_over(slow: TimeoutBench) -> None:
    """set_state reads the state before it changes it: if the read is too late, nothing is changed."""
    with pytest.raises(TimedOut):
        rl.set_state(slow.lab, "Inventory", "mug", {"on_hand": 1}, reason="INC-1", timeout="1s")
    assert audit_log(slow.folder / "audit").empty


def test_a_plan_that_was_made_is_executed_without_its_timeout(bench: TimeoutBench) -> None:
    plan = rl.plan(bench.lab, "cancel", bench.ids, timeout="2s")
    time.sleep(2.1)
    assert len(plan.execute(reason="INC-1")) == len(plan.targets)
