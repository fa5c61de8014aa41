"""What entries carry, as text to read: JSON with line ends, fields with a secret's name masked, cut where long."""

from __future__ import annotations

from typing import Any

import pandas as pd

from restate_lab.payload_json import HEADERS, SECRETS, mask, write_for_display

__all__ = ["carried_text"]

_MOST = 20_000  # characters of one value
_PARTS = ("argument", "payload", "headers")


def carried_text(entry: dict[Any, Any]) -> list[tuple[str, str]]:
    """Return what one row of a journal with payloads carries: name and text of each part that is there."""
    return [(name, _text(entry[name])) for name in _PARTS if not _is_nothing(entry.get(name))]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        text = f"{len(value):,} bytes: {value[:2000].hex(' ')}"
    else:
        whole = value if isinstance(value, str) else write_for_display(value, indent=2)
        text = mask(whole, [HEADERS, SECRETS]).value
    return text if len(text) <= _MOST else f"{text[:_MOST]}…\n({len(text):,} characters in all)"


def _is_nothing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, dict | list) and not value)
