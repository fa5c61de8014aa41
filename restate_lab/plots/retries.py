"""What is being tried again: where, at which step, and why."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from restate_lab._text import format_timestamp
from restate_lab.analysis.patterns import by_pattern
from restate_lab.plots.bars import MOST, Bar, draw_bars, height_for
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import Canvas, canvas, look
from restate_lab.plots.units import moment, number_axis

__all__ = ["plot_retries"]

_READS = Reads(
    "plot_retries",
    'rl.ask(lab, "retry_storm")',
    (
        *("target_service_name", "target_handler_name", "error_code", "step", "message"),
        *("n", "attempts", "worst", "next_retry_at"),
    ),
)


def plot_retries(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw how many invocations are being tried again, one bar per step and kind of failure, most first.

    Behind each bar stand all attempts together, the most of one invocation, and when the next one is due. Steps whose
    names differ only in data ("get weather Denver", "get weather Paris") have one bar.

    ``frame`` is the answer to ``rl.ask(lab, "retry_storm")``. Reads ``target_service_name, target_handler_name,
    error_code, step, message, n, attempts, worst, next_retry_at``. Beyond 30 kinds the rest is one bar, "others".
    ``tz`` is the zone of the times.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    rows = rows.assign(
        **{name: numbers(rows, name) for name in ("n", "attempts", "worst")},
        next_retry_at=pd.to_datetime(rows["next_retry_at"], utc=True),
    )
    rows = rows if "steps" in rows else by_pattern(rows)
    rows = rows.sort_values(["n", "attempts"], ascending=False, kind="stable")
    shown = canvas(ax, height=height_for(min(len(rows), MOST + 1), lines=2))
    if rows.empty:
        shown.title("Retries by step", rows.attrs, where)
        return shown.nothing("No invocation is being tried again.")
    now = moment(rows.attrs.get("now"))
    bars = [_bar(shown, row, where, now) for row in rows[:MOST].to_dict("records")]
    rest = rows[MOST:]
    if len(rest):
        note = _note(rest["n"].sum(), rest["attempts"].sum(), rest["worst"].max())
        bars.append(Bar(f"others ({len(rest):,})", {"backing-off": rest["n"].sum()}, note, is_rest=True))
    left = draw_bars(shown, bars, {"backing-off": look("backing-off")})
    shown.title("Retries by step", rows.attrs, where, [f"times in {where}"], left=left)
    number_axis(shown.ax.xaxis)
    shown.ax.set_xlabel("invocations that are being tried again")
    return shown.ax


def _bar(shown: Canvas, row: dict[Any, Any], tz: tzinfo, now: datetime | None) -> Bar:
    text = shown.text
    where = f"{text(row['target_service_name'], 24)}/{text(row['target_handler_name'], 24)}"
    steps = f"{row['steps']:,} steps" if row.get("steps", 1) > 1 else "step"
    step = [f"{steps} “{text(row['step'], 28)}”"] if pd.notna(row["step"]) else []
    code = [f"[{text(row['error_code'], 12)}]"] if pd.notna(row["error_code"]) else []
    note = _note(row["n"], row["attempts"], row["worst"])
    if pd.notna(row["next_retry_at"]):
        note += f", next {format_timestamp(row['next_retry_at'], zone=tz, now=now, show_zone=False)}"
    name = "\n".join([where, " ".join(step + code)]).strip()
    return Bar(name, {"backing-off": row["n"]}, note, below=text(row["message"], 92))


def _note(invocations: float, attempts: float, worst: float) -> str:
    return f"{invocations:,.0f}: {attempts:,.0f} attempts, at most {worst:,.0f}"
