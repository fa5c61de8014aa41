"""The shapes of payloads with the response of a model, as tables: those of frameworks, and of providers as they are.

A shape is known by its fields and their values, and never by the name of a step. ``responses.py`` reads an object by
such a table. Only the listed fields are read: headers of a provider, encrypted reasoning and signatures are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from restate_lab.analysis.agents.paths import (
    Paths,
    Read,
    any_value,
    long_text,
    name,
    no_value,
    number,
    number_or_null,
    paths,
)
from restate_lab.analysis.agents.tokens import Parts, Usage


class Wanted(NamedTuple):
    """The types and the texts that a value can have."""

    types: tuple[type, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """How an object is known as the response of a model, and where its values are.

    ``keys`` are fields that every such object has. ``known`` are places, each with the types and the texts that the
    value there can have. ``signature`` has JSON strings that each payload has, for a search on the server. All other
    places are below ``root``. ``usage_at`` is the object with the tokens. ``parts`` are lists of parts, or a text, and
    ``calls`` lists of tool calls next to them. The text of ``text``, ``reasoning`` and ``refusal`` comes before the
    text in parts.
    A finish in ``refused`` is a refusal, with its text at ``reason``. ``results`` has the results of tools that were
    executed within the response.

    ``provider`` is the id of the provider in the package with the prices, if the name of a model alone has no price.

    With ``needs_content``, an object is a response only if it has a text or a call, or else a model, tokens and an id.
    """

    framework: str
    keys: frozenset[str]
    known: tuple[tuple[Read, Wanted], ...]
    signature: tuple[str, ...]
    root: Read | None = None
    usage: Usage | None = None
    usage_at: Read | None = None
    parts: Paths = ()
    calls: Paths = ()
    text: Read = no_value
    reasoning: Read = no_value
    refusal: Read = no_value
    reason: Read = no_value
    refused: frozenset[str] = frozenset()
    model: Read = no_value
    model_asked: Read = no_value
    response_id: Read = no_value
    finish: Read = no_value
    results: Read = no_value
    needs_content: bool = False
    provider: str | None = None


def _wanted(values: tuple[Any, ...]) -> Wanted:
    types = tuple(each for each in values if isinstance(each, type))
    return Wanted(types, tuple(each for each in values if isinstance(each, str)))


_READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("root", "usage_at", "results"), any_value),
    **dict.fromkeys(("parts", "calls"), paths),
    **dict.fromkeys(("text", "reasoning", "refusal", "reason"), long_text),
    **dict.fromkeys(("model", "model_asked", "response_id", "finish"), name),
}
"""The fields of a shape with the functions that make them of a text with paths."""


def _shape(
    framework: str,
    *,
    keys: str,
    known: Mapping[str, tuple[Any, ...]],
    signature: str,
    usage: Usage | None = None,
    refused: str = "",
    needs_content: bool = False,
    provider: str | None = None,
    **places: str,
) -> Shape:
    """Return the shape with these paths."""
    return Shape(
        framework=framework,
        keys=frozenset(keys.split()),
        known=tuple((any_value(place), _wanted(values)) for place, values in known.items()),
        signature=tuple(signature.split()),
        usage=usage,
        refused=frozenset(refused.split()),
        needs_content=needs_content,
        provider=provider,
        **{field: read(places[field]) for field, read in _READERS.items() if field in places},
    )


_ASSISTANT = ("assistant",)
_ANTHROPIC_USAGE = Usage(
    input=number("input_tokens"),
    input_beside=(
        number_or_null("cache_read_input_tokens"),
        number_or_null("cache_creation_input_tokens"),
    ),
    cached=number("cache_read_input_tokens"),
    written=number("cache_creation_input_tokens"),
    written_1h=number("cache_creation.ephemeral_1h_input_tokens"),
    output=number("output_tokens"),
    reasoning=number("output_tokens_details.thinking_tokens"),
    absent_without="cache",  # an old version of the API has no field for it
    uncounted=("iterations", "compaction"),
)
_RESPONSES_USAGE = Usage(
    input=number("input_tokens"),
    cached=number("input_tokens_details.cached_tokens"),
    output=number("output_tokens"),
    reasoning=number("output_tokens_details.reasoning_tokens"),
)
_LANGCHAIN_USAGE = Usage(
    input=number("input_tokens"),
    cached=number("input_token_details.cache_read"),
    written=number("input_token_details.cache_creation"),
    written_1h=number("input_token_details.ephemeral_1h_input_tokens"),
    output=number("output_tokens"),
    reasoning=number("output_token_details.reasoning"),
)
_VERCEL_USAGE = Usage(  # three versions
    input=number("inputTokens.total | inputTokens"),
    cached=number("inputTokens.cacheRead | inputTokenDetails.cacheReadTokens | cachedInputTokens"),
    written=number("inputTokens.cacheWrite | inputTokenDetails.cacheWriteTokens"),
    output=number("outputTokens.total | outputTokens"),
    reasoning=number("outputTokens.reasoning | outputTokenDetails.reasoningTokens | reasoningTokens"),
)
_CHAT_USAGE = Usage(
    input=number("prompt_tokens"),
    cached=number("prompt_cache_hit_tokens | prompt_tokens_details.cached_tokens"),
    written=number("cache_creation_input_tokens"),
    output=number("completion_tokens"),
    output_beside=(number_or_null("completion_tokens_details.reasoning_tokens"),),
    reasoning=number("completion_tokens_details.reasoning_tokens"),
    total=number("total_tokens"),
    parts=Parts.BY_TOTAL,
)
_GEMINI_USAGE = Usage(
    input=number("prompt_token_count | promptTokenCount"),
    input_beside=(number_or_null("tool_use_prompt_token_count | toolUsePromptTokenCount"),),
    cached=number("cached_content_token_count | cachedContentTokenCount"),
    output=number("candidates_token_count | candidatesTokenCount"),
    output_beside=(number_or_null("thoughts_token_count | thoughtsTokenCount"),),
    reasoning=number("thoughts_token_count | thoughtsTokenCount"),
    total=number("total_token_count | totalTokenCount"),
)
_BEDROCK_USAGE = Usage(
    input=number("inputTokens"),
    input_beside=(
        number_or_null("cacheReadInputTokens"),
        number_or_null("cacheWriteInputTokens"),
    ),
    cached=number("cacheReadInputTokens"),
    written=number("cacheWriteInputTokens"),
    output=number("outputTokens"),
    total=number("totalTokens"),
)
_GEMINI_REFUSALS = "SAFETY PROHIBITED_CONTENT BLOCKLIST RECITATION SPII IMAGE_SAFETY MODEL_ARMOR"
_VERCEL_FINISHES = ("stop", "length", "content-filter", "tool-calls", "error", "other", "unknown")
_LANGCHAIN: Mapping[str, Any] = {
    "known": {"type": ("ai",), "content": (str, list)},
    "usage": _LANGCHAIN_USAGE,
    "usage_at": "usage_metadata",
    "parts": "content",
    "calls": "tool_calls | invalid_tool_calls",
    "refusal": "additional_kwargs.refusal",
    "model": "response_metadata.model_name",
    "response_id": "response_metadata.id",
    "finish": "response_metadata.finish_reason | response_metadata.stop_reason | response_metadata.stopReason"
    " | response_metadata.status",
}
_CHAT: Mapping[str, Any] = {
    "known": {"choices.0.message": (dict,), "object | usage": ("chat.completion", dict)},
    "signature": "choices message",
    "usage": _CHAT_USAGE,
    "usage_at": "usage",
    "parts": "choices.0.message.content",
    "calls": "choices.0.message.tool_calls",
    "reasoning": "choices.0.message.reasoning_content | choices.0.message.reasoning",
    "refusal": "choices.0.message.refusal",
    "model": "model",
    "response_id": "id",
    "finish": "choices.0.finish_reason",
    "needs_content": True,
}
_GEMINI: Mapping[str, Any] = {
    "usage": _GEMINI_USAGE,
    "parts": "candidates.0.content.parts",
    "refusal": "promptFeedback.blockReasonMessage | promptFeedback.blockReason"
    " | prompt_feedback.block_reason_message | prompt_feedback.block_reason",
    "reason": "candidates.0.finishMessage | candidates.0.finish_message",
    "refused": _GEMINI_REFUSALS,
    "model": "modelVersion | model_version",
    "response_id": "responseId | response_id",
    "finish": "candidates.0.finishReason | candidates.0.finish_reason",
}

SHAPES: tuple[Shape, ...] = (
    _shape(
        "Vercel AI",
        keys="finishReason content",
        known={"finishReason": (str, dict), "content": (list,)},
        signature="finishReason content",
        usage=_VERCEL_USAGE,
        usage_at="usage",
        parts="content",
        refusal="response.body.output.*.content.*.refusal | response.body.choices.*.message.refusal",
        model="response.modelId | response.body.modelVersion",
        model_asked="request.body.model | model.modelId",
        response_id="response.id",
        finish="finishReason | finishReason.unified | finishReason.raw",
        results="content",
    ),
    _shape(
        "Vercel AI",  # what Restate's template for TypeScript keeps of the result of generateText
        keys="finishReason text toolCalls",
        known={"finishReason": _VERCEL_FINISHES, "text": (str,), "toolCalls": (list,)},
        signature="finishReason text toolCalls",
        usage=_VERCEL_USAGE,
        usage_at="totalUsage | usage",
        parts="messages.*.content",
        calls="toolCalls",
        text="text",
        model="response.modelId | response.body.modelVersion",
        response_id="response.id",
        finish="finishReason",
        results="messages",
        needs_content=True,
    ),
    _shape(
        "Vercel AI",  # the whole result of generateText, as JSON
        keys="steps totalUsage",
        known={"steps.-1.content": (list,), "totalUsage": (dict,)},
        signature="steps totalUsage",
        usage=_VERCEL_USAGE,
        usage_at="totalUsage",
        parts="steps.*.content",
        model="steps.-1.response.modelId | steps.-1.response.body.modelVersion",
        model_asked="steps.-1.request.body.model | steps.-1.model.modelId",
        response_id="steps.-1.response.id",
        finish="steps.-1.finishReason",
        results="steps",
    ),
    _shape(
        "OpenAI Agents",  # it has the model only if it used the chat API, and then the asked one
        keys="output usage response_id",
        known={"output": (list,)},
        signature="response_id usage output",
        usage=_RESPONSES_USAGE,
        usage_at="usage",
        parts="output",
        model_asked="output.*.provider_data.model",
        response_id="response_id | output.*.provider_data.response_id",
        results="output",
    ),
    _shape(
        "Pydantic AI",
        keys="kind parts",
        known={"kind": ("response",), "parts": (list,)},
        signature="kind response parts",
        usage=Usage(
            input=number("input_tokens"),
            cached=number("cache_read_tokens"),
            written=number("cache_write_tokens"),
            output=number("output_tokens"),
            reasoning=number("output_reasoning_tokens | details.reasoning_tokens"),
        ),
        usage_at="usage",
        parts="parts",
        refusal="provider_details.refusal",
        model="model_name",
        response_id="provider_response_id",
        finish="finish_reason",
    ),
    _shape("LangChain", keys="result", root="result.0", signature="type ai content", **_LANGCHAIN),
    _shape("LangChain", keys="type content response_metadata", signature="type ai content", **_LANGCHAIN),
    _shape(
        "ADK",
        keys="content usage_metadata finish_reason",
        known={"content": (dict, type(None))},
        signature="usage_metadata finish_reason content",
        usage=_GEMINI_USAGE,
        usage_at="usage_metadata",
        parts="content.parts",
        reason="error_message",
        refused=_GEMINI_REFUSALS,
        model="model_version",
        finish="finish_reason",
    ),
    _shape(
        "google-genai",
        keys="usageMetadata",
        known={"usageMetadata": (dict,), "candidates | promptFeedback": (list, dict)},
        signature="usageMetadata promptTokenCount",
        usage_at="usageMetadata",
        **_GEMINI,
    ),
    _shape(
        "google-genai",
        keys="usage_metadata candidates",
        known={"usage_metadata": (dict,), "candidates | prompt_feedback": (list, dict)},
        signature="usage_metadata candidates",
        usage_at="usage_metadata",
        **_GEMINI,
    ),
    # other providers that their field shows, for the price of their models
    _shape("chat completion", keys="choices x_groq", provider="groq", **_CHAT),
    _shape("chat completion", keys="choices provider", provider="openrouter", **_CHAT),
    _shape("chat completion", keys="choices", **_CHAT),
    _shape(
        "response",
        keys="object output",
        known={"object": ("response",), "output": (list,)},
        signature="object response output",
        usage=_RESPONSES_USAGE,
        usage_at="usage",
        parts="output",
        model="model",
        response_id="id",
        finish="incomplete_details.reason | status",
        results="output",
        needs_content=True,
    ),
    _shape(
        "Anthropic",
        keys="type role content usage",
        known={"type": ("message",), "role": _ASSISTANT, "content": (list,), "usage": (dict,)},
        signature="role assistant content",
        usage=_ANTHROPIC_USAGE,
        usage_at="usage",
        parts="content",
        reason="stop_details.explanation",
        refused="refusal",
        model="model",
        response_id="id",
        finish="stop_reason",
        results="content",
        needs_content=True,
    ),
    _shape(
        "Claude Agent SDK",
        keys="content model usage message_id",
        known={"content": (list,), "model": (str,), "usage": (dict,), "message_id": (str,)},
        signature="content model usage message_id",
        usage=_ANTHROPIC_USAGE,
        usage_at="usage",
        parts="content",
        refused="refusal",
        model="model",
        response_id="message_id",
        finish="stop_reason",
        needs_content=True,
    ),
    _shape(
        "Bedrock Converse",
        keys="output stopReason usage",
        known={"output.message.role": _ASSISTANT, "output.message.content": (list,), "usage": (dict,)},
        signature="role assistant content",
        usage=_BEDROCK_USAGE,
        usage_at="usage",
        parts="output.message.content",
        refused="guardrail_intervened content_filtered refusal",
        finish="stopReason",
    ),
    _shape(
        "Strands",  # the field names of Bedrock for all providers; whether cached tokens are beside is the provider's
        keys="role content metadata",
        known={"role": _ASSISTANT, "content": (list,), "metadata.usage": (dict,)},
        signature="role assistant content",
        usage=_BEDROCK_USAGE._replace(parts=Parts.BY_TOTAL),
        usage_at="metadata.usage",
        parts="content",
    ),
    _shape(
        "Restate agent",
        keys="type content inputTokens",
        known={"type": ("text",), "content": (str,), "inputTokens": (int,)},
        signature="type text content inputTokens",
        usage=Usage(input=number("inputTokens")),
        text="content",
    ),
    _shape(
        "Restate agent",
        keys="type message calls",
        known={"type": ("tool_calls",), "message.role": _ASSISTANT, "calls": (list,)},
        signature="role assistant content",
        usage=Usage(input=number("inputTokens")),
        parts="message.content",
        calls="calls",
        finish="type",
    ),
    _shape(
        "Restate agent",  # the response was longer than allowed: it was paid, and the agent discards it
        keys="type code inputTokens maxOutputTokens",
        known={"type": ("error",), "code": ("output_limit",), "inputTokens": (int,)},
        signature="code output_limit inputTokens",
        usage=Usage(input=number("inputTokens")),
        finish="code",
    ),
    _shape(
        "Cohere",
        keys="message usage finish_reason",
        known={"message.role": _ASSISTANT, "usage.tokens": (dict,)},
        signature="role assistant finish_reason billed_units",
        usage=Usage(
            input=number("tokens.input_tokens"), cached=number("cached_tokens"), output=number("tokens.output_tokens")
        ),
        usage_at="usage",
        parts="message.content",
        calls="message.tool_calls",
        reasoning="message.tool_plan",
        response_id="id",
        finish="finish_reason",
    ),
    _shape(
        "Ollama",
        keys="message model done",
        known={"message.role": _ASSISTANT, "model": (str,), "done": (bool,)},
        signature="role assistant content",
        usage=Usage(input=number("prompt_eval_count"), output=number("eval_count")),
        parts="message.content",
        calls="message.tool_calls",
        reasoning="message.thinking",
        model="model",
        finish="done_reason",
    ),
    _shape(
        "message",  # without its response: it has no model and no tokens
        keys="role content",
        known={"role": _ASSISTANT},
        signature="role assistant content",
        parts="content",
        calls="tool_calls",
        reasoning="reasoning_content | reasoning | thinking",
        refusal="refusal",
        needs_content=True,
    ),
)
"""The shapes in the order in which they are tried."""

SIGNATURES: tuple[tuple[str, ...], ...] = tuple(dict.fromkeys(each.signature for each in SHAPES))
"""JSON strings of which a payload of each shape has all of a line; a server can search for them."""
