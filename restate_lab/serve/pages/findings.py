"""Findings of the doctor as links: to their invocations, to a comparison with healthy ones, and to the waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from restate_lab.analysis.contrast.model import LEAST
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.document.html import html_of
from restate_lab.errors import NotFound
from restate_lab.serve.page import PageRequest

FINDING = "finding"
"""The parameter of a page that is about the invocations of one finding: its fingerprint."""
_OF_WAITS = frozenset({"deadlocks", "blocked_keys", "awakeables", "promises"})
"""The checks whose findings the page of the waits explains."""
_INVOCATION = "inv_"


class DiagnosisCard:
    """The card of a diagnosis with links."""

    def __init__(self, diagnosis: Diagnosis, request: PageRequest) -> None:
        self._diagnosis, self._request = diagnosis, request

    def _repr_html_(self) -> str:
        rows = self._diagnosis.findings.to_dict("records")
        prints = fingerprints(self._diagnosis)
        links = {
            at: list(_links(self._request, row, each)) for at, (row, each) in enumerate(zip(rows, prints, strict=True))
        }
        return html_of(self._diagnosis.document(), links)


class FindingIds(NamedTuple):
    """The invocations of a finding, and its title."""

    title: str
    ids: tuple[str, ...]


def fingerprints(diagnosis: Diagnosis) -> list[str]:
    """Return the fingerprint of each row of ``findings``, equal for equal problems of all clusters."""
    return list(diagnosis.findings["fingerprint"])


async def read_diagnosis(request: PageRequest) -> Diagnosis:
    """Return the diagnosis of the source; all pages about findings share its reading."""
    return await request.read("doctor", doctor, timeout=request.timeout)


async def read_finding(request: PageRequest) -> FindingIds | None:
    """Return the invocations of the finding that the address names; None if it names none.

    Raises:
        NotFound: the source does not have the finding, or not any more.
    """
    fingerprint = request.text(FINDING)
    if fingerprint is None:
        return None
    diagnosis = await read_diagnosis(request)
    rows = diagnosis.findings.to_dict("records")
    found = [row for row, each in zip(rows, fingerprints(diagnosis), strict=True) if each == fingerprint]
    ids = [id_ for row in found for id_ in row["ids"] if id_.startswith(_INVOCATION)]
    if not ids:
        raise NotFound(
            f"{request.readings.name} does not have this finding, or not any more; the first page has its findings.",
            status=404,
        )
    return FindingIds(found[0]["title"], tuple(dict.fromkeys(ids)))


def _links(request: PageRequest, row: Mapping[Any, Any], fingerprint: str) -> Iterator[tuple[str, str]]:
    """Yield the labels and addresses of the pages about a finding."""
    ids: Sequence[str] = row["ids"]
    about_invocations = bool(ids) and ids[0].startswith(_INVOCATION)
    if about_invocations:
        yield f"List {len(ids):,}", request.link("/invocations", finding=fingerprint)
    if about_invocations and len(ids) >= LEAST and row["check"] not in _OF_WAITS:
        yield "What they share", request.link("/contrast", finding=fingerprint)
    if about_invocations and len(ids) == 1:
        yield "Story", request.link(f"/story/{ids[0]}")
    if row["check"] in _OF_WAITS or row["blocks"]:
        yield "Waits", request.link("/waits")
