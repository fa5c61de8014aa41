"""The time axis of a waterfall: proportional to time, except for long times in which no code ran.

An order of some seconds can wait for days. A time without running code that takes a large part of the axis is a break:
it is drawn shorter, so that the phases before and after it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from restate_lab._text import format_duration, format_timestamp
from restate_lab.durations import round_step

_MOST_STEPS = 4
_LABEL, _LAST_LABEL = 0.1, 0.14  # of the axis, the room for a label
_CHARACTER = 0.02  # of the axis, the room for a character of the first label
_BREAK = 0.12  # of the axis, the width of a break
_LONG = 0.4  # of the time, the least length of a break
_LEAST_ACTIVE = 6  # phases of running code; with fewer of them there is nothing that a break would make readable
_ACTIVE = ("running", "retrying")


@dataclass(frozen=True, slots=True)
class AxisTick:
    """One label of the axis and the position where it begins, from 0 to 1."""

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class StoryAxis:
    """The axis of a story: ``first`` is its beginning in seconds since 1970, ``seconds`` its length.

    ``breaks`` are the starts and ends of times that are drawn shorter, in seconds after ``first``.
    """

    first: float
    seconds: float
    is_open: bool
    breaks: tuple[tuple[float, float], ...] = ()

    def positions(self, times: Any) -> Any:
        """Return the positions of times in seconds since 1970, from 0 to 1."""
        if not self.seconds:
            return np.zeros_like(times)
        knots = self._knots()
        return np.interp(times - self.first, [time for time, _ in knots], [position for _, position in knots])

    def _knots(self) -> list[tuple[float, float]]:
        """Return times after the beginning with their positions; the axis is linear between them."""
        short = sum(end - start for start, end in self.breaks)
        scale = (1 - _BREAK * len(self.breaks)) / (self.seconds - short)
        knots, at, before = [(0.0, 0.0)], 0.0, 0.0
        for start, end in self.breaks:
            at += (start - before) * scale
            knots += [(start, at), (end, at + _BREAK)]
            at, before = at + _BREAK, end
        return [*knots, (self.seconds, 1.0)]

    def break_parts(self) -> list[tuple[float, float, float]]:
        """Return the position, the width and the seconds of each break."""
        knots = self._knots() if self.breaks else []
        return [(knots[2 * n + 1][1], _BREAK, end - start) for n, (start, end) in enumerate(self.breaks)]

    def ticks(self) -> tuple[AxisTick, ...]:
        """Return the time of the beginning, some durations after it, and the end."""
        start = datetime.fromtimestamp(self.first, UTC)
        first = AxisTick(0.0, format_timestamp(start, now=start + timedelta(seconds=self.seconds)))
        if not self.seconds:
            return (first,)
        last = AxisTick(1.0, f"+{format_duration(self.seconds)}{', now' if self.is_open else ''}")
        ticks, free = [first], _CHARACTER * len(first.label)
        for time in self._candidates():
            position = float(self.positions(self.first + time))
            if free <= position <= 1 - _LAST_LABEL:
                ticks.append(AxisTick(position, f"+{format_duration(time)}"))
                free = position + _LABEL
        return (*ticks, last)

    def _candidates(self) -> Iterator[float]:
        if self.breaks:
            yield from (time for each in self.breaks for time in each)
            return
        step = round_step(self.seconds, _MOST_STEPS)
        yield from (step * number for number in range(1, int(self.seconds / step) + 1))


def axis_of(
    started: datetime,
    ended: datetime | None,
    read_at: datetime,
    members: pd.DataFrame,
    path: pd.DataFrame,
    phases: pd.DataFrame,
) -> StoryAxis:
    """Return the axis of a story, from its beginning or that of its critical path to its end, or to now."""
    starts, ends = seconds_of(path["started"]), seconds_of(members["ended_at"])
    first = min([started.timestamp(), *starts[:1]])
    known = float(np.nanmax(ends)) if not np.isnan(ends).all() else first
    last = known if ended else max(read_at.timestamp(), known)
    return StoryAxis(first, max(last - first, 0.0), not ended, tuple(_breaks(first, max(last, first), phases)))


def _breaks(first: float, last: float, phases: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """Yield the long times in which no code ran, in seconds after the first time."""
    active = phases[phases["kind"].isin(_ACTIVE)]
    if len(active) < _LEAST_ACTIVE:
        return
    starts, ends = seconds_of(active["started"]), seconds_of(active["ended"])
    order = np.argsort(starts, kind="stable")
    quiet_from = np.concatenate([[first], np.maximum.accumulate(ends[order])])
    quiet_until = np.concatenate([starts[order], [last]])
    for number in np.flatnonzero(quiet_until - quiet_from > _LONG * (last - first)):
        yield float(max(quiet_from[number], first) - first), float(quiet_until[number] - first)


def seconds_of(times: pd.Series[Any]) -> Any:
    """Return times as seconds since 1970; NaN for a missing one."""
    values = times.dt.tz_convert(None).to_numpy("datetime64[ms]")
    return np.where(np.isnat(values), np.nan, values.astype("int64") / 1000)
