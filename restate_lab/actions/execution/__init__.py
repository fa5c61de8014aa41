"""Act on many invocations: read each again, act, resolve lost responses by reading, verify, write one audit record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd

from restate_lab.actions.change import ExecutionRequest
from restate_lab.actions.execution.move import MoveRunner
from restate_lab.actions.execution.outcomes import outcome_frame
from restate_lab.actions.execution.runner import Runner, SingleCallRunner
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import summarize
from restate_lab.client.lab import Lab
from restate_lab.errors import Interrupted
from restate_lab.interrupts import Shield
from restate_lab.progress import InvocationsLine, Progress, notify, progress_of


def execute(
    lab: Lab,
    request: ExecutionRequest,
    *,
    progress: bool | Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> pd.DataFrame:
    """Execute a request and return one row per id, in its order.

    Columns: ``id``; ``outcome`` (described in ``execution.outcomes``); ``error``; ``new_id`` (of a restart); ``status``
    (read afterwards; for a restart, the status of the new invocation; None without a row); ``milliseconds`` from
    sending the request to its response; ``other_new_ids`` (the other ids of a restart that happened more than once,
    separated by commas; otherwise None). In ``attrs``, ``sent`` is whether any request may have been sent, and ``gone``
    the number of skipped ids whose run no longer exists.

    ``stop`` is called between requests; if it returns True, the execution ends and the frame has the results so far. An
    interrupt does the same and then raises Interrupted, which has the frame. ``progress`` gets the number of processed
    ids and their total.

    Raises:
        ReadOnly, AuditFailed: nothing was sent.
        Interrupted: it was interrupted; ``outcome`` is the frame.
    """
    started, asked_at = time.monotonic(), datetime.now(UTC)
    action, description = request.action.value, str(request)
    line = progress_of(progress, lambda: InvocationsLine(action))
    indexes = [index for id_ in request.ids if (index := request.change.index_of(id_)) is not None] or None
    intent = lab.transport.record(action, request.ids, reason=request.reason, request=description, from_indexes=indexes)
    with contextlib.closing(line), intent as record:
        runner = (MoveRunner if request.action is ACTIONS.MOVE_TO else SingleCallRunner)(lab, request, record)
        try:
            interrupt = _run(runner, line, stop, record.shield)
        finally:  # also after an unexpected error: the known result of each id is written to the audit log
            outcomes = runner.outcomes()
            record.result.clear()
            record.result.update(summarize(outcomes))
    table = outcome_frame(outcomes)
    table.attrs = {
        "made_by": "restate_lab",
        "action": action,
        "reason": request.reason,
        "deployment": request.change.deployment,
        "asked_at": asked_at.isoformat(),
        "seconds": round(time.monotonic() - started, 3),
        "source": lab.name,
        "address": lab.settings.admin_url,
        "change": record.change,
        "counts": {word: int(n) for word, n in table["outcome"].value_counts().items()},
        "halt": runner.halt,
        "sent": record.sent.is_set(),
        "gone": sum(each.outcome == "skipped" and each.id in runner.gone for each in outcomes),
    }
    if runner.halt:
        counts = ", ".join(f"{n:,} {outcome}" for outcome, n in table.attrs["counts"].items())
        notify(f"{action} ended early ({runner.halt}): {counts}.")
    if interrupt is not None:
        raise Interrupted(f"{description} was interrupted; outcome has the results so far.", table) from interrupt
    return table


def _run(runner: Runner, line: Progress, stop: Callable[[], bool] | None, shield: Shield) -> KeyboardInterrupt | None:
    """Act and read the outcome. The first interrupt ends the current phase and is returned; a second one is raised."""
    interrupt = None
    try:
        shield.let_through(lambda: runner.act(line, stop))
    except KeyboardInterrupt as error:
        interrupt = error
        runner.halt = "interrupted"
    try:
        shield.let_through(runner.verify)
    except KeyboardInterrupt as error:
        if interrupt is not None:
            raise
        interrupt = error  # everything was sent; the outcome shows which invocations were not read
    return interrupt
