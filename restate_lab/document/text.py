"""A document as rows of text, and as a text for print() that fits on a screen."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count, islice
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from restate_lab._text import escape_invisible, sentences, truncate
from restate_lab.calls import Step
from restate_lab.document import (
    Bars,
    Block,
    Calls,
    Document,
    Facts,
    Fold,
    Gaps,
    Item,
    Items,
    Line,
    Picture,
    Table,
    Text,
    Word,
    words_of,
)
from restate_lab.document.bars import BarLayout

ROWS, COLUMNS = 40, 100
"""A screen, in characters."""
Write: TypeAlias = Callable[[Step], str]
"""The syntax of a surface for calls; "" for a step that it cannot express."""
_ALL = 1_000_000_000
_ROW = COLUMNS - 10  # characters of a paragraph after its mark that fit on a row
_SHORT_LABEL = 8
_WHOLE = 10  # rows of a list that is not shortened further
_NOTHING = Word("", "quiet")
_SHORTENED = "This text is shortened; the frames of the result have everything."


def count_rows(text: str) -> int:
    """Return how many rows of a screen a text needs."""
    return sum(max(1, math.ceil(len(line) / COLUMNS)) for line in text.split("\n"))


def python_of(step: Step) -> str:
    """Return a step as Python, for a text of ``print()``."""
    return step.python


@dataclass(frozen=True, slots=True)
class TextRow:
    """A paragraph after its ``first`` word, by which further rows are indented, or calls, whose lines are not split."""

    parts: tuple[Word, ...] = ()
    first: Word = _NOTHING
    is_code: bool = False

    @property
    def plain(self) -> str:
        """Return the row as text."""
        text = "".join(each.text for each in self.parts)
        return escape_invisible(f"{self.first.text}{text}").replace("\n", f"\n{' ' * len(self.first.text)}").rstrip()


@dataclass(frozen=True, slots=True)
class TextLayout:
    """How a text is written: the syntax of calls, and how much of a document it has.

    It has the first ``most`` items of each list, and the first ``tabled`` rows of each table. The first ``full`` items
    of the document have everything, further ones up to ``called`` their first step, and the others their title.
    ``longest`` is the number of characters of a paragraph, ``width`` that of a row, and ``pictured`` the number of rows
    of a picture. ``more`` is the line about rows that are not shown, with the number of all as ``total``.
    """

    write: Write = python_of
    most: int = _ALL
    tabled: int = _ALL
    full: int = _ALL
    called: int = _ALL
    longest: int = _ALL
    width: int = COLUMNS
    pictured: int = 24
    more: str = "… and {more:,} more"

    def rows(self, document: Document) -> Iterator[TextRow]:
        """Yield the rows of a document; an empty one is between blocks."""
        yield TextRow(self._words(document.title, document.tone))
        yield TextRow(self._words("; ".join(filter(None, (document.place, *document.foot))), "quiet"))
        numbers = count()
        whole = self
        if document.whole:
            whole = replace(self, most=max(self.most, _WHOLE), full=_ALL, longest=_ALL)
        for at, block in enumerate(document.blocks):
            layout = whole if at < document.whole else self
            yield from layout._block(block, numbers, TextRow())  # noqa: SLF001 - a layout

    def _block(self, block: Block, numbers: Iterator[int], *before: TextRow) -> Iterator[TextRow]:
        rows = self._layouts[type(block)](self, block, numbers)
        for first in islice(rows, 1):
            yield from (*before, first)
        yield from rows

    def _text(self, block: Text, _: Iterator[int]) -> Iterator[TextRow]:
        yield TextRow(self._words(block.line))

    def _gaps(self, block: Gaps, _: Iterator[int]) -> Iterator[TextRow]:
        shown = block.reasons[: self.most]
        for reason in shown:
            yield TextRow(self._words(sentences(f"{block.label}: {reason}"), "incomplete"))
        yield from self._more(len(shown), len(block.reasons))

    def _fold(self, block: Fold, numbers: Iterator[int]) -> Iterator[TextRow]:
        if block.is_aside:
            return
        yield self._heading(block.heading)
        for each in block.blocks:
            yield from self._block(each, numbers)

    def _picture(self, block: Picture, _: Iterator[int]) -> Iterator[TextRow]:
        for line in block.lines(self.width, self.pictured):
            text = line.lstrip()
            yield TextRow(self._words(text), self._first(" " * (len(line) - len(text))))

    def _calls(self, block: Calls, _: Iterator[int]) -> Iterator[TextRow]:
        """Yield calls after a short label or below a long one."""
        step = block.step
        is_short = len(step.label) <= _SHORT_LABEL
        if not is_short:
            yield self._heading(step.label)
        yield from self._code(self.write(step), f"{step.label}: " if is_short else "    ")

    def _facts(self, block: Facts, _: Iterator[int]) -> Iterator[TextRow]:
        width = max((len(label) for label, _ in block.rows), default=0)
        for label, value in block.rows[: self.most]:
            yield TextRow(self._words(value), self._first(f"{label:<{width}}  "))

    def _items(self, block: Items, numbers: Iterator[int]) -> Iterator[TextRow]:
        shown = block.items[: self.most]
        if shown and block.heading:
            yield self._heading(block.heading)
        for at, item in enumerate(shown):
            if at and (item.lines or item.about) and self.full == _ALL and not block.is_brief:
                yield TextRow()
            yield from self._item(item, next(numbers), is_brief=block.is_brief)
        yield from self._more(len(shown), len(block.items))

    def _bars(self, block: Bars, numbers: Iterator[int]) -> Iterator[TextRow]:
        layout = BarLayout(block.rows[: self.most], self.width)
        yield TextRow((Word(layout.axis(block.ticks), "quiet"),), self._first(" " * layout.before))
        for row in layout.rows:
            yield TextRow(layout.words(row))
            if (detail := layout.detail(row)) and next(numbers) < self.full:
                yield TextRow(self._words(detail), self._first(" " * (layout.number + 2 + 2 * row.depth)))
        yield from self._more(len(layout.rows), block.total)

    def _item(self, item: Item, at: int, *, is_brief: bool) -> Iterator[TextRow]:
        age = f"for {item.age}" if item.age else ""
        lines, steps = item.lines, item.steps
        if item.about:
            lines = (*lines, Word(" · ".join(filter(None, (age, *(value for _, value in item.about)))), "quiet"))
        if is_brief:
            lines, steps = lines[:1], ()
        indent = "  " * item.depth
        first = self._first(f"{indent}- ")
        if item.mark is not None:
            first = self._first(f"{indent}{item.mark.text.upper()} ", item.mark.tone)
        after = Word(f" · {age}" if age and not item.about else "", "quiet")
        yield TextRow((*self._words(item.title, "strong" if item.about else ""), after), first)
        for line in lines if at < self.full or is_brief else ():
            yield TextRow(self._words(line), self._first(f"{indent}  "))
        labels: dict[str, str] = {}
        for step in steps[: None if at < self.full else at < self.called]:
            labels.setdefault(self.write(step), step.label)
        for code, label in labels.items():
            yield from self._code(code, f"  {label}: " if label else "    ")

    def _table(self, block: Table, numbers: Iterator[int]) -> Iterator[TextRow]:
        shown = block.rows[: min(self.most, self.tabled)]
        if shown and block.heading:
            yield self._heading(block.heading)
        places = [at for at, head in enumerate(block.heads) if head not in block.long]
        heads = [self._words(block.heads[at], "quiet") for at in places]
        rows = [[self._words(row.cells[at]) for at in places] for row in shown]
        widths = [max(map(_length, cells)) for cells in zip(heads, *rows, strict=True)]
        is_grid = sum(widths) + 2 * len(widths) <= self.width
        if shown and is_grid and any(block.heads[at] for at in places):
            yield self._grid_row(heads, widths)
        for row, cells in zip(shown, rows, strict=True):
            yield self._grid_row(cells, widths) if is_grid else self._named_row(heads, cells)
            is_whole = next(numbers) < self.full
            for head, cell in zip(block.heads, row.cells if is_whole else (), strict=is_whole):
                if head in block.long and cell:
                    yield TextRow(self._words(cell), self._first(f"    {head}: "))
            for step in row.steps if is_whole else ():
                yield from self._code(self.write(step), f"    {step.label}: " if step.label else "      ")
        yield from self._more(len(shown), len(block.rows))

    def _grid_row(self, cells: Sequence[tuple[Word, ...]], widths: Sequence[int]) -> TextRow:
        padded = zip(cells, widths, strict=True)
        parts = [part for cell, width in padded for part in (*cell, Word(" " * (width - _length(cell) + 2), ""))]
        return TextRow(tuple(parts[:-1]), self._first("  "))

    def _named_row(self, heads: Sequence[tuple[Word, ...]], cells: Sequence[tuple[Word, ...]]) -> TextRow:
        """Return a row for a surface that is too narrow for the table: each value after the name of its column."""
        parts = [*cells[0]]
        for head, cell in zip(heads[1:], cells[1:], strict=True):
            if _length(cell):
                parts += [Word(" · ", "quiet"), *head, Word(" ", ""), *cell]
        return TextRow(tuple(parts), self._first("- "))

    def _code(self, code: str, first: str) -> Iterator[TextRow]:
        if code and len(code) <= max(self.longest, 4 * COLUMNS):  # calls are never cut
            yield TextRow((Word(code, ""),), self._first(first), is_code=True)

    def _heading(self, heading: str) -> TextRow:
        return TextRow(self._words(f"{heading}:", "strong"))

    def _more(self, shown: int, total: int) -> Iterator[TextRow]:
        if shown < total:
            more = self.more.format(more=total - shown, total=total)
            yield TextRow((Word(more, "quiet"),), self._first("  "))

    def _first(self, text: str, tone: str = "quiet") -> Word:
        return Word(truncate(escape_invisible(text, lines=False), self.longest), tone)

    def _words(self, line: Line, tone: str = "") -> tuple[Word, ...]:
        """Return the parts of a line without line ends, and without the end of a line that is too long."""
        words, left = [], self.longest
        for word in words_of(line, tone):
            text = f"`{word.text}`" if word.tone == "code" else word.text
            if left > 1:
                words.append(Word(truncate(escape_invisible(text, lines=False), left), word.tone))
                left -= len(word.text)
        return tuple(words)

    _layouts: ClassVar[Mapping[type, Callable[..., Iterator[TextRow]]]] = MappingProxyType(
        {
            Bars: _bars,
            Calls: _calls,
            Facts: _facts,
            Fold: _fold,
            Gaps: _gaps,
            Items: _items,
            Picture: _picture,
            Table: _table,
            Text: _text,
        }
    )


def _length(words: Sequence[Word]) -> int:
    return sum(len(each.text) for each in words)


LAYOUTS = (
    TextLayout(most=ROWS),
    *(TextLayout(most=30, tabled=tabled, full=10, longest=4 * COLUMNS) for tabled in (30, 20, 10, 5)),
    *(TextLayout(most=30, tabled=5, full=full, longest=4 * COLUMNS) for full in (5, 3, 2, 1)),
    *(TextLayout(most=30, tabled=5, full=0, called=called, longest=_ROW) for called in (30, 20, 15, 10, 7, 5, 3)),
    *(
        TextLayout(most=most, tabled=min(most, 5), full=0, called=1, longest=_ROW, pictured=most)
        for most in (20, 10, 5, 3, 2, 1)
    ),
)
"""The layouts of a text for print(), the one with everything first."""


def text_of(document: Document) -> str:
    """Return a document as text with Python: with all of it if that fits on a screen, otherwise shortened."""
    if text := _draw(document, LAYOUTS[0], ROWS):
        return text
    # A layout has at most as many rows as the one before it, so that a few are drawn and not each.
    last = len(LAYOUTS) - 1
    fits = True  # is after False
    at = bisect_left(LAYOUTS, fits, 1, last, key=lambda each: bool(_draw(document, each, ROWS - 1)))
    return "\n".join([_draw(document, LAYOUTS[at], ROWS - 1) or _first_rows(document), _SHORTENED])


def _first_rows(document: Document) -> str:
    """Return the rows of the shortest layout that fit on a screen, for a document of very many blocks."""
    rows = [row.plain for row in islice(LAYOUTS[-1].rows(document), ROWS)]
    needed = accumulate(map(count_rows, rows))
    return "\n".join(row for row, number in zip(rows, needed, strict=True) if number < ROWS)


def _draw(document: Document, layout: TextLayout, most: int) -> str:
    """Return the text of a layout; "" if it has too many rows."""
    text = "\n".join(row.plain for row in islice(layout.rows(document), most + 1))
    return text if count_rows(text) <= most else ""
