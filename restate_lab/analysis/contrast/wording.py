"""Conditions as text, without the values and names that must be hidden.

Nothing that is hidden leaves this module: a ``Claim`` has only text that can be shown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from restate_lab._text import format_timestamp, one_line
from restate_lab.analysis.contrast.conditions import Column, Condition, Range, Table, prefix_of
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
_TIME_STEPS = tuple(seconds * _SECOND for seconds in (86_400, 3_600, 1_800, 900, 600, 300, 60, 30, 10, 1)) + (10**6, 1)
_MOST_STEPS = 60  # powers of ten that are tried for a round number
_LENGTHS = {
    Operator.LENGTH_ABOVE: ("more", "characters"),
    Operator.LENGTH_BELOW: ("fewer", "characters"),
    Operator.COUNT_ABOVE: ("more", "elements"),
    Operator.COUNT_BELOW: ("fewer", "elements"),
}
_ABOVE = frozenset({Operator.ABOVE, Operator.LENGTH_ABOVE, Operator.COUNT_ABOVE})
_TYPES = {"string": "a string", "number": "a number", "boolean": "a boolean", "list": "a list", "object": "an object"}
_PARTS = {Operator.PREFIX: "beginning", Operator.DOMAIN: "domain", Operator.PATTERN: "form"}
_BEGINNINGS = {
    Operator.PREFIX: "begins with",
    Operator.DOMAIN: "has the domain",
    Operator.PATTERN: "has the form",
}


class Wording:
    """Writes the conditions on the rows of a sample, and hides what the level of ``payloads`` does not allow."""

    def __init__(self, table: Table, failing: Flags, *, payloads: Payloads, shows_keys: bool) -> None:
        self._table, self._failing = table, failing
        self._shows_payloads, self._shows_keys = payloads is True, shows_keys
        self._names = _shown_names(table.columns, failing)

    def path(self, attribute: Attribute) -> str:
        """Return the path of an attribute, with ``*`` for names that could be values."""
        if attribute.where is not Where.INPUT:
            return one_line(attribute.path, _VALUE)
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
        return one_line(condition.value, 4 * _VALUE) if isinstance(condition.value, str) else condition.value

    def short(self, condition: Condition) -> str:
        """Return a condition in short: ``input.region = "eu-west"``."""
        attribute, op = self._column(condition).attribute, condition.op
        name = self.subject(attribute).replace("`", "").removeprefix("the ")
        if op in {Operator.MISSING, Operator.PRESENT}:
            if attribute.where is Where.STEP:
                return name
            return f"{name} is {op.value}"
        if op is Operator.TYPE:
            return f"{name} is {_TYPES.get(condition.value, condition.value)}"
        if op in _LENGTHS:
            more, unit = _LENGTHS[op]
            return f"{name} has {more} than {self._number(condition)} {unit}"
        if isinstance(condition.value, Range):
            return f"{name} {self._range(condition)}"
        if op in _BEGINNINGS:
            return f"{name} {_BEGINNINGS[op]} {self._quoted(condition)}"
        return f"{name} {op.value} {self._quoted(condition)}"

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
            return (
                f"higher than {low} of the healthy" if condition.op in _ABOVE else f"lower than {high} of the healthy"
            )
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
        subject, value = self.subject(attribute), condition.value
        if attribute.where is Where.STEP:
            return f"took {subject}", "did"
        if attribute.where is Where.TIME:
            return f"were created {self._range(condition).replace('> ', 'after ').replace('< ', 'before ')}", "were"
        if op in {Operator.MISSING, Operator.PRESENT}:
            return f"{'have' if op is Operator.PRESENT else 'lack'} {subject}", "do"
        if op is Operator.TYPE:
            return f"have {_TYPES.get(value, value)} in {subject}", "do"
        if op in _LENGTHS:
            more, unit = _LENGTHS[op]
            return f"have {more} than {self._number(condition)} {unit} in {subject}", "do"
        if self.hides_value(condition):
            return f"have {self._hidden(condition, subject)}", "do"
        if op in _PARTS:
            return f"have {subject} with the {_PARTS[op]} {self._quoted(condition)}", "do"
        return self._equality(condition)

    def _hidden(self, condition: Condition, subject: str) -> str:
        op = condition.op
        if isinstance(condition.value, Range):
            return f"{subject} {self._range(condition)}"
        return f"one and the same {_PARTS.get(op, 'value')} in {subject} {HIDDEN}"

    def _equality(self, condition: Condition) -> tuple[str, str]:
        attribute, op = self._column(condition).attribute, condition.op
        if attribute.verb and op in {Operator.EQUAL, Operator.NOT_EQUAL}:
            first, _, rest = attribute.verb.partition(" ")
            text = one_line(str(condition.value), _VALUE)
            is_past = first == "were"
            if op is Operator.NOT_EQUAL:
                return (f"were not {rest} {text}", "were") if is_past else (f"do not {attribute.verb} {text}", "do")
            return f"{attribute.verb} {text}", "were" if is_past else "do"
        return f"have `{self.short(condition)}`", "do"

    def sql(self, condition: Condition) -> str:
        """Return a condition as a filter on ``sys_invocation_status``; "" if it is hidden or not on a column."""
        attribute, op = self._column(condition).attribute, condition.op
        if not attribute.sql or self.hides_value(condition):
            return ""
        if op is Operator.EQUAL:
            return f"{attribute.sql} = {_literal(condition.value)}"
        if op is Operator.PREFIX:
            return f"starts_with({attribute.sql}, {_literal(condition.value)})"
        if attribute.where is Where.TIME:
            first, *second = (_literal(_iso(end)) for end in _ends(condition, is_time=True))
            if second:
                return f"{attribute.sql} > {first} AND {attribute.sql} < {second[0]}"
            return f"{attribute.sql} {op.value} {first}"
        forms = {Operator.MISSING: "IS NULL", Operator.PRESENT: "IS NOT NULL"}
        if op is Operator.NOT_EQUAL:
            return f"{attribute.sql} IS DISTINCT FROM {_literal(condition.value)}"
        return f"{attribute.sql} {forms[op]}" if op in forms else ""

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
    return f"[{json.dumps(one_line(name, _NAME), ensure_ascii=False)}]"


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
        return [Fraction(step) for step in _TIME_STEPS]
    if any(each != each or abs(each) == float("inf") for each in (low, high)):  # noqa: PLR0124 - NaN
        return []
    largest = max(len(str(int(abs(each)))) for each in (low, high))
    return [Fraction(10) ** (largest - power) * unit for power in range(_MOST_STEPS) for unit in (5, 2, 1)]


def _show(value: Any) -> str:
    """Return a value as JSON on one line, with separators of thousands in a number."""
    if isinstance(value, str):
        return json.dumps(one_line(value, _VALUE), ensure_ascii=False)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else one_line(str(value), _VALUE)


def _time(nanoseconds: int) -> str:
    return format_timestamp(_datetime(nanoseconds), exact=bool(nanoseconds % _SECOND))


def _iso(nanoseconds: int) -> str:
    return _datetime(nanoseconds).isoformat().replace("+00:00", "Z")


def _datetime(nanoseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
