"""The shapes of payloads with a response of a model: each is read whole, and altered ones never give a wrong number."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

import restate_lab as rl
from restate_lab.analysis.agents.entries import check_shapes, recognize
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.client.sql.bind import bind
from restate_lab.evidence.engine import read, session
from restate_lab.redaction import MASK
from support.row_source import RowSource

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
    "response": {"id": "resp_1", "modelId": "gpt-4o-2024-08-06", "headers": {"set-cookie": SECRET}, "body": {}},
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
        },
    },
    "response": {
        "object": "response",
        "id": "resp_1",
        "status": "completed",
        "model": "gpt-4o-2024-08-06",
        "output": ITEMS,
        "usage": USAGE,
    },
    "message": MESSAGE,
}
WITHOUT_MODEL = {"OpenAI Agents", "message"}
WITHOUT_RESPONSE_ID = {"ADK", "message"}
NUMBERS = (100, 40, 20, 12)


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_each_shape_is_read_whole(name: str, depth: int) -> None:
    """Text, reasoning, calls, model and tokens have one meaning for all shapes, also within other objects."""
    payload, outer = PAYLOADS[name], 1 if name.startswith("Vercel") else 0
    for _ in range(max(0, depth - outer)):
        payload = {"answer": payload, "cost": 3, "at": "now"}
    step = recognize(payload)
    assert step is not None
    assert step.framework == name.partition(",")[0].rstrip(" 57")
    assert (step.text, step.reasoning, step.refusal) == ("Hi", "I think", None)
    assert [(call.id, call.name, call.arguments) for call in step.tool_calls] == [CALL]
    assert (step.model or step.model_asked is None) if name in WITHOUT_MODEL else (step.model or step.model_asked)
    assert step.response_id == (None if name in WITHOUT_RESPONSE_ID else "resp_1")
    numbers = tuple(getattr(step, field) for field in TOKENS)
    assert numbers == ((None,) * 4 if name == "message" else NUMBERS)
    assert SECRET not in repr(step)


class FrozenJournals(RowSource):
    """A Source whose journals have one payload each, as ``entry_json``."""

    name, now, version, features = "made", datetime(2026, 11, 28, tzinfo=UTC), "1.7.12", MappingProxyType({})

    def __init__(self, payloads: Mapping[str, bytes]) -> None:
        texts = [f'{{"Notification":{{"Success":{str(list(each)).replace(" ", "")}}}}}' for each in payloads.values()]
        content = pa.array(list(payloads.values()), pa.binary()) if self.live else pa.array(texts)
        columns = {"id": pa.array(list(payloads)), "index": pa.array(range(len(payloads)), pa.uint32())}
        kinds = pa.array(["Notification: Run"] * len(payloads))
        table = pa.table({**columns, "entry_type": kinds, "raw" if self.live else "entry_json": content})
        self._session = session(self.now)
        self._session.register_record_batches("sys_journal", [table.to_batches()])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        schema, batches = read(self._session, bind(statement, params))
        return pa.Table.from_batches(batches, schema)


class LiveJournals(FrozenJournals):
    """The same, as ``raw``."""

    live = True


@pytest.mark.parametrize("source", [FrozenJournals, LiveJournals])
def test_a_server_finds_each_shape(source: Callable[..., rl.Source]) -> None:
    """The signatures find each shape without a payload, in both columns and in any spacing; others are not found."""
    agents = {f"inv_{name}": json.dumps(each).encode() for name, each in PAYLOADS.items()}
    agents |= {
        f"inv_{name}2": json.dumps({"at": 1, "answer": each}, separators=(",", ":")).encode()
        for name, each in PAYLOADS.items()
    }
    others: list[Any] = ["usage", {"usage": 3, "message": "assistant"}, {"content": "x", "status": "ok"}, [MASK], None]
    journals = agents | {f"inv_{at}": json.dumps(each).encode() for at, each in enumerate(others)} | {"inv_x": b"\xff"}
    reader = AgentReader(source(journals))
    assert reader.agents(list(journals)) == set(agents)
    assert reader.agents(list(journals), first=len(agents)) == set()


def test_a_request_in_the_payload() -> None:
    """Vercel AI writes the whole request: the prompt, and the results of tools with the ids of their calls."""
    step = recognize(PAYLOADS["Vercel AI 7"])
    assert step is not None
    assert step.prompt == (("system", "Be brief."), ("user", "Hello"))
    assert step.results == (("call_0", "21"),)
    assert step.finish == "tool-calls"


REFUSAL = {"type": "refusal", "refusal": "No."}
REFUSALS: dict[str, Any] = {
    "Vercel AI": {
        "content": [{"type": "text", "text": "No."}],
        "finishReason": "stop",
        "response": {"body": {"output": [{"type": "message", "content": [REFUSAL]}]}},
    },
    "OpenAI Agents": {"output": [{"type": "message", "content": [REFUSAL]}], "usage": {}, "response_id": "r"},
    "Pydantic AI": {"kind": "response", "parts": [], "provider_details": {"refusal": "No."}},
    "LangChain": {"result": [{"type": "ai", "content": "", "additional_kwargs": {"refusal": "No."}}]},
    "ADK": {"content": None, "usage_metadata": None, "finish_reason": "SAFETY", "error_message": "No."},
    "message": {"role": "assistant", "content": None, "refusal": "No."},
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    """A refusal is read from its own field, and no number is made up for missing tokens."""
    step = recognize(REFUSALS[name])
    assert step is not None
    assert (step.framework, step.refusal) == (name, "No.")
    assert [getattr(step, field) for field in TOKENS] == [None] * 4


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "text",
        [],
        {"model": "gpt-4o", "usage": USAGE},
        {"object": "chat.completion", "choices": [], "usage": USAGE},
        {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": ""}}], "usage": {}},
        {"object": "response", "output": [], "usage": USAGE},
        {"role": "user", "content": "Hi"},
        {"events": [PAYLOADS["ADK"]], "id": "s1", "state": {}},
        {"first": MESSAGE, "second": MESSAGE},
        {"a": {"b": {"c": MESSAGE}}},
    ],
)
def test_other_payloads_are_plain_steps(payload: Any) -> None:
    """A model with usage alone proves nothing, and several responses in one payload are not one response."""
    assert recognize(payload) is None


def test_arguments_that_are_not_json_stay_text() -> None:
    """Broken arguments are kept as the model wrote them."""
    message = copy.deepcopy(MESSAGE)
    message["tool_calls"][0]["function"]["arguments"] = '{"city": '  # type: ignore[index]
    step = recognize(message)
    assert step is not None
    assert step.tool_calls[0].arguments == '{"city": '


@pytest.mark.parametrize("value", [-1, 1.5, True, "12", None, 1 << 60, float("nan"), [], {}])
def test_what_is_not_a_count_is_unknown(value: Any) -> None:
    """Only a whole number of 0 or more counts."""
    step = recognize({**PAYLOADS["OpenAI Agents"], "usage": {"input_tokens": value, "output_tokens": 3}})
    assert step is not None
    assert (step.input_tokens, step.output_tokens) == (None, 3)


def test_a_part_cannot_be_more_than_the_whole() -> None:
    """Providers that count cached tokens beside the input give no number that is too small."""
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 90}, "output_tokens": 3}
    step = recognize({**PAYLOADS["OpenAI Agents"], "usage": usage})
    assert step is not None
    assert (step.input_tokens, step.cached_tokens, step.output_tokens) == (None, None, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(PAYLOADS)), data=st.data())
def test_altered_payloads_never_give_a_wrong_number(name: str, data: st.DataObject) -> None:
    """Nothing raises, and each number is in the payload as it is; ADK's output is the sum of two of them."""
    payload = copy.deepcopy(PAYLOADS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        parent = payload
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(parent[key], dict | list) and parent[key] and data.draw(st.integers(0, 3)):
                parent = parent[key]
                continue
            if data.draw(st.booleans()) and isinstance(parent, dict):
                del parent[key]
            else:
                parent[key] = data.draw(JSON)
            break
    step = recognize(payload)
    if step is None:
        return
    numbers = integers_in(payload)
    allowed = numbers | ({a + b for a in numbers for b in numbers} if step.framework == "ADK" else set())
    for field in TOKENS:
        value = getattr(step, field)
        assert value is None or (type(value) is int and value >= 0 and value in allowed)
    json.dumps([step.text, step.reasoning]).encode()
    assert all(isinstance(call.name, str) for call in step.tool_calls)


def integers_in(value: Any) -> set[int]:
    if isinstance(value, dict | list):
        return {each for inner in (value.values() if isinstance(value, dict) else value) for each in integers_in(inner)}
    return {value} if type(value) is int else set()


def own_shape(payload: Any) -> rl.ModelStep | None:
    return rl.ModelStep("mine", text=payload["said"], input_tokens=5) if "said" in payload else None


def test_a_shape_of_the_user_comes_first() -> None:
    """It gets the whole payload, and other payloads are still recognized."""
    step = recognize({"said": "Hi", **MESSAGE}, [own_shape])
    assert step is not None
    assert (step.framework, step.input_tokens) == ("mine", 5)
    assert recognize(MESSAGE, [own_shape]) is not None


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda payload: payload["missing"], "failed with KeyError"),
        (lambda payload: {"text": "Hi"}, "returned a dict"),
        (lambda payload: rl.ModelStep("mine", input_tokens=-3), "input_tokens=-3"),
        (lambda payload: rl.ModelStep("mine", output_tokens=1.5), "output_tokens=1.5"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_function_is_reported(shape: Any, message: str) -> None:
    """An error of the user's function is an ArgumentError that names it, without the payload."""
    with pytest.raises(rl.errors.ArgumentError, match=message) as error:
        recognize(MESSAGE, [shape])
    assert "Hi" not in str(error.value)
    with pytest.raises(rl.errors.ArgumentError, match="list of functions"):
        check_shapes("own_shape")
