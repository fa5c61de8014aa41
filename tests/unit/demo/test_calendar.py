"""The archive of the story "week" is moved to the days before today."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import restate_lab as rl
from restate_lab.demo.calendar import move_to_real_days
from support.archives import SampleArchive, run

PLAYED = timedelta(seconds=5)
START = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
CRON = {"target_service_name": "Cron", "target": "Cron/send_orders", "target_handler_name": "send_orders"}


def test_a_played_day_becomes_a_day_before_today_and_runs_keep_their_durations(tmp_path: Path) -> None:
    """An order of the middle of the second day is one of yesterday noon; retention and visits are moved, too."""
    archive = SampleArchive(tmp_path / "history")
    kept = {"service": "Orders", "handler": "place", "completion_retention_ms": 12_000, "journal_retention_ms": 0}
    took = timedelta(seconds=2)
    for day in range(2):
        began = START + day * PLAYED
        noon = began + PLAYED / 2
        runs = [
            run(10 * day, began + took, took=took, **CRON),
            run(10 * day + 1, noon + took, took=took, completion_retention=timedelta(seconds=12)),
        ]
        archive.visit(began + timedelta(seconds=4.9), runs, retention=[kept])
    archive.visit(START + timedelta(seconds=20), [])
    move_to_real_days(tmp_path / "history", PLAYED)

    today = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC)
    with rl.open_history(tmp_path / "history") as history:
        orders = history.sql(
            "SELECT created_at, completed_at, completion_retention FROM sys_invocation_status "
            "WHERE target_service_name = 'Orders' ORDER BY created_at"
        )
        visits = history.sql("SELECT day, started_at, retention FROM visits ORDER BY started_at")
        by_day = rl.ask(history, "throughput_by_day", service="Orders", since=today - timedelta(days=9))
        entries = history.sql("SELECT count(*) AS n FROM sys_journal")["n"][0]
    noons = [today - timedelta(days=2, hours=-12), today - timedelta(days=1, hours=-12)]
    assert orders["created_at"].tolist() == noons
    assert (orders["completed_at"] - orders["created_at"] == took).all()
    assert (orders["completion_retention"] == 2.4 * timedelta(days=1)).all()
    assert by_day["day"].tolist() == [today - timedelta(days=2), today - timedelta(days=1)]
    assert entries == 8
    assert visits["started_at"].iloc[2] == START + timedelta(seconds=20), "after the last day nothing is moved"
    assert visits["started_at"].iloc[0].date() == (today - timedelta(days=2)).date() == visits["day"].iloc[0]
    assert json.loads(visits["retention"].iloc[0])[0]["completion_retention_ms"] == 12_000 * 17_280
