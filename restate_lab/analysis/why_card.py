"""What an explanation looks like in a notebook: the paragraph, the chain, and what one can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._html import render
from restate_lab._text import format_age
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.analysis.why import Explanation

__all__ = ["why_card"]

_GREY = STATUSES["suspended"].colour


def why_card(told: Explanation) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    status = STATUSES.get(told.status or "")
    title = f"{told.target} · {told.status}" if told.target else "There is no such invocation"
    chain = told.chain
    return render(
        "analysis/why_card.html.j2",
        title=title,
        place=told.id,
        lines=[*(f"Not looked up: {each}." for each in told.excluded), told.where],
        accent=status.colour if status else _GREY,
        summary=told.summary,
        chain=[_link(row, told) for row in _rows(chain)] if len(chain) > 1 else [],
        options=[_option(row, told) for row in _rows(told.options)],
    )


def _link(row: dict[Any, Any], told: Explanation) -> dict[str, str]:
    return {
        "step": str(row["step"]),
        "target": row["target"],
        "id": row["id"],
        "status": row["status"],
        "waits": f"{row['waits_for'] or ''} {row['what'] or ''}".strip(),
        "since": format_age(row["since"], told.at) if pd.notna(row["since"]) else "",
    }


def _option(row: dict[Any, Any], told: Explanation) -> dict[str, str]:
    about = "" if row["id"] == told.id else f"{row['target']}: "
    return {"action": row["action"], "description": f"{about}{row['what']}", "code": row["code"] or ""}


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")
