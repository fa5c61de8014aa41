"""The values of a question's parameters from texts, as they are typed in a terminal or behind a magic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from restate_lab.analysis.question_files import Parameter, read
from restate_lab.errors import ArgumentError

__all__ = ["from_texts", "parameters_of"]

_FLAGS = {"yes": True, "true": True, "no": False, "false": False}


def parameters_of(name: str) -> tuple[Parameter, ...]:
    """Return the parameters of a question in its own order; nothing where there is no such question."""
    question = read(name)
    return question.variants[0].parameters if question else ()


def from_texts(name: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``ask(source, name, …)`` takes: numbers, yes or no, and lists of ids (with commas between).

    ``none`` is None. Names that the question does not have stay as they are, for ``ask`` to refuse.

    Raises:
        ArgumentError: a text is no number, or neither yes nor no.
    """
    kinds = {parameter.name: parameter.kind for parameter in parameters_of(name)}
    return {key: _value(kinds.get(key, "text"), key, text) for key, text in texts.items()}


def _value(kind: str, name: str, text: str) -> Any:
    if text == "none":
        return None
    if kind == "number":
        if not re.fullmatch(r"\d[\d_]*", text):
            raise ArgumentError(f"{name} is {text!r}: give a whole number, or none.")
        return int(text)
    if kind == "flag":
        if text.lower() not in _FLAGS:
            raise ArgumentError(f"{name} is {text!r}: give yes or no.")
        return _FLAGS[text.lower()]
    if kind == "ids":
        return [each for each in re.split(r"[\s,]+", text) if each]
    return text
