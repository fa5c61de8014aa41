"""State without a server: values and their encodings, the card, arguments that are never sent."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, strategies as st

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.state import State, set_state
from restate_lab.actions.state.codec import encode, encoding_of, format_value
from restate_lab.redaction import MASK
from support.sample_rows import SampleRows

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=10,
)


def made(**raw: bytes) -> State:
    return State(service="Drawer", key="k/1", scope=None, read_at=NOW, source="prod", version="1.7.12", _raw=raw)


@given(JSON)
def test_any_json_reader_reads_the_value_that_set_state_writes(value: Any) -> None:
    written = encode("a", value, before=None, recode=False)
    assert json.loads(written) == value
    assert made(a=written)["a"] == value
    assert encoding_of(written) == "json"


@given(st.binary(), st.none() | st.binary())
def test_bytes_go_as_they_are(value: bytes, before: bytes | None) -> None:
    """Bytes are never encoded again, and the encoding of the replaced value is kept or refused."""
    assert encode("a", value, before=before, recode=True) == value
    if encoding_of(value) == encoding_of(before or b""):
        assert encode("a", value, before=before, recode=False) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "not JSON compliant"),
        ({1: "a"}, "has 1 as a name"),
        ([{"a": {None: 1}}], "has None as a name"),
        ({"a": {1, 2}}, "set is not JSON serializable"),
        (NOW, "datetime is not JSON serializable"),
        ("half \ud800", "half a character"),
        ({"\udfff": 1}, "half a character"),
    ],
)
def test_a_value_that_json_would_change_is_refused(value: Any, words: str) -> None:
    with pytest.raises(errors.ArgumentError, match=words):
        encode("a", value, before=None, recode=True)


@pytest.mark.parametrize(
    ("before", "value", "written"),
    [
        (b'{"a":1}', "text", b'"text"'),
        (b"NaN", "text", b'"text"'),
        (b'{"a":Infinity}', 5, b"5"),
        (b"9" * 5000, "text", b'"text"'),
        (b'\xef\xbb\xbf{"a":1}', "text", b'"text"'),
        (b"plain text", "12", b"12"),
        (b"plain text", b"12", b"12"),
        (b"12", b"", b""),
        (b"", b"\xff", b"\xff"),
        (b"\xff", b"text", b"text"),
        (b"{}", b"\xff", None),
        (b"{}", b"text", None),
        (b"plain text", b"\xff", None),
        (b"plain text", 12, None),
        (b"\xff", "text", None),
    ],
)
def test_the_encoding_of_a_key_is_kept(before: bytes, value: Any, written: bytes | None) -> None:
    """A value that the key's handlers could not read is refused, unless the caller asks for it."""
    if written is not None:
        assert encode("a", value, before=before, recode=False) == written
        return
    with pytest.raises(errors.ArgumentError, match="recode=True"):
        encode("a", value, before=before, recode=False)
    assert encode("a", value, before=before, recode=True)


def test_a_state_is_frozen_and_small_in_a_repr() -> None:
    """A returned value can be changed without changing the State; the repr has keys and no values."""
    state = made(cart=b'{"mug": 1}', token=b'"hush"')
    state["cart"]["mug"] = 2
    assert state["cart"] == {"mug": 1}
    with pytest.raises(TypeError):
        state.raw["cart"] = b""  # type: ignore[index]
    assert repr(state) == "<State of prod, restate 1.7.12, 2026-11-25 03:00:00 UTC: 'Drawer/k/1': 'cart', 'token'>"
    assert repr(made()) == "<State of prod, restate 1.7.12, 2026-11-25 03:00:00 UTC: 'Drawer/k/1': no keys>"
    assert "\n" not in repr(made(**{"a\nb": b"1"}))
    assert copy.deepcopy(state) == state == {"cart": {"mug": 1}, "token": "hush"}


def test_an_object_without_state_has_the_similar_keys() -> None:
    rows = [{"service_name": "Account", "service_key": key, "key": "n", "value": b"1"} for key in ("acme-7", "globex")]
    source: Any = SampleRows(state=rows, sys_service=[{"name": "Account", "ty": "virtual_object"}])
    empty = rl.state(source, "Account", "acme7")
    assert empty.near == ("acme-7",)
    assert "no keys. Did you mean 'acme-7'?" in repr(empty)
    assert "Did you mean &#39;acme-7&#39;?" in empty._repr_html_()
    assert rl.state(source, "Account", "globex").near == ()


def test_what_is_shown_is_text_cut_and_masked() -> None:
    """Card and frame show no value with a secret name, at any depth, and no HTML from the cluster."""
    state = made(
        **{"<b>": b'"<script>"', "api_token": b'"hush"', "deep": b'[{"password": "hush", "user": "ann"}]'},
        long=b'"' + b"x" * 5_000 + b'"',
        raw=b"\xff" * 5_000,
    )
    html = state._repr_html_()
    assert "hush" not in html
    assert "hush" not in state.frame.to_string()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "ann" in html
    assert len(html) < 7_000  # and a value has 5,000 letters
    assert state.frame.set_index("key")["value"]["deep"] == [{"password": MASK, "user": "ann"}]
    assert "… and 5 more" in made(**{f"k{n}": b"1" for n in range(25)})._repr_html_()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"api_key": "hush", "score": NaN}',
        b'{"api_key": "hush", "n": ' + b"9" * 5000 + b"}",
        rb'{"api_key": "hush", "text": "\ud83d"}',
        b'\xef\xbb\xbf{"api_key": "hush"}',
        b'{"api_key": "hush"}\n{"api_key": "hush"}\n',
        b'{"api_key": "hush", "text": "a\nb"}',
        b'{"api_key": "hush"',
        b'{"api_key": "hush", "latin": "\xe9"}',
        b'{"a": ' * 5000 + b'{"api_key": "hush"}' + b"}" * 5000,
        json.dumps({"arguments": json.dumps({"api_key": "hush"})}).encode(),
        json.dumps({"response": {"headers": [["set-cookie", "hush"]]}}).encode(),
    ],
    ids=lambda raw: str(raw[:40]),
)
def test_no_form_of_json_shows_a_secret(raw: bytes) -> None:
    """Cards, frames and messages mask a secret field, whatever is beside it."""
    state = made(k=raw)
    assert "hush" not in state._repr_html_()
    assert "hush" not in str(state.frame.to_dict("records"))
    assert b"hush".hex() not in format_value("k", raw, 10_000)
    assert "hush" not in format_value("k", raw, 10_000)


@given(st.text(), st.none() | st.binary(max_size=400), st.integers(10, 80))
def test_a_value_in_a_message_is_one_line_within_the_limit(key: str, value: bytes | None, longest: int) -> None:
    words = format_value(key, value, longest)
    assert len(words) <= max(longest, len(MASK))
    assert "\n" not in words


@pytest.mark.parametrize("depth", [600, 100_000])
def test_a_value_too_deep_to_walk_is_shown_or_described(depth: int) -> None:
    state = made(a=b"[" * depth + b"]" * depth)
    assert len(state._repr_html_()) < 3_500
    assert len(state.frame) == 1


@pytest.fixture
def lab() -> rl.Lab:
    return rl.connect("http://127.0.0.1:1", check=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reason": " "}, "reason is empty"),
        ({"reason": None}, "reason must be a text"),
        ({"reason": "…"}, "reason has the placeholder"),
        ({"values": [("a", 1)]}, "values must be a mapping"),
        ({"values": {1: 1}}, "keys must be text; got 1"),
        ({"values": {}}, "nothing to change"),
        ({"delete": "total"}, "delete must be a list"),
        ({"delete": ["a"]}, "'a' is in both values and delete"),
        ({"delete": ["b"], "clear": True}, "omit delete"),
        ({"clear": 1}, "clear must be True or False"),
        ({"timeout": "soon"}, "timeout is 'soon'"),
        ({"timeout": "-1s"}, "timeout is '-1s'"),
        ({"state": {"a": 1}}, "state must be a State from rl.state()"),
        ({"state": made()}, "state belongs to Drawer/k/1, not to Drawer/other"),
        ({"key": "k/1", "state": made()}, "state was read from prod, but this is 127.0.0.1:1"),
        ({"key": "k/1", "scope": "blue", "state": made()}, "not to Drawer/k/1 of scope blue"),
    ],
)
def test_arguments_are_checked_before_any_request(lab: rl.Lab, arguments: dict[str, Any], words: str) -> None:
    call = {"service": "Drawer", "key": "other", "values": {"a": 1}, "reason": "INC-7"} | arguments
    with lab, pytest.raises(errors.ArgumentError, match=words):
        set_state(lab, call.pop("service"), call.pop("key"), call.pop("values"), **call)
