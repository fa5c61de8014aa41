"""Read the invocations around a time in blocks: few rows, because durations are counted by their logarithm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from restate_lab._text import format_timestamp, join, one_line, plural
from restate_lab.analysis.before_after.statistics import Blocks, quantile_of_block
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.errors import ArgumentError
from restate_lab.reads import Reads

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
UNITS = {DAY: "day", HOUR: "hour"}
_FRAMES = ("runs", "failures", "retried", "steps")
_MILLISECOND = timedelta(milliseconds=1)
_LEAST_DAYS = 2  # after the change; with fewer, their hours are compared with the same hours of earlier days
_MOST_BLOCKS = 10_000  # on each side, those next to the change
_MOST_OPEN = 0.1  # share of open invocations in a block whose rates are still used
_LEAST_IN_BLOCK = {0.5: 5, 0.95: 20}  # quantile → invocations that a block needs for it
_MOST_ERRORS = 20  # kinds of failures per handler, the most frequent first
_LONG = 0.99  # in an archive, a block is complete if its invocations could take as long as this share of all
_RUN = ["service", "handler"]
Frames: TypeAlias = Mapping[str, pd.DataFrame]  # the rows of each SQL file in ``_FRAMES``
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]  # one truth value per unit or block, in the order of time


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
    """One number per block of one handler. ``measure``: "latency", "step", "failures" or "retries".

    A latency has logarithms of milliseconds in ``values``. A rate has events in ``values``. ``counts`` has the
    invocations (or steps) per block. ``split`` is the number of blocks before the change. ``hours`` is the number of
    hours of each day that are compared; for None, all of the block's time is compared.
    """

    service: str
    handler: str
    measure: str
    name: str
    values: Blocks
    counts: Blocks
    split: int
    block: timedelta
    hours: int | None = None

    @property
    def is_rate(self) -> bool:
        """Return whether it is a share of invocations."""
        return self.measure in {"failures", "retries"}


def find_period(reads: Reads, deployment_or_time: TimeInput, *, window: timedelta, service: str | None) -> Period:
    """Return the period around a deployment or a time.

    The period ends where the next deployment of the same services was registered.

    Raises:
        ArgumentError: the deployment is unknown, or the time is later than the source's.
    """
    deployments, now = reads.frame("before_after/deployments"), reads.now
    own, at = None, None
    if isinstance(deployment_or_time, str) and deployment_or_time.startswith("dp_"):
        known = deployments[deployments["id"] == deployment_or_time]
        if known.empty:
            raise ArgumentError(
                f"deployment {deployment_or_time!r} is not in sys_deployment of {reads.name}. If it was removed, pass "
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
    reads: Reads, period: Period, *, service: str | None, block: timedelta | None = None
) -> tuple[list[BlockSeries], list[str]]:
    """Return the series of all handlers, and notes on what they do not contain.

    ``block`` is the length of a block. None means days, or, soon after the change, the same hours of each day.
    """
    is_archive = reads.has("visits")
    handlers = reads.frame("before_after/handlers", service=service)
    if period.services is not None:
        handlers = handlers[handlers["service"].isin(period.services)]
    rows = handlers.to_dict("records")
    for row in rows:
        row["from"], row["journal_from"] = _kept_since(reads, row, period, is_archive=is_archive)
    grid = grid_of(period, block)
    reader = _BlockReader(reads, period, grid, is_archive=is_archive)
    series = reader.series(rows, reader.read(service)) if rows and grid.is_comparable else []
    notes = reader.notes()
    if rows and not grid.is_comparable:
        hours = "a whole hour after the change and the same hour of an earlier day"
        missing = "a whole block on each side" if grid.hours is None else hours
        notes.append(f"{plural(len(rows), 'handler')} without {missing}")
    return series, [*period.notes, *notes]


def _kept_since(reads: Reads, row: dict[Any, Any], period: Period, *, is_archive: bool) -> tuple[datetime, datetime]:
    """Return since when every invocation of a handler is there, and every journal.

    An invocation is kept for its retention after its end, so those that started earlier than that can be incomplete:
    only the long ones are left.
    """
    base = period.now
    if is_archive:
        first = reads.sql("SELECT min(started_at) AS first FROM visits", progress=False)["first"].iloc[0]
        base = period.now if pd.isna(first) else first.to_pydatetime()
    kept = [0 if pd.isna(row[name]) else int(row[name]) for name in ("completion_ms", "journal_ms")]
    longest = (base - period.start) / timedelta(milliseconds=1)  # a retention can be longer than a datetime allows
    since = [base - timedelta(milliseconds=min(each, longest)) for each in (kept[0], min(kept))]
    return max(since[0], period.start), max(since[1], period.start)


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The blocks of a period, ``split`` of ``count`` before the change; rows are counted per unit of time.

    Without ``hours``, a block is one unit. With ``hours``, a block is a day and a unit is an hour; only the first
    ``hours`` of each day can be compared, because the later hours have not passed since the change.
    """

    start: datetime
    block: timedelta
    split: int
    count: int
    hours: int | None = None

    @property
    def is_comparable(self) -> bool:
        """Return whether each side has a block."""
        return 0 < self.split < self.count and self.hours != 0

    @property
    def unit(self) -> timedelta:
        """Return the length of a unit."""
        return self.block if self.hours is None else HOUR

    @property
    def units(self) -> int:
        """Return the number of units in a block."""
        return self.block // self.unit

    @property
    def part(self) -> timedelta:
        """Return the length of that part of a block that can be compared."""
        return self.block if self.hours is None else self.hours * HOUR


def grid_of(period: Period, block: timedelta | None) -> BlockGrid:
    """Return blocks that begin and end at the change; ``block`` is their length, or None for days.

    Durations and failures have a daily curve. So with less than two days after the change, the hours of the first day
    are compared with the same hours of earlier days. An archive often lacks the last hour of that day.
    """
    after, size = period.end - period.at, block or DAY
    split = min((period.at - period.start) // size, _MOST_BLOCKS)
    start = period.at - split * size
    if block is None and after < _LEAST_DAYS * DAY:
        return BlockGrid(start, DAY, split, split + 1, min(after, DAY) // HOUR)
    return BlockGrid(start, size, split, split + min(after // size, _MOST_BLOCKS))


class _BlockReader:
    """Reads the blocks of a grid, and turns the rows of a handler into series."""

    def __init__(self, reads: Reads, period: Period, grid: BlockGrid, *, is_archive: bool) -> None:
        self._reads, self._period, self._grid, self._coverage = reads, period, grid, reads.coverage
        self._numbers = np.arange(grid.count * grid.units)
        self._is_archive = is_archive
        self._has_open = reads.has("origins.origin")  # an archive with its cluster
        # The invocations and blocks that are not compared.
        self._open, self._unfinished, self._errors = 0, 0, 0
        self._undecided, self._lost = set[tuple[str, str, int]](), list[str]()

    def notes(self) -> list[str]:
        """Return what the series do not contain."""
        texts = []
        if self._open:
            texts.append(f"{plural(self._open, 'open invocation')} counted as longer than their age")
        if self._undecided:
            texts.append(f"{plural(len(self._undecided), 'block')} with too many open invocations not compared")
        if self._is_archive and not self._has_open:
            texts.append("invocations that have not ended are not in an archive")
        if self._unfinished:
            unit = UNITS.get(self._grid.unit, "block")
            texts.append(f"{plural(self._unfinished, unit)} too recent to have all long invocations not compared")
        if self._lost:
            texts.append(f"{join(self._lost, 2)}, because the archive may lack invocations of that time")
        if self._errors:
            texts.append(f"{plural(self._errors, 'rare error')} not compared")
        return texts

    def read(self, service: str | None) -> Frames:
        # In the rows, ``block`` is the number of the unit of time.
        grid = self._grid
        params = {
            "service": service,
            "from_time": grid.start,
            "until_time": grid.start + grid.count * grid.block,
            "from_ms": _milliseconds(grid.start),
            "now_ms": _milliseconds(self._period.now),
            "block_ms": grid.unit // _MILLISECOND,
            "period_ms": grid.block // _MILLISECOND,
            "part_ms": grid.part // _MILLISECOND,
        }
        return {name: self._reads.frame(f"before_after/{name}", **params) for name in _FRAMES}

    def series(self, handlers: Sequence[Mapping[Any, Any]], frames: Frames) -> list[BlockSeries]:
        groups = {name: dict(list(frame.groupby(_RUN))) for name, frame in frames.items()}
        series: list[BlockSeries] = []
        for row in handlers:
            key = (row["service"], row["handler"])
            own = {name: groups[name].get(key, frame.iloc[:0]) for name, frame in frames.items()}
            if len(own["runs"]):
                series += self._of_handler(key, row, own)
        return series

    def _of_handler(self, key: tuple[str, str], row: Mapping[Any, Any], frames: Frames) -> list[BlockSeries]:
        units = self._complete_units(key, frames["runs"], row["from"])
        is_compared = np.ones(1, dtype=bool)
        if self._grid.hours is not None:
            is_compared = units[self._grid.split * self._grid.units :]
        complete = self._in_blocks(units, is_compared)
        with_journal = self._in_blocks(units & self._since(row["journal_from"]), is_compared)
        frames = {name: self._rows_in_blocks(frame, is_compared) for name, frame in frames.items()}
        series = [*self._of_runs(key, frames, complete)]
        series.append(self._rate(key, "retries", "", frames["retried"], with_journal, self._sums(frames["runs"])))
        for name, steps in frames["steps"].groupby("name", dropna=False):
            series.append(self._latency(key, "step", str(name), steps, with_journal, 0.5))
        hours = None if is_compared.all() else int(is_compared.sum())
        return [replace(each, hours=hours) for each in series]

    def _of_runs(self, key: tuple[str, str], frames: Frames, complete: Mask) -> Iterator[BlockSeries]:
        outcome = frames["runs"]["outcome"]
        runs = frames["runs"].assign(is_open=outcome == "open")
        self._open += int(runs.loc[runs["is_open"], "invocations"].sum())
        for share in _LEAST_IN_BLOCK:
            yield self._latency(key, "latency", f"p{share * 100:.0f}", runs, complete, share)
        is_decided = complete & (self._sums(runs[runs["is_open"]]) <= _MOST_OPEN * self._sums(runs))
        ended = self._sums(runs[outcome.isin(["succeeded", "failed"])])
        errors = {str(name): rows for name, rows in frames["failures"].groupby("name")}
        names = sorted(errors, key=lambda name: -errors[name]["invocations"].sum())
        self._errors += len(names[_MOST_ERRORS:])
        only = names[0] if len(names) == 1 else ""  # the only kind is the same as all failures
        yield self._rate(key, "failures", only, runs[outcome == "failed"], is_decided, ended)
        for name in names[:_MOST_ERRORS] if len(names) > 1 else []:
            yield self._rate(key, "failures", name, errors[name], is_decided, ended)

    def _complete_units(self, key: tuple[str, str], runs: pd.DataFrame, since: datetime) -> Mask:
        """Return which units have all of their invocations, as far as the source can have them."""
        grid, period = self._grid, self._period
        complete = self._since(since) & (self._numbers % grid.units < grid.part // grid.unit)
        if not self._is_archive:
            return complete
        durations = np.repeat(runs["bin"].to_numpy(), runs["invocations"].to_numpy())
        long = timedelta(milliseconds=float(np.exp(np.quantile(durations, _LONG) / 100)))
        until = self._coverage.until or period.now
        last = (min(until, period.now) - long - grid.start) // grid.unit
        finished = (self._numbers < last) | self._has_open
        self._unfinished += int((complete & ~finished).sum())
        lost = complete & finished & self._can_have_lost(key, long)
        if lost.any():
            unit = plural(int(complete.sum()), UNITS.get(grid.unit, "block"))
            self._lost.append(f"{int(lost.sum()):,} of {unit} of {one_line('/'.join(key), 60)}")
        return np.asarray(complete & finished & ~lost)

    def _can_have_lost(self, key: tuple[str, str], long: timedelta) -> Mask:
        start, unit = self._grid.start, self._grid.unit
        can_have_lost: Mask = np.zeros(len(self._numbers), dtype=bool)
        for gap in self._coverage.gaps:
            if (gap.service, gap.handler) == key:
                first, end = (gap.since - long - start) // unit, (gap.until - start) / unit
                can_have_lost |= (self._numbers >= first) & (self._numbers < end)
        return can_have_lost

    def _since(self, since: datetime) -> Mask:
        return self._numbers >= -((self._grid.start - since) // self._grid.unit)

    def _in_blocks(self, complete: Mask, is_compared: Mask) -> Mask:
        return np.asarray(complete.reshape(-1, self._grid.units)[:, is_compared].all(axis=1) & is_compared.any())

    def _rows_in_blocks(self, rows: pd.DataFrame, is_compared: Mask) -> pd.DataFrame:
        units = self._grid.units
        rows = rows[is_compared[rows["block"].to_numpy() % units]]
        return rows.assign(block=rows["block"] // units)

    def _sums(self, rows: pd.DataFrame) -> Blocks:
        return np.bincount(rows["block"].to_numpy(), _counts(rows).to_numpy(), self._grid.count).astype(float)

    def _latency(
        self, key: tuple[str, str], measure: str, name: str, rows: pd.DataFrame, complete: Mask, share: float
    ) -> BlockSeries:
        values, counts = np.full(len(complete), np.nan), np.where(complete, self._sums(rows), np.nan)
        for number, group in rows.groupby("block"):
            block = int(str(number))
            if complete[block] and counts[block] >= _LEAST_IN_BLOCK[share]:
                bins, numbers, is_open = (each.to_numpy() for each in (group["bin"], _counts(group), group["is_open"]))
                ended, still_open = ((bins[side] / 100, numbers[side]) for side in (~is_open, is_open))
                values[block] = quantile_of_block(ended, still_open, share)
                if np.isnan(values[block]):
                    self._undecided.add((*key, block))
        return self._series(key, measure, name, values, np.where(np.isnan(values), np.nan, counts))

    def _rate(
        self, key: tuple[str, str], measure: str, name: str, rows: pd.DataFrame, complete: Mask, counts: Blocks
    ) -> BlockSeries:
        known = complete & (counts > 0)
        return self._series(
            key, measure, name, np.where(known, self._sums(rows), np.nan), np.where(known, counts, np.nan)
        )

    def _series(self, key: tuple[str, str], measure: str, name: str, values: Blocks, counts: Blocks) -> BlockSeries:
        return BlockSeries(*key, measure, name, values, counts, self._grid.split, self._grid.block)


def _counts(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return how many invocations, or steps, each row counts."""
    return rows["steps" if "steps" in rows else "invocations"]


def _milliseconds(value: datetime) -> int:
    return int(pd.Timestamp(value).value // 1_000_000)
