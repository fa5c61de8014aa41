"""What redact= masks, and what it leaves to the byte."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.errors import ArgumentError
from restate_lab.evidence.json_path import masked, parse_path
from restate_lab.evidence.masking import Masks
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.redact import MASK
from support.freezable import TABLES, TEXT

COLUMNS = {table: list(columns) for table, columns in TABLES.items()} | {
    "sys_journal_events": ["id", "event_json"],
    "sys_invocation": ["id", "last_failure"],
}


def mask(patterns: list[str], table: str, column: str, *values: Any, kind: pa.DataType = TEXT) -> list[Any]:
    masks = Masks(parse_patterns(patterns, COLUMNS), {"sys_invocation_state": ["sys_invocation"]})
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind)], names=[column])
    after = masks.apply(table, batch).column(0)
    assert after.type == kind
    return after.to_pylist()


def entry(payload: bytes, **more: Any) -> str:
    body = {"headers": [], "payload": list(payload), "name": ""} | more
    return json.dumps({"Command": {"Input": body}}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("path", "value", "after"),
    [
        ("$.a.b", {"a": {"b": 1, "c": 2}}, {"a": {"b": MASK, "c": 2}}),
        ("$.a", {"a": {"b": 1}, "d": {"a": 2}}, {"a": MASK, "d": {"a": 2}}),
        (
            "$..a",
            {"a": {"b": 1}, "d": [{"a": 2}, {"e": {"a": 3}}]},
            {"a": MASK, "d": [{"a": MASK}, {"e": {"a": MASK}}]},
        ),
        ("$..a.b", {"a": {"a": {"b": 1}}, "b": 2}, {"a": {"a": {"b": MASK}}, "b": 2}),
        ("$.a[*].b", {"a": [{"b": 1}, {"c": 2}]}, {"a": [{"b": MASK}, {"c": 2}]}),
        ("$.a[1]", {"a": [1, 2, 3]}, {"a": [1, MASK, 3]}),
        ("$.*", {"a": 1, "b": [2]}, {"a": MASK, "b": MASK}),
        ("$['odd name']", {"odd name": 1}, {"odd name": MASK}),
        ("$.a", [1, 2], [1, 2]),
        ("$..a", [1, [2, [{"a": 4}]]], [1, [2, [{"a": MASK}]]]),
        ("$.1", {"1": "x"}, {"1": MASK}),
    ],
)
def test_paths(path: str, value: Any, after: Any) -> None:
    """Each form of a path masks what it leads to, and nothing else."""
    assert masked(value, parse_path(path))[0] == after


@pytest.mark.parametrize("text", ["$", "$.", "$x", "$.a[", "$.a[x]", "a.b", "$.a b", "$['x]"])
def test_no_paths(text: str) -> None:
    """What is no path is an error, for it would hide nothing."""
    with pytest.raises(ArgumentError, match="no path into JSON"):
        parse_path(text)


@pytest.mark.parametrize("text", ["completion_falure", "stat.value", "sys_journal.entry-json", "state.value:.a", ""])
def test_a_pattern_that_covers_nothing_is_an_error(text: str) -> None:
    """A typing error in what is to be hidden must not show it."""
    with pytest.raises(ArgumentError, match="redact="):
        parse_patterns([text], COLUMNS)


def test_whole_columns() -> None:
    """Text and bytes become the mask, null stays null, other types become null."""
    assert mask(["last_failure"], "sys_invocation_state", "last_failure", "boom", None) == [MASK, None]
    assert mask(["sys_invocation.last_failure"], "sys_invocation_state", "last_failure", "boom") == [MASK]
    assert mask(["state.value"], "state", "value", b"x", kind=pa.large_binary()) == [MASK.encode()]
    assert mask(["state.value"], "state", "value_utf8", "x") == [MASK], "the same value as text"
    assert mask(["state.value"], "sys_journal", "entry_json", "{}") == ["{}"]
    assert mask(["retry_*"], "sys_invocation_state", "retry_count", 3, kind=pa.uint64()) == [None]


def test_parts_of_payloads() -> None:
    """A path masks in state, as bytes and as text, and in the byte arrays of journals; all else stays to the byte."""
    card = '{ "card": {"number": "4111"}, "amount": 1.50 }'
    kept = '{ "amount": 1.50 }'
    for column, values in (
        ("value_utf8", [card, kept, None, "4111"]),
        ("value", [card.encode(), kept.encode(), b"\xff"]),
    ):
        kind = TABLES["state"][column]
        after = mask(["$.card.number"], "state", column, *values, kind=kind)
        text = after[0] if isinstance(after[0], str) else after[0].decode()
        assert json.loads(text) == {"card": {"number": MASK}, "amount": 1.5}
        assert after[1:] == values[1:]
    untouched = entry(kept.encode())
    first, second, third = mask(
        ["$.card.number"], "sys_journal", "entry_json", entry(card.encode()), untouched, entry(b"4111")
    )
    payload = bytes(json.loads(first)["Command"]["Input"]["payload"])
    assert json.loads(payload) == {"card": {"number": MASK}, "amount": 1.5}
    assert (second, third) == (untouched, entry(b"4111"))
    assert mask(["$..name"], "sys_journal", "entry_lite_json", '{"name":"step"}') == ['{"name":"step"}']


def test_payloads_anywhere_in_an_entry() -> None:
    """Also in lists of entries that hold several, a path reaches each payload."""
    values = [{"key": "a", "value": list(b'{"card":"4111"}')}, {"key": "b", "value": [1, 2]}]
    text = json.dumps({"Command": {"GetEagerState": {"values": [[each] for each in values]}}})
    after = json.loads(mask(["$.card"], "sys_journal", "entry_json", text)[0])
    (first,), (second,) = after["Command"]["GetEagerState"]["values"]
    assert json.loads(bytes(first["value"])) == {"card": MASK}
    assert second == values[1]


def test_failures_everywhere() -> None:
    """The short word covers failure texts in columns, in events and in entries."""
    event = '{"ty":"TransientError","error_message":"card 4111","error_stacktrace":"at 4111","error_code":500}'
    failed = '{"Command":{"Output":{"result":{"Failure":{"code":402,"message":"card 4111"}},"name":""}}}'
    paused = '{"ty":"Paused","last_failure":{"error_message":"card 4111"}}'
    for table, column, value in (
        ("sys_invocation_state", "last_failure", "card 4111"),
        ("sys_journal_events", "event_json", event),
        ("sys_journal_events", "event_json", paused),
        ("sys_journal", "entry_json", failed),
    ):
        after = mask(["failures"], table, column, value)[0]
        assert "4111" not in after
        assert MASK in after
    assert '"code":402' in mask(["failures"], "sys_journal", "entry_json", failed)[0]


def test_secret_headers_are_always_masked() -> None:
    """In every form that headers could have; others stay, and what cannot be read is masked whole."""
    headers = [{"name": "Authorization", "value": "Bearer 4111"}, {"name": "x-tenant", "value": "acme"}]
    after = json.loads(mask([], "sys_journal", "entry_json", entry(b"{}", headers=headers))[0])
    assert after["Command"]["Input"]["headers"] == [headers[0] | {"value": MASK}, headers[1]]
    call = json.dumps({"Command": {"Call": {"request": {"headers": headers[:1], "parameter": [52, 49]}}}})
    assert "4111" not in mask([], "sys_journal", "entry_json", call)[0]
    for odd in (
        entry(b"{}", headers={"authorization": "4111"}),
        entry(b"{}", headers=[["authorization", "4111"]]),
        '{"headers": [ {"name":"cookie","value":"4111"} ',
        '{"headers":[{"name":"cookie","value":"4111"}],"headers":[]}',
    ):
        assert "4111" not in mask([], "sys_journal", "entry_json", odd)[0]
    plain = entry(b'{"a":1}', headers=headers[1:])
    assert mask([], "sys_journal", "entry_json", plain, None) == [plain, None]
    assert mask([], "sys_deployment", "endpoint", "http://me:4111@host/", "http://host/a@b") == [
        f"http://{MASK}@host/",
        "http://host/a@b",
    ]


def test_what_hides_from_a_path_is_masked_whole() -> None:
    """A field that stands twice, or a value too deep to read, could hold what the path means."""
    twice = '{"card":{"number":"4111"},"card":{}}'
    deep = "[" * 100_000 + '{"card":{"number":"4111"}}' + "]" * 100_000
    assert mask(["$..number"], "state", "value_utf8", twice, deep) == [f'"{MASK}"'] * 2
    journal = mask(["$..number"], "sys_journal", "entry_json", entry(twice.encode()))[0]
    assert str(list(b"4111"))[1:-1].replace(" ", "") not in journal


def test_it_counts_what_it_masks() -> None:
    """The numbers tell a path that hit nothing, and how much could not be looked into."""
    masks = Masks(parse_patterns(["$.card", "$.crad", "key"], COLUMNS))
    values = pa.array(['{"card":1}', "plain", None], pa.large_string())
    batch = pa.RecordBatch.from_arrays([values, pa.array(["k", "l", "m"])], names=["value_utf8", "key"])
    masks.apply("state", batch)
    assert dict(masks.counts) == {"$.card": 1, "$.crad": 0, "key": 3}
    assert dict(masks.not_json) == {"state.value_utf8": 1}
