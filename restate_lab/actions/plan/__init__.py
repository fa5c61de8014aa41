"""Plan an action: check the arguments, read each target, and describe what would happen to it; this sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import pandas as pd

from restate_lab._public import did_you_mean
from restate_lab._text import format_duration
from restate_lab.actions.change import Change, SharedExecution, action_of
from restate_lab.actions.plan.failures import add_failures, find_repeated_failures
from restate_lab.actions.plan.gate import open_gate, restart_indexes
from restate_lab.actions.plan.impact import find_callees, find_impact
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.plan.places import find_places
from restate_lab.actions.plan.preview import prefix_frame, preview_targets, read_prefixes
from restate_lab.actions.plan.reader import has_deployment
from restate_lab.actions.plan.steps import find_open_steps
from restate_lab.actions.reader import SCAN_TIMEOUT, read_any_restarts
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN, RETENTION
from restate_lab.analysis.ids import Targets, parse_created, parse_ids
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.choices import ActionName
from restate_lab.client.lab import Lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, TimedOut
from restate_lab.progress import Progress
from restate_lab.reads import Reads, begin
from restate_lab.result import unread
from restate_lab.server import has_feature, has_vqueues
from restate_lab.source import Source

__all__ = ["Plan", "Refinement", "make_plan", "move_to", "plan"]

_PREFIXES = 20  # journals for which the entries to keep are listed
_MOST_CALLEES = 100_000
_RESTARTS = 10_000  # targets that are checked for earlier restarts


class Refinement(Protocol):
    """Excludes more rows of a plan, each with the reason, and chooses the index from which each of the others restarts.

    It gets the rows of ``preview_targets``, and the earlier restart of each row that has one.
    """

    def __call__(self, reads: Reads, rows: pd.DataFrame, restarts: Mapping[str, str]) -> pd.DataFrame:
        """Return the rows with more reasons in ``excluded``, and with the columns of ``preview.RESTART_COLUMNS``."""


@translate_errors
def plan(
    lab: Lab,
    action: ActionName | ACTIONS,
    targets: Targets,
    /,
    *,
    deployment: str | None = None,
    from_index: int | None = None,
    include_callees: bool = False,
    check: str | None = None,
    confirm: str | None = None,
    timeout: DurationInput | None = "2m",
) -> Plan:
    """Plan an action on invocations: read each of them now, describe what would happen to it, and send nothing.

        plan = rl.plan(lab, "resume", rl.ask(lab, "retry_storm_ids", service="Payments"))
        plan                                      # review it: targets, effects, and excluded invocations
        plan.execute(reason="INC-42: the API is back")

    ``action`` is one of ``ACTIONS``. Invocations that do not meet its condition are excluded:

    - ``cancel``: it has not ended
    - ``kill``: it has not ended
    - ``pause``: it is running or backing off; with vqueues also ready or suspended
    - ``resume``: it is paused, suspended or backing off
    - ``purge``: it has ended
    - ``purge_journal``: it has ended and still has its journal
    - ``restart_as_new``: it has ended, still has its journal, and is not a workflow

    ``help("restate_lab.guide.actions")`` describes the effect in each status, on servers with vqueues and without.

    ``targets``: one id, a text of ids and separators, a list or Series of ids, or a frame with a column ``id`` or
    ``invocation_id``; anything else, such as a log line, is refused. Duplicates are merged;
    ``frame.attrs["duplicates"]`` is their number. A frame with a column ``created_at`` selects the runs that were
    created at these times: if a workflow, or a call with an idempotency key, has a new run with the same id, that is
    excluded. Ids without ``created_at`` (also ``frame["id"]``) select the runs that exist now.

    ``deployment`` ("latest", "keep" or an id; resume and restart_as_new) is the deployment to continue on.
    ``from_index`` (restart_as_new) is the index in sys_journal of the last entry to keep. ``include_callees`` (cancel,
    kill, pause, resume) also makes the invocations that they called a target, if these have not ended. ``timeout``
    limits all reads of this call and its check, but not ``execute``.

    ``check`` (restart_as_new) is the address of new code, or the id of a registered deployment: the kept entries of all
    targets, none is sampled out, are replayed there under another id, as in ``replay()``. Those that diverge or fail
    are excluded with the reason. Others that it cannot check stay targets; a warning has their number. **Code outside
    of steps runs there.** ``confirm`` must repeat the address that is contacted. Without a check, a restart that keeps
    entries has a warning.

    ``help(rl.Plan)`` describes the frames of the plan.

    Raises:
        ArgumentError: the action is unknown or does not have the option, the targets are ambiguous, or ``confirm`` is
            not the address.
        StepRan: the deployment ran a step, or did not stop after the journal; the check was ended.
        NotOnThisServer: the server is older than the supported versions.
        TimedOut: not everything was read and checked within ``timeout``.
        RestateLabError: reading or the check failed.
    """
    if action == ACTIONS.MOVE_TO:
        raise ArgumentError("move_to is a separate function: use restate_lab.move_to(lab, targets, deployment=…).")
    change = Change(action_of(action), deployment, from_index, include_callees, check, confirm, timeout)
    return make_plan(lab, change, targets)


def make_plan(
    lab: Lab,
    change: Change,
    targets: Targets,
    *,
    verb: str = "plan",
    refine: Refinement | None = None,
    reads: Source | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Plan any change, including ``move_to``.

    ``verb`` is the name of the public function. ``refine`` excludes more targets, and gives each its own index.
    ``reads`` is a wrapper of ``lab`` that reads instead of it, and ``progress`` is updated by the check.
    """
    change.check_options(lab)
    limited = begin(reads or lab, verb, change.timeout)
    _check_server(limited, change)
    gate = open_gate(lab, limited, change, progress)
    read_at, shared = datetime.now(UTC), SharedExecution()
    rows = _read_targets(limited, change, targets, read_at)
    restarts = _read_restarts(limited, change.action, rows)
    rows = rows if refine is None else refine(limited, rows, restarts.found)
    rows, checked = (rows, None) if gate is None else gate(rows)
    kept = rows[rows["excluded"].isna()]
    failures = find_repeated_failures(limited, change, kept)
    impact, steps = find_impact(limited, change.action, kept), find_open_steps(limited, change.action, kept)
    limitations = {"impact": impact.limitations, "open_steps": steps.limitations, "restarted": restarts.limitations}
    return Plan(
        change=replace(change, from_indexes=restart_indexes(kept)),
        frame=add_failures(rows, failures),
        impact=impact.frame,
        prefixes=_read_prefixes(limited, change.action, kept),
        restarted=frozenset(restarts.found),
        read_at=read_at,
        not_read=unread(**limitations, failures=failures.limitations, replay=checked.limitations if checked else ()),
        queries=tuple(limited.queries),
        source=lab.name,
        version=limited.version,
        address=lab.settings.admin_url,
        server=f"restate {limited.version}, {'with' if has_vqueues(limited) else 'without'} vqueues",
        open_steps=steps.frame,
        _lab=lab,
        _ids=tuple(kept["id"]),
        _created=_creation_times(kept),
        _has_retention=has_feature(limited, RETENTION),
        _unrestarted=restarts.read.difference(restarts.found),
        _checked=checked,
        _places=find_places(limited, change.action, kept),
        _failures=failures,
        _shared=shared,
    )


def _read_targets(reads: Reads, change: Change, targets: Any, read_at: datetime) -> pd.DataFrame:
    """Return one row per target, and per callee if these are targets too; with the ``attrs`` of the plan's frame."""
    (ids, duplicates), runs = parse_ids(targets), parse_created(targets)
    rows = preview_targets(reads, change, ids, created=runs)
    rows = _add_callees(reads, change, rows) if change.include_callees else rows
    rows.attrs = {
        "action": change.action.value,
        "source": reads.name,
        "version": reads.version,
        "read_at": read_at.isoformat(),
        "duplicates": duplicates,
    }
    return rows


def _read_prefixes(reads: Reads, action: ACTIONS, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the entries that the first targets of a restart can keep; empty for other actions."""
    ids = list(rows["id"][:_PREFIXES]) if action is ACTIONS.RESTART_AS_NEW else []
    return prefix_frame(read_prefixes(reads, ids))


def _creation_times(rows: pd.DataFrame) -> dict[str, datetime]:
    return dict(zip(rows["id"], rows["created_at"].array.to_pydatetime(), strict=True))


def _check_server(reads: Reads, change: Change) -> None:
    deployment = change.deployment
    if deployment not in {None, "latest", "keep"} and not has_deployment(reads, str(deployment)):
        known = unknown_names(reads, deployment=deployment)
        hint = (did_you_mean(known[0].nearest) if known else "") or "lab.admin.list_deployments() lists them."
        raise ArgumentError(f"unknown deployment {deployment!r} on {reads.name}. {hint}")


def _add_callees(reads: Reads, change: Change, rows: pd.DataFrame) -> pd.DataFrame:
    kept = rows[rows["excluded"].isna() & ~rows["status"].isin(NOT_BEGUN)]
    callees = find_callees(reads, list(kept["id"]), set(rows["id"]), follow_sent=False, most=_MOST_CALLEES)
    if callees.limitations:
        raise ArgumentError(
            f"include_callees finds too many invocations: {'; '.join(callees.limitations)}. Plan fewer targets at once."
        )
    if not callees.caused_by:
        return rows
    caused_by = callees.caused_by
    more = preview_targets(reads, change, list(caused_by), callee_of=caused_by)
    return pd.concat([rows, more], ignore_index=True)


class _Restarts(NamedTuple):
    """A restart of each id that has one, the ids that were checked, and the limitations of this."""

    found: Mapping[str, str] = {}
    read: frozenset[str] = frozenset()
    limitations: tuple[str, ...] = ()


def _read_restarts(reads: Reads, action: ACTIONS, rows: pd.DataFrame) -> _Restarts:
    """Return the earlier restarts of the targets of a restart; this needs a scan."""
    kept = rows[rows["excluded"].isna()]
    first = list(kept["id"][:_RESTARTS])
    if action is not ACTIONS.RESTART_AS_NEW or not first:
        return _Restarts()
    try:
        found = read_any_restarts(reads, first, _creation_times(kept))
    except TimedOut:
        unread = f"earlier restarts of the targets were not checked: that takes over {format_duration(SCAN_TIMEOUT)}"
        return _Restarts(limitations=(unread,))
    limitation = (f"only the first {len(first):,} targets were checked for earlier restarts",)
    return _Restarts(found, frozenset(first), limitation if len(kept) > len(first) else ())


@translate_errors
def move_to(
    lab: Lab,
    targets: Targets,
    /,
    *,
    deployment: str,
    check: str | None = None,
    confirm: str | None = None,
    timeout: DurationInput | None = "2m",
) -> Plan:
    """Plan to move invocations to another deployment; review the plan, then ``execute`` it.

    ``targets`` has the same form as in ``plan()``, for example ``ask(lab, "pinned_to_missing")``. ``deployment`` is
    "latest", the newest deployment of each invocation's service, or a deployment id. The current deployment can be
    down, wrong or removed. ``timeout`` limits all reads of this call and its check, but not ``execute``.

    ``check`` is the address of the code that they are moved to, or the id of its deployment: the journals of all
    targets, none is sampled out, are replayed there, as in ``replay()``. Those that diverge (RT0016) or fail are
    excluded with the reason. Others that it cannot check stay targets; a warning has their number, and ``plan.replay``
    the reasons. A running invocation can go on after its check. **Code outside of steps runs there.** ``confirm`` must
    repeat the address that is contacted.

    Paused and suspended invocations are resumed on the other deployment. Running and backing-off ones are paused first.
    This waits up to 90 seconds in total, because a long step only ends at the abort timeout. The outcome "done" means
    that the invocation was read afterwards and is pinned to the other deployment. An invocation is excluded if it is
    already on that deployment, has not started, or has ended, or if the deployment does not have its service or does
    not support its protocol.

    If the execution ends early, some invocations remain paused: make and execute the same plan again to continue. This
    also resumes invocations that were paused for other reasons.

    Raises:
        ArgumentError: the deployment is unknown, the targets are ambiguous, or ``confirm`` is not the address.
        StepRan: the deployment ran a step, or did not stop after the journal; the check was ended.
        TimedOut: not everything was read and checked within ``timeout``.
        RestateLabError: reading or the check failed.
    """
    change = Change(ACTIONS.MOVE_TO, deployment, check=check, confirm=confirm, timeout=timeout)
    return make_plan(lab, change, targets, verb="move_to")
