"""What is paused, and why."""

from __future__ import annotations

from collections.abc import Sequence

from restate_lab.analysis.checks.failing import groups
from restate_lab.analysis.checks.finding import IDS, Finding, Severity
from restate_lab.analysis.checks.look import Look, Row, moment
from restate_lab.analysis.checks.messages import normalised, said
from restate_lab.analysis.checks.words import asking, call, counted, cut, first_of, ids_code, one_or_more, quoted
from restate_lab.analysis.wait_rows import given

__all__ = ["paused"]

_KINDS = 5


def paused(look: Look) -> list[Finding]:
    """Find paused invocations by handler, code and step; those pinned to a removed deployment are told elsewhere."""
    count = look.census.open("paused")
    if not count:
        return []
    rows = [row for row in look.paused() if _is_deployed(look, row)]
    return [_paused(look, members) for alike in groups(rows, _kind) for members in _by_message(alike)]


def _by_message(rows: Sequence[Row]) -> list[list[Row]]:
    """Tell kinds of messages apart, as each may need something else; many kinds are one storm in many words."""
    kinds = groups(rows, lambda row: normalised(given(row["message"]) or ""))
    return kinds if len(kinds) <= _KINDS else [list(rows)]


def _kind(row: Row) -> tuple[object, ...]:
    return (
        row["target_service_name"],
        row["target_handler_name"],
        given(row["error_code"]),
        given(row["step"]),
        given(row["message"]) is None,
    )


def _is_deployed(look: Look, row: Row) -> bool:
    return given(row["deployment_id"]) is None or row["deployment_id"] in look.deployments


def _paused(look: Look, rows: Sequence[Row]) -> Finding:
    first, ids = rows[0], [row["id"] for row in rows]
    count, victims = len(rows), look.behind(ids)
    handler = f"{first['target_service_name']}/{first['target_handler_name']}"
    message, code, step = given(first["message"]), given(first["error_code"]), given(first["step"])
    at = f" in the step “{cut(step, 40)}”" if step else ""
    # Without vqueues the event is the same whether the policy gave up or somebody paused it between two attempts.
    why = f"after failing{at}: [{code or 'no code'}] {said(row['message'] for row in rows)}" if message else "by hand"
    more = f"; {victims.count:,} {one_or_more(victims.count, 'waits', 'wait')} behind" if victims else ""
    frame = asking("paused", service=first["target_service_name"])
    return Finding(
        severity=Severity.CRITICAL if message or victims else Severity.WARNING,
        what=f"{counted(count, 'invocation')} of {handler} {one_or_more(count, 'is', 'are')} paused {why}; "
        f"{one_or_more(count, 'it goes', 'they go')} on only when resumed{more}",
        where=handler,
        count=count,
        ids=tuple(ids[:IDS]),
        victims=victims,
        since=min((found for row in rows if (found := moment(row["paused_at"]))), default=None),
        why=frame,
        next_step=call("rl.plan", "lab", quoted("resume"), ids_code(ids[:IDS]))
        + (first_of(count, IDS) or ("  # once its cause is gone" if message else "")),
    )
