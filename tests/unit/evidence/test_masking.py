"""The quick check of a column of entries misses nothing that the full check would mask."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from restate_lab.evidence import masking
from restate_lab.evidence.masking import MaskCounts, column_masks, mask_batch, may_need_masking
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.redaction import MASK

COLUMNS = {"sys_journal": ["entry_json"], "sys_journal_events": ["event_json"], "sys_invocation": ["last_failure"]}
COLUMNS["sys_invocation_status"] = ["completion_failure"]
NAMES = ("card", "card", "card", "message", "Failure", "cardinal", 'a"card', "c\u0430rd", "note")
HEADERS = ("Authorization", "x-tenant", "COO\u212aIE", "api_key", 'x"token', "se\u017fsion-\u017fecret", "pem", "a.pem")
PATTERNS: tuple[list[str], ...] = (
    ["failures"],
    ["$.card"],
    ["$..card.note"],
    ["$..card", "$.note"],
    ["$['a\"card']"],
    ["$.*"],
    ["$[0]"],
    [],
)


def value(choice: random.Random, depth: int = 0) -> Any:
    kind = choice.random()
    if depth > 3 or kind < 0.3:
        return choice.choice(["4111", 4111, None, 1.5, "card", '"card":', "[1,2]", "\\u0063ard", "\u2028"])
    if kind < 0.5:
        return [value(choice, depth + 1) for _ in range(choice.randint(0, 3))]
    return {choice.choice(NAMES): value(choice, depth + 1) for _ in range(choice.randint(0, 3))}


def spelled(choice: random.Random, what: Any) -> str:
    separators = choice.choice([(",", ":"), (", ", ": "), (" ,\n", " :\t"), (",", ":")])
    text = json.dumps(what, ensure_ascii=choice.random() < 0.3, separators=separators)
    return text.replace("card", "\\u0063ard") if choice.random() < 0.5 else text


def entry(choice: random.Random) -> str | None:
    payload = choice.choice(
        [*[spelled(choice, value(choice)).encode() for _ in range(9)], b"card", b'"card"', b"\xff\x00", b"{", b""]
    )
    named = [{"name": choice.choice(HEADERS), "value": "4111"} for _ in range(choice.randint(0, 2))]
    body: dict[str, Any] = choice.choice(
        [
            {"Input": {"headers": named, "payload": list(payload)}},
            {"Output": {"result": {"Failure": {"code": 500, "message": "4111", "metadata": []}}}},
            {"Run": {"values": [[{"key": "card", "value": list(payload)}]]}},
            {"Call": {"request": {"headers": choice.choice([[], {}, {"token": "4111"}, [["token", "4111"]]])}}},
            {"Odd": value(choice), "numbers": [1000, -1, 1.5], "flags": [True, None]},
        ]
    )
    text = spelled(choice, {"Command": body})
    return choice.choice([*[text] * 20, None, "", "[]", '"card"'])


@pytest.mark.parametrize("patterns", PATTERNS, ids=str)
def test_the_quick_check_gives_the_result_of_the_full_check(
    patterns: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = random.Random(42)  # noqa: S311 - the same forms in every run
    entries = pa.RecordBatch.from_arrays([pa.array([entry(choice) for _ in range(700)])], names=["entry_json"])
    masks = column_masks("sys_journal", ["entry_json"], parse_patterns(patterns, COLUMNS))
    quick, close = MaskCounts(), MaskCounts()
    found = mask_batch(entries, masks, quick)
    monkeypatch.setattr(masking, "may_need_masking", lambda values, _: pc.is_valid(values))
    expected = mask_batch(entries, masks, close)
    assert found.column(0).to_pylist() == expected.column(0).to_pylist()
    assert {name: n for name, n in quick.hits.items() if n} == {name: n for name, n in close.hits.items() if n}
    assert MASK in str(found.column(0).to_pylist())


def test_most_entries_are_not_suspect() -> None:
    """The most frequent entries of servers skip the full check: it would be slow, and no other test would notice."""
    headers = [{"name": "traceparent", "value": "00-1-2-01"}]
    call = json.dumps({"Command": {"Call": {"headers": headers, "parameter": list(b'{"a":1}')}}}, separators=(",", ":"))
    run = '{"Command":{"Run":{"completion_id":1,"name":"pay"}}}'
    parsed = [each for each in parse_patterns(["failures", "$..card"], COLUMNS) if each.path]
    assert may_need_masking(pa.array([call, run, None]), parsed).to_pylist() == [False] * 3
