"""The outcome of each invocation of a plan, determined from the response and from later reads.

The outcomes:

done      the effect was confirmed by reading
accepted  the server accepted it, but the effect is not visible yet (``error`` has the reason)
refused   the server rejected it, or could not accept it during all retries
skipped   nothing was sent, because its status, read just before, no longer allowed it
unknown   the response was lost, and no effect is visible
not sent  nothing was sent, because the execution stopped or gave up before its turn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from restate_lab.actions.execution.sender import CallResult
from restate_lab.actions.reader import InvocationSnapshot
from restate_lab.actions.rules import ACTIONS, GONE
from restate_lab.client.admin import effects as notes

OUTCOMES = ("done", "accepted", "refused", "skipped", "unknown", "not sent")
OutcomeName = Literal["done", "accepted", "refused", "skipped", "unknown", "not sent"]
COLUMNS = ("id", "outcome", "error", "new_id", "status", "milliseconds", "other_new_ids")


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """The outcome of one invocation.

    ``status`` was read afterwards; for a restart, it is the status of the new invocation. None means that there is no
    row, or that it was not read. ``other_new_ids`` are other restarts of the same invocation since the first request,
    separated by commas; normally None.
    """

    id: str
    outcome: OutcomeName
    error: str | None = None
    new_id: str | None = None
    status: str | None = None
    milliseconds: float | None = None
    other_new_ids: str | None = None


def has_happened(action: ACTIONS, before: InvocationSnapshot, after: InvocationSnapshot, *, taken: bool) -> bool:
    """Return whether the snapshots show that an action had its effect; ``taken`` means that the server accepted it.

    A resumed invocation can back off or suspend again at once. If the server accepted the resume, it is enough that the
    invocation is not paused. If the response was lost, the snapshots must differ. A restart is confirmed by its new
    invocation, not here.
    """
    if action is ACTIONS.PURGE_JOURNAL:
        return after.journal_size == 0
    if action is ACTIONS.RESUME and not taken and after == before:
        return False
    return (after.status or GONE) in action.rule.settles


def determine_outcome(
    action: ACTIONS, id_: str, result: CallResult | None, before: InvocationSnapshot, after: InvocationSnapshot | None
) -> ActionOutcome:
    """Return the outcome of one invocation of a request.

    ``result`` None means that nothing was sent, ``after`` None that it could not be read afterwards.
    """
    if result is None:
        return ActionOutcome(id_, "not sent", status=before.status)
    status, took = after.status if after else None, result.milliseconds
    if result.kind in {"refused", "not taken"}:
        return ActionOutcome(id_, "refused", result.error, status=status, milliseconds=took)
    taken = result.kind == "taken"
    if result.other_new_ids:
        others = ", ".join(result.other_new_ids)
        error = (
            f"it was restarted more than once: as {result.new_id} and as {others}. A gateway may have repeated the "
            f"request, or another person restarted it: cancel or kill the invocations that you do not need"
        )
        return ActionOutcome(id_, "done", error, result.new_id, status, took, others)
    if result.new_id or (after and has_happened(action, before, after, taken=taken)):
        return ActionOutcome(id_, "done", None, result.new_id, status, took)
    if not taken:
        seen = f"afterwards it is {status or GONE}" if after else "it could not be read afterwards"
        return ActionOutcome(id_, "unknown", f"{result.error}; {seen}", None, status, took)
    note = _explain_pending(action, after.status) if after else "accepted, but it could not be read afterwards"
    return ActionOutcome(id_, "accepted", note, None, status, took)


def outcome_frame(outcomes: Sequence[ActionOutcome]) -> pd.DataFrame:
    """Return one row per outcome, in order."""
    columns = {name: [getattr(each, name) for each in outcomes] for name in COLUMNS}
    table = pd.DataFrame(columns, columns=list(COLUMNS), dtype=object)
    table["milliseconds"] = table["milliseconds"].astype("float64")
    return table


def _explain_pending(action: ACTIONS, status: str | None) -> str:
    if action is ACTIONS.CANCEL:
        return notes.cancel_accepted(status)[1]
    if action is ACTIONS.KILL:
        return notes.kill_effect(status)[1]
    if action is ACTIONS.PAUSE:
        return (notes.pause_finished if status == "suspended" else notes.pause_accepted)(status)[1]
    return f"accepted; it is {status or GONE}"
