"""The chapters of an incident report, one function each.

A chapter names the parts that could not be read. It raises RestateLabError if nothing could be read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._text import join, plural
from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor.additions import LEAST, is_compared
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.why import why
from restate_lab.document import Gaps, Text
from restate_lab.errors import RestateLabError
from restate_lab.progress import Progress
from restate_lab.reports.first_page import (
    diagnosis_title,
    draw_timeline,
    first_error,
    first_numbers,
    handler_names,
    lead_of,
    time_window,
)
from restate_lab.reports.parts import FirstPage, Part, Section
from restate_lab.reports.pictures import plot_of
from restate_lab.reports.reader import ReportContext
from restate_lab.reports.report import Report, with_values
from restate_lab.reports.sections import card_of, diagnosis_part, journal_parts, section_of, waits_parts
from restate_lab.reports.tables import TableBuilder, heading
from restate_lab.reports.timeline import (
    PRESENT_EVENTS,
    TIMED_EVENTS,
    EarlierTimes,
    TimelineEvent,
    action_events,
    deployment_events,
    finding_events,
    grouped_frame,
    note_events,
    read_changes,
    read_notes,
    timeline_frame,
)
from restate_lab.status import status_parts

_WORST = 3
_EVENTS, _FEW_EVENTS = 120, 25
_EVERY_EVENT = 400
_GAPS = 100  # routine events are grouped if the gap between them is less than 1/100 of the time span
_LEAST_GAP = pd.Timedelta("2s")


def diagnosis_chapter(context: ReportContext) -> Section:
    """Return the doctor's findings, with the verdict for the first page."""
    section = section_of(context.diagnosis, context.builder, title="What is wrong", rows=1)
    error = first_error(context.diagnosis, context.try_to_ask("retry_storm"))
    targets = context.blocked_targets()
    lead = lead_of(context.diagnosis, context.builder.masker, context.builder.zone, targets=targets, error=error)
    part = diagnosis_part(context.diagnosis, context.builder, is_short=context.is_short)
    return replace(section, parts=(part,), lead=lead)


def timeline_chapter(context: ReportContext) -> Section:
    """Return the timeline: routine events in groups, then all events in a folded table."""
    events, frames = timeline_events(context)
    every = timeline_frame(events)
    span = every["time"].max() - every["time"].min() if len(every) else pd.Timedelta(0)
    groups = grouped_frame(every, gap=max(span / _GAPS, _LEAST_GAP))
    times, has_every = EarlierTimes(context.source), len(groups) < len(every) and not context.is_short
    most = _FEW_EVENTS if context.is_short else _EVENTS
    parts = [times.with_links(context.builder.table(groups, rows=most, file="timeline", drop_empty=True), groups)]
    if has_every:
        table = context.builder.table(every, rows=_EVERY_EVENT, file="timeline_events", drop_empty=True)
        parts.append(replace(times.with_links(table, every), folded=f"All {len(every):,} events, one per row"))
    caption = (
        "Deployments, new errors, failures, pauses, restarts, the start of each critical finding, and the actions "
        "taken and noted with restate_lab. One row can combine several routine events. Earlier events may have expired."
    )
    if times.has_links:
        caption += " A click on a time opens the cluster as it was then."
    return context.section("Timeline", *parts, of=frames, caption=caption)


def timeline_events(context: ReportContext) -> tuple[list[TimelineEvent], list[pd.DataFrame]]:
    """Return the events since ``report.since``, and the frames that contain them."""
    since = context.report.since
    events = list(finding_events(context.diagnosis))
    frames = []
    for name, build_events in (TIMED_EVENTS | PRESENT_EVENTS).items():
        params = {"since": since} if name in TIMED_EVENTS else {}
        frame = context.try_to_ask(name, **params)
        if frame is not None:
            events += build_events(frame)
            frames.append(frame)
    registered = context.try_to_read_deployments()
    if registered is not None:
        events += deployment_events(registered)
    if context.report.about and not context.report.about.is_evidence:
        where: dict[str, Any] = {"since": since, "folder": context.report.audit}
        events += action_events(read_changes(context.source, **where)[0])
        events += note_events(read_notes(context.source, **where))
    return [each for each in events if each.at >= since], frames


def first_page(context: ReportContext) -> FirstPage:
    """Return the numbers, the timeline and the status counts of the first page, without parts that were not read."""
    since, diagnosis = context.report.since, context.diagnosis
    events, _ = timeline_events(context)
    began = diagnosis.by_severity("critical")["since"].min()
    window = time_window(events, None if pd.isna(began) else began, since=since, now=diagnosis.read_at)
    drawing = draw_timeline(
        window,
        diagnosis,
        events,
        context.try_to_count_created(window.start, window.bin),
        context.try_to_ask("throughput", since=window.start, bin=window.bin),
        times=EarlierTimes(context.source),
        zone=context.builder.zone,
        masker=context.builder.masker,
    )
    failures = context.try_to_ask("terminal_failures", since=since)
    overview = context.try_to_ask("overview")
    statuses = () if overview is None else status_parts(overview.groupby("status")["invocations"].sum().to_dict())
    total = plural(sum(count for _, count, _ in statuses), "invocation")
    return FirstPage(
        first_numbers(diagnosis, failures, context.builder.zone, since), drawing, statuses, f"{total} in flight"
    )


def worst_chapter(context: ReportContext) -> Section:
    """Return an explanation and the journal for one invocation of each of the three worst findings."""
    chosen = list(_worst_invocations(context.diagnosis.findings))
    if not chosen:
        return Section(
            "The worst findings in detail",
            (context.builder.blocks(Text("No critical finding is about an invocation.")),),
        )
    parts: list[Part] = []
    results: list[Any] = []
    for what, id_ in chosen:
        try:
            parts += _explanation_parts(context, id_, results, title=what)
        except RestateLabError as error:
            parts.append(context.builder.blocks(Gaps([str(error)], f"{id_} is not explained"), title=what))
    caption = f"One invocation for each of the {len(chosen)} worst findings: why it makes no progress, and its journal."
    return context.section("The worst findings in detail", *parts, of=results, caption=caption)


def contrast_chapter(context: ReportContext) -> Section:
    """Return what the failing invocations of the worst findings share, in contrast to healthy ones."""
    chapter, parts, results = "What the failing ones share", list[Part](), list[Any]()
    for row in _compared_findings(context.diagnosis.findings):
        try:
            result = compare_sides(context.limit_reads("contrast"), row["ids"])
        except RestateLabError as error:
            parts.append(context.builder.blocks(Gaps([str(error)], "Not compared"), title=row["title"]))
            continue
        results.append(result)
        parts.append(card_of(result, context.builder, title=row["title"]))
    if not parts:
        return Section(
            chapter,
            (context.builder.blocks(Text(f"No finding has {LEAST} failing invocations that could be compared.")),),
        )
    caption = "Columns and steps of failing and healthy invocations of one handler. Payloads were not read."
    return context.section(chapter, *parts, of=results, caption=caption)


def statuses_chapter(context: ReportContext) -> Section:
    """Return the number of invocations in each status."""
    frame = context.ask("overview")
    oldest = context.try_to_ask("oldest_unmoved")
    columns = ("id", "target", "status", "idle_for", "created_at")
    table = context.table(oldest, title="Longest without progress", columns=columns, rows=15, file="oldest_unmoved")
    picture = plot_of(
        "status", frame, context.builder.zone, "Invocations by service and status, without completed ones"
    )
    return context.section("Invocations", picture, table, of=(frame, oldest))


def waits_chapter(context: ReportContext) -> Section:
    """Return the wait-for graph."""
    waits, builder = context.waits, context.builder
    deadlocks = builder.table(
        waits.deadlocks.rename(columns={"waiting": "others_behind"}),
        columns=("description", "certain", "others_behind", "since", "cancel"),
        file="deadlocks",
    )
    blockers = builder.table(
        waits.grouped_blockers(),
        columns=("times", "target", "status", "waits_for", "direct_waiting", "total_waiting", "since", "id"),
        rows=20,
        file="root_blockers",
    )
    tables = {"deadlocks": deadlocks, "root blockers": blockers}
    folded = [replace(table, folded=f"The {name} as a table") for name, table in tables.items() if table.rows]
    parts = (*waits_parts(waits, builder), *folded)
    return context.section("Wait-for graph", *parts, of=(waits,), caption=f"{waits.summary}.")


def retries_chapter(context: ReportContext) -> Section:
    """Return the retrying invocations by step and error."""
    frame = context.ask("retry_storm")
    picture = plot_of("retries", frame, context.builder.zone, "Retrying invocations, by step and error")
    columns = (
        *("handler", "step", "error_code", "message", "invocations"),
        *("attempts", "worst", "next_retry_at", "example_id"),
    )
    rows = _add_handler_column(frame) if len(frame) else None
    return context.section(
        "Retries", picture, context.table(rows, columns=columns, rows=25, file="retries"), of=(frame,)
    )


def failures_chapter(context: ReportContext) -> Section:
    """Return invocations that failed, were cancelled or killed, or are paused."""
    frame = context.ask("terminal_failures", since=context.report.since)
    columns = ("handler", "status", "code", "message", "invocations", "first_at", "last_at", "example_id")
    ended = context.builder.table(
        _add_handler_column(frame), title="Failed, cancelled or killed", columns=columns, rows=30, file="failures"
    )
    paused = context.try_to_ask("paused")
    paused_columns = ("target", "paused_at", "step", "error_code", "message", "id")
    table = context.table(paused, title="Paused", columns=paused_columns, rows=30, file="paused")
    return context.section("Failures and pauses", ended, table, of=(frame, paused))


def latency_chapter(context: ReportContext) -> Section:
    """Return how long invocations took, and how many ended, by handler."""
    frame = context.ask("latency", since=context.report.since)
    rate = context.try_to_ask("throughput", since=context.report.since)
    picture = plot_of("latency", frame, context.builder.zone, "Duration of invocations, by handler")
    rates = None
    if rate is not None:
        rates = plot_of("throughput", rate, context.builder.zone, "Ended invocations, by outcome")
    caption = "Only completed invocations that are still retained. Expired invocations are not counted."
    return context.section("Latency and throughput", picture, rates, of=(frame, rate), caption=caption)


def deployments_chapter(context: ReportContext) -> Section:
    """Return the deployments, the invocations pinned to them, and the failing deployments."""
    frame = context.ask("deployment_pins")
    columns = (
        "deployment_id",
        "endpoint",
        "is_known",
        "latest_of",
        "pinned",
        "oldest_age",
        "can_be_removed",
        "created_at",
    )
    pins = context.builder.table(frame, columns=columns, rows=30, file="deployments")
    failing = context.try_to_ask("failing_deployments")
    failing_columns = (
        *("endpoint", "error_code", "invocations", "attempts"),
        *("services", "example_message", "deployment_id"),
    )
    table = context.table(failing, title="Failing", columns=failing_columns, rows=20, file="failing_deployments")
    return context.section("Deployments", pins, table, of=(frame, failing))


def method_chapter(context: ReportContext) -> Section:
    """Return how the report's data was read, and which records expire soon."""
    checked = context.builder.table(
        context.diagnosis.checked.round({"seconds": 3}),
        title="Checks of the doctor",
        columns=("description", "findings", "queries", "seconds"),
        rows=100,
    )
    missing = context.diagnosis.not_read if len(context.diagnosis.not_read) else None
    not_checked = context.table(missing, title="Not checked", columns=("description", "reason"), rows=100)
    expiring = context.try_to_ask("expiring", until="24h")
    soon = context.table(
        expiring if expiring is not None and len(expiring) else None,
        title="Failures with records that expire within a day",
        columns=("target", "status", "completed_at", "expires_at", "id"),
        rows=20,
        file="expiring",
    )
    explanation = (
        "The tables of the cluster are read one after another, not at the same time. On a busy cluster, numbers in two "
        "chapters can differ. Counts include only retained invocations. IDs are complete: you can copy them."
    )
    title = "Appendix: how the data was read"
    section = context.section(
        title, context.builder.blocks(Text(explanation)), checked, not_checked, soon, of=(expiring,)
    )
    return replace(section, is_appendix=True)


CHAPTERS: Mapping[str, Callable[[ReportContext], Section]] = MappingProxyType(
    {
        "What is wrong": diagnosis_chapter,
        "Timeline": timeline_chapter,
        "The worst findings in detail": worst_chapter,
        "What the failing ones share": contrast_chapter,
        "Invocations": statuses_chapter,
        "Wait-for graph": waits_chapter,
        "Retries": retries_chapter,
        "Failures and pauses": failures_chapter,
        "Latency and throughput": latency_chapter,
        "Deployments": deployments_chapter,
        "Appendix: how the data was read": method_chapter,
    }
)
"""Title → the function that builds the chapter, in the order of the report."""
_SHORT = ("What is wrong", "Timeline")
"""The chapters of a short report; the actions come after them, as in each report."""


def chapters_of(*, is_short: bool) -> dict[str, Callable[[ReportContext], Section]]:
    """Return the chapters of a report, in their order."""
    return {name: make for name, make in CHAPTERS.items() if not is_short or name in _SHORT}


def add_chapters(report: Report, context: ReportContext, title: str | None, progress: Progress) -> Report:
    """Return the report with its chapters and its first page; ``title`` None names the first finding."""
    chapters = chapters_of(is_short=context.is_short)
    for number, (chapter, make) in enumerate(chapters.items(), 1):
        progress.update(number, len(chapters))
        section = _build_chapter(chapter, make, context.with_report(report))
        report = report.add(replace(section, statements=()) if context.is_short else section)
    if context.is_short:
        report = report.add(_rest_section(chapters, report.maker))
    try:
        page, name = first_page(context.with_report(report)), title or diagnosis_title(context.diagnosis)
        return with_values(report, title=heading(context.builder.masker.text(name)), first_page=page)
    except RestateLabError:  # the first chapter shows why there is no diagnosis
        return report


def _build_chapter(chapter: str, make: Callable[[ReportContext], Section], context: ReportContext) -> Section:
    """Return the chapter, or a chapter that gives the reason why it could not be read."""
    try:
        return make(context)
    except RestateLabError as error:
        reason = context.builder.masker.text(" ".join(str(error).split()))
        return Section(chapter, (context.builder.blocks(Gaps([reason])),), lead=(f"Not read: {chapter}: {reason}",))


def _rest_section(chapters: Collection[str], builder: TableBuilder) -> Section:
    """Return the end of a short report, which names the chapters that it does not have."""
    rest = join([name for name in CHAPTERS if name not in chapters], len(CHAPTERS))
    text = f"Not in this short report: {rest}, and the SQL. length='full' adds them; an HTML report has them."
    return Section("", (builder.blocks(Text(text)),), is_appendix=True)


def _worst_invocations(findings: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield a title and an invocation ID for each of the worst findings: first the worst finding of each check."""
    rows = [row for row in findings.to_dict("records") if row["severity"] == "critical" and _invocation_ids(row)]
    first = {row["check"]: row for row in reversed(rows)}
    ordered = [row for row in rows if first[row["check"]] is row] + [
        row for row in rows if first[row["check"]] is not row
    ]
    for row in ordered[:_WORST]:
        yield row["title"], _invocation_ids(row)[0]


def _compared_findings(findings: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the worst findings whose invocations the doctor compares."""
    rows = [row for row in findings.to_dict("records") if is_compared(row["check"], row["count"], row["ids"])]
    return rows[:_WORST]


def _invocation_ids(row: Mapping[Any, Any]) -> list[str]:
    return [each for each in row["ids"] if str(each).startswith("inv_")]


def _explanation_parts(context: ReportContext, id_: str, results: list[Any], *, title: str) -> Iterator[Part]:
    """Yield the parts about one invocation, and append the values that they show to ``results``."""
    builder = context.builder
    explanation = why(context.reads, id_)
    results.append(explanation)
    yield card_of(explanation, builder, title=title)
    frame, _ = read_journal(context.limit_reads("journal"), id_)
    results.append(frame)
    yield from journal_parts(frame, builder, file=f"journal_{id_}")


def _add_handler_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(handler=handler_names(frame))
