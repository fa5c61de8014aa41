"""The incident report: all chapters in order; a chapter that could not be read gives the reason."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import tzinfo
from typing import Literal

from restate_lab._public import explained
from restate_lab.analysis.times import TimeInput
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.progress import Progress, StepsLine, progress_of, redirect_messages
from restate_lab.reads import Reads
from restate_lab.reports.output import Paper, ReportFile, resolve_output
from restate_lab.source import Source

Length = Literal["short", "full"]
_LEAST = 60.0  # seconds that one chapter may take to read its data


@explained
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
    length: Length | None = None,
    progress: bool | Progress | None = None,
) -> ReportFile:
    """Write an incident report to ``path`` (``.html`` or ``.pdf``) and return the path.

    A notebook shows the path as a card with the verdict, the size and a link. ``.diagnosis`` of the path is the
    diagnosis in the report, or None if the doctor failed.

    The first page has the verdict in one sentence, four numbers, a timeline and the status counts. The chapters are
    the doctor's findings, the timeline, the worst three findings in detail, what the failing invocations share,
    invocations by status, the wait-for graph, retries, failures, latency and throughput, deployments, the actions
    taken with restate_lab, and how the data was read. A ``length`` of "short" has the first page, the first five
    findings, the grouped timeline and the actions, on about four pages, without the SQL; "full" has all chapters.
    None is "short" for a PDF and "full" for HTML. ``title`` None names the first finding and the cluster. ``summary``
    is your own text for the first page.

    ``since`` is the start of the timeline, the failures and the actions. ``timeout`` limits all reads together. Each
    chapter may take 60 seconds, or a tenth of ``timeout`` if that is longer. After the timeout the report is still
    written, but it is marked incomplete: each gap is named in its chapter and on the first page. On large clusters
    some chapters read a lot of data: freeze the cluster first and write the report from the evidence.

    ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
    ``Progress`` is updated instead. The line has the current chapter.

    The other arguments are the same as for ``Report`` and ``Report.write``.

    Raises:
        The same errors as ``Report`` and ``Report.write``.
    """
    if length not in {None, "short", "full"}:
        raise ArgumentError(f"unknown length {length!r}; choose 'short' or 'full'.")
    is_pdf = resolve_output(path, overwrite=overwrite).suffix.lower() == ".pdf"
    is_short = length == "short" or (length is None and is_pdf)
    # Imported only now: these modules draw, and take seconds to load, while a wrong name is refused at once.
    from restate_lab.reports.chapters import add_chapters, chapters_of  # noqa: PLC0415
    from restate_lab.reports.reader import ReportContext  # noqa: PLC0415
    from restate_lab.reports.report import Report  # noqa: PLC0415

    seconds = check_seconds("timeout", timeout)
    started = time.monotonic()
    with time_limit(seconds):
        name = title or f"Incident on {source.name}"
        report = Report(name, source=source, summary=summary, tz=tz, since=since, audit=audit)
    # The chapters share their results: they show one state of the cluster, and no query is sent twice.
    reads = Reads(
        source,
        timeout,
        verb="incident_report",
        spent=time.monotonic() - started,
        now=report.about.now if report.about else None,
        remembers=True,
    )
    context = ReportContext(source, report, reads=reads, seconds=max(_LEAST, seconds / 10), is_short=is_short)
    # One progress line covers all chapters, so slow questions do not show their own.
    line = progress_of(progress, lambda: StepsLine("report: chapter", tuple(chapters_of(is_short=is_short))))
    with contextlib.closing(line), redirect_messages(lambda _: None):
        report = add_chapters(report, context, title, line)
    written = report.write(path, overwrite=overwrite, paper=paper)
    written.diagnosis = context.read_diagnosis
    return written
