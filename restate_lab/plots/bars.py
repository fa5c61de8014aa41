"""Horizontal stacked bars: each row has a name, a bar with its parts, and a note at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.patheffects import withStroke

from restate_lab.plots.colours import REST, FillStyle, ink_on, mix_colours
from restate_lab.plots.style import Canvas

MOST = 30  # rows; further rows are combined into one
_LETTER = 0.62  # width of a digit with spacing, relative to the font size


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: ``parts`` maps names of styles to values, ``note`` is the text after the bar."""

    name: str
    parts: Mapping[str, float]
    note: str = ""
    below: str = ""
    """Text on a separate line below the bar."""
    is_rest: bool = False
    """Whether the row combines all remaining rows."""


def bars_of(rows: pd.DataFrame, bar: Callable[[dict[Any, Any]], Bar], rest: Callable[[pd.DataFrame], Bar]) -> list[Bar]:
    """Return a bar for each of the first 30 rows, and one that ``rest`` makes of the others, as "others (7)"."""
    bars = [bar(row) for row in rows[:MOST].to_dict("records")]
    others = rows[MOST:]
    return [*bars, replace(rest(others), name=f"others ({len(others):,})", is_rest=True)] if len(others) else bars


def height_for(rows: int, *, lines: int = 1) -> float:
    """Return the figure height in inches for a number of rows whose names have ``lines`` lines each."""
    return max(1.9, 1.35 + rows * (0.16 + 0.15 * lines))


def draw_bars(
    canvas: Canvas,
    bars: Sequence[Bar],
    styles: Mapping[str, FillStyle],
    *,
    inside: Callable[[float], str] | None = None,
) -> float:
    """Draw the bars from top to bottom and return the width of the names, in points.

    ``inside`` formats the value of a part; it is written inside the part if there is room.
    """
    ax = canvas.ax
    names = name_rows(canvas, [bar.name for bar in bars])
    up, height = (0.16, 0.4) if any(bar.below for bar in bars) else (0.0, 0.68)
    # An estimate of the width of the Axes next to the names, in points, because the layout does not exist yet.
    room = max(60.0, canvas.width * 72 - names - 30)
    wide = _axis_end(canvas, bars, room)
    lefts = [0.0] * len(bars)
    for name, plain in styles.items():
        rows = [row for row, bar in enumerate(bars) if bar.parts.get(name)]
        values, begins = [bars[row].parts[name] for row in rows], [lefts[row] for row in rows]
        options = canvas.patch_options(plain)
        drawn = ax.barh([row - up for row in rows], values, height, left=begins, label=name, **options)
        for row, value, patch in zip(rows, values, drawn, strict=True):
            of = REST if bars[row].is_rest else plain
            patch.set(**canvas.patch_options(of))
            if inside and value / wide * room > len(inside(value)) * canvas.font_size * _LETTER + 4:
                _write_value(canvas, lefts[row] + value / 2, row - up, inside(value), of.colour)
            lefts[row] += value
    for row, bar in enumerate(bars):
        _write_note(canvas, bar.note, lefts[row], row - up, 5)
        _write_note(canvas, bar.below, 0, row + 0.26, 3)
    ax.set_xlim(0, wide)
    ax.grid(axis="x", color=mix_colours(canvas.background, canvas.ink, 0.13), linewidth=0.7)
    return names


def name_rows(canvas: Canvas, names: Sequence[str]) -> float:
    """Write the names of the rows from top to bottom and return their width, in points."""
    canvas.ax.set_yticks(range(len(names)), names, **canvas.margin_options)
    canvas.ax.tick_params(axis="y", length=0)
    canvas.ax.set_ylim(len(names) - 0.4, -0.6)
    lines = [line for name in names for line in name.splitlines()]
    return max((canvas.typeface.width(line, canvas.font_size) for line in lines), default=0.0) + 4


def _axis_end(canvas: Canvas, bars: Sequence[Bar], points: float) -> float:
    """Return the end of the axis that leaves room for the note after each bar."""
    ends = [1e-9]
    for bar in bars:
        free = points - 8 - canvas.typeface.width(bar.note, canvas.font_size)
        ends.append(sum(bar.parts.values()) * points / max(free, points * 0.25))
    return max(ends)


def _write_note(canvas: Canvas, text: str, x: float, y: float, aside: float) -> None:
    if text:
        # _axis_end already reserves the room; if the layout reserved it again, the bars would shrink.
        options = canvas.text_options | {"va": "center", "in_layout": False}
        canvas.ax.annotate(text, (x, y), (aside, 0), "data", "offset points", **options)


def _write_value(canvas: Canvas, x: float, y: float, text: str, background: str) -> None:
    ink = ink_on(background)
    halo = [withStroke(linewidth=2.4, foreground=ink_on(ink))]  # keeps the text readable on a hatch
    canvas.ax.text(
        *(x, y, text),
        ha="center",
        va="center",
        bbox={"facecolor": background, "edgecolor": "none", "pad": 1.2},
        path_effects=halo,
        **{**canvas.text_options, "color": ink},
    )
