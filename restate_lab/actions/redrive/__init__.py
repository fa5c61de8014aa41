"""Restart failed invocations from the last good step: keep the entries before the command whose failure ended them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.actions.change import Change
from restate_lab.actions.plan import Plan, make_plan
from restate_lab.actions.plan.preview import RESTART_COLUMNS, describe_command
from restate_lab.actions.reader import read_destinations
from restate_lab.actions.redrive.model import FailedJournal, RestartPoint, choose_restart_point, describe_failure
from restate_lab.actions.redrive.reader import read_journals_of_failed, read_repeated_tokens
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.ids import Targets, parse_ids
from restate_lab.analysis.patterns import step_patterns
from restate_lab.client.arguments import check_count, format_value
from restate_lab.client.lab import Lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.reads import Reads


@translate_errors
def redrive(
    lab: Lab,
    failed: Targets,
    /,
    *,
    deployment: str = "latest",
    overrides: Mapping[str, int] | None = None,
    check: str | None = None,
    confirm: str | None = None,
    timeout: DurationInput | None = "2m",
) -> Plan:
    """Plan to restart failed invocations from their last good step; review the plan, then ``execute`` it.

        failed = lab.sql("SELECT id, created_at FROM sys_invocation WHERE completion_result = 'failure'")
        plan = rl.redrive(lab, failed)
        plan                                          # review it: repeated steps, excluded invocations, warnings
        plan.execute(reason="INC-42: the API is back")

    Each invocation becomes a new one that keeps the entries before the command whose failure ended the old one, so
    completed steps do not run again. That command is the first one that failed with the code and the message of the
    invocation. The old invocation does not change. If a call failed, it is made again, and its callee starts from the
    beginning.

    ``failed`` has the same form as the targets of ``plan()``. Pass callers and their callees in one call: a callee is
    excluded if its caller calls it again. ``deployment`` is "latest", "keep" or an id. ``overrides`` maps an id to the
    index in sys_journal of the last entry to keep, and replaces the choice for this invocation. ``timeout`` limits all
    reads of this call and its check, but not ``execute``.

    ``check`` and ``confirm`` replay the kept entries of all targets on the deployment that is to continue them, an
    address or an id, and exclude those that diverge or fail, as in ``plan()``; ``plan.replay`` has the result.

    These are excluded, with the reason in ``excluded``; ``overrides`` includes those with a star:

    - invocations that did not fail, workflows, purged journals, journals of the first version, and other runs of an id
    - with commands after the failed one, such as compensations, or that ran at the same time*
    - whose failure is not that of a command, although commands failed*
    - ended by a rejected awakeable or signal: the new invocation waits for another one*
    - whose failed command returns the same failure again: an attach, or a call with an idempotency key*
    - that were already restarted*, and callees of another target

    An invocation without a failed command keeps everything: it failed in the code after its last step. An invocation
    that failed in its last attempt, without a result of the step, keeps the entries before this step.

    ``help(rl.Plan)`` describes the frames of the plan; everything else is as in ``plan()``.

    Source: observed on 1.7.12. A restart that keeps entries needs protocol 6, according to the server's code.

    Raises:
        ArgumentError: the deployment is unknown, an override has no target, the targets are ambiguous, or ``confirm``
            is not the address.
        StepRan: the deployment ran a step, or did not stop after the journal; the check was ended.
        TimedOut: not everything was read and checked within ``timeout``.
        RestateLabError: reading or the check failed.
    """
    refine = _RestartPoints(deployment, _check_overrides(overrides, failed))
    change = Change(ACTIONS.RESTART_AS_NEW, deployment, check=check, confirm=confirm, timeout=timeout)
    return make_plan(lab, change, failed, verb="redrive", refine=refine)


def _check_overrides(overrides: Mapping[str, int] | None, failed: Any) -> dict[str, int]:
    if not overrides:
        return {}
    if not isinstance(overrides, Mapping):
        raise ArgumentError(f"overrides must map an id to an index, such as {{'inv_1…': 3}}; got {overrides!r}.")
    targets, _ = parse_ids(failed)
    strange = [id_ for id_ in overrides if id_ not in set(targets)]
    if strange:
        raise ArgumentError(
            f"{len(strange):,} ids of overrides are not among the invocations to redrive, such as "
            f"{format_value(strange[0])}: pass only overrides of targets."
        )
    return {id_: check_count(f"overrides[{id_!r}]", index) for id_, index in overrides.items()}


@dataclass(frozen=True, slots=True)
class _RestartPoints:
    """The refinement of a redrive: chooses where each invocation restarts, and excludes the others with the reason."""

    deployment: str
    overrides: Mapping[str, int]

    def __call__(self, reads: Reads, rows: pd.DataFrame, restarts: Mapping[str, str]) -> pd.DataFrame:
        reasons = dict(zip(rows["id"], rows["excluded"], strict=True))
        statuses = dict(zip(rows["id"], rows["status"], strict=True))
        for id_, status in statuses.items():
            if reasons[id_] is None and status != "failed":
                reasons[id_] = f"it is {status}, not failed: use restate_lab.plan() to restart it"
        journals = read_journals_of_failed(reads, [id_ for id_, reason in reasons.items() if reason is None])
        points = {id_: choose_restart_point(journal, self.overrides.get(id_)) for id_, journal in journals.items()}
        others = {
            id_: f"it was already restarted, as {new_id}: redrive that one if it failed too"
            for id_, new_id in restarts.items()
            if id_ not in self.overrides
        }
        others |= {  # callees that are called again, also by callers that were already restarted
            callee: f"its caller {id_} is a target too, or was restarted, and calls it again"
            for id_, point in points.items()
            if (callee := point.failed_callee) is not None
            and callee in points
            and (point.from_index is not None or id_ in restarts)
        }
        others |= self._exclude_destinations(reads, rows, journals, points)
        reasons |= {id_: point.excluded or others.get(id_) for id_, point in points.items()}
        tokens = read_repeated_tokens(reads, {id_: point for id_, point in points.items() if reasons[id_] is None})
        return _with_points(rows, reasons, points, journals, tokens)

    def _exclude_destinations(
        self,
        reads: Reads,
        rows: pd.DataFrame,
        journals: Mapping[str, FailedJournal],
        points: Mapping[str, RestartPoint],
    ) -> dict[str, str]:
        if self.deployment == "keep":
            return {}
        destinations = read_destinations(reads, self.deployment)
        services = dict(zip(rows["id"], rows["service"], strict=True))
        reasons = {
            id_: destinations.reason_against_protocol(services[id_], journals[id_].protocol)
            for id_, point in points.items()
            if point.from_index
        }
        return {id_: reason for id_, reason in reasons.items() if reason is not None}


def _with_points(
    rows: pd.DataFrame,
    reasons: Mapping[str, str | None],
    points: Mapping[str, RestartPoint],
    journals: Mapping[str, FailedJournal],
    tokens: Mapping[str, int | None],
) -> pd.DataFrame:
    chosen = [points.get(id_) for id_ in rows["id"]]
    is_kept = [reasons[id_] is None for id_ in rows["id"]]
    kept = [point if keep else None for point, keep in zip(chosen, is_kept, strict=True)]
    columns: dict[str, Any] = {
        "from_index": pd.array([point.from_index if point else None for point in kept], dtype="Int64"),
        "failed_type": _texts([point.failed_type if point else None for point in chosen]),
        "failed_name": _texts([point.failed_name if point else None for point in chosen]),
        "failure": _texts([describe_failure(journals[id_].failure) if id_ in journals else None for id_ in rows["id"]]),
        "kept_steps": pd.array([len(point.kept) if point else None for point in kept], dtype="Int64"),
        "repeated_steps": pd.array([len(point.repeated) if point else None for point in kept], dtype="Int64"),
        "repeated_for": pd.to_timedelta([point.repeated_for if point else None for point in kept]),
        "repeated_tokens": pd.array([tokens.get(id_) for id_ in rows["id"]], dtype="Int64"),
    }
    # Steps whose names differ only in data have one text.
    patterns = step_patterns({point.failed_name for point in kept if point and point.failed_name})
    effects = _texts([_effect(point, patterns) if point else None for point in kept])
    excluded = _texts([reasons[id_] for id_ in rows["id"]])
    return rows.assign(effect=effects, excluded=excluded, **{name: columns[name] for name in RESTART_COLUMNS})


def _texts(values: Sequence[str | None]) -> pd.Series[Any]:
    return pd.Series(values, dtype="object")


def _effect(point: RestartPoint, patterns: Mapping[str, str]) -> str:
    if point.failed_type is None or point.failed not in point.repeated:
        return "a new invocation keeps all steps, and runs the code after them again"
    command = describe_command(point.failed_type, patterns.get(point.failed_name or "", point.failed_name))
    callee = "; its callee starts from the beginning" if point.failed_callee else ""
    return f"a new invocation keeps the steps before {command}, and runs it again{callee}"
