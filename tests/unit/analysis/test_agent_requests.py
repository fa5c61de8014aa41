"""Requests and sessions have the messages for the model, and the results of tools by the ids of their calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from restate_lab.analysis.agents.requests import may_have_results, request_of, results_in

WEATHER = {"city": "Rome", "celsius": 21}
TEXT = json.dumps(WEATHER)
ORIGIN = {"tool_name": "get_weather", "arguments": {"city": "Rome"}, "id": "call_1"}
EXECUTION = {"call_id": "call_1", "name": "get_weather", "content": TEXT, "is_error": False}
BLOCKS = [{"type": "text", "text": TEXT}]
SEARCHES = [{"type": "web_search_result", "title": "Rome", "url": "https://example.com"}]
LANGCHAIN = {"type": "tool", "tool_call_id": "call_1", "content": TEXT, "status": "success"}

RESULTS: dict[str, tuple[Any, Any]] = {
    "OpenAI Responses": ({"type": "function_call_output", "call_id": "call_1", "output": TEXT}, TEXT),
    "OpenAI Responses, custom tool": ({"type": "custom_tool_call_output", "call_id": "call_1", "output": TEXT}, TEXT),
    "OpenAI Responses, MCP": ({"type": "mcp_call", "id": "call_1", "name": "get_weather", "output": TEXT}, TEXT),
    "OpenAI Responses, failed MCP": ({"type": "mcp_call", "id": "call_1", "output": None, "error": "no"}, "no"),
    "OpenAI chat": ({"role": "tool", "tool_call_id": "call_1", "content": TEXT}, TEXT),
    "OpenAI chat, blocks": (
        {"role": "tool", "tool_call_id": "call_1", "content": [*BLOCKS, *BLOCKS]},
        f"{TEXT}\n{TEXT}",
    ),
    "Pydantic AI": ({"part_kind": "tool-return", "tool_call_id": "call_1", "content": WEATHER}, WEATHER),
    "Vercel AI": (
        {"type": "tool-result", "toolCallId": "call_1", "output": {"type": "json", "value": WEATHER}},
        WEATHER,
    ),
    "Vercel AI, a step of a loop": ({"type": "tool-result", "toolCallId": "call_1", "output": WEATHER}, WEATHER),
    "Anthropic": ({"type": "tool_result", "tool_use_id": "call_1", "content": TEXT, "is_error": False}, TEXT),
    "Anthropic, blocks": ({"type": "tool_result", "tool_use_id": "call_1", "content": BLOCKS}, TEXT),
    "Anthropic, image": (
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "image"}]},
        [{"type": "image"}],
    ),
    "Anthropic's own tool": (
        {"type": "web_search_tool_result", "tool_use_id": "call_1", "content": SEARCHES},
        SEARCHES,
    ),
    "Bedrock, JSON": ({"toolResult": {"toolUseId": "call_1", "content": [{"json": WEATHER}]}}, WEATHER),
    "Bedrock, text": ({"toolResult": {"toolUseId": "call_1", "content": [{"text": TEXT}], "status": "error"}}, TEXT),
    "Google": ({"functionResponse": {"id": "call_1", "name": "get_weather", "response": WEATHER}}, WEATHER),
    "Google, Python": ({"function_response": {"id": "call_1", "name": "get_weather", "response": WEATHER}}, WEATHER),
    "LangChain": (LANGCHAIN, TEXT),
    "LangChain, in a state": ({"type": "tool", "data": LANGCHAIN}, TEXT),
    "Haystack": ({"tool_call_result": {"result": TEXT, "origin": ORIGIN, "error": False}}, TEXT),
    "AutoGen, event": ({"type": "ToolCallExecutionEvent", "source": "agent", "content": [EXECUTION]}, TEXT),
    "AutoGen, message": ({"type": "FunctionExecutionResultMessage", "content": [EXECUTION]}, TEXT),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_of_each_form_is_found_anywhere_in_a_payload_with_the_id_of_its_call(name: str) -> None:
    message, value = RESULTS[name]
    payload = {"messages": [{"role": "user", "content": [message]}]}
    assert may_have_results(json.dumps(payload).encode())
    assert list(results_in(payload)) == [("call_1", value)]


@pytest.mark.parametrize(
    "payload",
    [
        {"functionResponse": {"name": "get_weather", "response": WEATHER}},  # Google's ids are optional
        {"type": "tool_result", "tool_use_id": None, "content": TEXT},
        {"type": "tool_result", "tool_use_id": 3, "content": TEXT},
        {"type": "tool", "function": {"name": "get_weather"}},
        {"type": ["tool_result"], "tool_use_id": "call_1"},
        {"toolResult": "call_1"},
        {"tool_call_result": {"result": TEXT, "origin": None}},
        {"type": "ToolCallExecutionEvent", "content": "none"},
        {"type": "server_tool_use", "id": "call_1", "name": "web_search", "input": {}},
        {"call_id": "call_1", "content": TEXT},
    ],
)
def test_an_object_without_an_id_or_of_another_form_is_not_a_result(payload: Any) -> None:
    assert list(results_in([payload])) == []


PROMPT = (("system", "Be brief."), ("user", "Hello"))
REQUESTS: dict[str, Any] = {
    "OpenAI Responses": {"instructions": "Be brief.", "input": "Hello"},
    "OpenAI chat": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]},
    "Anthropic": {"system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}]},
    "Anthropic, blocks": {
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "x", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": BLOCKS}]},
        ],
    },
    "Bedrock": {"system": [{"text": "Be brief."}], "messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
    "Google": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hello"}]},
            {"role": "model", "parts": [{"text": "hm", "thought": True}, {"functionCall": {"name": "x"}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "call_1", "name": "x", "response": TEXT}}]},
        ],
    },
    "Google, Python": {"system_instruction": "Be brief.", "contents": [{"parts": [{"text": "Hello"}]}]},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_the_instructions_the_messages_of_the_user_and_the_results_of_tools(name: str) -> None:
    body = REQUESTS[name]
    prompt, results = request_of(body)
    assert prompt == PROMPT
    assert results == ((("call_1", TEXT),) if "call_1" in json.dumps(body) else ())


@pytest.mark.parametrize("value", [None, 3, "text", [None], {"parts": 3}, [["a"]]])
def test_a_request_with_fields_of_other_types_raises_nothing(value: Any) -> None:
    names = ("system", "systemInstruction", "messages", "contents", "input")
    for name in names:
        prompt, results = request_of({name: value})
        assert all(isinstance(text, str) for _, text in prompt)
        assert results == ()
