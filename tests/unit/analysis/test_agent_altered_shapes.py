"""Payloads whose shape a new version of an integration could have: a number is the right one or unknown."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.analysis.agents.entries import AgentEntry, Content, recognize, with_models
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.analysis.agents.prices import price_table
from restate_lab.analysis.agents.turns import turns_of
from restate_lab.analysis.journal.entries import DONE, Entry
from support.agent_payloads import NUMBERS, PAYLOADS

Path = tuple[str | int, ...]
Change = Callable[[Any, st.DataObject], None]


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


def alter(payload: Any, data: st.DataObject) -> Any:
    """Return a payload with one field that was removed, renamed, retyped, nested or wrapped."""
    path = data.draw(st.sampled_from([*places(payload)]))
    parent, key = payload, path[-1]
    for each in path[:-1]:
        parent = parent[each]
    match data.draw(st.sampled_from(("remove", "rename", "retype", "nest", "unwrap", "wrap"))):
        case "remove":
            del parent[key]
        case "rename" if isinstance(key, str):
            parent[data.draw(st.sampled_from(renamed(key)))] = parent.pop(key)
        case "retype":
            is_zero = key == "thoughts_token_count"  # null is how ADK writes none
            parent[key] = copy.deepcopy(data.draw(st.sampled_from(OTHER_TYPES[is_zero:])))
        case "nest":
            parent[key] = data.draw(st.sampled_from(NESTS))(parent[key])
        case "unwrap" if isinstance(parent, dict) and isinstance(parent[key], dict):
            parent |= parent.pop(key)
        case _:
            return {"wrapper": payload}
    return payload


def check(name: str, data: st.DataObject) -> None:
    payload = copy.deepcopy(PAYLOADS[name])
    for _ in range(data.draw(st.integers(1, 5))):
        if any(places(payload)):
            payload = alter(payload, data)
    entry = Entry("Run", 1, 2, name="call LLM", status=DONE)
    (read,) = with_models([AgentEntry(entry, Content(value=json.dumps(payload).encode()))], ())
    turns = turns_of("inv_1", [read], price_table(None))
    for each in [recognize(payload), *turns]:
        for field, right in zip(TOKENS, NUMBERS, strict=True):
            assert getattr(each, field, None) in (right, None), (field, payload)
    for turn in turns:
        json.dumps([turn.text, turn.reasoning, turn.refusal]).encode()
        assert turn.tool is None or isinstance(turn.tool, str)


@given(name=st.sampled_from(sorted(PAYLOADS)), data=st.data())
def test_a_removed_renamed_retyped_or_nested_field_gives_the_right_number_or_none(
    name: str, data: st.DataObject
) -> None:
    check(name, data)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PAYLOADS)
@given(data=st.data())
@settings(max_examples=1_000)
def test_many_changes_of_fields_give_the_right_number_or_none(name: str, data: st.DataObject) -> None:
    check(name, data)
