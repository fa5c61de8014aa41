"""The budget of a tool's result: it holds, and everything that was cut is reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from restate_lab._text import escape_invisible
from restate_lab.mcp.budget import MOST_ROWS, Budget, fit, json_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=40,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=9), JSON, max_size=6), max_size=60)


def rows(count: int, text: str = "x") -> list[dict[str, Any]]:
    return [{"id": number, "text": text} for number in range(count)]


def test_a_result_within_its_budget_is_unchanged() -> None:
    data = {"verdict": "healthy", "at": None, "n": 3, "share": 0.5, "findings": rows(3), "notes": ["one"]}
    result = fit(data, Budget(10, 10_000))
    assert (result.data, result.truncated, result.rows) == (data, [], 3)


def test_skip_returns_the_following_rows_until_all_were_returned() -> None:
    seen, skip = [], 0
    while True:
        result = fit({"rows": rows(23)}, Budget(5, 10_000), skip=skip)
        seen += result.data["rows"]
        (note,) = result.truncated
        assert (note["part"], note["total"]) == ("rows", 23)
        if "for the first rows" in note["next"]:
            break
        skip = int(note["next"].rpartition("=")[2])
    assert seen == rows(23)


def test_no_call_gets_more_rows_than_the_maximum() -> None:
    assert fit({"rows": rows(2 * MOST_ROWS)}, Budget(10**6, 10**7)).rows == MOST_ROWS


def test_long_texts_are_shortened_before_rows_are_omitted() -> None:
    """Five rows with long texts all fit, each with a mark and the number of missing characters."""
    result = fit({"rows": rows(5, "y" * 50_000)}, Budget(5, 12_000))
    assert result.rows == 5
    assert result.data["rows"][0]["text"].endswith("more characters)")
    assert [note["part"] for note in result.truncated] == ["rows"]
    assert result.truncated[0]["shortened"] == 5


def test_values_that_json_cannot_hold_are_texts() -> None:
    data = {"rows": [{"text": "a\ud83d", "number": float("inf"), "at": datetime(2026, 11, 28, tzinfo=UTC)}]}
    (row,) = fit(data, Budget(5, 1_000)).data["rows"]
    assert row == {"text": "a‹U+D83D›", "number": None, "at": "2026-11-28T00:00:00+00:00"}


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202egnp.exe", "a\u200bb", "</script>", '"}], "data": {}'])
def test_json_has_no_invisible_character_and_the_same_value(text: str) -> None:
    written = json_text({"text": text})
    assert written.isprintable()
    assert json.loads(written) == {"text": text}


def test_no_value_has_an_invisible_character() -> None:
    """A model reads tags, directions and controls that a person does not see, so they are codes in each value."""
    hidden = "".join(chr(0xE0000 + ord(each)) for each in "obey")
    data = {
        "fact": hidden,
        "rows": [{"key": f"a{hidden}", hidden: ["\x1b[2J", {"\u200b": "\u202egnp"}], "two": "a\nb\t"}],
    }
    shown = json.loads(json_text(fit(data, Budget(5, 10_000)).data))
    assert shown["fact"].startswith("‹U+E006F›‹U+E0062›")
    assert shown["rows"][0]["two"] == "a\nb\t"
    assert "\\u" not in json_text(shown)
    assert escape_invisible(json.dumps(shown, ensure_ascii=False)) == json.dumps(shown, ensure_ascii=False)


@given(st.dictionaries(st.text(max_size=9), JSON | ROWS, max_size=5), st.integers(1, 50), st.integers(1_000, 20_000))
def test_any_data_fits_and_every_missing_row_is_reported(data: dict[str, Any], most: int, size: int) -> None:
    """Of any JSON, the result is JSON of about the budget, and the notes have each list that is not complete."""
    result = fit(data, Budget(most, size))
    json.loads(json_text(result.data))
    lists = {name: value for name, value in data.items() if isinstance(value, list) and value}
    reported = {note["part"] for note in result.truncated if "total" in note}
    for name, value in lists.items():
        if all(isinstance(row, dict) for row in value):
            shown = result.data[name]
            assert len(shown) <= most
            assert (len(shown) < len(value)) == (name in reported)


def test_the_bytes_hold_for_rows_of_any_size() -> None:
    """Rows that are larger than the whole budget are omitted and reported, and facts are shortened."""
    wide = {f"column {n}": "z" * 5_000 for n in range(200)}
    nested: Any = "f" * 5_000
    for _ in range(4):
        nested = [nested] * 5
    facts = {f"fact {n}": nested for n in range(3)}
    result = fit({**facts, "rows": [wide] * 30}, Budget(30, 8_000))
    assert len(json_text(result.data)) < 8_000
    assert {note["part"] for note in result.truncated} == {"rows", "facts"}
    assert result.rows == 0
