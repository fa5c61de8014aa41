"""A plan in words: what to read before it is executed, and the whole of it as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._text import escape_invisible, format_duration, format_time
from restate_lab.actions.table import ACTIONS, NOT_BEGUN

if TYPE_CHECKING:
    from restate_lab.actions.planned import Plan

__all__ = ["groups", "headline", "next_step", "notes", "plan_text", "warnings_for"]

_MOST = 10  # rows of each list; the frames have all
_LOSSES = {
    ACTIONS.KILL: (
        "Kill ends them without clean-up: what they have done stays done, and no compensation runs. Where that "
        "matters, cancel instead."
    ),
    ACTIONS.PURGE: (
        "Purge removes them for good, with journal and output, and of a workflow its state: whatever is still to be "
        "found out about them, find it out before."
    ),
    ACTIONS.PURGE_JOURNAL: (
        "The journals are removed for good: these invocations can then not be explained or restarted any more."
    ),
}


def headline(plan: Plan) -> str:
    """Return what would be done to how many."""
    number, excluded = len(plan.targets), len(plan.excluded)
    options = {"deployment": plan.deployment, "from_index": plan.from_index}
    given = "".join(f", {name}={value}" for name, value in options.items() if value is not None)
    acted = len(plan.frame) - excluded - number
    rest = [f"{excluded:,} left out"] if excluded else []
    rest += [f"{acted:,} acted on through a related plan"] if acted else []
    return f"{plan.action} {number:,} of {len(plan.frame):,} invocations{given}" + (
        f" ({', '.join(rest)})" if rest else ""
    )


def warnings_for(plan: Plan) -> tuple[str, ...]:
    """Return what should be read before a plan is executed."""
    action, counts = plan.action, plan.counts
    said = [_LOSSES[action]] if action in _LOSSES and len(counts) else []
    kinds = plan.impact["kind"].value_counts()
    sent, called = int(kinds.get("one-way call", 0)), int(kinds.get("call", 0))
    if action is ACTIONS.KILL and sent + called:
        said.append(f"{sent + called:,} more are killed with them, {sent:,} of which were sent one-way: see impact.")
    if action is ACTIONS.CANCEL and called:
        said.append(f"{called:,} more that they have called are cancelled with them: see impact.")
    vanish = int(counts.loc[counts["status"].isin(NOT_BEGUN), "n"].sum())
    if vanish and action in {ACTIONS.CANCEL, ACTIONS.KILL}:
        said.append(f"{vanish:,} have not begun: these vanish, and no completed record of them stays.")
    if again := len(plan.restarted.intersection(plan.targets)):
        said.append(f"{again:,} were restarted before: what they do would be done once more.")
    return tuple(said)


def groups(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return how many rows share a status and the words of a column: number, status, words; most first."""
    counts = Counter(
        (status or "–", words) for status, words in zip(rows["status"], rows[column], strict=True) if words is not None
    )
    return [(n, status, words) for (status, words), n in counts.most_common()]


def notes(plan: Plan) -> list[str]:
    """Return what else is to be known: duplicates, what was not looked at, how long the plan lasts."""
    duplicates = plan.frame.attrs.get("duplicates", 0)
    said = [f"ids that were there more than once are joined: {duplicates:,} fewer"] if duplicates else []
    return [*said, *plan.limitations]


def next_step(plan: Plan) -> str:
    """Return what to write next, or that there is nothing to be done."""
    number = len(plan.targets)
    if plan.is_executed:
        return "It was executed; plan.outcome has what came of it."
    if not number:
        return "There is nothing to be done."
    expect = f", expect={number}" if number > plan.action.rule.expect_above else ""
    return f'Nothing has been sent. Until {format_time(plan.expires_at)}: plan.execute(reason="…"{expect})'


def plan_text(plan: Plan) -> str:
    """Return the whole plan as text; its first line says where."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield plan.where
    yield headline(plan)
    yield from (f"! {warning}" for warning in plan.warnings)
    rows = plan.rows
    for title, groups_of in (
        ("What will happen", groups(rows, "effect")),
        ("Left out", groups(plan.frame, "excluded")),
    ):
        yield from _list(title, [f"{n:>9,}  {status:<11}  {words}" for n, status, words in groups_of], len(groups_of))
    for title, frame, layout in (
        ("By service", plan.counts, "{n:>9,}  {status:<11}  {service}"),
        ("Invocations", rows, "  {id}  {status:<11}  {age:>9}  {target}"),
        ("Goes with them", plan.impact, "  {kind:<12}  {target}  {what}"),
        ("May be kept in a restart", plan.prefixes, "  {id}  from_index={from_index}  {entry}"),
    ):
        yield from _list(title, [_line(layout, row) for row in frame.head(_MOST).to_dict("records")], len(frame))
    yield from (f"- {note}" for note in notes(plan))
    yield next_step(plan)


def _line(layout: str, row: dict[Any, Any]) -> str:
    """Return a row in a layout, on one line."""
    words = {str(name): format_duration(value) if name == "age" else value for name, value in row.items()}
    return escape_invisible(layout.format(**words), lines=False)


def _list(title: str, lines: list[str], total: int) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:"
    yield from lines[:_MOST]
    if total > _MOST:
        yield f"  … and {total - _MOST:,} more"
