"""What a plan looks like in a notebook: where it acts, large and first; then on whom, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab.actions.plan_words import age, groups, headline, next_step, notes
from restate_lab.actions.table import ACTIONS
from restate_lab.markup import bar, card
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.actions.planned import Plan

__all__ = ["plan_card"]

_MOST = 8  # rows of each list; the frames have all
_RED, _ORANGE, _GREY = STATUSES["failed"].colour, STATUSES["backing-off"].colour, STATUSES["ready"].colour
_CELL = "padding:3px 18px 3px 0;vertical-align:top;text-align:left"
# Set again what pages set for tables: the card's own font and colour hold.
_TABLE = "border-collapse:collapse;font:inherit;color:inherit"
_WARNING = f"margin:6px 0;padding-left:8px;border-left:3px solid {_RED}"
Row = Sequence[str]


def plan_card(plan: Plan) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    rows = plan.rows
    body = [
        f'<div style="font-size:15px;font-weight:600;margin-top:6px">{escape(headline(plan))}</div>',
        *(f'<div style="{_WARNING}">{escape(warning)}</div>' for warning in plan.warnings),
        _bar(plan),
        *(
            _table(title, [(f"{n:,}", status, words) for n, status, words in found], len(found))
            for title, found in (
                ("What will happen", groups(rows, "effect")),
                ("Left out", groups(plan.frame, "excluded")),
            )
        ),
        _table(
            "By service",
            [(f"{row['n']:,}", row["status"], row["service"]) for row in _first(plan.counts)],
            len(plan.counts),
        ),
        _table("Invocations", [(_who(row), row["status"], age(row["age"])) for row in _first(rows)], len(rows)),
        _table(
            "Goes with them",
            [(row["kind"], _who(row), row["what"]) for row in _first(plan.impact)],
            len(plan.impact),
        ),
        _table(
            "May be kept in a restart",
            [(row["id"], f"from_index={row['from_index']}", row["entry"]) for row in _first(plan.prefixes)],
            len(plan.prefixes),
        ),
    ]
    lines = [*notes(plan), next_step(plan)]
    return card(f"{plan.environment} · {plan.address}", plan.server, lines, accent=_accent(plan), body="".join(body))


def _accent(plan: Plan) -> str:
    if not plan.targets:
        return _GREY
    return _RED if plan.action.rule.destructive or plan.action is ACTIONS.CANCEL else _ORANGE


def _bar(plan: Plan) -> str:
    counts = plan.counts.groupby("status")["n"].sum()
    words = [word for word in STATUSES if word in counts.index]
    return bar([(word, int(counts[word]), STATUSES[word].colour) for word in words])


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")


def _who(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()


def _table(title: str, rows: Sequence[Row], total: int) -> str:
    if not rows:
        return ""
    shown = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows[:_MOST])
    rest = f"<div>… and {total - _MOST:,} more</div>" if total > _MOST else ""
    return f'<div style="margin-top:8px"><b>{escape(title)}</b><table style="{_TABLE}">{shown}</table>{rest}</div>'


def _cell(text: str) -> str:
    lines = "<br>".join(escape(line) for line in str(text).split("\n"))
    return f'<td style="{_CELL};overflow-wrap:anywhere">{lines}</td>'
