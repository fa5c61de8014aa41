"""The results of the commands that diagnose as pages of text, and their exit codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd
from rich.cells import cell_len, set_cell_size

from restate_lab._text import escape_invisible, format_duration, format_timestamp, plural
from restate_lab.analysis.doctor import Diagnosis
from restate_lab.analysis.journal.bars import JournalRow, journal_bars
from restate_lab.analysis.journal.card import ScaleName, TimeScale, time_scale
from restate_lab.analysis.replay.recording import FITS
from restate_lab.analysis.replay.result import Replay
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.analysis.story.result import Story
from restate_lab.analysis.story.text import CRITICAL as CRITICAL_LEGEND, agents_line, origin_line, path_line, tree_lines
from restate_lab.analysis.suggestions import why_call
from restate_lab.analysis.waits import Waits
from restate_lab.calls import python_code
from restate_lab.cli._errors import BAD, INCOMPLETE
from restate_lab.cli._options import SourceOptions
from restate_lab.cli._page import GRAY_BLUE, ORANGE, STATUS_STYLES, TextPage, truncate_cells
from restate_lab.cli._words import in_a_shell
from restate_lab.cli.shell_code import code_for
from restate_lab.status import OUTCOMES

PIPE_WIDTH = 100  # columns per line without a terminal
TREE_WIDTH = 80  # of a story without a terminal
LONGEST_BAR = 80
OUTCOME_STYLES: Mapping[str, str] = MappingProxyType(
    {"done": "green", "pending": "dim", "waiting": GRAY_BLUE, "retrying": ORANGE, "failed": "red"}
)
FILLS: Mapping[str, str] = MappingProxyType(
    {"done": "█", "pending": "·", "waiting": "░", "retrying": "▓", "failed": "█"}
)
"""OutcomeStyle → the character that fills its bar, so that bars are distinct without colors."""
INSTANT, ATTEMPT, NEXT = "▏", "╳", "○"


def doctor_exit_code(diagnosis: Diagnosis, *, strict: bool) -> int:
    """Return 3 for a critical finding, 4 if some checks could not run, and otherwise 0."""
    bad = {"critical", "warning"} if strict else {"critical"}
    if set(diagnosis.findings["severity"]) & bad:
        return BAD
    return INCOMPLETE if diagnosis.not_read["applies"].any() else 0


def replay_exit_code(result: Replay) -> int:
    """Return 3 if an invocation diverges or fails, 4 if the check cannot say for every invocation, otherwise 0."""
    if result.verdict in {DIVERGES, FAILS}:
        return BAD
    return 0 if result.verdict in {FITS, OTHER_RESULT} else INCOMPLETE


def waits_exit_code(waits: Waits) -> int:
    """Return 3 for a deadlock that cannot end by itself, 4 if not everything was read, and otherwise 0."""
    if waits.deadlocks["certain"].any():
        return BAD
    return INCOMPLETE if waits.reasons else 0


def print_story(story: Story, target: SourceOptions, page: TextPage) -> None:
    page.paragraph((story.summary, "bold"))
    page.paragraph((story.where, "dim"))
    page.verbatim(map(in_a_shell, tree_lines(story, page.width or TREE_WIDTH)))
    page.paragraph((CRITICAL_LEGEND, "dim"))
    for line in (path_line(story), origin_line(story), agents_line(story)):
        if line:
            page.paragraph(line)
    for each in story.reasons:
        page.paragraph((in_a_shell(f"Not read: {each}."), "yellow"))
    if story.ended is None and len(story.path):
        call = why_call(story.path["id"].iloc[-1])
        page.commands(code_for([call], python_code([call]), target), first="next: ")


class JournalPage:
    def __init__(self, frame: pd.DataFrame, page: TextPage, scale: ScaleName, top: int) -> None:
        self._attrs = frame.attrs
        self._all = journal_bars(frame)
        self._bars = self._all.limit(top)
        self._page = page
        self._scale: TimeScale = time_scale(self._bars, scale)
        width, rows = page.width or PIPE_WIDTH, self._bars.rows
        labels = max((cell_len(_label(row)) for row in rows), default=0)
        self._duration = max((len(row.duration(self._bars.now)) for row in rows), default=0)
        self._index = max((len(_index(row)) for row in rows), default=0)
        self._state = max(len(each.label) for each in OUTCOMES.values()) + 2
        self._label = min(labels, max(width // 3, 16))  # labels get at most a third, and the bars get the rest
        self._before_bar = self._index + self._label + self._state + self._duration + 8
        self._bar_width = max(8, min(width - self._before_bar, LONGEST_BAR))

    def print(self, target: SourceOptions) -> None:
        self._print_heading()
        if self._bars.rows:
            self._page.blank()
            self._page.paragraph((self._axis(), "dim"), first=" " * self._before_bar)
        for row in self._bars.rows:
            self._print_row(row)
        if self._bars.hidden:
            hidden = plural(self._bars.hidden, "entry", "entries")
            self._page.paragraph((f"{hidden} not shown; --top {len(self._all.rows)} shows all", "yellow"))
        self._page.blank()
        self._page.paragraph((self._totals(), "bold"))
        if not self._bars.is_ended:
            call = why_call(self._attrs["id"])
            self._page.commands(code_for([call], python_code([call]), target), first="next: ")

    def _print_heading(self) -> None:
        attrs, status = self._attrs, str(self._attrs["status"])
        attempts = attrs["failed_attempts"]
        self._page.paragraph(
            (str(attrs["target"]), "bold"),
            " · ",
            (status, f"bold {STATUS_STYLES.get(status, '')}"),
            f" · {plural(attempts, 'failed attempt')}" if attempts else "",
        )
        self._page.paragraph(str(attrs["id"]))
        where = f"{attrs['source']}, restate {attrs['version']}, {format_timestamp(self._all.now)}"
        self._page.paragraph((where, "dim"))
        for line in self._all.lines:
            self._page.paragraph(escape_invisible(line, lines=False))
        if "truncated" in attrs:
            self._page.paragraph((attrs["truncated"]["message"], "yellow"))

    def _totals(self) -> str:
        if not self._all.rows:
            return f"no entries: {self._all.note}" if self._all.note else "no entries"
        counts: Counter[str] = Counter(row.outcome for row in self._all.rows)
        outcomes = [f"{counts[name]:,} {each.label}" for name, each in OUTCOMES.items() if counts[name]]
        return f"{plural(len(self._all.rows), 'entry', 'entries')}: {', '.join(reversed(outcomes))}"

    def _axis(self) -> str:
        line = ""
        for tick in self._scale.ticks():
            start = min(round(tick.position * self._bar_width), self._bar_width - len(tick.label))
            if start >= len(line) + bool(line):
                line = f"{line:<{start}}{tick.label}"
        return line

    def _print_row(self, row: JournalRow) -> None:
        outcome, style = OUTCOMES[row.outcome], OUTCOME_STYLES[row.outcome]
        self._page.paragraph(
            (f"{_index(row):>{self._index}}", "dim"),
            f"  {set_cell_size(truncate_cells(_label(row), self._label), self._label)}  ",
            (f"{outcome.sign} {outcome.label}".ljust(self._state), style),
            f"  {row.duration(self._bars.now):>{self._duration}}  ",
            *self._bar(row),
        )
        if detail := self._detail(row):
            is_error = row.outcome in {"failed", "retrying"}
            indent = " " * (self._index + 2 + 2 * row.depth)
            self._page.paragraph((detail, style if is_error else "dim"), first=indent)

    def _bar(self, row: JournalRow) -> list[tuple[str, str]]:
        width = self._bar_width
        cells, style = [" "] * width, OUTCOME_STYLES[row.outcome]
        is_open = row.end is None and row.outcome in {"waiting", "retrying"}
        last = self._scale.past if is_open else self._scale.position(row.end) if row.end else None
        first = self._scale.position(row.start) if row.start else last
        if first is None or last is None:
            first = last = first if first is not None else last
        if first is None or last is None:
            return []
        left, right = self._cell(first), self._cell(last)
        cells[left : right + 1] = FILLS[row.outcome] * (right - left + 1)
        if (last - first) * width < 0.5:
            cells[left] = INSTANT
        for time in row.attempts:
            cells[self._cell(self._scale.position(time))] = ATTEMPT
        if row.next_attempt is not None:
            cells[width - 1] = NEXT
        return [("".join(cells).rstrip(), style)]

    def _cell(self, position: float) -> int:
        return max(0, min(int(position * self._bar_width), self._bar_width - 1))

    def _detail(self, row: JournalRow) -> str:
        parts = [row.attempts_text]
        if row.next_attempt is not None:
            parts.append(f"next in {format_duration(max(0.0, (row.next_attempt - self._bars.now).total_seconds()))}")
        whole = row.label if cell_len(_label(row)) > self._label else ""
        parts = [whole, ", ".join(filter(None, parts)), " ".join(row.value.split())]
        if row.callee and row.outcome != "done":
            parts.append(row.callee)
        return ": ".join(filter(None, parts))


def _index(row: JournalRow) -> str:
    return "" if row.index is None else str(row.index)


def _label(row: JournalRow) -> str:
    name = f"{row.entry_type} {row.label}".strip()
    return escape_invisible(f"{'  ' * (row.depth - 1)}{name}", lines=False)
