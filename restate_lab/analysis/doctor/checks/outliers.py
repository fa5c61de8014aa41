"""Checks of outliers: journals, states and durations that are much larger than others."""

from __future__ import annotations

from restate_lab._text import format_duration, join, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import HandlerOutcomes
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.grouping import group_by_step
from restate_lab.analysis.doctor.model import MAX_IDS, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import timestamp_of
from restate_lab.analysis.suggestions import ask_call
from restate_lab.calls import SuggestedCall
from restate_lab.frames import records

_MAX_JOURNALS = 100  # long journals to list
_MAX_EXAMPLES = 20  # slow invocations whose journals are read
_MIN_SHARE = 0.5  # of the duration in own steps; the rest is sleeps and waits for others


def long_journals(context: CheckContext) -> list[Finding]:
    """Count journals that are long and much longer than the average."""
    total = sum(int(row["invocations"]) for row in context.census.rows)
    average = context.census.total("journal_entries") / total if total else 0.0
    limit = max(context.thresholds.journal_entries, int(average * context.thresholds.journal_outlier))
    handlers = [f"{service}/{name}" for (service, name), n in context.census.longest_journals() if n >= limit]
    rows = context.rows("long_journals", entries=limit, limit=_MAX_JOURNALS) if handlers else []
    if not rows:
        return []
    count, first = len(rows), rows[0]
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"{'at least ' if count == _MAX_JOURNALS else ''}{plural(count, 'journal')} of {join(handlers)} "
            f"{verb_form(count, 'has', 'have')} {limit:,} entries or more, the longest {int(first['journal_size']):,}",
            details="Every attempt reads the whole journal.",
            where=join(handlers),
            subject=Subject("", tuple(sorted({each.partition("/")[0] for each in handlers}))),
            count=count,
            ids=tuple(row["id"] for row in rows),
            since=None,
            evidence=ask_call("largest_journals"),
            suggested=(SuggestedCall("journal", (first["id"],)),),
        )
    ]


def large_states(context: CheckContext) -> list[Finding]:
    """Count keys of virtual objects and workflows whose state is large."""
    limit = context.thresholds.state_bytes
    rows = context.rows("large_state", bytes=limit, limit=MAX_IDS)
    if not rows:
        return []
    count, first = len(rows), rows[0]
    keys = [f"{row['service_name']}/{row['service_key']}" for row in rows]
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"{'at least ' if count == MAX_IDS else ''}{plural(count, 'key')} ({join(keys)}) "
            f"{verb_form(count, 'has', 'have')} a state of {limit // 1024:,} KiB or more, the largest "
            f"{int(first['bytes'] or 0) / 1024:,.0f} KiB",
            details="Each call of a key may load its whole state.",
            where=join(keys),
            subject=Subject("", tuple(sorted({row["service_name"] for row in rows}))),
            count=count,
            ids=(),
            evidence=ask_call("state_sizes"),
            suggested=(ask_call("state_sizes", service=first["service_name"]),),
        )
    ]


def slow_handlers(context: CheckContext) -> list[Finding]:
    """Find handlers whose own steps take much longer than other handlers take in total."""
    slow, ended = context.census.slow_handlers(context.thresholds), context.outcomes
    return [
        each for handler, usual in slow.items() for each in _own_step_findings(context, handler, ended[handler], usual)
    ]


def _own_step_findings(
    context: CheckContext, handler: tuple[str, str], ended: HandlerOutcomes, usual: float
) -> list[Finding]:
    """Return the finding if the journals show that most of the time is spent in the handler's own steps."""
    service, name = handler
    slow_ms = context.thresholds.slow_ms
    frame = context.slow_invocations(handler)
    examples = records(frame.head(_MAX_EXAMPLES))
    steps = context.rows("steps", ids=[row["id"] for row in examples]) if examples else []
    took = sum((row["completed_at"] - row["running_at"]).total_seconds() * 1000 for row in examples)
    if not steps or sum(int(row["ms"]) for row in steps) < _MIN_SHARE * took:
        return []
    grouped = group_by_step(steps, lambda _: None, lambda row: row["name"], most=None)
    times = [sum(int(row["ms"]) for row in group.members) for group in grouped]
    slowest, share = grouped[times.index(max(times))], min(1.0, max(times) / took)
    count, ids = len(frame), tuple(frame["id"])[:MAX_IDS]
    return [
        Finding(
            severity=Severity.WARNING,
            title=f"{service}/{name} takes {format_duration((ended.median_ms or 0.0) / 1000)} "
            f"(median of {ended.succeeded:,}), {share:.0%} of it in {slowest.title() or 'a step without a name'}",
            details=sentences(
                slowest.details(),
                f"Other handlers take {format_duration(usual / 1000)}",
                f"{plural(count, 'invocation')} took more than {format_duration(slow_ms / 1000)}",
            ),
            where=f"{service}/{name}",
            count=count,
            ids=ids,
            since=timestamp_of(frame["running_at"].min()),
            evidence=ask_call("latency_parts", service=service),
            suggested=(SuggestedCall("journal", (ids[0],)),),
        )
    ]
