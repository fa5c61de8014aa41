"""A result as blocks, which every surface draws: ``text`` for print(), pipes and terminals, ``html`` for pages.

Text is text: no block has markup, a width, a color, or a word that only one surface understands. What a reader can do
is a ``Step``. A tone says what a word is: "strong", "quiet", "code", a status, or a severity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from restate_lab.calls import Step


@dataclass(frozen=True, slots=True)
class Word:
    """A part of a line with a tone."""

    text: str
    tone: str = "strong"


Line: TypeAlias = str | Word | tuple[str | Word, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    line: Line


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels with their values."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One of a list: its title after a mark, lines below it, how long it exists since when, and what a reader can do.

    A page folds the further steps, the labels and values ``about`` it, and its ids below the text ``more``. ``count``
    is the number of all ids. ``anchor`` is its name in a page, and ``row`` its position in the frame of the result, for
    links.
    """

    title: Line
    mark: Word | None = None
    lines: tuple[Line, ...] = ()
    age: str = ""
    since: str = ""
    steps: tuple[Step, ...] = ()
    more: str = ""
    about: tuple[tuple[str, str], ...] = ()
    ids: Sequence[str] = ()
    count: int = 0
    anchor: str = ""
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """A list; a surface takes the items that it shows as a slice. A page folds those after the first ``shown``.

    ``more`` describes the folded ones. With ``is_brief``, a text has only the title and the first line of each.
    """

    items: Sequence[Item]
    heading: str = ""
    shown: int = 8
    more: str = ""
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A template with the values that ``draw`` returns, None without a picture.

    A text has its ``lines`` instead, for a width and a number of rows that the surface has; without them it has none.
    """

    template: str
    draw: Callable[[], Mapping[str, Any] | None]
    lines: Callable[[int, int], Sequence[str]] = lambda _, __: ()


@dataclass(frozen=True, slots=True)
class BarRow:
    """A row with a bar on a time axis: the positions are from 0 to 1, None without a known time.

    ``outcome`` is a key of ``status.OUTCOMES``, ``about`` the times as text. ``marks`` are the positions of failed
    attempts, ``later`` is that of the next event. A page folds a row below the one with the key ``parent``.
    """

    key: str
    outcome: str
    number: str
    kind: str
    name: str
    value: str = ""
    note: str = ""
    duration: str = ""
    about: str = ""
    left: float | None = None
    right: float | None = None
    marks: tuple[float, ...] = ()
    later: float | None = None
    depth: int = 1
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Rows with bars on one axis, with positions and labels as ``ticks``; ``total`` is the number of all rows.

    ``now`` is the position of the present, None if all rows have ended.
    """

    rows: Sequence[BarRow]
    ticks: Sequence[tuple[float, str]]
    now: float | None = None
    total: int = 0


@dataclass(frozen=True, slots=True)
class Calls:
    """What a reader can do, outside of a list."""

    step: Step


@dataclass(frozen=True, slots=True)
class Gaps:
    """Reasons why something is missing."""

    reasons: Sequence[str]
    label: str = "Not read"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks below a heading, which a page folds; a text omits the blocks that are an ``aside``."""

    heading: str
    blocks: tuple[Block, ...]
    is_aside: bool = False
    is_open: bool = False


Block: TypeAlias = Text | Facts | Items | Picture | Bars | Calls | Gaps | Fold


@dataclass(frozen=True, slots=True)
class Document:
    """A result: its title in a tone, its source or id, its blocks, and lines about how it was read.

    ``page`` is the address of the page with the result; "" without one.
    """

    title: Line
    place: str
    blocks: tuple[Block, ...]
    tone: str = "quiet"
    foot: tuple[str, ...] = ()
    page: str = ""
