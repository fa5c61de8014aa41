"""Archives on an S3-compatible store; the packages of the store are installed when these tests first run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.environment import clean_environment
from restate_lab.history.maintenance import compact, vacuum
from restate_lab.history.store import locate_store
from restate_lab.progress import NoProgress, Progress
from support.archive_bench import check_archive, running_archive_bench, tables_of
from support.bench import wait_for
from support.clusters import NEWEST, Cluster
from support.demo.nodes import lasting_ports
from support.s3_server import BUCKET, gateway, request, running_s3, s3_settings

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]

WHERE = f"s3://{BUCKET}/history"


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_s3(tmp_path) as address:
        for name, value in s3_settings(address).items():
            monkeypatch.setenv(name, value)
        yield address


def test_killed_archivers_on_s3_lose_and_double_nothing(s3: str, tmp_path: Path) -> None:
    with running_archive_bench(NEWEST, tmp_path, WHERE) as bench:
        bench.env = s3_settings(s3)
        bench.run(16, restart_at=8)
        counts = check_archive(bench)
    sys.stdout.write(f"s3 {counts}\n")  # the figures of the closing note
    assert counts["owed"] > 500
    assert counts["killed"] > 3


def test_visits_complete_after_a_store_was_away_or_busy(s3: str, newest: Cluster, tmp_path: Path) -> None:
    (port,) = lasting_ports(1)
    program = [sys.executable, "-c", "from restate_lab.cli import main; main()", "archive", WHERE]
    options = ["--every", "200ms", "--cluster-name", "c", "-e", newest.admin_url]
    env = clean_environment(**s3_settings(f"http://127.0.0.1:{port}"))
    reports: list[str] = []

    def outcomes() -> Counter[str]:
        try:
            return Counter(tables_of(WHERE)["visits"]["outcome"].to_pylist())
        except Exception:  # noqa: BLE001 - deltalake's, until the table is there
            return Counter()

    with subprocess.Popen([*program, *options], env=env, stderr=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=lambda: reports.extend(process.stderr or ()))
        try:
            reader.start()
            with gateway(s3, tmp_path, port=port):
                wait_for(lambda: outcomes()["complete"] > 1, within=60)
            wait_for(lambda: any("did not respond" in each for each in reports), within=120)
            with gateway(s3, tmp_path, port=port, status=503):
                seen = len(reports)
                wait_for(lambda: len(reports) > seen + 1, within=120)
            complete = outcomes()["complete"]
            with gateway(s3, tmp_path, port=port):
                wait_for(lambda: outcomes()["complete"] > complete and outcomes()["failed"] > 1, within=120)
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, reports
        finally:
            process.kill()
        reader.join(30)
    rows = tables_of(WHERE)["invocations"]
    assert len(set(rows["id"].to_pylist())) == rows.num_rows > 5
    with rl.open_history(WHERE) as history:
        assert {each.reason for each in history.coverage.gaps} <= {
            "the cluster does not keep its completed invocations"
        }


def test_a_shard_that_loses_a_race_on_s3_begins_again(s3: str, newest: Cluster, tmp_path: Path) -> None:
    """The second shard begins and makes its visit between the reads of the first one and its commits."""
    with rl.connect(newest.admin_url, audit=tmp_path / "audit") as lab:
        ended = lab.sql(
            "SELECT id, target_service_name AS service FROM sys_invocation_status WHERE status = 'completed'"
        )
        name, *others = ended["service"].value_counts().index

        def visit(shard: str, service: str | list[str], progress: Progress | bool) -> None:
            rl.archive(lab, WHERE, cluster_name="c", shard=shard, service=service, progress=progress)

        class OtherVisit(NoProgress):
            updates = 0

            def update(self, rows: int, size: int) -> None:
                self.updates += 1
                if self.updates == 1:
                    visit("second", others, progress=False)

        other = OtherVisit()
        visit("first", name, other)
    tables = tables_of(WHERE)
    assert other.updates > 1, "the first shard has read its invocations again"
    assert sorted(tables["invocations"]["id"].to_pylist()) == sorted(ended["id"])
    assert set(tables["visits"]["shard"].to_pylist()) == {"first", "second"}
    assert set(tables["invocations"]["visit"].to_pylist()) == {1}, "each shard counts its own visits"


def test_a_store_that_cannot_hold_an_archive_is_one_error(
    s3: str, newest: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def archive(where: str = WHERE) -> None:
        with rl.connect(newest.admin_url, audit=tmp_path / "audit") as lab:
            rl.archive(lab, where, cluster_name="c", progress=False)

    with gateway(s3, tmp_path, without="if-none-match") as address, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(errors.ArchiveBroken, match="accepted two equal writes"):
            archive()
    assert b"<Key>" not in request(s3, "GET", f"/{BUCKET}?list-type=2")[1], "the probe is removed"
    request(s3, "PUT", f"/{BUCKET}/other/notes.txt", b"x")
    with pytest.raises(errors.ArchiveBroken, match=r"it has notes\.txt"):
        archive(f"s3://{BUCKET}/other")
    archive()
    store = locate_store(WHERE)
    assert set(compact(store)["files_after"]) == {0}, "today is not over"
    assert set(vacuum(store)["files_removed"]) == {0}
    assert tables_of(WHERE)["invocations"].num_rows > 5
