"""Entries of a record: each message gives its entry, and each entry gives the same bytes again."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from restate_lab.protocol.entries import FIELDS, entry_of, message_of, payload_bytes, payload_of
from restate_lab.protocol.messages import MESSAGE_TYPES
from restate_lab.protocol.wire import bytes_field, number_field

NUMBERS = st.integers(0, (1 << 64) - 1)
TEXTS = st.text(max_size=20)
PAYLOADS = st.binary(max_size=40).map(payload_of)
PAIRS = st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=3)
FORMS: dict[str, st.SearchStrategy[Any]] = {
    "number": NUMBERS,
    "text": TEXTS,
    "payload": PAYLOADS,
    "value": PAYLOADS,
    "void": st.just(value=True),
    "headers": PAIRS,
    "keys": st.lists(TEXTS, max_size=3),
    "failure": st.fixed_dictionaries({}, optional={"code": NUMBERS, "message": TEXTS, "metadata": PAIRS}),
    "idempotent": st.dictionaries(st.sampled_from(["service", "key", "handler", "idempotency_key"]), TEXTS),
    "workflow": st.dictionaries(st.sampled_from(["workflow", "key"]), TEXTS),
}


def entries(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    members = st.fixed_dictionaries({}, optional={name: FORMS[form] for _, name, form in FIELDS[kind]})
    return members.map(lambda values: {"type": kind, **values})


@pytest.mark.parametrize("kind", FIELDS)
@settings(max_examples=20)
@given(data=st.data())
def test_an_entry_is_the_same_after_it_was_a_message(kind: str, data: st.DataObject) -> None:
    """Every type with any of its fields, also through a file, and the message has the type of the protocol."""
    entry = data.draw(entries(kind))
    message = message_of(json.loads(json.dumps(entry)))
    assert message[0] == MESSAGE_TYPES[kind]
    assert entry_of(message) == entry


@given(kind=st.sampled_from(sorted(FIELDS)), body=st.binary(max_size=60))
def test_a_message_is_the_same_after_it_was_an_entry(kind: str, body: bytes) -> None:
    """Also a message with unknown fields, or one that is not protobuf: it is kept as a whole."""
    message = MESSAGE_TYPES[kind], body
    assert message_of(entry_of(message)) == message


@pytest.mark.parametrize(
    "body",
    [
        bytes_field(12, "b") + bytes_field(1, "a"),
        number_field(99, 1),
        bytes_field(1, "a") + bytes_field(1, "a"),
        bytes_field(1, b"\xff"),
        bytes([1 << 3, 0x81, 0x00]),
    ],
    ids=["other order", "unknown field", "repeated", "not UTF-8", "long number"],
)
def test_a_message_of_another_form_is_kept_as_a_whole(body: bytes) -> None:
    entry = entry_of((MESSAGE_TYPES["Command: SetState"], body))
    assert entry == {"type": "Command: SetState", "body": base64.b64encode(body).decode()}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({}, "the type 'None'"),
        ({"type": "Command: Fly"}, "the type 'Command: Fly'"),
        ({"type": "Command: Run", "nme": "a"}, "unknown field 'nme'"),
        ({"type": "Command: Run", "name": 3}, "the field 'name' has another form"),
        ({"type": "Command: SetState", "key": "a", "value": 3}, "a payload is a text or"),
        ({"type": "Command: SetState", "key": "a", "value": {"base64": "?"}}, "the field 'value'"),
        ({"type": "Notification: Run", "body": 3}, "a payload is a text or"),
        ({"type": "Notification: Run", "completion_id": "x"}, "the field 'completion_id'"),
        ({"type": "Notification: Run", "completion_id": 1 << 64}, "the field 'completion_id'"),
        ({"type": "Notification: Run", "failure": []}, "the field 'failure' has another form"),
    ],
)
def test_an_entry_that_a_person_changed_wrongly_is_refused(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        message_of(entry)


def test_a_payload_is_a_text_where_it_is_one() -> None:
    """A text is readable in a review; other bytes are base64."""
    assert payload_of('{"ä": 1}'.encode()) == '{"ä": 1}'
    assert payload_of(b"\xff") == {"base64": "/w=="}
    assert payload_bytes(payload_of(b"\xff")) == b"\xff"
