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

from restate_lab.analysis.waits import Waits
from restate_lab.errors import ArgumentError
from restate_lab.plots.inputs import zone
from restate_lab.plots.style import Canvas, canvas, look, mixed
from restate_lab.plots.wait_layout import Layout, Place, Ring, arrange

__all__ = ["plot_waits"]

_WIDE, _HIGH = 0.8, 0.74  # of a box, in columns and rows
_MOST = 36  # boxes
_LEAST_ROW = 0.3  # inches
_WORDS = 0.75  # columns, for what root blockers wait for
_COLUMN, _ROW = 2.6, 0.56  # inches
_FEWEST = 6  # letters of a target
_STYLES: dict[str, Any] = {"call": "-", "key": (0, (4, 2)), "attach": (0, (1, 1.5))}
_OTHER = "other"


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
    graph = waits.graph()
    deadlocks = waits.deadlocks.to_dict("records")
    layout = arrange(graph, [(row["members"], row["certain"]) for row in deadlocks], most=_most(ax))
    shown = canvas(ax, width=0.5 + _COLUMN * (max(layout.columns, 3) + _WORDS), height=1.3 + _ROW * max(layout.rows, 1))
    attrs = {"source": waits.source, "version": waits.version, "now": waits.at.isoformat()}
    shown.title("Who waits for whom", attrs, where, _left_out(shown, waits, layout), of=[waits.verdict])
    if not layout.places:
        return shown.nothing("No invocation waits for another one.")
    drawing = _Drawing.of(shown, layout, graph, waits)
    for ring in layout.rings:
        drawing.ring(ring)
    for waiter, blocker, edge in graph.edges(data=True):
        drawing.arrow(waiter, blocker, edge)
    for place in layout.places:
        drawing.box(place)
    shown.ax.set(xlim=(-0.6, layout.columns - 0.4 + _words(shown)), ylim=(layout.rows + 0.1, -0.15))
    shown.ax.set_axis_off()
    shown.legend(drawing.proxies(), columns=8)
    return shown.ax


def _most(ax: Axes | None) -> int:
    """Return how many boxes are shown: as many as are readable on Axes of that height."""
    if not isinstance(ax, Axes):
        return _MOST
    return min(_MOST, max(6, int(ax.get_position().height * ax.figure.bbox.height / ax.figure.dpi / _LEAST_ROW)))


def _left_out(shown: Canvas, waits: Waits, layout: Layout) -> list[str]:
    said = [shown.text(words, 110) for words in waits.excluded]
    if layout.alone:
        said.append(f"{layout.alone:,} more wait for no invocation")
    if layout.trees_left_out:
        said.append(f"{layout.trees_left_out:,} more root blockers with {layout.left_out:,} invocations are not drawn")
    return said


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What boxes, arrows and circles are drawn with."""

    shown: Canvas
    places: Mapping[str, Place]
    graph: nx.DiGraph
    blockers: Mapping[str, Mapping[Any, Any]]
    in_ring: Mapping[str, Ring]
    points: float
    room: float
    """How wide a line in a box may be, in points."""

    @classmethod
    def of(cls, shown: Canvas, layout: Layout, graph: nx.DiGraph, waits: Waits) -> _Drawing:
        figure, box = shown.ax.figure, shown.ax.get_position()
        wide = _inches(shown) / (layout.columns + _words(shown))
        high = box.height * figure.bbox.height / figure.dpi / max(layout.rows, 1)
        # three lines in a box, and an id with its status in a line
        points = min(7.5, max(3.5, min(high * _HIGH * 72 / 3.9, wide * _WIDE * 72 / (30 * 0.6))))
        return cls(
            shown,
            {place.key: place for place in layout.places},
            graph,
            {row["id"]: row for row in waits.blockers.to_dict("records")},
            {id_: ring for ring in layout.rings for id_ in ring.way},
            points,
            wide * (_WIDE - 0.14) * 72,
        )

    def ring(self, ring: Ring) -> None:
        """Draw the ground of a circle, and say what it is."""
        shown, red = self.shown, look("failed").colour
        shown.ax.add_patch(
            FancyBboxPatch(
                (ring.left, ring.top),
                ring.right - ring.left,
                ring.bottom - ring.top,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=shown.tint(red, 0.1),
                edgecolor=red,
                linewidth=1.4,
                linestyle="-" if ring.certain else "--",
                zorder=0,
            )
        )
        words = "DEADLOCK" if ring.certain else "POSSIBLE DEADLOCK"
        words += f", {ring.unseen:,} more in it" if ring.unseen else ""
        # The style's own fonts: those for other scripts seldom have a bold face, which matplotlib then tells the log.
        bold = self._text(weight="bold", fontfamily=rcParams["font.family"])
        shown.ax.text(ring.left + 0.06, ring.top + 0.2, words, va="center", **bold)
        keys = [*ring.way, ring.way[0]]
        for waiter, blocker in pairwise(keys):
            self._around(self.places[waiter], self.places[blocker], of=len(ring.way))

    def _around(self, waiter: Place, blocker: Place, *, of: int) -> None:
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
        self._arrow(begin, end, edge, look("failed").colour, 1.8, bend)

    def arrow(self, waiter: str, blocker: str, edge: Mapping[str, Any]) -> None:
        """Draw who waits for whom, where both are shown and not in one circle."""
        begin, end = self.places.get(waiter), self.places.get(blocker)
        if begin is None or end is None or self.in_ring.get(waiter, 0) is self.in_ring.get(blocker, 1):
            return
        self._arrow((begin.x + _WIDE / 2, begin.y), (end.x - _WIDE / 2, end.y), edge, self._line, 1.0)

    @property
    def _line(self) -> str:
        return mixed(self.shown.ground, self.shown.ink, 0.6)

    def _arrow(
        self, begin: Any, end: Any, edge: Mapping[str, Any], colour: str, width: float, bend: str = "arc3"
    ) -> None:
        style = _STYLES.get(edge["kind"], (0, (1, 1)))
        self.shown.ax.add_patch(
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

    def box(self, place: Place) -> None:
        """Draw an invocation, or how many are folded here."""
        if place.folded:
            self._folded(place)
            return
        node, row = self.graph.nodes[place.key], self.blockers.get(place.key)
        status = node.get("status") or "gone"
        of = look(status)
        left, top = place.x - _WIDE / 2, place.y - _HIGH / 2
        ax, face = self.shown.ax, self.shown.face
        ground, edge = self.shown.tint(of.colour, 0.18), self.shown.edge(of.colour)
        ax.add_patch(Rectangle((left, top), _WIDE, _HIGH, facecolor=ground, edgecolor=edge, linewidth=0.8, zorder=2))
        ax.add_patch(Rectangle((left, top), 0.045, _HIGH, zorder=3, **self.shown.patch_options(of)))
        lines = [self._fitting(node.get("target") or "unknown"), self._who(place.key, status)]
        if row is not None:
            total, direct = row["total_waiting"], row["direct_waiting"]
            lines += [f"at least {direct:,} wait" if pd.isna(total) else f"{total:,} wait"]
            words = "\n".join(wrap(face.text(f"waits for {row['waits_for']}", 140), 44)) if _words(self.shown) else ""
            ax.text(left + _WIDE + 0.06, place.y, words, va="center", zorder=4, linespacing=1.15, **self._text())
        ax.text(left + 0.07, place.y, "\n".join(lines), va="center", zorder=4, linespacing=1.15, **self._text())

    def _who(self, id_: str, status: str) -> str:
        """Return an id and a status; of the id only its end, or nothing, where there is no room."""
        said = self.shown.face.text(status, 20)
        for known in (f"{_short(id_)}  {said}", f"…{id_[-6:]}  {said}"):
            if self.shown.face.width(known, self.points) <= self.room:
                return known
        return self._fitting(status)

    def _fitting(self, value: object) -> str:
        """Return a value cut so that it fits into a box."""
        face, letters = self.shown.face, int(self.room / (self.points * 0.4)) + 1
        text = face.text(value, letters)
        while face.width(text, self.points) > self.room and letters > _FEWEST:
            letters -= 1
            text = face.text(value, letters)
        return text

    def _folded(self, place: Place) -> None:
        around = place.blocker is None
        words = f"… {place.folded:,} more around …" if around else f"+{place.folded:,} waiting"
        left, wide = place.x - _WIDE / 2, _WIDE
        line = self._line
        self.shown.ax.add_patch(
            Rectangle(
                (left, place.y - 0.24), wide, 0.48, facecolor=self.shown.ground, edgecolor=line, linestyle=":", zorder=2
            )
        )
        self.shown.ax.text(place.x, place.y, words, ha="center", va="center", zorder=4, **self._text())
        if place.blocker is not None and place.blocker in self.places:
            end = self.places[place.blocker]
            self._arrow((left + wide, place.y), (end.x - _WIDE / 2, end.y), {"kind": "attach"}, line, 1.0)

    def _text(self, **more: Any) -> dict[str, Any]:
        return {**self.shown.text_options, "fontsize": self.points, "in_layout": False, **more}

    def proxies(self) -> list[Artist]:
        """Return what explains the lines and the statuses that are there."""
        ids = [key for key, place in self.places.items() if not place.folded]
        pairs = [(a, b) for a, b in self.graph.edges if a in self.places and b in self.places]
        kinds = sorted({self.graph.edges[pair]["kind"] for pair in pairs})
        lines: list[Artist] = [
            Line2D([], [], color=self._line, linestyle=_STYLES.get(kind, (0, (1, 1))), label=f"waits: {kind}")
            for kind in kinds
        ]
        statuses = sorted({self.graph.nodes[id_].get("status") or "gone" for id_ in ids})
        return lines + [self.shown.proxy(look(status), status) for status in statuses]


def _inches(shown: Canvas) -> float:
    """Return how wide the Axes will be; about, where a layout is still to be made."""
    figure = shown.ax.figure.figure
    if figure.get_layout_engine() is None:
        return float(shown.ax.get_position().width * figure.bbox.width / figure.dpi)
    # beside other Axes some of it goes to their names
    return shown.width * (0.7 if shown.is_narrow else 0.95)


def _words(shown: Canvas) -> float:
    """Return how many columns there are for words beside root blockers."""
    return 0.0 if shown.is_narrow else _WORDS


def _short(id_: str) -> str:
    """Return an id that can still be found: its beginning and its end."""
    return id_ if len(id_) <= 20 else f"{id_[:9]}…{id_[-6:]}"
