"""Draw the wait-for graph: waiting invocations at the left, root blockers at the right, and deadlocks as cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from itertools import pairwise
from textwrap import wrap
from typing import Any

import networkx as nx
import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from restate_lab._text import shorten_id
from restate_lab.analysis.times import to_zone
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.waits.layout import Box, CycleBox, Layout
from restate_lab.analysis.waits.picture import grouped_graph, layout_of
from restate_lab.errors import ArgumentError
from restate_lab.plots.style import Canvas, canvas_on, mix_colours, status_style

_WIDE, _HIGH = 0.8, 0.74  # size of a box, in columns and rows
_MOST = 36  # boxes
_LEAST_ROW = 0.3  # inches
_TEXT_COLUMNS = 0.75  # columns, for the text about a root blocker
_COLUMN, _ROW = 2.6, 0.56  # inches
_FEWEST = 6  # minimum number of letters of a target
_STYLES: dict[str, Any] = {"call": "-", "key": (0, (4, 2)), "attach": (0, (1, 1.5))}
_OTHER = "other"


def plot_waits(waits: Waits, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the wait-for graph: an arrow points from a waiting invocation to the one that blocks it, at its right.

    ``waits`` is the result of ``rl.waits(lab)``. The root blockers are at the right, with the reason why they wait and
    the number of invocations that wait for them. Deadlocks are cycles in red. A box has the target, the ID and the
    status of an invocation. If there are too many boxes, some are folded into one with their number, such as "+8
    waiting", which includes all invocations that wait behind them. Invocations that wait for something else (an
    awakeable, a promise, a sleep) are counted but not drawn. ``tz`` is the time zone of the time in the title.

    Raises:
        ArgumentError: ``waits`` is not Waits, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    if not isinstance(waits, Waits):
        raise ArgumentError(f"plot_waits needs the result of rl.waits(lab), not {type(waits).__name__!r}.")
    where = to_zone(tz)
    graph = grouped_graph(waits.graph(), waits.blockers)
    layout = layout_of(graph, waits.deadlocks, most=_max_boxes(ax))
    canvas = canvas_on(
        ax, width=0.5 + _COLUMN * (max(layout.columns, 3) + _TEXT_COLUMNS), height=1.3 + _ROW * max(layout.rows, 1)
    )
    attrs = {"source": waits.source, "version": waits.version, "read_at": waits.read_at.isoformat()}
    canvas.set_title("Wait-for graph", attrs, where, _exclusion_notes(canvas, waits, layout), of=[waits.summary])
    if not layout.boxes:
        return canvas.show_empty("No invocation waits for another invocation.")
    drawing = _Drawing.create(canvas, layout, graph, waits)
    for cycle in layout.cycles:
        drawing.draw_cycle(cycle)
    for waiter, blocker, edge in graph.edges(data=True):
        drawing.draw_arrow(waiter, blocker, edge)
    for box in layout.boxes:
        drawing.draw_box(box)
    canvas.ax.set(xlim=(-0.6, layout.columns - 0.4 + _text_columns(canvas)), ylim=(layout.rows + 0.1, -0.15))
    canvas.ax.set_axis_off()
    canvas.add_legend(drawing.legend_proxies(), columns=8)
    return canvas.ax


def _max_boxes(ax: Axes | None) -> int:
    """Return the maximum number of boxes that are readable on Axes of this height."""
    if not isinstance(ax, Axes):
        return _MOST
    return min(_MOST, max(6, int(ax.get_position().height * ax.figure.bbox.height / ax.figure.dpi / _LEAST_ROW)))


def _exclusion_notes(canvas: Canvas, waits: Waits, layout: Layout) -> list[str]:
    notes = [canvas.text(reason, 110) for reason in waits.reasons]
    if layout.isolated:
        notes.append(f"{layout.isolated:,} more wait for something else")
    if layout.excluded_trees:
        notes.append(
            f"{layout.excluded_trees:,} more root blockers with {layout.excluded_invocations:,} invocations "
            "are not drawn"
        )
    return notes


@dataclass(frozen=True, slots=True)
class _Drawing:
    canvas: Canvas
    boxes: Mapping[str, Box]
    graph: nx.DiGraph
    blockers: Mapping[str, Mapping[Any, Any]]
    in_cycle: Mapping[str, CycleBox]
    font_size: float
    text_width: float
    """Maximum width of a line in a box, in points."""

    @classmethod
    def create(cls, canvas: Canvas, layout: Layout, graph: nx.DiGraph, waits: Waits) -> _Drawing:
        figure, box = canvas.ax.figure, canvas.ax.get_position()
        wide = _axes_inches(canvas) / (layout.columns + _text_columns(canvas))
        high = box.height * figure.bbox.height / figure.dpi / max(layout.rows, 1)
        # Three lines must fit into a box, and an ID with its status into a line.
        font_size = min(7.5, max(3.5, min(high * _HIGH * 72 / 3.9, wide * _WIDE * 72 / (30 * 0.6))))
        return cls(
            canvas,
            {box.key: box for box in layout.boxes},
            graph,
            {row["id"]: row for row in waits.blockers.to_dict("records")},
            {id_: cycle for cycle in layout.cycles for id_ in cycle.members},
            font_size,
            wide * (_WIDE - 0.14) * 72,
        )

    def draw_cycle(self, cycle: CycleBox) -> None:
        """Draw the background of a cycle, with its label and its arrows."""
        canvas, red = self.canvas, status_style("failed").colour
        canvas.ax.add_patch(
            FancyBboxPatch(
                (cycle.left, cycle.top),
                cycle.right - cycle.left,
                cycle.bottom - cycle.top,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=canvas.tint(red, 0.1),
                edgecolor=red,
                linewidth=1.4,
                linestyle="-" if cycle.certain else "--",
                zorder=0,
            )
        )
        label = "DEADLOCK" if cycle.certain else "POSSIBLE DEADLOCK"
        label += f", {cycle.hidden:,} more in it" if cycle.hidden else ""
        # Use the fonts of the style sheet: fonts for other scripts often have no bold face, and matplotlib logs that.
        bold = self._text_options(weight="bold", fontfamily=rcParams["font.family"])
        canvas.ax.text(cycle.left + 0.06, cycle.top + 0.2, label, va="center", **bold)
        keys = [*cycle.members, cycle.members[0]]
        for waiter, blocker in pairwise(keys):
            self._draw_cycle_arrow(self.boxes[waiter], self.boxes[blocker], of=len(cycle.members))

    def _draw_cycle_arrow(self, waiter: Box, blocker: Box, *, of: int) -> None:
        bend = "arc3"
        if waiter is blocker:
            begin, end = ((waiter.x + _WIDE / 2, waiter.y + aside) for aside in (-0.2, 0.2))
            bend = "arc3,rad=-1.5"
        elif waiter.x == blocker.x:
            down = 1 if blocker.y > waiter.y else -1
            begin, end = (waiter.x, waiter.y + down * _HIGH / 2), (blocker.x, blocker.y - down * _HIGH / 2)
        else:
            right = 1 if blocker.x > waiter.x else -1
            # in a cycle of two, the two arrows are next to each other
            aside = 0.15 * right if of == 2 else 0.0
            begin = (waiter.x + right * _WIDE / 2, waiter.y + aside)
            end = (blocker.x - right * _WIDE / 2, blocker.y + aside)
        edge = self.graph.get_edge_data(waiter.key, blocker.key, {"kind": _OTHER})
        self._add_arrow(begin, end, edge, status_style("failed").colour, 1.8, bend)

    def draw_arrow(self, waiter: str, blocker: str, edge: Mapping[str, Any]) -> None:
        """Draw the arrow of one wait, unless an end is not shown or both are in the same cycle."""
        begin, end = self.boxes.get(waiter), self.boxes.get(blocker)
        if begin is None or end is None or self.in_cycle.get(waiter, 0) is self.in_cycle.get(blocker, 1):
            return
        self._add_arrow((begin.x + _WIDE / 2, begin.y), (end.x - _WIDE / 2, end.y), edge, self._line_colour, 1.0)

    @property
    def _line_colour(self) -> str:
        return mix_colours(self.canvas.background, self.canvas.ink, 0.6)

    def _add_arrow(
        self, begin: Any, end: Any, edge: Mapping[str, Any], colour: str, width: float, bend: str = "arc3"
    ) -> None:
        style = _STYLES.get(edge["kind"], (0, (1, 1)))
        self.canvas.ax.add_patch(
            FancyArrowPatch(
                begin,
                end,
                arrowstyle="-|>",
                connectionstyle=bend,
                mutation_scale=8,
                shrinkA=0,
                shrinkB=0,
                color=colour,
                linewidth=width,
                linestyle=style,
                zorder=1,
                capstyle="butt",
            )
        )

    def draw_box(self, box: Box) -> None:
        """Draw an invocation, or the number of folded invocations."""
        if box.folded:
            self._draw_folded(box)
            return
        node, row = self.graph.nodes[box.key], self.blockers.get(box.key)
        status = node.get("status") or "gone"
        of = status_style(status)
        left, top = box.x - _WIDE / 2, box.y - _HIGH / 2
        ax, face = self.canvas.ax, self.canvas.typeface
        background, edge = self.canvas.tint(of.colour, 0.18), self.canvas.edge_colour(of.colour)
        ax.add_patch(
            Rectangle((left, top), _WIDE, _HIGH, facecolor=background, edgecolor=edge, linewidth=0.8, zorder=2)
        )
        ax.add_patch(Rectangle((left, top), 0.045, _HIGH, zorder=3, **self.canvas.patch_options(of)))
        times = f"{box.times:,} × " if box.times > 1 else ""
        lines = [self._fit(f"{times}{node.get('target') or 'unknown'}"), self._id_and_status(box.key, status)]
        if row is not None:
            total, direct = row["total_waiting"], row["direct_waiting"]
            lines += [f"at least {direct:,} wait" if pd.isna(total) else f"{total:,} wait"]
            reason = (
                "\n".join(wrap(face.text(f"waits for {shorten_id(row['waits_for'])}", 110), 36))
                if _text_columns(self.canvas)
                else ""
            )
            ax.text(left + _WIDE + 0.06, box.y, reason, va="center", zorder=4, linespacing=1.15, **self._text_options())
        ax.text(left + 0.07, box.y, "\n".join(lines), va="center", zorder=4, linespacing=1.15, **self._text_options())

    def _id_and_status(self, id_: str, status: str) -> str:
        """Return an ID and a status; if there is no room, only the end of the ID, or no ID."""
        shown_status = self.canvas.typeface.text(status, 20)
        short = id_ if len(id_) <= 20 else f"{id_[:9]}…{id_[-6:]}"
        for text in (f"{short}  {shown_status}", f"…{id_[-6:]}  {shown_status}"):
            if self.canvas.typeface.width(text, self.font_size) <= self.text_width:
                return text
        return self._fit(status)

    def _fit(self, value: object) -> str:
        """Return a value as text, shortened to fit into a box."""
        face, letters = self.canvas.typeface, int(self.text_width / (self.font_size * 0.4)) + 1
        text = face.text(value, letters)
        while face.width(text, self.font_size) > self.text_width and letters > _FEWEST:
            letters -= 1
            text = face.text(value, letters)
        return text

    def _draw_folded(self, box: Box) -> None:
        around = box.blocker is None
        label = f"… {box.folded:,} more in the cycle …" if around else f"+{box.folded:,} waiting"
        left, wide = box.x - _WIDE / 2, _WIDE
        line = self._line_colour
        self.canvas.ax.add_patch(
            Rectangle(
                (left, box.y - 0.24),
                wide,
                0.48,
                facecolor=self.canvas.background,
                edgecolor=line,
                linestyle=":",
                zorder=2,
            )
        )
        self.canvas.ax.text(box.x, box.y, label, ha="center", va="center", zorder=4, **self._text_options())
        if box.blocker is not None and box.blocker in self.boxes:
            end = self.boxes[box.blocker]
            self._add_arrow((left + wide, box.y), (end.x - _WIDE / 2, end.y), {"kind": "attach"}, line, 1.0)

    def _text_options(self, **more: Any) -> dict[str, Any]:
        return {**self.canvas.text_options, "fontsize": self.font_size, "in_layout": False, **more}

    def legend_proxies(self) -> list[Artist]:
        """Return legend entries for the lines and the statuses in the graph."""
        ids = [key for key, box in self.boxes.items() if not box.folded]
        pairs = [(a, b) for a, b in self.graph.edges if a in self.boxes and b in self.boxes]
        kinds = sorted({self.graph.edges[pair]["kind"] for pair in pairs})
        lines: list[Artist] = [
            Line2D([], [], color=self._line_colour, linestyle=_STYLES.get(kind, (0, (1, 1))), label=f"waits: {kind}")
            for kind in kinds
        ]
        statuses = sorted({self.graph.nodes[id_].get("status") or "gone" for id_ in ids})
        return lines + [self.canvas.proxy(status_style(status), status) for status in statuses]


def _axes_inches(canvas: Canvas) -> float:
    """Return the width of the Axes in inches, estimated if there is no layout yet."""
    figure = canvas.ax.figure.figure
    if figure.get_layout_engine() is None:
        return float(canvas.ax.get_position().width * figure.bbox.width / figure.dpi)
    # next to other Axes, their labels need some of the width
    return canvas.width * (0.7 if canvas.is_narrow else 0.95)


def _text_columns(canvas: Canvas) -> float:
    """Return the number of columns for text next to root blockers."""
    return 0.0 if canvas.is_narrow else _TEXT_COLUMNS
