"""The scripted language model: its script for the demo, both of its interfaces, and its ledger."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from restate_lab import demo
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.model.__main__ import reply_about_weather, reply_in_demo
from restate_lab.demo.model.ledger import LEDGER, read_ledger
from restate_lab.demo.model.replies import ENCRYPTED_REASONING, ModelRequest, Reply, Script, ScriptedCall
from restate_lab.demo.model.server import CANARIES, INVOCATION_HEADER, model_application
from restate_lab.errors import SettingsError

SCRIPTS: dict[str, Script] = {
    "two": (
        Reply(
            "I compare them.",
            calls=(ScriptedCall("get_weather", {"city": "Rome"}), ScriptedCall("get_weather", {"city": "Rome"})),
            reasoning="Two calls are faster.",
        ),
        Reply("Done: {results}"),
    ),
    "limited": (Reply("Done", errors=(429, 503)),),
    "refuse": (Reply(refusal="No."),),
    "broken": (Reply(calls=(ScriptedCall("get_weather", '{"city": '),)),),
    "cut": (Reply("The answer", is_cut=True),),
}


class Model:
    """The model, without a process: each request runs to its end."""

    def __init__(self, folder: Path) -> None:
        self.app = model_application(folder, SCRIPTS, (Reply("Hello."),))

    def request(
        self, method: str, path: str, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
                return await client.request(method, path, json=json, headers=headers)

        return asyncio.run(send())

    def ask(self, prompt: Any, *later: Any, sender: str = "inv_1") -> Any:
        items = [{"role": "user", "content": prompt}, *later]
        body = {"model": "gpt-4o", "input": items}
        return self.request("POST", "/v1/responses", body, {INVOCATION_HEADER: sender})

    def chat(self, prompt: Any, *later: Any) -> Any:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}, *later]
        return self.request("POST", "/v1/chat/completions", {"model": "own-model", "messages": messages})

    def gemini(self, prompt: str, *later: Any, sender: str = "inv_1") -> Any:
        contents = [{"role": "user", "parts": [{"text": prompt}]}, *later]
        path = "/v1beta/models/gemini-2.5-flash:generateContent"
        return self.request("POST", path, {"contents": contents}, {INVOCATION_HEADER: sender})


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path)


def output(id_: str, text: str) -> dict[str, str]:
    return {"type": "function_call_output", "call_id": id_, "output": text}


@pytest.mark.parametrize(
    ("prompt", "city"), [("What is the weather in New York?", "New York"), ("Weather in Denver, please", "Denver")]
)
def test_the_demo_asks_for_the_tool_and_then_answers(prompt: str, city: str) -> None:
    (call,) = reply_about_weather(ModelRequest(prompt, (), 10)).calls
    assert (call.name, call.arguments) == ("get_weather", {"city": city})
    answer = reply_about_weather(ModelRequest(prompt, (("call_1", "sunny, 20 °C"),), 10))
    assert (answer.text, answer.calls) == (f"The weather in {city}: sunny, 20 °C.", ())


def test_the_demo_answers_a_prompt_without_a_city() -> None:
    assert reply_about_weather(ModelRequest("How are you?", (), 10)).text


def test_the_demo_follows_the_results_of_its_tools() -> None:
    """A script continues with the results of all tools, its last reply repeats, and other prompts get the weather."""
    prompt = "Book a train to Vienna for Dana."
    results = [("call_1", "seat 17"), ("call_2", "approved"), ("call_3", "anything")]
    replies = [reply_in_demo(ModelRequest(prompt, tuple(results[:count]), 10)) for count in range(4)]
    assert [[call.name for call in reply.calls] for reply in replies] == [["reserve_seat"], ["ask_manager"], [], []]
    assert replies[1].calls[0].arguments["traveller"] == "Dana"  # type: ignore[index]
    ferry = [reply_in_demo(ModelRequest("Find the next ferry.", tuple(results[:n]), 10)).calls for n in range(3)]
    assert len(set(map(str, ferry))) == 1  # the model never ends
    weather = ModelRequest("What is the weather in Detroit?", (), 10)
    assert reply_in_demo(weather) == reply_about_weather(weather)


def test_responses_api_follows_the_script(model: Model, tmp_path: Path) -> None:
    """Two equal calls have different ids, their results select the next step, and the ledger has it all."""
    first = model.ask("[two] please").json()
    reasoning, message, *calls = first["output"]
    assert reasoning["summary"][0]["text"] == "Two calls are faster."
    assert reasoning["encrypted_content"] == ENCRYPTED_REASONING
    assert message["content"][0]["text"] == "I compare them."
    ids = [call["call_id"] for call in calls]
    assert len(set(ids)) == 2
    assert {call["arguments"] for call in calls} == {'{"city": "Rome"}'}
    second = model.ask("[two] please", *calls, output(ids[0], "sunny"), output(ids[1], "windy")).json()
    assert second["output"][0]["content"][0]["text"] == "Done: sunny; windy"
    for response, entry in zip((first, second), read_ledger(tmp_path / LEDGER), strict=True):
        assert entry["response_id"] == response["id"]
        assert (entry["asked_model"], entry["model"]) == ("gpt-4o", response["model"])
        assert entry["invocation_id"] == "inv_1"
        usage = response["usage"]
        assert entry["input_tokens"] == usage["input_tokens"] > usage["input_tokens_details"]["cached_tokens"]
        assert entry["cached_tokens"] == usage["input_tokens_details"]["cached_tokens"]
        assert entry["output_tokens"] == usage["output_tokens"]
        assert entry["reasoning_tokens"] == usage["output_tokens_details"]["reasoning_tokens"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert [entry["step"] for entry in read_ledger(tmp_path / LEDGER)] == [0, 1]
    assert [call["id"] for call in read_ledger(tmp_path / LEDGER)[0]["tool_calls"]] == ids


def test_chat_api_follows_the_script(model: Model) -> None:
    """The chat API has the same replies in its own form; an unknown model answers with its own name."""
    first = model.chat("[two] please").json()
    message = first["choices"][0]["message"]
    assert first["model"] == "own-model"
    assert first["choices"][0]["finish_reason"] == "tool_calls"
    assert message["reasoning_content"] == "Two calls are faster."
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": [{"type": "text", "text": "sunny"}]}
        for call in message["tool_calls"]
    ]
    second = model.chat([{"type": "text", "text": "[two] please"}], message, *results).json()
    assert second["choices"][0]["message"]["content"] == "Done: sunny; sunny"
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert second["choices"][0]["finish_reason"] == "stop"


def test_gemini_follows_the_script(model: Model, tmp_path: Path) -> None:
    """Results have no ids there, so the groups of results are counted; thoughts are not in the candidates' tokens."""
    first = model.gemini("[two] please").json()
    content = first["candidates"][0]["content"]
    thought, text, *calls = content["parts"]
    assert (thought["text"], thought["thought"], text["text"]) == ("Two calls are faster.", True, "I compare them.")
    assert calls == [{"functionCall": {"name": "get_weather", "args": {"city": "Rome"}}}] * 2
    results = [{"functionResponse": {"name": "get_weather", "response": {"result": each}}} for each in ("sun", "wind")]
    later = [content, {"role": "user", "parts": results}]
    for sender in ("inv_1", "inv_2"):  # the second one was restarted as new
        second = model.gemini("[two] please", *later, sender=sender).json()
        assert second["candidates"][0]["content"]["parts"] == [{"text": 'Done: {"result": "sun"}; {"result": "wind"}'}]
    entry, after, _ = read_ledger(tmp_path / LEDGER)
    assert (entry["model"], entry["step"], after["step"]) == ("gemini-2.5-flash-001", 0, 1)
    assert [each["id"] for each in after["tool_results"]] == [each["id"] for each in entry["tool_calls"]]
    usage = first["usageMetadata"]
    assert entry["output_tokens"] == usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert entry["reasoning_tokens"] == usage["thoughtsTokenCount"] > 0
    refusal = model.gemini("[refuse]").json()["candidates"][0]
    assert (refusal["finishReason"], "content" in refusal) == ("SAFETY", False)
    assert model.gemini("[cut]").json()["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert model.gemini("[limited]").json()["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_each_invocation_gets_its_own_failures(model: Model) -> None:
    """Scripted failures come first for each invocation, and cost nothing."""
    statuses = [model.ask("[limited]", sender=sender).status_code for sender in ("inv_1", "inv_2") * 3]
    assert statuses == [429, 429, 503, 503, 200, 200]
    assert [each["input_tokens"] for each in model.request("GET", "/ledger").json()[:4]] == [None] * 4


def test_an_error_has_the_form_of_the_provider(model: Model) -> None:
    response = model.ask("[limited]")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert response.headers["retry-after-ms"] == "50"


@pytest.mark.parametrize("api", ["ask", "chat"])
def test_special_replies(model: Model, api: str) -> None:
    """Refusals, arguments that are not valid JSON, and responses at the token limit are sent in each form."""
    refusal, broken, cut = (getattr(model, api)(f"[{name}]").json() for name in ("refuse", "broken", "cut"))
    if api == "ask":
        assert refusal["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
        assert broken["output"][0]["arguments"] == '{"city": '
        assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    else:
        assert refusal["choices"][0]["message"]["refusal"] == "No."
        assert broken["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": '
        assert cut["choices"][0]["finish_reason"] == "length"


def test_each_response_has_the_headers_that_no_output_may_contain(model: Model) -> None:
    for response in (model.ask("Hi"), model.ask("[limited]"), model.request("GET", "/nothing")):
        assert CANARIES.items() <= dict(response.headers).items()
    assert model.request("GET", "/nothing").status_code == 404


def test_the_same_texts_cost_the_same_tokens(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        Model(folder).ask("[two] please")
    one, other = (read_ledger(folder / LEDGER)[0] for folder in folders)
    assert {**one, "time": ""} == {**other, "time": ""}


def test_ledger_survives_its_process(model: Model, tmp_path: Path) -> None:
    calls = [item for item in model.ask("[two]").json()["output"] if item["type"] == "function_call"]
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"time": "2026')  # the process ended while it wrote
    Model(tmp_path).ask("[two]", *calls, output(calls[0]["call_id"], "sunny"))
    first, second = read_ledger(tmp_path / LEDGER)
    assert (first["step"], second["step"]) == (0, 1)
    assert first["response_id"] != second["response_id"]


def test_demo_ledger_is_a_frame(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo.ledger()` has one row per request with its types, also before the first request, and only in a demo."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = demo.ledger()
        model.ask("[limited]")
        model.ask("[two]\u2028\x85 \n please")
        frame = demo.ledger()
    assert empty.empty
    assert list(empty.columns) == list(frame.columns)
    for name in ("time", "status", "step", "is_cut", "input_tokens", "reasoning_tokens"):
        assert empty[name].dtype == frame[name].dtype, name
    assert list(frame["status"]) == [429, 200]
    assert frame["input_tokens"].dtype == "Int64"
    assert str(frame["time"].dt.tz) == "UTC"
    monkeypatch.delenv(FOLDER_VARIABLE)
    with pytest.raises(SettingsError, match="demo folder not known"):
        demo.ledger()
    assert json.loads(frame["tool_calls"][1][0]["arguments"]) == {"city": "Rome"}
