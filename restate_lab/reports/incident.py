"""The report of an incident: all chapters in their order, each with its reason where it could not be read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path

from restate_lab._public import check_keywords
from restate_lab.analysis.deadline import within
from restate_lab.analysis.times import TimeInput
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.durations import DurationInput
from restate_lab.errors import RestateLabError
from restate_lab.progress import Progress, StepsLine, progress_of, redirect_messages
from restate_lab.reports.chapters import CHAPTERS, first_page
from restate_lab.reports.first_page import diagnosis_title
from restate_lab.reports.parts import Notice, Section
from restate_lab.reports.reader import ReportContext
from restate_lab.reports.report import Paper, Report, resolve_output, with_values
from restate_lab.reports.tables import heading
from restate_lab.source import Source

__all__ = ["incident_report"]

_LEAST = 60.0  # seconds for what one chapter reads


@check_keywords
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
    progress: bool | Progress | None = None,
) -> Path:
    """Write the report of an incident to ``path``, ``.html`` or ``.pdf``, and return it.

    The first page has the verdict in one sentence, four numbers, a drawn timeline and the statuses. The chapters are
    the doctor's findings, the timeline, the worst three in detail, invocations by status, who waits for whom, retries,
    failures, latency and throughput, deployments, the actions taken from here, and how all of it was read. ``title``
    None names the first finding and the cluster. ``summary`` is your own text for the first page.

    ``since`` is how far back the timeline, the failures and the actions reach. ``timeout`` limits everything that is
    read; one chapter may take 60 seconds, or a tenth of ``timeout`` if that is more. After the timeout the report is
    written all the same and is marked incomplete: it names what was not read in its place and on the first page. Some
    chapters read a lot on big clusters: freeze first, and report on the evidence. The line
    of progress has the chapter that is being read. ``progress``: None or True shows a line once the call takes longer
    than a second, False shows nothing, and a ``Progress`` is updated instead.

    The other arguments are those of ``Report`` and its ``write``.

    Raises:
        As ``Report`` and ``Report.write``.
    """
    resolve_output(path, overwrite=overwrite)
    seconds = check_seconds("timeout", timeout)
    started = time.monotonic()
    with time_limit(seconds):
        name = title or f"Incident on {source.name}"
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
    # The line of progress is about all chapters; questions that take long have no line of their own.
    line = progress_of(progress, lambda: StepsLine("report: chapter", tuple(CHAPTERS)))
    with contextlib.closing(line), redirect_messages(_ignore):
        for number, (chapter, make) in enumerate(CHAPTERS.items(), 1):
            line.update(number, len(CHAPTERS))
            report = report.add(_build_chapter(chapter, make, context.with_report(report)))
        report = _add_first_page(report, context.with_report(report), title)
    return report.write(path, overwrite=overwrite, paper=paper)


def _add_first_page(report: Report, context: ReportContext, title: str | None) -> Report:
    """Return the report with its first page, titled by what is wrong; without a diagnosis it stays as it is."""
    try:
        name = title or diagnosis_title(context.diagnosis)
        return with_values(report, title=heading(context.builder.masker.text(name)), first_page=first_page(context))
    except RestateLabError:  # the first chapter says why there is no diagnosis
        return report


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
