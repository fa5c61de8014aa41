"""The conditions that are tested: from the values of each attribute to a yes or no for each row.

The conditions of an attribute depend on all its values together, and not on which rows are failing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from restate_lab.analysis.contrast.model import (
    SEPARATORS,
    UNKNOWN,
    Absence,
    Elements,
    Fields,
    Flags,
    Integers,
    Many,
    Observed,
    Operator,
    Where,
)

_MOST_VALUES = 300  # conditions of one kind and attribute, the most frequent values
_LEAST_ROWS = 3  # that have a value, so that it is a condition
_TAIL = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
_GRID = (*_TAIL, 0.5, *(1 - share for share in reversed(_TAIL)))
_WINDOWS = tuple(step / 20 for step in range(21))
_SEPARATOR = re.compile(f"[{re.escape(SEPARATORS)}]")
_DOMAIN = re.compile(r"^(?:[a-z][a-z0-9+.-]*://([^/?#:\s]+)|[^@\s]+@([^@\s]+\.[^@\s]+)$)", re.IGNORECASE)
_LETTERS, _DIGITS = re.compile(r"[^\W\d_]+"), re.compile(r"\d+")
_UNREADABLE = re.compile(r"[^\x20-\x7e]")
_AT_ONCE = 256  # conditions whose rows are in memory, one byte each
_ROW_BITS = 8

Values: TypeAlias = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the attribute with this index.

    ``value`` is what the operator compares: a value, or the largest excluded and the smallest included number at each
    end of the range that meets the condition, as ``Range``.
    """

    attribute: int
    op: Operator
    value: Any = None


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``; ``below`` and ``above`` are the nearest values outside; None: no end."""

    low: Any
    high: Any
    below: Any = None
    above: Any = None


def prefix_of(text: str) -> str | None:
    """Return a text up to and including its first separator, one of ``- _ : / . @ # |``; None without one."""
    found = _SEPARATOR.search(text)
    return text[: found.end()] if found and found.end() < len(text) else None


def domain_of(text: str) -> str | None:
    """Return the domain of an e-mail address or a URL; None for another text."""
    found = _DOMAIN.match(text)
    return (found[1] or found[2]).lower() if found else None


def pattern_of(text: str) -> str:
    """Return a text with "a" for letters, "9" for digits and "?" for other characters that are not ASCII."""
    return _UNREADABLE.sub("?", _DIGITS.sub("9", _LETTERS.sub("a", text)))


def type_of(value: object) -> str:
    """Return the JSON type of a value; True is not a number, and NaN is a type of its own."""
    if value is None:
        return "null"
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    for name, kind in (("boolean", bool), ("string", str), ("list", Elements), ("object", Fields)):
        if isinstance(value, kind):
            return name
    return "number"


class Column:
    """The values of one attribute: which rows have it, its different values, and the code of the value of each row.

    A row with ``Many`` values has several codes. ``starts`` has the place of the first code of each present row.
    """

    def __init__(self, observed: Observed) -> None:
        self.attribute = observed.attribute
        is_null_absent = self.attribute.where is not Where.INPUT
        self._numbers: dict[object, int] = {}
        codes, starts, present = list[int](), list[int](), list[int]()
        for row, value in enumerate(observed.values):
            if type(value) is Absence or (value is None and is_null_absent):
                continue
            start = len(codes)
            if type(value) is Many:
                codes += map(self._code, value.values)
            else:
                codes.append(self._code(value))
            if len(codes) > start:
                starts.append(start)
                present.append(row)
        self.rows = len(observed.values)
        self.known: Flags = np.array([value is not UNKNOWN for value in observed.values], dtype=bool)
        self.present: Integers = np.array(present, dtype=np.int64)
        self.starts: Integers = np.array(starts, dtype=np.int64)
        self.codes: Integers = np.array(codes, dtype=np.int64)
        self.values: Values = [key[1] if isinstance(key, tuple) else key for key in self._numbers]
        self.is_many = len(self.codes) > len(self.present)

    def _code(self, value: object) -> int:
        """Return the number of a value; True == 1 and 1 == 1.0 in Python, but only the numbers are one value."""
        value = value if value == value else math.nan  # noqa: PLR0124 - each NaN differs from all; here they are one
        key = value if type(value) is str else (type(value) is bool, value)
        return self._numbers.setdefault(key, len(self._numbers))

    @cached_property
    def counts(self) -> Integers:
        """Return how often each value occurs."""
        return np.bincount(self.codes, minlength=len(self.values))

    @cached_property
    def types(self) -> list[str]:
        """Return the type of each value."""
        return [type_of(value) for value in self.values]

    @property
    def is_present(self) -> Flags:
        """Return which rows have the attribute."""
        flags = np.zeros(self.rows, dtype=bool)
        flags[self.present] = True
        return flags

    def rows_with(self, selected: Flags) -> Flags:
        """Return which rows have one of the selected values, for each row of ``selected`` (conditions, values)."""
        hits = selected[:, self.codes]
        if self.is_many:
            hits = np.logical_or.reduceat(hits, self.starts, axis=1)
        flags = np.zeros((len(selected), self.rows), dtype=bool)
        flags[:, self.present] = hits
        return flags

    def rank(self, numbers: Sequence[Any]) -> tuple[Integers, list[Any]]:
        """Return the rank of each number, -1 for None, and the different numbers in order; integers stay exact."""
        distinct = sorted({each for each in numbers if each is not None})
        ranks = {each: rank for rank, each in enumerate(distinct)}
        return np.array([-1 if each is None else ranks[each] for each in numbers], dtype=np.int64), distinct

    def numbers(self, op: Operator) -> list[Any]:
        """Return what an operator for numbers compares of each value, None if it cannot."""
        measure = _MEASURES[op]
        return [measure(value) for value in self.values]


def _number(value: Any) -> Any:
    if isinstance(value, bool | str | Elements | Fields) or value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    return value


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value.count if isinstance(value, Elements | Fields) else None


_MEASURES: dict[Operator, Callable[[Any], Any]] = {
    **dict.fromkeys((Operator.ABOVE, Operator.BELOW, Operator.BETWEEN), _number),
    **dict.fromkeys((Operator.LENGTH_ABOVE, Operator.LENGTH_BELOW), _length),
    **dict.fromkeys((Operator.COUNT_ABOVE, Operator.COUNT_BELOW), _count),
}
RANGES = (
    (Operator.ABOVE, Operator.BELOW, Operator.BETWEEN),
    (Operator.LENGTH_ABOVE, Operator.LENGTH_BELOW, None),
    (Operator.COUNT_ABOVE, Operator.COUNT_BELOW, None),
)
"""The operators of a range of numbers, lengths or counts: without a largest end, without a smallest, and with both."""
_TEXT_PARTS: dict[Operator, Callable[[str], str | None]] = {
    Operator.PREFIX: prefix_of,
    Operator.DOMAIN: domain_of,
    Operator.PATTERN: pattern_of,
}
_TEXTS = frozenset(_TEXT_PARTS)
_ABSENCE = frozenset({Operator.MISSING, Operator.PRESENT})
_OF_NUMBERS = frozenset(op for kinds in RANGES for op in kinds if op)
_USED = {
    Where.COLUMN: _ABSENCE | {Operator.EQUAL, Operator.NOT_EQUAL},
    Where.TIME: frozenset(RANGES[0]),
    Where.KEY: _ABSENCE | _TEXTS | {Operator.EQUAL, Operator.LENGTH_ABOVE, Operator.LENGTH_BELOW},
    Where.HEADER: _ABSENCE | {Operator.EQUAL},
    Where.STEP: frozenset({Operator.PRESENT}),
    Where.INPUT: _ABSENCE | _TEXTS | _OF_NUMBERS | {Operator.EQUAL, Operator.TYPE},
}
"""The operators of each kind of attribute."""


def conditions_of(column: Column) -> Iterator[tuple[Operator, Any, Flags]]:
    """Yield the conditions of an attribute: operator, value, and which of the different values meet it.

    The other two operators, missing and present, do not depend on a value.
    """
    used = _USED[column.attribute.where]
    if not len(column.present):
        return
    if Operator.EQUAL in used:
        yield from _equalities(column)
    if Operator.NOT_EQUAL in used:
        frequent = np.flatnonzero(column.counts * 2 >= column.known.sum()).tolist()
        yield from ((Operator.NOT_EQUAL, column.values[code], ~_one(column, code)) for code in frequent)
    if Operator.TYPE in used and len(names := sorted(set(column.types))) > 1:
        yield from ((Operator.TYPE, name, np.array([each == name for each in column.types])) for name in names)
    for op, part in _TEXT_PARTS.items():
        if op in used:
            yield from _text_conditions(column, op, part)
    for above, below, between in RANGES:
        if above in used:
            yield from _range_conditions(column, above, below, between)


def _one(column: Column, code: int) -> Flags:
    return np.asarray(np.arange(len(column.values)) == code)


def _equalities(column: Column) -> Iterator[tuple[Operator, Any, Flags]]:
    kinds = (Elements, Fields, type(None))
    codes = [code for code in _frequent(column.counts) if not isinstance(column.values[code], kinds)]
    yield from ((Operator.EQUAL, column.values[code], _one(column, code)) for code in codes)


def _frequent(counts: Integers) -> list[int]:
    """Return the most frequent codes; of equally frequent ones, the first."""
    order = np.argsort(-counts, kind="stable")[:_MOST_VALUES]
    return [int(code) for code in order if counts[code] >= _LEAST_ROWS]


def _text_conditions(
    column: Column, op: Operator, part: Callable[[str], str | None]
) -> Iterator[tuple[Operator, Any, Flags]]:
    """Yield the conditions on a part of a text that several different texts share."""
    parts = [part(value) if isinstance(value, str) else None for value in column.values]
    names = {name: code for code, name in enumerate(dict.fromkeys(each for each in parts if each is not None))}
    codes = np.array([-1 if each is None else names[each] for each in parts], dtype=np.int64)
    is_text = codes >= 0
    if not is_text.any():
        return
    rows = np.bincount(codes[is_text], column.counts[is_text])
    texts = np.bincount(codes[is_text])
    listed = list(names)
    yield from ((op, listed[code], codes == code) for code in _frequent(rows.astype(np.int64)) if texts[code] > 1)


def _range_conditions(
    column: Column, above: Operator, below: Operator, between: Operator | None
) -> Iterator[tuple[Operator, Any, Flags]]:
    ranks, distinct = column.rank(column.numbers(above))
    if len(distinct) < 2:
        return
    cuts = _quantiles(column, ranks, _GRID)
    for cut in cuts:
        if cut + 1 < len(distinct):
            yield above, range_of(distinct, cut + 1, len(distinct) - 1), ranks > cut
        if cut > 0:
            yield below, range_of(distinct, 0, cut - 1), (ranks >= 0) & (ranks < cut)
    if between is None or column.is_many:
        return
    ends = _quantiles(column, ranks, _WINDOWS)
    for at, first in enumerate(ends):
        for last in ends[at:]:
            if first > 0 and last + 1 < len(distinct):
                yield between, range_of(distinct, first, last), (ranks >= first) & (ranks <= last)


def range_of(distinct: Sequence[Any], first: int, last: int) -> Range:
    """Return the range from one rank to another, with the nearest values outside."""
    outside = (distinct[first - 1] if first else None, distinct[last + 1] if last + 1 < len(distinct) else None)
    return Range(distinct[first], distinct[last], *outside)


def _quantiles(column: Column, ranks: Integers, shares: Sequence[float]) -> list[int]:
    """Return the different ranks at these shares of all numbers."""
    counts = np.bincount(ranks[ranks >= 0], column.counts[ranks >= 0])
    up_to = np.cumsum(counts)
    places = np.searchsorted(up_to, np.array(shares) * up_to[-1], side="left")
    return sorted({int(each) for each in np.minimum(places, len(counts) - 1)})


@dataclass(frozen=True, slots=True)
class ConditionTable:
    """All conditions on the rows of a sample: one bit for each condition and row.

    ``test_of`` has the number of the test of each condition: conditions that select the same rows are one test.
    """

    columns: list[Column]
    conditions: list[Condition]
    bits: Any
    attribute_of: Integers
    test_of: Integers
    known: Flags

    def rows(self, condition: int) -> Flags:
        """Return which rows meet a condition."""
        return np.unpackbits(self.bits[condition], count=self.known.shape[1]).astype(bool)

    def count(self, groups: Flags) -> tuple[Integers, Integers]:
        """Return how many rows of each group (groups, rows) meet each condition, and how many could: the known ones."""
        weights = groups.astype(np.float32).T
        met = np.empty((len(self.conditions), len(groups)), dtype=np.int64)
        for start in range(0, len(met), _AT_ONCE):
            flags = np.unpackbits(self.bits[start : start + _AT_ONCE], axis=1, count=self.known.shape[1])
            met[start : start + _AT_ONCE] = flags.astype(np.float32) @ weights
        known = (self.known.astype(np.float32) @ weights).astype(np.int64)
        return met, known[self.attribute_of]


def build_table(observed: Sequence[Observed], rows: int) -> ConditionTable:
    """Return the conditions on all attributes of a sample that some of its rows meet, and some do not."""
    columns = [Column(each) for each in observed]
    conditions, blocks = list[Condition](), [np.zeros((0, math.ceil(rows / _ROW_BITS)), dtype=np.uint8)]
    for place, column in enumerate(columns):
        for op, value, flags in _row_conditions(column):
            blocks.append(np.packbits(flags)[None])
            conditions.append(Condition(place, op, value))
    attribute_of = np.array([each.attribute for each in conditions], dtype=np.int64)
    known = np.stack([column.known for column in columns]) if columns else np.zeros((0, rows), dtype=bool)
    bits = np.concatenate(blocks)
    names = [each.tobytes() for each in np.packbits(known, axis=1)]
    tests = dict[tuple[bytes, bytes], int]()
    test_of = [
        tests.setdefault((row.tobytes(), names[at]), len(tests)) for row, at in zip(bits, attribute_of, strict=True)
    ]
    return ConditionTable(columns, conditions, bits, attribute_of, np.array(test_of, dtype=np.int64), known)


def _row_conditions(column: Column) -> Iterator[tuple[Operator, Any, Flags]]:
    """Yield the conditions of an attribute, each with its rows, without those that all or none of them meet."""
    used, present = _USED[column.attribute.where], column.is_present
    total = int(column.known.sum())
    if 0 < len(column.present) < total:
        absent = {Operator.MISSING: column.known & ~present, Operator.PRESENT: present}
        yield from ((op, None, flags) for op, flags in absent.items() if op in used)
    waiting = list[tuple[Operator, Any, Flags]]()
    for each in conditions_of(column):
        waiting.append(each)
        if len(waiting) == _AT_ONCE:
            yield from _with_rows(column, waiting, total)
            waiting = []
    yield from _with_rows(column, waiting, total)


def _with_rows(
    column: Column, conditions: Sequence[tuple[Operator, Any, Flags]], total: int
) -> Iterator[tuple[Operator, Any, Flags]]:
    if not conditions:
        return
    flags = column.rows_with(np.stack([selected for *_, selected in conditions]))
    absent = column.known & ~column.is_present
    for (op, value, _), rows in zip(conditions, flags, strict=True):
        met = rows | absent if op is Operator.NOT_EQUAL else rows
        if 0 < met.sum() < total:
            yield op, value, met
