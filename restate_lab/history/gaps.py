"""The gaps of an archive: intervals in which invocations may have ended and been removed before a visit read them.

A run that ended at t and is kept for R can be missing only if no visit began between t and t + R. So for two visits
that follow each other, at a and b, it may be missing if a < t < b − R. A visit reads the ids of all ended runs first,
and then the new runs; if some were removed in between, b is the end of the visit. This is the only way to lose a run. A
server removes runs some time after their retention, so few of the possible ones are missing.

Retention is fixed when a run is created. A run that ended between two visits was created between them, or was open at
the first one, which read the shortest retention of the open ones. So R is the shortest of three: the retention of the
handler at both visits, and the retention of the open runs at the first visit.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from restate_lab._text import format_duration, plural

COLUMNS = ("service", "handler", "retention", "missing_from", "missing_until", "reason")
_LATE = timedelta(seconds=5)
"""A run can become visible after its end; 1.0 s was seen on a busy server, so a visit may miss what has just ended."""
_NOT_KEPT = "the cluster does not keep its completed invocations"


class _Handler(NamedTuple):
    service: str
    handler: str


class _Period(NamedTuple):
    """Visits that follow each other with the same retentions between them; the first is the last of the period before.

    ``read`` is when the runs of a visit were read: its end if some were removed meanwhile, otherwise its start.
    """

    started: np.ndarray[Any, Any]
    read: np.ndarray[Any, Any]
    retentions: Mapping[_Handler, timedelta]


def gaps(visits: pd.DataFrame, since: datetime, until: datetime) -> pd.DataFrame:
    """Return the intervals in which ended invocations may be missing from the archive of one cluster.

    ``visits`` has the rows of the archive's table for this cluster: ``started_at, ended_at, outcome, gone_runs,
    retention, open_retention, error``. Only a visit with the outcome "complete" counts as one. The rows should begin
    with the last visit before ``since``. Until ``until`` it is assumed that no visit follows the last one.

    One row per handler and interval, by service, handler and time. Columns: ``service, handler, retention`` (a
    timedelta), ``missing_from, missing_until`` (UTC, within ``since`` and ``until``) and ``reason``.
    """
    complete = visits[(visits["outcome"] == "complete") & visits["started_at"].notna()].sort_values("started_at")
    failures = visits[(visits["outcome"] == "failed") & visits["started_at"].notna()].sort_values("started_at")
    rows: list[tuple[Any, ...]] = [
        (handler.service, handler.handler, retention, max(start, since), min(end, until), reason)
        for handler, retention, start, end, reason in _all_gaps(complete, failures, since, until)
        if max(start, since) < min(end, until)
    ]
    types = {"retention": "timedelta64[ns]", **dict.fromkeys(("missing_from", "missing_until"), "datetime64[ns, UTC]")}
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)
    return frame.sort_values(["service", "handler", "missing_from"], ignore_index=True)


def _all_gaps(
    complete: pd.DataFrame, failures: pd.DataFrame, since: datetime, until: datetime
) -> Iterator[tuple[_Handler, timedelta, datetime, datetime, str]]:
    for period in _periods(complete, since, until):
        by_retention: dict[timedelta, list[_Handler]] = {}
        for handler, retention in period.retentions.items():
            by_retention.setdefault(retention, []).append(handler)
        for retention, handlers in by_retention.items():
            for start, end, reason in _intervals(period, retention, failures):
                yield from ((handler, retention, start, end, reason) for handler in handlers)


def _periods(complete: pd.DataFrame, since: datetime, until: datetime) -> Iterator[_Period]:
    """Yield the visits by the retentions between them; the ends of the window are visits, too."""
    if complete.empty:
        return
    known = complete["retention"].ffill().bfill().fillna("[]").tolist()
    opened = complete["open_retention"].fillna("[]").tolist()
    at = _with_window(complete["started_at"], since, until)
    read = _with_window(complete["started_at"].where(~(complete["gone_runs"] > 0), complete["ended_at"]), since, until)
    # Before each visit, and after the last one: the texts of the retentions that a run which ended there may have.
    texts = list(zip([known[0], *known], [*known, known[-1]], ["[]", *opened], strict=True))
    place = 0
    for key, same in itertools.groupby(texts):
        end = place + len(list(same))
        yield _Period(at[place : end + 1], read[place : end + 1], _shortest(key))
        place = end


def _with_window(times: pd.Series[Any], since: datetime, until: datetime) -> np.ndarray[Any, Any]:
    """Return the times in nanoseconds, with both ends of the window, which lie outside of all times."""
    whole = [pd.Timestamp(since).tz_convert("UTC"), *times, pd.Timestamp(until).tz_convert("UTC")]
    whole[0], whole[-1] = min(whole[0], whole[1]), max(whole[-1], whole[-2])
    return pd.DatetimeIndex(whole).as_unit("ns").asi8


def _intervals(
    period: _Period, retention: timedelta, failures: pd.DataFrame
) -> Iterator[tuple[datetime, datetime, str]]:
    if not retention:
        yield _time(period.started[0]), _time(period.started[-1]), _NOT_KEPT
        return
    kept = int(retention.total_seconds() * 1e9)
    seen = period.started - int(_LATE.total_seconds() * 1e9)
    for place in np.flatnonzero(period.read[1:] - seen[:-1] > kept):
        start, end = int(period.started[place]), int(period.read[place + 1])
        yield _time(int(seen[place])), _time(end - kept), _reason(_time(start), _time(end), retention, failures)


def _reason(start: datetime, end: datetime, retention: timedelta, failures: pd.DataFrame) -> str:
    text = (
        f"no complete visit between {start:%Y-%m-%d %H:%M:%S} and {end:%Y-%m-%d %H:%M:%S} UTC, and completed "
        f"invocations are kept for {format_duration(retention)}"
    )
    failed = failures[(failures["started_at"] > start) & (failures["started_at"] < end)]
    if failed.empty:
        return text
    return f"{text}; {plural(len(failed), 'visit')} failed, the last one with {failed['error'].iloc[-1]}"


def _shortest(texts: Iterable[str]) -> dict[_Handler, timedelta]:
    shortest: dict[_Handler, timedelta] = {}
    for text in dict.fromkeys(texts):
        for row in json.loads(text):
            handler = _Handler(row["service"], row["handler"])
            retention = timedelta(milliseconds=row["completion_retention_ms"])
            shortest[handler] = min(retention, shortest.get(handler, retention))
    return shortest


def _time(nanoseconds: int) -> datetime:
    time: datetime = pd.Timestamp(nanoseconds, tz="UTC").to_pydatetime(warn=False)
    return time
