"""What fails again and again: retry storms, deployments that do not answer or are gone, journals that do not fit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from restate_lab._text import format_duration, join, one_line, plural, verb_form
from restate_lab.analysis.doctor.census import Reason, Retrier, reason_of
from restate_lab.analysis.doctor.context import IDS, MOST, Blocked, Finding, Look, Row, Severity, moment
from restate_lab.analysis.patterns import elide_data, step_patterns, summarize_messages
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.suggestions import SuggestedCall, ask_call, move_call, why_call

__all__ = [
    "StepGroup",
    "by_step",
    "groups",
    "journal_mismatches",
    "removed_deployments",
    "retry_storms",
    "unreachable_deployments",
]

PATTERNS = 3  # of one handler and code; more of them have one cause outside of the steps
_SHOWN = 3
_WIDTH = 40
_T = TypeVar("_T")
_FAILS = {"backing-off", "running", "ready", "paused", "pending"}


@dataclass(frozen=True, slots=True)
class StepGroup(Generic[_T]):
    """Members that fail in steps of one pattern, or in many different steps of one handler."""

    members: Sequence[_T]
    steps: Sequence[str | None]
    """The name of each member's step; None outside of any step."""
    labels: Sequence[str | None]
    """For each member the pattern of its step; the name where no other step of the group has this pattern."""

    @property
    def only_step(self) -> str | None:
        """Return the name of the step where it is the same for all members; None otherwise."""
        return self.steps[0] if len(set(self.steps)) == 1 else None

    def words(self) -> str:
        """Return "the step “charge card”", "the steps “get weather …” (6 steps: …)", or "" outside of any step."""
        if set(self.steps) == {None}:
            return ""
        if self.only_step is not None:
            return f"the step “{one_line(self.only_step, _WIDTH)}”"
        kinds, label = len(set(self.labels)), self.labels[0]
        if kinds > 1 or label is None:
            return f"{plural(kinds, 'different step')} ({_most_frequent(self.labels)})"
        steps = plural(len(set(self.steps)), "step")
        return f"the steps “{one_line(label, _WIDTH)}” ({steps}: {_most_frequent(self.steps)})"

    def of(self, positions: Sequence[int]) -> StepGroup[_T]:
        """Return the group of the members at these positions."""
        return StepGroup(
            [self.members[at] for at in positions],
            [self.steps[at] for at in positions],
            [self.labels[at] for at in positions],
        )

    def messages(self, message: Callable[[_T], str]) -> list[str]:
        """Return the message of each member, without the data that also stands in the name of its step."""
        return [
            message(member) if step is None or label is None else elide_data(message(member), step, label)
            for member, step, label in zip(self.members, self.steps, self.labels, strict=True)
        ]


def by_step(
    members: Iterable[_T],
    key: Callable[[_T], Hashable],
    step: Callable[[_T], str | None],
    *,
    most: int | None = PATTERNS,
) -> list[StepGroup[_T]]:
    """Return the members grouped by key (a handler and an error code) and by the pattern of their step.

    Where more than ``most`` patterns have the same key, all of them are one group; None means no limit. Groups are in
    the order in which their first members are.
    """
    alike: dict[Hashable, list[_T]] = defaultdict(list)
    for member in members:
        alike[key(member)].append(member)
    return [group for each in alike.values() for group in _by_pattern(each, step, most)]


def _by_pattern(members: Sequence[_T], step: Callable[[_T], str | None], most: int | None) -> list[StepGroup[_T]]:
    steps = [step(member) or None for member in members]
    patterns = step_patterns({each for each in steps if each is not None})
    names = Counter(patterns.values())
    labels = [each if each is None or names[patterns[each]] == 1 else patterns[each] for each in steps]
    groups: dict[str | None, list[int]] = defaultdict(list)
    for at, label in enumerate(labels):
        groups[label].append(at)
    whole = StepGroup(members, steps, labels)
    return [whole] if most is not None and len(groups) > most else [whole.of(each) for each in groups.values()]


def _most_frequent(names: Iterable[str | None]) -> str:
    """Return "“a”, “b”, “c” and 3 more", the most frequent first."""
    counts = sorted(Counter(names).items(), key=lambda pair: (-pair[1], pair[0] or ""))
    shown = (f"“{one_line(name, _WIDTH)}”" if name else "outside of any step" for name, _ in counts[: _SHOWN + 1])
    return join(shown, _SHOWN, total=len(counts))


def retry_storms(look: Look) -> list[Finding]:
    """Find handlers whose attempts fail with the same code, by the pattern of the step that fails."""
    found = by_step(
        _failing(look, Reason.HANDLER), lambda each: (each.service, each.handler, each.code), lambda each: each.step
    )
    return [_storm(look, group, _in_all(look, group)) for group in found if not _is_first_failure(look, group.members)]


def unreachable_deployments(look: Look) -> list[Finding]:
    """Find deployments that do not answer those who are tried there."""
    found = groups(_failing(look, Reason.UNREACHABLE), lambda each: _deployment(look, each) or each.service)
    return [_unreachable(look, members) for members in found if not _is_first_failure(look, members)]


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
        look.excluded.append(f"only the {MOST:,} invocations with most attempts were told apart")
    return [each for each in look.retriers if reason_of(each.code, is_deployed=is_deployed(each)) is reason]


def _storm(look: Look, group: StepGroup[Retrier], count: int) -> Finding:
    members = group.members
    first, ids = members[0], [each.id for each in members]
    blocked, step = look.behind(ids), group.words()
    summary = (
        f"{plural(count, 'invocation')} of {first.target} {verb_form(count, 'retries', 'retry')}"
        f"{f' {step}' if step else ''}, {_attempts(look, members, count)}: [{first.code or 'no code'}] "
        f"{summarize_messages(group.messages(lambda each: each.message))}{_and(blocked)}"
    )
    evidence = ask_call(
        "retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code, step=group.only_step
    )
    return Finding(
        severity=_severity(look, members, blocked),
        summary=summary,
        where=first.target,
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=_since(members),
        evidence=evidence,
        suggested=(why_call(first.id),),
    )


def _in_all(look: Look, group: StepGroup[Retrier]) -> int:
    """Return how many invocations a group has, also where not all of them were read one by one."""
    if len(look.retriers) < MOST:
        return len(group.members)
    first, labels = group.members[0], set(group.labels)
    is_whole = len(labels) > 1
    counts = [
        int(row["n"])
        for row in look.storm
        if (row["target_service_name"], row["target_handler_name"]) == (first.service, first.handler)
        and none_if_missing(row["error_code"]) == first.code
        and (is_whole or (none_if_missing(row["step"]) or None) in labels)
    ]
    return max(sum(counts), len(group.members))


def _unreachable(look: Look, members: Sequence[Retrier]) -> Finding:
    ids = [each.id for each in members]
    blocked, deployment = look.behind(ids), _deployment(look, members[0])
    known = look.deployments.get(deployment or "")
    handlers = join(each.target for each in members)
    where = f"{known.endpoint} ({known.id})" if known else deployment or members[0].service
    messages = summarize_messages(each.message for each in members)
    summary = (
        f"{where} does not answer {plural(len(members), 'invocation')} of {handlers}, "
        f"{_attempts(look, members, len(members))}: [{members[0].code}] {messages}"
        f"{_and(blocked)}"
    )
    is_latest = known is None or bool(known.latest_of)
    start = "start it again: attempts then succeed by themselves"
    address = (
        SuggestedCall("lab.admin.get_deployment", (known.id,), comment=start)
        if known
        else SuggestedCall("lab.admin.list_deployments", comment=start)
    )
    return Finding(
        severity=_severity(look, members, blocked),
        summary=summary,
        where=where,
        count=len(members),
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=_since(members),
        evidence=ask_call("failing_deployments"),
        suggested=(address if is_latest else move_call(ids[:IDS], total=len(ids)),),
    )


def _mismatch(look: Look, members: Sequence[Retrier]) -> Finding:
    first, ids = members[0], [each.id for each in members]
    blocked = look.behind(ids)
    count = len(members)
    steps = join(f"“{one_line(each.step, 40)}”" for each in members if each.step)
    summary = (
        f"{plural(count, 'invocation')} of {first.target} cannot go on: the code behind {first.deployment} does not "
        f"fit {verb_form(count, 'its journal', 'their journals')}{f' (it now does {steps})' if steps else ''}; "
        f"trying again does not help{_and(blocked)}"
    )
    return Finding(
        severity=Severity.CRITICAL,
        summary=summary,
        where=f"{first.target} on {first.deployment}",
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=_since(members),
        evidence=ask_call("retry_storm_ids", service=first.service, handler=first.handler, error_code=first.code),
        suggested=(SuggestedCall("journal_diff", (first.id,)),),
    )


def _removed(look: Look, rows: Sequence[Row]) -> Finding:
    ids, deployment = [row["id"] for row in rows], rows[0]["pinned_deployment_id"]
    blocked, count = look.behind(ids), len(rows)
    fails = rows[0]["status"] in _FAILS
    handlers = join(f"{row['target_service_name']}/{row['target_handler_name']}" for row in rows)
    does = verb_form(count, "fails", "fail") if fails else f"{verb_form(count, 'is', 'are')} asleep and will fail"
    summary = (
        f"{plural(count, 'invocation')} of {handlers} {does}{'' if fails else ' on waking'}: pinned to {deployment}, "
        f"which was removed{_and(blocked)}"
    )
    services = {row["target_service_name"] for row in rows}
    evidence = ask_call("pinned_to_missing", service=rows[0]["target_service_name"] if len(services) == 1 else None)
    homeless = sorted(each for each in services if look.deployment_of(each) is None)
    suggested = [move_call(ids[:IDS], total=count)]
    if homeless:
        summary += f"; nobody serves {join(homeless)} now"
        serving = f"that serves {join(homeless)}; then"
        register = SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…"}, comment=serving)
        suggested.insert(0, register)
    return Finding(
        severity=Severity.CRITICAL if fails else Severity.WARNING,
        summary=summary,
        where=f"{handlers} on {deployment}",
        count=count,
        ids=tuple(ids[:IDS]),
        blocked=blocked,
        since=min((at for row in rows if (at := moment(row["modified_at"]))), default=None),
        evidence=evidence,
        suggested=tuple(suggested),
    )


def _severity(look: Look, members: Sequence[Retrier], blocked: Blocked) -> Severity:
    limits = look.thresholds
    failing_for = look.age(_since(members))
    is_new = _worst(members) < limits.attempts or failing_for < limits.failing_for
    if is_new and not _waits_long(look, members):
        return Severity.NOTE
    if len(members) >= limits.storm or blocked:
        return Severity.CRITICAL
    unanswered = reason_of(members[0].code, is_deployed=True) is Reason.UNREACHABLE
    return Severity.CRITICAL if unanswered and failing_for >= limits.waiting else Severity.WARNING


def _is_first_failure(look: Look, members: Sequence[Retrier]) -> bool:
    """Tell whether each of them failed once, a moment ago, and is about to be tried again."""
    is_young = look.age(_since(members)) < look.thresholds.waiting
    return _worst(members) <= 1 and is_young and not _waits_long(look, members)


def _waits_long(look: Look, members: Iterable[Retrier]) -> bool:
    return _wait(look, members) >= look.thresholds.next_attempt


def _attempts(look: Look, members: Sequence[Retrier], count: int) -> str:
    """Return how many attempts failed, and how long the next one is away where that is long."""
    attempts = f"up to {plural(_worst(members), 'attempt')}"
    if not _waits_long(look, members):
        return attempts
    wait = format_duration(_wait(look, members))
    return f"{attempts}, and {verb_form(count, 'waits', 'wait')} up to {wait} for the next attempt"


def _wait(look: Look, members: Iterable[Retrier]) -> timedelta:
    """Return the longest time until a next attempt, also where ``now`` looks ahead; zero where all are running."""
    return max((each.next_at - look.clock for each in members if each.next_at), default=timedelta(0))


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


def _and(blocked: Blocked) -> str:
    return f"; {blocked.count:,} {verb_form(blocked.count, 'waits', 'wait')} behind" if blocked else ""
