"""Filters: what they take, the SQL they make, and that no value ever stands in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from restate_lab.client.sql.bind import bind
from restate_lab.errors import ArgumentError
from restate_lab.panels.filters import Filters
from restate_lab.panels.invocations.filter_bar import FilterBar
from restate_lab.status import STATUSES

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
    "limit": 7,
}


@pytest.mark.parametrize("has_vqueues", [False, True])
def test_values_enter_by_name_alone(has_vqueues: bool) -> None:
    """With every filter at once, no value stands in the statement, and it binds as it stands."""
    made = Filters(**EVERY).statement(now=NOW, has_vqueues=has_vqueues)
    assert "DROP" not in made.sql
    assert bind(made.sql, made.params).count("'''; DROP TABLE x; -- :limit %_'") == 6
    assert bind(made.counting.sql, made.counting.params).count("LIMIT") == 0
    assert made.params["created_before"] == NOW - timedelta(minutes=5)
    assert made.params["since"] == NOW - timedelta(hours=2)


def test_the_raw_status_stands_first() -> None:
    """What the server's scan takes in is the first condition, and by default leaves out what has ended."""
    assert "WHERE s.status <> 'completed')" in Filters().statement(now=NOW, has_vqueues=False).sql
    made = Filters(status=("running", "killed")).statement(now=NOW, has_vqueues=False)
    assert "WHERE s.status IN :raw_status" in made.sql
    assert made.params["raw_status"] == ["invoked", "completed"]
    for word in STATUSES:
        assert Filters(status=word).statement(now=NOW, has_vqueues=True).params["status"] == [word]


def test_events_are_read_only_where_a_failure_is_asked_for() -> None:
    """The journal's events, which cost a scan, are joined for a text or an error code, and else not."""
    assert "sys_journal_events" not in Filters(retries=3).statement(now=NOW, has_vqueues=True).sql
    assert "sys_journal_events" in Filters(text="x").statement(now=NOW, has_vqueues=True).sql


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "completed"}, "'completed' is none"),
        ({"status": ["all", "paused"]}, "and others"),
        ({"id": "inv_1"}, "no invocation id"),
        ({"age": "soon"}, "age is 'soon'"),
        ({"since": "2026-11-25T03:00:00"}, "without a zone"),
        ({"retries": "10"}, "retries is '10'"),
        ({"limit": 10_001}, "limit is 10001"),
        ({"limit": None}, "limit is None"),
        ({"service": 7}, "service is 7"),
    ],
)
def test_what_does_not_fit_is_said(wrong: dict[str, Any], said: str) -> None:
    """A wrong filter is an ArgumentError that names it, before anything is sent."""
    with pytest.raises(ArgumentError, match=said):
        Filters(**wrong)


def test_given_makes_the_same_filters() -> None:
    """``given`` has what differs from an untouched panel, as keywords that make the same filters."""
    made = Filters(**EVERY)
    assert Filters(**made.given) == made
    assert Filters().given == {}
    assert Filters(service="agent", status=("paused",)).given == {"status": ["paused"], "service": "agent"}


def test_the_fields_say_what_the_filters_are() -> None:
    """Filters go through the fields and back unchanged; "all" and single statuses take each other out."""
    told: list[Filters] = []
    bar = FilterBar(Filters(**EVERY), lambda: told.append(bar.filters))
    assert bar.filters == Filters(**EVERY)
    exact = Filters(age=timedelta(hours=2), since=NOW)
    for made in (exact, Filters(age=7200.5, since=NOW)):
        bar.filters = made
        assert bar.filters == made
    assert made.age == timedelta(seconds=7200.5)
    bar.filters = exact
    assert told == []
    bar._fields["service"].value = " agent "
    bar._chips["paused"].value = True
    bar._chips["all"].value = True
    assert told[-1] == Filters(age=timedelta(hours=2), since=NOW, service="agent", status=("all",))
    bar._chips["failed"].value = True
    assert told[-1].status == ("failed",)
    bar._none.click()
    assert told[-1] == Filters()
    assert len(told) == 5


def test_a_field_with_what_does_not_fit_raises_and_stays() -> None:
    """What was typed stays to be corrected, and the error names the field."""
    bar = FilterBar(Filters(), lambda: None)
    bar._fields["retries"].value = "many"
    with pytest.raises(ArgumentError, match="retries is 'many'"):
        _ = bar.filters
    assert bar._fields["retries"].value == "many"
