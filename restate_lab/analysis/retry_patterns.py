"""Rows of ``retry_storm`` with the steps of one pattern in one row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from restate_lab.analysis.checks.messages import normalised
from restate_lab.analysis.records import given, records
from restate_lab.analysis.step_patterns import step_patterns, without_data

__all__ = ["CANDIDATES", "by_pattern"]

CANDIDATES = 100_000
"""Rows that are read and then summed up, at most."""
_KINDS = 5  # messages of one pattern; where there are more, their words are data, too
_CAUSE = ("target_service_name", "target_handler_name", "error_code")
_SUMS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    **dict.fromkeys(("n", "attempts"), sum),
    "worst": max,
    **dict.fromkeys(("next_retry_at", "oldest_created_at"), min),
}
_Row = dict[Any, Any]


def by_pattern(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``retry_storm`` with one row where several steps of a handler and code have one pattern.

    ``step`` is then the pattern ("get weather …"), ``message`` has "…" for the data in the step's name, ``steps``
    counts the names, and the examples are those of the row with most invocations. All other rows, the columns and
    their types stay as they are. Most invocations come first.
    """
    causes: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    for row in records(frame):
        causes[tuple(given(row[name]) for name in _CAUSE)].append(row)
    rows = [row for alike in causes.values() for row in _merged(alike)]
    if len(rows) == len(frame):
        return frame
    rows.sort(key=lambda row: (-row["n"], -row["attempts"], *(str(row[name]) for name in (*_CAUSE, "step", "message"))))
    columns = {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in frame.dtypes.items()}
    merged = pd.DataFrame(columns)
    merged.attrs = dict(frame.attrs)
    return merged


def _merged(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows of one handler and error code with those of one pattern summed up."""
    patterns = step_patterns({row["step"] for row in rows if given(row["step"])})
    names = Counter(patterns.values())
    kinds: dict[str, list[_Row]] = defaultdict(list)
    others: list[_Row] = []
    for row in rows:
        pattern = patterns.get(row["step"], "") if given(row["step"]) else ""
        (kinds[pattern] if names[pattern] > 1 else others).append(row)
    return others + [row for pattern, alike in kinds.items() for row in _by_message(alike, pattern)]


def _by_message(rows: Sequence[_Row], pattern: str) -> list[_Row]:
    """Return one row per kind of message, of rows whose steps have one pattern."""
    messages = [normalised(without_data(given(row["message"]) or "", row["step"], pattern)) for row in rows]
    if len(set(messages)) > _KINDS:
        kinds = step_patterns(messages)
        messages = [kinds[each] for each in messages]
    found: dict[str, list[_Row]] = defaultdict(list)
    for row, message in zip(rows, messages, strict=True):
        found[message].append(row)
    return [{**_sum(alike), "step": pattern, "message": message or None} for message, alike in found.items()]


def _sum(rows: Sequence[_Row]) -> _Row:
    """Return the first row with the numbers and times of all; a step that has several rows counts once."""
    total = dict(rows[0])
    for name, add in _SUMS.items():
        known = [row[name] for row in rows if name in row and given(row[name]) is not None]
        total |= {name: add(known)} if known else {}
    if "steps" in total:
        most: dict[str, int] = defaultdict(int)
        for row in rows:
            most[row["step"]] = max(most[row["step"]], int(row["steps"]))
        total["steps"] = sum(most.values())
    return total
