"""What a State looks like in a notebook: one row per key, values cut, what has a secret name masked."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import islice

from restate_lab.actions.state_values import encoding_of, value_words
from restate_lab.markup import card

__all__ = ["state_card"]

_MOST = 20  # rows
_LONGEST_KEY = 80
_LONGEST_VALUE = 300
_ACCENT = "#8a8f98"
_CELL = "padding:3px 12px 3px 0;vertical-align:top;text-align:left"
# Isolated: a value may turn the direction of writing around.
_CODE = f"{_CELL};font-family:var(--jp-code-font-family,monospace);overflow-wrap:anywhere;unicode-bidi:isolate"
_TABLE = "border-collapse:collapse;width:100%;font:inherit;color:inherit;margin-top:8px"


def state_card(title: str, where: str, raw: Mapping[str, bytes]) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    if not raw:
        return card(title, where, ["no keys: its state is empty"], accent=_ACCENT)
    heads = "".join(f'<th style="{_CELL}">{head}</th>' for head in ("key", "value", "is", "bytes"))
    rows = "".join(_row(key, value) for key, value in islice(raw.items(), _MOST))
    total = f"{len(raw):,} key{'s' if len(raw) > 1 else ''}, {sum(map(len, raw.values())):,} bytes"
    more = [f"… and {len(raw) - _MOST:,} more keys; frame() has all"] if len(raw) > _MOST else []
    return card(title, where, [*more, total], accent=_ACCENT, body=f'<table style="{_TABLE}">{heads}{rows}</table>')


def _row(key: str, value: bytes) -> str:
    name = key if len(key) <= _LONGEST_KEY else f"{key[: _LONGEST_KEY - 1]}…"
    words = value_words(key, value, _LONGEST_VALUE)
    # Otherwise long values would press the keys into columns of letters.
    width = f"min-width:{min(len(name), 24)}ch"
    return (
        f'<tr><td style="{_CODE};{width}">{escape(name or "(empty)")}</td><td style="{_CODE}">{escape(words)}</td>'
        f'<td style="{_CELL}">{encoding_of(value)}</td><td style="{_CELL}">{len(value):,}</td></tr>'
    )
