"""Gaps of an archive: which runs may be missing between two visits, by the retention of their handler."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from hypothesis import given, settings, strategies as st

from restate_lab.history.gaps import COLUMNS, gaps

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
