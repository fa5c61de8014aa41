"""Archives of real servers: nothing that is owed is missing, nothing is there twice, and visits cost little."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab import errors
from restate_lab.cli import app
from restate_lab.client.lab import Lab
from restate_lab.history.store import locate_store
from restate_lab.history.tables import TABLES, to_archive
from restate_lab.history.visit import table_of_records
from support.archive_bench import check_archive, running_archive_bench, tables_of
from support.bench import wait_for
from support.clusters import KINDS, NEWEST, Cluster
from support.proxy import Proxy, connect_through

pytestmark = pytest.mark.server

COLUMNS = "SELECT * FROM {} LIMIT 0"


def test_killed_archivers_lose_and_double_nothing(tmp_path: Path) -> None:
    """Two archivers at once, kills, a restart of the server, purges and reused ids: all owed runs are there once."""
    with running_archive_bench(NEWEST, tmp_path) as bench:
        bench.run(5, restart_at=2)
        counts = check_archive(bench)
    assert counts["owed"] > 100
    assert counts["killed"] >= 1
    assert counts["records failed"] >= 1, "the visit while the server was down"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_many_killed_archivers(kind: str, tmp_path: Path) -> None:
    """The same for minutes, on each kind of server: thousands of runs, with repairs and lost races."""
    with running_archive_bench(kind, tmp_path) as bench:
        bench.run(40, restart_at=20)
        counts = check_archive(bench)
    sys.stdout.write(f"{kind} {counts}\n")  # the figures of the closing note
    assert counts["owed"] > 2_000
    assert counts["repaired"] > 0
    assert counts["repeated"] > 0
    assert counts["failed"] == counts["records failed"]


@pytest.fixture
def lab(newest: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(newest.admin_url, ingress_url=newest.ingress_url, audit=tmp_path / "audit") as lab:
        yield lab


def archive(lab: Lab, folder: Path, **options: Any) -> dict[str, Any]:
    """Make one visit and return its record."""
    (record,) = rl.archive(lab, folder / "archive", **{"cluster_name": "c", **options}).to_dict("records")
    return dict(record)


def test_an_archive_has_the_rows_of_the_server(lab: Lab, tmp_path: Path) -> None:
    """Runs, journals, events, deployments and services equal those of the server; a second visit adds nothing."""
    first, second = archive(lab, tmp_path), archive(lab, tmp_path)
    assert (first["outcome"], first["new_runs"], first["visit"]) == ("complete", first["ids_read"], 1)
    assert (second["outcome"], second["new_runs"], second["ids_read"]) == ("complete", 0, first["ids_read"])
    assert json.loads(first["retention"])[0].keys() > {"service", "handler", "completion_retention_ms"}
    assert second["retention"] != second["retention"], "null, because it is that of the first visit"
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


def test_payloads_and_masking(lab: Lab, tmp_path: Path) -> None:
    """Without payloads no entry is stored; with them, redacted values are not; keys of a run cannot be masked."""
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


def test_bad_input_is_refused_and_nothing_is_written(lab: Lab, tmp_path: Path) -> None:
    """An address without a name, another cluster, another folder, and a clock that jumped back."""
    with pytest.raises(errors.ArgumentError, match="pass cluster_name="):
        archive(lab, tmp_path, cluster_name=None)
    with pytest.raises(errors.ArgumentError, match="not valid"):
        archive(lab, tmp_path, cluster_name="a/b")
    with pytest.raises(errors.ArgumentError, match="live cluster"):
        rl.archive(Proxy(), tmp_path / "archive", cluster_name="c")  # type: ignore[arg-type]
    assert not (tmp_path / "archive").exists()
    archive(lab, tmp_path)
    store = locate_store(tmp_path / "archive")
    values = {name: pa.array(["other"]) for name in ("cluster_name", "id", "name")} | {"visit": pa.array([1])}
    for name, key in (("deployments", "id"), ("services", "name")):
        rows = pa.table({each: values[each] for each in ("cluster_name", key, "visit")})
        rows = rows.append_column("first_seen_at", pa.array([datetime.now(UTC)], pa.timestamp("us", "UTC")))
        store.append(store.open(name), rows, cluster="other")
    future = datetime.now(UTC) + timedelta(days=40)
    record = {
        "cluster_name": "c",
        "day": future.date(),
        "started_at": future,
        "ended_at": future,
        "outcome": "complete",
    }
    store.append(store.open("visits"), table_of_records([record]), cluster="c")
    before = sorted(str(each) for each in (tmp_path / "archive").rglob("*"))
    with pytest.raises(errors.ArgumentError, match="another cluster under the name 'other'"):
        archive(lab, tmp_path, cluster_name="other")
    with pytest.raises(errors.ArchiveBroken, match="which is before the last visit"):
        archive(lab, tmp_path)
    assert sorted(str(each) for each in (tmp_path / "archive").rglob("*")) == before


@pytest.mark.parametrize(("status", "error"), [(429, errors.RateLimited), (500, errors.ServerFailed)])
def test_a_failed_visit_is_recorded(lab: Lab, tmp_path: Path, status: int, error: type[Exception]) -> None:
    """A server that refuses one of the reads ends the visit with a record; the next visit is complete."""
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


def test_sigterm_ends_between_commits(lab: Lab, tmp_path: Path) -> None:
    """The command makes visits until SIGTERM, and then its exit code is 0."""
    where = tmp_path / "archive"
    program = [sys.executable, "-c", "from restate_lab.cli import main; main()", "archive", str(where)]
    options = ["--every", "100ms", "--cluster-name", "c", "-e", lab.settings.admin_url]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: len(list(where.glob("visits/_delta_log/*.json"))) > 2)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "visits added" in output
    assert {row["outcome"] for row in tables_of(str(where))["visits"].to_pylist()} == {"complete"}


def test_the_exit_codes_of_one_visit(lab: Lab, tmp_path: Path) -> None:
    """0 for a complete visit, 1 for an unreachable cluster, which is recorded, and 2 for invalid usage."""
    where = str(tmp_path / "archive")

    def code(address: str, *options: str) -> int:
        return CliRunner().invoke(app, ["archive", where, "-e", address, *options]).exit_code

    assert code(lab.settings.admin_url) == 2
    assert code(lab.settings.admin_url, "--cluster-name", "c") == 0
    assert code("http://127.0.0.1:1", "--cluster-name", "c", "--timeout", "1s") == 1
    outcomes = [row["outcome"] for row in tables_of(where)["visits"].to_pylist()]
    assert sorted(outcomes) == ["complete", "failed"]
