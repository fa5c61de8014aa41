"""A result as blocks, which every surface draws: ``text`` for print(), pipes and terminals, ``html`` for pages.

Text is text: no block has markup, a width, a color, or a word that only one surface understands. What a reader can do
is a ``Step``. A tone says what a word is: "strong", "quiet", "code", "value" (from a payload), a status, or a severity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias, cast

from restate_lab.calls import Step


@dataclass(frozen=True, slots=True)
class Word:
    """A part of a line with a tone.

    ``bar`` draws the text as a bar on a page: the lengths of its three parts, and where a limit is, from 0 to 1; -1
    without a limit. Its tooltip is ``tip``.
    """

    text: str
    tone: str = "strong"
    bar: tuple[float, ...] = ()
    tip: str = ""


Line: TypeAlias = str | Word | tuple[str | Word, ...]


def words_of(line: Line, tone: str = "") -> tuple[Word, ...]:
    """Return the parts of a line; ``tone`` is that of a line that is only a text."""
    if isinstance(line, tuple):
        return tuple(Word(each, "") if isinstance(each, str) else each for each in line)
    return (Word(line, tone) if isinstance(line, str) else line,)


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
    links. An item with the ``depth`` 1 belongs to the one before it. ``turn`` is a key that stays when later items are
    added: a panel keeps the fold of such an item, which ``is_open`` opens first.
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
    depth: int = 0
    turn: str = ""
    is_open: bool = False


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
    """A row with a bar on a time axis. Positions are from 0 to 1, and None without a known time.

    ``outcome`` is a key of ``status.OUTCOMES``, ``about`` the times as text. ``marks`` are the positions of failed
    attempts, and ``later`` is the position of the next event. A page folds the row below its ``parent``, a key.
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


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: a line for each column, and what a reader can do about the row."""

    cells: tuple[Line, ...]
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below the names of their columns; a surface takes the rows that it shows as a slice.

    A page has the first ``shown`` rows. A text has the columns in ``long`` below their row, and names each value if a
    row does not fit on a line. The heading of an empty table is not shown.
    """

    heads: tuple[str, ...]
    rows: Sequence[Row]
    heading: str = ""
    long: frozenset[str] = frozenset()
    shown: int = 12


Block: TypeAlias = Text | Facts | Items | Picture | Bars | Calls | Gaps | Fold | Table


@dataclass(frozen=True, slots=True)
class Document:
    """A result: its title in a tone, its source or id, its blocks, and lines about how it was read.

    ``page`` is the address of the page with the result; "" without one. A text that is shortened has all of the first
    ``whole`` blocks, with ten rows of each list.
    """

    title: Line
    place: str
    blocks: tuple[Block, ...]
    tone: str = "quiet"
    foot: tuple[str, ...] = ()
    page: str = ""
    whole: int = 0

    def map(self, change: Callable[[str], str], /) -> Document:
        """Return the document with each text changed, such as with secrets masked; calls become text in Python."""
        return cast("Document", _changed(self, change))


_NAMES = frozenset({"tone", "anchor", "template", "colour"})  # fields that are not text


class _Changed(Sequence[Any]):
    """The members of a sequence with each text changed, once a slice or a position reaches them."""

    def __init__(self, members: Sequence[Any], change: Callable[[str], str]) -> None:
        self._members, self._change = members, change

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, key: Any) -> Any:
        reached = self._members[key]
        return _changed(tuple(reached) if isinstance(key, slice) else reached, self._change)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    changed: Any = value
    match value:
        case str():
            changed = change(value)
        case Step():
            changed = Step((), change(value.label), change(value.python))
        case Picture():
            changed = Picture(value.template, lambda: _changed(value.draw(), change))
        case Mapping():
            changed = {name: _changed(each, change) for name, each in value.items()}
        case tuple():
            changed = tuple(_changed(each, change) for each in value)
        case Sequence():
            changed = _Changed(value, change)
        case _ if is_dataclass(value) and not isinstance(value, type):
            texts = [each.name for each in fields(value) if each.name not in _NAMES]
            changed = replace(value, **{name: _changed(getattr(value, name), change) for name in texts})
    return changed
