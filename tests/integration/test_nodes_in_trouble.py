"""Three nodes with ten thousand invocations, one node is killed: each result is right, or one clear error."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from restate_lab.errors import RestateLabError
from support import wait_services
from support.bench import wait_for, wait_until_served
from support.bulk import READY, SERVICES
from support.demo.nodes import Node, Nodes

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(600)]

AT_ONCE = 500  # calls that one invocation sends
SENT = {"later": 5000, "answer": 3000, "wait": 1500}
WAITERS, FAILING = 480, 20
RIGHT_WITHIN = 60.0  # seconds from the death of a node; a few are usual
STAYS_RIGHT = 5.0  # seconds in which each result is read repeatedly
COUNT = "SELECT status, count(*) AS n FROM sys_invocation GROUP BY status ORDER BY status"
SELECTED = """SELECT id FROM sys_invocation
WHERE status = :status AND target_service_name = :service AND target_handler_name = :handler ORDER BY id"""
Ask = Callable[[Lab], Any]


@dataclass
class Answers:
    """The results of one question after a node died or came back: when they came, and their errors."""

    right_after: float | None = None
    quickest: float = math.inf  # seconds of a right result
    errors: dict[str, float] = field(default_factory=dict)
    wrong: list[tuple[float, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def nodes(server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Give three nodes with ten thousand invocations: scheduled, completed, suspended, waiting for a key, failing."""
    folder = tmp_path_factory.mktemp("nodes-in-trouble")
    bulk, bulk_uri = start_services(folder, SERVICES)
    (folder / "waits").mkdir()
    waits, waits_uri = start_services(folder / "waits", wait_services.__file__)
    with bulk, waits, Nodes(server, folder / "nodes") as running, _connect(running.nodes[0]) as lab:
        for uri in (bulk_uri, waits_uri):
            lab.admin.create_deployment(uri=uri)
        wait_until_served(lab, *READY)
        _populate(lab)
        yield running


def test_answers_after_the_death_and_the_return_of_a_node_are_right_or_one_clear_error(
    nodes: Nodes, record_property: Callable[[str, object], None]
) -> None:
    """The doctor, waits, why, a count and a plan never report less than there is, through any node that responds."""
    victim = nodes.nodes[1]
    with _connect(nodes.nodes[0]) as lab:
        questions = _questions(lab)
        truth = {name: ask(lab) for name, ask in questions.items()}
        assert truth == {name: ask(lab) for name, ask in questions.items()}
    phases = {
        "the death": (victim.kill, (nodes.nodes[0], nodes.nodes[2])),
        "the return": (victim.start, (nodes.nodes[2], victim)),
    }
    for phase, (change, asked) in phases.items():
        change()
        changed = time.monotonic()
        cases = {(name, node.name): node for name in questions for node in asked}
        with ThreadPoolExecutor(len(cases)) as pool:
            futures = {
                case: pool.submit(_ask_again, node, questions[case[0]], truth[case[0]], changed)
                for case, node in cases.items()
            }
            answers = {case: future.result() for case, future in futures.items()}
        for (name, node), each in answers.items():
            figure = f"{name} through {node}, seconds from {phase}"
            record_property(figure, each.right_after)
            sys.stdout.write(f"{figure}: {each.right_after}, asked for {each.quickest} s; errors: {each.errors}\n")
        assert {case: each.wrong for case, each in answers.items() if each.wrong} == {}
        assert all(each.right_after is not None for each in answers.values())


def _connect(node: Node) -> Lab:
    return rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=node.base_dir / "audit")


def _populate(lab: Lab) -> None:
    lab.ingress.send("Depot", "hold", key="dock")
    for number in range(FAILING):
        lab.ingress.send("Depot", "spoil", key=f"spoilt-{number}")
    calls = [(what, AT_ONCE) for what, count in SENT.items() for _ in range(0, count, AT_ONCE)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda call: lab.ingress.call("Bulk", "send", list(call), timeout=120), calls))
        list(pool.map(lambda _: lab.ingress.send("Depot", "take", key="dock"), range(WAITERS)))
    right = {
        "backing-off": FAILING,
        "completed": SENT["answer"] + len(calls) + 1,
        "pending": WAITERS,
        "scheduled": SENT["later"],
        "suspended": SENT["wait"] + 1,
    }
    wait_for(lambda: _count(lab), lambda counts: counts == right, within=240)


def _questions(lab: Lab) -> Mapping[str, Ask]:
    """Return the questions, each with a result that does not change by itself."""
    suspended = lab.sql(SELECTED, status="suspended", service="Bulk", handler="wait")["id"]
    waiters = lab.sql(SELECTED, status="pending", service="Depot", handler="take")["id"]
    ids = [*suspended, *waiters]
    return {
        "count": _count,
        "doctor": lambda lab: _diagnose(rl.doctor(lab)),
        "waits": lambda lab: _describe_waits(rl.waits(lab)),
        "why": lambda lab: _describe_chain(rl.why(lab, waiters[0])),
        "plan": lambda lab: rl.plan(lab, "cancel", ids).counts.to_dict("records"),
    }


def _count(lab: Lab) -> dict[str, int]:
    """Return the number of invocations in each status; a new leader retries those that back off at once."""
    statuses = lab.sql(COUNT, progress=False).replace({"status": {"ready": "backing-off", "running": "backing-off"}})
    return {str(status): int(n) for status, n in statuses.groupby("status")["n"].sum().items()}


def _diagnose(diagnosis: rl.Diagnosis) -> Any:
    """Return the findings, except the retries: a new leader counts the attempts anew."""
    _check_complete(diagnosis.not_read.query("applies")["reason"])
    findings = diagnosis.findings.query("check != 'retry_storm'")
    return sorted(zip(findings["check"], findings["where"], findings["count"], strict=True))


def _describe_waits(waits: rl.Waits) -> Any:
    _check_complete(waits.reasons)
    return waits.edges["kind"].value_counts().to_dict(), waits.blockers["total_waiting"].tolist()


def _describe_chain(explanation: rl.Explanation) -> Any:
    _check_complete(explanation.reasons)
    return explanation.chain[["id", "target", "status"]].to_dict("records")


def _check_complete(gaps: Iterable[str]) -> None:
    """Raise if a result reports that a part of it is missing."""
    if texts := list(gaps):
        raise RestateLabError(f"incomplete: {'; '.join(texts)}")


def _ask_again(node: Node, ask: Ask, right: Any, changed: float) -> Answers:
    """Ask until the result has been right for some seconds; keep other results, by the seconds since the change.

    Each time with a new connection, which does not know that a node was away.
    """
    answers = Answers()
    ends = changed + RIGHT_WITHIN
    while (began := time.monotonic()) < ends:
        try:
            with _connect(node) as lab:
                answer = ask(lab)
        except RestateLabError as error:
            answers.errors.setdefault(str(error), round(time.monotonic() - changed, 1))
            continue
        seconds = time.monotonic() - changed
        if answer != right:
            answers.wrong.append((round(seconds, 1), f"{answer} instead of {right}"))
            continue
        answers.quickest = min(answers.quickest, round(time.monotonic() - began, 1))
        if answers.right_after is None:
            answers.right_after = round(seconds, 1)
            ends = time.monotonic() + STAYS_RIGHT
    return answers
