"""Results of a real server, saved in every format and read back."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.export.files import save
from support.clusters import Cluster

pytestmark = pytest.mark.server

ALL = """
SELECT s.id, s.partition_key, s.target, s.status, s.created_at, s.completed_at - s.created_at AS took,
  s.suspended_waiting_for_signals, s.journal_size
FROM sys_invocation_status s ORDER BY s.created_at, s.id"""


def test_every_format_returns_the_ids_numbers_and_times_of_the_server(cluster: Cluster, tmp_path: Path) -> None:
    with rl.connect(cluster.admin_url, read_only=True) as lab:
        frame = lab.sql(ALL)
    assert len(frame) > 5
    parquet = pd.read_parquet(save(frame, tmp_path / "a.parquet"))
    lines = pd.DataFrame(map(json.loads, save(frame, tmp_path / "a.jsonl").read_text("utf-8").splitlines()))
    text = save(frame, tmp_path / "a.csv").read_bytes().decode()
    rows = pd.DataFrame(csv.DictReader(io.StringIO(text, newline="")))
    for back in (parquet, lines, rows):
        assert list(back["id"]) == list(frame["id"])
        assert list(map(int, back["partition_key"])) == list(frame["partition_key"])
        assert list(pd.to_datetime(back["created_at"], format="ISO8601")) == list(frame["created_at"])
    assert save(frame, tmp_path / "a.xlsx").read_bytes()[:2] == b"PK"


def test_every_frame_of_the_toolkit_is_saved_in_every_format(newest: Cluster, tmp_path: Path) -> None:
    with rl.connect(newest.admin_url, read_only=True) as lab:
        waits = rl.waits(lab)
        one = lab.sql("SELECT id FROM sys_invocation WHERE status = 'completed' LIMIT 1")["id"][0]
        frames = {
            "tables": lab.tables(),
            "edges": waits.edges,
            "blockers": waits.blockers,
            "journal": rl.journal(lab, one, payloads=True),
            "overview": rl.ask(lab, "overview"),
            "questions": rl.questions(),
            "log": rl.audit_log(newest.folder / "audit"),
            "deployments": lab.admin.list_deployments().frame,
            "arrow": lab.arrow("SELECT *, arrow_cast(id, 'Utf8View') AS view FROM sys_invocation"),
        }
    for name, frame in frames.items():
        for suffix in (".csv", ".jsonl", ".parquet", ".xlsx"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", errors.Truncated)
                path = save(frame, tmp_path / f"{name}{suffix}")
            if suffix == ".jsonl":
                assert len(path.read_text("utf-8").splitlines()) == len(frame)
    with pytest.raises(errors.ArgumentError, match=r"save its \.edges"):
        save(waits, tmp_path / "waits.csv")  # type: ignore[arg-type]
