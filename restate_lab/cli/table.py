"""A frame as a table of text: as wide as the terminal, or, for another program, with everything in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import pandas as pd
from rich.cells import cell_len, set_cell_size

from restate_lab._cells import cell, full_text, kind_of
from restate_lab._text import escape_invisible

__all__ = ["table"]

GAP = "  "
NARROWEST = 12  # characters that a column keeps at least, unless it has fewer
_KEPT = {"number", "time", "duration", "status"}
_ID = re.compile(r"(?:inv|dp|sub|vq|prom|sign)_1\w+")


@dataclass(slots=True)
class _Column:
    name: str
    cells: list[str]
    width: int
    is_right: bool
    may_shrink: bool

    def shown(self, text: str) -> str:
        """Return a text in this column: cut or filled to its width."""
        text = _cut(text, self.width)
        fill = " " * (self.width - cell_len(text))
        return fill + text if self.is_right else text + fill


def table(frame: pd.DataFrame, width: int | None) -> Iterator[str]:
    """Give the lines: a header, a rule, and one line a row; numbers are right-aligned, nulls empty.

    ``width`` is that of the terminal in characters: long texts are cut (…), and ids, numbers and times are not; where
    that does not fit, each row becomes a block with a line a column. None means no limit, and nothing is cut.
    """
    columns = [_column(str(name), frame.iloc[:, at], whole=width is None) for at, name in enumerate(frame.columns)]
    if width is not None and not _fit(columns, width):
        yield from _blocks(columns, width, len(frame))
        return
    yield GAP.join(column.shown(column.name) for column in columns).rstrip()
    yield GAP.join("─" * column.width for column in columns)
    for at in range(len(frame)):
        yield GAP.join(column.shown(column.cells[at]) for column in columns).rstrip()


def _column(name: str, values: pd.Series[Any], *, whole: bool) -> _Column:
    if whole:
        cells = [escape_invisible(full_text(value, UTC), lines=False) for value in values]
    else:
        cells = [cell(value, UTC).text or "" for value in values]
    kind = kind_of(name, values)
    has_ids = any(_ID.fullmatch(each) for each in cells)
    return _Column(
        escape_invisible(name, lines=False),
        cells,
        max([cell_len(escape_invisible(name, lines=False)), *map(cell_len, cells)]),
        is_right=kind in {"number", "duration"},
        may_shrink=kind not in _KEPT and not has_ids,
    )


def _fit(columns: Sequence[_Column], width: int) -> bool:
    """Make the widest columns narrower until all fit; False where they cannot."""
    excess = sum(column.width for column in columns) + len(GAP) * (len(columns) - 1) - width
    shrinkable = [column for column in columns if column.may_shrink and column.width > NARROWEST]
    if excess > sum(column.width - NARROWEST for column in shrinkable):
        return False
    for _ in range(max(excess, 0)):
        max(shrinkable, key=lambda column: column.width).width -= 1
    return True


def _blocks(columns: Sequence[_Column], width: int, rows: int) -> Iterator[str]:
    margin = max(cell_len(column.name) for column in columns)
    for at in range(rows):
        yield f"── {at + 1:,} ".ljust(min(width, margin + 20), "─")
        for column in columns:
            name = column.name + " " * (margin - cell_len(column.name))
            yield f"{name}{GAP}{_cut(column.cells[at], max(width - margin - len(GAP), NARROWEST))}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"
