"""Recognize the response of a model by the shape of a payload; names of steps are not used.

The shapes are those that the integrations of Restate write, and the responses of providers as they are. Each function
reads one shape and returns None for another payload. Only the listed fields are read: headers of a provider, encrypted
reasoning and signatures are not.

Text and arguments are read in a second step, because numbers over thousands of runs do not need them. A shape that is
recognized by its text has it from the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from restate_lab.analysis.agents.model import (
    ModelStep,
    ToolCall,
    count,
    first_text,
    join_texts,
    objects,
    parse_arguments,
    record,
    total,
)
from restate_lab.analysis.agents.requests import request_of
from restate_lab.analysis.journal.entries import text_or_none

_Object: TypeAlias = Mapping[str, Any]
_Tokens: TypeAlias = Mapping[str, Any]
_TEXT_KINDS = ("text", "output_text")


def read_known_shape(value: _Object) -> ModelStep | None:
    """Return the response of a model in an object, which can lack its text; None for an object of another shape.

    The arguments of tool calls are not parsed yet.
    """
    for name, shape in _SHAPES:
        if name in value and (step := shape(value)) is not None:
            return step
    return None


def with_text(step: ModelStep, value: _Object) -> ModelStep:
    """Return the response with its text and parsed arguments, and with the messages of a request that the object has.

    ``value`` is the object that ``read_known_shape`` read.
    """
    read_text, body = _TEXTS.get(step.framework), record(record(value, "request"), "body")
    fields: dict[str, Any] = read_text(value) if read_text else {}
    if step.tool_calls:
        calls = [each._replace(arguments=parse_arguments(each.arguments)) for each in step.tool_calls]
        fields["tool_calls"] = tuple(calls)
    if body:
        fields["prompt"], fields["results"] = request_of(body)
    return step._replace(**fields) if fields else step


def _vercel(value: _Object) -> ModelStep | None:
    """Read a step of Vercel AI (``ai`` 5 and 7)."""
    finish = value.get("finishReason")
    if not isinstance(value.get("content"), list) or not isinstance(finish, str | dict):
        return None
    response = record(value, "response")
    return ModelStep(
        "Vercel AI",
        **_vercel_tokens(record(value, "usage")),
        tool_calls=_calls(objects(value["content"]), "tool-call", "toolCallId", "toolName", "input"),
        model=text_or_none(response.get("modelId")),
        model_asked=text_or_none(record(record(value, "request"), "body").get("model")),
        response_id=text_or_none(response.get("id")),
        finish=first_text(finish, record(finish).get("unified"), record(finish).get("raw")),
    )


def _vercel_text(value: _Object) -> dict[str, Any]:
    """Return the text of a step of Vercel AI, which reports a refusal as plain text."""
    parts, body = objects(value["content"]), record(record(value, "response"), "body")
    return {
        "text": _texts(parts, "type", "text"),
        "reasoning": _texts(parts, "type", "reasoning"),
        "refusal": _refusal_of_items(objects(body.get("output")))
        or join_texts(record(each, "message").get("refusal") for each in objects(body.get("choices"))),
    }


def _vercel_tokens(usage: _Object) -> _Tokens:
    into, out = usage.get("inputTokens"), usage.get("outputTokens")
    if isinstance(into, dict) or isinstance(out, dict):
        into, out = record(into), record(out)
        return _tokens(into.get("total"), into.get("cacheRead"), out.get("total"), out.get("reasoning"))
    return _tokens(into, usage.get("cachedInputTokens"), out, usage.get("reasoningTokens"))


def _openai_agents(value: _Object) -> ModelStep | None:
    """Read a step of OpenAI Agents; it has the model only if it used the chat API, and then the asked one."""
    if not isinstance(value.get("output"), list) or not {"usage", "response_id"} <= value.keys():
        return None
    items = objects(value["output"])
    provider = next((record(each, "provider_data") for each in items if "provider_data" in each), {})
    return ModelStep(
        "OpenAI Agents",
        **_responses_tokens(record(value, "usage")),
        tool_calls=_item_calls(items),
        model_asked=text_or_none(record(provider).get("model")),
        response_id=first_text(value["response_id"], record(provider).get("response_id")),
    )


def _items_text(value: _Object) -> dict[str, Any]:
    items = objects(value["output"])
    parts = [part for item in items if item.get("type") == "message" for part in objects(item.get("content"))]
    thoughts = [part for item in items if item.get("type") == "reasoning" for part in objects(item.get("summary"))]
    return {
        "text": _texts(parts, "type", *_TEXT_KINDS),
        "reasoning": join_texts(part.get("text") for part in thoughts),
        "refusal": _refusal_of_items(items),
    }


def _item_calls(items: Sequence[_Object]) -> tuple[ToolCall, ...]:
    return _calls(items, "function_call", "call_id", "name", "arguments")


def _refusal_of_items(items: Sequence[_Object]) -> str | None:
    parts = [part for item in items for part in objects(item.get("content")) if part.get("type") == "refusal"]
    return join_texts(part.get("refusal") for part in parts)


def _pydantic(value: _Object) -> ModelStep | None:
    if value.get("kind") != "response" or not isinstance(value.get("parts"), list):
        return None
    usage = record(value, "usage")
    reasoning = usage.get("output_reasoning_tokens", record(usage, "details").get("reasoning_tokens"))
    return ModelStep(
        "Pydantic AI",
        **_tokens(usage.get("input_tokens"), usage.get("cache_read_tokens"), usage.get("output_tokens"), reasoning),
        tool_calls=_calls(objects(value["parts"]), "tool-call", "tool_call_id", "tool_name", "args", kind="part_kind"),
        model=text_or_none(value.get("model_name")),
        response_id=text_or_none(value.get("provider_response_id")),
        finish=text_or_none(value.get("finish_reason")),
    )


def _pydantic_text(value: _Object) -> dict[str, Any]:
    parts = objects(value["parts"])
    return {
        "text": _texts(parts, "part_kind", "text", field="content"),
        "reasoning": _texts(parts, "part_kind", "thinking", field="content"),
        "refusal": text_or_none(record(value, "provider_details").get("refusal")),
    }


def _langchain(value: _Object) -> ModelStep | None:
    message = record(next(iter(objects(value.get("result"))), None))
    if message.get("type") != "ai" or "content" not in message:
        return None
    data, usage = record(message, "response_metadata"), record(message, "usage_metadata")
    calls = [*objects(message.get("tool_calls")), *objects(message.get("invalid_tool_calls"))]
    return ModelStep(
        "LangChain",
        **_tokens(
            usage.get("input_tokens"),
            record(usage, "input_token_details").get("cache_read"),
            usage.get("output_tokens"),
            record(usage, "output_token_details").get("reasoning"),
        ),
        tool_calls=tuple([_call_of(each, "id", "name", "args") for each in calls]),
        model=text_or_none(data.get("model_name")),
        response_id=text_or_none(data.get("id")),
        finish=first_text(data.get("finish_reason"), data.get("status")),
    )


def _langchain_text(value: _Object) -> dict[str, Any]:
    message = objects(value["result"])[0]
    blocks = objects(message["content"])
    summaries = [part for each in blocks if each.get("type") == "reasoning" for part in objects(each.get("summary"))]
    return {
        "text": text_or_none(message["content"]) or _texts(blocks, "type", *_TEXT_KINDS),
        "reasoning": join_texts(each.get("text") for each in summaries),
        "refusal": text_or_none(record(message, "additional_kwargs").get("refusal")) or _refusal_block(blocks),
    }


def _refusal_block(blocks: Sequence[_Object]) -> str | None:
    return join_texts(each.get("refusal") for each in blocks if each.get("type") == "refusal")


def _adk(value: _Object) -> ModelStep | None:
    """Read a step of Google's ADK, whose output tokens do not include the reasoning ones."""
    if not {"content", "usage_metadata", "finish_reason"} <= value.keys():
        return None
    if value["content"] is not None and not isinstance(value["content"], dict):
        return None
    parts, usage = objects(record(value, "content").get("parts")), record(value, "usage_metadata")
    calls = [record(part, "function_call") for part in parts if isinstance(part.get("function_call"), dict)]
    thoughts = usage.get("thoughts_token_count")
    is_zero = "thoughts_token_count" in usage and thoughts is None  # null is 0; without the field it is unknown
    output = total(usage.get("candidates_token_count"), 0 if is_zero else thoughts)
    return ModelStep(
        "ADK",
        **_tokens(usage.get("prompt_token_count"), usage.get("cached_content_token_count"), output, thoughts),
        tool_calls=tuple([_call_of(each, "id", "name", "args") for each in calls]),
        model=text_or_none(value.get("model_version")),
        finish=text_or_none(value["finish_reason"]),
    )


def _adk_text(value: _Object) -> dict[str, Any]:
    parts, finish = objects(record(value, "content").get("parts")), value["finish_reason"]
    return {
        "text": join_texts(part.get("text") for part in parts if not part.get("thought")),
        "reasoning": join_texts(part.get("text") for part in parts if part.get("thought")),
        "refusal": first_text(value.get("error_message"), finish) if finish == "SAFETY" else None,
    }


def _chat_completion(value: _Object) -> ModelStep | None:
    """Read a whole response of OpenAI's chat API."""
    choices = objects(value.get("choices"))
    is_chat = value.get("object") == "chat.completion" or isinstance(value.get("usage"), dict)
    if not is_chat or len(choices) != 1 or not isinstance(choices[0].get("message"), dict):
        return None
    usage, fields = record(value, "usage"), _message_fields(choices[0]["message"])
    if not _has_content(fields):
        return None
    return ModelStep(
        "chat completion",
        **_tokens(
            usage.get("prompt_tokens"),
            record(usage, "prompt_tokens_details").get("cached_tokens"),
            usage.get("completion_tokens"),
            record(usage, "completion_tokens_details").get("reasoning_tokens"),
        ),
        **fields,
        model=text_or_none(value.get("model")),
        response_id=text_or_none(value.get("id")),
        finish=text_or_none(choices[0].get("finish_reason")),
    )


def _response(value: _Object) -> ModelStep | None:
    """Read a whole response of OpenAI's Responses API."""
    if value.get("object") != "response" or not isinstance(value.get("output"), list):
        return None
    fields = {**_items_text(value), "tool_calls": _item_calls(objects(value["output"]))}
    if not _has_content(fields):
        return None
    return ModelStep(
        "response",
        **_responses_tokens(record(value, "usage")),
        **fields,
        model=text_or_none(value.get("model")),
        response_id=text_or_none(value.get("id")),
        finish=text_or_none(value.get("status")),
    )


def _message(value: _Object) -> ModelStep | None:
    """Read a message without its response: it has no model and no tokens."""
    if value.get("role") != "assistant" or "content" not in value:
        return None
    fields = _message_fields(value)
    return ModelStep("message", **fields) if _has_content(fields) else None


def _message_fields(message: _Object) -> dict[str, Any]:
    blocks = objects(message.get("content"))
    functions = [{**record(each, "function"), "id": each.get("id")} for each in objects(message.get("tool_calls"))]
    calls = tuple(_call_of(each, "id", "name", "arguments") for each in functions)
    return {
        "text": text_or_none(message.get("content")) or _texts(blocks, "type", *_TEXT_KINDS),
        "reasoning": text_or_none(message.get("reasoning_content")),
        "tool_calls": calls + _calls(blocks, "tool_use", "id", "name", "input"),
        "refusal": text_or_none(message.get("refusal")) or _refusal_block(blocks),
    }


def _has_content(fields: Mapping[str, Any]) -> bool:
    return any(fields[name] for name in ("text", "reasoning", "tool_calls", "refusal"))


def _responses_tokens(usage: _Object) -> _Tokens:
    return _tokens(
        usage.get("input_tokens"),
        record(usage, "input_tokens_details").get("cached_tokens"),
        usage.get("output_tokens"),
        record(usage, "output_tokens_details").get("reasoning_tokens"),
    )


def _tokens(into: Any, cached: Any, out: Any, reasoning: Any) -> _Tokens:
    """Return numbers of tokens; a part that is more than its whole is unknown, and so is the whole."""
    into, cached = _whole_and_part(into, cached)
    out, reasoning = _whole_and_part(out, reasoning)
    return {"input_tokens": into, "cached_tokens": cached, "output_tokens": out, "reasoning_tokens": reasoning}


def _whole_and_part(whole: Any, part: Any) -> tuple[int | None, int | None]:
    whole, part = count(whole), count(part)
    return (None, None) if whole is not None and part is not None and part > whole else (whole, part)


def _texts(parts: Sequence[_Object], kind: str, *kinds: str, field: str = "text") -> str | None:
    return join_texts(part.get(field) for part in parts if part.get(kind) in kinds)


def _calls(
    parts: Sequence[_Object], wanted: str, id_: str, name: str, arguments: str, *, kind: str = "type"
) -> tuple[ToolCall, ...]:
    return tuple([_call_of(part, id_, name, arguments) for part in parts if part.get(kind) == wanted])


def _call_of(part: _Object, id_: str, name: str, arguments: str) -> ToolCall:
    return ToolCall(text_or_none(part.get(id_)), text_or_none(part.get(name)) or "", part.get(arguments))


_SHAPES: tuple[tuple[str, Callable[[_Object], ModelStep | None]], ...] = (
    ("finishReason", _vercel),
    ("response_id", _openai_agents),
    ("kind", _pydantic),
    ("result", _langchain),
    ("usage_metadata", _adk),
    ("choices", _chat_completion),
    ("object", _response),
    ("role", _message),
)
"""A field that every object of a shape has, and the function of the shape, in the order in which they are tried."""

_TEXTS: Mapping[str, Callable[[_Object], dict[str, Any]]] = MappingProxyType(
    {
        "Vercel AI": _vercel_text,
        "OpenAI Agents": _items_text,
        "Pydantic AI": _pydantic_text,
        "LangChain": _langchain_text,
        "ADK": _adk_text,
    }
)
"""The framework of a response → the function that reads its text, unless its shape already did."""

SIGNATURES: tuple[tuple[str, ...], ...] = (
    ("finishReason", "content"),
    ("response_id", "usage", "output"),
    ("kind", "response", "parts"),
    ("result", "type", "ai", "content"),
    ("usage_metadata", "finish_reason", "content"),
    ("choices", "message", "usage"),
    ("choices", "message", "chat.completion"),
    ("object", "response", "output"),
    ("role", "assistant", "content"),
)
"""JSON strings that a payload of each shape has, in the order of the shapes; a server can search for them."""
