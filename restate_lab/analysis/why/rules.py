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
from restate_lab.analysis.suggestions import debug_calls, move_call, plan_call, replay_call
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.reasons import format_time
from restate_lab.calls import Placeholder, SuggestedCall
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
_RESTART_TEXT = "starts again with the same input under a new id; all steps run again"
_NOT_STARTED_TEXT = "it has not started, so there is nothing to undo; the server keeps no row of it"


@dataclass(frozen=True, slots=True)
class OptionRule:
    """An action, the statuses and the condition for which it is offered, its effect, and its calls."""

    action: str
    statuses: frozenset[str]
    what: Callable[[InvocationDetails], str]
    calls: Callable[[InvocationDetails], Calls] = lambda _: ()
    applies: Callable[[InvocationDetails], bool] = lambda _: True


def plan_calls(action: str, id_: str) -> Calls:
    """Return the call that plans an action on one invocation."""
    return (plan_call(action, [id_]),)


def _plan_for(action: str) -> Callable[[InvocationDetails], Calls]:
    return lambda details: plan_calls(action, details.row["id"])


def _constant(text: str) -> Callable[[InvocationDetails], str]:
    return lambda _: text


def _waits_for(kind: str) -> Callable[[InvocationDetails], bool]:
    return lambda details: any(edge.kind == kind for edge in details.edges)


def _wait_target(details: InvocationDetails, kind: str) -> str:
    return next(edge.detail or "" for edge in details.edges if edge.kind == kind)


def _is_cut_off(details: InvocationDetails) -> bool:
    """Return whether no attempt reaches its handler; without an attempt, a cancellation has no effect."""
    has_no_code = details.is_failing and details.error is not None and details.error.code in UNREACHABLE
    return has_no_code or details.is_removed or details.mismatch is not None


def _lacks_code(details: InvocationDetails) -> bool:
    unreachable = details.is_failing and details.error is not None and details.error.code in UNREACHABLE
    return unreachable or (details.is_removed and details.latest is None)


def _can_be_repaired(details: InvocationDetails) -> bool:
    return details.is_failing and not _is_cut_off(details) and not details.fails_again


def _needs_new_journal(details: InvocationDetails) -> bool:
    """Return whether the journal itself makes each attempt fail, so that only a start from the input can succeed."""
    return bool(details.fails_again) and not details.is_removed and details.mismatch is None


def _can_start_again(details: InvocationDetails) -> bool:
    is_stuck = details.is_failing or details.status == "paused"
    return is_stuck and _can_restart(details) and details.latest is not None and not _lacks_code(details)


def _can_restart(details: InvocationDetails) -> bool:
    """Return whether its input is still kept after its end; a workflow is never restarted."""
    kept = details.row["journal_retention"]
    is_kept = kept is None or pd.Timedelta(kept) > pd.Timedelta(0)
    return details.row["target_service_ty"] != "workflow" and is_kept and bool(details.row["journal_size"])


def _fails_in_code(details: InvocationDetails) -> bool:
    """Return whether its last error was raised by code that a replay of its journal runs again: outside of a step."""
    if details.journal is None or details.journal.empty or details.refused_deployment or details.fails_again:
        return False
    if details.status == "failed":
        return not details.has_stale_timer
    error = details.error
    return error is not None and error.command_index is None and not _is_cut_off(details)


def _can_only_end(details: InvocationDetails) -> bool:
    return _needs_new_journal(details) and not _can_start_again(details)


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


def _ingress_calls(name: str, details: InvocationDetails, value: Placeholder | str) -> Calls:
    arguments = (_wait_target(details, "awakeable"), value)
    return (SuggestedCall(f"lab.ingress.{name}", arguments, {"reason": "…"}),)


def _restart_calls(details: InvocationDetails) -> Calls:
    return (*plan_calls("kill", details.row["id"]), *plan_calls("restart_as_new", details.row["id"]))


def _resume_text(details: InvocationDetails) -> str:
    if details.fails_again:
        return f"will fail again: {details.fails_again}"
    if details.status == "paused":
        return "continues where it stopped; if the cause remains, it fails again"
    if details.status == "suspended":
        return "wakes it: it runs its step"
    again = details.row["next_retry_at"]
    return f"retries now instead of at {format_time(again)}" if again else "retries now"


RULES: tuple[OptionRule, ...] = (
    OptionRule(
        "kill, change the code, restart",
        _RETRYING_STATUSES | {"paused"},
        lambda details: (
            f"each attempt fails again, because {details.fails_again}; change the code, then start it with the same "
            "input under a new id; all steps run again"
        ),
        _restart_calls,
        lambda details: _needs_new_journal(details) and not details.has_stale_timer and _can_start_again(details),
    ),
    OptionRule(
        "kill and restart",
        _RETRYING_STATUSES | {"paused"},
        _constant(_RESTART_TEXT),
        _restart_calls,
        lambda details: details.has_stale_timer and _needs_new_journal(details) and _can_start_again(details),
    ),
    OptionRule(
        "kill",
        _RETRYING_STATUSES | {"paused"},
        lambda details: f"each attempt fails again, because {details.fails_again}; {_KILL_TEXT}",
        _plan_for("kill"),
        _can_only_end,
    ),
    OptionRule(
        "wait",
        frozenset({"scheduled", "running", "ready", "suspended"}),
        _wait_text,
        applies=lambda details: (
            not details.is_removed
            and not details.is_failing
            and (details.status != "suspended" or {edge.kind for edge in details.edges} == {"sleep"})
        ),
    ),
    OptionRule(
        "resolve_awakeable",
        frozenset({"suspended"}),
        _constant("completes the awakeable with a value; the first result counts"),
        lambda details: _ingress_calls("resolve_awakeable", details, Placeholder("value")),
        _waits_for("awakeable"),
    ),
    OptionRule(
        "reject_awakeable",
        frozenset({"suspended"}),
        _constant("fails the awakeable with your message, which the handler can catch"),
        lambda details: _ingress_calls("reject_awakeable", details, "…"),
        _waits_for("awakeable"),
    ),
    OptionRule(
        "complete_promise",
        frozenset({"suspended"}),
        lambda details: (
            f"call the handler that completes the promise “{_wait_target(details, 'promise')}”; it is one of these"
        ),
        lambda details: (SuggestedCall("lab.admin.list_service_handlers", (details.row["target_service_name"],)),),
        _waits_for("promise"),
    ),
    OptionRule(
        "repair",
        _RETRYING_STATUSES,
        _constant("fix the cause; the retries continue by themselves"),
        applies=_can_be_repaired,
    ),
    OptionRule(
        "debug",
        _RETRYING_STATUSES | {"paused", "failed"},
        _constant("raises its error in your own code, at its line, in this process; no step runs and nothing is sent"),
        lambda details: debug_calls(details.row["id"]),
        _fails_in_code,
    ),
    OptionRule(
        "bring the code back",
        _RETRYING_STATUSES | {"paused"},
        lambda details: (
            f"deploy the code that wrote its journal at {details.deployment} again; "
            f"{'then resume it' if details.status == 'paused' else 'its attempts then continue'}"
        ),
        lambda details: (
            SuggestedCall("journal_diff", (details.row["id"],), comment="shows where journal and code differ"),
            replay_call([details.row["id"]]),
        ),
        lambda details: details.mismatch is not None,
    ),
    OptionRule("bring the code back", _OPEN_STATUSES, _restore_code_text, _restore_code_calls, _lacks_code),
    OptionRule(
        "move_to",
        frozenset({"backing-off", "ready", "running", "paused", "suspended"}),
        lambda details: f"continues on {details.latest}, if its code matches the journal",
        _move_calls,
        lambda details: (
            (_is_cut_off(details) or details.status == "paused")
            and details.pinned_deployment is not None
            and details.latest not in {None, details.pinned_deployment}
        ),
    ),
    OptionRule("resume", frozenset({"suspended"}), _resume_text, _plan_for("resume"), _waits_for("run")),
    OptionRule("resume", frozenset({"backing-off"}), _resume_text, _plan_for("resume"), _can_be_repaired),
    OptionRule(
        "resume",
        frozenset({"paused"}),
        _resume_text,
        _plan_for("resume"),
        lambda details: not details.fails_again,
    ),
    OptionRule(
        "pause",
        frozenset({"backing-off", "running"}),
        _constant("stops the attempts until it is resumed"),
        _plan_for("pause"),
        lambda details: details.is_failing and not _is_cut_off(details) and not details.has_stale_timer,
    ),
    OptionRule(
        "resume_vqueue",
        frozenset({"pending", "ready"}),
        _constant("resumes the vqueue and all its entries"),
        lambda details: (SuggestedCall("lab.admin.resume_vqueue", ((details.vqueue or {})["id"],), {"reason": "…"}),),
        lambda details: bool((details.vqueue or {}).get("is_paused")),
    ),
    OptionRule("cancel", frozenset({"scheduled", "pending"}), _constant(_NOT_STARTED_TEXT), _plan_for("cancel")),
    OptionRule(
        "cancel",
        frozenset({"ready", "backing-off", "running", "suspended"}),
        _constant(_CANCEL_TEXT),
        _plan_for("cancel"),
        lambda details: not _is_cut_off(details),
    ),
    OptionRule(
        "kill",
        frozenset({"ready", "backing-off", "running", "suspended", "paused"}),
        _constant(_KILL_TEXT),
        _plan_for("kill"),
        lambda details: not _can_only_end(details),
    ),
    OptionRule(
        "kill and restart",
        _RETRYING_STATUSES | {"paused"},
        _constant(_RESTART_TEXT),
        _restart_calls,
        lambda details: _can_start_again(details) and not _needs_new_journal(details),
    ),
    OptionRule(
        "resume",
        frozenset({"backing-off", "paused"}),
        _resume_text,
        _plan_for("resume"),
        lambda details: bool(details.fails_again),
    ),
    OptionRule(
        "upgrade the SDK",
        frozenset({"failed"}),
        lambda details: f"upgrade the SDK of {details.row['target_service_name']} and register its deployment",
        lambda _: (SuggestedCall("lab.admin.create_deployment", (), {"uri": "http://…", "reason": "…"}),),
        lambda details: details.refused_deployment is not None,
    ),
    OptionRule(
        "restart_as_new",
        _COMPLETED_STATUSES,
        _constant("starts again with the same input under a new id; this invocation does not change"),
        _plan_for("restart_as_new"),
        _can_restart,
    ),
    OptionRule("purge", _COMPLETED_STATUSES, _constant("removes it and its journal permanently"), _plan_for("purge")),
)
"""The rules in the order of the options; 1.7.12 accepts the actions in these statuses."""
