"""The doctor on real servers of each kind: every planted fault by its ids, no others, and health where it applies."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.doctor.model import MAX_TERMS, Finding
from restate_lab.cli import app
from restate_lab.cli._options import SourceOptions
from restate_lab.cli.shell_code import commands
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import RestateServer
from restate_lab.demo.stories import incident as incident_story
from restate_lab.errors import TimedOut, Truncated
from restate_lab.source import SourceWrapper
from support.bench import once_served, wait_for
from support.clusters import NEWEST, PLAIN, Cluster, Clusters, server_binary
from support.every_status import SERVICES as STATUS_SERVICES

pytestmark = pytest.mark.server
OTHER_TABLES = pytest.mark.also_on(PLAIN, reason="without vqueues what is ready or waits for a slot is in other tables")

LOOK_AHEAD = timedelta(hours=2)


INCIDENT = {
    "storm_503": "retry_storm",
    "storm_timeout": "retry_storm",
    "agent_denver": "retry_storm",
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
    "refused_settlement": "terminal_failures",
    "slow": "slow_handlers",
}
"""The check that reports each planted fault."""
NOTED = frozenset(incident_story.NOTES) - {"on_old_deployment"}
"""The notes that are reported by their own ids; deployments have their own ids."""
# An awakeable counts as forgotten after an hour without a response, and no test waits that long.
NEEDS_TIME = frozenset({"forgotten_awakeable"})


def of(diagnosis: Diagnosis, *severities: str) -> pd.DataFrame:
    return diagnosis.findings[diagnosis.findings["severity"].isin(severities)]


def named(frame: pd.DataFrame, column: str = "ids") -> set[str]:
    return {id_ for ids in frame[column] for id_ in ids}


def players(cluster: Cluster, *roles: str) -> set[str]:
    return {id_ for role in roles for id_ in cluster.ids(role)}


class Reached:
    """Replaces ``rl``, and keeps the ids that a plan would act on."""

    def __init__(self) -> None:
        self.selections: list[list[str]] = []

    def plan(self, lab: rl.Lab, action: str, ids: list[str]) -> None:
        self.selections.append(ids)

    def move_to(self, lab: rl.Lab, ids: list[str], *, deployment: str) -> None:
        self.selections.append(ids)


FEW_CHANGES = 5  # the minimum of next steps that change something: those of deadlocks, paused and removed ones


def test_every_fault_has_its_check() -> None:
    assert set(INCIDENT) == set(incident_story.FAULTS)


@pytest.mark.also_on(PLAIN, reason="without vqueues the SQL is another")
class TestIncident:
    """The order system on a bad day."""

    @pytest.fixture(scope="class")
    @classmethod
    def lab(cls, incident: Cluster) -> Iterator[rl.Lab]:
        with rl.connect(incident.admin_url, read_only=True) as connected:
            yield connected

    @pytest.fixture(scope="class")
    @classmethod
    def now(cls, incident: Cluster, lab: rl.Lab) -> Diagnosis:
        """Diagnose until every storm is old enough to be one, and no check runs out of time on this machine."""
        wanted = {role: check for role, check in INCIDENT.items() if role not in NEEDS_TIME}

        def is_told(seen: Diagnosis) -> bool:
            causes = of(seen, "critical", "warning")
            by_check = {check: named(causes[causes["check"] == check]) for check in set(wanted.values())}
            return all(players(incident, role) <= by_check[check] for role, check in wanted.items())

        return wait_for(lambda: doctor(lab), is_told, within=60)

    @pytest.fixture(scope="class")
    @classmethod
    def ahead(cls, now: Diagnosis, lab: rl.Lab) -> Diagnosis:
        """Diagnose the cluster as it would be if nothing moved."""
        return doctor(lab, now=now.read_at + LOOK_AHEAD)

    def test_every_fault_is_named_at_once(self, incident: Cluster, now: Diagnosis) -> None:
        """Each fault is critical or a warning of its check, with all its ids; faults that need time are notes."""
        causes, notes = of(now, "critical", "warning"), of(now, "note")
        for role, check in INCIDENT.items():
            frame = notes if role in NEEDS_TIME else causes
            assert players(incident, role) <= named(frame[frame["check"] == check]), role
        assert now.verdict == now.worst == "critical"
        assert not now.not_read["applies"].any(), now.not_read.to_dict("records")

    def test_titles_are_short(self, now: Diagnosis, ahead: Diagnosis) -> None:
        titles = [*now.findings["title"], *ahead.findings["title"]]
        assert [title for title in titles if len(title.split()) > MAX_TERMS or title.endswith("…")] == []
        assert [title for title in titles if "[" in title] == []

    def test_every_fault_is_named_in_two_hours(self, incident: Cluster, ahead: Diagnosis) -> None:
        """If nothing moves until then, every planted fault is a cause, and every note is still a note."""
        causes, notes = of(ahead, "critical", "warning"), of(ahead, "note")
        for role, check in INCIDENT.items():
            assert players(incident, role) <= named(causes[causes["check"] == check]), role
        assert named(causes) <= players(incident, *INCIDENT, *incident_story.VICTIMS)
        assert players(incident, *NOTED) <= named(notes)

    def test_nobody_else_is_blamed(self, incident: Cluster, now: Diagnosis) -> None:
        """Critical findings and warnings contain only faults and their victims, and each fault once."""
        causes = of(now, "critical", "warning")
        assert named(causes) <= players(incident, *INCIDENT, *incident_story.VICTIMS)
        assert named(causes, "blocked") <= players(incident, *incident_story.VICTIMS)
        assert sum(map(len, causes["ids"])) == len(named(causes))
        assert (causes["count"] == causes["ids"].map(len)).all()

    def test_notes_are_only_notes(self, incident: Cluster, now: Diagnosis) -> None:
        causes = of(now, "critical", "warning")
        assert not (named(causes) | named(causes, "blocked")) & players(incident, *incident_story.NOTES)

    def test_a_next_step_reaches_exactly_its_finding(self, lab: rl.Lab, now: Diagnosis) -> None:
        """A next step changes exactly the finding's ids; for a deadlock, one of its ids."""
        told = Reached()
        lines = [code.splitlines() for code in now.findings["suggested_code"]]
        assert list(map(len, lines)) == list(map(len, now.suggested_calls))
        assert all(lines)
        for row in now.findings.to_dict("records"):
            before = len(told.selections)
            for line in re.findall(r"rl\.(?:plan|move_to)\([^#\n]*\)", row["suggested_code"]):
                eval(line, {"rl": told, "lab": lab, "diagnosis": now})  # noqa: S307 - the line is what is tested
            for ids in told.selections[before:]:
                wanted = set(row["ids"])
                is_meant = set(ids) < wanted if row["check"] == "deadlocks" else set(ids) == wanted
                assert is_meant, row["suggested_code"]
        assert len(told.selections) >= FEW_CHANGES

    def test_why_shows_the_rows_behind_it(self, lab: rl.Lab, ahead: Diagnosis) -> None:
        """Every statement under why runs unchanged and has rows; for invocations, the finding's ids are among them."""
        for row in ahead.findings.to_dict("records"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Truncated)
                frame = eval(row["evidence_code"], {"rl": rl, "lab": lab})  # noqa: S307 - the line is what is tested
            assert len(frame), row["evidence_code"]
            ids = {id_ for id_ in row["ids"] if id_.startswith("inv_")}
            if "id" in frame and ids and row["check"] not in {"long_attempts", "blocked_keys"}:
                assert ids & set(frame["id"]), row["evidence_code"]

    def test_victims_stand_with_their_cause(self, incident: Cluster, now: Diagnosis) -> None:
        """The storm lists its callers, and the key lists its queue, its callers and its opener; the ranks follow."""
        causes = of(now, "critical", "warning")
        storm = causes[causes["title"].str.contains("charge card")].iloc[0]
        assert set(storm["ids"]) == players(incident, "storm_503", "storm_timeout")
        assert set(storm["blocked"]) == players(incident, "storm_caller")
        assert (storm["severity"], storm["count"], storm["affected"]) == ("critical", 15, 18)
        key = causes[causes["check"] == "blocked_keys"].iloc[0]
        assert set(key["blocked"]) == players(incident, "hot_key_opener", "hot_key_queue", "hot_key_caller")
        assert (key["severity"], key["affected"]) == ("critical", 18)
        assert "sign_1" in key["suggested_code"]
        assert set(causes.iloc[:2]["check"]) == {"retry_storm", "blocked_keys"}

    def test_numbers_and_causes_in_words(self, incident: Cluster, now: Diagnosis) -> None:
        """Title and details name handler, step, code, message, deployment and share."""
        told = "\n".join(now.findings["title"] + "\n" + now.findings["details"])
        for part in (
            "15 invocations of Payments/charge retry the step “charge card”",
            "[RT0007] 9 × ProviderDown('HTTP 503",
            "2 deadlocks of Warehouse: ",
            "1 deadlock of Warehouse: porto with itself",
            "SEPA transfer returned AC04",
            incident.roles["loyalty_deployment"],
            incident.roles["courier_deployment"],
            "“scan label”",
            "7 invocations of Payments/charge failed permanently; ",
            "[402] card declined: insufficient_funds (order ord-#",
            "of it in the step “render pdf”",
        ):
            assert part in told, part

    def test_a_check_gets_all_registered_handlers(self, lab: rl.Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """The Admin API also lists handlers that were never called, and a check reads it through wrappers."""
        seen: dict[str, set[str]] = {}

        def read_handlers(context: CheckContext) -> list[Finding]:
            seen.update(context.handlers)
            return []

        monkeypatch.setitem(CHECKS, "handlers", Check("handlers", "registered handlers", 0.1, read_handlers))
        assert doctor(SourceWrapper(lab), checks="handlers").verdict == "healthy"
        services = lab.admin.list_services()
        assert seen == {service.name: {each.name for each in service.handlers or ()} for service in services}

    @pytest.mark.usefixtures("now")
    def test_deaf_waits_do_not_hide_a_storm(self, incident: Cluster, lab: rl.Lab) -> None:
        """If the waits are unknown, failures are still reported, and the verdict is incomplete."""
        diagnosis = doctor(Deaf(lab, "sys_journal"))
        # The reason of a retry can be only in the journal's events, so that storms are unknown too.
        assert {"retry_storm", "deadlocks"} <= set(diagnosis.not_read["part"])
        assert (diagnosis.verdict, diagnosis.worst) == ("incomplete", "critical")


@pytest.mark.long
def test_every_command_runs(clusters: Clusters, restate_cli: Path) -> None:
    """Each suggestion that has a command runs: ours end with 0, and those of Restate's CLI ask before a change."""
    url = clusters.get(NEWEST, "incident").admin_url
    with rl.connect(url, read_only=True) as lab:
        diagnosis = doctor(lab)
    found = [commands(calls, SourceOptions(url)) for calls in diagnosis.suggested_calls]
    found += [commands([call], SourceOptions(url)) for call in diagnosis.evidence_calls]
    lines = {line for each in found for line in each or [] if not line.startswith("#")}
    ours = [line for line in lines if line.startswith("restate-lab ") and "…" not in line]
    assert len(ours) > 10
    for line in ours:
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == (3 if line.startswith("restate-lab waits") else 0), (line, done.stderr)
    theirs = {line for line in lines.difference(ours) if "…" not in line and not line.startswith("curl ")}
    assert theirs
    for line in theirs:
        done = in_a_shell(line, restate_cli)
        is_change = re.search("restate deployments remove ", line)
        assert (done.returncode, "User aborted" in done.stderr) == ((1, True) if is_change else (0, False)), done


def in_a_shell(line: str, cli: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": f"{cli.parent}:{os.environ['PATH']}"}
    env.pop("CI", None)  # with it the CLI takes every answer for yes
    return subprocess.run(
        ["/bin/sh", "-c", line], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_healthy(healthy: Cluster) -> None:
    """On the good day nothing is critical or a warning, now and in two hours; the checks that ran are listed."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        for now in (None, lab.now + LOOK_AHEAD):
            diagnosis = doctor(lab, now=now)
            assert of(diagnosis, "critical", "warning").empty, diagnosis
            assert diagnosis.verdict == "healthy"
        assert len(diagnosis.checked) >= 20
        assert (diagnosis.checked["seconds"] >= 0).all()


@OTHER_TABLES
def test_saturated(saturated: Cluster) -> None:
    """Invocations that wait for a slot are normal at first, a warning after a minute, and critical after ten."""
    waiting = players(saturated, "waiting")
    with rl.connect(saturated.admin_url, read_only=True) as lab:
        started = lab.now
        assert doctor(lab, checks=["backlog", "blocked_queues"], thresholds={"waiting": "5h"}).findings.empty
        for ahead, severity in ((timedelta(minutes=5), "warning"), (LOOK_AHEAD, "critical")):
            diagnosis = doctor(lab, now=started + ahead)
            found = diagnosis.findings[diagnosis.findings["check"].isin({"backlog", "blocked_queues"})]
            assert [set(ids) for ids in found["ids"]] == [waiting], diagnosis
            assert "slot of the invoker" in found["title"].iloc[0]
            assert found["severity"].iloc[0] == severity
            others = diagnosis.findings.drop(found.index)
            assert set(others["severity"]) <= {"note"}, diagnosis
        # Each of them waits for something that the scheduler reports.
        assert doctor(lab, checks="scheduler_gaps", thresholds={"ready_for": "0s"}).findings.empty


@pytest.mark.long
def test_without_a_scheduler_each_ready_invocation_is_found(tmp_path: Path) -> None:
    """A worker that runs without its scheduler starts nothing, and the finding names the option that causes it."""
    settings = {"RESTATE_WORKER__DISABLE_SCHEDULER": "true"}
    services, uri = start_services(tmp_path, str(STATUS_SERVICES))
    with services, RestateServer(server_binary(NEWEST), env=settings) as server:
        with rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=tmp_path / "audit") as lab:
            lab.admin.create_deployment(uri=uri)
            id_ = once_served(lambda: lab.ingress.send("Every", "greet", "x")).invocation_id
            diagnosis = wait_for(
                lambda: doctor(lab, thresholds={"ready_for": "1s"}), lambda seen: not seen.findings.empty
            )
    (row,) = diagnosis.findings.to_dict("records")
    assert (row["check"], row["ids"]) == ("scheduler_gaps", [id_])
    assert "worker.disable-scheduler" in row["details"]


class Deaf(SourceWrapper):
    def __init__(self, lab: rl.Lab, table: str) -> None:
        super().__init__(lab)
        self._table = table

    def stream(self, statement: str, /, **options: Any) -> Any:
        if self._table in statement:
            raise TimedOut(f"no answer about {self._table}")
        return super().stream(statement, **options)


@pytest.mark.parametrize("table", ["sys_invocation_state", "sys_deployment", "FROM state"])
def test_one_deaf_table_is_no_health(healthy: Cluster, table: str) -> None:
    """The same good day with one table that does not respond is incomplete, and names the affected checks."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        diagnosis = doctor(Deaf(lab, table))
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_read[diagnosis.not_read["applies"]]
    assert 0 < len(missing) < len(diagnosis.checked) + len(missing)
    assert set(missing["reason"]) == {f"no answer about {table}"}


def test_a_short_timeout_is_kept_and_said(healthy: Cluster) -> None:
    """Checks without enough time left do not run, and the timeout is exceeded only slightly."""
    with rl.connect(healthy.admin_url, read_only=True) as lab:
        diagnosis = doctor(lab, timeout="1ms")
    assert diagnosis.verdict == "incomplete"
    missing = diagnosis.not_read[diagnosis.not_read["applies"]]
    assert (missing["reason"] == "the timeout of 1ms is over").any()
