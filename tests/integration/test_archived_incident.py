"""An archive of the incident answers like the live cluster about ended invocations, on every kind of server."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.client.sql.parts import complete_for
from restate_lab.errors import EvidenceWarning, NotOnThisServer
from support.clusters import Cluster

ABOUT_ENDED = ("latency", "latency_parts", "throughput", "terminal_failures", "repeated_idempotency_keys")
WITH_OPEN = ("largest_journals", "restarts")  # their rows are compared for the ended ones only


@pytest.fixture(scope="module")
def lab(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path_factory.mktemp("audit")) as lab:
        yield lab


@pytest.fixture(scope="module")
def history(lab: rl.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.History]:
    """Two visits with payloads, the second of which finds nothing new."""
    where = tmp_path_factory.mktemp("archive") / "history"
    for _ in range(2):
        visit = rl.archive(lab, where, cluster_name="incident", payloads=True)
        assert visit["outcome"].tolist() == ["complete"]
    with rl.open_history(where) as history:
        yield history


def rows_of(frame: pd.DataFrame, ids: set[str] | None = None) -> pd.DataFrame:
    """Return the rows in one order, as text; with ``ids``, only those of these invocations."""
    kept = frame if ids is None else frame[frame["id"].isin(ids)]
    return kept.astype(str).sort_values(list(kept.columns), ignore_index=True)


def _without_age(explanation: str) -> str:
    """Return how an invocation ended; the ages count from different times, and the cluster also says what it keeps."""
    return re.sub(r" \d[^.]*? ago ", " ", explanation.partition(" It is archived")[0].partition(" Its record")[0])


def test_each_cell_of_ended_invocations_entries_and_events_is_the_same(lab: rl.Lab, history: rl.History) -> None:
    ids = sorted(history.sql("SELECT id FROM sys_invocation")["id"])
    assert ids == sorted(lab.sql("SELECT id FROM sys_invocation WHERE status = 'completed'")["id"])
    for table in ("sys_invocation_status", "sys_invocation", "sys_journal", "sys_journal_events"):
        columns = ", ".join(f'"{each.column}"' for each in history.tables().itertuples() if each.table == table)
        order = (
            "appended_at, event_json" if table == "sys_journal_events" else '"index"' if "journal" in table else "id"
        )
        statement = f"SELECT {columns} FROM {table} WHERE id IN :ids ORDER BY id, {order}"
        pd.testing.assert_frame_equal(history.sql(statement, ids=ids), lab.sql(statement, ids=ids))


@pytest.mark.long  # test_evidence.py compares every question by day, with the same engine
def test_questions_journals_why_and_failures_are_the_same_as_on_the_cluster(lab: rl.Lab, history: rl.History) -> None:
    ended = set(history.sql("SELECT id FROM sys_invocation")["id"])
    for name in ABOUT_ENDED:
        live, archived = (rl.ask(each, name, limit=None, now=history.now) for each in (lab, history))
        in_vqueues = [column for column in live if column.startswith("blocked_on_")]  # an archive has no vqueues
        assert archived[in_vqueues].isna().all(axis=None)
        exact = [column for column in live if re.search("p[0-9]+_ms$", column)]  # a server returns an estimate
        others = [each.drop(columns=in_vqueues).assign(**each[exact].isna()) for each in (archived, live)]
        pd.testing.assert_frame_equal(*map(rows_of, others))
    for name in WITH_OPEN:
        live, archived = (rl.ask(each, name, limit=None, now=history.now) for each in (lab, history))
        pd.testing.assert_frame_equal(rows_of(archived, ended), rows_of(live, ended))
    for id_ in sorted(ended)[:20]:
        live, archived = (rl.journal(each, id_, payloads=True) for each in (lab, history))
        pd.testing.assert_frame_equal(archived, live)
        first, second = (_without_age(str(rl.why(each, id_))) for each in (lab, history))
        assert first == second
    findings = [rl.doctor(each, checks=["terminal_failures", "long_journals"]).findings for each in (lab, history)]
    pd.testing.assert_frame_equal(*[each[["check", "title", "count", "where"]] for each in findings])
    runs = rl.agent_runs(history)
    pd.testing.assert_frame_equal(rows_of(runs), rows_of(rl.agent_runs(lab, ids=list(runs["id"]))))


def test_steps_are_paired_without_json(history: rl.History) -> None:
    """An archive's own column pairs the same entries as the JSON of the entries."""
    statement = "-- with: run_entries\nSELECT * FROM run_entries ORDER BY id, completion_id, entry_type"
    names = {*history.tables()["table"]}
    without, own = (complete_for(statement, has.__contains__) for has in (names - {"journal_entries"}, names))
    assert ("json_get" in without, "json_get" in own) == (True, False)
    entries = history.sql(own)
    assert len(entries) > 20
    pd.testing.assert_frame_equal(rows_of(entries), rows_of(history.sql(without)), check_flags=False)
    assert rl.ask(history, "slow_steps")["completed"].sum() > 10


def test_reports_evidence_comparisons_and_a_panel_read_a_history_and_name_its_period(
    history: rl.History, tmp_path: Path
) -> None:
    path = rl.Report("INC-42", source=history).add(rl.doctor(history)).write(tmp_path / "report.html")
    assert history.name in Path(path).read_text("utf-8")
    incident = Path(rl.incident_report(history, tmp_path / "incident.html")).read_text("utf-8")
    assert "only ended ones" in incident
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)
        rl.freeze(history, tmp_path / "frozen.evidence")
    with rl.open_evidence(tmp_path / "frozen.evidence") as evidence:
        assert rl.compare(evidence, history).invocations["change"].isin(["same"]).all()
    compared = rl.compare(history.at(history.now), history)
    assert not len(compared.invocations[compared.invocations["change"] != "same"])
    panel = rl.Panel(history)
    assert "on a history" in repr(panel)
    panel.close()


def test_a_replay_reads_an_archive_with_payloads(lab: rl.Lab, history: rl.History) -> None:
    runs = history.sql(
        "SELECT i.id, d.endpoint FROM sys_invocation i JOIN sys_deployment d ON d.id = i.pinned_deployment_id "
        "WHERE i.target_service_name = 'Orders' AND i.journal_size > 2 ORDER BY i.id LIMIT 5"
    )
    address = runs["endpoint"][0]
    verdicts = [rl.replay(each, runs["id"], address, confirm=address).rows for each in (lab, history)]
    assert len(verdicts[0]) == len(runs) > 0
    pd.testing.assert_frame_equal(*[each[["id", "verdict"]] for each in verdicts])


def test_each_question_about_open_invocations_is_refused(history: rl.History) -> None:
    refused: dict[str, Any] = {}
    for name in rl.questions(full=True).query("needs.str.contains('open invocations')")["name"]:
        with pytest.raises(NotOnThisServer) as error:
            rl.ask(history, name)
        refused[name] = str(error.value)
    assert len(refused) >= 14
