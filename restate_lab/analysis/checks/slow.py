"""Handlers that take far longer than the others, and by which step of their own."""

from __future__ import annotations

from collections.abc import Sequence

from restate_lab._text import format_duration, plural
from restate_lab.analysis.checks.census import Ended
from restate_lab.analysis.checks.finding import IDS, Finding, Severity
from restate_lab.analysis.checks.look import Look, Row, moment
from restate_lab.analysis.checks.steps import by_step
from restate_lab.analysis.records import given, records
from restate_lab.analysis.suggestions import SuggestedCall, ask_call

__all__ = ["slow_handlers"]

_EXAMPLES = 20  # invocations whose journals are read
_MOSTLY = 0.5  # of the time; the rest are sleeps, and waits for others


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
    found = by_step(steps, lambda _: None, lambda row: given(row["name"]), most=None)
    totals = [(group.words(), sum(int(row["ms"]) for row in group.members)) for group in found]
    words, ms = max(totals, key=lambda pair: pair[1])
    return words or "the step without a name", ms
