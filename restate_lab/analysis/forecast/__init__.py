"""Whether the backlogs of a cluster will drain, and when: ``forecast()``.

``reader`` reads the open calls and the flows by minute, ``drain`` computes the interval, ``stuck`` finds the calls that
need a deployment, and ``result`` is the type of the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, join
from restate_lab.analysis.forecast.drain import FEWEST_MINUTES, Drain, Minutes, drain, drain_between
from restate_lab.analysis.forecast.reader import LEAST_WAITING, Backlog, ForecastReader, Group
from restate_lab.analysis.forecast.result import ORDER, Forecast
from restate_lab.analysis.forecast.stuck import find_stuck
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.progress import Progress, SecondsLine, progress_of
from restate_lab.reads import Reads, begin
from restate_lab.result import unread
from restate_lab.source import Source

__all__ = ["Forecast", "forecast"]

_MINUTE = timedelta(minutes=1)
_SHORTEST, _LONGEST = FEWEST_MINUTES * _MINUTE, timedelta(hours=24)
_LEAST_APART = 10.0  # seconds
_COUNTS = ("waiting", "running", "retrying", "scheduled", "waking")
_TIMES = ("earliest", "latest")
_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("waiting", "minutes"), "int64"),
    **dict.fromkeys(_COUNTS[1:], "Int64"),
    **dict.fromkeys(("arrivals", "completions"), "float64"),
    **dict.fromkeys(_TIMES, "timedelta64[s]"),
}


@translate_errors
def forecast(
    source: Source,
    /,
    *,
    service: str | None = None,
    without_deployment: str | None = None,
    window: DurationInput = "1h",
    apart: DurationInput | None = "1m",
    timeout: DurationInput | None = "2m",
    progress: bool | Progress | None = None,
) -> Forecast:
    """Forecast whether each backlog will be empty, and when, from the calls that began and ended in the last hour.

        rl.forecast(lab)
        rl.forecast(lab, service="Payments").frame

    A backlog is the number of calls that could start and do not run. The answer is an interval that contains the time
    until it is empty in 80 % of the cases, "growing, will not drain", or "unknown" with fewer than 30 completions. It
    assumes that what happened since the backlog began goes on: a repair, a deployment or a new limit changes it.
    Delayed calls are counted at the time at which they start, and suspended ones at the time at which their sleep ends,
    if more of them come than usual. Retries are part of the observed rates.

    ``window`` is the observed time, 10 minutes to 24 hours. The cluster must keep completed calls as long: with a
    shorter retention, the window is shorter. With ``rl.open_history(where, live=lab)``, the completed calls are those
    of the archive, too.

    **It takes a minute longer** on a live cluster if a service with 10 or more waiting calls keeps its completed calls
    for less than 10 minutes: the open calls are then read again ``apart`` later, or earlier if ``timeout`` requires it.
    The rates are those between the two readings, which do not show bursts; ``not_read`` names these services. With
    ``apart=None``, and on evidence, the answer is "unknown". ``progress``: None or True shows a line once the call
    takes longer than a second, False shows nothing, and a ``Progress`` is updated instead with the seconds of the wait.

    ``without_deployment`` is the id of a deployment. The result then answers only what would be stuck if it were gone:
    ``stuck`` lists the open calls, without simulation, and ``frame`` is empty.

        rl.forecast(lab, without_deployment="dp_…").stuck

    ``help(rl.Forecast)`` describes the frames of the result.

    Raises:
        ArgumentError: ``window`` is too short or too long, or the service or the deployment does not exist.
        NotOnThisServer: the source is too old, or has only invocations that have ended.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    length = to_timedelta(window, name="window")
    if not _SHORTEST <= length <= _LONGEST:
        raise ArgumentError(f"window is {format_duration(length)}; use {format_duration(_SHORTEST)} to 24h.")
    reads = begin(source, "forecast", timeout, needs_open=True, needs_present=True)
    refuse_unknown_names(reads, service=service)
    if without_deployment is not None:
        return _forecast_without(reads, without_deployment, service)
    reader = ForecastReader(reads, service, reads.now - length)
    backlogs = reader.backlogs()
    between = _read_twice(reader, backlogs, apart, progress)
    rows = [_row(group, backlog) for group, backlog in backlogs.items()]
    rows.sort(
        key=lambda row: (ORDER.index(row["answer"]), -(row["latest"] or _LONGEST).total_seconds(), -row["waiting"])
    )
    return Forecast(
        frame=_frame(rows),
        source=reads.name,
        version=reads.version,
        read_at=reads.now,
        queries=tuple(reads.queries),
        not_read=unread(waking=reader.unread_sleeps, completions=between),
    )


def _forecast_without(reads: Reads, deployment: str, service: str | None) -> Forecast:
    found = find_stuck(reads, deployment, service)
    return Forecast(
        frame=_frame([]),
        without_deployment=deployment,
        stuck=found.rows,
        stuck_counts=found.counts,
        source=reads.name,
        version=reads.version,
        read_at=reads.now,
        queries=tuple(reads.queries),
        not_read=unread(stuck=found.limitations),
    )


def _read_twice(
    reader: ForecastReader,
    backlogs: Mapping[Group, Backlog],
    apart: DurationInput | None,
    progress: bool | Progress | None,
) -> list[str]:
    """Read again where completed calls are not kept; return for which services this was done."""
    hidden = {
        group: each
        for group, each in backlogs.items()
        if each.waiting >= LEAST_WAITING and each.observed < FEWEST_MINUTES
    }
    if not hidden or apart is None or not reader.reads.live:
        return []
    seconds = min(to_timedelta(apart, name="apart").total_seconds(), reader.reads.seconds_left / 2)
    if seconds < _LEAST_APART:
        return []
    line = progress_of(progress, lambda: SecondsLine("waiting for the second reading"))
    try:
        reader.read_twice(hidden, seconds, line)
    finally:
        line.close()
    services = join(sorted({group.service for group in hidden}))
    length = format_duration(timedelta(seconds=round(seconds)))
    return [f"completed calls of {services}, which are not kept: the rates are those of {length}, without any bursts"]


def _row(group: Group, backlog: Backlog) -> dict[str, Any]:
    minutes = backlog.observed
    arrivals, completions = (each[len(each) - minutes :] for each in (backlog.arrivals, backlog.completions))
    rates = [float(each.mean()) if minutes else math.nan for each in (arrivals, completions)]
    if backlog.between is not None:
        rates = [
            backlog.between.arrivals / backlog.between.minutes,
            backlog.between.completions / backlog.between.minutes,
        ]
    result = _drain(arrivals, completions, backlog)
    return {
        "level": group.level,
        **group._asdict(),
        "waiting": backlog.waiting,
        "running": backlog.running,
        "retrying": backlog.retrying,
        "scheduled": backlog.scheduled,
        "waking": backlog.waking,
        "arrivals": rates[0],
        "completions": rates[1],
        "minutes": minutes,
        "answer": result.answer,
        "earliest": _time(result.earliest),
        "latest": _time(result.latest),
        "reason": result.reason or None,
    }


def _drain(arrivals: Minutes, completions: Minutes, backlog: Backlog) -> Drain:
    if backlog.between is not None:
        return drain_between(*backlog.between, backlog=backlog.waiting, coming=backlog.wave)
    if backlog.waiting and len(arrivals) < FEWEST_MINUTES:
        kept = format_duration(backlog.kept or timedelta())
        return Drain("unknown", reason=f"completed calls are kept for {kept}, so the last ones are not known")
    return drain(arrivals, completions, backlog.waiting, backlog.wave)


def _time(minutes: float | None) -> timedelta | None:
    return None if minutes is None or math.isinf(minutes) else minutes * _MINUTE


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    names = ("level", *Group._fields, *_COUNTS, "arrivals", "completions", "minutes", "answer", *_TIMES, "reason")
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=_KINDS.get(name, "object")) for name in names}
    )
