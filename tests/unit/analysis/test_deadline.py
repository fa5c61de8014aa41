"""A source with a time limit: it passes reads on, and the limit covers all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.deadline import Deadline, within
from restate_lab.client.arguments import seconds_left, time_limit
from restate_lab.errors import ArgumentError, TimedOut
from support.row_source import RowSource


class Counting(RowSource):
    """A source that records the seconds that a request without a timeout may take, and counts requests."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0
        self.allowed: list[float] = []

    def _ask(self) -> None:
        self.asked += 1
        self.allowed.append(seconds_left(120.0))

    @property
    def now(self) -> datetime:
        self._ask()
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.asked)

    @property
    def version(self) -> str:
        self._ask()
        return "1.7.12"

    @property
    def features(self) -> dict[str, bool]:
        self._ask()
        return {}

    def tables(self) -> pd.DataFrame:
        self._ask()
        return pd.DataFrame({"asked": [self.asked]})

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame:
        self._ask()
        return pd.DataFrame({"asked": [self.asked], "timeout": [timeout]})


class TooSlow(Counting):
    """A source that answers no statement in time."""

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame:
        super().rows(statement, params, timeout=timeout)
        raise TimedOut("too slow")


def test_what_takes_no_timeout_is_limited_all_the_same() -> None:
    """The clock, the version, the features and the list of tables may take the rest of the time, and not longer."""
    source = Counting()
    limited = within(source, "10s", verb="waits")
    _ = (limited.now, limited.version, limited.features, limited.tables())
    assert len(source.allowed) == 4
    assert all(0 < each <= 10 for each in source.allowed)
    _ = source.now
    assert source.allowed[-1] == 120


def test_without_a_memory_everything_is_read_each_time() -> None:
    """A verb that polls gets fresh results; the doctor, whose checks share statements, gets them from memory."""
    source = Counting()
    for remembers, reads in ((True, 2), (False, 4)):
        before = source.asked
        limited = Deadline(source, 10, timeout_message="over", remembers=remembers)
        first, second = (limited.sql("SELECT 1"), limited.now), (limited.sql("SELECT 1"), limited.now)
        assert source.asked - before == reads
        assert (first[1] == second[1]) == remembers


def test_a_failure_for_lack_of_time_is_remembered_where_there_was_no_more() -> None:
    """A read that failed with less than the whole time is sent again for the next caller; otherwise it is not."""
    source = TooSlow()
    limited = Deadline(source, 10, timeout_message="over")
    for timeout, asked in ((1, 1), (1, 2), (None, 3), (None, 3), (1, 3)):
        with pytest.raises(TimedOut, match="too slow"):
            limited.sql("SELECT 1", timeout=timeout)
        assert source.asked == asked


def test_a_timeout_of_none_leaves_the_source_alone() -> None:
    """Without a timeout a verb uses its source directly."""
    source = Counting()
    assert within(source, None, verb="waits") is source


@pytest.mark.parametrize("wrong", ["soon", -1, float("nan"), float("inf"), True])
def test_what_is_no_time_limit_is_refused(wrong: Any) -> None:
    """The error names the parameter, and nothing is sent."""
    source = Counting()
    with pytest.raises(ArgumentError, match="timeout"):
        within(source, wrong, verb="waits")
    assert source.asked == 0


def test_the_error_says_which_verb_and_what_to_do() -> None:
    """Once the time is over nothing is sent, and the message has the verb, its timeout and the parameter."""
    source = Counting()
    with pytest.raises(TimedOut, match=r"waits did not finish within its timeout of 0s; pass a longer timeout="):
        within(source, 0, verb="waits").sql("SELECT 1")
    assert source.asked == 0


def test_an_inner_limit_is_never_longer_than_the_outer_one() -> None:
    """A verb that calls another one keeps its own time limit."""
    with time_limit(5), time_limit(60):
        assert seconds_left(120) <= 5
    with time_limit(60), time_limit(5):
        assert seconds_left(120) <= 5
    assert seconds_left(120) == 120
