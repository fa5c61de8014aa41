"""Random interrupts of real sessions; ``tests/faults/interrupts.py`` sends a thousand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from support.fault_verbs import FaultWorld as Faulty
from support.interrupted import InterruptField
from support.interrupts import VERBS, InterruptWorld

pytestmark = pytest.mark.server

WARM = ("sql", "set_state", "execute", "doctor", "plot_status")
LIBRARIES = {"pandas", "numpy", "pyarrow", "matplotlib", "networkx", "datafusion", "jinja2", "nbconvert", "nh3",
             "ipywidgets", "anywidget", "pydantic", "httpx", "tqdm", "restate_lab"}  # fmt: skip
OURS = {"restate_lab.interrupts"}  # the module that holds interrupts back must be loaded first; it is a small module


@pytest.fixture
def place(ground: Faulty, tmp_path: Path) -> Iterator[InterruptField]:
    tests = Path(__file__).parents[1]
    waiting = ground.bulk.fill("wait", 2)
    ended = [next(ground.ended) for _ in range(100)]
    here = InterruptWorld(ground.lab.settings.admin_url, str(tmp_path), waiting, ground.holder, ground.waiter)
    ground.lab.ingress.call("Drawer", "put", {"n": 0}, key="first")
    yield InterruptField(here, ended, {"PYTHONPATH": f"{tests.parent}:{tests}", "MPLBACKEND": "agg"})
    rl.plan(ground.lab, "kill", waiting).execute(reason="the ground is shared")


def test_interrupts_of_a_warm_session_leave_it_usable_and_the_audit_log_complete(place: InterruptField) -> None:
    """After each interrupt the verb gives the right result, nothing is left open, and every change has its outcome."""
    report = place.warm(18, verbs=WARM)
    assert report.failures == []
    assert report.raised > 6
    changes, failures = place.audit_failures()
    assert failures == []
    assert changes > 6


@pytest.mark.long  # unit/test_interrupts.py has the rule for one library
def test_no_verb_loads_a_library_where_an_interrupt_reaches_it(place: InterruptField) -> None:
    """All verbs at their first use, one after the other: they load our libraries under a Shield."""
    rl.freeze(rl.connect(place.ground.url), place.ground.evidence, service="Depot", progress=False)
    verbs = [verb for verb in VERBS if verb not in {"watch", "plot_watch"}]
    report = place.session(place.order("trace", verbs, 0, 0))
    assert report.failures == []
    for verb, names in report.loaded.items():
        assert {name for name in names if name.partition(".")[0] in LIBRARIES} <= OURS, verb
