"""What a State looks like in a notebook: one row per key, values cut, what has a secret name masked."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from restate_lab._html import render
from restate_lab.actions.state_values import encoding_of, value_words

__all__ = ["state_card"]

_MOST = 20  # rows
_LONGEST_KEY = 80
_LONGEST_VALUE = 300
_ACCENT = "#8a8f98"


def state_card(title: str, where: str, raw: Mapping[str, bytes]) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    total = f"{len(raw):,} key{'s' if len(raw) > 1 else ''}, {sum(map(len, raw.values())):,} bytes"
    more = [f"… and {len(raw) - _MOST:,} more keys; frame() has all"] if len(raw) > _MOST else []
    return render(
        "actions/state_card.html.j2",
        title=title,
        place=where,
        lines=[*more, total] if raw else ["no keys: its state is empty"],
        accent=_ACCENT,
        rows=[_row(key, value) for key, value in islice(raw.items(), _MOST)],
    )


def _row(key: str, value: bytes) -> dict[str, str | int]:
    name = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
    return {
        "key": name or "(empty)",
        "letters": min(len(name), 24),
        "text": value_words(key, value, _LONGEST_VALUE),
        "encoding": encoding_of(value),
        "size": len(value),
    }
