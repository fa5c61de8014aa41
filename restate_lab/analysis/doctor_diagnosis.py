"""What the doctor hands back: frames inside, a card and a text outside."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import escape_invisible, format_timestamp
from restate_lab.analysis.checks.finding import Finding, Severity
from restate_lab.analysis.doctor_card import card_of
from restate_lab.analysis.doctor_text import headline, text_of
from restate_lab.analysis.suggestions import SuggestedCall, python_code

__all__ = ["Checked", "Diagnosis", "NotChecked", "diagnosis"]


@dataclass(frozen=True, slots=True)
class Checked:
    """One check that ran: what it found, and what it read of its own."""

    check: str
    description: str
    findings: int
    queries: int
    seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class NotChecked:
    """One check that did not run, or not on everything; ``applies`` is False where it makes no sense here."""

    check: str
    description: str
    reason: str
    applies: bool


@public
@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis:
    """What is wrong with a source at a moment; ``doctor()`` makes it, and says what is in the frames."""

    findings: pd.DataFrame
    not_checked: pd.DataFrame
    checked: pd.DataFrame
    verdict: str
    """"incomplete" where something was not checked, whatever was found; else "critical", "warning" or "healthy"."""
    worst: str | None
    """The worst severity that was found; None without findings."""
    source: str
    version: str
    at: datetime
    seconds: float
    skipped: int
    """Checks that were left out on request."""
    queries: tuple[Mapping[str, Any], ...] = ()
    """Each statement that was sent: ``sql``, ``params`` as JSON has them, ``times``."""
    suggested_calls: tuple[tuple[SuggestedCall, ...], ...] = ()
    """The next step of each finding as data, in the order of ``findings``; ``suggested_code`` is the same as Python."""
    evidence_calls: tuple[SuggestedCall, ...] = ()
    """The call that shows the rows behind each finding; ``evidence_code`` is the same as Python."""

    @property
    def where(self) -> str:
        """Return on what this was read, and when."""
        return f"{self.source}, restate {self.version}, {format_timestamp(self.at)}"

    def by_severity(self, severity: str, /) -> pd.DataFrame:
        """Return the findings of one severity ("critical", "warning", "note")."""
        return self.findings[self.findings["severity"] == severity].reset_index(drop=True)

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.where}: {headline(self)}>"

    def __str__(self) -> str:
        return escape_invisible(text_of(self))

    def _repr_html_(self) -> str:
        return card_of(self)


def diagnosis(
    *,
    source: str,
    version: str,
    at: datetime,
    seconds: float,
    findings: Sequence[Finding],
    checked: Sequence[Checked],
    not_checked: Sequence[NotChecked],
    skipped: int,
    queries: Iterable[Mapping[str, Any]] = (),
) -> Diagnosis:
    """Put together what the checks found, in the order given, and judge it."""
    worst = next((each.value for each in Severity if each in {finding.severity for finding in findings}), None)
    verdict = _verdict(worst, not_checked)
    frames = {
        "findings": _findings(findings),
        "not_checked": _frame(not_checked, NotChecked),
        "checked": _frame(checked, Checked),
    }
    attrs: dict[Hashable, Any] = {"source": source, "version": version, "now": at.isoformat()}
    for frame in frames.values():
        frame.attrs = {**attrs, "verdict": verdict, "worst": worst}
    return Diagnosis(
        **frames,
        verdict=verdict,
        worst=worst,
        source=source,
        version=version,
        at=at,
        seconds=seconds,
        skipped=skipped,
        queries=tuple(queries),
        suggested_calls=tuple(each.suggested for each in findings),
        evidence_calls=tuple(each.evidence for each in findings),
    )


def _verdict(worst: str | None, not_checked: Sequence[NotChecked]) -> str:
    if any(each.applies for each in not_checked):
        return "incomplete"
    return worst if worst in {Severity.CRITICAL, Severity.WARNING} else "healthy"


def _findings(findings: Sequence[Finding]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "severity": [each.severity.value for each in findings],
        "check": [each.check for each in findings],
        "summary": [each.summary for each in findings],
        "since": [each.since for each in findings],
        "count": [each.count for each in findings],
        "affected": [each.affected for each in findings],
        "where": [each.where for each in findings],
        "ids": [list(each.ids) for each in findings],
        "blocked": [list(each.blocked.ids) for each in findings],
        "suggested_code": [
            python_code(each.suggested, {each.ids: f"diagnosis.findings.ids[{at}]"}) for at, each in enumerate(findings)
        ],
        "evidence_code": [python_code([each.evidence]) for each in findings],
    }
    types = {"count": "int64", "affected": "int64"}
    frame = pd.DataFrame({name: pd.Series(each, dtype=types.get(name, "object")) for name, each in columns.items()})
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame


def _frame(rows: Sequence[Any], kind: type[Any]) -> pd.DataFrame:
    return pd.DataFrame([asdict(row) for row in rows], columns=list(kind.__dataclass_fields__))
