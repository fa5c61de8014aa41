"""Which backlogs drain: the rows of a cluster as flows by minute, and the answer for each service, key and queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, NotOnThisServer
from restate_lab.export.results import forecast_json
from restate_lab.source import Coverage
from support.archives import SampleArchive
from support.sample_rows import NOW, LiveRows, SampleRows, command, invocation, sample_id, waiting_columns

MINUTE = timedelta(minutes=1)
_NUMBERS = count(1)


def calls(ended: int, waiting: int, *, minutes: int = 60, begun: int = 0, **columns: Any) -> Iterator[dict[str, Any]]:
    """Yield ``ended`` calls that end in each minute, ``begun`` that begin in each, and the waiting ones.

    The calls that end began before the window, so that only ``begun`` counts as arrivals. Those wait, too.
    """
    columns = {"completion_retention": timedelta(days=1), "created_at": NOW - timedelta(hours=5)} | columns
    for minute in range(minutes):
        at = NOW - minute * MINUTE - timedelta(seconds=20)
        for _ in range(ended):
            yield invocation(next(_NUMBERS), "succeeded", **columns | {"completed_at": at})
        for _ in range(begun):
            yield invocation(next(_NUMBERS), "inboxed", **columns | {"created_at": at})
    for _ in range(waiting - begun * minutes):
        yield invocation(next(_NUMBERS), "inboxed", **columns)


def forecast(*groups: Iterator[dict[str, Any]], **options: Any) -> rl.Forecast:
    rows = [row for group in groups for row in group]
    names = sorted({row["target_service_name"] for row in rows})
    services = [{"name": name, "deployment_id": "dp_1"} for name in names]
    return rl.forecast(SampleRows(sys_invocation_status=rows, sys_service=services, **options))


def row_of(result: rl.Forecast, service: str, level: str = "service") -> dict[Any, Any]:
    frame = result.frame
    (row,) = frame[(frame["service"] == service) & (frame["level"] == level)].to_dict("records")
    return row


def test_a_backlog_that_drains_has_an_interval_and_one_that_grows_has_none() -> None:
    result = forecast(calls(10, 200, service="Drains"), calls(2, 200, begun=3, service="Grows"))
    drains, grows = row_of(result, "Drains"), row_of(result, "Grows")
    assert (drains["waiting"], drains["arrivals"], drains["completions"], drains["minutes"]) == (200, 0, 10, 60)
    assert drains["earliest"] <= pd.Timedelta(minutes=20) <= drains["latest"]
    assert (grows["answer"], grows["waiting"], grows["arrivals"], grows["completions"]) == ("growing", 200, 3, 2)
    assert pd.isna(grows["earliest"])
    assert list(result.frame["service"]) == ["Grows", "Drains"], "the worst first"
    assert result.summary == "1 backlog will not drain · 1 backlog will drain"
    assert "  Grows: 200 waiting, 3.0 arrive and 2.0 end a minute; growing, will not drain" in str(result)
    assert "growing, will not drain" in result._repr_html_()


def test_few_completions_are_unknown_and_nothing_waiting_is_empty() -> None:
    result = forecast(calls(0, 5, service="Stuck"), calls(3, 0, service="Idle"))
    assert row_of(result, "Stuck")["reason"] == "fewer than 30 completions"
    assert (row_of(result, "Idle")["answer"], row_of(result, "Idle")["reason"]) == ("empty", None)
    assert "Idle" not in str(result)
    assert forecast().summary == "nothing waits"


def test_running_retrying_and_scheduled_calls_are_not_the_backlog() -> None:
    later = {"scheduled_at": NOW, "scheduled_start_at": NOW + timedelta(hours=1)}
    rows = [
        *(invocation(1, "inboxed"), invocation(2, "invoked"), invocation(3, "invoked"), invocation(4, "invoked")),
        *(invocation(5, "scheduled", **later), invocation(6, "suspended"), invocation(7, "paused")),
    ]
    states = [{"id": rows[2]["id"], "in_flight": True}, {"id": rows[3]["id"], "in_flight": False, "retry_count": 3}]
    row = row_of(rl.forecast(SampleRows(sys_invocation_status=rows, sys_invocation_state=states)), "Svc")
    assert [row[name] for name in ("waiting", "running", "retrying", "scheduled")] == [2, 1, 1, 1]


def test_a_hot_key_and_a_full_scope_have_rows_of_their_own() -> None:
    """The service as a whole drains; its key does not."""
    result = forecast(
        calls(10, 50, service="Cart"),
        calls(1, 150, begun=2, service="Cart", target_service_key="hot"),
        calls(1, 9, service="Cart", target_service_key="small"),
        calls(5, 40, service="Mail", scope="tenant-1", limit_key="a"),
    )
    key, queue, whole = row_of(result, "Cart", "key"), row_of(result, "Mail", "queue"), row_of(result, "Cart")
    assert (key["key"], key["waiting"], key["arrivals"], key["completions"], key["answer"]) == (
        "hot",
        150,
        2,
        1,
        "growing",
    )
    assert (whole["waiting"], whole["completions"], whole["answer"]) == (209, 12, "drains")
    assert (queue["scope"], queue["limit_key"], queue["waiting"], queue["answer"]) == ("tenant-1", "a", 40, "drains")
    assert pd.isna(key["running"])
    assert "Cart/hot: 150 waiting" in str(result)
    assert "Mail in scope tenant-1 with limit key a: 40 waiting" in str(result)


def test_equal_keys_of_two_services_are_apart() -> None:
    result = forecast(
        calls(1, 120, begun=2, service="Cart", target_service_key="k"),
        calls(10, 100, service="Order", target_service_key="k"),
    )
    assert (row_of(result, "Cart", "key")["completions"], row_of(result, "Order", "key")["completions"]) == (1, 10)


def test_delayed_calls_arrive_when_they_start() -> None:
    """A delayed call that was created long ago arrives in its minute; those to come move the end."""
    begun = {"scheduled_at": NOW - timedelta(hours=4), "scheduled_start_at": NOW - 10 * MINUTE}
    later = {"scheduled_at": NOW, "scheduled_start_at": NOW + 5 * MINUTE}
    wave = [invocation(next(_NUMBERS), "scheduled", created_at=NOW - timedelta(hours=4), **later) for _ in range(300)]
    plain = forecast(calls(10, 200))
    assert row_of(forecast(calls(10, 200, **begun)), "Svc")["arrivals"] == (200 + 600) / 60
    assert row_of(forecast(calls(10, 200), iter(wave)), "Svc")["earliest"] > row_of(plain, "Svc")["latest"]


def test_a_retention_shorter_than_the_window_shortens_it() -> None:
    short = forecast(calls(10, 200, completion_retention=timedelta(minutes=20)))
    assert (row_of(short, "Svc")["minutes"], row_of(short, "Svc")["completions"]) == (20, 10)
    none = row_of(forecast(calls(0, 200, completion_retention=timedelta())), "Svc")
    assert none["reason"] == "completed calls are kept for 0s, so the last ones are not known"


class Moves:
    """Progress that puts other rows and a later time in place before the second reading."""

    def __init__(self, source: SampleRows, rows: list[dict[str, Any]]) -> None:
        self.source, self.rows = source, rows

    def update(self, rows: int, size: int) -> None:
        self.source.put(sys_invocation_status=self.rows)
        self.source.now = NOW + MINUTE

    def close(self) -> None: ...


def test_rates_come_from_two_readings_where_completed_calls_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 calls wait, of which 40 have ended at the second reading, and 10 have come; one row is not one call."""
    monkeypatch.setattr("restate_lab.analysis.forecast._LEAST_APART", 0)
    none = {"completion_retention": timedelta(), "service": "Quick"}
    first = list(calls(0, 600, **none))
    second = [*first[40:], *calls(0, 10, **none, created_at=NOW + MINUTE / 2)]
    source = LiveRows(sys_invocation_status=first, sys_service=[{"name": "Quick", "deployment_id": "dp_1"}])
    result = rl.forecast(source, apart="0.2s", progress=Moves(source, second))
    row = row_of(result, "Quick")
    assert row["completions"] / row["arrivals"] == pytest.approx(4)
    assert row["answer"] == "drains"
    rate = (row["completions"] - row["arrivals"]) / MINUTE.total_seconds()
    assert row["earliest"].total_seconds() <= 600 / rate + 1
    assert result.reasons[0].startswith("completed calls of Quick, which are not kept: the rates are those of ")
    for unread in (
        rl.forecast(source, apart=None),
        rl.forecast(SampleRows(sys_invocation_status=first)),
        rl.forecast(source, apart="0.2s", progress=Moves(source, first)),
    ):
        assert row_of(unread, "Quick")["answer"] == "unknown"


def sleepers(*wakes: timedelta, length: timedelta, **columns: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return suspended calls whose sleeps of a length end at these times from now, and their journals."""
    rows, entries = [], []
    for wake in wakes:
        row = invocation(next(_NUMBERS), created_at=NOW - timedelta(hours=4), **waiting_columns(1), **columns)
        rows.append(row | {"partition_key": len(rows)})
        ends = NOW + wake
        entry = command(row["id"], 1, "Sleep", completion_id=1, wake_up_time=round(ends.timestamp() * 1000))
        entries.append(entry | {"appended_at": ends - length})
    return rows, entries


def test_sleeps_that_end_are_a_wave_unless_as_many_end_as_usual() -> None:
    """300 sleeps that end in 5 minutes move the end; those that end every 30 seconds, as ever, do not."""
    plain = row_of(forecast(calls(10, 200)), "Svc")
    for wakes, length in (([5 * MINUTE] * 300, 4), ([each * MINUTE / 2 for each in range(120)], 1)):
        rows, entries = sleepers(*wakes, length=timedelta(hours=length))
        result = forecast(calls(10, 200), iter(rows), sys_journal=entries)
        row = row_of(result, "Svc")
        assert row["waking"] == len(wakes)
        if length == 1:
            assert (row["earliest"], row["latest"]) == (plain["earliest"], plain["latest"])
        else:
            assert row["earliest"] > plain["latest"]
        assert result.not_read.empty
    assert plain["waking"] == 0


def test_a_part_of_many_journals_is_read_and_counts_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.forecast.reader.MOST_JOURNALS", 30)
    rows, entries = sleepers(*[5 * MINUTE] * 300, length=timedelta(hours=4))
    result = forecast(calls(10, 200), iter(rows), sys_journal=entries)
    assert row_of(result, "Svc")["waking"] == 300
    assert result.reasons == ["the sleeps of 270 of 300 suspended calls, which are counted like those of the others"]


def leaving(**options: Any) -> SampleRows:
    """Return a source with two deployments: one has Old and Both, the other Both and Other."""
    rows = [
        invocation(1, "suspended", service="Old", pinned_deployment_id="dp_old"),
        invocation(2, "inboxed", service="Old"),
        invocation(3, "inboxed", service="Both"),
        invocation(4, "invoked", service="Both", pinned_deployment_id="dp_old"),
        invocation(5, "scheduled", service="Old"),
        invocation(6, "succeeded", service="Old", pinned_deployment_id="dp_old"),
        invocation(7, "paused", service="Both", pinned_deployment_id="dp_new"),
        invocation(8, "inboxed", service="Both", target_service_key="k", created_at=NOW),
    ]
    return SampleRows(
        sys_invocation_status=rows,
        sys_invocation_state=[{"id": sample_id(4), "in_flight": True}],
        sys_service=[{"name": name, "deployment_id": f"dp_{at}"} for name, at in {"Old": "old", "Both": "new"}.items()],
        sys_deployment=[
            {"id": "dp_old", "services": ["Old", "Both"], "created_at": NOW},
            {"id": "dp_new", "services": ["Both", "Other"], "created_at": NOW},
        ],
        sys_inbox=[{"id": sample_id(8), "service_name": "Both", "service_key": "k"}],
        sys_keyed_service_status=[{"service_name": "Both", "service_key": "k", "invocation_id": sample_id(4)}],
        **options,
    )


def test_the_calls_that_need_a_deployment_are_stuck_without_it() -> None:
    result = rl.forecast(leaving(), without_deployment="dp_old")
    stuck = {row["id"]: (row["status"], row["cause"]) for row in result.stuck.to_dict("records")}
    assert stuck == {
        sample_id(1): ("suspended", "pinned"),
        sample_id(2): ("pending", "service"),
        sample_id(4): ("running", "pinned"),
        sample_id(5): ("scheduled", "service"),
        sample_id(8): ("pending", "key"),
    }
    assert result.stuck["reason"].iloc[-1] == f"waits for the key Both/k, which {sample_id(4)} holds"
    assert result.summary == "5 open calls would be stuck without dp_old"
    assert result.frame.empty
    assert result.not_read.empty
    assert "pinned to it" in str(result)
    assert "pinned to it" in result._repr_html_()
    data = forecast_json(result)
    assert (data["without_deployment"], len(data["stuck"]), data["counts"]["calls"].sum()) == ("dp_old", 5, 5)
    of_service = rl.forecast(leaving(), without_deployment="dp_old", service="Both")
    assert set(of_service.stuck["id"]) == {sample_id(4), sample_id(8)}


def test_nothing_is_stuck_without_an_unused_deployment_and_an_unknown_one_is_refused() -> None:
    source = leaving()
    latest = [{"name": "Both", "deployment_id": "dp_old"}]
    source.put(sys_invocation_status=[invocation(3, "inboxed", service="Both")], sys_service=latest)
    result = rl.forecast(source, without_deployment="dp_old")
    assert (result.summary, len(result.stuck)) == ("no open call would be stuck without dp_old", 0)
    assert result.reasons == [
        "handlers that the next deployment of a service does not have: only a live cluster has them"
    ]
    with pytest.raises(ArgumentError, match=r"No deployment 'dp_odd' on made\. Did you mean 'dp_old'"):
        rl.forecast(source, without_deployment="dp_odd")


def test_all_stuck_calls_are_counted_and_the_oldest_of_each_kind_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.forecast.stuck.MOST_LISTED", 2)
    source = leaving()
    times = [NOW - each * MINUTE for each in range(5)]
    source.put(
        sys_invocation_status=[invocation(n, "inboxed", service="Old", created_at=at) for n, at in enumerate(times)]
    )
    result = rl.forecast(source, without_deployment="dp_old")
    assert list(result.stuck["id"]) == [sample_id(4), sample_id(3)]
    assert result.stuck_counts.to_dict("records") == [
        {"service": "Old", "status": "pending", "cause": "service", "calls": 5}
    ]
    assert result.reasons[0].startswith("3 more calls are counted and not listed")


class ArchivedRows(SampleRows):
    """Rows of a cluster and of its archive since yesterday."""

    @property
    def coverage(self) -> Coverage:
        return Coverage(since=NOW - timedelta(days=1))


def test_an_archive_keeps_the_completed_calls_that_the_cluster_removes() -> None:
    rows = list(calls(10, 200, completion_retention=timedelta(minutes=1)))
    result = rl.forecast(ArchivedRows(sys_invocation_status=rows))
    assert (row_of(result, "Svc")["minutes"], row_of(result, "Svc")["answer"]) == (60, "drains")


def test_a_server_without_scopes_has_keys_only() -> None:
    without = ("sys_invocation_status.scope", "sys_invocation_status.limit_key")
    result = forecast(calls(1, 150, begun=2, service="Cart", target_service_key="hot"), without=without)
    assert row_of(result, "Cart", "key")["answer"] == "growing"


def test_a_wrong_window_or_service_and_an_archive_are_refused() -> None:
    source = SampleRows(sys_invocation_status=list(calls(1, 1)))
    for window in ("5m", "1d 1h"):
        with pytest.raises(ArgumentError, match=f"window is {window}; use 10m to 24h"):
            rl.forecast(source, window=window)
    with pytest.raises(ArgumentError, match="No service 'Nope'"):
        rl.forecast(source, service="Nope")


def test_an_archive_has_no_backlog(tmp_path: Path) -> None:
    archive = SampleArchive(tmp_path / "history")
    archive.visit(NOW)
    with rl.open_history(archive.path) as history, pytest.raises(NotOnThisServer, match="has only invocations that"):
        rl.forecast(history)
