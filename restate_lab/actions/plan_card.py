"""What a plan looks like in a notebook: where it acts, large and first; then on whom, and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._html import render
from restate_lab._text import format_duration
from restate_lab.actions.plan_words import groups, headline, next_step, notes
from restate_lab.actions.table import ACTIONS
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.actions.planned import Plan

__all__ = ["plan_card"]

_MOST = 8  # rows of each list; the frames have all
_RED, _ORANGE, _GREY = STATUSES["failed"].colour, STATUSES["backing-off"].colour, STATUSES["ready"].colour
Row = Sequence[str]


def plan_card(plan: Plan) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    rows = plan.rows
    effects, excluded = groups(rows, "effect"), groups(plan.frame, "excluded")
    return render(
        "actions/plan_card.html.j2",
        title=f"{plan.environment} · {plan.address}",
        place=plan.server,
        lines=[*notes(plan), next_step(plan)],
        accent=_accent(plan),
        heading=headline(plan),
        warnings=plan.warnings,
        warning=_RED,
        parts=_parts(plan),
        tables=[
            _table("What will happen", [(f"{n:,}", status, words) for n, status, words in effects], len(effects)),
            _table("Left out", [(f"{n:,}", status, words) for n, status, words in excluded], len(excluded)),
            _table(
                "By service",
                [(f"{row['n']:,}", row["status"], row["service"]) for row in _first(plan.counts)],
                len(plan.counts),
            ),
            _table(
                "Invocations",
                [(_who(row), row["status"], format_duration(row["age"])) for row in _first(rows)],
                len(rows),
            ),
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
        ],
    )


def _accent(plan: Plan) -> str:
    if not plan.targets:
        return _GREY
    return _RED if plan.action.rule.destructive or plan.action is ACTIONS.CANCEL else _ORANGE


def _parts(plan: Plan) -> list[tuple[str, int, str]]:
    counts = plan.counts.groupby("status")["n"].sum()
    words = [word for word in STATUSES if word in counts.index]
    return [(word, int(counts[word]), STATUSES[word].colour) for word in words]


def _first(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.head(_MOST).to_dict("records")


def _who(row: dict[Any, Any]) -> str:
    return f"{row['target']}\n{row['id'] or ''}".rstrip()


def _table(title: str, rows: Sequence[Row], total: int) -> dict[str, Any]:
    return {"title": title, "rows": [tuple(map(str, row)) for row in rows[:_MOST]], "more": total - _MOST}
