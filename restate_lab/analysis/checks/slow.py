"""Handlers that take far longer than the others, and by which step of their own."""

from __future__ import annotations

import statistics

from restate_lab.analysis.checks.census import Ended
from restate_lab.analysis.checks.finding import IDS, Finding, Severity
from restate_lab.analysis.checks.look import Look, moment
from restate_lab.analysis.checks.words import asking, call, counted, cut, quoted

__all__ = ["slow_handlers"]

_EXAMPLES = 20  # invocations whose journals are read
_SLOWEST = 5  # handlers that are looked at
_MOSTLY = 0.5  # of the time; the rest are sleeps, and waits for others


def slow_handlers(look: Look) -> list[Finding]:
    """Find handlers whose own steps take far longer than what the other handlers do."""
    medians = {handler: ended for handler, ended in look.census.ended().items() if ended.median_ms is not None}
    found = []
    for handler, ended in sorted(medians.items(), key=lambda pair: -(pair[1].median_ms or 0.0))[:_SLOWEST]:
        others = [each.median_ms or 0.0 for other, each in medians.items() if other != handler]
        if others and _is_slow(look, ended, usual := statistics.median(others)):
            found += _in_own_steps(look, handler, ended, usual)
    return found


def _is_slow(look: Look, ended: Ended, usual: float) -> bool:
    limits, took = look.thresholds, ended.median_ms or 0.0
    is_long = took >= limits.slow.total_seconds() * 1000
    return ended.succeeded >= limits.slow_samples and is_long and took >= limits.slower_than_others * usual


def _in_own_steps(look: Look, handler: tuple[str, str], ended: Ended, usual: float) -> list[Finding]:
    """Return the finding where the time is spent in steps of the handler's own, as its journals tell."""
    service, name = handler
    slow_ms = int(look.thresholds.slow.total_seconds() * 1000)
    rows = look.sql("slow_ones", service=service, handler=name, ms=slow_ms, limit=IDS)
    examples = rows[:_EXAMPLES]
    steps = look.sql("steps", ids=[row["id"] for row in examples]) if examples else []
    took = sum((row["completed_at"] - row["running_at"]).total_seconds() * 1000 for row in examples)
    if not steps or sum(int(row["ms"]) for row in steps) < _MOSTLY * took:
        return []
    share = min(1.0, int(steps[0]["ms"]) / took)
    return [
        Finding(
            severity=Severity.WARNING,
            what=f"{service}/{name} takes {(ended.median_ms or 0.0) / 1000:,.1f} s (median of {ended.succeeded:,}), "
            f"{share:.0%} of it in the step “{cut(steps[0]['name'] or 'without a name', 40)}”; other handlers take "
            f"{usual / 1000:,.2f} s; {counted(len(rows), 'invocation')} took more than {slow_ms / 1000:g} s",
            where=f"{service}/{name}",
            count=len(rows),
            ids=tuple(row["id"] for row in rows),
            since=min((at for row in rows if (at := moment(row["running_at"]))), default=None),
            why=asking("latency_parts", service=service),
            next_step=call("rl.journal", "lab", quoted(rows[0]["id"])),
        )
    ]
