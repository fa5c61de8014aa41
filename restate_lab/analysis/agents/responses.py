"""Read an object as the response of a model, by the tables of ``shapes.py``.

Text and arguments are read in a second step, because numbers over thousands of runs do not need them. A shape that is
recognized by its text has it from the first step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from restate_lab.analysis.agents.model import ModelStep, ToolCall, objects, parse_arguments, record
from restate_lab.analysis.agents.paths import Paths, first_at, name_at, text_at, values_at
from restate_lab.analysis.agents.requests import request_of, results_in
from restate_lab.analysis.agents.shapes import FIELDS, KINDS, SHAPES, Part, Role, Shape
from restate_lab.analysis.agents.tokens import read_tokens

_Object: TypeAlias = Mapping[str, Any]
_Sorted: TypeAlias = dict[Role, list[tuple[Part, _Object]]]
_CONTENT = ("text", "tool_calls", "reasoning", "refusal")


def read_known_shape(value: _Object, *, has_text: bool = True) -> ModelStep | None:
    """Return the response of a model in an object; None for an object of another shape.

    Without ``has_text`` it can lack its text and the messages of its request, and arguments of calls are not parsed.
    """
    keys = value.keys()
    for shape in SHAPES:
        if shape.keys <= keys and _is_known(shape, value):
            step = _read(shape, value, has_text=has_text)
            if step is not None:
                return step
    return None


def _is_known(shape: Shape, value: _Object) -> bool:
    for places, wanted in shape.known:
        found = first_at(value, places)
        if not any(isinstance(found, each) if isinstance(each, type) else found == each for each in wanted):
            return False
    return True


def _read(shape: Shape, value: _Object, *, has_text: bool) -> ModelStep | None:
    fields: dict[str, Any] = {
        "framework": shape.framework,
        "model": name_at(value, shape.model),
        "model_asked": name_at(value, shape.model_asked),
        "response_id": name_at(value, shape.response_id),
        "finish": name_at(value, shape.finish),
        "tool_calls": _calls(shape, value),
    }
    if shape.usage is not None:
        fields |= read_tokens(shape.usage, record(first_at(value, shape.usage_at)) if shape.usage_at else value)
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
    parts = _sorted(value, shape.parts)
    refusal = text_at(value, shape.refusal) or _text_of(parts, Role.REFUSAL)
    return {
        "text": text_at(value, shape.text) or _text_of(parts, Role.TEXT),
        "reasoning": text_at(value, shape.reasoning) or _text_of(parts, Role.REASONING),
        "refusal": refusal or (text_at(value, shape.reason) or finish if finish in shape.refused else None),
    }


def _request(shape: Shape, value: _Object, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """Return the messages of the request, the parsed arguments of calls, and their results, as far as it has them."""
    fields: dict[str, Any] = {}
    body = record(record(value, "request"), "body")
    if body:
        fields["prompt"], fields["results"] = request_of(body)
    if calls:
        fields["tool_calls"] = tuple([each._replace(arguments=parse_arguments(each.arguments)) for each in calls])
        own = results_in(first_at(value, shape.results)) if shape.results else ()
        fields["results"] = (*fields.get("results", ()), *own)
    return fields


def _calls(shape: Shape, value: _Object) -> tuple[ToolCall, ...]:
    """Return the tool calls next to the parts; without them, those in the parts."""
    calls = tuple(_calls_at(value, shape.calls))
    return calls or tuple(_calls_at(value, shape.parts))


def _calls_at(value: _Object, places: Paths) -> Iterator[ToolCall]:
    for part, each in _parts_at(value, places):
        if part.role is Role.CALL:
            yield ToolCall(name_at(each, part.id), name_at(each, part.name) or "", first_at(each, part.arguments))


def _sorted(value: _Object, places: Paths) -> _Sorted:
    parts: _Sorted = {}
    for part, each in _parts_at(value, places):
        parts.setdefault(Role.REASONING if each.get("thought") else part.role, []).append((part, each))
    return parts


def _text_of(parts: _Sorted, role: Role) -> str | None:
    return "\n".join(filter(None, (text_at(each, part.text) for part, each in parts.get(role, ())))) or None


def _parts_at(value: _Object, places: Paths) -> Iterator[tuple[Part, _Object]]:
    """Yield the parts in the lists at all these places, also those within a part, each with how it is read."""
    for path in places:
        for found in values_at(value, path):
            if isinstance(found, str):
                yield KINDS["text"], {"text": found}
            else:
                yield from _parts_of(objects(found))


def _parts_of(parts: Iterable[_Object]) -> Iterator[tuple[Part, _Object]]:
    for each in parts:
        part = _part_of(each)
        if part is None:
            continue
        if part.role is Role.PARTS:
            yield from _parts_of(objects(first_at(each, part.text)))
        else:
            yield part, each


def _part_of(part: _Object) -> Part | None:
    kind = part.get("type") or part.get("part_kind")
    if isinstance(kind, str):
        return KINDS.get(kind)
    return next((known for name, known in FIELDS.items() if part.get(name) is not None), None)
