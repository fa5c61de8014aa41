"""Tool calls are matched with the entries that executed them, and a match is called sure only if it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.agents.entries import AgentEntry, Content
from restate_lab.analysis.agents.matching import BY_ID, BY_ORDER, GUESSED, UNKNOWN, match_tools
from restate_lab.analysis.agents.model import ModelStep, ToolCall
from restate_lab.analysis.journal.entries import Entry

ROME, OSLO, BERN = ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}), ("weather", {"city": "Bern"})
ADD, BOOK, ASK = ("add", {"a": 2, "b": 3}), ("book", {"city": "Oslo"}), ("ask_person", {"question": "May I?"})
SEQUENTIAL, PARALLEL = "OpenAI Agents", "Vercel AI"


def model(*calls: tuple[str, Any], framework: str = SEQUENTIAL) -> Any:
    tools = tuple(ToolCall(f"call_{number}", *call) for number, call in enumerate(calls))
    return ModelStep(framework, tool_calls=tools, text="Hi")


def journal(*parts: Any, together: bool = False) -> list[AgentEntry]:
    """Return entries for responses of models, and for commands as (name, value), in their order.

    With ``together``, the commands between two responses all start before the first of them has its result.
    """
    entries: list[AgentEntry] = []
    for number, part in enumerate(parts):
        index, end = 100 * number, 100 * number + (5_000 if together and not isinstance(part, ModelStep) else 1)
        if isinstance(part, ModelStep):
            entry = Entry("Run", index, end, name="call LLM", status="done")
            entries.append(AgentEntry(entry, Content(b"{}"), model=part, is_model_call=True))
            continue
        name, value, *state = part
        is_signal = name == "signal"
        entry = Entry(
            "Signal" if is_signal else "Run",
            index,
            index if is_signal else end,
            name=None if is_signal else name,
            awakeable_id="sign_1" if is_signal else None,
            status=state[0] if state else "done",
        )
        entries.append(AgentEntry(entry, Content(json.dumps(value).encode())))
    return entries


def matches(entries: Sequence[AgentEntry], turn: int = 0) -> list[tuple[list[Any], str]]:
    _, turns = match_tools(entries)
    return [([each.value for each in call.entries], call.how) for call in turns[turn].calls]


def weather(city: str) -> tuple[str, Any]:
    return "get weather", {"city": city, "celsius": len(city)}


def of(city: str) -> dict[str, Any]:
    return {"city": city, "celsius": len(city)}


CASES: dict[str, tuple[list[AgentEntry], list[tuple[list[Any], str]]]] = {
    "a single call": (journal(model(ROME), ("fetch", 1), model()), [([1], BY_ORDER)]),
    "in order, by value": (
        journal(model(ROME, OSLO), weather("Rome"), weather("Oslo"), model()),
        [([of("Rome")], BY_ORDER), ([of("Oslo")], BY_ORDER)],
    ),
    "two equal calls": (
        journal(model(ROME, OSLO, ROME), weather("Rome"), weather("Oslo"), weather("Rome"), model()),
        [([of("Rome")], BY_ORDER), ([of("Oslo")], BY_ORDER), ([of("Rome")], BY_ORDER)],
    ),
    "a tool without an entry": (
        journal(model(ROME, ADD, OSLO), weather("Rome"), weather("Oslo"), model()),
        [([of("Rome")], BY_ORDER), ([], UNKNOWN), ([of("Oslo")], BY_ORDER)],
    ),
    "a tool with two entries": (
        journal(
            model(ROME, BOOK, BERN), weather("Rome"), ("hotel", "h in Oslo"), ("train", "t"), weather("Bern"), model()
        ),
        [([of("Rome")], BY_ORDER), (["h in Oslo", "t"], GUESSED), ([of("Bern")], BY_ORDER)],
    ),
    "two entries with the value of their call": (
        journal(model(ROME, BOOK), weather("Rome"), ("hotel", "h in Oslo"), ("train", "t in Oslo"), model()),
        [([of("Rome")], BY_ORDER), (["h in Oslo", "t in Oslo"], GUESSED)],
    ),
    "nothing speaks for a call": (
        journal(model(("first", {}), ("second", {})), ("x", 1), ("y", 2), model()),
        [([1], GUESSED), ([2], GUESSED)],
    ),
    "a wait for a person": (
        journal(model(ASK, ROME), ("notify", "May I?"), ("signal", "yes"), weather("Rome"), model()),
        [(["May I?", "yes"], GUESSED), ([of("Rome")], BY_ORDER)],
    ),
    "an open wait": (
        journal(model(ASK, ROME), ("notify", "May I?"), ("signal", None, "open")),
        [(["May I?", None], GUESSED), ([], UNKNOWN)],
    ),
    "a handoff": (journal(model(("transfer_to_expert", {})), ("own step", 1), model()), [([], UNKNOWN)]),
    "own steps of an integration": (
        journal(model(ROME), ("store session", 1), weather("Rome"), model()),
        [([of("Rome")], BY_ORDER)],
    ),
    "a last response with a call": (journal(model(ROME), ("save", 1)), [([1], GUESSED)]),
    "started together": (
        journal(model(OSLO, ROME, framework=PARALLEL), weather("Oslo"), weather("Rome"), model(), together=True),
        [([of("Oslo")], BY_ORDER), ([of("Rome")], BY_ORDER)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_matches(name: str) -> None:
    """Order, names and values decide; without evidence, or with several entries, a match is a guess."""
    entries, expected = CASES[name]
    assert matches(entries) == expected


def test_a_later_payload_proves_a_match() -> None:
    """A session repeats results with the ids of their calls; text, JSON and Python's repr of a value are equal."""
    items = [
        {"type": "function_call_output", "call_id": "call_0", "output": repr(of("Rome"))},
        {"type": "function_call_output", "call_id": "call_1", "output": "5"},
        {"role": "tool", "tool_call_id": "call_2", "content": json.dumps(of("Oslo"))},
    ]
    entries = journal(model(ROME, ADD, OSLO), weather("Rome"), weather("Oslo"), model(), ("save", items))
    _, turns = match_tools(entries)
    assert matches(entries) == [([of("Rome")], BY_ID), ([], BY_ID), ([of("Oslo")], BY_ID)]
    assert [call.repeated.value if call.repeated else None for call in turns[0].calls][1] == "5"


def test_another_repeated_text_proves_nothing() -> None:
    """The model can get another text than the journal has, for example for an error; then the order decides."""
    items = [{"type": "function_call_output", "call_id": "call_0", "output": "An error occurred"}]
    assert matches(journal(model(ROME), weather("Rome"), model(), ("save", items))) == [([of("Rome")], BY_ORDER)]
    twice = [*items, {**items[0], "output": "Another"}]
    entries = journal(model(ADD), model(), ("save", twice))
    assert matches(entries) == [([], UNKNOWN)]


def test_single_calls_teach_what_a_tool_does() -> None:
    """A tool that issued no command when it was called alone gets none in a step with other calls."""
    tools = [("plain", {}), ("durable", {})]
    entries = journal(model(tools[0]), model(tools[1]), ("do it", 1), model(*tools), ("do it", 2), model())
    assert matches(entries, 2) == [([], UNKNOWN), ([2], BY_ORDER)]


CITIES = st.lists(st.sampled_from(["Rome", "Oslo", "Bern", "Lima", "Paris"]), min_size=1, max_size=5)


@given(cities=CITIES, plain=st.lists(st.booleans(), min_size=5, max_size=5), together=st.booleans())
def test_sure_matches_are_right(cities: list[str], plain: list[bool], together: bool) -> None:
    """Whatever calls a step has, equal ones too, a match that is called sure has the value of its own city."""
    calls, commands = [], []
    for city, is_plain in zip(cities, plain, strict=False):
        calls.append(("lookup" if is_plain else "weather", {"city": city}))
        commands += [] if is_plain else [weather(city)]
    step = model(*calls, framework=PARALLEL if together else SEQUENTIAL)
    entries = journal(step, *commands, model(), together=together)
    for (city, is_plain), (values, how) in zip(zip(cities, plain, strict=False), matches(entries), strict=True):
        assert how in {BY_ORDER, GUESSED, UNKNOWN}
        if how == BY_ORDER:
            assert not is_plain
            assert values == [of(city)]
    assert sum(len(values) for values, _ in matches(entries)) == len(commands)
