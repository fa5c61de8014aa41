"""Work that could run and does not: no free slot, a queue that is stopped, a start that is late; and what runs long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from restate_lab._text import format_age, format_duration, join, plural, verb_form
from restate_lab.analysis.doctor.checks.retries import groups
from restate_lab.analysis.doctor.context import IDS, MOST, Finding, Look, Row, Severity, moment
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.suggestions import SuggestedCall, ask_call, why_call

__all__ = ["backlog", "blocked_queues", "late_starts", "long_attempts"]

_KEY = "lock"  # told by the checks of waits
_PAUSED = "queue paused"
_GOES_ON = {_KEY, "backing-off", "scheduled"}
_RESOURCES = {
    "invoker-concurrency": "a slot of the invoker",
    "limit-key-concurrency": "a place within a concurrency rule",
    "deployment-concurrency": "a slot of its deployment",
    "invoker-throttling": "the invoker, which is throttled",
    "invoker-memory": "memory of the invoker",
    "throttling-rules": "a throttling rule",
}


def backlog(look: Look) -> list[Finding]:
    """Find invocations that are ready and wait for a slot of the invoker."""
    invoked = look.census.open("invoked")
    idle = invoked - int(look.sql("invokers")[0]["busy"]) if invoked else 0
    if idle <= 0:
        return []
    rows = look.sql("ready", limit=MOST)
    if not rows:
        return []
    since = min((at for row in rows if (at := moment(row["modified_at"]))), default=None)
    count, handlers = len(rows) if len(rows) < MOST else max(idle, MOST), _handlers(rows)
    return [
        Finding(
            severity=_by_age(look, since),
            summary=f"{plural(count, 'invocation')} of {handlers} {verb_form(count, 'is', 'are')} ready and "
            f"{verb_form(count, 'waits', 'wait')} for a slot of the invoker{_oldest(look, since)}",
            where=handlers,
            count=count,
            ids=tuple(row["id"] for row in rows)[:IDS],
            since=since,
            evidence=ask_call("overview"),
            suggested=(ask_call("oldest_unmoved", comment="what runs now holds the slots"),),
        )
    ]


def blocked_queues(look: Look) -> list[Finding]:
    """Find vqueues that are paused, or whose first entry waits for a resource that is no key."""
    if not look.census.open("inboxed"):
        return []
    rows = [row for row in look.ask("blocked_heads") if none_if_missing(row["blocked_on"]) not in _GOES_ON]
    rows = [row for row in rows if none_if_missing(row["blocked_on"]) not in {None, "new"}]
    return [_queue(look, members) for members in groups(rows, lambda row: row["blocked_on"])]


def late_starts(look: Look) -> list[Finding]:
    """Find scheduled invocations whose time has come and gone."""
    count = look.census.total("overdue")
    if not count:
        return []
    handlers = join(f"{service}/{handler}" for (service, handler), _ in look.census.of_handlers("overdue"))
    first = min((at for row in look.census.rows if (at := moment(row["starts_first"]))), default=None)
    evidence = ask_call("wakes_next", until="0s")
    return [
        Finding(
            severity=Severity.WARNING,
            summary=f"{plural(count, 'scheduled invocation')} of {handlers} should have started by now",
            where=handlers,
            count=count,
            ids=tuple(row["id"] for row in look.ask("wakes_next", until="0s") if row["what"] == "start")[:IDS],
            since=first,
            evidence=evidence,
            suggested=(replace(evidence, comment="its partition may have no leader: look at the servers' logs"),),
        )
    ]


def long_attempts(look: Look) -> list[Finding]:
    """Count attempts that have been running for long."""
    retried = {each.id for each in look.retriers}
    rows = look.sql("long_attempts", before=look.now - look.thresholds.attempt, limit=IDS)
    # An attempt of a storm is short; only who looks ahead sees it grow old.
    rows = [row for row in rows if row["id"] not in retried]
    if not rows:
        return []
    known = list(look.by_id("invocations", [row["id"] for row in rows]))
    since, count, handlers = moment(rows[0]["last_start_at"]), len(rows), _handlers(known)
    return [
        Finding(
            severity=Severity.NOTE,
            summary=f"{plural(count, 'attempt')} of {handlers} {verb_form(count, 'has', 'have')} been running for "
            f"longer than {format_duration(look.thresholds.attempt)}{_oldest(look, since)}",
            where=handlers,
            count=count,
            ids=tuple(row["id"] for row in rows),
            since=since,
            evidence=ask_call("overview"),
            suggested=(why_call(rows[0]["id"]),),
        )
    ]


def _queue(look: Look, rows: Sequence[Row]) -> Finding:
    what = rows[0]["blocked_on"]
    ids = [row["entry_id"] for row in look.sql("queued", ids=[row["vqueue_id"] for row in rows], limit=MOST)]
    in_all = sum(int(none_if_missing(row["num_inbox"]) or 1) for row in rows)
    # The counters have what backs off and what is scheduled, too.
    count = len(ids) if 0 < len(ids) < MOST else in_all
    since = min((at for row in rows if (at := moment(row["waiting_since"]))), default=None)
    handlers = (
        _handlers([row for row in rows if none_if_missing(row["target_service_name"]) is not None])
        or "unknown handlers"
    )
    is_paused = what == _PAUSED
    reason = "wait in paused queues" if is_paused else f"wait for {_RESOURCES.get(what, what)}"
    verb = reason if count != 1 else reason.replace("wait", "waits", 1)
    resume = SuggestedCall("lab.admin.resume_vqueue", (rows[0]["vqueue_id"],))
    look_on = ask_call("overview", comment="what runs now holds the places")
    return Finding(
        severity=Severity.WARNING if is_paused else _by_age(look, since),
        summary=f"{plural(count, 'invocation')} of {handlers} {verb}, in {plural(len(rows), 'queue')}"
        f"{_oldest(look, since)}",
        where=handlers,
        count=count,
        ids=tuple(ids[:IDS]),
        since=since,
        evidence=ask_call("blocked_heads"),
        suggested=(resume if is_paused else look_on,),
    )


def _by_age(look: Look, since: datetime | None) -> Severity:
    waited = look.age(since)
    if waited >= look.thresholds.waiting_long:
        return Severity.CRITICAL
    return Severity.WARNING if waited >= look.thresholds.waiting else Severity.NOTE


def _oldest(look: Look, since: datetime | None) -> str:
    return f", the oldest for {format_age(since, look.now)}" if since else ""


def _handlers(rows: Sequence[Row]) -> str:
    return join(f"{row['target_service_name']}/{row['target_handler_name']}" for row in rows)
