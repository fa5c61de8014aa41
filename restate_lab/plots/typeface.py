"""Text from a cluster as text in a picture: no mathematics, nothing invisible, nothing that no font can draw."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from restate_lab._text import escape_character, is_invisible

__all__ = ["Typeface", "typeface"]

# Tried in this order after the fonts of the style sheet; the last one comes with matplotlib.
_MORE = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans", "Hiragino Sans"),
    *("PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Arial Unicode MS", "Noto Emoji", "Segoe UI Symbol", "Symbola", "Unifont", "DejaVu Sans"),
)
_FROM_RIGHT = {"R", "AL", "AN"}
_MARK = "\N{LEFT-TO-RIGHT MARK}"
NOTHING = "–"


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
