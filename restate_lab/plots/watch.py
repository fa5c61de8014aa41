"""What a watch saw over time: statuses as areas; retries, backlog and deployments as lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from restate_lab._text import format_duration
from restate_lab.errors import ArgumentError
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import PALETTE, REST, Canvas, canvas, look, mixed
from restate_lab.plots.units import number_axis, on_axis, time_axis
from restate_lab.status import STATUSES

__all__ = ["Watched", "plot_watch"]

Watched: TypeAlias = Literal["status", "retries", "backlog", "deployment"]

_READS = Reads(
    "plot_watch",
    "rl.watch(lab)",
    ("at", "what", "target_service_name", "name", "scope", "n", "per_minute", "eta"),
)
_MOST = 6  # lines
_MARKERS = ("o", "s", "^", "D", "v", "P", "x")
_MARKED = 60  # looks that have a marker each
_WHOLE = 5  # from here on an axis of rates is marked with whole numbers


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind is drawn: its title, the column that is its height, and what that is."""

    title: str
    column: str
    height: str
    nothing: str


_KINDS = {
    "status": _Kind("What is not completed", "n", "invocations", "No invocation was there that is not completed."),
    "retries": _Kind("Retries", "per_minute", "attempts per minute", "No invocation was tried again."),
    "backlog": _Kind("Calls that wait for a key", "n", "calls waiting (pending)", "No call waited for a key."),
    "deployment": _Kind(
        "What is pinned to a deployment", "n", "invocations not completed", "No invocation was pinned to a deployment."
    ),
}


def plot_watch(
    frame: pd.DataFrame, /, *, what: Watched | None = None, ax: Axes | None = None, tz: str | tzinfo = "UTC"
) -> Axes:
    """Draw what ``rl.watch(lab)`` saw over time, of one kind.

    ``what`` is the kind: "status" (areas on top of each other, in the colours of the statuses), "retries" (attempts
    per minute, a line per handler), "backlog" (calls that wait, a line per key) or "deployment" (what is pinned to
    each, with the time in which it drains). None takes the only kind that the frame has, or else the status, so that
    a part of the frame can be drawn. Beyond 6 lines the rest is one, "others". Reads ``at, what, target_service_name,
    name, scope, n, per_minute, eta``. ``tz`` is the zone of the axis.

    Raises:
        ArgumentError: the frame lacks a column, there is no such kind, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    kind = _kind(rows, what)
    rows = rows.assign(height=numbers(rows, _KINDS[kind].column))[rows["what"] == kind]
    shown = canvas(ax, height=3.8)
    shown.title(_KINDS[kind].title, frame.attrs, where, _notes(frame.attrs))
    if rows.empty:
        return shown.nothing(_KINDS[kind].nothing)
    if rows["at"].nunique() < 2:
        return shown.nothing("There is no second look yet.")
    handles = list(_areas(shown, rows) if kind == "status" else _lines(shown, rows, kind))
    shown.ax.set_ylim(bottom=0)
    shown.ax.grid(axis="y", color=mixed(shown.ground, shown.ink, 0.13), linewidth=0.7)
    if kind != "retries" or shown.ax.get_ylim()[1] >= _WHOLE:
        number_axis(shown.ax.yaxis)
    shown.ax.set_ylabel(_KINDS[kind].height)
    time_axis(shown.ax.xaxis, where, few=shown.is_narrow)
    shown.legend(handles, below=14, columns=6 if kind == "status" else 2)
    return shown.ax


def _kind(rows: pd.DataFrame, what: str | None) -> str:
    if what is None:
        there = list(rows["what"].unique())
        what = there[0] if len(there) == 1 else "status"
    if what not in _KINDS:
        raise ArgumentError(f"what is {what!r}: give one of {', '.join(_KINDS)}.")
    return what


def _notes(attrs: Any) -> list[str]:
    looks, every = attrs.get("looks"), attrs.get("every")
    said = [f"{looks:,} looks, every {every}"] if isinstance(looks, int) and isinstance(every, str) else []
    failed = attrs.get("failed")
    return said + ([f"{len(failed):,} more failed"] if isinstance(failed, list) and failed else [])


def _areas(shown: Canvas, rows: pd.DataFrame) -> Iterator[Artist]:
    """Draw a status on top of the other, in the order of ``STATUSES``; give the legend, the top one first."""
    heights = rows.groupby(["at", "name"])["height"].sum(min_count=1).unstack().fillna(0)
    words = [str(word) for word in heights]
    order = [word for word in STATUSES if word in words] + sorted(set(words) - set(STATUSES))
    at = on_axis(heights.index.to_series())
    below = np.zeros(len(at))
    handles = []
    for word in order:
        top = below + heights[word].to_numpy()
        shown.ax.fill_between(at, below, top, label=word, **shown.patch_options(look(word)))
        handles.append(shown.proxy(look(word), f"{shown.text(word, 24)}  {heights[word].iloc[-1]:,.0f}"))
        below = top
    shown.ax.set_xlim(at[0], at[-1])
    yield from reversed(handles)


def _lines(shown: Canvas, rows: pd.DataFrame, kind: str) -> Iterator[Artist]:
    """Draw the highest lines, and the rest as one; give the legend."""
    which = ["target_service_name", "name", "scope"]
    groups = [group.sort_values("at", kind="stable") for _, group in rows.groupby(which, dropna=False)]
    groups.sort(key=lambda group: -np.nan_to_num(group["height"].max()))
    for number, group in enumerate(groups[:_MOST]):
        name = f"{_name(shown, kind, group.iloc[0])}  {_last(group, kind)}"
        yield _line(shown, group, name, PALETTE[number].colour, _MARKERS[number])
    if rest := groups[_MOST:]:
        sums = pd.concat(rest).groupby("at")["height"].sum(min_count=1).reset_index()
        yield _line(shown, sums, f"others ({len(rest):,})", REST.colour, _MARKERS[-1])


def _line(shown: Canvas, rows: pd.DataFrame, label: str, colour: str, marker: str) -> Artist:
    at = on_axis(rows["at"])
    every = max(1, len(at) // _MARKED)
    options: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "markevery": every, "linewidth": 1.6}
    (line,) = shown.ax.plot(at, rows["height"], label=label, **options)
    return line


def _name(shown: Canvas, kind: str, row: pd.Series) -> str:
    if kind == "deployment":
        return shown.text(row["name"], 34)
    words = f"{shown.text(row['target_service_name'], 24)}/{shown.text(row['name'], 24)}"
    return words if pd.isna(row["scope"]) else f"{words} in {shown.text(row['scope'], 16)}"


def _last(rows: pd.DataFrame, kind: str) -> str:
    last = rows.iloc[-1]
    if pd.isna(last["height"]):
        return "?"
    if kind == "retries":
        return f"{last['height']:,.1f} a minute"
    eta = last["eta"]
    drained = pd.isna(eta) or not eta
    return f"{last['height']:,.0f}" + ("" if drained else f", drains in {format_duration(eta)}")
