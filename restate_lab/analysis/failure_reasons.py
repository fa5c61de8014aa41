"""Why attempts fail, and whether the next attempt fails again: one rule for the doctor, ``why`` and plans.

An unreachable deployment can respond again, and the cause of a handler's error can be over. A journal does not change,
and a removed deployment does not return: only other code or another deployment helps.
"""

from __future__ import annotations

from enum import Enum

from restate_lab.analysis.journal.errors import MISMATCH, UNREACHABLE, is_stale_timer


class FailureReason(Enum):
    """Why attempts fail; each reason needs a different action."""

    REMOVED = "its deployment was removed"
    UNREACHABLE = "its deployment does not respond"
    MISMATCH = "its code does not match its journal"
    STALE_TIMER = "a timer of an earlier invocation with its id fired"
    RESPONSE = "a response of its model is in its journal"
    HANDLER = "its handler fails"


_REPEATED = {
    FailureReason.REMOVED: "its deployment {detail} was removed",
    FailureReason.MISMATCH: f"the code does not match its journal ({MISMATCH})",
    FailureReason.STALE_TIMER: "its journal has a result that the code did not ask for",
    FailureReason.RESPONSE: "{detail} is in its journal",
}
"""The text for each reason for which every further attempt fails."""


def failure_reason(code: str | None, *, is_deployed: bool, message: str = "") -> FailureReason:
    """Return why attempts fail with this error code; ``is_deployed`` is whether the deployment is registered."""
    if not is_deployed:
        return FailureReason.REMOVED
    if is_stale_timer(message):
        return FailureReason.STALE_TIMER
    if code == MISMATCH:
        return FailureReason.MISMATCH
    return FailureReason.UNREACHABLE if code in UNREACHABLE else FailureReason.HANDLER


def fails_again(reason: FailureReason | None, *, is_moved: bool = False) -> bool:
    """Return whether the next attempt fails for the same reason.

    ``is_moved``: the attempt is on another deployment, whose code may match the journal and accept a response. No code
    can use the result of another invocation's timer.
    """
    return reason is FailureReason.STALE_TIMER if is_moved else reason in _REPEATED


def describe_repeated(reason: FailureReason, detail: str | None = None) -> str:
    """Return why each further attempt fails; ``detail`` is the removed deployment, or the problem of a response."""
    return _REPEATED[reason].format(detail=detail or "")
