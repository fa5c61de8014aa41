"""Responses of all providers and frameworks, from samples: the right numbers, no secrets, and no look-alikes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest

from restate_lab.analysis.agents.entries import AgentEntry, Content, recognize, with_models
from restate_lab.analysis.agents.model import ModelStep
from restate_lab.analysis.agents.notes import describe_uncounted
from restate_lab.analysis.agents.prices import PriceTable, price_table
from restate_lab.analysis.agents.reader import _may_have_model
from restate_lab.analysis.agents.shapes import SIGNATURES
from restate_lab.analysis.agents.turns import turns_of
from restate_lab.analysis.journal.entries import DONE, Entry
from restate_lab.payload_json import mask_model_secrets
from support.agent_samples import FILES, HOW_MADE, SAMPLES, SECRETS

NOW = datetime(2026, 11, 28, 3, tzinfo=UTC)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_has_the_expected_model_tokens_tools_id_and_finish(name: str) -> None:
    step, sample = recognize(SAMPLES[name].payload), SAMPLES[name]
    assert step is not None
    assert {field: getattr(step, field) for field in sample.expected} == sample.expected
    assert [[call.id, call.name, call.arguments] for call in step.tool_calls] == sample.tools


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_in_an_envelope_is_the_same_response(name: str) -> None:
    payload = SAMPLES[name].payload
    if "envelope" not in name:  # it already is in three objects
        assert recognize({"round": 1, "reply": payload, "usage": {"seconds": 3}}) == recognize(payload)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_numbers_of_a_sample_do_not_depend_on_its_text(name: str) -> None:
    step, sample = recognize(SAMPLES[name].payload, has_text=False), SAMPLES[name]
    assert step is not None
    texts = {"text", "reasoning", "refusal"}
    assert {field: getattr(step, field) for field in sample.expected.keys() - texts} == {
        field: value for field, value in sample.expected.items() if field not in texts
    }
    assert [(call.id, call.name) for call in step.tool_calls] == [(id_, tool) for id_, tool, _ in sample.tools]


@pytest.mark.parametrize("name", SAMPLES)
def test_no_secret_of_a_sample_is_in_its_response_or_in_a_masked_payload(name: str) -> None:
    payload = json.dumps(SAMPLES[name].payload).encode()
    masked = mask_model_secrets(payload)
    entry = Entry("Run", 1, 2, name="call LLM", status=DONE)
    (read,) = with_models([AgentEntry(entry, Content(value=payload))], ())
    turns = turns_of("inv_1", [read], PriceTable({}, None))
    for each in SECRETS:
        assert each not in masked + repr((read.model, turns)).encode()
    assert [turn.reasoning for turn in turns if turn.role == "assistant"] == [SAMPLES[name].expected["reasoning"]]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_search_on_the_server_finds_a_sample(name: str) -> None:
    payload = json.dumps(SAMPLES[name].payload).encode()
    assert _may_have_model(payload)
    assert any(all(f'"{text}"'.encode() in payload for text in signature) for signature in SIGNATURES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_names_its_package_and_version_and_how_it_was_made(path: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    name = f"{content['package'].replace('/', '-').lstrip('@')}-{content['version']}"
    assert path.stem == name
    assert content["made"] in HOW_MADE


USAGE = {"input_tokens": 7, "output_tokens": 9}
LOOK_ALIKES: dict[str, Any] = {
    "a meter": {"id": "meter-7", "model": "EM-340", "usage": USAGE},
    "a meter with a message": {"id": "meter-7", "model": "EM-340", "usage": USAGE, "type": "message", "content": []},
    "a car": {"id": "1", "model": "T", "choices": ["red", "blue"], "usage": USAGE},
    "a vote": {"candidates": [{"content": {"parts": []}}], "usage": USAGE},
    "a race": {"text": "Over", "finishReason": "stop"},
    "a race with tools": {"text": "Over", "finishReason": "crossed the line", "toolCalls": []},
    "a form": {"steps": [{"content": "Name"}], "totalUsage": {"inputTokens": 3}},
    "a block of text": {"type": "text", "content": "Hello"},
    "a tool's result": {"content": [{"type": "text", "text": "21"}], "isError": False, "structuredContent": {"c": 21}},
    "a person's message": {
        "type": "message",
        "role": "user",
        "content": [{"type": "text", "text": "Hi"}],
        "usage": USAGE,
    },
    "a printer": {"message": {"role": "printer"}, "model": "P", "done": True, "eval_count": 3},
    "a pipe": {"output": {"message": {"content": []}}, "stopReason": "done", "usage": {"inputTokens": 3}},
    "an error": {"type": "error", "code": "not_found", "message": "x", "inputTokens": 3, "maxOutputTokens": 4},
    "a list of calls": {"type": "tool_calls", "message": "ring", "calls": [{"toolName": "bell"}]},
    "a chain": {"type": "ai", "data": {"content": "x"}, "usage_metadata": {"input_tokens": 3}},
    "two responses": {"first": {"role": "assistant", "content": "a"}, "second": {"role": "assistant", "content": "b"}},
    "numbers of a Gemini model alone": {"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "gemini-2.5-flash"},
    "an id, a model and tokens of no response": {"object": "embedding", "id": "e", "model": "m", "usage": USAGE},
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_is_no_response(name: str) -> None:
    assert recognize(LOOK_ALIKES[name]) is None
    assert recognize({"reply": LOOK_ALIKES[name]}) is None


ORACLES = {
    "anthropic/anthropic-2.14.0: a tool call": ("anthropic", "default"),
    "bedrock/invoke-model-2023-05-31: the decoded body": ("anthropic", "default"),
    "google/rest-v1beta: a tool call": ("google", "default"),
    "mistral/mistralai-3.7.0: a tool call": ("mistral", "default"),
    "openai/openai-3.57.0-chat: a tool call": ("openai", "chat"),
    "openai/openai-3.57.0-responses: a tool call": ("openai", "responses"),
    "groq/groq-1.7.0: a tool call": ("groq", "default"),
    "openrouter/chat-2026-11: a tool call": ("openrouter", "chat"),
}
"""Samples whose usage the package with the prices reads, too: its ids of the provider and of the API."""


@pytest.mark.parametrize("name", ORACLES)
def test_the_cost_of_a_sample_is_that_of_the_package_with_the_prices(name: str) -> None:
    provider, flavor = ORACLES[name]
    step, sample = recognize(SAMPLES[name].payload), SAMPLES[name].payload
    assert step is not None
    found = genai_prices.extract_usage(sample, provider_id=provider, api_flavor=flavor)
    right = genai_prices.calc_price(
        found.usage, model_ref=str(step.model), provider_id=provider, genai_request_timestamp=NOW
    )
    table = price_table(None)
    assert table.cost(step, NOW) == pytest.approx(float(right.total_price))
    assert table.note == ""


def test_input_that_is_written_to_a_cache_costs_more_and_more_for_an_hour() -> None:
    table = price_table(None)
    for model in ("claude-opus-4-1", "claude-sonnet-4-5"):  # a price per token, and one in tiers
        step = ModelStep("x", model=model, input_tokens=1_000, output_tokens=10, cached_tokens=100)
        written = step._replace(cache_write_tokens=500)
        costs = [table.cost(each, NOW) for each in (step, written, written._replace(cache_write_1h_tokens=200))]
        usages = ({}, {"cache_write_tokens": 500}, {"cache_write_tokens": 500, "cache_write_1h_tokens": 200})
        right = [
            genai_prices.calc_price(
                genai_prices.Usage(input_tokens=1_000, output_tokens=10, cache_read_tokens=100, **usage),
                model_ref=model,
                genai_request_timestamp=NOW,
            ).total_price
            for usage in usages
        ]
        assert costs == pytest.approx([float(each) for each in right])
        assert costs == sorted(set(costs), key=float)


def test_an_own_price_charges_what_is_written_to_a_cache_like_other_input() -> None:
    step = ModelStep("x", model="mine", input_tokens=1_000, output_tokens=0, cached_tokens=100, cache_write_tokens=500)
    assert price_table({"mine": (10, 1, 20)}).cost(step, NOW) == pytest.approx((900 * 10 + 100) / 1e6)


ANTHROPIC = SAMPLES["anthropic/anthropic-2.14.0: a tool call"].payload
GEMINI = SAMPLES["google/rest-v1beta: a tool call"].payload
CHAT = SAMPLES["openai/openai-3.57.0-chat: a tool call"].payload


@pytest.mark.parametrize(
    ("usage", "right"),
    [
        ({"input_tokens": 120, "output_tokens": 90}, 120),  # a version without a cache
        ({"input_tokens": 120, "cache_read_input_tokens": None, "cache_creation_input_tokens": 200}, 320),
        ({"input_tokens": 120, "cache_read_input_tokens": 1_000}, None),
        ({"input_tokens": 120, "newCacheTokens": 1_000}, None),
        ({"input_tokens": "120", "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}, None),
    ],
)
def test_input_is_unknown_if_a_part_beside_it_may_be_missing(usage: dict[str, Any], right: int | None) -> None:
    step = recognize(ANTHROPIC | {"usage": usage})
    assert step is not None
    assert step.input_tokens == right


@pytest.mark.parametrize(
    ("iterations", "numbers", "notes"),
    [
        (None, (120, 90), []),
        ([{"type": "message", "input_tokens": 120, "output_tokens": 90}], (120, 90), []),
        (
            [{"type": "compaction", "input_tokens": 9_000, "output_tokens": 400}, {"type": "message"}],
            (None, None),
            ["1 response of a model had a compaction, whose tokens are paid and in no number, so tokens are unknown"],
        ),
    ],
)
def test_tokens_are_unknown_and_a_note_says_why_if_a_compaction_was_paid_beside_them(
    iterations: Any, numbers: tuple[int | None, int | None], notes: list[str]
) -> None:
    step = recognize(ANTHROPIC | {"usage": {"input_tokens": 120, "output_tokens": 90, "iterations": iterations}})
    assert step is not None
    assert (step.input_tokens, step.output_tokens) == numbers
    assert describe_uncounted([step]) == notes


@pytest.mark.parametrize(
    ("usage", "numbers"),
    [
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, (10, 5)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 19}, (None, None)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5}, (None, None)),
        ({"promptTokenCount": 10, "thoughtsTokenCount": 9, "totalTokenCount": 19}, (10, 9)),
    ],
)
def test_a_part_that_is_absent_is_0_only_if_the_total_proves_it(
    usage: dict[str, Any], numbers: tuple[int | None, int | None]
) -> None:
    step = recognize(GEMINI | {"usageMetadata": usage})
    assert step is not None
    assert (step.input_tokens, step.output_tokens) == numbers


@pytest.mark.parametrize(
    ("total", "output"), [(1410, 90), (1450, 130), (1400, None), (None, None), (1320, None), ("1410", None)]
)
def test_the_total_of_a_chat_completion_shows_whether_reasoning_is_in_the_output(
    total: Any, output: int | None
) -> None:
    step = recognize(CHAT | {"usage": CHAT["usage"] | {"total_tokens": total}})
    assert step is not None
    assert (step.input_tokens, step.output_tokens) == (1320, output)


@pytest.mark.parametrize("missing", ["id", "model", "usage"])
def test_an_empty_response_without_a_model_an_id_or_tokens_is_no_response(missing: str) -> None:
    empty = SAMPLES["openai/openai-3.57.0-chat: reasoning used all tokens"].payload
    assert recognize(empty) is not None
    assert recognize({name: value for name, value in empty.items() if name != missing}) is None
