"""What a lifecycle call's HTTP status means, together with the invocation's status read afterwards."""

from __future__ import annotations

from typing import Protocol

__all__ = [
    "DELETED",
    "JOURNAL_PURGED",
    "NOT_READ",
    "RESUMED",
    "EffectCheck",
    "cancel_accepted",
    "cancel_finished",
    "kill_effect",
    "pause_accepted",
    "pause_finished",
    "purge_effect",
]

NOT_READ = ""
RESUMED = "tried again now; nothing happens to one that runs already"
JOURNAL_PURGED = "its journal is removed, its row stays"
DELETED = "202 says nothing: it is also the answer for unknown ids and wrong states"


class EffectCheck(Protocol):
    """Returns whether a call took effect (None: yet to come, or not known), and a note."""

    def __call__(self, state: str | None) -> tuple[bool | None, str]:
        """Return the effect by the invocation's status: None where it has no row, NOT_READ where it was not read."""


def cancel_finished(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a cancel with status 200."""
    if state:
        return None, f"ended before it began, says the server; its row still says {state}"
    return (True if state is None else None), "it had not begun: its row is gone, without a completed one"


def cancel_accepted(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a cancel with status 202."""
    if state in {None, "completed"}:
        return True, "it has ended"
    if state == "paused":
        return None, "accepted: it is paused still, or again: it is woken, and told if it reaches an await"
    return None, "accepted: it is told at its next await or attempt, and may clean up before it ends"


def kill_effect(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a kill."""
    if state == NOT_READ:
        return None, "killed; one that had not begun is gone without a completed row"
    if state is None:
        return True, "it is gone, without a completed row: it had not begun"
    if state == "completed":
        return True, "it is completed, as failed with [409] killed"
    return None, f"accepted; its row still says {state}"


def pause_finished(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a pause with status 200."""
    if state == "suspended":
        return False, "nothing happened: this server leaves a suspended one as it is, and it goes on when it is woken"
    if state == "paused":
        return True, "it is paused"
    return None, "paused already, or suspended and left as it is"


def pause_accepted(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a pause with status 202."""
    if state == "paused":
        return True, "it is paused"
    return None, "accepted: paused when its attempt ends, at an await or when the abort timeout fires"


def purge_effect(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a purge."""
    if state:
        return None, f"accepted; its row still says {state}"
    return (True if state is None else None), "it is removed, with its journal"
