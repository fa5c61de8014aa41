"""Read an object as the response of a model, by the tables of ``shapes.py``.

Text and arguments are read in a second step, because numbers over thousands of runs do not need them. A shape that is
recognized by its text has it from the first step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from restate_lab.analysis.agents.model import ModelStep, ToolCall, parse_arguments, record
from restate_lab.analysis.agents.parts import PartRole, parts_at, sort_parts, text_of
from restate_lab.analysis.agents.paths import Paths
from restate_lab.analysis.agents.requests import request_of, results_in
from restate_lab.analysis.agents.shapes import SHAPES, Shape
from restate_lab.analysis.agents.tokens import read_tokens

_Object: TypeAlias = Mapping[str, Any]
_CONTENT = ("text", "tool_calls", "reasoning", "refusal")


def read_known_shape(value: _Object, *, has_text: bool = True) -> ModelStep | None:
    """Return the response of a model in an object; None for an object of another shape.

    Without ``has_text`` it can lack its text and the messages of its request, and arguments of calls are not parsed.
    """
    for key, shape in _BY_KEY:
        if key in value and shape.keys <= value.keys():
            inner = shape.root(value) if shape.root else value
            if _is_known(shape, inner) and (step := _read(shape, inner, has_text=has_text)) is not None:
                return step
    return None


def _is_known(shape: Shape, value: _Object) -> bool:
    for read, wanted in shape.known:
        found = read(value)
        if not isinstance(found, wanted.types) and found not in wanted.texts:
            return False
    return True


def _read(shape: Shape, value: _Object, *, has_text: bool) -> ModelStep | None:
    tokens = shape.usage_at(value) if shape.usage_at else value
    fields: dict[str, Any] = {
        "framework": shape.framework,
        "provider": shape.provider,
        "model": shape.model(value),
        "model_asked": shape.model_asked(value),
        "response_id": shape.response_id(value),
        "finish": shape.finish(value),
        "tool_calls": _calls(shape, value),
        **(read_tokens(shape.usage, record(tokens)) if shape.usage else {}),
    }
    if has_text or shape.needs_content:
        fields |= _text(shape, value, fields["finish"])
    if shape.needs_content and not any(fields[name] for name in _CONTENT) and not _is_paid(fields):
        return None
    if has_text:
        fields |= _request(shape, value, fields["tool_calls"])
    return ModelStep(**fields)


def _is_paid(fields: Mapping[str, Any]) -> bool:
    """Return whether a response without content has a model, an id and tokens, which a provider then charged for."""
    has_tokens = fields.get("input_tokens") is not None or fields.get("output_tokens") is not None
    return has_tokens and bool(fields["model"] and fields["response_id"])


def _text(shape: Shape, value: _Object, finish: str | None) -> dict[str, Any]:
    parts = sort_parts(value, shape.parts)
    refusal = shape.refusal(value) or text_of(parts, PartRole.REFUSAL)
    return {
        "text": shape.text(value) or text_of(parts, PartRole.TEXT),
        "reasoning": shape.reasoning(value) or text_of(parts, PartRole.REASONING),
        "refusal": refusal or (shape.reason(value) or finish if finish in shape.refused else None),
    }


def _request(shape: Shape, value: _Object, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """Return the messages of the request, the parsed arguments of calls, and their results, as far as it has them."""
    fields: dict[str, Any] = {}
    body = record(record(value, "request"), "body")
    if body:
        fields["prompt"], fields["results"] = request_of(body)
    if calls:
        fields["tool_calls"] = tuple([each._replace(arguments=parse_arguments(each.arguments)) for each in calls])
        own = results_in(shape.results(value))
        fields["results"] = (*fields.get("results", ()), *own)
    return fields


def _calls(shape: Shape, value: _Object) -> tuple[ToolCall, ...]:
    """Return the tool calls next to the parts; without them, those in the parts."""
    return (_calls_at(value, shape.calls) if shape.calls else ()) or _calls_at(value, shape.parts)


def _calls_at(value: _Object, places: Paths) -> tuple[ToolCall, ...]:
    calls = [
        ToolCall(part.id(each), part.name(each) or "", part.arguments(each))
        for part, each in parts_at(value, places)
        if part.role is PartRole.CALL
    ]
    return tuple(calls)


_BY_KEY = tuple((next(iter(shape.keys)), shape) for shape in SHAPES)
"""One of the fields that each shape has, to pass over most shapes at once."""
