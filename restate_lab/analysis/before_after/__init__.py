"""Compare a cluster before and after a deployment or a time: ``before_after()`` and its result.

``reader`` reads one number per block of time, and ``statistics`` compares the blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_duration, format_timestamp, join, one_line, plural
from restate_lab.analysis.before_after.reader import UNITS, BlockSeries, find_period, read_series
from restate_lab.analysis.before_after.statistics import (
    adjust,
    compare_quantiles,
    compare_rates,
    least_ratio,
    limited_exp,
)
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.analysis.times import TimeInput
from restate_lab.client.schema import translate_errors
from restate_lab.document import Document, Gaps, Row, Table, Text, Word
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.frames import BuiltRows
from restate_lab.reads import begin
from restate_lab.result import ORIGIN, Result, unread
from restate_lab.source import Source

_LEVEL = 0.05  # share of false discoveries among the reported changes
_LEAST = {"p50": 50, "p95": 200}  # invocations per side
_LEAST_RUNS, _LEAST_EVENTS = 50, 5  # of a rate: invocations per side, and events of both sides
_LEAST_BLOCKS = 6  # of both sides together, and at least one on each
_SHORTEST = timedelta(milliseconds=1)  # block; timestamps have milliseconds
_BLOCK_TEXTS = {"day": "a day", "hour": "an hour at any time of day"}
_OF_A_DAY = " of a day"
_NAME = 60  # characters
_COLUMNS = {
    **dict.fromkeys(("service", "handler", "measure", "name", "unit"), "str"),
    **dict.fromkeys(("before", "after", "change", "low", "high"), "float64"),
    **dict.fromkeys(("n_before", "n_after", "blocks_before", "blocks_after"), "int64"),
    **dict.fromkeys(("p", "adjusted_p", "least"), "float64"),
    **dict.fromkeys(("block", "verdict", "reason"), "str"),
}
_HEADS = ("handler", "measure", "before", "after", "change", "95 % interval")


@public
@dataclass(frozen=True, repr=False, eq=False)
class BeforeAfter(Result):
    """What changed in a cluster; ``before_after()`` returns it.

    ``comparisons`` has one row per comparison, those that changed first:

    - ``service, handler``; ``measure`` ("latency" of the handler, "step": latency of a Run, "failures": share of
      invocations that failed, "retries": share that had a failed attempt); ``name`` (p50 or p95; the step; the code and
      message of the failure, "" for all failures). Cancelled and killed invocations are not failures.
    - ``unit`` ("ms" or "%"); ``before, after`` (typical value of a block); ``change``: the ratio of durations, or the
      difference of shares in percentage points, with its 95 % interval ``low, high``
    - ``n_before, n_after`` (invocations or steps), ``blocks_before, blocks_after``, ``block`` ("day", "6h", or "5h of a
      day": the same hours of each day)
    - ``p, adjusted_p``; ``least``: the least ratio that is a change; ``verdict``: "changed", "no clear change" (with
      ``reason`` if only the change is too small) or "too few" (with ``reason``; its numbers are null). Fewer than 50
      invocations on a side are too few, or 200 for p95, 5 failures on both sides, or 6 blocks.
    """

    _json = (*ORIGIN, "not_read", "comparisons")
    comparisons: pd.DataFrame
    changed_at: datetime
    start: datetime
    end: datetime
    deployment: str | None

    @property
    def changed(self) -> pd.DataFrame:
        """Return the rows of ``comparisons`` that changed."""
        return self._with_verdict("changed")

    @property
    def tests(self) -> int:
        """Return the number of tests: the comparisons with enough data."""
        return int(self.comparisons["p"].notna().sum())

    @property
    def summary(self) -> str:
        """Return the number of changes on one line."""
        if len(self.changed):
            handlers = self.changed[["service", "handler"]].drop_duplicates()
            return f"{plural(len(self.changed), 'change')} in {plural(len(handlers), 'handler')}"
        return "no change found" if self.tests else "too few to compare"

    @property
    def where(self) -> str:
        """Return the source and the time, or the deployment with its time."""
        name = f"{self.deployment}, " if self.deployment else ""
        return f"{one_line(self.source, _NAME)}, {name}{format_timestamp(self.changed_at)}"

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return the changes and how they were found as blocks."""
        rows = self.changed
        others = self._other_results()
        blocks = (
            Table(_HEADS, BuiltRows(rows, _row)),
            *((Text(Word(others, "quiet")),) if others else ()),
            Gaps(self.reasons, "Not in these numbers"),
        )
        tone = "pending" if len(rows) else "scheduled"
        return Document(self.summary, self.where, blocks, tone, (self._method(),))

    def _with_verdict(self, verdict: str) -> pd.DataFrame:
        rows = self.comparisons[self.comparisons["verdict"] == verdict]
        return rows.reset_index(drop=True)

    def _method(self) -> str:
        tested = self.comparisons[self.comparisons["p"].notna()]
        if tested.empty:
            return f"{self._sides()}, by start; no test"
        least = " to ".join(dict.fromkeys(f"{each:.3g}" for each in (tested["least"].min(), tested["least"].max())))
        test = f"{plural(self.tests, 'test')}, Benjamini-Hochberg at {100 * _LEVEL:.0f} %"
        return f"{self._compared_times(tested)}; {test}; a change is at least × {least}"

    def _compared_times(self, tested: pd.DataFrame) -> str:
        blocks = sorted(set(tested["block"]))
        hours = [each.removesuffix(_OF_A_DAY) for each in blocks if each.endswith(_OF_A_DAY)]
        if hours:
            days = plural(int(tested["blocks_before"].max()), "day")
            return f"{' or '.join(hours)} after, with the same hours of the {days} before, by start"
        return f"{self._sides()}, by start, in blocks of {' or '.join(map(_block_text, blocks))}"

    def _sides(self) -> str:
        before, after = (format_duration(span) for span in (self.changed_at - self.start, self.end - self.changed_at))
        return f"up to {before} before and {after} after"

    def _other_results(self) -> str:
        few = self._with_verdict("too few").to_dict("records")
        same = self._with_verdict("no clear change")["reason"]
        small = int((same != "").sum())
        note = f" ({small:,} significant, but smaller)" if small else ""
        texts = [f"no clear change: {len(same):,}{note}"] if len(same) else []
        if few:
            names = join([f"{_label(row)} ({row['reason']})" for row in few], 2, separator="; ")
            texts.append(f"too few: {names}")
        return " · ".join(texts)


@translate_errors
def before_after(
    source: Source,
    deployment_or_time: TimeInput,
    /,
    *,
    service: str | None = None,
    window: DurationInput = "7d",
    block: DurationInput | None = None,
    timeout: DurationInput | None = "2m",
) -> BeforeAfter:
    """Report what changed after a deployment or a time: latency, steps, failures and retries, per handler.

        print(rl.before_after(lab, "dp_…"))
        rl.before_after(lab, "2026-11-20T03:00Z", service="Payments", window="14d").changed

    It compares the invocations that started in the ``window`` before with those that started in the ``window`` after.
    With a deployment, only its services are compared, and the time after ends where the next deployment of them was
    registered. ``timeout`` is for the whole call.

    Invocations of the same day are alike, so they are not compared one by one. The unit is a block of time. Each block
    gives one number, and a t test compares the blocks; shares vary at least as much as independent invocations. The
    correction of Benjamini and Hochberg is applied to all tests, so that at most about 5 % of the reported changes are
    by chance. A trend over many days is reported as a change.

    - Two days after the change or later, a block is a day of 24 hours from the change on.
    - Earlier than that, the hours since the change are compared with the same hours of the days before, because
      durations and failures depend on the time of day. So a cluster that retains invocations for a day has "too few".
    - ``block`` sets another length, such as "7d", or some seconds for a load test. Blocks of "1h" are compared at any
      time of day, so a daily curve is reported as a change.

    The days of a week are also alike, and a few days cannot show how much. Therefore a change must be at least × 1.32
    or / 1.32: for a share, of the share or of its rest to 100 %. If several handlers are compared, it must be larger:
    × 1.37 for 2 handlers, × 1.46 for 8; ``service`` compares fewer. A duration must also change by 1.5 standard
    deviations of its blocks.

    Only blocks whose invocations are all known are compared: on a server, those that are still retained. An open
    invocation counts as longer than its age; if a block's number depends on how long, the block is excluded. An archive
    has no open invocations, so its blocks that are too recent for the long ones are excluded. Blocks are also excluded
    if their invocations can have ended in a time that the archive does not cover (``rl.ask(history, "coverage")``).
    ``not_read`` has the number of excluded blocks.

    ``help(rl.BeforeAfter)`` describes the columns. ``print()`` shows it.

    Raises:
        ArgumentError: the deployment or the service is unknown, or the time is not before the source's.
        NotOnThisServer: the source does not have the required tables, or is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.sql``.
    """
    length = to_timedelta(window, name="window")
    if not length:
        raise ArgumentError(f"window is {window!r}; use a duration such as '7d'.")
    size = None if block is None else to_timedelta(block, name="block")
    if size is not None and not _SHORTEST <= size <= length:
        raise ArgumentError(f"block is {block!r}; use a duration from 1 ms to the window, such as '6h', or None.")
    reads = begin(source, "before_after", timeout)
    period = find_period(reads, deployment_or_time, window=length, service=service)
    series, notes = read_series(reads, period, service=service, block=size)
    if not series:
        refuse_unknown_names(source, service=service)
    comparisons = compare_series(series)
    comparisons.attrs = {
        "source": source.name,
        "version": source.version,
        "read_at": period.now.isoformat(),
        "changed_at": period.at.isoformat(),
        "deployment": period.deployment,
    }
    return BeforeAfter(
        comparisons=comparisons,
        changed_at=period.at,
        start=period.start,
        end=period.end,
        deployment=period.deployment,
        source=source.name,
        version=source.version,
        read_at=period.now,
        not_read=unread(comparisons=notes),
        queries=tuple(reads.queries),
    )


def compare_series(series: Sequence[BlockSeries]) -> pd.DataFrame:
    """Return the frame ``comparisons``: the test of each series, corrected for the number of tests."""
    rows = compare_rows(series)
    columns = {
        name: [row.get(name, None if kind == "str" else np.nan) for row in rows] for name, kind in _COLUMNS.items()
    }
    return pd.DataFrame({name: pd.Series(columns[name], dtype=kind) for name, kind in _COLUMNS.items()})


def compare_rows(series: Sequence[BlockSeries]) -> list[dict[str, Any]]:
    """Return the rows of ``comparisons``; a row without a test has no numbers."""
    rows = [row for row in map(_compare, series) if row is not None]
    tested = [row for row in rows if "p" in row]
    least = least_ratio(len({(row["service"], row["handler"]) for row in tested}))
    for row, p in zip(tested, adjust([row["p"] for row in tested]), strict=True):
        row |= {"adjusted_p": float(p), "least": max(row["least"], least)}
        is_small = row["ratio"] < row["least"]
        row["verdict"] = "changed" if p <= _LEVEL and not is_small else "no clear change"
        row["reason"] = f"less than × {row['least']:.3g}" if p <= _LEVEL and is_small else ""
    order = {"changed": 0, "no clear change": 1, "too few": 2}
    return sorted(rows, key=lambda row: (order[row["verdict"]], row.get("adjusted_p", 1.0), row.get("p", 1.0)))


def _compare(series: BlockSeries) -> dict[str, Any] | None:
    """Return a row of the frame; None for a rate without any event."""
    sides = (slice(None, series.split), slice(series.split, None))
    counts = [int(np.nansum(series.counts[side])) for side in sides]
    blocks = [int(np.sum(~np.isnan(series.values[side]))) for side in sides]
    if series.is_rate and not np.nansum(series.values):
        return None
    block = UNITS.get(series.block) or format_duration(series.block)
    if series.hours is not None:
        block = f"{series.hours}h{_OF_A_DAY}"
    row: dict[str, Any] = {
        **{name: getattr(series, name) for name in ("service", "handler", "measure", "name")},
        "unit": "%" if series.is_rate else "ms",
        **dict(zip(("n_before", "n_after", "blocks_before", "blocks_after"), (*counts, *blocks), strict=True)),
        "block": block,
        "reason": _shortage(series, counts, blocks),
    }
    if row["reason"]:
        return {**row, "verdict": "too few"}
    if series.is_rate:
        effect = compare_rates(*((series.values[side], series.counts[side]) for side in sides))
        scaled = [100 * each for each in (effect.before, effect.after, effect.change, effect.low, effect.high)]
    else:
        effect = compare_quantiles(*(series.values[side] for side in sides))
        scaled = [limited_exp(each) for each in (effect.before, effect.after, effect.change, effect.low, effect.high)]
    numbers = dict(zip(("before", "after", "change", "low", "high"), scaled, strict=True))
    return {**row, **numbers, "p": effect.p, "ratio": effect.ratio, "least": effect.least}


def _shortage(series: BlockSeries, counts: Sequence[int], blocks: Sequence[int]) -> str:
    if series.hours == 0:
        return "no hour after the change is complete"
    if min(blocks) < 1 or sum(blocks) < _LEAST_BLOCKS:
        part = "" if series.hours is None else f"the same {series.hours}h of "
        unit = plural(blocks[0], UNITS.get(series.block, "block"))
        return f"{part}{unit} with enough invocations before, {blocks[1]:,} after; {_LEAST_BLOCKS} needed in all"
    least = _LEAST_RUNS if series.is_rate else _LEAST.get(series.name if series.measure == "latency" else "p50", 0)
    if min(counts) < least:
        return f"{counts[0]:,} before, {counts[1]:,} after; {least} needed"
    if series.is_rate and np.nansum(series.values) < _LEAST_EVENTS:
        return f"{plural(int(np.nansum(series.values)), 'event')}; {_LEAST_EVENTS} needed"
    return ""


def _block_text(name: str) -> str:
    """Return the name of a block for a sentence; parts of a day are compared at any time of day."""
    if name.endswith("d"):  # "7d"
        return name
    return _BLOCK_TEXTS.get(name, f"{name} at any time of day")


def _row(row: Mapping[Any, Any]) -> Row:
    values = (_value(row, side) for side in ("before", "after"))
    return Row((_handler(row), _measure(row), *values, _change(row), _interval(row)))


def _label(row: Mapping[Any, Any]) -> str:
    return f"{_handler(row)} {_measure(row)}"


def _handler(row: Mapping[Any, Any]) -> str:
    return one_line(f"{row['service']}/{row['handler']}", _NAME)


def _measure(row: Mapping[Any, Any]) -> str:
    name = one_line(str(row["name"]), _NAME)
    if row["measure"] == "latency":
        return name
    if row["measure"] == "step":
        return f"step “{name}”"
    return f"{row['measure']} {name}".rstrip()


def before_and_after(row: Mapping[Any, Any]) -> str:
    """Return both values of a row of ``comparisons``, such as "401ms → 699ms"."""
    return " → ".join(_value(row, side) for side in ("before", "after"))


def _value(row: Mapping[Any, Any], side: str) -> str:
    return f"{row[side]:.3g} %" if row["unit"] == "%" else format_duration(row[side] / 1_000)


def _change(row: Mapping[Any, Any]) -> str:
    if row["unit"] == "%":
        return f"{row['change']:+.3g} points"
    return f"× {row['change']:.3g}"


def _interval(row: Mapping[Any, Any]) -> str:
    return " to ".join(f"{row[side]:{'+' if row['unit'] == '%' else ''}.3g}" for side in ("low", "high"))
