"""What waits look like in a notebook: deadlocks first, then the roots, then what nobody resolves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.analysis.wait_words import age
from restate_lab.markup import card
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.analysis.waits import Waits

__all__ = ["waits_card"]

_MOST = 8  # rows of each list; the frames have all
_RED, _AMBER, _GREEN = STATUSES["failed"].colour, STATUSES["pending"].colour, STATUSES["succeeded"].colour
_SHORT = 14  # characters that stay on one line
_CELL = "padding:3px 10px 3px 0;vertical-align:top;text-align:left"
# Set again what pages set for tables: the card's own font and colour hold.
_TABLE = "border-collapse:collapse;table-layout:auto;width:100%;font:inherit;color:inherit"
_CODE = "font-family:var(--jp-code-font-family,monospace);overflow-wrap:anywhere"


def waits_card(waits: Waits) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    deadlocks, blockers = waits.deadlocks, waits.blockers
    body = [_deadlock(row, waits.at) for row in _first(deadlocks)]
    body += [_more(deadlocks, "deadlocks")]
    body += [_blockers(blockers, waits.at), _more(blockers, "blockers")]
    for name, frame in (("Awakeables", waits.open_awakeables), ("Promises", waits.open_promises)):
        body += [_unresolved(name, frame, waits.at)]
    colour = _RED if deadlocks["certain"].any() else _AMBER if len(blockers) or len(deadlocks) else _GREEN
    return card(waits.verdict, waits.where, [*_sleeps(waits), *waits.excluded], accent=colour, body="".join(body))


def _deadlock(row: dict[Any, Any], now: datetime) -> str:
    what, colour = ("Deadlock", _RED) if row["certain"] else ("Possible deadlock", _AMBER)
    ago, behind = age(row["since"], now), row["waiting"]
    head = f"{what} for {ago}" if ago else what
    head += ", others wait for it" if pd.isna(behind) else f", {behind:,} more wait for it" if behind else ""
    return (
        f'<div style="margin:8px 0;border-left:3px solid {colour};padding-left:8px">'
        f"<b>{escape(head)}</b><div>{escape(row['description'])}</div>"
        f'<div style="{_CODE}">{escape(row["resolution_code"])}</div></div>'
    )


def _blockers(frame: pd.DataFrame, now: datetime) -> str:
    rows = [
        (
            f"{row['total_waiting']:,}" if pd.notna(row["total_waiting"]) else f"{row['direct_waiting']:,} or more",
            f"{row['target'] or 'unknown'}\n{row['id']}",
            row["status"] or "gone",
            row["waits_for"],
            age(row["since"], now),
        )
        for row in _first(frame)
    ]
    return _table("Who everybody waits for", ("waiting", "invocation", "status", "waits for", "for"), rows)


def _unresolved(name: str, frame: pd.DataFrame, now: datetime) -> str:
    rows = [(row["what"], f"{row['waiter_target']}\n{row['waiter']}", age(row["since"], now)) for row in _first(frame)]
    return _table(
        f"{name} that nobody has resolved", (name.lower().removesuffix("s"), "who waits", "for"), rows
    ) + _more(frame, name.lower())


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th style="{_CELL}">{escape(each)}</th>' for each in heads)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div style="margin-top:10px"><b>{escape(title)}</b></div>'
        f'<table style="{_TABLE}"><tr>{head}</tr>{lines}</table>'
    )


def _cell(text: str) -> str:
    """Return a cell; what stands after a line end is an id below it."""
    first, _, second = text.partition("\n")
    wrap = "white-space:nowrap" if len(text) <= _SHORT else "overflow-wrap:anywhere"
    below = f'<div style="{_CODE};opacity:.75">{escape(second)}</div>' if second else ""
    return f'<td style="{_CELL};{wrap}">{escape(first)}{below}</td>'


def _more(frame: pd.DataFrame, name: str) -> str:
    return f"<div>… and {len(frame) - _MOST:,} more {escape(name)}</div>" if len(frame) > _MOST else ""


def _sleeps(waits: Waits) -> list[str]:
    sleeps = waits.sleeps
    if sleeps.empty:
        return []
    first = sleeps["wakes_at"].min()
    return [f"{len(sleeps):,} asleep" + (f", the next wakes at {first:%Y-%m-%d %H:%M:%S} UTC" if first else "")]


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")
