"""A document as HTML: the card of a result in a notebook, on a page and in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from markupsafe import Markup

from restate_lab._html import render
from restate_lab._text import escape_invisible
from restate_lab.document import Document, Line, Picture, words_of
from restate_lab.status import STATUSES

SIGNS = {"critical": "✖", "warning": "▲", "note": "●"}
"""A severity → its sign."""
_SAME = {
    "critical": "failed",
    "warning": "paused",
    "note": "ready",
    "incomplete": "paused",
    "healthy": "succeeded",
    "quiet": "suspended",
}
COLOURS: Mapping[str, str] = MappingProxyType(
    {name: status.colour for name, status in STATUSES.items()}
    | {tone: STATUSES[name].colour for tone, name in _SAME.items()}
)
"""A tone → its color."""
_SHORT = 38  # characters of a cell
Links: TypeAlias = Mapping[int, Sequence[tuple[str, str]]]


def html_of(
    document: Document, links: Links = MappingProxyType({}), *, is_report: bool = False, is_short: bool = False
) -> str:
    """Return a document as a card; ``links`` are labels and addresses for the items of rows.

    ``is_report``: below a heading of a report, which can be printed, it has severities as text, times, full ids, and
    no asides. ``is_short``: of a fold it has only the heading.
    """
    return render(
        "document/card.html.j2",
        document=document,
        colours=COLOURS,
        signs=SIGNS,
        draw=draw,
        is_short_cell=is_short_cell,
        words_of=words_of,
        links=links,
        is_report=is_report,
        is_short=is_short,
    )


def is_short_cell(line: Line) -> bool:
    """Return whether a line in a table stays on one line."""
    return len(escape_invisible("".join(word.text for word in words_of(line)))) <= _SHORT


def draw(picture: Picture) -> Markup:
    """Return a picture as HTML; nothing if there is none."""
    values = picture.draw()
    return Markup("" if values is None else render(picture.template, **values))  # noqa: S704 - our template escapes
