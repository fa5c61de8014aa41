"""A document as HTML: the card of a result in a notebook, on a page and in a report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from restate_lab._html import render
from restate_lab.document import Document
from restate_lab.status import STATUSES

COLOURS: Mapping[str, str] = MappingProxyType(
    {name: status.colour for name, status in STATUSES.items()}
    | {"quiet": STATUSES["suspended"].colour, "incomplete": STATUSES["paused"].colour}
)
"""A tone → its color."""


def html_of(document: Document) -> str:
    """Return a document as a card."""
    return render("document/card.html.j2", document=document, colours=COLOURS)
