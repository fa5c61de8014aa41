"""The commands that read, on the demo's rows on every kind of server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from support import imitation
from support.clusters import NEWEST, PHASE, PLAIN, Cluster

ROWS = (
    "SELECT id, target, created_at, journal_size, completion_failure FROM sys_invocation WHERE target_service_name = :s"
)
PARTS = ("invocations", "state", "deployments", "backlog")


def call(cluster: Cluster, *arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, [*arguments, "--cluster", cluster.admin_url], input=text)


def test_rows_for_programs_are_exact(cluster: Cluster, tmp_path: Path) -> None:
    with rl.connect(cluster.admin_url, read_only=True) as lab:
        frame = lab.sql(f"{ROWS} ORDER BY id", s="agent")
    asked = ("sql", f"{ROWS} ORDER BY id", "-p", "s=agent")
    rows = json.loads(call(cluster, *asked, "--json").stdout)
    assert [row["id"] for row in rows] == list(frame["id"])
    assert [row["completion_failure"] for row in rows] == [None] * len(frame)
    assert (
        pd.to_datetime([row["created_at"] for row in rows]).as_unit("ms").equals(pd.DatetimeIndex(frame["created_at"]))
    )
    for option, name in (("--csv", "rows.csv"), ("--parquet", "rows.parquet")):
        assert call(cluster, *asked, option, str(tmp_path / name)).exit_code == 0
    assert list(pd.read_csv(tmp_path / "rows.csv")["id"]) == list(frame["id"])
    assert list(pd.read_parquet(tmp_path / "rows.parquet")["journal_size"]) == list(frame["journal_size"])
    again = call(cluster, *asked, "--csv", str(tmp_path / "rows.csv"))
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert call(cluster, *asked, "--csv", "-").stdout == (tmp_path / "rows.csv").read_text()


def test_a_number_compares_as_a_number(cluster: Cluster) -> None:
    """-p n=9 is a number and -p 'k="9"' a text."""
    values = "SELECT a FROM (VALUES (9), (10)) t(a) WHERE a >= :n"
    assert len(json.loads(call(cluster, "sql", values, "-p", "n=9", "--json").stdout)) == 2
    keys = "SELECT a FROM (VALUES ('9'), ('09'), ('x')) t(a) WHERE a = :k"
    assert len(json.loads(call(cluster, "sql", keys, "-p", 'k="9"', "--json").stdout)) == 1


def test_what_the_server_refuses_is_marked(cluster: Cluster) -> None:
    """The mark is in the statement as it was written, even if the value before it is long."""
    told = call(
        cluster, "sql", "-", "-p", f"s={'x' * 500}", text="SELECT id FROM sys_invocation\nWHERE target = :s ORDR BY 1"
    )
    assert told.exit_code == 1
    assert told.stdout == ""
    line, statement, mark = told.stderr.splitlines()
    assert "found: ORDR" in line
    assert statement == "  WHERE target = :s ORDR BY 1"
    assert statement[mark.index("^") :].startswith("ORDR")
    unknown = call(cluster, "sql", "SELECT id, statsu FROM sys_invocation").stderr.splitlines()
    assert "nearest: sys_invocation.status" in unknown[0]
    assert unknown[2].index("^") == unknown[1].index("statsu")


def test_a_question_says_what_its_limit_cut(cluster: Cluster, tmp_path: Path) -> None:
    """Rows go to stdout and a note about the limit goes to stderr; the Parquet file has the note too."""
    asked = ("ask", "overview", "-p", "limit=1")
    cut = call(cluster, *asked, "--json")
    assert len(json.loads(cut.stdout)) == 1
    assert "more than 1 rows" in cut.stderr
    assert cut.exit_code == 0
    call(cluster, *asked, "--parquet", str(tmp_path / "cut.parquet"))
    assert pd.read_parquet(tmp_path / "cut.parquet").attrs["truncated"]["limit"] == 1
    assert "has no parameter 'limt'" in call(cluster, "ask", "overview", "-p", "limt=1").stderr
    assert "not cut" not in call(cluster, "ask", "overview", "-p", "limit=none").stderr


@pytest.mark.also_on(PLAIN, reason="its rows have no vqueue_id")
def test_the_doctor_before_an_upgrade(cluster: Cluster, tmp_path: Path) -> None:
    """The command has the numbers of the server, its exit code is the doctor's, and evidence has the same findings."""
    asked = ("doctor", "--check", "upgrade")
    with rl.connect(cluster.admin_url) as lab:
        if lab.version == imitation.VERSION:
            assert "no preparation is needed" in call(cluster, *asked).stdout
            return
        is_half = PHASE == "open" and cluster.kind == NEWEST  # in other phases none is left, and the finding has all
        left = " WHERE vqueue_id IS NULL" if is_half else ""
        total = lab.sql(f"SELECT count(*) AS n FROM sys_invocation_status{left}")["n"][0]
        rl.freeze(lab, tmp_path / "before.evidence")
    answer = call(cluster, *asked, "--partitions", "4", "--json")
    found = json.loads(answer.stdout)
    counts = {each["check"]: each["count"] for each in found["findings"]}
    assert counts["upgrade_migration"] == total
    assert answer.exit_code == 0
    assert "critical" not in {each["severity"] for each in found["findings"]}
    assert "worker.invoker.concurrent-invocations-limit" in call(cluster, *asked).stdout
    frozen = CliRunner().invoke(app, [*asked, "--json", "--evidence", str(tmp_path / "before.evidence")])
    assert frozen.exit_code == answer.exit_code
    assert [(each["check"], each["severity"]) for each in json.loads(frozen.stdout)["findings"]] == [
        (each["check"], each["severity"]) for each in found["findings"]
    ]


def test_what_changed_between_two_moments(cluster: Cluster, tmp_path: Path) -> None:
    """`compare` reports as text, JSON and CSV the changes since a freeze, in the cluster or in later evidence."""
    before, after = str(tmp_path / "before"), str(tmp_path / "after")
    call(cluster, "freeze", before)
    with rl.connect(cluster.admin_url) as lab:
        new = lab.ingress.send("agent", "run", "What is the weather in Oslo?").invocation_id
    told = call(cluster, "compare", before)
    assert told.exit_code == 0, told.stderr
    assert [line.partition(" ")[0] for line in told.stdout.splitlines()[3:7]] == list(PARTS)
    assert "1 created" in told.stdout
    call(cluster, "freeze", after)
    runner = CliRunner()
    frozen = runner.invoke(app, ["compare", before, after, "--json"])
    found = json.loads(frozen.stdout)
    assert [each["id"] for each in found["invocations"] if each["change"] == "created"] == [new]
    assert found["after"]["read_at"] > found["before"]["read_at"]
    written = call(cluster, "compare", before, "--csv", str(tmp_path / "changed.csv"))
    assert written.exit_code == 0, written.stderr
    assert new in list(pd.read_csv(tmp_path / "changed.csv")["id"])
    part = runner.invoke(app, ["compare", before, after, "--part", "deployments", "--csv", "-"])
    assert part.stdout.splitlines()[0].startswith('"kind","name","change"')
    assert call(cluster, "compare", before, after).exit_code == 2
    assert call(cluster, "compare", str(tmp_path / "nowhere")).exit_code == 2
