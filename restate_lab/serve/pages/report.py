"""The incident report as a page, and as a file to keep."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.errors import ArgumentError
from restate_lab.reports.incident import incident_report
from restate_lab.serve.page import Missing, PageRequest, WebPage
from restate_lab.serve.rendering import part_of
from restate_lab.source import Source

LENGTHS = ("full", "short")
_TITLE = "Incident report"


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report as a document of ours, and its diagnosis; None if the doctor failed."""

    document: Markup
    size: int
    diagnosis: Diagnosis | None


async def report_page(request: PageRequest) -> WebPage:
    """Return the incident report of the source; ``download`` makes it a file.

    ``since`` is the start of its timeline, ``length`` is "full" or "short".
    """
    request.check_params("since", "length", "download")
    since, length = request.text("since") or "24h", request.text("length") or LENGTHS[0]
    if length not in LENGTHS:
        raise ArgumentError(f"unknown length {length[:60]!r}; choose from {', '.join(LENGTHS)}.")
    report = await request.try_to_read("report", write_report, since=since, length=length, timeout=request.timeout)
    if isinstance(report, Missing):
        return WebPage(_TITLE, [report, _shorter(request)], {"not_read": report.reason})
    diagnosis = None if report.diagnosis is None else report.diagnosis.to_json()
    data = {"since": since, "length": length, "bytes": report.size, "diagnosis": diagnosis}
    file = f"incident-{_plain(request.readings.name)}.html" if request.text("download") else ""
    return WebPage(_TITLE, [], data, document=report.document, file=file)


def write_report(source: Source, *, since: str, length: Any, timeout: float) -> WrittenReport:
    """Write the report to a folder of its own, and return it; the folder is removed."""
    with tempfile.TemporaryDirectory(prefix="restate-lab-") as folder:
        path = Path(folder) / "incident.html"
        written = incident_report(source, path, since=since, length=length, timeout=timeout, progress=False)
        text = path.read_text("utf-8")
    return WrittenReport(Markup(text), written.size, written.diagnosis)  # noqa: S704 - a report has escaped all texts


def _shorter(request: PageRequest) -> Any:
    """Return the link to the short report, which needs fewer reads."""
    return part_of("links", links=[("The short report", request.link("/report", length="short"))])


def _plain(name: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "-" for each in name)[:60]
