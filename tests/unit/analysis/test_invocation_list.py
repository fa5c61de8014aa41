"""Filters: their arguments, their SQL, and the rule that no value is ever part of the SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from restate_lab.analysis.invocations.filters import Filters, statuses_of
from restate_lab.analysis.invocations.groups import group_invocations
from restate_lab.analysis.invocations.reader import statement_of
from restate_lab.client.sql.bind import bind
from restate_lab.errors import ArgumentError
from restate_lab.status import STATUSES
from support.sample_source import invocations

NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)
ID = "inv_1" + "0" * 33
HOSTILE = "'; DROP TABLE x; -- :limit %_"
EVERY: dict[str, Any] = {
    "status": ["backing-off", "paused"],
    "service": HOSTILE,
    "handler": HOSTILE,
    "key": HOSTILE,
    "deployment": HOSTILE,
    "since": "2h",
    "until": "2026-11-25T03:59:00Z",
    "age": "5m",
    "error_code": HOSTILE,
    "retries": 10,
    "text": HOSTILE,
    "id": ID,
    "ended_since": "3h",
    "ended_until": "2026-11-25T03:58:00Z",
    "sort": "newest",
    "limit": 7,
}


def test_no_value_of_a_filter_is_in_the_statement() -> None:
    made = statement_of(Filters(**EVERY), now=NOW)
    assert "DROP" not in made.sql
    assert bind(made.sql, made.params).count("'''; DROP TABLE x; -- :limit %_'") == 7
    assert bind(made.counting.sql, made.counting.params).count("LIMIT") == 0
    assert made.params["created_before"] == NOW - timedelta(minutes=5)
    assert made.params["since"] == NOW - timedelta(hours=2)


def test_the_condition_on_the_raw_status_is_first_and_excludes_ended_invocations_by_default() -> None:
    assert "WHERE s.status <> 'completed')" in statement_of(Filters(), now=NOW).sql
    made = statement_of(Filters(status=("running", "killed")), now=NOW)
    assert "WHERE s.status IN :raw_status" in made.sql
    assert made.params["raw_status"] == ["invoked", "completed"]
    for word in STATUSES:
        assert statement_of(Filters(status=word), now=NOW).params["status"] == [word]


def test_events_are_joined_only_for_a_text_or_an_error_code() -> None:
    assert "sys_journal_events" not in statement_of(Filters(retries=3), now=NOW).sql
    assert "sys_journal_events" in statement_of(Filters(text="x"), now=NOW).sql


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "completed"}, "unknown status 'completed'"),
        ({"status": ["all", "paused"]}, "and other names"),
        ({"id": "inv_1"}, "not an invocation id"),
        ({"age": "soon"}, "age is 'soon'"),
        ({"since": "2026-11-25T03:00:00"}, "without a zone"),
        ({"retries": "10"}, "retries is '10'"),
        ({"limit": 10_001}, "limit is 10001"),
        ({"limit": None}, "limit is None"),
        ({"service": 7}, "service is 7"),
        ({"sort": "worst"}, "sort is 'worst'"),
        ({"status": "backing_off"}, "did you mean 'backing-off'"),
    ],
)
def test_a_wrong_filter_is_an_error_that_names_it_before_a_read(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        Filters(**wrong)


def test_changed_has_the_keyword_arguments_for_equal_filters() -> None:
    filters = Filters(**EVERY)
    assert Filters(**filters.changed) == filters
    assert Filters().changed == {}
    assert Filters(service="agent", status=("paused",)).changed == {"status": "paused", "service": "agent"}
    assert Filters(status="in-flight") == Filters()


def test_retrying_keeps_rows_that_alternate_between_back_off_and_attempts() -> None:
    statement = statement_of(Filters(status="retrying"), now=NOW)
    assert "(status IN :status OR (status = 'running' AND retry_count > 1))" in statement.sql
    assert statement.params["status"] == ["backing-off"]
    assert statement.params["raw_status"] == ["invoked"]
    assert statuses_of(("attention",)) == ("paused", "retrying", "pending")


def test_failures_with_one_handler_step_and_message_are_a_group_and_the_largest_leads() -> None:
    failing = {"status": "backing-off", "target_service_name": "Payments", "target_handler_name": "charge"}
    frame = invocations(
        {"id": 1, "status": "running"},
        *({"id": n, **failing, "step": "charge", "failure": f"HTTP 503 for order {n}000"} for n in (2, 3, 4)),
        {"id": 5, **failing, "step": "charge", "failure": "timed out"},
        {"id": 6, **failing, "step": "refund", "failure": "HTTP 503 for order 9000"},
        {"id": 7, "status": "paused"},
        *({"id": n, "status": "pending", "target_service_key": "berlin"} for n in (8, 9)),
        {
            "id": 10,
            **failing,
            "status": "running",
            "retry_count": 3,
            "step": "charge",
            "failure": "HTTP 503 for order 1000",
        },
    )
    grouped = group_invocations(frame)
    numbers = [int(id_[5:]) for id_ in grouped["id"]]
    assert numbers == [2, 3, 4, 10, 5, 6, 7, 8, 9, 1], "as in the doctor, a paused one does not precede 15 others"
    sizes = grouped.groupby("group", dropna=False).size().tolist()
    assert sorted(sizes) == [2, 4, 4]
    assert set(grouped["group_label"].dropna()) == {"same step, same error", "same key"}
    assert list(group_invocations(frame, is_sorted=True)["id"]) == list(frame["id"])
