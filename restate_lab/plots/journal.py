"""An invocation's journal as a timeline: a bar per entry, callees below the calls that made them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from restate_lab._text import format_duration, format_timestamp, plural
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.journal_bars import Times, draw_entries, proxies
from restate_lab.plots.style import Canvas, canvas, mixed
from restate_lab.plots.units import moment, time_axis

__all__ = ["plot_journal"]

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
