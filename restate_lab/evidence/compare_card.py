"""What a comparison looks like in a notebook: each frame's line, with its first rows folded below."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.analysis.checks.words import cut
from restate_lab.evidence.compare_words import PARTS, headline, part_line, where_of
from restate_lab.markup import card

if TYPE_CHECKING:
    from restate_lab.evidence.compare import Comparison

__all__ = ["comparison_card"]

_ACCENT = "#3c7d8c"
_MOST = 12  # rows of each frame that are shown; the frame has all
_CELL_WIDTH = 60
_SHOWN = {
    "invocations": ("id", "target", "change", "status_before", "status_after", "more_retries", "more_entries"),
    "state": ("service_name", "service_key", "key", "change", "bytes_before", "bytes_after"),
    "deployments": ("kind", "name", "change", "what", "before", "after"),
    "backlog": ("target_service_name", "target_service_key", "waiting_before", "waiting_after", "oldest_wait_after"),
}
_CELL = "padding:2px 10px 2px 0;vertical-align:top;text-align:left"
_WORD = 38  # characters that stay on one line, as ids do
# Set again what pages set for tables: the card's own font and colour hold.
_TABLE = "border-collapse:collapse;table-layout:auto;width:100%;font:inherit;font-size:12px;color:inherit"


def comparison_card(made: Comparison) -> str:
    """Return the card as HTML; whatever came from a cluster is text."""
    body = [_part(made, part) for part in PARTS]
    left = [f"not compared, {row['part']}: {row['reason']}" for row in made.not_compared.to_dict("records")]
    return card(headline(made), where_of(made), left, accent=_ACCENT, body="".join(body))


def _part(made: Comparison, part: str) -> str:
    frame: pd.DataFrame = getattr(made, part)
    said = f"<b>{part}</b> {escape(part_line(made, part))}"
    if frame.empty:
        return f'<div style="margin:5px 0">{said}</div>'
    rows = frame.head(_MOST)
    columns = [name for name in _SHOWN[part] if rows[name].notna().any()]
    head = "".join(f'<th style="{_CELL}">{escape(name.replace("_", " "))}</th>' for name in columns)
    lines = "".join(f"<tr>{''.join(_cell(row[name]) for name in columns)}</tr>" for row in rows.to_dict("records"))
    more = f"<div>… and {len(frame) - _MOST:,} more, in .{part}</div>" if len(frame) > _MOST else ""
    return (
        f'<details style="margin:5px 0"><summary style="cursor:pointer">{said}</summary>'
        f'<table style="{_TABLE}"><tr>{head}</tr>{lines}</table>{more}</details>'
    )


def _cell(value: Any) -> str:
    text = "" if pd.isna(value) else _age(value) if isinstance(value, pd.Timedelta) else str(value)
    wrap = "white-space:nowrap" if len(text) <= _WORD else "overflow-wrap:anywhere"
    return f'<td style="{_CELL};{wrap}">{escape(cut(text, _CELL_WIDTH))}</td>'


def _age(value: pd.Timedelta) -> str:
    return str(value.floor("s")).removeprefix("0 days ")
