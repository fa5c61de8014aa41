"""A document as HTML: the card of a result in a notebook, on a page and in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from markupsafe import Markup

from restate_lab._html import render
from restate_lab._text import escape_invisible
from restate_lab.document import BarRow, Bars, Block, Document, Line, Picture, words_of
from restate_lab.status import OUTCOMES

_SHORT = 38  # characters of a cell
Links: TypeAlias = Mapping[int, Sequence[tuple[str, str]]]


def html_of(
    document: Document, links: Links = MappingProxyType({}), *, is_report: bool = False, is_short: bool = False
) -> str:
    """Return a document as a card; ``links`` are labels and addresses for the items of rows.

    ``is_report``: in a report, which can be printed, it has severities as text, times, full ids, and no asides; without
    a title, its blocks have no frame. ``is_short``: of a fold it has only the heading.
    """
    return _render(document, document.blocks, links=links, is_report=is_report, is_short=is_short)


def blocks_html(*blocks: Block) -> Markup:
    """Return blocks without a card, for a part of a panel."""
    return Markup(_render(None, blocks, links={}, is_report=False, is_short=False))  # noqa: S704 - our template escapes


def _render(document: Document | None, blocks: Sequence[Block], **options: Any) -> str:
    return render(
        "document/card.html.j2",
        document=document,
        blocks=blocks,
        draw=draw,
        draw_bars=draw_bars,
        is_short_cell=is_short_cell,
        words_of=words_of,
        **options,
    )


def is_short_cell(line: Line) -> bool:
    """Return whether a line in a table stays on one line."""
    return len(escape_invisible("".join(word.text for word in words_of(line)))) <= _SHORT


def draw(picture: Picture) -> Markup:
    """Return a picture as HTML, or an empty text without a picture."""
    values = picture.draw()
    return Markup("" if values is None else render(picture.template, **values))  # noqa: S704 - our template escapes


def draw_bars(bars: Bars) -> Markup:
    """Return rows with bars as HTML; each row is below the one with the key of its ``parent``."""
    keys, unfolded = {row.key for row in bars.rows}, set[str]()
    below: dict[str | None, list[BarRow]] = {None: []}
    for row in bars.rows:
        below.setdefault(row.parent if row.parent in keys else None, []).append(row)
    for row in reversed(bars.rows):
        if row.parent and (row.outcome != "done" or row.key in unfolded):
            unfolded.add(row.parent)
    html = render("document/bars.html.j2", bars=bars, below=below, unfolded=unfolded, outcomes=OUTCOMES)
    return Markup(html)  # noqa: S704 - our template escapes
