"""The values of a question's parameters: check them, convert them for SQL, and parse them from texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import join
from restate_lab.analysis.questions.catalog import Parameter, Question, read_question
from restate_lab.analysis.times import to_datetime
from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError

AUTO = "auto"
"""A length of time spans that depends on the rows: ``run_question`` replaces it."""
# The statuses of ``sys_invocation_status``.
RAW_STATUSES = ("inboxed", "scheduled", "invoked", "suspended", "paused", "completed")
_MANY = 1000  # longer lists are not stored in attrs, because pandas copies attrs with every frame
_FEW = 10
_DEFAULTS: Mapping[str, Callable[[str], Any]] = {"number": int, "percent": float, "flag": "yes".__eq__}
_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


def check_names(question: Question, given: Mapping[str, Any]) -> None:
    """Raise ArgumentError if a parameter is unknown, or a required one is missing."""
    known = {parameter.name: parameter for parameter in question.parameters}
    for name in given:
        if name not in {*known, "now"}:
            hint = did_you_mean(nearest_names(name, known))
            takes = ", ".join(map(str, known.values()))
            raise ArgumentError(
                f"{question.name} has no parameter {name!r}. {hint} Its parameters are: {takes}.".replace("  ", " ")
            )
    for name, parameter in known.items():
        if parameter.is_required and name not in given:
            raise ArgumentError(f"{question.name} requires {name}= ({parameter.description}).")


def values_for(question: Question, given: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return a value for each parameter of a statement: the argument or the default, and ``now`` if it is used.

    Raises:
        ArgumentError: a value is invalid.
    """
    values: dict[str, Any] = {"now": now} if re.search(r":now\b", question.sql) else {}
    for parameter in question.parameters:
        value = given.get(parameter.name, _default_value(parameter))
        if value is None and parameter.default != "none" and parameter.name != "limit":
            raise ArgumentError(f"{parameter.name} of {question.name} must not be None ({parameter.description}).")
        if parameter.name == "status" and value not in RAW_STATUSES:
            hint = did_you_mean(nearest_names(str(value), RAW_STATUSES))
            raise ArgumentError(
                f"unknown raw status {value!r}. {hint} Choose from {join(RAW_STATUSES, 9)}.".replace("  ", " ")
            )
        is_kept = value is None or parameter.default == AUTO == value
        values[parameter.name] = value if is_kept else _CONVERTERS[parameter.kind](value, parameter.name, now)
    return values


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as JSON values that can be passed again; a long list becomes its first values and its count."""
    return {name: _json_value(value) for name, value in values.items()}


def parameters_of(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of a question in the order of its file; () for an unknown question."""
    question = read_question(name)
    return question.parameters if question else ()


def parse_texts(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parse texts to the arguments of ``ask(source, name, …)``: numbers, percentages, yes or no, ids with commas.

    The text ``none`` becomes None. Unknown parameter names are kept, and ``ask`` rejects them.

    Raises:
        ArgumentError: a text is not a number, or neither yes nor no.
    """
    kinds = {parameter.name: parameter.kind for parameter in parameters_of(name)}
    return {key: _parse_text(kinds.get(key, "text"), key, text) for key, text in texts.items()}


def _default_value(parameter: Parameter) -> Any:
    if parameter.default == "none":
        return None
    parse = _DEFAULTS.get(parameter.kind)
    return parse(parameter.default) if parse else parameter.default


def _to_text(value: Any, name: str, now: datetime) -> str:  # noqa: ARG001 - one signature for all kinds
    if not isinstance(value, str):
        raise ArgumentError(f"{name} is {value!r}: it must be a text.")
    return value


def _to_number(value: Any, name: str, now: datetime) -> int:  # noqa: ARG001
    whole = value.item() if hasattr(value, "item") else value
    if not isinstance(whole, int) or isinstance(whole, bool) or not 0 <= whole < 2**62:
        raise ArgumentError(f"{name} is {value!r}: pass a whole number, zero or more.")
    return whole


def _to_percent(value: Any, name: str, now: datetime) -> float:  # noqa: ARG001
    share = value.item() if hasattr(value, "item") else value
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 100:
        raise ArgumentError(f"{name} is {value!r}: pass a percentage from 0 to 100, such as 99.9.")
    return float(share)


def _to_flag(value: Any, name: str, now: datetime) -> bool:  # noqa: ARG001
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is {value!r}: pass True or False.")
    return value


def _to_ids(value: Any, name: str, now: datetime) -> list[str]:  # noqa: ARG001
    if isinstance(value, pd.DataFrame):
        if "id" not in value.columns:
            raise ArgumentError(f"{name} is a frame without a column id; it has {', '.join(map(str, value.columns))}.")
        value = value["id"]
    ids = [value] if isinstance(value, str) else list(value)
    if not ids:
        raise ArgumentError(f"{name} is empty: pass at least one invocation id.")
    odd = next((each for each in ids if not isinstance(each, str)), None)
    if odd is not None:
        raise ArgumentError(f"{name} contains {odd!r}: pass only invocation ids (inv_…).")
    return ids


_CONVERTERS: dict[str, Callable[[Any, str, datetime], Any]] = {
    "text": _to_text,
    "number": _to_number,
    "percent": _to_percent,
    "flag": _to_flag,
    "duration": lambda value, name, _: to_timedelta(value, name=name),
    "time": lambda value, name, now: to_datetime(value, now=now, name=name),
    "time ahead": lambda value, name, now: to_datetime(value, now=now, ahead=True, name=name),
    "ids": _to_ids,
}


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.10g}s"
    if isinstance(value, list) and len(value) > _MANY:
        return {"count": len(value), "first": value[:_FEW]}
    return value


def _parse_text(kind: str, name: str, text: str) -> Any:
    if text == "none":
        return None
    if kind == "number":
        if not re.fullmatch(r"\d[\d_]*", text):
            raise ArgumentError(f"{name} is {text!r}: use a whole number, or none.")
        return int(text)
    if kind == "percent":
        if not re.fullmatch(r"\d+(\.\d+)?", text):
            raise ArgumentError(f"{name} is {text!r}: use a percentage from 0 to 100, such as 99.9.")
        return float(text)
    if kind == "flag":
        if text.lower() not in _FLAGS:
            raise ArgumentError(f"{name} is {text!r}: use yes or no.")
        return _FLAGS[text.lower()]
    if kind == "ids":
        return [each for each in re.split(r"[\s,]+", text) if each]
    return text
