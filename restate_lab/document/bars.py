"""Bars on a time axis as text: each outcome has its own character, so that bars are distinct without colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.cells import cell_len, set_cell_size

from restate_lab._text import escape_invisible
from restate_lab.document import BarRow, Word
from restate_lab.status import OUTCOMES

_LONGEST = 80  # characters of a bar
_STYLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "done": ("█", "succeeded"),
        "pending": ("·", "quiet"),
        "waiting": ("░", "waiting"),
        "retrying": ("▓", "backing-off"),
        "failed": ("█", "failed"),
    }
)
"""An outcome → the character of its bar, and its tone."""
_INSTANT, _ATTEMPT, _LATER = "▏", "╳", "○"


def truncate_cells(text: str, width: int) -> str:
    """Return a text with at most ``width`` cells of a terminal; a longer one ends with "…"."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


class BarLayout:
    """The columns of rows with bars: number, name, outcome, duration and bar, all in ``width`` cells."""

    def __init__(self, rows: Sequence[BarRow], width: int) -> None:
        self.rows = rows
        names = max((cell_len(_name(row)) for row in rows), default=0)
        self._duration = max((len(row.duration) for row in rows), default=0)
        self.number = max((len(row.number) for row in rows), default=0)
        self._outcome = max((len(row.word) for row in rows), default=0) + 2
        self._name = min(names, max(width // 3, 16))  # names get at most a third, and the bars get the rest
        self.before = self.number + self._name + self._outcome + self._duration + 8
        self._bar = max(8, min(width - self.before, _LONGEST))

    def axis(self, ticks: Sequence[tuple[float, str]]) -> str:
        """Return the labels of the ticks above the bars; ``before`` is the number of cells left of them."""
        line = ""
        for position, label in ticks:
            start = min(round(position * self._bar), self._bar - len(label))
            if start >= len(line) + bool(line):
                line = f"{line:<{start}}{label}"
        return line

    def words(self, row: BarRow) -> tuple[Word, ...]:
        """Return the columns of a row."""
        style, tone = OUTCOMES[row.outcome], _STYLES[row.outcome][1]
        return (
            Word(f"{row.number:>{self.number}}", "quiet"),
            Word(f"  {set_cell_size(truncate_cells(_name(row), self._name), self._name)}  ", ""),
            Word(f"{style.sign} {row.word}".ljust(self._outcome), tone),
            Word(f"  {row.duration:>{self._duration}}  ", ""),
            Word(self._drawn(row), tone),
        )

    def detail(self, row: BarRow) -> Word | None:
        """Return the name if it does not fit above, the note and the value; None without them."""
        name = row.name if cell_len(_name(row)) > self._name else ""
        text = ": ".join(filter(None, (name, row.note, row.value)))
        is_error = row.outcome in {"failed", "retrying"}
        return Word(text, _STYLES[row.outcome][1] if is_error else "quiet") if text else None

    def _drawn(self, row: BarRow) -> str:
        if row.left is None or row.right is None:
            return ""
        cells = [" "] * self._bar
        left, right = self._cell(row.left), self._cell(row.right)
        cells[left : right + 1] = _STYLES[row.outcome][0] * (right - left + 1)
        if (row.right - row.left) * self._bar < 0.5:
            cells[left] = _INSTANT
        for position in row.marks:
            cells[self._cell(position)] = _ATTEMPT
        if row.later is not None:
            cells[self._cell(row.later)] = _LATER
        return "".join(cells).rstrip()

    def _cell(self, position: float) -> int:
        return max(0, min(int(position * self._bar), self._bar - 1))


def _name(row: BarRow) -> str:
    name = f"{row.kind} {row.name}".strip()
    return escape_invisible(f"{'  ' * (row.depth - 1)}{name}", lines=False)
