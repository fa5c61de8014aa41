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
from restate_lab.source import Coverage
from support.archives import SampleArchive
from support.sample_rows import NOW, SampleRows, invocation

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
