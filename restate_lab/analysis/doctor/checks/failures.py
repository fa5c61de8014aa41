"""Checks of failed, paused and restarted invocations, of expiring evidence and of reused idempotency keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from restate_lab._text import format_timestamp, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import MAX_ROWS, Handler, HandlerOutcomes
from restate_lab.analysis.doctor.checks.agents import ids_of_repeated_responses
from restate_lab.analysis.doctor.checks.retries import mismatch_calls
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.grouping import StepGroup, group_by_step
from restate_lab.analysis.doctor.model import MAX_IDS, Blocked, Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import Row, earliest, handlers_of, services_of, timestamp_of
from restate_lab.analysis.journal.errors import MISMATCH, deprecated_deployment, is_stale_timer
from restate_lab.analysis.patterns import cause_paths, common_message, group_by, message_kinds, summarize_messages
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.calls import SuggestedCall
from restate_lab.frames import handler_of

_LONG_AGO = datetime.fromtimestamp(0, UTC)
_MAX_KINDS = 5  # kinds of failures of one handler with a finding of their own


def terminal_failures(context: CheckContext) -> list[Finding]:
    """Find handlers that fail permanently more often than the thresholds allow, by kind of message."""
    ended = context.outcomes
    if not context.census.fails_often(context.thresholds):
        failed = sorted(((each.failed, handler) for handler, each in ended.items() if each.failed), reverse=True)
        handlers, count = [handler for _, handler in failed], sum(n for n, _ in failed)
        return [_rare_failures_finding(handlers, count)] if failed else []
    # The check ``refused_protocols`` reports the others.
    rows = [row for row in context.failed_invocations() if not deprecated_deployment(row["failure"])]
    causes, callers = _separate_callers(_with_kinds(rows))
    often: dict[tuple[str, str], list[list[Row]]] = defaultdict(list)
    rest: list[Row] = []
    for members in sorted(group_by(causes, lambda row: (*handler_of(row), row["message"])), key=len, reverse=True):
        handler = handler_of(members[0])
        is_often = (
            len(members) >= context.thresholds.failures
            and ended.get(handler, HandlerOutcomes()).failure_rate >= context.thresholds.failure_rate
        )
        if is_often and len(often[handler]) < _MAX_KINDS:
            often[handler].append(members)
        else:
            rest += members
    findings = [
        _failures_finding(members, ended[handler], callers) for handler, kinds in often.items() for members in kinds
    ]
    return findings + ([_rare_failures_finding(dict.fromkeys(map(handler_of, rest)), len(rest), rest)] if rest else [])


def paused_invocations(context: CheckContext) -> list[Finding]:
    """Find paused invocations by handler, code and step; ``removed_deployments`` finds those on removed deployments."""
    if not context.census.count_open("paused"):
        return []
    deployed = {None, *context.deployments}
    rows = [row for row in context.paused_invocations() if row["deployment_id"] in deployed]
    # The checks ``stale_timers`` and ``agent_models`` report those that no retry can repair.
    repeating = ids_of_repeated_responses(context, (row["message"] for row in rows))
    grouped = group_by_step(
        [row for row in rows if not is_stale_timer(row["message"]) and row["id"] not in repeating],
        lambda row: (*handler_of(row), row["error_code"], row["message"] is None),
        lambda row: row["step"],
    )
    return [_paused_finding(context, part) for group in grouped for part in _group_by_message(group)]


def expiring_evidence(context: CheckContext) -> list[Finding]:
    """Count failed invocations whose journal or record expires soon."""
    count = context.census.total("expiring", ending="failed")
    if not count:
        return []
    within = context.thresholds.expires_within
    # The question also returns cancelled and killed invocations.
    rows = [row for row in context.ask_first("expiring", until=within, limit=MAX_ROWS) if row["status"] == "failed"]
    counts = context.census.totals_by_handler("expiring", ending="failed")
    handlers = join(f"{service}/{handler}" for (service, handler), _ in counts)
    first = earliest([row for row in context.census.rows if row["ending"] == "failed"], "expires_first")
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"the data of {plural(count, 'failed invocation')} of {handlers} expires"
            + (f" from {format_timestamp(first, now=context.now)} on" if first else " soon"),
            where=handlers,
            subject=Subject("", tuple(sorted({service for (service, _), _ in counts}))),
            count=count,
            ids=tuple(row["id"] for row in rows)[:MAX_IDS],
            evidence=ask_call("expiring", until=f"{within.total_seconds():g}s"),
            suggested=(SuggestedCall("freeze", ("before-it-expires.evidence",)),),
        )
    ]


def restarts(context: CheckContext) -> list[Finding]:
    """Count invocations that were restarted as new ones."""
    if not context.census.total("restarted"):
        return []
    rows = context.ask("restarts", limit=MAX_ROWS)
    before = {row["id"]: row["restarted_from"] for row in rows}
    restarted = set(before.values())
    lines = {id_: _restart_chain(id_, before) for id_ in before if id_ not in restarted}
    longest = max(lines.values(), key=len)
    ids = list(dict.fromkeys(id_ for line in sorted(lines.values(), key=len, reverse=True) for id_ in line))
    handlers, count = handlers_of(rows), len(rows)
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"{plural(count, 'invocation')} of {handlers} {verb_form(count, 'was', 'were')} restarted as new",
            details=sentences(f"The longest chain has {len(longest) - 1:,} restarts" if len(longest) > 2 else ""),
            where=handlers,
            subject=Subject("", services_of(rows)),
            count=count,
            ids=tuple(ids[:MAX_IDS]),
            since=earliest(rows, "created_at"),
            evidence=ask_call("restarts"),
            suggested=(why_call(longest[0]),),
        )
    ]


def reused_keys(context: CheckContext) -> list[Finding]:
    """Count idempotency keys that were used for the same handler under several object keys."""
    rows = context.rows("reused_keys", limit=MAX_IDS) if context.census.total("keyed") > 1 else []
    if not rows:
        return []
    handlers, count = handlers_of(rows), len(rows)
    many = "at least " if count == MAX_IDS else ""
    keys = join(one_line(row["idempotency_key"], 40) for row in rows)
    return [
        Finding(
            severity=Severity.NOTE,
            title=f"{many}{plural(count, 'idempotency key')} {verb_form(count, 'was', 'were')} used for several "
            f"objects of {handlers}",
            details=sentences(
                f"{verb_form(count, 'The key', 'The keys')}: {keys}", "Each object has its own invocation"
            ),
            where=handlers,
            subject=Subject("", services_of(rows)),
            count=count,
            ids=tuple(dict.fromkeys(row[side] for row in rows for side in ("one_id", "other_id")))[:MAX_IDS],
            since=earliest(rows, "first_created_at"),
            evidence=ask_call("repeated_idempotency_keys"),
            suggested=(why_call(rows[0]["one_id"]),),
        )
    ]


def _separate_callers(rows: Sequence[Row]) -> tuple[list[Row], Mapping[str, str]]:
    """Separate callers that failed only because a callee failed; return the other failures, and callee → caller."""
    by_id = {row["id"]: row for row in rows}
    callers: dict[str, str] = {}
    for row in rows:
        caller = by_id.get(row["invoked_by_id"] or "")
        if caller is not None and caller["message"] == row["message"]:
            callers[row["id"]] = caller["id"]
    passed_on = set(callers.values())
    return [row for row in rows if row["id"] not in passed_on], callers


def _failed_callers(ids: Iterable[str], callers: Mapping[str, str]) -> Blocked:
    failed: dict[str, None] = {}
    for id_ in ids:
        caller = callers.get(id_)
        while caller is not None and caller not in failed:
            failed[caller] = None
            caller = callers.get(caller)
    return Blocked(tuple(failed)[:MAX_IDS], len(failed))


def _failures_finding(rows: Sequence[Row], ended: HandlerOutcomes, callers: Mapping[str, str]) -> Finding:
    service, handler = handler_of(rows[0])
    blocked = _failed_callers((row["id"] for row in rows), callers)
    more = (
        f"{plural(blocked.count, 'caller')} failed because of {verb_form(len(rows), 'it', 'them')}" if blocked else ""
    )
    count, message = len(rows), one_line(_common_message(rows), 160)
    failures = [str(row["failure"] or "") for row in rows]
    last = max(rows, key=lambda row: timestamp_of(row["completed_at"]) or _LONG_AGO)
    return Finding(
        severity=Severity.WARNING,
        title=f"{plural(count, 'invocation')} of {service}/{handler} failed permanently; "
        f"{ended.failure_rate:.0%} of completed calls failed",
        details=sentences(message, more),
        where=f"{service}/{handler}",
        count=count,
        ids=tuple(row["id"] for row in rows)[:MAX_IDS],
        blocked=blocked,
        since=earliest(rows, "completed_at"),
        evidence=ask_call("terminal_failures", service=service),
        suggested=(why_call(last["id"]),),
        about=cause_paths((service, handler, _code_of(failures[0]), ""), failures),
    )


def _rare_failures_finding(handlers: Collection[Handler], count: int, rows: Sequence[Row] = ()) -> Finding:
    """Return the finding from the counts, and with ``rows`` also from the failures themselves."""
    names, kinds = join(map("/".join, handlers)), group_by(rows, lambda row: row["message"])
    return Finding(
        severity=Severity.NOTE,
        title=f"{plural(count, 'invocation')} of {names} failed permanently; the number or the rate is low",
        details=sentences(join((one_line(_common_message(alike), 80) for alike in kinds), most=2)),
        where=names,
        subject=Subject("", tuple(sorted({service for service, _ in handlers}))),
        count=count,
        ids=tuple(row["id"] for row in rows)[:MAX_IDS],
        since=earliest(rows, "completed_at"),
        evidence=ask_call("terminal_failures"),
        suggested=(ask_call("terminal_failures"),),
    )


def _with_kinds(rows: Sequence[Row]) -> list[Row]:
    """Return the failures, each with its kind as ``message``: its code, and its message without data.

    A caller fails with the code and the message of its callee, so handlers are not separated here.
    """
    codes = group_by((str(row["failure"] or "") for row in rows), _code_of)
    kinds = {failure: kind for failures in codes for failure, kind in message_kinds(failures).items()}
    return [
        {**row, "message": _with_code(failure, kinds[failure])}
        for row in rows
        for failure in [str(row["failure"] or "")]
    ]


def _common_message(rows: Sequence[Row]) -> str:
    failures = [str(row["failure"] or "") for row in rows]
    code = _code_of(failures[0])
    return _with_code(failures[0], common_message(failures, str(rows[0]["message"]).removeprefix(f"{code} ")))


def _code_of(failure: str) -> str:
    """Return the code of a failure in brackets, such as "[402]"; "" without one."""
    code, bracket, _ = failure.partition("]")
    return f"{code.partition(' ')[0]}]" if bracket and code.startswith("[") else ""


def _with_code(failure: str, message: str) -> str:
    code = _code_of(failure)
    return f"{code} {message}" if code else message


def _restart_chain(id_: str, before: Mapping[str, str]) -> list[str]:
    line = {id_: None}
    while (earlier := before.get(id_)) and earlier not in line:
        line[earlier] = None
        id_ = earlier
    return list(line)


def _group_by_message(group: StepGroup[Row]) -> list[StepGroup[Row]]:
    """Split a group by kind of message, because each may need another action; too many kinds stay one group."""
    messages = group.messages(lambda row: row["message"] or "")
    kind_of = message_kinds(messages)
    kinds = group_by(range(len(messages)), lambda at: kind_of[messages[at]])
    return [group.subset(each) for each in kinds] if len(kinds) <= _MAX_KINDS else [group]


def _paused_finding(context: CheckContext, group: StepGroup[Row]) -> Finding:
    rows = group.members
    first, ids = rows[0], [row["id"] for row in rows]
    count, blocked = len(rows), context.blocked_by(ids)
    handler = f"{first['target_service_name']}/{first['target_handler_name']}"
    message, code, step = first["message"], first["error_code"], group.title()
    place = f" in {step}" if step else ""
    # Without vqueues the event is the same if the retry policy paused the invocation or a person did between attempts.
    why = f"after failing{place}" if message else "by hand"
    error = (
        f"[{code or 'no code'}] {summarize_messages(group.messages(lambda row: row['message'] or ''))}"
        if message
        else ""
    )
    evidence = ask_call("paused", service=first["target_service_name"])
    resume = plan_call("resume", ids[:MAX_IDS], total=count, comment="first fix the cause" if message else "")
    continues = f"{verb_form(count, 'It continues', 'They continue')} only when resumed"
    if code == MISMATCH:
        continues = "The code does not match the journal, so a resume fails again until it does"
    return Finding(
        severity=Severity.CRITICAL if message or blocked else Severity.WARNING,
        title=f"{plural(count, 'invocation')} of {handler} {verb_form(count, 'is', 'are')} paused {why}",
        details=sentences(error, group.details(), continues),
        where=handler,
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=earliest(rows, "paused_at"),
        evidence=evidence,
        suggested=mismatch_calls(context, ids) if code == MISMATCH else (resume,),
        about=group.about((*handler_of(first), code or ""), lambda row: row["message"] or ""),
    )
