"""The pages: each function reads results of the library, and returns them as cards and as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pandas as pd
from markupsafe import Markup

from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.journal.card import journal_html
from restate_lab.analysis.waits import find_waits
from restate_lab.analysis.why import why
from restate_lab.export.results import diagnosis_json, explanation_json, journal_json, waits_json
from restate_lab.frames import with_card
from restate_lab.serve.page import Missing, PageFunction, PageRequest, WebPage, together
from restate_lab.source import Source

T = TypeVar("T")


async def first_page(request: PageRequest) -> WebPage:
    """Return the verdict and the findings."""
    request.check_params()
    diagnosis = await request.try_to_read("doctor", doctor, timeout=request.timeout)
    return WebPage(request.readings.name, [card(diagnosis)], data_of(diagnosis, diagnosis_json))


async def waits_page(request: PageRequest) -> WebPage:
    """Return deadlocks and root blockers."""
    request.check_params()
    waits = await request.try_to_read("waits", find_waits, timeout=request.timeout)
    return WebPage(f"Waits of {request.readings.name}", [card(waits)], data_of(waits, waits_json))


async def invocation_page(request: PageRequest) -> WebPage:
    """Return why an invocation makes no progress, and its journal."""
    request.check_params()
    explanation, journal = await together(
        request.read("why", why, invocation_id=request.argument, timeout=request.timeout),
        request.try_to_read("journal", journal_of, id_=request.argument, timeout=request.timeout),
    )
    data = {"why": data_of(explanation, explanation_json), "journal": data_of(journal, journal_json)}
    return WebPage(explanation.target or request.argument, [card(explanation), card(journal)], data)


def journal_of(source: Source, *, id_: str, timeout: float) -> pd.DataFrame:
    """Return the journal of an invocation without payloads."""
    frame, _ = read_journal(source, id_, timeout=timeout)
    return with_card(frame, journal_html)


def card(result: Any) -> Markup | str:
    """Return the card of a result, or why it is missing."""
    if isinstance(result, Missing):
        return f"Not read: {result.reason}"
    return Markup(result._repr_html_())  # noqa: S704 - the template of the card has escaped all texts


def data_of(result: T | Missing, to_json: Callable[[T], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a result as data, or why it is missing."""
    return {"not_read": result.reason} if isinstance(result, Missing) else to_json(result)


PAGES: Mapping[str, PageFunction] = {"": first_page, "invocation": invocation_page, "waits": waits_page}
"""The name of a page, the first part of its path → its function."""
