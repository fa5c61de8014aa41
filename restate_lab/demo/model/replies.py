"""The replies of the scripted model, as data, and the JSON of OpenAI's two interfaces and of Gemini for them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

CHARACTERS_PER_TOKEN = 4
CACHE_BLOCK = 16  # tokens; only whole blocks of the input are cached
ENCRYPTED_REASONING = "canary-encrypted-reasoning"
EPOCH = 1_700_000_000  # seconds; the same response always has the same JSON


@dataclass(frozen=True)
class ScriptedCall:
    """A tool that the model requests. Arguments that are text are sent unchanged, also if they are not valid JSON."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)

    @property
    def arguments_json(self) -> str:
        """Return the arguments as the model sends them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))


@dataclass(frozen=True)
class Reply:
    """One response of the model.

    "{results}" in ``text`` becomes the results of the tools that the model requested before. ``errors`` has the HTTP
    statuses of the requests that fail first, for each invocation. ``is_cut`` means that the response reached the token
    limit. ``delay`` is in seconds.
    """

    text: str | None = None
    calls: tuple[ScriptedCall, ...] = ()
    reasoning: str | None = None
    refusal: str | None = None
    is_cut: bool = False
    errors: tuple[int, ...] = ()
    delay: float = 0.0


@dataclass(frozen=True)
class ModelRequest:
    """What a request contains: the last prompt, and (call id, output) of each tool result after it."""

    prompt: str
    results: tuple[tuple[str, str], ...]
    characters: int
    """The length of the request's whole conversation."""


Script: TypeAlias = Sequence[Reply] | Callable[[ModelRequest], Reply]
"""The replies to a prompt, one for each step, or a function that returns the next reply.

The last reply is repeated if the agent sends further requests.
"""


@dataclass(frozen=True)
class ReplyUsage:
    """The tokens of a response: the input includes cached tokens, the output includes reasoning tokens."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


def usage_of(turn: ModelRequest, reply: Reply, *, step: int) -> ReplyUsage:
    """Return the tokens of a reply; they depend only on the text of request and reply, and on the step."""
    sent = "".join(
        (reply.text or "", reply.refusal or "", *(f"{call.name}{call.arguments_json}" for call in reply.calls))
    )
    reasoning = _tokens(reply.reasoning or "")
    asked = 50 + turn.characters // CHARACTERS_PER_TOKEN
    cached = asked // 2 // CACHE_BLOCK * CACHE_BLOCK if step else 0
    return ReplyUsage(asked, cached, 1 + _tokens(sent) + reasoning, reasoning)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def responses_response(
    reply: Reply, id_: str, model: str, usage: ReplyUsage, call_ids: Sequence[str]
) -> dict[str, Any]:
    """Return the body of a response of ``/v1/responses``."""
    return {
        "id": id_,
        "object": "response",
        "created_at": EPOCH,
        "status": "incomplete" if reply.is_cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if reply.is_cut else None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": _output(reply, id_, call_ids),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def _output(reply: Reply, id_: str, call_ids: Sequence[str]) -> list[dict[str, Any]]:
    status = "incomplete" if reply.is_cut else "completed"
    items: list[dict[str, Any]] = []
    if reply.reasoning is not None:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        items.append(
            {"type": "reasoning", "id": f"rs_{id_}", "summary": summary, "encrypted_content": ENCRYPTED_REASONING}
        )
    content: list[dict[str, Any]] = []
    if reply.refusal is not None:
        content.append({"type": "refusal", "refusal": reply.refusal})
    elif reply.text is not None:
        content.append({"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []})
    if content:
        items.append({"type": "message", "id": f"msg_{id_}", "role": "assistant", "status": status, "content": content})
    items += (
        {
            "type": "function_call",
            "id": f"fc_{call_id}",
            "call_id": call_id,
            "name": call.name,
            "arguments": call.arguments_json,
            "status": status,
        }
        for call, call_id in zip(reply.calls, call_ids, strict=True)
    )
    return items


def chat_response(reply: Reply, id_: str, model: str, usage: ReplyUsage, call_ids: Sequence[str]) -> dict[str, Any]:
    """Return the body of a response of ``/v1/chat/completions``."""
    calls = [
        {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json}}
        for call, call_id in zip(reply.calls, call_ids, strict=True)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal, "annotations": []}
    if calls:
        message["tool_calls"] = calls
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    finish = "length" if reply.is_cut else "tool_calls" if calls else "stop"
    return {
        "id": id_,
        "object": "chat.completion",
        "created": EPOCH,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "service_tier": "default",
        "system_fingerprint": None,
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "completion_tokens": usage.output_tokens,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def gemini_response(reply: Reply, id_: str, model: str, usage: ReplyUsage, _: Sequence[str]) -> dict[str, Any]:
    """Return the body of a response of Gemini's ``generateContent``, whose calls have no ids."""
    parts: list[dict[str, Any]] = []
    if reply.reasoning is not None:
        signature = base64.b64encode(ENCRYPTED_REASONING.encode()).decode()
        parts.append({"text": reply.reasoning, "thought": True, "thoughtSignature": signature})
    if reply.text is not None:
        parts.append({"text": reply.text})
    parts += ({"functionCall": {"name": call.name, "args": json.loads(call.arguments_json)}} for call in reply.calls)
    candidate: dict[str, Any] = {"index": 0, "finishReason": "MAX_TOKENS" if reply.is_cut else "STOP"}
    if reply.refusal is not None:
        candidate |= {"finishReason": "SAFETY", "finishMessage": reply.refusal}
    else:
        candidate["content"] = {"role": "model", "parts": parts}
    return {
        "candidates": [candidate],
        "modelVersion": model,
        "responseId": id_,
        "usageMetadata": {
            "promptTokenCount": usage.input_tokens,
            "cachedContentTokenCount": usage.cached_tokens,
            "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
            "thoughtsTokenCount": usage.reasoning_tokens,
            "totalTokenCount": usage.input_tokens + usage.output_tokens,
        },
    }
