"""How many calls wait for which key."""

from __future__ import annotations

import math
from datetime import tzinfo
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from restate_lab._text import format_duration
from restate_lab.plots.bars import MOST, Bar, draw_bars, height_for
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import Canvas, canvas, look
from restate_lab.plots.units import number_axis

__all__ = ["plot_backlog"]

_READS = Reads(
    "plot_backlog",
    'rl.ask(lab, "backlog_by_key")',
    ("target_service_name", "target_service_key", "scope", "waiting", "oldest_wait"),
)


def plot_backlog(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw how many calls wait for each key, most waiting first, and for how long the first of them has waited.

    ``frame`` is the answer to ``rl.ask(lab, "backlog_by_key")``. Reads ``target_service_name, target_service_key,
    scope, waiting, oldest_wait``. Beyond 30 keys the rest is one bar, "others". ``tz`` is the zone of the moment in the
    title.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    rows = rows.assign(
        waiting=numbers(rows, "waiting"), oldest_wait=pd.to_timedelta(rows["oldest_wait"]) / pd.Timedelta("1ms")
    ).sort_values("waiting", ascending=False, kind="stable")
    shown = canvas(ax, height=height_for(min(len(rows), MOST + 1)))
    if rows.empty:
        shown.title("Calls that wait for a key", rows.attrs, where)
        return shown.nothing("No call waits for a key.")
    bars = [
        Bar(_name(shown, row), {"pending": row["waiting"]}, _note(row["waiting"], row["oldest_wait"]))
        for row in rows[:MOST].to_dict("records")
    ]
    rest = rows[MOST:]
    if len(rest):
        sum_, oldest = float(rest["waiting"].sum()), rest["oldest_wait"].max()
        bars.append(Bar(f"others ({len(rest):,})", {"pending": sum_}, _note(sum_, oldest), is_rest=True))
    left = draw_bars(shown, bars, {"pending": look("pending")})
    shown.title("Calls that wait for a key", rows.attrs, where, left=left)
    number_axis(shown.ax.xaxis)
    shown.ax.set_xlabel("calls waiting (pending)")
    return shown.ax


def _name(shown: Canvas, row: dict[Any, Any]) -> str:
    name = f"{shown.text(row['target_service_name'], 24)}/{shown.text(row['target_service_key'], 28)}"
    return f"{name} in {shown.text(row['scope'], 16)}" if pd.notna(row["scope"]) else name


def _note(waiting: float, oldest: float) -> str:
    return f"{waiting:,.0f}" + (f", the first for {format_duration(oldest / 1_000)}" if math.isfinite(oldest) else "")
