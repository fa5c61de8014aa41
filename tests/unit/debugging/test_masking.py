"""Masks of a record: what they replace, what they keep, and that no masked text is left."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings, strategies as st

from restate_lab.debugging.to_test.masking import ALWAYS, MaskedRecord, mask_record, parse_masks
from restate_lab.errors import ArgumentError
from restate_lab.protocol.entries import message_of, payload_bytes

UUID = "7f9c24e8-3b12-4fef-91e0-2d4b6a8c0e11"
CUSTOMER = {
    "email": "ann@example.org",
    "born": "1987-03-12",
    "id": UUID,
    "phone": 4915112345,
    "vip": True,
    "tags": ["new", "de"],
}


def record(*payloads: Any, entries: tuple[dict[str, Any], ...] = (), **head: Any) -> dict[str, Any]:
    given = [
        {"type": "Notification: Run", "completion_id": number, "value": json.dumps(value)}
        for number, value in enumerate(payloads, 1)
    ]
    return {"entries": [*given, *entries], "error": None, "masked": [], "key": "", **head}


def values(masked: MaskedRecord) -> list[Any]:
    return [json.loads(entry["value"]) for entry in masked.record["entries"] if "value" in entry]


def masked(masks: Any, *payloads: Any, **options: Any) -> MaskedRecord:
    keys = {name: options.pop(name) for name in ("names", "fields") if name in options}
    return mask_record(record(*payloads, **options), [*ALWAYS, *parse_masks(masks)], **keys)


def test_a_path_masks_a_text_with_as_many_characters() -> None:
    found = masked("$.customer.email", {"customer": CUSTOMER})
    assert values(found) == [{"customer": CUSTOMER | {"email": "x" * 15}}]
    assert found.record["masked"] == ["$.customer.email"]
    assert found.hits == {"$.customer.email": 1}


def test_a_name_masks_the_fields_at_any_depth() -> None:
    assert values(masked("email", {"a": [{"email": "b@c.de"}], "email": "d@e.fr"})) == [
        {"a": [{"email": "xxxxxx"}], "email": "xxxxxx"}
    ]


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("born", "1111-11-11"),
        ("id", "11111111-1111-4111-9111-111111111111"),
        ("phone", 1111111111),
        ("vip", True),
        ("tags", ["xxx", "xx"]),
    ],
)
def test_a_path_that_names_a_value_keeps_its_type_and_form(name: str, after: Any) -> None:
    assert values(masked(f"$.{name}", CUSTOMER)) == [CUSTOMER | {name: after}]


def test_below_a_selected_value_numbers_dates_and_ids_are_kept_and_counted() -> None:
    found = masked("$.customer", {"customer": CUSTOMER})
    assert values(found) == [{"customer": CUSTOMER | {"email": "x" * 15, "tags": ["xxx", "xx"]}}]
    assert found.kept == {"number": 1, "date or UUID": 2}


def test_json_within_a_text_stays_json() -> None:
    arguments = json.dumps({"city": "Köln", "days": 3})
    (value,) = values(masked("$.arguments", {"arguments": arguments}))
    assert json.loads(value["arguments"]) == {"city": "xxxx", "days": 3}
    (value,) = values(masked("$..city", {"arguments": arguments}))
    assert json.loads(value["arguments"]) == {"city": "xxxx", "days": 3}


def test_the_same_text_is_masked_everywhere() -> None:
    """In other payloads, as a name of a field, within texts, in messages, in keys and in bytes."""
    email = "ann@example.org"
    entries = (
        {"type": "Command: Output", "failure": {"code": 500, "message": f"no mail to {email!r}"}},
        {"type": "Notification: Run", "completion_id": 3, "value": {"base64": "/2FubkBleGFtcGxlLm9yZw=="}},
        {"type": "Notification: Run", "completion_id": 4, "value": f"sent to {email}"},
    )
    error = {"type": "ValueError", "message": f"ValueError('{email}')"}
    found = masked("email", {"email": email}, {email: [email]}, entries=entries, key=email, error=error)
    assert "ann@" not in json.dumps(found.record)
    assert found.record["entries"][3]["value"] == "x" * 16
    assert found.record["error"] == {"type": "ValueError", "message": f"ValueError('{'x' * 15}')"}
    assert found.record["key"] == "x" * 15
    assert found.has_fields


def test_bytes_that_are_not_text_have_none_of_the_texts() -> None:
    """No rule of the secrets reads them, but a text that is masked elsewhere is replaced in them."""
    content = base64.b64encode(b"\xff\x00hunter22!").decode()
    entry = {"type": "Notification: Run", "completion_id": 2, "value": {"base64": content}}
    whole = {"type": "Command: Run", "body": base64.b64encode(b"\x62\x08hunter22").decode()}
    found = masked(None, {"password": "hunter22"}, entries=(entry, whole))
    assert payload_bytes(found.record["entries"][1]["value"]) == b"\xff\x00xxxxxxxx!"
    assert base64.b64decode(found.record["entries"][2]["body"]) == b"\x62\x08xxxxxxxx"


def test_names_are_masked_only_where_it_is_asked() -> None:
    """The code computes names, and the record is compared with them."""
    entries = ({"type": "Command: Run", "name": "charge ann@example.org", "result_completion_id": 7},)
    for names, name in (((), "charge ann@example.org"), ((1,), f"charge {'x' * 15}")):
        found = masked("email", {"email": "ann@example.org"}, entries=entries, names=names)
        assert found.record["entries"][1]["name"] == name
        assert found.named == [1]


def test_names_of_fields_can_be_kept() -> None:
    assert values(masked("$.by", {"by": "name", "name": 1}, fields=False)) == [{"by": "xxxx", "name": 1}]
    assert values(masked("$.by", {"by": "name", "name": 1})) == [{"by": "xxxx", "xxxx": 1}]


def test_a_short_text_is_not_masked_within_words() -> None:
    entries = (
        {"type": "Notification: Run", "completion_id": 2, "failure": {"code": 500, "message": "no ok book 'ok'"}},
    )
    found = masked("$.a", {"a": "ok", "b": "ok", "c": "book", "d": "ok_, OK: ok-ok"}, entries=entries)
    assert values(found) == [{"a": "xx", "b": "xx", "c": "book", "d": "ok_, xx: xx-xx"}]
    assert found.record["entries"][1]["failure"]["message"] == "no xx book 'xx'"


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("Ann", "Dear Ann, …"),
        ("Ann", "ANN ann"),
        ("Ann", "?to=ann%20lee&by=%20Ann"),
        ("Ann", "'\\\\nAnn'"),
        ("é-1", "to é-1."),
        ("Ann.Lee@Example.org", "ann.lee@example.org"),
        ("ann.lee@example.org", "to=Ann.Lee%40Example.org"),
        ("Bob Müller", "q=bob+m%c3%bcller&name=Bob%20M%C3%BCller"),
        ("René", "KeyError('Ren\\xe9')"),
        ("René", '{"Ren\\u00e9'),
        ("Straße 5", "STRASSE 5"),
        ("ΑΣ ΟΔΟΣ", "ας οδος, ΑΣ ΟΔΟΣ"),
        ("İzmir 5", "to İzmir 5"),
        ("a & b/c", "a &amp; b/c, a%20%26%20b%2Fc"),
        ("Main St 1\nBerlin", "Main St 1\r\nBerlin; Main St 1 Berlin"),
    ],
)
def test_a_text_is_masked_in_each_way_of_writing_it(secret: str, text: str) -> None:
    """In payloads that are JSON or not, in messages, and in names."""
    entries = (
        {"type": "Notification: Run", "completion_id": 2, "failure": {"code": 500, "message": text}},
        {"type": "Notification: Run", "completion_id": 3, "value": f"raw: {text}"},
        {"type": "Command: Run", "result_completion_id": 4, "name": f"for {text}"},
    )
    found = masked("$.a", {"a": secret}, {"text": f"- {text}"}, entries=entries, names=[4])
    every = [json.loads(found.record["entries"][1]["value"])["text"]]
    every += [found.record["entries"][2]["failure"]["message"], found.record["entries"][3]["value"]]
    every.append(found.record["entries"][4]["name"])
    for each in every:
        for word in re.findall(r"\w{2,}", secret):
            assert word.lower() not in each.lower(), every
        assert "xx" in each


def test_a_number_is_masked_in_texts_and_a_text_as_a_number() -> None:
    (before, after) = values(
        masked(["age", "phone"], {"age": 42, "phone": "4915112345"}, ["42 of 421, 142", 42, 4915112345])
    )
    assert before == {"age": 11, "phone": "x" * 10}
    assert after == ["11 of 421, 142", 42, 1111111111]


def test_bytes_have_none_of_the_texts_in_other_case() -> None:
    content = base64.b64encode(b"\xff Ann.Lee@example.org ANN.LEE@EXAMPLE.ORG").decode()
    entry = {"type": "Notification: Run", "completion_id": 2, "value": {"base64": content}}
    found = masked("$.a", {"a": "Ann.Lee@example.org"}, entries=(entry,))
    assert b"@" not in payload_bytes(found.record["entries"][1]["value"])


def test_an_entry_with_a_word_of_a_masked_text_is_named() -> None:
    found = masked("$.a", {"a": "Bob Miller"}, {"text": "Dear Mr. MILLER"}, {"miller": "the mill"}, {"a": "Miller"})
    assert found.with_words == []  # "Miller" alone is masked, too
    found = masked("$.a", {"a": "Bob Miller"}, {"text": "Dear Mr. MILLER"}, {"miller": "the mill"})
    assert found.with_words == [1]


def test_secret_headers_and_fields_are_masked_without_being_asked() -> None:
    call = {"type": "Command: Call", "headers": [["authorization", "Bearer abc"], ["x-trace", "1"]]}
    found = masked(
        None, {"headers": {"x-api-key": "k-123456"}, "password": "hunter2", "total_tokens": 7}, entries=(call,)
    )
    assert values(found) == [{"headers": {"x-api-key": "xxxxxxxx"}, "password": "xxxxxxx", "total_tokens": 7}]
    assert found.record["entries"][1]["headers"] == [["authorization", "xxxxxxxxxx"], ["x-trace", "1"]]
    assert found.record["masked"] == ["headers", "secrets"]


def test_a_record_without_a_masked_value_stays_as_it_is() -> None:
    before = record({"total_tokens": 7, "name": "x"})
    found = mask_record(before, [*ALWAYS, *parse_masks("$.email")])
    assert found.record == before
    assert found.count == 0


def test_a_payload_that_cannot_be_read_is_masked_as_a_whole_and_reported() -> None:
    entries = ({"type": "Notification: Run", "completion_id": 1, "value": {"base64": "/+4A/w=="}},)
    found = masked("$.email", entries=entries)
    assert found.record["entries"][0]["value"] == "xxxx"
    assert found.unread == [0]
    assert found.record["masked"] == ["$.email"]


@pytest.mark.parametrize(
    ("payload", "after"),
    [("Ann", "xxx"), ({"a": ["Ann", 7, None]}, {"a": ["xxx", 7, None]}), (7, 7), ("1987-03-12", "1987-03-12")],
)
def test_all_texts_can_be_masked(payload: Any, after: Any) -> None:
    assert values(masked("$", payload)) == [after]


@pytest.mark.parametrize("mask", ["$$", "a b", "email; drop", 7])
def test_a_mask_that_is_neither_path_nor_name_is_an_error(mask: Any) -> None:
    with pytest.raises(ArgumentError):
        parse_masks([mask])


def is_json(text: str) -> bool:
    """Return whether a text is JSON, such as true, which a mask does not replace in the place of a value."""
    with contextlib.suppress(ValueError):
        json.loads(text)
        return True
    return False


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=4, max_size=12).filter(
    lambda text: text.strip("x") and not is_json(text)
)
JSON = st.recursive(
    st.integers() | st.booleans() | st.none() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(TEXTS, JSON, st.booleans())
def test_no_form_of_a_masked_text_is_left(secret: str, other: Any, is_ascii: bool) -> None:
    """In values, nested JSON, names of fields, sentences, messages of errors, keys and names of steps."""
    document = record_with(secret, other, is_ascii=is_ascii)
    own = texts_of(record_with("x" * 12, other, is_ascii=is_ascii))
    assume(not any(secret in text for text in own))  # such as "fail", which is in the name of a field
    found = mask_record(document, [*ALWAYS, *parse_masks("$.field")], names=range(9))
    assert not any(secret in text for text in texts_of(found.record))
    for entry in found.record["entries"]:
        message_of(entry)


def record_with(secret: str, other: Any, *, is_ascii: bool) -> dict[str, Any]:
    """Return a record that has the secret in every place that can have it."""
    nested = json.dumps({"inner": [secret, other]}, ensure_ascii=is_ascii)
    payloads = [{"field": secret}, {secret: nested}, [f"to {secret}.", other], json.dumps({"s": nested})]
    entries = (
        {"type": "Command: Run", "name": f"step {secret}", "result_completion_id": 9},
        {"type": "Notification: Run", "completion_id": 9, "failure": {"code": 1, "message": repr(secret)}},
        {"type": "Notification: Run", "completion_id": 9, "value": f"to {secret}."},
    )
    error = {"type": "KeyError", "message": f"KeyError({secret!r})"}
    document = record(*payloads, entries=entries, key=secret, error=error)
    for entry, payload in zip(document["entries"], payloads, strict=False):
        entry["value"] = json.dumps(payload, ensure_ascii=is_ascii)
    return document


def texts_of(value: Any) -> list[str]:
    """Return all texts of a value, and of the JSON in them, at any depth."""
    if isinstance(value, str):
        try:
            inner = json.loads(value, strict=False)
        except ValueError:
            return [value]
        return [value, *(texts_of(inner) if not isinstance(inner, int | float) else [])]
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts_of(each)]
    return [text for each in value for text in texts_of(each)] if isinstance(value, list) else []
