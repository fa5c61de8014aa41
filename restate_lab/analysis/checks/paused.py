"""What is paused, and why."""

from __future__ import annotations

from restate_lab._text import plural, verb_form
from restate_lab.analysis.checks.failing import groups
from restate_lab.analysis.checks.finding import IDS, Finding, Severity
from restate_lab.analysis.checks.look import Look, Row, moment
from restate_lab.analysis.checks.messages import normalised, said
from restate_lab.analysis.checks.steps import StepGroup, by_step
from restate_lab.analysis.records import given
from restate_lab.analysis.suggestions import ask_call, plan_call

__all__ = ["paused"]

_KINDS = 5


def paused(look: Look) -> list[Finding]:
    """Find paused invocations by handler, code and step; those pinned to a removed deployment are told elsewhere."""
    count = look.census.open("paused")
    if not count:
        return []
    rows = [row for row in look.paused() if _is_deployed(look, row)]
    found = by_step(rows, _kind, lambda row: given(row["step"]))
    return [_paused(look, alike) for group in found for alike in _by_message(group)]


def _by_message(group: StepGroup[Row]) -> list[StepGroup[Row]]:
    """Tell kinds of messages apart, as each may need something else; many kinds are one storm in many words."""
    messages = [normalised(each) for each in group.messages(_message)]
    kinds = groups(range(len(messages)), lambda at: messages[at])
    return [group.of(each) for each in kinds] if len(kinds) <= _KINDS else [group]


def _message(row: Row) -> str:
    return given(row["message"]) or ""


def _kind(row: Row) -> tuple[object, ...]:
    return (
        row["target_service_name"],
        row["target_handler_name"],
        given(row["error_code"]),
        given(row["message"]) is None,
    )


def _is_deployed(look: Look, row: Row) -> bool:
    return given(row["deployment_id"]) is None or row["deployment_id"] in look.deployments


def _paused(look: Look, group: StepGroup[Row]) -> Finding:
    rows = group.members
    first, ids = rows[0], [row["id"] for row in rows]
    count, blocked = len(rows), look.behind(ids)
    handler = f"{first['target_service_name']}/{first['target_handler_name']}"
    message, code, step = given(first["message"]), given(first["error_code"]), group.words()
    at = f" in {step}" if step else ""
    # Without vqueues the event is the same whether the policy gave up or somebody paused it between two attempts.
    why = f"after failing{at}: [{code or 'no code'}] {said(group.messages(_message))}" if message else "by hand"
    more = f"; {blocked.count:,} {verb_form(blocked.count, 'waits', 'wait')} behind" if blocked else ""
    evidence = ask_call("paused", service=first["target_service_name"])
    return Finding(
        severity=Severity.CRITICAL if message or blocked else Severity.WARNING,
        summary=f"{plural(count, 'invocation')} of {handler} {verb_form(count, 'is', 'are')} paused {why}; "
        f"{verb_form(count, 'it goes', 'they go')} on only when resumed{more}",
        where=handler,
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=min((found for row in rows if (found := moment(row["paused_at"]))), default=None),
        evidence=evidence,
        suggested=(plan_call("resume", ids[:IDS], total=count, comment="once its cause is gone" if message else ""),),
    )
