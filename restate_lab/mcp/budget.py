"""The budget of a tool's result: at most so many rows and bytes, and a list of everything that was cut.

A result is JSON: facts, and lists of rows. Rows are cut at the end of each list, and ``skip`` asks for the next ones.
Long texts and long lists in a row are shortened. Nothing is cut without a note. Invisible characters are written as
their codes, because a model reads them and a person does not see them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible
from restate_lab.export.json_text import escape_json, rows_of

MOST_ROWS = 500  # rows of a list, whatever a call asks for
_LEVELS = ((4_000, 50), (1_000, 20), (300, 10), (100, 5))
"""Characters of a text, and members of a list in a row: the next level is used if the rows do not fit otherwise."""
_LEAST_ROWS = 5  # rows of each list before texts are shortened more
_DEEPEST = 12  # levels of a value in a row
_FACTS = "facts"


@dataclass(frozen=True, slots=True)
class Budget:
    """The maximum size of one result: the rows of each list, and the bytes of all rows and facts as JSON."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FittingData:
    """The data that fits a budget, the notes about everything that was cut, and the number of rows."""

    data: dict[str, Any]
    truncated: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0


def fit(data: Mapping[str, Any], budget: Budget, *, skip: int = 0) -> FittingData:
    """Return the part of the data that fits: the rows after the first ``skip`` of each list of rows.

    A frame is a list of rows, and so is a list of objects; everything else is a fact. A note has ``part``, ``shown``
    and ``total`` of a list, and ``next``, which tells how to get the rest.
    """
    lists = {
        name: value
        for name, value in data.items()
        if isinstance(value, pd.DataFrame) or (isinstance(value, list) and all(isinstance(row, dict) for row in value))
    }
    facts = {name: value for name, value in data.items() if name not in lists}
    rows_shown = slice(skip, skip + min(budget.rows, MOST_ROWS))  # before they are converted: a frame can have many
    chosen = {
        name: rows_of(rows.iloc[rows_shown]) if isinstance(rows, pd.DataFrame) else rows[rows_shown]
        for name, rows in lists.items()
    }
    for level in _LEVELS:
        shortener = _Shortener(*level)
        short_facts = {name: shortener.fact(value, budget.bytes // (2 * len(facts))) for name, value in facts.items()}
        short = {name: [shortener.value(row, name) for row in rows] for name, rows in chosen.items()}
        fitting = _first_rows(short, budget.bytes - _size(short_facts))
        is_last = level == _LEVELS[-1]
        if is_last or all(len(rows) >= min(_LEAST_ROWS, len(short[name])) for name, rows in fitting.items()):
            break
    notes = [*_row_notes(lists, fitting, skip), *shortener.notes(fitting)]
    ordered = {name: fitting.get(name, short_facts.get(name)) for name in data}
    return FittingData(ordered, notes, sum(map(len, fitting.values())))


def json_text(value: Any) -> str:
    """Return JSON on one line, with escape codes for invisible characters; the value stays the same."""
    return escape_json(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _size(value: Any) -> int:
    return len(json_text(value).encode())


def _first_rows(lists: Mapping[str, Sequence[Any]], room: int) -> dict[str, list[Any]]:
    """Return the first rows of each list that fit; the list that takes most bytes gets shorter first."""
    sizes = {name: [_size(row) + 2 for row in rows] for name, rows in lists.items()}
    totals = {name: sum(each) for name, each in sizes.items()}
    while sum(totals.values()) > room and any(totals.values()):
        largest = max(totals, key=lambda name: totals[name])
        totals[largest] -= sizes[largest].pop()
    return {name: list(rows[: len(sizes[name])]) for name, rows in lists.items()}


def _row_notes(lists: Mapping[str, Any], fitting: Mapping[str, Sequence[Any]], skip: int) -> list[dict[str, Any]]:
    notes = []
    for name, rows in lists.items():
        shown = len(fitting[name])
        if shown < len(rows):
            after = skip + shown
            rest = f"call again with skip={after}" if after < len(rows) else "call again with skip=0 for the first rows"
            more = rest if shown or after >= len(rows) else "a row is larger than the budget; ask for one invocation"
            notes.append({"part": name, "shown": shown, "total": len(rows), "next": more})
    return notes


class _Shortener:
    def __init__(self, characters: int, members: int) -> None:
        self._characters, self._members = characters, members
        self._shortened: dict[str, int] = {}

    def value(self, value: Any, part: str, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self._text(value, part)
        if isinstance(value, Mapping | list | tuple) and depth >= _DEEPEST:
            return self._text(json.dumps(value, default=str), part)
        if isinstance(value, Mapping):
            return self._object(value, part, depth)
        if isinstance(value, list | tuple):
            return self._list(value, part, depth)
        return _PLAIN.get(type(value), str)(value)

    def fact(self, value: Any, room: int) -> Any:
        """Return a fact; one that needs more bytes than ``room`` is a short text of its JSON."""
        short = self.value(value, _FACTS, 1)
        return short if _size(short) <= room else self._text(json_text(short), _FACTS)

    def notes(self, fitting: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        return [
            {
                "part": part,
                "shortened": count,
                "next": "texts and lists that end with … are shortened; ask for fewer rows",
            }
            for part, count in self._shortened.items()
            if part == _FACTS or fitting.get(part)
        ]

    def _text(self, text: str, part: str) -> str:
        if len(text) > self._characters:
            self._count(part)
            text = f"{text[: self._characters]}… ({len(text) - self._characters:,} more characters)"
        return escape_invisible(text)

    def _list(self, values: Sequence[Any], part: str, depth: int) -> list[Any]:
        kept = [self.value(each, part, depth + 1) for each in values[: self._members]]
        if len(values) > self._members:
            self._count(part)
            kept.append(f"… ({len(values) - self._members:,} more)")
        return kept

    def _object(self, value: Mapping[Any, Any], part: str, depth: int) -> dict[str, Any]:
        most = self._members if depth else len(value)  # the columns of a row are never cut
        kept = {
            self._text(str(name), part): self.value(each, part, depth + 1) for name, each in list(value.items())[:most]
        }
        if len(value) > most:
            self._count(part)
            kept["…"] = f"{len(value) - most:,} more"
        return kept

    def _count(self, part: str) -> None:
        self._shortened[part] = self._shortened.get(part, 0) + 1


_PLAIN: Mapping[type, Callable[[Any], Any]] = {
    bool: bool,
    int: int,
    float: lambda value: value if math.isfinite(value) else None,
    type(None): lambda value: value,
    datetime: lambda value: value.isoformat(),
}
