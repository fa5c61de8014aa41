"""The incident and the healthy day: every role is where the story puts it, seen through plain SQL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.demo.stories.incident import FAULTS, INCIDENT, VICTIMS
from restate_lab.demo.stories.player import read_roles
from restate_lab.status import PAST_ONLY, STATUSES
from support.bench import wait_for
from support.clusters import NEWEST, PHASE, PLAIN, Cluster, running_demo
from support.demo.healthy import HEALTHY
from support.statuses import (
    expected_statuses,
    has_status,
    invocations,
    statuses,
    unexpected_invocations,
)

pytestmark = pytest.mark.server
OTHER_STATUSES = pytest.mark.also_on(
    PLAIN, reason="without vqueues a long back-off and a wait for a slot have another status"
)


@pytest.fixture
def lab(incident: Cluster) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url) as connected:
        yield connected


@OTHER_STATUSES
def test_every_role_has_its_status(incident: Cluster, lab: rl.Lab) -> None:
    now = statuses(lab)
    for id_, told in expected_statuses(INCIDENT, incident.roles).items():
        assert has_status(now[id_], told), (id_, now[id_], told)


def test_the_story_shows_every_status(lab: rl.Lab) -> None:
    without_limits = set(STATUSES) - {"ready", "yielded", *PAST_ONLY}
    for _ in range(50):
        missing = without_limits - set(statuses(lab).values())
        # With vqueues a long wait is shown as ready; short ones are between attempts most of the time.
        if not missing:
            return
        time.sleep(0.1)
    raise AssertionError(missing)


def test_nothing_is_wrong_without_a_role(incident: Cluster, lab: rl.Lab) -> None:
    assert unexpected_invocations(incident, lab, FAULTS | VICTIMS) == {incident.roles["rendering"]}


def test_the_good_day_has_had_hiccups(healthy: Cluster) -> None:
    """Every role is where the story puts it; three orders lost a first attempt and succeeded with the next."""
    with rl.connect(healthy.admin_url) as lab:
        now = statuses(lab)
        assert all(now[id_] == told for id_, told in expected_statuses(HEALTHY, healthy.roles).items())
        assert set(now.values()) == {"succeeded", "suspended", "scheduled", "failed", "cancelled"}
        erred = lab.sql("SELECT DISTINCT id FROM sys_journal_events WHERE event_type = 'TransientError'")
        callers = invocations(lab, list(erred["id"]), "invoked_by_id")["invoked_by_id"]
        assert set(callers) == set(healthy.ids("recovered"))


@OTHER_STATUSES
def test_saturated(saturated: Cluster) -> None:
    """Three wait until the server may run them: ready or, with vqueues, pending and blocked on its concurrency."""
    waiting = saturated.ids("waiting")
    with rl.connect(saturated.admin_url) as lab:
        assert set(invocations(lab, saturated.ids("busy"))["status"]) == {"running"}
        # One that was ready before a migration can stay ready for the server itself.
        words = {"pending", "ready"} if PHASE else {"pending" if saturated.vqueues else "ready"}
        assert set(invocations(lab, waiting)["status"]) <= words
        if saturated.vqueues:
            blocked = "SELECT head_entry_id AS id FROM sys_scheduler WHERE blocked_on = 'invoker-concurrency'"
            # The scheduler checks its queues repeatedly, and a queue that it checks is not blocked during the check.
            wait_for(lambda: set(lab.sql(blocked)["id"]), lambda ids: ids == set(waiting))
        if saturated.vqueues and not PHASE:
            queues = wait_for(lambda: rl.ask(lab, "queues"), lambda rows: rows["blocked_on"].notna().all())
            names = ("waiting", "running", "blocked_on", "slots_share")
            assert [queues[name].item() for name in names] == [3, 2, "invoker-concurrency", 1]


@pytest.mark.long  # starts a demo twice
def test_incident_is_kept(server: Path, tmp_path: Path) -> None:
    """A kept folder has the same incident the next time: deployments are found again, the removed one stays removed."""
    with running_demo(NEWEST, tmp_path, story=INCIDENT) as demo:
        roles, deployments = demo.roles, demo.api.deployments()
    with running_demo(NEWEST, tmp_path, story=INCIDENT) as demo:
        assert demo.roles == roles == read_roles(tmp_path)
        assert set(demo.api.deployments()) == set(deployments)
        wanted = {roles[step.role]: step.fails_with for step in INCIDENT if step.fails_with}
        wait_for(lambda: demo.api.failure_codes(wanted), lambda codes: codes == wanted, within=20)
