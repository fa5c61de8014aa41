"""Plan an action: check the arguments, read each target, and describe what would happen to it; nothing is sent."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_duration
from restate_lab.actions.plan.impact import find_callees, find_impact
from restate_lab.actions.plan.model import Plan, SharedExecution
from restate_lab.actions.plan.preview import prefix_frame, preview_targets, read_prefixes
from restate_lab.actions.plan.reader import has_deployment
from restate_lab.actions.reader import SCAN_TIMEOUT, read_any_restarts
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.actions.targets import parse_created, parse_ids
from restate_lab.analysis.deadline import within
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.client.arguments import check_count, check_deployment_choice
from restate_lab.client.lab import Lab, require_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotOnThisServer, TimedOut
from restate_lab.source import Source, is_older

__all__ = ["Plan", "make_plan", "move_to", "plan"]

_PREFIXES = 20  # journals whose beginnings are listed
_MOST_CALLEES = 100_000
_WITH_CALLEES = {ACTIONS.CANCEL, ACTIONS.KILL, ACTIONS.PAUSE, ACTIONS.RESUME}
_RESTARTS = 10_000  # targets that are looked for


@translate_errors
def plan(
    lab: Lab,
    action: str,
    targets: Any,
    /,
    *,
    deployment: str | None = None,
    from_index: int | None = None,
    include_callees: bool = False,
    timeout: DurationInput | None = None,
) -> Plan:
    """Plan an action on invocations: read each of them now, say what would happen to it, and send nothing.

        plan = rl.plan(lab, "resume", rl.ask(lab, "retry_storm_ids", service="Payments"))
        plan                                      # look at it: who, what will happen, who is left out and why
        plan.execute(reason="INC-42: the API is back")

    ``action`` is one of ``ACTIONS``, and who does not meet what it needs is left out:

    - ``cancel``: it has not ended
    - ``kill``: it has not ended
    - ``pause``: it runs or backs off; with vqueues also ready and suspended ones
    - ``resume``: it is paused, suspended or backing off
    - ``purge``: it has ended
    - ``purge_journal``: it has ended, and its journal is there
    - ``restart_as_new``: it has ended, its journal is there, and it is no workflow

    ``help("restate_lab.guide.actions")`` says what each does in each status, on servers with vqueues and without.
    ``targets``: one id, a list or Series of ids, or a frame with a column ``id`` or ``invocation_id``; what is there
    twice is joined, and ``frame.attrs["duplicates"]`` counts these. A frame with a column ``created_at`` means the runs
    that were created then: where a workflow, or a call with an idempotency key, has a new run with the same id, it is
    left out. Ids alone mean the runs that exist now; so does ``frame["id"]``.
    ``deployment`` ("latest", "keep" or an id; resume and restart_as_new) says where it goes on. ``from_index``
    (restart_as_new) is the index in sys_journal of the last entry that is kept. ``include_callees`` (cancel, kill,
    pause, resume) makes whoever they have called and who has not ended a target, too. ``timeout`` is for all that is
    read here, and does not limit ``execute``; None leaves each statement to the connection's own limit.

    The plan has:

    - ``frame``: one row per target, in order: ``id, target, service, status, created_at, age, idle_for``; ``effect``
      (what will happen) or ``excluded`` (why nothing will), one of them None; ``callee_of`` (the target that called it)
    - ``targets, counts, excluded``: who would be acted on, how many by service and status, and who would not
    - ``impact``: for kill and cancel what goes with them: ``kind`` ("call", "one-way call", "key", "waiter"), ``id,
      target, status, caused_by`` (the target that it goes with), ``what``; ``limitations`` says what this does not
      show. A kill takes along what they have called or sent one-way and has not ended, all the way down; a cancel what
      they called
    - ``prefixes``: for restart_as_new, of up to 20 targets, the entries that ``from_index`` may name; ``restarted``:
      the targets that were restarted before, which is warned of
    - ``execute(reason=…)``, ``only(ids)``, ``first(n)``, ``outcome``

    Raises:
        ArgumentError: there is no such action, it does not take the option, or what is meant cannot be told.
        NotOnThisServer: the server is older than any on which this was tried.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what reading raises.
    """
    if action == ACTIONS.MOVE_TO:
        raise ArgumentError("move_to has a function of its own: restate_lab.move_to(lab, targets, deployment=…).")
    return make_plan(
        lab,
        action,
        targets,
        deployment=deployment,
        from_index=from_index,
        include_callees=include_callees,
        timeout=timeout,
    )


def make_plan(
    lab: Lab,
    action: str,
    targets: Any,
    *,
    deployment: str | None = None,
    from_index: int | None = None,
    include_callees: bool = False,
    timeout: DurationInput | None = None,
) -> Plan:
    """Plan any action, ``move_to`` included; ``plan()`` describes the arguments."""
    reads = within(lab, timeout, verb="move_to" if action == ACTIONS.MOVE_TO else "plan")
    chosen = _check_action(lab, reads, action, deployment, from_index, include_callees=include_callees)
    made_at, shared = datetime.now(UTC), SharedExecution()
    (ids, duplicates), runs = parse_ids(targets), parse_created(targets)
    rows = preview_targets(reads, chosen, ids, deployment=deployment, from_index=from_index, created=runs)
    rows = _add_callees(reads, chosen, rows, deployment) if include_callees else rows
    rows.attrs = _attrs(reads, chosen, made_at, duplicates)
    kept = rows[rows["excluded"].isna()]
    impact = find_impact(reads, chosen, kept)
    created = dict(zip(kept["id"], kept["created_at"].array.to_pydatetime(), strict=True))
    again = list(kept["id"]) if chosen is ACTIONS.RESTART_AS_NEW else []
    restarted, read, unread = _read_restarted(reads, again, created)
    return Plan(
        action=chosen,
        frame=rows,
        impact=impact.frame,
        prefixes=prefix_frame(read_prefixes(reads, again[:_PREFIXES])),
        restarted=restarted,
        limitations=(*impact.limitations, *unread),
        deployment=deployment,
        from_index=from_index,
        made_at=made_at,
        environment=lab.name,
        address=lab.settings.admin_url,
        server=f"restate {reads.version}, {'with' if reads.features.get('vqueues', False) else 'without'} vqueues",
        _ids=tuple(kept["id"]),
        _unrestarted=read - restarted,
        _created=created,
        _lab=lab,
        _shared=shared,
    )


def _attrs(lab: Source, action: ACTIONS, made_at: datetime, duplicates: int) -> dict[Hashable, Any]:
    return {
        "action": action.value,
        "source": lab.name,
        "version": lab.version,
        "made_at": made_at.isoformat(),
        "duplicates": duplicates,
    }


def _check_action(
    lab: Lab, reads: Source, action: str, deployment: str | None, from_index: int | None, *, include_callees: bool
) -> ACTIONS:
    """Return the action, if it is one and takes these options on this source."""
    require_lab(lab, "a plan")
    if action not in set(ACTIONS):
        hint = did_you_mean(nearest_names(str(action), ACTIONS)) or f"Choose from {', '.join(ACTIONS)}."
        raise ArgumentError(f"no action {action!r}. {hint}")
    chosen = ACTIONS(action)
    for name, value in (("deployment", deployment), ("from_index", from_index)):
        if value is not None and name not in chosen.rule.options:
            takers = [each.value for each in ACTIONS if name in each.rule.options]
            raise ArgumentError(f"{chosen} takes no {name}; it is for {', '.join(takers)}.")
    if include_callees and chosen not in _WITH_CALLEES:
        raise ArgumentError(f"{chosen} takes no include_callees; it is for {', '.join(sorted(_WITH_CALLEES))}.")
    if from_index is not None:
        check_count("from_index", from_index)
    _check_deployment(reads, chosen, deployment)
    if is_older(reads.version, chosen.rule.since):
        since = chosen.rule.since
        raise NotOnThisServer(f"{chosen} was tried on restate {since} and newer; {lab.name} has {lab.version}.")
    return chosen


def _check_deployment(lab: Source, action: ACTIONS, deployment: str | None) -> None:
    if action is ACTIONS.MOVE_TO and deployment in {None, "keep"}:
        raise ArgumentError("move_to needs deployment=: 'latest', or the id of one.")
    if deployment is None or check_deployment_choice("deployment", deployment) in {"latest", "keep"}:
        return
    if not has_deployment(lab, deployment):
        known = unknown_names(lab, deployment=deployment)
        hint = did_you_mean(known[0].nearest) if known else ""
        raise ArgumentError(f"no deployment {deployment!r} on {lab.name}. {hint or 'list_deployments() lists them.'}")


def _add_callees(lab: Source, action: ACTIONS, rows: pd.DataFrame, deployment: str | None) -> pd.DataFrame:
    """Return the rows with one for each invocation that a target has called and that has not ended."""
    kept = rows[rows["excluded"].isna() & ~rows["status"].isin(NOT_BEGUN)]
    callees = find_callees(lab, list(kept["id"]), set(rows["id"]), follow_sent=False, most=_MOST_CALLEES)
    if callees.limitations:
        raise ArgumentError(f"include_callees finds too many: {'; '.join(callees.limitations)}. Plan fewer at a time.")
    if not callees.caused_by:
        return rows
    caused_by = callees.caused_by
    more = preview_targets(lab, action, list(caused_by), deployment=deployment, from_index=None, callee_of=caused_by)
    return pd.concat([rows, more], ignore_index=True)


def _read_restarted(
    lab: Source, ids: list[str], created: Mapping[str, datetime]
) -> tuple[frozenset[str], frozenset[str], tuple[str, ...]]:
    """Return those that were restarted before, of whom it was read, and what could not be read: it takes a scan."""
    first = ids[:_RESTARTS]
    if not first:
        return frozenset(), frozenset(), ()
    try:
        restarts = read_any_restarts(lab, first, created)
    except TimedOut:
        unread = f"whether they were restarted before was not read: it takes over {format_duration(SCAN_TIMEOUT)} here"
        return frozenset(), frozenset(), (unread,)
    limitation = (f"of the first {len(first):,} alone it was read whether they were restarted before",)
    return frozenset(restarts), frozenset(first), limitation if len(ids) > len(first) else ()


@translate_errors
def move_to(lab: Lab, targets: Any, /, *, deployment: str, timeout: DurationInput | None = None) -> Plan:
    """Plan to move invocations to another deployment; look at the plan, then ``execute`` it.

    ``targets`` is what ``plan()`` takes, such as ``ask(lab, "pinned_to_missing")``. ``deployment`` is "latest", the
    newest of each invocation's service, or the id of one. It works from a deployment that is down, wrong or removed.
    ``timeout`` is for all that is read here, and does not limit ``execute``; None leaves each statement to the
    connection's own limit.

    Those that are paused or suspended are resumed on the other deployment; those that run or back off are paused first
    and waited for, up to 90 seconds in all, because a step that lasts ends with the abort timeout. "done" in the
    outcome was seen by reading: bound to the other deployment. Left out are those that are there already, that have not
    begun or have ended, whose service is not there, or whose protocol it does not speak.

    Whatever ends it half-way leaves some paused: the same call again goes on from there. It also resumes what somebody
    else has paused.

    Raises:
        ArgumentError: there is no such deployment, or what is meant cannot be told.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what reading raises.
    """
    return make_plan(lab, ACTIONS.MOVE_TO, targets, deployment=deployment, timeout=timeout)
