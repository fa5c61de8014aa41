"""What an explanation looks like in a notebook: the paragraph, the chain, and what one can do."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.analysis.wait_words import age
from restate_lab.markup import card
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.analysis.why import Explanation

__all__ = ["why_card"]

_CELL = "padding:3px 10px 3px 0;vertical-align:top;text-align:left"
# Set again what pages set for tables: the card's own font and colour hold.
_TABLE = "border-collapse:collapse;table-layout:auto;width:100%;font:inherit;color:inherit"
_CODE = "font-family:var(--jp-code-font-family,monospace);overflow-wrap:anywhere;white-space:pre-wrap"
_GREY = STATUSES["suspended"].colour


def why_card(told: Explanation) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    status = STATUSES.get(told.status or "")
    title = f"{told.target} · {told.status}" if told.target else "There is no such invocation"
    body = [f'<div style="margin:8px 0">{escape(told.summary)}</div>']
    chain = told.chain
    if len(chain) > 1:
        body.append(_section("From this one to the root blocker", [_link(row, told) for row in _rows(chain)]))
    if len(told.options):
        head = "What you can do (a plan sends nothing before its .execute(reason=…))"
        body.append(_section(head, [_option(row, told) for row in _rows(told.options)]))
    lines = [*(f"Not looked up: {each}." for each in told.excluded), told.where]
    return card(title, told.id, lines, accent=status.colour if status else _GREY, body="".join(body))


def _section(title: str, rows: list[str]) -> str:
    lines = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div style="margin-top:10px"><b>{escape(title)}</b></div><table style="{_TABLE}">{lines}</table>'


def _link(row: dict[Any, Any], told: Explanation) -> str:
    waits = f"{row['waits_for'] or ''} {row['what'] or ''}".strip()
    since = age(row["since"], told.at) if pd.notna(row["since"]) else ""
    return (
        f'<td style="{_CELL}">{row["step"]}</td>'
        f'<td style="{_CELL}">{escape(row["target"])}<div style="{_CODE};opacity:.75">{escape(row["id"])}</div></td>'
        f'<td style="{_CELL}">{escape(row["status"])}</td>'
        f'<td style="{_CELL};overflow-wrap:anywhere">{escape(waits)}</td><td style="{_CELL}">{escape(since)}</td>'
    )


def _option(row: dict[Any, Any], told: Explanation) -> str:
    about = "" if row["id"] == told.id else f" {row['target']}"
    code = f'<div style="{_CODE};opacity:.85">{escape(row["code"])}</div>' if row["code"] else ""
    return (
        f'<td style="{_CELL};white-space:nowrap;width:1%"><b>{escape(row["action"])}</b></td>'
        f'<td style="{_CELL}">{escape(about.strip())}{": " if about else ""}{escape(row["what"])}{code}</td>'
    )


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")
