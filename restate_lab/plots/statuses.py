"""How many invocations stand in which status, per service."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from restate_lab.plots.bars import MOST, Bar, draw_bars, height_for
from restate_lab.plots.given import Reads, numbers, zone
from restate_lab.plots.style import Canvas, canvas, look
from restate_lab.plots.typeface import Typeface, typeface
from restate_lab.plots.units import number_axis
from restate_lab.status import STATUSES

__all__ = ["plot_status"]

_READS = Reads("plot_status", 'rl.ask(lab, "overview")', ("target_service_name", "target_handler_name", "status", "n"))


def plot_status(frame: pd.DataFrame, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw how many invocations stand in which status, one bar per service, the longest first.

    ``frame`` is the answer to ``rl.ask(lab, "overview")``, which has no completed ones; of a single service the bars
    are its handlers. Reads ``target_service_name, target_handler_name, status, n``; other words of
    ``restate_lab.status`` are drawn, too. A number stands in its part where that has room, the sum at the end, and the
    sum of each status in the legend. Beyond 30 bars the rest is one, "others". ``tz`` is the zone of the moment in the
    title.

    Raises:
        ArgumentError: the frame lacks a column, ``ax`` is no Axes, or ``tz`` no zone.
    """
    rows, where = _READS.frame(frame), zone(tz)
    face = typeface()
    counts, of = _counted(rows, face)
    shown = canvas(ax, height=height_for(min(len(counts), MOST + 1)))
    if counts.empty:
        shown.title("Invocations", rows.attrs, where)
        return shown.nothing("No invocation is in any status that this frame counts.")
    looks = {status: look(status) for status in counts.columns}
    left = draw_bars(shown, _bars(shown, counts), looks, inside=_number)
    shown.title(f"Invocations by {of}", rows.attrs, where, left=left)
    number_axis(shown.ax.xaxis)
    shown.ax.set_xlabel("invocations")
    totals = counts.sum()
    shown.legend(
        [shown.proxy(each, f"{face.text(status, 20)}  {totals[status]:,.0f}") for status, each in looks.items()],
        below=16,
        left=left,
    )
    return shown.ax


def _counted(frame: pd.DataFrame, face: Typeface) -> tuple[pd.DataFrame, str]:
    """Return one row per service or handler, most invocations first, and one column per status, in their order."""
    counted = frame.assign(n=numbers(frame, "n"), status=frame["status"].astype("object").fillna("unknown"))
    services = counted["target_service_name"].drop_duplicates()
    by, of = ("target_service_name", "service")
    if len(services) == 1:
        by, of = ("target_handler_name", f"handler of {face.text(services.iloc[0], 40)}")
    table = counted.pivot_table(index=by, columns="status", values="n", aggfunc="sum", fill_value=0, dropna=False)
    table = table.loc[:, table.sum() > 0]
    known = [status for status in STATUSES if status in table]
    table = table[[*known, *sorted(set(table.columns) - set(known))]]
    order = table.sum(axis="columns").sort_values(ascending=False, kind="stable").index
    table = table.reindex(order)
    return table[table.sum(axis="columns") > 0], of


def _bars(shown: Canvas, counts: pd.DataFrame) -> list[Bar]:
    bars = [
        _bar(shown.text(name, 36), parts)
        for name, parts in zip(counts.index[:MOST], counts[:MOST].to_dict("records"), strict=True)
    ]
    rest = counts[MOST:]
    return [*bars, _bar(f"others ({len(rest):,})", rest.sum().to_dict())] if len(rest) else bars


def _bar(name: str, parts: dict[Any, float]) -> Bar:
    return Bar(name, {str(status): n for status, n in parts.items()}, _number(sum(parts.values())))


def _number(value: float) -> str:
    return f"{value:,.0f}"
