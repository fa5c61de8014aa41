"""The values that redact= masks, and the bytes that it keeps."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.errors import ArgumentError
from restate_lab.evidence.masking import MaskCounts, column_masks, mask_batch
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.payload_json import PathRule, mask as mask_text, parse_path
from restate_lab.redaction import MASK, mask_user_info
from support.freezable import TABLES, TEXT

COLUMNS = {table: list(columns) for table, columns in TABLES.items()} | {
    "sys_promise": ["completion_success_value", "completion_success_value_utf8"],
    "sys_journal_events": ["id", "event_json"],
    "sys_invocation": ["id", "last_failure"],
}


def mask(patterns: list[str], table: str, column: str, *values: Any, kind: pa.DataType = TEXT) -> list[Any]:
    batch = pa.RecordBatch.from_arrays([pa.array(values, kind)], names=[column])
    after = mask_with(patterns, table, batch, MaskCounts()).column(0)
    assert after.type == kind
    return after.to_pylist()


def mask_with(patterns: list[str], table: str, batch: pa.RecordBatch, counts: MaskCounts) -> pa.RecordBatch:
    views = ["sys_invocation"] if table == "sys_invocation_state" else []
    masks = column_masks(table, batch.schema.names, parse_patterns(patterns, COLUMNS), views=views)
    return mask_batch(batch, masks, counts)


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
def test_each_form_of_a_path_masks_exactly_its_targets(path: str, value: Any, after: Any) -> None:
    rule = PathRule(parse_path(path), path, strict=True)
    assert json.loads(mask_text(json.dumps(value), [rule]).value) == after


@pytest.mark.parametrize("text", ["$", "$.", "$x", "$.a[", "$.a[x]", "a.b", "$.a b", "$['x]"])
def test_a_text_that_is_not_a_path_is_an_error(text: str) -> None:
    with pytest.raises(ArgumentError, match="not a JSON path"):
        parse_path(text)


@pytest.mark.parametrize("text", ["completion_falure", "stat.value", "sys_journal.entry-json", "state.value:.a", ""])
def test_a_pattern_that_covers_nothing_is_an_error(text: str) -> None:
    with pytest.raises(ArgumentError, match="redact="):
        parse_patterns([text], COLUMNS)


def test_text_and_bytes_become_the_mask_and_other_types_become_null() -> None:
    assert mask(["last_failure"], "sys_invocation_state", "last_failure", "boom", None) == [MASK, None]
    assert mask(["sys_invocation.last_failure"], "sys_invocation_state", "last_failure", "boom") == [MASK]
    assert mask(["state.value"], "state", "value", b"x", kind=pa.large_binary()) == [MASK.encode()]
    assert mask(["state.value"], "state", "value_utf8", "x") == [MASK], "the same value as text"
    assert mask(["state.value"], "sys_journal", "entry_json", "{}") == ["{}"]
    assert mask(["retry_*"], "sys_invocation_state", "retry_count", 3, kind=pa.uint64()) == [None]


def test_a_path_masks_in_state_and_in_the_byte_arrays_of_journals_and_keeps_all_other_bytes() -> None:
    card = '{ "card": {"number": "4111"}, "amount": 1.50 }'
    kept = '{ "amount": 1.50 }'
    hidden = f'{{ "card": {{"number": "{MASK}"}}, "amount": 1.50 }}'
    for column, values, after in (
        ("value_utf8", [card, kept, None, "4111"], [hidden, kept, None, "4111"]),
        ("value", [card.encode(), kept.encode(), b"plain"], [hidden.encode(), kept.encode(), b"plain"]),
    ):
        assert mask(["$.card.number"], "state", column, *values, kind=TABLES["state"][column]) == after
    untouched = entry(kept.encode())
    first, second, third = mask(
        ["$.card.number"], "sys_journal", "entry_json", entry(card.encode()), untouched, entry(b"4111")
    )
    payload = bytes(json.loads(first)["Command"]["Input"]["payload"])
    assert payload.decode() == hidden
    assert (second, third) == (untouched, entry(b"4111"))
    assert mask(["$..name"], "sys_journal", "entry_lite_json", '{"name":"step"}') == ['{"name":"step"}']


def test_a_path_masks_in_each_payload_of_an_entry() -> None:
    values = [{"key": "a", "value": list(b'{"card":"4111"}')}, {"key": "b", "value": list(b"plain")}]
    text = json.dumps({"Command": {"GetEagerState": {"values": [[each] for each in values]}}})
    after = json.loads(mask(["$.card"], "sys_journal", "entry_json", text)[0])
    (first,), (second,) = after["Command"]["GetEagerState"]["values"]
    assert json.loads(bytes(first["value"])) == {"card": MASK}
    assert second == values[1]


def test_failures_masks_failure_texts_in_columns_events_and_entries() -> None:
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


def test_secret_headers_of_every_form_are_masked_and_unreadable_ones_as_a_whole() -> None:
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


@pytest.mark.parametrize(
    ("value", "after"),
    [
        (b'{"password":"4111","score":NaN}', b'{"password":"***","score":NaN}'),
        (b'{"a":-Infinity,"password":Infinity, "b":Infinity}', b'{"a":-Infinity,"password":"***", "b":Infinity}'),
        (
            b'{"n":' + b"9" * 5000 + b',"password":' + b"8" * 5000 + b"}",
            b'{"n":' + b"9" * 5000 + b',"password":"***"}',
        ),
        (
            b'{"amount":12345678901234567.89,"password":"4111","rate":0.1234567890123456789012,"z":1.10,"k":1e2}',
            b'{"amount":12345678901234567.89,"password":"***","rate":0.1234567890123456789012,"z":1.10,"k":1e2}',
        ),
        (rb'{"text":"cut \ud83d","password":"4111"}', rb'{"text":"cut \ud83d","password":"***"}'),
        (b'{"raw":"a\nb\x01","password":"4111\t"}', b'{"raw":"a\nb\x01","password":"***"}'),
        (b'{"latin":"\xe9","password":"\xff4111"}', b'{"latin":"\xe9","password":"***"}'),
        (b'\xef\xbb\xbf {"password":"4111"}\0', b'\xef\xbb\xbf {"password":"***"}\0'),
        (b'\0{"password":"4111"},\n', b'\0{"password":"***"},\n'),
        (b'{"password":"4111"}\n{"password":4111}\n', b'{"password":"***"}\n{"password":"***"}\n'),
        (b'{"password":"4111","password":["4111"]}', b'{"password":"***","password":"***"}'),
        (rb'{"pass\u0077ord":"4111", "x":"\u00e9"}', rb'{"pass\u0077ord":"***", "x":"\u00e9"}'),
        (
            rb'{"arguments":"{\"password\": \"\u0034111\", \"x\": \"\\u00e9\/\"}","n":1.0}',
            rb'{"arguments":"{\"password\": \"***\", \"x\": \"\\u00e9\/\"}","n":1.0}',
        ),
        (
            json.dumps({"a": json.dumps([json.dumps({"password": "4111", "b": 1.5})])}).encode(),
            json.dumps({"a": json.dumps([json.dumps({"password": "***", "b": 1.5})])}).encode(),
        ),
        ('{"password":"4111"}'.encode("utf-16-le"), f'{{"password":"{MASK}"}}'.encode("utf-16-le")),
        (b"[" * 5_000 + b'{"password":"4111"}' + b"]" * 5_000, None),
    ],
    ids=lambda value: None if value is None else str(value[:40]),
)
def test_non_standard_json_is_masked_and_all_other_bytes_stay(value: bytes, after: bytes | None) -> None:
    expected = (after or value.replace(b'"4111"', b'"***"')).replace(b"***", MASK.encode())
    assert mask(["$..password"], "state", "value", value, kind=pa.large_binary()) == [expected]
    journal = json.loads(mask(["$..password"], "sys_journal", "entry_json", entry(value))[0])
    assert bytes(journal["Command"]["Input"]["payload"]) == expected


@pytest.mark.parametrize(
    "value",
    [
        b'{"password":"4111"',
        b'{"password":"4111",}',
        b"{'password': '4111'}",
        b'{"pass\\word": 1, "password":"4111"}',
        b'{password:"4111"}',
        b"password=4111&user=ann",
        b"password: '4111'\n",
        b'data: {"password":"4111"}\n\n',
        b"\x0a\x044111\x12\x02\x08\x01",
        b"\x1f\x8b\x08\x00\xff\x004111",
        '{"password":"4111"'.encode("utf-16-le"),
        json.dumps({"output": "{'password': '4111'}"}).encode(),
        json.dumps({"content": 'Here it is:\n```json\n{"password": "4111"}\n```'}).encode(),
    ],
    ids=lambda value: str(value[:40]),
)
def test_unreadable_values_with_the_name_are_masked_whole_and_counted(value: bytes) -> None:
    counts = MaskCounts()
    for table, column, array in (
        ("state", "value", pa.array([value], pa.large_binary())),
        ("state", "value_utf8", pa.array([value.decode("latin-1")])),
        ("sys_journal", "entry_json", pa.array([entry(value)])),
    ):
        batch = pa.RecordBatch.from_arrays([array], names=[column])
        after = str(mask_with(["$..password"], table, batch, counts).column(0).to_pylist())
        assert "4111" not in after
        assert "52,49,49,49" not in after
    assert dict(counts.unread) == {"state.value": 1, "state.value_utf8": 1, "sys_journal.entry_json": 1}


@pytest.mark.parametrize(
    "value",
    [b"plain text", b"", b"[INFO] 4111", b'"please reset my password"', b'{"a": "no password: 4111"}', "é".encode()],
)
def test_a_text_that_cannot_have_the_path_stays(value: bytes) -> None:
    counts = MaskCounts()
    batch = pa.RecordBatch.from_arrays([pa.array([value], pa.large_binary())], names=["value"])
    assert mask_with(["$..password"], "state", batch, counts).column(0).to_pylist() == [value]
    assert not counts.unread


def test_failures_does_not_mask_binary_payloads() -> None:
    binary = entry(b"\x00\xff\x01")
    assert mask(["failures"], "sys_journal", "entry_json", binary) == [binary]


HEADERS: tuple[Any, ...] = (
    {"set-cookie": "4111", "openai-organization": "4111", "x-request-id": "keep-me"},
    {"Set-Cookie": ["4111"], "anthropic-organization-id": "4111", "x-request-id": ["keep-me"]},
    [["set-cookie", "4111"], ["openai-project", "4111"], ["x-request-id", "keep-me"]],
    [{"name": "set-cookie", "value": "4111"}, {"value": "keep-me", "name": "x-request-id"}],
    [{"key": "Authorization", "values": ["4111"]}, {"key": "x-request-id", "values": ["keep-me"]}],
    ["set-cookie", "4111", "x-request-id", "keep-me"],
)


@pytest.mark.parametrize("name", ["headers", "responseHeaders", "response_headers", "HEADERS"])
@pytest.mark.parametrize("headers", HEADERS, ids=lambda value: str(value)[:30])
def test_secret_headers_that_a_payload_repeats_are_masked(name: str, headers: Any) -> None:
    payload = json.dumps(
        {"json": {"response": {name: headers}, "headers_seen": 4111, "nested": json.dumps({name: headers})}}
    )
    for table, column in (("state", "value_utf8"), ("sys_promise", "completion_success_value_utf8")):
        text = mask([], table, column, payload)[0]
        assert text.count("4111") == 1
        assert text.count("keep-me") == 2
    journal = json.loads(mask([], "sys_journal", "entry_json", entry(payload.encode()))[0])
    assert bytes(journal["Command"]["Input"]["payload"]).decode() == text


def test_everything_before_the_last_at_sign_of_an_address_is_masked() -> None:
    urls = ["http://u:p@ss@host", "https://u:p%40@ss@@host:8080/x@y?z=@", "http://host/a@b"]
    assert mask([], "sys_deployment", "endpoint", *urls) == [
        f"http://{MASK}@host",
        f"https://{MASK}@host:8080/x@y?z=@",
        "http://host/a@b",
    ]
    assert mask_user_info(urls[0]) == f"http://{MASK}@host"


def test_masked_and_unreadable_values_are_counted() -> None:
    counts = MaskCounts()
    values = pa.array(['{"card":1}', "plain", None, '{"card":'], pa.large_string())
    batch = pa.RecordBatch.from_arrays([values, pa.array(["k", "l", "m", "n"])], names=["value_utf8", "key"])
    mask_with(["$.card", "$.crad", "key"], "state", batch, counts)
    assert {text: counts.hits[text] for text in ("$.card", "$.crad", "key")} == {"$.card": 1, "$.crad": 0, "key": 4}
    assert dict(counts.unread) == {"state.value_utf8": 1}
