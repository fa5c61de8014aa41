"""Plots of weeks and months: the failures of each day, percentiles from day to day, and the changes at a deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from restate_lab._text import shorten_id
from restate_lab.analysis.before_after import BeforeAfter, before_and_after
from restate_lab.analysis.times import to_zone
from restate_lab.errors import ArgumentError
from restate_lab.plots.bars import MOST, height_for, name_rows
from restate_lab.plots.colours import PALETTE, mix_colours, status_style
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, canvas_on
from restate_lab.plots.units import DATE, format_duration_axis, format_time_axis, to_axis_days

_DAYS = RequiredColumns(
    "plot_failure_calendar", 'rl.ask(lab, "throughput_by_day")', ("day", "completed", "succeeded", "failed")
)
_LATENCY = RequiredColumns(
    "plot_percentiles",
    'rl.ask(lab, "latency_by_day")',
    ("day", "target_service_name", "target_handler_name", "invocations", "p50_ms", "p90_ms", "p99_ms"),
)
_DEPLOYMENTS = RequiredColumns("plot_percentiles(deployments=…)", "the table sys_deployment", ("id", "created_at"))
PercentileName = Literal["p50", "p90", "p99"]
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LEVELS = (0.0, 0.1, 1.0, 5.0)
"""Percent of failed invocations up to which a day has one color; above the last, it has the strongest."""
_MOST_WEEKS = 60
_FEWEST_WEEKS = 10  # of the axis, so that the cell of a day is not wide
_MOST_LINES = 6
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST_DEPLOYMENTS = 12
_WIDEST = 20.0  # a ratio above this, or below its inverse, is drawn at the edge
_TICKS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_FEW_TICKS = frozenset({0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0})


def plot_failure_calendar(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw a calendar with one cell per day: its color is the percentage of failed invocations, its text their number.

    A day without a completed invocation has no cell. Cancelled and killed invocations do not count.

    ``frame`` is the result of ``rl.ask(lab, "throughput_by_day")``; the plot adds up its services. It reads ``day``
    (UTC), ``completed, succeeded, failed``. Only the last 60 weeks are drawn. ``tz`` is the time zone of the time in
    the title; days are always in UTC.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _DAYS.check(frame), to_zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in _DAYS.columns[1:]}).dropna(subset=["day"])
    days = rows.groupby(pd.to_datetime(rows["day"], utc=True).dt.floor("D"))[list(_DAYS.columns[1:])].sum()
    shown = days[days.index > days.index.max() - pd.Timedelta(weeks=_MOST_WEEKS)] if len(days) else days
    canvas = canvas_on(ax, height=3.2)
    notes = [f"only the last {_MOST_WEEKS} weeks"] if len(shown) < len(days) else []
    canvas.set_title("Failed invocations per day (UTC)", rows.attrs, where, notes)
    if shown.empty:
        return canvas.show_empty("No invocations ended in this time.")
    colours = _level_colours(canvas)
    count = _draw_days(canvas, shown, colours)
    _format_weeks(canvas, shown.index, count)
    names = ["none", *(f"up to {level:g} %" for level in _LEVELS[1:]), f"over {_LEVELS[-1]:g} %"]
    handles: list[Artist] = [
        Patch(label=name, facecolor=colour, edgecolor=canvas.edge_colour(colour), linewidth=0.6)
        for name, colour in zip(names, colours, strict=True)
    ]
    canvas.add_legend(handles, below=14)
    return canvas.ax


def _level_colours(canvas: Canvas) -> list[str]:
    red = status_style("failed").colour
    without = mix_colours(canvas.background, status_style("succeeded").colour, 0.3)
    return [
        without,
        *(mix_colours(canvas.background, red, share) for share in (0.2, 0.4, 0.6)),
        mix_colours(red, "black", 0.2),
    ]


def _draw_days(canvas: Canvas, days: pd.DataFrame, colours: list[str]) -> int:
    """Draw a cell for each day and return the number of weeks."""
    first = days.index.min() - pd.Timedelta(days=days.index.min().weekday())
    count = int((days.index.max() - first) / pd.Timedelta(days=7)) + 1
    for day, row in days.iterrows():
        at = pd.Timestamp(str(day))
        week, weekday = int((at - first) / pd.Timedelta(days=7)), at.weekday()
        tried = row["succeeded"] + row["failed"]
        percent = 100 * row["failed"] / tried if tried else 0.0
        colour = colours[int(np.searchsorted(_LEVELS, percent))]
        edge = canvas.edge_colour(colour)
        canvas.ax.add_patch(
            Rectangle((week - 0.46, weekday - 0.46), 0.92, 0.92, facecolor=colour, edgecolor=edge, lw=0.6)
        )
        if row["failed"] and count <= MOST and not canvas.is_narrow:
            ink = canvas.label_ink(colour)
            box = None if ink == canvas.ink else {"facecolor": colour, "edgecolor": "none", "pad": 0.5}
            options = {**canvas.text_options, "color": ink, "ha": "center", "va": "center", "bbox": box}
            text = f"{row['failed']:,.0f}" if row["failed"] < 10_000 else f"{row['failed'] / 1_000:,.0f}k"
            canvas.ax.text(week, weekday, text, **options)
    return count


def _format_weeks(canvas: Canvas, days: pd.DatetimeIndex | pd.Index, count: int) -> None:
    first = pd.Timestamp(days.min())
    first -= pd.Timedelta(days=first.weekday())
    ax = canvas.ax
    ax.set_xlim(-0.6, max(count, _FEWEST_WEEKS) - 0.4)
    ax.set_ylim(6.6, -0.6)
    ax.set_yticks(range(7), _WEEK)
    every = -(-max(count, _FEWEST_WEEKS) // (3 if canvas.is_narrow else 8))
    ticks = range(0, count, every)
    ax.set_xticks(ticks, [f"{first + pd.Timedelta(days=7 * week):{DATE}}" for week in ticks])
    ax.set_xlabel("week from")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def plot_percentiles(
    frame: pd.DataFrame,
    /,
    *,
    percentile: PercentileName = "p99",
    deployments: pd.DataFrame | None = None,
    ax: Axes | None = None,
    tz: str | tzinfo = "UTC",
) -> Axes:
    """Draw a percentile of the duration of invocations from day to day, one line per handler.

    ``frame`` is the result of ``rl.ask(lab, "latency_by_day")``. The plot reads ``day`` (UTC), ``target_service_name,
    target_handler_name, invocations`` and ``p50_ms, p90_ms, p99_ms``; ``percentile`` is "p50", "p90" or "p99". The
    6 handlers with the most invocations are drawn. ``deployments`` marks when deployments were registered; pass
    ``lab.sql("SELECT id, created_at FROM sys_deployment")``, of which the newest 12 are drawn. ``tz`` is the time zone
    of the axis.

    Raises:
        ArgumentError: a required column is missing, ``percentile`` is unknown, ``ax`` is not Axes, or ``tz`` is not a
            time zone.
    """
    if percentile not in get_args(PercentileName):
        raise ArgumentError(f"percentile is {percentile!r}; choose from {', '.join(get_args(PercentileName))}.")
    rows, where = _LATENCY.check(frame), to_zone(tz)
    marks = None if deployments is None else _DEPLOYMENTS.check(deployments)
    column = f"{percentile}_ms"
    rows = rows.assign(invocations=numbers(rows, "invocations"), ms=numbers(rows, column)).dropna(subset=["day", "ms"])
    canvas = canvas_on(ax, height=4.0)
    names = ["target_service_name", "target_handler_name"]
    groups = [group.sort_values("day", kind="stable") for _, group in rows.groupby(names, sort=True, dropna=False)]
    groups.sort(key=lambda group: -group["invocations"].sum())
    notes = [f"{len(groups) - _MOST_LINES:,} more handlers are not shown"] if len(groups) > _MOST_LINES else []
    canvas.set_title(f"{percentile} of the duration per day", rows.attrs, where, notes)
    if not groups:
        return canvas.show_empty("No invocations completed in this time.")
    handles = [_draw_days_of(canvas, group, number) for number, group in enumerate(groups[:_MOST_LINES])]
    values = pd.concat(groups[:_MOST_LINES])["ms"]
    canvas.ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    lowest, highest = values.min() * 0.4 if values.min() >= 1 else 0.0, max(values.max(), 1) * 2.5
    format_duration_axis(canvas.ax.yaxis, highest / 1.3, lowest=lowest, few=canvas.is_narrow)
    canvas.ax.set_ylim(lowest, highest)
    canvas.ax.grid(axis="y", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
    canvas.ax.set_ylabel(f"duration ({percentile})")
    days = to_axis_days(pd.concat(groups)["day"])
    canvas.ax.set_xlim(float(days.min()) - 0.25, float(days.max()) + 1.25)
    if marks is not None:
        handles += list(_mark_deployments(canvas, marks, where))
    format_time_axis(canvas.ax.xaxis, where, few=canvas.is_narrow)
    canvas.add_legend(handles, below=14, columns=3)
    return canvas.ax


def _draw_days_of(canvas: Canvas, rows: pd.DataFrame, number: int) -> Artist:
    """Draw a line with a mark in the middle of each day, and return its legend entry; a day without a row is a gap."""
    days = pd.to_datetime(rows["day"], utc=True)
    values = pd.Series(rows["ms"].to_numpy(), index=days).groupby(level=0).max().asfreq("D")
    at = to_axis_days(values.index.to_series()) + 0.5
    first = rows.iloc[0]
    name = "/".join(canvas.text(first[each], 24) for each in ("target_service_name", "target_handler_name"))
    name = f"{name}  (n = {rows['invocations'].sum():,.0f})"
    options: dict[str, Any] = {"color": PALETTE[number].colour, "marker": _MARKERS[number], "markersize": 4}
    (line,) = canvas.ax.plot(at, values.to_numpy(), linewidth=1.6, label=name, **options)
    return line


def _mark_deployments(canvas: Canvas, deployments: pd.DataFrame, tz: tzinfo) -> Iterator[Artist]:
    """Draw a line with a number for each deployment, and yield the legend entry of the number."""
    rows = deployments.dropna(subset=["created_at"]).sort_values("created_at", kind="stable")
    left, right = canvas.ax.get_xlim()
    at = to_axis_days(rows["created_at"])
    inside = (at >= left) & (at <= right)
    options: dict[str, Any] = {"color": canvas.edge_colour(canvas.background), "linestyle": "--", "linewidth": 1}
    shown = list(zip(at[inside], rows[inside].to_dict("records"), strict=True))[-_MOST_DEPLOYMENTS:]
    style = {**canvas.text_options, "va": "top", "ha": "left", "in_layout": False}
    for number, (place, row) in enumerate(shown, 1):
        canvas.ax.axvline(place, **options)
        canvas.ax.annotate(str(number), (place, 1), (2, -1), ("data", "axes fraction"), "offset points", **style)
        name = f"{canvas.text(shorten_id(str(row['id'])), 20)} registered {row['created_at'].astimezone(tz):{DATE}}"
        yield Line2D([], [], label=f"{number}: {name}", **options)


def plot_before_after(result: BeforeAfter, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the ratio of after to before with its 95 % interval, one row per comparison, those that changed first.

    Durations, failures and retries are on one axis: at 2, something takes twice as long or happens twice as often. The
    interval of a share is that of its difference, divided by the share before. An error that is new has no ratio and
    is at the right edge. A change that is smaller than the result's least change is drawn as no clear change.
    Comparisons with too few data are not drawn; the title has their number. Only the first 30 are drawn. Wide Axes also
    show the values before and after.

    ``result`` is that of ``rl.before_after(lab, deployment)``. ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: ``result`` is something else, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    if not isinstance(result, BeforeAfter):
        raise ArgumentError(
            f"plot_before_after needs the result of rl.before_after(lab, deployment), not {type(result).__name__!r}."
        )
    where, rows = to_zone(tz), result.comparisons
    tested = rows[rows["p"].notna()]
    shown = tested[:MOST]
    canvas = canvas_on(ax, height=height_for(len(shown)) + 0.2)
    few = int((rows["verdict"] == "too few").sum())
    notes = [f"{few:,} comparisons have too few data"] if few else []
    notes += [f"{len(tested) - MOST:,} more are not shown"] if len(tested) > MOST else []
    title, of = "After compared with before", [canvas.text(result.deployment or "", 32)] if result.deployment else []
    if shown.empty:
        canvas.set_title(title, rows.attrs, where, notes, of=of)
        return canvas.show_empty("No comparison has enough data.")
    for place, row in enumerate(shown.to_dict("records")):
        _draw_ratio(canvas, place, row)
    left = name_rows(canvas, [_comparison_name(canvas, row) for row in shown.to_dict("records")])
    _format_ratios(canvas)
    canvas.set_title(title, rows.attrs, where, [result.summary, *notes], of=of, left=left)
    canvas.add_legend(
        [Line2D([], [], label=name, **_point_options(canvas, name)) for name in ("changed", "no clear change")],
        below=16,
        left=left,
    )
    return canvas.ax


def _point_options(canvas: Canvas, verdict: str) -> dict[str, Any]:
    is_change = verdict == "changed"
    colour = status_style("failed").colour if is_change else canvas.edge_colour(canvas.background)
    return {"color": colour, "marker": "D" if is_change else "o", "markersize": 6, "linewidth": 2}


def _draw_ratio(canvas: Canvas, place: int, row: Mapping[Any, Any]) -> None:
    if row["unit"] == "%":
        before = row["before"] or np.nan
        ratios = [(row["before"] + row[name]) / before for name in ("low", "change", "high")]
    else:
        ratios = [row[name] for name in ("low", "change", "high")]
    low, ratio, high = np.clip(np.nan_to_num(ratios, nan=_WIDEST), 1 / _WIDEST, _WIDEST)
    options = _point_options(canvas, row["verdict"])
    canvas.ax.plot([low, high], [place, place], color=options["color"], linewidth=options["linewidth"], zorder=2)
    canvas.ax.plot([ratio], [place], zorder=3, clip_on=False, **options)
    if not canvas.is_narrow:
        canvas.write_beside(before_and_after(row), place)


def _comparison_name(canvas: Canvas, row: Mapping[Any, Any]) -> str:
    text = canvas.text
    name = text(row["name"], 28) if row["name"] else ""
    what = {"latency": name, "step": f"step “{name}”"}.get(row["measure"], f"{row['measure']} {name}".rstrip())
    return f"{text(row['service'], 20)}/{text(row['handler'], 20)} {what}"


def _format_ratios(canvas: Canvas) -> None:
    ax = canvas.ax
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    low, high = min(low, 0.75), max(high, 1.35)
    ax.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    if len(ticks) > (4 if canvas.is_narrow else 9):
        ticks = [tick for tick in ticks if tick in _FEW_TICKS]
    ax.xaxis.set(major_locator=FixedLocator(ticks), minor_locator=NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"× {value:g}"))
    ax.axvline(1, color=canvas.ink, linewidth=0.8, zorder=1)
    ax.grid(axis="x", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
    ax.set_xlabel("after, compared with before")
