"""Payloads whose shape a new version of an integration could have: a number is the right one or unknown."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.agents.entries import AgentEntry, Content, recognize, with_models
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.analysis.agents.prices import price_table
from restate_lab.analysis.agents.turns import turns_of
from restate_lab.analysis.journal.entries import DONE, Entry
from support.agent_payloads import NUMBERS, PAYLOADS
from support.agent_samples import SAMPLES

FIELDS = (*TOKENS, "cache_write_tokens")
CASES: dict[str, tuple[Any, tuple[int | None, ...]]] = {
    **{name: (payload, (*NUMBERS, None)) for name, payload in PAYLOADS.items()},
    **{name: (each.payload, tuple(each.expected[field] for field in FIELDS)) for name, each in SAMPLES.items()},
}
"""A payload of each shape, with the right numbers."""
NULL_IS_0 = frozenset(
    [
        *("thoughts_token_count", "thoughtsTokenCount", "tool_use_prompt_token_count", "toolUsePromptTokenCount"),
        *("cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
    ]
)
"""Fields that packages write as null if there are no such tokens."""
Path = tuple[str | int, ...]
PRICES = price_table(None)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each field and element of a payload."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def renamed(key: str) -> list[str]:
    """Return other names that a field may get: in another case, with a prefix, or in the plural."""
    words = key.split("_")
    camel = words[0] + "".join(word.title() for word in words[1:])
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
    return [name for name in (camel, snake, key.upper(), f"new_{key}", f"{key}s", f"{key}V2") if name != key]


OTHER_TYPES: tuple[Any, ...] = (None, True, "", "12", "text", 1.5, -1, float("nan"), 1 << 70, [], {}, [None], {"a": []})
NESTS: tuple[Callable[[Any], Any], ...] = (
    lambda value: {"value": value},
    lambda value: [value],
    lambda value: {"total": value, "unit": "tokens"},
    lambda value: {"json": {"value": value}},
    json.dumps,
)


Choose = Callable[[Sequence[Any]], Any]


def alter(payload: Any, choose: Choose) -> Any:
    """Return a payload with one field that was removed, renamed, retyped, nested or wrapped."""
    path = choose([*places(payload)])
    parent, key = payload, path[-1]
    for each in path[:-1]:
        parent = parent[each]
    match choose(("remove", "rename", "retype", "nest", "unwrap", "wrap")):
        case "remove":
            del parent[key]
        case "rename" if isinstance(key, str):
            parent[choose(renamed(key))] = parent.pop(key)
        case "retype":
            parent[key] = copy.deepcopy(choose(OTHER_TYPES[key in NULL_IS_0 :]))
        case "nest":
            parent[key] = choose(NESTS)(parent[key])
        case "unwrap" if isinstance(parent, dict) and isinstance(parent[key], dict):
            parent |= parent.pop(key)
        case _:
            return {"wrapper": payload}
    return payload


def check(name: str, choose: Choose) -> None:
    payload, numbers = copy.deepcopy(CASES[name])
    for _ in range(choose(range(1, 6))):
        if any(places(payload)):
            payload = alter(payload, choose)
    entry = Entry("Run", 1, 2, name="call LLM", status=DONE)
    (read,) = with_models([AgentEntry(entry, Content(value=json.dumps(payload).encode()))], ())
    turns = turns_of("inv_1", [read], PRICES)
    for each in [recognize(payload), *turns]:
        for field, right in zip(FIELDS, numbers, strict=True):
            assert getattr(each, field, None) in (right, None), (field, payload)
    for turn in turns:
        json.dumps([turn.text, turn.reasoning, turn.refusal]).encode()
        assert turn.tool is None or isinstance(turn.tool, str)


@given(name=st.sampled_from(sorted(CASES)), data=st.data())
def test_a_removed_renamed_retyped_or_nested_field_gives_the_right_number_or_none(
    name: str, data: st.DataObject
) -> None:
    check(name, lambda values: data.draw(st.sampled_from(values)))


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_thousand_changes_of_fields_give_the_right_number_or_none(name: str) -> None:
    choose = random.Random(name).choice  # noqa: S311 - no secret
    for _ in range(1_000):
        check(name, choose)
