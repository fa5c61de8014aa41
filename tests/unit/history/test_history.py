"""``open_history``: an archive as a Source, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.suggestions import ask_call
from restate_lab.cli import app
from restate_lab.errors import ArchiveBroken, ArgumentError, NotFound, NotOnThisServer, UnknownName
from restate_lab.history.commits import table_of_records
from restate_lab.history.store import ArchiveStore, locate_store
from restate_lab.history.tables import describe_changes, describe_conflicts, to_archive
from support.archives import DAY, SERVER_SCHEMA, SampleArchive, run
from support.sample_rows import SampleRows

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> SampleArchive:
    """Three days with two runs each, at 06:00 and 18:00; visits at 12:00 and 24:00."""
    archive = SampleArchive(tmp_path_factory.mktemp("archive") / "history")
    for number in range(6):
        ended = DAY + HOUR * (6 + 12 * number)
        archive.visit(ended + 6 * HOUR, [run(number, ended, completion_failure=None if number % 2 else "[500] no")])
    return archive


@pytest.fixture
def archive(three_days: SampleArchive, tmp_path: Path) -> SampleArchive:
    """Give the three days in a folder that the test may change."""
    return three_days.copied_to(tmp_path / "history")


def test_tables_have_the_names_and_types_of_the_server(archive: SampleArchive) -> None:
    with rl.open_history(archive.path) as history:
        there = {(row.table, row.column): row.type for row in history.tables().itertuples()}
    expected = {
        (table, name): kind
        for table, columns in json.loads(SERVER_SCHEMA)["tables"].items()
        for name, kind, _ in columns
    }
    never = {("sys_journal", "raw"), ("sys_journal", "entry_json")}
    assert {key: there.get(key) for key in expected.keys() - never} == {
        key: kind for key, kind in expected.items() if key not in never
    }
    assert {table for table, _ in there} - {table for table, _ in expected} == {
        *("visits", "samples", "agent_steps", "journal_entries")
    }


def test_times_durations_and_large_numbers_are_those_of_the_server(archive: SampleArchive) -> None:
    with rl.open_history(archive.path) as history:
        row = history.sql("SELECT * FROM sys_invocation_status ORDER BY completed_at").iloc[0]
        assert row["completed_at"] == DAY + 6 * HOUR
        assert row["completion_retention"] == timedelta(days=1)
        assert row["partition_key"] == 2**64 - 1
        assert history.sql("SELECT status FROM sys_invocation")["status"].unique().tolist() == ["completed"]
        assert history.now == DAY + 72 * HOUR + timedelta(seconds=1)


def test_runs_that_ended_outside_of_the_period_are_in_no_table(archive: SampleArchive) -> None:
    with rl.open_history(archive.path, since=DAY + 12 * HOUR, until=DAY + 60 * HOUR) as history:
        ids = sorted(history.sql("SELECT id FROM sys_invocation")["id"])
        assert ids == [run(number, DAY)["id"] for number in range(1, 5)]
        assert sorted(history.sql("SELECT DISTINCT id FROM sys_journal")["id"]) == ids
        assert history.now == DAY + 60 * HOUR


def test_an_earlier_run_has_its_own_id_which_why_and_journal_accept(archive: SampleArchive) -> None:
    again = DAY + 80 * HOUR
    archive.visit(again + HOUR, [run(0, again, took=timedelta(seconds=9))], repeated=[run(0, again)["id"]])
    newest, earlier = run(0, again)["id"], f"{run(0, again)['id']}@2026-11-20T05:59:59.000Z"
    with rl.open_history(archive.path) as history:
        ids = history.sql("SELECT id FROM sys_invocation")["id"]
        assert ids.is_unique
        assert {newest, earlier} <= set(ids)
        joined = history.sql("SELECT i.id, j.index FROM sys_invocation i JOIN sys_journal j ON j.id = i.id")
        assert len(joined) == 2 * len(ids)
        assert rl.journal(history, newest)["completed"].max() == again
        assert rl.journal(history, earlier)["completed"].max() == DAY + 6 * HOUR
        assert "9s after it was created" in rl.why(history, newest).summary
        assert "1s after it was created" in rl.why(history, earlier).summary
    with rl.open_history(archive.path, until=DAY + 75 * HOUR) as history:
        assert newest in set(history.sql("SELECT id FROM sys_invocation")["id"])


def test_only_files_of_the_period_are_read(archive: SampleArchive) -> None:
    """The files of the days between the first one and the period are gone."""
    ended = DAY + 84 * HOUR
    archive.visit(ended + HOUR, [run(6, ended)], samples=[{"sampled_at": ended + HOUR, "service": "Orders"}])
    for name in ("invocations", "journal", "events"):
        for file in archive.path.glob(f"{name}/cluster_name=prod/day=2026-11-2[12]/*.parquet"):
            file.unlink()
    with rl.open_history(archive.path, since=ended - HOUR) as history:
        assert list(history.sql("SELECT target FROM sys_invocation")["target"]) == ["Orders/place"]
        assert len(history.sql("SELECT id FROM sys_journal")) == 2
        assert history.at(ended + HOUR).coverage.since == ended - HOUR
        assert history.at(ended - timedelta(minutes=30)).sql("SELECT id FROM sys_invocation").empty


def test_no_run_of_a_growing_archive_is_removed_whatever_ids_its_runs_have(
    archive: SampleArchive, tmp_path: Path
) -> None:
    ids = [run(number, DAY)["id"] for number in (0, 1)]
    with rl.open_history(archive.path) as before:
        rl.freeze(before, tmp_path / "whole.evidence", progress=False)
        rl.freeze(before, tmp_path / "part.evidence", ids=ids, progress=False)
        again = DAY + 80 * HOUR
        archive.visit(again + HOUR, [run(number, again) for number in (0, 1)], repeated=ids)
        with (
            rl.open_history(archive.path) as after,
            rl.open_evidence(tmp_path / "whole.evidence") as whole,
            rl.open_evidence(tmp_path / "part.evidence") as part,
        ):
            for earlier, shared in ((before, 6), (after.at(DAY + 70 * HOUR), 6), (whole, 6), (part, 2)):
                found = rl.compare(earlier, after).invocations
                created = [(each, "created") for each in ids] if earlier is not part else []
                assert list(zip(found["id"], found["change"], strict=True)) == created, earlier
                assert found.attrs["in_both"] == shared


def test_a_history_at_a_time_has_the_runs_that_had_ended_and_counts_the_open_ones(archive: SampleArchive) -> None:
    archive.visit(DAY + 90 * HOUR, [run(9, DAY + 80 * HOUR, took=60 * HOUR)])
    with rl.open_history(archive.path) as history, history.at("2026-11-21T12:00:00Z") as then:
        assert then.now == DAY + 36 * HOUR
        assert len(then.sql("SELECT id FROM sys_invocation")) == 3
        assert then.sql("SELECT now() AS now")["now"][0] == then.now
        assert "1 invocation that ended later" in then._repr_html_()
        compared = rl.compare(then, history)
        assert "4 new" in str(compared) or compared.invocations is not None
        for outside in (DAY + 5 * HOUR, DAY + 200 * HOUR):
            with pytest.raises(ArgumentError, match="invocations that ended from 2026-11-20 06:00:00"):
                history.at(outside)


def test_a_history_at_a_time_reads_the_tables_that_are_open(
    archive: SampleArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rl.open_history(archive.path) as history:
        archive.visit(DAY + 70 * HOUR, [run(8, DAY + 30 * HOUR)])
        monkeypatch.setattr(ArchiveStore, "open", lambda *_: pytest.fail("a table was opened again"))
        with history.at(DAY + 60 * HOUR) as then:
            assert len(then.sql("SELECT id FROM sys_invocation")) == 5


def test_questions_about_open_invocations_and_payloads_are_refused_and_listed_by_the_doctor(
    archive: SampleArchive,
) -> None:
    with rl.open_history(archive.path) as history:
        for name in ("paused", "overview", "retry_storm", "waiting_on", "deployment_pins"):
            with pytest.raises(NotOnThisServer, match=f"the question {name} is about open invocations"):
                rl.ask(history, name)
        for statement in ("SELECT * FROM sys_inbox", "SELECT entry_json FROM sys_journal", "SELECT * FROM state"):
            with pytest.raises(NotOnThisServer, match=r"an archive has only|without payloads"):
                history.sql(statement)
        with pytest.raises(NotOnThisServer, match="only invocations that have ended"):
            rl.waits(history)
        diagnosis = rl.doctor(history)
        assert {"paused", "deadlocks", "retry_storm"} <= set(diagnosis.not_read["part"])
        assert {"terminal_failures", "restarts", "slow_handlers"} <= set(diagnosis.checked["check"])
        assert diagnosis.verdict == "incomplete"
        with pytest.raises(NotFound, match="no visit found it before the cluster removed it"):
            rl.journal(history, run(77, DAY)["id"])
        assert "no visit found it" in rl.why(history, run(77, DAY)["id"]).summary


def test_gaps_follow_from_visits_and_the_name_has_the_share_without_gaps(archive: SampleArchive) -> None:
    short = [
        {"service": "Orders", "handler": "place", "completion_retention_ms": 3_600_000, "journal_retention_ms": 0},
        {"service": "Orders", "handler": "list", "completion_retention_ms": 0, "journal_retention_ms": 0},
    ]
    archive.visit(DAY + 84 * HOUR, retention=short)
    archive.visit(DAY + 96 * HOUR)
    with rl.open_history(archive.path) as history:
        gaps = rl.ask(history, "coverage")
        assert ("Orders", "place") in set(zip(gaps["service"], gaps["handler"], strict=True))
        last = gaps[gaps["handler"] == "place"].iloc[-1]
        assert last["missing_until"] == DAY + 95 * HOUR
        share = history.name.partition("(")[2]
        assert history.name.startswith("prod @ 2026-11-20 to 2026-11-24 (")
        assert 0 < float(share.split()[0]) < 100
        assert rl.ask(history, "throughput").attrs["source"] == history.name
        assert "Orders/list" in history._repr_html_()
        for options in ({}, {"checks": "long_journals"}):
            diagnosis = rl.doctor(history, **options)  # type: ignore[arg-type]
            assert diagnosis.verdict == "incomplete"
            for text in (str(diagnosis), diagnosis._repr_html_()):
                assert "ended invocations may be missing of Orders/place (" in text
                assert "the cluster does not keep ended invocations of Orders/list" in text
    with rl.open_history(archive.path, since=DAY + 95 * HOUR) as history:
        assert "may be missing" not in str(rl.doctor(history))


def test_a_history_without_gaps_can_be_healthy(tmp_path: Path) -> None:
    archive = SampleArchive(tmp_path / "history")
    kept = {"service": "Orders", "handler": "place", "completion_retention_ms": 7_200_000, "journal_retention_ms": 0}
    archive.visit(DAY, retention=[kept])
    archive.visit(DAY + HOUR)
    with rl.open_history(archive.path) as history:
        assert rl.doctor(history, checks="long_journals").verdict == "healthy"


def test_a_history_until_a_time_has_the_deployments_that_were_created_before_it(archive: SampleArchive) -> None:
    archive.deploy("dp_2", "Orders", created=DAY + 30 * HOUR, seen=DAY + 36 * HOUR)
    archive.deploy("dp_3", "Bills", created=DAY + 30 * HOUR, seen=DAY + 40 * HOUR)
    archive.deploy("dp_3", "Bills", created=DAY + 30 * HOUR, seen=DAY + 60 * HOUR)
    expected = {
        29: (["dp_1"], {"Orders": "dp_1"}),
        31: (["dp_1", "dp_2", "dp_3"], {"Orders": "dp_1", "Bills": "dp_3"}),
        37: (["dp_1", "dp_2", "dp_3"], {"Orders": "dp_2", "Bills": "dp_3"}),
        None: (["dp_1", "dp_2", "dp_3"], {"Orders": "dp_2", "Bills": "dp_3"}),
    }
    for hour, (deployments, services) in expected.items():
        until = None if hour is None else DAY + hour * HOUR
        with rl.open_history(archive.path, until=until) as history:
            assert sorted(history.sql("SELECT id FROM sys_deployment")["id"]) == deployments, hour
            rows = history.sql("SELECT name, deployment_id FROM sys_service")
            assert dict(zip(rows["name"], rows["deployment_id"], strict=True)) == services, hour


def test_a_panel_lists_what_ended_and_its_other_views_are_one_line(archive: SampleArchive) -> None:
    with rl.open_history(archive.path) as history:
        panel = rl.Panel(history)
        try:
            assert (len(panel.frame), panel.state) == (6, {"status": "ended"})
            assert panel.view.grid.columns == ["status", "target", "failure", "created_at", "completed_at", "id"]
            panel.wait()
            assert [each["name"] for each in panel.view.strip.content["presets"]] == ["ended"]
            panel.click("status failed")
            panel.view.strip.receive({"type": "clear", "names": ["status"]})
            assert panel.state == {"status": "ended"}
            for view in ("overview", "queues", "state", "deployments"):
                panel.state = {"view": view}
                panel.refresh()
                assert (panel.error, panel.frame.empty) == ("", True)
                assert "history has " in "".join(panel.view.static())
        finally:
            panel.close()


def counts(at: datetime, status: str, number: int, oldest: datetime, **more: Any) -> dict[str, Any]:
    row = {"service": "Orders", "handler": "place", "status": status, "invocations": number}
    return row | {"sampled_at": at, "oldest_created_at": oldest} | more


def test_paused_invocations_and_old_queues_of_the_newest_sample_are_findings(archive: SampleArchive) -> None:
    with rl.open_history(archive.path) as history:
        reasons = rl.doctor(history).not_read.set_index("part")["reason"]
        assert "has no samples" in reasons["sampled_backlog"]
    old = DAY + 60 * HOUR
    last = DAY + 82 * HOUR
    for hour, paused, queued in ((80, 9, old + HOUR), (81, 3, old), (82, 4, old)):
        at = DAY + hour * HOUR
        rows = [
            counts(at, "paused", paused, old if hour > 80 else old - HOUR),
            counts(at, "inboxed", 12, queued),
            counts(at, "inboxed", 2, old, handler="few"),
            counts(at, "inboxed", 30, at - timedelta(minutes=2), handler="young"),
            counts(at, "invoked", 1, at - timedelta(minutes=5)),
            counts(at, "suspended", 50, old),
            counts(at, "completed", 6, DAY),
            counts(at, "inboxed", 11, at, handler=None, key="acme", oldest_created_at=None),
        ]
        rows += [counts(at, "invoked", 7, old, handler="slow")] if hour != 81 else []
        rows += [counts(at, "paused", 5, old, handler="over")] if hour < 82 else []
        archive.visit(at, samples=rows)
    with rl.open_history(archive.path) as history:
        diagnosis = rl.doctor(history, checks="sampled_backlog")
        assert "sampled_backlog" not in set(diagnosis.not_read["part"])
        findings = {row["where"] + " " + row["severity"]: row for row in diagnosis.findings.to_dict("records")}
        with history.at(DAY + 80 * HOUR + timedelta(minutes=1)) as then:
            titles = " ".join(rl.doctor(then, checks="sampled_backlog").findings["title"])
            assert "9 invocations of Orders/place were paused" in titles
    assert sorted(findings) == ["Orders/place warning", "Orders/slow note"]
    titles = list(diagnosis.findings["title"])
    assert len(titles) == 3
    start = "sample of 2026-11-23 10:00:00 UTC: "
    assert f"{start}4 invocations of Orders/place were paused, the oldest created 22h before" in titles
    assert f"{start}12 invocations of Orders/place were queued for a key, the oldest created 22h before" in titles
    details = " ".join(diagnosis.findings["details"])
    assert "same in 2 samples since 2026-11-23 09:00:00 UTC, with 3 invocations or more" in details
    assert "Longest queues of the service by key: acme (11)" in details
    assert findings["Orders/slow note"]["since"] == last, "there was a sample without it"
    assert "FROM samples" in diagnosis.findings["evidence_code"][0]


WEEK = timedelta(days=7)


def test_a_sample_counts_until_another_shard_has_counted_the_service(archive: SampleArchive) -> None:
    old, first, second = (DAY + hour * HOUR for hour in (60, 80, 81))
    of_first = [counts(first, "paused", 4, old), counts(first, "paused", 2, old, service="Carts", handler="add")]
    archive.visit(
        first,
        samples=[row | {"shard": "all"} for row in of_first],
        shard="all",
        services=["Carts", "Orders"],
        open_retention="[]",
    )
    with rl.open_history(archive.path) as history:
        assert set(rl.doctor(history, checks="sampled_backlog").findings["where"]) == {"Orders/place", "Carts/add"}
    archive.visit(second, shard="orders", services=["Orders"], open_retention="[]")
    with rl.open_history(archive.path) as history:
        assert list(rl.doctor(history, checks="sampled_backlog").findings["where"]) == ["Carts/add"]


def unused_handlers(context: CheckContext) -> list[Finding]:
    statement = """SELECT DISTINCT target_service_name AS service, target_handler_name AS handler
        FROM sys_invocation_status WHERE completed_at >= :since"""
    used = set(context.source.sql(statement, since=context.now - WEEK).itertuples(index=False, name=None))
    registered = {(service, handler) for service, handlers in context.handlers.items() for handler in handlers}
    unused = sorted("/".join(each) for each in registered - used)
    title = "no invocation ended in the last 7 days"
    calls: dict[str, Any] = {"evidence": ask_call("usage"), "suggested": ()}
    return [Finding(severity=Severity.NOTE, title=title, where=each, count=0, ids=(), **calls) for each in unused]


def test_a_check_of_a_period_needs_an_archive_of_this_time_and_knows_uncalled_handlers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check("unused_handlers", "handlers without an invocation", 1.6, unused_handlers, needs_period=WEEK)
    monkeypatch.setitem(CHECKS, "unused_handlers", check)
    archive = SampleArchive(tmp_path / "history")
    names = ("place", "cancel", "refund")
    retention = [{"service": "Orders", "handler": name, "completion_retention_ms": 86_400_000} for name in names]
    cancelled = run(1, DAY, target_handler_name="cancel")
    archive.visit(DAY + HOUR, [run(0, DAY), cancelled], retention=retention)
    archive.visit(DAY + 8 * 24 * HOUR, [run(2, DAY + 8 * 24 * HOUR - HOUR)])
    with rl.open_history(archive.path) as history:
        diagnosis = rl.doctor(history, checks="unused_handlers")
        assert list(diagnosis.findings["where"]) == ["Orders/cancel", "Orders/refund"]
        with history.at(DAY + 6 * 24 * HOUR) as young:
            (gap,) = rl.doctor(young, checks="unused_handlers").not_read.query("part != 'coverage'").itertuples()
    assert "ended in the last 7d, from an archive" in gap.reason
    assert not gap.applies
    (gap,) = rl.doctor(SampleRows(), checks="unused_handlers").not_read.itertuples()
    assert not gap.applies
    monkeypatch.setitem(CHECKS, "unused_handlers", replace(check, needs_period=None))
    (gap,) = rl.doctor(SampleRows(), checks="unused_handlers").not_read.itertuples()
    assert "Only the Admin API of a live cluster and an archive have them" in gap.reason


def test_an_archive_of_several_clusters_needs_a_name_and_suggests_the_nearest(archive: SampleArchive) -> None:
    other = SampleArchive(archive.path, "staging")
    other.visit(DAY, [run(0, DAY)])
    with pytest.raises(ArgumentError, match="has the clusters 'prod', 'staging'"):
        rl.open_history(archive.path)
    with pytest.raises(ArgumentError, match="no cluster 'stagin'"):
        rl.open_history(archive.path, cluster_name="stagin")
    with rl.open_history(archive.path, cluster_name="staging") as history:
        assert len(history.sql("SELECT id FROM sys_invocation")) == 1


def test_missing_empty_and_other_folders_and_newer_archives_are_refused(tmp_path: Path, archive: SampleArchive) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ArgumentError, match="has no archive"):
            rl.open_history(path)
        (tmp_path / "empty").mkdir(exist_ok=True)
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    with pytest.raises(ArchiveBroken, match="not an archive"):
        rl.open_history(tmp_path / "empty")
    with archive.newer_format(), pytest.raises(ArchiveBroken, match="update restate_lab"):
        rl.open_history(archive.path)
    failed = SampleArchive(tmp_path / "failed")
    failed.visit(DAY, outcome="failed", error="429")
    with pytest.raises(ArchiveBroken, match="no visit to prod was complete"):
        rl.open_history(failed.path)


def test_a_period_needs_a_length_and_deleting_needs_the_address(archive: SampleArchive) -> None:
    with pytest.raises(ArgumentError, match="must be before until"):
        rl.open_history(archive.path, since="1h", until="2h")
    with rl.open_history(archive.path, since="1ms") as history:
        assert history.coverage.since == history.coverage.until, "not after it"
        with pytest.raises(UnknownName, match="no column nowhere") as refused:
            history.sql("SELECT nowhere FROM sys_invocation")
        assert "evidence" not in str(refused.value)
    with rl.open_history(archive.path) as history, pytest.raises(ArgumentError, match="repeat the address"):
        history.delete_before("2026-11-22", confirm="yes")


def test_deleted_days_are_a_gap_of_each_handler_and_on_the_card(archive: SampleArchive) -> None:
    rows = [{"service": "Orders", "handler": "place", "completion_retention_ms": 10**9, "journal_retention_ms": 0}]
    archive.visit(DAY + 84 * HOUR, retention=rows)
    limit = DAY + 24 * HOUR
    with rl.open_history(archive.path) as history:
        with pytest.raises(ArgumentError, match="the last complete visit"):
            history.delete_before("2062-05-01", confirm=str(archive.path))
        history.delete_before("2026-11-21", confirm=str(archive.path))
    for taken_back in (False, True):
        with rl.open_history(archive.path, since=DAY) as history:
            (gap,) = [each for each in history.coverage.gaps if "deleted" in each.reason]
            assert (gap.handler, gap.since, gap.until) == ("place", DAY, limit)
            assert "runs before 2026-11-" in history._repr_html_()
            if not taken_back:
                history.delete_before("2026-11-01", confirm=str(archive.path))


def test_an_archive_without_ended_runs_opens(tmp_path: Path) -> None:
    """Tables get the server's columns with their first row; until then, questions, checks and views have answers."""
    store = locate_store(tmp_path / "new")
    store.create()
    record = {"cluster_name": "prod", "day": DAY.date(), "started_at": DAY, "ended_at": DAY, "outcome": "complete"}
    record |= {"server_schema": SERVER_SCHEMA, "server_version": "1.7.12", "payloads": False, "new_runs": 0}
    store.append(store.open("visits"), table_of_records([record]).drop_columns(["note"]), cluster="prod")
    with rl.open_history(store.where) as history:
        assert history.sql("SELECT id, target FROM sys_invocation").empty
        assert history.sql("SELECT d.* FROM sys_deployment d JOIN sys_service s ON d.id = s.deployment_id").empty
        assert history.sql("SELECT note FROM visits")["note"].isna().all()
        assert rl.ask(history, "coverage").empty
        assert rl.ask(history, "terminal_failures").empty
        assert rl.doctor(history).findings.empty
        assert "coverage unknown" in history._repr_html_()
        panel = rl.Panel(history)
        try:
            assert (panel.frame.empty, panel.error) == (True, "")
        finally:
            panel.close()


@pytest.mark.parametrize("shard", [None, "orders"])
def test_visits_whose_runs_are_not_in_a_copy_do_not_count(archive: SampleArchive, shard: str | None) -> None:
    """The other visits of the same shard, or of the whole cluster, count."""
    store = locate_store(archive.path)
    empty = pa.table({"cluster_name": pa.array([], pa.string())})
    store.append(store.open("invocations"), empty, cluster="prod", shard=shard, after=0, number=6)
    for hour, runs in ((80, 5), (81, 0)):
        archive.visit(DAY + hour * HOUR, new_runs=runs, shard=shard)
    with rl.open_history(archive.path) as history:
        assert history.now == DAY + 72 * HOUR + timedelta(seconds=1)
    archive.visit(DAY + 82 * HOUR, shard="carts")
    with rl.open_history(archive.path) as history:
        assert history.now == DAY + 82 * HOUR + timedelta(seconds=1)


def test_a_type_that_delta_does_not_have_is_stored_as_text_or_omitted_with_a_note(tmp_path: Path) -> None:
    values = {
        "half": pa.array([1.5], pa.float16()),
        "large": pa.array([Decimal(3)], pa.decimal256(50, 2)),
        "clock": pa.array([1], pa.time64("us")),
        "coded": pa.array(["a"]).dictionary_encode(),
        "several": pa.array([[1.5]], pa.list_(pa.float16())),
        "record": pa.array([{"a": 1}]),
        "pairs": pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())),
        "span": pa.array([None], pa.month_day_nano_interval()),
    }
    names = ("Float16", "Decimal256(50, 2)", "Time64(µs)", "Dictionary(Int32, Utf8)", "List(Float16)")
    kinds = dict(zip(values, (*names, 'Struct("a": Int64)', "Map(entries)", "Interval(MonthDayNano)"), strict=True))
    notes = list(describe_changes("sys_service", pa.table(values).schema))
    assert [note.split()[0].partition(".")[2] + " " + note.rpartition(" ")[2] for note in notes] == [
        *("large text", "clock text", "pairs stored", "span stored")
    ]
    schema = json.loads(SERVER_SCHEMA)
    schema["tables"]["sys_service"] += [[name, kind, True] for name, kind in kinds.items()]
    archive = SampleArchive(tmp_path / "history")
    archive.visit(DAY, server_schema=json.dumps(schema))
    store = locate_store(archive.path)
    own = {"cluster_name": ["prod"], "visit": [1], "first_seen_at": pa.array([DAY], pa.timestamp("us", "UTC"))}
    rows = to_archive(pa.table({"name": ["Odd"], **values}))
    store.append(store.open("services"), pa.table(own | {n: rows[n] for n in rows.schema.names}), cluster="prod")
    with rl.open_history(archive.path) as history:
        row = history.sql("SELECT * FROM sys_service WHERE name = 'Odd'").iloc[0]
    assert (row["half"], row["large"], row["clock"], row["coded"]) == (1.5, "3.00", "00:00:00.000001", "a")
    assert (list(row["several"]), row["record"]) == ([1.5], {"a": 1})
    assert pd.isna(row["pairs"])
    assert pd.isna(row["span"])


def test_a_column_that_differs_only_in_its_case_is_not_stored() -> None:
    columns = [
        ("id", ""),
        ("ID", ""),
        ("created_at", ""),
        ("Visit", ""),
        ("wait", "Duration(ms)"),
        ("wait_ms", "Int64"),
    ]
    assert list(describe_conflicts("invocations", columns)) == ["ID", "Visit", "wait_ms"]
    assert list(describe_conflicts("journal", [("result", ""), ("created_at", ""), ("name", "")])) == [
        *("result", "created_at")
    ]


def test_the_command_line_deletes_days_only_if_the_address_is_repeated(archive: SampleArchive) -> None:
    command = ["history", "delete-before", str(archive.path), "2026-11-21", "--confirm"]
    assert CliRunner().invoke(app, [*command, "prod"]).exit_code == 2
    with rl.open_history(archive.path) as history:
        assert history.sql("SELECT count(*) AS n FROM sys_invocation_status")["n"].tolist() == [6]
    assert CliRunner().invoke(app, [*command, str(archive.path)]).exit_code == 0
    with rl.open_history(archive.path) as history:
        assert history.sql("SELECT count(*) AS n FROM sys_invocation_status")["n"].tolist() == [4]


def test_each_question_answers_or_states_why_it_cannot(archive: SampleArchive) -> None:
    required = {"callers": {"ids": [run(0, DAY)["id"]]}, "ids_by_status": {"status": "completed"}}
    answered: dict[str, pd.DataFrame] = {}
    with rl.open_history(archive.path) as history:
        for name in rl.questions()["name"]:
            try:
                answered[name] = rl.ask(history, name, **required.get(name, {}))
            except NotOnThisServer:
                continue
        assert {"latency", "throughput", "terminal_failures", "largest_journals", "callers", "sdks"} <= answered.keys()
        assert len(answered["largest_journals"]) == 6
