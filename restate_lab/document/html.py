"""A document as HTML: the card of a result in a notebook, on a page and in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from markupsafe import Markup

from restate_lab._html import render
from restate_lab.document import Document, Picture

Links: TypeAlias = Mapping[int, Sequence[tuple[str, str]]]


def html_of(
    document: Document, links: Links = MappingProxyType({}), *, is_report: bool = False, is_short: bool = False
) -> str:
    """Return a document as a card; ``links`` are labels and addresses for the items of rows.

    ``is_report``: in a report, which can be printed, it has severities as text, times, full ids, and no asides; without
    a title, its blocks have no frame. ``is_short``: of a fold it has only the heading.
    """
    return render(
        "document/card.html.j2",
        document=document,
        draw=draw,
        links=links,
        is_report=is_report,
        is_short=is_short,
    )


def draw(picture: Picture) -> Markup:
    """Return a picture as HTML; nothing if there is none."""
    values = picture.draw()
    return Markup("" if values is None else render(picture.template, **values))  # noqa: S704 - our template escapes
