"""Read later texts in a journal: requests with earlier messages, sessions, and other payloads that repeat results.

A tool call and its result share an id there, which no entry of the journal has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from restate_lab.analysis.agents.model import ToolResult, first_text, join_texts, objects, record, walk
from restate_lab.analysis.journal.entries import text_or_none

_Object = Mapping[str, Any]
_RESULTS = (
    ("type", "function_call_output", "call_id", "output"),  # OpenAI's Responses API, and the session of OpenAI Agents
    ("type", "custom_tool_call_output", "call_id", "output"),
    ("type", "mcp_call", "id", "output"),  # a tool that OpenAI's Responses API called: in the response itself
    ("role", "tool", "tool_call_id", "content"),  # OpenAI's chat API, Mistral, Cohere
    ("type", "tool", "tool_call_id", "content"),  # the messages of LangChain
    ("type", "tool_result", "tool_use_id", "content"),  # Anthropic
)
"""The field of a result and its value, the field with the id of the call, and the field with the content."""
_EXECUTED = "_tool_result"  # the end of the type of a result of Anthropic's own tools, which is in the response itself
_AUTOGEN = frozenset({"ToolCallExecutionEvent", "FunctionExecutionResultMessage"})
_KEYS = (
    *(b"call_id", b"toolCallId", b"tool_use_id", b"toolUseId"),
    *(b"function_response", b"functionResponse", b"tool_call_result", b"mcp_call"),
)
"""The names by which a payload can have results: each form of a result has at least one name of this list."""
_PROMPTS = frozenset({"system", "developer", "user"})


def request_of(body: _Object) -> tuple[tuple[tuple[str, str], ...], tuple[ToolResult, ...]]:
    """Return the messages for the model, as (role, text), and the results of tools in a request to a provider.

    Requests to OpenAI's APIs, Anthropic, Bedrock and Google are read.
    """
    asked = text_or_none(body.get("input"))
    messages = [*objects(body.get("input")), *objects(body.get("messages")), *objects(body.get("contents"))]
    prompt = [("user", asked)] if asked else []
    for each in messages:
        text = _text(each)
        if str(each.get("role", "user")) in _PROMPTS and text:
            prompt.append((str(each.get("role", "user")), text))
    instructions = _instructions(body)
    return (
        tuple([("system", instructions), *prompt] if instructions else prompt),
        tuple(results_in(messages)),
    )


def may_have_results(payload: bytes) -> bool:
    """Return whether a payload has a name that the results of tools have; ``results_in`` decides."""
    return any(key in payload for key in _KEYS)


def results_in(payload: Any) -> Iterator[ToolResult]:
    """Yield the results of tools anywhere in a payload, each with the id of its call."""
    for value in walk(payload):
        for id_, content in _results(value):
            text = text_or_none(id_)
            if text:
                yield ToolResult(text, content)


def _instructions(body: _Object) -> str | None:
    """Return the instructions that are not a message: a text, blocks of text, or an object with such parts."""
    values = [body.get(name) for name in ("instructions", "system", "systemInstruction", "system_instruction")]
    return first_text(*values, *(_text(value if isinstance(value, dict) else {"parts": value}) for value in values))


def _text(message: _Object) -> str | None:
    content = message.get("content", message.get("parts"))
    return text_or_none(content) or join_texts(part.get("text") for part in objects(content))


def _results(value: _Object) -> Iterator[tuple[Any, Any]]:
    """Yield the id of the call and the content of each result that an object is."""
    for field, kind, id_, content in _RESULTS:
        if value.get(field) == kind:
            yield value.get(id_), _content(value.get(content) if value.get(content) is not None else value.get("error"))
            return
    kind = text_or_none(value.get("type")) or ""
    if value.get("part_kind") == "tool-return":  # the history of Pydantic AI
        yield value.get("tool_call_id"), value.get("content")
    elif kind == "tool-result":  # the messages of Vercel AI
        output = value.get("output")
        yield value.get("toolCallId"), record(output).get("value", output)
    elif kind.endswith(_EXECUTED):
        yield value.get("tool_use_id"), _content(value.get("content"))
    elif kind in _AUTOGEN:
        yield from ((each.get("call_id"), each.get("content")) for each in objects(value.get("content")))
    else:
        yield from _results_by_field(value)


def _results_by_field(value: _Object) -> Iterator[tuple[Any, Any]]:
    """Yield the results that an object has in a field with their name."""
    for name in ("function_response", "functionResponse"):  # Google, and the session of ADK
        if isinstance(value.get(name), dict):
            yield value[name].get("id"), value[name].get("response")
    if isinstance(value.get("toolResult"), dict):  # Bedrock and Strands
        yield value["toolResult"].get("toolUseId"), _content(value["toolResult"].get("content"))
    if isinstance(value.get("tool_call_result"), dict):  # Haystack
        result = value["tool_call_result"]
        yield record(result, "origin").get("id"), _content(result.get("result"))


def _content(content: Any) -> Any:
    """Return the text of blocks of text, the value of a single block with JSON, and any other content unchanged."""
    blocks = objects(content)
    if not blocks or len(blocks) != len(content):
        return content
    if len(blocks) == 1 and "json" in blocks[0]:
        return blocks[0]["json"]
    texts = [text_or_none(block.get("text")) for block in blocks]
    return content if None in texts else join_texts(texts)
