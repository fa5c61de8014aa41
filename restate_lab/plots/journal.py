"""An invocation's journal as a timeline: a bar per entry, callees below the calls that made them."""

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

from restate_lab._text import format_duration, format_timestamp, plural
from restate_lab.plots.inputs import Reads, numbers, zone
from restate_lab.plots.style import Canvas, Look, canvas, look, mixed
from restate_lab.plots.units import moment, on_axis, time_axis

__all__ = ["plot_journal"]

LOOKS = {
    "done": look("succeeded"),
    "abandoned": look("cancelled"),
    "not known": Look(look("scheduled").colour),
    "open": Look(look("running").colour, "////"),
    "failed": look("failed"),
}
"""How an entry's status is drawn, what matters most last and so on top."""
_DAY = 86_400_000.0
_LEAST = 20 / _DAY  # of an axis, in days: below that matplotlib has no marks for it
_VISIBLE = 0.004  # of the axis: the least width of a bar
_RETRIED: dict[str, Any] = {"marker": "x", "linestyle": "none", "markersize": 5, "markeredgewidth": 1.5}
_UNKNOWN_START: dict[str, Any] = {"marker": "<", "linestyle": "none", "markersize": 6}
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
_READS = Reads(
    "plot_journal",
    "rl.journal(lab, invocation_id)",
    (
        *("invocation_id", "depth", "index", "entry_type", "name", "status", "open", "started", "completed"),
        *("callee_target", "wakes_at", "promise", "awakeable_id", "state_key", "retries", "retries_at_least"),
    ),
)
_NAMES = ("name", "callee_target", "promise", "awakeable_id", "state_key")
_ALL = 60  # rows that are all named; of more, these are named
_NAMED = 45


@dataclass(frozen=True, slots=True)
class Times:
    """Where each bar begins and ends, in days; NaN for what is not known."""

    start: Floats
    end: Floats
    is_open: Flags
    has_length: Flags
    """Whether the frame says how long it took, or has taken so far."""
    now: float | None

    @classmethod
    def of(cls, frame: pd.DataFrame, read_at: datetime | None) -> Times:
        """Read the times of a journal's frame."""
        start, end = on_axis(frame["started"]), on_axis(frame["completed"])
        is_open = frame["open"].fillna(value=False).astype(bool).to_numpy()
        both = np.concatenate([start, end])
        latest = float(np.nanmax(both)) if np.isfinite(both).any() else None
        now = float(on_axis(pd.Series([pd.Timestamp(read_at)]))[0]) if read_at else latest
        # the clock of reading may be behind that of the entries
        now = max(now, latest) if now is not None and latest is not None else now
        has_length = np.isfinite(start) & (np.isfinite(end) | is_open)
        last = pd.Series(np.fmax(start, end)).groupby(frame["invocation_id"].to_numpy()).transform("max").to_numpy()
        abandoned = frame["status"].eq("abandoned").fillna(value=False).to_numpy(dtype=bool)
        if now is not None:
            end = np.where(is_open, now, end)
        end = np.where(np.isnan(end), np.where(abandoned, last, start), end)
        return cls(np.where(np.isnan(start), end, start), end, is_open, has_length, now)

    @property
    def known(self) -> Flags:
        """Tell which entries have a place on the axis."""
        return np.isfinite(self.start) & np.isfinite(self.end)

    @property
    def long(self) -> Floats:
        """Return how long each took, or has taken so far, in milliseconds."""
        return np.round((self.end - self.start) * _DAY)

    @property
    def span(self) -> tuple[float, float]:
        """Return the first and last moment of the axis, with room for what is short."""
        first, last = float(np.nanmin(self.start)), float(np.nanmax(self.end))
        room = max(0.0, _LEAST - (last - first)) / 2 + (last - first) * 0.02
        return first - room, last + room


def draw_entries(shown: Canvas, frame: pd.DataFrame, times: Times, tries: Floats, *, is_long: bool) -> None:
    """Draw the bars, a collection per status, and the marks of what was tried again."""
    ax = shown.ax
    first, last = times.span
    ax.set_xlim(first, last)
    half = 0.36 - 0.07 * np.minimum(frame["depth"].to_numpy(dtype="float64") - 1, 2)
    for status, rows in _groups(frame, times):
        of = LOOKS[status]
        corners = _corners(times, rows, half, (last - first) * _VISIBLE * (2 if is_long else 1))
        face = shown.tint(of.colour, 0.45) if status == "open" else of.colour
        # Of very many rows a bar is thinner than a pixel: an edge keeps what matters visible.
        edge = of.colour if is_long else shown.edge(of.colour)
        width = 0.0 if is_long and status == "done" else 0.6 if not is_long else 1.0
        ax.add_collection(
            PolyCollection(corners, facecolor=face, edgecolor=edge, hatch=of.hatch, linewidth=width, label=status),
            autolim=False,
        )
    for rows, options in ((np.flatnonzero(tries > 0), _RETRIED), (_unknown(times), _UNKNOWN_START)):
        if len(rows):
            small = {"markersize": 3, "markeredgewidth": 0.7} if is_long else {}
            ax.plot(times.end[rows], rows, color=shown.ink, clip_on=False, zorder=4, **options | small)
    if times.now is not None and times.is_open.any():
        ax.axvline(times.now, color=mixed(shown.ground, shown.ink, 0.6), linewidth=0.9, linestyle=":", zorder=0)
    ax.grid(axis="x", color=mixed(shown.ground, shown.ink, 0.1), linewidth=0.7)


def proxies(shown: Canvas, frame: pd.DataFrame, times: Times, tries: Floats) -> list[Artist]:
    """Return what explains the bars and marks that are there."""
    made: list[Artist] = [
        shown.proxy(LOOKS[status], f"{status}  {len(rows):,}") for status, rows in _groups(frame, times)
    ]
    if (tries > 0).any():
        made.append(Line2D([], [], color=shown.outside, label="tried again", **_RETRIED))
    if len(_unknown(times)):
        made.append(Line2D([], [], color=shown.outside, label="open, not known since when", **_UNKNOWN_START))
    if times.is_open.any():
        made.append(Line2D([], [], color=shown.outside, linestyle=":", linewidth=0.9, label="read then"))
    return made


def _groups(frame: pd.DataFrame, times: Times) -> Iterator[tuple[str, Any]]:
    words = frame["status"].astype("object").where(frame["status"].isin(LOOKS), "not known").to_numpy()
    for status in LOOKS:
        rows = np.flatnonzero((words == status) & times.known)
        if len(rows):
            yield status, rows


def _unknown(times: Times) -> Any:
    return np.flatnonzero(times.is_open & ~times.has_length)


def _corners(times: Times, rows: Any, half: Floats, least: float) -> Any:
    """Return four corners for each of these rows; what is too short to be seen is widened around its middle."""
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


def plot_journal(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw a journal as a timeline, one bar per entry from top to bottom, in the frame's order.

    A bar reaches from where an entry was started to where it was completed, at least so wide that it can be seen.
    What is open is hatched and reaches to the moment of reading; where nobody knows since when, only a mark stands
    there. What was abandoned reaches to its invocation's last entry. A cross marks what was tried again. Callees are
    indented and thinner. Beyond 60 entries only some are named: those that failed, are open or were tried again first.

    ``frame`` is what ``rl.journal(lab, id)`` gives, with ``depth=2`` also the callees. Reads ``invocation_id, depth,
    index, entry_type, name, status, open, started, completed, callee_target, wakes_at, promise, awakeable_id,
    state_key, retries, retries_at_least``, and what it is from ``attrs``. ``tz`` is the zone of the axis.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    attrs = rows.attrs
    shown = canvas(ax, width=10, height=_height(len(rows)))
    text, status = shown.text, attrs.get("status")
    who = [text(attrs["id"], 48)] if attrs.get("id") else []
    who += [text(status, 20)] if status else []
    read_at = moment(attrs.get("read_at"))
    times = Times.of(rows, read_at)
    title = partial(
        shown.title, text(attrs.get("target") or "Journal", 70), attrs, where, notes=_missing(times), of=who
    )
    if rows.empty or not times.known.any():
        title()
    if rows.empty:
        note = attrs.get("note")
        return shown.nothing("There is no journal" + (f":\n{text(note, 120)}." if note else "."))
    if not times.known.any():
        return shown.nothing(f"None of the {len(rows):,} entries says when it was.")
    tries = np.nan_to_num(numbers(rows, "retries"))
    named = _named(rows, tries)
    draw_entries(shown, rows, times, tries, is_long=len(rows) > _ALL)
    time_axis(shown.ax.xaxis, where, few=shown.is_narrow)
    left = _name(shown, rows, named, where)
    title(left=left)
    _tell(shown, rows, named, times, tries)
    shown.legend(proxies(shown, rows, times, tries), below=14, left=left)
    return shown.ax


def _height(rows: int) -> float:
    return max(2.2, 1.5 + 0.22 * rows) if rows <= _ALL else 11.0


def _missing(times: Times) -> list[str]:
    count = int((~times.known).sum())
    return [f"{count:,} entries without a time"] if count and times.known.any() else []


def _named(rows: pd.DataFrame, tries: Any) -> list[int]:
    """Return which rows are named: all, or those to look at and others between them, apart enough to be read."""
    count = len(rows)
    if count <= _ALL:
        return list(range(count))
    is_open, status = rows["open"].fillna(value=False).astype(bool).to_numpy(), rows["status"]
    first = [*np.flatnonzero(is_open), *np.flatnonzero(status.eq("failed")), *np.flatnonzero(tries > 0)]
    apart = -(-count // _NAMED)
    free, taken = np.ones(count, dtype=bool), []
    for position in (*first, *range(0, count, apart)):
        if free[position]:
            taken.append(int(position))
            free[max(0, position - apart + 1) : position + apart] = False
    return sorted(taken)


def _name(shown: Canvas, rows: pd.DataFrame, named: Sequence[int], tz: tzinfo) -> float:
    """Name rows at the left, flush left, so that indentation is seen; return how wide the names are, in points."""
    now = moment(rows.attrs.get("read_at"))
    names = [_called(shown, row, tz, now) for row in rows.iloc[list(named)].to_dict("records")]
    ax = shown.ax
    ax.set_yticks(list(named), names, ha="left", **shown.margin_options)
    # a little more than measured: letters are set on whole pixels
    widest = 1.03 * max(shown.face.width(name, shown.points) for name in names) + 8
    ax.tick_params(axis="y", length=0, pad=widest)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    for row in np.flatnonzero(rows["depth"].to_numpy()[1:] > rows["depth"].to_numpy()[:-1])[:_ALL]:
        ax.axhline(row + 0.5, color=mixed(shown.ground, shown.ink, 0.15), linewidth=0.6, zorder=0)
    return widest


def _called(shown: Canvas, row: dict[Any, Any], tz: tzinfo, now: datetime | None) -> str:
    text = shown.text
    wakes = pd.notna(row["wakes_at"])
    names = [text(row[name], 22 if wakes else 34) for name in _NAMES if pd.notna(row[name]) and row[name] != ""][:1]
    if wakes:
        names.append(f"until {format_timestamp(row['wakes_at'], zone=tz, now=now, show_zone=False)}")
    index = f"{row['index']:,}" if pd.notna(row["index"]) else "–"
    indent = "     " * (int(row["depth"]) - 1)
    return " ".join([f"{indent}{index}", text(row["entry_type"], 20), *names])


def _tell(shown: Canvas, rows: pd.DataFrame, named: Sequence[int], times: Times, tries: Any) -> None:
    """Write at the right how long the named ones took, how they ended, and how often they were tried again."""
    for position in named:
        row = rows.iloc[position]
        status = row["status"] if pd.notna(row["status"]) else "not known"
        said = [format_duration(times.long[position] / 1_000)] if times.has_length[position] else []
        said += [str(status)] if status != "done" else []
        if tries[position]:
            may_be_more = pd.notna(row["retries_at_least"]) and bool(row["retries_at_least"])
            least = "at least " if may_be_more else ""
            said.append(f"{least}{plural(tries[position], 'retry', 'retries')}")
        shown.beside(", ".join(said), position)
