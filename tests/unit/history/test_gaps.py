"""Gaps of an archive: which runs may be missing between two visits, by the retention of their handler."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from hypothesis import given, settings, strategies as st

from restate_lab.history.gaps import COLUMNS, covered_until, gaps

DAY = datetime(2026, 11, 20, tzinfo=UTC)


LATE = round(5 / 3600, 6)  # hours; a visit may miss what has just ended


def at(hours: float) -> datetime:
    return DAY + timedelta(hours=hours)


def kept(**hours: float) -> str:
    return json.dumps(
        [
            {"service": "S", "handler": name, "completion_retention_ms": value * 3_600_000, "journal_retention_ms": 0}
            for name, value in hours.items()
        ]
    )


def visits(*rows: tuple[float, str | None] | tuple[float, str | None, str]) -> pd.DataFrame:
    """Return visits at these hours with these retentions; a third value is the error of a failed visit."""
    return pd.DataFrame(
        {
            "started_at": pd.to_datetime([at(row[0]) for row in rows], utc=True),
            "listed_at": pd.Series([pd.NaT] * len(rows), dtype="datetime64[ns, UTC]"),
            "ended_at": pd.to_datetime([at(row[0] + 1) for row in rows], utc=True),
            "gone_runs": [0] * len(rows),
            "outcome": ["failed" if len(row) > 2 else "complete" for row in rows],
            "retention": [row[1] for row in rows],
            "open_retention": None,
            **dict.fromkeys(("shard", "services")),
            "error": [row[2] if len(row) > 2 else None for row in rows],
        }
    )


def intervals(frame: pd.DataFrame, handler: str = "a") -> list[tuple[float, float]]:
    rows = frame[frame["handler"] == handler]
    hours = [(rows[name] - pd.Timestamp(DAY)) / pd.Timedelta(hours=1) for name in ("missing_from", "missing_until")]
    return list(zip(*(each.round(6).tolist() for each in hours), strict=True))


def test_runs_that_were_removed_during_a_visit_may_be_missing() -> None:
    rows = visits((0, kept(a=4)), (4.5, None))
    assert intervals(gaps(rows, at(0), at(6))) == [(0, 0.5)]
    rows.loc[1, "gone_runs"] = 3
    assert intervals(gaps(rows, at(0), at(6))) == [(0, 1.5)]


def test_runs_that_were_removed_between_the_start_of_a_visit_and_its_list_may_be_missing() -> None:
    rows = visits((0, kept(a=4)), (3.9, None))
    assert intervals(gaps(rows, at(0), at(6))) == []
    rows.loc[1, "listed_at"] = at(4.3)
    assert intervals(gaps(rows, at(0), at(6))) == [(0, 0.3)]


def test_runs_that_ended_after_a_visit_and_expired_before_the_next_may_be_missing() -> None:
    frame = gaps(visits((0, kept(a=1, b=5)), (0.5, None), (3, None), (3.9, None)), at(0), at(4))
    assert tuple(frame.columns) == COLUMNS
    assert intervals(frame) == [(0.5 - LATE, 2.0)]
    assert intervals(frame, "b") == []
    assert frame["retention"].tolist() == [pd.Timedelta(hours=1)]
    reason = "no complete visit between 2026-11-20 00:30:00 and 2026-11-20 03:00:00 UTC"
    assert frame["reason"].tolist() == [f"{reason}, and completed invocations are kept for 1h"]


def test_runs_before_the_first_and_after_the_last_visit_may_be_missing() -> None:
    assert intervals(gaps(visits((5, kept(a=1))), at(0), at(10))) == [(0, 4), (5 - LATE, 9)]
    assert intervals(gaps(visits((5, kept(a=1))), at(4.5), at(5.5))) == []


def test_failed_visits_do_not_close_a_gap_and_are_named_in_its_reason() -> None:
    frame = gaps(visits((0, kept(a=1)), (1, None, "TimedOut: x"), (2, None, "RateLimited: y"), (3, None)), at(0), at(3))
    assert intervals(frame) == [(0, 2)]
    assert frame["reason"][0].endswith("; 2 visits failed, the last one with RateLimited: y")


def test_the_shorter_retention_of_two_visits_counts() -> None:
    frame = gaps(visits((0, kept(a=1)), (2, kept(a=8, b=1)), (6, None)), at(0), at(6))
    assert intervals(frame) == [(0, 1)]
    assert intervals(frame, "b") == [(0, 1), (2 - LATE, 5)]


def test_a_run_that_was_open_at_a_raise_keeps_the_retention_of_its_creation() -> None:
    rows = visits((0, kept(a=1, b=8)), (2, kept(a=8, b=8)), (6, None), (10, None))
    assert intervals(gaps(rows, at(0), at(10))) == [(0, 1)], "unknown"
    rows["open_retention"] = ["[]", kept(a=0.5), kept(a=1), "[]"]
    frame = gaps(rows, at(0), at(17))
    assert intervals(frame) == [(0, 1), (2 - LATE, 5.5), (6 - LATE, 9)]
    assert intervals(frame, "b") == []
    rows["open_retention"] = ["[]", kept(gone=0), "[]", "[]"]
    assert intervals(gaps(rows, at(0), at(10)), "gone") == [(2, 6)]


def test_a_handler_without_retention_has_a_gap_of_the_whole_window() -> None:
    frame = gaps(visits((0, kept(a=0)), (1, None)), at(0), at(2))
    assert intervals(frame) == [(0, 2)]
    assert "does not keep" in frame["reason"][0]


def test_no_gap_is_reported_before_the_first_complete_visit() -> None:
    assert gaps(visits((0, None, "Unreachable: z")), at(0), at(1)).empty


def of_services(*names: str, hours: float = 1) -> str:
    one = {"handler": "a", "completion_retention_ms": hours * 3_600_000, "journal_retention_ms": 0}
    return json.dumps([one | {"service": name} for name in names])


def shards(frame: pd.DataFrame, *services: str | None) -> pd.DataFrame:
    """Return the visits as those of shards: "AB" reads the services A and B, None all."""
    lists = [None if each is None else list(each) for each in services]
    return frame.assign(shard=pd.Series(services, dtype=object), services=pd.Series(lists, dtype=object))


def gaps_of(frame: pd.DataFrame, service: str) -> list[tuple[float, float]]:
    return intervals(frame[frame["service"] == service])


def test_a_period_is_covered_by_visits_that_read_the_service() -> None:
    """Service B moves from the shard AB to the shard B; both end with their last visit."""
    known = of_services("A", "B")
    rows = shards(visits((0, known), (0.9, None), (1.8, known), (3.5, None)), "AB", "AB", "B", "A")
    frame = gaps(rows, at(0), at(4))
    assert gaps_of(frame, "A") == [(0.9 - LATE, 2.5)]
    assert gaps_of(frame, "B") == [(1.8 - LATE, 3.0)]
    failed = shards(visits((0, known), (1, None, "TimedOut: x"), (2, None)), "A", "B", "A")
    assert gaps(failed, at(0), at(2))["reason"].str.contains("failed").tolist() == [False, False]
    assert gaps(shards(failed, "A", "A", "A"), at(0), at(2))["reason"].str.contains("failed").tolist() == [True, False]


def test_a_service_that_no_shard_reads_has_a_gap_until_the_end() -> None:
    known = [of_services("A", "B", hours=2), of_services("A", "B", "C", hours=2), None]
    rows = shards(visits(*enumerate(known)), None, "A", "A")
    frame = gaps(rows, at(0), at(2), {"B": "in no shard", "C": "in no shard"})
    assert (gaps_of(frame, "A"), gaps_of(frame, "B"), gaps_of(frame, "C")) == ([], [(0, 2)], [(0, 2)])
    assert set(frame["reason"]) == {"in no shard"}
    one = of_services("A")
    later = shards(visits(*enumerate([one, one, of_services("A", "C"), one, one])), *"AAAAA")
    assert gaps_of(gaps(later, at(0), at(4), {"C": "in no shard"}), "C") == [(1, 3)], "while the cluster had it"


def test_the_shard_that_was_visited_least_recently_ends_the_period_unless_it_is_late() -> None:
    known = of_services("A", "B", "C", hours=4)
    rows = shards(visits((0, known), (1, known), (3, None)), "A", "B", "A")
    end, omitted = covered_until(rows, {"A": ["A"], "B": ["B"]}, at(3))
    assert (end, omitted) == (at(1), {"C": "the service is in no shard of the archive"})
    rows = shards(visits((0, known), (1, known), (9, None)), "A", "B", "A")
    end, omitted = covered_until(rows, {"A": ["A"], "B": ["B"], "new": ["C"]}, at(9))
    assert end == at(9)
    assert omitted["B"] == "the last complete visit of its shard 'B' was made at 2026-11-20 01:00:00 UTC"
    assert omitted["C"] == "its shard 'new' has not read it in a complete visit"
    frame = gaps(rows, at(0), end, omitted)
    assert (gaps_of(frame, "B"), gaps_of(frame, "A")) == ([(1 - LATE, 9)], [(0, 5)])
    assert covered_until(rows, None, at(9)) == (at(9), {})


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=12, unique=True).map(sorted),
    st.integers(1, 60),
    st.integers(0, 500),
)
def test_a_run_may_be_missing_exactly_if_no_visit_began_while_it_was_kept(
    minutes: list[int], retention: int, ended: int
) -> None:
    frame = gaps(visits(*((each / 60, kept(a=retention / 60)) for each in minutes)), at(0), at(600 / 60))
    seen = any(ended <= each <= ended + retention for each in minutes) or ended + retention >= 600
    missing: Any = any(start * 60 < ended - 1e-6 and ended < end * 60 - 1e-6 for start, end in intervals(frame))
    on_a_boundary = ended in minutes or ended == 0 or ended + retention in {*minutes, 600}
    assert on_a_boundary or missing == (not seen)
