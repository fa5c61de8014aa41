"""The shapes of payloads with a response of a model: each is read whole, and other payloads are plain steps."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.analysis.agents.entries import check_shapes, recognize
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.reads import Reads
from restate_lab.redaction import MASK
from support.agent_payloads import CALL, MESSAGE, NUMBERS, PAYLOADS, SECRET, USAGE, WITHOUT_MODEL, WITHOUT_RESPONSE_ID
from support.table_source import TableSource


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_text_reasoning_calls_model_and_tokens_have_one_meaning_for_all_shapes(name: str, depth: int) -> None:
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


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_reading_without_text_has_everything_else(name: str) -> None:
    whole, numbers = recognize(PAYLOADS[name]), recognize(PAYLOADS[name], has_text=False)
    assert whole is not None
    assert numbers is not None
    assert _without_text(numbers) == _without_text(whole)
    is_provider = numbers.framework in {"chat completion", "response", "message"}  # recognized by their text
    assert (numbers.text, numbers.reasoning) == ((whole.text, whole.reasoning) if is_provider else (None, None))


def _without_text(step: rl.ModelStep) -> rl.ModelStep:
    calls = tuple(call._replace(arguments=None) for call in step.tool_calls)
    return step._replace(text=None, reasoning=None, refusal=None, tool_calls=calls, prompt=(), results=())


class FrozenJournals(TableSource):
    """A Source whose journals have one payload each, as ``entry_json``."""

    def __init__(self, payloads: Mapping[str, bytes]) -> None:
        texts = [f'{{"Notification":{{"Success":{str(list(each)).replace(" ", "")}}}}}' for each in payloads.values()]
        content = pa.array(list(payloads.values()), pa.binary()) if self.live else pa.array(texts)
        columns = {"id": pa.array(list(payloads)), "index": pa.array(range(len(payloads)), pa.uint32())}
        kinds = pa.array(["Notification: Run"] * len(payloads))
        table = pa.table({**columns, "entry_type": kinds, "raw" if self.live else "entry_json": content})
        super().__init__({"sys_journal": table}, now=datetime(2026, 11, 28, tzinfo=UTC))


class LiveJournals(FrozenJournals):
    """The same, as ``raw``."""

    live = True


@pytest.mark.parametrize("source", [FrozenJournals, LiveJournals])
def test_the_signatures_find_each_shape_in_both_columns_and_any_spacing(source: Callable[..., rl.Source]) -> None:
    agents = {f"inv_{name}": json.dumps(each).encode() for name, each in PAYLOADS.items()}
    agents |= {
        f"inv_{name}2": json.dumps({"at": 1, "answer": each}, separators=(",", ":")).encode()
        for name, each in PAYLOADS.items()
    }
    others: list[Any] = ["usage", {"usage": 3, "message": "assistant"}, {"content": "x", "status": "ok"}, [MASK], None]
    journals = agents | {f"inv_{at}": json.dumps(each).encode() for at, each in enumerate(others)} | {"inv_x": b"\xff"}
    reader = AgentReader(Reads(source(journals)))
    assert reader.agents(list(journals)) == {id_: [at] for at, id_ in enumerate(agents)}
    assert reader.agents(list(journals), first=len(agents)) == {}


def test_a_request_of_vercel_ai_has_the_prompt_and_results_with_the_ids_of_their_calls() -> None:
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
def test_a_refusal_is_read_from_its_own_field_and_missing_tokens_are_unknown(name: str) -> None:
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
        {"a": {"b": {"c": {"d": MESSAGE}}}},
    ],
)
def test_a_model_with_usage_alone_or_several_responses_are_no_response(payload: Any) -> None:
    assert recognize(payload) is None


def test_arguments_that_are_not_json_stay_text() -> None:
    message = copy.deepcopy(MESSAGE)
    message["tool_calls"][0]["function"]["arguments"] = '{"city": '  # type: ignore[index]
    step = recognize(message)
    assert step is not None
    assert step.tool_calls[0].arguments == '{"city": '


@pytest.mark.parametrize("value", [-1, 1.5, True, "12", None, 1 << 60, float("nan"), [], {}])
def test_only_a_whole_number_of_0_or_more_is_a_count(value: Any) -> None:
    step = recognize({**PAYLOADS["OpenAI Agents"], "usage": {"input_tokens": value, "output_tokens": 3}})
    assert step is not None
    assert (step.input_tokens, step.output_tokens) == (None, 3)


@pytest.mark.parametrize(("thoughts", "output"), [({"thoughts_token_count": None}, 8), ({}, None)])
def test_reasoning_tokens_of_adk_are_added_if_they_are_known(thoughts: dict[str, Any], output: int | None) -> None:
    """Null means that there are none; without the field, the sum is unknown."""
    step = recognize({**PAYLOADS["ADK"], "usage_metadata": {"candidates_token_count": 8, **thoughts}})
    assert step is not None
    assert (step.output_tokens, step.reasoning_tokens) == (output, None)


def test_tokens_whose_part_is_more_than_the_whole_are_unknown() -> None:
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 90}, "output_tokens": 3}
    step = recognize({**PAYLOADS["OpenAI Agents"], "usage": usage})
    assert step is not None
    assert (step.input_tokens, step.cached_tokens, step.output_tokens) == (None, None, 3)


def own_shape(payload: Any) -> rl.ModelStep | None:
    return rl.ModelStep("mine", text=payload["said"], input_tokens=5) if "said" in payload else None


def test_a_shape_of_the_user_gets_the_whole_payload_first() -> None:
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
def test_an_error_of_a_function_in_shapes_names_it_without_the_payload(shape: Any, message: str) -> None:
    with pytest.raises(rl.errors.ArgumentError, match=message) as error:
        recognize(MESSAGE, [shape])
    assert "Hi" not in str(error.value)
    with pytest.raises(rl.errors.ArgumentError, match="list of functions"):
        check_shapes("own_shape")
