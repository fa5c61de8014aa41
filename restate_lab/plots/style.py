"""The one place for colours, hatches and grounds: every plot begins with a canvas and ends with a title."""

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
from restate_lab.plots.units import moment
from restate_lab.status import STATUSES

__all__ = ["NEUTRAL", "PALETTE", "Canvas", "Look", "Typeface", "canvas", "look", "typeface"]

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
        return self._apart(self._cut(text, width))

    def width(self, text: str, size: float) -> float:
        """Return how wide a line is, in points."""
        return float(text_to_path.get_text_width_height_descent(text, self._properties(size), ismath=False)[0])

    def _cut(self, text: str, width: int) -> str:
        whole = len(text) <= width
        # A megabyte is not looked at: only its ends can show.
        head = [self._shown(each) for each in text[: width + 1]]
        if whole and sum(map(len, head)) <= width:
            return "".join(head)
        tail = [self._shown(each) for each in text[-width:]]
        front, back = _fitting(head, (width - 1) // 2), _fitting(tail[::-1], width // 2)[::-1]
        return "".join([*front, "…", *back])

    def _apart(self, text: str) -> str:
        """Put marks around what is written from the right, or its neighbours in the line would change places."""
        if self._has(_MARK) and any(unicodedata.bidirectional(each) in _FROM_RIGHT for each in text):
            return f"{_MARK}{text}{_MARK}"
        return text

    def _properties(self, size: float) -> FontProperties:
        return FontProperties(family=list(self.families), size=size)

    def _shown(self, character: str) -> str:
        if character.isascii() and character.isprintable():
            return character
        return escape_character(character) if is_invisible(character) or not self._has(character) else character

    def _has(self, character: str) -> bool:
        return any(font.get_char_index(ord(character)) for font in self._fonts)


def typeface() -> Typeface:
    """Return the fonts of the style sheet in force, and of what is installed those that know more scripts."""
    installed = {font.name for font in fontManager.ttflist}
    families = tuple(dict.fromkeys([*FontProperties().get_family(), *(name for name in _MORE if name in installed)]))
    return Typeface(families, tuple(get_font(findfont(FontProperties(family=[name]))) for name in families))


def _fitting(pieces: list[str], width: int) -> list[str]:
    """Return as many of the first pieces as are that wide together."""
    taken = 0
    for number, piece in enumerate(pieces):
        taken += len(piece)
        if taken > width:
            return pieces[:number]
    return pieces


@dataclass(frozen=True, slots=True)
class Look:
    """How one thing is drawn everywhere: its colour, and a hatch that tells it from others in grey."""

    colour: str
    hatch: str = ""


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
_UNKNOWN = Look("#b0a8c0", "**")
NEUTRAL = Look("#5b8db8")
"""What has no status: sizes, durations."""
REST = Look("#9aa0a8", "..")
"""Others, taken together."""
PALETTE = (
    *(Look("#0072b2"), Look("#e69f00"), Look("#009e73"), Look("#cc79a7"), Look("#56b4e9"), Look("#8c7a3d")),
    Look("#7a5195"),
)
"""For lines that are told apart by name: Okabe and Ito's colours without the red, which means failed."""


def look(status: str) -> Look:
    """Return how a status is drawn; one of a newer server has a look of its own, too."""
    return Look(STATUSES[status].colour, _HATCHES[status]) if status in STATUSES else _UNKNOWN


@dataclass(frozen=True, slots=True)
class Canvas:
    """The Axes of one plot, with the inks that can be read on its ground, and its fonts."""

    ax: Axes
    face: Typeface
    ground: str
    ink: str
    outside: str

    @property
    def width(self) -> float:
        """Return how wide the Axes are in inches, with their margins, before the layout is made."""
        figure = self.ax.figure
        return float(self.ax.get_position().width * figure.bbox.width / figure.dpi / _SHARE)

    def text(self, value: object, width: int) -> str:
        """Return a value in at most so many characters, fewer on small Axes; ``Typeface.text`` says how."""
        return self.face.text(value, max(8, int(width * self._share)))

    @property
    def points(self) -> float:
        """Return the size of all text but the title."""
        return max(_LEAST, _SMALL * min(1.0, self.width / _FULL))

    @property
    def is_narrow(self) -> bool:
        """Tell whether there is little room beside and below the Axes."""
        return self.width < _NARROW

    @property
    def _share(self) -> float:
        """Return how many letters have room, as a share of what has on full Axes."""
        return min(1.0, self.width / _FULL * _SMALL / self.points)

    @property
    def text_options(self) -> dict[str, Any]:
        """Return what all text inside of the Axes has."""
        return {"color": self.ink, "fontsize": self.points, **self.face.options}

    @property
    def margin_options(self) -> dict[str, Any]:
        """Return what all text beside of the Axes has."""
        return {**self.text_options, "color": self.outside}

    def edge(self, colour: str) -> str:
        """Return the colour of the edge and the hatch of something: itself, nearer to the ink."""
        return mixed(colour, self.ink, 0.4)

    def tint(self, colour: str, share: float = 0.25) -> str:
        """Return a colour paled towards the ground; ``share`` is what is left of it."""
        return mixed(self.ground, colour, share)

    def patch_options(self, of: Look) -> dict[str, Any]:
        """Return what an area with this look has."""
        return {"facecolor": of.colour, "edgecolor": self.edge(of.colour), "hatch": of.hatch, "linewidth": 0.6}

    def proxy(self, of: Look, label: str) -> Patch:
        """Return what stands for an area in the legend."""
        return Patch(label=label, **self.patch_options(of))

    def legend(self, handles: Sequence[Artist], *, below: float = 0.0, left: float = 0.0, columns: int = 6) -> None:
        """Put a legend below the Axes, ``below`` points further down for what is there, from ``left`` points before."""
        if not handles:
            return
        apart = 18 + below
        begin = ScaledTranslation(-(left + apart) / 72, 0, self.ax.figure.dpi_scale_trans)
        widths = [self.face.width(str(each.get_label()), self.points) + 4 * self.points for each in handles]
        made = self.ax.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0, 0),
            bbox_transform=self.ax.transAxes + begin,
            borderaxespad=apart / self.points,
            borderpad=0,
            ncols=_columns(widths, self.width * 0.95 * 72, most=columns),
            frameon=False,
            fontsize=self.points,
            labelcolor=self.outside,
            handlelength=1.6,
            columnspacing=1.4,
        )
        for text in made.get_texts():
            text.set(**self.face.options)

    def title(
        self,
        words: str,
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
        lines = _lines(int(_LINE * self._share), [*of, *_origin(self.face, attrs, tz), *notes, *_cut(attrs)])
        options = self.margin_options | {"fontsize": self.points / _SMALL * _LARGE}
        title = self.ax.set_title(words, loc="left", pad=10 + 11 * len(lines), **options)
        title.set_transform(title.get_transform() + ScaledTranslation(-left / 72, 0, self.ax.figure.dpi_scale_trans))
        for number, line in enumerate(reversed(lines)):
            place = (-left, 8 + 11 * number)
            self.ax.annotate(line, (0, 1), place, "axes fraction", "offset points", **self._quiet())

    def beside(self, words: str, row: float, *, up: float = 0.0) -> None:
        """Write something at the right of the Axes, beside a row, or ``up`` points above it."""
        coordinates = ("axes fraction", "data")
        options = {**self.margin_options, "va": "bottom" if up else "center"}
        self.ax.annotate(words, (1, row), (10, up), coordinates, "offset points", **options)

    def nothing(self, words: str) -> Axes:
        """Say in words that there is nothing to draw, instead of an empty box."""
        self.ax.set_axis_off()
        self.ax.text(0.5, 0.5, words, transform=self.ax.transAxes, ha="center", va="center", **self._quiet())
        return self.ax

    def _quiet(self) -> dict[str, Any]:
        return {**self.margin_options, "color": mixed(self.outside, self.ground, 0.25)}


def canvas(ax: Axes | None, *, width: float = 9.0, height: float = 4.0) -> Canvas:
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
        figure.set_facecolor(_ground(figure))
    elif not isinstance(ax, Axes):
        raise ArgumentError(f"ax is {type(ax).__name__!r}: give one matplotlib Axes, as of plt.subplots()[1].")
    around = _ground(ax.figure)
    inside = _over(ax.get_facecolor(), around)
    made = Canvas(ax, typeface(), ground=inside, ink=_ink(inside), outside=_ink(around))
    _plain(made)
    return made


def mixed(colour: str, other: str, share: float) -> str:
    """Return a colour with that share of another one in it."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def is_light(colour: str) -> bool:
    """Tell whether dark text is the one to read on this colour."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179


def contrasting(colour: str) -> str:
    """Return the ink that is read best on a colour."""
    return _ink(colour)


def _ink(ground: str) -> str:
    return _DARK_INK if is_light(ground) else _LIGHT_INK


def _ground(figure: Any) -> str:
    """Return the colour that is behind a figure; of a transparent one, what the style sheet's text is meant for."""
    behind = "#111111" if is_light(to_hex(rcParams["text.color"])) else "#ffffff"
    # of a subfigure the figure, too
    for each in (figure.figure, figure):
        behind = _over(each.get_facecolor(), behind)
    return behind


def _over(colour: Any, below: str) -> str:
    red, green, blue, alpha = to_rgba(colour)
    return mixed(below, to_hex((red, green, blue)), alpha)


def _columns(widths: Sequence[float], room: float, *, most: int) -> int:
    """Return how many columns of a legend fit into a width, where its entries are that wide; all in points."""
    for columns in range(min(most, len(widths)), 1, -1):
        rows = -(-len(widths) // columns)
        if sum(max(widths[first : first + rows]) for first in range(0, len(widths), rows)) <= room:
            return columns
    return 1


def _plain(made: Canvas) -> None:
    ax = made.ax
    ax.spines[["top", "right"]].set_visible(False)
    for spine in ax.spines.values():
        spine.set_color(mixed(made.outside, made.ground, 0.4))
    ax.tick_params(colors=made.outside, labelsize=made.points)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(**made.margin_options)
        axis.get_offset_text().set(color=made.outside, fontsize=made.points)
    ax.set_axisbelow(True)


def _origin(face: Typeface, attrs: Mapping[Any, Any], tz: tzinfo) -> list[str]:
    said = [face.text(attrs["source"], 48)] if attrs.get("source") else []
    said += [f"restate {face.text(attrs['version'], 20)}"] if attrs.get("version") else []
    when = moment(attrs.get("now") or attrs.get("read_at"))
    return [*said, format_timestamp(when, zone=tz)] if when else said


def _lines(width: int, parts: Iterable[str]) -> list[str]:
    """Return the parts in lines of so many characters, about."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < width:
            lines[-1] += f"  ·  {part}"
        else:
            lines.append(part)
    return lines


def _cut(attrs: Mapping[Any, Any]) -> list[str]:
    cut = attrs.get("truncated")
    if not isinstance(cut, Mapping):
        return []
    return [f"only the first {cut['limit']:,} rows"] if isinstance(cut.get("limit"), int) else ["not everything"]
