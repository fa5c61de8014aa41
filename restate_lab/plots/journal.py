"""Draw an invocation's journal as a timeline: one bar per entry, with callees below their calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from restate_lab._text import format_duration, format_timestamp, one_line, plural
from restate_lab.analysis.journal.bars import HANDLER, JournalRow, journal_bars
from restate_lab.analysis.journal.entries import OPEN
from restate_lab.analysis.times import to_zone
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, FillStyle, canvas_on, ink_on, mix_colours, status_style
from restate_lab.plots.units import NARROWEST_BAR, SHORTEST_AXIS, format_time_axis, parse_timestamp, to_axis_days
from restate_lab.status import OUTCOMES

STYLES = {
    "done": FillStyle(OUTCOMES["done"].colour),
    "abandoned": status_style("cancelled"),
    "not known": FillStyle(status_style("scheduled").colour),
    "waiting": FillStyle(OUTCOMES["waiting"].colour, "////"),
    "failing": FillStyle(OUTCOMES["retrying"].colour),
    "failed": FillStyle(OUTCOMES["failed"].colour, status_style("failed").hatch),
}
"""Outcome of an entry → its style; the most urgent outcome is last, so it is drawn on top."""
_OPEN = {"waiting", "failing"}
_DAY = 86_400_000.0
_ATTEMPT: dict[str, Any] = {"marker": "|", "linestyle": "none", "markersize": 5, "markeredgewidth": 1.5}
_NEXT: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 6, "markerfacecolor": "none"}
_BELOW = 0.26  # rows between the middle, which has the error text, and the marks of failed attempts
_ROOM_FOR_NEXT = 0.03  # share of the axis between now and the mark of the next attempt
_RETRIED: dict[str, Any] = {"marker": "x", "linestyle": "none", "markersize": 5, "markeredgewidth": 1.5}
_UNKNOWN_START: dict[str, Any] = {"marker": "<", "linestyle": "none", "markersize": 6}
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
_FRAME = RequiredColumns(
    "plot_journal",
    "rl.journal(lab, invocation_id)",
    (
        *("invocation_id", "depth", "index", "entry_type", "name", "status", "open", "started", "completed"),
        *("callee_target", "wakes_at", "promise", "awakeable_id", "state_key", "retries", "retries_at_least"),
    ),
)
_NAMES = ("name", "callee_target", "promise", "awakeable_id", "state_key")
_ALL = 60  # up to this many rows, all rows are named
_NAMED = 45  # with more rows, about this many are named
_LEAST_LETTERS, _MOST_LETTERS = 14, 90  # length of an error text


def plot_journal(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw a journal as a timeline, one bar per entry from top to bottom, in the frame's order.

    A bar extends from the start of an entry to its completion and is always wide enough to be visible. The bar of an
    open entry ends at the read time: it is gray-blue and hatched while the entry waits, and orange with the error while
    its attempts fail. If the start of an entry is not known, there is only a mark. The bar of an abandoned entry ends
    with the last entry of its invocation. Small vertical marks show failed attempts. A circle to the right of the read
    time shows the next attempt. A cross marks an entry whose attempts have no times. Callees are indented and have
    thinner bars. With more than 60 entries only some are named, first the failed, open and retried entries. If the code
    of an invocation fails between two entries, there is one more row, "Handler".

    ``frame`` is the result of ``rl.journal(lab, id)``; ``depth=2`` adds the callees. The plot reads ``invocation_id,
    depth, index, entry_type, name, status, open, started, completed, callee_target, wakes_at, promise, awakeable_id,
    state_key, retries, retries_at_least`` and, for the title, ``attrs``. ``tz`` is the time zone of the axis.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _with_outcomes(_FRAME.check(frame)), to_zone(tz)
    attrs = rows.attrs
    canvas = canvas_on(ax, width=10, height=_height(len(rows)))
    text, status = canvas.text, attrs.get("status")
    details = [text(attrs["id"], 48)] if attrs.get("id") else []
    details += [text(status, 20)] if status else []
    read_at = parse_timestamp(attrs.get("read_at"))
    times = EntryTimes.from_frame(rows, read_at)
    title = partial(
        canvas.set_title, text(attrs.get("target") or "Journal", 70), attrs, where, notes=_time_notes(times), of=details
    )
    if rows.empty or not times.has_place.any():
        title()
    if rows.empty:
        note = attrs.get("note")
        return canvas.show_empty("There is no journal" + (f":\n{text(note, 120)}." if note else "."))
    if not times.has_place.any():
        return canvas.show_empty(f"None of the {len(rows):,} entries has a time.")
    tries = np.nan_to_num(numbers(rows, "retries"))
    positions = _rows_to_name(rows, tries)
    _draw_entries(canvas, rows, times, tries, is_long=len(rows) > _ALL)
    format_time_axis(canvas.ax.xaxis, where, few=canvas.is_narrow)
    left = _name_rows(canvas, rows, positions, where)
    title(left=left)
    _annotate_rows(canvas, rows, positions, times, tries)
    _write_errors(canvas, rows, positions, times)
    canvas.add_legend(_proxies(canvas, rows, times, tries), below=14, left=left)
    return canvas.ax


def _with_outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with ``outcome``, a key of STYLES, ``error``, ``attempts`` and ``next_attempt``.

    A handler that fails between two entries adds a row.
    """
    bars = journal_bars(rows)
    numbers_of_rows = iter(range(len(rows)))
    takes = [-1 if row.entry_type == HANDLER else next(numbers_of_rows) for row in bars.rows]
    frame = rows.reindex(takes).reset_index(drop=True) if -1 in takes else rows.copy(deep=False)
    for at in (at for at, take in enumerate(takes) if take == -1):
        row = bars.rows[at]
        for name in ("invocation_id", "depth", "entry_type"):
            frame.loc[at, name] = getattr(row, name)
        frame.loc[at, ["name", "status", "open", "retries"]] = [row.label, OPEN, True, row.failed_attempts]
        frame.loc[at, "started"] = row.start
    frame["outcome"] = [_style_name(row) for row in bars.rows]
    frame["error"] = [row.error for row in bars.rows]
    frame["attempts"] = pd.Series([row.attempts for row in bars.rows], dtype=object)
    frame["next_attempt"] = [row.next_attempt is not None for row in bars.rows]
    frame.attrs = rows.attrs
    return frame


def _style_name(row: JournalRow) -> str:
    if row.outcome == "pending":
        return "abandoned" if row.value else "not known"
    return "failing" if row.outcome == "retrying" else row.outcome


@dataclass(frozen=True, slots=True)
class EntryTimes:
    """The start and end of each bar, in days since 1970; NaN if not known."""

    start: Floats
    end: Floats
    is_open: Flags
    has_length: Flags
    """Whether the duration of an entry, or its duration so far, is known."""
    now: float | None

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, read_at: datetime | None) -> EntryTimes:
        """Read the times of a journal's frame."""
        start, end = to_axis_days(frame["started"]), to_axis_days(frame["completed"])
        is_open = frame["outcome"].isin(_OPEN).to_numpy(dtype=bool)
        both = np.concatenate([start, end])
        latest = float(np.nanmax(both)) if np.isfinite(both).any() else None
        now = float(to_axis_days(pd.Series([pd.Timestamp(read_at)]))[0]) if read_at else latest
        # the clock of the reader can be behind the clock of the server
        now = max(now, latest) if now is not None and latest is not None else now
        has_length = np.isfinite(start) & (np.isfinite(end) | is_open)
        last = pd.Series(np.fmax(start, end)).groupby(frame["invocation_id"].to_numpy()).transform("max").to_numpy()
        abandoned = frame["outcome"].eq("abandoned").to_numpy(dtype=bool)
        if now is not None:
            end = np.where(is_open, now, end)
        end = np.where(np.isnan(end), np.where(abandoned, last, start), end)
        return cls(np.where(np.isnan(start), end, start), end, is_open, has_length, now)

    @property
    def has_place(self) -> Flags:
        """Return which entries have a position on the axis."""
        return np.isfinite(self.start) & np.isfinite(self.end)

    @property
    def milliseconds(self) -> Floats:
        """Return the duration of each entry, or its duration so far, in milliseconds."""
        return np.round((self.end - self.start) * _DAY)

    @property
    def span(self) -> tuple[float, float]:
        """Return the start and end of the axis, with a margin and a minimum length."""
        first, last = float(np.nanmin(self.start)), float(np.nanmax(self.end))
        room = max(0.0, SHORTEST_AXIS - (last - first)) / 2 + (last - first) * 0.02
        return first - room, last + room


def _height(rows: int) -> float:
    return max(2.2, 1.5 + 0.22 * rows) if rows <= _ALL else 11.0


def _time_notes(times: EntryTimes) -> list[str]:
    count = int((~times.has_place).sum())
    return [f"{count:,} entries without a time"] if count and times.has_place.any() else []


def _rows_to_name(rows: pd.DataFrame, tries: Any) -> list[int]:
    """Return the rows to name: all, or the important ones first and then others, far enough apart to be readable."""
    count = len(rows)
    if count <= _ALL:
        return list(range(count))
    outcome = rows["outcome"]
    first = [*np.flatnonzero(outcome.isin(_OPEN)), *np.flatnonzero(outcome.eq("failed")), *np.flatnonzero(tries > 0)]
    distance = -(-count // _NAMED)
    free, chosen = np.ones(count, dtype=bool), []
    for position in (*first, *range(0, count, distance)):
        if free[position]:
            chosen.append(int(position))
            free[max(0, position - distance + 1) : position + distance] = False
    return sorted(chosen)


def _draw_entries(canvas: Canvas, frame: pd.DataFrame, times: EntryTimes, tries: Floats, *, is_long: bool) -> None:
    """Draw the bars, one collection per outcome, and the marks of attempts."""
    ax = canvas.ax
    first, last = times.span
    has_next = frame["next_attempt"].to_numpy(dtype=bool)
    ax.set_xlim(first, last + (2 * _ROOM_FOR_NEXT * (last - first) if has_next.any() else 0))
    half = 0.36 - 0.07 * np.minimum(frame["depth"].to_numpy(dtype="float64") - 1, 2)
    for status, rows in _rows_by_status(frame, times):
        of = STYLES[status]
        corners = _corners(times, rows, half, (last - first) * NARROWEST_BAR * (2 if is_long else 1))
        face = canvas.tint(of.colour, 0.45) if status == "waiting" else of.colour
        # With many rows, a bar is thinner than a pixel: an edge keeps the important ones visible.
        edge = of.colour if is_long else canvas.edge_colour(of.colour)
        width = 0.0 if is_long and status == "done" else 0.6 if not is_long else 1.0
        ax.add_collection(
            PolyCollection(corners, facecolor=face, edgecolor=edge, hatch=of.hatch, linewidth=width, label=status),
            autolim=False,
        )
    small = {"markersize": 3, "markeredgewidth": 0.7} if is_long else {}
    for x, rows, options in _marks(frame, times, tries):
        colour = STYLES["failing"].colour if options is _NEXT else canvas.ink
        ax.plot(x, rows, color=colour, clip_on=False, zorder=4, **options | small)
    if times.now is not None and times.is_open.any():
        ax.axvline(
            times.now, color=mix_colours(canvas.background, canvas.ink, 0.6), linewidth=0.9, linestyle=":", zorder=0
        )
    ax.grid(axis="x", color=mix_colours(canvas.background, canvas.ink, 0.1), linewidth=0.7)


def _rows_by_status(frame: pd.DataFrame, times: EntryTimes) -> Iterator[tuple[str, Any]]:
    statuses = frame["outcome"].to_numpy()
    for status in STYLES:
        rows = np.flatnonzero((statuses == status) & times.has_place)
        if len(rows):
            yield status, rows


def _marks(frame: pd.DataFrame, times: EntryTimes, tries: Floats) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yield positions and options of marks: failed attempts, next attempts, and entries without known times."""
    counts = frame["attempts"].map(len).to_numpy()
    if counts.any():
        attempts = pd.Series([time for each in frame["attempts"] for time in each])
        yield to_axis_days(attempts), np.repeat(np.arange(len(frame)), counts) + _BELOW, _ATTEMPT
    if len(upcoming := np.flatnonzero(frame["next_attempt"].to_numpy(dtype=bool))):
        first, last = times.span
        yield times.end[upcoming] + _ROOM_FOR_NEXT * (last - first), upcoming, _NEXT
    for rows, options in (
        (np.flatnonzero((tries > 0) & (counts == 0)), _RETRIED),
        (_unknown_starts(times), _UNKNOWN_START),
    ):
        if len(rows):
            yield times.end[rows], rows, options


def _unknown_starts(times: EntryTimes) -> Any:
    return np.flatnonzero(times.is_open & ~times.has_length)


def _corners(times: EntryTimes, rows: Any, half: Floats, least: float) -> Any:
    """Return four corners for the bar of each row; a bar that is too short to see is widened around its middle."""
    start, end, half = times.start[rows], times.end[rows], half[rows]
    short = np.maximum(0, least - (end - start)) / 2
    left, right = start - short, end + short
    return np.stack(
        [
            np.stack([x, y], axis=-1)
            for x, y in ((left, rows - half), (right, rows - half), (right, rows + half), (left, rows + half))
        ],
        axis=1,
    )


def _name_rows(canvas: Canvas, rows: pd.DataFrame, positions: Sequence[int], tz: tzinfo) -> float:
    """Write the names of the rows, left-aligned to show the indentation; return their width in points."""
    now = parse_timestamp(rows.attrs.get("read_at"))
    names = [_entry_name(canvas, row, tz, now) for row in rows.iloc[list(positions)].to_dict("records")]
    ax = canvas.ax
    ax.set_yticks(list(positions), names, ha="left", **canvas.margin_options)
    # a little more than measured, because letters are aligned to whole pixels
    widest = 1.03 * max(canvas.typeface.width(name, canvas.font_size) for name in names) + 8
    ax.tick_params(axis="y", length=0, pad=widest)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    for row in np.flatnonzero(rows["depth"].to_numpy()[1:] > rows["depth"].to_numpy()[:-1])[:_ALL]:
        ax.axhline(row + 0.5, color=mix_colours(canvas.background, canvas.ink, 0.15), linewidth=0.6, zorder=0)
    return widest


def _entry_name(canvas: Canvas, row: dict[Any, Any], tz: tzinfo, now: datetime | None) -> str:
    text = canvas.text
    wakes = pd.notna(row["wakes_at"])
    names = [text(row[name], 22 if wakes else 34) for name in _NAMES if pd.notna(row[name]) and row[name] != ""][:1]
    if wakes:
        names.append(f"until {format_timestamp(row['wakes_at'], zone=tz, now=now, show_zone=False)}")
    index = f"{row['index']:,}" if pd.notna(row["index"]) else "–"
    indent = "     " * (int(row["depth"]) - 1)
    return " ".join([f"{indent}{index}", text(row["entry_type"], 20), *names])


def _annotate_rows(canvas: Canvas, rows: pd.DataFrame, positions: Sequence[int], times: EntryTimes, tries: Any) -> None:
    """Write the duration, the outcome and the number of retries of each named row at the right."""
    for position in positions:
        row = rows.iloc[position]
        notes = [format_duration(times.milliseconds[position] / 1_000)] if times.has_length[position] else []
        notes += [row["outcome"]] if row["outcome"] != "done" else []
        if tries[position]:
            may_be_more = pd.notna(row["retries_at_least"]) and bool(row["retries_at_least"])
            least = "at least " if may_be_more else ""
            notes.append(f"{least}{plural(tries[position], 'retry', 'retries')}")
        canvas.write_beside(", ".join(notes), position)


def _write_errors(canvas: Canvas, rows: pd.DataFrame, positions: Sequence[int], times: EntryTimes) -> None:
    """Write the errors of the named rows on their bars, or next to bars that are too short."""
    left, right = canvas.ax.get_xlim()
    letters = canvas.width * 72 * 1.6 / canvas.font_size / (right - left)  # per day of the axis
    for position in (each for each in positions if rows["error"].iloc[each] and times.has_place[each]):
        start, end = times.start[position], times.end[position]
        on_bar, before, after = ((end - start) * letters, (start - left) * letters, (right - end) * letters)
        room = int(on_bar if on_bar >= _LEAST_LETTERS else max(before, after)) - 2
        if room < _LEAST_LETTERS:
            continue
        at_end = on_bar < _LEAST_LETTERS and after >= before
        is_before = on_bar < _LEAST_LETTERS and not at_end
        ink = ink_on(STYLES[rows["outcome"].iloc[position]].colour) if on_bar >= _LEAST_LETTERS else canvas.ink
        canvas.ax.annotate(
            canvas.typeface.text(one_line(rows["error"].iloc[position], 400), min(room, _MOST_LETTERS)),
            (end if at_end else start, position),
            (-5 if is_before else 5, 0),
            textcoords="offset points",
            ha="right" if is_before else "left",
            va="center",
            zorder=5,
            **canvas.text_options | {"color": ink},
        )


def _proxies(canvas: Canvas, frame: pd.DataFrame, times: EntryTimes, tries: Floats) -> list[Artist]:
    """Return legend entries for the bars and marks in the plot."""
    handles: list[Artist] = [
        canvas.proxy(STYLES[status], f"{status}  {len(rows):,}") for status, rows in _rows_by_status(frame, times)
    ]
    labels = {"|": "failed attempt", "o": "next attempt", "x": "retried", "<": "open, start not known"}
    for _, _, options in _marks(frame, times, tries):
        colour = STYLES["failing"].colour if options is _NEXT else canvas.margin_ink
        handles.append(Line2D([], [], color=colour, label=labels[options["marker"]], **options))
    if times.is_open.any():
        handles.append(Line2D([], [], color=canvas.margin_ink, linestyle=":", linewidth=0.9, label="read time"))
    return handles
