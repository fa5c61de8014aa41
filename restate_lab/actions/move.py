"""Rescue invocations from a deployment: plan their move to another one."""

from __future__ import annotations

from typing import Any

from restate_lab.actions.plan import Plan, make_plan
from restate_lab.actions.table import ACTIONS
from restate_lab.client.lab import Lab
from restate_lab.client.schema import translated
from restate_lab.durations import DurationInput

__all__ = ["move_to"]


@translated
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
