"""Checks of work that should run: no free slot, a paused queue, a late start, very long attempts, and samples of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import takewhile

import pandas as pd

from restate_lab._text import (
    format_age,
    format_duration,
    format_timestamp,
    join,
    one_line,
    plural,
    sentences,
    verb_form,
)
from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.checks.faults import uncounted_rows
from restate_lab.analysis.doctor.checks.limits import queued_ids, severity_by_age
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import (
    Row,
    backlogs_of,
    earliest,
    handler_paths,
    handlers_of,
    services_of,
    timestamp_of,
)
from restate_lab.analysis.doctor.scopes import RULE, counter_of, covered_queues, waiting_heads
from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.queues.text import RESOURCES
from restate_lab.analysis.suggestions import ask_call, why_call
from restate_lab.calls import SuggestedCall
from restate_lab.errors import NotOnThisServer
from restate_lab.server import has_vqueues

# On one line, so that a shell can show it as a command.
_COURSE = (
    "SELECT sampled_at, invocations, oldest_created_at FROM samples WHERE key IS NULL AND service = :service "
    "AND handler = :handler AND status = :status ORDER BY sampled_at DESC LIMIT 100"
)
# Status in the samples → its text in a title, and the severity; a suspended invocation may wait for days.
_STATES = {
    "paused": ("paused", Severity.WARNING),
    "inboxed": ("queued for a key", Severity.WARNING),
    "invoked": ("running or backing-off", Severity.NOTE),
}


def backlog(context: CheckContext) -> list[Finding]:
    """Find invocations that are ready and wait for a slot of the invoker."""
    invoked = context.census.count_open("invoked")
    idle = invoked - int(context.rows("invokers")[0]["busy"]) if invoked else 0
    if idle <= 0:
        return []
    # The check ``scheduler_gaps`` reports those that the scheduler does not count.
    is_counted = has_vqueues(context.source) and context.source.live
    others = {row["id"] for row in context.once(uncounted_rows)} if is_counted else ()
    rows = [row for row in context.rows("ready", limit=MAX_ROWS) if row["id"] not in others]
    since = earliest(rows, "modified_at")
    if not rows or context.age(since) < context.thresholds.waiting:
        return []
    count, handlers = len(rows) if len(rows) < MAX_ROWS else max(idle, MAX_ROWS), handlers_of(rows)
    return [
        Finding(
            severity=severity_by_age(context, since),
            title=f"{plural(count, 'invocation')} of {handlers} {verb_form(count, 'is', 'are')} ready and "
            f"{verb_form(count, 'waits', 'wait')} for a slot of the invoker{_oldest_age(context, since)}",
            where=handlers,
            subject=Subject("", services_of(rows)),
            backlogs=backlogs_of(rows),
            count=count,
            ids=tuple(row["id"] for row in rows)[:MAX_IDS],
            since=since,
            evidence=ask_call("overview"),
            suggested=(ask_call("oldest_unmoved", comment="running invocations hold the slots"),),
            about=handler_paths(rows),
        )
    ]


def blocked_queues(context: CheckContext) -> list[Finding]:
    """Find vqueues that are paused, or whose first entry has waited for a resource other than a key for long."""
    covered = context.once(covered_queues)
    rows = [row for row in context.once(waiting_heads) if row["vqueue_id"] not in covered]
    groups = group_by(rows, lambda row: counter_of(row) if row["blocked_on"] == RULE else row["blocked_on"])
    return [*_paused_findings(context), *(_queue_finding(context, members) for members in groups)]


def paused_entries(context: CheckContext) -> list[Row]:
    """Return the calls in paused vqueues that have not started or wait for their next attempt."""
    if not (has_vqueues(context.source) and context.census.count_open("inboxed", "scheduled", "invoked")):
        return []
    queues = [row["vqueue_id"] for row in context.rows("paused_queues", limit=MAX_ROWS)]
    return context.rows("paused_entries", ids=queues, limit=MAX_ROWS) if queues else []


def late_starts(context: CheckContext) -> list[Finding]:
    """Find scheduled invocations that should have started already."""
    count = context.census.total("overdue")
    # The check ``blocked_queues`` reports those in paused queues.
    before = pd.Timestamp(context.clock - context.thresholds.waiting)
    held = context.once(paused_entries) if count and context.source.has("sys_vqueue_meta") else []
    paused = {row["entry_id"] for row in held if row["status"] == "scheduled" and row["since"] < before}
    count -= len(paused)
    if count <= 0:
        return []
    handlers = join(f"{service}/{handler}" for (service, handler), _ in context.census.totals_by_handler("overdue"))
    first = earliest(context.census.rows, "starts_first")
    evidence = ask_call("wakes_next", until="0s")
    return [
        Finding(
            severity=Severity.WARNING,
            title=f"{plural(count, 'scheduled invocation')} of {handlers} should have started by now",
            where=handlers,
            subject=Subject("", tuple(sorted({each for (each, _), _ in context.census.totals_by_handler("overdue")}))),
            count=count,
            ids=tuple(
                row["id"]
                for row in context.ask("wakes_next", until="0s")
                if row["event"] == "start" and row["id"] not in paused
            )[:MAX_IDS],
            since=first,
            evidence=evidence,
            suggested=(replace(evidence, comment="its partition may have no leader; check the server logs"),),
            about=tuple(sorted(handler for handler, _ in context.census.totals_by_handler("overdue"))),
        )
    ]


def long_attempts(context: CheckContext) -> list[Finding]:
    """Count attempts that have been running for a long time."""
    retried = {each.id for each in context.retrying_invocations}
    rows = context.rows("long_attempts", before=context.now - context.thresholds.attempt, limit=MAX_IDS)
    # An attempt in a retry storm is short; it only seems long if ``now`` looks ahead.
    rows = [row for row in rows if row["id"] not in retried]
    if not rows:
        return []
    known = list(context.rows_by_id("invocations", [row["id"] for row in rows]))
    since, count, handlers = timestamp_of(rows[0]["last_start_at"]), len(rows), handlers_of(known)
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"{plural(count, 'attempt')} of {handlers} {verb_form(count, 'has', 'have')} been running for "
            f"longer than {format_duration(context.thresholds.attempt)}{_oldest_age(context, since)}",
            where=handlers,
            subject=Subject("", services_of(known)),
            count=count,
            ids=tuple(row["id"] for row in rows),
            since=since,
            evidence=ask_call("overview"),
            suggested=(why_call(rows[0]["id"]),),
        )
    ]


def sampled_backlog(context: CheckContext) -> list[Finding]:
    """Find handlers whose invocations were paused, queued for long, or running for very long in the newest sample."""
    rows = context.rows("sampled_counts")
    if not rows:
        raise NotOnThisServer(f"{context.source.name} has no samples; visits with samples=True (the default) add them.")
    counts = [row for row in rows if row["key"] is None and row["status"] in _STATES]
    courses = group_by(counts, lambda row: (row["status"], row["service"], row["handler"]))
    newest = [course for course in courses if course[0]["sampled_at"] == course[0]["newest_at"]]
    return [_sample_finding(course, rows) for course in newest if _is_reported(context, course[0])]


def _paused_findings(context: CheckContext) -> list[Finding]:
    """Return a warning about the calls that would run, and a note about those that are only due later."""
    entries = context.once(paused_entries)
    due = [row for row in entries if row["since"] <= pd.Timestamp(context.clock)]
    held = {row["vqueue_id"] for row in due}
    later = [row for row in entries if row["vqueue_id"] not in held]
    return [_paused_finding(context, rows, is_due=rows is due) for rows in (due, later) if rows]


def _paused_finding(context: CheckContext, rows: Sequence[Row], *, is_due: bool) -> Finding:
    queues = list(dict.fromkeys(row["vqueue_id"] for row in rows))
    count, since, handlers = len(rows), earliest(rows, "since"), handlers_of(rows)
    their = verb_form(len(queues), "its queue is", "their queues are")
    problem = f"{verb_form(count, 'waits', 'wait')} in paused queues{_oldest_age(context, since)}"
    if not is_due:
        problem = f"{verb_form(count, 'does', 'do')} not start on time while {their} paused"
    first = f"The first is due at {format_timestamp(since, now=context.now)}" if since and not is_due else ""
    return Finding(
        severity=Severity.WARNING if is_due else Severity.NOTE,
        title=f"{plural(count, 'invocation')} of {handlers} {problem}",
        details=sentences(f"They are in {plural(len(queues), 'queue')}" if len(queues) > 1 else "", first),
        where=handlers,
        subject=Subject("queue paused" if is_due else "queue paused, due later", services_of(rows)),
        count=count,
        ids=tuple(row["entry_id"] for row in rows)[:MAX_IDS],
        since=since if is_due else None,
        evidence=ask_call("queues"),
        suggested=(SuggestedCall("lab.admin.resume_vqueue", (queues[0],)),),
        about=handler_paths(rows),
    )


def _queue_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    what, since = rows[0]["blocked_on"], earliest(rows, "since")
    ids, count = queued_ids(context, rows)
    handlers = handlers_of([row for row in rows if row["target_service_name"] is not None]) or "unknown handlers"
    place, rule = counter_of(rows[0]) if what == RULE else (None, "")
    resource = f"a place under the rule “{one_line(rule, 40)}”" if rule else RESOURCES.get(what, what)
    scope = f" {place.inside}" if place else ""
    return Finding(
        severity=severity_by_age(context, since),
        title=f"{plural(count, 'invocation')} of {handlers}{scope} {verb_form(count, 'waits', 'wait')} for {resource}"
        f"{_oldest_age(context, since)}",
        details=sentences(f"They are in {plural(len(rows), 'queue')}" if len(rows) > 1 else ""),
        where=handlers,
        subject=Subject(f"{what}: {place}" if place else what, services_of(rows)),
        backlogs=backlogs_of(rows),
        count=count,
        ids=tuple(ids),
        since=since,
        evidence=ask_call("limits" if rule else "blocked_heads"),
        suggested=(ask_call("oldest_unmoved", comment="running invocations hold the places"),),
        about=handler_paths(rows),
    )


def _oldest_age(context: CheckContext, since: datetime | None) -> str:
    return f", the oldest for {format_age(since, context.now)}" if since else ""


def _is_reported(context: CheckContext, row: Row) -> bool:
    """Return whether the newest sample of a handler and status shows a problem, even if the next one shows none."""
    limits, oldest = context.thresholds, timestamp_of(row["oldest_created_at"])
    age = row["sampled_at"] - oldest if oldest else timedelta(0)
    if row["status"] == "inboxed":
        return bool(row["invocations"] >= limits.queue and age >= limits.waiting_long)
    return bool(row["status"] == "paused" or age >= limits.attempt)


def _sample_finding(course: Sequence[Row], rows: Sequence[Row]) -> Finding:
    newest, oldest = course[0], course[0]["oldest_created_at"]
    sampled = {row["sampled_at"] for row in rows if row["shard"] == newest["shard"]}
    times = sorted((at for at in sampled if at <= newest["sampled_at"]), reverse=True)
    last = [row for row in rows if row["sampled_at"] == row["newest_at"] and row["service"] == newest["service"]]
    keys = [row for row in last if row["key"] is not None]
    # The newest samples in a row with the same oldest invocation; a sample without a row ends them.
    pairs = zip(course, times, strict=False)
    alike = takewhile(lambda pair: (pair[0]["sampled_at"], pair[0]["oldest_created_at"]) == (pair[1], oldest), pairs)
    same = [row for row, _ in alike]
    count, handler = int(newest["invocations"]), f"{newest['service']}/{newest['handler']}"
    names = join(f"{one_line(str(row['key']), 40)} ({row['invocations']:,})" for row in keys)
    text, severity = _STATES[newest["status"]]
    age = format_age(timestamp_of(newest["oldest_created_at"]), newest["sampled_at"])
    return Finding(
        severity=severity,
        title=f"sample of {format_timestamp(newest['sampled_at'])}: {plural(count, 'invocation')} of {handler} "
        f"{verb_form(count, 'was', 'were')} {text}, the oldest created {age} before",
        details=sentences(
            _course_text(same),
            f"Longest queues of the service by key: {names}" if names and newest["status"] == "inboxed" else "",
        ),
        where=handler,
        count=count,
        ids=(),
        since=timestamp_of(same[-1]["sampled_at"]),
        evidence=SuggestedCall(
            "lab.sql", (_COURSE,), {name: newest[name] for name in ("service", "handler", "status")}
        ),
        suggested=(SuggestedCall("doctor", comment="on the live cluster: an archive has only their numbers"),),
    )


def _course_text(same: Sequence[Row]) -> str:
    if len(same) < 2:
        return ""
    least = min(int(row["invocations"]) for row in same)
    first = format_timestamp(same[-1]["sampled_at"])
    return (
        f"The oldest one is the same in {len(same):,} samples since {first}, with {plural(least, 'invocation')} or more"
    )
