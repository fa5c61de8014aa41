"""The outcome of each invocation of a plan, determined from the response and from what is read afterwards.

The outcomes:

done      seen by reading: it has happened
accepted  the server took it, and reading does not show it yet (``error`` says what it waits for)
refused   the server said no, or could not take it for as long as it was asked
skipped   nothing was sent: its status, read just before, does not allow it any more
unknown   the answer was lost, and reading does not show that it has happened
not sent  nothing was sent: the execution was stopped, or gave up, before its turn
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

__all__ = ["COLUMNS", "OUTCOMES", "Outcome", "determine_outcome", "has_happened", "outcome_frame"]

OUTCOMES = ("done", "accepted", "refused", "skipped", "unknown", "not sent")
OutcomeName = Literal["done", "accepted", "refused", "skipped", "unknown", "not sent"]
COLUMNS = ("id", "outcome", "error", "new_id", "status", "milliseconds", "other_new_ids")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: ``status`` is what was seen afterwards, of a restart that of the new invocation.

    None: there is no row (any more), or it was not read. ``other_new_ids`` are further restarts of the same invocation
    since the first request for it, in one text with commas; None if there are none, as there should be.
    """

    id: str
    outcome: OutcomeName
    error: str | None = None
    new_id: str | None = None
    status: str | None = None
    milliseconds: float | None = None
    other_new_ids: str | None = None


def has_happened(action: ACTIONS, before: InvocationSnapshot, after: InvocationSnapshot, *, taken: bool) -> bool:
    """Tell whether reading shows that an action has happened; ``taken`` says that the server took it.

    A resumed invocation may back off or be suspended again at once: where the server took it, that it is not paused is
    enough; where the answer was lost, something must have changed. A restart is seen by its new invocation.
    """
    if action is ACTIONS.PURGE_JOURNAL:
        return after.journal_size == 0
    if action is ACTIONS.RESUME and not taken and after == before:
        return False
    return (after.status or GONE) in action.rule.settles


def determine_outcome(
    action: ACTIONS, id_: str, result: CallResult | None, before: InvocationSnapshot, after: InvocationSnapshot | None
) -> Outcome:
    """Return what came of one invocation of a request.

    ``result`` None means that nothing was sent, ``after`` None that it could not be read afterwards.
    """
    if result is None:
        return Outcome(id_, "not sent", status=before.status)
    status, took = after.status if after else None, result.milliseconds
    if result.kind in {"refused", "not taken"}:
        return Outcome(id_, "refused", result.error, status=status, milliseconds=took)
    taken = result.kind == "taken"
    if result.other_new_ids:
        return Outcome(
            id_,
            "done",
            _describe_repeated_restart(result),
            result.new_id,
            status,
            took,
            ", ".join(result.other_new_ids),
        )
    if result.new_id or (after and has_happened(action, before, after, taken=taken)):
        return Outcome(id_, "done", None, result.new_id, status, took)
    if not taken:
        seen = f"it is {status or GONE} afterwards" if after else "it could not be read afterwards"
        return Outcome(id_, "unknown", f"{result.error}; {seen}", None, status, took)
    note = _explain_pending(action, after.status) if after else "the server took it; it could not be read afterwards"
    return Outcome(id_, "accepted", note, None, status, took)


def outcome_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return one row per outcome, in order."""
    columns = {name: [getattr(each, name) for each in outcomes] for name in COLUMNS}
    table = pd.DataFrame(columns, columns=list(COLUMNS), dtype=object)
    table["milliseconds"] = table["milliseconds"].astype("float64")
    return table


def _describe_repeated_restart(result: CallResult) -> str:
    others = ", ".join(result.other_new_ids)
    return (
        f"it was restarted more than once: as {result.new_id} and as {others}. A gateway may have sent the request "
        f"again, or another person restarted it: cancel or kill what is not wanted"
    )


def _explain_pending(action: ACTIONS, status: str | None) -> str:
    """Say why what the server took is not seen yet."""
    if action is ACTIONS.CANCEL:
        return notes.cancel_accepted(status)[1]
    if action is ACTIONS.KILL:
        return notes.kill_effect(status)[1]
    if action is ACTIONS.PAUSE:
        return (notes.pause_finished if status == "suspended" else notes.pause_accepted)(status)[1]
    return f"accepted; it is {status or GONE}"
