"""What a diagnosis looks like in a notebook: the verdict large, then causes with their next step; notes folded."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from restate_lab.analysis.doctor_text import ago, bottom_line, headline, reasons
from restate_lab.markup import card
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
_MONO = "font-family:var(--jp-code-font-family,monospace);font-size:12px"
_CODE = (
    f"{_MONO};overflow-wrap:anywhere;white-space:pre-wrap;user-select:all;opacity:.85;background:none;color:inherit;"
    "padding:0;border:none"
)
_FOLDED = "margin-top:8px;cursor:pointer"


def card_of(diagnosis: Diagnosis) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    rows = diagnosis.findings.to_dict("records")
    causes = [row for row in rows if row["severity"] != "note"]
    notes = [row for row in rows if row["severity"] == "note"]
    body = [_finding(row, diagnosis) for row in causes[:_MOST]]
    body += [_more(len(causes) - _MOST)]
    body += [_not_checked(reasons(diagnosis))]
    body += [_folded(f"Worth knowing ({len(notes):,})", [_finding(row, diagnosis) for row in notes[:_NOTES]])]
    body += [
        _folded(f"Checked ({len(diagnosis.checked):,})", _checked(diagnosis), is_open=diagnosis.verdict == "healthy")
    ]
    return card(
        headline(diagnosis),
        diagnosis.where,
        [bottom_line(diagnosis)],
        accent=_accent(diagnosis),
        body="".join(body),
    )


def _accent(diagnosis: Diagnosis) -> str:
    """Return the colour of the worst: what was not checked does not make a critical finding look better."""
    return _COLOURS["critical" if diagnosis.worst == "critical" else diagnosis.verdict]


def _finding(row: dict[Any, Any], diagnosis: Diagnosis) -> str:
    severity = row["severity"]
    since = ago(row, diagnosis)
    affected = f"{row['affected']:,} affected" if row["affected"] > row["count"] else ""
    quiet = " · ".join(part for part in (since, affected) if part)
    return (
        f'<div style="margin:7px 0;border-left:3px solid {_COLOURS[severity]};padding-left:8px">'
        f'<b style="text-transform:uppercase;font-size:11px;letter-spacing:.04em">{escape(severity)}</b> '
        f'<span style="overflow-wrap:anywhere">{escape(row["summary"])}</span>'
        f"{f' <span style=opacity:.7>{escape(quiet)}</span>' if quiet else ''}"
        f'<div><code style="{_CODE}" title="{escape(row["evidence_code"])}">{escape(row["suggested_code"])}</code>'
        "</div></div>"
    )


def _not_checked(reasons: Sequence[str]) -> str:
    if not reasons:
        return ""
    lines = "".join(f'<div style="overflow-wrap:anywhere">{escape(each)}</div>' for each in reasons)
    return (
        f'<div style="margin:7px 0;border-left:3px dashed {_COLOURS["incomplete"]};padding-left:8px">'
        f'<b style="text-transform:uppercase;font-size:11px;letter-spacing:.04em">not checked</b>{lines}</div>'
    )


def _checked(diagnosis: Diagnosis) -> list[str]:
    """Return a line for each check; what another one has already read takes no time."""
    return [
        f"<div>{escape(row['description'])}{_seconds(row['seconds'])}</div>"
        for row in diagnosis.checked.to_dict("records")
    ]


def _seconds(seconds: float) -> str:
    return f' <span style="opacity:.7">{seconds:,.2f} s</span>' if seconds >= _NOTICEABLE else ""


def _folded(title: str, inside: Sequence[str], *, is_open: bool = False) -> str:
    if not inside:
        return ""
    return (
        f'<details{" open" if is_open else ""}><summary style="{_FOLDED}">{escape(title)}</summary>'
        f"{''.join(inside)}</details>"
    )


def _more(count: int) -> str:
    return f"<div>… and {count:,} more, in .findings</div>" if count > 0 else ""
