"""How long invocations take per handler: percentiles on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from restate_lab._text import format_duration
from restate_lab.plots.bars import MOST, height_for, name_rows
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import PALETTE, Canvas, canvas, mixed
from restate_lab.plots.units import duration_axis

__all__ = ["log_scale", "plot_latency"]

_HANDLER = ("target_service_name", "target_handler_name", "n")
_MARKERS = {"p50": ("|", 13), "p90": ("o", 6), "p99": ("D", 5)}
"""With their sizes: where all three are the same, the first still shows behind the last."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One duration that a frame has percentiles of: its columns' prefix, its name, colour, filling, place in a row."""

    prefix: str
    name: str
    colour: str
    filled: bool
    offset: float

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{name}_ms" for name in _MARKERS)


_WHOLE = (_Part("", "from creation to the end", PALETTE[0].colour, filled=True, offset=0),)
_PARTS = (
    _Part("queued_", "queued, before it first ran", PALETTE[1].colour, filled=False, offset=-0.2),
    _Part("running_", "running, with its sleeps and waits", PALETTE[0].colour, filled=True, offset=0.2),
)


def plot_latency(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw p50, p90 and p99 of how long invocations took, one row per handler, the slowest first.

    ``frame`` is the answer to ``rl.ask(lab, "latency")``; of ``rl.ask(lab, "latency_parts")`` each handler has two
    lines, the time in Restate's queue and the time since then. Reads ``target_service_name, target_handler_name, n``
    and ``p50_ms, p90_ms, p99_ms``, or the same with ``queued_`` and ``running_`` before them. The percentiles stand in
    words at the right, where the Axes are wide enough. Only the 30 slowest handlers are drawn. ``tz`` is the zone of
    the moment in the title.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    is_split = "queued_p50_ms" in getattr(frame, "columns", ())
    parts = _PARTS if is_split else _WHOLE
    columns = [name for part in parts for name in part.columns]
    call = 'rl.ask(lab, "latency") or rl.ask(lab, "latency_parts")'
    rows, where = Reads("plot_latency", call, (*_HANDLER, *columns)).frame(frame), zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in ("n", *columns)})
    slowness = rows[[part.columns[-1] for part in parts]].sum(axis="columns")
    rows = rows.loc[slowness.sort_values(ascending=False, kind="stable").index]
    shown = canvas(ax, height=height_for(min(len(rows), MOST), lines=len(parts)) + 0.2)
    left_out = [f"{len(rows) - MOST:,} faster handlers are not shown"] if len(rows) > MOST else []
    notes = [*left_out, "completed and retained ones"]
    if rows.empty:
        shown.title("How long invocations take", rows.attrs, where, notes)
        return shown.nothing("No invocation has completed in this time.")
    rows = rows[:MOST]
    highest = _draw(shown, rows, parts)
    log_scale(shown, highest)
    left = name_rows(shown, [_name(shown, row) for row in rows.to_dict("records")])
    shown.title("How long invocations take", rows.attrs, where, notes, left=left)
    shown.legend(_proxies(shown, parts), below=4, left=left, columns=5)
    return shown.ax


def log_scale(shown: Canvas, highest: float) -> None:
    """Make the horizontal axis one of durations: logarithmic above 1 ms, down to 0 below."""
    shown.ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    shown.ax.set_xlim(0, max(highest, 1) * 1.3)
    duration_axis(shown.ax.xaxis, max(highest, 1), few=shown.is_narrow)
    shown.ax.grid(axis="x", color=mixed(shown.ground, shown.ink, 0.13), linewidth=0.7)


def _draw(shown: Canvas, rows: pd.DataFrame, parts: Sequence[_Part]) -> float:
    ax, highest = shown.ax, 0.0
    for part in parts:
        values = rows[list(part.columns)].to_numpy(dtype="float64")
        places = np.arange(len(rows)) + part.offset
        ax.hlines(places, values[:, 0], values[:, -1], color=part.colour, linewidth=2, zorder=2)
        for percentile, marker, of in zip(_MARKERS, _MARKERS.values(), values.T, strict=True):
            options = _marker(shown, part, marker)
            ax.plot(of, places, label=f"{part.prefix}{percentile}", clip_on=False, zorder=3, **options)
        highest = max(highest, float(np.nanmax(values, initial=0.0)))
        for place, three in zip(places, values, strict=True):
            if not shown.is_narrow:
                shown.beside(" · ".join(format_duration(each / 1_000, missing="–") for each in three), place)
    if not shown.is_narrow:
        shown.beside("p50 · p90 · p99", -0.5, up=2)
    return highest


def _marker(shown: Canvas, part: _Part, marker: tuple[str, int]) -> dict[str, Any]:
    shape, size = marker
    return {
        "marker": shape,
        "markersize": size,
        "linestyle": "none",
        "color": part.colour,
        "markerfacecolor": part.colour if part.filled else shown.ground,
        "markeredgecolor": shown.ground if part.filled and shape != "|" else part.colour,
        "markeredgewidth": 2.0 if shape == "|" else 0.8 if part.filled else 1.3,
    }


def _proxies(shown: Canvas, parts: Sequence[_Part]) -> list[Artist]:
    """Return what explains the markers, and where there are two durations, these."""
    marks: list[Artist] = [
        Line2D([], [], label=name, **_marker(shown, parts[-1], marker)) for name, marker in _MARKERS.items()
    ]
    names = [
        Line2D([], [], label=part.name, **{**_marker(shown, part, _MARKERS["p90"]), "linestyle": "-", "linewidth": 2})
        for part in parts
    ]
    return marks + names


def _name(shown: Canvas, row: dict[Any, Any]) -> str:
    text = shown.text
    return f"{text(row['target_service_name'], 24)}/{text(row['target_handler_name'], 24)}  (n = {row['n']:,.0f})"
