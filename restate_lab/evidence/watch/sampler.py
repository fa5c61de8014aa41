"""Poll a cluster for a few cheap counts, and build the frame with the counts and rates of all polls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd

from restate_lab.analysis.statements import read_sql_file
from restate_lab.client.schema import check_columns
from restate_lab.source import Source

__all__ = ["COLUMNS", "WHAT", "PollResult", "Sample", "Series", "frame_of", "poll"]

COLUMNS = ("at", "what", "target_service_name", "name", "scope", "n", "per_minute", "eta")
WHAT = ("status", "retries", "backlog", "deployment")
_DRAINING = ("backlog", "deployment")
_WINDOW = 5  # the number of earlier samples for the rate of an eta
_MINUTE = timedelta(minutes=1)


class Series(NamedTuple):
    """One series of counts: its kind (one of ``WHAT``), and the service, name and scope that identify it."""

    what: str
    service: str | None
    name: str
    scope: str | None = None


class Attempt(NamedTuple):
    """The number of an invocation's attempt, counted from one; ``created_at`` identifies the run of its id."""

    service: str
    handler: str
    number: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PollResult:
    """The counts and attempts of one poll; ``cut`` has the kinds for which only the first ``limit`` rows were read."""

    at: datetime
    counts: Mapping[Series, int]
    attempts: Mapping[str, Attempt]
    cut: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """The counts of one poll, and the retries of each handler since the previous poll (None for the first poll)."""

    at: datetime
    counts: Mapping[Series, int]
    retries: Mapping[Series, int] | None
    cut: frozenset[str]

    @classmethod
    def of(cls, result: PollResult, before: PollResult | None) -> Sample:
        """Return the sample of a poll; ``before`` is the previous poll."""
        return cls(result.at, result.counts, None if before is None else _retries(before, result), result.cut)


def poll(source: Source, *, service: str | None, limit: int) -> PollResult:
    """Read three counts of a source, none of which reads a journal."""

    def read(name: str, **values: Any) -> list[dict[Any, Any]]:
        params = {"service": service, **values}
        statement = read_sql_file(source, "evidence.watch", name)
        rows = source.sql(statement, params=params, progress=False)
        return check_columns(rows, statement, source).to_dict("records")

    at = source.now
    counts: Counter[Series] = Counter()
    for row in read("open_work"):
        counts[Series("status", None, row["status"])] += row["n"]
        if not pd.isna(row["deployment_id"]):
            counts[Series("deployment", None, row["deployment_id"])] += row["n"]
    retrying, backlog = read("retrying", limit=limit + 1), read("backlog", limit=limit + 1)
    attempts = {
        row["id"]: Attempt(
            row["target_service_name"], row["target_handler_name"], int(row["retry_count"]), row["created_at"]
        )
        for row in retrying[:limit]
    }
    for row in retrying[:limit]:
        counts[_series_of_handler(attempts[row["id"]])] = row["n"]
    for row in backlog[:limit]:
        scope = None if pd.isna(row["scope"]) else row["scope"]
        counts[Series("backlog", row["target_service_name"], row["target_service_key"], scope)] = row["n"]
    read_whole = {"retries": len(retrying) <= limit, "backlog": len(backlog) <= limit}
    return PollResult(at, dict(counts), attempts, frozenset(what for what, whole in read_whole.items() if not whole))


def frame_of(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return one row per sample and series that occurs in any of them."""
    every_series = sorted({series for sample in samples for series in _series_of(sample)}, key=_order)
    rows = [_row(samples, at, series) for at in range(len(samples)) for series in every_series]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["at"] = pd.to_datetime(frame["at"], utc=True).dt.as_unit("ms")
    frame["eta"] = pd.to_timedelta(frame["eta"]).dt.as_unit("ms")
    texts = dict.fromkeys(("what", "target_service_name", "name", "scope"), "object")
    return frame.astype({**texts, "n": "Int64", "per_minute": "float64"})


def _row(samples: Sequence[Sample], at: int, series: Series) -> tuple[Any, ...]:
    sample, n = samples[at], _count(samples[at], series)
    eta = _eta(samples, at, series) if series.what in _DRAINING else None
    per_minute = None if at == 0 else _per_minute(samples[at - 1], sample, series)
    return (sample.at, series.what, series.service, series.name, series.scope, n, per_minute, eta)


def _per_minute(before: Sample, sample: Sample, series: Series) -> float | None:
    if series.what == "retries":
        growth: int | None = (sample.retries or {}).get(series, 0)
    else:
        growth = _growth(before, sample, series)
    passed = sample.at - before.at
    return growth / (passed / _MINUTE) if growth is not None and passed else None


def _eta(samples: Sequence[Sample], at: int, series: Series) -> timedelta | None:
    """Return the time until the count is 0 at the rate of the last samples; None if it does not decrease."""
    n = _count(samples[at], series)
    if not n:
        return None if n is None else timedelta(0)
    before = samples[max(0, at - _WINDOW)]
    growth = _growth(before, samples[at], series)
    return (samples[at].at - before.at) * (n / -growth) if growth is not None and growth < 0 else None


def _growth(before: Sample, sample: Sample, series: Series) -> int | None:
    counts = [_count(each, series) for each in (before, sample)]
    return None if counts[0] is None or counts[1] is None else counts[1] - counts[0]


def _count(sample: Sample, series: Series) -> int | None:
    """Return the count of a series; None if it was not read because of the limit."""
    return sample.counts.get(series, None if series.what in sample.cut else 0)


def _series_of(sample: Sample) -> set[Series]:
    return {*sample.counts, *(sample.retries or ())}


def _retries(before: PollResult, result: PollResult) -> dict[Series, int]:
    """Count the attempts that began between two polls, from the server's attempt numbers.

    These are lower bounds: the server restarts its count after progress and deletes it when an invocation ends.
    """
    retries: Counter[Series] = Counter()
    for id_, now in result.attempts.items():
        was = before.attempts.get(id_)
        if was is None and "retries" in before.cut:
            continue  # the previous poll may have excluded it because of the limit
        anew = was is None or now.created_at != was.created_at or now.number < was.number
        retries[_series_of_handler(now)] += now.number - (1 if anew or was is None else was.number)
    return dict(retries)


def _series_of_handler(attempt: Attempt) -> Series:
    return Series("retries", attempt.service, attempt.handler)


def _order(series: Series) -> tuple[int, str, str, str]:
    return WHAT.index(series.what), series.service or "", series.name, series.scope or ""
