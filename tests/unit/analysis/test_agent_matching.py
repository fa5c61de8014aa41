"""Tool calls are matched with the entries that executed them, and a match is called sure only if it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.agents import entries as entries_module, matching
from restate_lab.analysis.agents.entries import AgentEntry, Content
from restate_lab.analysis.agents.matching import (
    BY_ID,
    BY_ORDER,
    GUESSED,
    UNKNOWN,
    _align,
    match_tools,
)
from restate_lab.analysis.agents.model import ModelStep, ToolCall, ToolResult, parse_arguments, unwrap
from restate_lab.analysis.agents.points import CommandName, Pairs, has_value, name_points, scalars
from restate_lab.analysis.journal.entries import Entry
from restate_lab.errors import TimedOut
from restate_lab.payload_json import write_for_display
from restate_lab.reads import no_check
from support.operations import operations

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
def test_order_names_and_values_decide_and_a_match_without_evidence_is_a_guess(name: str) -> None:
    entries, expected = CASES[name]
    assert matches(entries) == expected


def test_a_session_that_repeats_a_result_with_the_id_of_its_call_proves_the_match() -> None:
    items = [
        {"type": "function_call_output", "call_id": "call_0", "output": repr(of("Rome"))},
        {"type": "function_call_output", "call_id": "call_1", "output": "5"},
        {"role": "tool", "tool_call_id": "call_2", "content": json.dumps(of("Oslo"))},
    ]
    entries = journal(model(ROME, ADD, OSLO), weather("Rome"), weather("Oslo"), model(), ("save", items))
    _, turns = match_tools(entries)
    assert matches(entries) == [([of("Rome")], BY_ID), ([], BY_ID), ([of("Oslo")], BY_ID)]
    assert [call.repeated.value if call.repeated else None for call in turns[0].calls][1] == "5"


def test_a_repeated_text_that_differs_from_the_journal_leaves_the_match_to_the_order() -> None:
    items = [{"type": "function_call_output", "call_id": "call_0", "output": "An error occurred"}]
    assert matches(journal(model(ROME), weather("Rome"), model(), ("save", items))) == [([of("Rome")], BY_ORDER)]
    twice = [*items, {**items[0], "output": "Another"}]
    entries = journal(model(ADD), model(), ("save", twice))
    assert matches(entries) == [([], UNKNOWN)]


def test_a_tool_without_commands_when_called_alone_gets_none_in_a_step_with_other_calls() -> None:
    tools = [("plain", {}), ("durable", {})]
    entries = journal(model(tools[0]), model(tools[1]), ("do it", 1), model(*tools), ("do it", 2), model())
    assert matches(entries, 2) == [([], UNKNOWN), ([2], BY_ORDER)]


CITIES = st.lists(st.sampled_from(["Rome", "Oslo", "Bern", "Lima", "Paris"]), min_size=1, max_size=5)


@given(cities=CITIES, plain=st.lists(st.booleans(), min_size=5, max_size=5), together=st.booleans())
def test_a_match_that_is_called_sure_has_the_value_of_its_call(
    cities: list[str], plain: list[bool], together: bool
) -> None:
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


SMALL = st.lists(
    st.lists(st.sampled_from([-60, -12, 0, 10, 12, 24, 34]), min_size=4, max_size=4), min_size=1, max_size=5
)


@given(rows=SMALL, calls=st.integers(1, 4), is_open=st.lists(st.booleans(), min_size=5, max_size=5))
def test_running_maxima_give_the_alignment_that_trying_every_earlier_call_gives(
    rows: list[list[int]], calls: int, is_open: list[bool]
) -> None:
    points = np.array([row[:calls] for row in rows])
    owners, is_unique = _align(points, is_open[: len(rows)])
    assert (owners.tolist(), is_unique) == align_by_definition(points.tolist(), calls, is_open)


def align_by_definition(points: Sequence[Sequence[int]], calls: int, is_open: Sequence[bool]) -> tuple[list[int], bool]:
    best: list[tuple[int, int, list[int]]] = []
    for row, is_still_open in zip(points, is_open, strict=False):
        new: list[tuple[int, int, list[int]]] = []
        for call in range(calls):
            fills = 0 if is_still_open and row[call] <= 0 else 10
            before = best[: call + 1]
            options = [
                (each[0] + (fills if at != call else not row[call]), each[1], each[2]) for at, each in enumerate(before)
            ] or [(fills, 1, [])]
            most = max(each[0] for each in options)
            chosen = [each for each in options if each[0] == most]
            new.append((most + row[call], sum(each[1] for each in chosen), [*chosen[-1][2], call]))
        best = new
    most = max(each[0] for each in best)
    chosen = [each for each in best if each[0] == most]
    return chosen[0][2], sum(each[1] for each in chosen) == 1


TEXTS = st.sampled_from(
    ["Rome", "rome 7", "New York", "7", "?!", "-7", "a_b", "İzmir", " ", "", "get", '{"city": "Rome"}']
)
VALUES: Any = st.recursive(
    TEXTS | st.sampled_from([7, 7.0, True, None, float("nan")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
TOOLS = st.tuples(st.sampled_from(["getWeather", "get", "book", "transfer_to_me", ""]), VALUES)
COMMANDS = st.tuples(st.sampled_from(["get weather Rome", "book", "x", "", "Calling get"]), VALUES)
REPEATED = st.lists(st.none() | VALUES | VALUES.map(repr) | VALUES.map(json.dumps), min_size=4, max_size=4)
LESSONS = st.dictionaries(
    st.sampled_from(["getWeather", "book"]), st.sets(st.sampled_from(["Run book", "Run get weather"])), max_size=2
)


@given(st.lists(TOOLS, min_size=1, max_size=4), st.lists(COMMANDS, min_size=1, max_size=4), REPEATED, LESSONS)
def test_points_from_indexes_are_those_of_comparing_each_command_with_each_call(
    tools: list[Any], commands: list[Any], repeated: list[Any], lessons: dict[str, set[str]]
) -> None:
    calls, entries = model(*tools).tool_calls, journal(*commands)
    results = [None if value is None else ToolResult("id", value) for value in repeated[: len(calls)]]
    expected = [
        [points_by_definition(each, *pair, lessons) for pair in zip(calls, results, strict=True)] for each in entries
    ]
    assert Pairs(entries, calls, results, no_check).points(lessons).tolist() == expected


def points_by_definition(
    each: AgentEntry, call: ToolCall, repeated: ToolResult | None, lessons: Mapping[str, set[str]]
) -> int:
    if call.name.startswith(("transfer_to_", "final_result")):
        return -60
    points = 80 if repeated is not None and is_repeated(each, repeated) else 0
    return points + 12 * shared_values(each, call) + name_points(CommandName.of(each), call.name, lessons)


def is_repeated(each: AgentEntry, repeated: ToolResult) -> bool:
    value = unwrap(each.value)
    if isinstance(repeated.value, str) and repeated.value in {repr(value), write_for_display(value)}:
        return True
    return bool(parse_arguments(value) == parse_arguments(repeated.value))


def shared_values(each: AgentEntry, call: ToolCall) -> int:
    values = [text.casefold() for text in scalars(call.arguments) if text and not text.isspace()]
    front, result = [each.entry.name or "", *scalars(each.argument)], scalars(each.value)
    for texts, weight in ((front, 2), (result, 1)):
        if any(has_value(text.casefold(), value) for text in texts for value in values):
            return weight
    return 0


def many_calls(number: int) -> list[AgentEntry]:
    """Return one response with so many calls of a tool, and a result for each."""
    cities = [f"City {at}" for at in range(number)]
    items = [
        {"role": "tool", "tool_call_id": f"call_{at}", "content": json.dumps(of(city))}
        for at, city in enumerate(cities)
    ]
    tools = [("get_weather", {"city": city}) for city in cities]
    return journal(model(*tools), *map(weather, cities), model(), ("save", items[: number // 2]))


def test_twice_the_calls_and_commands_need_about_twice_the_instructions() -> None:
    once, twice = (operations(partial(match_tools, many_calls(number))) for number in (20, 40))
    assert twice < 2.5 * once


def test_a_result_is_parsed_once_for_its_shape_its_pairs_and_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    decode = entries_module.decode
    monkeypatch.setattr(entries_module, "decode", lambda value: parsed.append(value) or decode(value))
    entries = entries_module.with_models(many_calls(6), (), no_check)
    match_tools(entries)
    _ = [(each.value, each.argument) for each in entries if each.model is None]
    assert len(parsed) == len([each for each in entries if each.content.value])


def test_above_the_limit_of_pairs_the_commands_are_guessed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_MOST_PAIRS", 3)
    tools = [("get_weather", ROME[1]), ("other", {})]
    entries = journal(model(*tools), weather("Rome"), ("step", 1), ("step", 2), model())
    assert matches(entries) == [([of("Rome")], GUESSED), ([1, 2], GUESSED)]


def test_a_deadline_ends_the_matching_while_entries_are_read() -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise TimedOut("over")

    with pytest.raises(TimedOut):
        match_tools(many_calls(20), check)
    assert calls == 31
