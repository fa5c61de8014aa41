"""What entries carry, as text to read: JSON with line ends, fields with a secret's name masked, cut where long."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from restate_lab.redact import MASK, is_secret_name

__all__ = ["carried_text", "masked"]

_MOST = 20_000  # characters of one value
_PARTS = ("argument", "payload", "headers")


def carried_text(entry: dict[Any, Any]) -> list[tuple[str, str]]:
    """Return what one row of a journal with payloads carries: name and text of each part that is there."""
    return [(name, _text(entry[name])) for name in _PARTS if not _is_nothing(entry.get(name))]


def masked(value: Any) -> Any:
    """Return a value with what stands under a secret's name masked, however deep."""
    if isinstance(value, dict):
        return {name: MASK if is_secret_name(str(name)) else masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return value


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        text = f"{len(value):,} bytes: {value[:2000].hex(' ')}"
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(masked(value), ensure_ascii=False, indent=2, default=str)
    return text if len(text) <= _MOST else f"{text[:_MOST]}…\n({len(text):,} characters in all)"


def _is_nothing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, dict | list) and not value)
