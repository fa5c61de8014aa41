"""Journals and states that are far larger than others."""

from __future__ import annotations

from restate_lab._text import join, plural, verb_form
from restate_lab.analysis.checks.finding import IDS, Finding, Severity
from restate_lab.analysis.checks.look import Look
from restate_lab.analysis.records import given
from restate_lab.analysis.suggestions import SuggestedCall, ask_call

__all__ = ["large_states", "long_journals"]

_LONGEST = 100  # journals that are read


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
            f"{int(given(first['bytes']) or 0) / 1024:,.0f} KiB; every call of it may be sent all of that",
            where=join(keys),
            count=count,
            ids=(),
            evidence=ask_call("state_sizes"),
            suggested=(ask_call("state_sizes", service=first["service_name"]),),
        )
    ]
