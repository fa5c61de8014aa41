"""What a comparison looks like in a notebook: each frame's line, with its first rows folded below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._html import render
from restate_lab._text import format_duration, one_line
from restate_lab.evidence.compare_words import PARTS, headline, part_line, where_of

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


def comparison_card(made: Comparison) -> str:
    """Return the card as HTML; whatever came from a cluster is text."""
    return render(
        "evidence/compare_card.html.j2",
        title=headline(made),
        place=where_of(made),
        lines=[f"not compared, {row['part']}: {row['reason']}" for row in made.not_compared.to_dict("records")],
        accent=_ACCENT,
        parts=[_part(made, part) for part in PARTS],
    )


def _part(made: Comparison, part: str) -> dict[str, Any]:
    frame: pd.DataFrame = getattr(made, part)
    rows = frame.head(_MOST)
    columns = [name for name in _SHOWN[part] if rows[name].notna().any()] if len(rows) else []
    return {
        "name": part,
        "summary": part_line(made, part),
        "heads": [name.replace("_", " ") for name in columns],
        "rows": [[_text(row[name]) for name in columns] for row in rows.to_dict("records")],
        "more": len(frame) - _MOST,
    }


def _text(value: Any) -> str:
    text = "" if pd.isna(value) else format_duration(value) if isinstance(value, pd.Timedelta) else str(value)
    return one_line(text, _CELL_WIDTH)
