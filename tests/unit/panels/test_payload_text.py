"""Payloads as a panel shows them: JSON over several lines, secrets masked, whatever is beside them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from restate_lab.analysis.journal.payloads import payload_line, payload_texts
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


def test_payloads_are_text_to_read() -> None:
    """JSON has line ends and its own constants; bytes are shown in hexadecimal."""
    shown = payload_texts({"payload": {"a": [1, float("inf")]}, "argument": b"\xff\x00", "headers": {"x": "1"}})
    assert shown == [
        ("argument", "2 bytes: ff 00"),
        ("payload", '{\n  "a": [\n    1,\n    Infinity\n  ]\n}'),
        ("headers", '{\n  "x": "1"\n}'),
    ]
