"""Draw the wait-for graph: waiting invocations at the left, root blockers at the right, and deadlocks as cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from restate_lab._text import shorten_id
from restate_lab.analysis.times import to_zone
from restate_lab.analysis.waits import Waits
from restate_lab.analysis.waits.picture import WaitPicture, draw_picture
from restate_lab.errors import ArgumentError
from restate_lab.plots.colours import mix_colours, status_style
from restate_lab.plots.style import Canvas, canvas_on

_PIXELS = 96  # of the picture, in an inch
_LARGE, _SMALL, _LEAST = 9.0, 6.0, 3.5  # points
_MOST = 36  # boxes
_LEAST_ROW = 0.3  # inches
_FEWEST = 6  # minimum number of letters of a target
_LINE_CODES: Mapping[int, list[Any]] = {
    2: [Path.MOVETO, Path.LINETO],
    4: [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
}


def plot_waits(waits: Waits, /, *, ax: Axes | None = None, tz: str | tzinfo = "UTC") -> Axes:
    """Draw the wait-for graph: an arrow points from a waiting invocation to the one that blocks it, at its right.

    ``waits`` is the result of ``rl.waits(lab)``. The root blockers are at the right, with the number of invocations
    that wait for them, and on wide Axes with the reason why they wait. Deadlocks are cycles in red. A box has the
    target, the ID and the status of an invocation. If there are too many boxes, some are folded into one with their
    number, such as "+8 waiting", which includes all invocations that wait behind them. Invocations that wait for
    something else (an awakeable, a promise, a sleep) are counted but not drawn. ``tz`` is the time zone of the time in
    the title.

    Raises:
        ArgumentError: ``waits`` is not Waits, ``ax`` is not Axes, or ``tz`` is not a time zone.
    """
    if not isinstance(waits, Waits):
        raise ArgumentError(f"plot_waits needs the result of rl.waits(lab), not {type(waits).__name__!r}.")
    where = to_zone(tz)
    picture = draw_picture(waits.graph(), waits.blockers, waits.deadlocks, anchors={}, most=_max_boxes(ax))
    width, height = (picture.width + picture.text_width, picture.height) if picture else (800, 150)
    canvas = canvas_on(ax, width=width / _PIXELS, height=height / _PIXELS + 1.1)
    attrs = {"source": waits.source, "version": waits.version, "read_at": waits.read_at.isoformat()}
    notes = [*(canvas.text(reason, 110) for reason in waits.reasons), *(picture.notes if picture else ())]
    canvas.set_title("Wait-for graph", attrs, where, notes, of=[waits.summary])
    if picture is None:
        return canvas.show_empty("No invocation waits for another invocation.")
    drawing = _Drawing.create(canvas, picture)
    for cycle in picture.cycles:
        drawing.draw_cycle(cycle)
    for arrow in picture.arrows:
        drawing.draw_arrow(arrow)
    for box in picture.boxes:
        drawing.draw_box(box)
    canvas.ax.set(xlim=(0, drawing.width), ylim=(picture.height, 0))
    canvas.ax.set_axis_off()
    canvas.add_legend(drawing.legend_proxies(picture), columns=8)
    return canvas.ax


def _max_boxes(ax: Axes | None) -> int:
    """Return the maximum number of boxes that are readable on Axes of this height."""
    if not isinstance(ax, Axes):
        return _MOST
    return min(_MOST, max(6, int(ax.get_position().height * ax.figure.bbox.height / ax.figure.dpi / _LEAST_ROW)))


@dataclass(frozen=True, slots=True)
class _Drawing:
    canvas: Canvas
    width: float
    """The width in pixels of the picture; on narrow Axes, the waits of root blockers are not in it."""
    scale: float
    """The size of the Axes, relative to the picture."""

    @classmethod
    def create(cls, canvas: Canvas, picture: WaitPicture) -> _Drawing:
        figure, place = canvas.ax.figure, canvas.ax.get_position()
        width = picture.width + (0.0 if canvas.is_narrow else picture.text_width)
        inches = canvas.width * (0.7 if canvas.is_narrow else 1.0)  # beside other Axes, their labels need some of it
        if figure.figure.get_layout_engine() is None:
            inches = float(place.width * figure.bbox.width / figure.dpi)
        high = place.height * figure.bbox.height / figure.dpi
        return cls(canvas, width, min(1.0, _PIXELS * inches / width, 1.2 * _PIXELS * high / picture.height))

    def draw_cycle(self, cycle: Mapping[str, Any]) -> None:
        """Draw the background of a cycle, with its label."""
        canvas, red = self.canvas, status_style("failed").colour
        canvas.ax.add_patch(
            FancyBboxPatch(
                (cycle["x"], cycle["y"]),
                cycle["width"],
                cycle["height"],
                boxstyle="round,pad=0,rounding_size=6",
                facecolor=canvas.tint(red, 0.1),
                edgecolor=red,
                linewidth=1.4,
                linestyle="-" if cycle["certain"] else "--",
                zorder=0,
            )
        )
        # Use the fonts of the style sheet: fonts for other scripts often have no bold face, and matplotlib logs that.
        bold = {"weight": "bold", "fontfamily": rcParams["font.family"]}
        self._write(cycle["x"] + 10, cycle["y"] + 12, cycle["label"], **bold)

    def draw_arrow(self, arrow: Mapping[str, Any]) -> None:
        """Draw the line of a wait and its tip."""
        colour = status_style("failed").colour if arrow["red"] else self._line_colour
        line = Path(arrow["points"], _LINE_CODES[len(arrow["points"])])
        options = {"edgecolor": colour, "linewidth": 1.8 if arrow["red"] else 1.0, "zorder": 1}
        self.canvas.ax.add_patch(PathPatch(line, fill=False, linestyle=_line_style(arrow["dashes"]), **options))
        self.canvas.ax.add_patch(Polygon(arrow["tip"], facecolor=colour, edgecolor="none", zorder=1))

    def draw_box(self, box: Mapping[str, Any]) -> None:
        """Draw an invocation with its waits if it is a root blocker, or the number of folded invocations."""
        ax, canvas = self.canvas.ax, self.canvas
        corner, width, height = (box["x"], box["y"]), box["width"], box["height"]
        middle = box["y"] + height / 2
        if box["folded"]:
            options: dict[str, Any] = {"facecolor": canvas.background, "edgecolor": self._line_colour, "linestyle": ":"}
            ax.add_patch(Rectangle(corner, width, height, zorder=2, **options))
            self._write(box["x"] + width / 2, middle, box["folded"], ha="center")
            return
        of = status_style(box["status"])
        background, edge = canvas.tint(of.colour, 0.18), canvas.edge_colour(of.colour)
        ax.add_patch(Rectangle(corner, width, height, facecolor=background, edgecolor=edge, linewidth=0.8, zorder=2))
        ax.add_patch(Rectangle(corner, 10, height, zorder=3, **canvas.patch_options(of)))
        times = f"{box['times']:,} × " if box["times"] > 1 else ""
        lines = (f"{times}{box['target']}", f"{shorten_id(box['id'])}  {box['status']}")
        self._write(box["x"] + 17, middle, "\n".join(self._fit(line, width - 22) for line in lines))
        if box["lines"] and not canvas.is_narrow:
            self._write(box["text_x"], middle, "\n".join(canvas.typeface.text(line, 60) for line in box["lines"]))

    @property
    def _line_colour(self) -> str:
        return mix_colours(self.canvas.background, self.canvas.ink, 0.6)

    @property
    def _font_size(self) -> float:
        return max(_LEAST, _LARGE * self.scale)

    def _fit(self, value: str, width: float) -> str:
        """Return a value as text, shortened to ``width`` pixels of the picture."""
        face, letters = self.canvas.typeface, 60
        text = face.text(value, letters)
        # Letters are aligned to whole pixels, which makes small text wider than measured.
        room = width * self.scale * 72 / _PIXELS * (0.84 if self._font_size < _SMALL else 0.96)
        while face.width(text, self._font_size) > room and letters > _FEWEST:
            letters -= 1
            text = face.text(value, letters)
        return text

    def _write(self, x: float, y: float, text: str, **more: Any) -> None:
        options = {"fontsize": self._font_size, "in_layout": False, "va": "center", "linespacing": 1.2, "zorder": 4}
        self.canvas.ax.text(x, y, text, **self.canvas.text_options | options | more)

    def legend_proxies(self, picture: WaitPicture) -> list[Artist]:
        """Return legend entries for the lines and the statuses in the graph."""
        lines: list[Artist] = [
            Line2D([], [], color=self._line_colour, linestyle=_line_style(dashes), label=f"waits: {kind}")
            for kind, dashes in picture.kinds
        ]
        statuses = sorted({box["status"] for box in picture.boxes if not box["folded"]})
        return lines + [self.canvas.proxy(status_style(status), status) for status in statuses]


def _line_style(dashes: str) -> Any:
    return (0, tuple(0.7 * float(each) for each in dashes.split())) if dashes else "-"
