"""A document as HTML: the card of a result in a notebook, on a page and in a report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from markupsafe import Markup

from restate_lab._html import render
from restate_lab.document import Document, Picture
from restate_lab.status import STATUSES

_SAME = {"critical": "failed", "warning": "paused", "incomplete": "paused", "quiet": "suspended"}
COLOURS: Mapping[str, str] = MappingProxyType(
    {name: status.colour for name, status in STATUSES.items()}
    | {tone: STATUSES[name].colour for tone, name in _SAME.items()}
)
"""A tone → its color."""


def html_of(document: Document) -> str:
    """Return a document as a card."""
    return render("document/card.html.j2", document=document, colours=COLOURS, draw=draw)


def draw(picture: Picture) -> Markup:
    """Return a picture as HTML; nothing if there is none."""
    values = picture.draw()
    return Markup("" if values is None else render(picture.template, **values))  # noqa: S704 - our template escapes
