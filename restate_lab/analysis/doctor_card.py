"""What a diagnosis looks like in a notebook: the verdict large, then causes with their next step; notes folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from restate_lab._html import render
from restate_lab._text import format_duration
from restate_lab.analysis.doctor_text import ago, bottom_line, headline, reasons
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.analysis.doctor_diagnosis import Diagnosis

__all__ = ["card_of"]

_MOST = 25  # causes that are shown; the frame has all
_NOTES = 25
_NOTICEABLE = 0.01  # seconds
_COLOURS = {
    "critical": STATUSES["failed"].colour,
    "warning": STATUSES["paused"].colour,
    "incomplete": STATUSES["paused"].colour,
    "healthy": STATUSES["succeeded"].colour,
    "note": STATUSES["ready"].colour,
}


def card_of(diagnosis: Diagnosis) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    rows = diagnosis.findings.to_dict("records")
    causes = [row for row in rows if row["severity"] != "note"]
    notes = [row for row in rows if row["severity"] == "note"]
    return render(
        "analysis/doctor_card.html.j2",
        title=headline(diagnosis),
        place=diagnosis.where,
        lines=[bottom_line(diagnosis)],
        accent=_accent(diagnosis),
        causes=[_finding(row, diagnosis) for row in causes[:_MOST]],
        more_causes=len(causes) - _MOST,
        not_checked=reasons(diagnosis),
        incomplete=_COLOURS["incomplete"],
        notes=[_finding(row, diagnosis) for row in notes[:_NOTES]],
        note_count=len(notes),
        checks=[(row["description"], _seconds(row["seconds"])) for row in diagnosis.checked.to_dict("records")],
        is_healthy=diagnosis.verdict == "healthy",
    )


def _accent(diagnosis: Diagnosis) -> str:
    """Return the colour of the worst: what was not checked does not make a critical finding look better."""
    return _COLOURS["critical" if diagnosis.worst == "critical" else diagnosis.verdict]


def _finding(row: dict[Any, Any], diagnosis: Diagnosis) -> dict[str, str]:
    affected = f"{row['affected']:,} affected" if row["affected"] > row["count"] else ""
    return {
        "severity": row["severity"],
        "colour": _COLOURS[row["severity"]],
        "summary": row["summary"],
        "context": " · ".join(part for part in (ago(row, diagnosis), affected) if part),
        "suggested_code": row["suggested_code"],
        "evidence_code": row["evidence_code"],
    }


def _seconds(seconds: float) -> str:
    """Return how long a check took; what another one has already read takes no time."""
    return format_duration(seconds) if seconds >= _NOTICEABLE else ""
