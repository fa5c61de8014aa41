"""Draw a journal: times become positions on an axis from 0 to 1, and rows become bars.

``linear`` is proportional to time. ``log`` gives the first second as much space as the next minutes. ``fit`` gives each
interval between two starts or ends a width that grows with the logarithm of its duration, so that every entry is
readable. ``panels/invocation/journal.js`` computes the same positions with the browser's clock.

``journal_document`` returns the blocks of a frame for every surface.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from math import log1p
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd

from restate_lab._cells import MISSING, is_missing
from restate_lab._text import format_duration, format_timestamp, one_line, plural
from restate_lab.analysis.journal.bars import JournalBars, JournalRow, journal_bars
from restate_lab.analysis.journal.payloads import payload_texts
from restate_lab.analysis.suggestions import why_call
from restate_lab.calls import Step, SuggestedCall, python_code
from restate_lab.document import BarRow, Bars, Block, Calls, Document, Fold, Text, Word
from restate_lab.document.html import html_of
from restate_lab.durations import round_step
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.status import OUTCOMES

ScaleName: TypeAlias = Literal["linear", "log", "fit"]
SCALES: tuple[ScaleName, ...] = get_args(ScaleName)
FUTURE = 0.08  # the part of the axis right of now, for known future events

_LOG_UNIT, _FIT_UNIT = 0.01, 0.001  # seconds
_DECADES = (0.01, 0.1, 1, 10, 60, 600, 3600, 21600, 86400, 604800, 2592000, 31536000)
_MOST_STEPS = 5
_LEAST_GAP, _LEAST_GAP_AT_START = 0.2, 0.34  # of the axis, between two ticks; the label at the start is longer
_LEAST_BETWEEN_MARKS = 0.012  # of the axis; with more marks a bar would be black
_CLOCK_FROM = 60.0  # seconds; a longer linear axis shows times of day
_ROWS = 200  # of a card
_PAYLOADS = 100  # entries whose payloads are shown
_LONGEST_HEAD = 200  # characters


@dataclass(frozen=True, slots=True)
class Tick:
    """One label of the axis and the position where it begins."""

    position: float
    label: str
    time: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class TimeScale:
    """The axis of a journal; times are seconds since 1970.

    ``last`` is now for an invocation in flight, else the last known time. ``future`` is the time of the latest known
    future event, None without one. ``knots`` are times with the width up to them, for ``fit``.
    """

    kind: ScaleName
    first: float
    last: float
    future: float | None = None
    knots: tuple[tuple[float, float], ...] = ()

    @property
    def past(self) -> float:
        """Return the position of ``last``."""
        return 1.0 if self.future is None else 1 - FUTURE

    def position(self, time: datetime) -> float:
        """Return the position of a time, from 0 to 1."""
        return self._position(time.timestamp())

    def _position(self, time: float) -> float:
        if time > self.last:
            if self.future is None:
                return 1.0
            return min(1.0, self.past + FUTURE * 0.8 * (time - self.last) / max(self.future - self.last, 1e-9))
        passed, span = max(0.0, time - self.first), self.last - self.first
        if span <= 0:
            return 0.0
        share = passed / span
        if self.kind == "log":
            share = log1p(passed / _LOG_UNIT) / log1p(span / _LOG_UNIT)
        elif self.kind == "fit":
            share = self._fit(passed)
        return self.past * min(1.0, share)

    def _fit(self, passed: float) -> float:
        time, total = self.first + passed, self.knots[-1][1]
        at = max(0, min(bisect_right(self.knots, (time, float("inf"))) - 1, len(self.knots) - 2))
        (start, before), (end, after) = self.knots[at], self.knots[at + 1]
        return (before + (after - before) * (time - start) / (end - start)) / total if total else 0.0

    def ticks(self, zone: tzinfo = UTC) -> tuple[Tick, ...]:
        """Return the ticks from left to right: the start, some times in between, and now or the end."""
        span = self.last - self.first
        ticks = [Tick(0.0, _clock(self.first, zone, self.last), self.first)]
        end = Tick(self.past, "now" if self.future is not None else f"+{format_duration(span)}", self.last)
        for time, label in self._candidates(span, zone):
            position = self._position(time)
            gap = _LEAST_GAP if len(ticks) > 1 else _LEAST_GAP_AT_START
            if position - ticks[-1].position >= gap and end.position - position >= _LEAST_GAP:
                ticks.append(Tick(position, label, time))
        return (*ticks, end) if span > 0 else tuple(ticks)

    def _candidates(self, span: float, zone: tzinfo) -> Iterator[tuple[float, str]]:
        if self.kind != "linear":
            yield from ((self.first + each, f"+{format_duration(each)}") for each in _DECADES if each < span)
            return
        step = round_step(span, _MOST_STEPS)
        is_clock = span >= _CLOCK_FROM
        # times of day are rounded to the step; other ticks are counted from the start
        number, start = (int(self.first // step) + 1, 0.0) if is_clock else (1, self.first)
        while (time := start + number * step) < self.last:
            yield time, _clock(time, zone, self.last, self.first) if is_clock else f"+{format_duration(number * step)}"
            number += 1


def time_scale(bars: JournalBars, kind: ScaleName = "linear") -> TimeScale:
    """Return the scale that places all rows of a journal.

    Raises:
        ArgumentError: the scale is unknown.
    """
    if kind not in SCALES:
        raise ArgumentError(f"unknown scale {kind!r}; choose from {', '.join(SCALES)}.")
    now = bars.now.timestamp()
    times = sorted({time.timestamp() for row in bars.rows for time in (row.start, row.end) if time})
    first = times[0] if times else now
    last = max(now, first) if not bars.is_ended else max([first, *times])
    later = [time.timestamp() for row in bars.rows for time in (row.next_attempt, row.wakes_at) if time]
    future = None if bars.is_ended else max([*later, last])
    return TimeScale(kind, first, last, future, _knots([*times, last]))


def _knots(times: Sequence[float]) -> tuple[tuple[float, float], ...]:
    width, knots = 0.0, [(times[0], 0.0)]
    for before, time in pairwise(times):
        if time > before:
            width += log1p((time - before) / _FIT_UNIT)
            knots.append((time, width))
    return tuple(knots) if len(knots) > 1 else (*knots, (times[0] + 1, 0.0))


def _clock(time: float, zone: tzinfo, now: float, since: float | None = None) -> str:
    """Return the time of day, with the date if it is not the day of ``now``; full minutes have no seconds."""
    at, now_at = (datetime.fromtimestamp(each, UTC) for each in (time, now))
    text = format_timestamp(at, zone=zone, now=now_at, show_zone=False)
    return text if since is None else text.removesuffix(":00")


def journal_document(
    frame: pd.DataFrame, /, *, scale: ScaleName = "linear", zone: tzinfo = UTC, rows: int = _ROWS
) -> Document:
    """Return a frame of ``rl.journal`` as blocks: one row per entry, with its bar on a common time axis.

    At most ``rows`` entries have a row.

    Raises:
        ArgumentError: the scale is unknown.
    """
    attrs, bars = frame.attrs, journal_bars(frame, rows)
    status, id_ = str(attrs.get("status", "")), str(attrs.get("id", ""))
    attempts = attrs.get("failed_attempts")
    title = (
        Word(str(attrs.get("target") or "Journal")),
        *((" · ", Word(status, status)) if status else ()),
        f" · {plural(attempts, 'failed attempt')}" if attempts else "",
    )
    blocks = (
        *(Text(line) for line in bars.lines),
        *((Text(Word(attrs["truncated"]["message"], "incomplete")),) if "truncated" in attrs else ()),
        rows_of(bars, scale=scale, zone=zone),
        *((Text(Word(_totals(bars))),) if bars.rows else ()),
        *((Calls(Step((why_call(id_),))),) if id_ and not bars.is_ended else ()),
    )
    when = format_timestamp(bars.now, zone=zone)
    where = (f"{attrs['source']}, restate {attrs['version']}, {when}",) if "source" in attrs else ()
    return Document(title, id_, blocks, status or "quiet", where, str(attrs.get("link", "")))


def journal_html(frame: pd.DataFrame, /) -> str:
    """Return the card of a frame of ``rl.journal`` as HTML."""
    return html_of(journal_document(frame))


def payload_blocks(frame: pd.DataFrame, /, *, is_open: bool = False) -> tuple[Block, ...]:
    """Return the payloads of the first entries of a journal as folds, with secret fields masked."""
    folds = tuple(
        Fold(_head_of(entry), tuple(_value_text(*each) for each in texts), is_open=is_open)
        for entry in records(frame.head(_PAYLOADS))
        if (texts := payload_texts(entry))
    )
    every = SuggestedCall("journal", (str(frame.attrs["id"]),), {"payloads": True})
    rest: tuple[Block, ...] = ()
    if len(frame) > _PAYLOADS:
        every_call = Calls(Step((), "all of them", python_code((every,))))
        rest = (Text(f"The first {_PAYLOADS} of {len(frame):,} entries."), every_call)
    return (*(folds or (Text("No entry has a payload."),)), *rest)


def _head_of(entry: Mapping[Any, Any]) -> str:
    names = (entry[name] for name in ("entry_type", "name", "callee_target", "state_key"))
    index = MISSING if is_missing(entry["index"]) else entry["index"]
    return one_line(" ".join(str(each) for each in (index, *names) if not is_missing(each)), _LONGEST_HEAD)


def _value_text(name: str, text: str) -> Text:
    return Text((Word(f"{name}\n", "quiet"), Word(text, "value")))


def _totals(bars: JournalBars) -> str:
    words = dict.fromkeys(row.word for row in bars.rows if row.outcome == "retrying")
    labels = {name: each.label for name, each in OUTCOMES.items()} | {"retrying": " or ".join(words)}
    outcomes = [f"{bars.counts[name]:,} {label}" for name, label in labels.items() if bars.counts[name]]
    return f"{plural(bars.counts.total(), 'entry', 'entries')}: {', '.join(reversed(outcomes))}"


def rows_of(bars: JournalBars, *, scale: ScaleName = "linear", zone: tzinfo = UTC) -> Bars | Text:
    """Return the rows of a journal as a block, or the reason why it has none."""
    if not bars.rows:
        return Text(f"There is no journal: {bars.note or 'it has no entries'}.")
    axis = time_scale(bars, scale)
    return Bars(
        tuple(_bar(row, bars.now, axis, zone) for row in bars.rows),
        tuple((tick.position, tick.label) for tick in axis.ticks(zone)),
        axis.past if axis.future is not None else None,
        len(bars.rows) + bars.hidden,
    )


def _bar(row: JournalRow, now: datetime, scale: TimeScale, zone: tzinfo) -> BarRow:
    left, right = _ends(row, scale)
    later = row.next_attempt or row.wakes_at
    callee = (row.callee or "") if row.outcome != "done" else ""
    seconds = (row.next_attempt - now).total_seconds() if row.next_attempt else 0.0
    next_text = f"next in {format_duration(max(0.0, seconds))}" if row.next_attempt else ""
    return BarRow(
        row.key,
        row.outcome,
        row.word,
        "" if row.index is None else str(row.index),
        row.entry_type,
        row.label,
        ": ".join(filter(None, (" ".join(row.value.split()), callee))),
        ", ".join(filter(None, (row.attempts_text, next_text))),
        row.duration(now),
        describe_times(row, now, zone),
        left,
        right,
        tuple(_marks(row, scale)),
        scale.position(later) if later else None,
        row.depth,
        row.parent,
    )


def _marks(row: JournalRow, scale: TimeScale) -> list[float]:
    """Return the positions of failed attempts; attempts too close together to tell apart share a mark."""
    marks: list[float] = []
    for position in sorted(map(scale.position, row.attempts)):
        if not marks or position - marks[-1] >= _LEAST_BETWEEN_MARKS:
            marks.append(position)
    return marks


def _ends(row: JournalRow, scale: TimeScale) -> tuple[float | None, float | None]:
    """Return the start and end of the bar; a row without a start has a mark at its end, if that is known."""
    is_open = row.end is None and row.outcome in {"waiting", "retrying"}
    end = scale.past if is_open else scale.position(row.end) if row.end else None
    start = scale.position(row.start) if row.start else end
    return start, start if start is None or end is None else max(start, end)


def describe_times(row: JournalRow, now: datetime, zone: tzinfo) -> str:
    """Return the times of a row as text, for the tooltip of its bar and for screen readers."""
    parts = [row.word]
    if row.start is not None:
        parts.append(f"from {format_timestamp(row.start, zone=zone, exact=True)}")
    if row.end is not None and row.start != row.end:
        parts.append(f"until {format_timestamp(row.end, zone=zone, exact=True)}")
    parts += [text for text in (row.duration(now), row.attempts_text) if text]
    if row.next_attempt is not None:
        parts.append(f"next attempt {format_timestamp(row.next_attempt, zone=zone)}")
    return ", ".join(parts)
