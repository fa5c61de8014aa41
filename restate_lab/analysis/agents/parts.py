"""The parts of a response: texts, reasoning, refusals and tool calls, as providers and frameworks write them.

A part is known by its kind, or by one of its fields. The kinds of all providers are one table, because no two of them
give a kind another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from restate_lab.analysis.agents.model import objects
from restate_lab.analysis.agents.paths import Paths, Read, any_value, long_text, name, no_value, values_at

_Object: TypeAlias = Mapping[str, Any]


class PartRole(Enum):
    """What a part of a response is."""

    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    CALL = "call"
    PARTS = "parts"


class Part(NamedTuple):
    """The fields of a part: its text, or the parts within it, or the id, name and arguments of a tool call."""

    role: PartRole
    text: Read = no_value
    id: Read = no_value
    name: Read = no_value
    arguments: Read = no_value
    parts: Read = no_value


def _text(text: str, role: PartRole = PartRole.TEXT) -> Part:
    return Part(role, long_text(text))


def _call(id_: str, tool: str, arguments: str) -> Part:
    return Part(PartRole.CALL, id=name(id_), name=name(tool), arguments=any_value(arguments))


_FUNCTION = _call("id", "function.name", "function.arguments")
_CUSTOM = _call("id", "custom.name", "custom.input")

_KINDS: Mapping[str, Part] = MappingProxyType(
    {
        "text": _text("text | content"),
        "output_text": _text("text"),
        "reasoning": _text("text | summary | reasoning | content", PartRole.REASONING),
        "reasoning_content": _text("reasoning_content.text", PartRole.REASONING),
        "thinking": _text("thinking | content", PartRole.REASONING),
        "refusal": _text("refusal", PartRole.REFUSAL),
        "message": Part(PartRole.PARTS, parts=any_value("content")),
        "function": _FUNCTION,
        "custom": _CUSTOM,
        "function_call": _call("call_id", "name", "arguments"),
        "custom_tool_call": _call("call_id", "name", "input"),
        "tool-call": _call("toolCallId | tool_call_id", "toolName | tool_name", "input | args"),
        "tool_call": _call("id", "name", "args"),
        "invalid_tool_call": _call("id", "name", "args"),
        "tool_use": _call("id", "name", "input"),
        # the provider executes these, and their results are in the same response
        "server_tool_use": _call("id", "name", "input"),
        "mcp_call": _call("id", "name", "arguments"),
    }
)
"""The value of the field "type" or "part_kind" of a part → how it is read; other kinds are not."""

_FIELDS: Mapping[str, Part] = MappingProxyType(
    {
        "functionCall": _call("functionCall.id", "functionCall.name", "functionCall.args"),
        "function_call": _call("function_call.id", "function_call.name", "function_call.args"),
        "toolUse": _call("toolUse.toolUseId", "toolUse.name", "toolUse.input"),
        "reasoningContent": _text("reasoningContent.reasoningText.text", PartRole.REASONING),
        "function": _FUNCTION,
        "custom": _CUSTOM,
        "toolCallId": _call("toolCallId", "toolName", "input"),
        "thinking": _text("thinking", PartRole.REASONING),
        "text": _text("text"),
        "args": _call("id", "name", "args"),
        "input": _call("id", "name", "input"),
    }
)
"""A field of a part without a kind → how it is read, in the order in which the fields are looked for."""

SortedParts: TypeAlias = dict[PartRole, list[tuple[Part, _Object]]]


def sort_parts(value: _Object, places: Paths) -> SortedParts:
    """Return the parts at all these places, by role."""
    parts: SortedParts = {}
    for part, each in parts_at(value, places):
        parts.setdefault(PartRole.REASONING if each.get("thought") else part.role, []).append((part, each))
    return parts


def text_of(parts: SortedParts, role: PartRole) -> str | None:
    """Return the texts of the parts with this role, each on its own line; None without one."""
    return "\n".join(filter(None, (part.text(each) for part, each in parts.get(role, ())))) or None


def parts_at(value: _Object, places: Paths) -> list[tuple[Part, _Object]]:
    """Return the parts in the lists at all these places, also those within a part, each with how it is read."""
    parts: list[tuple[Part, _Object]] = []
    for path in places:
        for found in values_at(value, path):
            if isinstance(found, list):
                _add_parts(parts, objects(found))
            elif isinstance(found, str):
                parts.append((_KINDS["text"], {"text": found}))
    return parts


def _add_parts(parts: list[tuple[Part, _Object]], found: Sequence[_Object]) -> None:
    for each in found:
        part = _part_of(each)
        if part is not None and part.role is PartRole.PARTS:
            _add_parts(parts, objects(part.parts(each)))
        elif part is not None:
            parts.append((part, each))


def _part_of(part: _Object) -> Part | None:
    kind = part.get("type") or part.get("part_kind")
    if isinstance(kind, str):
        return _KINDS.get(kind)
    return next((known for field, known in _FIELDS.items() if part.get(field) is not None), None)
