"""The parts of the document of a plan: its lists, and the warning about repeated steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._text import escape_invisible, format_duration, plural
from restate_lab.actions.plan.preview import describe_command, repeat_frame
from restate_lab.actions.plan.steps import count_steps, describe_repeats
from restate_lab.actions.rules import ACTIONS
from restate_lab.document import Fold, Item, Items, Row, Table, Word
from restate_lab.frames import BuiltRows

_SHOWN = 8  # rows of each list on a page; the frames have all
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


def effects_of(rows: pd.DataFrame) -> Items:
    """Return what will happen to the targets, which are ``rows``."""
    return _grouped("What will happen", rows, "effect")


def repeats_of(rows: pd.DataFrame) -> Items:
    """Return what runs again in a redrive of the targets, which are ``rows``."""
    return Items(BuiltRows(repeat_frame(rows), _repeat_item), "Runs again")


def lists_of(
    frame: pd.DataFrame, rows: pd.DataFrame, impact: pd.DataFrame, prefixes: pd.DataFrame
) -> tuple[Items | Table | Fold, ...]:
    """Return the other lists of a plan; ``rows`` are the targets. A page folds the lists of their ids."""
    restarts = rows if "from_index" in rows else rows.iloc[:0]
    return (
        _grouped("Excluded", frame, "excluded"),
        Items(BuiltRows(restarts, _restart_item), "Restart from"),
        _table("By service", count_rows(rows), invocations="{invocations:,}", status="{status}", service="{service}"),
        *_folded("Invocations", rows, id="{id}", status="{status}", **{"for": "{age}"}, target="{target}"),
        Items(BuiltRows(impact, _impact_item), "Also affected"),
        *_folded("Can be kept in a restart", prefixes, id="{id}", from_index="{from_index}", entry="{entry}"),
    )


def _table(title: str, frame: pd.DataFrame, **layouts: str) -> Table:
    """Return a table with a text of a row's cells below the name of each column."""

    def build(row: Mapping[str, Any]) -> Row:
        cells = {**row, "age": format_duration(row.get("age"))}
        return Row(tuple(shorten_cell(layout.format(**cells)) for layout in layouts.values()))

    return Table(tuple(layouts), BuiltRows(frame, build), title, shown=_SHOWN)


def _folded(title: str, frame: pd.DataFrame, **layouts: str) -> Iterator[Fold]:
    if len(frame):
        yield Fold(f"{title} ({len(frame):,})", (_table("", frame, **layouts),))


def _grouped(title: str, rows: pd.DataFrame, column: str) -> Items:
    groups = _group_rows(rows, column)
    return Items(tuple(Item((Word(f"{n:,} {status}"), f": {text}")) for n, status, text in groups), title)


def _group_rows(rows: pd.DataFrame, column: str) -> list[tuple[int, str, str]]:
    """Return the number of rows for each status and text of a column: number, status, text; highest number first."""
    counts = Counter(
        (status or "–", text) for status, text in zip(rows["status"], rows[column], strict=True) if not is_missing(text)
    )
    return [(n, status, shorten_cell(text, _MAX_REASON)) for (status, text), n in counts.most_common()]


def shorten_cell(text: str, most: int = _MAX_CELL) -> str:
    """Return a text as one line; a long one as its beginning, the number of missing characters, and its end."""
    shown = escape_invisible(text, lines=False)
    if len(shown) <= most:
        return shown
    start = most - _CELL_MARK - _CELL_END
    return f"{shown[:start]}… {len(shown) - start - _CELL_END:,} more characters …{shown[-_CELL_END:]}"


def _repeat_item(row: Mapping[str, Any]) -> Item:
    title = Word(f"{row['invocations']:,} × {_failed_command(row)}")
    return Item((title, f": {_describe_steps(row)}; {shorten_cell(row['failure'])}"))


def _restart_item(row: Mapping[str, Any]) -> Item:
    title = (Word(shorten_cell(row["target"])), f" {row['id']}")
    return Item(title, lines=(f"from_index={row['from_index']}: {_failed_command(row)}; {_describe_steps(row)}",))


def _impact_item(row: Mapping[str, Any]) -> Item:
    target = " ".join(filter(None, (shorten_cell(row["target"]), row["id"])))
    return Item((Word(row["kind"]), f" {target}: {shorten_cell(row['effect'])}"))


def _failed_command(row: Mapping[str, Any]) -> str:
    if not row["failed_type"]:
        return "no failed command"
    return shorten_cell(describe_command(row["failed_type"], row["failed_name"]))


def _describe_steps(row: Mapping[str, Any]) -> str:
    repeated = plural(row["repeated_steps"], "step")
    took = f" ({format_duration(row['repeated_for'])})" if row["repeated_steps"] else ""
    spends, tokens = "", row["repeated_tokens"]
    if is_missing(tokens):
        spends = ", and calls models again, with an unknown number of tokens"
    elif tokens:
        spends = f", and spends about {plural(tokens, 'journaled token')} again"
    return f"keeps {plural(row['kept_steps'], 'step')}, repeats {repeated}{took}{spends}"


def select_rows(frame: pd.DataFrame, column: str, ids: set[str]) -> pd.DataFrame:
    """Return the rows with one of these ids in the column."""
    # isin() is slow for texts.
    wanted = pd.Series([each in ids for each in frame[column]], index=frame.index, dtype=bool)
    return frame[wanted].reset_index(drop=True)


def count_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the number of rows by service and status."""
    counts = rows.groupby(["service", "status"], sort=False).size().rename("invocations").reset_index()
    return counts.sort_values(["invocations", "service", "status"], ascending=[False, True, True], ignore_index=True)
