"""The text and the card of a plan, made from a ``PlanSummary``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._html import render
from restate_lab._text import escape_invisible, format_duration, format_time, plural
from restate_lab.actions.plan.preview import describe_command
from restate_lab.actions.plan.steps import count_steps, describe_repeats
from restate_lab.actions.rules import ACTIONS, NOT_BEGUN
from restate_lab.status import STATUSES

_MAX_ROWS, _MAX_CARD_ROWS = 10, 8  # of each list in the text and in the card; the frames have all
_MAX_CELL = 160  # characters of a cell, such as the key of a target: a caller decides how long a key is
_MAX_STEPS, _MAX_STEP = 5, 60  # names of steps in a warning, and characters of each
_MAX_REASON = 600  # characters of an effect or of a reason to exclude, which can quote names of a journal
_CELL_MARK, _CELL_END = 20, 40  # characters of a longer cell; the end of a target is its handler
_APPROVED_REST = "; the tool show_plan lists them"
_LOSSES = {
    ACTIONS.KILL: (
        "Kill ends them without clean-up: completed steps are not undone, and no compensation runs. Use cancel if the "
        "handlers must clean up."
    ),
    ACTIONS.PURGE: (
        "Purge permanently removes them, with journal and output, and for a workflow also its state. Finish your "
        "investigation first."
    ),
    ACTIONS.PURGE_JOURNAL: (
        "The journals are permanently removed: after that, these invocations cannot be explained or restarted."
    ),
}
_REMOVED = "they are removed and leave no completed row"
_KEPT = (
    "they remain as completed rows until their retention ends; until then, the key of a workflow and an idempotency "
    "key stay taken"
)
_RED, _ORANGE, _GREY = STATUSES["failed"].colour, STATUSES["backing-off"].colour, STATUSES["ready"].colour


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """The content of a plan's text and card.

    ``options`` are the chosen options of the action, and ``number`` is the number of targets. ``frame`` has one row per
    invocation, ``rows`` only the rows of targets, ``counts`` their number by service and status. ``repeats`` is what
    would run again, and ``warnings`` are those of the replay check. ``open_steps`` are the steps that are executed
    again. ``restarted`` is the number of targets that were already restarted. ``has_retention`` is whether the server
    keeps the rows of invocations that end before they start.
    """

    action: ACTIONS
    options: Mapping[str, Any]
    environment: str
    address: str
    server: str
    number: int
    frame: pd.DataFrame
    rows: pd.DataFrame
    counts: pd.DataFrame
    impact: pd.DataFrame
    prefixes: pd.DataFrame
    repeats: pd.DataFrame
    open_steps: pd.DataFrame
    warnings: tuple[str, ...]
    restarted: int
    limitations: tuple[str, ...]
    has_retention: bool
    is_executed: bool
    expires_at: datetime


def plan_text(plan: PlanSummary) -> str:
    """Return the plan as text; its first line has the cluster.

    Long cells and long lists are shortened with a mark. Warnings, limitations and the titles of lists are always whole.
    """
    return "\n".join([*_lines(plan), _next_step(plan)])


def approval_text(plan: PlanSummary) -> str:
    """Return the text that a person approves: the plan without the next step in code, and without other options."""
    return "\n".join(_lines(replace(plan, prefixes=plan.prefixes.iloc[:0]), rest=_APPROVED_REST))


def plan_card(plan: PlanSummary) -> str:
    """Return the card as HTML; values from the cluster are escaped."""
    return render(
        "actions/plan/card.html.j2",
        title=f"{plan.environment} · {plan.address}",
        place=plan.server,
        lines=[*_notes(plan), _next_step(plan)],
        accent=_accent(plan),
        heading=_title(plan),
        warnings=warnings_for(plan),
        warning=_RED,
        parts=_parts(plan),
        tables=_tables(plan),
    )


def _tables(plan: PlanSummary) -> list[dict[str, Any]]:
    rows, restarts = plan.rows, _restart_rows(plan.rows)
    effects, excluded = _group_rows(rows, "effect"), _group_rows(plan.frame, "excluded")
    return [
        _table("What will happen", [(f"{n:,}", status, text) for n, status, text in effects], len(effects)),
        _table("Excluded", [(f"{n:,}", status, text) for n, status, text in excluded], len(excluded)),
        _table("Runs again", [_repeat_cells(row) for row in _first(plan.repeats)], len(plan.repeats)),
        _table("Restart from", [_restart_cells(row) for row in _first(restarts)], len(restarts)),
        _table(
            "By service",
            [(f"{row['n']:,}", row["status"], row["service"]) for row in _first(plan.counts)],
            len(plan.counts),
        ),
        _table(
            "Invocations",
            [(_invocation_cell(row), row["status"], format_duration(row["age"])) for row in _first(rows)],
            len(rows),
        ),
        _table(
            "Also affected",
            [(row["kind"], _invocation_cell(row), row["what"]) for row in _first(plan.impact)],
            len(plan.impact),
        ),
        _table(
            "Can be kept in a restart",
            [(row["id"], f"from_index={row['from_index']}", row["entry"]) for row in _first(plan.prefixes)],
            len(plan.prefixes),
        ),
    ]


def warnings_for(plan: PlanSummary) -> tuple[str, ...]:
    """Return the warnings to read before a plan is executed."""
    action, counts = plan.action, plan.counts
    warnings = [_LOSSES[action]] if action in _LOSSES and len(counts) else []
    warnings += plan.warnings if plan.number else ()
    warnings += _step_warnings(plan)
    kinds = plan.impact["kind"].value_counts()
    one_way, calls = int(kinds.get("one-way call", 0)), int(kinds.get("call", 0))
    if action is ACTIONS.KILL and one_way + calls:
        warnings.append(
            f"{one_way + calls:,} callees are also killed, {one_way:,} of them one-way calls: see plan.impact."
        )
    if action is ACTIONS.CANCEL and calls:
        warnings.append(f"{calls:,} callees are also cancelled: see plan.impact.")
    vanish = int(counts.loc[counts["status"].isin(NOT_BEGUN), "n"].sum())
    if vanish and action in {ACTIONS.CANCEL, ACTIONS.KILL}:
        warnings.append(f"{vanish:,} have not started: {_KEPT if plan.has_retention else _REMOVED}.")
    if plan.restarted:
        warnings.append(f"{plan.restarted:,} were already restarted: their work would be done again.")
    return tuple(warnings)


def _step_warnings(plan: PlanSummary) -> list[str]:
    """Return a warning with the names of the steps that are executed again, if there are some."""
    steps = count_steps(plan.open_steps)
    names = [f"{shorten_cell(name, _MAX_STEP)} ({number:,})" for name, number in steps[:_MAX_STEPS]]
    more = f" and {len(steps) - _MAX_STEPS:,} more" if len(steps) > _MAX_STEPS else ""
    text = describe_repeats(plan.action, plan.open_steps)
    return [f"{text}: {', '.join(names)}{more}."] if steps else []


def _title(plan: PlanSummary) -> str:
    """Return the action and the number of its targets."""
    number, excluded = plan.number, int(plan.frame["excluded"].notna().sum())
    options = "".join(f", {name}={value}" for name, value in plan.options.items())
    acted = len(plan.frame) - excluded - number
    rest = [f"{excluded:,} excluded"] if excluded else []
    rest += [f"{acted:,} acted on through a related plan"] if acted else []
    return f"{plan.action} {number:,} of {len(plan.frame):,} invocations{options}" + (
        f" ({', '.join(rest)})" if rest else ""
    )


def _notes(plan: PlanSummary) -> list[str]:
    """Return the number of merged duplicates, and the limitations of the plan."""
    duplicates = plan.frame.attrs.get("duplicates", 0)
    notes = [f"{duplicates:,} duplicate ids were merged"] if duplicates else []
    return [*notes, *plan.limitations]


def _next_step(plan: PlanSummary) -> str:
    if plan.is_executed:
        return "The plan was executed; plan.outcome has the result."
    if not plan.number:
        return "There is nothing to do."
    expect = f", expect={plan.number}" if plan.number > plan.action.rule.expect_above else ""
    return f'Nothing was sent. To execute before {format_time(plan.expires_at)}: plan.execute(reason="…"{expect})'


def _group_rows(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return the number of rows for each status and text of a column: number, status, text; highest number first."""
    counts = Counter(
        (status or "–", text) for status, text in zip(rows["status"], rows[column], strict=True) if not is_missing(text)
    )
    return [(n, status, shorten_cell(text, _MAX_REASON)) for (status, text), n in counts.most_common()]


def _lines(plan: PlanSummary, *, rest: str = "") -> Iterator[str]:
    """Yield the lines of the plan; ``rest`` tells where the rows of a shortened list are."""
    yield f"{plan.environment} at {plan.address} ({plan.server})"
    yield _title(plan)
    yield from (f"! {warning}" for warning in warnings_for(plan))
    rows = plan.rows
    for title, groups in (
        ("What will happen", _group_rows(rows, "effect")),
        ("Excluded", _group_rows(plan.frame, "excluded")),
    ):
        lines = [f"{n:>9,}  {status:<11}  {text}" for n, status, text in groups[:_MAX_ROWS]]
        yield from _section(title, lines, len(groups), rest)
    for title, frame, cells_of in (
        ("Runs again", plan.repeats, _repeat_cells),
        ("Restart from", _restart_rows(rows), _restart_cells),
    ):
        lines = ["  " + "  ".join(cells_of(row)).replace("\n", " · ") for row in _first(frame, _MAX_ROWS)]
        yield from _section(title, lines, len(frame), rest)
    for title, frame, layout in (
        ("By service", plan.counts, "{n:>9,}  {status:<11}  {service}"),
        ("Invocations", rows, "  {id}  {status:<11}  {age:>9}  {target}"),
        ("Also affected", plan.impact, "  {kind:<12}  {target}  {what}"),
        ("Can be kept in a restart", plan.prefixes, "  {id}  from_index={from_index}  {entry}"),
    ):
        lines = [_format_row(layout, row) for row in _first(frame, _MAX_ROWS)]
        yield from _section(title, lines, len(frame), rest)
    yield from (f"- {note}" for note in _notes(plan))


def _section(title: str, lines: list[str], total: int, rest: str) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:"
    yield from lines
    if total > _MAX_ROWS:
        yield f"  … and {total - _MAX_ROWS:,} more{rest}"


def _format_row(layout: str, row: dict[Any, Any]) -> str:
    """Return a row as one line in a layout."""
    values = {str(name): format_duration(value) if name == "age" else value for name, value in row.items()}
    return layout.format(**values)


def shorten_cell(text: str, most: int = _MAX_CELL) -> str:
    """Return a text as one line; a long one as its beginning, the number of missing characters, and its end."""
    shown = escape_invisible(text, lines=False)
    if len(shown) <= most:
        return shown
    start = most - _CELL_MARK - _CELL_END
    return f"{shown[:start]}… {len(shown) - start - _CELL_END:,} more characters …{shown[-_CELL_END:]}"


def _restart_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of targets if each restarts from its own index, otherwise no row."""
    return rows if "from_index" in rows else rows.iloc[:0]


def _repeat_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    """Return the number of invocations, their failed command with its failure, and the steps that run again."""
    return f"{row['n']:,}", f"{_failed_command(row)}\n{row['failure']}", _describe_steps(row)


def _restart_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    """Return the invocation, its index, its failed command, and the steps to keep and to repeat."""
    return _invocation_cell(row), f"from_index={row['from_index']}", f"{_failed_command(row)}\n{_describe_steps(row)}"


def _failed_command(row: dict[Any, Any]) -> str:
    return describe_command(row["failed_type"], row["failed_name"]) if row["failed_type"] else "no failed command"


def _describe_steps(row: dict[Any, Any]) -> str:
    repeated = plural(row["repeated_steps"], "step")
    took = f" ({format_duration(row['repeated_for'])})" if row["repeated_steps"] else ""
    return f"keeps {plural(row['kept_steps'], 'step')}, repeats {repeated}{took}{_describe_tokens(row)}"


def _describe_tokens(row: dict[Any, Any]) -> str:
    """Return the tokens that the repeated calls of models spent; "" if no call of a model is repeated."""
    tokens = row["repeated_tokens"]
    if is_missing(tokens):
        return ", and calls models again, with an unknown number of tokens"
    return f", and spends about {plural(tokens, 'journaled token')} again" if tokens else ""


def _accent(plan: PlanSummary) -> str:
    if not plan.number:
        return _GREY
    return _RED if plan.action.rule.destructive or plan.action is ACTIONS.CANCEL else _ORANGE


def _parts(plan: PlanSummary) -> list[tuple[str, int, str]]:
    counts = plan.counts.groupby("status")["n"].sum()
    return [(word, int(counts[word]), status.colour) for word, status in STATUSES.items() if word in counts.index]


def _table(title: str, rows: Sequence[Sequence[str]], total: int) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [tuple(map(str, row)) for row in rows[:_MAX_CARD_ROWS]],
        "more": total - _MAX_CARD_ROWS,
    }


def _first(frame: pd.DataFrame, most: int = _MAX_CARD_ROWS) -> list[dict[Any, Any]]:
    """Return the first rows with texts of one line each, long ones shortened."""
    rows = frame.head(most).to_dict("records")
    return [
        {name: shorten_cell(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]


def _invocation_cell(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()
