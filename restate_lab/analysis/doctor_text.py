"""A diagnosis in plain text: one line for a repr, all of it for a terminal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from restate_lab._text import format_age, format_duration, plural

if TYPE_CHECKING:
    from restate_lab.analysis.doctor_diagnosis import Diagnosis

__all__ = ["ago", "bottom_line", "headline", "missing", "reasons", "text_of"]


def headline(diagnosis: Diagnosis) -> str:
    """Return the verdict with the numbers: "incomplete · 12 critical, 8 notes, 1 not checked"."""
    counts = diagnosis.findings["severity"].value_counts()
    parts = [
        f"{counts['critical']:,} critical" if "critical" in counts else "",
        plural(int(counts["warning"]), "warning") if "warning" in counts else "",
        plural(int(counts["note"]), "note") if "note" in counts else "",
        f"{len(missing(diagnosis)):,} not checked" if len(missing(diagnosis)) else "",
    ]
    return f"{diagnosis.verdict} · {', '.join(part for part in parts if part) or 'nothing found'}"


def bottom_line(diagnosis: Diagnosis, suggested: Iterable[str] | None = None) -> str:
    """Return what was checked, and how long it took; ``suggested`` is the code that is shown, None for Python."""
    asked = f", {plural(diagnosis.skipped, 'other')} not asked for" if diagnosis.skipped else ""
    speaks = any("diagnosis." in code for code in suggested or diagnosis.findings["suggested_code"])
    named = "; diagnosis stands for this answer below" if speaks else ""
    return f"{plural(len(diagnosis.checked), 'check')} in {format_duration(diagnosis.seconds)}{asked}{named}"


def missing(diagnosis: Diagnosis) -> pd.DataFrame:
    """Return what was not checked and should have been."""
    return diagnosis.not_checked[diagnosis.not_checked["applies"].astype(bool)]


def reasons(diagnosis: Diagnosis) -> list[str]:
    """Return why something was not checked, each reason once: "deadlocks, paused: the timeout of 60s was used up"."""
    names: dict[str, list[str]] = defaultdict(list)
    for row in missing(diagnosis).to_dict("records"):
        names[row["reason"]].append(row["check"])
    return [f"{', '.join(each)}: {reason}" for reason, each in names.items()]


def ago(row: dict[Any, Any], diagnosis: Diagnosis) -> str:
    """Return for how long a finding has been so: "for 2h 13m"; "" where it is not known."""
    said = format_age(row["since"], diagnosis.at)
    return f"for {said}" if said else ""


def text_of(diagnosis: Diagnosis, codes: Sequence[tuple[str, str]] | None = None) -> str:
    """Return everything as text, worst first.

    ``codes`` are for each finding the next step, and what shows the rows behind it; None for Python.
    """
    findings = diagnosis.findings
    python = zip(findings["suggested_code"], findings["evidence_code"], strict=True)
    return "\n".join(_lines(diagnosis, list(python) if codes is None else codes))


def _lines(diagnosis: Diagnosis, codes: Sequence[tuple[str, str]]) -> Iterator[str]:
    footer = bottom_line(diagnosis, [suggested for suggested, _ in codes])
    yield f"{headline(diagnosis)}\n{diagnosis.where}; {footer}"
    for row, (suggested, evidence) in zip(diagnosis.findings.to_dict("records"), codes, strict=True):
        since = ago(row, diagnosis)
        yield f"\n{row['severity'].upper()} {row['check']}{f', {since}' if since else ''}\n  {row['summary']}"
        yield f"  next: {_indented(suggested)}\n  why:  {_indented(evidence)}"
    if gone := reasons(diagnosis):
        yield "\nNOT CHECKED"
        yield from (f"  {each}" for each in gone)
    if diagnosis.verdict == "healthy":
        yield "\nCHECKED"
        yield from (f"  {row['description']}" for row in diagnosis.checked.to_dict("records"))


def _indented(code: str) -> str:
    return code.replace("\n", "\n        ")
