"""A diagnosis as the section that is read first."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible, format_age, format_timestamp
from restate_lab.analysis.doctor.diagnosis import Diagnosis, bottom_line, headline, reasons
from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import Finding, Findings
from restate_lab.status import STATUSES

__all__ = ["findings_of", "lead_of"]

_IDS = 5
_LEAD = 3
COLOURS = {
    "critical": STATUSES["failed"].colour,
    "warning": STATUSES["paused"].colour,
    "incomplete": STATUSES["paused"].colour,
    "healthy": STATUSES["succeeded"].colour,
    "note": "#6b7280",  # white letters stand on it
}


def findings_of(diagnosis: Diagnosis, zone: tzinfo, masker: Masker) -> Findings:
    """Return all findings in words, worst first, with what was not checked."""
    rows = diagnosis.findings.to_dict("records")
    return Findings(
        tuple(_finding(row, diagnosis, zone, masker) for row in rows),
        tuple(masker.text(escape_invisible(each)) for each in reasons(diagnosis)),
        bottom_line(diagnosis),
        "Nothing was found." if len(diagnosis.checked) else "Nothing was checked.",
    )


def lead_of(diagnosis: Diagnosis, masker: Masker) -> tuple[tuple[str, ...], str]:
    """Return the verdict and the worst findings for the summary, and the colour of the verdict."""
    worst = [row for row in diagnosis.findings.to_dict("records") if row["severity"] == "critical"]
    lines = [masker.text(escape_invisible(row["summary"])) for row in worst[:_LEAD]]
    more = len(worst) - len(lines)
    lines += [f"and {more:,} more critical ones"] if more > 0 else []
    missing = [f"Not checked: {masker.text(escape_invisible(each))}" for each in reasons(diagnosis)]
    colour = COLOURS["critical" if diagnosis.worst == "critical" else diagnosis.verdict]
    return (headline(diagnosis), *lines, *missing), colour


def _finding(row: dict[Any, Any], diagnosis: Diagnosis, zone: tzinfo, masker: Masker) -> Finding:
    ids = [escape_invisible(str(each)) for each in row["ids"]]
    return Finding(
        severity=row["severity"],
        colour=COLOURS[row["severity"]],
        summary=masker.text(escape_invisible(row["summary"])),
        where=escape_invisible(str(row["where"] or "")),
        since=_since(row["since"], diagnosis, zone),
        affected=f"{row['affected']:,} affected" if row["affected"] > row["count"] else "",
        suggested_code=masker.text(escape_invisible(row["suggested_code"])),
        ids=tuple(ids[:_IDS]),
        more_ids=max(int(row["count"]) - _IDS, 0),
    )


def _since(since: pd.Timestamp | None, diagnosis: Diagnosis, zone: tzinfo) -> str:
    if since is None or pd.isna(since):
        return ""
    return f"since {format_timestamp(since, zone=zone)}, for {format_age(since, diagnosis.at)}"
