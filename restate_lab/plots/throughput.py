"""How many invocations end, and how, over time."""

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
from restate_lab.durations import parse_duration
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import Canvas, canvas, look, mixed
from restate_lab.plots.units import moment, number_axis, on_axis, time_axis
from restate_lab.status import STATUSES

__all__ = ["plot_throughput"]

_ENDS = tuple(word for word, status in STATUSES.items() if status.ended)
_READS = Reads("plot_throughput", 'rl.ask(lab, "throughput")', ("span_start", *_ENDS))
_MARK: dict[str, Any] = {"marker": "v", "markersize": 5, "color": look("failed").colour, "linestyle": "none"}
_MOST = 720  # spans of a picture
_EDGED = 120  # of these have an edge each
_FALLBACK = timedelta(minutes=1)


def plot_throughput(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw how many invocations ended per span of time: what succeeded upwards, what did not downwards.

    A span in which anything failed has a mark at the top, however many succeeded. A span without a row is one in which
    nothing ended. Where there are more than 720, several are taken together, and that is said.

    ``frame`` is the answer to ``rl.ask(lab, "throughput")``; its services are added up. Reads ``span_start`` (UTC),
    ``succeeded, failed, cancelled, killed``, and from ``attrs`` how long a span is. ``tz`` is the zone of the axis.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in _ENDS}).dropna(subset=["span_start"])
    spans = rows.groupby("span_start", sort=True)[list(_ENDS)].sum()
    shown = canvas(ax, height=3.8)
    asked = _length(rows, spans.index)
    spans, long = _together(spans, asked)
    notes = [f"spans of {format_duration(asked, exact=True)} taken together"] if asked and asked != long else []
    notes += _partial(rows.attrs, spans.index, long)
    shown.title("Invocations that ended", rows.attrs, where, notes)
    if spans.empty:
        return shown.nothing("No invocation ended in this time.")
    _draw(shown, spans, long)
    time_axis(shown.ax.xaxis, where, few=shown.is_narrow)
    shown.ax.set_ylabel(f"invocations per {format_duration(long, exact=True)}" if long else "invocations per span")
    totals = spans.sum()
    proxies: list[Artist] = [shown.proxy(look(end), f"{end}  {totals[end]:,.0f}") for end in _ENDS if totals[end]]
    shown.legend(
        [*proxies, *([Line2D([], [], label="something failed", **_MARK)] if totals["failed"] else [])], below=14
    )
    return shown.ax


def _draw(shown: Canvas, spans: pd.DataFrame, long: timedelta | None) -> None:
    ax = shown.ax
    starts = on_axis(spans.index.to_series())
    days = (long or _FALLBACK) / timedelta(days=1)
    edges, at = _edges(starts, days)
    below = np.zeros(len(edges) - 1)
    thin = {"linewidth": 0.6 if len(edges) < _EDGED else 0.0}
    for end in _ENDS:
        values = np.zeros(len(edges) - 1)
        values[at] = spans[end].to_numpy()
        if not values.any():
            continue
        base, top = (np.zeros_like(values), values) if end == "succeeded" else (below, below - values)
        ax.stairs(top, edges, baseline=base, fill=True, label=end, **shown.patch_options(look(end)) | thin)
        below = below if end == "succeeded" else top
    failed = starts[spans["failed"].to_numpy() > 0] + days / 2
    ax.plot(failed, np.ones(len(failed)), transform=ax.get_xaxis_transform(), clip_on=False, **_MARK)
    ax.axhline(0, color=shown.ink, linewidth=0.8)
    ax.grid(axis="y", color=mixed(shown.ground, shown.ink, 0.13), linewidth=0.7)
    number_axis(ax.yaxis)
    ax.set_xlim(edges[0] - days / 2, edges[-1] + days / 2)
    ax.margins(y=0.08)


def _together(spans: pd.DataFrame, long: timedelta | None) -> tuple[pd.DataFrame, timedelta | None]:
    """Return the spans, several of them taken together where they are more than can be seen; and how long one is."""
    if spans.empty or long is None:
        return spans, long
    first, last = spans.index[0], spans.index[-1]
    several = -(-int((last - first) / long + 1) // _MOST)
    if several == 1:
        return spans, long
    number = (spans.index - first) // (long * several)
    return spans.groupby(first + number * pd.Timedelta(long * several)).sum(), long * several


def _edges(starts: Any, days: float) -> tuple[Any, Any]:
    """Return the edges of spans and of the gaps between them, and which of them are the spans."""
    edges = np.unique(np.round(np.concatenate([starts, starts + days]), 9))  # to 0.1 ms: equal edges are one
    return edges, np.searchsorted(edges, np.round(starts, 9))


def _length(frame: pd.DataFrame, starts: pd.Index) -> timedelta | None:
    """Return how long a span is: as it was asked for, or the least distance of two; None where neither says."""
    asked = _asked(frame.attrs, "bin")
    if isinstance(asked, str):
        try:
            return parse_duration(asked)
        except ValueError:
            pass
    apart = pd.Series(starts).diff().min()
    return None if pd.isna(apart) else timedelta(microseconds=int(apart / pd.Timedelta("1us")))


def _asked(attrs: Mapping[Any, Any], parameter: str) -> Any:
    """Return what the question was asked with, None where the frame does not say."""
    params = attrs.get("params")
    return params.get(parameter) if isinstance(params, Mapping) else None


def _partial(attrs: Mapping[Any, Any], starts: pd.Index, long: timedelta | None) -> list[str]:
    """Say which spans are not whole, so that they are not taken for a drop."""
    now, since = moment(attrs.get("now")), moment(_asked(attrs, "since"))
    if not len(starts) or long is None:
        return []
    cut = ["first"] if since and starts[0] < pd.Timestamp(since) else []
    cut += ["last"] if now and starts[-1] + long > pd.Timestamp(now) else []
    return [f"the {' and the '.join(cut)} span {'is' if len(cut) == 1 else 'are'} not whole"] if cut else []
