"""Whether the backlogs of a cluster drain, and the open calls that need a deployment: two questions.

``model`` has the answer about one backlog, and ``stuck`` the calls that need a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._text import format_duration
from restate_lab.analysis.draining.model import ORDER, Group, Window, describe_backlog, group_of
from restate_lab.errors import ArgumentError
from restate_lab.frames import records, rows_to_table, to_frame
from restate_lab.reads import Reads
from restate_lab.source import Coverage

MOST_GROUPS = 50
"""The keys and queues with the most waiting calls that have rows of their own."""
LEAST_WAITING = 10
"""A key or queue with fewer waiting calls is only part of its service."""
RECENT = 3  # the last third of the window; what has not moved since then is stuck
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=30)
_COUNTS = ("waiting", "behind_keys", "in_paused", "under_limits", "stuck_arrivals", "arrivals", "ends")
_COLUMNS: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("level", *Group._fields), pa.string()),
    **dict.fromkeys(("waiting", "stuck"), pa.int64()),
    **dict.fromkeys(("arrivals", "completions"), pa.float64()),
    "answer": pa.string(),
    "empty_in": pa.duration("s"),
    "reason": pa.string(),
}


def read_draining(reads: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the question ``draining``.

    Raises:
        ArgumentError: the window is too short or too long.
    """
    length = values["window"]
    if not _SHORTEST <= length <= _LONGEST:
        limits = f"{format_duration(_SHORTEST)} to {format_duration(_LONGEST)}"
        raise ArgumentError(f"window is {format_duration(length)}; use {limits}.")
    window = Window(reads.now - length, reads.now - length / RECENT, reads.now)
    counts = _read_counts(reads, values["service"], window)
    whole = counts.groupby("service", as_index=False).agg(
        {**dict.fromkeys(_COUNTS, "sum"), "last_completed_at": "max", "completion_retention": "min"}
    )
    is_part = counts["key"].notna() | counts["scope"].notna()
    parts = counts[is_part & (counts["waiting"] >= LEAST_WAITING)]
    kept = {row["service"]: row["completion_retention"] for row in records(whole)}
    unread = {name: _why_unread(name, kept[name], window, reads.coverage) for name in kept}
    rows = [
        describe_backlog(row, window, unread[row["service"]])
        for row in records(pd.concat([whole, parts]))
        if row["waiting"]
    ]
    rows.sort(key=lambda row: (ORDER.index(row["answer"]), -row["waiting"], str(group_of(row))))
    return to_frame(rows_to_table(rows, _COLUMNS))


def _read_counts(reads: Reads, service: str | None, window: Window) -> pd.DataFrame:
    longest = reads.frame("draining/longest", service=service, least=LEAST_WAITING, limit=MOST_GROUPS)
    names = {f"{name}s": sorted(set(longest[name].dropna())) or [""] for name in ("key", "scope")}
    return reads.frame("draining/backlogs", service=service, **window._asdict(), **names)


def _why_unread(service: str, kept: timedelta | None, window: Window, coverage: Coverage) -> str:
    """Return why calls of a service that ended in the window may be missing; "" if all are there."""
    if coverage.since is None:
        is_short = kept is not None and kept < window.length
        return (
            f"ended calls are kept for {format_duration(kept)}, and the window is {format_duration(window.length)}"
            if is_short
            else ""
        )
    if coverage.since > window.since:
        return "the archive does not reach back to the beginning of the window"
    gaps = (gap for gap in coverage.gaps if gap.service == service and gap.until > window.since)
    return next((f"ended calls may be missing: {gap.reason}" for gap in gaps), "")
