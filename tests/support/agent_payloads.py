"""One payload of each shape with a response of a model: all have the same text, reasoning, tool call and tokens."""

from __future__ import annotations

from typing import Any

CALL = ("call_1", "get_weather", {"city": "Rome"})
ARGUMENTS = '{"city": "Rome"}'
SECRET = "canary"
MESSAGE = {
    "role": "assistant",
    "content": "Hi",
    "reasoning_content": "I think",
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}],
}
ITEMS = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I think"}], "encrypted_content": SECRET},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
    {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": ARGUMENTS},
]
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 12},
}
RESPONSE = {
    "object": "response",
    "id": "resp_1",
    "status": "completed",
    "model": "gpt-4o-2024-08-06",
    "output": ITEMS,
    "usage": USAGE,
}
VERCEL = {
    "content": [
        {"type": "reasoning", "text": "I think", "providerMetadata": {"openai": {"reasoningEncryptedContent": SECRET}}},
        {"type": "text", "text": "Hi"},
        {"type": "tool-call", "toolCallId": "call_1", "toolName": "get_weather", "input": ARGUMENTS},
    ],
    "finishReason": {"unified": "tool-calls", "raw": None},
    "usage": {"inputTokens": {"total": 100, "cacheRead": 40}, "outputTokens": {"total": 20, "reasoning": 12}},
    "request": {
        "body": {
            "model": "gpt-4o",
            "input": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
                {"type": "function_call_output", "call_id": "call_0", "output": "21"},
            ],
        }
    },
    "response": {"id": "resp_1", "modelId": "gpt-4o-2024-08-06", "headers": {"set-cookie": SECRET}, "body": RESPONSE},
}
OLD_USAGE = {"inputTokens": 100, "cachedInputTokens": 40, "outputTokens": 20, "reasoningTokens": 12}
PAYLOADS: dict[str, Any] = {
    "Vercel AI 7": {"json": VERCEL, "meta": {"values": {}}},
    "Vercel AI 5": {"json": VERCEL | {"finishReason": "tool-calls", "usage": OLD_USAGE}},
    "OpenAI Agents": {"output": ITEMS, "usage": {"requests": 1, **USAGE}, "response_id": "resp_1"},
    "OpenAI Agents, chat": {
        "output": [
            {"id": "__fake_id__", "provider_data": {"model": "gpt-4o", "response_id": "resp_1"}, **each}
            for each in ITEMS
        ],
        "usage": USAGE,
        "response_id": None,
    },
    "Pydantic AI": {
        "kind": "response",
        "parts": [
            {"part_kind": "thinking", "content": "I think", "signature": SECRET},
            {"part_kind": "text", "content": "Hi"},
            {"part_kind": "tool-call", "tool_call_id": "call_1", "tool_name": "get_weather", "args": ARGUMENTS},
        ],
        "usage": {"input_tokens": 100, "cache_read_tokens": 40, "output_tokens": 20, "output_reasoning_tokens": 12},
        "model_name": "gpt-4o-2024-08-06",
        "provider_response_id": "resp_1",
        "finish_reason": "tool_call",
    },
    "LangChain": {
        "result": [
            {
                "type": "ai",
                "content": [
                    {"type": "reasoning", "summary": [{"text": "I think"}], "encrypted_content": SECRET},
                    {"type": "text", "text": "Hi"},
                ],
                "tool_calls": [{"id": "call_1", "name": "get_weather", "args": {"city": "Rome"}}],
                "invalid_tool_calls": [],
                "response_metadata": {"model_name": "gpt-4o-2024-08-06", "id": "resp_1", "status": "completed"},
                "usage_metadata": {
                    "input_tokens": 100,
                    "output_tokens": 20,
                    "input_token_details": {"cache_read": 40},
                    "output_token_details": {"reasoning": 12},
                },
            }
        ]
    },
    "ADK": {
        "content": {
            "parts": [
                {"text": "I think", "thought": True, "thought_signature": SECRET},
                {"text": "Hi"},
                {"function_call": {"id": "call_1", "name": "get_weather", "args": {"city": "Rome"}}},
            ]
        },
        "usage_metadata": {
            "prompt_token_count": 100,
            "cached_content_token_count": 40,
            "candidates_token_count": 8,
            "thoughts_token_count": 12,
            "total_token_count": 120,
        },
        "model_version": "gemini-2.5-flash",
        "finish_reason": "STOP",
    },
    "chat completion": {
        "object": "chat.completion",
        "id": "resp_1",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"finish_reason": "tool_calls", "message": MESSAGE}],
        "usage": {
            "prompt_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 40},
            "completion_tokens": 20,
            "completion_tokens_details": {"reasoning_tokens": 12},
            "total_tokens": 120,
        },
    },
    "response": RESPONSE,
    "message": MESSAGE,
}
WITHOUT_MODEL = {"OpenAI Agents", "message"}
WITHOUT_RESPONSE_ID = {"ADK", "message"}
NUMBERS = (100, 40, 20, 12)
