"""A document with every block, all of whose texts are hostile."""

from __future__ import annotations

from restate_lab.calls import Step, SuggestedCall
from restate_lab.document import Calls, Document, Facts, Fold, Gaps, Item, Items, Line, Text, Word


def hostile_document(text: str, *, page: str = "") -> Document:
    """Return a document with this text in each place, in each tone."""
    line: Line = (text, *(Word(text, tone) for tone in ("strong", "quiet", "code", "failed", "incomplete", text)))
    call = SuggestedCall("why", (text,), comment=text)
    step = Step((call,), text)
    item = Item(line, Word(text, text), text, (step, Step((call, call), "", text)))
    blocks = (
        Text(line),
        Facts(((text, text),)),
        Items((item, Item(text)), text),
        Calls(step),
        Gaps((text,), text),
    )
    folds = (Fold(text, blocks), Fold(text, blocks, is_aside=True))
    return Document(line, text, (*blocks, *folds), text, (text,), page)
