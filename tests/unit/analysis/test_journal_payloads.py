"""Payloads: JSON, text or bytes, whatever arrives, and no secret header."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.journal.payloads import Payloads, decode, payloads_of
from restate_lab.redaction import MASK

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_json_payload_equals_the_value_of_the_handler(value: Any) -> None:
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", None),
        (b"null", None),
        (b"plain text", "plain text"),
        (b"\x00\xff", b"\x00\xff"),
        ("é✓".encode(), "é✓"),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_a_payload_that_is_not_json_stays_text_or_bytes(value: bytes, expected: object) -> None:
    assert decode(value) == expected


def test_what_python_takes_for_json_is_a_value() -> None:
    """NaN, infinities, a byte order mark, half a character, and integers of any length are values, not text."""
    assert str(decode(b"NaN")) == "nan"
    assert decode(b'{"a": Infinity, "b": -Infinity}') == {"a": float("inf"), "b": float("-inf")}
    assert decode(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert decode(rb'{"a": "\ud83d"}') == {"a": "\ud83d"}
    assert decode(b'{"a": ' + b"9" * 5000 + b', "b": -12}') == {"a": Decimal("9" * 5000), "b": -12}


def test_headers_of_a_response_in_a_payload_are_masked_and_the_rest_is_unchanged() -> None:
    headers = {"set-cookie": "swordfish", "openai-organization": "swordfish", "x-request-id": "req_1"}
    payload = json.dumps({"json": {"response": {"headers": headers, "id": "resp_1"}, "score": float("nan")}})
    shapes = [
        {"Notification": {"Completion": {"Run": {"result": {"Success": list(payload.encode())}}}}},
        {"Command": {"Call": {"request": {"parameter": list(payload.encode())}}}},
    ]
    found = [payloads_of(json.dumps(shape)) for shape in shapes]
    for value in (found[0].payload, found[1].argument):
        assert value["json"]["response"] == {
            "headers": {"set-cookie": MASK, "openai-organization": MASK, "x-request-id": "req_1"},
            "id": "resp_1",
        }


@given(st.binary())
def test_any_bytes_become_a_value(value: bytes) -> None:
    decode(value)


@given(st.text() | JSON.map(json.dumps) | st.none())
def test_any_entry_json_gives_the_parts_that_are_understood(entry: str | None) -> None:
    assert isinstance(payloads_of(entry), Payloads)


def test_results_values_states_keys_and_arguments_are_found_in_each_type_of_entry() -> None:
    array = list(b'{"n": 1}')
    shapes = [
        {"Command": {"Input": {"headers": [], "payload": array, "name": ""}}},
        {"Command": {"SetState": {"key": "k", "value": array}}},
        {"Command": {"CompletePromise": {"key": "k", "value": {"Success": array}}}},
        {"Command": {"GetEagerState": {"key": "k", "result": {"Success": array}}}},
        {"Notification": {"Completion": {"Run": {"completion_id": 1, "result": {"Success": array}}}}},
        {"Notification": {"Signal": {"id": {"Index": 17}, "result": {"Success": array}}}},
    ]
    assert [payloads_of(json.dumps(shape)).payload for shape in shapes] == [{"n": 1}] * len(shapes)
    call = {"Command": {"Call": {"request": {"parameter": array, "headers": [{"name": "x-token", "value": "s3"}]}}}}
    assert payloads_of(json.dumps(call)) == Payloads(argument={"n": 1}, headers={"x-token": MASK})
    keys = {"Notification": {"Completion": {"GetLazyStateKeys": {"completion_id": 1, "state_keys": ["a", "b"]}}}}
    assert payloads_of(json.dumps(keys)).payload == ["a", "b"]


def test_a_terminal_failure_has_a_code_a_message_and_no_payload() -> None:
    failed = {"Notification": {"Completion": {"Run": {"result": {"Failure": {"code": 422, "message": "spilled"}}}}}}
    assert payloads_of(json.dumps(failed)) == Payloads(failure="spilled", failure_code=422)


@pytest.mark.parametrize("name", ["Authorization", "cookie", "X-Api-Key", "x-signature", "my-token"])
def test_only_the_values_of_secret_headers_are_masked(name: str) -> None:
    headers = [{"name": name, "value": "swordfish"}, {"name": "x-tenant", "value": "acme"}, "odd"]
    found = payloads_of(json.dumps({"Command": {"Input": {"headers": headers, "payload": []}}}))
    assert found.headers == {name: MASK, "x-tenant": "acme"}
    assert "swordfish" not in repr(found)
