"""The questions about days and weeks have the numbers that pandas computes from the same rows."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.questions import questions
from restate_lab.analysis.questions.parameters import parse_texts
from restate_lab.errors import ArgumentError
from support.history_rows import AT, DEPLOYMENT, OLD_DEPLOYMENT, Weeks, WeekTables
from support.sample_rows import SampleRows, invocation

SINCE = "60d"
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CLOSE: dict[str, Any] = {"rtol": 1e-6, "check_dtype": False, "check_names": False, "check_index_type": False}


@pytest.fixture(scope="module")
def weeks() -> Weeks:
    return Weeks(1, days=4, per_day=40, rate=0.2, slower=1.5)


@pytest.fixture(scope="module")
def source(weeks: Weeks) -> WeekTables:
    return weeks.source()


@pytest.fixture(scope="module")
def runs(weeks: Weeks, source: WeekTables) -> pd.DataFrame:
    rows = pd.DataFrame(weeks.tables["sys_invocation_status"])
    for name in ("created_at", "completed_at"):
        rows[name] = rows[name].dt.floor("ms")
    rows["day"] = rows["completed_at"].dt.floor("D")
    rows["ms"] = (rows["completed_at"] - rows["created_at"]) / pd.Timedelta("1ms")
    return rows


def failure(number: int, at: datetime, text: str, *, service: str = "Pay", result: str = "failure") -> dict[str, Any]:
    return {
        "id": f"inv_1{number:033}",
        "status": "completed",
        "target_service_name": service,
        "target_handler_name": "run",
        "completion_result": result,
        "completion_failure": text if result == "failure" else None,
        "created_at": at,
        "completed_at": at,
    }


def test_throughput_by_day_counts_ends_by_result_and_the_share_of_failures(
    source: WeekTables, runs: pd.DataFrame
) -> None:
    frame = rl.ask(source, "throughput_by_day", since=SINCE).set_index("day")
    days = runs.groupby("day")["completion_result"]
    pd.testing.assert_series_equal(frame["completed"], days.size(), **CLOSE)
    failed = days.agg(lambda results: (results == "failure").sum())
    pd.testing.assert_series_equal(frame["failed"], failed, **CLOSE)
    pd.testing.assert_series_equal(frame["failed_percent"], 100 * failed / days.size(), **CLOSE)
    assert (frame["succeeded"] + frame["failed"] == frame["completed"]).all()


def ends(apart: timedelta, *, number: int = 100, service: str = "Pay") -> list[dict[str, Any]]:
    """Return invocations that succeeded; ``apart`` is the time between the first end and the last one, which is now."""
    return [
        invocation(at, "succeeded", service=service, completed_at=NOW - apart * at / max(number - 1, 1))
        for at in range(number)
    ]


@pytest.mark.parametrize(
    ("apart", "length"),
    [(timedelta(0), "1s"), (timedelta(minutes=2), "2s"), (timedelta(hours=1), "60s"), (timedelta(hours=24), "1800s")],
)
def test_throughput_has_at_most_61_round_spans_from_the_first_to_the_last_end(apart: timedelta, length: str) -> None:
    """The length does not depend on ``since``, and ``attrs`` has it, so that a plot can name it."""
    old = invocation(100, "succeeded", service="Old", completed_at=NOW - timedelta(days=9))
    source = SampleRows(now=NOW, sys_invocation_status=[*ends(apart), old])
    for frame in (rl.ask(source, "throughput", since="25h"), rl.ask(source, "throughput", since="25h", bin="auto")):
        assert frame.attrs["params"]["bin"] == length
        assert (frame["completed"].sum(), len(frame) <= 61) == (100, True)
    assert rl.ask(source, "throughput", since="30d", service="Old").attrs["params"]["bin"] == "1s"
    assert rl.ask(source, "throughput", since="25h", bin="6h").attrs["params"]["bin"] == "21600s"


def test_throughput_without_rows_is_empty_and_a_wrong_length_is_refused() -> None:
    source = SampleRows(now=NOW)
    assert rl.ask(source, "throughput").empty
    with pytest.raises(ArgumentError, match="bin is 'automatic'"):
        rl.ask(source, "throughput", bin="automatic")
    with pytest.raises(ArgumentError, match="bin of throughput must not be None"):
        rl.ask(source, "throughput", bin=None)


def test_a_time_within_a_day_includes_the_whole_day(source: WeekTables, runs: pd.DataFrame) -> None:
    day = runs["day"].unique()[2]
    frame = rl.ask(source, "throughput_by_day", since=day + pd.Timedelta("18h"))
    assert frame["day"].iloc[0] == day
    assert frame["completed"].iloc[0] == (runs["day"] == day).sum()


def test_percentiles_of_latency_by_day_are_exact(source: WeekTables, runs: pd.DataFrame) -> None:
    frame = rl.ask(source, "latency_by_day", since=SINCE).set_index("day")
    days = runs.groupby("day")["ms"]
    for column, share in {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}.items():
        pd.testing.assert_series_equal(frame[column], days.quantile(share), **CLOSE)
    assert list(frame["invocations"]) == list(days.size())


def test_slow_steps_has_exact_percentiles_by_deployment_and_the_slower_step_first(
    weeks: Weeks, source: WeekTables
) -> None:
    frame = rl.ask(source, "slow_steps", since=SINCE)
    assert frame[["step", "deployment_id"]].to_numpy().tolist() == [
        ["charge card", DEPLOYMENT],
        ["charge card", OLD_DEPLOYMENT],
        *[["write order #", each] for each in frame["deployment_id"][2:]],
    ]
    entries = pd.DataFrame(weeks.tables["sys_journal"])
    entries["ms"] = entries["appended_at"].dt.floor("ms").astype("int64")
    entries["run"] = (entries["entry_type"] == "Command: Run").cumsum()  # a step's result follows its command
    steps = entries.groupby("run").agg(
        id=("id", "first"), step=("name", "first"), ms=("ms", lambda at: at.max() - at.min())
    )
    unit = {"us": 1_000, "ns": 1_000_000}.get(entries["appended_at"].dt.unit, 1)
    is_new = steps["id"].map(pd.DataFrame(weeks.tables["sys_invocation_status"]).set_index("id")["created_at"] >= AT)
    durations = steps.loc[(steps["step"] == "charge card") & is_new, "ms"] / unit
    row = frame.iloc[0]
    assert (row["completed"], row["open"]) == (len(durations), 0)
    assert row["p50_ms"] == pytest.approx(durations.median(), rel=1e-6)
    assert row["p90_ms"] == pytest.approx(durations.quantile(0.9), rel=1e-6)
    assert row["total_ms"] == pytest.approx(durations.sum())


def test_usage_sums_invocations_commands_and_bytes_per_day_and_tokens_of_an_archive(
    weeks: Weeks, runs: pd.DataFrame
) -> None:
    live = rl.ask(weeks.source(), "usage", since=SINCE).set_index("day")
    days = runs.groupby("day")
    assert list(live["invocations"]) == list(days.size())
    assert list(live["commands"]) == list(days["journal_commands_size"].sum())
    assert list(live["journal_bytes"]) == [40 * count for count in days.size()]
    assert live["input_tokens"].isna().all()
    day = runs["day"].iloc[0]
    steps = [{"day": day.date(), "service": "Shop", "input_tokens": 70, "output_tokens": n} for n in (1, 2)]
    archived = rl.ask(weeks.source(agent_steps=steps, visits=[]), "usage", since=SINCE)
    assert archived[["input_tokens", "output_tokens"]].iloc[0].tolist() == [140, 3]
    assert archived["input_tokens"].isna().sum() == len(archived) - 1


def test_an_error_family_keeps_its_name_with_its_days_pause_return_and_trend() -> None:
    ago = {days: NOW - timedelta(days=days) for days in range(30)}
    card = [failure(n, ago[days], f"[402] card 4{n} declined\nmore") for n, days in enumerate((20, 20, 19, 3, 2))]
    steady = [failure(10 + days, ago[days], "[500 Internal] no stock") for days in range(14)]
    other = [
        failure(30, ago[20], "[422] bad postcode"),
        failure(31, ago[1], "[409] killed"),
        failure(32, ago[1], "[409] Cancelled"),
    ]
    event = '{"restate_doc_error_code": "RT0007", "error_message": "timeout after 31 ms\\nmore"}'
    events = [
        {"id": card[0]["id"], "event_type": kind, "event_json": event, "appended_at": ago[1]}
        for kind in ("TransientError", "TransientError", "Paused")
    ]
    source = WeekTables(NOW, sys_invocation_status=card + steady + other, sys_journal_events=events)
    frame = rl.ask(source, "error_families").set_index("message")
    assert set(frame.index) == {"card # declined", "no stock", "bad postcode", "timeout after # ms"}
    row = frame.loc["card # declined"]
    assert (row["code"], row["kind"], row["invocations"], row["days"]) == ("402", "failed", 5, 4)
    assert (row["first_at"], row["last_at"]) == (ago[20], ago[2])
    assert (row["came_back"], row["came_back_at"], row["longest_pause"]) == (True, ago[3], 15)
    assert (row["trend"], row["invocations_7d"], row["invocations_before"]) == ("more", 2, 0)
    fingerprint = hashlib.sha256(b"Pay/run\nfailed\n402\ncard # declined").hexdigest()
    assert row["family"] == f"v1-{fingerprint[:12]}"
    assert row["example_message"] == "card 44 declined"
    assert frame.loc["no stock", ["trend", "came_back"]].tolist() == ["steady", False]
    assert frame.loc["bad postcode", "trend"] == "gone"
    retried = frame.loc["timeout after # ms"]
    assert (retried["kind"], retried["code"], retried["invocations"], retried["trend"]) == (
        "retried",
        "RT0007",
        1,
        "new",
    )
    assert not rl.ask(source, "error_families", pause=16)["came_back"].any()


def test_slo_has_the_budget_its_rest_and_the_burn_rates_of_three_windows() -> None:
    rows = [failure(n, NOW - timedelta(days=9), "", result="success") for n in range(990)]
    rows += [failure(990 + n, NOW - timedelta(days=9), "[500] broken") for n in range(2)]
    rows += [failure(995 + n, NOW - timedelta(hours=2), "", result="success") for n in range(7)]
    rows += [failure(1_005, NOW - timedelta(hours=2), "[500] broken"), failure(1_006, NOW, "[409] killed")]
    rows += [failure(1_007, NOW - timedelta(days=31), "[500] before the window")]
    frame = rl.ask(WeekTables(NOW, sys_invocation_status=rows), "slo", objective=99.5)
    row = frame.iloc[0]
    assert (row["invocations"], row["failed"], row["stopped"]) == (1_000, 3, 1)
    assert row["success_percent"] == pytest.approx(99.7)
    assert row["budget"] == pytest.approx(5)
    assert row["budget_left_percent"] == pytest.approx(40)
    assert row["burn_rate"] == pytest.approx(0.6)
    assert row["burn_rate_1d"] == pytest.approx(1 / 8 / 0.005)
    assert pd.isna(row["burn_rate_1h"])
    nothing_allowed = rl.ask(WeekTables(NOW, sys_invocation_status=rows), "slo", objective=100, window="1d")
    assert pd.isna(nothing_allowed["burn_rate"].iloc[0])


def test_slo_accepts_a_percentage_as_number_or_text_and_refuses_other_values() -> None:
    listed = questions().set_index("name")
    assert listed.loc["slo", "parameters"] == "objective=99.9, window=30d, service=none, limit=1000"
    assert parse_texts("slo", {"objective": "99.95"}) == {"objective": 99.95}
    with pytest.raises(ArgumentError, match="use a percentage from 0 to 100"):
        parse_texts("slo", {"objective": "much"})
    for wrong in (101, -1, "99", True, float("nan")):
        with pytest.raises(ArgumentError, match=r"objective is .*: pass a percentage from 0 to 100"):
            rl.ask(WeekTables(NOW), "slo", objective=wrong)
