"""The check of a history's samples: invocations that were paused, or queued or running for long, at the last visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from restate_lab._text import format_age, format_timestamp, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.errors import NotOnThisServer

_COURSE = """SELECT sampled_at, invocations, oldest_created_at FROM samples
WHERE key IS NULL AND service = :service AND handler = :handler AND status = :status
ORDER BY sampled_at DESC LIMIT 100"""
_STATES = {
    "paused": ("paused", Severity.WARNING),
    "inboxed": ("queued for a key", Severity.WARNING),
    "invoked": ("running or retrying", Severity.NOTE),
}
"""Status in the samples → its text in a title, and the severity; a suspended invocation may wait for days."""


def sampled_backlog(context: CheckContext) -> list[Finding]:
    """Find handlers whose invocations were paused, queued for long, or running for very long in the newest sample."""
    rows = context.rows("sampled_counts")
    if not rows:
        raise NotOnThisServer(f"{context.source.name} has no samples; visits with samples=True (the default) add them.")
    times = sorted({row["sampled_at"] for row in rows}, reverse=True)
    counts = [row for row in rows if row["key"] is None and row["status"] in _STATES]
    courses = group_by(counts, lambda row: (row["status"], row["service"], row["handler"]))
    keys = [row for row in rows if row["key"] is not None and row["sampled_at"] == times[0]]
    return [
        _finding(course, times, [row for row in keys if row["service"] == course[0]["service"]])
        for course in courses
        if course[0]["sampled_at"] == times[0] and _is_reported(context, course[0])
    ]


def _is_reported(context: CheckContext, row: Row) -> bool:
    """Return whether the newest sample of a handler and status shows a problem, even if the next one shows none."""
    limits, oldest = context.thresholds, timestamp_of(row["oldest_created_at"])
    age = row["sampled_at"] - oldest if oldest else timedelta(0)
    if row["status"] == "inboxed":
        return bool(row["invocations"] >= limits.queue and age >= limits.waiting_long)
    return bool(row["status"] == "paused" or age >= limits.attempt)


def _finding(course: Sequence[Row], times: Sequence[datetime], keys: Sequence[Row]) -> Finding:
    newest, oldest = course[0], course[0]["oldest_created_at"]
    # The newest samples in a row with the same oldest invocation; a sample without a row ends them.
    pairs = zip(course, times, strict=False)
    alike = takewhile(lambda pair: (pair[0]["sampled_at"], pair[0]["oldest_created_at"]) == (pair[1], oldest), pairs)
    same = [row for row, _ in alike]
    count, handler = int(newest["invocations"]), f"{newest['service']}/{newest['handler']}"
    text, severity = _STATES[newest["status"]]
    age = format_age(timestamp_of(newest["oldest_created_at"]), newest["sampled_at"])
    return Finding(
        severity=severity,
        title=f"sample of {format_timestamp(newest['sampled_at'])}: {plural(count, 'invocation')} of {handler} "
        f"{verb_form(count, 'was', 'were')} {text}, the oldest created {age} before",
        details=sentences(_course_text(same), _keys_text(keys) if newest["status"] == "inboxed" else ""),
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
        f"The oldest one is the same in {len(same):,} samples since {first}, and they were never fewer than {least:,}"
    )


def _keys_text(keys: Sequence[Mapping[str, object]]) -> str:
    names = join(f"{one_line(str(row['key']), 40)} ({row['invocations']:,})" for row in keys)
    return f"Longest queues of the service by key: {names}" if names else ""
