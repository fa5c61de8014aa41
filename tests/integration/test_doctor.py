"""The doctor on real servers of each kind: every planted fault by its ids, nobody else, and health where there is."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor_diagnosis import Diagnosis
from restate_lab.demo import hospital
from restate_lab.demo.incident import FAULTS, NOTES, VICTIMS
from restate_lab.errors import TimedOut, Truncated
from support.bench import wait_for
from support.clusters import Cluster

pytestmark = pytest.mark.server

CHECKS = {
    "storm_503": "retry_storms",
    "storm_timeout": "retry_storms",
    "agent_denver": "retry_storms",
    "hot_key_holder": "blocked_keys",
    "deadlock_pair": "deadlocks",
    "deadlock_ring": "deadlocks",
    "deadlock_self": "deadlocks",
    "paused": "paused",
    "paused_by_hand": "paused",
    "forgotten_awakeable": "awakeables",
    "pinned_to_removed": "removed_deployments",
    "asleep_on_removed": "removed_deployments",
    "unreachable": "unreachable_deployments",
    "mismatch": "journal_mismatches",
    "declined": "terminal_failures",
    "bad_address": "terminal_failures",
    "slow": "slow_handlers",
}
# An awakeable is forgotten when nobody has answered for an hour, which no test waits for.
NEEDS_TIME = {"forgotten_awakeable"}
LOOK_AHEAD = timedelta(hours=2)


@pytest.fixture
def lab(incident: Cluster) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url, read_only=True) as connected:
        yield connected


def of(diagnosis: Diagnosis, *severities: str) -> pd.DataFrame:
    return diagnosis.findings[diagnosis.findings["severity"].isin(severities)]


def named(frame: pd.DataFrame, column: str = "ids") -> set[str]:
    return {id_ for ids in frame[column] for id_ in ids}


def players(cluster: Cluster, *roles: str) -> set[str]:
    return {id_ for role in roles for id_ in cluster.ids(role)}


def settled(cluster: Cluster, lab: rl.Lab, **options: Any) -> Diagnosis:
    """Diagnose until every storm is old enough to be one: a story that has just been played has had few attempts."""
    wanted = players(cluster, *(set(FAULTS) - NEEDS_TIME))
    return wait_for(
        lambda: doctor(lab, **options),
        lambda diagnosis: wanted <= named(of(diagnosis, "critical", "warning")),
        within=30,
    )


def test_every_fault_is_named_at_once(incident: Cluster, lab: rl.Lab) -> None:
    """Each fault stands in a critical finding or a warning of its check with all its ids; what needs time is a note."""
    assert set(CHECKS) == set(FAULTS)
    diagnosis = settled(incident, lab)
    causes, notes = of(diagnosis, "critical", "warning"), of(diagnosis, "note")
    for role, check in CHECKS.items():
        frame = notes if role in NEEDS_TIME else causes
        assert players(incident, role) <= named(frame[frame["check"] == check]), role
    assert diagnosis.verdict == "critical"
    assert not diagnosis.not_checked["applies"].any(), diagnosis.not_checked.to_dict("records")


def test_every_fault_is_named_in_two_hours(incident: Cluster, lab: rl.Lab) -> None:
    """If nothing moved until then, everything planted is a cause, and every note still is one."""
    settled(incident, lab)
    diagnosis = doctor(lab, now=lab.now + LOOK_AHEAD)
    causes, notes = of(diagnosis, "critical", "warning"), of(diagnosis, "note")
    for role, check in CHECKS.items():
        assert players(incident, role) <= named(causes[causes["check"] == check]), role
    assert named(causes) <= players(incident, *FAULTS, *VICTIMS)
    # Deployments are the findings' own ids; who is pinned to one is asked for with the next step.
    assert players(incident, *(set(NOTES) - {"on_old_deployment"})) <= named(notes)


def test_nobody_else_is_blamed(incident: Cluster, lab: rl.Lab) -> None:
    """Critical findings and warnings hold faults and their victims alone, and each fault once."""
    causes = of(settled(incident, lab), "critical", "warning")
    assert named(causes) <= players(incident, *FAULTS, *VICTIMS)
    assert named(causes, "victims") <= players(incident, *VICTIMS)
    assert sum(map(len, causes["ids"])) == len(named(causes))
    assert (causes["count"] == causes["ids"].map(len)).all()


def test_victims_stand_with_their_cause(incident: Cluster, lab: rl.Lab) -> None:
    """The storm has its callers behind it, the key its queue, its callers and who opened it; ranks follow."""
    causes = of(settled(incident, lab), "critical", "warning")
    storm = causes[causes["what"].str.contains("charge card")].iloc[0]
    assert set(storm["ids"]) == players(incident, "storm_503", "storm_timeout")
    assert set(storm["victims"]) == players(incident, "storm_caller")
    assert (storm["severity"], storm["count"], storm["suffer"]) == ("critical", 15, 18)
    key = causes[causes["check"] == "blocked_keys"].iloc[0]
    assert set(key["victims"]) == players(incident, "hot_key_opener", "hot_key_queue", "hot_key_caller")
    assert (key["severity"], key["suffer"]) == ("critical", 18)
    assert "sign_1" in key["next_step"]
    assert set(causes.iloc[:2]["check"]) == {"retry_storms", "blocked_keys"}


def test_why_shows_the_rows_behind_it(incident: Cluster, lab: rl.Lab) -> None:
    """Every line under why is run as it stands, and has rows; about invocations, these are among them."""
    diagnosis = settled(incident, lab, now=lab.now + LOOK_AHEAD)
    for row in diagnosis.findings.to_dict("records"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Truncated)
            frame = eval(row["why"], {"rl": rl, "lab": lab})  # noqa: S307 - the line is what is tested
        assert len(frame), row["why"]
        ids = {id_ for id_ in row["ids"] if id_.startswith("inv_")}
        if "id" in frame and ids and row["check"] not in {"long_attempts", "blocked_keys"}:
            assert ids & set(frame["id"]), row["why"]


def test_next_steps_are_python(incident: Cluster, lab: rl.Lab) -> None:
    """Every next step is one call on ``rl`` or ``lab``."""
    for line in settled(incident, lab).findings["next_step"]:
        call = ast.parse(line, mode="eval").body
        assert isinstance(call, ast.Call), line
        assert ast.unparse(call.func).partition(".")[0] in {"rl", "lab"}, line


def test_numbers_and_causes_in_words(incident: Cluster, lab: rl.Lab) -> None:
    """What is said names handler, step, code, message, deployment and share."""
    told = "\n".join(settled(incident, lab).findings["what"])
    for part in (
        "15 invocations of Payments/charge retry the step “charge card”",
        "[RT0007] 9 × ProviderDown('HTTP 503",
        "2 deadlocks",
        "SEPA transfer returned AC04",
        incident.roles["loyalty_deployment"],
        incident.roles["courier_deployment"],
        "“scan label”",
        "7 invocations of Payments/charge failed for good: [402] card declined: insufficient_funds (order ord-#",
        "of it in the step “render pdf”",
    ):
        assert part in told, part


def test_healthy(healthy: Cluster) -> None:
    """On the good day nothing is critical or a warning, now and in two hours; it says what was checked."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        for now in (None, lab.now + LOOK_AHEAD):
            diagnosis = doctor(lab, now=now)
            assert of(diagnosis, "critical", "warning").empty, diagnosis
            assert diagnosis.verdict == "healthy"
        assert len(diagnosis.checked) >= 20
        assert (diagnosis.checked["seconds"] >= 0).all()


def test_crowded(crowded: Cluster) -> None:
    """Who waits for a slot is told as that: a note at first, a warning after a minute, critical after ten."""
    waiting = players(crowded, "waiting")
    with rl.connect(crowded.admin_url, read_only=True) as lab:
        started = lab.now
        for ahead, severity in ((timedelta(0), "note"), (timedelta(minutes=5), "warning"), (LOOK_AHEAD, "critical")):
            diagnosis = doctor(lab, now=started + ahead)
            found = diagnosis.findings[diagnosis.findings["check"].isin({"backlog", "blocked_queues"})]
            assert [set(ids) for ids in found["ids"]] == [waiting], diagnosis
            assert "slot of the invoker" in found["what"].iloc[0]
            if ahead:  # the fixture may be older than a minute by now
                assert found["severity"].iloc[0] == severity
            others = diagnosis.findings.drop(found.index)
            assert set(others["severity"]) <= {"note"}, diagnosis


@pytest.mark.parametrize("ahead", [timedelta(0), LOOK_AHEAD])
def test_a_second_scenario(second: Cluster, ahead: timedelta) -> None:
    """Under other names and numbers every fault is named, too, and nobody else is blamed."""
    faults = players(second, *hospital.FAULTS)
    with rl.connect(second.admin_url, read_only=True) as lab:
        wait_for(lambda: doctor(lab), lambda seen: faults <= named(of(seen, "critical", "warning")), within=30)
        causes = of(doctor(lab, now=lab.now + ahead), "critical", "warning")
    assert faults <= named(causes)
    assert named(causes) <= faults | players(second, *hospital.VICTIMS)
    assert named(causes, "victims") <= players(second, *hospital.VICTIMS)


class Deaf:
    """A lab whose reads of one table take too long."""

    def __init__(self, lab: rl.Lab, table: str) -> None:
        self._lab, self._table = lab, table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)

    def sql(self, statement: str, /, **options: Any) -> pd.DataFrame:
        if self._table in statement:
            raise TimedOut(f"no answer about {self._table}")
        return self._lab.sql(statement, **options)


@pytest.mark.parametrize("table", ["sys_invocation_state", "sys_deployment", "FROM state"])
def test_one_deaf_table_is_no_health(healthy: Cluster, table: str) -> None:
    """The same good day with one table that does not answer is incomplete, and says which checks lack it."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        diagnosis = doctor(Deaf(lab, table))
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_checked[diagnosis.not_checked["applies"]]
    assert 0 < len(missing) < len(diagnosis.checked) + len(missing)
    assert set(missing["reason"]) == {f"no answer about {table}"}


def test_deaf_waits_do_not_hide_a_storm(incident: Cluster, lab: rl.Lab) -> None:
    """Where nobody can say who waits, what fails is told all the same."""
    settled(incident, lab)
    diagnosis = doctor(Deaf(lab, "sys_journal"))
    storms = diagnosis.findings[diagnosis.findings["check"] == "retry_storms"]
    # With vqueues the reason of a retry is only in the journal's events, so that storms cannot be told either.
    if incident.vqueues:
        assert "retry_storms" in set(diagnosis.not_checked["check"])
    else:
        assert players(incident, "storm_503") <= named(storms)
    assert "deadlocks" in set(diagnosis.not_checked["check"])
    assert diagnosis.verdict == "critical"


def test_a_short_budget_is_kept_and_said(healthy: Cluster) -> None:
    """What no longer fits is not checked, and the time is not overrun by much."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        diagnosis = doctor(lab, budget="1ms")
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_checked[diagnosis.not_checked["applies"]]
    assert (missing["reason"] == "the budget of 1ms was used up").any()
