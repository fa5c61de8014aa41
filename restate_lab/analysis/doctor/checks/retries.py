"""Checks of failing attempts: retry storms, unreachable and removed deployments, journal mismatches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from restate_lab._text import format_duration, format_timestamp, join, one_line, plural, sentences, verb_form
from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.checks.agents import ids_of_repeated_responses
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.grouping import StepGroup, group_by_step
from restate_lab.analysis.doctor.model import (
    MAX_IDS,
    Blocked,
    Finding,
    RetryingInvocation,
    Severity,
    Subject,
)
from restate_lab.analysis.doctor.reader import Row, earliest, first_of, handlers_of, timestamp_of
from restate_lab.analysis.failure_reasons import FailureReason, failure_reason
from restate_lab.analysis.patterns import group_by, summarize_messages
from restate_lab.analysis.suggestions import ask_call, move_call, replay_call, why_call
from restate_lab.calls import SuggestedCall

_FAILING_STATUSES = {"backing-off", "running", "ready", "paused", "pending"}


def retry_storm(context: CheckContext) -> list[Finding]:
    """Find handlers whose attempts fail with the same code, grouped by the pattern of the failing step."""
    failing = failing_for(context, FailureReason.HANDLER)
    # The check ``agent_models`` reports those that no retry can repair.
    repeating = ids_of_repeated_responses(context, (each.message for each in failing))
    grouped = group_by_step(
        [each for each in failing if each.id not in repeating],
        lambda each: (each.service, each.handler, each.code),
        lambda each: each.step,
    )
    return [
        _storm_finding(context, group, _group_size(context, group))
        for group in grouped
        if not _is_first_failure(context, group.members)
    ]


def unreachable_deployments(context: CheckContext) -> list[Finding]:
    """Find deployments that do not respond to attempts, or not to all of them."""
    failing = failing_for(context, FailureReason.UNREACHABLE)
    grouped = group_by(failing, lambda each: _target_deployment(context, each) or each.service)
    found = [members for members in grouped if not _is_first_failure(context, members)]
    responses = _responses(context, found)
    return [
        _unsteady_finding(context, members, responses[deployment])
        if (deployment := _target_deployment(context, members[0])) in responses
        else _unreachable_finding(context, members)
        for members in found
    ]


def journal_mismatches(context: CheckContext) -> list[Finding]:
    """Find open invocations whose code has changed so that it does not match their journal."""
    grouped = group_by(
        failing_for(context, FailureReason.MISMATCH), lambda each: (each.service, each.handler, each.deployment)
    )
    return [_mismatch_finding(context, members) for members in grouped]


def removed_deployments(context: CheckContext) -> list[Finding]:
    """Find invocations pinned to removed deployments: those that fail now, and those that will fail later."""
    if all(row["deployment_id"] in context.deployments for row in context.census.pinned_rows()):
        return []
    rows = context.ask("pinned_to_missing", limit=MAX_ROWS)
    grouped = group_by(rows, lambda row: (row["pinned_deployment_id"], row["status"] in _FAILING_STATUSES))
    return [_removed_finding(context, members) for members in grouped]


def failing_for(context: CheckContext, reason: FailureReason) -> list[RetryingInvocation]:
    """Return the invocations whose attempts fail for a reason."""
    if len(context.retrying_invocations) >= MAX_ROWS:
        context.excluded.append(f"only the {MAX_ROWS:,} invocations with most attempts were examined")
    deployed = {None, *context.deployments}
    return [
        each
        for each in context.retrying_invocations
        if failure_reason(each.code, is_deployed=each.deployment in deployed, message=each.message) is reason
    ]


def _storm_finding(context: CheckContext, group: StepGroup[RetryingInvocation], count: int) -> Finding:
    members = group.members
    first, ids = members[0], [each.id for each in members]
    blocked, step = context.blocked_by(ids), group.title()
    title = (
        f"{plural(count, 'invocation')} of {first.target} {verb_form(count, 'retries', 'retry')}"
        f"{f' {step}' if step else ''}, {_attempts_text(members)}"
    )
    messages = summarize_messages(group.messages(lambda each: each.message))
    evidence = ask_call(
        "retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code, step=group.only_step
    )
    return Finding(
        severity=_severity(context, members, blocked),
        title=title,
        details=sentences(f"[{first.code or 'no code'}] {messages}", group.details(), _wait_text(context, members)),
        where=first.target,
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=first_of(each.since for each in members),
        evidence=evidence,
        suggested=(why_call(context.most_blocking(ids)),),
        about=group.about((first.service, first.handler, first.code or ""), lambda each: each.message),
    )


def _group_size(context: CheckContext, group: StepGroup[RetryingInvocation]) -> int:
    """Return how many invocations a group has, even if not all of them were read."""
    if len(context.retrying_invocations) < MAX_ROWS:
        return len(group.members)
    first, labels = group.members[0], set(group.labels)
    is_whole = len(labels) > 1
    counts = [
        int(row["invocations"])
        for row in context.storm_rows
        if (row["target_service_name"], row["target_handler_name"]) == (first.service, first.handler)
        and row["error_code"] == first.code
        and (is_whole or (row["step"] or None) in labels)
    ]
    return max(sum(counts), len(group.members))


@dataclass(frozen=True, slots=True)
class _Responses:
    """The number of other invocations whose last attempt a deployment responded to, and the time of the last one."""

    count: int
    last_at: datetime


def _responses(context: CheckContext, groups: Sequence[Sequence[RetryingInvocation]]) -> dict[str | None, _Responses]:
    """Return deployment → its responses, for those that respond to others while attempts of these groups are lost.

    A deployment that is down responds to nothing after the first lost attempts. Half of the lost attempts must be older
    than a response: an interruption that was over before does not count as a sign that the deployment is running.
    """
    middle: dict[str, datetime] = {}
    for members in groups:
        deployment, lost = _target_deployment(context, members[0]), [each.attempted_at for each in members]
        known = sorted(filter(None, lost))
        middle |= {deployment: known[len(known) // 2]} if deployment and known else {}
    if not middle:
        return {}
    seen = [
        (_target_deployment(context, each), 1, None if each.in_flight else each.attempted_at)
        for each in context.retrying_invocations
        if failure_reason(each.code, is_deployed=True) is not FailureReason.UNREACHABLE
    ]
    rows = context.rows("responses", ids=list(middle), since=min(middle.values()))
    seen += [(row["deployment_id"], int(row["invocations"]), timestamp_of(row["last_at"])) for row in rows]
    found: dict[str | None, _Responses] = {}
    for deployment, half in middle.items():
        last = max((at for name, _, at in seen if name == deployment and at), default=None)
        if last and last >= half:
            found[deployment] = _Responses(sum(n for name, n, _ in seen if name == deployment), last)
    return found


def _unsteady_finding(context: CheckContext, members: Sequence[RetryingInvocation], responses: _Responses) -> Finding:
    whole = _unreachable_finding(context, members)
    count, handlers = len(members), join(each.target for each in members)
    messages = summarize_messages(each.message for each in members)
    last = format_timestamp(responses.last_at, now=context.now)
    others = f"It responded to {plural(responses.count, 'other invocation')}, last at {last}, so it is running"
    return replace(
        whole,
        severity=Severity.WARNING if whole.severity is Severity.CRITICAL else whole.severity,
        title=f"{whole.where} responds, but not to {count:,} of {count + responses.count:,} invocations ({handlers}), "
        f"{_attempts_text(members)}",
        details=sentences(
            f"[{members[0].code}] {messages}",
            others,
            "Single attempts are lost: look for an overload, for restarts of its processes, and for limits of a proxy",
            _wait_text(context, members),
        ),
        suggested=(why_call(context.most_blocking(whole.ids)),),
    )


def _unreachable_finding(context: CheckContext, members: Sequence[RetryingInvocation]) -> Finding:
    ids = [each.id for each in members]
    blocked, deployment = context.blocked_by(ids), _target_deployment(context, members[0])
    known = context.deployments.get(deployment or "")
    handlers = join(each.target for each in members)
    where = f"{known.endpoint} ({known.id})" if known else deployment or members[0].service
    messages = summarize_messages(each.message for each in members)
    title = f"{where} does not respond to {plural(len(members), 'invocation')} of {handlers}, {_attempts_text(members)}"
    is_latest = known is None or bool(known.latest_of)
    start = "start it again; the next attempts then succeed"
    address = (
        SuggestedCall("lab.admin.get_deployment", (known.id,), comment=start)
        if known
        else SuggestedCall("lab.admin.list_deployments", comment=start)
    )
    return Finding(
        severity=_severity(context, members, blocked),
        title=title,
        details=sentences(f"[{members[0].code}] {messages}", _wait_text(context, members)),
        where=where,
        subject=Subject(where, tuple(sorted({each.service for each in members}))),
        count=len(members),
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=first_of(each.since for each in members),
        evidence=ask_call("failing_deployments"),
        suggested=(address if is_latest else move_call(ids[:MAX_IDS], total=len(ids)),),
    )


def _mismatch_finding(context: CheckContext, members: Sequence[RetryingInvocation]) -> Finding:
    first, ids = members[0], [each.id for each in members]
    blocked = context.blocked_by(ids)
    count = len(members)
    steps = join(f"“{one_line(each.step, 40)}”" for each in members if each.step)
    return Finding(
        severity=Severity.CRITICAL,
        title=f"{plural(count, 'invocation')} of {first.target} cannot continue: the code of {first.deployment} does "
        f"not match {verb_form(count, 'its journal', 'their journals')}",
        details=sentences(f"The code now runs {steps}" if steps else "", "Retries do not help"),
        where=f"{first.target} on {first.deployment}",
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=first_of(each.since for each in members),
        evidence=ask_call("retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code),
        suggested=mismatch_calls(context, ids),
    )


def mismatch_calls(context: CheckContext, ids: Sequence[str]) -> tuple[SuggestedCall, ...]:
    """Return the calls that show where code and journals differ, and that check corrected code."""
    return SuggestedCall("journal_diff", (context.most_blocking(ids),)), replay_call(ids[:MAX_IDS])


def _removed_finding(context: CheckContext, rows: Sequence[Row]) -> Finding:
    ids, deployment = [row["id"] for row in rows], rows[0]["pinned_deployment_id"]
    blocked, count = context.blocked_by(ids), len(rows)
    fails = rows[0]["status"] in _FAILING_STATUSES
    handlers = handlers_of(rows)
    sleeping = verb_form(count, "is sleeping and will fail when it wakes", "are sleeping and will fail when they wake")
    does = verb_form(count, "fails", "fail") if fails else sleeping
    services = {row["target_service_name"] for row in rows}
    evidence = ask_call("pinned_to_missing", service=rows[0]["target_service_name"] if len(services) == 1 else None)
    homeless = sorted(each for each in services if context.latest_deployment(each) is None)
    suggested = [move_call(ids[:MAX_IDS], total=count)]
    if homeless:
        serving = f"first register a deployment that serves {join(homeless)}"
        register = SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…"}, comment=serving)
        suggested.insert(0, register)
    return Finding(
        severity=Severity.CRITICAL if fails else Severity.WARNING,
        title=f"{plural(count, 'invocation')} of {handlers} {does}: pinned to {deployment}, which was removed",
        details=sentences(f"No deployment serves {join(homeless)} now" if homeless else ""),
        where=f"{handlers} on {deployment}",
        subject=Subject(deployment, tuple(sorted(services))),
        count=count,
        ids=tuple(ids[:MAX_IDS]),
        blocked=blocked,
        since=earliest(rows, "modified_at"),
        evidence=evidence,
        suggested=tuple(suggested),
    )


def _severity(context: CheckContext, members: Sequence[RetryingInvocation], blocked: Blocked) -> Severity:
    limits = context.thresholds
    failing_for = context.age(first_of(each.since for each in members))
    is_new = _most_attempts(members) < limits.attempts or failing_for < limits.failing_for
    if is_new and not _waits_long(context, members):
        return Severity.NOTE
    if len(members) >= limits.storm or blocked:
        return Severity.CRITICAL
    unanswered = failure_reason(members[0].code, is_deployed=True) is FailureReason.UNREACHABLE
    return Severity.CRITICAL if unanswered and failing_for >= limits.waiting else Severity.WARNING


def _is_first_failure(context: CheckContext, members: Sequence[RetryingInvocation]) -> bool:
    """Return whether each invocation failed only once, recently, and has its next attempt soon."""
    is_young = context.age(first_of(each.since for each in members)) < context.thresholds.waiting
    return _most_attempts(members) <= 1 and is_young and not _waits_long(context, members)


def _waits_long(context: CheckContext, members: Iterable[RetryingInvocation]) -> bool:
    return _longest_wait(context, members) >= context.thresholds.next_attempt


def _attempts_text(members: Iterable[RetryingInvocation]) -> str:
    return f"up to {plural(_most_attempts(members), 'attempt')}"


def _wait_text(context: CheckContext, members: Sequence[RetryingInvocation]) -> str:
    """Return the time until the next attempt if it is long, otherwise ""."""
    if not _waits_long(context, members):
        return ""
    return f"The next attempt begins up to {format_duration(_longest_wait(context, members))} from now"


def _longest_wait(context: CheckContext, members: Iterable[RetryingInvocation]) -> timedelta:
    """Return the longest time until a next attempt, from the current time of the source; zero if all are running."""
    latest = max((each.next_at for each in members if each.next_at), default=None)
    return latest - context.clock if latest else timedelta(0)


def _most_attempts(members: Iterable[RetryingInvocation]) -> int:
    return max(each.attempts for each in members)


def _target_deployment(context: CheckContext, each: RetryingInvocation) -> str | None:
    """Return the deployment for its attempts; an invocation that is not pinned yet uses the latest revision."""
    if each.deployment is not None:
        return each.deployment
    latest = context.latest_deployment(each.service)
    return latest.id if latest else None
