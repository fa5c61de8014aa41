"""Draw durations of invocations on a logarithmic axis: percentiles per handler, and distributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from restate_lab._text import format_duration
from restate_lab.analysis.times import to_zone
from restate_lab.errors import ArgumentError
from restate_lab.plots.bars import MOST, height_for, name_rows
from restate_lab.plots.colours import PALETTE, REST, mix_colours
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, canvas_on
from restate_lab.plots.units import format_duration_axis

_HANDLER = ("target_service_name", "target_handler_name", "invocations")
_MARKERS = {"p50": ("|", 13), "p90": ("o", 6), "p99": ("D", 5)}
"""Percentile → its marker and size; if all three are equal, the p50 marker is still visible behind the others."""
_DISTRIBUTION_FRAME = RequiredColumns(
    "plot_latency_distribution",
    "the statement in its docstring",
    ("target_service_name", "target_handler_name", "ms"),
)
_MOST_LINES = 6
_POINTS = 2_000  # points per line; more are not visible
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


@dataclass(frozen=True, slots=True)
class _MeasuredDuration:
    """A duration with percentiles in the frame: the prefix of its columns, and how it is drawn."""

    prefix: str
    name: str
    colour: str
    filled: bool
    offset: float

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{name}_ms" for name in _MARKERS)


_WHOLE = (_MeasuredDuration("", "from creation to end", PALETTE[0].colour, filled=True, offset=0),)
_PARTS = (
    _MeasuredDuration("queued_", "queued, before the first start", PALETTE[1].colour, filled=False, offset=-0.2),
    _MeasuredDuration("running_", "running, including sleeps and waits", PALETTE[0].colour, filled=True, offset=0.2),
)


def plot_latency(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the p50, p90 and p99 of the durations of invocations, one row per handler, the slowest first.

    ``frame`` is the result of ``rl.ask(lab, "latency")`` or ``rl.ask(lab, "latency_parts")``. With the second, each
    handler has two lines: the time in Restate's queue, and the time after it. The plot reads ``target_service_name,
    target_handler_name, invocations`` and ``p50_ms, p90_ms, p99_ms``, or these three with the prefixes ``queued_`` and
    ``running_``. Wide Axes also show the percentiles as text at the right. Only the 30 slowest handlers are drawn.
    ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    is_split = "queued_p50_ms" in getattr(frame, "columns", ())
    parts = _PARTS if is_split else _WHOLE
    columns = [name for part in parts for name in part.columns]
    call = 'rl.ask(lab, "latency") or rl.ask(lab, "latency_parts")'
    rows, where = RequiredColumns("plot_latency", call, (*_HANDLER, *columns)).check(frame), to_zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in ("invocations", *columns)})
    slowness = rows[[part.columns[-1] for part in parts]].sum(axis="columns")
    rows = rows.loc[slowness.sort_values(ascending=False, kind="stable").index]
    canvas = canvas_on(ax, height=height_for(min(len(rows), MOST), lines=len(parts)) + 0.2)
    notes_on_rows = [f"{len(rows) - MOST:,} faster handlers are not shown"] if len(rows) > MOST else []
    notes = [*notes_on_rows, "completed and retained invocations only"]
    if rows.empty:
        canvas.set_title("Duration of invocations", rows.attrs, where, notes)
        return canvas.show_empty("No invocations completed in this time.")
    rows = rows[:MOST]
    highest = _draw_percentiles(canvas, rows, parts)
    _set_log_scale(canvas, highest)
    left = name_rows(canvas, [_handler_name(canvas, row) for row in rows.to_dict("records")])
    canvas.set_title("Duration of invocations", rows.attrs, where, notes, left=left)
    canvas.add_legend(_proxies(canvas, parts), below=4, left=left, columns=5)
    return canvas.ax


def plot_latency_distribution(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the cumulative distribution of durations, one line per handler, most invocations first.

    ``frame`` has one row per invocation with ``target_service_name, target_handler_name`` and ``ms``, the duration in
    milliseconds. On every kind of server, this statement returns the invocations completed in the last hour::

        lab.sql('''
            SELECT target_service_name, target_handler_name,
              CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(coalesce(
                CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at), 'Int64') AS DOUBLE) AS ms
            FROM sys_invocation_status
            WHERE status = 'completed' AND completed_at >= :since
        ''', since=lab.now - timedelta(hours=1))

    Rows without ``ms`` are excluded, and the title has their number. After 6 handlers, all others are combined into one
    line, "others". ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, ``tz`` is not a time zone, or a duration is
            negative.
    """
    rows, where = _DISTRIBUTION_FRAME.check(frame), to_zone(tz)
    rows = rows.assign(ms=numbers(rows, "ms"))
    known = rows.dropna(subset=["ms"])
    if (known["ms"] < 0).any():
        raise ArgumentError(f"invalid value {known['ms'].min():g} in column ms; a duration cannot be negative.")
    canvas = canvas_on(ax, height=4.4)
    notes_on_rows = [f"{len(rows) - len(known):,} rows have no duration"] if len(known) < len(rows) else []
    canvas.set_title("Distribution of durations", rows.attrs, where, notes_on_rows)
    if known.empty:
        return canvas.show_empty("No durations to draw.")
    _set_log_scale(canvas, float(known["ms"].max()))
    canvas.add_legend(
        [_draw_distribution(canvas, *line) for line in _distribution_lines(canvas, known)], below=16, columns=2
    )
    canvas.ax.set_ylim(0, 1.02)
    canvas.ax.yaxis.set_major_formatter(PercentFormatter(1))
    canvas.ax.grid(axis="y", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
    canvas.ax.set_xlabel("duration")
    canvas.ax.set_ylabel("share of invocations")
    return canvas.ax


def _draw_percentiles(canvas: Canvas, rows: pd.DataFrame, parts: Sequence[_MeasuredDuration]) -> float:
    ax, highest = canvas.ax, 0.0
    for part in parts:
        values = rows[list(part.columns)].to_numpy(dtype="float64")
        places = np.arange(len(rows)) + part.offset
        ax.hlines(places, values[:, 0], values[:, -1], color=part.colour, linewidth=2, zorder=2)
        for percentile, marker, of in zip(_MARKERS, _MARKERS.values(), values.T, strict=True):
            options = _marker_options(canvas, part, marker)
            ax.plot(of, places, label=f"{part.prefix}{percentile}", clip_on=False, zorder=3, **options)
        highest = max(highest, float(np.nanmax(values, initial=0.0)))
        for place, three in zip(places, values, strict=True):
            if not canvas.is_narrow:
                canvas.write_beside(" · ".join(format_duration(each / 1_000, missing="–") for each in three), place)
    if not canvas.is_narrow:
        canvas.write_beside("p50 · p90 · p99", -0.5, up=2)
    return highest


def _marker_options(canvas: Canvas, part: _MeasuredDuration, marker: tuple[str, int]) -> dict[str, Any]:
    shape, size = marker
    return {
        "marker": shape,
        "markersize": size,
        "linestyle": "none",
        "color": part.colour,
        "markerfacecolor": part.colour if part.filled else canvas.background,
        "markeredgecolor": canvas.background if part.filled and shape != "|" else part.colour,
        "markeredgewidth": 2.0 if shape == "|" else 0.8 if part.filled else 1.3,
    }


def _proxies(canvas: Canvas, parts: Sequence[_MeasuredDuration]) -> list[Artist]:
    marks: list[Artist] = [
        Line2D([], [], label=name, **_marker_options(canvas, parts[-1], marker)) for name, marker in _MARKERS.items()
    ]
    names = [
        Line2D(
            [],
            [],
            label=part.name,
            **{**_marker_options(canvas, part, _MARKERS["p90"]), "linestyle": "-", "linewidth": 2},
        )
        for part in parts
    ]
    return marks + names


def _handler_name(canvas: Canvas, row: dict[Any, Any]) -> str:
    text = canvas.text
    service, handler = text(row["target_service_name"], 24), text(row["target_handler_name"], 24)
    return f"{service}/{handler}  (n = {row['invocations']:,.0f})"


def _distribution_lines(canvas: Canvas, frame: pd.DataFrame) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield the name, the sorted durations, the color and the style of each line."""
    columns = ["target_service_name", "target_handler_name"]
    groups = list(frame.groupby(columns, sort=True, dropna=False)["ms"])
    groups.sort(key=lambda group: -len(group[1]))
    text = canvas.text
    for number, ((service, handler), values) in enumerate(groups[:_MOST_LINES]):
        name = f"{text(service, 20)}/{text(handler, 20)}"
        yield name, np.sort(values.to_numpy()), PALETTE[number].colour, _STYLES[number]
    if rest := [values.to_numpy() for _, values in groups[_MOST_LINES:]]:
        yield f"others ({len(rest):,})", np.sort(np.concatenate(rest)), REST.colour, "-"


def _draw_distribution(canvas: Canvas, name: str, values: Any, colour: str, style: Any) -> Line2D:
    count = len(values)
    ranks = np.unique(np.linspace(1, count, min(count, _POINTS)).round().astype(int))
    at, share = np.concatenate([[0.0], values[ranks - 1]]), np.concatenate([[0.0], ranks / count])
    half, most = (format_duration(values[int(np.ceil(count * part)) - 1] / 1_000) for part in (0.5, 0.99))
    label = f"{name}  n = {count:,}, p50 {half}, p99 {most}"
    (line,) = canvas.ax.step(at, share, where="post", color=colour, linestyle=style, linewidth=1.8, label=label)
    return line


def _set_log_scale(canvas: Canvas, highest: float) -> None:
    """Set a duration axis that is logarithmic above 1 ms and linear from 0 to 1 ms."""
    canvas.ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    canvas.ax.set_xlim(0, max(highest, 1) * 1.3)
    format_duration_axis(canvas.ax.xaxis, max(highest, 1), few=canvas.is_narrow)
    canvas.ax.grid(axis="x", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
