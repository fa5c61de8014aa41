"""The gaps of an archive: intervals in which invocations may have ended and been removed before a visit read them.

A run that ended at t and is kept for R can be missing only if no visit read it between t and t + R. So for two visits
that follow each other, at a and b, it may be missing if a < t < b − R. a is the start of a visit, and b the time at
which it had the list of all ended runs. Then it reads the new runs; if some were removed meanwhile, b is its end. This
is the only way to lose a run. A server removes runs some time after their retention, so few of the possible ones are
missing.

Retention is fixed when a run is created. A run that ended between two visits was created between them, or was open at
the first one, which read the shortest retention of the open ones. So R is the shortest of three: the retention of the
handler at both visits, and the retention of the open runs at the first visit.

A visit of a shard reads only its services. So the visits that follow each other are those that read the service,
whichever shard they were of. A service that no active shard reads has a gap until the end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from restate_lab._text import format_duration, plural

COLUMNS = ("service", "handler", "retention", "missing_from", "missing_until", "reason")
_LATE = timedelta(seconds=5)
"""A run can become visible after its end; 1.0 s was seen on a busy server, so a visit may miss what has just ended."""
_NOT_KEPT = "the cluster does not keep its completed invocations"
_NOT_READ = "no visit has read this service"
_NO_UNREAD: Mapping[str, str] = MappingProxyType({})


class _Handler(NamedTuple):
    service: str
    handler: str


class _Period(NamedTuple):
    """Visits that follow each other with the same retentions between them; the first is the last of the period before.

    ``read`` is when the runs of a visit were read: its end if some were removed meanwhile, otherwise the time of its
    list, or its start if that is not known.
    """

    started: np.ndarray[Any, Any]
    read: np.ndarray[Any, Any]
    retentions: Mapping[_Handler, timedelta]


@dataclass(frozen=True, slots=True)
class _Reads:
    """The visits that read some services: the complete ones, those that failed, and the handlers of the services."""

    complete: pd.DataFrame
    failures: pd.DataFrame
    handlers: frozenset[_Handler]


def gaps(
    visits: pd.DataFrame, since: datetime, until: datetime, unread: Mapping[str, str] = _NO_UNREAD
) -> pd.DataFrame:
    """Return the intervals in which ended invocations may be missing from the archive of one cluster.

    ``visits`` has the rows of the archive's table for this cluster: ``started_at, listed_at, ended_at, outcome,
    gone_runs, retention, open_retention, error, shard, services``. Only a visit with the outcome "complete" counts as
    one. The rows should begin with the last visit before ``since``. Until ``until`` it is assumed that no visit follows
    the last one. ``unread`` has services that no visit will read, with the reason: their gap ends at ``until``.

    One row per handler and interval, by service, handler and time. Columns: ``service, handler, retention`` (a
    timedelta), ``missing_from, missing_until`` (UTC, within ``since`` and ``until``) and ``reason``.
    """
    complete = _complete(visits)
    failures = visits[(visits["outcome"] == "failed") & visits["started_at"].notna()].sort_values("started_at")
    rows: list[tuple[Any, ...]] = [
        (handler.service, handler.handler, retention, max(start, since), min(end, until), reason)
        for reads in _by_services(complete, failures)
        for handler, retention, start, end, reason in _all_gaps(reads, complete, since, until, unread)
        if max(start, since) < min(end, until)
    ]
    types = {"retention": "timedelta64[ns]", **dict.fromkeys(("missing_from", "missing_until"), "datetime64[ns, UTC]")}
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)
    return frame.sort_values(["service", "handler", "missing_from"], ignore_index=True)


def covered_until(
    visits: pd.DataFrame, shards: Mapping[str, Sequence[str]] | None, until: datetime
) -> tuple[datetime, dict[str, str]]:
    """Return the end of the period that all shards have read, at most ``until``, and the services that it omits.

    ``shards`` has the services of each active shard; None if the whole cluster is visited. The shard that was visited
    least recently ends the period, unless it is late: then the newest visit is later than the longest retention of its
    invocations. The omitted services are those of late shards, and of no shard, each with the reason.
    """
    if shards is None:
        return until, {}
    complete = _complete(visits)
    newest = complete["started_at"].max()
    kept, reads = _shortest(complete["retention"].tail(1)), _last_reads(complete)
    omitted = {handler.service: "the service is in no shard of the archive" for handler in _handlers(complete)}
    for name, services in shards.items():
        ends = [max((at for kind, at in reads.items() if not kind or each in kind), default=None) for each in services]
        last = None if None in ends else min(each for each in ends if each is not None)
        longest = max((kept[each] for each in kept if each.service in services), default=timedelta(0))
        for service in services:
            omitted.pop(service, None)
        if last is None or newest - last > longest > timedelta(0):
            omitted |= dict.fromkeys(services, _late_reason(name, last))
        elif longest:
            until = min(until, last)
    return until, omitted


def _late_reason(shard: str, last: datetime | None) -> str:
    if last is None:
        return f"its shard {shard!r} has not read it in a complete visit"
    return f"the last complete visit of its shard {shard!r} was made at {last:%Y-%m-%d %H:%M:%S} UTC"


def _last_reads(complete: pd.DataFrame) -> dict[frozenset[str] | None, datetime]:
    """Return the time of the last visit that read these services; None for all."""
    kinds = dict(zip(_services_of(complete), range(len(complete)), strict=True))
    return {kind: complete["started_at"].iloc[place].to_pydatetime() for kind, place in kinds.items()}


def _complete(visits: pd.DataFrame) -> pd.DataFrame:
    """Return the complete visits in their order, each with the retention that it found."""
    complete = visits[(visits["outcome"] == "complete") & visits["started_at"].notna()].sort_values("started_at")
    found = complete.groupby(complete["shard"].fillna(""))["retention"].ffill()  # a visit compares it with its shard's
    return complete.assign(retention=found.ffill().bfill().fillna("[]"))


def _services_of(visits: pd.DataFrame) -> list[frozenset[str] | None]:
    """Return the services that each visit read; None for all."""
    return [frozenset(each) if isinstance(each, np.ndarray | list) else None for each in visits["services"]]


def _handlers(complete: pd.DataFrame) -> frozenset[_Handler]:
    return frozenset(_shortest([*complete["retention"], *complete["open_retention"].dropna()]))


def _by_services(complete: pd.DataFrame, failures: pd.DataFrame) -> Iterator[_Reads]:
    """Yield the visits for the handlers that the same visits read."""
    of_complete, of_failures = _services_of(complete), _services_of(failures)
    kinds = dict.fromkeys((*of_complete, *of_failures))
    handlers: dict[frozenset[frozenset[str] | None], set[_Handler]] = {}
    for handler in _handlers(complete):
        reading = frozenset(kind for kind in kinds if kind is None or handler.service in kind)
        handlers.setdefault(reading, set()).add(handler)
    for reading, read in handlers.items():
        yield _Reads(
            complete[np.array([each in reading for each in of_complete], bool)],
            failures[np.array([each in reading for each in of_failures], bool)],
            frozenset(read),
        )


def _all_gaps(
    reads: _Reads, complete: pd.DataFrame, since: datetime, until: datetime, unread: Mapping[str, str]
) -> Iterator[tuple[_Handler, timedelta, datetime, datetime, str]]:
    """Yield the gaps of the handlers of ``reads``; ``complete`` has all complete visits."""
    last = None if reads.complete.empty else reads.complete["started_at"].iloc[-1].to_pydatetime()
    omitted = {each for each in reads.handlers if each.service in unread or last is None}
    for handlers, end in ((reads.handlers - omitted, until), (omitted, min(until, last or since))):
        for period in _periods(reads.complete, since, end) if handlers else ():
            yield from _gaps_of(period, handlers, reads.failures)
    for handler in omitted:
        yield from _gap_until_end(handler, last, complete, (since, until), unread.get(handler.service, _NOT_READ))


def _gaps_of(
    period: _Period, handlers: AbstractSet[_Handler], failures: pd.DataFrame
) -> Iterator[tuple[_Handler, timedelta, datetime, datetime, str]]:
    by_retention: dict[timedelta, list[_Handler]] = {}
    for handler, retention in period.retentions.items():
        if handler in handlers:
            by_retention.setdefault(retention, []).append(handler)
    for retention, alike in by_retention.items():
        for start, end, reason in _intervals(period, retention, failures):
            yield from ((handler, retention, start, end, reason) for handler in alike)


def _gap_until_end(
    handler: _Handler, last: datetime | None, complete: pd.DataFrame, window: tuple[datetime, datetime], reason: str
) -> Iterator[tuple[_Handler, timedelta, datetime, datetime, str]]:
    """Yield the gap of a handler after its last read, or since the cluster has it, while the cluster has it."""
    texts = {text: _shortest([text]).get(handler) for text in complete["retention"].unique()}
    kept = complete["retention"].map(texts)
    places = np.flatnonzero(kept.notna())
    if not len(places):
        return
    times = complete["started_at"]
    first, end = int(places[0]), int(places[-1]) + 1
    known = times.iloc[first - 1].to_pydatetime() if first else window[0]
    gone = times.iloc[end].to_pydatetime() if end < len(times) else window[1]
    retention = texts[complete["retention"].iloc[end - 1]]
    if retention is not None:
        yield handler, retention, last - _LATE if last else known, gone, reason


def _periods(complete: pd.DataFrame, since: datetime, until: datetime) -> Iterator[_Period]:
    """Yield the visits by the retentions between them; the ends of the window are visits, too."""
    if complete.empty:
        return
    known = complete["retention"].tolist()
    opened = complete["open_retention"].fillna("[]").tolist()
    at = _with_window(complete["started_at"], since, until)
    listed = complete["listed_at"].fillna(complete["started_at"])
    read = _with_window(listed.where(~(complete["gone_runs"] > 0), complete["ended_at"]), since, until)
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
