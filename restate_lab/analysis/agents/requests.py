"""Read later texts in a journal: requests with earlier messages, sessions, and other payloads that repeat results.

A tool call and its result share an id there, which no entry of the journal has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from restate_lab.analysis.agents.model import ToolResult, join_texts, objects, record, walk
from restate_lab.analysis.journal.entries import text_or_none

_Object = Mapping[str, Any]
_RESULTS = (
    ("type", "function_call_output", "call_id", "output"),  # OpenAI's Responses API, and the session of OpenAI Agents
    ("role", "tool", "tool_call_id", "content"),  # OpenAI's chat API
    ("part_kind", "tool-return", "tool_call_id", "content"),  # the history of Pydantic AI
)
"""The field of a result and its value, the field with the id of the call, and the field with the content."""
_PROMPTS = frozenset({"system", "developer", "user"})


def request_of(body: _Object) -> tuple[tuple[tuple[str, str], ...], tuple[ToolResult, ...]]:
    """Return the messages for the model, as (role, text), and the results of tools in a request to OpenAI's APIs."""
    messages = [*objects(body.get("input")), *objects(body.get("messages"))]
    prompt = [
        (str(each["role"]), text) for each in messages if str(each.get("role")) in _PROMPTS and (text := _content(each))
    ]
    instructions = text_or_none(body.get("instructions"))
    return (
        tuple([("system", instructions), *prompt] if instructions else prompt),
        tuple(results_in(messages)),
    )


def results_in(payload: Any) -> Iterator[ToolResult]:
    """Yield the results of tools anywhere in a payload, each with the id of its call."""
    yield from filter(None, map(_result, walk(payload)))


def _content(message: _Object) -> str | None:
    content = message.get("content")
    return text_or_none(content) or join_texts(part.get("text") for part in objects(content))


def _result(value: _Object) -> ToolResult | None:
    for field, kind, id_, content in _RESULTS:
        if value.get(field) == kind:
            return _pair(value.get(id_), value.get(content))
    if value.get("type") == "tool-result":  # the messages of Vercel AI
        output = value.get("output")
        return _pair(value.get("toolCallId"), record(output).get("value", output))
    if isinstance(value.get("function_response"), dict):  # the session of ADK
        response = record(value, "function_response")
        return _pair(response.get("id"), response.get("response"))
    return None


def _pair(id_: Any, value: Any) -> ToolResult | None:
    text = text_or_none(id_)
    return ToolResult(text, value) if text else None
