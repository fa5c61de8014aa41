"""The page of one invocation: why it makes no progress, and its journal."""

from __future__ import annotations

from typing import Any

import pandas as pd

from restate_lab._text import one_line
from restate_lab.analysis.ids import invocation_id_in
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.drawing import journal_html, payload_blocks
from restate_lab.analysis.why import why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.document import Fold
from restate_lab.document.html import blocks_html
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.export.json_text import journal_json
from restate_lab.frames import with_card
from restate_lab.result import Result
from restate_lab.serve.page import PageRequest, WebPage, data_of, together
from restate_lab.serve.rendering import part_of
from restate_lab.source import Source

_LONGEST = 120  # characters of a title


async def invocation_page(request: PageRequest) -> WebPage:
    """Return why an invocation makes no progress, and its journal; ``?id=`` is any text with an id, such as a log line.

    Payloads are shown only if the server was started with ``--payloads``.
    """
    request.check_params("id", argument=bool(request.argument))
    text = request.argument or request.text("id")
    if text is None:
        raise ArgumentError(
            "the address has no id; use /invocation/inv_…, or /invocation?id= with any text that has one."
        )
    id_ = invocation_id_in(text)
    explanation, journal = await together(
        request.try_to_read("why", explain, id_=id_, timeout=request.timeout),
        request.try_to_read("journal", journal_of, id_=id_, payloads=request.payloads, timeout=request.timeout),
    )
    if isinstance(explanation, Explanation) and explanation.status is None:
        raise NotFound(explanation.summary, status=404)
    data = {"why": data_of(explanation, Result.to_json), "journal": data_of(journal, journal_json)}
    target = journal.attrs["target"] if isinstance(journal, pd.DataFrame) else getattr(explanation, "target", None)
    parts = [_links(request, id_, str(target or "")), explanation, journal]
    if request.payloads and isinstance(journal, pd.DataFrame):
        parts.append(blocks_html(Fold("Payloads", payload_blocks(journal), is_open=True)))
    return WebPage(one_line(target or id_, _LONGEST), parts, data)


def explain(source: Source, *, id_: str, timeout: float) -> Explanation:
    """Return the explanation of an invocation."""
    return why(source, id_, timeout=timeout)


def journal_of(source: Source, *, id_: str, payloads: bool, timeout: float) -> pd.DataFrame:
    """Return the journal of an invocation."""
    frame, _ = read_journal(source, id_, payloads=payloads, timeout=timeout)
    return with_card(frame, journal_html)


def _links(request: PageRequest, id_: str, target: str) -> Any:
    """Return the links to the story, and to the lists with the invocations of the same service, handler and key."""
    service, _, rest = target.partition("/")
    key, _, handler = rest.rpartition("/")
    links = [(f"All of {service}", {"service": service})] if service else []
    if handler:
        links.append((f"All of {service}/{handler}", {"service": service, "handler": handler}))
    if key:
        links.append((f"All of {service}/{key}", {"service": service, "key": key}))
    return part_of(
        "links",
        links=[("Story", request.link(f"/story/{id_}"))]
        + [(one_line(label, _LONGEST), request.link("/invocations", status="all", **each)) for label, each in links],
    )
