"""Backgrounds, fonts and legends: every plot begins with a canvas and ends with a title."""

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
from restate_lab.plots.colours import DARK_INK, LARGEST_TINT, LIGHT_INK, FillStyle, ink_on, is_light, mix_colours
from restate_lab.plots.theme import NotebookFigure
from restate_lab.plots.units import parse_timestamp
from restate_lab.tokens import DARK, LIGHT, POINTS

# Fonts to try after those of the style sheet, in this order; the last one is part of matplotlib.
_MORE = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans", "Hiragino Sans"),
    *("PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Arial Unicode MS", "Noto Emoji", "Segoe UI Symbol", "Symbola", "Unifont", "DejaVu Sans"),
)
_FROM_RIGHT = {"R", "AL", "AN"}
_MARK = "\N{LEFT-TO-RIGHT MARK}"
NOTHING = "–"
_LARGE, _SMALL, _LEAST = POINTS
_FULL = 8.0  # inches; on narrower Axes, text is shortened more
_NARROW = 5.0  # inches
_SHARE = 0.775  # matplotlib's default width of the only Axes, as a share of the figure
_LINE = 125  # characters in a line below the title


@dataclass(frozen=True, slots=True)
class Typeface:
    """The fonts of one picture; ``families`` are their names, in the order of the search for a character."""

    families: tuple[str, ...]
    _fonts: tuple[Any, ...]

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the options of a matplotlib Text that uses these fonts and does not parse "$" as math."""
        return {"fontfamily": list(self.families), "parse_math": False, "usetex": False}

    def text(self, value: object, width: int = 40) -> str:
        """Return a value as text of at most ``width`` characters, shortened in the middle; a missing value is a dash.

        Invisible characters and characters without a glyph are written as escapes, whose characters count. Text
        written from right to left is isolated, so that it does not reorder the text around it.
        """
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return NOTHING
        text = str(value)
        if not text.strip(" "):
            return f'"{text[:width]}"'
        shown = self._truncate(text, width)
        is_reversed = any(unicodedata.bidirectional(each) in _FROM_RIGHT for each in shown)
        return f"{_MARK}{shown}{_MARK}" if is_reversed and self._has_glyph(_MARK) else shown

    def width(self, text: str, size: float) -> float:
        """Return the width of a line, in points."""
        font = FontProperties(family=list(self.families), size=size)
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])

    def _truncate(self, text: str, width: int) -> str:
        whole = len(text) <= width
        # Escape only both ends: the value can be very long.
        head = [self._escape(each) for each in text[: width + 1]]
        if whole and sum(map(len, head)) <= width:
            return "".join(head)
        tail = [self._escape(each) for each in text[-width:]]
        front, back = _take_within(head, (width - 1) // 2), _take_within(tail[::-1], width // 2)[::-1]
        return "".join([*front, "…", *back])

    def _escape(self, character: str) -> str:
        if character.isascii() and character.isprintable():
            return character
        return escape_character(character) if is_invisible(character) or not self._has_glyph(character) else character

    def _has_glyph(self, character: str) -> bool:
        return any(font.get_char_index(ord(character)) for font in self._fonts)


@dataclass(frozen=True, slots=True)
class Canvas:
    """The Axes of one plot with its fonts, and text colors that are readable on its background."""

    ax: Axes
    typeface: Typeface
    background: str
    ink: str
    margin_ink: str

    @property
    def width(self) -> float:
        """Return the width of the Axes in inches, with margins, before the layout is computed."""
        figure = self.ax.figure
        return float(self.ax.get_position().width * figure.bbox.width / figure.dpi / _SHARE)

    def text(self, value: object, width: int) -> str:
        """Return a value as text of at most ``width`` characters, fewer on small Axes; see ``Typeface.text``."""
        return self.typeface.text(value, max(8, int(width * self._text_share)))

    @property
    def font_size(self) -> float:
        """Return the size of all text except the title, in points."""
        return max(_LEAST, _SMALL * min(1.0, self.width / _FULL))

    @property
    def is_narrow(self) -> bool:
        """Return whether there is little room next to the Axes and below them."""
        return self.width < _NARROW

    @property
    def _text_share(self) -> float:
        """Return the number of letters that fit, as a share of those on full-size Axes."""
        return min(1.0, self.width / _FULL * _SMALL / self.font_size)

    @property
    def text_options(self) -> dict[str, Any]:
        """Return the options of all text inside the Axes."""
        return {"color": self.ink, "fontsize": self.font_size, **self.typeface.options}

    @property
    def margin_options(self) -> dict[str, Any]:
        """Return the options of all text outside the Axes."""
        return {**self.text_options, "color": self.margin_ink}

    def edge_colour(self, colour: str) -> str:
        """Return the color of edges and hatches: the given color, mixed with the text color."""
        return mix_colours(colour, self.ink, 0.4)

    def tint(self, colour: str, share: float = 0.25) -> str:
        """Return a lighter color, mixed with the background; ``share`` is the share of the original color."""
        return mix_colours(self.background, colour, share)

    def label_ink(self, colour: str) -> str:
        """Return the color of text on an area: that of the text around it if the area is only tinted."""
        return self.ink if min(to_rgb(colour)) >= 1 - LARGEST_TINT else ink_on(colour)

    def patch_options(self, of: FillStyle) -> dict[str, Any]:
        """Return the options of an area with this style."""
        return {"facecolor": of.colour, "edgecolor": self.edge_colour(of.colour), "hatch": of.hatch, "linewidth": 0.6}

    def proxy(self, of: FillStyle, label: str) -> Patch:
        """Return the legend entry of an area."""
        return Patch(label=label, **self.patch_options(of))

    def add_legend(self, handles: Sequence[Artist], *, below: float = 0.0, left: float = 0.0, columns: int = 6) -> None:
        """Add a legend below the Axes, moved down by ``below`` points and to the left by ``left`` points."""
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
        """Write the title, then lines with details (``of``), the source and its time, the notes, and missing rows.

        The text begins ``left`` points left of the Axes, where the names of the rows begin.
        """
        lines = _join_into_lines(
            int(_LINE * self._text_share),
            [*of, *_source_notes(self.typeface, attrs, tz), *notes, *_truncation_notes(attrs)],
        )
        options = self.margin_options | {"fontsize": self.font_size / _SMALL * _LARGE}
        # Without y, matplotlib measures all labels at each draw to compute the position of the title.
        title = self.ax.set_title(text, loc="left", y=1.0, pad=10 + 11 * len(lines), **options)
        title.set_transform(title.get_transform() + ScaledTranslation(-left / 72, 0, self.ax.figure.dpi_scale_trans))
        for number, line in enumerate(reversed(lines)):
            place = (-left, 8 + 11 * number)
            self.ax.annotate(line, (0, 1), place, "axes fraction", "offset points", **self._muted_options())

    def write_beside(self, text: str, row: float, *, up: float = 0.0) -> None:
        """Write a text to the right of the Axes, next to a row, or ``up`` points above the row."""
        coordinates = ("axes fraction", "data")
        options = {**self.margin_options, "va": "bottom" if up else "center"}
        self.ax.annotate(text, (1, row), (10, up), coordinates, "offset points", **options)

    def show_empty(self, text: str) -> Axes:
        """Show a text instead of empty Axes."""
        self.ax.set_axis_off()
        self.ax.text(0.5, 0.5, text, transform=self.ax.transAxes, ha="center", va="center", **self._muted_options())
        return self.ax

    def _muted_options(self) -> dict[str, Any]:
        return {**self.margin_options, "color": mix_colours(self.margin_ink, self.background, 0.25)}


def typeface() -> Typeface:
    """Return the fonts of the current style sheet, and installed fonts that cover more scripts."""
    installed = {font.name for font in fontManager.ttflist}
    families = tuple(dict.fromkeys([*FontProperties().get_family(), *(name for name in _MORE if name in installed)]))
    return Typeface(families, tuple(get_font(findfont(FontProperties(family=[name]))) for name in families))


def canvas_on(ax: Axes | None, *, width: float = 9.0, height: float = 4.0) -> Canvas:
    """Return a canvas on ``ax``, or on new Axes of this size in inches, which a notebook shows automatically.

    Raises:
        ArgumentError: ``ax`` is not Axes.
    """
    if ax is None:
        # Imported late and only here: pyplot keeps figures and chooses a backend, and panels must not cause that.
        from matplotlib import pyplot as plt  # noqa: PLC0415

        # A style sheet that the user has chosen is not replaced by the colors of the notebook.
        is_plain = to_hex(rcParams["figure.facecolor"]) == to_hex(rcParams["axes.facecolor"]) == LIGHT["paper"]
        options: dict[str, Any] = {"FigureClass": NotebookFigure} if is_plain else {}
        figure, ax = plt.subplots(figsize=(width, height), layout="constrained", **options)
        # An opaque background, so the figure is readable on every page.
        figure.set_facecolor(_background(figure))
    elif not isinstance(ax, Axes):
        raise ArgumentError(
            f"ax must be matplotlib Axes, not {type(ax).__name__!r}; use for example plt.subplots()[1]."
        )
    around = _background(ax.figure)
    inside = _composite(ax.get_facecolor(), around)
    inks = (DARK_INK if is_light(colour) else LIGHT_INK for colour in (inside, around))
    canvas = Canvas(ax, typeface(), inside, *inks)
    _remove_decoration(canvas)
    return canvas


def _take_within(pieces: list[str], width: int) -> list[str]:
    """Return the first pieces whose total length is at most ``width``."""
    taken = 0
    for number, piece in enumerate(pieces):
        taken += len(piece)
        if taken > width:
            return pieces[:number]
    return pieces


def _background(figure: Any) -> str:
    """Return the background color of a figure; behind a transparent one, the color that fits the style sheet's text."""
    behind = DARK["ground"] if is_light(to_hex(rcParams["text.color"])) else LIGHT["paper"]
    # for a subfigure, first the figure that contains it
    for each in (figure.figure, figure):
        behind = _composite(each.get_facecolor(), behind)
    return behind


def _composite(colour: Any, below: str) -> str:
    red, green, blue, alpha = to_rgba(colour)
    return mix_colours(below, to_hex((red, green, blue)), alpha)


def _legend_columns(widths: Sequence[float], room: float, *, most: int) -> int:
    """Return how many legend columns fit into ``room``, for entries of these widths; all values are in points."""
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
    when = parse_timestamp(attrs.get("read_at"))
    return [*notes, format_timestamp(when, zone=tz)] if when else notes


def _join_into_lines(width: int, parts: Iterable[str]) -> list[str]:
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
        [f"only the first {truncated['limit']:,} rows"] if isinstance(truncated.get("limit"), int) else ["incomplete"]
    )
