"""Who waits for whom, as a picture: from the left to whom everybody waits for, and circles as circles."""

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

from restate_lab._public import check_keywords
from restate_lab._text import shorten_id
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.waits.layout import Box, CycleBox, Layout
from restate_lab.analysis.waits.picture import grouped_graph, layout_of
from restate_lab.errors import ArgumentError
from restate_lab.plots.inputs import zone
from restate_lab.plots.style import Canvas, canvas_on, mix_colours, status_style

__all__ = ["plot_waits"]

_WIDE, _HIGH = 0.8, 0.74  # of a box, in columns and rows
_MOST = 36  # boxes
_LEAST_ROW = 0.3  # inches
_TEXT_COLUMNS = 0.75  # columns, for what root blockers wait for
_COLUMN, _ROW = 2.6, 0.56  # inches
_FEWEST = 6  # letters of a target
_STYLES: dict[str, Any] = {"call": "-", "key": (0, (4, 2)), "attach": (0, (1, 1.5))}
_OTHER = "other"


@check_keywords
def plot_waits(waits: Waits, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw who waits for whom: an arrow leads from who waits to the right, to who is waited for.

    ``waits`` is what ``rl.waits(lab)`` gives. At the right stand the root blockers, with what they wait for in words
    and how many wait for them; deadlocks are circles in the colour of failure. A box has the target, the id and the
    status of an invocation. What would be too much is folded with its number, "+8 waiting", the long way behind it
    included. Who waits for no invocation (awakeables, promises, sleeps) is not drawn, and counted. ``tz`` is the zone
    of the moment in the title.

    Raises:
        ArgumentError: ``waits`` is no Waits, ``ax`` is no Axes, or ``tz`` no zone.
    """
    if not isinstance(waits, Waits):
        raise ArgumentError(f"plot_waits takes what rl.waits(lab) gives; this is {type(waits).__name__!r}.")
    where = zone(tz)
    graph = grouped_graph(waits.graph(), waits.blockers)
    layout = layout_of(graph, waits.deadlocks, most=_max_boxes(ax))
    canvas = canvas_on(
        ax, width=0.5 + _COLUMN * (max(layout.columns, 3) + _TEXT_COLUMNS), height=1.3 + _ROW * max(layout.rows, 1)
    )
    attrs = {"source": waits.source, "version": waits.version, "now": waits.at.isoformat()}
    canvas.set_title("Who waits for whom", attrs, where, _exclusion_notes(canvas, waits, layout), of=[waits.verdict])
    if not layout.boxes:
        return canvas.show_empty("No invocation waits for another one.")
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
    """Return how many boxes are shown: as many as are readable on Axes of that height."""
    if not isinstance(ax, Axes):
        return _MOST
    return min(_MOST, max(6, int(ax.get_position().height * ax.figure.bbox.height / ax.figure.dpi / _LEAST_ROW)))


def _exclusion_notes(canvas: Canvas, waits: Waits, layout: Layout) -> list[str]:
    notes = [canvas.text(reason, 110) for reason in waits.excluded]
    if layout.isolated:
        notes.append(f"{layout.isolated:,} more wait for no invocation")
    if layout.excluded_trees:
        notes.append(
            f"{layout.excluded_trees:,} more root blockers with {layout.excluded_invocations:,} invocations "
            "are not drawn"
        )
    return notes


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What boxes, arrows and circles are drawn with."""

    canvas: Canvas
    boxes: Mapping[str, Box]
    graph: nx.DiGraph
    blockers: Mapping[str, Mapping[Any, Any]]
    in_cycle: Mapping[str, CycleBox]
    font_size: float
    text_width: float
    """How wide a line in a box may be, in points."""

    @classmethod
    def create(cls, canvas: Canvas, layout: Layout, graph: nx.DiGraph, waits: Waits) -> _Drawing:
        figure, box = canvas.ax.figure, canvas.ax.get_position()
        wide = _axes_inches(canvas) / (layout.columns + _text_columns(canvas))
        high = box.height * figure.bbox.height / figure.dpi / max(layout.rows, 1)
        # three lines in a box, and an id with its status in a line
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
        # The style's own fonts: those for other scripts seldom have a bold face, which matplotlib then tells the log.
        bold = self._text_options(weight="bold", fontfamily=rcParams["font.family"])
        canvas.ax.text(cycle.left + 0.06, cycle.top + 0.2, label, va="center", **bold)
        keys = [*cycle.members, cycle.members[0]]
        for waiter, blocker in pairwise(keys):
            self._draw_cycle_arrow(self.boxes[waiter], self.boxes[blocker], of=len(cycle.members))

    def _draw_cycle_arrow(self, waiter: Box, blocker: Box, *, of: int) -> None:
        """Draw an arrow from member to member of a circle."""
        bend = "arc3"
        if waiter is blocker:
            begin, end = ((waiter.x + _WIDE / 2, waiter.y + aside) for aside in (-0.2, 0.2))
            bend = "arc3,rad=-1.5"
        elif waiter.x == blocker.x:
            down = 1 if blocker.y > waiter.y else -1
            begin, end = (waiter.x, waiter.y + down * _HIGH / 2), (blocker.x, blocker.y - down * _HIGH / 2)
        else:
            right = 1 if blocker.x > waiter.x else -1
            # of two the arrows there and back run side by side
            aside = 0.15 * right if of == 2 else 0.0
            begin = (waiter.x + right * _WIDE / 2, waiter.y + aside)
            end = (blocker.x - right * _WIDE / 2, blocker.y + aside)
        edge = self.graph.get_edge_data(waiter.key, blocker.key, {"kind": _OTHER})
        self._add_arrow(begin, end, edge, status_style("failed").colour, 1.8, bend)

    def draw_arrow(self, waiter: str, blocker: str, edge: Mapping[str, Any]) -> None:
        """Draw who waits for whom, where both are shown and not in one circle."""
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
        """Draw an invocation, or how many are folded here."""
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
        """Return an id and a status; of the id only its end, or nothing, where there is no room."""
        shown_status = self.canvas.typeface.text(status, 20)
        for text in (f"{_shorten_id(id_)}  {shown_status}", f"…{id_[-6:]}  {shown_status}"):
            if self.canvas.typeface.width(text, self.font_size) <= self.text_width:
                return text
        return self._fit(status)

    def _fit(self, value: object) -> str:
        """Return a value cut so that it fits into a box."""
        face, letters = self.canvas.typeface, int(self.text_width / (self.font_size * 0.4)) + 1
        text = face.text(value, letters)
        while face.width(text, self.font_size) > self.text_width and letters > _FEWEST:
            letters -= 1
            text = face.text(value, letters)
        return text

    def _draw_folded(self, box: Box) -> None:
        around = box.blocker is None
        label = f"… {box.folded:,} more around …" if around else f"+{box.folded:,} waiting"
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
        """Return what explains the lines and the statuses that are there."""
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
    """Return how wide the Axes will be; about, where a layout is still to be made."""
    figure = canvas.ax.figure.figure
    if figure.get_layout_engine() is None:
        return float(canvas.ax.get_position().width * figure.bbox.width / figure.dpi)
    # beside other Axes some of it goes to their names
    return canvas.width * (0.7 if canvas.is_narrow else 0.95)


def _text_columns(canvas: Canvas) -> float:
    """Return how many columns there are for text beside root blockers."""
    return 0.0 if canvas.is_narrow else _TEXT_COLUMNS


def _shorten_id(id_: str) -> str:
    """Return an id that can still be found: its beginning and its end."""
    return id_ if len(id_) <= 20 else f"{id_[:9]}…{id_[-6:]}"
