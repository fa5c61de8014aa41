"""Random interrupts of real sessions that have loaded their libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from support.fault_verbs import FaultBench
from support.interrupts import InterruptBench, InterruptField

pytestmark = pytest.mark.server

DAILY = ("sql", "set_state", "execute", "doctor", "plot_status")


@pytest.fixture
def place(bench: FaultBench, tmp_path: Path) -> Iterator[InterruptField]:
    tests = Path(__file__).parents[1]
    waiting = bench.bulk.fill("wait", 2)
    ended = [next(bench.ended) for _ in range(100)]
    here = InterruptBench(bench.lab.settings.admin_url, str(tmp_path), waiting, bench.holder, bench.waiter)
    bench.lab.ingress.call("Drawer", "put", {"n": 0}, key="first")
    yield InterruptField(here, ended, {"PYTHONPATH": f"{tests.parent}:{tests}", "MPLBACKEND": "agg"})
    rl.plan(bench.lab, "kill", waiting).execute(reason="the bench is shared")


@pytest.mark.long
def test_an_interrupted_session_stays_usable_and_its_audit_log_is_complete(place: InterruptField) -> None:
    """After each interrupt the verb gives the right result, nothing is left open, and every change has its outcome."""
    report = place.interrupt(18, verbs=DAILY)
    assert report.failures == []
    assert report.raised > 6
    changes, failures = place.audit_failures()
    assert failures == []
    assert changes > 6


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_interrupts_of_every_call(place: InterruptField) -> None:
    """The same for all verbs."""
    rl.freeze(rl.connect(place.bench.url), place.bench.evidence, service="Depot", progress=False)
    report = place.interrupt(150)
    assert report.failures == []
    assert report.raised > 50
    assert place.audit_failures()[1] == []
