"""Failing steps with data in their names, and long waits for a next attempt, on real servers of both kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.ask import ask
from restate_lab.analysis.doctor import doctor
from support.bench import once_served, running_bench, wait_for
from support.clusters import KINDS

pytestmark = pytest.mark.server  # test_doctor.py also has failing steps without vqueues

SERVICES = Path(__file__).parents[1] / "support" / "step_services.py"
CITIES = ("Denver", "Paris", "Oslo", "New York", "Zürich", "東京")
DIFFERENT = ("charge card", "send email", "book flight", "pay")
SELDOM = 24


@pytest.fixture(scope="module", params=KINDS)
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[rl.Lab, Any]]:
    """Start a server on which the steps fail, and give its connection and the ids by handler."""
    with running_bench(request.param, tmp_path_factory.mktemp("steps"), SERVICES, ready=None, env={}) as bench:
        lab = bench.lab
        bodies = {
            **dict.fromkeys(("weather", "forecast", "pauses"), CITIES),
            "step": DIFFERENT,
            "seldom": CITIES * (SELDOM // len(CITIES)),
        }
        ids = {handler: {_send(lab, handler, body) for body in each} for handler, each in bodies.items()}
        yield lab, ids


def _send(lab: rl.Lab, handler: str, body: str | int, service: str = "Trips") -> str:
    return str(once_served(lambda: lab.ingress.send(service, handler, body)).invocation_id)


@pytest.fixture(scope="module")
def findings(sent: tuple[rl.Lab, Any]) -> dict[str, list[dict[str, Any]]]:
    """Diagnose until every storm is old enough to be one; return the findings by handler."""
    lab, ids = sent

    def told() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = doctor(lab).findings.to_dict("records")
        return found

    def is_complete(rows: list[dict[str, Any]]) -> bool:
        causes = {id_ for row in rows if row["severity"] != "note" for id_ in row["ids"]}
        return set().union(*ids.values()) <= causes

    rows = wait_for(told, is_complete, within=60)
    return {handler: [row for row in rows if row["where"] == f"Trips/{handler}"] for handler in ids}


@pytest.mark.parametrize("handler", ["weather", "forecast", "pauses"])
def test_six_cities_are_one_finding(sent: tuple[rl.Lab, Any], findings: Any, handler: str) -> None:
    (row,) = findings[handler]
    assert (row["severity"], set(row["ids"])) == ("critical", sent[1][handler])
    assert "the steps “get weather …”" in row["title"]
    assert "[RT0007] ValueError('no station in …')" in row["details"]
    assert "6 steps: “get weather " in row["details"]


def test_one_code_in_four_steps_is_one_finding_of_the_handler(sent: tuple[rl.Lab, Any], findings: Any) -> None:
    (row,) = findings["step"]
    assert set(row["ids"]) == sent[1]["step"]
    assert "retry 4 different steps" in row["title"]
    assert "4 steps: “book flight”, “charge card”, “pay”, “send email”." in row["details"]


def test_one_failure_and_half_a_day_to_wait(sent: tuple[rl.Lab, Any], findings: Any) -> None:
    """Invocations that failed once and are retried in twelve hours are critical because they are many."""
    (row,) = findings["seldom"]
    assert (row["check"], row["severity"], row["count"]) == ("retry_storm", "critical", SELDOM)
    assert set(row["ids"]) == sent[1]["seldom"]
    assert row["title"].endswith("up to 1 attempt")
    assert "The next attempt begins up to 1" in row["details"]


def test_next_steps_run_and_why_returns_the_rows_of_the_finding(sent: tuple[rl.Lab, Any], findings: Any) -> None:
    for rows in findings.values():
        for row in rows:
            frame = eval(row["evidence_code"], {"rl": rl, "lab": sent[0]})  # noqa: S307 - the line is what is tested
            assert set(row["ids"]) <= set(frame["id"])
            if row["check"] == "retry_storm":
                assert "RT0007" in str(eval(row["suggested_code"], {"rl": rl, "lab": sent[0]}))  # noqa: S307


@pytest.mark.usefixtures("findings")
def test_retry_storm_sums_up_what_the_doctor_groups(sent: tuple[rl.Lab, Any], tmp_path: Path) -> None:
    lab, _ = sent
    for ask_source in (lab, rl.open_evidence(rl.freeze(lab, tmp_path / "steps.evidence"))):
        frame = ask(ask_source, "retry_storm")
        rows = {
            (row["target_handler_name"], row["step"]): (row["invocations"], row["steps"], row["message"])
            for row in frame.to_dict("records")
        }
        told = (6, 6, "ValueError('no station in …')")
        assert rows.pop(("seldom", "get weather …")) == (SELDOM, 6, told[2])
        assert rows.pop(("weather", "get weather …")) == rows.pop(("forecast", "get weather …")) == told
        assert set(rows) == {("step", step) for step in DIFFERENT}


@pytest.mark.usefixtures("findings")
def test_a_deployment_that_loses_some_attempts(sent: tuple[rl.Lab, Any]) -> None:
    """It responds to others at the same time, and their messages, which differ only in numbers, are one kind."""
    lab, _ = sent
    for handler, numbers in (("ask", range(95, 115)), ("lost", range(3))):
        for number in numbers:
            _send(lab, handler, number, "Offices")

    def causes() -> dict[str, dict[str, Any]]:
        rows = doctor(lab, checks=["retry_storm", "unreachable_deployments"]).findings.to_dict("records")
        # The worst of each check: while connections are lost, some attempts of a handler are findings of their own.
        return {row["check"]: row for row in reversed(rows) if "Offices/" in row["title"] and row["count"] > 2}

    rows = wait_for(causes, lambda rows: len(rows) == 2 and rows["retry_storm"]["count"] > 8)
    storm, down = rows["retry_storm"], rows["unreachable_deployments"]
    assert "[RT0007] ValueError('office # answered 503 to request #')" in storm["details"]
    # A lost connection can end attempts of other handlers, too.
    lost, of = map(int, re.search(r" responds, but not to (\d+) of (\d+) invocations", down["title"]).groups())  # type: ignore[union-attr]
    assert lost == down["count"]
    assert 3 <= lost < of
    assert (down["severity"] in {"warning", "note"}, "so it is running" in down["details"]) == (True, True)
    assert "start it again" not in down["suggested_code"]
    frame = ask(lab, "retry_storm", service="Offices")
    messages = [each for each in frame[frame["target_handler_name"] == "ask"]["message"] if "office" in each]
    assert messages == ["ValueError('office # answered 503 to request #')"]
