"""Read the invocations around a time in blocks: few rows, because durations are counted by their logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from restate_lab._text import format_timestamp, join, one_line, plural
from restate_lab.analysis.before_after.statistics import Blocks, quantile_of_block
from restate_lab.analysis.statements import run_sql_file
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.schema import tables_of
from restate_lab.errors import ArgumentError
from restate_lab.source import CoverageGap, Source

__all__ = ["DAY", "HOUR", "UNITS", "BlockSeries", "Period", "find_period", "read_series"]

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
UNITS = {DAY: "day", HOUR: "hour"}
_PACKAGE = "analysis.before_after"
_FEWEST_DAYS = 6  # of both sides together; a comparison by hours has no interval for the change from day to day
_MOST_HOURS = 72  # on each side
_MOST_BLOCKS = 10_000  # on each side, those next to the change
_MOST_OPEN = 0.1  # share of open invocations in a block whose rates are still used
_LEAST_IN_BLOCK = {0.5: 5, 0.95: 20}
"""Quantile → invocations that a block needs for it."""
_MOST_ERRORS = 20  # kinds of failures per handler, the most frequent first
_LONG = 0.99  # in an archive, a block is complete if its invocations could take as long as this share of all
_RUN = ["service", "handler"]


@dataclass(frozen=True, slots=True)
class Period:
    """The time that is compared: from ``start`` to ``at``, and from ``at`` to ``end``."""

    at: datetime
    start: datetime
    end: datetime
    now: datetime
    deployment: str | None = None
    services: frozenset[str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockSeries:
    """One number per block of one handler. ``what``: "latency", "step", "failures" or "retries".

    A latency has logarithms of milliseconds in ``values``. A rate has events in ``values``. ``counts`` has the
    invocations (or steps) per block. ``split`` is the number of blocks before the change.
    """

    service: str
    handler: str
    what: str
    name: str
    values: Blocks
    counts: Blocks
    split: int
    block: timedelta
    start: datetime

    @property
    def is_rate(self) -> bool:
        """Return whether it is a share of invocations."""
        return self.what in {"failures", "retries"}


def find_period(
    source: Source, deployment_or_time: TimeInput, *, window: timedelta, now: datetime, service: str | None
) -> Period:
    """Return the period around a deployment or a time.

    It ends where the next deployment of the same services was registered.

    Raises:
        ArgumentError: the deployment is unknown, or the time is later than the source's.
    """
    deployments = run_sql_file(source, _PACKAGE, "deployments")
    own, at = None, None
    if isinstance(deployment_or_time, str) and deployment_or_time.startswith("dp_"):
        known = deployments[deployments["id"] == deployment_or_time]
        if known.empty:
            raise ArgumentError(
                f"deployment {deployment_or_time!r} is not in sys_deployment of {source.name}. If it was removed, pass "
                f"the time of its registration instead."
            )
        own = known.iloc[0]
        at = own["created_at"].to_pydatetime()
    else:
        at = to_datetime(deployment_or_time, now=now, name="deployment_or_time")
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)  # timestamps in the tables have milliseconds
    if at >= now:
        raise ArgumentError(f"nothing is after {format_timestamp(at)}: the source ends at {format_timestamp(now)}.")
    services = frozenset(_names(own["services"])) if own is not None else None
    chosen = services if service is None else frozenset({service})
    later = [row for row in deployments.to_dict("records") if at < row["created_at"] < min(at + window, now)]
    later = [row for row in later if chosen is None or chosen.intersection(_names(row["services"]))]
    end, notes = min(at + window, now), []
    if later and own is not None:
        end = later[0]["created_at"].to_pydatetime()
        notes.append(f"ends at {format_timestamp(end)}, when {later[0]['id']} was registered for the same services")
    elif later:
        names = join([str(row["id"]) for row in later], 2)
        notes.append(f"also registered after this time: {names}")
    return Period(at, at - window, end, now, None if own is None else str(own["id"]), services, tuple(notes))


def _names(services: Any) -> list[str]:
    return [] if services is None else [str(each) for each in services]


def read_series(
    source: Source, period: Period, *, service: str | None, block: timedelta | None = None
) -> tuple[list[BlockSeries], list[str]]:
    """Return the series of all handlers, and notes on what they do not contain.

    ``block`` is the length of a block; None means days, or hours if there are too few days.
    """
    is_archive = "visits" in set(tables_of(source)["table"])
    handlers = run_sql_file(source, _PACKAGE, "handlers", service=service)
    if period.services is not None:
        handlers = handlers[handlers["service"].isin(period.services)]
    grids: dict[timedelta, list[dict[Any, Any]]] = {}
    for row in handlers.to_dict("records"):
        row["from"], row["journal_from"] = _kept_since(source, row, period, is_archive=is_archive)
        grids.setdefault(block or _block_of(period, row["from"]), []).append(row)
    series: list[BlockSeries] = []
    notes = _Notes(is_archive=is_archive)
    for length, rows in grids.items():
        series += _BlockReader(source, period, length, service, notes).series(rows)
    return series, [*period.notes, *notes.texts()]


def _kept_since(source: Source, row: dict[Any, Any], period: Period, *, is_archive: bool) -> tuple[datetime, datetime]:
    """Return since when every invocation of a handler is there, and every journal.

    An invocation is kept for its retention after its end, so those that started earlier than that can be incomplete:
    only the long ones are left.
    """
    base = period.now
    if is_archive:
        first = source.sql("SELECT min(started_at) AS first FROM visits", progress=False)["first"].iloc[0]
        base = period.now if pd.isna(first) else first.to_pydatetime()
    kept = [0 if pd.isna(row[name]) else int(row[name]) for name in ("completion_ms", "journal_ms")]
    longest = (base - period.start) / timedelta(milliseconds=1)  # a retention can be longer than a datetime allows
    since = [base - timedelta(milliseconds=min(each, longest)) for each in (kept[0], min(kept))]
    return max(since[0], period.start), max(since[1], period.start)


def _block_of(period: Period, since: datetime) -> timedelta:
    sides = (period.at - since) // DAY, (period.end - period.at) // DAY
    return DAY if min(sides) >= 1 and sum(sides) >= _FEWEST_DAYS else HOUR


@dataclass(slots=True)
class _Notes:
    """The numbers of invocations and blocks that are not compared."""

    is_archive: bool
    open: int = 0
    undecided: set[tuple[str, str, int]] = field(default_factory=set)
    unfinished: set[tuple[str, str, int]] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    errors: int = 0
    without_block: int = 0

    def texts(self) -> list[str]:
        texts = []
        if self.without_block:
            texts.append(f"{plural(self.without_block, 'handler')} without a whole hour on each side")
        if self.open:
            texts.append(f"{plural(self.open, 'open invocation')} counted as longer than their age")
        if self.undecided:
            texts.append(f"{plural(len(self.undecided), 'block')} with too many open invocations not compared")
        if self.is_archive:
            texts.append("invocations that have not ended are not in an archive")
        if self.unfinished:
            texts.append(
                f"{plural(len(self.unfinished), 'block')} too recent to have all long invocations not compared"
            )
        if self.lost:
            texts.append(f"{join(self.lost, 2)}, because the archive may lack invocations of that time")
        if self.errors:
            texts.append(f"{plural(self.errors, 'rare error')} not compared")
        return texts


class _BlockReader:
    """Reads the series of some handlers in blocks of one length, which begin and end at the time of the change."""

    def __init__(self, source: Source, period: Period, block: timedelta, service: str | None, notes: _Notes) -> None:
        self._source, self._period, self._block, self._notes = source, period, block, notes
        self._gaps: dict[tuple[str, str], list[CoverageGap]] = {}
        for gap in source.coverage.gaps:
            self._gaps.setdefault((gap.service, gap.handler), []).append(gap)
        has_entries = "journal_entries" in set(tables_of(source)["table"])
        self._files = {"steps": "steps_in_archive" if has_entries else "steps"}
        most = _MOST_HOURS if block == HOUR else _MOST_BLOCKS
        self._split = min((period.at - period.start) // block, most)
        self._count = self._split + min((period.end - period.at) // block, most)
        self._start = period.at - self._split * block
        self._params = {
            "service": service,
            "from_time": self._start,
            "until_time": self._start + self._count * block,
            "from_ms": _milliseconds(self._start),
            "now_ms": _milliseconds(period.now),
            "block_ms": block // timedelta(milliseconds=1),
        }

    def series(self, handlers: Sequence[dict[Any, Any]]) -> list[BlockSeries]:
        """Return all series of the handlers; blocks that are not complete have no number."""
        if not 0 < self._split < self._count:
            self._notes.without_block += len(handlers)
            return []
        names = ("runs", "failures", "retried", "steps")
        files = {name: self._files.get(name, name) for name in names}
        frames = {name: run_sql_file(self._source, _PACKAGE, file, **self._params) for name, file in files.items()}
        groups = {name: dict(list(frame.groupby(_RUN))) for name, frame in frames.items()}
        series: list[BlockSeries] = []
        for row in handlers:
            key = (row["service"], row["handler"])
            own = {name: groups[name].get(key, frames[name].iloc[:0]) for name in names}
            if len(own["runs"]):
                series += self._of_handler(key, row, own)
        return series

    def _of_handler(
        self, key: tuple[str, str], row: dict[Any, Any], frames: dict[str, pd.DataFrame]
    ) -> list[BlockSeries]:
        runs = frames["runs"].assign(is_open=frames["runs"]["outcome"] == "open")
        self._notes.open += int(runs.loc[runs["is_open"], "n"].sum())
        complete = self._complete(key, runs, row["from"])
        series = [
            self._latency(key, "latency", f"p{share * 100:.0f}", runs, complete, share) for share in _LEAST_IN_BLOCK
        ]
        ended = runs[runs["outcome"].isin(["succeeded", "failed"])]
        totals, everything = self._sums(ended), self._sums(runs)
        is_decided = complete & (everything - self._sums(runs[~runs["is_open"]]) <= _MOST_OPEN * everything)
        rates = [("failures", "", frames["runs"][frames["runs"]["outcome"] == "failed"], is_decided, totals)]
        errors = frames["failures"].groupby("name")
        frequent = errors["n"].sum().sort_values(ascending=False, kind="stable").index
        self._notes.errors += len(frequent[_MOST_ERRORS:])
        if len(frequent) > 1:  # the only kind is the same as all failures
            rates += [
                ("failures", name, errors.get_group(name), is_decided, totals) for name in frequent[:_MOST_ERRORS]
            ]
        elif len(frequent):
            rates = [("failures", frequent[0], *rates[0][2:])]
        with_journal = complete & self._since(row["journal_from"])
        rates.append(("retries", "", frames["retried"], with_journal, everything))
        series += [self._rate(key, *rate) for rate in rates]
        for name, steps in frames["steps"].groupby("name", dropna=False):
            series.append(self._latency(key, "step", str(name), steps, with_journal, 0.5))
        return series

    def _complete(self, key: tuple[str, str], runs: pd.DataFrame, since: datetime) -> np.ndarray[Any, Any]:
        """Return which blocks have all of their invocations, as far as the source can have them."""
        complete = self._since(since)
        if not self._notes.is_archive:
            return complete
        durations = np.repeat(runs["bin"].to_numpy(), runs["n"].to_numpy())
        long = timedelta(milliseconds=float(np.exp(np.quantile(durations, _LONG) / 100)))
        until = self._source.coverage.until or self._period.now
        last = (min(until, self._period.now) - long - self._start) // self._block
        finished = np.arange(self._count) < last
        self._notes.unfinished |= {(*key, int(each)) for each in np.flatnonzero(complete & ~finished)}
        lost = complete & finished & self._can_have_lost(key, long)
        if lost.any():
            unit = plural(self._count, UNITS.get(self._block, "block"))
            self._notes.lost.append(f"{int(lost.sum()):,} of {unit} of {one_line('/'.join(key), 60)}")
        return np.asarray(complete & finished & ~lost)

    def _can_have_lost(self, key: tuple[str, str], long: timedelta) -> np.ndarray[Any, Any]:
        """Return which blocks have invocations that can have ended in a gap of the archive."""
        numbers = np.arange(self._count)
        can_have_lost: np.ndarray[Any, Any] = np.zeros(self._count, dtype=bool)
        for gap in self._gaps.get(key, []):
            first, end = (gap.since - long - self._start) // self._block, (gap.until - self._start) / self._block
            can_have_lost |= (numbers >= first) & (numbers < end)
        return can_have_lost

    def _since(self, since: datetime) -> np.ndarray[Any, Any]:
        return np.arange(self._count) >= -((self._start - since) // self._block)

    def _sums(self, rows: pd.DataFrame) -> Blocks:
        return np.bincount(rows["block"].to_numpy(), rows["n"].to_numpy(), self._count).astype(float)

    def _latency(
        self, key: tuple[str, str], what: str, name: str, rows: pd.DataFrame, complete: Any, share: float
    ) -> BlockSeries:
        values, counts = np.full(self._count, np.nan), np.where(complete, self._sums(rows), np.nan)
        for number, group in rows.groupby("block"):
            block = int(str(number))
            if complete[block] and counts[block] >= _LEAST_IN_BLOCK[share]:
                sides = [group[group["is_open"] == is_open] for is_open in (False, True)]
                pairs = [(side["bin"].to_numpy() / 100, side["n"].to_numpy()) for side in sides]
                values[block] = quantile_of_block(pairs[0], pairs[1], share)
                if np.isnan(values[block]):
                    self._notes.undecided.add((*key, block))
        return self._series(key, what, name, values, np.where(np.isnan(values), np.nan, counts))

    def _rate(
        self, key: tuple[str, str], what: str, name: str, rows: pd.DataFrame, complete: Any, counts: Blocks
    ) -> BlockSeries:
        known = complete & (counts > 0)
        return self._series(key, what, name, np.where(known, self._sums(rows), np.nan), np.where(known, counts, np.nan))

    def _series(self, key: tuple[str, str], what: str, name: str, values: Blocks, counts: Blocks) -> BlockSeries:
        return BlockSeries(*key, what, name, values, counts, self._split, self._block, self._start)


def _milliseconds(value: datetime) -> int:
    return int(pd.Timestamp(value).value // 1_000_000)
