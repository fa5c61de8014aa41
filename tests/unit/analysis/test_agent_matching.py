"""Tool calls are matched with the entries that executed them, and a match is called sure only if it is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.agents import assignment, entries as entries_module
from restate_lab.analysis.agents.alignment import align
from restate_lab.analysis.agents.entries import AgentEntry, Content
from restate_lab.analysis.agents.matching import (
    BY_ID,
    BY_ORDER,
    GUESSED,
    UNKNOWN,
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


def rails(*stops: str) -> list[tuple[str, Any]]:
    return [("rail_search", {"from": start, "to": end}) for start, end in itertools.pairwise(stops)]


def found(*trains: str) -> tuple[str, Any]:
    return "find connection", {"trains": [*trains]}


HOLD, PACK = ("seat_hold", {"train": "EC 41"}), ("pack_advice", {"city": "Rome"})
BY_NAME: dict[str, tuple[list[AgentEntry], list[tuple[list[Any], str]]]] = {
    "a tool without an entry between those of another": (
        journal(
            model(*rails("Bern", "Milan", "Rome"), HOLD, PACK, *rails("Rome", "Bern")),
            *(found("EC 41"), found("FR 9"), ("hold seat", {"held": True}), found("EC 50")),
            model(),
        ),
        [
            *([([{"trains": [train]}], GUESSED) for train in ("EC 41", "FR 9")]),
            *([([{"held": True}], GUESSED), ([], UNKNOWN)]),
            ([{"trains": ["EC 50"]}], GUESSED),
        ],
    ),
    "the same, and the result has the argument of the other tool": (
        journal(
            model(*rails("Bern", "Milan", "Rome"), HOLD, PACK, *rails("Rome", "Bern")),
            *(found("EC 41"), found("FR 9"), ("hold seat", {"held": True}), found("EC 50 from Rome")),
            model(),
        ),
        [
            *([([{"trains": [train]}], GUESSED) for train in ("EC 41", "FR 9")]),
            *([([{"held": True}], GUESSED), ([], UNKNOWN)]),
            ([{"trains": ["EC 50 from Rome"]}], GUESSED),
        ],
    ),
    "one name that either of two tools can have": (
        journal(model(("first", {}), ("second", {})), ("x", 1), ("x", 2), model()),
        [([], UNKNOWN), ([], UNKNOWN)],
    ),
    "one entry that either of two tools can have": (
        journal(model(("first", {}), ("second", {})), ("x", 1), model()),
        [([], UNKNOWN), ([], UNKNOWN)],
    ),
    "one name for two tools, which their values prove": (
        journal(
            model(("first", {"city": "Rome"}), ("second", {"city": "Oslo"})), ("x", "Rome"), ("x", "Oslo"), model()
        ),
        [(["Rome"], BY_ORDER), (["Oslo"], BY_ORDER)],
    ),
    "one name for two tools, which single calls show": (
        journal(
            model(("first", {})),
            ("x", 1),
            model(("second", {})),
            ("x", 2),
            model(("first", {}), ("second", {})),
            *(("x", 3), ("x", 4)),
            model(),
        ),
        [([3], BY_ORDER), ([4], BY_ORDER)],
    ),
    "a word that only one tool has in its name": (
        journal(model(("ask_person", {}), ("add", {"a": 1})), ("notify person", "sent"), model()),
        [(["sent"], GUESSED), ([], UNKNOWN)],
    ),
    "a value in a result that only one of two tools can have": (
        journal(model(("first", {"city": "Rome"}), ("second", {"city": "Oslo"})), ("x", "Rome"), model()),
        [(["Rome"], GUESSED), ([], UNKNOWN)],
    ),
    "entries without a name": (
        journal(
            model(("ask_person", {}), ("approve_order", {})),
            *(("ask person", 1), ("signal", 2), ("approve order", 3), ("signal", 4)),
            model(),
        ),
        [([1, 2], GUESSED), ([3, 4], GUESSED)],
    ),
    "two names of one tool that end in numbers": (
        journal(model(("search", {}), ("search", {}), PACK), ("page 1", 1), ("page 2", 2), model()),
        [([1], GUESSED), ([2], GUESSED), ([], UNKNOWN)],
    ),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_entries_of_one_name_belong_to_one_tool_or_to_none_if_that_is_not_consistent(name: str) -> None:
    entries, expected = BY_NAME[name]
    assert matches(entries, len(match_tools(entries)[1]) - 2) == expected


def test_a_step_that_the_handler_also_has_without_a_tool_is_not_the_step_of_a_tool() -> None:
    plain = ("pack_advice", {"city": "Rome"})
    entries = journal(model(plain), ("save", 1), model(ROME, plain), weather("Rome"), ("save", 2), model(), ("save", 3))
    assert matches(entries) == [([], UNKNOWN)]
    assert matches(entries, 1) == [([of("Rome")], BY_ORDER), ([], UNKNOWN)]
    _, turns = match_tools(entries)
    assert [[each.value for each in turn.others] for turn in turns] == [[1], [2], [3]]
    named = journal(weather("Rome"), model(ROME), weather("Rome"), model())
    assert matches(named) == [([of("Rome")], BY_ORDER)]


def test_a_tool_that_the_provider_executed_has_its_result_from_the_response_and_no_entry() -> None:
    step = model(("web_search", {"query": "Rome"}), ROME)
    step = step._replace(results=(ToolResult("call_0", "A city"),))
    entries = journal(step, weather("Rome"), model())
    assert matches(entries) == [([], BY_ID), ([of("Rome")], BY_ORDER)]
    alone = journal(step._replace(tool_calls=step.tool_calls[:1]), ("save", "Rome"), model(), ("x", 1), model())
    assert matches(alone) == [([], BY_ID)]


def test_an_id_that_several_calls_have_proves_nothing() -> None:
    """Some providers count the calls of each response from 0."""
    items = [{"role": "tool", "tool_call_id": "call_0", "content": "5"}]
    entries = journal(model(ADD), ("save", items), model(ADD), model())
    assert matches(entries, 1) == [([], UNKNOWN)]


@pytest.mark.parametrize("framework", ["Pydantic AI", "Restate agent"])
def test_a_later_command_of_tools_that_started_together_needs_evidence_for_one_call(framework: str) -> None:
    """The second command of a tool comes in any order."""
    step = model(("book", {"city": "Oslo"}), ("reserve", {"city": "Bern"}), framework=framework)
    entries = journal(step, ("hotel", 1), ("train", 2), ("seat", "Bern"), ("ticket", 3), model())
    entries = [
        AgentEntry(
            replace(each.entry, completion_index=at), each.content, model=each.model, is_model_call=bool(each.model)
        )
        for each, at in zip(entries, (1, 250, 260, 301, 401, 501), strict=True)
    ]
    assert matches(entries) == [([1], GUESSED), ([2, "Bern"], GUESSED)]


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
def test_running_maxima_give_the_alignments_that_trying_each_of_them_gives(
    rows: list[list[int]], calls: int, is_open: list[bool]
) -> None:
    points = [row[:calls] for row in rows]
    best = align(np.array(points), np.array(is_open[: len(rows)]))
    alignments = {
        owners: points_of(owners, points, is_open)
        for owners in itertools.combinations_with_replacement(range(calls), len(rows))
    }
    most = max(alignments.values())
    expected = [owners for owners, total in alignments.items() if total == most]
    assert (best.total, tuple(best.owners), best.is_unique) == (most, min(expected), len(expected) == 1)
    calls_of = [{owners[at] for owners in expected} for at in range(len(rows))]
    assert [set(np.flatnonzero(row).tolist()) for row in best.possible] == calls_of
    assert best.filled == len(set(min(expected)))


def points_of(owners: Sequence[int], points: Sequence[Sequence[int]], is_open: Sequence[bool]) -> int:
    total, before = 0, None
    for owner, row, is_still_open in zip(owners, points, is_open, strict=False):
        filled = 0 if is_still_open and row[owner] <= 0 else 10
        total += row[owner] + (int(row[owner] == 0) if owner == before else filled)
        before = owner
    return total


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


def test_above_the_limit_of_pairs_only_the_commands_of_one_tool_are_guessed_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assignment, "_MOST_PAIRS", 3)
    commands = weather("Rome"), ("step", 1), ("step", 2)
    assert matches(journal(model(ROME, OSLO), *commands, model())) == [([of("Rome")], GUESSED), ([1, 2], GUESSED)]
    assert matches(journal(model(ROME, ADD), *commands, model())) == [([], UNKNOWN), ([], UNKNOWN)]


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
