"""What fails again and again: retry storms, deployments that do not answer or are gone, journals that do not fit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from restate_lab.analysis.checks.finding import IDS, Finding, Severity, Victims
from restate_lab.analysis.checks.look import MOST, Look, Row, moment
from restate_lab.analysis.checks.messages import said
from restate_lab.analysis.checks.retriers import Reason, Retrier, reason_of
from restate_lab.analysis.checks.words import (
    asking,
    call,
    counted,
    cut,
    first_of,
    ids_code,
    listed,
    one_or_more,
    quoted,
)
from restate_lab.analysis.wait_rows import given

__all__ = ["groups", "journal_mismatches", "removed_deployments", "retry_storms", "unreachable_deployments"]

_FAILS = {"backing-off", "running", "ready", "paused", "pending"}
_T = TypeVar("_T")


def retry_storms(look: Look) -> list[Finding]:
    """Find handlers whose attempts fail at the same step with the same code."""
    found = groups(_failing(look, Reason.HANDLER), lambda each: (each.service, each.handler, each.code, each.step))
    return [_storm(look, members, _in_all(look, members)) for members in found]


def unreachable_deployments(look: Look) -> list[Finding]:
    """Find deployments that do not answer those who are tried there."""
    found = groups(_failing(look, Reason.UNREACHABLE), lambda each: _deployment(look, each) or each.service)
    return [_unreachable(look, members) for members in found]


def journal_mismatches(look: Look) -> list[Finding]:
    """Find invocations whose code changed below them."""
    found = groups(_failing(look, Reason.MISMATCH), lambda each: (each.service, each.handler, each.deployment))
    return [_mismatch(look, members) for members in found]


def removed_deployments(look: Look) -> list[Finding]:
    """Find what is pinned to deployments that are not registered any more: what fails now, and what will."""
    if all(row["deployment_id"] in look.deployments for row in look.census.pinned()):
        return []
    rows = look.ask("pinned_to_missing", limit=MOST)
    found = groups(rows, lambda row: (row["pinned_deployment_id"], row["status"] in _FAILS))
    return [_removed(look, members) for members in found]


def groups(members: Iterable[_T], key: Callable[[_T], Hashable]) -> list[list[_T]]:
    """Return the members that have a key in common, in the order in which the keys first come."""
    found: dict[Hashable, list[_T]] = defaultdict(list)
    for member in members:
        found[key(member)].append(member)
    return list(found.values())


def _failing(look: Look, reason: Reason) -> list[Retrier]:
    def is_deployed(each: Retrier) -> bool:
        return each.deployment is None or each.deployment in look.deployments

    if len(look.retriers) >= MOST:
        look.left_out.append(f"only the {MOST:,} invocations with most attempts were told apart")
    return [each for each in look.retriers if reason_of(each.code, is_deployed=is_deployed(each)) is reason]


def _storm(look: Look, members: Sequence[Retrier], count: int) -> Finding:
    first, ids = members[0], [each.id for each in members]
    victims, since = look.behind(ids), _since(members)
    step = f" the step “{cut(first.step, 40)}”" if first.step else ""
    what = (
        f"{counted(count, 'invocation')} of {first.target} {one_or_more(count, 'retries', 'retry')}{step}, "
        f"up to {_worst(members):,} attempts: [{first.code or 'no code'}] {said(each.message for each in members)}"
        f"{_and(victims)}"
    )
    asked = asking(
        "retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code, step=first.step
    )
    return Finding(
        severity=_severity(look, members, victims),
        what=what,
        where=first.target,
        count=count,
        ids=tuple(ids[:IDS]),
        victims=victims,
        since=since,
        why=asked,
        next_step=call("rl.why", "lab", quoted(first.id)),
    )


def _in_all(look: Look, members: Sequence[Retrier]) -> int:
    """Return how many there are, also where not all of them were read."""
    if len(look.retriers) < MOST:
        return len(members)
    first = members[0]
    rows = look.ask("retry_storm", service=first.service, limit=None)
    wanted = (first.handler, first.code, first.step)
    return sum(
        int(row["n"])
        for row in rows
        if (row["target_handler_name"], given(row["error_code"]), given(row["step"]) or None) == wanted
    )


def _unreachable(look: Look, members: Sequence[Retrier]) -> Finding:
    ids = [each.id for each in members]
    victims, deployment = look.behind(ids), _deployment(look, members[0])
    known = look.deployments.get(deployment or "")
    handlers = listed(each.target for each in members)
    where = f"{known.endpoint} ({known.id})" if known else deployment or members[0].service
    what = (
        f"{where} does not answer {counted(len(members), 'invocation')} of {handlers}, up to {_worst(members):,} "
        f"attempts: [{members[0].code}] {said(each.message for each in members)}{_and(victims)}"
    )
    is_latest = known is None or bool(known.latest_of)
    move = call("rl.move_to", "lab", ids_code(ids))
    address = f"lab.admin.get_deployment({quoted(known.id)})" if known else "lab.admin.list_deployments()"
    return Finding(
        severity=_severity(look, members, victims),
        what=what,
        where=where,
        count=len(members),
        ids=tuple(ids[:IDS]),
        victims=victims,
        since=_since(members),
        why=asking("failing_deployments"),
        next_step=f"{address}  # start it again: attempts then succeed by themselves"
        if is_latest
        else f'{move[:-1]}, deployment="latest"){first_of(len(ids), IDS)}',
    )


def _mismatch(look: Look, members: Sequence[Retrier]) -> Finding:
    first, ids = members[0], [each.id for each in members]
    victims = look.behind(ids)
    count = len(members)
    steps = listed(f"“{cut(each.step, 40)}”" for each in members if each.step)
    what = (
        f"{counted(count, 'invocation')} of {first.target} cannot go on: the code behind {first.deployment} does not "
        f"fit {one_or_more(count, 'its journal', 'their journals')}{f' (it now does {steps})' if steps else ''}; "
        f"trying again does not help{_and(victims)}"
    )
    return Finding(
        severity=Severity.CRITICAL,
        what=what,
        where=f"{first.target} on {first.deployment}",
        count=count,
        ids=tuple(ids[:IDS]),
        victims=victims,
        since=_since(members),
        why=asking("retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code),
        next_step=call("rl.journal_diff", "lab", quoted(first.id)),
    )


def _removed(look: Look, rows: Sequence[Row]) -> Finding:
    ids, deployment = [row["id"] for row in rows], rows[0]["pinned_deployment_id"]
    victims, count = look.behind(ids), len(rows)
    fails = rows[0]["status"] in _FAILS
    handlers = listed(f"{row['target_service_name']}/{row['target_handler_name']}" for row in rows)
    does = one_or_more(count, "fails", "fail") if fails else f"{one_or_more(count, 'is', 'are')} asleep and will fail"
    what = (
        f"{counted(count, 'invocation')} of {handlers} {does}{'' if fails else ' on waking'}: pinned to {deployment}, "
        f"which was removed{_and(victims)}"
    )
    services = {row["target_service_name"] for row in rows}
    frame = asking("pinned_to_missing", service=rows[0]["target_service_name"] if len(services) == 1 else None)
    homeless = sorted(each for each in services if look.deployment_of(each) is None)
    move = f'rl.move_to(lab, {ids_code(ids[:IDS])}, deployment="latest"){first_of(count, IDS)}'
    if homeless:
        what += f"; nobody serves {listed(homeless)} now"
        move = f'lab.admin.create_deployment(uri="http://…")  # that serves {listed(homeless)}; then {move}'
    return Finding(
        severity=Severity.CRITICAL if fails else Severity.WARNING,
        what=what,
        where=f"{handlers} on {deployment}",
        count=count,
        ids=tuple(ids[:IDS]),
        victims=victims,
        since=min((at for row in rows if (at := moment(row["modified_at"]))), default=None),
        why=frame,
        next_step=move,
    )


def _severity(look: Look, members: Sequence[Retrier], victims: Victims) -> Severity:
    limits = look.thresholds
    failing_for = look.age(_since(members))
    if _worst(members) < limits.attempts or failing_for < limits.failing_for:
        return Severity.NOTE
    if len(members) >= limits.storm or victims:
        return Severity.CRITICAL
    unanswered = reason_of(members[0].code, is_deployed=True) is Reason.UNREACHABLE
    return Severity.CRITICAL if unanswered and failing_for >= limits.waiting else Severity.WARNING


def _worst(members: Iterable[Retrier]) -> int:
    return max(each.attempts for each in members)


def _since(members: Iterable[Retrier]) -> datetime | None:
    return min((each.since for each in members if each.since), default=None)


def _deployment(look: Look, each: Retrier) -> str | None:
    """Return where it is tried: what is not pinned yet goes to the latest revision."""
    if each.deployment is not None:
        return each.deployment
    latest = look.deployment_of(each.service)
    return latest.id if latest else None


def _and(victims: Victims) -> str:
    return f"; {victims.count:,} {one_or_more(victims.count, 'waits', 'wait')} behind" if victims else ""
