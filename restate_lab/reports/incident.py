"""The report of an incident: all chapters in their order, each with its reason where it could not be read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path

from restate_lab.analysis.deadline import within
from restate_lab.analysis.times import TimeInput
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.durations import DurationInput
from restate_lab.errors import RestateLabError
from restate_lab.progress import InvocationsLine, redirect_messages
from restate_lab.reports.chapters import CHAPTERS
from restate_lab.reports.parts import Notice, Section
from restate_lab.reports.reader import ReportContext
from restate_lab.reports.report import Paper, Report, resolve_output
from restate_lab.source import Source

__all__ = ["incident_report"]

_LEAST = 60.0  # seconds for what one chapter reads


def incident_report(
    source: Source,
    path: str | os.PathLike[str],
    /,
    *,
    title: str | None = None,
    summary: str = "",
    since: TimeInput = "24h",
    tz: str | tzinfo = "UTC",
    timeout: DurationInput = "10m",
    audit: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    paper: Paper = "A4",
) -> Path:
    """Write the report of an incident to ``path``, ``.html`` or ``.pdf``, and return it.

    It has the doctor's findings, the timeline, the worst three in detail, invocations by status, who waits for whom,
    retries, failures, latency and throughput, deployments, the actions taken from here, and how all of it was read.
    ``summary`` is your own text, which stands first. ``since`` is how far the timeline, the failures and the actions
    reach back. ``timeout`` is for all that is read: 60 seconds at most for one chapter's reading, or a tenth of
    ``timeout`` where that is more. When it is over, the report is written all the same and is marked incomplete: what
    was not read is named in its place and in the summary. Some readings are heavy on big clusters: freeze first, and
    report on the evidence.

    The rest is as in ``Report`` and its ``write``.

    Raises:
        As ``Report`` and ``Report.write``.
    """
    resolve_output(path, overwrite=overwrite)
    name = title or f"Incident on {source.name}"
    seconds = check_seconds("timeout", timeout)
    started = time.monotonic()
    with time_limit(seconds):
        report = Report(name, source=source, summary=summary, tz=tz, since=since, audit=audit)
    # The chapters share what they read: one state of the cluster, and no statement sent for each of them.
    reads = within(
        source,
        timeout,
        verb="incident_report",
        spent=time.monotonic() - started,
        now=report.about.now if report.about else None,
        remembers=True,
    )
    context = ReportContext(source, report, limited=reads, seconds=max(_LEAST, seconds / 10))
    # What heavy questions say for themselves is said above, of all of it.
    with contextlib.closing(InvocationsLine("report, chapters")) as line, redirect_messages(_ignore):
        for done, (chapter, make) in enumerate(CHAPTERS.items()):
            line.update(done, len(CHAPTERS))
            report = report.add(_build_chapter(chapter, make, context.with_report(report)))
    return report.write(path, overwrite=overwrite, paper=paper)


def _ignore(_: str) -> None:
    return


def _build_chapter(chapter: str, make: Callable[[ReportContext], Section], context: ReportContext) -> Section:
    """Return the chapter, or one with the reason why it could not be read: a visible gap is better than no report."""
    try:
        return make(context)
    except RestateLabError as error:
        reason = context.builder.masker.text(" ".join(str(error).split()))
        return Section(
            chapter, (Notice(f"This could not be read: {reason}"),), lead=(f"Not read: {chapter}: {reason}",)
        )
