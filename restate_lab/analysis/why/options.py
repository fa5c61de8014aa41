"""What one can do about an invocation: each action with the statuses that the server takes it in, and what comes of it.

One table drives it. That the server takes an action is not enough: where it would do nothing (a cancellation that no
attempt delivers), it is not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from restate_lab.analysis.journal.errors import UNREACHABLE
from restate_lab.analysis.suggestions import Placeholder, SuggestedCall, move_call, plan_call, python_code
from restate_lab.analysis.why.chain import Chain
from restate_lab.analysis.why.details import Case
from restate_lab.analysis.why.text import moment
from restate_lab.status import STATUSES

__all__ = ["RULES", "Option", "Rule", "option_frame", "options"]

Calls: TypeAlias = tuple[SuggestedCall, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that one can do: ``calls`` are for it, one after another; () where there is nothing to do."""

    action: str
    id: str
    target: str
    what: str
    calls: Calls

    @property
    def code(self) -> str:
        """Return the calls as Python, one a line."""
        return python_code(self.calls)


@dataclass(frozen=True, slots=True)
class Rule:
    """An action, the statuses in which it is offered, when it makes sense, what it does, and its calls."""

    action: str
    statuses: frozenset[str]
    fits: Callable[[Case], bool]
    what: Callable[[Case], str]
    calls: Callable[[Case], Calls]


def options(case: Case, root: Case | None, chain: Chain) -> tuple[Option, ...]:
    """Return what one can do, what helps most first: about the root blocker, then about this one alone.

    ``root`` is None where it is not there any more.
    """
    if chain.deadlock:
        return tuple(_break(chain, case, root))
    if root is None or root.row["id"] == case.row["id"]:
        return tuple(_of(case))
    alone = [_alone(option) for option in _of(case) if option.action in {"cancel", "kill"}]
    return (*_of(root), *alone)


def option_frame(found: Iterable[Option]) -> pd.DataFrame:
    """Return the options as a frame, one row each."""
    names = ["action", "id", "target", "what", "code"]
    rows = [[getattr(option, name) for name in names] for option in found]
    return pd.DataFrame(rows, columns=names, dtype=object)


def _of(case: Case) -> list[Option]:
    row = case.row
    fitting = [rule for rule in RULES if case.status in rule.statuses and rule.fits(case)]
    return [Option(rule.action, row["id"], row["target"], rule.what(case), rule.calls(case)) for rule in fitting]


def _break(chain: Chain, case: Case, root: Case | None) -> list[Option]:
    told = chain.deadlock
    target = root.row["target"] if root else case.row["target"]
    if told is None:
        return []
    return [
        Option("cancel", told.cancel, target, f"breaks the deadlock: {told.why}", _plan("cancel", told.cancel)),
        Option(
            "kill",
            told.cancel,
            target,
            "if it does not obey: ends it at once, without clean-up",
            _plan("kill", told.cancel),
        ),
    ]


def _alone(option: Option) -> Option:
    return replace(option, what=f"gives up on this one: {option.what}")


def _plan(action: str, id_: str) -> Calls:
    return (plan_call(action, [id_]),)


def _planned(action: str) -> Callable[[Case], Calls]:
    return lambda case: _plan(action, case.row["id"])


def _always(_: Case) -> bool:
    return True


def _nothing(_: Case) -> Calls:
    return ()


def _says(text: str) -> Callable[[Case], str]:
    return lambda _: text


def _awaits(kind: str) -> Callable[[Case], bool]:
    return lambda case: any(edge.kind == kind for edge in case.edges)


def _awaited(case: Case, kind: str) -> str:
    return next(edge.what or "" for edge in case.edges if edge.kind == kind)


def _goes_on_alone(case: Case) -> bool:
    asleep = bool(case.edges) and {edge.kind for edge in case.edges} == {"sleep"}
    return not case.is_removed and not case.is_failing and (case.status != "suspended" or asleep)


def _is_cut_off(case: Case) -> bool:
    """Tell whether no attempt comes to its handler, which alone could obey a cancellation."""
    has_no_code = case.is_failing and case.error is not None and case.error.code in UNREACHABLE
    return has_no_code or case.is_removed or case.mismatch is not None


def _can_move(case: Case) -> bool:
    needs = _is_cut_off(case) or case.status == "paused"
    return bool(needs and case.bound_to and case.latest and case.latest != case.bound_to)


def _lacks_code(case: Case) -> bool:
    unreachable = case.is_failing and case.error is not None and case.error.code in UNREACHABLE
    return unreachable or (case.is_removed and case.latest is None)


def _can_be_repaired(case: Case) -> bool:
    return case.is_failing and not _is_cut_off(case)


def _can_restart(case: Case) -> bool:
    """Tell whether its input will be there after its end; a workflow is never restarted."""
    kept = case.row["journal_retention"]
    is_kept = kept is None or pd.Timedelta(kept) > pd.Timedelta(0)
    return case.row["target_service_ty"] != "workflow" and is_kept and bool(case.row["journal_size"])


def _wait(case: Case) -> str:
    if case.status == "scheduled":
        return "it starts by itself"
    return "it wakes by itself" if case.status == "suspended" else "it goes on by itself"


def _bring_code_back(case: Case) -> str:
    service = case.row["target_service_name"]
    if case.is_removed:
        return f"register a deployment that has the service {service} again, and then move it there"
    if case.bound_to:
        return f"bring back what {case.bound_to} stands for, or say where it is now: its attempts go on there"
    return f"bring back what {case.deployment} stands for, or register a deployment of {service} that answers"


def _calls_to_bring_back(case: Case) -> Calls:
    address = {"uri": "http://…", "reason": "…"}
    if case.bound_to and not case.is_removed:
        return (SuggestedCall("lab.admin.update_deployment", (case.bound_to,), address),)
    register = SuggestedCall("lab.admin.create_deployment", (), address)
    return (register, *_move(case)) if case.is_removed else (register,)


def _move(case: Case) -> Calls:
    return (move_call([case.row["id"]]),)


def _compare(case: Case) -> Calls:
    return (SuggestedCall("journal_diff", (case.row["id"],), comment="where journal and code part"),)


def _resolve(case: Case) -> Calls:
    arguments = (_awaited(case, "awakeable"), Placeholder("value"))
    return (SuggestedCall("lab.ingress.resolve_awakeable", arguments, {"reason": "…"}),)


def _reject(case: Case) -> Calls:
    return (SuggestedCall("lab.ingress.reject_awakeable", (_awaited(case, "awakeable"), "…"), {"reason": "…"}),)


def _list_handlers(case: Case) -> Calls:
    return (SuggestedCall("lab.admin.list_service_handlers", (case.row["target_service_name"],)),)


def _resume_vqueue(case: Case) -> Calls:
    return (SuggestedCall("lab.admin.resume_vqueue", ((case.vqueue or {})["id"],), {"reason": "…"}),)


def _resume(case: Case) -> str:
    if case.status == "paused":
        return "it goes on where it stopped; with the cause still there it fails again"
    if case.status == "suspended":
        return "wakes it: it runs its step"
    again = case.row["next_retry_at"]
    return f"tries it now instead of at {moment(again)}" if again else "tries it now"


def _restart_after_kill(case: Case) -> Calls:
    id_ = case.row["id"]
    return (*_plan("kill", id_), *_plan("restart_as_new", id_))


_OPEN = frozenset(word for word, status in STATUSES.items() if not status.ended)
_ENDED = frozenset(word for word, status in STATUSES.items() if status.ended)
_TRYING = frozenset({"backing-off", "ready", "running"})
_CANCELS = (
    "at its next step or attempt its handler may clean up, and ends; what it called and awaits is cancelled, too, and "
    "who waits for its answer gets the failure"
)
_KILLS = (
    "ends it at once without clean-up, and what it called and awaits; what was done stays done, and who waits for its "
    "answer gets the failure"
)
_GONE = "it leaves no row behind, and none of it was done"

RULES: tuple[Rule, ...] = (
    Rule("wait", frozenset({"scheduled", "running", "ready", "suspended"}), _goes_on_alone, _wait, _nothing),
    Rule(
        "resolve_awakeable",
        frozenset({"suspended"}),
        _awaits("awakeable"),
        _says("gives it the value that it waits for; the first answer counts"),
        _resolve,
    ),
    Rule(
        "reject_awakeable",
        frozenset({"suspended"}),
        _awaits("awakeable"),
        _says("lets it fail there with your message, which its handler may catch"),
        _reject,
    ),
    Rule(
        "complete_promise",
        frozenset({"suspended"}),
        _awaits("promise"),
        lambda case: f"call the handler that completes the promise “{_awaited(case, 'promise')}”; it is one of these",
        _list_handlers,
    ),
    Rule("repair", _TRYING, _can_be_repaired, _says("remove the cause: it is tried again by itself"), _nothing),
    Rule(
        "bring the code back",
        _TRYING,
        lambda case: case.mismatch is not None,
        lambda case: f"put the code that wrote its journal behind {case.deployment} again: its attempts go on",
        _compare,
    ),
    Rule(
        "bring the code back",
        _OPEN,
        _lacks_code,
        _bring_code_back,
        _calls_to_bring_back,
    ),
    Rule(
        "move_to",
        frozenset({"backing-off", "ready", "running", "paused", "suspended"}),
        _can_move,
        lambda case: f"goes on on {case.latest}, if that code can follow its journal",
        _move,
    ),
    Rule("resume", frozenset({"suspended"}), _awaits("run"), _resume, _planned("resume")),
    Rule("resume", frozenset({"backing-off"}), _can_be_repaired, _resume, _planned("resume")),
    Rule("resume", frozenset({"paused"}), lambda case: not case.is_removed, _resume, _planned("resume")),
    Rule(
        "pause",
        frozenset({"backing-off", "running"}),
        _can_be_repaired,
        _says("stops the attempts until somebody resumes it"),
        _planned("pause"),
    ),
    Rule(
        "resume_vqueue",
        frozenset({"pending", "ready"}),
        lambda case: bool((case.vqueue or {}).get("is_paused")),
        _says("lets the vqueue go on, with all that is in it"),
        _resume_vqueue,
    ),
    Rule("cancel", frozenset({"scheduled", "pending"}), _always, _says(_GONE), _planned("cancel")),
    Rule(
        "cancel",
        frozenset({"ready", "backing-off", "running", "suspended"}),
        lambda case: not _is_cut_off(case),
        _says(_CANCELS),
        _planned("cancel"),
    ),
    Rule(
        "kill",
        frozenset({"ready", "backing-off", "running", "suspended", "paused"}),
        _always,
        _says(_KILLS),
        _planned("kill"),
    ),
    Rule(
        "kill and restart",
        _TRYING | {"paused"},
        lambda case: (
            (case.is_failing or case.status == "paused")
            and _can_restart(case)
            and case.latest is not None
            and not _lacks_code(case)
        ),
        _says("begins again with the same input under a new id; what was done is done again"),
        _restart_after_kill,
    ),
    Rule(
        "restart_as_new",
        _ENDED,
        _can_restart,
        _says("begins again with the same input under a new id; this one stays as it is"),
        _planned("restart_as_new"),
    ),
    Rule("purge", _ENDED, _always, _says("removes it with its journal, for good"), _planned("purge")),
)
"""In the order in which they are offered; the statuses are those in which servers take them (1.6.1 and 1.7.12)."""
