"""What waits look like in a notebook: deadlocks first, then the roots, then what nobody resolves."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._html import render
from restate_lab._text import format_age, format_timestamp
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.analysis.waits import Waits

__all__ = ["waits_card"]

_MOST = 8  # rows of each list; the frames have all
_RED, _AMBER, _GREEN = STATUSES["failed"].colour, STATUSES["pending"].colour, STATUSES["succeeded"].colour


def waits_card(waits: Waits) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    deadlocks, blockers = waits.deadlocks, waits.blockers
    unresolved = (("Awakeables", waits.open_awakeables), ("Promises", waits.open_promises))
    return render(
        "analysis/wait_card.html.j2",
        title=waits.verdict,
        place=waits.where,
        lines=[*_sleeps(waits), *waits.excluded],
        accent=_RED if deadlocks["certain"].any() else _AMBER if len(blockers) or len(deadlocks) else _GREEN,
        deadlocks=[_deadlock(row, waits.at) for row in _first(deadlocks)],
        more_deadlocks=_more(deadlocks, "deadlocks"),
        tables=[_blockers(blockers, waits.at), *(_unresolved(name, frame, waits.at) for name, frame in unresolved)],
    )


def _deadlock(row: dict[Any, Any], now: datetime) -> dict[str, str]:
    what, colour = ("Deadlock", _RED) if row["certain"] else ("Possible deadlock", _AMBER)
    ago, behind = format_age(row["since"], now), row["waiting"]
    head = f"{what} for {ago}" if ago else what
    head += ", others wait for it" if pd.isna(behind) else f", {behind:,} more wait for it" if behind else ""
    return {
        "colour": colour,
        "heading": head,
        "description": row["description"],
        "resolution_code": row["resolution_code"],
    }


def _blockers(frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
    rows = [
        (
            f"{row['total_waiting']:,}" if pd.notna(row["total_waiting"]) else f"{row['direct_waiting']:,} or more",
            f"{row['target'] or 'unknown'}\n{row['id']}",
            row["status"] or "gone",
            row["waits_for"],
            format_age(row["since"], now),
        )
        for row in _first(frame)
    ]
    return {
        "title": "Who everybody waits for",
        "heads": ("waiting", "invocation", "status", "waits for", "for"),
        "rows": rows,
        "more": _more(frame, "blockers"),
    }


def _unresolved(name: str, frame: pd.DataFrame, now: datetime) -> dict[str, Any]:
    return {
        "title": f"{name} that nobody has resolved",
        "heads": (name.lower().removesuffix("s"), "who waits", "for"),
        "rows": [
            (row["what"], f"{row['waiter_target']}\n{row['waiter']}", format_age(row["since"], now))
            for row in _first(frame)
        ],
        "more": _more(frame, name.lower()),
    }


def _more(frame: pd.DataFrame, name: str) -> str:
    return f"… and {len(frame) - _MOST:,} more {name}" if len(frame) > _MOST else ""


def _sleeps(waits: Waits) -> list[str]:
    sleeps = waits.sleeps
    if sleeps.empty:
        return []
    first = sleeps["wakes_at"].min()
    return [f"{len(sleeps):,} asleep" + (f", the next wakes at {format_timestamp(first)}" if first else "")]


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")
