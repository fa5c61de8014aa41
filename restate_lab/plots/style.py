"""Colours, hatches, backgrounds and fonts: every plot begins with a canvas and ends with a title."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

import pandas as pd
from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb, to_rgba
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.patches import Patch
from matplotlib.textpath import text_to_path
from matplotlib.transforms import ScaledTranslation

from restate_lab._text import escape_character, format_timestamp, is_invisible
from restate_lab.errors import ArgumentError
from restate_lab.interrupts import Shield
from restate_lab.plots.units import parse_timestamp
from restate_lab.status import STATUSES

__all__ = ["NEUTRAL", "PALETTE", "Canvas", "FillStyle", "Typeface", "canvas_on", "status_style", "typeface"]

# Tried in this order after the fonts of the style sheet; the last one comes with matplotlib.
_MORE = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans", "Hiragino Sans"),
    *("PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Arial Unicode MS", "Noto Emoji", "Segoe UI Symbol", "Symbola", "Unifont", "DejaVu Sans"),
)
_FROM_RIGHT = {"R", "AL", "AN"}
_MARK = "\N{LEFT-TO-RIGHT MARK}"
NOTHING = "–"
_LARGE, _SMALL, _LEAST = 11.0, 8.0, 6.0  # points: of titles, of other text, and of that on small Axes
_FULL = 8.0  # inches, of Axes on which names are not cut more than elsewhere
_NARROW = 5.0  # inches
_SHARE = 0.775  # of a figure's width that matplotlib gives to its only Axes, before the layout
_LINE = 125  # characters
_DARK_INK, _LIGHT_INK = "#1b1e23", "#f1f3f5"


@dataclass(frozen=True, slots=True)
class Typeface:
    """The fonts of one picture: ``families`` are their names, in the order in which a character is looked for."""

    families: tuple[str, ...]
    _fonts: tuple[Any, ...]

    @property
    def options(self) -> Mapping[str, Any]:
        """Return what a matplotlib Text needs to draw these fonts and take "$" for a dollar."""
        return {"fontfamily": list(self.families), "parse_math": False, "usetex": False}

    def text(self, value: object, width: int = 40) -> str:
        """Return a value in at most ``width`` characters, cut in the middle; a dash for what is missing.

        What is invisible or in no font is written as its code, which counts with its characters. Text that is written
        from the right keeps to its own place in a line.
        """
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return NOTHING
        text = str(value)
        if not text.strip(" "):
            return f'"{text[:width]}"'
        return self._isolate_direction(self._truncate(text, width))

    def width(self, text: str, size: float) -> float:
        """Return how wide a line is, in points."""
        return float(text_to_path.get_text_width_height_descent(text, self._properties(size), ismath=False)[0])

    def _truncate(self, text: str, width: int) -> str:
        whole = len(text) <= width
        # A megabyte is not looked at: only its ends can show.
        head = [self._escape(each) for each in text[: width + 1]]
        if whole and sum(map(len, head)) <= width:
            return "".join(head)
        tail = [self._escape(each) for each in text[-width:]]
        front, back = _take_within(head, (width - 1) // 2), _take_within(tail[::-1], width // 2)[::-1]
        return "".join([*front, "…", *back])

    def _isolate_direction(self, text: str) -> str:
        """Put marks around what is written from the right, or its neighbours in the line would change places."""
        if self._has_glyph(_MARK) and any(unicodedata.bidirectional(each) in _FROM_RIGHT for each in text):
            return f"{_MARK}{text}{_MARK}"
        return text

    def _properties(self, size: float) -> FontProperties:
        return FontProperties(family=list(self.families), size=size)

    def _escape(self, character: str) -> str:
        if character.isascii() and character.isprintable():
            return character
        return escape_character(character) if is_invisible(character) or not self._has_glyph(character) else character

    def _has_glyph(self, character: str) -> bool:
        return any(font.get_char_index(ord(character)) for font in self._fonts)


@dataclass(frozen=True, slots=True)
class FillStyle:
    """The colour of an area or a line, and the hatch that distinguishes it in grey."""

    colour: str
    hatch: str = ""


NEUTRAL = FillStyle("#5b8db8")
"""What has no status: sizes, durations."""
REST = FillStyle("#9aa0a8", "..")
"""Others, taken together."""
PALETTE = (
    *(FillStyle("#0072b2"), FillStyle("#e69f00"), FillStyle("#009e73"), FillStyle("#cc79a7")),
    *(FillStyle("#56b4e9"), FillStyle("#8c7a3d"), FillStyle("#7a5195")),
)
"""For lines that are told apart by name: Okabe and Ito's colours without the red, which means failed."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The Axes of one plot, with the inks that can be read on its ground, and its fonts."""

    ax: Axes
    typeface: Typeface
    background: str
    ink: str
    margin_ink: str

    @property
    def width(self) -> float:
        """Return how wide the Axes are in inches, with their margins, before the layout is made."""
        figure = self.ax.figure
        return float(self.ax.get_position().width * figure.bbox.width / figure.dpi / _SHARE)

    def text(self, value: object, width: int) -> str:
        """Return a value in at most so many characters, fewer on small Axes; ``Typeface.text`` says how."""
        return self.typeface.text(value, max(8, int(width * self._text_share)))

    @property
    def font_size(self) -> float:
        """Return the size of all text but the title."""
        return max(_LEAST, _SMALL * min(1.0, self.width / _FULL))

    @property
    def is_narrow(self) -> bool:
        """Tell whether there is little room beside and below the Axes."""
        return self.width < _NARROW

    @property
    def _text_share(self) -> float:
        """Return how many letters have room, as a share of what has on full Axes."""
        return min(1.0, self.width / _FULL * _SMALL / self.font_size)

    @property
    def text_options(self) -> dict[str, Any]:
        """Return what all text inside of the Axes has."""
        return {"color": self.ink, "fontsize": self.font_size, **self.typeface.options}

    @property
    def margin_options(self) -> dict[str, Any]:
        """Return what all text beside of the Axes has."""
        return {**self.text_options, "color": self.margin_ink}

    def edge_colour(self, colour: str) -> str:
        """Return the colour of the edge and the hatch of something: itself, nearer to the ink."""
        return mix_colours(colour, self.ink, 0.4)

    def tint(self, colour: str, share: float = 0.25) -> str:
        """Return a colour paled towards the ground; ``share`` is what is left of it."""
        return mix_colours(self.background, colour, share)

    def patch_options(self, of: FillStyle) -> dict[str, Any]:
        """Return the options of an area with this style."""
        return {"facecolor": of.colour, "edgecolor": self.edge_colour(of.colour), "hatch": of.hatch, "linewidth": 0.6}

    def proxy(self, of: FillStyle, label: str) -> Patch:
        """Return what stands for an area in the legend."""
        return Patch(label=label, **self.patch_options(of))

    def add_legend(self, handles: Sequence[Artist], *, below: float = 0.0, left: float = 0.0, columns: int = 6) -> None:
        """Put a legend below the Axes, ``below`` points further down for what is there, from ``left`` points before."""
        if not handles:
            return
        apart = 18 + below
        begin = ScaledTranslation(-(left + apart) / 72, 0, self.ax.figure.dpi_scale_trans)
        widths = [self.typeface.width(str(each.get_label()), self.font_size) + 4 * self.font_size for each in handles]
        legend = self.ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0, 0),
            bbox_transform=self.ax.transAxes + begin,
            borderaxespad=apart / self.font_size,
            borderpad=0,
            ncols=_legend_columns(widths, self.width * 0.95 * 72, most=columns),
            frameon=False,
            fontsize=self.font_size,
            labelcolor=self.margin_ink,
            handlelength=1.6,
            columnspacing=1.4,
        )
        for text in legend.get_texts():
            text.set(**self.typeface.options)

    def set_title(
        self,
        text: str,
        attrs: Mapping[Any, Any],
        tz: tzinfo,
        notes: Iterable[str] = (),
        *,
        of: Iterable[str] = (),
        left: float = 0.0,
    ) -> None:
        """Write what this is, and below it of which source and moment, and what is not in it.

        ``of`` says what it is more exactly. It begins ``left`` points before the Axes, where the names of their rows
        begin.
        """
        lines = _join_into_lines(
            int(_LINE * self._text_share),
            [*of, *_source_notes(self.typeface, attrs, tz), *notes, *_truncation_notes(attrs)],
        )
        options = self.margin_options | {"fontsize": self.font_size / _SMALL * _LARGE}
        # Without a y matplotlib measures all labels of the Axes at each draw, to see whether they push the title up.
        title = self.ax.set_title(text, loc="left", y=1.0, pad=10 + 11 * len(lines), **options)
        title.set_transform(title.get_transform() + ScaledTranslation(-left / 72, 0, self.ax.figure.dpi_scale_trans))
        for number, line in enumerate(reversed(lines)):
            place = (-left, 8 + 11 * number)
            self.ax.annotate(line, (0, 1), place, "axes fraction", "offset points", **self._muted_options())

    def write_beside(self, text: str, row: float, *, up: float = 0.0) -> None:
        """Write something at the right of the Axes, beside a row, or ``up`` points above it."""
        coordinates = ("axes fraction", "data")
        options = {**self.margin_options, "va": "bottom" if up else "center"}
        self.ax.annotate(text, (1, row), (10, up), coordinates, "offset points", **options)

    def show_empty(self, text: str) -> Axes:
        """Say in words that there is nothing to draw, instead of an empty box."""
        self.ax.set_axis_off()
        self.ax.text(0.5, 0.5, text, transform=self.ax.transAxes, ha="center", va="center", **self._muted_options())
        return self.ax

    def _muted_options(self) -> dict[str, Any]:
        return {**self.margin_options, "color": mix_colours(self.margin_ink, self.background, 0.25)}


_UNKNOWN = FillStyle("#b0a8c0", "**")


def typeface() -> Typeface:
    """Return the fonts of the style sheet in force, and of what is installed those that know more scripts."""
    installed = {font.name for font in fontManager.ttflist}
    families = tuple(dict.fromkeys([*FontProperties().get_family(), *(name for name in _MORE if name in installed)]))
    return Typeface(families, tuple(get_font(findfont(FontProperties(family=[name]))) for name in families))


def status_style(status: str) -> FillStyle:
    """Return how a status is drawn; one of a newer server has a style of its own, too."""
    return FillStyle(STATUSES[status].colour, _HATCHES[status]) if status in STATUSES else _UNKNOWN


def canvas_on(ax: Axes | None, *, width: float = 9.0, height: float = 4.0) -> Canvas:
    """Return where to draw: ``ax``, or new Axes of that size in inches, which a notebook shows by itself.

    Raises:
        ArgumentError: ``ax`` is no Axes.
    """
    if ax is None:
        # Late, and only here: pyplot keeps figures and chooses a backend, which panels must not touch.
        with Shield():
            from matplotlib import pyplot as plt  # noqa: PLC0415

            figure, ax = plt.subplots(figsize=(width, height), layout="constrained")  # the first one loads the backend
        # An own ground, whatever page it comes to stand on.
        figure.set_facecolor(_background(figure))
    elif not isinstance(ax, Axes):
        raise ArgumentError(f"ax is {type(ax).__name__!r}: give one matplotlib Axes, as of plt.subplots()[1].")
    around = _background(ax.figure)
    inside = _composite(ax.get_facecolor(), around)
    canvas = Canvas(ax, typeface(), background=inside, ink=ink_on(inside), margin_ink=ink_on(around))
    _remove_decoration(canvas)
    return canvas


def mix_colours(colour: str, other: str, share: float) -> str:
    """Return a colour with that share of another one in it."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def is_light(colour: str) -> bool:
    """Tell whether dark text is the one to read on this colour."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179


def ink_on(colour: str) -> str:
    """Return the colour of text that is read best on this colour."""
    return _DARK_INK if is_light(colour) else _LIGHT_INK


def _take_within(pieces: list[str], width: int) -> list[str]:
    """Return as many of the first pieces as are that wide together."""
    taken = 0
    for number, piece in enumerate(pieces):
        taken += len(piece)
        if taken > width:
            return pieces[:number]
    return pieces


_HATCHES = {
    "scheduled": "..",
    "pending": "///",
    "ready": "\\",
    "backing-off": "xxx",
    "yielded": "oo",
    "running": "/",
    "suspended": "---",
    "paused": "|||",
    "succeeded": "",
    "failed": "\\\\\\",
    "cancelled": "--",
    "killed": "+++",
}


def _background(figure: Any) -> str:
    """Return the colour that is behind a figure; of a transparent one, what the style sheet's text is meant for."""
    behind = "#111111" if is_light(to_hex(rcParams["text.color"])) else "#ffffff"
    # of a subfigure the figure, too
    for each in (figure.figure, figure):
        behind = _composite(each.get_facecolor(), behind)
    return behind


def _composite(colour: Any, below: str) -> str:
    red, green, blue, alpha = to_rgba(colour)
    return mix_colours(below, to_hex((red, green, blue)), alpha)


def _legend_columns(widths: Sequence[float], room: float, *, most: int) -> int:
    """Return how many columns of a legend fit into a width, where its entries are that wide; all in points."""
    for columns in range(min(most, len(widths)), 1, -1):
        rows = -(-len(widths) // columns)
        if sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows)) <= room:
            return columns
    return 1


def _remove_decoration(canvas: Canvas) -> None:
    ax = canvas.ax
    ax.spines[["top", "right"]].set_visible(False)
    for spine in ax.spines.values():
        spine.set_color(mix_colours(canvas.margin_ink, canvas.background, 0.4))
    ax.tick_params(colors=canvas.margin_ink, labelsize=canvas.font_size)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(**canvas.margin_options)
        axis.get_offset_text().set(color=canvas.margin_ink, fontsize=canvas.font_size)
    ax.set_axisbelow(True)


def _source_notes(face: Typeface, attrs: Mapping[Any, Any], tz: tzinfo) -> list[str]:
    notes = [face.text(attrs["source"], 48)] if attrs.get("source") else []
    notes += [f"restate {face.text(attrs['version'], 20)}"] if attrs.get("version") else []
    when = parse_timestamp(attrs.get("now") or attrs.get("read_at"))
    return [*notes, format_timestamp(when, zone=tz)] if when else notes


def _join_into_lines(width: int, parts: Iterable[str]) -> list[str]:
    """Return the parts in lines of so many characters, about."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f"  ·  {part}"
        else:
            lines.append(part)
    return lines


def _truncation_notes(attrs: Mapping[Any, Any]) -> list[str]:
    truncated = attrs.get("truncated")
    if not isinstance(truncated, Mapping):
        return []
    return (
        [f"only the first {truncated['limit']:,} rows"]
        if isinstance(truncated.get("limit"), int)
        else ["not everything"]
    )
