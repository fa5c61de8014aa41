"""The wait-for graph as a page of text, for the command ``waits``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from restate_lab._text import format_age, format_timestamp, plural
from restate_lab.analysis.suggestions import SuggestedCall, plan_call, python_code, why_call
from restate_lab.analysis.waits import Waits
from restate_lab.cli._page import STATUS_STYLES, TextPage
from restate_lab.cli.shell_code import SourceOptions, code_for

DEADLOCK, INCOMPLETE = 3, 4


def exit_code(waits: Waits) -> int:
    """Return 3 for a deadlock that cannot end by itself, 4 if not everything was read, and otherwise 0."""
    if waits.deadlocks["certain"].any():
        return DEADLOCK
    return INCOMPLETE if waits.excluded else 0


class WaitsPage:
    """Print the wait-for graph: the first ``top`` rows of each list, each row with its next command."""

    def __init__(self, waits: Waits, target: SourceOptions, page: TextPage, top: int) -> None:
        self._waits = waits
        self._target = target
        self._page = page
        self._top = top

    def print(self) -> None:
        """Print the totals, the lists, and the totals again."""
        waits, page = self._waits, self._page
        page.paragraph((waits.verdict, self._style))
        page.paragraph((waits.where, "dim"))
        for each in waits.excluded:
            page.paragraph((f"Incomplete: {each}", "yellow"))
        self._print_list("DEADLOCKS", waits.deadlocks, self._print_deadlock)
        self._print_list("ROOT BLOCKERS", waits.blockers, self._print_blocker)
        self._print_list("AWAKEABLES NOT RESOLVED", waits.open_awakeables, self._print_unresolved)
        self._print_list("PROMISES NOT COMPLETED", waits.open_promises, self._print_unresolved)
        self._print_sleeps()
        page.blank()
        page.paragraph((waits.verdict, self._style))

    @property
    def _style(self) -> str:
        if self._waits.deadlocks["certain"].any():
            return "bold red"
        return "bold yellow" if len(self._waits.blockers) + len(self._waits.deadlocks) else "bold green"

    def _print_list(self, title: str, frame: pd.DataFrame, print_row: Callable[[Mapping[Any, Any]], None]) -> None:
        if frame.empty:
            return
        self._page.blank()
        self._page.paragraph((f"{title} {len(frame):,}", "bold"))
        for row in frame.head(self._top).to_dict("records"):
            print_row(row)
        if len(frame) > self._top:
            self._page.paragraph((f"{len(frame) - self._top:,} more; --top {len(frame)} shows all", "dim"), first="  ")

    def _print_deadlock(self, row: Mapping[Any, Any]) -> None:
        kind, style = ("deadlock", "bold red") if row["certain"] else ("possible deadlock", "bold yellow")
        waiting = row["waiting"]
        blocks = "blocks others" if pd.isna(waiting) else f"blocks {waiting:,} more" if waiting else ""
        about = ", ".join(each for each in (self._duration(row), blocks) if each)
        self._page.paragraph((kind, style), f"{f' {about}' if about else ''}: {row['description']}", first="- ")
        self._print_next(plan_call("cancel", [row["cancel"]]))

    def _print_blocker(self, row: Mapping[Any, Any]) -> None:
        total, status = row["total_waiting"], row["status"] or "gone"
        blocks = f"blocks {total:,}" if pd.notna(total) else f"blocks {row['direct_waiting']:,} or more"
        self._page.paragraph(
            (blocks, "bold"),
            f": {row['target'] or 'unknown'} {row['id']} is ",
            (status, STATUS_STYLES.get(status, "")),
            f" and waits for {row['waits_for']}",
            first="- ",
        )
        self._print_next(why_call(row["id"]))

    def _print_unresolved(self, row: Mapping[Any, Any]) -> None:
        about = self._duration(row)
        self._page.paragraph(
            (str(row["what"]), "bold"),
            f": {row['waiter_target']} {row['waiter']} waits for it{f' {about}' if about else ''}",
            first="- ",
        )
        self._print_next(why_call(row["waiter"]))

    def _print_sleeps(self) -> None:
        sleeps = self._waits.sleeps
        if sleeps.empty:
            return
        first = sleeps["wakes_at"].min()
        self._page.blank()
        self._page.paragraph((f"SLEEPS {len(sleeps):,}", "bold"))
        next_text = f"; the next one wakes at {format_timestamp(first)}" if pd.notna(first) else ""
        self._page.paragraph(f"{plural(len(sleeps), 'invocation')} sleeping{next_text}", first="  ")

    def _print_next(self, call: SuggestedCall) -> None:
        self._page.commands(code_for([call], python_code([call]), self._target), first="  next: ")

    def _duration(self, row: Mapping[Any, Any]) -> str:
        age = format_age(row["since"], self._waits.at)
        return f"for {age}" if age else ""
