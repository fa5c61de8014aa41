"""Conditions as text, without the values and names that must be hidden.

Nothing that is hidden leaves this module: a ``Claim`` has only text that can be shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from restate_lab._text import format_timestamp, one_line
from restate_lab.analysis.contrast.conditions import Column, Condition, ConditionTable, Range, prefix_of
from restate_lab.analysis.contrast.model import (
    Attribute,
    Flags,
    Operator,
    Payloads,
    Where,
)
from restate_lab.analysis.contrast.trial import Candidate
from restate_lab.redaction import is_secret_header, is_secret_name

HIDDEN = "(hidden)"
_LEAST_SHARE = 0.05  # of each side that has a name of an input, so that it is shown
_LEAST_KEYS = 5  # different keys with a prefix, so that it is shown
_VALUE, _NAME = 60, 40  # characters
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 10**9  # nanoseconds
_TIME_STEPS = (86_400, 3_600, 1_800, 900, 600, 300, 60, 30, 10, 1, Fraction(1, 1_000), Fraction(1, _SECOND))  # seconds
_LARGEST = 10**300  # that is made round
_MOST_STEPS = 60  # powers of ten that are tried for a round number
_LENGTHS = {
    Operator.LENGTH_ABOVE: ("more", "characters"),
    Operator.LENGTH_BELOW: ("fewer", "characters"),
    Operator.COUNT_ABOVE: ("more", "elements"),
    Operator.COUNT_BELOW: ("fewer", "elements"),
}
_ABOVE = frozenset({Operator.ABOVE, Operator.LENGTH_ABOVE, Operator.COUNT_ABOVE})
_TYPES = {"string": "a string", "number": "a number", "boolean": "a boolean", "list": "a list", "object": "an object"}
_FILTERS = {
    Operator.EQUAL: "{} = {}",
    Operator.NOT_EQUAL: "{} IS DISTINCT FROM {}",
    Operator.MISSING: "{} IS NULL",
    Operator.PRESENT: "{} IS NOT NULL",
    Operator.PREFIX: "starts_with({}, {})",
}
_PARTS = {Operator.PREFIX: "beginning", Operator.DOMAIN: "domain", Operator.PATTERN: "form"}
_BEGINNINGS = {
    Operator.PREFIX: "begins with",
    Operator.DOMAIN: "has the domain",
    Operator.PATTERN: "has the form",
}


class Wording:
    """Writes the conditions on the rows of a sample, and hides what the level of ``payloads`` does not allow."""

    def __init__(self, table: ConditionTable, failing: Flags, *, payloads: Payloads, shows_keys: bool) -> None:
        self._table, self._failing = table, failing
        self._shows_payloads, self._shows_keys = payloads is True, shows_keys
        self._names = _shown_names(table.columns, failing)

    def path(self, attribute: Attribute) -> str:
        """Return the path of an attribute, with ``*`` for names that could be values."""
        if attribute.where is not Where.INPUT:
            return _line(attribute.path, _VALUE)
        names = [name if self._is_shown(attribute.names[: at + 1]) else "*" for at, name in enumerate(attribute.names)]
        return "".join(_step(name, is_first=not at) for at, name in enumerate(names))

    def _is_shown(self, names: tuple[str, ...]) -> bool:
        return self._shows_payloads or names[-1] == "[]" or names in self._names

    def subject(self, attribute: Attribute) -> str:
        """Return the path of an attribute in a sentence."""
        path = self.path(attribute)
        if attribute.where is Where.INPUT:
            return f"`input{'' if path.startswith('[') or not path else '.'}{path}`"
        if attribute.path == "target_service_key":
            return "the key"
        return {Where.HEADER: f"the header `{path}`", Where.STEP: f"the step `{path}`"}.get(
            attribute.where, f"`{path}`"
        )

    def _is_secret(self, attribute: Attribute) -> bool:
        is_secret = is_secret_header if attribute.where is Where.HEADER else is_secret_name
        names = attribute.names or (attribute.path,)
        return attribute.is_hidden or (attribute.is_payload and any(map(is_secret, names)))

    def hides_value(self, condition: Condition) -> bool:
        """Return whether the value of a condition is hidden; the form of a key is not, nor a prefix of many keys."""
        attribute, op = self._column(condition).attribute, condition.op
        if op is Operator.TYPE or attribute.where in {Where.STEP, Where.TIME}:
            return False
        if op in _LENGTHS or self._is_secret(attribute) or self._shows_payloads:
            return self._is_secret(attribute)
        if attribute.where is not Where.KEY:
            return attribute.is_payload
        if op is Operator.PREFIX and self._shows_keys:
            return self._keys_with(condition) < _LEAST_KEYS
        return op is not Operator.PATTERN

    def _keys_with(self, condition: Condition) -> int:
        texts = [each for each in self._column(condition).values if isinstance(each, str)]
        return sum(prefix_of(each) == condition.value for each in texts)

    def _column(self, condition: Condition) -> Column:
        return self._table.columns[condition.attribute]

    def value(self, condition: Condition) -> Any:
        """Return the value of a condition as a text or a number; None if it is hidden or there is none."""
        if self.hides_value(condition) or condition.op in {Operator.MISSING, Operator.PRESENT}:
            return None
        if isinstance(condition.value, Range):
            is_time = self._column(condition).attribute.where is Where.TIME
            ends = [_time(end) if is_time else end for end in _ends(condition, is_time=is_time)]
            return ends[0] if len(ends) == 1 else " to ".join(_show(end) for end in ends)
        if isinstance(condition.value, float) and math.isnan(condition.value):
            return _show(condition.value)  # a NaN in a frame would be a hidden value
        return _line(condition.value, 4 * _VALUE) if isinstance(condition.value, str) else condition.value

    def short(self, condition: Condition) -> str:
        """Return a condition in short: ``input.region = "eu-west"``."""
        attribute = self._column(condition).attribute
        name = self.subject(attribute).replace("`", "").removeprefix("the ")
        return name if attribute.where is Where.STEP else f"{name} {self._predicate(condition)}"

    def _predicate(self, condition: Condition) -> str:
        op, value = condition.op, condition.value
        if op in {Operator.MISSING, Operator.PRESENT, Operator.TYPE}:
            return f"is {_TYPES.get(value, value) if op is Operator.TYPE else op.value}"
        if op in _LENGTHS:
            more, unit = _LENGTHS[op]
            return f"has {more} than {self._number(condition)} {unit}"
        if isinstance(value, Range):
            return self._range(condition)
        return f"{_BEGINNINGS.get(op, op.value)} {self._quoted(condition)}"

    def _quoted(self, condition: Condition) -> str:
        return HIDDEN if self.hides_value(condition) else _show(condition.value)

    def _number(self, condition: Condition) -> str:
        return HIDDEN if self.hides_value(condition) else _show(_ends(condition, is_time=False)[0])

    def _range(self, condition: Condition) -> str:
        """Return a range of numbers; hidden numbers are compared with those of the healthy rows."""
        is_time = self._column(condition).attribute.where is Where.TIME
        if self.hides_value(condition):
            low, high = self._healthy_outside(condition)
            if condition.op is Operator.BETWEEN:
                return f"in one range {HIDDEN}"
            side, share = ("higher", low) if condition.op in _ABOVE else ("lower", high)
            return f"{side} than in {'all' if share == '100 %' else f'{share} of the'} healthy"
        ends = [_time(end) if is_time else _show(end) for end in _ends(condition, is_time=is_time)]
        return f"between {ends[0]} and {ends[1]}" if len(ends) > 1 else f"{condition.op.value} {ends[0]}"

    def _healthy_outside(self, condition: Condition) -> tuple[str, str]:
        """Return the shares of healthy numbers below and above a range."""
        column = self._column(condition)
        numbers = column.numbers(condition.op)
        healthy = ~self._failing[np.repeat(column.present, np.diff(np.append(column.starts, len(column.codes))))]
        values = [each for code in column.codes[healthy] if (each := numbers[code]) is not None]
        below = sum(each < condition.value.low for each in values)
        above = sum(each > condition.value.high for each in values)
        return percent(below, max(len(values), 1)), percent(above, max(len(values), 1))

    def phrase(self, condition: Condition) -> tuple[str, str]:
        """Return a predicate of rows that meet a condition, and its short form: "run on dp_1…", "do"."""
        attribute, op = self._column(condition).attribute, condition.op
        subject = self.subject(attribute)
        if attribute.where is Where.STEP:
            return f"took {subject}", "did"
        if attribute.where is Where.TIME:
            return f"were created {self._range(condition).replace('> ', 'after ').replace('< ', 'before ')}", "were"
        if op in {Operator.MISSING, Operator.PRESENT, Operator.TYPE, *_LENGTHS}:
            return self._form(condition, subject), "do"
        if self.hides_value(condition):
            is_range = isinstance(condition.value, Range)
            hidden = f"one and the same {_PARTS.get(op, 'value')} in {subject} {HIDDEN}"
            return f"have {f'{subject} {self._range(condition)}' if is_range else hidden}", "do"
        if op in _BEGINNINGS:
            text = "a key" if subject == "the key" else subject
            return f"have {text} that {_BEGINNINGS[op]} {self._quoted(condition)}", "do"
        return self._equality(condition)

    def _form(self, condition: Condition, subject: str) -> str:
        op, value = condition.op, condition.value
        if op is Operator.TYPE:
            return f"have {_TYPES.get(value, value)} in {subject}"
        if op in _LENGTHS:
            more, unit = _LENGTHS[op]
            return f"have {more} than {self._number(condition)} {unit} in {subject}"
        return f"{'have' if op is Operator.PRESENT else 'lack'} {subject}"

    def _equality(self, condition: Condition) -> tuple[str, str]:
        attribute, op = self._column(condition).attribute, condition.op
        other = "something other than " if op is Operator.NOT_EQUAL else ""
        if attribute.verb and op in {Operator.EQUAL, Operator.NOT_EQUAL}:
            text = _line(str(condition.value), _VALUE)
            return f"{attribute.verb} {other}{text}", "were" if attribute.verb.startswith("were ") else "do"
        if other:
            return f"have {other}{self._quoted(condition)} in {self.subject(attribute)}", "do"
        return f"have `{self.short(condition)}`", "do"

    def sql(self, condition: Condition) -> str:
        """Return a condition as a filter on ``sys_invocation_status``; "" if it is hidden or not on a column."""
        attribute, op = self._column(condition).attribute, condition.op
        if not attribute.sql or self.hides_value(condition):
            return ""
        if attribute.where is not Where.TIME:
            return _FILTERS.get(op, "").format(attribute.sql, _literal(condition.value))
        ends = [_literal(_iso(end)) for end in _ends(condition, is_time=True)]
        signs = [">", "<"] if len(ends) > 1 else [op.value]
        return " AND ".join(f"{attribute.sql} {sign} {end}" for sign, end in zip(signs, ends, strict=True))

    def healthy_type(self, candidate: Candidate) -> str:
        """Return the most frequent type in the healthy rows that do not meet a condition on the type."""
        column = self._column(candidate.condition)
        if candidate.condition.op is not Operator.TYPE or column.is_many:
            return ""
        others = ~(self._failing | candidate.rows)[column.present]
        types = Counter(column.types[code] for code in column.codes[others])
        return _TYPES.get(name, name) if types and (name := types.most_common(1)[0][0]) else ""


def percent(part: int, whole: int) -> str:
    """Return a share in percent; it is "0 %" or "100 %" only if it is exactly that."""
    rounded = round(100 * part / whole)
    if part and not rounded:
        return "less than 1 %"
    return "more than 99 %" if rounded == 100 and part < whole else f"{rounded} %"


def _shown_names(columns: Sequence[Column], failing: Flags) -> set[tuple[str, ...]]:
    """Return the names of inputs, with those above them, that at least 5 % of the rows of both sides have."""
    present = dict[tuple[str, ...], Flags]()
    known = dict[tuple[str, ...], Flags]()
    for column in columns:
        names = column.attribute.names
        for end in range(1, len(names) + 1) if column.attribute.where is Where.INPUT else ():
            at = names[:end]
            present[at] = present.get(at, np.zeros_like(failing)) | column.is_present
            known[at] = known.get(at, np.zeros_like(failing)) | column.known
    sides = (failing, ~failing)
    return {
        names
        for names, rows in present.items()
        if all((rows & side).sum() >= max(1, _LEAST_SHARE * (known[names] & side).sum()) for side in sides)
    }


def _step(name: str, *, is_first: bool) -> str:
    if name in {"[]", "*"} or name.replace("_", "a").replace("-", "a").isalnum():
        return name if is_first or name == "[]" else f".{name}"
    return f"[{json.dumps(_line(name, _NAME), ensure_ascii=False)}]"


def _ends(condition: Condition, *, is_time: bool) -> list[Any]:
    """Return the ends of a range as round numbers: between its first or last value and the nearest one outside."""
    ends, around = list[Any](), condition.value
    if condition.op is Operator.BETWEEN or condition.op in _ABOVE:
        ends.append(_round_above(around.below, around.low, is_time=is_time))
    if condition.op not in _ABOVE:
        ends.append(_round_below(around.high, around.above, is_time=is_time))
    return ends


def _round_above(least: Any, before: Any, *, is_time: bool) -> Any:
    """Return the roundest number from ``least`` to a number less than ``before``."""
    for step in _steps(least, before, is_time=is_time):
        number = -((-_exact(least)) // step) * step
        if number < _exact(before):
            return _plain(number)
    return least


def _round_below(after: Any, most: Any, *, is_time: bool) -> Any:
    """Return the roundest number from one greater than ``after`` to ``most``."""
    for step in _steps(after, most, is_time=is_time):
        number = (_exact(most) // step) * step
        if number > _exact(after):
            return _plain(number)
    return most


def _exact(number: Any) -> Fraction:
    return Fraction(str(number))


def _plain(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)


def _steps(low: Any, high: Any, *, is_time: bool) -> list[Fraction]:
    if is_time:
        return [Fraction(step) * _SECOND for step in _TIME_STEPS]
    if any(abs(each) > _LARGEST for each in (low, high)):
        return []
    largest = max(len(str(int(abs(each)))) for each in (low, high))
    return [Fraction(10) ** (largest - power) * unit for power in range(_MOST_STEPS) for unit in (5, 2, 1)]


def _line(text: str, width: int) -> str:
    """Return a text on one line, without the marks around conditions in a sentence."""
    return one_line(text.replace("`", "'"), width)


def _show(value: Any) -> str:
    """Return a value as JSON on one line, with separators of thousands in a number."""
    if isinstance(value, str):
        return json.dumps(_line(value, _VALUE), ensure_ascii=False)
    if isinstance(value, bool) or value is None or (isinstance(value, float) and not math.isfinite(value)):
        return json.dumps(value)
    return _line(f"{value:,}" if isinstance(value, int) else str(value), _VALUE)


def _time(nanoseconds: int) -> str:
    return format_timestamp(_datetime(nanoseconds), exact=bool(nanoseconds % _SECOND))


def _iso(nanoseconds: int) -> str:
    return _datetime(nanoseconds).isoformat().replace("+00:00", "Z")


def _datetime(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
