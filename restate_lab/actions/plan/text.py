"""The parts of the text and of the card of a plan: its lists, and the warning about repeated steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._text import escape_invisible, format_duration, plural
from restate_lab.actions.plan.preview import describe_command, repeat_frame
from restate_lab.actions.plan.steps import count_steps, describe_repeats
from restate_lab.actions.rules import ACTIONS
from restate_lab.status import STATUSES

_MAX_ROWS, _MAX_CARD_ROWS = 10, 8  # of each list in the text and in the card; the frames have all
_MAX_CELL = 160  # characters of a cell, such as the key of a target: a caller decides how long a key is
_MAX_STEPS, _MAX_STEP = 5, 60  # names of steps in a warning, and characters of each
_MAX_REASON = 600  # characters of an effect or of a reason to exclude, which can quote names of a journal
_CELL_MARK, _CELL_END = 20, 40  # characters of a longer cell; the end of a target is its handler
LOSSES = {
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
REMOVED = "they are removed and leave no completed row"
KEPT = (
    "they remain as completed rows until their retention ends; until then, the key of a workflow and an idempotency "
    "key stay taken"
)


def describe_open_steps(action: ACTIONS, open_steps: pd.DataFrame) -> list[str]:
    """Return the warning about the steps that are executed again, if there are some."""
    steps = count_steps(open_steps)
    names = [f"{shorten_cell(name, _MAX_STEP)} ({number:,})" for name, number in steps[:_MAX_STEPS]]
    more = f" and {len(steps) - _MAX_STEPS:,} more" if len(steps) > _MAX_STEPS else ""
    return [f"{describe_repeats(action, open_steps)}: {', '.join(names)}{more}."] if steps else []


def list_tables(
    frame: pd.DataFrame, rows: pd.DataFrame, impact: pd.DataFrame, prefixes: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return the lists of the card; ``rows`` are the targets."""
    counts, repeats, restarts = count_rows(rows), repeat_frame(rows), _restart_rows(rows)
    effects, excluded = _group_rows(rows, "effect"), _group_rows(frame, "excluded")
    return [
        _table("What will happen", [(f"{n:,}", status, text) for n, status, text in effects], len(effects)),
        _table("Excluded", [(f"{n:,}", status, text) for n, status, text in excluded], len(excluded)),
        _table("Runs again", [_repeat_cells(row) for row in _first(repeats)], len(repeats)),
        _table("Restart from", [_restart_cells(row) for row in _first(restarts)], len(restarts)),
        _table(
            "By service",
            [(f"{row['invocations']:,}", row["status"], row["service"]) for row in _first(counts)],
            len(counts),
        ),
        _table(
            "Invocations",
            [(_invocation_cell(row), row["status"], format_duration(row["age"])) for row in _first(rows)],
            len(rows),
        ),
        _table(
            "Also affected",
            [(row["kind"], _invocation_cell(row), row["effect"]) for row in _first(impact)],
            len(impact),
        ),
        _table(
            "Can be kept in a restart",
            [(row["id"], f"from_index={row['from_index']}", row["entry"]) for row in _first(prefixes)],
            len(prefixes),
        ),
    ]


def _group_rows(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return the number of rows for each status and text of a column: number, status, text; highest number first."""
    counts = Counter(
        (status or "–", text) for status, text in zip(rows["status"], rows[column], strict=True) if not is_missing(text)
    )
    return [(n, status, shorten_cell(text, _MAX_REASON)) for (status, text), n in counts.most_common()]


def list_lines(
    frame: pd.DataFrame, rows: pd.DataFrame, impact: pd.DataFrame, prefixes: pd.DataFrame, rest: str
) -> Iterator[str]:
    """Yield the lists of the text; ``rows`` are the targets, and ``rest`` tells where all rows of a list are."""
    for title, groups in (
        ("What will happen", _group_rows(rows, "effect")),
        ("Excluded", _group_rows(frame, "excluded")),
    ):
        lines = [f"{n:>9,}  {status:<11}  {text}" for n, status, text in groups[:_MAX_ROWS]]
        yield from _section(title, lines, len(groups), rest)
    for title, repeated, cells_of in (
        ("Runs again", repeat_frame(rows), _repeat_cells),
        ("Restart from", _restart_rows(rows), _restart_cells),
    ):
        lines = ["  " + "  ".join(cells_of(row)).replace("\n", " · ") for row in _first(repeated, _MAX_ROWS)]
        yield from _section(title, lines, len(repeated), rest)
    for title, listed, layout in (
        ("By service", count_rows(rows), "{invocations:>9,}  {status:<11}  {service}"),
        ("Invocations", rows, "  {id}  {status:<11}  {age:>{width}}  {target}"),
        ("Also affected", impact, "  {kind:<12}  {target}  {effect}"),
        ("Can be kept in a restart", prefixes, "  {id}  from_index={from_index}  {entry}"),
    ):
        first = [row | {"age": format_duration(row.get("age"))} for row in _first(listed, _MAX_ROWS)]
        width = max((len(row["age"]) for row in first), default=0)
        lines = [layout.format(**row, width=width) for row in first]
        yield from _section(title, lines, len(listed), rest)


def _section(title: str, lines: list[str], total: int, rest: str) -> Iterator[str]:
    if not lines:
        return
    yield f"{title}:"
    yield from lines
    if total > _MAX_ROWS:
        yield f"  … and {total - _MAX_ROWS:,} more{rest}"


def shorten_cell(text: str, most: int = _MAX_CELL) -> str:
    """Return a text as one line; a long one as its beginning, the number of missing characters, and its end."""
    shown = escape_invisible(text, lines=False)
    if len(shown) <= most:
        return shown
    start = most - _CELL_MARK - _CELL_END
    return f"{shown[:start]}… {len(shown) - start - _CELL_END:,} more characters …{shown[-_CELL_END:]}"


def _restart_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if "from_index" in rows else rows.iloc[:0]


def _repeat_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    return f"{row['invocations']:,}", f"{_failed_command(row)}\n{row['failure']}", _describe_steps(row)


def _restart_cells(row: dict[Any, Any]) -> tuple[str, str, str]:
    return _invocation_cell(row), f"from_index={row['from_index']}", f"{_failed_command(row)}\n{_describe_steps(row)}"


def _failed_command(row: dict[Any, Any]) -> str:
    return describe_command(row["failed_type"], row["failed_name"]) if row["failed_type"] else "no failed command"


def _describe_steps(row: dict[Any, Any]) -> str:
    repeated = plural(row["repeated_steps"], "step")
    took = f" ({format_duration(row['repeated_for'])})" if row["repeated_steps"] else ""
    spends, tokens = "", row["repeated_tokens"]
    if is_missing(tokens):
        spends = ", and calls models again, with an unknown number of tokens"
    elif tokens:
        spends = f", and spends about {plural(tokens, 'journaled token')} again"
    return f"keeps {plural(row['kept_steps'], 'step')}, repeats {repeated}{took}{spends}"


def status_parts(counts: pd.DataFrame) -> list[tuple[str, int, str]]:
    """Return the number and the color of each status, for the bar of the card."""
    numbers = counts.groupby("status")["invocations"].sum()
    return [(word, int(numbers[word]), status.colour) for word, status in STATUSES.items() if word in numbers.index]


def _table(title: str, rows: Sequence[Sequence[str]], total: int) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [tuple(map(str, row)) for row in rows[:_MAX_CARD_ROWS]],
        "more": total - _MAX_CARD_ROWS,
    }


def _first(frame: pd.DataFrame, most: int = _MAX_CARD_ROWS) -> list[dict[Any, Any]]:
    rows = frame.head(most).to_dict("records")
    return [
        {name: shorten_cell(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
    ]


def _invocation_cell(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()


def select_rows(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    """Return the rows with one of these ids in the column."""
    # isin() is slow for texts.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


def count_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the number of rows by service and status."""
    counts = rows.groupby(["service", "status"], sort=False).size().rename("invocations").reset_index()
    return counts.sort_values(["invocations", "service", "status"], ascending=[False, True, True], ignore_index=True)
