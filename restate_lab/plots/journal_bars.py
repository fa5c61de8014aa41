"""The bars of a journal's timeline: a handful of collections, however many entries there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D

from restate_lab.plots.style import Canvas, Look, look, mixed
from restate_lab.plots.units import on_axis

__all__ = ["LOOKS", "Times", "draw_entries", "proxies"]

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
