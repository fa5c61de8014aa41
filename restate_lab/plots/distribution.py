"""How the durations of invocations are distributed: a line per handler that climbs to 100 %."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from restate_lab._text import format_duration
from restate_lab.errors import ArgumentError
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.latency import log_scale
from restate_lab.plots.style import PALETTE, REST, Canvas, canvas, mixed

__all__ = ["plot_latency_distribution"]

_READS = Reads(
    "plot_latency_distribution",
    "the statement in its docstring",
    ("target_service_name", "target_handler_name", "ms"),
)
_MOST = 6  # lines
_POINTS = 2_000  # of a line; more cannot be seen
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def plot_latency_distribution(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw which share of invocations took at most how long, one line per handler, those with most invocations first.

    ``frame`` has one row per invocation with ``target_service_name, target_handler_name`` and ``ms``, milliseconds;
    for those that were completed in the last hour it is what this gives, on every kind of server::

        lab.sql('''
            SELECT target_service_name, target_handler_name,
              CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(coalesce(
                CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at), 'Int64') AS DOUBLE) AS ms
            FROM sys_invocation_status
            WHERE status = 'completed' AND completed_at >= :since
        ''', since=lab.now - timedelta(hours=1))

    Rows without ``ms`` are left out, and said. Beyond 6 handlers the rest is one line, "others". ``tz`` is the zone of
    a moment in the title.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone; or a duration is negative.
    """
    rows, where = _READS.frame(frame), zone(tz)
    rows = rows.assign(ms=numbers(rows, "ms"))
    known = rows.dropna(subset=["ms"])
    if (known["ms"] < 0).any():
        raise ArgumentError(f"ms has {known['ms'].min():g}: a duration in milliseconds is not negative.")
    shown = canvas(ax, height=4.4)
    left_out = [f"{len(rows) - len(known):,} rows have no duration"] if len(known) < len(rows) else []
    shown.title("How durations are distributed", rows.attrs, where, left_out)
    if known.empty:
        return shown.nothing("There is no duration to draw.")
    log_scale(shown, float(known["ms"].max()))
    shown.legend([_draw(shown, *line) for line in _lines(shown, known)], below=16, columns=2)
    shown.ax.set_ylim(0, 1.02)
    shown.ax.yaxis.set_major_formatter(PercentFormatter(1))
    shown.ax.grid(axis="y", color=mixed(shown.ground, shown.ink, 0.13), linewidth=0.7)
    shown.ax.set_xlabel("took at most")
    shown.ax.set_ylabel("share of invocations")
    return shown.ax


def _lines(shown: Canvas, frame: pd.DataFrame) -> Iterator[tuple[str, Any, str, Any]]:
    """Give each line's name, sorted durations, colour and style."""
    columns = ["target_service_name", "target_handler_name"]
    groups = list(frame.groupby(columns, sort=True, dropna=False)["ms"])
    groups.sort(key=lambda group: -len(group[1]))
    text = shown.text
    for number, ((service, handler), values) in enumerate(groups[:_MOST]):
        name = f"{text(service, 20)}/{text(handler, 20)}"
        yield name, np.sort(values.to_numpy()), PALETTE[number].colour, _STYLES[number]
    if rest := [values.to_numpy() for _, values in groups[_MOST:]]:
        yield f"others ({len(rest):,})", np.sort(np.concatenate(rest)), REST.colour, "-"


def _draw(shown: Canvas, name: str, values: Any, colour: str, style: Any) -> Line2D:
    count = len(values)
    ranks = np.unique(np.linspace(1, count, min(count, _POINTS)).round().astype(int))
    at, share = np.concatenate([[0.0], values[ranks - 1]]), np.concatenate([[0.0], ranks / count])
    half, most = (format_duration(values[int(np.ceil(count * part)) - 1] / 1_000) for part in (0.5, 0.99))
    label = f"{name}  n = {count:,}, p50 {half}, p99 {most}"
    (line,) = shown.ax.step(at, share, where="post", color=colour, linestyle=style, linewidth=1.8, label=label)
    return line
