"""How large the state of each key is."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from restate_lab._text import plural
from restate_lab.plots.bars import MOST, Bar, draw_bars, height_for
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import NEUTRAL, Canvas, Look, canvas
from restate_lab.plots.units import size, size_axis

__all__ = ["plot_state_sizes"]

_READS = Reads(
    "plot_state_sizes",
    'rl.ask(lab, "state_sizes")',
    ("service_name", "service_key", "scope", "bytes", "entries", "largest_value_bytes", "largest_value_name"),
)
_LOOKS = {"its largest value": Look(NEUTRAL.colour, "///"), "all others": NEUTRAL}


def plot_state_sizes(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw how many bytes of state each key of a virtual object or workflow has, most first.

    The hatched part is its largest single value, whose name is written behind. ``frame`` is the answer to
    ``rl.ask(lab, "state_sizes")``. Reads ``service_name, service_key, scope, bytes, entries, largest_value_bytes,
    largest_value_name``. Beyond 30 keys the rest is one bar, "others". ``tz`` is the zone of a moment in the title.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    rows = rows.assign(**{name: numbers(rows, name) for name in ("bytes", "entries", "largest_value_bytes")})
    rows = rows.sort_values("bytes", ascending=False, kind="stable")
    shown = canvas(ax, height=height_for(min(len(rows), MOST + 1)) + 0.2)
    if rows.empty:
        shown.title("State by key", rows.attrs, where)
        return shown.nothing("No key has state.")
    bars = [_bar(shown, row) for row in rows[:MOST].to_dict("records")]
    rest = rows[MOST:]
    if len(rest):
        total = float(rest["bytes"].sum())
        bars.append(Bar(f"others ({len(rest):,})", {"all others": total}, size(total), is_rest=True))
    left = draw_bars(shown, bars, _LOOKS)
    shown.title("State by key", rows.attrs, where, left=left)
    size_axis(shown.ax.xaxis, max(sum(bar.parts.values()) for bar in bars), few=shown.is_narrow)
    shown.ax.set_xlabel("bytes of names and values")
    shown.legend([shown.proxy(each, name) for name, each in _LOOKS.items()], below=16, left=left)
    return shown.ax


def _bar(shown: Canvas, row: dict[Any, Any]) -> Bar:
    name = f"{shown.text(row['service_name'], 24)}/{shown.text(row['service_key'], 28)}"
    if pd.notna(row["scope"]):
        name += f" in {shown.text(row['scope'], 16)}"
    largest = min(row["largest_value_bytes"], row["bytes"])
    note = (
        f"{size(row['bytes'])}, {plural(row['entries'], 'value')}, largest {shown.text(row['largest_value_name'], 24)}"
    )
    return Bar(name, {"its largest value": largest, "all others": row["bytes"] - largest}, note)
