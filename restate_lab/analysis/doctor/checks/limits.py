"""Checks of limits and scopes: a scope that gets no place or slot, and one that has most of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from restate_lab._text import format_age, format_duration, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import Row, backlogs_of, earliest, handler_paths, handlers_of, services_of
from restate_lab.analysis.doctor.scopes import (
    RULE,
    SLOT,
    LimitWait,
    dominant_part,
    dominant_use,
    limit_waits,
    waiting_heads,
)
from restate_lab.analysis.scopes import scope_key_of
from restate_lab.analysis.suggestions import ask_call, why_call
from restate_lab.calls import SuggestedCall


def starved_scopes(context: CheckContext) -> list[Finding]:
    """Find scopes and limit keys that a rule has kept from starting anything, while other calls run."""
    return [_starved_finding(context, each) for each in context.once(limit_waits) if each.is_starved]


def dominant_scopes(context: CheckContext) -> list[Finding]:
    """Find a scope with most slots of the invoker, or a limit key with most places of a rule, while others wait."""
    found = [_share_finding(context, each) for each in context.once(limit_waits) if each.is_dominated]
    return [*found, *_slot_findings(context)]


def severity_by_age(context: CheckContext, since: datetime | None) -> Severity:
    """Return the severity of a wait that began then."""
    waited = context.age(since)
    if waited >= context.thresholds.waiting_long:
        return Severity.CRITICAL
    return Severity.WARNING if waited >= context.thresholds.waiting else Severity.NOTE


def queued_ids(context: CheckContext, rows: Sequence[Row]) -> tuple[list[str], int]:
    """Return the invocations that wait in the vqueues of these heads, and their number."""
    ids = [row["entry_id"] for row in context.rows("queued", ids=[row["vqueue_id"] for row in rows], limit=MAX_ROWS)]
    # The counters include entries that back off or are scheduled.
    total = sum(int(row["num_inbox"] or 1) for row in rows)
    return ids[:MAX_IDS], len(ids) if 0 < len(ids) < MAX_ROWS else total


def _starved_finding(context: CheckContext, wait: LimitWait) -> Finding:
    waiting = {scope_key_of(row) for row in wait.heads}
    starved = waiting.pop() if len(waiting) == 1 else wait.place
    since = earliest(wait.heads, "since")
    oldest = min((each for each in wait.holders if each.holder), key=lambda each: str(each.held_since), default=None)
    held = f", the oldest for {format_age(oldest.held_since, context.now)}" if oldest and oldest.held_since else ""
    holders = [f"{plural(count, 'running call')} {place.inside}" for place, count in wait.shares().most_common()]
    ids, count = queued_ids(context, wait.heads)
    return _finding(
        context,
        wait.heads,
        queued=(ids, count),
        title=f"{plural(count, 'invocation')} of {handlers_of(wait.heads)} {starved.inside} "
        f"{verb_form(count, 'waits', 'wait')} for a place under the rule “{one_line(wait.rule, 40)}”, the first for "
        f"{format_age(since, context.now)}",
        details=sentences(
            f"No call {starved.inside} has started or ended in the last {format_duration(context.thresholds.waiting)}",
            "Other calls run",
            f"{join(holders)} {verb_form(wait.taken, 'has', 'have')} all places{held}" if holders else "",
        ),
        subject=str(wait.place),
        next_step=why_call(oldest.holder) if oldest and oldest.holder else ask_call("limits"),
    )


def _share_finding(context: CheckContext, wait: LimitWait) -> Finding:
    place, taken = dominant_part(context, wait) or (wait.place, wait.taken)
    (ids, count), since = queued_ids(context, wait.heads), earliest(wait.heads, "since")
    return _finding(
        context,
        wait.heads,
        queued=(ids, count),
        title=f"{place} has {taken:,} of {plural(wait.taken, 'place')} under the rule “{one_line(wait.rule, 40)}”, and "
        f"{plural(count, 'other invocation')} {verb_form(count, 'waits', 'wait')}",
        details=sentences(
            f"They are in {join(sorted({str(scope_key_of(row)) for row in wait.heads}))}, the first has waited for "
            f"{format_age(since, context.now)}",
            "A rule for each limit key keeps places free for the others",
        ),
        subject=str(place),
        next_step=ask_call("limits", comment="lab.admin.upsert_rules changes a rule"),
    )


def _slot_findings(context: CheckContext) -> list[Finding]:
    use = context.once(dominant_use)
    if use is None:
        return []
    place, taken, total = use
    rows = [row for row in context.once(waiting_heads) if row["blocked_on"] == SLOT and not place.has(row)]
    (ids, count), since = queued_ids(context, rows), earliest(rows, "since")
    return [
        _finding(
            context,
            rows,
            queued=(ids, count),
            title=f"{place} has {taken:,} of {plural(total, 'running call')}, and {plural(count, 'other invocation')} "
            f"of {handlers_of(rows)} {verb_form(count, 'waits', 'wait')} for a slot of the invoker",
            details=sentences(
                f"The first has waited for {format_age(since, context.now)}",
                f"A rule for scope {one_line(place.scope, 40)} keeps slots free for the others",
            ),
            subject=f"slots: {place}",
            next_step=ask_call("scopes", comment="lab.admin.upsert_rules limits a scope"),
        )
    ]


def _finding(
    context: CheckContext,
    rows: Sequence[Row],
    *,
    queued: tuple[Sequence[str], int],
    title: str,
    details: str,
    subject: str,
    next_step: SuggestedCall,
) -> Finding:
    ids, count = queued
    since = earliest(rows, "since")
    return Finding(
        severity=severity_by_age(context, since),
        title=title,
        details=details,
        where=handlers_of(rows),
        subject=Subject(subject, services_of(rows)),
        backlogs=backlogs_of(rows),
        count=count,
        ids=tuple(ids),
        since=since,
        evidence=ask_call("limits" if rows[0]["blocked_on"] == RULE else "blocked_heads"),
        suggested=(next_step,),
        about=handler_paths(rows),
    )
