"""Archives of real servers: nothing that is owed is missing, nothing is there twice, and visits cost little."""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import errors
from restate_lab.cli import app
from restate_lab.client.lab import Lab
from restate_lab.demo.server import FLAGS_OF_1_8
from restate_lab.history.commits import table_of_records
from restate_lab.history.store import ArchiveStore, LostRace, locate_store
from restate_lab.history.tables import TABLES, to_archive
from restate_lab.history.visit import WrongClock
from support.archive_bench import KEPT_LONG, check_archive, running_archive_bench, tables_of
from support.bench import wait_for
from support.clusters import KINDS, NEWEST, PLAIN, Cluster
from support.forked import restate_lab
from support.proxy import Proxy, connect_through
from support.stored_formats import CLUSTER, unpack
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

LEAST_OWED = 500  # of about 5,000; a busy machine makes fewer visits before the runs are removed
COLUMNS = "SELECT * FROM {} LIMIT 0"


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_archivers_lose_and_double_nothing_for_minutes(kind: str, tmp_path: Path) -> None:
    with running_archive_bench(kind, tmp_path, kept=KEPT_LONG) as bench:
        bench.run(40, restart_at=20)
        counts = check_archive(bench)
    sys.stdout.write(f"{kind} {counts}\n")  # the figures of the closing note
    assert counts["owed"] > LEAST_OWED
    assert counts["repaired"] > 0
    assert counts["repeated"] > 0
    assert counts["failed"] == counts["records failed"]


SHARDS = (
    {"books": ["Ledger"], "keys": ["Account", "Order", "Parcel"]},
    {"books": ["Ledger", "Account"], "orders": ["Order", "Parcel"]},
    {},
    {"keys": ["Account", "Parcel"], "orders": ["Ledger", "Order"]},
)
FOUR = {"books": ["Ledger"], "keys": ["Account"], "orders": ["Order"], "parcels": ["Parcel"]}


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("kind", KINDS)
def test_killed_archivers_of_shards_that_change_lose_and_double_nothing(kind: str, tmp_path: Path) -> None:
    """Services move between shards, and the whole cluster follows, while visits are on their way."""
    with running_archive_bench(kind, tmp_path, kept=KEPT_LONG) as bench:
        bench.run(32, restart_at=12, layouts=SHARDS)
        counts = check_archive(bench)
    sys.stdout.write(f"shards {kind} {counts}\n")  # the figures of the closing note
    assert counts["owed"] > LEAST_OWED
    assert counts["repaired"] > 0
    assert counts["repeated"] > 0
    assert counts["shards"] == 4


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_four_shards_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    """Four processes visit at the same time, and one of them is killed in two thirds of the rounds."""
    with running_archive_bench(NEWEST, tmp_path, kept=KEPT_LONG) as bench:
        bench.run(32, restart_at=12, layouts=(FOUR,))
        counts = check_archive(bench)
    sys.stdout.write(f"four shards {counts}\n")  # the figures of the closing note
    assert counts["owed"] > LEAST_OWED
    assert counts["repaired"] > 0
    assert counts["shards"] == len(FOUR)


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_an_upgrade_to_vqueues_between_visits_loses_only_runs_in_a_gap(tmp_path: Path) -> None:
    with running_archive_bench(PLAIN, tmp_path) as bench:
        bench.next_settings |= FLAGS_OF_1_8
        bench.run(12, restart_at=4, away=18)  # longer than the runs are kept
        counts = check_archive(bench)
    sys.stdout.write(f"upgrade {counts}\n")  # the figures of the closing note
    visits = tables_of(bench.where)["visits"].to_pylist()
    features = [json.loads(row["features"]) for row in visits if row["outcome"] == "complete"]
    assert {each["vqueues"] for each in features} == {False, True}
    assert counts["lost in a gap"] > 10
    with rl.open_history(bench.where) as history:
        assert len(history.sql("SELECT id FROM sys_invocation")) == counts["archived"]
        vqueues = history.sql("SELECT DISTINCT vqueue_id IS NOT NULL AS is_in FROM sys_invocation")
        assert set(vqueues["is_in"]) == {False, True}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_were_created_before_a_longer_retention(kind: str, tmp_path: Path) -> None:
    """They keep the retention of their creation: a gap contains each one that is lost after the change, and no other.

    Runs that nap are created with a retention of 3 seconds, then it is raised to 6 hours, and all visits but the last
    see them open.
    """
    with running_archive_bench(kind, tmp_path) as bench:
        slow = {"journal_retention": "3s", "idempotency_retention": "3s"}
        bench.lab.admin.modify_service("Ledger", **slow)
        ids = [str(bench.lab.ingress.send("Ledger", "slow", 6.0).invocation_id) for _ in range(5)]
        wait_for(lambda: len(bench.lab.sql("SELECT id FROM sys_invocation WHERE id IN :ids", ids=ids)) == 5)
        records = [rl.archive(bench.lab, bench.where, cluster_name="c", progress=False)]
        bench.lab.admin.modify_service("Ledger", journal_retention="6h", idempotency_retention="6h")
        records.append(rl.archive(bench.lab, bench.where, cluster_name="c", progress=False))
        kept = str(bench.lab.ingress.send("Ledger", "slow", 0.0).invocation_id)
        wait_for(lambda: bench.lab.sql("SELECT id FROM sys_invocation WHERE id IN :ids", ids=ids).empty)
        records.append(rl.archive(bench.lab, bench.where, cluster_name="c", progress=False))
    opened = [json.loads(each["open_retention"].iloc[-1]) for each in records]
    assert [[row["completion_retention_ms"] for row in each if row["handler"] == "slow"] for each in opened] == [
        *([], [3_000], [])
    ]
    with rl.open_history(bench.where) as history:
        assert {*ids, kept} & set(history.sql("SELECT id FROM sys_invocation")["id"]) == {kept}
        gaps = [each for each in history.coverage.gaps if each.handler == "slow"]
        before, after = (each["started_at"].iloc[-1] for each in records[1:])
        assert any(before < each.until < after for each in gaps)
        assert not history.coverage.unknown


def test_an_archive_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    where = unpack("archive-1", tmp_path / "stored")
    earlier = {name: table.to_pylist() for name, table in tables_of(str(where)).items()}
    # The server has other deployments than the one that the archive was written from.
    options: dict[str, Any] = {"same_cluster": True} if "same_cluster" in signature(rl.archive).parameters else {}
    with running_archive_bench(NEWEST, tmp_path) as bench:
        bench.lab.ingress.call("Ledger", "spread", ["book", 0, 3])
        wait_for(lambda: len(bench.lab.sql("SELECT id FROM sys_invocation WHERE status = 'completed'")) > 3)
        records = [
            rl.archive(bench.lab, where, cluster_name=CLUSTER, progress=False, **options).iloc[-1] for _ in range(2)
        ]
    assert records[0]["visit"] == 1 + max(row["visit"] for row in earlier["visits"])
    assert records[0]["new_runs"] == records[0]["ids_read"] >= 4
    assert (records[0]["missing_journals"], records[1]["new_runs"]) == (0, 0)
    for name, table in tables_of(str(where)).items():
        rows = table.to_pylist()
        assert [row for row in earlier[name] if not any(row.items() <= each.items() for each in rows)] == [], name
        if name not in {"visits", "samples"}:
            assert len({repr(row) for row in rows}) == len(rows), name
    with rl.open_history(where) as history:
        assert len(history.sql("SELECT id FROM sys_invocation")) == 28 + records[0]["new_runs"]
        assert len(history.coverage.unknown) == 1
        assert "2 visits, the last at 2026-11-29" in history.coverage.unknown[0]


@pytest.fixture
def lab(newest: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(newest.admin_url, ingress_url=newest.ingress_url, audit=tmp_path / "audit") as lab:
        yield lab


def archive(lab: Lab, folder: Path, **options: Any) -> dict[str, Any]:
    (record,) = rl.archive(lab, folder / "archive", **{"cluster_name": "c", **options}).to_dict("records")
    return dict(record)


def test_an_archive_has_exactly_the_rows_of_the_server(lab: Lab, tmp_path: Path) -> None:
    first, second = archive(lab, tmp_path), archive(lab, tmp_path)
    assert (first["outcome"], first["new_runs"], first["visit"]) == ("complete", first["ids_read"], 1)
    assert (second["outcome"], second["new_runs"], second["ids_read"]) == ("complete", 0, first["ids_read"])
    assert json.loads(first["retention"])[0].keys() > {"service", "handler", "completion_retention_ms"}
    assert second["retention"] != second["retention"], "null, because it is that of the first visit"
    assert first["started_at"] <= first["listed_at"] <= first["ended_at"]
    assert first["open_retention"] == "[]", "no open invocation is kept for less than new ones"
    tables = tables_of(str(tmp_path / "archive"))
    ids = tables["invocations"]["id"].to_pylist()
    assert len(ids) == first["new_runs"] > 5
    for name, key in {
        "invocations": "id",
        "journal": "id",
        "events": "id",
        "deployments": "id",
        "services": "name",
    }.items():
        wanted = "WHERE id IN :ids" if key == "id" and name != "deployments" else ""
        params = {"ids": ids} if wanted else {}
        rows = to_archive(lab.arrow(f"SELECT * FROM {TABLES[name].copies} {wanted}", params=params))
        names = [each for each in rows.schema.names if each not in TABLES[name].left_out | TABLES[name].payloads]
        assert set(names) <= set(tables[name].schema.names), name
        assert sorted(map(repr, rows.select(names).to_pylist())) == sorted(
            map(repr, tables[name].select(names).cast(rows.select(names).schema).to_pylist())
        ), name
    samples = tables["samples"].to_pylist()
    counted = lab.sql("SELECT count(*) AS n FROM sys_invocation_status")["n"][0]
    assert sum(row["invocations"] for row in samples if row["visit"] == 1 and row["key"] is None) == counted


def test_payloads_are_archived_on_request_and_masked(lab: Lab, tmp_path: Path) -> None:
    archive(lab, tmp_path)
    assert "entry_json" not in tables_of(str(tmp_path / "archive"))["journal"].schema.names
    with pytest.warns(errors.EvidenceWarning, match="families of errors"):
        archive(lab, tmp_path / "payloads", payloads=True, redact=["failures", "target_service_key"])
    tables = tables_of(str(tmp_path / "payloads" / "archive"))
    assert any(tables["journal"]["entry_json"].to_pylist())
    assert set(tables["invocations"]["completion_failure"].to_pylist()) == {None, "•••"}
    assert set(tables["invocations"]["target_service_key"].to_pylist()) <= {None, "•••"}
    assert {row["error_line"] for row in tables["events"].to_pylist() if row["event_type"] == "TransientError"} <= {
        "•••"
    }
    with pytest.raises(errors.ArgumentError, match="created_at, completed_at"):
        archive(lab, tmp_path / "none", redact="*_at")
    assert not (tmp_path / "none").exists()


def test_a_missing_or_malformed_name_and_a_source_that_is_not_live_are_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(errors.ArgumentError, match="pass cluster_name="):
        archive(lab, tmp_path, cluster_name=None)
    with pytest.raises(errors.ArgumentError, match="not valid"):
        archive(lab, tmp_path, cluster_name="a/b")
    with pytest.raises(errors.ArgumentError, match="needs a connection first"):
        rl.archive(Proxy(), tmp_path / "archive", cluster_name="c")  # type: ignore[arg-type]
    assert not (tmp_path / "archive").exists()


def change(where: Path, table: str, **values: str) -> None:
    from deltalake import DeltaTable

    DeltaTable(str(where / table)).update(updates={name: f"'{value}'" for name, value in values.items()})


def test_a_cluster_is_known_by_its_address_or_a_deployment(lab: Lab, tmp_path: Path) -> None:
    where = tmp_path / "archive"
    archive(lab, tmp_path)
    change(where, "visits", address="http://staging:9070")
    assert archive(lab, tmp_path)["new_runs"] == 0, "a deployment is the same"
    change(where, "deployments", id="dp_other")
    record = archive(lab, tmp_path)
    assert "has none of the deployments that were archived under this name before" in record["note"]
    change(where, "visits", address="http://staging:9070")
    change(where, "deployments", id="dp_other")
    before = sorted(str(each) for each in where.rglob("*"))
    with pytest.raises(
        errors.ArgumentError, match=r"'c': its visits were made to http://staging:9070, and .*same-cluster"
    ):
        archive(lab, tmp_path)
    result = CliRunner().invoke(app, ["archive", str(where), "-e", lab.settings.admin_url, "--cluster-name", "c"])
    assert (result.exit_code, sorted(str(each) for each in where.rglob("*"))) == (2, before)
    assert archive(lab, tmp_path, same_cluster=True)["new_runs"] == 0
    assert archive(lab, tmp_path)["new_runs"] == 0


def test_a_visit_in_the_future_stops_nothing(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the clocks of the server and of this machine agree, an earlier visit had the wrong time and covers nothing."""
    archive(lab, tmp_path)
    store = locate_store(tmp_path / "archive")
    future = datetime.now(UTC) + timedelta(days=3)
    record = {
        "cluster_name": "c",
        "day": future.date(),
        "started_at": future,
        "ended_at": future,
        "outcome": "complete",
    }
    store.append(store.open("visits"), table_of_records([record]), cluster="c")
    with monkeypatch.context() as other_clock:
        other_clock.setattr("restate_lab.history.visit._AGREE", timedelta(-1))
        with pytest.raises(WrongClock, match=r"which is before the last visit .* Correct the clocks"):
            archive(lab, tmp_path)
    assert "1 earlier visit had a time in the future" in archive(lab, tmp_path)["note"]
    visits = tables_of(str(tmp_path / "archive"))["visits"].to_pylist()
    assert Counter(row["outcome"] for row in visits) == {"complete": 2, "invalid": 1, "failed": 1}
    with rl.open_history(tmp_path / "archive") as history:
        assert history.now < future


@pytest.mark.parametrize(("status", "error"), [(429, errors.RateLimited), (500, errors.ServerFailed)])
def test_a_failed_visit_is_recorded_and_the_next_visit_is_complete(
    lab: Lab, tmp_path: Path, status: int, error: type[Exception]
) -> None:
    errors_of_reads = (error, errors.TimedOut)  # 429 is repeated within the timeout
    archive(lab, tmp_path, samples=False)

    def refuse(request: httpx.Request) -> httpx.Response | None:
        return (
            httpx.Response(status, json={"message": "busy"}) if b"completed_at IS NOT NULL" in request.content else None
        )

    with connect_through(Proxy(before=refuse), lab.settings.admin_url, tmp_path / "audit") as behind:
        with pytest.raises(errors_of_reads) as raised:
            archive(behind, tmp_path, timeout="2s")
    archive(lab, tmp_path, samples=False)
    visits = sorted(tables_of(str(tmp_path / "archive"))["visits"].to_pylist(), key=lambda row: row["started_at"])
    assert [row["outcome"] for row in visits] == ["complete", "failed", "complete"]
    assert visits[1]["error"].startswith(type(raised.value).__name__)


def whole(lab: Lab, where: Path) -> int:
    """Check that the archive has each ended run with its whole journal once, without a gap; return their number."""
    tables = tables_of(str(where))
    ended = set(lab.sql("SELECT id FROM sys_invocation_status WHERE completed_at IS NOT NULL")["id"])
    ids, sizes = tables["invocations"]["id"].to_pylist(), tables["invocations"]["journal_size"].to_pylist()
    assert sorted(ids) == sorted(ended)
    entries = Counter(tables["journal"]["id"].to_pylist())
    assert {id_: entries[id_] for id_ in ids} == dict(zip(ids, sizes, strict=True))
    with rl.open_history(where) as history:
        assert not {each.reason for each in history.coverage.gaps} - {KEPT_NEVER}
    return len(ids)


KEPT_NEVER = "the cluster does not keep its completed invocations"


def test_shards_write_at_once_what_one_archiver_writes(lab: Lab, tmp_path: Path) -> None:
    """Two shards are archived at the same time, and the services of one of them move to the other."""
    ended = lab.sql(
        "SELECT DISTINCT target_service_name AS name FROM sys_invocation_status WHERE completed_at IS NOT NULL"
    )
    names = sorted(ended["name"])
    middle, where = len(names) // 2, tmp_path / "shards"
    others = sorted(each.name for each in lab.admin.list_services() if each.name not in names)
    first, second = names[:middle], names[middle:] + others

    def visit(shard: str | None = None, service: Sequence[str] = (), **options: Any) -> pd.DataFrame:
        return rl.archive(lab, where, cluster_name="c", shard=shard, service=service, progress=False, **options)

    with ThreadPoolExecutor(2) as pool:
        records = list(pool.map(visit, ("first", "second"), (first, second)))
    assert all(each["new_runs"].iloc[0] == each["ids_read"].iloc[0] > 0 for each in records)
    whole(lab, where)
    with rl.open_history(where) as history:
        assert history.coverage.until == min(each["started_at"].iloc[0] for each in records)
        assert rl.doctor(history, checks="sampled_backlog").verdict != "", "each shard has counted its services"
    rl.archive(lab, tmp_path / "whole", cluster_name="c", progress=False)
    there, expected = tables_of(str(where)), tables_of(str(tmp_path / "whole"))
    of_visits = {"visit", "shard", "first_seen_at", "sampled_at", "day"}
    for name in TABLES.keys() - {"visits"}:
        columns = sorted(set(expected[name].schema.names) - of_visits)
        rows = [sorted(map(repr, each[name].select(columns).to_pylist())) for each in (there, expected)]
        assert rows[0] == rows[1], name
    with pytest.raises(errors.ArgumentError, match="is archived by the shard 'first'"):
        visit("third", names)
    with rl.open_history(where) as history:
        history.release("first")
    with rl.open_history(where) as history:
        unread = {gap.service for gap in history.coverage.gaps if "in no shard" in gap.reason}
        assert unread == set(first)
        reasons = rl.doctor(history).not_read.query("part == 'coverage'")["reason"]
        assert all(each in " ".join(reasons) for each in first[:3])
    assert visit("third", first)["new_runs"].iloc[0] == 0
    whole(lab, where)


class Interference:
    """Releases all shards while a visit reads, and lets another shard archive their services."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def update(self, rows: int, size: int) -> None:
        act, self.act = self.act, None
        if act:
            act()

    def close(self) -> None:
        """Do nothing."""


def test_a_visit_of_a_shard_that_is_released_meanwhile_writes_nothing(lab: Lab, tmp_path: Path) -> None:
    where = tmp_path / "archive"
    services = [each.name for each in lab.admin.list_services()]
    visit = partial(rl.archive, lab, where, cluster_name="c", service=services)
    rl.archive(lab, where, cluster_name="c", service=services[0], shard="old", progress=False)
    command = ["history", "release", str(where)]
    assert CliRunner().invoke(app, [*command, "--shard", "old"]).exit_code == 0

    def take_over() -> None:
        assert "old" in CliRunner().invoke(app, command).output
        visit(shard="new", progress=False)

    with pytest.raises(errors.ArgumentError, match=r"archived by the shard 'new'"):
        visit(shard="old", progress=Interference(take_over))
    whole(lab, where)
    arguments = ["archive", str(where), "-e", lab.settings.admin_url, "--cluster-name", "c"]
    assert CliRunner().invoke(app, arguments).exit_code == 2
    of_shard = [option for name in services for option in ("--service", name)]
    assert CliRunner().invoke(app, [*arguments, "--shard", "new", *of_shard]).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code == 0
    record = rl.archive(lab, where, cluster_name="c", progress=False).iloc[-1]
    assert (record["new_runs"], record["services"]) == (0, None)
    whole(lab, where)


@pytest.mark.parametrize("next_shard", [None, "next"])
def test_the_next_archiver_completes_what_a_killed_one_of_a_released_shard_has_left(
    lab: Lab, tmp_path: Path, next_shard: str | None
) -> None:
    where = tmp_path / "archive"
    ended = lab.sql("SELECT target_service_name AS name FROM sys_invocation_status WHERE completed_at IS NOT NULL")
    rl.archive(lab, where, cluster_name="c", service=ended["name"][0], shard="killed", progress=False)
    max((where / "journal" / "_delta_log").glob("*.json")).unlink()
    with rl.open_history(where) as history:
        history.release()
    services = [each.name for each in lab.admin.list_services()] if next_shard else []
    rl.archive(lab, where, cluster_name="c", service=services, shard=next_shard, progress=False)
    whole(lab, where)


def test_several_parts_in_one_visit(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many runs are committed in parts; if a response in the last part is cut off, the next visit adds the rest."""
    monkeypatch.setattr("restate_lab.history.reader._AT_ONCE", 2)
    monkeypatch.setattr("restate_lab.history.visit.PART_RUNS", 4)
    with tcp_relay(lab.settings.admin_url) as line, rl.connect(line.url, audit=tmp_path / "audit") as relayed:
        records = rl.archive(relayed, tmp_path / "first", cluster_name="c", progress=False)
        queries = sum(b"POST /query" in each for each in line.heads)
    count = whole(lab, tmp_path / "first")
    parts = -(-count // 4)
    assert parts >= 2
    assert records["outcome"].tolist() == ["part"] * (parts - 1) + ["complete"]
    assert records["visit"].tolist() == list(range(1, parts + 1))
    assert (records["new_runs"].sum(), records["started_at"].nunique()) == (count, 1)
    fault = Fault(b"/query", number=queries - 2, passes=300)
    with tcp_relay(lab.settings.admin_url, fault=fault) as line, rl.connect(line.url, audit=tmp_path / "audit") as cut:
        with pytest.raises(errors.QueryInterrupted):
            rl.archive(cut, tmp_path / "second", cluster_name="c", progress=False)
        begun = tables_of(str(tmp_path / "second"))
        assert 0 < begun["invocations"].num_rows < count
        assert begun["visits"]["outcome"].to_pylist().count("failed") == 1
        records = rl.archive(cut, tmp_path / "second", cluster_name="c", progress=False)
    assert records["new_runs"].sum() == count - begun["invocations"].num_rows
    assert whole(lab, tmp_path / "second") == count


@pytest.fixture
def in_parts(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an archive that one visit has written with several commits to each table."""
    archive = tmp_path / "whole"
    with monkeypatch.context() as small:
        small.setattr("restate_lab.history.reader._AT_ONCE", 2)
        small.setattr("restate_lab.history.visit.PART_RUNS", 4)
        assert len(rl.archive(lab, archive, cluster_name="c", progress=False)) > 2
    return archive


NUMBERED = ("invocations", "journal", "events", "agent_steps", "visits")


def check_copy(lab: Lab, origin: Path, behind: dict[str, int]) -> dict[str, Any]:
    """Let tables of a copy lack their last commits, make a visit, compare the rows, and return the visit's record."""
    where = origin.with_name("copy")
    shutil.copytree(origin, where)
    for table, commits in behind.items():
        logs = sorted((where / table / "_delta_log").glob("*.json"))
        for log in logs[len(logs) - commits :]:
            log.unlink()
    record = rl.archive(lab, where, cluster_name="c", progress=False).iloc[-1]
    again = rl.archive(lab, where, cluster_name="c", progress=False).iloc[-1]
    assert (again["new_runs"], pd.isna(again["note"])) == (0, True), behind
    there, expected = tables_of(str(where)), tables_of(str(origin))
    for name, key in {
        "invocations": "repeated",
        "journal": "index",
        "events": "event_hash",
        "agent_steps": "index",
    }.items():
        rows = [
            sorted(map(repr, each[name].select(["id", "created_at", key]).to_pylist())) for each in (there, expected)
        ]
        assert rows[0] == rows[1], (behind, name)
    whole(lab, where)
    shutil.rmtree(where)
    return dict(record)


def test_a_copy_made_during_a_visit_goes_on(lab: Lab, in_parts: Path) -> None:
    for behind in ({"invocations": 2, "journal": 1}, {"invocations": 1, "events": 1, "visits": 1}):
        record = check_copy(lab, in_parts, behind)
        assert "the tables had different numbers (invocations" in record["note"], behind


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_copy_that_lost_runs_has_a_gap(tmp_path: Path) -> None:
    with running_archive_bench(NEWEST, tmp_path) as bench:
        bench.lab.ingress.call("Ledger", "spread", ["book", 0, 10])
        wait_for(lambda: len(bench.lab.sql(BOOKED)) == 10)
        first = archive(bench.lab, tmp_path)
        bench.lab.ingress.call("Ledger", "spread", ["book", 10, 20])
        rows = wait_for(lambda: bench.lab.sql(BOOKED), lambda found: len(found) == 30)
        wait_for(lambda: bench.lab.sql("SELECT id FROM sys_invocation_status WHERE completed_at IS NULL").empty)
        assert archive(bench.lab, tmp_path)["new_runs"] >= 20
        assert archive(bench.lab, tmp_path)["new_runs"] == 0
        for table in NUMBERED[:-1]:
            max((tmp_path / "archive" / table / "_delta_log").glob("*.json")).unlink()
        wait_for(lambda: bench.lab.sql(BOOKED).empty, within=60)
        with rl.open_history(tmp_path / "archive") as history:
            assert history.now == first["ended_at"]
        assert "2 visits count as invalid" in archive(bench.lab, tmp_path)["note"]
    with rl.open_history(tmp_path / "archive") as history:
        gaps = [each for each in history.coverage.gaps if each.handler == "book"]
        there = set(history.sql("SELECT id FROM sys_invocation")["id"])
    lost = rows[~rows["id"].isin(there)]
    assert len(lost) == 20
    assert all(any(gap.since <= at <= gap.until for gap in gaps) for at in lost["completed_at"])


BOOKED = """SELECT id, completed_at FROM sys_invocation_status
WHERE target_handler_name = 'book' AND completed_at IS NOT NULL AND idempotency_key IS NULL"""


def test_a_commit_whose_confirmation_is_lost_counts(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = ArchiveStore.append

    def unconfirmed(store: ArchiveStore, table: Any, rows: pa.Table, **options: Any) -> None:
        append(store, table, rows, **options)
        if "outcome" in rows.schema.names:
            raise LostRace("the answer was lost")

    monkeypatch.setattr(ArchiveStore, "append", unconfirmed)
    record = archive(lab, tmp_path)
    (row,) = tables_of(str(tmp_path / "archive"))["visits"].to_pylist()
    assert row["new_runs"] == record["new_runs"] == record["ids_read"]
    assert row["visit"] == record["visit"] == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_copy_made_during_a_visit_goes_on(lab: Lab, in_parts: Path) -> None:
    for size in range(1, len(NUMBERED) + 1):
        for tables in itertools.combinations(NUMBERED, size):
            for commits in (1, 2):
                check_copy(lab, in_parts, dict.fromkeys(tables, commits))
                check_copy(lab, in_parts, {**dict.fromkeys(tables, commits), tables[-1]: 3 - commits})
    for table in ("samples", "deployments", "services"):
        check_copy(lab, in_parts, {table: 1})


def test_no_incomplete_run_is_archived_from_a_response_that_is_cut_off(lab: Lab, tmp_path: Path) -> None:
    where, interrupted = tmp_path / "archive", 0
    locate_store(where).create()
    with tcp_relay(lab.settings.admin_url) as line, rl.connect(line.url, audit=tmp_path / "audit") as relayed:
        rl.archive(relayed, tmp_path / "other", cluster_name="c", progress=False)
        queries = sum(b"POST /query" in each for each in line.heads)
    assert queries > 6
    for number in range(queries):
        fault = Fault(b"/query", number=number, passes=220)  # the head and the first bytes
        with tcp_relay(lab.settings.admin_url, fault=fault) as line, rl.connect(line.url, audit=tmp_path / "a") as cut:
            try:
                rl.archive(cut, where, cluster_name="c", progress=False)
            except errors.QueryInterrupted:
                interrupted += 1
            else:
                break
            assert fault.happened == 1
            assert tables_of(str(where))["invocations"].num_rows == 0
    assert interrupted >= queries - 2
    rl.archive(lab, where, cluster_name="c", progress=False)
    outcomes = Counter(tables_of(str(where))["visits"]["outcome"].to_pylist())
    assert (outcomes["failed"], outcomes["complete"] >= 1) == (interrupted, True)
    whole(lab, where)


def test_the_command_ends_at_sigterm_with_exit_code_0(lab: Lab, tmp_path: Path) -> None:
    where = tmp_path / "archive"
    program = [*restate_lab(), "archive", str(where)]
    options = ["--every", "100ms", "--cluster-name", "c", "-e", lab.settings.admin_url]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            # The signal can arrive between the commit of a visit and its line.
            wait_for(lambda: len(list(where.glob("visits/_delta_log/*.json"))) > 3)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "visits added" in output
    assert {row["outcome"] for row in tables_of(str(where))["visits"].to_pylist()} == {"complete"}


def test_a_store_that_is_away_for_a_while(lab: Lab, tmp_path: Path) -> None:
    """With --every, a full disk and a folder that is gone end visits, each is reported, and then visits complete."""
    where, gone = tmp_path / "archive", tmp_path / "gone"
    program = [sys.executable, "-c", "from restate_lab.cli import main; main()", "archive", str(where)]
    options = ["--every", "100ms", "--cluster-name", "c", "-e", lab.settings.admin_url]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=lambda: reports.extend(process.stderr or ()))
        reports: list[str] = []
        reader.start()

        def limit_files(size: int) -> None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        try:
            wait_for(lambda: len(outcomes_of(where)) > 1)
            limit_files(0)  # a write fails as on a full disk
            wait_for(lambda: any("is full or does not respond" in each for each in reports))
            limit_files(resource.RLIM_INFINITY)
            wait_for(lambda: "failed" in outcomes_of(where))
            wait_for(lambda: "complete" in outcomes_of(where)[outcomes_of(where).index("failed") :])
            where.rename(gone)
            wait_for(lambda: any("Is its drive mounted?" in each for each in reports))
            assert not list(where.rglob("*.json")), "no new archive"
            shutil.rmtree(where, ignore_errors=True)
            gone.rename(where)
            seen = len(outcomes_of(where))
            wait_for(lambda: "complete" in outcomes_of(where)[seen:])
            process.send_signal(signal.SIGTERM)
            reader.join(30)
        finally:
            process.kill()
    assert process.returncode == 0
    rows = sorted(tables_of(str(where))["visits"].to_pylist(), key=lambda row: row["started_at"])
    failed = [row["error"] for row in rows if row["outcome"] == "failed"]
    assert any("full or does not respond" in each for each in failed)
    assert any("Is its drive mounted?" in each for each in failed)
    runs = tables_of(str(where))["invocations"]
    assert len(set(runs["id"].to_pylist())) == runs.num_rows == rows[-1]["ids_read"]


def outcomes_of(where: Path) -> list[str]:
    """Return the outcomes of the visits, in the order of their commits; () before the table exists."""
    table = where / "visits"
    if not (table / "_delta_log").is_dir():
        return []
    from deltalake import DeltaTable

    rows = pa.table(DeltaTable(str(table)).scan(columns=["outcome", "ended_at"])).to_pylist()
    return [row["outcome"] for row in sorted(rows, key=lambda row: row["ended_at"])]


def test_the_exit_code_is_0_for_a_complete_visit_1_if_unreachable_and_2_for_wrong_usage(
    lab: Lab, tmp_path: Path
) -> None:
    where = str(tmp_path / "archive")

    def code(address: str, *options: str) -> int:
        return CliRunner().invoke(app, ["archive", where, "-e", address, *options]).exit_code

    assert code(lab.settings.admin_url) == 2
    assert code(lab.settings.admin_url, "--cluster-name", "c") == 0
    assert code("http://127.0.0.1:1", "--cluster-name", "c", "--timeout", "1s") == 1
    outcomes = [row["outcome"] for row in tables_of(where)["visits"].to_pylist()]
    assert sorted(outcomes) == ["complete", "failed"]
