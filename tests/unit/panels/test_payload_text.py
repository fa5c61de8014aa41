"""Payloads as a panel shows them: JSON over several lines, secrets masked, whatever is beside them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest

from restate_lab.analysis.journal.payloads import mask_payloads, payload_line, payload_texts
from restate_lab.redaction import MASK


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": "hush", "score": float("nan")},
        {"api_key": "hush", "n": Decimal("9" * 5000)},
        {"api_key": "hush", "text": "cut \ud83d"},
        {"arguments": json.dumps({"api_key": "hush"})},
        {"response": {"headers": {"set-cookie": "hush", "openai-organization": "hush"}}},
        {"response": {"headers": [["set-cookie", "hush"]]}},
        '{"api_key": "hush"}\n{"api_key": "hush"}',
        'Here it is: {"api_key": "hush"}',
    ],
    ids=lambda value: str(value)[:40],
)
def test_secrets_are_masked_beside_anything(value: Any) -> None:
    """A field with a secret name and a secret header are ••• in a panel."""
    ((name, text),) = payload_texts({"payload": value, "argument": None, "headers": {}})
    assert name == "payload"
    assert "hush" not in payload_line({"payload": value})
    assert "hush" not in text
    assert MASK in text
    text.encode()
    rows = pd.DataFrame({"payload": pd.Series([value, None], dtype="object"), "state_key": None})
    masked = mask_payloads(rows)["payload"].tolist()
    assert "hush" not in str(masked)
    assert MASK in str(masked)
    assert masked[1] is None
    assert rows["payload"].tolist()[0] is value


@pytest.mark.parametrize(("key", "shown"), [("password", MASK), ("total", "hush"), (None, "hush")])
def test_the_value_of_a_state_key_with_a_secret_name_is_masked(key: str | None, shown: str) -> None:
    entry = {"payload": "hush", "argument": None, "headers": None, "state_key": key}
    assert payload_texts(entry) == [("payload", shown)]
    assert payload_line(entry) == shown
    assert mask_payloads(pd.DataFrame([entry]))["payload"].tolist() == [shown]


def test_masked_payloads_of_programs_keep_their_values() -> None:
    """All values that have no secret stay equal, also bytes, missing ones and those that are nested too deeply."""
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    values = [
        1,
        1.5,
        True,
        "text",
        {"a": [None, {"b": 9007199254740993}]},
        b"\xff",
        None,
        [],
        Decimal("9" * 5000),
        deep,
    ]
    rows = pd.DataFrame({"payload": pd.Series(values, dtype="object"), "state_key": None})
    *others, last = mask_payloads(rows)["payload"].tolist()
    assert others == values[:-1]
    assert last == "JSON, nested too deeply to display"
    assert mask_payloads(rows[["state_key"]]).columns.tolist() == ["state_key"]


def test_payloads_are_text_to_read() -> None:
    """JSON has line ends and its own constants; bytes are shown in hexadecimal."""
    shown = payload_texts({"payload": {"a": [1, float("inf")]}, "argument": b"\xff\x00", "headers": {"x": "1"}})
    assert shown == [
        ("argument", "2 bytes: ff 00"),
        ("payload", '{\n  "a": [\n    1,\n    Infinity\n  ]\n}'),
        ("headers", '{\n  "x": "1"\n}'),
    ]
