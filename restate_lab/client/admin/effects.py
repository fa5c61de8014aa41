"""Interpret the HTTP status of a lifecycle call together with the invocation's status that was read afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

NOT_READ = ""
RESUMED = "it is retried now; if it was already running, nothing changed"
JOURNAL_PURGED = "its journal was removed, its row remains"
DELETED = "202 does not confirm the change: the server also returns it for unknown ids and wrong states"


EffectCheck: TypeAlias = Callable[[str | None], tuple[bool | None, str]]
"""A function from an invocation's status to whether a call took effect, and a note.

The status has None if the invocation has no row, and NOT_READ if it was not read. The effect has None if it is pending
or unknown.
"""


def cancel_finished(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a cancel with status 200."""
    if state == "completed":
        return True, "it had not started: it is completed, as failed with [409] canceled"
    if state:
        return None, f"the server reports that it ended before it started; its row still has status {state}"
    if state == NOT_READ:
        return None, "it had not started, so it has ended; whether its row was removed was not read"
    return True, "it had not started: its row was removed and it has no completed row"


def cancel_accepted(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a cancel with status 202."""
    if state in {None, "completed"}:
        return True, "it has ended"
    if state == "paused":
        return None, "accepted: it is paused; it is woken and gets the cancellation if it reaches an await"
    return None, "accepted: it gets the cancellation at its next await or attempt, and can clean up before it ends"


def kill_effect(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a kill."""
    if state == NOT_READ:
        return None, "killed; whether its row was removed, because it had not started, was not read"
    if state is None:
        return True, "it was removed without a completed row, because it had not started"
    if state == "completed":
        return True, "it is completed, as failed with [409] killed"
    return None, f"accepted; its row still has status {state}"


def pause_finished(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a pause with status 200."""
    if state == "suspended":
        return False, "nothing changed: this server does not pause a suspended invocation; it continues when woken"
    if state == "paused":
        return True, "it is paused"
    return None, "it was already paused, or it is suspended and did not change"


def pause_accepted(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a pause with status 202."""
    if state == "paused":
        return True, "it is paused"
    return None, "accepted: it pauses at once in a vqueue, otherwise at an await or at the abort timeout"


def purge_effect(state: str | None) -> tuple[bool | None, str]:
    """Return the effect of a purge."""
    if state:
        return None, f"accepted; its row still has status {state}"
    return (True if state is None else None), "it was removed, with its journal"
