"""Journals and states that are far larger than others."""

from __future__ import annotations

from collections.abc import Sequence

from restate_lab._text import format_duration, join, plural, verb_form
from restate_lab.analysis.doctor.census import Ended
from restate_lab.analysis.doctor.checks.retries import by_step
from restate_lab.analysis.doctor.context import IDS, Finding, Look, Row, Severity, moment
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.suggestions import SuggestedCall, ask_call

__all__ = ["large_states", "long_journals", "slow_handlers"]

_LONGEST = 100  # journals that are read
_EXAMPLES = 20  # invocations whose journals are read
_MOSTLY = 0.5  # of the time; the rest are sleeps, and waits for others


def long_journals(look: Look) -> list[Finding]:
    """Count journals that are long, and far longer than the average one."""
    everybody = sum(int(row["n"]) for row in look.census.rows)
    average = look.census.total("journal_entries") / everybody if everybody else 0.0
    limit = max(look.thresholds.journal_entries, int(average * look.thresholds.journal_outlier))
    handlers = [f"{service}/{name}" for (service, name), n in look.census.longest_journals() if n >= limit]
    if not handlers:
        return []
    rows = [row for row in look.ask_quietly("largest_journals", limit=_LONGEST) if row["journal_size"] >= limit]
    if not rows:
        return []
    count, first = len(rows), rows[0]
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{'at least ' if count == _LONGEST else ''}{plural(count, 'journal')} of {join(handlers)} "
            f"{verb_form(count, 'has', 'have')} {limit:,} entries or more, the longest "
            f"{int(first['journal_size']):,}; every attempt reads all of them",
            where=join(handlers),
            count=count,
            ids=tuple(row["id"] for row in rows),
            since=None,
            evidence=ask_call("largest_journals"),
            suggested=(SuggestedCall("journal", (first["id"],)),),
        )
    ]


def large_states(look: Look) -> list[Finding]:
    """Count keys of virtual objects and workflows whose state is large."""
    limit = look.thresholds.state_bytes
    rows = look.sql("large_state", bytes=limit, limit=IDS)
    if not rows:
        return []
    count, first = len(rows), rows[0]
    keys = [f"{row['service_name']}/{row['service_key']}" for row in rows]
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{'at least ' if count == IDS else ''}{plural(count, 'key')} ({join(keys)}) "
            f"{verb_form(count, 'has', 'have')} a state of {limit // 1024:,} KiB or more, the largest "
            f"{int(none_if_missing(first['bytes']) or 0) / 1024:,.0f} KiB; every call of it may be sent all of that",
            where=join(keys),
            count=count,
            ids=(),
            evidence=ask_call("state_sizes"),
            suggested=(ask_call("state_sizes", service=first["service_name"]),),
        )
    ]


def slow_handlers(look: Look) -> list[Finding]:
    """Find handlers whose own steps take far longer than what the other handlers do."""
    slow, ended = look.census.slow_handlers(look.thresholds), look.ended
    return [each for handler, usual in slow.items() for each in _in_own_steps(look, handler, ended[handler], usual)]


def _in_own_steps(look: Look, handler: tuple[str, str], ended: Ended, usual: float) -> list[Finding]:
    """Return the finding where the time is spent in steps of the handler's own, as its journals tell."""
    service, name = handler
    slow_ms = look.thresholds.slow_ms
    frame = look.slow_ones(handler)
    examples = records(frame.head(_EXAMPLES))
    steps = look.sql("steps", ids=[row["id"] for row in examples]) if examples else []
    took = sum((row["completed_at"] - row["running_at"]).total_seconds() * 1000 for row in examples)
    if not steps or sum(int(row["ms"]) for row in steps) < _MOSTLY * took:
        return []
    step, ms = _slowest(steps)
    share = min(1.0, ms / took)
    count, ids = len(frame), tuple(frame["id"])[:IDS]
    return [
        Finding(
            severity=Severity.WARNING,
            summary=f"{service}/{name} takes {format_duration((ended.median_ms or 0.0) / 1000)} "
            f"(median of {ended.succeeded:,}), "
            f"{share:.0%} of it in {step}; other handlers take "
            f"{format_duration(usual / 1000)}; {plural(count, 'invocation')} took more than "
            f"{format_duration(slow_ms / 1000)}",
            where=f"{service}/{name}",
            count=count,
            ids=ids,
            since=moment(frame["running_at"].min()),
            evidence=ask_call("latency_parts", service=service),
            suggested=(SuggestedCall("journal", (ids[0],)),),
        )
    ]


def _slowest(steps: Sequence[Row]) -> tuple[str, int]:
    """Return the steps of one pattern that took most of the time, in words, with their milliseconds."""
    found = by_step(steps, lambda _: None, lambda row: none_if_missing(row["name"]), most=None)
    totals = [(group.words(), sum(int(row["ms"]) for row in group.members)) for group in found]
    words, ms = max(totals, key=lambda pair: pair[1])
    return words or "the step without a name", ms
