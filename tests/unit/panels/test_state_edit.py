"""The edit of one key without a widget: the meaning of a text, editable values, and values never shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

from restate_lab.actions.state import State
from restate_lab.actions.state.codec import encode
from restate_lab.errors import ArgumentError
from restate_lab.panels.state.edit import Edit, begin_edit, readable_value, why_not_here
from restate_lab.redaction import MASK

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)


def made(raw: bytes, name: str = "k") -> State:
    return State(
        service="Cart",
        key="a/b",
        scope=None,
        read_at=NOW,
        source="prod",
        version="1.7.12",
        _raw={name: raw, "other": b"1"},
    )


def typed(raw: bytes, text: str) -> Edit:
    return Edit(made(raw), "k", text)


def written(edit: Edit) -> bytes:
    """Return the bytes that set_state would write."""
    return encode("k", edit.value, before=edit.before.raw["k"], recode=False)


@given(JSON, st.booleans())
def test_a_value_that_is_opened_and_left_alone_is_not_changed(value: Any, spaces: bool) -> None:
    """Whatever JSON a key has, its text in the editor means the same, and does not count as a change."""
    raw = json.dumps(value, separators=None if spaces else (",", ":")).encode()
    state = made(raw)
    if why_not_here(state, "k"):
        return
    edit = begin_edit(state, "k")
    assert not edit.is_changed
    assert json.loads(written(edit)) == value


@pytest.mark.parametrize(
    ("raw", "text", "bytes_"),
    [
        (b'{"a": 1}', '{"a": 2}', b'{"a": 2}'),
        (b"1", "true", b"true"),
        (b"1", "1.0", b"1.0"),
        (b"1", "12345678901234567890", b"12345678901234567890"),
        (b"1", "0.1000000000000000055511151231257827", b"0.1000000000000000055511151231257827"),
        (b"1", "1e400", b"1e400"),
        (b"1", "9" * 5000, b"9" * 5000),
        (b'{"a": NaN}', '{"a": NaN, "b": 2}', b'{"a": NaN, "b": 2}'),
        (b"", '"set"', b'"set"'),
        (b"plain text", "12", b"12"),
        (b"plain text", "", b""),
    ],
)
def test_what_is_typed_is_what_is_written(raw: bytes, text: str, bytes_: bytes) -> None:
    """The digits of a number are exactly the typed ones, and text over text stays text."""
    edit = typed(raw, text)
    assert edit.is_changed
    assert written(edit) == bytes_


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "invalid JSON"), ("NaN", "NaN is not JSON"), ("", "invalid JSON"), ('{"a": 1, "a": 2}', "'a' occurs twice")],
)
def test_what_is_no_json_is_refused_in_words(text: str, words: str) -> None:
    """A text that the key's handlers could not read, or that JSON would silently cut, is never sent."""
    with pytest.raises(ArgumentError, match=words):
        _ = typed(b"1", text).value


@pytest.mark.parametrize(
    ("raw", "name", "words"),
    [
        (b"\xff", "k", "bytes are not text"),
        (b'"' + b"x" * 70_000 + b'"', "k", "70,002 bytes"),
        (b'"hush"', "api_token", "never shown"),
        (b'{"user": {"password": "hush"}}', "k", "never shown"),
        (b"line\r\nline", "k", "line endings"),
    ],
)
def test_what_cannot_be_edited_here(raw: bytes, name: str, words: str) -> None:
    """A value that a text field would change, or reveal, is refused, with the code for it and without the value."""
    with pytest.raises(ArgumentError, match=words) as caught:
        begin_edit(made(raw, name), name)
    assert "rl.set_state(lab, 'Cart', 'a/b'" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "hush" not in readable_value(made(raw, name).raw, name)


def test_half_a_character_stays_escaped() -> None:
    """A lone surrogate in JSON, which no message to a browser could contain, is edited as its escape."""
    edit = begin_edit(made(rb'["\ud800", "\u00e9"]'), "k")
    assert edit.text is not None
    edit.text.encode()
    assert not edit.is_changed


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": NaN, "b": [Infinity]}\n',
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": 1.10, "b": 1e400}',
    ],
    ids=lambda raw: str(raw[:20]),
)
def test_odd_json_can_be_edited(raw: bytes) -> None:
    """A value that Python's handlers read as JSON opens, stays unchanged, and is written as typed."""
    edit = begin_edit(made(raw), "k")
    assert edit.encoding == "json"
    assert not edit.is_changed
    changed = Edit(edit.before, "k", (edit.text or "").replace('"a"', '"c"'))
    assert changed.is_changed
    assert b'"c"' in written(changed)


def test_json_in_another_encoding_is_not_edited_here() -> None:
    """Python reads JSON in UTF-16, which a text field would turn into UTF-8."""
    assert "another encoding" in why_not_here(made('{"a": 1}'.encode("utf-16")), "k")


def test_the_offered_code_names_the_object_the_key_and_the_value() -> None:
    assert typed(b"1", "2").code == (
        "read = rl.state(lab, 'Cart', 'a/b')\nrl.set_state(lab, 'Cart', 'a/b', {'k': 2}, state=read, reason=\"…\")"
    )
    assert "delete=['k']" in Edit(made(b"1"), "k", None).code


def test_a_change_is_found_in_a_later_state() -> None:
    """Its own key decides whether a change is applied: by value, and 1 is not true."""
    assert typed(b"0", "1").is_in(made(b" 1 "))
    assert not typed(b"0", "1").is_in(made(b"true"))
    assert Edit(made(b"0"), "gone", None).is_in(made(b"0"))
    assert readable_value({"k": b'{"password": "hush"}'}, "k") == f'{{\n  "password": "{MASK}"\n}}'
    assert [readable_value({"k": b""}, "k"), readable_value({}, "k"), readable_value({"k": b"\xff"}, "k")] == [
        "(empty)",
        "(absent)",
        "0xff",
    ]
