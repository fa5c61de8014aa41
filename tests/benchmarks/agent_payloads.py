"""Responses of models as the integrations journal them: the first one calls a tool, the second one has a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

CITIES = ("Rome", "Oslo", "Lima", "Cairo", "Quito", "Paris", "Delhi")
MODEL = "gpt-4o-2024-08-06"
PROMPT = "You answer questions about the weather. Call get_weather for each city, and report degrees Celsius. " * 20
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "description": "The city"}}, "required": ["city"]}


def openai_agents(number: int, city: str, text: str | None) -> dict[str, Any]:
    item = (
        {"type": "function_call", "call_id": f"call_{number}", "name": "get_weather", "arguments": _arguments(city)}
        if text is None
        else {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    )
    usage = {
        "requests": 1,
        "input_tokens": 662 + number,
        "input_tokens_details": {"cached_tokens": 128},
        "output_tokens": 19,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 681 + number,
    }
    return {"output": [{"id": f"item_{number}", "status": "completed", **item}], "usage": usage, "response_id": "resp"}


def pydantic_ai(number: int, city: str, text: str | None) -> dict[str, Any]:
    call = {"tool_name": "get_weather", "args": _arguments(city), "tool_call_id": f"call_{number}"}
    part = {"part_kind": "tool-call", **call} if text is None else {"part_kind": "text", "content": text}
    usage = {"input_tokens": 500 + number, "cache_read_tokens": 0, "output_tokens": 30, "details": {}}
    return {
        "parts": [{"id": None, "provider_name": None, "provider_details": None, **part}],
        "usage": usage | {"cache_write_tokens": 0, "input_audio_tokens": 0, "output_audio_tokens": 0},
        "model_name": MODEL,
        "timestamp": "2026-11-28T03:00:00Z",
        "kind": "response",
        "provider_name": "openai",
        "provider_url": "http://127.0.0.1/v1/",
        "provider_details": {"finish_reason": "stop", "timestamp": "2026-11-28T03:00:00Z"},
        "provider_response_id": f"chatcmpl-{number}",
        "finish_reason": "stop" if text else "tool_call",
        "run_id": f"run-{number}",
        "metadata": None,
    }


def langchain(number: int, city: str, text: str | None) -> dict[str, Any]:
    call = {"id": f"call_{number}", "name": "get_weather", "args": {"city": city}, "type": "tool_call"}
    message = {
        "type": "ai",
        "content": text or "",
        "additional_kwargs": {"refusal": None},
        "response_metadata": {"model_name": MODEL, "id": f"chatcmpl-{number}", "finish_reason": "stop"},
        "tool_calls": [] if text else [call],
        "invalid_tool_calls": [],
        "usage_metadata": {
            "input_tokens": 700 + number,
            "output_tokens": 25,
            "total_tokens": 725 + number,
            "input_token_details": {"audio": 0, "cache_read": 256},
            "output_token_details": {"audio": 0, "reasoning": 0},
        },
    }
    return {"result": [message], "structured_response": None}


def vercel_ai(number: int, city: str, text: str | None) -> dict[str, Any]:
    """Return a response of Vercel AI, which has the whole request too."""
    call = {"type": "tool-call", "toolCallId": f"call_{number}", "toolName": "get_weather", "input": _arguments(city)}
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": f"How warm is it in {city}?"}]
    tools = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("get_weather", "get_rain")]
    inner = {
        "content": [{"type": "text", "text": text} if text else call],
        "finishReason": {"unified": "stop" if text else "tool-calls", "raw": None},
        "usage": {
            "inputTokens": {"total": 800 + number, "noCache": 800 + number, "cacheRead": 0},
            "outputTokens": {"total": 22, "text": 22, "reasoning": 0},
            "raw": {"input_tokens": 800 + number, "output_tokens": 22},
        },
        "request": {"body": {"model": "gpt-4o", "input": messages, "tools": tools}},
        "response": {
            "id": f"resp_{number}",
            "timestamp": "2026-11-28T03:00:00Z",
            "modelId": MODEL,
            "headers": {"content-type": "application/json", "x-request-id": f"req_{number}"},
            "body": {"id": f"resp_{number}", "model": MODEL, "instructions": PROMPT, "tools": tools, "output": []},
        },
        "warnings": [],
    }
    return {"json": inner, "meta": {"values": {"response.timestamp": ["Date"]}}}


def _arguments(city: str) -> str:
    return json.dumps({"city": city})


RESPONSES: tuple[Callable[[int, str, str | None], dict[str, Any]], ...] = (
    openai_agents,
    pydantic_ai,
    langchain,
    vercel_ai,
)
