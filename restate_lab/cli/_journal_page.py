"""A journal as a page of text, for the command ``journal``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd
from rich.cells import cell_len, set_cell_size

from restate_lab._text import escape_invisible, format_duration, format_timestamp, plural
from restate_lab.analysis.journal.bars import JournalBars, JournalRow, journal_bars
from restate_lab.analysis.journal.card import ScaleName, TimeScale, time_scale
from restate_lab.analysis.suggestions import python_code, why_call
from restate_lab.cli._page import GRAY_BLUE, ORANGE, STATUS_STYLES, TextPage
from restate_lab.cli.shell_code import SourceOptions, code_for
from restate_lab.status import OUTCOMES

PIPE_WIDTH = 100  # columns per line without a terminal
LONGEST_BAR = 80
OUTCOME_STYLES: Mapping[str, str] = MappingProxyType(
    {"done": "green", "pending": "dim", "waiting": GRAY_BLUE, "retrying": ORANGE, "failed": "red"}
)
FILLS: Mapping[str, str] = MappingProxyType(
    {"done": "█", "pending": "·", "waiting": "░", "retrying": "▓", "failed": "█"}
)
"""OutcomeStyle → the character that fills its bar, so that bars are distinct without colors."""
INSTANT, ATTEMPT, NEXT = "▏", "╳", "○"


@dataclass(frozen=True, slots=True)
class Widths:
    """The widths of the parts of a line, in columns."""

    index: int
    label: int
    state: int
    duration: int
    bar: int

    @classmethod
    def for_rows(cls, bars: JournalBars, width: int) -> Widths:
        """Return the widths for these rows: labels get at most a third, and the bars get the rest."""
        labels = max((cell_len(_label(row)) for row in bars.rows), default=0)
        duration = max((len(row.duration(bars.now)) for row in bars.rows), default=0)
        index = max((len(_index(row)) for row in bars.rows), default=0)
        state = max(len(each.label) for each in OUTCOMES.values()) + 2
        label = min(labels, max(width // 3, 16))
        rest = width - index - label - state - duration - 8
        return cls(index, label, state, duration, max(8, min(rest, LONGEST_BAR)))

    @property
    def before_bar(self) -> int:
        """Return the columns left of the bar, including gaps."""
        return self.index + self.label + self.state + self.duration + 8


class JournalPage:
    """Print a journal: one line with a bar per entry, and below it the error or the reason for waiting."""

    def __init__(self, frame: pd.DataFrame, page: TextPage, scale: ScaleName, top: int) -> None:
        self._attrs = frame.attrs
        self._all = journal_bars(frame)
        self._bars = self._all.limit(top)
        self._page = page
        self._scale: TimeScale = time_scale(self._bars, scale)
        self._widths = Widths.for_rows(self._bars, page.width or PIPE_WIDTH)

    def print(self, target: SourceOptions) -> None:
        """Print the heading, the rows, the totals and the next command."""
        self._print_heading()
        if self._bars.rows:
            self._page.blank()
            self._page.paragraph((self._axis(), "dim"), first=" " * self._widths.before_bar)
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
            start = min(round(tick.position * self._widths.bar), self._widths.bar - len(tick.label))
            if start >= len(line) + bool(line):
                line = f"{line:<{start}}{tick.label}"
        return line

    def _print_row(self, row: JournalRow) -> None:
        widths, outcome, style = self._widths, OUTCOMES[row.outcome], OUTCOME_STYLES[row.outcome]
        self._page.paragraph(
            (f"{_index(row):>{widths.index}}", "dim"),
            f"  {_fit(_label(row), widths.label)}  ",
            (f"{outcome.sign} {outcome.label}".ljust(widths.state), style),
            f"  {row.duration(self._bars.now):>{widths.duration}}  ",
            *self._bar(row),
        )
        if detail := self._detail(row):
            is_error = row.outcome in {"failed", "retrying"}
            indent = " " * (widths.index + 2 + 2 * row.depth)
            self._page.paragraph((detail, style if is_error else "dim"), first=indent)

    def _bar(self, row: JournalRow) -> list[tuple[str, str]]:
        """Return the bar as text, with its attempts and the next attempt."""
        width = self._widths.bar
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
        return max(0, min(int(position * self._widths.bar), self._widths.bar - 1))

    def _detail(self, row: JournalRow) -> str:
        """Return the text below a row: its full label if cut, attempts, error or reason for waiting, and callee."""
        parts = [row.attempts_text]
        if row.next_attempt is not None:
            parts.append(f"next in {format_duration(max(0.0, (row.next_attempt - self._bars.now).total_seconds()))}")
        whole = row.label if cell_len(_label(row)) > self._widths.label else ""
        parts = [whole, ", ".join(filter(None, parts)), " ".join(row.value.split())]
        if row.callee and row.outcome != "done":
            parts.append(row.callee)
        return ": ".join(filter(None, parts))


def _index(row: JournalRow) -> str:
    return "" if row.index is None else str(row.index)


def _label(row: JournalRow) -> str:
    name = f"{row.entry_type} {row.label}".strip()
    return escape_invisible(f"{'  ' * (row.depth - 1)}{name}", lines=False)


def _fit(text: str, width: int) -> str:
    """Return a text cut or padded to a width."""
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"
