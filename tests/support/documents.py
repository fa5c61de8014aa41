"""A document with every block, all of whose texts are hostile."""

from __future__ import annotations

from dataclasses import replace

from restate_lab.calls import Step, SuggestedCall
from restate_lab.document import (
    BarRow,
    Bars,
    Calls,
    Document,
    Facts,
    Fold,
    Gaps,
    Item,
    Items,
    Line,
    Picture,
    Row,
    Table,
    Text,
    Word,
)
from restate_lab.status import OUTCOMES


def hostile_document(text: str, *, page: str = "") -> Document:
    """Return a document with this text in each place, in each tone."""
    line: Line = (
        text,
        *(Word(text, tone) for tone in ("strong", "quiet", "code", "failed", "critical", "incomplete", text)),
    )
    call = SuggestedCall("why", (text,), comment=text)
    step = Step((call,), text)
    steps = (step, Step((call, call), "", text), Step((call,), text, rows=call))
    item = Item(line, Word(text, text), (line,), text, text, steps, anchor="a", row=0)
    folded = replace(item, mark=Word(text, "critical"), more=text, about=((text, text),), ids=[text] * 20, count=1_200)
    turn = replace(folded, mark=None, depth=1, turn=text, is_open=True)
    bars = (Word(text, "", (0.1, 0.2, 0.3, 0.1, 0.5), text), Word(text, "value", (0, 0, 0, 0, -1)))
    blocks = (
        Text(line),
        Facts(((text, text),)),
        Items((item, folded, turn, Item(text)), text),
        Items((folded,) * 2, shown=1, more=text, is_brief=True),
        Picture("_html/bar.html.j2", lambda: {"parts": [(text, 1_200, "red")]}),
        Items((Item(text),) * 1_300, shown=1),
        hostile_bars(text),
        Table((text, text, "long"), (Row((line, text, line), steps), Row((text,) * 3)), text, frozenset({"long"})),
        Table(("", ""), (Row(bars),) * 3, shown=1),
        Calls(step),
        Gaps((text,), text),
    )
    folds = (Fold(text, blocks), Fold(text, blocks, is_aside=True))
    return Document(line, text, (*blocks, *folds), text, (text,), page)


def hostile_bars(text: str) -> Bars:
    """Return rows with this text in each place, one for each outcome, below the first one."""
    first = BarRow(text, "failed", text, text, text, text, text, text, text, text, 0.1, 0.2, (0.15,), 0.9)
    below = tuple(replace(first, key=name, outcome=name, depth=2, parent=text) for name in OUTCOMES)
    return Bars((first, *below, BarRow("", "pending", text, "", text, text)), ((0.0, text), (0.5, text)), 0.9, 1_200)
