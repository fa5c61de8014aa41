"""The rules of the options: each action, its effect, and the statuses in which the server accepts it.

An action that the server accepts but that has no effect is not offered, for example a cancellation that no attempt can
deliver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import pandas as pd

from restate_lab.analysis.journal.errors import UNREACHABLE
from restate_lab.analysis.suggestions import Placeholder, SuggestedCall, move_call, plan_call, replay_call
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.reasons import format_time
from restate_lab.status import STATUSES

Calls: TypeAlias = tuple[SuggestedCall, ...]
_OPEN_STATUSES = frozenset(word for word, status in STATUSES.items() if not status.ended)
_COMPLETED_STATUSES = frozenset(word for word, status in STATUSES.items() if status.ended)
_RETRYING_STATUSES = frozenset({"backing-off", "ready", "running"})
_CANCEL_TEXT = (
    "the handler can clean up at its next step or attempt and then ends; the calls that it awaits are also cancelled, "
    "and its caller gets the failure"
)
_KILL_TEXT = (
    "ends it at once without clean-up, together with the calls that it awaits; completed steps are not undone, and its "
    "caller gets the failure"
)
_NOT_STARTED_TEXT = "it has not started, so there is nothing to undo; the server keeps no row of it"


@dataclass(frozen=True, slots=True)
class OptionRule:
    """An action, the statuses and the condition for which it is offered, its effect, and its calls."""

    action: str
    statuses: frozenset[str]
    applies: Callable[[InvocationDetails], bool]
    what: Callable[[InvocationDetails], str]
    calls: Callable[[InvocationDetails], Calls]


def plan_calls(action: str, id_: str) -> Calls:
    """Return the call that plans an action on one invocation."""
    return (plan_call(action, [id_]),)


def _plan_for(action: str) -> Callable[[InvocationDetails], Calls]:
    return lambda details: plan_calls(action, details.row["id"])


def _always(_: InvocationDetails) -> bool:
    return True


def _no_calls(_: InvocationDetails) -> Calls:
    return ()


def _constant(text: str) -> Callable[[InvocationDetails], str]:
    return lambda _: text


def _waits_for(kind: str) -> Callable[[InvocationDetails], bool]:
    return lambda details: any(edge.kind == kind for edge in details.edges)


def _wait_target(details: InvocationDetails, kind: str) -> str:
    return next(edge.what or "" for edge in details.edges if edge.kind == kind)


def _continues_by_itself(details: InvocationDetails) -> bool:
    asleep = bool(details.edges) and {edge.kind for edge in details.edges} == {"sleep"}
    return not details.is_removed and not details.is_failing and (details.status != "suspended" or asleep)


def _is_cut_off(details: InvocationDetails) -> bool:
    """Return whether no attempt reaches its handler; without an attempt, a cancellation has no effect."""
    has_no_code = details.is_failing and details.error is not None and details.error.code in UNREACHABLE
    return has_no_code or details.is_removed or details.mismatch is not None


def _can_move(details: InvocationDetails) -> bool:
    needs = _is_cut_off(details) or details.status == "paused"
    return bool(needs and details.pinned_deployment and details.latest and details.latest != details.pinned_deployment)


def _lacks_code(details: InvocationDetails) -> bool:
    unreachable = details.is_failing and details.error is not None and details.error.code in UNREACHABLE
    return unreachable or (details.is_removed and details.latest is None)


def _can_be_repaired(details: InvocationDetails) -> bool:
    return details.is_failing and not _is_cut_off(details) and not details.has_stale_timer


def _can_restart(details: InvocationDetails) -> bool:
    """Return whether its input is still kept after its end; a workflow is never restarted."""
    kept = details.row["journal_retention"]
    is_kept = kept is None or pd.Timedelta(kept) > pd.Timedelta(0)
    return details.row["target_service_ty"] != "workflow" and is_kept and bool(details.row["journal_size"])


def _wait_text(details: InvocationDetails) -> str:
    if details.status == "scheduled":
        return "it starts by itself"
    return "it wakes by itself" if details.status == "suspended" else "it continues by itself"


def _restore_code_text(details: InvocationDetails) -> str:
    service = details.row["target_service_name"]
    if details.is_removed:
        return f"register a deployment that has the service {service}, then move the invocation there"
    if details.pinned_deployment:
        deployment = details.pinned_deployment
        return f"start the deployment {deployment} again, or update its address; its attempts then continue there"
    return f"start the deployment {details.deployment} again, or register a deployment of {service} that responds"


def _restore_code_calls(details: InvocationDetails) -> Calls:
    address = {"uri": "http://…", "reason": "…"}
    if details.pinned_deployment and not details.is_removed:
        return (SuggestedCall("lab.admin.update_deployment", (details.pinned_deployment,), address),)
    register = SuggestedCall("lab.admin.create_deployment", (), address)
    return (register, *_move_calls(details)) if details.is_removed else (register,)


def _move_calls(details: InvocationDetails) -> Calls:
    return (move_call([details.row["id"]]),)


def _compare_calls(details: InvocationDetails) -> Calls:
    id_ = details.row["id"]
    return (
        SuggestedCall("journal_diff", (id_,), comment="shows where journal and code differ"),
        replay_call([id_]),
    )


def _resolve_calls(details: InvocationDetails) -> Calls:
    arguments = (_wait_target(details, "awakeable"), Placeholder("value"))
    return (SuggestedCall("lab.ingress.resolve_awakeable", arguments, {"reason": "…"}),)


def _reject_calls(details: InvocationDetails) -> Calls:
    return (SuggestedCall("lab.ingress.reject_awakeable", (_wait_target(details, "awakeable"), "…"), {"reason": "…"}),)


def _list_handlers_calls(details: InvocationDetails) -> Calls:
    return (SuggestedCall("lab.admin.list_service_handlers", (details.row["target_service_name"],)),)


def _resume_vqueue_calls(details: InvocationDetails) -> Calls:
    return (SuggestedCall("lab.admin.resume_vqueue", ((details.vqueue or {})["id"],), {"reason": "…"}),)


def _resume_text(details: InvocationDetails) -> str:
    if details.status == "paused":
        return "continues where it stopped; if the cause remains, it fails again"
    if details.status == "suspended":
        return "wakes it: it runs its step"
    again = details.row["next_retry_at"]
    return f"retries now instead of at {format_time(again)}" if again else "retries now"


def _kill_and_restart_calls(details: InvocationDetails) -> Calls:
    id_ = details.row["id"]
    return (*plan_calls("kill", id_), *plan_calls("restart_as_new", id_))


RULES: tuple[OptionRule, ...] = (
    OptionRule(
        "wait", frozenset({"scheduled", "running", "ready", "suspended"}), _continues_by_itself, _wait_text, _no_calls
    ),
    OptionRule(
        "resolve_awakeable",
        frozenset({"suspended"}),
        _waits_for("awakeable"),
        _constant("completes the awakeable with a value; the first result counts"),
        _resolve_calls,
    ),
    OptionRule(
        "reject_awakeable",
        frozenset({"suspended"}),
        _waits_for("awakeable"),
        _constant("fails the awakeable with your message, which the handler can catch"),
        _reject_calls,
    ),
    OptionRule(
        "complete_promise",
        frozenset({"suspended"}),
        _waits_for("promise"),
        lambda details: (
            f"call the handler that completes the promise “{_wait_target(details, 'promise')}”; it is one of these"
        ),
        _list_handlers_calls,
    ),
    OptionRule(
        "repair",
        _RETRYING_STATUSES,
        _can_be_repaired,
        _constant("fix the cause; the retries continue by themselves"),
        _no_calls,
    ),
    OptionRule(
        "bring the code back",
        _RETRYING_STATUSES,
        lambda details: details.mismatch is not None,
        lambda details: (
            f"deploy the code that wrote its journal at {details.deployment} again; its attempts then continue"
        ),
        _compare_calls,
    ),
    OptionRule(
        "bring the code back",
        _OPEN_STATUSES,
        _lacks_code,
        _restore_code_text,
        _restore_code_calls,
    ),
    OptionRule(
        "move_to",
        frozenset({"backing-off", "ready", "running", "paused", "suspended"}),
        _can_move,
        lambda details: f"continues on {details.latest}, if its code matches the journal",
        _move_calls,
    ),
    OptionRule("resume", frozenset({"suspended"}), _waits_for("run"), _resume_text, _plan_for("resume")),
    OptionRule("resume", frozenset({"backing-off"}), _can_be_repaired, _resume_text, _plan_for("resume")),
    OptionRule(
        "resume",
        frozenset({"paused"}),
        lambda details: not details.is_removed and not details.has_stale_timer,
        _resume_text,
        _plan_for("resume"),
    ),
    OptionRule(
        "pause",
        frozenset({"backing-off", "running"}),
        _can_be_repaired,
        _constant("stops the attempts until it is resumed"),
        _plan_for("pause"),
    ),
    OptionRule(
        "resume_vqueue",
        frozenset({"pending", "ready"}),
        lambda details: bool((details.vqueue or {}).get("is_paused")),
        _constant("resumes the vqueue and all its entries"),
        _resume_vqueue_calls,
    ),
    OptionRule(
        "cancel", frozenset({"scheduled", "pending"}), _always, _constant(_NOT_STARTED_TEXT), _plan_for("cancel")
    ),
    OptionRule(
        "cancel",
        frozenset({"ready", "backing-off", "running", "suspended"}),
        lambda details: not _is_cut_off(details),
        _constant(_CANCEL_TEXT),
        _plan_for("cancel"),
    ),
    OptionRule(
        "kill",
        frozenset({"ready", "backing-off", "running", "suspended", "paused"}),
        _always,
        _constant(_KILL_TEXT),
        _plan_for("kill"),
    ),
    OptionRule(
        "kill and restart",
        _RETRYING_STATUSES | {"paused"},
        lambda details: (
            (details.is_failing or details.status == "paused")
            and _can_restart(details)
            and details.latest is not None
            and not _lacks_code(details)
        ),
        _constant("starts again with the same input under a new id; all steps run again"),
        _kill_and_restart_calls,
    ),
    OptionRule(
        "upgrade the SDK",
        frozenset({"failed"}),
        lambda details: details.refused_deployment is not None,
        lambda details: f"upgrade the SDK of {details.row['target_service_name']} and register its deployment",
        lambda _: (SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…", "reason": "…"}),),
    ),
    OptionRule(
        "restart_as_new",
        _COMPLETED_STATUSES,
        _can_restart,
        _constant("starts again with the same input under a new id; this invocation does not change"),
        _plan_for("restart_as_new"),
    ),
    OptionRule(
        "purge", _COMPLETED_STATUSES, _always, _constant("removes it and its journal permanently"), _plan_for("purge")
    ),
)
"""The rules in the order of the options; servers 1.6.1 and 1.7.12 accept the actions in these statuses."""
