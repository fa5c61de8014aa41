"""Draw the number of invocations that ended over time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta, tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from restate_lab._text import format_duration
from restate_lab.analysis.times import to_zone
from restate_lab.durations import parse_duration, round_step
from restate_lab.plots.colours import mix_colours, status_style
from restate_lab.plots.inputs import RequiredColumns, numbers
from restate_lab.plots.style import Canvas, canvas_on
from restate_lab.plots.units import format_number_axis, format_time_axis, parse_timestamp, to_axis_days
from restate_lab.status import ENDED

_THROUGHPUT_FRAME = RequiredColumns("plot_throughput", 'rl.ask(lab, "throughput")', ("span_start", *ENDED))
_MARK: dict[str, Any] = {"marker": "v", "markersize": 5, "color": status_style("failed").colour, "linestyle": "none"}
_MOST_SPANS = 120  # spans in one picture
_FEWEST_SPANS = 12  # of the axis: the bar of a single span is not a block
_EDGED = 120  # with fewer bar edges than this, the bars have outlines
_FALLBACK = timedelta(minutes=1)


def plot_throughput(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the number of invocations that ended per time span: succeeded ones upwards, all others downwards.

    A span with at least one failure has a mark at the top. In a span without a row, no invocation ended. If there are
    more than 120 spans, they are combined into longer ones of a round length, and the title reports it.

    ``frame`` is the result of ``rl.ask(lab, "throughput")``; the plot adds up its services. It reads ``span_start``
    (UTC), ``succeeded, failed, cancelled, killed``, and the length of a span from ``attrs``. ``tz`` is the time zone of
    the axis.

    Raises:
        ArgumentError: a required column is missing, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    rows, where = _THROUGHPUT_FRAME.check(frame), to_zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in ENDED}).dropna(subset=["span_start"])
    spans = rows.groupby("span_start", sort=True)[list(ENDED)].sum()
    canvas = canvas_on(ax, height=3.8)
    bin_length = _span_length(rows, spans.index)
    spans, long = _combine_spans(spans, bin_length)
    notes = (
        [f"spans of {format_duration(bin_length, exact=True)} combined"] if bin_length and bin_length != long else []
    )
    notes += _partial_span_notes(rows.attrs, spans.index, long)
    canvas.set_title("Invocations that ended", rows.attrs, where, notes)
    if spans.empty:
        return canvas.show_empty("No invocations ended in this time.")
    _draw_spans(canvas, spans, long)
    format_time_axis(canvas.ax.xaxis, where, few=canvas.is_narrow)
    canvas.ax.set_ylabel(f"invocations per {format_duration(long, exact=True)}" if long else "invocations per span")
    totals = spans.sum()
    proxies: list[Artist] = [
        canvas.proxy(status_style(end), f"{end}  {totals[end]:,.0f}") for end in ENDED if totals[end]
    ]
    canvas.add_legend(
        [*proxies, *([Line2D([], [], label="at least one failed", **_MARK)] if totals["failed"] else [])], below=14
    )
    return canvas.ax


def _span_length(frame: pd.DataFrame, starts: pd.Index) -> timedelta | None:
    """Return the length of a span: the parameter ``bin``, or the smallest distance of two spans; None if not known."""
    length = _question_parameter(frame.attrs, "bin")
    if isinstance(length, str):
        try:
            return parse_duration(length)
        except ValueError:
            pass
    distance = pd.Series(starts).diff().min()
    return None if pd.isna(distance) else timedelta(microseconds=int(distance / pd.Timedelta("1us")))


def _question_parameter(attrs: Mapping[Any, Any], parameter: str) -> Any:
    params = attrs.get("params")
    return params.get(parameter) if isinstance(params, Mapping) else None


def _combine_spans(spans: pd.DataFrame, long: timedelta | None) -> tuple[pd.DataFrame, timedelta | None]:
    """Return the spans and their length; if there are too many spans to see, several are combined into one."""
    if spans.empty or long is None:
        return spans, long
    seconds = (spans.index[-1] - spans.index[0] + long).total_seconds()
    several = -(-timedelta(seconds=round_step(seconds, _MOST_SPANS)) // long)
    if several <= 1:
        return spans, long
    starts = pd.DatetimeIndex(spans.index).floor(pd.Timedelta(long * several))
    return spans.groupby(starts).sum(), long * several


def _partial_span_notes(attrs: Mapping[Any, Any], starts: pd.Index, long: timedelta | None) -> list[str]:
    """Return a note about incomplete spans, because a reader could mistake them for a drop."""
    now, since = parse_timestamp(attrs.get("read_at")), parse_timestamp(_question_parameter(attrs, "since"))
    if not len(starts) or long is None:
        return []
    partial = ["first"] if since and starts[0] < pd.Timestamp(since) else []
    partial += ["last"] if now and starts[-1] + long > pd.Timestamp(now) else []
    return (
        [f"the {' and the '.join(partial)} span {'is' if len(partial) == 1 else 'are'} incomplete"] if partial else []
    )


def _draw_spans(canvas: Canvas, spans: pd.DataFrame, long: timedelta | None) -> None:
    ax = canvas.ax
    starts = to_axis_days(spans.index.to_series())
    days = (long or _FALLBACK) / timedelta(days=1)
    # The edges of the spans and of the gaps between them, rounded to 0.1 ms, to merge equal edges.
    edges = np.unique(np.round(np.concatenate([starts, starts + days]), 9))
    at = np.searchsorted(edges, np.round(starts, 9))
    below = np.zeros(len(edges) - 1)
    thin = {"linewidth": 0.6 if len(edges) < _EDGED else 0.0}
    for end in ENDED:
        values = np.zeros(len(edges) - 1)
        values[at] = spans[end].to_numpy()
        if not values.any():
            continue
        base, top = (np.zeros_like(values), values) if end == "succeeded" else (below, below - values)
        ax.stairs(top, edges, baseline=base, fill=True, label=end, **canvas.patch_options(status_style(end)) | thin)
        below = below if end == "succeeded" else top
    failed = starts[spans["failed"].to_numpy() > 0] + days / 2
    ax.plot(failed, np.ones(len(failed)), transform=ax.get_xaxis_transform(), clip_on=False, **_MARK)
    ax.axhline(0, color=canvas.ink, linewidth=0.8)
    ax.grid(axis="y", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
    format_number_axis(ax.yaxis)
    beside = max(days / 2, (_FEWEST_SPANS * days - (edges[-1] - edges[0])) / 2)
    ax.set_xlim(edges[0] - beside, edges[-1] + beside)
    ax.margins(y=0.08)
