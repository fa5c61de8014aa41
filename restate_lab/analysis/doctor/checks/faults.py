"""Checks of known faults of servers: unscheduled entries, left-over timers, late cleanup, old protocols."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

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
from restate_lab.analysis.doctor.checks.retries import failing_for
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import (
    OUTLIVED,
    QUEUED_CHANGES,
    UNSCHEDULED,
    Row,
    earliest,
    handler_paths,
    handlers_of,
    services_of,
)
from restate_lab.analysis.failure_reasons import FailureReason
from restate_lab.analysis.journal.errors import deprecated_deployment, is_stale_timer
from restate_lab.analysis.patterns import group_by, summarize_messages
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.calls import SuggestedCall

_FEW = 3  # keys with their holders in a text
_CONFIRM = 1.0  # seconds between two reads: an entry that is starting at the first one has started at the second one


def refused_protocols(context: CheckContext) -> list[Finding]:
    """Find invocations that failed at once because their deployment speaks service protocol 3 or older."""
    rows = context.rows("refused", limit=MAX_ROWS) if context.census.total("refused") else []
    grouped = group_by(rows, lambda row: (row["target_service_name"], deprecated_deployment(row["failure"])))
    return [_refused_finding(context, members) for members in grouped]


def stale_timers(context: CheckContext) -> list[Finding]:
    """Find invocations that cannot continue because a timer of an earlier invocation with their id fired."""
    rows: list[Row] = [
        {"id": each.id, "handler": each.target, "message": each.message, "since": each.since, "is_paused": False}
        for each in failing_for(context, FailureReason.STALE_TIMER)
    ]
    paused = context.paused_invocations() if context.census.count_open("paused") else []
    rows += [
        {**row, "handler": handlers_of([row]), "since": row["paused_at"], "is_paused": True}
        for row in paused
        if is_stale_timer(row["message"])
    ]
    return [_stale_timer_finding(context, members) for members in group_by(rows, lambda row: row["handler"])]


def scheduler_gaps(context: CheckContext) -> list[Finding]:
    """Find invocations that are ready, and that the scheduler of their partition does not count."""
    rows = context.once(uncounted_rows)
    if not rows:
        return []
    has_no_scheduler = not int(context.rows("schedulers")[0]["vqueues"])
    handlers, count = handlers_of(rows), len(rows)
    ids, since = tuple(row["id"] for row in rows)[:MAX_IDS], earliest(rows, "since")
    blocked = context.blocked_by(ids)
    problem = (
        "no partition has a scheduler"
        if has_no_scheduler
        else f"the scheduler does not count {verb_form(count, 'it', 'them')}"
    )
    advice = (
        "The workers run with worker.disable-scheduler, or no partition has a leader: check the configuration and logs"
        if has_no_scheduler
        else f"{verb_form(count, 'It starts', 'They start')} when the partition gets another leader: restart its node. "
        "Known faults of this kind were repaired in 1.7.4, 1.7.7 and 1.7.9"
    )
    return [
        Finding(
            severity=Severity.CRITICAL,
            title=f"{plural(count, 'invocation')} of {handlers} {verb_form(count, 'is', 'are')} ready, and {problem}",
            details=sentences(f"The oldest is ready for {format_age(since, context.clock)}", advice),
            where=handlers,
            subject=Subject("no scheduler" if has_no_scheduler else "", services_of(rows)),
            count=count,
            ids=ids,
            blocked=blocked,
            since=since,
            evidence=SuggestedCall("lab.sql", (UNSCHEDULED,)),
            suggested=(why_call(context.most_blocking(ids)),),
            about=handler_paths(rows),
        )
    ]


def uncounted_rows(context: CheckContext) -> list[Row]:
    """Return the invocations that are ready and not counted at two times, with a second between them."""
    invoked = context.census.count_open("invoked")
    idle = invoked - int(context.rows("invokers")[0]["busy"]) if invoked else 0
    if idle <= 0 and not context.census.count_open("inboxed"):
        return []
    queues = [row["vqueue_id"] for row in context.rows("unblocked_queues", limit=MAX_ROWS)]
    # Ages are counted from the present even if ``now`` looks ahead: what is scheduled then is not known.
    before = context.clock - context.thresholds.ready_for
    first = context.rows("unscheduled", ids=queues, before=before, limit=MAX_ROWS) if queues else []
    if not first:
        return []
    pause = min(_CONFIRM, context.source.seconds_left)
    time.sleep(pause)
    again = context.rows("unscheduled", ids=queues, before=before + timedelta(seconds=pause), limit=MAX_ROWS)
    confirmed = {(row["id"], row["since"]) for row in again}
    return [row for row in first if (row["id"], row["since"]) in confirmed]


def late_cleanup(context: CheckContext) -> list[Finding]:
    """Count completed invocations that should have been removed a while ago: the cleanup is behind."""
    census = context.census
    count, by_handler = census.total("outlived"), census.totals_by_handler("outlived")
    if not count:
        return []
    before = context.clock - context.thresholds.cleanup
    ids = tuple(row["id"] for row in context.rows("outlived", before=before, limit=MAX_IDS))
    handlers = join(f"{service}/{handler}" for (service, handler), _ in by_handler)
    first, by = earliest([row for row in census.rows if row["outlived"]], "kept_first"), context.thresholds.cleanup
    return [
        Finding(
            severity=Severity.WARNING,
            title=f"{plural(count, 'completed invocation')} of {handlers} {verb_form(count, 'is', 'are')} kept more "
            f"than {format_duration(by)} longer than {verb_form(count, 'its', 'their')} retention",
            details=sentences(
                f"The first should have been removed at {format_timestamp(first, now=context.now)}" if first else "",
                "The cleanup is behind: check the logs of the server and, since 1.8, its metric "
                "restate.partition.cleaner_purge_delay.seconds",
            ),
            where=handlers,
            subject=Subject("", tuple(sorted({service for (service, _), _ in by_handler}))),
            count=count,
            ids=ids,
            since=first,
            evidence=SuggestedCall("lab.sql", (OUTLIVED,), {"before": f"{before:%Y-%m-%dT%H:%M:%SZ}"}),
            suggested=(
                plan_call("purge", ids, total=count, comment="only if their number does not fall within an hour"),
            ),
            about=tuple(sorted(handler for handler, _ in by_handler)),
        )
    ]


def queued_changes(context: CheckContext) -> list[Finding]:
    """Find changes of state that were accepted and wait until the invocation that holds their key ends."""
    has_holders = context.census.count_open("inboxed", "invoked", "suspended", "paused")
    before = context.now - context.thresholds.waiting
    queues = context.rows("queued_changes", before=before, limit=MAX_ROWS) if has_holders else []
    if not queues:
        return []
    locks = {row["vqueue_id"]: row for row in context.rows("locks", ids=[row["vqueue_id"] for row in queues])}
    rows = [{**row, **locks[row["vqueue_id"]]} for row in queues if row["vqueue_id"] in locks]
    return [_changes_finding(context, members) for members in group_by(rows, lambda row: row["service_name"])]


def _refused_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    service, deployment = rows[0]["target_service_name"], deprecated_deployment(rows[0]["failure"])
    count, handlers = len(rows), handlers_of(rows)
    latest = context.latest_deployment(service)
    is_current = latest is not None and latest.id == deployment
    restartable = tuple(row["id"] for row in rows if row["target_service_ty"] != "workflow")
    register = SuggestedCall(
        "lab.admin.create_deployment", (), {"uri": "http://…"}, comment=f"first upgrade the SDK of {service}"
    )
    restart = plan_call("restart_as_new", restartable[:MAX_IDS], total=len(restartable))
    return Finding(
        severity=Severity.CRITICAL if is_current else Severity.WARNING,
        title=f"{plural(count, 'invocation')} of {handlers} failed because "
        f"{deployment or 'the deployment'} speaks service protocol 3 or older",
        details=sentences(
            "Restate 1.8 and newer refuse it (RT0020)",
            f"New calls of {service} fail, too" if is_current else "",
            f"Upgrade the SDK, register the deployment, and restart {verb_form(count, 'it', 'them')} as new",
            "A workflow cannot be restarted: start it under another key" if len(restartable) < count else "",
        ),
        where=f"{handlers} on {deployment}" if deployment else handlers,
        subject=Subject(f"{service} on {deployment}" if deployment else service, (service,)),
        count=count,
        ids=tuple(row["id"] for row in rows)[:MAX_IDS],
        since=earliest(rows, "completed_at"),
        evidence=ask_call("terminal_failures", service=service, since="365d"),
        suggested=(register, restart) if restartable else (register,),
    )


def _stale_timer_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids, handler, count = tuple(row["id"] for row in rows), rows[0]["handler"], len(rows)
    blocked, (service, name) = context.blocked_by(ids), handler.split("/")
    again = f"then start {verb_form(count, 'it', 'them')} again: restart as new"
    kill = plan_call("kill", ids[:MAX_IDS], total=count, comment=again)
    return Finding(
        severity=Severity.CRITICAL,
        title=f"{plural(count, 'invocation')} of {handler} cannot continue: {verb_form(count, 'its', 'their')} journal "
        f"has a result of another kind than the code awaits",
        details=sentences(
            f"[RT0007] {one_line(summarize_messages(row['message'] or '' for row in rows), 160)}",
            "Probably an earlier invocation with the same id left a timer behind when it was killed or purged, and the "
            "timer has fired now (#5425)",
            "Retries do not help. Restate 1.8.0 and newer leave no such timers, but older ones still fire: use a "
            "new id, or another key for a workflow",
        ),
        where=handler,
        count=count,
        ids=ids[:MAX_IDS],
        blocked=blocked,
        since=earliest(rows, "since"),
        evidence=ask_call("paused", service=service)
        if rows[0]["is_paused"]
        else ask_call("retry_storm_ids", service=service, handler=name),
        suggested=(kill,),
    )


def _changes_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    count, service = sum(int(row["changes"]) for row in rows), rows[0]["service_name"]
    since, keys = earliest(rows, "first_created_at"), join(row["key"] for row in rows)
    holders = [row["holder_id"] for row in rows if row["holder_id"]]
    known = context.details_of(holders)
    texts = [
        f"{row['key']} is held by {holder['target']} ({holder['status']})"
        for row in rows[:_FEW]
        if (holder := known.get(row["holder_id"] or ""))
    ]
    is_long = context.age(since) >= context.thresholds.waiting_long
    evidence = SuggestedCall("lab.sql", (QUEUED_CHANGES,), {"service": service})
    return Finding(
        severity=Severity.WARNING if is_long else Severity.NOTE,
        title=f"{plural(count, 'change')} of state {verb_form(count, 'waits', 'wait')} for {keys}"
        + (f", the oldest for {format_age(since, context.now)}" if since else ""),
        details=sentences(
            join(texts),
            f"{verb_form(count, 'It is', 'They are')} applied when the key is free; do not send "
            f"{verb_form(count, 'it', 'them')} again",
        ),
        where=keys,
        subject=Subject(service, (service,)),
        count=count,
        ids=(),
        since=since,
        evidence=evidence,
        suggested=(why_call(holders[0]),) if holders else (evidence,),
    )
